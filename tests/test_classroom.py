"""The classroom: what is handed out, and nbgrader's own commands on perfect, empty and wrong submissions."""

import csv
import json
import re

import nbformat
import pytest

from minimagen import checks
from minimagen.checks import frame

pytest.importorskip("jupytext", reason="`make setup` installs jupytext")
pytest.importorskip("nbgrader", reason="`make setup` installs nbgrader")
from classroom import Classroom, answer, graded, lean, names, plain, solution

from tools import assignments, editions

SOURCES = {path.stem: editions.read(path) for path in editions.sources()}
LESSONS = [name for name, source in SOURCES.items() if source.exercises]
MATRIX = [n for n in ("01_forward_noise", "06_thresholding") if n in LESSONS]


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    return Classroom(tmp_path_factory.mktemp("classroom"), [SOURCES[name] for name in LESSONS])


def full(lesson: str) -> dict[str, float]:
    return {e.name: e.points for e in checks.exercises(lesson)}


# What is handed out


def test_what_is_handed_out_gives_nothing_away(classroom):
    assert assignments.leaks(classroom.folder / "release", list(SOURCES.values())) == []
    assert {p.parent.name for p in (classroom.folder / "release").rglob("*.ipynb")} == set(LESSONS)


@pytest.mark.parametrize("name", LESSONS)
def test_the_release_is_the_learners_edition(classroom, name):
    ours = [c.source for c in lean(editions.edition(SOURCES[name], "learner")).cells if c.cell_type == "code"]
    theirs = [c.source for c in classroom.released(name).cells if c.cell_type == "code"]
    assert [text.strip() for text in theirs] == [text.strip() for text in ours]
    assert sum(c.metadata.nbgrader.points for c in classroom.released(name).cells if graded(c)) == sum(
        full(name).values()
    )


def gives_away(nb, place):
    line = max(assignments.answers(SOURCES["01_forward_noise"]), key=len)
    if place == "cell":
        nb["cells"][3]["source"] = f"# so: {line}"
    elif place == "metadata":
        nb["cells"][3]["metadata"]["hint"] = [line]
    elif place == "notebook":
        nb["metadata"]["jupytext"] = {"formats": "ipynb,md"}
    elif place == "hidden test":
        nb["cells"][3]["source"] = "### BEGIN HIDDEN TESTS"
    elif place == "again":
        nb["cells"][3]["source"] = "checks.forward_jump.again(forward_jump, seed=20)"
    else:
        code = next(c for c in nb["cells"] if c["cell_type"] == "code")
        code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "z"}]
    return nb


PLACES = ("cell", "metadata", "notebook", "hidden test", "again", "outputs")


@pytest.mark.parametrize("place", PLACES)
def test_the_scan_finds_what_gives_an_answer_away(tmp_path, place):
    source = SOURCES["01_forward_noise"]
    path = tmp_path / source.name / f"{source.name}.ipynb"
    path.parent.mkdir()
    path.write_text(editions.dumps(editions.edition(source, "learner")))
    assert assignments.leaks(tmp_path, [source]) == []
    path.write_text(json.dumps(gives_away(json.loads(path.read_text()), place)))
    assert assignments.leaks(tmp_path, [source])


@pytest.mark.parametrize("beside", ["01_forward_noise.md", "solutions.py", ".ipynb_checkpoints/01_forward_noise.ipynb"])
def test_the_scan_finds_files_that_lie_beside(tmp_path, beside):
    path = tmp_path / "01_forward_noise" / beside
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (found,) = assignments.leaks(tmp_path, list(SOURCES.values()))
    assert "nothing else is handed out" in found and beside in found


# nbgrader's own commands


@pytest.mark.parametrize("name", LESSONS)
def test_the_perfect_submission_has_full_points(classroom, name):
    classroom.hand_in("perfect", name, classroom.answered(name))
    classroom.nbgrader("autograde", name, "--student=perfect")
    assert classroom.points("perfect", name) == full(name)


def typical(lesson: str, turn: int) -> dict[str, checks.Wrong]:
    """One wrong answer an exercise: the first of each, or the second …"""
    wrong = {e.name: [w for w in e.wrong if plain(w.function)] for e in checks.exercises(lesson)}
    return {name: many[turn % len(many)] for name, many in wrong.items()}


