"""One source a lesson, several editions: lessons/NN_name.md → notebooks. No kernel runs here; see tools/lessons.py.

    lesson    notebooks/NN_name.ipynb              everything in, solutions folded; the executed one
    learner   notebooks/exercises/NN_name.ipynb    solutions and hidden tests out, stubs in their place
    teacher   nbgrader's source/                   everything in, with nbgrader's markers

The source is MyST Markdown, as jupytext reads it. A code cell may say `:exercise: name`, which makes it a solution
cell, or `:check: name`, which makes it the graded cell of that exercise of `minimagen.checks`; `:setup: true` is the
import cell.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
SOURCES, NOTEBOOKS = ROOT / "lessons", ROOT / "notebooks"
EDITIONS = ("lesson", "learner", "teacher")
MAP = "{the lessons}"  # in a source's text: there each edition has the table of all lessons, with its links
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")  # nbgrader's own, so that both ways give the same cell
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
LEVELS = {1: "●○○ a warm-up", 2: "●●○ to think about", 3: "●●● a challenge"}
LEARNER = (
    "**The exercises' edition.** Cells that say `# YOUR CODE HERE` wait for you; the cell after each checks your "
    "answer, and tells you which mistake it sees. What you skip, the rest of the lesson does without."
)


@dataclass(frozen=True)
class Source:
    """A lesson as it is written: its cells, and what it says of itself in its front matter."""

    path: Path
    title: str
    question: str
    digest: str  # of the file's text: editions carry it, and so know whether they are current
    cells: tuple[NotebookNode, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def exercises(self) -> list[str]:
        """The names of its exercises, in its order."""
        return [cell.metadata["exercise"] for cell in self.cells if "exercise" in cell.metadata]


def sources(folder: Path = SOURCES) -> list[Path]:
    """Every lesson's source, in the course's order."""
    return sorted(folder.glob("[0-9][0-9]_*.md"))


def read(path: Path) -> Source:
    """The source of a lesson; faults in its form are named with their cell."""
    text = path.read_text()
    nb = jupytext.reads(text, fmt="md:myst")
    about = nb.metadata.get("lesson", {})
    if missing := {"title", "question"} - set(about):
        raise ValueError(f"{path.name} lacks `lesson: {{{', '.join(sorted(missing))}: …}}` in its front matter")
    cells = [c for c in nb.cells if c.source.strip() or c.metadata.get("check")]
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Source(path, about["title"], about["question"], digest, tuple(cells))


def edition(
    source: Source, kind: str, *, url: str | None = None, others: tuple[str, ...] | None = None
) -> NotebookNode:
    """The notebook of one edition, not executed. url: the project's address; others: names of all lessons."""
    if kind not in EDITIONS:
        raise ValueError(f"an edition is one of {', '.join(EDITIONS)}, not {kind!r}")
    others = others or tuple(p.stem for p in sources(source.path.parent))
    cells: list[NotebookNode] = []
    seen: dict[str, int] = {}
    pending = source.exercises
    for place, cell in enumerate(source.cells):
        made = _code(cell, kind, url) if cell.cell_type == "code" else _text(cell)
        if cell.cell_type == "markdown" and MAP in made.source:
            made.source = made.source.replace(MAP, lessons_map(source.path.parent, kind))
        if cell.cell_type == "markdown" and _next_is_exercise(source, place):
            name = pending.pop(0)
            made.source = _announced(made.source, name, kind, source)
        if place == 0:
            made.source = _opened(made.source, source, kind, others, url)
        made["id"] = _identity(cell, seen)
        cells.append(made)
    if links := _ways(source, kind, others):
        cells.append(nbformat.v4.new_markdown_cell(f"---\n{links}", id="onward"))
    about = {"edition": kind, "lesson": source.name, "source": f"sha256:{source.digest}"}
    metadata = {"kernelspec": KERNEL, "language_info": LANGUAGE, "minimagen": about}
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


# Cells


def _text(cell: NotebookNode) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(cell.source, metadata=_tags(cell))


