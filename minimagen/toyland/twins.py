"""Twins: two scenes that differ in nothing but which of two things has which pattern.

At 64 px no pattern is to be seen, so that whoever enlarges such a picture can tell the two apart by the sentence alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from minimagen.toyland.compose import box_of, boxes, random_scene
from minimagen.toyland.heldout import held_out
from minimagen.toyland.language import caption, nouns
from minimagen.toyland.scene import Scene

TRIES = 1024  # scenes looked at for one pair; of the world's own every third has two things of two patterns
WORDINGS = 8  # captions looked at for one that says the patterns


class Twin(NamedTuple):
    """One of two: its scene, what is said of it, and where in the sentence it says so."""

    scene: Scene
    caption: str
    spans: tuple[tuple[int, int], ...]  # the caption's characters: what is looked at first, then all else there is


def twins(seed: int, split: str = "train") -> tuple[Twin, Twin, int]:
    """Two scenes, and the thing to look at: one of the two whose patterns are exchanged."""
    for number in range(TRIES):
        scene = random_scene(TRIES * seed + number, split)
        for a, b in _exchangeable(scene):
            other = _exchanged(scene, a, b)
            if held_out(other) != (split == "heldout") or len({t.look for t in other.things}) < len(other.things):
                continue
            told = [_told(one, a, b) for one in (scene, other)]
            if told[0] is not None and told[1] is not None:
                return told[0], told[1], a
    raise ValueError(f"no twins among {TRIES} scenes")


def _exchangeable(scene: Scene) -> Iterator[tuple[int, int]]:
    things = scene.things
    if len({t.look for t in things}) < len(things):  # alike things share a noun
        return
    pairs = [(a, b) for a in range(len(things)) for b in range(len(things)) if things[a].pattern != things[b].pattern]
    random.Random(scene.seed).shuffle(pairs)
    yield from pairs


def _exchanged(scene: Scene, a: int, b: int) -> Scene:
    things = list(scene.things)
    things[a], things[b] = (replace(things[i], pattern=things[j].pattern) for i, j in ((a, b), (b, a)))
    return replace(scene, things=tuple(things))


def _told(scene: Scene, a: int, b: int) -> Twin | None:
    """With the first caption that says the patterns of both, if there is one; that a thing is plain goes unsaid."""
    for index in range(WORDINGS):
        text, named = caption(scene, index), nouns(scene, index)
        if all("pattern" in named[i][1] or scene.things[i].pattern == "plain" for i in (a, b)):
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
    found = within(box_of(scene.things[thing]))
    for depth, box in zip(depths, boxes(scene), strict=True):
        if depth < depths[thing]:
            found &= ~within(box)
    return found
