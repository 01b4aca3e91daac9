"""Which read thing is which described thing: the assignment of least total cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache


def assign(cost: Sequence[Sequence[float]], missed: float = 1e6) -> list[int | None]:
    """For each row its own column, or None where columns run out, so that the sum of costs is least; exact, for up to a
    dozen columns.

    missed: what a row without a column costs; a row stays without one also where every column would cost it more.
    Among equal sums the earlier columns win, so that the answer does not depend on anything else.
    """
    rows = len(cost)
    columns = len(cost[0]) if rows else 0
    if columns > 12:
        raise ValueError(f"{columns} things in one picture are more than can be told apart; 12 are the most.")

    @cache
    def best(row: int, taken: int) -> tuple[float, tuple[int | None, ...]]:
        if row == rows:
            return 0.0, ()
        choices = []
        for column in range(columns):
            if not taken >> column & 1:
                rest, chosen = best(row + 1, taken | 1 << column)
                choices.append((cost[row][column] + rest, (column, *chosen)))
        rest, chosen = best(row + 1, taken)
        choices.append((missed + rest, (None, *chosen)))
        return min(choices, key=lambda choice: choice[0])

    return list(best(0, 0)[1])
