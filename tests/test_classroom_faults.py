"""Submissions that loop, eat memory, print megabytes, lose a check or are torn: each has its words and its grade."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minimagen import checks
from minimagen.checks import frame

pytest.importorskip("jupytext", reason="`make setup` installs jupytext")
pytest.importorskip("nbgrader", reason="`make setup` installs nbgrader")
import nbformat
from classroom import Classroom

from tools import assignments, editions

LESSON = "01_forward_noise"
SECONDS = int(os.environ.get("CLASSROOM_SECONDS", 60))  # in place of 300; on a busy machine, say more

NAN = """\
def forward_jump(x, t, eps, schedule):
    alpha, sigma = schedule(t, like=x)
    return (alpha * x + sigma * eps) * float("nan")
"""
LOOPS = """\
def exact_x(z, pictures, alpha, sigma):
    guess = z
    while (guess - z).abs().max() < 1:
        guess = guess + 0 * z
    return guess
"""
GREEDY = """\
def ddim_step(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    rows = [z] * 50_000_000
    while True:
        rows = rows + rows
"""
DIES = """\
import os
os._exit(137)  # what the system does to a process that takes all of its memory
"""
LOUD = """
for _ in range(30):
    print("α" * 1_000_000)
"""
DEAF = """\
import time
while True:
    try:
        time.sleep(0.2)
    except BaseException:
        pass
"""


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """One round of grading for all of them, as a teacher would have it."""
    room = Classroom(tmp_path_factory.mktemp("classroom"), [editions.read(editions.SOURCES / f"{LESSON}.md")], SECONDS)
    right = {c.metadata.nbgrader.grade_id: c.source for c in room.answered(LESSON).cells if "nbgrader" in c.metadata}
    room.hand_in("bounded", LESSON, room.answered(LESSON, {"forward_jump": NAN, "exact_x": LOOPS, "ddim_step": GREEDY}))
    lost = room.answered(LESSON, {"forward_jump": DIES, "ddim_step": right["ddim_step"] + LOUD})
    lost.cells = [c for c in lost.cells if c.metadata.get("nbgrader", {}).get("grade_id") != "check_exact_x"]
    room.hand_in("lost", LESSON, lost)
    room.hand_in("deaf", LESSON, room.answered(LESSON, {"exact_x": DEAF}))
    eased = room.answered(LESSON)
    for cell in eased.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "check_exact_x":
            cell.source, cell.metadata.nbgrader["points"] = "pass", 400
    eased.cells.insert(2, nbformat.v4.new_code_cell("1 / 0"))
    room.hand_in("eased", LESSON, eased)
    skips = room.answered(LESSON, {"exact_x": LOOPS.replace("exact_x(", "exact_x_no("), "forward_jump": NAN})
    for cell in skips.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata.tags = ["skip-execution"]
    room.hand_in("skips", LESSON, skips)
    room.hand_in("torn", LESSON, '{"cells": [{"cell_type": "code", "sour')
    room.said = room.nbgrader("autograde", LESSON, fails=True).stderr
    room.nbgrader("generate_feedback", LESSON)
    room.nbgrader("export", "--to=grades.csv")
    return room


def points(*right: str) -> dict[str, float]:
    return {e.name: e.points if e.name in right else 0 for e in checks.exercises(LESSON)}


def test_nan_endless_loops_and_hunger_are_named_by_the_checks(classroom):
    assert classroom.points("bounded", LESSON) == points()
    page = classroom.feedback("bounded", LESSON)
    assert "✗ forward_jump: not yet. It holds NaN" in page or "holds NaN" in page
    assert f"✗ exact_x: not yet. {frame.ENDLESS}" in page
    assert f"✗ ddim_step: not yet. {frame.HUNGRY}" in page


def test_a_dead_kernel_costs_its_exercise_alone(classroom):
    assert classroom.points("lost", LESSON) == points("exact_x", "ddim_step")
    assert "The kernel died in this cell" in classroom.feedback("lost", LESSON)


def test_a_check_that_was_deleted_comes_back(classroom):
    page = classroom.feedback("lost", LESSON)
    assert "(id:check_exact_x) was missing from the submission" in page and "✓ exact_x" in page


def test_megabytes_of_output_are_not_kept(classroom):
    path = classroom.folder / "feedback" / "lost" / LESSON / f"{LESSON}.html"
    assert path.stat().st_size < 3_000_000
    assert "more characters, which are not kept" in classroom.feedback("lost", LESSON)


def test_a_cell_that_does_not_stop_is_stopped(classroom):
    assert classroom.points("deaf", LESSON) == points("forward_jump", "ddim_step")
    assert f"This cell had no answer after {SECONDS} seconds" in classroom.feedback("deaf", LESSON)


def test_a_check_that_was_made_easier_is_the_teachers_again(classroom):
    everything = points(*(e.name for e in checks.exercises(LESSON)))
    assert classroom.points("eased", LESSON) == everything, "and an error of one's own elsewhere costs nothing"


def test_a_check_cannot_be_skipped(classroom):
    assert classroom.points("skips", LESSON) == points("ddim_step")


def test_a_torn_file_is_said_to_the_teacher_and_stops_nobody_else(classroom):
    assert f"error processing assignment '{LESSON}' for student 'torn'" in classroom.said
    rows = (classroom.folder / "grades.csv").read_text().splitlines()
    scores = {row.split(",")[3]: float(row.split(",")[9]) for row in rows[1:]}
    assert scores["torn"] == 0 and scores["eased"] > 0


ENGINE = """\
#!/bin/sh
# Stands in for docker: runs the command where the volume is, and writes down how it was called.
echo "$@" >> "$LOG"
while [ "$1" != grader ]; do
  if [ "$1" = --volume ]; then room=${2%%:*}; fi
  shift
done
shift
cd "$room"
ls submitted >> "$LOG"
exec "$@"
"""


@pytest.mark.skipif(shutil.which("timeout") is None, reason="grade.sh needs `timeout`, of GNU's coreutils")
def test_grading_apart_gives_the_same_points(classroom, tmp_path, monkeypatch):
    from nbgrader.api import Gradebook

    room = Classroom.__new__(Classroom)
    room.folder, room.lessons = tmp_path / "class", classroom.lessons
    shutil.copytree(classroom.folder, room.folder, ignore=shutil.ignore_patterns("submitted", "autograded", "feedback"))
    source = room.folder / "source" / LESSON / f"{LESSON}.ipynb"
    source.write_text(source.read_text(encoding="utf-8").replace("seed=20", "seed=77"), encoding="utf-8")
    assignments.nbgrader(room.folder, "generate_assignment", LESSON, "--force")
    room.hand_in("adaline", LESSON, room.answered(LESSON, {"forward_jump": NAN}))
    room.hand_in("gone", LESSON, "{")
    engine = tmp_path / "engine"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    monkeypatch.setenv("ENGINE", str(engine))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(editions.ROOT))
    done = subprocess.run([room.folder / "grade.sh", LESSON], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("ended before they did: gone"), done.stderr
    assert room.points("adaline", LESSON) == points("exact_x", "ddim_step")
    log = (tmp_path / "log").read_text()
    assert log.count("--network none") == log.count("--memory 4g") == log.count("\nsomeone\n") == 2
    assert "adaline" not in log.replace(str(tmp_path), ""), "whose it is, the container does not know"
    with Gradebook(f"sqlite:///{room.folder / 'blank.db'}") as book:
        assert book.students == [] and [a.name for a in book.assignments] == [LESSON]
        cells = book.find_assignment(LESSON).notebooks[0].source_cells
        assert any("seed=77" in cell.source for cell in cells), "what is asked today is what is run"
    with Gradebook(f"sqlite:///{room.folder / 'gradebook.db'}") as book:
        assert len(book.students) > 3
