"""Twins: two scenes that differ in one thing that is told, and in nothing else.

    pattern, color, material     exchanged by two things, which stay where they are
    shape, size                  the same, where the picture still has room for both
    place                        two things on the floor change places, and left of becomes right of
    number                       in one of the two a thing is missing
    word                         two letters on the sign changed places, or one is another
    length                       one of its letters stands there twice, or is missing, and the board is as wide

At 64 px no pattern is to be seen, so that whoever enlarges such a picture can tell the two apart by the sentence alone;
whoever draws the 64 px from noise can tell nothing else apart, either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from minimagen.toyland import camera
from minimagen.toyland.compose import SIGN, boxes, free, random_scene, relations
from minimagen.toyland.heldout import held_out
from minimagen.toyland.language import caption, nouns, says_relation
from minimagen.toyland.scene import Scene

KINDS = ("pattern", "color", "material", "shape", "size", "place", "number", "word", "length")
TRIES = 1024  # scenes looked at for one pair; of the world's own every third has two things of two patterns
WORDINGS = 8  # captions looked at for one that says what is exchanged
STAYS = ("pattern", "color", "material")  # what can be exchanged without a thing more or less in another's way
SPELLED = ("word", "length")  # what the sign alone shows, and its word alone says
UNSAID = {"pattern": "plain", "material": "matte"}  # what a thing is of which nothing is said


class Twin(NamedTuple):
    """One of two: its scene, what is said of it, and where in the sentence it says so."""

    scene: Scene
    caption: str
    spans: tuple[tuple[int, int], ...]  # the caption's characters: what is looked at first, then all else there is


def twins(seed: int, split: str = "train", of: str = "pattern") -> tuple[Twin, Twin, int]:
    """Two scenes that differ in one of KINDS, and what to look at: one that differs, SIGN, or of number the first."""
    if of not in KINDS:
        raise ValueError(f"twins differ in {', '.join(KINDS)}, not in {of!r}")
    for number in range(TRIES):
        scene = random_scene(TRIES * seed + number, split)
        for other, a, b in _others(scene, of):
            if held_out(other) != (split == "heldout"):
                continue
            told = [_told(one, a, b, of) for one in (scene, other)]
            if told[0] is not None and told[1] is not None:
                return told[0], told[1], a
    raise ValueError(f"no twins among {TRIES} scenes")


def _others(scene: Scene, of: str) -> Iterator[tuple[Scene, int, int]]:
    """Scenes that differ from this in one thing; what is to be looked at, and what else must be told of in both."""
    rng, things = random.Random(scene.seed), scene.things
    if of in SPELLED:
        wrong = _misspelt if of == "word" else _stretched
        if scene.word is not None and (word := wrong(rng, scene.word)) is not None:
            other = replace(scene, word=word)
            if of == "word" or (free(other) and camera.inside(boxes(other)[SIGN])):
                yield other, SIGN, SIGN
    elif of == "number":
        for a in rng.sample(range(len(things)), len(things)):
            rest = things[:a] + things[a + 1 :]
            if rest and all(t.y == 0 for t in rest):
                yield replace(scene, things=rest), 0, 0
    elif not _alike(scene) and (of != "place" or (len(things) == 2 and not scene.word and relations(scene))):
        names = ("x", "z") if of == "place" else (of,)
        every = range(len(things))
        pairs = [
            (a, b) for a in every for b in every if any(getattr(things[a], n) != getattr(things[b], n) for n in names)
        ]
        rng.shuffle(pairs)
        for a, b in pairs:
            other = _exchanged(scene, a, b, *names)
            fits = of in STAYS or free(other)
            if fits and not _alike(other) and (of != "place" or relations(other)):
                yield other, a, b


def _alike(scene: Scene) -> bool:
    """Whether two things share shape and colour: words would hardly tell them apart, or one noun stands for both."""
    return len({(t.shape, t.color) for t in scene.things}) < len(scene.things)


def _exchanged(scene: Scene, a: int, b: int, *names: str) -> Scene:
    things = list(scene.things)
    for i, j in ((a, b), (b, a)):
        things[i] = replace(things[i], **{name: getattr(scene.things[j], name) for name in names})
    return replace(scene, things=tuple(things))


def _misspelt(rng: random.Random, word: str) -> str | None:
    """The word with two letters in each other's place, or with another letter in place of one; as wide as it was.

    None: none was found, for a word of I alone, or of J, has none. No other letter is as wide.
    """
    for _ in range(TRIES):
        letters = list(word)
        i, j = rng.randrange(len(word)), rng.randrange(len(word))
        if rng.random() < 0.5:
            letters[i], letters[j] = letters[j], letters[i]
        else:
            letters[i] = chr(65 + rng.randrange(26))
        other = "".join(letters)
        if other != word and camera.board_width(other) == camera.board_width(word):
            return other
    return None


def _stretched(rng: random.Random, word: str) -> str | None:
    """The word with one of its letters twice, or without it; None: it would have none left, or too many."""
    i, times = rng.randrange(len(word)), rng.choice((0, 2))
    other = word[:i] + times * word[i] + word[i + 1 :]
    return other if 0 < len(other) <= camera.MAX_LETTERS else None


def _told(scene: Scene, a: int, b: int, of: str) -> Twin | None:
    """With the first caption that says it of both, if there is one; that a thing is plain may go unsaid."""
    for index in range(WORDINGS):
        text, found = caption(scene, index), nouns(scene, index)
        named = {i: noun for i, (noun, _) in found.items()}
        if of in SPELLED:
            named[SIGN] = f'"{(scene.word or "").lower()}"'  # what is spelled is to be looked at, letter by letter
        says = says_relation(scene, index) if of == "place" else all(_said(scene, found, i, of) for i in {a, b})
        if says:
            starts = {i: text.find(noun) for i, noun in named.items()}
            if min(starts.values()) >= 0:
                spans = [(starts[i], starts[i] + len(named[i])) for i in sorted(named, key=lambda i: i != a)]
                return Twin(scene, text, tuple(spans))
    return None


def _said(scene: Scene, found: dict[int, tuple[str, dict[str, str]]], i: int, of: str) -> bool:
    """Whether what the caption calls this thing says it; no caption leaves a thing out, or the word."""
    return of in ("number", *SPELLED) or of in found[i][1] or getattr(scene.things[i], of) == UNSAID.get(of)


def shown(scene: Scene, thing: int, points: Tensor) -> Tensor:
    """Which points (…, 2) of the picture, u and v in [0, 1], lie on this thing, in its box and in no nearer one's.

    thing: its index, or SIGN, whose box is the last.
    """

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
