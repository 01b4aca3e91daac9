"""The command `minimagen`: how it runs, and how it fails.

Exit codes: 0 done; 1 a fault, in one sentence; 2 a command that makes no sense; 130 interrupted.
torch and its kin are imported by the commands themselves, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence

from .options import check, parser
from .terminal import note

OK, FAULT, USAGE, INTERRUPTED = 0, 1, 2, 130
KEPT = {"train": "; --resume goes on from the last checkpoint", "draw": "; what was finished is kept"}


def sentence(fault: BaseException) -> str:
    """A fault as one sentence, without its number, its class or its page of context."""
    if isinstance(fault, ModuleNotFoundError):
        return f"the package {fault.name} is not installed here; run `pip install {fault.name}`"
    if isinstance(fault, OSError) and fault.strerror:
        if fault.errno == errno.ENOSPC and "disk" not in fault.strerror:
            return f"the disk is full: {fault.filename or 'a file'} was not written; free some space"
        return f"{fault.filename}: {fault.strerror}" if fault.filename else fault.strerror
    text = " ".join(str(fault).split())
    if (
        (isinstance(fault, MemoryError) and not isinstance(fault, ValueError))
        or "out of memory" in text
        or "can't allocate memory" in text
    ):
        return "there is not enough memory; draw fewer pictures at once, a smaller --size, or on --device cpu"
    if isinstance(fault, (ValueError, OSError, ImportError, ArithmeticError)) and text:
        return text
    return f"unexpected {type(fault).__name__}: {text or 'no words'}; `minimagen --traceback …` shows where"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the return value is the exit code."""
    top = parser()
    args = Namespace(command="", traceback=False)
    try:
        args = top.parse_args(argv)
        check(top, args)
        warnings.showwarning = _note
        from . import commands, resources

        if other := resources.other_minimagen():
            note(other)
        getattr(commands, args.command)(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"\nminimagen: interrupted{KEPT.get(args.command, '')}.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `minimagen … | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as fault:
        if args.traceback:
            raise
        said = sentence(fault).rstrip(".")
        print(f"minimagen: {said}{'' if said.endswith('?') else '.'}", file=sys.stderr)
        return FAULT
    return OK


def _note(message, category, filename, lineno, file=None, line=None) -> None:
    """Our own warnings as one line; those of other libraries are not the reader's to mend."""
    if issubclass(category, UserWarning) and f"{os.sep}minimagen{os.sep}" in filename:
        note(str(message))


if __name__ == "__main__":
    sys.exit(main())
