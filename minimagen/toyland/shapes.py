"""The six shapes at scale 1, standing on y = 0: where a ray enters and leaves them, which way they face, where their
patterns run, and how far they reach in a direction (which is all that a shadow's outline needs).

Vectors are triples of tensors of one shape. A ray is o + t·d, d of any length; a miss is an entry of ∞.
The box is the cube and the sign's boards: its half sizes come with it.
"""

from math import pi

import torch
from torch import Tensor

from minimagen.toyland.camera import HEIGHT, PYRAMID_HALF, RADIUS, RING_RADIUS, RING_TUBE

BOX, SPHERE, CYLINDER, CONE, PYRAMID, RING = range(6)
CODES = {"cube": BOX, "sphere": SPHERE, "cylinder": CYLINDER, "cone": CONE, "pyramid": PYRAMID, "ring": RING}
EDGES = 24  # half-planes that bound an outline

Vec = tuple[Tensor, Tensor, Tensor]
INF = float("inf")
H_CYL, R_CYL, H_CONE, R_CONE, H_PYR = (
    HEIGHT["cylinder"],
    RADIUS["cylinder"],
    HEIGHT["cone"],
    RADIUS["cone"],
    HEIGHT["pyramid"],
)
K_CONE = R_CONE / H_CONE
SLOPE = (H_PYR**2 + PYRAMID_HALF**2) ** 0.5
PYR_N = (H_PYR / SLOPE, PYRAMID_HALF / SLOPE)  # a side's normal: outward, upward


def dot(a: Vec, b: Vec) -> Tensor:
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def along(o: Vec, t: Tensor, d: Vec) -> Vec:
    return torch.addcmul(o[0], t, d[0]), torch.addcmul(o[1], t, d[1]), torch.addcmul(o[2], t, d[2])


def normalize(a: Vec) -> Vec:
    r = dot(a, a).rsqrt_()
    return a[0] * r, a[1] * r, a[2] * r


