"""Random scenes that a caption can describe exactly: everything in the picture, nothing hidden, no relation in doubt.

A scene is a function of (seed, split) alone, on any machine and in any number of workers. Plain Python, so that it is
fast without a batch.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import pi
from typing import Any

from minimagen.toyland import camera
from minimagen.toyland.heldout import (
    HELDOUT_WORDS,
    SPLITS,
    TRAIN_WORDS,
    held_out,
    look_held_out,
    random_letters,
)
from minimagen.toyland.scene import (
    BACKDROPS,
    COLORS,
    FLOORS,
    LIGHTS,
    MATERIALS,
    PATTERNS,
    RELATIONS,
    SHAPES,
    SIZES,
    SUPPORTS,
    Scene,
    Thing,
)
from minimagen.toyland.words import WORDS

SIGN = -1  # the sign's place in a relation, where a thing has its index

# How often each kind of scene is drawn.
KINDS = {"one": 0.28, "relation": 0.32, "count": 0.15, "sign": 0.15, "several": 0.10}
LETTERS = (
    0.4  # part of the signs that bear random letters in place of a word: what can only be spelled letter by letter
)
PLAIN = 0.36  # part of the things without a pattern; the four patterns share the rest

Relation = tuple[int, str, int]


def relations(scene: Scene, margin: float = 1.0) -> list[Relation]:
    """Every (i, relation, j) that clearly holds between two things, or between a thing and the sign (index SIGN).

    i is left of j:       x_j − x_i ≥ 1.1 margin  and  |z_j − z_i| ≤ 0.7 / margin · (x_j − x_i)
    i is in front of j:   z_j − z_i ≥ 1.6 margin  and  |x_j − x_i| ≤ 0.4 / margin · (z_j − z_i)
    i is on top of j:     same (x, z), and i's base at the height of j's top

    Right of and behind are the same, reversed. At margin = 1 at most one of them holds for a pair, so that a caption is
    unambiguous; a smaller margin forgives, which is for judging pictures. The sign is as wide as its board.
    """
    found = []
    for j, b in enumerate(scene.things):
        for i, a in enumerate(scene.things[:j]):
            r = _relation(a, b, margin)
            if r is not None:
                found += [(i, r, j), (j, OPPOSITE[r], i)] if r in OPPOSITE else [(i, r, j)]
            elif _stands_on(b, a, margin):
                found.append((j, "on top of", i))
    if scene.word is not None:
        (x, z), half = scene.sign, camera.board_width(scene.word) / 2
        for i, a in enumerate(scene.things):
            reach, dx, dz = half + camera.radius(a.shape, a.size), x - a.x, z - a.z
            if abs(dx) >= (reach if margin == 1.0 else margin * reach) and abs(dz) <= 0.7 / margin * abs(dx):
                r = "left of" if dx > 0 else "right of"
            elif abs(dz) >= 1.2 * margin and abs(dx) <= max(half, 0.4 / margin * abs(dz)):
                r = "in front of" if dz > 0 else "behind"
            else:
                continue
            found += [(i, r, SIGN), (SIGN, OPPOSITE[r], i)]
    return found


OPPOSITE = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}


def _relation(a: Thing, b: Thing, margin: float) -> str | None:
    if _stands_on(a, b, margin):
        return "on top of"
    dx, dz = b.x - a.x, b.z - a.z
    if abs(dx) >= 1.1 * margin and abs(dz) <= 0.7 / margin * abs(dx):
        return "left of" if dx > 0 else "right of"
    if abs(dz) >= 1.6 * margin and abs(dx) <= 0.4 / margin * abs(dz):
        return "in front of" if dz > 0 else "behind"
    return None


def _stands_on(a: Thing, b: Thing, margin: float) -> bool:
    if b.shape not in SUPPORTS or a.y < 0.3:
        return False
    top, near = b.y + camera.height(b.shape, b.size), 0.3 / margin * camera.radius(b.shape, b.size)
    return abs(a.y - top) <= 0.2 / margin and abs(a.x - b.x) <= near and abs(a.z - b.z) <= near


def random_scene(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: nothing in it held out ("train"), something held out ("heldout"), or either ("all")."""
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    rng = random.Random(3 * seed + SPLITS.index(split))
    # The plan is kept until it succeeds: what is hard to place (five large things) is as frequent as what is easy.
    plan = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0], _pick(rng, RELATIONS), _pick(rng, SIZES), rng.random()
    while True:
        scene = _draw(rng, split, *plan)
        if scene is not None and (split == "all" or held_out(scene) == (split == "heldout")):
            return replace(scene, seed=seed)


def _pick(rng: random.Random, names):
    return names[int(rng.random() * len(names))]


