"""Places in a page that are made from what is there: what stands between <!-- name --> and <!-- end -->."""

import re
from collections.abc import Callable, Mapping

PLACE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", flags=re.S)


def filled(page: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The page with every place made anew by the function of its name; a place that none knows is a KeyError."""
    return PLACE.sub(lambda found: f"{found[1]}\n{makers[found[2]]().rstrip()}\n\n{found[3]}", page)
