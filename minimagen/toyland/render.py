"""The renderer: scenes → pictures, by casting rays in batches. Torch alone, on a CPU or a GPU; no files.

    floor and backdrop (drawn once a size, then kept) × shadows → things, seen by one ray a pixel
    → more rays where an edge crosses a pixel → their mean

A picture does not depend on its batch, and a window of it is its crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import shading, shapes, surfaces
from minimagen.toyland.scene import BACKDROPS, FLOORS, LIGHTS, Scene
from minimagen.toyland.shading import World, take
from minimagen.toyland.shapes import Vec, normalize

SMALLEST, LARGEST = 16, 2048
CHUNK = 1 << 16  # pixels rendered together: what the cache holds
Window = tuple[float, float, float, float]


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
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
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
            _chunk(scenes[i : i + n], size, boxes[i : i + n], samples, out[i : i + n])
    return out


def _check(scenes: list[Scene], size: int) -> None:
    if not scenes:
        raise ValueError("there are no scenes to render; give at least one")
    if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size!r}; pictures are {SMALLEST} to {LARGEST} pixels wide, a whole number")
    for scene in scenes:
        if not isinstance(scene, Scene):
            raise ValueError(
                f"render draws Scenes, not {type(scene).__name__}; toyland.parse and random_scene make them"
            )
        places = [(t.x, t.y, t.z, t.yaw) for t in scene.things] + ([(*scene.sign, 0.0, 0.0)] if scene.word else [])
        if not all(abs(v) < 1e4 for place in places for v in place):  # also refuses NaN
            raise ValueError("a thing's place must be finite numbers")
        if any(t.y < -1e-6 for t in scene.things):
            raise ValueError("a thing lies below the floor: its y must be 0 or more")
        if any(place[2 if k < len(scene.things) else 1] > cam.Z_WALL for k, place in enumerate(places)):
            raise ValueError(f"a thing stands behind the backdrop: its z must stay below {cam.Z_WALL}")
        if any(place[2 if k < len(scene.things) else 1] < cam.EYE[2] + 4 for k, place in enumerate(places)):
            raise ValueError("a thing stands at or behind the camera")


def _windows(window: Window | Sequence[Window] | None, size: int, count: int) -> list[tuple[int, int, int, int]]:
    if window is None:
        return [(0, 0, size, size)] * count
    many = [tuple(w) for w in window] if isinstance(window[0], (tuple, list)) else [tuple(window)] * count  # type: ignore[arg-type]
    if len(many) != count:
        raise ValueError(f"{len(many)} windows for {count} scenes; give one, or one a scene")
    boxes = []
    for box in many:
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise ValueError(f"window is {box}; it must be (x0, y0, x1, y1) with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1")
        x0, y0, x1, y1 = (round(v * size) for v in box)
        if x0 == x1 or y0 == y1:
            raise ValueError(f"window {box} holds no pixel of a {size} px picture")
        boxes.append((x0, y0, x1, y1))
    if len({(b[2] - b[0], b[3] - b[1]) for b in boxes}) > 1:
        raise ValueError("the windows of one batch must be of one size in pixels")
    return boxes


# ---------------------------------------------------------------------------------------------------- the empty stage


def _rays(u: Tensor, v: Tensor) -> Vec:
    """Towards picture point (u, v), of length 1 along the camera's axis."""
    a, b = (u * 2 - 1) / cam.FOCAL, (1 - v * 2) / cam.FOCAL
    return a, b * cam.UP[1] + cam.FORWARD[1], b * cam.UP[2] + cam.FORWARD[2]


def _landing(d: Vec) -> tuple[Vec, Tensor]:
    """Where camera rays meet the floor or the backdrop: (point, whether on the floor)."""
    t = -cam.EYE[1] / d[1]
    wall = (cam.Z_WALL - cam.EYE[2]) / d[2]
    on_floor = t < wall
    t = torch.minimum(t, wall)
    return (t * d[0], torch.where(on_floor, 0.0, cam.EYE[1] + t * d[1]), cam.EYE[2] + t * d[2]), on_floor


def _vignette(u: Tensor, v: Tensor) -> Tensor:
    return 1 - 0.26 * ((u - 0.5) ** 2 + (v - 0.5) ** 2).mul_(2.0)


