"""The colour of a point: its pattern, the light that reaches it, and what its material makes of that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import shapes, surfaces
from minimagen.toyland.lettering import PAD, ink
from minimagen.toyland.light import refract, shadow, surroundings, trace
from minimagen.toyland.shapes import BOX, CONE, CYLINDER, PYRAMID, RING, Vec, along, dot, normalize
from minimagen.toyland.surfaces import GLASS, LAMP, MATTE, METAL, SHINY
from minimagen.toyland.world import SLOTS, World, take, to_local, to_world

INK = (0.10, 0.10, 0.16)
IOR = 1.36  # of glass: less than real, so that one sees through


def pick(v: Vec, k: Tensor) -> Vec:
    return v[0][k], v[1][k], v[2][k]


@dataclass
class Points:
    """Points of parts' surfaces that rays from the camera have met."""

    part: Tensor
    scene: Tensor
    eye: Vec  # from the camera, length 1
    p: Vec
    n: Vec
    local: Vec  # p and n in the part's own frame
    local_n: Vec
    pixel: Tensor  # a pixel's width there, in units

    def __getitem__(self, k: Tensor) -> Points:
        eye, p, n = pick(self.eye, k), pick(self.p, k), pick(self.n, k)
        return Points(self.part[k], self.scene[k], eye, p, n, pick(self.local, k), pick(self.local_n, k), self.pixel[k])


def shade(w: World, at: Points, detail: float) -> Tensor:
    """(3, N): the light that the points send to the camera.  detail: how much of a pattern shows, 0…1."""
    axes = w.axes(at.scene)
    color = [w.color[c].index_select(0, at.part) for c in range(3)]
    _pattern(w, at, detail, color)
    _letters(w, at, color)
    open_sky, through = _neighbours(w, at, axes)
    direct = ((dot(at.n, axes[2]) + 0.06) / 1.06).clamp_(0, 1)
    ground = torch.exp(-2.4 * at.local[1])  # near its foot a thing is darker
    above = (0.66 + 0.34 * at.n[1]) * (1 - 0.30 * ground) * open_sky
    below = (0.5 - 0.5 * at.n[1]) * (1 - 0.55 * ground)
    inner = torch.where(w.shape[at.part] == RING, 0.92, 1.0)  # a ring darkens itself a little
    lit = []
    for c in range(3):
        ambient, key = w.ambient[c].index_select(0, at.scene), w.key[c].index_select(0, at.scene)
        bounce = w.ground[c].index_select(0, at.scene) * (ambient + key) * below * 0.45
        around = inner * (ambient * above + bounce)
        lit.append(color[c].square() * (around + key * through[c] * direct))
    k = (w.material[at.part] != MATTE).nonzero().squeeze(1)
    if len(k):
        own = [c[k] for c in lit]
        _polish(
            w, at[k], [c[k] for c in color], through[1][k], (pick(axes[0], k), pick(axes[1], k), pick(axes[2], k)), own
        )
        for c in range(3):
            lit[c][k] = own[c]
    return torch.stack(lit)


def _pattern(w: World, at: Points, detail: float, color: list[Tensor]) -> None:
    """Into the colours, in place."""
    if detail <= 0:
        return
    k = (w.pattern[at.part] > 0).nonzero().squeeze(1)
    for code, first, last in w.groups if len(k) else ():
        j = k[(at.part[k] >= first) & (at.part[k] < last)]
        if not len(j):
            continue
        q = at.part[j]
        place = shapes.unrolled(code, pick(at.local, j), pick(at.local_n, j))
        tone = surfaces.pattern(w.pattern[q], *place, w.scale[q]) * detail
        for c in range(3):
            base = color[c][j]
            room = torch.minimum(base + 0.06, 1.10 - base).clamp_max_(surfaces.CONTRAST)
            color[c][j] = (base + tone * room).clamp_(0, 1)


