"""Noise schedules: how much picture and how much noise there is at time t.

    z = α(t) x + σ(t) ε,   α² + σ² = 1,   t from 0 (clean) to 1 (pure noise)

A schedule is one curve, the log-SNR λ(t) = log α²/σ². All the rest follows from it: α² = sigmoid(λ), σ² = sigmoid(−λ).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

# IF, diffusers and the paper count 1000 steps; the cosine curve's last step is clipped at β = 0.999, which leaves
# ᾱ(1) = 0.001 · ᾱ(0.999). Without that clip α(1) = 0, and x̂ = (z − σ ε̂) / α divides by zero.
STEPS = 1000
_BETA_MAX = 0.999


class Schedule:
    """A falling curve λ(t). `schedule(t)` gives (α, σ); `schedule.logsnr` and `schedule.t` are each other's inverse."""

    def logsnr(self, t: float | Tensor) -> Tensor:
        """λ(t) = log(α² / σ²)"""
        raise NotImplementedError

    def t(self, logsnr: float | Tensor) -> Tensor:
        """The time at which the log-SNR is λ: the inverse of `logsnr`, ends clipped to [0, 1]."""
        raise NotImplementedError

    def __call__(self, t: float | Tensor, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(α, σ) in float32. With `like`, a batch of pictures, they have its device and the shape (B, 1, 1, 1)."""
        t = torch.as_tensor(t, dtype=torch.float32, device=None if like is None else like.device)
        if like is not None:
            t = t.expand(len(like)).view(-1, *[1] * (like.ndim - 1))
        logsnr = self.logsnr(t)
        alpha, sigma = torch.sigmoid(logsnr).sqrt(), torch.sigmoid(-logsnr).sqrt()
        # t ≤ 0 is the clean picture exactly, not up to a last trace of noise, so that a sampler ends on x̂ itself.
        return torch.where(t <= 0, 1.0, alpha), torch.where(t <= 0, 0.0, sigma)


def _times(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value).to(torch.float64).clamp(0, 1)


def _logit(p: Tensor) -> Tensor:
    """log p / (1 − p), kept finite: ᾱ = 1 at t = 0 would be infinite."""
    p = p.clamp(1e-12, 1 - 1e-8)
    return (p.log() - (1 - p).log()).float()


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """ᾱ(t) = f(t) / f(0),  f(t) = cos²(π/2 · (t + s) / (1 + s))    (Nichol and Dhariwal 2021)

    Imagen's base and 256 px stage. At t = (i + 1) / 1000 it is DeepFloyd's table, the last step's clip of β at 0.999
    included.
    """

    offset: float = 0.008

    def _f(self, t: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * (t + self.offset) / (1 + self.offset)) ** 2

    @property
    def _floor(self) -> Tensor:
        """ᾱ(1) under the clip β ≤ 0.999."""
        last = self._f(torch.tensor(1 - 1 / STEPS, dtype=torch.float64))
        return (1 - _BETA_MAX) * last / self._f(torch.zeros((), dtype=torch.float64))

    def logsnr(self, t: float | Tensor) -> Tensor:
        t = _times(t)
        return _logit((self._f(t) / self._f(torch.zeros_like(t))).maximum(self._floor.to(t.device)))

    def t(self, logsnr: float | Tensor) -> Tensor:
        alpha_bar = torch.sigmoid(torch.as_tensor(logsnr, dtype=torch.float64))
        f = (alpha_bar * self._f(torch.zeros_like(alpha_bar))).sqrt()
        return (torch.acos(f) * 2 / math.pi * (1 + self.offset) - self.offset).clamp(0, 1).float()


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """β from `first` to `last` in 1000 steps, as a curve in t: log ᾱ(t) = −1000 (first·t + (last − first)·t²/2)

    Imagen's 1024 px stage, with β from 1e-4 to 0.02.
    """

    first: float = 1e-4
    last: float = 0.02

    def logsnr(self, t: float | Tensor) -> Tensor:
        t = _times(t)
        return _logit(torch.exp(-STEPS * (self.first * t + (self.last - self.first) * t**2 / 2)))

    def t(self, logsnr: float | Tensor) -> Tensor:
        log_alpha_bar = torch.nn.functional.logsigmoid(torch.as_tensor(logsnr, dtype=torch.float64))
        a, b, c = (self.last - self.first) / 2, self.first, log_alpha_bar / STEPS
        return (-2 * c / (b + (b**2 - 4 * a * c).sqrt()).clamp(min=1e-30)).clamp(0, 1).float()  # a may be 0


@dataclass(frozen=True)
class ShiftedSchedule(Schedule):
    """λ(t) = λ_base(t) + 2 log(reference / size)    (simple diffusion, Hoogeboom et al. 2023)

    A large picture averages noise away, so that the same noise destroys less of it: it wants more noise at the same t.
    size = reference is no shift.
    """

    size: int
    reference: int = 64
    base: Schedule = field(default_factory=CosineSchedule)

    @property
    def _shift(self) -> float:
        return 2 * math.log(self.reference / self.size)

    def logsnr(self, t: float | Tensor) -> Tensor:
        return self.base.logsnr(t) + self._shift

    def t(self, logsnr: float | Tensor) -> Tensor:
        return self.base.t(torch.as_tensor(logsnr) - self._shift)


class TableSchedule(Schedule):
    """A table of ᾱ, one a training step; t = (i + 1) / N is its row i, and λ is linear in between.

    Between t = 0 and the first row it follows ᾱ = 1 − (1 − ᾱ₀) · N t, so that t = 0 is the clean picture.
    """

    def __init__(self, alphas_cumprod: Tensor):
        table = torch.as_tensor(alphas_cumprod, dtype=torch.float64).flatten()
        if len(table) < 2 or not bool((table[1:] < table[:-1]).all()) or not 0 < float(table[-1]) < float(table[0]) < 1:
            raise ValueError("alphas_cumprod must be a falling table of numbers between 0 and 1, one a training step")
        self.alphas_cumprod = table
        self._rows = table.log() - (1 - table).log()  # λ of each row, float64

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableSchedule) and torch.equal(self.alphas_cumprod, other.alphas_cumprod)

    def __hash__(self) -> int:
        return hash(tuple(self.alphas_cumprod.tolist()))

    def logsnr(self, t: float | Tensor) -> Tensor:
        t = _times(t)
        place = t * len(self._rows) - 1  # row i at place i
        rows = self._rows.to(t.device)
        low = place.floor().clamp(0, len(rows) - 2).long()
        inside = torch.lerp(rows[low], rows[low + 1], place - low)
        before = _logit(1 - (1 - self.alphas_cumprod[0].to(t.device)) * (place + 1).clamp(0, 1)).double()
        return torch.where(place < 0, before, inside).float()

    def t(self, logsnr: float | Tensor) -> Tensor:
        logsnr = torch.as_tensor(logsnr, dtype=torch.float64)
        rows = self._rows.to(logsnr.device)
        falling = -rows
        low = (torch.searchsorted(falling, -logsnr, right=True) - 1).clamp(0, len(rows) - 2)
        place = low + (logsnr - rows[low]) / (rows[low + 1] - rows[low])
        before = torch.sigmoid(-logsnr) / (1 - self.alphas_cumprod[0].to(logsnr.device)) - 1
        return ((torch.where(logsnr > rows[0], before, place) + 1) / len(rows)).clamp(0, 1).float()