def _slab(o: Tensor, d: Tensor, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
    inv = torch.where(d.abs() < 1e-9, 1e-9, d).reciprocal_()
    a, b = (low - o) * inv, (high - o) * inv
    return torch.minimum(a, b), torch.maximum(a, b)


def _missed(t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
    return t0.masked_fill(t0 > t1, INF), t1


def _quadratic(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a t² + 2 b t + c = 0: both roots (garbage where there are none) and whether there are."""
    disc = b * b - a * c
    root, inv = disc.clamp_min(0).sqrt_(), a.reciprocal()
    return (-b - root) * inv, (root - b) * inv, disc >= 0


def intersect(shape: int, o: Vec, d: Vec, half: Vec) -> tuple[Tensor, Tensor]:
    """(entry, exit) of each ray; entry = ∞ where it misses. half: of boxes only."""
    if shape == BOX:
        x0, x1 = _slab(o[0], d[0], -half[0], half[0])
        y0, y1 = _slab(o[1], d[1], 0.0, 2 * half[1])
        z0, z1 = _slab(o[2], d[2], -half[2], half[2])
        return _missed(torch.maximum(torch.maximum(x0, y0), z0), torch.minimum(torch.minimum(x1, y1), z1))
    if shape == SPHERE:
        q = (o[0], o[1] - 1, o[2])
        t0, t1, real = _quadratic(dot(d, d), dot(q, d), dot(q, q) - 1)
        return t0.masked_fill(~real, INF), t1
    if shape == CYLINDER:
        a = (d[0] * d[0]).addcmul_(d[2], d[2]).clamp_min_(1e-12)
        b = (o[0] * d[0]).addcmul_(o[2], d[2])
        t0, t1, real = _quadratic(a, b, (o[0] * o[0]).addcmul_(o[2], o[2]).sub_(R_CYL**2))
        y0, y1 = _slab(o[1], d[1], 0.0, H_CYL)
        t0, t1 = _missed(torch.maximum(t0, y0), torch.minimum(t1, y1))
        return t0.masked_fill(~real, INF), t1
    if shape == CONE:
        y, dy = (H_CONE - o[1]) * K_CONE, d[1] * -K_CONE  # x² + z² = y², in these
        a = (d[0] * d[0]).addcmul_(d[2], d[2]).addcmul_(dy, dy, value=-1)
        a = torch.where(a.abs() < 1e-9, 1e-9, a)
        b = (o[0] * d[0]).addcmul_(o[2], d[2]).addcmul_(y, dy, value=-1)
        u, v, real = _quadratic(a, b, (o[0] * o[0]).addcmul_(o[2], o[2]).addcmul_(y, y, value=-1))
        # a > 0: inside between the roots. a < 0, a ray steeper than the side: inside outwards from one root, downwards.
        t0 = torch.where(a > 0, u, torch.where(dy > 0, torch.maximum(u, v), -INF))
        t1 = torch.where(a > 0, v, torch.where(dy > 0, INF, torch.minimum(u, v)))
        y0, y1 = _slab(o[1], d[1], 0.0, H_CONE)
        t0, t1 = _missed(torch.maximum(t0, y0), torch.minimum(t1, y1))
        return t0.masked_fill(~real & (a > 0), INF), t1
    if shape == PYRAMID:
        t0, t1 = _slab(o[1], d[1], 0.0, H_PYR)
        for axis in (0, 2):
            for sign in (1.0, -1.0):  # ±n·x + m·y ≤ n·half
                s = (o[axis] * (sign * PYR_N[0])).add_(o[1], alpha=PYR_N[1]).sub_(PYR_N[0] * PYRAMID_HALF)
                v = (d[axis] * (sign * PYR_N[0])).add_(d[1], alpha=PYR_N[1])
                v = torch.where(v.abs() < 1e-9, 1e-9, v)
                t = -s / v
                t0 = torch.where(v < 0, torch.maximum(t0, t), t0)
                t1 = torch.where(v > 0, torch.minimum(t1, t), t1)
        return _missed(t0, t1)
    return _ring(o, d)


def _ring_distance(p: Vec) -> Tensor:
    q = torch.hypot(p[0], p[1] - 1).sub_(RING_RADIUS)
    return torch.hypot(q, p[2]).sub_(RING_TUBE)


def _ring(o: Vec, d: Vec) -> tuple[Tensor, Tensor]:
    """Sphere tracing from the entry of a flat cylinder around the ring; the exit by the same from the other end."""
    z0, z1 = _slab(o[2], d[2], -RING_TUBE, RING_TUBE)
    a = (d[0] * d[0]).addcmul_(d[1], d[1]).clamp_min_(1e-12)
    y = o[1] - 1
    b = (o[0] * d[0]).addcmul_(y, d[1])
    r0, r1, real = _quadratic(a, b, (o[0] * o[0]).addcmul_(y, y).sub_(1.0))
    start, end = torch.maximum(z0, r0), torch.minimum(z1, r1)
    t0, t1 = torch.full_like(start, INF), end.clone()
    k = (real & (start < end)).nonzero().squeeze(1)
    if len(k):
        ok, dk = (o[0][k], o[1][k], o[2][k]), (d[0][k], d[1][k], d[2][k])
        step = dot(dk, dk).rsqrt_()
        for buffer, first, sign in ((t0, start[k], 1.0), (t1, end[k], -1.0)):
            t = first.clone()
            for _ in range(22):
                t.addcmul_(_ring_distance(along(ok, t, dk)), step, value=sign)
            near = _ring_distance(along(ok, t, dk)) < 3e-3
            buffer[k] = torch.where(near & (t < end[k] + 1e-3), t, INF if sign > 0 else end[k])
    return t0, t1


def surface(shape: int, p: Vec, half: Vec) -> tuple[Vec, Tensor]:
    """(outward normal, face number) at a point of the surface. Neighbouring pixels of different faces are an edge."""
    zero = torch.zeros_like(p[0])
    if shape == SPHERE:
        return normalize((p[0], p[1] - 1, p[2])), zero
    if shape == BOX:
        q = (p[0] / half[0], p[1] / half[1] - 1, p[2] / half[2])
        a = (q[0].abs(), q[1].abs(), q[2].abs())
        x, y = (a[0] >= a[1]) & (a[0] >= a[2]), (a[1] > a[0]) & (a[1] >= a[2])
        n = (q[0].sign() * x, q[1].sign() * y, q[2].sign() * ~(x | y))
        return n, n[0] + 2 * n[1] + 3 * n[2] + 3
    if shape == CYLINDER:
        side = torch.hypot(p[0], p[2]) / R_CYL
        level = p[1] * (2 / H_CYL) - 1
        cap = level.abs() > side
        return (
            torch.where(cap, 0.0, p[0] / (side * R_CYL)),
            torch.where(cap, level.sign(), 0.0),
            torch.where(cap, 0.0, p[2] / (side * R_CYL)),
        ), cap.float()
    if shape == CONE:
        base = p[1] < 2e-3
        r = torch.hypot(p[0], p[2]).clamp_min_(1e-6)
        m = (1 + K_CONE**2) ** -0.5
        return (
            torch.where(base, 0.0, p[0] / r * m),
            torch.where(base, -1.0, K_CONE * m),
            torch.where(base, 0.0, p[2] / r * m),
        ), base.float()
    if shape == PYRAMID:
        base = p[1] < 2e-3
        wide = p[0].abs() > p[2].abs()
        up = zero + PYR_N[1]
        n = (torch.where(wide, p[0].sign() * PYR_N[0], 0.0), up, torch.where(wide, 0.0, p[2].sign() * PYR_N[0]))
        n = (torch.where(base, 0.0, n[0]), torch.where(base, -1.0, up), torch.where(base, 0.0, n[2]))
        return n, n[0].sign() + 3 * n[2].sign() + 4  # 1, 3, 4, 5 or 7: a name has room for 0 to 7
    k = RING_RADIUS / torch.hypot(p[0], p[1] - 1).clamp_min_(1e-6)
    return normalize((p[0] - p[0] * k, (p[1] - 1) * (1 - k), p[2])), zero


def unrolled(shape: int, p: Vec, n: Vec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(across, up, turns of the first, turns of the second): where a point lies on the unrolled surface, in units.

    `turns` is the length after which a coordinate closes on itself (0: it does not), so that a pattern can fit.
    """
    zero = torch.zeros_like(p[0])
    if shape == SPHERE:
        return torch.atan2(p[2], p[0]), torch.asin((p[1] - 1).clamp(-1, 1)), zero + 2 * pi, zero + pi
    if shape in (CYLINDER, CONE):
        r = R_CYL if shape == CYLINDER else 0.6 * R_CONE
        flat = n[1].abs() > 0.9
        a = torch.atan2(p[2], p[0]) * r
        return (
            torch.where(flat, p[0], a),
            torch.where(flat, p[2], p[1]),
            torch.where(flat, zero, zero + 2 * pi * r),
            zero,
        )
    if shape in (BOX, PYRAMID):
        x, z = n[0].abs() > 0.6, n[1].abs() > 0.8
        return torch.where(x, p[2], p[0]), torch.where(z, p[2], p[1]), zero, zero
    a = torch.atan2(p[1] - 1, p[0])
    b = torch.atan2(p[2], torch.hypot(p[0], p[1] - 1) - RING_RADIUS)
    return b * RING_TUBE, a * RING_RADIUS, zero + 2 * pi * RING_TUBE, zero + 2 * pi * RING_RADIUS


def reach(shape: int, n: Vec, half: Vec) -> Vec:
    """The point of the shape that lies farthest in direction n (the middle of an edge or face, if all of it does)."""

    def sign(a: Tensor) -> Tensor:
        return torch.where(a.abs() < 1e-4, 0.0, a.sign())

    if shape == BOX:
        return half[0] * sign(n[0]), half[1] * (1 + sign(n[1])), half[2] * sign(n[2])
    if shape == SPHERE:
        q = normalize(n)
        return q[0], q[1] + 1, q[2]
    if shape == RING:  # of its outer outline
        q, k = normalize(n), RING_RADIUS * torch.hypot(n[0], n[1]).clamp_min_(1e-6).reciprocal()
        return n[0] * k + RING_TUBE * q[0], 1 + n[1] * k + RING_TUBE * q[1], RING_TUBE * q[2]
    flat = torch.hypot(n[0], n[2]).clamp_min_(1e-6)
    if shape == CYLINDER:
        return n[0] / flat * R_CYL, 0.5 * H_CYL * (1 + sign(n[1])), n[2] / flat * R_CYL
    if shape == CONE:
        x, z, top, h = n[0] / flat * R_CONE, n[2] / flat * R_CONE, n[1] * H_CONE, H_CONE
    else:
        x, z, top, h = PYRAMID_HALF * sign(n[0]), PYRAMID_HALF * sign(n[2]), n[1] * H_PYR, H_PYR
    gap = top - (x * n[0] + z * n[2])  # > 0: the apex lies farther than the base
    w = 0.5 * (1 + sign(gap))
    return x * (1 - w), h * w, z * (1 - w)


def outline(shape: int, light: Vec) -> Vec:
    """EDGES directions across the light, whose half-planes bound the shape's shadow.  light: (P,) each → (EDGES, P)

    Polyhedra: light × edge, both signs (exact). Round shapes: even steps, and the tangents from a cone's apex.
    """
    flat = torch.hypot(light[0], light[2])  # no light stands straight above
    e1 = (-light[2] / flat, torch.zeros_like(flat), light[0] / flat)
    e2 = (-light[1] * light[0] / flat, flat, -light[1] * light[2] / flat)
    if shape in (BOX, PYRAMID):
        if shape == BOX:
            edges = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
        else:
            a = PYRAMID_HALF
            edges = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)] + [(x, H_PYR, z) for x in (-a, a) for z in (-a, a)]
        x, y, z = (torch.tensor(c, device=flat.device).unsqueeze(1) for c in zip(*edges))
        n = normalize((light[1] * z - light[2] * y, light[2] * x - light[0] * z, light[0] * y - light[1] * x))
        k = EDGES // (2 * len(edges))
        return tuple(torch.cat([c, -c] * k) for c in n)  # type: ignore[return-value]
    phi = (torch.arange(EDGES, device=flat.device) * (2 * pi / EDGES)).unsqueeze(1).expand(-1, len(flat)).clone()
    if shape == CONE:
        tangent = torch.asin((K_CONE / (1 + K_CONE**2) ** 0.5 / flat).clamp(max=1.0))
        phi[5], phi[7] = tangent, pi - tangent
    c, s = phi.cos(), phi.sin()
    return c * e1[0] + s * e2[0], c * e1[1] + s * e2[1], c * e1[2] + s * e2[2]
