"""A function that loops, eats memory or prints without end: one sentence for the learner, and a check that goes on."""

import contextlib
import signal
import sys
import threading
import time

import pytest
import torch

from minimagen import checks
from minimagen.checks import frame, limits

linux = pytest.mark.skipif(limits._used() is None, reason="only Linux says how much memory a process has")


@pytest.fixture
def doubling(monkeypatch):
    """An exercise that is nobody's, with little time."""
    monkeypatch.setattr(frame, "_ALL", {})
    monkeypatch.setattr(frame, "_PASSED", set())
    monkeypatch.setattr(frame, "bounded", lambda: limits.bounded(seconds=0.3))

    def cases(generator):
        return [checks.Case("three numbers", (torch.randn(3, generator=generator),))]

    return checks.Exercise("double", "99_none", lambda x: 2 * x, cases, learned="twice as much.")


def say(exercise, function) -> str:
    with pytest.raises(checks.NotYet) as caught:
        exercise(function)
    return str(caught.value)


def endless(x):
    while True:
        x = x + 1


def endless_and_deaf(x):
    for _ in range(3):
        with contextlib.suppress(Exception):
            endless(x)
        with contextlib.suppress(BaseException):
            endless(x)
    return endless(x)


@pytest.mark.parametrize("function", [endless, endless_and_deaf, lambda x: time.sleep(60)])
def test_a_loop_without_end_is_named(doubling, function):
    start = time.monotonic()
    assert frame.ENDLESS in say(doubling, function)
    assert time.monotonic() - start < 10
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "the clock is stopped"


@linux
@pytest.mark.parametrize("function", [lambda x: torch.zeros(2**32), lambda x: bytearray(2**33)], ids=["torch", "bytes"])
def test_too_much_memory_is_named(doubling, function):
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    assert frame.HUNGRY in say(doubling, function)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert torch.zeros(2**29).numel() == 2**29, "outside a check there is as much as ever"


def test_what_is_printed_is_clipped_and_counted(doubling, capsys):
    def loud(x):
        print("Look: ", x.shape)
        print("a" * 5_000_000)
        print("and here", file=sys.stderr)
        return 2 * x

    doubling(loud)
    out, err = capsys.readouterr()
    assert out.startswith("Look:  torch.Size([3])") and len(out) < 3_000
    assert "more characters, which are not shown." in out and "✓ double" in out
    assert err == "", "a grader takes anything on stderr for a failure"


def test_a_word_or_two_pass_as_they_are(doubling, capsys):
    doubling(lambda x: print("here") or 2 * x)
    assert capsys.readouterr().out.startswith("here\n✓ double")


def test_an_outer_clock_goes_on():
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with limits.bounded(seconds=5):
            time.sleep(0.05)
        time.sleep(0.6)
        assert len(rung) == 1
    finally:
        signal.signal(signal.SIGALRM, old)


def test_in_another_thread_there_is_no_clock_and_no_fault(doubling):
    done = []
    worker = threading.Thread(target=lambda: done.append(doubling(lambda x: 2 * x)))
    worker.start()
    worker.join()
    assert done == [None]
