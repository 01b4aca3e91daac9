"""The renderer: scenes → pictures, by casting rays in batches. Torch alone, on a CPU or a GPU; no files.

    floor and backdrop (drawn once a size, then kept) × shadows → things, seen by one ray a pixel
    → more rays where an edge crosses a pixel → their mean

A picture does not depend on its batch, and a window of it is its crop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from minimagen.toyland import camera as cam
from minimagen.toyland import shapes, stage, surfaces
from minimagen.toyland.light import meet, shadow, trace
from minimagen.toyland.scene import FLOORS, Scene
from minimagen.toyland.shading import Points, pick, shade
from minimagen.toyland.shapes import Vec, normalize
from minimagen.toyland.stage import stages as stages
from minimagen.toyland.world import World, build, take, to_local, to_world

SMALLEST, LARGEST = 16, 2048
CHUNK = 1 << 16  # pixels rendered together: what the cache holds
BLOCK = 1 << 15  # points shaded together
Window = tuple[float, float, float, float]
Box = tuple[int, int, int, int]


def render(
    scenes: Sequence[Scene] | Scene,
    size: int,
    window: Window | Sequence[Window] | None = None,
    device: str | torch.device = "cpu",
    samples: int | None = None,
) -> Tensor:
    """Pictures (B, 3, h, w) in [−1, 1], float32, mid-tones within ±0.7.

    window: (x0, y0, x1, y1) in [0, 1], or one a scene: only these pixels of the picture of that size (None: all).
    samples: rays through a pixel that an edge crosses (None: 16, above 512 px 8).
    """
    scenes = list(scenes) if isinstance(scenes, Iterable) else [scenes]  # one Scene, or what `_check` names
    _check(scenes, size)
    boxes = _windows(window, size, len(scenes))
    h, w = boxes[0][3] - boxes[0][1], boxes[0][2] - boxes[0][0]
    samples = (16 if size <= 512 else 8) if samples is None else samples
    if not isinstance(samples, int) or not 1 <= samples <= 64:
        raise ValueError(f"samples is {samples!r}; it must be a whole number from 1 to 64")
    out = torch.empty(len(scenes), 3, h, w, device=device)
    n = max(1, CHUNK // ((h + 2) * (w + 2)))
    with torch.inference_mode():
        for i in range(0, len(scenes), n):
            _draw(scenes[i : i + n], size, boxes[i : i + n], samples, out[i : i + n])
    return out


def _check(scenes: list[Scene], size: int) -> None:
    if not scenes:
        raise ValueError("there are no scenes to render; give at least one")
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size!r}; pictures are {SMALLEST} to {LARGEST} pixels wide, a whole number")
    for scene in scenes:
        if not isinstance(scene, Scene):
            raise ValueError(f"render draws Scenes, not {type(scene).__name__}: make one, or let random_scene do it")
        places = [(t.x, t.y, t.z) for t in scene.things] + ([(scene.sign[0], 0.0, scene.sign[1])] if scene.word else [])
        if not all(abs(v) < 1e4 for v in sum(places, ()) + tuple(t.yaw for t in scene.things)):  # refuses NaN, too
            raise ValueError("a thing's place and yaw must be finite numbers")
        if any(y < -1e-6 for _, y, _ in places):
            raise ValueError("a thing lies below the floor: its y must be 0 or more")
        near, far = cam.EYE[2] + 6, cam.Z_WALL
        if not all(near < z < far for _, _, z in places):
            raise ValueError(f"a thing stands behind the backdrop or the camera: z lies between {near:.1f} and {far}")


def _windows(window: Window | Sequence[Window] | None, size: int, count: int) -> list[Box]:
    if window is None:
        return [(0, 0, size, size)] * count
    many: list = list(window) if isinstance(window[0], (tuple, list)) else [window] * count
    if len(many) != count:
        raise ValueError(f"{len(many)} windows for {count} scenes; give one, or one a scene")
    boxes: list[Box] = []
    for box in many:
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise ValueError(f"window is {box}; it must be (x0, y0, x1, y1) with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1")
        w, h = round((box[2] - box[0]) * size), round((box[3] - box[1]) * size)  # alike for windows of one size
        if not w or not h:
            raise ValueError(f"window {box} holds no pixel of a {size} px picture")
        x0, y0 = min(round(box[0] * size), size - w), min(round(box[1] * size), size - h)
        boxes.append((x0, y0, x0 + w, y0 + h))
    if len({(b[2] - b[0], b[3] - b[1]) for b in boxes}) > 1:
        raise ValueError("the windows of one batch must be of one size in pixels")
    return boxes


@dataclass
class Crop:
    """What is being drawn: a batch of windows of one size in pixels. Pixels of all of them are numbered in one row."""

    world: World
    size: int  # of the whole picture
    x0: Tensor  # (B,) where each window begins, in pixels
    y0: Tensor
    height: int
    width: int

    @property
    def device(self) -> torch.device:
        return self.x0.device

    @property
    def total(self) -> int:
        return len(self.x0) * self.height * self.width

    def number(self, scene: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (scene * self.height + y) * self.width + x

    def split(self, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The inverse of number."""
        scene = torch.div(number, self.height * self.width, rounding_mode="floor")
        inside = number - scene * (self.height * self.width)
        y = torch.div(inside, self.width, rounding_mode="floor")
        return scene, inside - y * self.width, y

    def point(self, scene: Tensor, x: Tensor, y: Tensor, dx: Tensor | float = 0.0, dy: Tensor | float = 0.0):
        """(u, v) in the whole picture, dx and dy off a pixel's middle."""
        return (x + self.x0[scene] + 0.5 + dx) / self.size, (y + self.y0[scene] + 0.5 + dy) / self.size

    def grown(self) -> Crop:
        """With one more pixel on all sides."""
        return replace(self, x0=self.x0 - 1, y0=self.y0 - 1, height=self.height + 2, width=self.width + 2)

    def rectangles(self, u: Tensor, v: Tensor) -> Tensor:
        """(P, 4: x0, y0, x1, y1): the whole pixels that hold each part's points (…, P), cut to its window."""
        r = torch.stack([u.amin(0), v.amin(0), u.amax(0), v.amax(0)], 1) * self.size
        r = r.clamp(-10, self.size + 10).floor().long()
        x, y = r[:, 0::2] - self.x0[self.world.scene].unsqueeze(1), r[:, 1::2] - self.y0[self.world.scene].unsqueeze(1)
        x[:, 1] += 1
        y[:, 1] += 1
        x, y = x.clamp(0, self.width), y.clamp(0, self.height)
        return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


