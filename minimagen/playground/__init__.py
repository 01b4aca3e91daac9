"""A page to try Imagen on: a sentence, a few dials, and three stages that denoise before one's eyes.

    make play                                or: python -m minimagen.playground --weights runs/mine
    minimagen.playground.Playground()        the same page as a widget, in any notebook

wishes      what is asked for, and what is wrong with it, in plain words
painting    the steps of a drawing as pictures that a browser can show
words       where in the picture the network looks at each word
film        one drawing on the page: its frames, its stages, its words
easel       the picture on the page, on which a mask can be painted
page        the page itself
"""

from typing import TYPE_CHECKING, Any

WEIGHTS = "MINIMAGEN_WEIGHTS"  # the folder of weights, from the command line to the page; unset = those that ship

if TYPE_CHECKING:
    from .page import Playground as Playground


def __getattr__(name: str) -> Any:
    """Widgets are imported when they are asked for, so that `--help` is quick."""
    if name == "Playground":
        from .page import Playground

        return Playground
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
