"""Numbers with their uncertainty: means with bootstrap intervals, and distances between sets of features."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval, and the number of independent groups (prompts) behind it."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1%} ({self.low:.1%} to {self.high:.1%})" if self.n else "–"


def bootstrap(
    values: Sequence[float], groups: Sequence[Hashable] | None = None, *, draws: int = 4000, seed: int = 0
) -> Estimate:
    """The mean of values, and the interval in which 95 % of the means of resampled values lie.

    groups: whatever belongs together is resampled together, as the pictures of one prompt are, which share its
    difficulty; None = each value by itself. Where all values are 0, or all 1, resampling shows no spread at all; then
    the far end is Clopper and Pearson's, (0.025)^(1/n).
    """
    x = np.asarray(values, dtype=np.float64)
    if groups is not None and len(groups) != len(x):
        raise ValueError(f"There are {len(x)} values, but {len(groups)} groups.")
    if not len(x):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    if not np.isfinite(x).all():
        raise ValueError("A value is not finite, so its mean has no meaning.")
    _, index = np.unique(np.arange(len(x)) if groups is None else _numbered(groups), return_inverse=True)
    total, count = np.bincount(index, x), np.bincount(index)
    n, mean, tail = len(total), float(x.mean()), (1 - CONFIDENCE) / 2
    if (x == 1).all() or (x == 0).all():
        far = tail ** (1 / n)
        return Estimate(mean, far, 1.0, n) if x[0] == 1 else Estimate(mean, 0.0, 1 - far, n)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(0, draws, 256):  # in pieces: draws × n may be large
        pick = rng.integers(0, n, (min(256, draws - i), n))
        means[i : i + len(pick)] = total[pick].sum(1) / count[pick].sum(1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)


def _numbered(groups: Sequence[Hashable]) -> np.ndarray:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(g, len(number)) for g in groups])


def paired(a: Sequence[float], b: Sequence[float], groups: Sequence[Hashable] | None = None, **options) -> Estimate:
    """The mean of a − b with its interval:

    for two settings on the same prompts and noise, which share most of their luck.
    """
    if len(a) != len(b):
        raise ValueError(f"Paired values come in equal number; here are {len(a)} and {len(b)}.")
    return bootstrap((np.asarray(a, float) - np.asarray(b, float)).tolist(), groups, **options)


class _AsTheyAre(nn.Identity):
    """torchmetrics calls it where it would call Inception; our features are made already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def frechet(real: Tensor, fake: Tensor) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2 (Σ Σ')^½)  of two sets of features (N, F), through torchmetrics.

    Even two sets from one source differ by about tr(Σ) (1/N + 1/N') and more, so a distance says little without its
    floor.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"Two sets of equal features are needed; here are {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    if min(len(real), len(fake)) < 2:
        raise ValueError("A Fréchet distance needs at least two pictures on either side.")
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as fault:
        raise ImportError(
            "Fréchet distances are computed by torchmetrics; `pip install torchmetrics` brings it."
        ) from fault
    metric = FrechetInceptionDistance(feature=_AsTheyAre(real.shape[1])).set_dtype(torch.float64)
    metric.update(real.double().cpu(), real=True)
    metric.update(fake.double().cpu(), real=False)
    return float(metric.compute())


def frechet_floor(real: Tensor, n: int, *, seed: int = 0) -> float:
    """The distance between two disjoint draws of n true pictures: what a perfect model would score at this count."""
    if len(real) < 2 * n:
        raise ValueError(f"A floor at {n} pictures needs {2 * n} true ones; here are {len(real)}.")
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    return frechet(real[order[:n]], real[order[n : 2 * n]])


def diversity(features: Tensor) -> float:
    """The mean distance |f_i − f_j| over all pairs i ≠ j: 0 if every picture is the same."""
    n = len(features)
    if n < 2:
        raise ValueError("Diversity is between pictures; there must be at least two.")
    return float(torch.cdist(features.double(), features.double()).sum() / (n * (n - 1)))
