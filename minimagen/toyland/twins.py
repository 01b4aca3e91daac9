"""Twins: two scenes that differ in nothing but which of two things has which pattern; or colour, or material.

At 64 px no pattern is to be seen, so that whoever enlarges such a picture can tell the two apart by the sentence alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from minimagen.toyland.compose import boxes, random_scene
from minimagen.toyland.heldout import held_out
from minimagen.toyland.language import caption, nouns
from minimagen.toyland.scene import Scene

TRIES = 1024  # scenes looked at for one pair; of the world's own every third has two things of two patterns
WORDINGS = 8  # captions looked at for one that says what is exchanged
UNSAID = {"pattern": "plain", "material": "matte"}  # what a thing is of which nothing is said


class Twin(NamedTuple):
    """One of two: its scene, what is said of it, and where in the sentence it says so."""

    scene: Scene
    caption: str
    spans: tuple[tuple[int, int], ...]  # the caption's characters: what is looked at first, then all else there is


def twins(seed: int, split: str = "train", of: str = "pattern") -> tuple[Twin, Twin, int]:
    """Two scenes, and the thing to look at: one of two whose patterns are exchanged; or of="color", or "material"."""
    for number in range(TRIES):
        scene = random_scene(TRIES * seed + number, split)
        for a, b in _exchangeable(scene, of):
            other = _exchanged(scene, a, b, of)
            if held_out(other) != (split == "heldout") or _alike(other):
                continue
            told = [_told(one, a, b, of) for one in (scene, other)]
            if told[0] is not None and told[1] is not None:
                return told[0], told[1], a
    raise ValueError(f"no twins among {TRIES} scenes")


def _alike(scene: Scene) -> bool:
    """Whether two things share shape and colour: words would hardly tell them apart, or one noun stands for both."""
    return len({(t.shape, t.color) for t in scene.things}) < len(scene.things)


def _exchangeable(scene: Scene, of: str) -> Iterator[tuple[int, int]]:
    values = [getattr(t, of) for t in scene.things]
    if _alike(scene):
        return
    pairs = [(a, b) for a in range(len(values)) for b in range(len(values)) if values[a] != values[b]]
    random.Random(scene.seed).shuffle(pairs)
    yield from pairs


def _exchanged(scene: Scene, a: int, b: int, of: str) -> Scene:
    things = list(scene.things)
    things[a], things[b] = (replace(things[i], **{of: getattr(things[j], of)}) for i, j in ((a, b), (b, a)))
    return replace(scene, things=tuple(things))


def _told(scene: Scene, a: int, b: int, of: str) -> Twin | None:
    """With the first caption that says it of both, if there is one; that a thing is plain may go unsaid."""
    for index in range(WORDINGS):
        text, named = caption(scene, index), nouns(scene, index)
        if all(of in named[i][1] or getattr(scene.things[i], of) == UNSAID.get(of) for i in (a, b)):
            starts = {i: text.find(noun) for i, (noun, _) in named.items()}
            if min(starts.values()) >= 0:
                spans = [(starts[i], starts[i] + len(named[i][0])) for i in sorted(named, key=lambda i: i != a)]
                return Twin(scene, text, tuple(spans))
    return None


def shown(scene: Scene, thing: int, points: Tensor) -> Tensor:
    """Which points (…, 2) of the picture, u and v in [0, 1], lie on this thing, in its box and in no nearer one's."""

    def within(box: tuple[float, float, float, float]) -> Tensor:
        low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
        return ((points >= low) & (points < high)).all(-1)

    depths = [t.z - 0.01 * t.y for t in scene.things] + ([scene.sign[1]] if scene.word else [])
    every = boxes(scene)
    found = within(every[thing])
    for depth, box in zip(depths, every, strict=True):
        if depth < depths[thing]:
            found &= ~within(box)
    return found
