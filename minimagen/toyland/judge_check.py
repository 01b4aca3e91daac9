"""How far the judge can be trusted: its accuracy on true renders, and how damage to them misleads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from minimagen.toyland import camera
from minimagen.toyland.compose import random_scene
from minimagen.toyland.judge import Judge, Reading, ReadThing
from minimagen.toyland.judge_data import ATTRIBUTES, SETTING, Cache, blur
from minimagen.toyland.judge_net import NOWHERE
from minimagen.toyland.matching import assign
from minimagen.toyland.scene import Scene, Thing

TEST_SEED = 2_000_000_000  # no training sees these scenes


def test_scene(index: int) -> Scene:
    """Scene number `index` of the judge's examination: as the painters' scenes come, held-out ones among them."""
    return random_scene(TEST_SEED + index, "all")


def true_reading(scene: Scene, size: int = 256) -> Reading:
    """What a perfect judge would read from a render of this scene."""
    things = tuple(_true_thing(t, size >= 256) for t in scene.things)
    board = None if scene.word is None else camera.board_box(scene.word, *scene.sign)
    sign = NOWHERE if scene.word is None else scene.sign
    return Reading(things, scene.word, scene.backdrop, scene.floor, scene.light, True, sign, board)


def _true_thing(t: Thing, patterned: bool) -> ReadThing:
    box = camera.screen_box(t.shape, t.size, t.x, t.y, t.z, t.yaw)
    return ReadThing(t.shape, t.color, t.size, t.material, t.pattern if patterned else None, box, (t.x, t.y, t.z))


def compare(reading: Reading, scene: Scene, size: int = 256) -> dict[str, list[bool]]:
    """Right or wrong: each attribute of each thing, each part of the setting, the word, the count, and the whole scene.

    Read things belong to true ones by place in the picture; one that was not found is wrong in everything.
    """
    truth = true_reading(scene, size)
    kinds = ATTRIBUTES if size >= 256 else ATTRIBUTES[:-1]
    found = assign([[_apart(a, b) for b in reading.things] for a in truth.things], missed=0.08)
    right: dict[str, list[bool]] = {k: [] for k in kinds}
    for thing, at in zip(truth.things, found):
        for k in kinds:
            right[k].append(at is not None and getattr(reading.things[at], k) == getattr(thing, k))
    for k in SETTING:
        right[k] = [getattr(reading, k) == getattr(scene, k)]
    if scene.word is not None or reading.word is not None:
        right["word"] = [reading.word == scene.word]
    right["count"] = [len(reading.things) == len(scene.things)]
    right["readable"] = [reading.readable]
    return {**right, "scene": [all(all(v) for v in right.values())]}


def _apart(a: ReadThing, b: ReadThing) -> float:
    (u0, v0), (u1, v1) = a.center, b.center
    return ((u0 - u1) ** 2 + (v0 - v1) ** 2) ** 0.5


def accuracy(readings: Sequence[Reading], scenes: Sequence[Scene], size: int = 256) -> dict[str, float]:
    """The part right, of each attribute and of everything else that `compare` asks."""
    answers: dict[str, list[bool]] = {}
    for reading, scene in zip(readings, scenes, strict=True):
        for kind, right in compare(reading, scene, size).items():
            answers.setdefault(kind, []).extend(right)
    return {kind: sum(right) / len(right) for kind, right in answers.items() if right}


def renders(count: int, size: int = 256, folder: str | None = None, part: int = 8) -> tuple[Tensor, list[Scene]]:
    """The first `count` pictures of the examination, and their scenes. folder:

    where those of 64 and 256 px are kept.
    """
    from minimagen.toyland.render import render

    scenes = [test_scene(i) for i in range(count)]
    if folder is not None and size in (64, 256):
        store = Cache(folder, test_scene, "test")
        for _ in store.fill(count):
            pass
        kept = [store[i] for i in range(count)]
        pixels = torch.stack([torch.from_numpy((small if size == 64 else large).copy()) for large, small, _ in kept])
        return pixels.float() / 127.5 - 1, [scene for _, _, scene in kept]
    return torch.cat([render(scenes[i : i + part], size) for i in range(0, count, part)]), scenes


def check(judge: Judge, count: int = 2000, size: int = 256, folder: str | None = None) -> dict[str, float]:
    """Accuracy on `count` renders that no training saw."""
    pictures, scenes = renders(count, size, folder)
    return accuracy(judge(pictures), scenes, size)


def noisy(x: Tensor, level: float) -> Tensor:
    """Gaussian grain of that spread, on a scale where black to white is 2; 0 is off. The same grain every time."""
    return (x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


DAMAGE: dict[str, Callable[[Tensor, float], Tensor]] = {"noise": noisy, "blur": blur}


def decay(
    judge: Judge,
    damage: str = "noise",
    levels: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8),
    count: int = 200,
    size: int = 256,
    folder: str | None = None,
) -> list[dict[str, float]]:
    """`accuracy` at each level of damage, with the level under "level":

    noise of that spread, or blur of that many px.
    """
    if damage not in DAMAGE:
        raise ValueError(f"There is no damage {damage!r}; there are {', '.join(DAMAGE)}.")
    pictures, scenes = renders(count, size, folder)
    return [{"level": l, **accuracy(judge(DAMAGE[damage](pictures, l)), scenes, size)} for l in levels]
