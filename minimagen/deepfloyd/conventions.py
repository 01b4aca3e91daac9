"""What DeepFloyd IF does in its own way: its noise schedule, its times, and how it enlarges and noises a picture.

Each is a function that a `Stage` takes in the place of ours, so that IF's weights are sampled as IF samples them:

    Stage(denoiser, 256, times=deepfloyd.times, upsample=deepfloyd.upsample, augment=deepfloyd.augment)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditioning import Generators, noise_like
from ..schedule import STEPS, TableSchedule


def schedule() -> TableSchedule:
    """IF's 1000 steps: β_i = min(1 − f((i+1)/1000) / f(i/1000), 0.999),  f(t) = cos²(π/2 · (t + 0.008) / 1.008)

    ᾱ = Π (1 − β)
    """
    t = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    f = torch.cos(math.pi / 2 * (t + 0.008) / 1.008) ** 2
    return TableSchedule((1 - (1 - f[1:] / f[:-1]).clamp(max=0.999)).cumprod(0))


def times(steps: int, *, start: float = 1.0) -> Tensor:
    """t = (k · ⌊1000 · start / steps⌋ + 1) / 1000 for k = steps − 1 … 0, then 0: diffusers' "leading" spacing.

    With 100 steps IF begins at row 990 of its table, t = 0.991, where ours begin at t = 1: its first step is taken at a
    little less noise than the picture has. There are at most as many steps as the table has rows below `start`.
    """
    if steps < 1:
        raise ValueError(f"a sampler takes one step or more, not {steps}")
    if not 0 < start <= 1:
        raise ValueError(f"start is a time in (0, 1], not {start}")
    below = max(round(STEPS * start), 1)
    steps = min(steps, below)
    ratio = below // steps
    rows = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * ratio
    return torch.cat([(rows + 1) / STEPS, torch.zeros(1, dtype=torch.float64)]).float()


def upsample(images: Tensor, size: int) -> Tensor:
    """(B, 3, h, w) → (B, 3, size, size), bilinear from corner to corner, as IF's second stage was trained."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=True)


def augment(low_res: Tensor, level: float | Tensor, generator: Generators = None) -> Tensor:
    """z = α x + σ n,  (α, σ) of IF's table in row 1000 · level    (noise_level 250 is level 0.25)

    Row 0 is the first trace of noise, so level 0 is not quite off: IF's network was told 0 where it saw that.
    """
    level = torch.as_tensor(level, dtype=torch.float32)
    if bool(((level < 0) | (level > 1)).any()):
        raise ValueError("an augmentation level lies between 0 (none) and 1 (pure noise)")
    alpha, sigma = schedule()((level + 1 / STEPS).clamp(max=1), like=low_res)
    return alpha * low_res + sigma * noise_like(low_res, generator)
