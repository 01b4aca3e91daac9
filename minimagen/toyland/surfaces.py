"""What things are made of: colours, patterns, the floors and backdrops, and from which side the light falls.

Colours are written as they appear (0…1, before `tone`); light is computed with their squares (gamma 2).
"""

from functools import lru_cache
from math import pi

import torch
from torch import Tensor

from minimagen.toyland.camera import Z_WALL

COLOR = {
    "red": (0.86, 0.10, 0.09),
    "orange": (0.97, 0.50, 0.06),
    "yellow": (0.97, 0.86, 0.14),
    "green": (0.14, 0.62, 0.17),
    "cyan": (0.16, 0.80, 0.86),
    "blue": (0.10, 0.22, 0.88),
    "purple": (0.52, 0.16, 0.74),
    "pink": (0.98, 0.56, 0.76),
    "white": (0.95, 0.95, 0.95),
    "black": (0.13, 0.13, 0.14),
}
MATTE, SHINY, METAL, GLASS = range(4)
MATERIAL = {"matte": MATTE, "shiny": SHINY, "metal": METAL, "glass": GLASS}
PATTERN = {"plain": 0, "striped": 1, "checkered": 2, "dotted": 3, "marbled": 4}

# Towards the light, unit length. A box-shaped lamp, wide enough for soft shadows.
LIGHT = {"left": (-0.560, 0.755, -0.341), "right": (0.560, 0.755, -0.341), "above": (-0.060, 0.930, -0.3626)}
LAMP = 0.11  # half its width as seen from the scene, for shadows

# Of every backdrop: light from all around, light of the lamp.
MOOD = {
    "white wall": ((0.47, 0.47, 0.48), (0.93, 0.92, 0.89)),
    "blue sky": ((0.44, 0.48, 0.53), (0.95, 0.91, 0.85)),
    "sunset sky": ((0.46, 0.42, 0.44), (0.97, 0.87, 0.78)),
    "night sky": ((0.38, 0.40, 0.46), (0.82, 0.83, 0.86)),
    "green hedge": ((0.45, 0.47, 0.43), (0.93, 0.91, 0.84)),
}

POLISH = {"tiled": 0.30, "wooden": 0.16}  # floors that mirror, and how much

PERIOD = 0.165  # of a pattern, in units: 1.6 px of a 64 px picture, 6.6 px of 256
CONTRAST = 0.24  # half the difference between a pattern's two tones


def tone(light: Tensor) -> Tensor:
    """Light → pixel in [−1, 1]: v = √light, mid-tones 0…1 → ±0.7, and a soft shoulder to 1 for what shines more."""
    v = light.clamp_min(0).sqrt_()
    over = (v - 0.94).clamp_min_(0.0)
    v = v.clamp_(max=0.94)
    curve = v * v * (3 - 2 * v)  # a gentle S, as film has it
    return v.lerp_(curve, 0.35).mul_(1.4).sub_(0.7).addcdiv_(over, over + 0.30, value=0.36)


@lru_cache(maxsize=4)
def _lattice(device: str) -> Tensor:
    return torch.rand(256 * 256, generator=torch.Generator().manual_seed(7)).to(device)


def noise(x: Tensor, y: Tensor) -> Tensor:
    """Smooth value noise in [−1, 1], one bump a unit."""
    i, j = x.floor(), y.floor()
    fx, fy = x - i, y - j
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = i.long() & 255, j.long() & 255
    i1, j1 = (i + 1) & 255, ((j + 1) & 255) * 256
    j, table = j * 256, _lattice(str(x.device))
    return (
        torch.lerp(torch.lerp(table[j + i], table[j + i1], fx), torch.lerp(table[j1 + i], table[j1 + i1], fx), fy) * 2
        - 1
    )


def cloud(x: Tensor, y: Tensor, finest: Tensor | float, octaves: int = 5, fade: float = 0.55) -> Tensor:
    """Σ fadeᵏ noise(2ᵏ x), without the octaves finer than a pixel (`finest`: pixels a unit of x, its inverse)."""
    total, weight = torch.zeros_like(x), 1.0
    for k in range(octaves):
        visible = ((1 / (2**k) - 1.5 * finest) / (1.5 * finest)).clamp(0, 1) if isinstance(finest, Tensor) else 1.0
        total += noise(x * 2**k + 17.3 * k, y * 2**k + 5.1 * k) * visible * weight
        weight *= fade
    return total


def _line(x: Tensor, width: float, pixel: Tensor) -> Tensor:
    """A line around each whole number, anti-aliased: 1 on it."""
    d = (x - x.round()).abs()
    soft = pixel.clamp_min(1e-4)
    return ((width / 2 - d) / soft + 0.5).clamp(0, 1) * (width / torch.maximum(soft, torch.tensor(width))).clamp(max=1)


def _rgb(r: float, g: float, b: float, shade: Tensor) -> Tensor:
    return torch.stack([r * shade, g * shade, b * shade])


