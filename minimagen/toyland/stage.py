"""The empty stage: the camera's rays, where they meet floor and backdrop, and what those look like in the lamp's light.

The camera never moves, so floors and backdrops are drawn once a size and then kept.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from minimagen.toyland import camera as cam
from minimagen.toyland import surfaces
from minimagen.toyland.scene import BACKDROPS, FLOORS, LIGHTS, Scene
from minimagen.toyland.shapes import Vec


def rays(u: Tensor, v: Tensor) -> Vec:
    """Towards picture point (u, v), of length 1 along the camera's axis."""
    a, b = (u * 2 - 1) / cam.FOCAL, (1 - v * 2) / cam.FOCAL
    return a, b * cam.UP[1] + cam.FORWARD[1], b * cam.UP[2] + cam.FORWARD[2]


def project(p: Vec) -> tuple[Tensor, Tensor]:
    """Where in the picture points of the world are: `camera.project` for tensors."""
    q = (p[0], p[1] - cam.EYE[1], p[2] - cam.EYE[2])
    depth = q[1] * cam.FORWARD[1] + q[2] * cam.FORWARD[2]
    k = 0.5 * cam.FOCAL / depth
    return 0.5 + q[0] * k, 0.5 - (q[1] * cam.UP[1] + q[2] * cam.UP[2]) * k


def landing(d: Vec) -> tuple[Vec, Tensor]:
    """Where camera rays meet the floor or the backdrop: (point, whether on the floor)."""
    t = -cam.EYE[1] / d[1]
    wall = (cam.Z_WALL - cam.EYE[2]) / d[2]
    on_floor = t < wall
    t = torch.minimum(t, wall)
    return (t * d[0], torch.where(on_floor, 0.0, cam.EYE[1] + t * d[1]), cam.EYE[2] + t * d[2]), on_floor


def vignette(u: Tensor, v: Tensor) -> Tensor:
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
        d = rays(u, v)
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
    p, on_floor = landing(rays(u, v))
    light = surfaces.LIGHT[name]
    near = 1 + 0.035 * light[0] * p[0] - 0.012 * p[2]  # the nearer to the lamp, the brighter
    wall = 0.48 * (1 + 0.05 * light[0] * p[0])
    soft = vignette(u, v)
    return (torch.where(on_floor, 0.80 * near, wall) * soft).to(device), soft.to(device)


def background(scene: Scene, size: int, box: tuple[int, int, int, int], device: str) -> tuple[Tensor, Tensor]:
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


def stages(size: int, device: str = "cpu") -> None:
    """Draw every floor and backdrop of a size beforehand (else each is drawn when first needed)."""
    for name in FLOORS:
        _stage("floor", name, size, device)
    for name in BACKDROPS:
        _stage("wall", name, size, device)
    for name in LIGHTS:
        _lamplight(name, size, device)
