"""What every check does: it calls your function on copies of its inputs, compares, and names the mistake it knows.

    exercise(function)          prints ✓ and a sentence, or raises NotYet, whose message is all that a notebook shows
    exercise.again(function)    the same with other numbers, and silent when all is well
    exercise.ready(function)    your function if it passes; the reference if it does not yet, and says so

While your function runs, the package's own version of it is out of reach, by whatever name: calling it is no answer.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from minimagen.resources import other_minimagen

from . import record
from .compare import a_kind, copied, difference, same
from .limits import GIGABYTES, SECONDS, TooLong, bounded, is_memory

if fault := other_minimagen():  # its files lie among ours, and no lesson can rely on any of them
    raise ImportError(fault)

_ALL: dict[str, Exercise] = {}
_PASSED: set[str] = set()

STUB = "It is still the stub. Put your lines where `raise NotImplementedError()` stands."
ENDLESS = f"It has no answer after {SECONDS:.0f} seconds, for inputs this small. Is there a loop that never ends?"
HUNGRY = (
    f"It asks for more than {GIGABYTES:.0f} GB of memory, for inputs this small. "
    "Does a list grow without end, or does a tensor have too large a shape?"
)
RANDOM = (
    "Two calls with the same inputs give two answers: use what you are given, draw no random numbers here, and keep "
    "nothing from one call to the next, such as a list that stands as a default."
)


class NotYet(AssertionError):
    """The answer is not right yet. A notebook shows its message alone, without the way that led here."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class Borrowed(BaseException):
    """The package's own function was called while it was out of reach; `except Exception` does not hide it."""

    caught: list[str] = []

    def __init__(self, name: str):
        super().__init__(name)
        self.caught.append(name)


