"""What the judge learns from: scenes, their renders on disk, what is to be seen in them, and damage done to them.

The scenes include everything that the painters' training holds out: an examiner must know it all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minimagen import files
from minimagen.toyland import camera
from minimagen.toyland.compose import box_of, random_scene
from minimagen.toyland.judge import SIZE
from minimagen.toyland.judge_net import GRID, VOCABULARY
from minimagen.toyland.scene import MAX_THINGS, WORLD_VERSION, Scene

FIRST_SEED = 1_000_000_000  # far from the seeds on which painters are trained and tested
SHARD = 128  # scenes a file
ATTRIBUTES = ("shape", "color", "size", "material", "pattern")
SETTING = ("backdrop", "floor", "light")


def judge_scene(index: int) -> Scene:
    """Scene number `index` of the judge's training: a third with a sign, a third crowded, a third with a white thing.

    On white a highlight shows least, so that its material is the hardest to read.
    """
    seed = FIRST_SEED + 50 * index
    scene = random_scene(seed, "all")
    if index % 3 == 0:
        k = 1
        while scene.word is None and k < 50:
            scene, k = random_scene(seed + k, "all"), k + 1
    elif index % 3 == 1:  # things of other scenes come in, so that five different ones occur, and one before another
        for k in range(1, 12):
            scene = _joined(scene, random_scene(seed + k, "all"))
    else:
        at = index // 3 % max(len(scene.things), 1)
        things = [replace(t, color="white") if i == at else t for i, t in enumerate(scene.things)]
        scene = replace(scene, things=tuple(things))
    return scene


def _joined(scene: Scene, other: Scene) -> Scene:
    things = list(scene.things)
    board = None if scene.word is None else camera.sign_box(scene.word, *scene.sign)
    for t in other.things:
        box = box_of(t)
        room = t.y == 0 and len(things) < MAX_THINGS and (board is None or camera.overlap(box, board) == 0)
        for o in things:
            there = box_of(o)
            reach = camera.radius(t.shape, t.size) + camera.radius(o.shape, o.size)
            room &= camera.overlap(box, there) <= 0.12 and camera.clearance(t.x, t.z, o.x, o.z) > reach
        if room:
            things.append(t)
    return Scene(tuple(things), scene.backdrop, scene.floor, scene.light, scene.word, scene.sign, scene.seed)


# -- pictures on disk --------------------------------------------------------------------------------------------------


class Cache:
    """Renders of scene_of(0), scene_of(1), … at 256 and at 64 px, as bytes, SHARD scenes a file.

    The scenes lie beside them, so that pictures and what is said of them cannot part ways.
    """

    def __init__(self, folder: str | Path, scene_of: Callable[[int], Scene] = judge_scene, name: str = "train"):
        self.folder, self.scene_of = Path(folder) / f"world_{WORLD_VERSION}_{name}", scene_of
        self._open: dict[int, tuple[np.ndarray, np.ndarray, list[Scene]]] = {}

    def _path(self, kind: str, shard: int) -> Path:
        return self.folder / f"{kind}_{shard:05d}.{'json' if kind == 'scenes' else 'npy'}"

    def missing(self, count: int) -> list[int]:
        """The shards that the first `count` scenes still lack."""
        kinds = ("256", "64", "scenes")
        return [s for s in range(math.ceil(count / SHARD)) if not all(self._path(k, s).exists() for k in kinds)]

    def fill(self, count: int, device: str = "cpu", part: int = 8) -> Iterator[int]:
        """Render what is missing of the first `count` scenes; yields how many there are after every file."""
        from minimagen.toyland.render import render

        for shard in self.missing(count):
            scenes = [self.scene_of(shard * SHARD + i) for i in range(SHARD)]
            for size in (SIZE, 64):
                parts = [render(scenes[i : i + part], size, device=device) for i in range(0, SHARD, part)]
                pixels = torch.cat(parts).add(1).mul(127.5).round().clamp(0, 255).byte().cpu().numpy()
                with files.atomic(self._path(str(size), shard)) as temporary, open(temporary, "wb") as file:
                    np.save(file, pixels)
            files.write_json(self._path("scenes", shard), {"scenes": [scene.to_dict() for scene in scenes]})
            yield (shard + 1) * SHARD

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, Scene]:
        """The 256 px picture, the 64 px picture (bytes, (3, S, S)) and their scene."""
        shard, i = divmod(index, SHARD)
        if shard not in self._open:
            large, small = (np.load(self._path(k, shard), mmap_mode="r") for k in ("256", "64"))
            told = files.read_json(self._path("scenes", shard))["scenes"]
            self._open[shard] = large, small, [Scene.from_dict(d) for d in told]
        large, small, scenes = self._open[shard]
        return large[i], small[i], scenes[i]


# -- what is to be seen ------------------------------------------------------------------------------------------------


def targets(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """For each scene up to 6 centres (5 things, then the sign), with what stands there; and what the whole shows."""
    B, n = len(scenes), MAX_THINGS + 1
    out = {
        "there": torch.zeros(B, n, dtype=torch.bool),
        "sign": torch.zeros(B, n, dtype=torch.bool),
        "box": torch.zeros(B, n, 4),
        "place": torch.zeros(B, n, 3),
        "looks": torch.zeros(B, n, len(ATTRIBUTES), dtype=torch.long),
        "setting": torch.tensor([[VOCABULARY[k].index(getattr(s, k)) for k in SETTING] for s in scenes]),
    }
    for b, scene in enumerate(scenes):
        for i, t in enumerate(scene.things):
            out["there"][b, i] = True
            out["box"][b, i] = torch.tensor(box_of(t))
            out["place"][b, i] = torch.tensor((t.x, t.y, t.z))
            out["looks"][b, i] = torch.tensor([VOCABULARY[k].index(getattr(t, k)) for k in ATTRIBUTES])
        if scene.word is not None:
            out["there"][b, -1] = out["sign"][b, -1] = True
            out["box"][b, -1] = torch.tensor(camera.board_box(scene.word, *scene.sign))
            out["place"][b, -1] = torch.tensor((scene.sign[0], 0.0, scene.sign[1]))
    return out


def heat_map(t: dict[str, Tensor], spread: float = 0.8) -> Tensor:
    """(B, 2, 32, 32): exp(−d²/2σ²) around the cell of each thing's centre, and of each board's; d in cells."""
    center = ((t["box"][..., :2] + t["box"][..., 2:]) / 2 * GRID).long().clamp(0, GRID - 1)  # (B, n, 2) as (j, i)
    cells = torch.arange(GRID)
    dj, di = (cells - center[..., k, None] for k in (0, 1))  # (B, n, 32)
    bump = torch.exp(-(di[..., :, None] ** 2 + dj[..., None, :] ** 2) / (2 * spread**2))
    kinds = [(t["there"] & ~t["sign"]), t["sign"]]
    return torch.stack([(bump * k[..., None, None]).amax(1) for k in kinds], 1)


# -- damage, so that generated pictures are read too -------------------------------------------------------------------


def blur(x: Tensor, level: float) -> Tensor:
    """A Gaussian blur of that many px; 0 is off."""
    if level <= 0:
        return x
    r = max(1, math.ceil(2.5 * level))
    k = torch.exp(-(torch.arange(-r, r + 1, dtype=x.dtype, device=x.device) ** 2) / (2 * level**2))
    k = (k / k.sum()).expand(3, 1, -1)
    x = F.conv2d(F.pad(x, (r, r, 0, 0), mode="replicate"), k[:, :, None], groups=3)
    return F.conv2d(F.pad(x, (0, 0, r, r), mode="replicate"), k[..., None], groups=3)


def worn(x: Tensor, rng: random.Random) -> Tensor:
    """One picture (3, S, S) with mild faults: gain, tint, contrast, blur, grain, coarse grain."""
    if rng.random() < 0.5:
        x = x * (1 + 0.1 * rng.uniform(-1, 1)) + 0.06 * rng.uniform(-1, 1) + 0.03 * torch.randn(3, 1, 1)
    if rng.random() < 0.3:
        x = blur(x[None], rng.uniform(0.3, 1.6))[0]
    if rng.random() < 0.4:
        x = x + rng.uniform(0, 0.12) * torch.randn_like(x)
    if rng.random() < 0.2:
        size = rng.choice((16, 32, 64, 128))
        x = x + rng.uniform(0, 0.12) * F.interpolate(torch.randn(1, 3, size, size), (SIZE, SIZE), mode="bilinear")[0]
    return x.clamp(-1, 1)


def junk(x: Tensor, rng: random.Random) -> Tensor:
    """What no one should read: noise, fog, a shuffled or upturned picture, one colour."""
    return _junk(x, rng).clamp(-1, 1)


def _junk(x: Tensor, rng: random.Random) -> Tensor:
    kind = rng.randrange(5)
    if kind == 0:
        size = rng.choice((8, 32, 64, 256))
        noise = F.interpolate(torch.randn(1, 3, size, size), (SIZE, SIZE), mode="bicubic")[0]
        a = rng.uniform(0.7, 1.0)
        return (1 - a) * x + a * rng.uniform(0.3, 1.0) * noise
    if kind == 1:
        return blur(x[None], rng.uniform(14, 30))[0]
    if kind == 2:
        s = rng.choice((32, 64))
        tiles = x.unfold(1, s, s).unfold(2, s, s).flatten(1, 2)  # (3, N, s, s)
        tiles = tiles[:, torch.randperm(tiles.shape[1])].unflatten(1, (SIZE // s, SIZE // s))
        return tiles.permute(0, 1, 3, 2, 4).reshape(3, SIZE, SIZE)
    if kind == 3:
        return x.flip(1) if rng.random() < 0.5 else x.rot90(rng.choice((1, 3)), (1, 2))
    return torch.rand(3, 1, 1).mul(2).sub(1).expand_as(x) + 0.05 * rng.random() * torch.randn_like(x)
