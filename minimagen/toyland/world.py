"""From many scenes' things to one table of parts, as tensors.

A part is a thing, or one of the three boards of a sign; parts are sorted by shape. What rays see lies in long lists
over all scenes: vectors are triples of (N,) tensors, and each point names its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import shapes, surfaces
from minimagen.toyland.lettering import letters
from minimagen.toyland.scene import BACKDROPS, FLOORS, Scene
from minimagen.toyland.shapes import BOX, CODES, CONE, CYLINDER, EDGES, PYRAMID, RING, SPHERE, Vec, dot

SLOTS = 8  # five things and a sign's three boards
BOARD, POST = (1.10, 1.07, 0.96), (0.46, 0.31, 0.19)  # their colours

# How a shape darkens the floor around it: half sizes and rounding of its foot, how much, and how fast that ends.
FOOT = {
    BOX: (0.0, 0.0, 0.0, 0.55, 2.6),
    SPHERE: (0.0, 0.0, 0.0, 0.95, 1.35),
    CYLINDER: (0.0, 0.0, cam.RADIUS["cylinder"], 0.55, 2.6),
    CONE: (0.0, 0.0, cam.RADIUS["cone"], 0.38, 2.8),
    PYRAMID: (cam.PYRAMID_HALF, cam.PYRAMID_HALF, 0.0, 0.38, 2.8),
    RING: (0.42, 0.10, 0.0, 0.75, 2.6),
}
EXTENT = {  # half width, height, half depth
    BOX: (cam.CUBE_HALF, 2 * cam.CUBE_HALF, cam.CUBE_HALF),
    SPHERE: (1.0, 2.0, 1.0),
    CYLINDER: (cam.RADIUS["cylinder"], cam.HEIGHT["cylinder"], cam.RADIUS["cylinder"]),
    CONE: (cam.RADIUS["cone"], cam.HEIGHT["cone"], cam.RADIUS["cone"]),
    PYRAMID: (cam.PYRAMID_HALF, cam.HEIGHT["pyramid"], cam.PYRAMID_HALF),
    RING: (1.0, 2.0, cam.RING_TUBE),
}


class Part(NamedTuple):
    """A row of the table, before it is one."""

    scene: int
    code: int
    base: tuple[float, float, float]
    extent: tuple[float, float, float]  # half width, height, half depth at scale 1
    color: tuple[float, float, float]
    scale: float = 1.0
    yaw: float = 0.0
    material: int = surfaces.MATTE
    pattern: int = 0
    board: bool = False

    @property
    def ball(self) -> float:
        """The radius of the ball around its middle that holds it, at scale 1."""
        a, h, b = self.extent
        if self.code in (SPHERE, RING):
            return 1.0
        return (a**2 + h**2 / 4 + (b**2 if self.code in (BOX, PYRAMID) else 0)) ** 0.5

    @property
    def foot(self) -> tuple[float, ...]:
        return FOOT[self.code] if self.code != BOX else (self.extent[0], self.extent[2], *FOOT[BOX][2:])


@dataclass
class World:
    """Everything a chunk of scenes holds. P parts, B scenes; `part` rows are gathered by a sample's part."""

    groups: list[tuple[int, int, int]]  # (shape, first part, one past the last)
    scene: Tensor  # (P,) which scene
    shape: Tensor  # (P,)
    base: Tensor  # (3, P)
    scale: Tensor  # (P,)
    turn: Tensor  # (2, P) cosine and sine of yaw
    half: Tensor  # (3, P) half sizes at scale 1
    center: Tensor  # (3, P) of the bounding ball
    ball: Tensor  # (P,) its radius
    color: Tensor  # (3, P)
    material: Tensor  # (P,)
    pattern: Tensor  # (P,)
    board: Tensor  # (P,) bool: bears the word
    foot: Tensor  # (5, P)
    outline: Tensor  # (P, 4, EDGES): half-planes in the light's plane, relative to the centre: cos, sin, offset, depth
    hole: Tensor  # (P, 4, EDGES): the same of a ring's hole
    slots: Tensor  # (B, SLOTS) the parts of a scene, −1: none
    balls: Tensor  # (B, SLOTS, 4) centre and squared radius (−1: none)
    light: Tensor  # (3, B)
    ambient: Tensor  # (3, B)
    key: Tensor  # (3, B)
    floor: Tensor  # (B,)
    wall: Tensor  # (B,)
    word: Tensor  # (B, 6) letters' numbers
    starts: Tensor  # (B, 7) where their cells begin, from the board's middle; unused ones begin far away
    maps: Tensor  # coarse maps of floors and backdrops
    ground: Tensor  # (3, B) the floor's colour, on average
    letters: Tensor  # of `lettering`

    def axes(self, scene: Tensor) -> tuple[Vec, Vec, Vec]:
        """The light's own frame: two directions across, one towards it."""
        x, y, z = self.light[0][scene], self.light[1][scene], self.light[2][scene]
        flat = torch.hypot(x, z)
        return (-z / flat, torch.zeros_like(x), x / flat), (-y * x / flat, flat, -y * z / flat), (x, y, z)


