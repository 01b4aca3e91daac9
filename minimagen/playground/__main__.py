"""python -m minimagen.playground: the playground as a page of its own, opened by Voilà. `make play` calls it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from . import WEIGHTS

HERE = Path(__file__).parent
EXAMPLES = """\
examples:
  python -m minimagen.playground
  python -m minimagen.playground --weights runs/mine --port 9000
  python -m minimagen.playground --no-browser

Only this computer can open the page. To open it from a phone in the same network, say --ip 0.0.0.0, and know that
anyone in that network can then use it."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m minimagen.playground",
        description="Try Imagen on a page of its own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--weights", metavar="NAME", help="a folder of weights (default: those that ship)")
    top.add_argument("--port", type=int, default=8866, metavar="N", help="default: 8866")
    top.add_argument("--ip", default="127.0.0.1", metavar="A", help="who may open it (default: this computer)")
    top.add_argument("--no-browser", action="store_true", help="print the address, and open nothing")
    return top


def command(args: argparse.Namespace) -> list[str]:
    """What Voilà is started with."""
    chosen = [f"--port={args.port}", f"--Voila.ip={args.ip}", *(["--no-browser"] if args.no_browser else [])]
    # One kernel waits ready, so that the page opens at once. A page that is closed gives its memory back.
    kept = ["--VoilaConfiguration.preheat_kernel=True", "--VoilaConfiguration.default_pool_size=1"]
    return [str(HERE / "playground.ipynb"), "--template=minimagen", *kept, *chosen]


def main(arguments: list[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        from voila.app import Voila
    except ImportError:
        raise SystemExit("the playground needs Voilà: pip install 'minimagen-course[play]'") from None
    if args.weights is not None:
        if not Path(args.weights).is_dir():
            raise SystemExit(f"there is no folder {args.weights}")
        os.environ[WEIGHTS] = str(Path(args.weights).resolve())
    # Voilà looks for templates where Jupyter keeps its data, and here.
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("JUPYTER_PATH")]))
    Voila.launch_instance(argv=command(args))


if __name__ == "__main__":
    main()
