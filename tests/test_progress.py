"""What a learner has solved is kept, and only what a learner has solved."""

import json

import pytest

from minimagen import checks
from minimagen.checks import frame, record


@pytest.fixture
def learner(tmp_path, monkeypatch):
    """An open notebook of exercises, and a home where nothing is solved yet."""
    monkeypatch.setenv(record.PLACE, str(tmp_path / "home" / "progress.json"))
    monkeypatch.setenv(record.NOTEBOOK, str(tmp_path / "notebooks" / "exercises" / "00_start_here.ipynb"))
    monkeypatch.setattr(frame, "_PASSED", set())
    return tmp_path


def right(exercise):
    function = frame._plain(exercise.reference)
    return type(function)(function.__code__, function.__globals__, "yours", function.__defaults__)


def another_notebook(monkeypatch):
    monkeypatch.setattr(frame, "_PASSED", set())


def test_what_is_solved_is_known_in_the_next_notebook(learner, monkeypatch, capsys):
    assert checks.progress().done == 0
    checks.to_pixels(right(checks.to_pixels))
    another_notebook(monkeypatch)
    checks.how_alike(right(checks.how_alike))
    another_notebook(monkeypatch)
    after = checks.progress()
    assert after.lessons["00_start_here"] == {"to_pixels": True, "how_alike": True} and after.done == 2
    assert json.loads(record.place().read_text()) == {"solved": ["how_alike", "to_pixels"]}
    every = checks.exercises()
    assert f"2 of {len(every)} exercises solved, 2 of {sum(e.points for e in every)} points" in repr(after)
    assert repr(after).splitlines()[0].split() == ["00", "start", "here", "●●", "2", "of", "2", "points"]
    assert "●●" in after._repr_html_() and "○○○" in after._repr_html_()


def test_a_wrong_answer_counts_for_nothing(learner):
    with pytest.raises(checks.NotYet):
        checks.to_pixels(checks.to_pixels.wrong[0].function)
    assert checks.progress().done == 0 and not record.place().exists()


@pytest.mark.parametrize("notebook", [None, "/somewhere/notebooks/00_start_here.ipynb"])
def test_building_and_reading_the_answers_solve_nothing(learner, monkeypatch, notebook, capsys):
    if notebook is None:
        monkeypatch.delenv(record.NOTEBOOK)
    else:
        monkeypatch.setenv(record.NOTEBOOK, notebook)
    checks.to_pixels(right(checks.to_pixels))
    assert checks.progress().done == 1, "in this session it is seen"
    another_notebook(monkeypatch)
    assert checks.progress().done == 0 and not record.place().exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"solved": 3}', '{"other": []}'])
def test_a_damaged_record_is_an_empty_one(learner, text, capsys):
    record.place().parent.mkdir()
    record.place().write_text(text)
    assert checks.progress().done == 0
    checks.to_pixels(right(checks.to_pixels))
    assert record.solved() == {"to_pixels"}


def test_a_record_that_cannot_be_written_keeps_nobody_from_learning(learner, monkeypatch, capsys):
    (learner / "file").touch()
    monkeypatch.setenv(record.PLACE, str(learner / "file" / "progress.json"))
    checks.to_pixels(right(checks.to_pixels))
    assert "✓ to_pixels" in capsys.readouterr().out and checks.progress().done == 1


def test_every_exercise_is_in_the_table_once():
    shown = [name for exercises in checks.progress().lessons.values() for name in exercises]
    assert sorted(shown) == sorted(e.name for e in checks.exercises())
    assert list(checks.progress().lessons) == sorted(checks.progress().lessons)