def _letters(w: World, at: Points, color: list[Tensor]) -> None:
    """The word on the sign's front, in place."""
    k = (w.board.index_select(0, at.part) & (at.local_n[2] < -0.5)).nonzero().squeeze(1)
    if not len(k):
        return
    s, x, y = at.scene[k], at.local[0][k], at.local[1][k]
    starts = w.starts[s]
    i = (x.unsqueeze(1) >= starts).sum(1).sub_(1).clamp_(0, cam.MAX_LETTERS - 1)
    left, right = starts.gather(1, i.unsqueeze(1))[:, 0], starts.gather(1, i.unsqueeze(1) + 1)[:, 0]
    v = 0.5 - (y - 0.5 * cam.BOARD_HEIGHT) / (cam.LETTER_HEIGHT / (1 - 2 * PAD))
    u = 0.5 + (x - 0.5 * (left + right)) / cam.CELL_WIDTH
    inside = (x >= left) & (x < right) & (right < 100) & (v > 0) & (v < 1)
    black = ink(w.letters, w.word[s, i], u.clamp(0, 1), v.clamp(0, 1), at.pixel[k] / cam.LETTER_HEIGHT) * inside
    for c in range(3):
        color[c][k] = torch.lerp(color[c][k], torch.tensor(INK[c], device=black.device), black)


def _neighbours(w: World, at: Points, axes: tuple[Vec, Vec, Vec]) -> tuple[Tensor, Tensor]:
    """(N,) how much of the light from all around, (3, N) how much lamplight other things leave."""
    p, n, light = at.p, at.n, axes[2]
    balls = w.balls.view(len(w.balls), -1).index_select(0, at.scene).view(-1, SLOTS, 4)
    qx, qy, qz = balls[..., 0] - p[0].unsqueeze(1), balls[..., 1] - p[1].unsqueeze(1), balls[..., 2] - p[2].unsqueeze(1)
    other = w.slots.index_select(0, at.scene)
    mine = (other == at.part.unsqueeze(1)) | (other < 0)
    far2 = (qx * qx).addcmul_(qy, qy).addcmul_(qz, qz)
    cosine = (qx * n[0].unsqueeze(1)).addcmul_(qy, n[1].unsqueeze(1)).addcmul_(qz, n[2].unsqueeze(1))
    cosine.mul_(far2.rsqrt()).add_(0.15).clamp_min_(0)
    near = (balls[..., 3] / far2).clamp_max_(1.0).mul_(cosine).mul_(0.55).clamp_max_(0.6).masked_fill_(mine, 0.0)
    towards = (qx * light[0].unsqueeze(1)).addcmul_(qy, light[1].unsqueeze(1)).addcmul_(qz, light[2].unsqueeze(1))
    width = balls[..., 3].clamp_min(0).sqrt()
    blur = width + towards.clamp_min(0) * (1.1 * LAMP) + 0.02
    hidden = (far2 - towards * towards < blur * blur) & (towards > -width) & (dot(n, light).unsqueeze(1) > -0.1)
    who, slot = hidden.logical_and_(~mine).nonzero(as_tuple=True)
    through = torch.ones(3, len(at.part), device=other.device)
    if len(who):
        there = (pick(axes[0], who), pick(axes[1], who), pick(axes[2], who))
        k, t = shadow(w, other[who, slot], pick(p, who), 0.5 * at.pixel[who], there, lifted=True)
        for c in range(3):
            through[c].scatter_reduce_(0, who[k], t[c], "amin")
    return (1 - near).prod(1), through


def _smooth(x: Tensor, low: float, high: float) -> Tensor:
    x = ((x - low) / (high - low)).clamp_(0, 1)
    return x * x * (3 - 2 * x)


def _fade(color: list[Tensor], amount: Tensor | float) -> None:
    """Towards grey, in place: 0 leaves the colour as it is."""
    grey = (color[0] + color[1] + color[2]) / 3
    for c in color:
        c.add_((grey - c) * amount)