def _code(cell: NotebookNode, kind: str, url: str | None) -> NotebookNode:
    text, metadata = cell.source, _tags(cell)
    if cell.metadata.get("setup"):
        text = _installed(text, url)
    if name := cell.metadata.get("exercise"):
        metadata["nbgrader"] = _nbgrader(name, solution=True)
        if "### BEGIN SOLUTION" not in text:
            raise ValueError(f"the exercise {name} has no ### BEGIN SOLUTION")
        if kind == "learner":
            text, metadata["deletable"] = without_solution(text), False
        elif kind == "lesson":
            text, metadata["jupyter"] = unmarked(text), {"source_hidden": True}
    if name := cell.metadata.get("check"):
        points = exercise(name).points
        text = text if text.strip() else graded(name)
        metadata["nbgrader"] = _nbgrader(f"check_{name}", solution=False, points=points)
        if kind != "lesson":
            # an answer that is not right yet does not keep JupyterLab from running the rest
            metadata["tags"] = [*metadata.get("tags", []), "raises-exception"]
        if kind != "teacher":
            text = without_hidden_tests(text)
            metadata |= {"deletable": False, "editable": False}
    return nbformat.v4.new_code_cell(text.strip("\n"), metadata=metadata)


def _tags(cell: NotebookNode) -> dict[str, Any]:
    return {"tags": list(cell.metadata["tags"])} if cell.metadata.get("tags") else {}


def _nbgrader(name: str, *, solution: bool, points: float | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"grade": not solution, "grade_id": name, "locked": not solution}
    made |= {"schema_version": 3, "solution": solution, "task": False}
    return made if points is None else {**made, "points": points}


def graded(name: str) -> str:
    """The graded cell of an exercise; the hidden test is the same check with other numbers."""
    again = f"### BEGIN HIDDEN TESTS\nchecks.{name}.again({name}, seed=20)\n### END HIDDEN TESTS"
    return f"checks.{name}({name})\n{again}"


def exercise(name: str) -> Any:
    """The exercise of that name in `minimagen.checks`."""
    from minimagen import checks

    if not isinstance(found := getattr(checks, name, None), checks.Exercise):
        raise ValueError(f"minimagen.checks has no exercise {name}")
    return found


# Regions between nbgrader's markers


def without_solution(text: str) -> str:
    """The stub in place of each solution, indented as it was."""
    return _replaced(text, "SOLUTION", STUB)


def without_hidden_tests(text: str) -> str:
    return _replaced(text, "HIDDEN TESTS", ())


def unmarked(text: str) -> str:
    """The solution without the markers around it."""
    return "\n".join(line for line in text.split("\n") if not re.search(r"###\s*(BEGIN|END) SOLUTION", line))


def _replaced(text: str, what: str, by: tuple[str, ...]) -> str:
    lines, inside = [], False
    for line in text.split("\n"):
        if f"BEGIN {what}" in line:
            if inside:
                raise ValueError(f"### BEGIN {what} stands inside another")
            inside = True
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + new for new in by]
        elif f"END {what}" in line:
            if not inside:
                raise ValueError(f"### END {what} has no beginning")
            inside = False
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"### BEGIN {what} has no end")
    return "\n".join(lines)


# What the editions say beside the source's own words


def _opened(text: str, source: Source, kind: str, others: tuple[str, ...], url: str | None) -> str:
    """The first cell: its heading, then the ways to other lessons and to the other edition."""
    heading, _, rest = text.partition("\n")
    if heading != (wanted := f"# {source.number} · {source.title}"):
        raise ValueError(f"{source.path.name} begins with {heading!r}, and its front matter wants {wanted!r}")
    links = _ways(source, kind, others, url)
    note = LEARNER if kind != "lesson" and source.exercises else ""
    return "\n\n".join(part for part in (heading, links, rest.strip(), note) if part)


def _ways(source: Source, kind: str, others: tuple[str, ...], url: str | None = None) -> str:
    """Links to the lessons before and after, to the other edition, and to Colab if the project is where it can read.

    None in a classroom, where each assignment has a folder of its own, and answers are not for learners yet.
    """
    if kind == "teacher":
        return ""
    here, parts = others.index(source.name), []
    if here > 0:
        parts.append(f"[← {_spoken(others[here - 1])}]({others[here - 1]}.ipynb)")
    if source.exercises:
        lesson = kind == "lesson"
        parts.append(f"[do the exercises yourself](exercises/{source.name}.ipynb)" if lesson else "")
        parts.append("" if lesson else f"[the lesson with its answers](../{source.name}.ipynb)")
    parts.append(colab(source.name, kind, url))
    if here + 1 < len(others):
        parts.append(f"[{_spoken(others[here + 1])} →]({others[here + 1]}.ipynb)")
    return " · ".join(part for part in parts if part)


