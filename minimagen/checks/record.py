"""What a learner has solved, kept from one notebook to the next: `checks.progress()` shows it.

It lies in one small file in the learner's home, .minimagen/progress.json, and MINIMAGEN_PROGRESS names another. Only
what is solved in an open notebook counts, and not in the lessons that come with their answers: whoever tests the course
or builds its notebooks has not solved an exercise by that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minimagen import files

PLACE = "MINIMAGEN_PROGRESS"
NOTEBOOK = "JPY_SESSION_NAME"  # the notebook's path, as Jupyter's server tells it to the kernel that it starts
WITH_ANSWERS = "notebooks"  # the folder of the lessons in which the answers are


def place() -> Path:
    """Where it is kept."""
    return Path(os.environ.get(PLACE) or Path.home() / ".minimagen" / "progress.json")


def solved() -> frozenset[str]:
    """The names of the exercises that were solved before; of a file that cannot be read, none."""
    try:
        return frozenset(map(str, files.read_json(place())["solved"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def keep(name: str) -> None:
    """Note that an exercise is solved. A record that cannot be written keeps nobody from learning."""
    notebook = os.environ.get(NOTEBOOK)
    if not notebook or Path(notebook).parent.name == WITH_ANSWERS or name in (known := solved()):
        return
    try:
        files.write_json(place(), {"solved": sorted({*known, name})})
    except OSError:
        pass


@dataclass(frozen=True)
class Progress:
    """Which exercises of each lesson are solved; a table in a notebook, lines of text elsewhere."""

    lessons: Mapping[str, Mapping[str, bool]]  # lesson → exercise → solved?
    points: Mapping[str, int]  # exercise → what it is worth

    @property
    def done(self) -> int:
        return sum(sum(exercises.values()) for exercises in self.lessons.values())

    def _earned(self, exercises: Mapping[str, bool]) -> str:
        earned, most = (sum(self.points[e] for e, d in exercises.items() if d or not only) for only in (True, False))
        return f"{earned} of {most}"

    def _together(self) -> str:
        every = {name: done for exercises in self.lessons.values() for name, done in exercises.items()}
        return f"{self.done} of {len(every)} exercises solved, {self._earned(every)} points"

    def __repr__(self) -> str:
        lines = [
            f"{spoken(lesson):32} {dots(exercises):6} {self._earned(exercises)} points"
            for lesson, exercises in self.lessons.items()
        ]
        return "\n".join([*lines, self._together()])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{spoken(lesson)}</td>"
            f"<td style='text-align:left; font-size:120%; letter-spacing:0.15em; color:#0072B2'>{dots(exercises)}</td>"
            f"<td style='text-align:left'>{', '.join(exercises)}</td><td>{self._earned(exercises)}</td></tr>"
            for lesson, exercises in self.lessons.items()
        )
        head = "<tr><th style='text-align:left'>lesson</th><th></th><th style='text-align:left'>exercises</th>"
        return f"<table>{head}<th>points</th></tr>{rows}</table><p><b>{self._together()}.</b></p>"


def dots(exercises: Mapping[str, bool]) -> str:
    """● for each that is solved, ○ for each that waits."""
    return "".join("●" if done else "○" for done in exercises.values())


def spoken(lesson: str) -> str:
    """01_forward_noise → 01 forward noise"""
    return lesson.replace("_", " ")


def progress() -> Progress:
    """What you have solved, in this notebook and in others before."""
    from .frame import _ALL, _PASSED

    known = solved() | _PASSED
    lessons: dict[str, dict[str, bool]] = {}
    for exercise in sorted(_ALL.values(), key=lambda e: e.lesson):
        lessons.setdefault(exercise.lesson, {})[exercise.name] = exercise.name in known
    return Progress(lessons, {e.name: e.points for e in _ALL.values()})
