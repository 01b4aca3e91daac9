"""Denoisers that are exact, because the world they denoise is known: what every sampler is held against."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from minimagen.conditioning import Cond
from minimagen.denoiser import Prediction, from_x
from minimagen.schedule import CosineSchedule, Schedule


@dataclass(frozen=True)
class Gaussian:
    """x ~ N(mean, std²) in every pixel: x̂ = mean + α std² (z − α mean) / (α² std² + σ²)"""

    mean: float = 0.2
    std: float = 0.4
    schedule: Schedule = field(default_factory=CosineSchedule)

    def __call__(self, z: Tensor, t: Tensor, cond: Cond) -> Prediction:
        alpha, sigma = self.schedule(t, like=z)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return Prediction(self.mean + gain * (z - alpha * self.mean))


@dataclass(frozen=True)
class Points:
    """x is one of a few pictures, each as likely: x̂ = Σ softmax(−|z − α xᵢ|² / 2σ²) xᵢ"""

    pictures: Tensor  # (N, 3, H, W)
    schedule: Schedule = field(default_factory=CosineSchedule)

    def __call__(self, z: Tensor, t: Tensor, cond: Cond) -> Prediction:
        alpha, sigma = self.schedule(t, like=z)
        far = (z[:, None] - alpha[:, None] * self.pictures).flatten(2).pow(2).sum(2)  # (B, N)
        weight = torch.softmax(-far / (2 * sigma.view(-1, 1) ** 2).clamp(min=1e-12), dim=1)
        return Prediction(torch.einsum("bn,nchw->bchw", weight, self.pictures))


class Network(nn.Module):
    """A network that answers what the exact denoiser knows, as ε, v or x."""

    def __init__(self, exact, prediction: str):
        super().__init__()
        self.exact, self.prediction = exact, prediction
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, t: Tensor, cond: Cond) -> Tensor:
        t = (t + 1) / 1000
        alpha, sigma = self.exact.schedule(t, like=z)
        return from_x(self.exact(z, t, cond).x, z, alpha, sigma, self.prediction)


class Small(nn.Module):
    """A small random network that depends on all its inputs: z, t, text (its mean), low_res and aug."""

    def __init__(self, seed: int = 0, text_dim: int = 8, enlarges: bool = False, out_channels: int = 3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(6 if enlarges else 3, 16, 3, padding=1)
            self.time, self.text = nn.Linear(1, 16), nn.Linear(text_dim, 16)
            self.out = nn.Conv2d(16, out_channels, 3, padding=1)
        self.config = type("Config", (), {"enlarges": enlarges})()
        self.requires_grad_(False)

    def forward(self, z: Tensor, t: Tensor, cond: Cond) -> Tensor:
        h = self.conv(z if cond.low_res is None else torch.cat([z, cond.low_res], 1))
        told = self.time(t.view(-1, 1) / 1000)
        if cond.text is not None:
            told = told + self.text(cond.text.tokens.mean(1))
        if cond.aug is not None:
            told = told + cond.aug.view(-1, 1)
        return self.out(torch.tanh(h + told[:, :, None, None]))
