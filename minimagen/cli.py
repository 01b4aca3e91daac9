"""The command `minimagen`: what it understands, and how it fails.

Exit codes: 0 done; 1 a fault, in one sentence; 2 a command that makes no sense; 130 interrupted.
torch and its kin are imported by the commands themselves, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence

OK, FAULT, USAGE, INTERRUPTED = 0, 1, 2, 130

ABOUT = """\
Imagen in miniature: from a sentence to a picture, on a CPU, in seconds.

  minimagen draw "a shiny red cube left of a small blue sphere"

`minimagen COMMAND --help` explains a command and shows examples."""

DRAW = """\
examples:
  minimagen draw "a shiny red cube left of a small blue sphere"
  minimagen draw "two green cones" "a metal ring" --seed 7 --out pictures/
  minimagen draw "a glass sphere" --size 64 --steps 16 --guidance 4 --threshold dynamic --percentile 0.995
  minimagen draw "a striped cube" --enlarge small.png --stages 256,1024
  minimagen draw "a large purple pyramid" --size 64 --watch

One value for --steps, --guidance, --threshold or --aug is the first stage's; a list such as 32,8,4 has one each.
The same seed draws the same picture, alone or beside others."""


def numbers(kind: type) -> Callable[[str], list]:
    """A type for argparse: 32 or 32,8,4 → a list of numbers."""

    def parse(text: str) -> list:
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number, nor a list such as 4,1,1") from None

    return parse


def thresholds(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ("static", "dynamic", "none")]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no threshold: there are static, dynamic and none")
    return names


def fraction(text: str) -> float:
    """A quantile in (0, 1]; 99.5 for 0.995 is a mistake that half the world has made once."""
    try:
        p = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < p <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no quantile: write the 99.5th percentile as 0.995")
    return p


def at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is too few; {least} is the least")
        return number

    return parse


class _Version(argparse.Action):
    """`--version` names the package, the version of Toyland, and the weights that are found."""

    def __call__(self, parser, namespace, values, option_string=None):
        from .commands import version

        print(version())
        parser.exit(OK)


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="minimagen", description=ABOUT, formatter_class=form)
    top.add_argument("--version", action=_Version, nargs=0, help="the versions of package, Toyland and weights")
    top.add_argument("--traceback", action="store_true", help="on a fault, show where in the code it arose")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    draw = commands.add_parser(
        "draw", help="draw pictures of sentences", description="Draw a picture of each sentence.",
        epilog=DRAW, formatter_class=form,
    )  # fmt: skip
    draw.add_argument(
        "prompt", nargs="*", metavar="PROMPT", help="what to draw, in quotes (none for weights without text)"
    )
    draw.add_argument(
        "--out", default="drawings", metavar="PATH", help="a picture (a.png) or a folder (default: drawings)"
    )
    draw.add_argument(
        "--count", type=at_least(1), default=1, metavar="N", help="pictures of each sentence (default: 1)"
    )
    draw.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another picture (default: 0)")
    draw.add_argument("--size", type=int, metavar="PX", help="stop at this size (default: the largest)")
    draw.add_argument("--stages", type=numbers(int), metavar="PX,…", help="load only these stages, such as 64,256")
    draw.add_argument("--steps", type=numbers(int), metavar="N,…", help="denoising steps")
    draw.add_argument("--guidance", type=numbers(float), metavar="W,…", help="guidance weight w; 1 is off")
    draw.add_argument("--threshold", type=thresholds, metavar="T,…", help="static, dynamic or none")
    draw.add_argument("--percentile", type=fraction, metavar="P", help="dynamic thresholding's p, such as 0.995")
    draw.add_argument(
        "--aug", type=numbers(float), metavar="A,…", help="noise on the smaller picture, 0 to 1; 0 is off"
    )
    draw.add_argument("--eta", type=float, metavar="E", help="0 is DDIM (deterministic), 1 is DDPM")
    draw.add_argument("--enlarge", metavar="PICTURE", help="begin from this picture, and only enlarge it")
    draw.add_argument("--weights", metavar="NAME", help="a folder of weights (default: those that ship)")
    draw.add_argument("--device", metavar="D", help="cpu, cuda, … (default: a GPU if there is one)")
    draw.add_argument("--watch", action="store_true", help="show the estimate x̂ in the terminal while it forms")
    return top


def check(top: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What argparse cannot see: options that need one another."""
    if args.command == "draw" and args.percentile is not None and "dynamic" not in (args.threshold or ["dynamic"]):
        top.error("--percentile belongs to --threshold dynamic")


def sentence(fault: BaseException) -> str:
    """A fault as one sentence, without its number, its class or its page of context."""
    if isinstance(fault, ModuleNotFoundError):
        return f"the package {fault.name} is not installed here; run `pip install {fault.name}`"
    if isinstance(fault, OSError) and fault.strerror:
        if fault.errno == errno.ENOSPC and "disk" not in fault.strerror:
            return f"the disk is full: {fault.filename or 'a file'} was not written; free some space"
        return f"{fault.filename}: {fault.strerror}" if fault.filename else fault.strerror
    text = " ".join(str(fault).split())
    if isinstance(fault, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "there is not enough memory; draw fewer pictures at once, a smaller --size, or on --device cpu"
    if isinstance(fault, (ValueError, OSError, ImportError, ArithmeticError)) and text:
        return text
    return f"unexpected {type(fault).__name__}: {text or 'no words'}; `minimagen --traceback …` shows where"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the return value is the exit code."""
    top = parser()
    args = top.parse_args(argv)
    check(top, args)
    warnings.showwarning = _note
    try:
        from . import commands, resources

        if other := resources.other_minimagen():
            print(f"minimagen: note: {other}.", file=sys.stderr)
        getattr(commands, args.command)(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nminimagen: interrupted; what was finished is kept.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `minimagen … | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as fault:
        if args.traceback:
            raise
        print(f"minimagen: {sentence(fault).rstrip('.')}.", file=sys.stderr)
        return FAULT
    return OK


def _note(message, category, filename, lineno, file=None, line=None) -> None:
    """Our own warnings as one line; those of other libraries are not the reader's to mend."""
    if issubclass(category, UserWarning) and f"{os.sep}minimagen{os.sep}" in filename:
        print(f"minimagen: note: {str(message).rstrip('.')}.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
