"""The judge: picture → what it shows. A small detector, trained on renders whose scenes are known.

    picture → 256 px → trunk → 32 × 32 cells → heat, and at its peaks: box, place, shape, colour, size, material,
    pattern
                             → the whole picture → backdrop, floor, light, is it a picture of this world at all?
                             → the board of a sign → reader → letters

It is an examiner, so it looks at pictures alone: it never sees the caption, and has no part in the drawing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from minimagen import files
from minimagen.images import to_rgb
from minimagen.resources import data_folder
from minimagen.toyland import camera
from minimagen.toyland import scene as world
from minimagen.toyland.judge_net import ALPHABET, GRID, HEADS, NOWHERE, VOCABULARY, WHOLE, JudgeConfig, JudgeNet
from minimagen.toyland.scene import Scene, Thing

SIZE = 256  # px: what the network reads; other sizes are brought to it
PATTERNED = 256  # px: from here on a picture shows patterns
SMALLEST, LARGEST = 16, 4096
HEAT = 0.35  # a peak below is nothing
NEAR = 0.08  # of the picture's width: stacks in true pictures are seen within 0.07, other things from 0.09

Pictures = Tensor | Image.Image | Sequence[Image.Image] | Sequence[Tensor]


@dataclass(frozen=True)
class ReadThing:
    """One thing as the judge saw it. pattern None: the picture is too small to show one."""

    shape: str
    color: str
    size: str
    material: str
    pattern: str | None
    box: tuple[float, float, float, float]  # u0, v0, u1, v1 in [0, 1]: right and down
    place: tuple[float, float, float]  # x, y, z in the world: right, up, away
    confidence: float = 1.0  # of the least certain attribute

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def raised(self) -> bool:
        """Whether it stands on something, or floats: higher than a reading errs about what is on the floor."""
        return self.place[1] > 0.3

    @property
    def depth(self) -> float:
        """z: larger is farther away."""
        return self.place[2]

    def to_thing(self) -> Thing:
        x, y, z = self.place
        return Thing(self.shape, self.color, self.size, self.material, self.pattern or "plain", x, y, z)


@dataclass(frozen=True)
class Reading:
    """All that the judge saw in one picture. readable False: this is no picture of Toyland, and nothing else counts."""

    things: tuple[ReadThing, ...]
    word: str | None  # None: no sign; "": a sign without a legible letter
    backdrop: str
    floor: str
    light: str
    readable: bool
    sign: tuple[float, float] = NOWHERE  # (x, z) of its foot
    sign_box: tuple[float, float, float, float] | None = None  # of the board
    patterned: bool = True  # False: the picture is too small to show patterns

    def to_scene(self) -> Scene:
        """The scene that the judge believes it saw, ready to be rendered; a ValueError if this world cannot hold it."""
        if not self.readable:
            raise ValueError("The picture could not be read, so there is no scene to make of it.")
        things = tuple(t.to_thing() for t in self.things)
        return Scene(things, self.backdrop, self.floor, self.light, self.word, self.sign)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if not self.readable:
            return "unreadable"
        seen = [" ".join(filter(None, (t.size, t.pattern, t.material, t.color, t.shape))) for t in self.things]
        seen += [] if self.word is None else [f'a sign "{self.word}"']
        return f"{', '.join(seen) or 'nothing'}; {self.backdrop}, {self.floor} floor, light {self.light}"


class Judge:
    """`judge(images) -> list[Reading]`, and `judge.features(images)`, on which pictures are compared in bulk."""

    def __init__(self, net: JudgeNet):
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, device: str | torch.device = "cpu") -> Judge:
        """A judge's folder; None is the one that ships."""
        folder = data_folder("judge") if folder is None else Path(folder)
        config, state = files.load_network(folder)
        version = config.get("world")
        if version != world.WORLD_VERSION:
            raise ValueError(
                f"The judge in {folder} learned version {version} of Toyland; this package draws version "
                f"{world.WORLD_VERSION}: use the weights that came with it, or train a judge anew."
            )
        net = JudgeNet(JudgeConfig.from_dict(config["network"]))
        files.load_into(net, {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, folder)
        return cls(net.to(device))

    def save_pretrained(self, folder: str | Path, **about: Any) -> str:
        """config.json and model.safetensors in half precision; gives the weights' SHA-256."""
        config = {"world": world.WORLD_VERSION, "network": asdict(self.net.config), **about}
        return files.save_network(folder, config, self.net.state_dict(), torch.float16)

    def __call__(self, images: Pictures, batch: int = 16) -> list[Reading]:
        """One reading a picture. Square pictures of any size from 16 px: PIL, or tensors (B, 3, H, W) in [−1, 1]."""
        return self.look(images, batch)[0]

    def features(self, images: Pictures, batch: int = 16) -> Tensor:
        """(B, F): the trunk's means over the picture, fine and coarse, each scaled to spread 1 over true pictures."""
        return self.look(images, batch)[1]

    @torch.no_grad()
    def look(self, images: Pictures, batch: int = 16) -> tuple[list[Reading], Tensor]:
        """Readings and features, in one pass."""
        readings, features = [], []
        for x, sizes in self._batches(images, batch):
            grid, whole, raw = self.net(x)
            readings += self._read(x, grid, whole, sizes)
            features.append(self.net.scaled(raw).cpu())
        return readings, torch.cat(features)

    def _batches(self, images: Pictures, batch: int):
        device = next(self.net.parameters()).device
        pictures = as_list(images)
        for i in range(0, len(pictures), batch):
            part = pictures[i : i + batch]
            yield torch.stack([resize(p.to(device)) for p in part]), [p.shape[-1] for p in part]

    def _read(self, x: Tensor, grid: Tensor, whole: Tensor, sizes: list[int]) -> list[Reading]:
        found = [_peaks(g) for g in grid]
        boards = [(i, p) for i, (_, signs) in enumerate(found) for p in signs]
        words: dict[int, str] = {}
        if boards:
            rows, at = torch.tensor([i for i, _ in boards]), torch.stack([p.box for _, p in boards])
            for (i, _), word in zip(boards, spell(self.net.read(x[rows], at))):
                words[i] = word
        readings = []
        for i, ((things, signs), size) in enumerate(zip(found, sizes)):
            setting = (VOCABULARY[k][int(whole[i, WHOLE[k]].argmax())] for k in ("backdrop", "floor", "light"))
            backdrop, floor, light = setting
            patterned = size >= PATTERNED
            seen = stacked([p.thing(patterned) for p in things])
            sign = signs[0] if signs else None
            readable = bool(whole[i, WHOLE["readable"]] > 0) and bool(seen or sign)
            reading = Reading(seen, words.get(i), backdrop, floor, light, readable, patterned=patterned)
            if sign is not None:
                reading = replace(reading, sign=(sign.place[0], sign.place[2]), sign_box=tuple(sign.box.tolist()))
            readings.append(reading)
        return readings


@dataclass
class _Peak:
    values: Tensor  # (C,) the grid's channels at the peak
    heat: float
    box: Tensor  # (4,)

    @property
    def place(self) -> tuple[float, float, float]:
        x, y, z = (round(v, 3) for v in self.values[HEADS["place"]].tolist())
        return x, y, z

    def thing(self, patterned: bool) -> ReadThing:
        names: dict[str, Any] = {}
        sure = self.heat
        for kind in ("shape", "color", "size", "material", "pattern"):
            if kind == "pattern" and not patterned:
                names[kind] = None
                continue
            p = self.values[HEADS[kind]].softmax(0)
            names[kind] = VOCABULARY[kind][int(p.argmax())]
            sure = min(sure, float(p.max()))
        u0, v0, u1, v1 = (round(v, 4) for v in self.box.tolist())
        return ReadThing(**names, box=(u0, v0, u1, v1), place=self.place, confidence=round(sure, 4))


def _peaks(grid: Tensor) -> tuple[list[_Peak], list[_Peak]]:
    """The things, nearest certainty first, and the sign if there is one, of one picture's (C, 32, 32) grid."""
    heat = grid[HEADS["heat"]].sigmoid()  # (2, 32, 32): things and signs
    top = torch.nn.functional.max_pool2d(heat[None], 5, 1, 2)[0]
    found: tuple[list[_Peak], list[_Peak]] = ([], [])
    for kind, i, j in ((heat == top) & (heat > HEAT)).nonzero().tolist():
        values = grid[:, i, j]
        du, dv = values[HEADS["offset"]].tolist()
        w, h = values[HEADS["box"]].exp().tolist()
        u, v = (j + 0.5 + du) / GRID, (i + 0.5 + dv) / GRID
        box = torch.tensor([u - w / 2, v - h / 2, u + w / 2, v + h / 2]).clamp(0, 1)
        found[kind].append(_Peak(values, float(heat[kind, i, j]), box))
    things, signs = (sorted(peaks, key=lambda p: -p.heat) for peaks in found)
    return things[:8], signs[:1]


def stacked(things: Sequence[ReadThing]) -> tuple[ReadThing, ...]:
    """Things that seem to stand on another one's top are put there: one picture cannot tell height from depth.

    A thing is on top of another if its box lies where that stack would be seen, every edge within NEAR, and nearer
    to it than to where the thing would be seen on the floor.
    """

    def gap(t: ReadThing, x: float, y: float, z: float) -> float:
        return max(abs(a - b) for a, b in zip(t.box, camera.screen_box(t.shape, t.size, x, y, z)))

    placed = []
    for t in things:
        tops = [
            (b.place[0], round(camera.height(b.shape, b.size), 3), b.place[2])
            for b in things
            if b is not t and camera.bears(b.shape, b.size, t.shape, t.size)
        ]
        top = min(tops, key=lambda place: gap(t, *place), default=None)
        if top is not None and gap(t, *top) < min(NEAR, gap(t, t.place[0], 0.0, t.place[2])):
            t = replace(t, place=top)
        placed.append(t)
    return tuple(placed)


def spell(logits: Tensor) -> list[str]:
    """(N, T, 27) → words, by the best path:

    repeated letters merge unless a blank stands between them, then blanks go.
    """
    words = []
    for row in logits.argmax(-1).tolist():
        kept = [c for c, before in zip(row, [0, *row]) if c and c != before]
        words.append("".join(ALPHABET[c - 1] for c in kept))
    return words


def as_list(images: Pictures) -> list[Tensor]:
    """Pictures in any accepted form → float32 tensors (3, S, S) in [−1, 1], each of its own size."""
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, Tensor) and images.ndim == 3:
        images = images[None]
    if not len(images):
        raise ValueError("There is no picture to judge: the list is empty.")
    return [_picture(image) for image in images]