@lru_cache(maxsize=24)
def _stage(kind: str, name: str, size: int, device: str) -> Tensor:
    """(3, rows, size): how much light each pixel of an empty floor or backdrop sends back. Backdrop: the upper rows."""
    k = 8 if size <= 128 else 4 if size <= 256 else 2 if size <= 512 else 1  # rays a pixel, along each side
    horizon = cam.project(0.0, 0.0, cam.Z_WALL)[1] * size
    first, last = (0, int(horizon) + 1) if kind == "wall" else (int(horizon), size)
    rows = []
    for r in range(first, last, 64):  # in bands, for the cache
        end = min(r + 64, last)
        v, u = torch.meshgrid(
            (torch.arange(r * k, end * k) + 0.5) / (size * k),
            (torch.arange(size * k) + 0.5) / (size * k),
            indexing="ij",
        )
        d = _rays(u, v)
        if kind == "wall":
            t = (cam.Z_WALL - cam.EYE[2]) / d[2]
            shade = surfaces.backdrop(name, t * d[0], cam.EYE[1] + t * d[1], t * (2 / cam.FOCAL / size / k))
        else:
            t = -cam.EYE[1] / d[1]
            shade = surfaces.floor(name, t * d[0], cam.EYE[2] + t * d[2], t * (2 / cam.FOCAL / size / k))
        shade = shade.clamp_(0, 1)
        rows.append(shade.view(3, end - r, k, size, k).mean((2, 4)) if k > 1 else shade)
    return torch.cat(rows, 1).to(device)


@lru_cache(maxsize=12)
def _lamplight(name: str, size: int, device: str) -> tuple[Tensor, Tensor]:
    """(size, size) each: the lamp's light on floor and backdrop, and the vignette."""
    u = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(u, u, indexing="ij")
    p, on_floor = _landing(_rays(u, v))
    light = surfaces.LIGHT[name]
    near = 1 + 0.035 * light[0] * p[0] - 0.012 * p[2]  # the nearer to the lamp, the brighter
    wall = 0.48 * (1 + 0.05 * light[0] * p[0])
    soft = _vignette(u, v)
    return (torch.where(on_floor, 0.80 * near, wall) * soft).to(device), soft.to(device)


def _background(scene: Scene, size: int, box: tuple[int, int, int, int], device: str) -> tuple[Tensor, Tensor]:
    """(3, h, w) each: ambient light and lamplight that the empty stage sends back."""
    x0, y0, x1, y1 = box
    horizon = cam.project(0.0, 0.0, cam.Z_WALL)[1] * size
    cut = int(horizon)
    wall, floor = _stage("wall", scene.backdrop, size, device), _stage("floor", scene.floor, size, device)
    parts = []
    if y0 < cut:
        parts.append(wall[:, y0 : min(y1, cut), x0:x1])
    if y0 <= cut < y1:
        parts.append((wall[:, cut:, x0:x1] * (horizon - cut)).add_(floor[:, :1, x0:x1], alpha=1 - (horizon - cut)))
    if y1 > cut + 1:
        parts.append(floor[:, max(y0 - cut, 1) : y1 - cut, x0:x1])
    back = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    lamp, soft = _lamplight(scene.light, size, device)
    ambient, key = (torch.tensor(c, device=device).view(3, 1, 1) for c in surfaces.MOOD[scene.backdrop])
    return back * (ambient * soft[y0:y1, x0:x1]), back * (key * lamp[y0:y1, x0:x1])


# ------------------------------------------------------------------------------------------------------- one chunk


