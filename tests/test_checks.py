"""The checks of the exercises: right answers pass, every typical mistake is named, and borrowing is no answer."""

import functools
import re
import warnings

import numpy as np
import pytest
import torch

import minimagen as mi
from minimagen import checks
from minimagen.checks import frame
from minimagen.checks.compare import difference, same

ALL = checks.exercises()
MISTAKES = [(e, w) for e in ALL for w in e.wrong]


def named(value):
    return getattr(value, "name", None)


def say(exercise, function) -> str:
    """What the check says of a wrong answer."""
    with pytest.raises(checks.NotYet) as caught:
        exercise(function)
    return str(caught.value)


def copy_of(function):
    """The same code in a function of its own, as a learner might write it: not the one that is out of reach."""
    return type(function)(function.__code__, function.__globals__, "yours", function.__defaults__)


def written_anew(exercise):
    function = copy_of(frame._plain(exercise.reference))
    function.__kwdefaults__ = frame._plain(exercise.reference).__kwdefaults__
    return function


# Every exercise


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_the_right_answer_passes(exercise, capsys):
    exercise(written_anew(exercise))
    assert capsys.readouterr().out.startswith(f"✓ {exercise.name}: {exercise.learned}")
    for seed in range(1, 6):
        exercise.again(written_anew(exercise), seed)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_the_stub_fails_and_is_called_a_stub(exercise):
    def stub(*args, **options):
        raise NotImplementedError()

    assert frame.STUB in say(exercise, stub)


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_the_packages_own_function_is_no_answer(exercise):
    for own in [exercise.reference, *exercise.borrowed]:
        for yours in (own, functools.partial(own), lambda *args, own=own, **options: own(*args, **options)):
            assert "It calls minimagen's own" in say(exercise, yours)


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_hiding_that_it_was_borrowed_does_not_help(exercise):
    def sly(*args, **options):
        try:
            return exercise.reference(*args, **options)
        except BaseException:
            return written_anew_already(*args, **options)

    written_anew_already = written_anew(exercise)
    assert "It calls minimagen's own" in say(exercise, sly)


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_nothing_and_the_wrong_type_have_their_words(exercise):
    assert "It returns nothing" in say(exercise, lambda *args, **options: None)
    assert "Give the function itself" in say(exercise, 3)
    assert "It returns" in say(exercise, lambda *args, **options: "a picture")


@pytest.mark.parametrize(("exercise", "wrong"), MISTAKES, ids=named)
def test_every_mistake_is_named(exercise, wrong):
    for seed in range(3):  # whatever the numbers
        torch.manual_seed(seed)  # of mistakes that draw their own
        with pytest.raises(checks.NotYet) as caught:
            exercise.again(wrong.function, seed)
        assert wrong.says in str(caught.value)


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_no_two_mistakes_share_their_words(exercise):
    said = [wrong.says for wrong in exercise.wrong]
    assert len(said) == len(set(said)) >= 5
    for sentence in said:
        assert re.fullmatch(r"[A-Zα-ωz].*[.]", sentence), sentence


def test_exercises_have_names_of_their_own_and_belong_to_a_lesson():
    assert len({e.name for e in ALL}) == len(ALL)
    for exercise in ALL:
        assert re.fullmatch(r"\d\d_[a-z_0-9]+", exercise.lesson)
        assert getattr(checks, exercise.name) is exercise
        assert exercise.points > 0 and 1 <= exercise.minutes <= 20 and exercise.level in (1, 2, 3)


def test_exercises_of_one_lesson():
    assert [e.name for e in checks.exercises("01_forward_noise")] == ["forward_jump", "exact_x", "ddim_step"]


# The frame


def double(x):
    """2x"""
    return 2 * x


@pytest.fixture
def doubling(monkeypatch):
    """An exercise that is nobody's."""
    monkeypatch.setattr(frame, "_ALL", {})
    monkeypatch.setattr(frame, "_PASSED", set())

    def cases(generator):
        return [checks.Case("three numbers", (torch.randn(3, generator=generator),))]

    exercise = checks.Exercise("double", "99_none", double, cases, learned="twice as much.")

    @exercise.mistake
    def tripled(x):
        """You took it three times."""
        return 3 * x

    return exercise


def test_progress_is_counted_a_lesson(doubling, capsys):
    checks.Exercise("other", "99_none", double, doubling.cases, learned="as well.")
    doubling(lambda x: x + x)
    doubling(lambda x: x + x)
    assert capsys.readouterr().out.splitlines() == ["✓ double: twice as much.  (1 of 2 in this lesson)"] * 2


def test_unknown_mistakes_are_described(doubling):
    assert "Tried with three numbers." in say(doubling, lambda x: 3 * x)
    assert "shape (1, 3), and (3) is expected" in say(doubling, lambda x: 2 * x[None])
    assert "holds NaN" in say(doubling, lambda x: x * torch.nan)
    assert "infinite" in say(doubling, lambda x: x / 0)
    assert re.search(r"numbers differ by up to [\d.]+\. At their worst, yours is", say(doubling, lambda x: 2.5 * x))
    assert "It returns a list, and a tensor is expected" in say(doubling, lambda x: [2 * x])
    assert "It returns a ndarray" in say(doubling, lambda x: (2 * x).numpy())
    assert "It returns a list" in say(doubling, lambda x: [(2 * x).numpy()])
    assert "is stored as torch.sparse_coo" in say(doubling, lambda x: (2 * x).to_sparse())


