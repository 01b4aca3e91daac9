"""Bring the first page in step with what is there: the lessons that exist, the weights that ship, where to get it.

The project's address comes from pyproject.toml; while it has none, there are no badges, and the wheel is made at home.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.editions import ROOT, colab, project_url
from tools.lessons import table
from tools.places import filled


def lesson_row(row: re.Match, url: str | None = None) -> str:
    """| 01 | Title | … → | 01 | [Title](notebooks/01_name.ipynb) · [exercises](…) | …, where there is such a file."""
    number, title = row[1], re.sub(r"^\[(.*?)\]\(.*$", r"\1", row[2])
    found = sorted((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    if not found:
        return f"| {number} | {title} |"
    name = found[0].stem
    parts = [f"[{title}](notebooks/{name}.ipynb)", f"[exercises](notebooks/exercises/{name}.ipynb)"]
    return f"| {number} | {' · '.join(filter(None, [*parts, colab(name, 'lesson', url)]))} |"


def shipped_row(row: re.Match) -> str:
    """| `name/` … | not yet | → | … | yes |, where data/name/ holds something."""
    there = any((ROOT / "data" / row[2]).glob("*"))
    return f"{row[1]} {'yes' if there else 'not yet'} |"


def install(url: str | None) -> str:
    """How to get the package without a checkout."""
    if url is None:
        build = ".venv/bin/python -m hatchling build -t wheel"
        return f"    {build}    # then `pip install dist/*.whl`, with Python 3.11 or later\n"
    return f"    pip install git+{url}    # Python 3.11 or later\n"


def current(page: str, url: str | None = None) -> str:
    page = re.sub(r"^\| (\d\d) \| (.*?) \|", lambda row: lesson_row(row, url), page, flags=re.M)
    page = filled(page, {"install": lambda: install(url), "measured": table})
    return re.sub(r"^(\| `(\w+)/`.*\|) (?:yes|not yet) \|$", shipped_row, page, flags=re.M)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(current(readme.read_text(encoding="utf-8"), project_url()), encoding="utf-8")