def take(table: Tensor, index: Tensor) -> Vec:
    return table[0].index_select(0, index), table[1].index_select(0, index), table[2].index_select(0, index)


def to_local(w: World, part: Tensor, v: Vec, inverse_scale: Tensor | None = None) -> Vec:
    """A direction in a part's own frame; with its inverse scale, of the length that keeps a ray's t."""
    c, s = w.turn[0].index_select(0, part), w.turn[1].index_select(0, part)
    a, b, h = c * v[0] - s * v[2], s * v[0] + c * v[2], v[1]
    return (a, h, b) if inverse_scale is None else (a * inverse_scale, h * inverse_scale, b * inverse_scale)


def to_world(w: World, part: Tensor, v: Vec) -> Vec:
    c, s = w.turn[0].index_select(0, part), w.turn[1].index_select(0, part)
    return c * v[0] + s * v[2], v[1], c * v[2] - s * v[0]


def _parts(scene: int, s: Scene) -> list[Part]:
    parts = [
        Part(
            scene,
            CODES[t.shape],
            (t.x, t.y, t.z),
            EXTENT[CODES[t.shape]],
            surfaces.COLOR[t.color],
            cam.SCALE[t.size],
            t.yaw,
            surfaces.MATERIAL[t.material],
            surfaces.PATTERN[t.pattern],
        )
        for t in s.things
    ]
    if s.word is not None:
        x, z = s.sign
        a, p = cam.board_width(s.word) / 2, cam.POST_WIDTH / 2
        plate = (a, cam.BOARD_HEIGHT, cam.BOARD_DEPTH / 2)
        parts.append(Part(scene, BOX, (x, cam.POST_HEIGHT, z), plate, BOARD, board=True))
        for side in (-0.68 * a, 0.68 * a):
            parts.append(Part(scene, BOX, (x + side, 0.0, z), (p, cam.POST_HEIGHT, 0.7 * p), POST))
    return parts