def test_errors_are_one_sentence_with_the_line(doubling):
    def broken(x):
        y = 2 * x
        return y.bright

    message = say(doubling, broken)
    assert "It stops at `return y.bright` with AttributeError: 'Tensor' object has no attribute 'bright'" in message
    assert "Traceback" not in message


def test_writing_into_the_inputs_is_noticed(doubling):
    assert "It writes into its input `x`" in say(doubling, lambda x: x.mul_(2))


def test_a_list_that_grew_is_noticed(monkeypatch):
    monkeypatch.setattr(frame, "_ALL", {})

    def count(seen):
        return len(seen)

    exercise = checks.Exercise("count", "99_none", count, lambda _: [checks.Case("two", ([1, 2],))], learned="both.")
    assert "It writes into its input `seen`" in say(exercise, lambda seen: (len(seen), seen.append(3))[0])


def test_chance_is_noticed(doubling):
    assert frame.RANDOM in say(doubling, lambda x: 2 * x + torch.randn_like(x))


def test_ready_gives_your_function_or_the_reference(doubling, capsys):
    def mine(x):
        return x + x

    assert doubling.ready(mine) is mine
    assert capsys.readouterr().out == ""
    assert doubling.ready(lambda x: 3 * x) is double
    assert "Your double is not ready yet" in capsys.readouterr().out


def test_ready_brings_a_right_answer_in_float64_back_to_float32(doubling):
    x = torch.ones(2)
    mine = doubling.ready(lambda x: x.double() * 2)
    assert mine(x).dtype == torch.float32 and torch.equal(mine(x), 2 * x)
    assert doubling.ready(double) is double


def test_leaving_python_is_an_error_like_others(doubling):
    assert "with SystemExit: 3" in say(doubling, lambda x: exit(3))
    assert doubling.ready(lambda x: exit(3)) is double


def test_a_mistake_needs_words(doubling):
    with pytest.raises(ValueError, match="no docstring"):
        doubling.mistake(lambda x: x)


def test_warnings_are_kept_from_the_page(doubling):
    def loud(x):
        warnings.warn("loud", stacklevel=1)
        return x + x

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        doubling(loud)
        assert "`.real` is that part of it" in say(doubling, lambda x: 2 * x + 0j)
    assert seen == [], "graders take anything on stderr for a failure"


def test_out_of_reach_covers_every_way_and_ends():
    before = mi.ddim.__code__
    with pytest.raises(frame.Borrowed, match="guide"), frame.out_of_reach([mi.guide, mi.ddim]):
        mi.guide(torch.zeros(1), torch.ones(1), 2.0)
    assert mi.ddim.__code__ is before
    assert mi.guide(torch.zeros(1), torch.ones(1), 1.0) == 0
    with frame.out_of_reach([mi.sample]), pytest.raises(frame.Borrowed):  # a decorated generator
        list(mi.sample(None, torch.zeros(1), mi.times(1)))


def test_what_cannot_be_put_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="cannot be put out of reach"), frame.out_of_reach([torch.randn]):
        pass


def test_a_notebook_shows_the_message_alone():
    assert checks.NotYet("✗ a\n  b")._render_traceback_() == ["✗ a", "  b"]


# Comparing


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        (torch.ones(2), torch.ones(2) + 1e-6, True),
        (torch.ones(2), torch.ones(2, 1), False),
        (torch.ones(2), torch.full((2,), 1.01), False),
        (torch.tensor([1, 2]), torch.tensor([1, 2]), True),
        ((torch.ones(1), 2.0), (torch.ones(1), 2.0), True),
        ((1, 2), (1, 2, 3), False),
        (mi.Prediction(torch.ones(1)), mi.Prediction(torch.zeros(1)), False),
        (1.0, 1, True),
        ("a", "a", True),
        ("a", None, False),
        (mi.Static(), mi.Static(), True),
        ([np.int64(2), np.float32(0.5)], [2, 0.5], True),
        ([torch.tensor(2)], [2], True),
        ([np.int64(3)], [2], False),
        (2.0, torch.tensor(2.0), False),
        ((np.ones(2), np.full(2, np.nan)), (np.ones(2), np.full(2, np.nan)), True),
        ([np.ones(2)], [np.zeros(2)], False),
        ([np.ones(2)], [torch.ones(2)], False),
        (torch.ones(2) + 0j, torch.ones(2), False),
        (torch.ones(2) + 1j, torch.ones(2) + 2j, False),
        (torch.ones(2).to_sparse(), torch.ones(2), False),
        (mi.Dynamic(0.9), mi.Dynamic(0.8), False),
    ],
)
def test_same(a, b, alike):
    assert same(a, b) is alike


def test_difference_finds_the_value_that_differs():
    assert difference((torch.ones(1), torch.ones(2)), (torch.ones(1), torch.ones(2))) is None
    assert difference((torch.ones(1), torch.ones(3)), (torch.ones(1), torch.ones(2))).startswith("value 2 of 2")
    assert difference(torch.ones(1), (torch.ones(1),) * 2) == (
        "it returns a tensor of shape (1), and a tuple of 2 values is expected."
    )
    assert difference(3, 4) == "it returns 3, and 4 is right."