def floor(name: str, x: Tensor, z: Tensor, pixel: Tensor) -> Tensor:
    """(3, …): what part of the light the floor sends back at (x, z); pixel: a pixel's width there, in units."""
    if name == "wooden":  # boards that run away from the viewer
        board = (x / 0.95).floor()
        start = noise(board * 3.7 + 0.5, board * 0.0 + 9.5) * 4
        tint = noise(board * 5.3 + 0.5, ((z + start) / 5.5).floor() + 0.5)
        grain = cloud(x * 5 + board * 11, z * 0.55 + board * 7, pixel * 5, 5, 0.7)
        seam = _line(x / 0.95, 0.035, pixel / 0.95) + _line((z + start) / 5.5, 0.006, 2.4 * pixel / 5.5)
        return _rgb(0.50, 0.335, 0.20, (1 + 0.07 * tint + 0.075 * grain) * (1 - 0.5 * seam.clamp(max=1)))
    if name == "tiled":
        a, b = (x / 1.25).floor(), (z / 1.25).floor()
        tint = ((a + b) % 2) * 2 - 1
        grout = torch.maximum(_line(x / 1.25, 0.035, pixel / 1.25), _line(z / 1.25, 0.035, 2.2 * pixel / 1.25))
        veins = cloud(x * 1.5 + a * 5, z * 1.5 + b * 3, pixel * 1.5, 5)
        return _rgb(0.53, 0.52, 0.50, (1 + 0.065 * tint + 0.03 * veins) * (1 - 0.16 * grout))
    if name == "sandy":
        drift = cloud(x * 0.35, z * 0.35, pixel * 0.35, 4)
        ripple = torch.sin(5.0 * z + 1.2 * x + 2.2 * cloud(x * 0.5, z * 0.5, pixel, 2))
        grains = cloud(x * 14, z * 14, pixel * 14, 3, 0.8)
        return _rgb(0.66, 0.54, 0.36, 1 + 0.05 * drift + 0.022 * ripple + 0.06 * grains)
    if name == "grassy":
        patch = cloud(x * 0.6, z * 0.6, pixel * 0.6, 3)
        blades = cloud(x * 9, z * 3.2, pixel * 9, 3, 0.85)
        tip = cloud(x * 22 + 3, z * 7, pixel * 22, 2, 0.8)
        shade = 1 + 0.07 * patch + 0.14 * blades + 0.10 * tip
        return _rgb(0.180, 0.275, 0.070, shade) + _rgb(0.03, 0.0, 0.0, patch)
    stain = cloud(x * 0.5, z * 0.5, pixel * 0.5, 5, 0.6)  # concrete
    pores = (cloud(x * 12, z * 12, pixel * 12, 2) - 0.55).clamp_min(0)
    joint = torch.maximum(_line((x + 2.1) / 4.2, 0.012, pixel / 4.2), _line((z + 1.0) / 4.2, 0.012, 2.2 * pixel / 4.2))
    return _rgb(0.345, 0.345, 0.355, (1 + 0.055 * stain - 0.12 * pores) * (1 - 0.3 * joint))


