"""What the text corpus speaks of: scenes that are never drawn, so that making them takes no time."""

from __future__ import annotations

import random
from typing import Any

from minimagen.toyland import camera
from minimagen.toyland.heldout import random_letters
from minimagen.toyland.language import content, express
from minimagen.toyland.scene import BACKDROPS, COLORS, FLOORS, LIGHTS, MATERIALS, PATTERNS, SHAPES, SIZES, Scene, Thing
from minimagen.toyland.words import WORDS

ATTRIBUTES = {"shape": SHAPES, "color": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}


def pick(rng: random.Random, names):
    return names[int(rng.random() * len(names))]


def random_thing(rng: random.Random, x: float = 0.0, z: float = 0.0) -> Thing:
    pattern = "plain" if rng.random() < 0.4 else pick(rng, PATTERNS[1:])
    look = pick(rng, SHAPES), pick(rng, COLORS), pick(rng, SIZES), pick(rng, MATERIALS), pattern
    return Thing(*look, x=x, z=z)


def situation(rng: random.Random) -> Scene:
    """A scene to speak of. It is never drawn, so its things need only stand in clear relations, not in the picture."""
    setting: dict[str, Any] = {"backdrop": pick(rng, BACKDROPS), "floor": pick(rng, FLOORS), "light": pick(rng, LIGHTS)}
    setting["seed"] = int(rng.random() * 2**40)
    things: tuple[Thing, ...] = ()
    u = rng.random()
    if u < 0.28:
        return Scene((random_thing(rng),), **setting)
    if u < 0.40:
        return Scene((random_thing(rng),) * (2 + int(4 * rng.random())), **setting)
    if u < 0.52:
        word = random_letters(rng, "all") if rng.random() < 0.3 else pick(rng, WORDS)
        x = pick(rng, (-6.0, 0.0, 6.0))
        if rng.random() < 0.6:
            things = (random_thing(rng, x=x, z=-2.0 if x == 0 else 0.0),)
        return Scene(things, word=word, **setting)
    things = tuple(random_thing(rng) for _ in range(2 if u < 0.9 else 3))
    if len({(t.shape, t.color) for t in things}) < len(things):
        return situation(rng)
    if len(things) == 3:
        places = [(-2.0, 0.0), (0.0, 0.0), (2.0, 0.0)] if u < 0.96 else [(-1.0, 1.5), (1.5, 1.0), (-1.0, -1.5)]
        rng.shuffle(places)
    else:
        places = pick(rng, ([(-1.5, 0.0), (1.5, 0.0)], [(0.0, -1.5), (0.0, 1.5)], [(0.0, 0.0), (0.0, 0.0)]))
        if rng.random() < 0.5:
            places = places[::-1]
    moved = [Thing(*t.look, x=x, z=z) for t, (x, z) in zip(things, places)]
    if len({(t.x, t.z) for t in moved}) < len(moved):  # a stack
        if moved[1].shape not in ("cube", "cylinder"):
            return situation(rng)
        moved[0] = Thing(*moved[0].look, y=camera.height(moved[1].shape, moved[1].size))
    return Scene(tuple(moved), **setting)


def some_caption(rng: random.Random) -> str:
    scene = situation(rng)
    return express(rng, scene, content(rng, scene))


def twice(rng: random.Random, scene: Scene) -> tuple[str, str]:
    """The same content in two forms."""
    told = content(rng, scene)
    return express(rng, scene, told), express(rng, scene, told)


def random_word(rng: random.Random) -> str:
    return (random_letters(rng, "all") if rng.random() < 0.35 else pick(rng, WORDS)).lower()
