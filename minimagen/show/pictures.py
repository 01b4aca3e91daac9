"""Pictures side by side: a grid, rows that belong together, and the steps of a sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minimagen.sampler import Step

from .frame import DPI, WIDTH, Figure, page, styled

GAP = 6  # pixels between pictures
CUBIC = Image.Resampling.BICUBIC
Pictures = Tensor | Sequence[Tensor | Image.Image]


def pixels(picture: Tensor | Image.Image) -> np.ndarray:
    """One picture as (H, W, 3), in [0, 1] where it lies in [−1, 1]."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise ValueError(f"a picture has the shape (3, H, W), and this one {tuple(picture.shape)}")
    picture = picture.detach().float().cpu().expand(3, -1, -1)
    return ((picture.nan_to_num(posinf=1e4, neginf=-1e4) + 1) / 2).permute(1, 2, 0).numpy()


def images(
    x: Pictures,
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    caption: str = "",
    width: float = WIDTH,
) -> Figure:
    """A grid of pictures, (B, 3, H, W) in [−1, 1] or PIL, `width` inches wide; columns None = at most 7."""
    if not (count := len(x)):
        raise ValueError("there are no pictures to show")
    columns = columns or ceil(count / ceil(count / 7))
    rows = [[x[k] for k in range(i, min(i + columns, count))] for i in range(0, count, columns)]
    given = _titles(titles, count)
    return _table(rows, [given[i : i + columns] for i in range(0, count, columns)], [], caption, width)


def strip(
    rows: Mapping[str, Pictures], titles: Sequence[str] | None = None, *, caption: str = "", width: float = WIDTH
) -> Figure:
    """Rows of pictures with the rows' names at the left and the columns' titles on top."""
    columns = max(len(row) for row in rows.values())
    above = [_titles(titles, columns)] + [[""] * columns] * (len(rows) - 1)
    return _table([[row[k] for k in range(len(row))] for row in rows.values()], above, list(rows), caption, width)


def steps(taken: Sequence[Step], *, columns: int = 7, picture: int = 0, caption: str = "") -> Figure:
    """Some of a sampler's steps, evenly chosen: the noisy picture z, and below it the estimate x̂ that led there."""
    chosen = [taken[i] for i in np.linspace(0, len(taken) - 1, min(columns, len(taken))).round().astype(int)]
    rows = {"z": torch.stack([s.z[picture] for s in chosen]), "x̂": torch.stack([s.x[picture] for s in chosen])}
    return strip(rows, [f"t = {s.t:.2f}" for s in chosen], caption=caption)


def _titles(titles: Sequence[str] | None, count: int) -> list[str]:
    if titles is None:
        return [""] * count
    if len(titles) != count:
        raise ValueError(f"there are {len(titles)} titles for {count} pictures")
    return list(titles)


@styled
def _table(rows: list[list], titles: list[list[str]], names: list[str], caption: str, width: float) -> Figure:
    """Rows of pictures, placed by the pixel, so that each of theirs becomes a whole number of the figure's."""
    columns, left = max(map(len, rows)), 24 if any(names) else 2
    cell = (round(width * DPI) - left - 2) // columns - GAP
    inks = [[_fitted(pixels(picture), cell) for picture in row] for row in rows]
    cell = max(ink.shape[1] for row in inks for ink in row)  # so that no room is left between
    heights = [max(ink.shape[0] for ink in row) for row in inks]
    above = [max((20 * (t.count("\n") + 1) for t in line if t), default=0) for line in titles]  # room for titles
    figure = page((sum(above) + sum(heights) + len(rows) * GAP + 4) / DPI, caption, width, layout="none")
    total_width, total_height = (round(v * DPI) for v in figure.get_size_inches())
    top = total_height - 2
    for r, row in enumerate(inks):
        top -= above[r]
        for k, ink in enumerate(row):
            x, side = left + k * (cell + GAP) + (cell - ink.shape[1]) // 2, ink.shape[:2]
            y = top - heights[r] + (heights[r] - side[0]) // 2
            place = (x / total_width, y / total_height, side[1] / total_width, side[0] / total_height)
            ax = figure.add_axes(place, frameon=False, xticks=[], yticks=[])
            ax.grid(False)
            ax.imshow(ink, interpolation="nearest", aspect="auto")
            ax.set_title(titles[r][k], pad=5)
            if k == 0 and names:
                ax.set_ylabel(names[r])
        top -= heights[r] + GAP
    return figure


def _fitted(picture: np.ndarray, cell: int) -> np.ndarray:
    """At most `cell` pixels a side: small pictures keep sharp pixels, large ones are averaged down, as the eye does.

    Then what lies outside [0, 1] is clipped, as every screen does.
    """
    height, width = picture.shape[:2]
    scale = cell / max(height, width)
    if scale >= 2 or scale == 1:
        return picture.repeat(int(scale), axis=0).repeat(int(scale), axis=1).clip(0, 1)
    size, how = (round(width * scale), round(height * scale)), Image.Resampling.BOX if scale < 1 else CUBIC
    planes = [Image.fromarray(picture[:, :, c].astype(np.float32)).resize(size, how) for c in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2).clip(0, 1)
