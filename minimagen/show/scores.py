"""Scores with their uncertainty: measured lines in panels, and a list of categories with what bounds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from minimagen.toyland.stats import Estimate

from .frame import COLORS, DASHES, Figure, page, styled

MARKERS = ("o", "s", "^", "D", "v", "P")
Lines = Mapping[str, tuple[Sequence[float], Sequence[Estimate]]]


@styled
def ranges(
    panels: Mapping[str, Lines],
    x: str,
    *,
    log: bool = False,
    percent: Sequence[str] = (),
    level: Mapping[str, tuple[str, float]] | None = None,
    caption: str = "",
    height: float = 3.1,
) -> Figure:
    """Measured lines with their intervals, a panel a quantity: {y: {name: (xs, estimates)}}, over one axis named x.

    log: x by its logarithm. percent: the panels that show shares. level: for a panel, a named line to compare with.
    """
    figure = page(height + 0.35, caption)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (y, lines) in zip(axes, panels.items()):
        for k, (name, (xs, estimates)) in enumerate(lines.items()):
            mean, low, high = (np.array([getattr(e, end) for e in estimates]) for end in ("mean", "low", "high"))
            color = COLORS[k % len(COLORS)]
            ax.fill_between(xs, low, high, color=color, alpha=0.13, linewidth=0)
            error = np.abs(np.stack([mean - low, high - mean]))
            kind = {"marker": MARKERS[k % len(MARKERS)], "markersize": 5, "capsize": 3, "elinewidth": 1.4}
            ax.errorbar(xs, mean, error, color=color, linestyle=DASHES[k % len(DASHES)], label=name, **kind)
        if level and y in level:
            ax.axhline(level[y][1], color="#777777", linewidth=1.4, label=level[y][0])
        ax.set(xlabel=x, title=y)
        if y in percent:
            # as many digits as a tick needs: a narrow axis has one at 0.5%
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
        if log:
            ticks = sorted({float(v) for xs, _ in lines.values() for v in xs})
            ax.set_xscale("log")
            ax.set_xticks(ticks)
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
    names: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels()):
            names.setdefault(name, handle)
    if len(names) > 1:
        figure.legend(list(names.values()), list(names), loc="outside upper center", ncols=len(names))
    return figure


@styled
def board(
    rows: Mapping[str, Estimate],
    marks: Mapping[str, Mapping[str, float | None]] | None = None,
    *,
    x: str = "right",
    caption: str = "",
) -> Figure:
    """A line a category: its share with its interval, from 0 to 100 %. marks: {name: {category: share}}, to compare."""
    figure = page(0.75 + 0.33 * len(rows), caption)
    ax = figure.subplots()
    names = list(rows)
    for k, row in enumerate(rows.values()):
        ax.plot([row.low, row.high], [k, k], color=COLORS[0], linewidth=2.6, solid_capstyle="butt")
    ax.plot([r.mean for r in rows.values()], range(len(names)), "o", color=COLORS[0], label="measured", zorder=4)
    for n, (name, values) in enumerate((marks or {}).items(), 1):
        at = [(v, names.index(row)) for row, v in values.items() if v is not None and row in names]
        (line,) = ax.plot([v for v, _ in at], [k for _, k in at], MARKERS[n + 1], color=COLORS[n], label=name, zorder=3)
        line.set(markerfacecolor="none", markersize=9, markeredgewidth=1.6)  # what was measured shows through it
    ax.set(xlabel=x, xlim=(-0.02, 1.02), yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    ax.set_yticklabels(names)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
