"""Light on its way: how rays meet the parts, what a lamp's shadow leaves, and what a mirrored or refracted ray sees."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import shapes, surfaces
from minimagen.toyland.scene import FLOORS
from minimagen.toyland.shapes import RING, Vec, along, dot, normalize
from minimagen.toyland.surfaces import GLASS, LAMP
from minimagen.toyland.world import SLOTS, World, take, to_local, to_world

BLOCK = 4096  # rows of an outline table at a time, so that they stay in the cache


def _covered(x: Tensor) -> Tensor:
    """How much of a round lamp an edge covers that lies x of its radii outside of its middle (−1: all, 1: none)."""
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
        ok, dk = (o[0][r], o[1][r], o[2][r]), (d[0][r], d[1][r], d[2][r])
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
    """Rays against parts of one shape: entry, exit; in the part's frame the point, half sizes and direction."""
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
