"""Letters for the sign: a bold condensed font, turned once into signed distances, so that it is sharp at any size."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

FONT = Path(__file__).parent / "font" / "DejaVuSansCondensed-Bold-AZ.ttf"
ROWS, COLUMNS = 56, 44  # samples of a letter's cell
PAD = 4 / ROWS  # of the cell's height: room for distances around a letter
WIDEST = 0.90  # of the cell's width


@lru_cache(maxsize=1)
def letters() -> Tensor:
    """(26, ROWS, COLUMNS): the distance to the letter's edge in cell heights, positive inside.

    The cell is one letter height (A's), widened by PAD above and below; wide letters are narrowed to fit.
    """
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(FONT), 400, layout_engine=ImageFont.Layout.BASIC)
    _, top, _, bottom = (round(v) for v in font.getbbox("H"))
    cap = bottom - top
    high, wide = 4 * ROWS, 4 * COLUMNS
    pixels = []
    for code in range(26):
        letter = chr(65 + code)
        left, _, right, low = (round(v) for v in font.getbbox(letter))
        glyph = Image.new("L", (right - left, max(cap, low - top)), 0)  # J and Q reach lower, and are squeezed
        ImageDraw.Draw(glyph).text((-left, -top), letter, fill=255, font=font)
        scale = (1 - 2 * PAD) * high / cap
        width = min(round(glyph.width * scale), round(WIDEST * wide))
        cell = Image.new("L", (wide, high), 0)
        cell.paste(
            glyph.resize((width, round((1 - 2 * PAD) * high)), Image.Resampling.LANCZOS),
            ((wide - width) // 2, round(PAD * high)),
        )
        pixels.append(torch.from_numpy(numpy.asarray(cell).copy()) > 127)
    return torch.stack([_distances(p) for p in pixels])


def _distances(inside: Tensor) -> Tensor:
    """Signed distance from every fourth point to the nearest boundary between pixels, brute force."""
    a, b = (inside[:, 1:] != inside[:, :-1]).nonzero(), (inside[1:] != inside[:-1]).nonzero()
    edge = torch.cat([a + torch.tensor([0.5, 1.0]), b + torch.tensor([1.0, 0.5])])
    y, x = torch.meshgrid(torch.arange(ROWS) * 4 + 2.0, torch.arange(COLUMNS) * 4 + 2.0, indexing="ij")
    points = torch.stack([y, x], -1).view(-1, 2)
    d = torch.cdist(points, edge, compute_mode="donot_use_mm_for_euclid_dist").amin(1).view(ROWS, COLUMNS)
    return torch.where(inside[2::4, 2::4], d, -d) / inside.shape[0]


def ink(table: Tensor, codes: Tensor, u: Tensor, v: Tensor, footprint: Tensor | float) -> Tensor:
    """How much of a pixel at (u, v) of a letter's cell is ink; v down, footprint: a pixel in cell heights."""
    x = (u * COLUMNS - 0.5).clamp(0, COLUMNS - 1.001)
    y = (v * ROWS - 0.5).clamp(0, ROWS - 1.001)
    i, j = x.floor(), y.floor()
    fx, fy = x - i, y - j
    k = codes * (ROWS * COLUMNS) + j.long() * COLUMNS + i.long()
    flat = table.view(-1)
    top = torch.lerp(flat[k], flat[k + 1], fx)
    low = torch.lerp(flat[k + COLUMNS], flat[k + COLUMNS + 1], fx)
    return (torch.lerp(top, low, fy) / footprint + 0.5).clamp_(0, 1)