def _relief(w: World, at: Points) -> tuple[Vec, Tensor, Tensor, Tensor]:
    """Where on a flat face (−1…1 from its middle), whether on one, whether on a round side, how near to a rim."""
    code, half, local, n = w.shape[at.part], take(w.half, at.part), at.local, at.local_n
    q = (local[0] / half[0], local[1] / half[1] - 1, local[2] / half[2])
    box, pyramid, cylinder, cone = code == BOX, code == PYRAMID, code == CYLINDER, code == CONE
    cap = cylinder & (n[1].abs() > 0.9)
    flat = box | pyramid | cap
    depth = dot(q, n)
    on = ((q[0] - depth * n[0]) * flat, (q[1] - depth * n[1]) * flat, (q[2] - depth * n[2]) * flat)
    a, b, c = q[0].abs(), q[1].abs(), q[2].abs()
    second = torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
    rim = torch.where(box, _smooth(second, 0.80, 0.97), 0.0)
    crease = torch.maximum(_smooth(-(a - c).abs(), -0.16, -0.03), _smooth(-q[1], 0.86, 0.98))
    rim = torch.where(pyramid, crease, rim)
    rim = torch.where(cylinder, _smooth(torch.where(cap, torch.hypot(q[0], q[2]), b), 0.82, 0.97), rim)
    rim = torch.where(cone, _smooth(-q[1], 0.86, 0.98), rim)
    return on, flat, ~flat & (cylinder | cone), rim


def _polish(
    w: World, at: Points, color: list[Tensor], sun: Tensor, axes: tuple[Vec, Vec, Vec], lit: list[Tensor]
) -> None:
    """Shiny, metal and glass, in place: what they mirror, what shines through, and the lamp (sun: how much of it)."""
    material, d, n, light = w.material[at.part], at.eye, at.n, axes[2]
    metal, shiny, glass = material == METAL, material == SHINY, material == GLASS
    on, flat, side, rim = _relief(w, at)
    on = to_world(w, at.part, on)
    bulge = torch.where(w.shape[at.part] == PYRAMID, 0.05, 0.16)  # flat faces mirror as if slightly blown up
    bent = normalize((n[0] + bulge * on[0], n[1] + bulge * on[1], n[2] + bulge * on[2]))
    cosine = -dot(d, bent)
    m = normalize((d[0] + 2 * cosine * bent[0], d[1] + 2 * cosine * bent[1], d[2] + 2 * cosine * bent[2]))
    fresnel = (1 - (-dot(d, n)).clamp(0, 1)).pow(5)

    # The lamp: a square on round things, a sheen from a rim of flat faces, a streak along the sides of others.
    x, y, z = dot(m, axes[0]), dot(m, axes[1]), dot(m, light)
    front = z.clamp_min(1e-3)
    square = ((0.38 - (x / front).abs()) * 9 + 0.5).clamp_(0, 1) * ((0.38 - (y / front).abs()) * 9 + 0.5).clamp_(0, 1)
    slope, level = dot(on, light), dot(n, light)
    to = (light[0] - level * n[0], light[1] - level * n[1], light[2] - level * n[2])  # along the face, to the light
    reach = 0.85 * dot(to, to).clamp_min(1e-4).rsqrt()
    off = (on[0] - reach * to[0], on[1] - reach * to[1], on[2] - reach * to[2])
    sheen = torch.exp(dot(off, off) * -4.5)
    h = (light[0] - d[0], light[2] - d[2])
    azimuth = (n[0] * h[0] + n[2] * h[1]) / (torch.hypot(n[0], n[2]) * torch.hypot(h[0], h[1])).clamp_min(1e-6)
    streak = _smooth(azimuth, 0.925, 0.992)
    facing = (0.55 + 1.2 * level).clamp_(0.30, 1.0)
    lamp = torch.where(flat, 0.85 * sheen * facing, torch.where(side, 0.80 * streak * facing, square * (z > 0)))
    lamp = (lamp + z.clamp_min(0) ** 10 * 0.20) * (0.25 + 0.75 * sun)

    start = along(at.p, torch.tensor(1e-3, device=z.device), n)
    seen = surroundings(w, at.scene, at.part, start, m)
    trace(w, at.scene, at.part, start, m, seen)
    _fade(seen, torch.where(metal, 0.5, 0.0))  # so that a metal keeps its colour's name

    # Metal is dark along the horizon that it mirrors, and brushed: bright towards the light.
    brushed = torch.where(
        side, 0.40 + 1.1 * _smooth(azimuth.abs(), 0.35, 1.0), 0.45 + 0.80 * (1.5 * m[1].abs()).clamp_(0, 1)
    )
    brushed = torch.where(flat, (1.0 + 0.95 * slope).clamp_(0.30, 1.9), brushed)
    mirror = torch.where(metal, 0.85 * brushed, torch.where(shiny, 0.05 + 0.45 * fresnel, 0.05 + 0.80 * fresnel))
    body = torch.where(metal, 0.22 + 0.12 * brushed, torch.where(shiny, 0.94, 0.22))
    bright = torch.where(metal, 1.1, torch.where(shiny, 1.0, torch.where(flat, 0.45, 0.7))) * lamp
    bright = bright + rim * torch.where(glass, 0.34, 0.05) * facing
    for c in range(3):
        albedo = color[c].square()
        gilt = color[c] * color[c].sqrt() * 0.94 + 0.05
        tint = torch.where(metal, torch.lerp(gilt, torch.ones_like(gilt), 0.8 * fresnel), 1.0)
        lamp_tint = torch.where(metal, 0.25 + 0.75 * tint, torch.where(glass, 0.55 + 0.45 * albedo, 1.0))
        lit[c].copy_(lit[c] * body + mirror * tint * seen[c] + bright * lamp_tint)
    k = glass.nonzero().squeeze(1)
    if len(k):
        passed = _through_glass(w, at[k], [c[k] for c in color])
        keep = (1 - mirror[k]) * (1 - 0.5 * rim[k])
        for c in range(3):
            lit[c][k] += keep * passed[c]


