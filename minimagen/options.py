"""What the command `minimagen` understands. Each command's help ends in examples that can be copied as they are."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

ABOUT = """\
Imagen in miniature: from a sentence to a picture, on a CPU, in seconds.

  minimagen draw "three blue cones against a sunset sky"

`minimagen COMMAND --help` explains a command and shows examples."""

DRAW = """\
examples:
  minimagen draw "three blue cones against a sunset sky"
  minimagen draw "two green cones" "a metal ring" --seed 7 --out pictures/
  minimagen draw "a glass sphere" --size 64 --steps 16 --guidance 4 --threshold dynamic --percentile 0.995
  minimagen draw "a striped cube" --enlarge small.png --stages 256,1024
  minimagen draw "a large purple pyramid" --size 64 --watch

One value for --steps, --guidance or --threshold is for the first stage that runs, of --aug for the first that enlarges;
a list such as 32,8,4 has one for each that runs.
Picture i of a seed is the same alone and beside others: --first i draws it again, and a PNG says which it is."""

TRAIN = """\
The stages of a cascade are trained one at a time, in this order, into a folder that `minimagen draw --weights` reads:

  text     a small T5, from text alone              FOLDER/text_encoder and FOLDER/tokenizer
  base     sentence → 64 px                         FOLDER/unet_64
  sr256    64 → 256 px                              FOLDER/unet_256
  sr1024   256 → 1024 px                            FOLDER/unet_1024
  judge    what reads pictures, to score them       FOLDER/judge

examples:
  minimagen train text --minutes 20
  minimagen train base --out runs/mine --minutes 60
  minimagen train base --out runs/mine --minutes 120 --resume

A FOLDER without a text encoder gets the one that its stages read: --text, or the one that ships.
Ctrl-C keeps what there is, and --resume goes on from there. `minimagen train STAGE --help` shows a stage's options."""

STAGES = {
    "text": (
        "a small T5, from text alone",
        """\
examples:
  minimagen train text --minutes 20
  minimagen train text --out runs/mine --steps 2000 --seed 1""",
    ),
    "base": (
        "sentence → 64 px",
        """\
examples:
  minimagen train base --minutes 60
  minimagen train base --steps 20000 --preset gpu --resume
  minimagen train base --begin data --minutes 60 --out runs/more
  minimagen train base --data pictures/ --out runs/own --minutes 30 --batch 16

A folder of your own holds pictures with their captions: cat.png beside cat.txt, or metadata.jsonl. Shards are tar files
in WebDataset's layout, as in --data "shards/*.tar".""",
    ),
    "sr256": (
        "64 → 256 px",
        """\
examples:
  minimagen train sr256 --minutes 60
  minimagen train sr256 --begin data --minutes 60 --out runs/more
  minimagen train sr256 --data "shards/*.tar" --out runs/own --minutes 60""",
    ),
    "sr1024": (
        "256 → 1024 px",
        """\
examples:
  minimagen train sr1024 --minutes 60
  minimagen train sr1024 --minutes 90 --resume""",
    ),
    "judge": (
        "what reads pictures, to score them",
        """\
examples:
  minimagen train judge --minutes 60
  minimagen train judge --minutes 90 --resume""",
    ),
}

EVALUATE = """\
examples:
  minimagen evaluate
  minimagen evaluate runs/mine --size 64 --pictures 2 --out report/
  minimagen evaluate runs/mine --prompts captions --n 2000 --pictures 1 --size 64
  minimagen evaluate drawings/

The judge reads every picture, and is then asked what its sentence says; its own score on true pictures stands beside
each number. A folder of pictures needs captions, NAME.txt beside NAME.png as `minimagen draw` leaves them, or
metadata.jsonl. The report goes to --out as Markdown, JSON, and a page with every picture."""

EXPORT = """\
examples:
  minimagen export diffusers exported/
  minimagen export diffusers exported/ --weights runs/mine

Afterwards, in Python:
  diffusers.IFPipeline.from_pretrained("exported/stage_1")
  minimagen.export.super_resolution_pipeline("exported/stage_2")"""


# Types of values, each with its own sentence for what is none


