"""Bring the first page in step with what is there: links to the lessons that exist, and which weights ship."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lesson_row(row: re.Match) -> str:
    """| 01 | Title | … → | 01 | [Title](notebooks/01_name.ipynb) | …, where there is such a notebook."""
    number, title = row[1], re.sub(r"^\[(.*)\]\(.*\)$", r"\1", row[2])
    found = sorted((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    return f"| {number} | [{title}](notebooks/{found[0].name}) |" if found else f"| {number} | {title} |"


def shipped_row(row: re.Match) -> str:
    """| `name/` … | not yet | → | … | yes |, where data/name/ holds something."""
    there = any((ROOT / "data" / row[2]).glob("*"))
    return f"{row[1]} {'yes' if there else 'not yet'} |"


def current(page: str) -> str:
    page = re.sub(r"^\| (\d\d) \| (.*?) \|", lesson_row, page, flags=re.M)
    return re.sub(r"^(\| `(\w+)/`.*\|) (?:yes|not yet) \|$", shipped_row, page, flags=re.M)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(current(readme.read_text(encoding="utf-8")), encoding="utf-8")
