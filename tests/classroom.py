"""What the tests of the classroom share: lean lessons, submissions of all kinds, and grades read from nbgrader."""

from __future__ import annotations

import ast
import builtins
import copy
import html
import inspect
import re
import symtable
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import assignments
from tools.editions import Source, dumps, edition, unmarked


def graded(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def solution(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def names(code: str) -> tuple[set[str], set[str]]:
    """Which global names a cell defines, and which it reads, also inside its functions."""
    table = symtable.symtable(re.sub(r"^(\s*)%.*$", r"\1pass", code, flags=re.M), "", "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    read = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    inner = list(table.get_children())
    while inner:
        one = inner.pop()
        inner += one.get_children()
        read |= {s.get_name() for s in one.get_symbols() if s.is_global() and s.is_referenced()}
    return defined, read


def lean(nb: NotebookNode) -> NotebookNode:
    """A lesson without the cells that only show something: its text, its exercises, their checks, and what those need.

    All lessons are run from top to bottom with their answers and hidden tests when they are built, and again by nbval.
    Here nbgrader is what is tried, and a kernel a lesson is dear enough.
    """
    kept: list[NotebookNode] = []
    needed: set[str] = set()
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    for cell in reversed(nb.cells):
        if cell.cell_type == "code":
            defined, read = names(cell.source)
            if not (cell is first or "nbgrader" in cell.metadata or defined & needed):
                continue
            needed |= read
        kept.append(cell)
    return nbformat.from_dict({**nb, "cells": kept[::-1]})


class Classroom:
    """A teacher's folder with lean lessons, as `make assignments` would make it."""

    def __init__(self, folder: Path, lessons: list[Source], seconds: int | None = None):
        self.folder, self.lessons = folder, {source.name: source for source in lessons}
        assignments.prepare(folder, lessons)
        for name in self.lessons:
            path = folder / "source" / name / f"{name}.ipynb"
            path.write_text(dumps(lean(nbformat.read(path, as_version=4))))
        if seconds is not None:
            config = folder / assignments.CONFIG
            config.write_text(config.read_text().replace("SECONDS = 300", f"SECONDS = {seconds}"))
        assignments.release(folder, lessons)

    def nbgrader(self, *arguments: str, fails: bool = False):
        done = assignments.nbgrader(self.folder, *arguments)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done

    def released(self, lesson: str) -> NotebookNode:
        return nbformat.read(self.folder / "release" / lesson / f"{lesson}.ipynb", as_version=4)

    def answered(self, lesson: str, answers: dict[str, str] | None = None) -> NotebookNode:
        """The released notebook with answers in place of stubs: these, and elsewhere the right ones."""
        teacher = edition(self.lessons[lesson], "teacher")
        right = {c.metadata.nbgrader.grade_id: unmarked(c.source) for c in teacher.cells if solution(c)}
        nb = copy.deepcopy(self.released(lesson))
        for cell in filter(solution, nb.cells):
            cell.source = {**right, **(answers or {})}[cell.metadata.nbgrader.grade_id]
        return nb

    def hand_in(self, student: str, lesson: str, nb: NotebookNode | str) -> Path:
        path = self.folder / "submitted" / student / lesson / f"{lesson}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(nb if isinstance(nb, str) else nbformat.writes(nb))
        return path

    def points(self, student: str, lesson: str) -> dict[str, float]:
        """Points an exercise, from nbgrader's gradebook."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}", "minimagen") as book:
            (notebook,) = book.find_submission(lesson, student).notebooks
            return {grade.name.removeprefix("check_"): grade.score for grade in notebook.grades}

    def feedback(self, student: str, lesson: str) -> str:
        """The page of feedback, as a reader sees its words."""
        page = (self.folder / "feedback" / student / lesson / f"{lesson}.html").read_text()
        page = re.sub(r"<(style|script).*?</\1>", " ", page, flags=re.S)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


def answer(name: str, function: Callable) -> str:
    """A function of the package as a learner's cell: under the exercise's name, with what it needs imported."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.name, definition.decorator_list = name, []
    code = ast.unparse(definition)
    wanted = sorted(names(code)[1] - set(dir(builtins)) - {name})
    imports = [f"from {function.__module__} import {one}" for one in wanted if one in function.__globals__]
    return "\n".join([*imports, "", code])


def plain(function: Callable) -> bool:
    """Whether a mistake is a function of its own, whose source can be handed in."""
    try:
        return isinstance(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0], ast.FunctionDef)
    except (OSError, SyntaxError, TypeError):
        return False