def _draw(scenes: Sequence[Scene], size: int, boxes: Sequence[Box], samples: int, out: Tensor) -> None:
    device = str(out.device)
    x0, y0 = (torch.tensor([b[i] for b in boxes], device=device) for i in (0, 1))
    crop = Crop(build(scenes, device), size, x0, y0, out.shape[2], out.shape[3])
    corner = _corners(crop.world)
    picture = _ground(crop, scenes, boxes, corner)  # (3, B·H·W)
    u, v = stage.project(corner)
    _things(crop, u, v, picture, samples)
    out.copy_(picture.view(3, *out.shape[:1], *out.shape[2:]).transpose(0, 1))


def _pixels(rects: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rectangles (P, 4) → (which, x, y) of all their pixels, one after another."""
    x0, y0 = rects[:, 0], rects[:, 1]
    w, h = rects[:, 2] - x0, rects[:, 3] - y0
    count = w * h
    which = torch.repeat_interleave(torch.arange(len(rects), device=rects.device), count)
    i = torch.arange(len(which), device=rects.device) - (count.cumsum(0) - count)[which]
    row = torch.div(i, w[which], rounding_mode="floor")
    return which, x0[which] + i - row * w[which], y0[which] + row


def _corners(w: World) -> Vec:
    """(8, P) each: the corners of the parts' boxes."""
    sign = torch.tensor([(a, b, c) for a in (-1, 1) for b in (0, 2) for c in (-1, 1)], device=w.base.device).T.float()
    a, h, b = (w.half[i] * w.scale * sign[i].unsqueeze(1) for i in range(3))
    return w.base[0] + w.turn[0] * a + w.turn[1] * b, w.base[1] + h, w.base[2] - w.turn[1] * a + w.turn[0] * b


# ------------------------------------------------------------------------------------------------- floor and backdrop


def _darkened(w: World, corner: Vec) -> tuple[Tensor, Tensor]:
    """Picture points around all that a part may darken: its foot and what is near it, its shadow with the soft rim."""
    s, light = w.scale, take(w.light, w.scene)
    points = [stage.project(corner)]
    t = torch.minimum(corner[1] / light[1], (cam.Z_WALL - corner[2]) / -light[2])  # down to where the shadow falls
    for grow in (-1, 1):
        foot = (w.base[0] + (corner[0] - w.base[0]) * 1.3 + grow * 0.75 * s, corner[1] * 0, corner[2] + grow * 0.75 * s)
        points.append(stage.project((foot[0], foot[1], foot[2].clamp(max=cam.Z_WALL))))
        rim = grow * (t * (1.5 * surfaces.LAMP) + 0.03)
        for side in (-1, 1):
            x, z = corner[0] - light[0] * t + rim, corner[2] - light[2] * t + side * rim
            points.append(stage.project((x, corner[1] - light[1] * t, z.clamp(max=cam.Z_WALL))))
        points.append((points[-1][0], points[-1][1] - grow * 0.02))
    return torch.cat([q[0] for q in points]), torch.cat([q[1] for q in points])


def _ground(crop: Crop, scenes: Sequence[Scene], boxes: Sequence[Box], corner: Vec) -> Tensor:
    """(3, B·H·W): floor and backdrop with their shadows, as pixels."""
    w, size = crop.world, crop.size
    pairs = [stage.background(s, size, b, str(crop.device)) for s, b in zip(scenes, boxes)]
    ambient, key = (torch.stack([p[i] for p in pairs], 1).view(3, -1) for i in (0, 1))
    part, x, y = _pixels(crop.rectangles(*_darkened(w, corner)))
    scene = w.scene[part]
    where = crop.number(scene, x, y)
    p, on_floor = stage.landing(stage.rays(*crop.point(scene, x, y)))
    soft = torch.full_like(p[0], cam.DISTANCE / cam.FOCAL / size)
    k, t = shadow(w, part, p, soft, w.axes(scene))
    through = torch.ones_like(key)
    for c in range(3):
        through[c].scatter_reduce_(0, where[k], t[c], "amin")
    key.mul_(through)
    foot = w.foot.index_select(1, part)
    q = to_local(w, part, (p[0] - w.base[0][part], p[1], p[2] - w.base[2][part]), w.scale[part].reciprocal())
    gap = torch.hypot((q[0].abs() - foot[0]).clamp_min_(0), (q[2].abs() - foot[1]).clamp_min_(0)) - foot[2]
    sky = 1 - foot[3] * torch.exp(-foot[4] * gap.clamp_min_(0)) * on_floor
    open_sky = torch.ones_like(ambient[0]).scatter_reduce_(0, where, sky, "amin")
    light = ambient.mul_(open_sky).add_(key.mul_(0.5 + 0.5 * open_sky))
    _mirror(crop, light, corner)
    return surfaces.tone(light)


def _mirror(crop: Crop, light: Tensor, corner: Vec) -> None:
    """A polished floor mirrors what stands on it, the less the higher it is; in place."""
    w = crop.world
    polish = torch.tensor([surfaces.POLISH.get(name, 0.0) for name in FLOORS], device=crop.device)[w.floor]
    parts = (polish[w.scene] > 0).nonzero().squeeze(1)
    if not len(parts):
        return
    rects = crop.rectangles(*stage.project((corner[0], -corner[1], corner[2])))
    which, x, y = _pixels(rects[parts])
    seen = torch.zeros(crop.total, dtype=torch.bool, device=crop.device)
    seen[crop.number(w.scene[parts[which]], x, y)] = True
    k = seen.nonzero().squeeze(1)
    scene, x, y = crop.split(k)
    u, v = crop.point(scene, x, y)
    d = stage.rays(u, v)
    p, on_floor = stage.landing(d)
    d = normalize((d[0], -d[1], d[2]))
    color = [torch.zeros_like(u) for _ in range(3)]
    t = trace(w, scene, torch.full_like(scene, -1), (p[0], p[1] + 1e-3, p[2]), d, color)
    share = polish[scene] * torch.exp(-0.55 * t) * on_floor * stage.vignette(u, v)
    for c in range(3):
        light[c][k] = light[c][k] * (1 - share) + color[c] * share


# ------------------------------------------------------------------------------------------------------------- things


@dataclass
class Hits:
    """Rays against parts: depth (∞: missed), face, and the point and the normal in the part's own frame."""

    t: Tensor
    face: Tensor
    local: Vec
    normal: Vec


def _hit(w: World, part: Tensor, ray: Vec) -> Hits:
    """Camera rays, sorted by their parts."""
    firsts = torch.tensor([g[1] for g in w.groups] + [w.groups[-1][2]], device=part.device)
    bounds = torch.searchsorted(part, firsts).tolist()
    found = []
    for (code, _, _), i, j in zip(w.groups, bounds[:-1], bounds[1:]):
        eye = tuple(torch.full((j - i,), c, device=part.device) for c in cam.EYE)
        t, _, p, half, _ = meet(w, code, part[i:j], eye, (ray[0][i:j], ray[1][i:j], ray[2][i:j]))  # type: ignore[arg-type]
        n, face = shapes.surface(code, p, half)
        found.append((t, face, *p, *n))
    t, face, *rest = (torch.cat(c) for c in zip(*found))
    return Hits(t, face, tuple(rest[:3]), tuple(rest[3:]))  # type: ignore[arg-type]


def _names(crop: Crop, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """What a ray through each pixel's middle sees: part × 8 + face, −1 nothing; and whether its neighbours differ."""
    w = crop.world
    part, x, y = _pixels(crop.rectangles(u, v))
    scene = w.scene[part]
    where = crop.number(scene, x, y)
    hits = _hit(w, part, stage.rays(*crop.point(scene, x, y)))
    depth = torch.full((crop.total,), float("inf"), device=crop.device).scatter_reduce_(0, where, hits.t, "amin")
    k = ((hits.t < 1e5) & (hits.t <= depth[where])).nonzero().squeeze(1)
    names = torch.full((crop.total,), -1.0, device=crop.device)
    names.scatter_reduce_(0, where[k], part[k] * 8.0 + hits.face[k], "amax")
    names = names.view(-1, 1, crop.height, crop.width)
    other = max_pool2d(names, 3, 1) != -max_pool2d(-names, 3, 1)
    return names[:, 0, 1:-1, 1:-1].reshape(-1), other.view(-1)


def _spread(k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """k points in a pixel, evenly spread (the R₂ sequence; one point is the middle)."""
    i = torch.arange(k, device=device)
    if k == 1:
        return torch.zeros(1, device=device), torch.zeros(1, device=device)
    return (0.5 + i * 0.7548776662466927) % 1 - 0.5, (i + 0.5) / k - 0.5


def _things(crop: Crop, u: Tensor, v: Tensor, picture: Tensor, samples: int) -> None:
    """Cast the rays that count, shade them, and lay their means over the picture."""
    w, size, device = crop.world, crop.size, crop.device
    name, edge = _names(crop.grown(), u, v)
    crossed, whole = edge.nonzero().squeeze(1), ((name >= 0) & ~edge).nonzero().squeeze(1)
    inner, cut = min(4 if size <= 320 else 2, samples), len(crossed) * samples

    # The rays: through a crossed pixel to every part whose box holds it, through a whole one to the part that fills it.
    number = torch.full((crop.total,), -1, device=device)
    number[crossed] = torch.arange(len(crossed), device=device)
    part, x, y = _pixels(crop.rectangles(u, v))
    pixel = crop.number(w.scene[part], x, y)
    k = (number[pixel] >= 0).nonzero().squeeze(1)
    some = (part[k], pixel[k], number[pixel[k]] * samples, samples)
    first = cut + torch.arange(len(whole), device=device) * inner
    rest = (torch.div(name[whole], 8, rounding_mode="floor").long(), whole, first, inner)
    lists = []
    for part, pixel, place, n in (some, rest):
        dx, dy = _spread(n, device)
        place = (place.unsqueeze(1) + torch.arange(n, device=device)).view(-1)
        repeated = (
            part.repeat_interleave(n),
            pixel.repeat_interleave(n),
            place,
            dx.repeat(len(part)),
            dy.repeat(len(part)),
        )
        lists.append(repeated)
    part, pixel, place, dx, dy = (torch.cat(c) for c in zip(*lists))
    part, order = part.sort(stable=True)
    place = place[order]
    u, v = crop.point(*crop.split(pixel[order]), dx[order], dy[order])
    ray = stage.rays(u, v)
    hits = _hit(w, part, ray)
    depth = torch.full((cut + len(whole) * inner,), float("inf"), device=device)
    depth.scatter_reduce_(0, place, hits.t, "amin")
    k = ((hits.t < 1e5) & (hits.t <= depth[place])).nonzero().squeeze(1)

    buffer = torch.cat(
        [picture[:, crossed].repeat_interleave(samples, 1), picture[:, whole].repeat_interleave(inner, 1)], 1
    )
    period = (
        surfaces.PERIOD * 0.5 * cam.FOCAL * size / cam.DISTANCE
    )  # of a pattern in pixels, in the middle of the stage
    detail = min(max((period - 2.2) / 2.8, 0.0), 1.0)
    for i in range(0, len(k), BLOCK):
        j = k[i : i + BLOCK]
        q, t, d, normal = part[j], hits.t[j], pick(ray, j), pick(hits.normal, j)
        p = (cam.EYE[0] + t * d[0], cam.EYE[1] + t * d[1], cam.EYE[2] + t * d[2])
        local, pixel_width = pick(hits.local, j), t * (2 / cam.FOCAL / size)
        points = Points(q, w.scene[q], normalize(d), p, to_world(w, q, normal), local, normal, pixel_width)
        light = shade(w, points, detail)
        buffer[:, place[j]] = surfaces.tone(light * stage.vignette(u[j], v[j]))
    picture[:, crossed] = buffer[:, :cut].view(3, -1, samples).mean(2)
    picture[:, whole] = buffer[:, cut:].view(3, -1, inner).mean(2)