def number(text: str) -> float:
    try:
        return finite(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number to reckon with")
    return value


def numbers(kind: type) -> Callable[[str], list]:
    """32 or 32,8,4 → a list of numbers."""

    def parse(text: str) -> list:
        try:
            return [finite(kind(part)) for part in text.split(",")]
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
    if not 0 < number(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no quantile: write the 99.5th percentile as 0.995")
    return number(text)


def above_zero(text: str) -> float:
    if (value := number(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            count = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if count < least:
            raise argparse.ArgumentTypeError(f"{count} is too few; {least} is the least")
        return count

    return parse


class _Version(argparse.Action):
    """`--version` names the package, the version of Toyland, and the weights that are found."""

    def __call__(self, parser, namespace, values, option_string=None):
        from .commands import version

        print(version())
        parser.exit()


def parser() -> argparse.ArgumentParser:
    top = _parser(argparse.ArgumentParser, prog="minimagen", description=ABOUT)
    top.add_argument("--version", action=_Version, nargs=0, help="the versions of package, Toyland and weights")
    top.add_argument("--traceback", action="store_true", help="on a fault, show where in the code it arose")
    add = top.add_subparsers(dest="command", metavar="COMMAND", required=True).add_parser
    _draw(_parser(add, "draw", help="draw pictures of sentences", epilog=DRAW))
    _train(_parser(add, "train", help="train a stage", epilog=TRAIN))
    _evaluate(_parser(add, "evaluate", help="score pictures against their sentences", epilog=EVALUATE))
    _export(_parser(add, "export", help="write weights for other libraries", epilog=EXPORT))
    return top


def _parser(make: Callable[..., argparse.ArgumentParser], *names: str, **words: str) -> argparse.ArgumentParser:
    return make(*names, formatter_class=argparse.RawDescriptionHelpFormatter, **words)


def check(top: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What argparse cannot see: options that need one another."""
    if (
        args.command in ("draw", "evaluate")
        and args.percentile is not None
        and "dynamic" not in (args.threshold or ["dynamic"])
    ):
        top.error("--percentile belongs to --threshold dynamic")
    if args.command == "train" and args.minutes is not None and args.steps is not None:
        top.error("a run has one budget: either --minutes or --steps")
    if args.command == "train" and args.minutes is None and args.steps is None and args.stage in ("text", "judge"):
        top.error("say how long to train: --minutes or --steps")


def _draw(draw: argparse.ArgumentParser) -> None:
    draw.description = "Draw a picture of each sentence."
    add = draw.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="what to draw, in quotes (none for weights without text)")
    add("--out", default="drawings", metavar="PATH", help="a picture (a.png) or a folder (default: drawings)")
    add("--count", type=at_least(1), default=1, metavar="N", help="pictures of each sentence (default: 1)")
    add("--seed", type=int, default=0, metavar="N", help="another seed is another picture (default: 0)")
    add("--first", type=at_least(0), default=0, metavar="I", help="the first picture's index (default: 0)")
    add("--stages", type=numbers(int), metavar="PX,…", help="load only these stages, such as 64,256")
    _sampling(draw)
    add("--enlarge", metavar="PICTURE", help="begin from this picture, and only enlarge it")
    add("--weights", metavar="NAME", help="a folder of weights (default: those that ship)")
    add("--device", metavar="D", help="cpu, cuda, … (default: a GPU if there is one)")
    add("--watch", action="store_true", help="show the estimate x̂ in the terminal while it forms")


def _sampling(command: argparse.ArgumentParser) -> None:
    """How pictures are drawn; whatever is left out is the stage's own."""
    add = command.add_argument
    add("--size", type=int, metavar="PX", help="stop at this size (default: the largest)")
    add("--steps", type=numbers(int), metavar="N,…", help="denoising steps")
    add("--guidance", type=numbers(float), metavar="W,…", help="guidance weight w; 1 is off")
    add("--threshold", type=thresholds, metavar="T,…", help="static, dynamic or none")
    add("--percentile", type=fraction, metavar="P", help="dynamic thresholding's p, such as 0.995")
    add("--aug", type=numbers(float), metavar="A,…", help="noise on the smaller picture, 0 to 1; 0 is off")
    add("--eta", type=number, metavar="E", help="0 is DDIM (deterministic), 1 is DDPM")


def _evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.description = "How well do pictures show what their sentences say?"
    add = evaluate.add_argument
    add(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a folder of weights or of pictures (default: the weights that ship)",
    )
    add("--prompts", default="drawbench", metavar="NAME", help="drawbench, suites, captions, … (default: drawbench)")
    add("--n", type=at_least(1), default=50, metavar="N", help="prompts of each suite (default: 50)")
    add("--pictures", type=at_least(1), default=4, metavar="N", help="pictures of each prompt (default: 4)")
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    add("--out", default="report", metavar="FOLDER", help="where the report goes (default: report)")
    add("--keep", action="store_true", help="write the pictures there too")
    add("--judge", metavar="FOLDER", help="a judge's folder (default: the one that ships)")
    _sampling(evaluate)


def _train(train: argparse.ArgumentParser) -> None:
    train.description = "Train one stage of a cascade."
    stages = train.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, (what, examples) in STAGES.items():
        stage = _parser(stages.add_parser, name, help=what, description=f"Train {name}: {what}.", epilog=examples)
        add = stage.add_argument
        add("--out", default="runs/toyland", metavar="FOLDER", help="default: runs/toyland")
        add("--minutes", type=above_zero, metavar="M", help="how long to train, earlier sessions included")
        add("--steps", type=at_least(1), metavar="N", help="or how many steps")
        add("--resume", action="store_true", help="go on with the run in that folder")
        add("--seed", type=int, default=0, metavar="N", help="default: 0")
        if name in ("text", "judge"):
            add("--device", metavar="D", help="cpu, cuda, … (default: a GPU if there is one)")
            continue
        add("--preset", choices=("cpu", "gpu"), help="the recipe (default: by what the machine has)")
        add("--data", metavar="PATH", help="a folder of pictures, or shards (default: Toyland)")
        add("--text", metavar="NAME", help="text encoder (default: FOLDER's own, or the one that ships)")
        add("--begin", metavar="FOLDER", help="a cascade whose weights to go on from (default: new weights)")
        add("--cache", metavar="FOLDER", help="where to keep rendered pictures (default: beside the stage)")
        add("--batch", type=at_least(1), metavar="N", help="pictures a step (default: the recipe's)")
        add("--accumulate", type=at_least(1), metavar="N", help="compute a batch in N parts; 1 is off")
        add("--lr", type=above_zero, metavar="R", help="learning rate (default: the recipe's)")
        add("--precision", choices=("fp32", "bf16"), help="default: what is fast on this machine")
        if name in ("base", "sr256"):
            add("--pairs", type=at_least(0), metavar="N", help="twins beside a batch (default: the recipe's; 0: none)")
        add("--workers", type=at_least(0), metavar="N", help="processes that prepare data; 0 is none")


def _export(export: argparse.ArgumentParser) -> None:
    export.description = "Write a cascade in another library's layout."
    export.add_argument("kind", choices=("diffusers",), help="DeepFloyd IF's pipelines of diffusers")
    export.add_argument("folder", metavar="FOLDER", help="a new folder")
    export.add_argument("--weights", metavar="NAME", help="a folder of weights (default: those that ship)")
