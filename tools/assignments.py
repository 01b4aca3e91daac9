"""Make a classroom of the lessons: nbgrader's course folder, and in it what is handed out.

python -m tools.assignments FOLDER          FOLDER/source, FOLDER/release and FOLDER/nbgrader_config.py
python -m tools.assignments FOLDER 01 04    these lessons alone
python -m tools.assignments FOLDER --scan   only look whether FOLDER/release gives an answer away

What a teacher has changed in FOLDER stays: the settings, and the gradebook with everything that was handed in.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.editions import ROOT, Source, dumps, edition, project_url, read, sources
from tools.lessons import paths, write

TEACHERS = ROOT / "tools" / "classroom"  # files that lie in a classroom beside the lessons
CONFIG = "nbgrader_config.py"
MARKS = ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", ".again(", "jupytext")
KNOWN = {"celltoolbar", "kernelspec", "language_info", "minimagen"}  # what a notebook's metadata may say


class Failed(Exception):
    """A classroom that could not be made, in one sentence."""


def prepare(folder: Path, lessons: list[Source]) -> None:
    """FOLDER/source with answers and hidden tests, for the teacher alone; nbgrader's settings, and grade.sh."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in TEACHERS.iterdir():
        if path.is_file() and not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)
    for source in lessons:
        place = folder / "source" / source.name
        write(place / f"{source.name}.ipynb", dumps(edition(source, "teacher", url=project_url())))


def nbgrader(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of nbgrader's commands, in a course folder."""
    command = [sys.executable, "-m", "nbgrader", *arguments]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # where its alembic is
    known = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # the checkout's own minimagen
    env = {**os.environ, "PATH": path, "PYTHONPATH": known, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)


def release(folder: Path, lessons: list[Source]) -> None:
    """FOLDER/release, made by nbgrader from FOLDER/source."""
    names = {source.name for source in lessons}
    alone = names == {p.name for p in (folder / "source").iterdir() if p.is_dir()}
    for name in ["*"] if alone else sorted(names):  # one command for all is quicker
        done = nbgrader(folder, "generate_assignment", name, "--force", "--create")
        if done.returncode:
            raise Failed(f"nbgrader makes no assignment of {name}:\n{done.stderr.strip()}")


def answers(source: Source) -> set[str]:
    """Every line of its solutions that says more than `return x`."""
    text = "\n".join(cell.source for cell in source.cells)
    regions = re.findall(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", text, flags=re.S)
    lines = {line.strip() for region in regions for line in region.split("\n")}
    return {line for line in lines if len(line) > 12}


def leaks(folder: Path, lessons: list[Source]) -> list[str]:
    """What a folder gives away that is to be handed out: in its notebooks, their metadata, and files beside them."""
    found = []
    notebooks = {f"{source.name}.ipynb" for source in lessons}
    given = [(line, source.name) for source in lessons for line in answers(source)]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        place = path.relative_to(folder).as_posix()
        if path.name not in notebooks or any(part.startswith(".") for part in path.relative_to(folder).parts):
            found.append(f"{place} is no lesson's notebook, and nothing else is handed out")
            continue
        text = path.read_text(encoding="utf-8")
        try:
            nb = json.loads(text)
        except json.JSONDecodeError:
            found.append(f"{place} is damaged, so nobody knows what it holds")
            continue
        said = list(strings(nb))
        found += [f"{place} holds {mark!r}" for mark in MARKS if mark in text]
        for line, name in given:
            telling = name == path.stem or len(line) > 24  # a short line of another lesson is found everywhere
            if telling and any(line in one for one in said):
                found.append(f"{place} holds an answer of {name}: {line}")
        if any(cell.get("outputs") or cell.get("attachments") for cell in nb["cells"]):
            found.append(f"{place} has outputs or attachments, and learners make their own")
        if strange := set(nb["metadata"]) - KNOWN:
            found.append(f"{place} has metadata of its own: {', '.join(sorted(strange))}")
    return found


def strings(value: Any) -> Iterator[str]:
    """Every text in a notebook, wherever it stands; lines that belong together in one piece."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if all(isinstance(one, str) for one in value):
            yield "".join(value)
        else:
            for one in value:
                yield from strings(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from strings(one)


def points(lessons: list[Source]) -> str:
    """Exercises and points a lesson, in columns."""
    from minimagen import checks

    rows = [(s.name, checks.exercises(s.name)) for s in lessons]
    lines = [f"{name:32} {len(own):2} exercises  {sum(e.points for e in own):3} points" for name, own in rows]
    total = sum(e.points for _, own in rows for e in own)
    return "\n".join([*lines, f"{'all':32} {sum(len(own) for _, own in rows):2} exercises  {total:3} points"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("lessons", nargs="*", help="numbers or names; none = all")
    parser.add_argument("--scan", action="store_true")
    args = parser.parse_args(arguments)
    everything = [read(path) for path in sources()]
    chosen = [s for s in everything if not args.lessons or any(s.name.startswith(name) for name in args.lessons)]
    chosen = [s for s in chosen if s.exercises]
    unknown = [name for name in args.lessons if not any(s.name.startswith(name) for s in chosen)]
    try:
        if unknown:
            raise Failed(f"no lesson with exercises is called {', '.join(unknown)}")
        if not args.scan:
            for source in chosen:
                write(paths(source.name)["learner"], dumps(edition(source, "learner", url=project_url())))
            prepare(args.folder, chosen)
            release(args.folder, chosen)
        if not any((args.folder / "release").rglob("*.ipynb")):
            raise Failed(f"{args.folder / 'release'} holds no notebooks: there is nothing to hand out")
        if found := leaks(args.folder / "release", everything):
            raise Failed("\n".join(["Hand nothing out yet:", *found]))
    except Failed as fault:
        print(fault, file=sys.stderr)
        return 1
    print(points(chosen))
    print(
        f"For the learners: {args.folder / 'release'}. For you alone: {args.folder / 'source'}. See docs/teachers.md."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