def _between(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _thing(rng: random.Random, split: str, size: str | None = None, shapes: tuple[str, ...] = SHAPES) -> Thing:
    while True:
        shape, color, material = _pick(rng, shapes), _pick(rng, COLORS), _pick(rng, MATERIALS)
        pattern = "plain" if rng.random() < PLAIN else _pick(rng, PATTERNS[1:])
        size = size or _pick(rng, SIZES)
        if split != "train" or not look_held_out(shape, color, size, material, pattern):
            return _turned(rng, Thing(shape, color, size, material, pattern))


def _different(rng: random.Random, split: str, count: int) -> list[Thing]:
    """Things of which no two share both shape and colour, so that words tell them apart."""
    things: list[Thing] = []
    while len(things) < count:
        t = _thing(rng, split)
        if all((t.shape, t.color) != (o.shape, o.color) for o in things):
            things.append(t)
    return things


def _draw(rng: random.Random, split: str, kind: str, relation: str, size: str, u: float) -> Scene | None:
    """One attempt at a plan; None where the things would not fit. u: even in [0, 1), for the number of things."""
    setting: dict[str, Any] = {
        "backdrop": _pick(rng, BACKDROPS),
        "floor": _pick(rng, FLOORS),
        "light": _pick(rng, LIGHTS),
    }
    if kind == "sign":
        return _sign_scene(rng, split, int(2.5 * u), setting)  # 0, 1 or 2 things: 40, 40, 20 %
    if kind == "one":
        things = _scatter(rng, [_thing(rng, split, size)], spread=0.6)
    elif kind == "count":
        thing, things = _thing(rng, split, size), None
        while things is None:  # the same again: what is hard to place is no rarer for it
            things = _count(rng, thing, 2 + int(4 * u))
    elif kind == "several":
        things = _scatter(rng, _different(rng, split, 2 if u < 0.4 else 3))
    else:
        things = _related(rng, split, relation)
    return Scene(tuple(things), **setting) if things else None


def _at(thing: Thing, x: float, z: float, y: float = 0.0) -> Thing:
    return replace(thing, x=round(x, 3), y=round(y, 3), z=round(z, 3))


def box_of(t: Thing) -> camera.Box:
    """The picture's part that the thing covers."""
    return camera.screen_box(t.shape, t.size, t.x, t.y, t.z, t.yaw)


def boxes(scene: Scene) -> list[camera.Box]:
    """The parts of the picture that hold something: each thing, and the sign's board."""
    board = [] if scene.word is None else [camera.board_box(scene.word, *scene.sign)]
    return [box_of(t) for t in scene.things] + board


def _covered(a: camera.Box, b: camera.Box) -> float:
    """The part of box b that box a covers."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return w * h / ((b[2] - b[0]) * (b[3] - b[1])) if w > 0 and h > 0 else 0.0


def _touch(a: camera.Box, b: camera.Box, gap: float) -> bool:
    """Whether the boxes come nearer than the gap both across and down."""
    return min(a[2], b[2]) - max(a[0], b[0]) > -gap and min(a[3], b[3]) - max(a[1], b[1]) > -gap


def _apart(t: Thing, others: list[Thing], gap: float = 0.12) -> bool:
    r = camera.radius(t.shape, t.size) + gap
    return all(camera.clearance(t.x, t.z, o.x, o.z) >= r + camera.radius(o.shape, o.size) for o in others)


def free(scene: Scene) -> bool:
    """Whether all things stand on the floor, in the picture and apart, and none hides much of another or of a sign."""
    things, found = list(scene.things), boxes(scene)
    if any(t.y > 0 or not camera.inside(box) for t, box in zip(things, found)):
        return False
    alone = all(_apart(t, things[:i]) for i, t in enumerate(things))
    return alone and all(camera.overlap(box, other) <= 0.1 for i, box in enumerate(found) for other in found[:i])


def _scatter(rng: random.Random, things: list[Thing], spread: float = 1.0, gap: float = 0.015) -> list[Thing] | None:
    """Things on the floor, one after another where there is room: apart on the floor, and in the picture by a gap."""
    placed: list[Thing] = []
    boxes: list[camera.Box] = []
    for one in things:
        thing = _turned(rng, one)
        r = camera.radius(thing.shape, thing.size)
        for _ in range(40):
            z = spread * _between(rng, camera.Z_NEAR + 0.3 * r, camera.Z_FAR - r)
            t = _at(thing, spread * _between(rng, -1, 1) * camera.x_extent(z, r), z)
            if not _apart(t, placed):
                continue
            box = box_of(t)
            if camera.inside(box) and not any(_touch(box, b, gap) for b in boxes):
                placed.append(t)
                boxes.append(box)
                break
        else:
            return None
    return placed


def _count(rng: random.Random, thing: Thing, count: int) -> list[Thing] | None:
    """So many of a kind. Large ones fit only in two rows, the far one seen in the gaps of the near one."""
    if count == 2 or thing.size == "small":
        return _scatter(rng, [thing] * count)
    front = {3: _pick(rng, (1, 2)), 4: _pick(rng, (1, 2)), 5: 2}[count]
    columns = {1: (0.0,), 2: (-1.35, 1.35), 3: (-2.45, 0.0, 2.45)}
    rows = [(x, -2.1) for x in columns[front]] + [(x, 2.4) for x in columns[count - front]]
    placed: list[Thing] = []
    boxes: list[camera.Box] = []
    for x, z in rows:
        for _ in range(12):
            t = _at(_turned(rng, thing), x + _between(rng, -0.12, 0.12), z + _between(rng, -0.25, 0.25))
            if not _apart(t, placed, 0.0):
                continue
            box = box_of(t)
            if camera.inside(box) and all(camera.overlap(box, b) <= 0.1 for b in boxes):
                placed.append(t)
                boxes.append(box)
                break
        else:
            return None
    rng.shuffle(placed)
    return placed


def _turned(rng: random.Random, t: Thing) -> Thing:
    low, high = (-0.6, 0.6) if t.shape == "ring" else (0.0, 2 * pi)  # a ring shows its hole
    return replace(t, yaw=round(_between(rng, low, high), 4))


def _related(rng: random.Random, split: str, relation: str) -> list[Thing] | None:
    """Two things of which the first stands in the relation to the second."""
    if relation == "on top of":
        b = _thing(rng, split, shapes=SUPPORTS)
        a = _thing(rng, split)
        if not camera.bears(b.shape, b.size, a.shape, a.size) or (a.shape, a.color) == (b.shape, b.color):
            return None
        z = _between(rng, -1.6, 1.6)
        b = _at(b, _between(rng, -0.75, 0.75) * camera.x_extent(z, 1.0), z)
        a = _at(a, b.x, b.z, camera.height(b.shape, b.size))
        return [a, b] if camera.inside(box_of(a)) and camera.inside(box_of(b)) else None
    a, b = _different(rng, split, 2)
    for _ in range(30):
        # the line from a to b, at an angle to the relation's axis that stays inside its margin
        if relation in ("left of", "right of"):
            reach, slope = _between(rng, 1.6, 4.4), _between(rng, -0.6, 0.6)
            dx, dz = reach, slope * reach
        else:
            reach, slope = _between(rng, 1.8, 5.4), _between(rng, -0.38, 0.38)
            dx, dz = slope * reach, reach
        if relation in ("right of", "behind"):
            dx, dz = -dx, -dz
        x, z = _between(rng, -1.3, 1.3), _between(rng, -1.1, 1.5)  # the middle of the two
        a, b = _at(a, x - dx / 2, z - dz / 2), _at(b, x + dx / 2, z + dz / 2)
        if not _apart(a, [b]) or (0, relation, 1) not in relations(Scene((a, b))):
            continue
        box_a, box_b = box_of(a), box_of(b)
        near, far = (box_a, box_b) if a.z < b.z else (box_b, box_a)
        allowed = 0.22 if relation in ("in front of", "behind") else 0.04
        if camera.inside(box_a) and camera.inside(box_b) and _covered(near, far) <= allowed:
            return [a, b]
    return None


def _sign_scene(rng: random.Random, split: str, count: int, setting: dict[str, Any]) -> Scene | None:
    """A sign alone, or with one or two things before it or beside it that leave its board free."""
    words = {"train": TRAIN_WORDS, "heldout": HELDOUT_WORDS, "all": WORDS}[split]
    word = random_letters(rng, split) if rng.random() < LETTERS else _pick(rng, words)
    half = camera.board_width(word) / 2
    z = _between(rng, -0.8, 2.2) if count == 0 else _between(rng, 0.6, 3.0)
    sign = (round(_between(rng, -1, 1) * max(0.0, camera.x_extent(z, half + 0.15)), 3), round(z, 3))
    if not camera.inside(camera.sign_box(word, *sign)):
        return None
    board = camera.board_box(word, *sign)
    placed: list[Thing] = []
    for thing in _different(rng, split, count):
        r = camera.radius(thing.shape, thing.size)
        for _ in range(30):
            zt = _between(rng, camera.Z_NEAR + 0.3 * r, z)
            t = _at(thing, _between(rng, -1, 1) * camera.x_extent(zt, r), zt)
            clear = abs(t.x - sign[0]) >= half + r or t.z <= z - r - 0.3  # beside the sign, or before it
            if not clear or not _apart(t, placed):
                continue
            box = box_of(t)
            if (
                camera.inside(box)
                and camera.overlap(box, board) <= 0.01
                and all(camera.overlap(box, box_of(o)) <= 0.06 for o in placed)
            ):
                placed.append(t)
                break
        else:
            return None
    return Scene(tuple(placed), word=word, sign=sign, **setting)
