"""Light: from many scenes' things to one table of parts, then shadow, reflection, refraction and the colour of a point.

A part is a thing, or a board of the sign; parts are sorted by shape. A sample is one point that one ray sees; samples of
all scenes lie in one long list, vectors as triples of (N,) tensors, and each names its part and its scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import shapes, surfaces
from minimagen.toyland.lettering import PAD, ink, letters
from minimagen.toyland.scene import BACKDROPS, FLOORS, Scene
from minimagen.toyland.shapes import (
    BOX,
    CODES,
    CONE,
    CYLINDER,
    EDGES,
    PYRAMID,
    RING,
    SPHERE,
    Vec,
    along,
    dot,
    normalize,
)
from minimagen.toyland.surfaces import GLASS, LAMP, MATTE, METAL, SHINY

SLOTS = 8  # five things and a sign's three boards
BLOCK = 4096  # rows of an outline table at a time, so that they stay in the cache
BOARD, POST = (1.10, 1.07, 0.96), (0.46, 0.31, 0.19)
INK = (0.10, 0.10, 0.16)
IOR = 1.36

# How a shape darkens the floor around it: half sizes and rounding of its foot, how much, and how fast that ends.
FOOT = {
    BOX: (0.0, 0.0, 0.0, 0.55, 2.6),
    SPHERE: (0.0, 0.0, 0.0, 0.95, 1.35),
    CYLINDER: (0.0, 0.0, cam.RADIUS["cylinder"], 0.55, 2.6),
    CONE: (0.0, 0.0, cam.RADIUS["cone"], 0.38, 2.8),
    PYRAMID: (cam.PYRAMID_HALF, cam.PYRAMID_HALF, 0.0, 0.38, 2.8),
    RING: (0.42, 0.10, 0.0, 0.75, 2.6),
}
EXTENT = {  # half width, height, half depth of what is not a box
    SPHERE: (1.0, 2.0, 1.0),
    CYLINDER: (cam.RADIUS["cylinder"], cam.HEIGHT["cylinder"], cam.RADIUS["cylinder"]),
    CONE: (cam.RADIUS["cone"], cam.HEIGHT["cone"], cam.RADIUS["cone"]),
    PYRAMID: (cam.PYRAMID_HALF, cam.HEIGHT["pyramid"], cam.PYRAMID_HALF),
    RING: (1.0, 2.0, cam.RING_TUBE),
}


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
    letters: Tensor

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


def build(scenes: Sequence[Scene], device: str) -> World:
    rows: list[tuple] = []
    for b, scene in enumerate(scenes):
        for t in scene.things:
            code = CODES[t.shape]
            half = EXTENT.get(code) or (cam.CUBE_HALF, 2 * cam.CUBE_HALF, cam.CUBE_HALF)
            look = (surfaces.MATERIAL[t.material], surfaces.PATTERN[t.pattern], 0)
            rows.append((b, code, (t.x, t.y, t.z), cam.SCALE[t.size], t.yaw, half, surfaces.COLOR[t.color], look))
        if scene.word is not None:
            x, z = scene.sign
            a, p = cam.board_width(scene.word) / 2, cam.POST_WIDTH / 2
            rows.append(
                (
                    b,
                    BOX,
                    (x, cam.POST_HEIGHT, z),
                    1.0,
                    0.0,
                    (a, cam.BOARD_HEIGHT, cam.BOARD_DEPTH / 2),
                    BOARD,
                    (0, 0, 1),
                )
            )
            for side in (-0.68 * a, 0.68 * a):
                rows.append((b, BOX, (x + side, 0.0, z), 1.0, 0.0, (p, cam.POST_HEIGHT, 0.7 * p), POST, (0, 0, 0)))
    rows.sort(key=lambda r: r[1])
    slots, used = [[-1] * SLOTS for _ in scenes], [0] * len(scenes)
    for k, r in enumerate(rows):
        slots[r[0]][used[r[0]]] = k
        used[r[0]] += 1
    codes = [r[1] for r in rows]
    groups = [(c, codes.index(c), codes.index(c) + codes.count(c)) for c in sorted(set(codes))]

    def floats(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def ints(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    scene_of, base, scale, yaw = (
        ints([r[0] for r in rows]),
        floats([r[2] for r in rows]).T.contiguous(),
        floats([r[3] for r in rows]),
        [r[4] for r in rows],
    )
    extent = floats([r[5] for r in rows]).T.contiguous()
    half = extent.clone()
    half[1] /= 2
    yaw = torch.tensor(yaw, dtype=torch.float64)
    turn = torch.stack([yaw.cos(), yaw.sin()]).float().to(device)
    center = base.clone()
    center[1] += scale * half[1]
    ball = scale * floats(
        [
            1.0
            if r[1] in (SPHERE, RING)
            else (r[5][0] ** 2 + r[5][1] ** 2 / 4 + (r[5][2] ** 2 if r[1] in (BOX, PYRAMID) else 0)) ** 0.5
            for r in rows
        ]
    )
    foot = floats([FOOT[r[1]] if r[1] != BOX else (r[5][0], r[5][2], *FOOT[BOX][2:]) for r in rows]).T.contiguous()
    foot[3] *= torch.exp(-1.6 * base[1] / scale)  # what hovers darkens less
    slot = ints(slots)
    picked = slot.clamp_min(0)
    balls = torch.stack([center[0][picked], center[1][picked], center[2][picked], (ball * ball)[picked]], -1)
    balls[..., 3].masked_fill_(slot < 0, -1.0)
    light = floats([surfaces.LIGHT[s.light] for s in scenes]).T
    light = (light / light.square().sum(0).sqrt()).contiguous()
    word = [[ord(c) - 65 for c in (s.word or "")] + [0] * cam.MAX_LETTERS for s in scenes]
    starts = []
    for s in scenes:
        edges = cam.cells(s.word or "")
        starts.append([e - edges[-1] / 2 for e in edges] + [1e3] * (cam.MAX_LETTERS + 1 - len(edges)))
    w = World(
        groups=groups, scene=scene_of, shape=ints(codes), base=base, scale=scale, turn=turn, half=half, center=center, ball=ball,
        color=floats([r[6] for r in rows]).T.contiguous(), material=ints([r[7][0] for r in rows]), pattern=ints([r[7][1] for r in rows]),
        board=ints([r[7][2] for r in rows]).bool(), foot=foot, outline=torch.zeros(len(rows), 4, EDGES, device=device),
        hole=torch.zeros(len(rows), 4, EDGES, device=device), slots=slot, balls=balls, light=light,
        ambient=floats([surfaces.MOOD[s.backdrop][0] for s in scenes]).T.contiguous(),
        key=floats([surfaces.MOOD[s.backdrop][1] for s in scenes]).T.contiguous(),
        floor=ints([FLOORS.index(s.floor) for s in scenes]), wall=ints([BACKDROPS.index(s.backdrop) for s in scenes]),
        word=ints([r[: cam.MAX_LETTERS] for r in word]), starts=floats(starts),
        maps=surfaces.surroundings(FLOORS, BACKDROPS, device), letters=letters().to(device),
    )  # fmt: skip
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


def _covered(x: Tensor) -> Tensor:
    """How much of a round lamp a straight edge covers that stands x lamp radii outside of its middle (−1: all, 1: none)."""
    x = x.clamp(-1, 1)
    return 0.5 - 0.75 * x + 0.25 * x * x * x


def _bounded(table: Tensor, part: Tensor, a: Tensor, b: Tensor, depth: Tensor, soft: Tensor) -> tuple[Tensor, Tensor]:
    """(angle to the nearest half-plane in lamp radii, distance to it): positive outside."""
    t = table.index_select(0, part)
    outside = (t[:, 0] * a.unsqueeze(1)).addcmul_(t[:, 1], b.unsqueeze(1)).sub_(t[:, 2])
    far = (t[:, 3] - depth.unsqueeze(1)).mul_(LAMP).add_(soft.unsqueeze(1)).clamp_min_(6e-3)
    return (outside / far).amax(1), outside.amax(1)


def shadow(
    w: World, part: Tensor, p: Vec, soft: Tensor, light: tuple[Vec, Vec, Vec], lifted: bool = False
) -> tuple[Tensor, Tensor]:
    """(index, light): how much lamplight, per colour, passes the part on its way to p, for those samples it may darken.

    soft: half a pixel, in units. lifted: p may lie on the far side of the part (another thing's top).
    """
    c = take(w.center, part)
    q = (p[0] - c[0], p[1] - c[1], p[2] - c[2])
    a, b, depth = dot(q, light[0]), dot(q, light[1]), dot(q, light[2])
    r = w.ball.index_select(0, part)
    reach = (r - depth) * (1.1 * LAMP) + r + 0.02
    k = ((a * a).addcmul_(b, b) < reach * reach).logical_and_(depth < r).nonzero().squeeze(1)
    through = torch.ones(3, len(k), device=k.device)
    for i in range(0, len(k), BLOCK):
        j = k[i : i + BLOCK]
        pj, aj, bj, dj, sj = part[j], a[j], b[j], depth[j], soft[j]
        x, inside = _bounded(w.outline, pj, aj, bj, dj, sj)
        dark = _covered(x)
        ring = (w.shape[pj] == RING).nonzero().squeeze(1)
        if len(ring):
            y, _ = _bounded(w.hole, pj[ring], aj[ring], bj[ring], dj[ring], sj[ring])
            dark[ring] *= _covered(-y)
        if lifted:
            dark *= (0.6 - dj / (0.4 * r[j])).clamp(0, 1)
        glass = w.material[pj] == GLASS
        focus = (inside * -1.6 / w.scale[pj]).clamp(0, 1)
        out = through[:, i : i + BLOCK]
        for ch in range(3):  # glass tints its shadow, and gathers some light in the middle
            color = w.color[ch].index_select(0, pj)
            out[ch] = 1 - dark * torch.where(glass, 1 - (0.10 + 0.80 * color * color) * (0.55 + 0.75 * focus), 1.0)
    return k, through


def lookup(w: World, row: Tensor, a: Tensor, b: Tensor) -> Vec:
    """A colour of the coarse maps, bilinear; a, b in [0, 1]."""
    m = surfaces.MAP
    x, y = (a * m - 0.5).clamp_(0, m - 1.01), (b * m - 0.5).clamp_(0, m - 1.01)
    i, j = x.floor(), y.floor()
    fx, fy = x - i, y - j
    k = row * (3 * m * m) + j.long() * m + i.long()
    flat = w.maps.view(-1)
    out = []
    for c in range(3):
        q = flat[c * m * m :]
        out.append(torch.lerp(torch.lerp(q[k], q[k + 1], fx), torch.lerp(q[k + m], q[k + m + 1], fx), fy))
    return out[0], out[1], out[2]


def surroundings(w: World, scene: Tensor, part: Tensor, o: Vec, d: Vec) -> list[Tensor]:
    """The colour of floor, backdrop and the dark room behind the camera, as a ray from o along d meets them."""
    down = d[1] < -1e-4
    t_floor = torch.where(down, -o[1] / d[1].clamp_max(-1e-4), 1e4)
    t_wall = torch.where(d[2] > 1e-4, (cam.Z_WALL - o[2]) / d[2].clamp_min(1e-4), 1e4)
    on_floor, t = t_floor < t_wall, torch.minimum(t_floor, t_wall)
    x, y, z = along(o, t, d)
    row = torch.where(on_floor, w.floor[scene], w.wall[scene] + len(FLOORS))
    v = torch.where(on_floor, (z - surfaces.Z_LOW) / (cam.Z_WALL - surfaces.Z_LOW), y / surfaces.Y_HIGH)
    texel = lookup(w, row, (x / surfaces.HALF_X * 0.5 + 0.5).clamp_(0, 1), v.clamp_(0, 1))
    c, s = take(w.base, part), w.scale[part]
    near = torch.exp(-1.1 * ((x - c[0]).square_().addcmul_(z - c[2], z - c[2])) / (s * s))  # its own shadow, roughly
    lit = torch.where(on_floor, 0.78 * (1 - 0.6 * near), 0.42)
    front = t >= 1e4
    room = 0.16 + 1.35 * d[1].clamp_min(0) + 0.25 * (d[0] * w.light[0][scene]).clamp_min(0)
    out = []
    for ch in range(3):
        amb, key = w.ambient[ch][scene], w.key[ch][scene]
        out.append(torch.where(front, amb * room, texel[ch] * (amb + key * lit)))
    return out


def trace(w: World, scene: Tensor, part: Tensor, o: Vec, d: Vec, color: list[Tensor]) -> Tensor:
    """Where a ray (|d| = 1) meets a thing other than its own part, that thing's colour takes the place of `color`.

    → the distance, ∞ where it meets none.
    """
    balls = w.balls.view(len(w.balls), -1).index_select(0, scene).view(-1, SLOTS, 4)
    qx, qy, qz = balls[..., 0] - o[0].unsqueeze(1), balls[..., 1] - o[1].unsqueeze(1), balls[..., 2] - o[2].unsqueeze(1)
    to = (qx * d[0].unsqueeze(1)).addcmul_(qy, d[1].unsqueeze(1)).addcmul_(qz, d[2].unsqueeze(1))
    gap = (qx * qx).addcmul_(qy, qy).addcmul_(qz, qz).addcmul_(to, to, value=-1)
    ray, slot = ((gap < balls[..., 3]) & (to > 0)).nonzero(as_tuple=True)
    other = w.slots[scene[ray], slot]
    keep = other != part[ray]
    ray, other = ray[keep], other[keep]
    nearest = torch.full_like(d[0], float("inf"))
    found: list[tuple[Tensor, Tensor, Tensor, Vec, Vec]] = []
    for code, first, last in w.groups:
        k = ((other >= first) & (other < last)).nonzero().squeeze(1)
        if not len(k):
            continue
        r, q = ray[k], other[k]
        ok, dk = tuple(c[r] for c in o), tuple(c[r] for c in d)
        t, _, p, half, _ = meet(w, code, q, ok, dk)
        k = (t < 1e5).nonzero().squeeze(1)
        if not len(k):
            continue
        pk = (p[0][k], p[1][k], p[2][k])
        n, _ = shapes.surface(code, pk, (half[0][k], half[1][k], half[2][k]))
        r, t, q = r[k], t[k], q[k]
        nearest.scatter_reduce_(0, r, t, "amin")
        found.append((r, t, q, to_world(w, q, n), pk))
    for r, t, q, n, pk in found:
        k = (t <= nearest[r]).nonzero().squeeze(1)
        r, q = r[k], q[k]
        s = scene[r]
        face = (n[0][k] * w.light[0][s] + n[1][k] * w.light[1][s] + n[2][k] * w.light[2][s]).clamp_min_(0)
        up = 0.62 + 0.38 * n[1][k] - 0.3 * torch.exp(-2.2 * pk[1][k])
        for ch in range(3):
            albedo = w.color[ch][q].square()
            color[ch][r] = albedo * (w.ambient[ch][s] * up + w.key[ch][s] * face * 0.9)
    return nearest


def meet(w: World, code: int, part: Tensor, o: Vec, d: Vec) -> tuple[Tensor, Tensor, Vec, Vec, Vec]:
    """Rays against their parts, all of one shape: (entry, exit, point of entry, half sizes, direction) in the part's frame."""
    b, inverse = take(w.base, part), w.scale.index_select(0, part).reciprocal()
    q = to_local(w, part, (o[0] - b[0], o[1] - b[1], o[2] - b[2]), inverse)
    v = to_local(w, part, d, inverse)
    half = take(w.half, part)
    middle = (q[0] * v[0] + (q[1] - half[1]) * v[1] + q[2] * v[2]).neg_() / dot(v, v)  # start near: fp32 is short
    middle = middle.clamp_min_(0)
    q = along(q, middle, v)
    t0, t1 = shapes.intersect(code, q, v, half)
    t0 = torch.where(t0 + middle > 1e-3, t0, float("inf"))
    return t0 + middle, t1 + middle, along(q, t0, v), half, v


def refract(d: Vec, n: Vec, eta: float) -> Vec:
    """Snell: d and n of length 1, n against d; eta = index outside / inside. Past the critical angle: straight on."""
    c = -dot(d, n)
    k = 1 - eta * eta * (1 - c * c)
    m = eta * c - k.clamp_min(0).sqrt()
    total = k < 0
    return normalize(tuple(torch.where(total, a, eta * a + m * b) for a, b in zip(d, n)))  # type: ignore[arg-type]


def shade(
    w: World, part: Tensor, eye: Vec, p: Vec, n: Vec, local: Vec, local_n: Vec, pixel: Tensor, detail: float
) -> Tensor:
    """(3, N): the light that points p of the parts send along −eye.

    eye: from the camera, length 1. pixel: a pixel's width there, in units. detail: how much of a pattern shows, 0…1.
    """
    scene = w.scene.index_select(0, part)
    e1, e2, light = w.axes(scene)
    material = w.material.index_select(0, part)
    color = [w.color[c].index_select(0, part) for c in range(3)]
    _decorate(w, part, scene, local, local_n, pixel, detail, color)

    # Lamplight that other things leave, and light from all around that they take.
    facing = dot(n, light)
    balls = w.balls.view(len(w.balls), -1).index_select(0, scene).view(-1, SLOTS, 4)
    qx, qy, qz = balls[..., 0] - p[0].unsqueeze(1), balls[..., 1] - p[1].unsqueeze(1), balls[..., 2] - p[2].unsqueeze(1)
    other = w.slots.index_select(0, scene)
    mine = (other == part.unsqueeze(1)) | (other < 0)
    far2 = (qx * qx).addcmul_(qy, qy).addcmul_(qz, qz)
    cosine = (qx * n[0].unsqueeze(1)).addcmul_(qy, n[1].unsqueeze(1)).addcmul_(qz, n[2].unsqueeze(1))
    cosine.mul_(far2.rsqrt()).add_(0.15).clamp_min_(0)
    near = (balls[..., 3] / far2).clamp_max_(1.0).mul_(cosine).mul_(0.55).clamp_max_(0.6).masked_fill_(mine, 0.0)
    open_sky = (1 - near).prod(1)
    towards = (qx * light[0].unsqueeze(1)).addcmul_(qy, light[1].unsqueeze(1)).addcmul_(qz, light[2].unsqueeze(1))
    width = balls[..., 3].clamp_min(0).sqrt()
    blur = width + towards.clamp_min(0) * (1.1 * LAMP) + 0.02
    hidden = (far2 - towards * towards < blur * blur) & (towards > -width) & (facing.unsqueeze(1) > -0.1)
    who, slot = hidden.logical_and_(~mine).nonzero(as_tuple=True)
    through = torch.ones(3, len(part), device=part.device)
    if len(who):
        at = (p[0][who], p[1][who], p[2][who])
        axes = tuple(tuple(c[who] for c in axis) for axis in (e1, e2, light))
        k, t = shadow(w, other[who, slot], at, 0.5 * pixel[who], axes, lifted=True)
        for c in range(3):
            through[c].scatter_reduce_(0, who[k], t[c], "amin")

    direct = ((facing + 0.06) / 1.06).clamp_(0, 1)
    ring = w.shape[part] == RING
    ground = torch.exp(-2.4 * local[1])
    above = (0.66 + 0.34 * n[1]) * (1 - 0.30 * ground) * open_sky
    below = (0.5 - 0.5 * n[1]) * (1 - 0.55 * ground)
    ground_color = w.maps.mean((2, 3))[w.floor]  # (B, 3)

    gloss = (material != MATTE).nonzero().squeeze(1)
    lit = []
    for c in range(3):
        amb, key = w.ambient[c].index_select(0, scene), w.key[c].index_select(0, scene)
        bounce = ground_color[:, c].index_select(0, scene) * (amb + key) * below * 0.45
        around = torch.where(ring, 0.92, 1.0) * (amb * above + bounce)
        lit.append(color[c].square() * (around + key * through[c] * direct))
    if len(gloss):
        _polish(w, gloss, part, scene, material, eye, p, n, local, local_n, color, through, (e1, e2, light), lit)
    return torch.stack(lit)


def _decorate(w, part, scene, local, local_n, pixel, detail, color) -> None:
    """Patterns and the sign's letters, into the colours."""
    k = (w.pattern.index_select(0, part) > 0).nonzero().squeeze(1) if detail > 0 else part[:0]
    for code, first, last in w.groups if len(k) else ():
        j = k[(part[k] >= first) & (part[k] < last)]
        if not len(j):
            continue
        q, m = part[j], tuple(c[j] for c in local_n)
        across, up, turn_a, turn_b = shapes.unrolled(code, tuple(c[j] for c in local), m)
        tone = surfaces.pattern(w.pattern[q], across, up, turn_a, turn_b, w.scale[q]) * detail
        for c in range(3):
            base = color[c][j]
            room = torch.minimum(torch.minimum(base + 0.06, 1.10 - base), torch.tensor(surfaces.CONTRAST))
            color[c][j] = (base + tone * room).clamp_(0, 1)
    k = (w.board.index_select(0, part) & (local_n[2] < -0.5)).nonzero().squeeze(1)
    if len(k):
        s = scene[k]
        x, starts = local[0][k], w.starts[s]
        i = (x.unsqueeze(1) >= starts).sum(1).sub_(1).clamp_(0, cam.MAX_LETTERS - 1)
        left, right = starts.gather(1, i.unsqueeze(1))[:, 0], starts.gather(1, i.unsqueeze(1) + 1)[:, 0]
        v = 0.5 - (local[1][k] - 0.5 * cam.BOARD_HEIGHT) / (cam.LETTER_HEIGHT / (1 - 2 * PAD))
        u = 0.5 + (x - 0.5 * (left + right)) / cam.CELL_WIDTH
        inside = (x >= left) & (x < right) & (right < 100) & (v > 0) & (v < 1)
        black = ink(w.letters, w.word[s, i], u.clamp(0, 1), v.clamp(0, 1), pixel[k] / cam.LETTER_HEIGHT) * inside
        for c in range(3):
            color[c][k] = torch.lerp(color[c][k], torch.tensor(INK[c], device=black.device), black)


def _smooth(x: Tensor, low: float, high: float) -> Tensor:
    x = ((x - low) / (high - low)).clamp_(0, 1)
    return x * x * (3 - 2 * x)


def _fade(color: list[Tensor], amount: Tensor | float) -> None:
    """Towards grey, in place: 0 leaves the colour as it is."""
    grey = (color[0] + color[1] + color[2]) / 3
    for c in color:
        c.add_((grey - c) * amount)


def _relief(w: World, part: Tensor, local: Vec, n: Vec) -> tuple[Vec, Tensor, Tensor]:
    """Where on a flat face a point lies, −1…1 from its middle (0 on round ones); whether the face is flat; how near to its rim."""
    code, half = w.shape[part], take(w.half, part)
    q = (local[0] / half[0], local[1] / half[1] - 1, local[2] / half[2])
    box, pyramid, cylinder, cone = code == BOX, code == PYRAMID, code == CYLINDER, code == CONE
    cap = cylinder & (n[1].abs() > 0.9)
    flat = box | pyramid | cap
    depth = dot(q, n)
    on = tuple((c - depth * m) * flat for c, m in zip(q, n))
    a, b, c = q[0].abs(), q[1].abs(), q[2].abs()
    second = torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
    rim = torch.where(box, _smooth(second, 0.80, 0.97), 0.0)
    crease = torch.maximum(_smooth(-(a - c).abs(), -0.16, -0.03), _smooth(-q[1], 0.86, 0.98))
    rim = torch.where(pyramid, crease, rim)
    rim = torch.where(cylinder, _smooth(torch.where(cap, torch.hypot(q[0], q[2]), b), 0.82, 0.97), rim)
    return on, flat, torch.where(cone, _smooth(-q[1], 0.86, 0.98), rim)  # type: ignore[return-value]


def _polish(w, k, part, scene, material, eye, p, n, local, local_n, color, through, axes, lit) -> None:
    """Shiny, metal and glass: what they mirror, what shines through, and the lamp itself."""
    part, scene, material = part[k], scene[k], material[k]
    local, local_n = tuple(c[k] for c in local), tuple(c[k] for c in local_n)
    d, p, n = tuple(c[k] for c in eye), tuple(c[k] for c in p), tuple(c[k] for c in n)
    e1, e2, light = (tuple(c[k] for c in axis) for axis in axes)
    metal, shiny, glass = material == METAL, material == SHINY, material == GLASS
    code = w.shape[part]
    on, flat, rim = _relief(w, part, local, local_n)
    on = to_world(w, part, on)
    bulge = torch.where(code == PYRAMID, 0.05, 0.16)  # flat faces mirror as if slightly blown up
    bent = normalize(tuple(a + bulge * b for a, b in zip(n, on)))
    cosine = -dot(d, bent)
    m = normalize(tuple(a + 2 * cosine * b for a, b in zip(d, bent)))
    fresnel = (1 - (-dot(d, n)).clamp(0, 1)).pow(5)

    # The lamp: a square on round things, a sheen from the nearest rim on flat faces, a streak along the sides of others.
    x, y, z = dot(m, e1), dot(m, e2), dot(m, light)
    front = z.clamp_min(1e-3)
    square = (
        ((0.38 - (x / front).abs()) * 9 + 0.5).clamp_(0, 1)
        * ((0.38 - (y / front).abs()) * 9 + 0.5).clamp_(0, 1)
        * (z > 0)
    )
    slope, level = dot(on, light), dot(n, light)
    to = tuple(a - level * b for a, b in zip(light, n))  # along the face, towards the light
    k_to = 0.85 * dot(to, to).clamp_min(1e-4).rsqrt()
    off = tuple(a - k_to * b for a, b in zip(on, to))
    spot = torch.exp(dot(off, off) * -4.5)
    h = (light[0] - d[0], light[2] - d[2])
    azimuth = (n[0] * h[0] + n[2] * h[1]) / (torch.hypot(n[0], n[2]) * torch.hypot(h[0], h[1])).clamp_min(1e-6)
    streak = _smooth(azimuth, 0.925, 0.992)
    round_side = ~flat & ((code == CYLINDER) | (code == CONE))
    facing = (0.55 + 1.2 * level).clamp_(0.30, 1.0)
    lamp = torch.where(flat, 0.85 * spot * facing, torch.where(round_side, 0.80 * streak * facing, square))
    glow = z.clamp_min(0) ** 10 * 0.20
    lamp = (lamp + glow) * (0.25 + 0.75 * through[1][k])

    start = along(p, torch.tensor(1e-3, device=k.device), n)
    seen = surroundings(w, scene, part, start, m)
    trace(w, scene, part, start, m, seen)
    _fade(seen, torch.where(metal, 0.5, 0.0))  # so that a metal keeps its colour's name
    side = _smooth(azimuth.abs(), 0.35, 1.0)
    band = 0.45 + 0.80 * (1.5 * m[1].abs()).clamp_(0, 1)  # round metal is dark along the horizon that it mirrors
    brushed = torch.where(round_side, 0.40 + 1.1 * side, band)
    brushed = torch.where(flat, (1.0 + 0.95 * slope).clamp_(0.30, 1.9), brushed)
    share = torch.where(metal, 0.85 * brushed, torch.where(shiny, 0.05 + 0.45 * fresnel, 0.05 + 0.80 * fresnel))
    body = torch.where(metal, 0.22 + 0.12 * brushed, torch.where(shiny, 0.94, 0.22))
    bright = torch.where(metal, 1.1, torch.where(shiny, 1.0, torch.where(flat, 0.45, 0.7))) * lamp
    bright = bright + rim * torch.where(glass, 0.34, 0.05) * facing
    for c in range(3):
        shown = color[c][k]
        albedo = shown.square()
        gilt = shown * shown.sqrt() * 0.94 + 0.05
        tint = torch.where(metal, torch.lerp(gilt, torch.ones_like(gilt), 0.8 * fresnel), 1.0)
        lamp_tint = torch.where(metal, 0.25 + 0.75 * tint, torch.where(glass, 0.55 + 0.45 * albedo, 1.0))
        lit[c][k] = lit[c][k] * body + share * tint * seen[c] + bright * lamp_tint
    g = glass.nonzero().squeeze(1)
    if len(g):
        kg = k[g]
        passed = _through_glass(
            w, part[g], scene[g], *(tuple(c[g] for c in v) for v in (d, p, n, local)), [c[kg] for c in color]
        )
        keep = (1 - share[g]) * (1 - 0.5 * rim[g])
        for c in range(3):
            lit[c][kg] += keep * passed[c]


def _through_glass(w, part, scene, d, p, n, local, color) -> list[Tensor]:
    """Refraction in and out; the longer the way inside, the deeper the colour."""
    into = refract(d, n, 1 / IOR)
    length = torch.zeros_like(d[0])
    out = [c.clone() for c in into]
    for code, first, last in w.groups:
        k = ((part >= first) & (part < last)).nonzero().squeeze(1)
        if not len(k):
            continue
        q, v = part[k], tuple(c[k] for c in into)
        inverse = w.scale[q].reciprocal()
        vl = to_local(w, q, v, inverse)
        half = take(w.half, q)
        start = along(tuple(c[k] for c in local), torch.full_like(inverse, 2e-3), vl)
        _, t = shapes.intersect(code, start, vl, half)
        t = t.clamp(0, 1e2)
        e = along(start, t, vl)
        ne = to_world(w, q, shapes.surface(code, e, half)[0])
        leave = refract(v, tuple(-c for c in ne), IOR)
        length[k] = t
        for c in range(3):
            out[c][k] = leave[c]
    exit_point = along(p, length, into)
    start = (exit_point[0], exit_point[1].clamp_min(2e-3), exit_point[2])
    seen = surroundings(w, scene, part, start, tuple(out))
    trace(w, scene, part, start, tuple(out), seen)
    _fade(seen, 0.35)
    depth = 0.45 + 0.60 * (length / (1.6 * w.scale[part])).clamp(0, 1.3)
    return [s * (color[c].square() * 0.93 + 0.05).clamp_(0.0, 0.97) ** depth * 1.12 for c, s in enumerate(seen)]