def backdrop(name: str, x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    """(3, …): the same for the backdrop at (x, y); the visible part reaches to y = 4.7 or so."""
    h = (y / 4.7).clamp(0, 1.5)

    def mix(low: tuple, high: tuple, k: Tensor) -> Tensor:
        return torch.stack([a + (b - a) * k for a, b in zip(low, high)])

    if name == "white wall":
        plaster = cloud(x * 2.0, y * 2.0, pixel * 2.0, 5, 0.7)
        skirting = ((0.34 - y) / pixel + 0.5).clamp(0, 1)
        shade = (1 + 0.012 * plaster) * (1 - 0.25 * ((0.05 - (y - 0.34).abs()) / pixel + 0.5).clamp(0, 1) * 0.6)
        return mix((0.80, 0.80, 0.81), (0.90, 0.90, 0.89), h) * shade + 0.06 * skirting
    if name == "blue sky":
        puff = (cloud(x * 0.55 + 3.1, y * 1.0 + 0.4, pixel * 1.0, 5) * 1.1 - 0.05 + 0.15 * h).clamp(0, 1)
        puff = puff * puff * (3 - 2 * puff) * 0.75
        return torch.lerp(
            mix((0.50, 0.66, 0.76), (0.20, 0.42, 0.74), h), mix((0.72, 0.75, 0.78), (0.78, 0.80, 0.82), h), puff
        )
    if name == "sunset sky":
        k = h.clamp(0, 1)
        low = mix((0.86, 0.48, 0.20), (0.62, 0.27, 0.27), (k * 2).clamp(0, 1))
        sky = torch.lerp(low, mix((0.62, 0.27, 0.27), (0.26, 0.16, 0.34), (k * 2 - 1).clamp(0, 1)), (k > 0.5).float())
        band = cloud(x * 0.25 + 1.7, y * 1.9, pixel * 1.9, 4).clamp_min(0)
        return sky * (1 - 0.22 * band)
    if name == "night sky":
        sky = mix((0.060, 0.080, 0.19), (0.014, 0.020, 0.075), h.clamp(0, 1))
        i, j = (x * 2.2).floor(), (y * 2.2).floor()
        dx = (x * 2.2 - i - 0.5 - 0.35 * noise(i * 7.7 + 0.5, j * 3.1 + 0.5)) / 2.2
        dy = (y * 2.2 - j - 0.5 - 0.35 * noise(i * 5.9 + 0.5, j * 9.1 + 0.5)) / 2.2
        size = 0.022 * (0.7 + 0.6 * noise(i * 1.3 + 0.5, j * 8.3 + 0.5).clamp_min(-0.5))
        r = torch.maximum(size, 0.6 * pixel)
        star = torch.exp(-(dx * dx + dy * dy) / (r * r)) * (size / r) ** 2 * (noise(i + 40.5, j + 3.5) > -0.2)
        return sky + 0.7 * star * (y > 0.6)
    leaves = cloud(x * 3.0, y * 3.0, pixel * 3.0, 4, 0.75)  # green hedge
    sharp = torch.tanh(2.4 * cloud(x * 5.5 + 4, y * 7.0, pixel * 6.0, 3, 0.8))
    clumps = cloud(x * 0.8 + 9, y * 0.8, pixel * 0.8, 2)
    shade = (1 + 0.10 * clumps + 0.13 * leaves + 0.20 * sharp) * (0.74 + 0.36 * h)
    return _rgb(0.085, 0.170, 0.060, shade)


MAP, HALF_X, Z_LOW, Y_HIGH = 256, 10.0, -19.0, 10.0


@lru_cache(maxsize=8)
def surroundings(floors: tuple[str, ...], backdrops: tuple[str, ...], device: str) -> Tensor:
    """(floors + backdrops, 3, MAP, MAP): coarse maps of all of them, for what is seen in mirrors and through glass."""
    u = (torch.arange(MAP) + 0.5) / MAP
    b, a = torch.meshgrid(u, u, indexing="ij")
    x, z, y = (a * 2 - 1) * HALF_X, Z_LOW + b * (Z_WALL - Z_LOW), b * Y_HIGH
    pixel = torch.full_like(x, 2 * HALF_X / MAP)
    maps = [floor(f, x, z, pixel) for f in floors] + [backdrop(w, x, y, pixel) for w in backdrops]
    return torch.stack(maps).clamp_(0, 1).to(device)


@lru_cache(maxsize=8)
def average(floors: tuple[str, ...], backdrops: tuple[str, ...], device: str) -> Tensor:
    """(floors + backdrops, 3)"""
    return surroundings(floors, backdrops, device).mean((2, 3))


def pattern(kind: Tensor, across: Tensor, up: Tensor, turn_a: Tensor, turn_b: Tensor, scale: Tensor) -> Tensor:
    """How much lighter (+1) or darker (−1) a pattern makes a point; its mean over the surface is 0.

    (across, up) on the unrolled surface at scale 1; where one closes on itself, a whole number of periods fits.
    """

    def cells(s: Tensor, turn: Tensor, period: float) -> Tensor:
        free = s * scale / period
        count = (turn * scale / period / 2).round().clamp_min(1) * 2
        return torch.where(turn > 0, s / turn.clamp_min(1e-6) * count, free)

    def wave(s: Tensor) -> Tensor:  # a square wave with soft sides
        return (torch.sin(2 * pi * s) * 3).clamp_(-1, 1)

    a, b = cells(across, turn_a, 2 * PERIOD), cells(up, turn_b, 2 * PERIOD)
    stripes = wave(cells(up, turn_b, PERIOD * 1.1))
    checks = (torch.sin(2 * pi * a) * 4).clamp_(-1, 1) * (torch.sin(2 * pi * b) * 4).clamp_(-1, 1)
    da, db = cells(across, turn_a, PERIOD * 1.25), cells(up, turn_b, PERIOD * 1.25)
    r = torch.hypot(da - da.round(), db - db.round())
    dots = ((0.34 - r) * 9).clamp_(-0.5, 0.5) * 2 * 0.65 + 0.18
    x, y = a * 1.1, b * 1.1
    warp = torch.sin(2.1 * x + 1.3 * y + 1.0) + 0.6 * torch.sin(4.7 * y - 2.9 * x)
    veins = torch.sin(3.4 * x - 2.6 * y + 1.7 * warp + 0.8 * torch.sin(5.3 * x + 4.1 * y))
    veins = 1.35 * veins * veins.abs()
    return torch.where(kind == 1, stripes, torch.where(kind == 2, checks, torch.where(kind == 3, dots, veins)))