def build(scenes: Sequence[Scene], device: str) -> World:
    rows = sorted((p for b, s in enumerate(scenes) for p in _parts(b, s)), key=lambda p: p.code)
    slots, used = [[-1] * SLOTS for _ in scenes], [0] * len(scenes)
    for k, r in enumerate(rows):
        slots[r.scene][used[r.scene]] = k
        used[r.scene] += 1
    codes = [r.code for r in rows]
    words = [[ord(c) - 65 for c in (s.word or "")] for s in scenes]
    edges = [cam.cells(s.word or "") for s in scenes]
    starts = [[e - r[-1] / 2 for e in r] + [1e3] * (cam.MAX_LETTERS + 1 - len(r)) for r in edges]

    def floats(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def triples(values: list) -> Tensor:
        return floats(values).T.contiguous()

    def ints(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    base, scale, half = (
        triples([r.base for r in rows]),
        floats([r.scale for r in rows]),
        triples([r.extent for r in rows]),
    )
    half[1] /= 2
    yaw = torch.tensor([r.yaw for r in rows], dtype=torch.float64)
    center = base.clone()
    center[1] += scale * half[1]
    ball = scale * floats([r.ball for r in rows])
    foot = triples([r.foot for r in rows])
    foot[3] *= torch.exp(-1.6 * base[1] / scale)  # what hovers darkens less
    slot = ints(slots)
    picked = slot.clamp_min(0)
    balls = torch.stack([center[0][picked], center[1][picked], center[2][picked], (ball * ball)[picked]], -1)
    balls[..., 3].masked_fill_(slot < 0, -1.0)
    light = floats([surfaces.LIGHT[s.light] for s in scenes]).T
    floor = ints([FLOORS.index(s.floor) for s in scenes])
    w = World(
        groups=[(c, codes.index(c), codes.index(c) + codes.count(c)) for c in sorted(set(codes))],
        scene=ints([r.scene for r in rows]),
        shape=ints(codes),
        base=base,
        scale=scale,
        turn=torch.stack([yaw.cos(), yaw.sin()]).float().to(device),
        half=half,
        center=center,
        ball=ball,
        color=triples([r.color for r in rows]),
        material=ints([r.material for r in rows]),
        pattern=ints([r.pattern for r in rows]),
        board=ints([r.board for r in rows]).bool(),
        foot=foot,
        outline=torch.zeros(len(rows), 4, EDGES, device=device),
        hole=torch.zeros(len(rows), 4, EDGES, device=device),
        slots=slot,
        balls=balls,
        light=(light / light.square().sum(0).sqrt()).contiguous(),
        ambient=triples([surfaces.MOOD[s.backdrop][0] for s in scenes]),
        key=triples([surfaces.MOOD[s.backdrop][1] for s in scenes]),
        floor=floor,
        wall=ints([BACKDROPS.index(s.backdrop) for s in scenes]),
        word=ints([(r + [0] * cam.MAX_LETTERS)[: cam.MAX_LETTERS] for r in words]),
        starts=floats(starts),
        maps=surfaces.surroundings(FLOORS, BACKDROPS, device),
        ground=surfaces.average(FLOORS, BACKDROPS, device)[floor].T.contiguous(),
        letters=letters().to(device),
    )
    _outlines(w)
    return w


def _outlines(w: World) -> None:
    """Where the light's rays graze each part: its shadow's half-planes n·q ≤ c, and how near to the light each lies."""
    for code, first, last in w.groups:
        part = torch.arange(first, last, device=w.scene.device)
        e1, e2, light = w.axes(w.scene[part])
        n = shapes.outline(code, to_local(w, part, light))
        half = take(w.half, part)
        p = shapes.reach(code, n, half)
        q = (p[0] * w.scale[part], (p[1] - half[1]) * w.scale[part], p[2] * w.scale[part])
        for table, point, off in ((w.outline, q, 0.0), (w.hole, q, 1.0)):
            if off:  # a ring's hole: the outline of its middle circle, less the tube
                k = cam.RING_RADIUS * torch.hypot(n[0], n[1]).clamp_min(1e-6).reciprocal() * w.scale[part]
                point = (n[0] * k, n[1] * k, torch.zeros_like(k))
            a, b, light_local = to_local(w, part, e1), to_local(w, part, e2), to_local(w, part, light)
            table[first:last, 0], table[first:last, 1] = dot(n, a).T, dot(n, b).T
            table[first:last, 2] = (dot(n, point) - off * cam.RING_TUBE * w.scale[part]).T
            table[first:last, 3] = dot(point, light_local).T
            if code != RING:
                break
