"""Bounds for somebody else's function while it is tried: seconds, memory, and what it prints.

A loop without an end would leave a learner before a kernel that says nothing, and a grader without a grade.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

SECONDS = 10.0  # of work; a check's inputs are tiny, and whoever needs longer is in a loop
GIGABYTES = 2.0
CHARACTERS = 2_000


class TooLong(BaseException):
    """The time is up; `except Exception` does not hide it."""


class Clipped:
    """Passes on what is printed, up to a bound, and counts the rest."""

    def __init__(self, out: TextIO, characters: int = CHARACTERS):
        self.out, self.room, self.more = out, characters, 0
        self.encoding = getattr(out, "encoding", "utf-8")

    def write(self, text: str) -> int:
        shown = text[: self.room]
        self.room -= len(shown)
        self.more += len(text) - len(shown)
        if shown:
            self.out.write(shown)
        return len(text)

    def flush(self) -> None:
        self.out.flush()

    def isatty(self) -> bool:
        return False


@contextmanager
def bounded(seconds: float = SECONDS, gigabytes: float = GIGABYTES, characters: int = CHARACTERS) -> Iterator[None]:
    """Inside, a function that takes too long raises `TooLong`, one that takes too much a memory error.

    What it prints, to stderr too, goes to stdout: a grader takes anything on stderr for a failure.
    """
    out = Clipped(sys.stdout, characters)
    try:
        with _clock(seconds), _memory(gigabytes), redirect_stdout(out), redirect_stderr(out):
            yield
    finally:
        if out.more:
            print(f"\n… and {out.more:,} more characters, which are not shown.")


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory: Python's own, or torch's."""
    return isinstance(error, MemoryError) or bool(re.search(r"can't allocate memory|out of memory", str(error)))


@contextmanager
def _clock(seconds: float) -> Iterator[None]:
    """Where the system has such a clock, and only in the main thread, for signals come nowhere else."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    start, work = time.monotonic(), time.process_time()

    def ring(number: int, frame: Any) -> None:
        # Seconds of work: a busy machine is no slow answer. But whoever sleeps does not get for ever either.
        if time.process_time() - work >= seconds or time.monotonic() - start >= 6 * seconds:
            raise TooLong

    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # and then every half second: a bare `except:` hides the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if timer[0]:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, timer[0] - (time.monotonic() - start)), timer[1])


@contextmanager
def _memory(gigabytes: float) -> Iterator[None]:
    """So much more than now; where the system cannot say what is now, no bound."""
    used = _used()
    if used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = used + int(gigabytes * 2**30)
    bounds = [b for b in (soft, hard) if b != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _used() -> int | None:
    """The address space of this process in bytes, where Linux tells it."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmSize:\s*(\d+) kB", status.read_text(), flags=re.M) if status.exists() else None
    return int(found[1]) * 1024 if found else None
