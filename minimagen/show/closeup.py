"""The same place of several pictures, enlarged: what differs between two sizes is too fine to see in the whole."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import torch
from PIL import Image
from torch import Tensor

from .frame import WIDTH, Figure
from .pictures import pixels, strip

FRAME = (0.90, 0.62, 0.0)  # orange, which is told from any picture
EDGE = 480  # pixels: both rows are as large, whatever the sizes of the pictures


def closeup(
    named: Mapping[str, Tensor | Image.Image],
    window: tuple[float, float, float, float],
    *,
    whole: bool = True,
    caption: str = "",
    width: float = WIDTH,
) -> Figure:
    """Pictures (3, H, W) or PIL by name, of any sizes, and below each what lies in its window.

    window: left, top, right, bottom, from 0 to 1. whole False: the windows alone.
    """
    left, top, right, bottom = window
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"a window is (left, top, right, bottom), within [0, 1] and not empty; {window} is not")
    wholes, parts = [], []
    for picture in named.values():
        x = torch.from_numpy(pixels(picture)).permute(2, 0, 1) * 2 - 1
        height, wide = x.shape[-2:]
        y0, x0 = int(top * height), int(left * wide)
        parts.append(_larger(x[:, y0 : max(round(bottom * height), y0 + 1), x0 : max(round(right * wide), x0 + 1)]))
        wholes.append(_framed(_larger(x), window))
    rows = {"whole": wholes, "part of it": parts} if whole else {"": parts}
    return strip(rows, list(named), caption=caption, width=width)


def _larger(x: Tensor) -> Tensor:
    """At least EDGE pixels a side, each pixel still to be seen."""
    times = ceil(EDGE / min(x.shape[-2:]))
    return x.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _framed(x: Tensor, window: tuple[float, float, float, float]) -> Tensor:
    """With the window's outline, as thick in the figure whatever the picture's size."""
    height, width = x.shape[-2:]
    left, top, right, bottom = (round(v * n) for v, n in zip(window, (width, height, width, height)))
    thick = max(1, round(width / 120))
    x = x.clone()
    color = torch.tensor(FRAME).view(3, 1, 1) * 2 - 1
    for rows, columns in (
        (slice(top, top + thick), slice(left, right)),
        (slice(bottom - thick, bottom), slice(left, right)),
        (slice(top, bottom), slice(left, left + thick)),
        (slice(top, bottom), slice(right - thick, right)),
    ):
        x[:, rows, columns] = color
    return x