def _pixels(rects: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rectangles (P, 4: x0, y0, x1, y1) cut to the picture → (which, x, y) of all their pixels, one after another."""
    x0, y0 = rects[:, 0].clamp(0, width), rects[:, 1].clamp(0, height)
    w, h = rects[:, 2].clamp(0, width) - x0, rects[:, 3].clamp(0, height) - y0
    w, h = w.clamp_min_(0), h.clamp_min_(0)
    count = w * h
    which = torch.repeat_interleave(torch.arange(len(rects), device=rects.device), count)
    i = torch.arange(len(which), device=rects.device) - (count.cumsum(0) - count)[which]
    row = torch.div(i, w[which], rounding_mode="floor")
    return which, x0[which] + i - row * w[which], y0[which] + row


def _project(p: Vec) -> tuple[Tensor, Tensor]:
    q = (p[0], p[1] - cam.EYE[1], p[2] - cam.EYE[2])
    depth = q[1] * cam.FORWARD[1] + q[2] * cam.FORWARD[2]
    k = 0.5 * cam.FOCAL / depth
    return 0.5 + q[0] * k, 0.5 - (q[1] * cam.UP[1] + q[2] * cam.UP[2]) * k


def _corners(w: World) -> Vec:
    """(8, P) each: the corners of the parts' boxes."""
    sign = torch.tensor([(a, b, c) for a in (-1, 1) for b in (0, 2) for c in (-1, 1)], device=w.base.device).T.float()
    a, h, b = (w.half[i] * w.scale * sign[i].unsqueeze(1) for i in range(3))
    return w.base[0] + w.turn[0] * a + w.turn[1] * b, w.base[1] + h, w.base[2] - w.turn[1] * a + w.turn[0] * b


def _whole(r: Tensor, size: int, x0: Tensor, y0: Tensor) -> Tensor:
    """Rectangles in the unit picture → in whole pixels of each one's window."""
    grow = torch.tensor([0, 0, 1, 1], device=r.device)
    return (r * size).clamp(-10, size + 10).floor().long() + grow - torch.stack([x0, y0, x0, y0], 1)


def _rectangles(w: World, size: int, x0: Tensor, y0: Tensor) -> tuple[Tensor, Tensor]:
    """In pixels of each part's window, (P, 4) each: where it may be seen, and where its shadow may fall."""
    corner, s = _corners(w), w.scale
    u, v = _project(corner)
    seen = torch.stack([u.amin(0), v.amin(0), u.amax(0), v.amax(0)], 1)
    light = take(w.light, w.scene)
    points = [(u, v)]
    for grow in (-1, 1):  # the foot with the dark around it, the shadow with its soft rim
        foot = (w.base[0] + (corner[0] - w.base[0]) * 1.3 + grow * 0.75 * s, corner[1] * 0, corner[2] + grow * 0.75 * s)
        points.append(_project((foot[0], foot[1], foot[2].clamp(max=cam.Z_WALL))))
        t = torch.minimum(corner[1] / light[1], (cam.Z_WALL - corner[2]) / -light[2])
        rim = grow * (t * (1.5 * surfaces.LAMP) + 0.03)
        for side in (-1, 1):
            x, z = corner[0] - light[0] * t + rim, corner[2] - light[2] * t + side * rim
            points.append(_project((x, corner[1] - light[1] * t, z.clamp(max=cam.Z_WALL))))
        points.append((points[-1][0], points[-1][1] - grow * 0.02))
    u, v = torch.cat([q[0] for q in points]), torch.cat([q[1] for q in points])
    dark = torch.stack([u.amin(0), v.amin(0), u.amax(0), v.amax(0)], 1)
    return _whole(seen, size, x0[w.scene], y0[w.scene]), _whole(dark, size, x0[w.scene], y0[w.scene])


def _chunk(
    scenes: Sequence[Scene], size: int, boxes: Sequence[tuple[int, int, int, int]], samples: int, out: Tensor
) -> None:
    device = str(out.device)
    w = shading.build(scenes, device)
    count, _, height, width = out.shape
    x0 = torch.tensor([b[0] for b in boxes], device=device)
    y0 = torch.tensor([b[1] for b in boxes], device=device)
    seen, dark = _rectangles(w, size, x0, y0)
    base = _base(w, scenes, size, boxes, dark, x0, y0, height, width, device)  # (3, B·H·W)
    names, part_of = _names(w, size, seen, x0, y0, count, height, width)
    _things(w, size, seen, x0, y0, names, part_of, base, samples, height, width)
    out.copy_(base.view(3, count, height, width).transpose(0, 1))


def _base(w, scenes, size, boxes, dark, x0, y0, height, width, device) -> Tensor:
    """The stage with its shadows, as pixels."""
    pairs = [_background(s, size, b, device) for s, b in zip(scenes, boxes)]
    ambient = torch.stack([p[0] for p in pairs], 1).view(3, -1)
    key = torch.stack([p[1] for p in pairs], 1).view(3, -1)
    part, x, y = _pixels(dark, width, height)
    scene = w.scene[part]
    where = (scene * height + y) * width + x
    u, v = (x + x0[scene] + 0.5) / size, (y + y0[scene] + 0.5) / size
    p, on_floor = _landing(_rays(u, v))
    soft = torch.full_like(u, 18.0 / cam.FOCAL / size)
    k, t = shading.shadow(w, part, p, soft, w.axes(scene))
    through = torch.ones_like(key)
    for c in range(3):
        through[c].scatter_reduce_(0, where[k], t[c], "amin")
    key.mul_(through)
    foot = w.foot.index_select(1, part)
    q = shading.to_local(w, part, (p[0] - w.base[0][part], p[1], p[2] - w.base[2][part]), w.scale[part].reciprocal())
    gap = (
        torch.hypot((q[0].abs() - foot[0]).clamp_min_(0), (q[2].abs() - foot[1]).clamp_min_(0))
        .sub_(foot[2])
        .clamp_min_(0)
    )
    shade = 1 - foot[3] * torch.exp(-foot[4] * gap) * on_floor
    open_sky = torch.ones_like(ambient[0]).scatter_reduce_(0, where, shade, "amin")
    ambient.mul_(open_sky)
    key.mul_(0.5 + 0.5 * open_sky)
    light = ambient.add_(key)
    _mirrored(w, size, light, open_sky, x0, y0, height, width)
    return surfaces.tone(light)


def _mirrored(w, size, light, open_sky, x0, y0, height, width) -> None:
    """A polished floor mirrors what stands on it, the less the higher it is."""
    polish = torch.tensor([surfaces.POLISH.get(name, 0.0) for name in FLOORS], device=light.device)[w.floor]
    parts = (polish[w.scene] > 0).nonzero().squeeze(1)
    if not len(parts):
        return
    corner = _corners(w)
    u, v = _project((corner[0], -corner[1], corner[2]))
    rects = _whole(torch.stack([u.amin(0), v.amin(0), u.amax(0), v.amax(0)], 1), size, x0[w.scene], y0[w.scene])
    part, x, y = _pixels(rects[parts], width, height)
    scene = w.scene[parts[part]]
    seen = torch.zeros(light.shape[1], dtype=torch.bool, device=light.device)
    seen[(scene * height + y) * width + x] = True
    k = seen.nonzero().squeeze(1)
    scene = torch.div(k, height * width, rounding_mode="floor")
    inside = k - scene * (height * width)
    y = torch.div(inside, width, rounding_mode="floor")
    u, v = (inside - y * width + x0[scene] + 0.5) / size, (y + y0[scene] + 0.5) / size
    d = _rays(u, v)
    p, on_floor = _landing(d)
    d = normalize((d[0], -d[1], d[2]))
    color = [torch.zeros_like(u) for _ in range(3)]
    t = shading.trace(w, scene, torch.full_like(scene, -1), (p[0], p[1] + 1e-3, p[2]), d, color)
    share = polish[scene] * torch.exp(-0.55 * t) * on_floor * _vignette(u, v)
    for c in range(3):
        light[c][k] = light[c][k] * (1 - share) + color[c] * share


def _names(w, size, seen, x0, y0, count, height, width) -> tuple[Tensor, Tensor]:
    """What one ray through each pixel's middle sees, of the window and one pixel around it.

    → (part × 8 + face, −1: nothing) and the list that later rays come from.
    """
    h, v = height + 2, width + 2
    part, x, y = _pixels(seen + torch.tensor([0, 0, 2, 2], device=seen.device), v, h)
    scene = w.scene[part]
    where = (scene * h + y) * v + x
    ray = _rays((x + (x0 - 1)[scene] + 0.5) / size, (y + (y0 - 1)[scene] + 0.5) / size)
    depth = torch.full((count * h * v,), float("inf"), device=part.device)
    t, face = _meet_all(w, part, ray)[:2]
    depth.scatter_reduce_(0, where, t, "amin")
    k = ((t < 1e5) & (t <= depth[where])).nonzero().squeeze(1)
    names = torch.full((count * h * v,), -1.0, device=part.device)
    names.scatter_reduce_(0, where[k], part[k] * 8.0 + face[k], "amax")
    return names.view(count, h, v), part


def _meet_all(w: World, part: Tensor, ray: Vec, full: bool = False):
    """Camera rays against their parts (sorted): depth, face, and if asked for the local point and normal."""
    bounds = torch.searchsorted(
        part, torch.tensor([g[1] for g in w.groups] + [w.groups[-1][2]], device=part.device)
    ).tolist()
    ts, faces, points, normals = [], [], [], []
    for (code, _, _), i, j in zip(w.groups, bounds[:-1], bounds[1:]):
        q = part[i:j]
        eye = tuple(torch.full((j - i,), c, device=part.device) for c in cam.EYE)
        t, _, p, half, _ = shading.meet(w, code, q, eye, tuple(c[i:j] for c in ray))
        n, face = shapes.surface(code, p, half)
        ts.append(t)
        faces.append(face)
        points.append(p)
        normals.append(n)
    if not full:
        return torch.cat(ts), torch.cat(faces)
    return torch.cat(ts), torch.cat(faces), [torch.cat(c) for c in zip(*points)], [torch.cat(c) for c in zip(*normals)]


def _spread(k: int, device) -> tuple[Tensor, Tensor]:
    """k points in a pixel, evenly spread (the R₂ sequence; one point is the middle)."""
    i = torch.arange(k, device=device)
    if k == 1:
        return torch.zeros(1, device=device), torch.zeros(1, device=device)
    return (0.5 + i * 0.7548776662466927) % 1 - 0.5, (i + 0.5) / k - 0.5


def _things(w, size, seen, x0, y0, names, part_of, base, samples, height, width) -> None:
    """Cast the rays that count, shade them, and lay their means over the stage."""
    count, device = len(names), base.device
    big = torch.nn.functional.max_pool2d(names.unsqueeze(1), 3, 1)[:, 0]
    small = torch.nn.functional.max_pool2d(-names.unsqueeze(1), 3, 1)[:, 0].neg_()
    name = names[:, 1:-1, 1:-1].reshape(-1)
    edge = (big != small).view(-1)
    crossed, whole = edge.nonzero().squeeze(1), ((name >= 0) & ~edge).nonzero().squeeze(1)
    inner = min(4 if size <= 320 else 2, samples)
    number = torch.full((count * height * width,), -1, device=device)
    number[crossed] = torch.arange(len(crossed), device=device)

    # Rays: every part near an edge, and the one part that fills a pixel. (part, pixel, first place in the buffer, ray's number)
    part, x, y = _pixels(seen, width, height)
    pixel = (w.scene[part] * height + y) * width + x
    k = (number[pixel] >= 0).nonzero().squeeze(1)
    part, pixel = part[k], pixel[k]
    lists = []
    for q, px, place, n in (
        (part, pixel, number[pixel] * samples, samples),
        (torch.div(name[whole], 8, rounding_mode="floor").long(), whole,
         len(crossed) * samples + torch.arange(len(whole), device=device) * inner, inner),
    ):  # fmt: skip
        i = torch.arange(n, device=device)
        dx, dy = _spread(n, device)
        lists.append((
            q.repeat_interleave(n), px.repeat_interleave(n), (place.unsqueeze(1) + i).view(-1),
            dx.repeat(len(q)), dy.repeat(len(q)),
        ))  # fmt: skip
    part, pixel, place, dx, dy = (torch.cat(c) for c in zip(*lists))
    part, order = part.sort(stable=True)
    pixel, place, dx, dy = pixel[order], place[order], dx[order], dy[order]
    scene = w.scene[part]
    inside = pixel - scene * (height * width)
    row = torch.div(inside, width, rounding_mode="floor")
    u = (inside - row * width + x0[scene] + 0.5 + dx) / size
    v = (row + y0[scene] + 0.5 + dy) / size
    ray = _rays(u, v)
    t, _, local, normal = _meet_all(w, part, ray, full=True)
    depth = torch.full((len(crossed) * samples + len(whole) * inner,), float("inf"), device=device)
    depth.scatter_reduce_(0, place, t, "amin")
    k = ((t < 1e5) & (t <= depth[place])).nonzero().squeeze(1)

    buffer = torch.cat([base[:, crossed].repeat_interleave(samples, 1), base[:, whole].repeat_interleave(inner, 1)], 1)
    per_unit = 0.5 * cam.FOCAL * size / 18.0  # pixels, at the middle of the stage
    periods = per_unit * surfaces.PERIOD
    detail = min(max((periods - 2.2) / 2.8, 0.0), 1.0)
    for i in range(0, len(k), 1 << 15):
        j = k[i : i + (1 << 15)]
        q, tj = part[j], t[j]
        d = tuple(c[j] for c in ray)
        p = tuple(e + tj * c for e, c in zip(cam.EYE, d))
        lj, nj = tuple(c[j] for c in local), tuple(c[j] for c in normal)
        n = shading.to_world(w, q, nj)
        light = shading.shade(w, q, normalize(d), p, n, lj, nj, tj * (2 / cam.FOCAL / size), detail)
        buffer[:, place[j]] = surfaces.tone(light * _vignette(u[j], v[j]))
    cut = len(crossed) * samples
    base[:, crossed] = buffer[:, :cut].view(3, -1, samples).mean(2)
    base[:, whole] = buffer[:, cut:].view(3, -1, inner).mean(2)


def stages(size: int, device: str = "cpu") -> None:
    """Draw every floor and backdrop of a size beforehand (else each is drawn when first needed)."""
    for name in FLOORS:
        _stage("floor", name, size, device)
    for name in BACKDROPS:
        _stage("wall", name, size, device)
    for name in LIGHTS:
        _lamplight(name, size, device)
