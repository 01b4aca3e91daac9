"""The page that every figure is drawn on: notebook width, a caption below, colours that all eyes can tell apart."""

from __future__ import annotations

import base64
import functools
import io
import textwrap
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as _Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

WIDTH = 9.9  # inches: a notebook's column, in which seven pictures of 64 px fit at twice their size
DPI = 100
# Every channel in steps of 3 of 255, which nobody sees: it takes a quarter off a stored notebook.
STEPS_OF_THREE = [3 * round(value / 3) for value in range(256)] * 3
CAPTION, SIZE, LEFT = 0.25, 10.5, 0.008  # the caption: inches a line, points, and what part of the width is left free
# Okabe and Ito's palette (2008), distinct to colour-blind eyes too; lines differ in their dashes as well
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), "-.", (0, (8, 2, 2, 2)), (0, (1, 1)), "-")
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 2.2,
    "figure.constrained_layout.h_pad": 0.06,
}


class Figure(_Figure):
    """A matplotlib figure that a notebook shows as PNG, with its caption as the text for those who cannot see it."""

    caption: str = ""

    def png(self) -> bytes:
        """The picture, the same bytes each time."""
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        buffer = io.BytesIO()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        image.point(STEPS_OF_THREE).save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        text = f"Figure: {self.caption}" if self.caption else "Figure"
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": text}
        return data, {"image/png": {"alt": text}}


def page(height: float, caption: str = "", width: float = WIDTH, layout: Any = "constrained") -> Figure:
    """An empty figure of `height` inches, and its caption in a room of its own below."""
    lines = _lines(caption, width)
    figure = Figure(figsize=(width, height + CAPTION * len(lines)), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    figure.caption = caption
    if lines:
        figure.supxlabel("\n".join(lines), x=LEFT, ha="left", fontsize=SIZE, color="#333333", linespacing=1.35)
    return figure


def _lines(caption: str, width: float) -> list[str]:
    """The caption in lines of whole words, none of them wider than `width` inches."""
    measure, font = FigureCanvasAgg(_Figure(dpi=DPI)).get_renderer(), FontProperties(size=SIZE)
    room, lines = (1 - 2 * LEFT) * width * DPI, []
    for columns in range(int(width * 12.6), 0, -1):  # so many letters fit, unless many are wide ones
        lines = textwrap.wrap(caption, columns)
        if all(measure.get_text_width_height_descent(line, font, False)[0] <= room for line in lines):
            break
    return lines


P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in the course's style, whatever the notebook's is."""

    @functools.wraps(draw)
    def inner(*args: P.args, **options: P.kwargs) -> R:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return inner
