"""How far the judge can be trusted: its accuracy on true renders, and how damage to them misleads it.

python -m minimagen.toyland.judge_check data/judge measured.json        # everything that its card says
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minimagen import files
from minimagen.toyland import camera
from minimagen.toyland.compose import box_of, random_scene
from minimagen.toyland.judge import PATTERNED, Judge, Reading, ReadThing
from minimagen.toyland.judge_data import ATTRIBUTES, SETTING, Cache, blur
from minimagen.toyland.judge_net import NOWHERE
from minimagen.toyland.language import caption
from minimagen.toyland.matching import assign
from minimagen.toyland.parsing import parse
from minimagen.toyland.scene import Scene, Thing
from minimagen.toyland.scoring import alignment

TEST_SEED = 2_000_000_000  # no training sees these scenes


def test_scene(index: int) -> Scene:
    """Scene number `index` of the judge's examination: as the painters' scenes come, held-out ones among them."""
    return random_scene(TEST_SEED + index, "all")


def true_reading(scene: Scene, size: int = 256) -> Reading:
    """What a perfect judge would read from a render of this scene."""
    patterned = size >= PATTERNED
    things = tuple(_true_thing(t, patterned) for t in scene.things)
    board = None if scene.word is None else camera.board_box(scene.word, *scene.sign)
    sign = NOWHERE if scene.word is None else scene.sign
    setting = scene.backdrop, scene.floor, scene.light
    return Reading(things, scene.word, *setting, True, sign, board, patterned)


def _true_thing(t: Thing, patterned: bool) -> ReadThing:
    box = box_of(t)
    return ReadThing(t.shape, t.color, t.size, t.material, t.pattern if patterned else None, box, (t.x, t.y, t.z))


def compare(reading: Reading, scene: Scene, size: int = 256) -> dict[str, list[bool]]:
    """Right or wrong, by kind: attributes, what stands on another or seems to, setting, word, count, the whole scene.

    Read things belong to true ones by place in the picture; one that was not found is wrong in everything.
    """
    truth = true_reading(scene, size)
    kinds = ATTRIBUTES if size >= 256 else ATTRIBUTES[:-1]
    found = assign([[_apart(a, b) for b in reading.things] for a in truth.things], missed=0.08)
    right: dict[str, list[bool]] = {k: [] for k in (*kinds, "on top")}
    for thing, at in zip(truth.things, found):
        raised = at is not None and reading.things[at].raised
        if raised or thing.raised:
            right["on top"].append(raised == thing.raised)
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


def renders(count: int, size: int = 256, folder: str | None = None) -> Iterator[tuple[Tensor, list[Scene]]]:
    """The first `count` pictures of the examination with their scenes, a few at a time, as memory allows.

    folder: where those of 64 and 256 px are kept, so that they are rendered once; None = nowhere.
    """
    from minimagen.toyland.render import render

    if folder is None or size not in (64, 256):
        few = 32 if size <= 256 else 2
        for first in range(0, count, few):
            scenes = [test_scene(i) for i in range(first, min(first + few, count))]
            yield render(scenes, size), scenes
        return
    store = Cache(folder, test_scene, "test")
    for _ in store.fill(count):
        pass
    for first in range(0, count, 32):
        kept = [store[i] for i in range(first, min(first + 32, count))]
        pixels = torch.stack([torch.from_numpy((small if size == 64 else large).copy()) for large, small, _ in kept])
        yield pixels.float() / 127.5 - 1, [scene for _, _, scene in kept]


def examine(
    judge: Judge,
    count: int = 2000,
    size: int = 256,
    folder: str | None = None,
    harm: Callable[[Tensor], Tensor] = lambda pictures: pictures,
) -> tuple[list[Reading], list[Scene]]:
    """What the judge reads from renders that no training saw, and what they show. harm: damage done to them first."""
    readings: list[Reading] = []
    scenes: list[Scene] = []
    for pictures, shown in renders(count, size, folder):
        readings += judge(harm(pictures))
        scenes += shown
    return readings, scenes


def check(judge: Judge, count: int = 2000, size: int = 256, folder: str | None = None) -> dict[str, float]:
    """`accuracy`, and with it:

    the part that shows its own caption, and the part that shows another's, which is chance.
    """
    readings, scenes = examine(judge, count, size, folder)
    described = [parse(caption(scene)) for scene in scenes]
    turned = described[count // 2 :] + described[: count // 2]
    found = accuracy(readings, scenes, size)
    return {**found, "own caption": alignment(readings, described), "another's": alignment(readings, turned)}


def noisy(x: Tensor, level: float) -> Tensor:
    """Gaussian grain of that spread, on a scale where black to white is 2; 0 is off. The same grain every time."""
    return (x + level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


DAMAGE: dict[str, Callable[..., Tensor]] = {"noise": noisy, "blur": blur}
LEVELS = {"noise": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8), "blur": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)}


def decay(
    judge: Judge,
    damage: str = "noise",
    levels: Sequence[float] | None = None,  # None = LEVELS
    count: int = 200,
    size: int = 256,
    folder: str | None = None,
) -> list[dict[str, float]]:
    """`accuracy` at each level of damage, with it under "level": noise of that spread, or blur of that many px."""
    if damage not in DAMAGE:
        raise ValueError(f"There is no damage {damage!r}; there are {', '.join(DAMAGE)}.")
    rows = []
    for level in LEVELS[damage] if levels is None else levels:
        readings, scenes = examine(judge, count, size, folder, partial(DAMAGE[damage], level=level))
        rows.append({"level": level, **accuracy(readings, scenes, size)})
    return rows


def card(judge: Judge, count: int = 2000, few: int = 200, folder: str | None = None) -> dict[str, Any]:
    """Everything measured: at 256 and 64 px on `count` renders, at 1024 px and under damage on a few."""
    return {
        "count": {"256 px": count, "64 px": count, "1024 px": few // 2, "damage": few},
        "256 px": check(judge, count, 256, folder),
        "64 px": check(judge, count, 64, folder),
        "1024 px": check(judge, few // 2, 1024),
        "noise, 256 px": decay(judge, "noise", count=few, folder=folder),
        "blur, 256 px": decay(judge, "blur", count=few, folder=folder),
        "noise, 64 px": decay(judge, "noise", count=few, size=64, folder=folder),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure a judge on renders that it has not seen.")
    parser.add_argument("judge", help="its folder")
    parser.add_argument("out", help="the .json to write")
    parser.add_argument("renders", nargs="?", help="a folder to keep the renders in")
    args = parser.parse_args()
    files.write_json(args.out, card(Judge.from_pretrained(args.judge), folder=args.renders))
    print(args.out)