def _picture(image: Image.Image | Tensor) -> Tensor:
    if isinstance(image, Image.Image):
        raw = torch.frombuffer(bytearray((image := to_rgb(image)).tobytes()), dtype=torch.uint8)
        image = raw.view(image.height, image.width, 3).permute(2, 0, 1).float() / 127.5 - 1
    if not isinstance(image, Tensor):
        raise ValueError(f"The judge reads PIL images and tensors; this is a {type(image).__name__}.")
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"A picture is (3, H, W), in colour; this tensor is {tuple(image.shape)}.")
    if not image.is_floating_point():
        raise ValueError(f"A picture's values are floats in [−1, 1]; this tensor holds {image.dtype}.")
    _, height, width = image.shape
    if height != width or not SMALLEST <= width <= LARGEST:
        raise ValueError(
            f"The judge reads square pictures of {SMALLEST} to {LARGEST} px; this one is {width} × {height}."
        )
    if not bool(image.isfinite().all()):
        raise ValueError("The picture holds values that are not finite (NaN or infinity).")
    return image.float().clamp(-1, 1)


def resize(picture: Tensor, size: int = SIZE) -> Tensor:
    """(3, S, S) → (3, size, size): the mean of an area when smaller, bicubic when larger."""
    if picture.shape[-1] == size:
        return picture
    mode = "area" if picture.shape[-1] > size else "bicubic"
    return torch.nn.functional.interpolate(picture[None], (size, size), mode=mode)[0].clamp(-1, 1)


@functools.cache
def shipped() -> Judge:
    """The judge of data/judge, loaded once."""
    return Judge.from_pretrained()


def judge(images: Pictures, batch: int = 16) -> list[Reading]:
    """What each picture shows, as the shipped judge reads it."""
    return shipped()(images, batch)
