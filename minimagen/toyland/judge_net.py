"""The judge's network: 1.8 M parameters that read a 256 px picture in some 10 ms on two cores.

PixelUnshuffle(4) at the door keeps every pixel but makes the first convolutions cheap; three more halvings see the
whole picture, and two additions carry what they saw back to a grid of 32 × 32 cells, one a patch of 8 × 8 px.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from minimagen.toyland import camera
from minimagen.toyland import scene as world

GRID = 32  # cells across the picture
ALPHABET = string.ascii_uppercase
NOWHERE = (0.0, 0.0)
VOCABULARY = {
    "shape": world.SHAPES,
    "color": world.COLORS,
    "size": world.SIZES,
    "material": world.MATERIALS,
    "pattern": world.PATTERNS,
    "backdrop": world.BACKDROPS,
    "floor": world.FLOORS,
    "light": world.LIGHTS,
}


def _slices(widths: Iterable[tuple[str, int]]) -> dict[str, slice]:
    at, out = 0, {}
    for name, width in widths:
        out[name] = slice(at, at + width)
        at += width
    return out


# heat: of a thing's centre, of a board's centre. offset: from the cell's centre, in cells. box: log width, log height,
# in pictures.
_ATTRIBUTES = ("shape", "color", "size", "material", "pattern")
HEADS = _slices([("heat", 2), ("offset", 2), ("box", 2), ("place", 3)] + [(k, len(VOCABULARY[k])) for k in _ATTRIBUTES])
WHOLE = _slices([(k, len(VOCABULARY[k])) for k in ("backdrop", "floor", "light")] + [("readable", 1)])

# The reader's window on a board, in world units, wide enough for the longest word; a letter is then about 16 × 19 px.
WINDOW = (6.1, 1.7)
CROP = (32, 112)  # px
_BOARD_TALL = camera.BOARD_HEIGHT * camera.UP[1] + camera.BOARD_DEPTH * camera.FORWARD[1] * -1  # as the lens sees it


@dataclass(frozen=True)
class JudgeConfig:
    widths: tuple[int, int, int, int] = (48, 96, 128, 160)  # channels at 64, 32, 16 and 8 cells across
    head: int = 128
    reader: tuple[int, int, int] = (24, 48, 80)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> JudgeConfig:
        """From config.json, where tuples are lists."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}
        return cls(**values)


def conv(i: int, o: int, stride: int | tuple[int, int] = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """h ← relu(h + conv(relu(conv(h))))"""

    def __init__(self, c: int):
        super().__init__()
        self.a = conv(c, c)
        self.b = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(h + self.b(self.a(h)))


class JudgeNet(nn.Module):
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: JudgeConfig = JudgeConfig()):
        super().__init__()
        self.config = config
        a, b, c, d = config.widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), conv(48, a), Residual(a))  # (B, a, 64, 64)
        self.down1 = nn.Sequential(conv(a, b, 2), Residual(b))  # (B, b, 32, 32)
        self.down2 = nn.Sequential(conv(b, c, 2), Residual(c))  # (B, c, 16, 16)
        self.down3 = nn.Sequential(conv(c, d, 2), Residual(d))  # (B, d, 8, 8)
        self.up2, self.up1 = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1)
        last = nn.Conv2d(config.head, HEADS["pattern"].stop, 1)
        self.head = nn.Sequential(conv(b, b), conv(b, config.head), last)
        self.whole = nn.Sequential(nn.Linear(b + d, 128), nn.ReLU(), nn.Linear(128, WHOLE["readable"].stop))
        self.reader = Reader(*config.reader)
        with torch.no_grad():
            assert last.bias is not None
            last.bias.zero_()[HEADS["heat"]] = -4.0  # most cells hold nothing: start there, as the focal loss likes it
            last.bias[HEADS["box"]] = -1.5  # a fifth of the picture
        self.register_buffer("feature_mean", torch.zeros(a + d))
        self.register_buffer("feature_std", torch.ones(a + d))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, 256, 256) → grid (B, C, 32, 32) by HEADS, whole (B, 14) by WHOLE, raw features (B, a + d); float32.

        The features are the means of the finest and of the coarsest level: of surface, and of content.
        """
        h0 = self.stem(x)
        h1 = self.down1(h0)
        h2 = self.down2(h1)
        h3 = self.down3(h2)
        coarse = h3.mean((2, 3))
        whole = self.whole(torch.cat([h1.mean((2, 3)), coarse], 1))
        h2 = h2 + interpolate(self.up2(h3), scale_factor=2.0)
        h1 = h1 + interpolate(self.up1(h2), scale_factor=2.0)
        return self.head(h1).float(), whole.float(), torch.cat([h0.mean((2, 3)), coarse], 1).float()

    def scaled(self, raw: Tensor) -> Tensor:
        """Raw features → features whose mean is 0 and spread 1 over true pictures, so that each counts alike."""
        return (raw - self.feature_mean) / self.feature_std

    def read(self, x: Tensor, boxes: Tensor) -> Tensor:
        """x (N, 3, 256, 256), boxes (N, 4) of boards → logits (N, T, 27); class 0 is the blank of CTC."""
        return self.reader(crop_boards(x, boxes)).float()


class Reader(nn.Module):
    """A board's window (N, 3, 32, 112) → (N, 28, 27): a column of 4 px at a time, which letter is it, or none?"""

    def __init__(self, a: int, b: int, c: int):
        super().__init__()
        self.trunk = nn.Sequential(
            conv(3, a), conv(a, b, 2), conv(b, b), conv(b, c, 2), conv(c, c, (2, 1)), conv(c, c, (2, 1))
        )  # (N, c, 2, 28)
        self.line = nn.Sequential(nn.Conv1d(2 * c, c, 5, 1, 2), nn.ReLU(), nn.Conv1d(c, 27, 1))

    def forward(self, board: Tensor) -> Tensor:
        return self.line(self.trunk(board).flatten(1, 2)).transpose(1, 2)


def crop_boards(x: Tensor, boxes: Tensor) -> Tensor:
    """The window around each board's centre, (N, 3, 32, 112), at the scale that the board's height tells."""
    boxes = boxes.to(x)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
    unit = (boxes[:, 3] - boxes[:, 1]) / _BOARD_TALL  # (N,) pictures a world unit
    half = unit[:, None] * x.new_tensor(WINDOW) / 2
    h, w = CROP
    ys, xs = (torch.arange(n, device=x.device, dtype=x.dtype).add(0.5).mul(2 / n).sub(1) for n in (h, w))
    u = center[:, 0, None, None] + half[:, 0, None, None] * xs[None, None, :]
    v = center[:, 1, None, None] + half[:, 1, None, None] * ys[None, :, None]
    at = torch.stack([u.expand(-1, h, w), v.expand(-1, h, w)], -1) * 2 - 1
    return grid_sample(x, at, padding_mode="border", align_corners=False)