@dataclass(frozen=True)
class Case:
    """Inputs for one call, and what they are, for the message."""

    about: str
    args: tuple
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wrong:
    """A typical wrong answer: a check compares with it, and so knows the mistake; tests hold it to its message."""

    name: str
    function: Callable
    says: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: the right answer, inputs to try it on, and the mistakes worth a sentence of their own."""

    name: str
    lesson: str  # "01_forward_noise"
    reference: Callable
    cases: Callable[[torch.Generator], Sequence[Case]]
    learned: str  # said when it passes
    borrowed: tuple[Callable, ...] = ()  # the package's functions that would be the answer
    points: int = 2
    minutes: int = 5
    level: int = 1  # 1 a warm-up, 2 to think about, 3 a challenge
    tolerance: float = 1e-4
    of_kind: bool = False  # whether the answer's dtype counts as well as its numbers
    wrong: list[Wrong] = field(default_factory=list)

    def __post_init__(self) -> None:
        _ALL[self.name] = self

    def __call__(self, function: Callable) -> None:
        """Say what is right, or which mistake this is."""
        self._try(function, seed=0)
        _PASSED.add(self.name)
        record.keep(self.name)
        mine = [e for e in _ALL.values() if e.lesson == self.lesson]
        done = sum(e.name in _PASSED for e in mine)
        print(f"✓ {self.name}: {self.learned}  ({done} of {len(mine)} in this lesson)")

    def mistake(self, function: Callable, says: str | None = None) -> Callable:
        """A typical wrong answer. Its docstring is what the learner is told; as a decorator, beside the exercise."""
        says = " ".join((says or function.__doc__ or "").split())
        if not says:
            raise ValueError(f"{function.__name__} has no docstring, and a mistake needs a sentence to name it")
        self.wrong.append(Wrong(function.__name__, function, says))
        return function

    def again(self, function: Callable, seed: int = 1) -> None:
        """With other numbers; silent when all is well."""
        self._try(function, seed)

    def ready(self, function: Callable) -> Callable:
        """`function` if it passes, so that a later cell can draw with it; else the reference, so that it draws too."""
        try:
            double = self._try(function, seed=0)
        except NotYet:
            print(f"Your {self.name} is not ready yet, so minimagen's own takes its place here.")
            return self.reference
        return _in_single(function) if double else function

    def _try(self, function: Callable, seed: int) -> bool:
        """Raises NotYet, or tells whether the answer was right in float64 where float32 is expected."""
        if not callable(function):
            raise self._not_yet(f"This is {a_kind(function)}. Give the function itself, without calling it.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # graders take anything on stderr for a failure
            double = [self._case(function, case) for case in self.cases(torch.Generator().manual_seed(seed))]
        return any(double)

    def _case(self, function: Callable, case: Case) -> bool:
        expected = self.reference(*copied(case.args), **case.options)
        args = copied(case.args)
        got = self._call(function, args, case)
        if not same(got, expected, self.tolerance) or (self.of_kind and got.dtype != expected.dtype):
            raise self._not_yet(self._diagnose(function, case, got, expected), case)
        if (place := _changed(args, case.args)) is not None:
            name = _parameter(self.reference, place)
            raise self._not_yet(f"It writes into its input `{name}`: make a new one, for others need it.", case)
        return any(a == torch.float64 != b for a, b in zip(_dtypes(got), _dtypes(expected)))

    def _call(self, function: Callable, args: tuple, case: Case) -> Any:
        """The function's answer, with the package's own out of reach; whatever goes wrong becomes a sentence."""
        Borrowed.caught.clear()
        try:
            with out_of_reach([self.reference, *self.borrowed]), torch.no_grad(), bounded():
                got = function(*args, **case.options)
        except Borrowed:
            got = None
        except NotImplementedError as error:
            raise self._not_yet(STUB) from error
        except TooLong:
            raise self._not_yet(ENDLESS, case) from None
        except (Exception, SystemExit) as error:
            said = HUNGRY if is_memory(error) else _stopped(function, error)
            raise self._not_yet(said, case) from error
        if Borrowed.caught:
            raise self._not_yet(f"It calls minimagen's own `{Borrowed.caught[0]}`. Here you are to write it yourself.")
        return got

    def _diagnose(self, function: Callable, case: Case, got: Any, expected: Any) -> str:
        if isinstance(got, (Tensor, tuple, list)) and not same(got, self._call(function, copied(case.args), case)):
            return RANDOM
        for wrong in self.wrong:
            theirs = _quietly(wrong.function, case)
            if type(theirs) is type(got) and same(got, theirs, self.tolerance):
                return wrong.says
        return _sentence(difference(got, expected)) or "The numbers are close, but not close enough."

    def _not_yet(self, message: str, case: Case | None = None) -> NotYet:
        where = f"\n  Tried with {case.about}." if case else ""
        return NotYet(f"✗ {self.name}: not yet.\n  {message}{where}")


def exercises(lesson: str | None = None) -> list[Exercise]:
    """All exercises, or those of one lesson, in the order in which the lessons ask for them."""
    return [e for e in _ALL.values() if lesson in (None, e.lesson)]


def _trip(*args: Any, **options: Any) -> Any:
    import sys

    from minimagen.checks.frame import Borrowed

    raise Borrowed(sys._getframe().f_code.co_qualname)


@contextmanager
def out_of_reach(functions: Sequence[Callable]) -> Iterator[None]:
    """Whoever calls one of these functions meanwhile raises `Borrowed`.

    Their code is exchanged, not their names: so it does not matter how they were imported, or who calls them for whom.
    """
    plain = {id(f): f for f in map(_plain, functions)}.values()
    kept = [(f, f.__code__) for f in plain]
    try:
        for f, code in kept:
            f.__code__ = _trip.__code__.replace(co_qualname=code.co_qualname)
        yield
    finally:
        for f, code in kept:
            f.__code__ = code


def _plain(function: Callable) -> Any:
    """The Python function inside partials, methods and decorators."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function) or function.__closure__:
        raise ValueError(f"{function!r} cannot be put out of reach: it must be a plain function without a closure")
    return function


def _sentence(text: str | None) -> str:
    return text[0].upper() + text[1:] if text else ""


def _quietly(function: Callable, case: Case) -> Any:
    try:
        with torch.no_grad():
            return function(*copied(case.args), **case.options)
    except Exception:
        return _quietly  # equal to no answer


def _dtypes(value: Any) -> list[torch.dtype | None]:
    """One for each value of an answer, from left to right."""
    if isinstance(value, (list, tuple)):
        return [dtype for part in value for dtype in _dtypes(part)]
    return [value.dtype if isinstance(value, Tensor) else None]


def _in_single(function: Callable) -> Callable:
    """The function, whose float64 answers become float32: what comes after it in a lesson computes in that."""

    def single(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return type(value)(map(single, value))
        return value.float() if isinstance(value, Tensor) and value.dtype == torch.float64 else value

    @functools.wraps(function)
    def rounded(*args: Any, **options: Any) -> Any:
        return single(function(*args, **options))

    return rounded


def _changed(now: Any, before: Any) -> int | None:
    """Which of the inputs is no longer what it was."""
    for place, (a, b) in enumerate(zip(now, before)):
        if isinstance(a, (Tensor, list)) and not same(a, b, 0.0):
            return place
    return None


def _parameter(function: Callable, place: int) -> str:
    return list(inspect.signature(function).parameters)[place]


def _stopped(function: Callable, error: BaseException) -> str:
    """The error, and the line of the function at which it happened."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    code = getattr(inspect.unwrap(function), "__code__", None)
    lines = [f.line for f in frames if code is not None and f.filename == code.co_filename and f.line]
    where = f" at `{lines[-1]}`" if lines else ""
    return f"It stops{where} with {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