def _through_glass(w: World, at: Points, color: list[Tensor]) -> list[Tensor]:
    """Refraction in and out; the longer the way inside, the deeper the colour."""
    into = refract(at.eye, at.n, 1 / IOR)
    length = torch.zeros_like(into[0])
    out = (into[0].clone(), into[1].clone(), into[2].clone())
    for code, first, last in w.groups:
        k = ((at.part >= first) & (at.part < last)).nonzero().squeeze(1)
        if not len(k):
            continue
        q, v = at.part[k], pick(into, k)
        inverse = w.scale[q].reciprocal()
        vl, half = to_local(w, q, v, inverse), take(w.half, q)
        start = along(pick(at.local, k), torch.full_like(inverse, 2e-3), vl)
        _, t = shapes.intersect(code, start, vl, half)
        t = t.clamp(0, 1e2)
        n = to_world(w, q, shapes.surface(code, along(start, t, vl), half)[0])
        length[k] = t
        for c, leaving in zip(out, refract(v, (-n[0], -n[1], -n[2]), IOR)):
            c[k] = leaving
    x, y, z = along(at.p, length, into)
    start = (x, y.clamp_min(2e-3), z)
    seen = surroundings(w, at.scene, at.part, start, out)
    trace(w, at.scene, at.part, start, out, seen)
    _fade(seen, 0.35)
    depth = 0.45 + 0.60 * (length / (1.6 * w.scale[at.part])).clamp(0, 1.3)
    return [s * (c.square() * 0.93 + 0.05).clamp_(0.0, 0.97) ** depth * 1.12 for c, s in zip(color, seen)]