def colab(name: str, kind: str, url: str | None) -> str:
    """A badge that opens a notebook in Colab; nothing while the project has no address from which Colab can read."""
    match = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)/?", url or "")
    if match is None:
        return ""
    path = f"{match[1]}/blob/main/notebooks/{'exercises/' if kind == 'learner' else ''}{name}.ipynb"
    return f"[![open in Colab]({BADGE})](https://colab.research.google.com/github/{path})"


def _spoken(name: str) -> str:
    return f"{name[:2]} {name[3:].replace('_', ' ')}"


def lessons_map(folder: Path, kind: str) -> str:
    """Every lesson with its question, and links to both of its editions; a classroom's assignments lie elsewhere."""
    rows = ["| | The lesson | The question it answers | Its exercises |", "|---|---|---|---|"]
    for path in sources(folder):
        name, about = path.stem, yaml.safe_load(path.read_text().split("---")[1])["lesson"]
        whole, yours = {"lesson": ("", "exercises/"), "learner": ("../", "")}.get(kind, (None, None))
        title = about["title"] if whole is None else f"[{about['title']}]({whole}{name}.ipynb)"
        practice = "" if yours is None else f"[to do]({yours}{name}.ipynb)"
        rows.append(f"| {name[:2]} | {title} | {about['question']} | {practice} |")
    return "\n".join(rows)


def _next_is_exercise(source: Source, place: int) -> bool:
    return place + 1 < len(source.cells) and "exercise" in source.cells[place + 1].metadata


def _announced(text: str, name: str, kind: str, source: Source) -> str:
    """An exercise's text with what it asks of one below its heading, and where its answer is at the end."""
    e = exercise(name)
    if e.lesson != source.name:
        raise ValueError(f"the exercise {name} belongs to {e.lesson}, and {source.name} asks for it")
    head = re.search(r"^#+ .*$", text, flags=re.M)
    if head is None:
        raise ValueError(f"the text before the exercise {name} has no heading")
    if "<details>" not in text:
        raise ValueError(f"the exercise {name} has no hints that unfold (<details>)")
    place = f"Exercise {source.exercises.index(name) + 1} of {len(source.exercises)}"
    facts = f"*{place} · {LEVELS[e.level]} · about {e.minutes} minutes · {e.points} point{'s' * (e.points > 1)}*"
    answer = {
        "lesson": "*The answer is folded into the next cell: click its bar to see it.*",
        "learner": f"*Done, or stuck? The [lesson](../{source.name}.ipynb) has an answer.*",
        "teacher": "",
    }[kind]
    return f"{text[: head.end()]}\n\n{facts}{text[head.end() :].rstrip()}\n\n{answer}".rstrip()


DOOR = """\
from importlib.util import find_spec

{colab}if find_spec("minimagen_course") is None:
    raise ImportError("this kernel has no minimagen: run `make lab`, or install the course's wheel (Python 3.11+)")

"""
COLAB = """\
if "google.colab" in str(get_ipython()) and find_spec("minimagen_course") is None:
    %pip install -q git+{url}
"""


def _installed(text: str, url: str | None) -> str:
    """The import cell, behind a door: where there is no minimagen, or another, it says so.

    Once the project has an address, Colab installs it from there.
    """
    return DOOR.format(colab="" if url is None else COLAB.format(url=url)) + text


def project_url(root: Path = ROOT) -> str | None:
    """The project's public address, from pyproject.toml; None while it has none."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"].get("urls", {}).get("Homepage")


# Stable ids and bytes


def _identity(cell: NotebookNode, seen: dict[str, int]) -> str:
    """An id from the cell's own text, so that a cell keeps it when others come and go, and in each edition."""
    key = cell.metadata.get("exercise") or cell.metadata.get("check") or cell.source
    digest = hashlib.sha256(f"{sorted(cell.metadata)} {key}".encode()).hexdigest()[:8]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def dumps(nb: NotebookNode) -> str:
    """The notebook as JSON: sorted, and the same bytes for the same notebook."""
    nbformat.validate(nb)
    return nbformat.writes(nb, version=nbformat.NO_CONVERT) + "\n"