@pytest.mark.parametrize("name", MATRIX)
def test_every_kind_of_submission_has_its_points_and_its_words(classroom, name):
    mistakes = {f"wrong-{turn}": typical(name, turn) for turn in range(3)}
    first = next(iter(full(name)))
    half = {first: mistakes["wrong-0"][first]}
    for student, wrong in {**mistakes, "half": half}.items():
        answers = {exercise: answer(exercise, one.function) for exercise, one in wrong.items()}
        classroom.hand_in(student, name, classroom.answered(name, answers))
    classroom.hand_in("empty", name, classroom.released(name))
    students = [*mistakes, "half", "empty"]
    classroom.nbgrader("autograde", name)
    classroom.nbgrader("generate_feedback", name)

    nothing = dict.fromkeys(full(name), 0.0)
    assert {s: classroom.points(s, name) for s in students} == {
        **dict.fromkeys([*mistakes, "empty"], nothing),
        "half": {**full(name), first: 0.0},
    }
    for student, wrong in mistakes.items():
        page = classroom.feedback(student, name)
        for exercise, one in wrong.items():
            assert f"✗ {exercise}: not yet. {one.says}" in page, f"{student}: {one.name}"
    assert classroom.feedback("empty", name).count(frame.STUB) == len(full(name))
    assert classroom.feedback("half", name).count("✓") == len(full(name)) - 1

    classroom.nbgrader("export", "--to=grades.csv")
    rows = list(csv.DictReader((classroom.folder / "grades.csv").open()))
    scores = {row["student_id"]: float(row["score"]) for row in rows if row["assignment"] == name}
    total = sum(full(name).values())
    assert {s: scores[s] for s in students} == {
        **dict.fromkeys([*mistakes, "empty"], 0.0),
        "half": total - full(name)[first],
    }
    assert {float(row["max_score"]) for row in rows if row["assignment"] == name} == {total}


def test_a_learner_can_validate_before_handing_in(classroom):
    name = MATRIX[0]
    path = classroom.hand_in("validating", name, classroom.released(name))
    said = classroom.nbgrader("validate", str(path)).stdout
    assert f"VALIDATION FAILED ON {len(full(name))} CELL(S)!" in said and "It is still the stub." in said
    classroom.hand_in("validating", name, classroom.answered(name))
    assert "Success! Your notebook passes all the tests." in classroom.nbgrader("validate", str(path)).stdout


# The tools of these tests, and of the teacher


def test_lean_keeps_what_exercises_need():
    new = nbformat.v4.new_code_cell
    exercise = new("def f(a):\n    return helper(a) + one", metadata={"nbgrader": {"solution": True}})
    cells = [new("import os"), new("one = two"), new("two = 2"), new("three = 3"), new("def helper(a):\n    return a")]
    text = nbformat.v4.new_markdown_cell("three")
    kept = lean(nbformat.v4.new_notebook(cells=[*cells[:1], cells[2], cells[1], *cells[3:], text, exercise])).cells
    assert kept == [cells[0], cells[2], cells[1], cells[4], text, exercise]
    assert names("def f(a):\n    b = a\n    return lambda: a + b + c\n%pip install x") == ({"f"}, {"c"})


@pytest.mark.parametrize("name", LESSONS)
def test_mistakes_can_be_handed_in(name):
    for exercise in checks.exercises(name):
        assert sum(plain(wrong.function) for wrong in exercise.wrong) >= 3
        for wrong in filter(lambda w: plain(w.function), exercise.wrong):
            space: dict = {}
            exec(answer(exercise.name, wrong.function), space)
            with pytest.raises(checks.NotYet, match=re.escape(wrong.says)):
                exercise(space[exercise.name])


def test_the_command_makes_a_classroom_and_leaves_what_is_the_teachers(tmp_path, capsys):
    config = tmp_path / assignments.CONFIG
    config.write_text("c = get_config()\nc.CourseDirectory.course_id = 'mine'\n")
    assert assignments.main([str(tmp_path), "01"]) == 0
    said = capsys.readouterr().out
    total = sum(full("01_forward_noise").values())
    assert re.search(rf"01_forward_noise +3 exercises +{total} points", said) and "docs/teachers.md" in said
    assert "'mine'" in config.read_text()
    nb = nbformat.read(tmp_path / "release" / "01_forward_noise" / "01_forward_noise.ipynb", as_version=4)
    assert sum(map(solution, nb.cells)) == sum(map(graded, nb.cells)) == 3
    assert "](" not in nb.cells[0].source, "an assignment stands alone: it links no other notebook"
    assert assignments.main([str(tmp_path), "--scan"]) == 0
    (tmp_path / "release" / "01_forward_noise" / "answers.txt").write_text("α")
    assert assignments.main([str(tmp_path), "--scan"]) == 1
    assert "Hand nothing out yet" in capsys.readouterr().err
    assert assignments.main([str(tmp_path), "99"]) == 1
    assert "no lesson with exercises is called 99" in capsys.readouterr().err
