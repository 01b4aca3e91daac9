"""Everything between a network and a picture is a denoiser: denoiser(z, t, cond) → Prediction(x), the estimate x̂.

A network becomes one by `Denoiser`, whatever it predicts; `Guided` and `Thresholded` wrap one and are one.
A sampler needs no more.

    Denoiser(unet, schedule, prediction)   z, t, cond → x̂
    Guided(denoiser, w, null)              two x̂, one x̃
    Thresholded(denoiser, threshold)       x̃ back into [−1, 1]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .conditioning import Cond, Text, augment_moments, smooth
from .schedule import STEPS, Schedule

PREDICTIONS = ("eps", "v", "x", "residual")
# For weighing an augmented low-res picture, as in pictures of Toyland enlarged four times:
SMOOTH_VARIANCE = 0.1  # of the pixels of smooth(u)
FINE_VARIANCE = 1.7e-4  # of those of u − smooth(u): an enlarged picture is smooth nearly everywhere (0.6 to 2.0e-4)
NOISE_LEFT = 0.042  # of white noise's variance, in smooth(noise)


class Prediction(NamedTuple):
    """The estimate x̂; and with learned variance, where the step's log-variance lies: 0 is log β̃, 1 is log β."""

    x: Tensor
    log_var: Tensor | None = None


class DenoiserLike(Protocol):
    """What samplers, guidance and thresholding ask of a denoiser."""

    @property
    def schedule(self) -> Schedule: ...

    def __call__(self, z: Tensor, t: float | Tensor, cond: Any) -> Prediction: ...


# The pure functions: each is one formula, and each can be replaced in a Stage.


def guide(x_c: Tensor, x_u: Tensor, w: float = 1.0) -> Tensor:
    """x̃ = w·x̂(z, c) + (1 − w)·x̂(z)    (Imagen eq. 2, in x-space; w = 1 is off)"""
    return x_u.lerp(x_c, w)


def static_threshold(x: Tensor) -> Tensor:
    """x ← clip(x, −1, 1)"""
    return x.clamp(-1, 1)


def dynamic_threshold(x: Tensor, p: float = 0.995, cap: float | None = None) -> Tensor:
    """s = max(1, p-quantile of |x|), one s a picture;  x ← clip(x, −s, s) / s    (Imagen, section 2.3)

    p = 1 divides by the largest value. cap bounds s from above (DeepFloyd IF: 1.5); cap = 1 is static thresholding.
    """
    if x.ndim != 4:
        raise ValueError(f"each picture of a batch (B, C, H, W) has its own s, and this is {tuple(x.shape)}: x[None]")
    if not 0 < p <= 1:
        raise ValueError(f"p is a quantile in (0, 1], and {p} is not: the 99.5th percentile is p = 0.995")
    if cap is not None and cap < 1:
        raise ValueError(f"a cap bounds s, which is never below 1, and {cap} is: cap = 1 is static thresholding")
    if cap == 1:
        return static_threshold(x)
    # Picture by picture, because torch.quantile refuses more than 16 million elements in all (torch 2.13 still does).
    s = torch.stack([torch.quantile(picture.float().abs().flatten(), p) for picture in x]).clamp(1.0, cap)  # (B,)
    s = s.view(-1, 1, 1, 1).to(x.dtype)
    return x.clamp(-s, s) / s


@dataclass(frozen=True)
class Static:
    """`static_threshold` as an object."""

    def __call__(self, x: Tensor) -> Tensor:
        return static_threshold(x)


@dataclass(frozen=True)
class Dynamic:
    """`dynamic_threshold` with its p and cap, as an object. cap None = s is not bounded."""

    p: float = 0.995
    cap: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return dynamic_threshold(x, self.p, self.cap)


# Conversions: z = α x + σ ε, so that any one of ε, v, x and z gives the others.


def to_x(out: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """ε: x = (z − σ ε) / α;   v: x = α z − σ v;   x: itself"""
    if prediction == "eps":
        return (z - sigma * out) / alpha
    if prediction == "v":
        return alpha * z - sigma * out
    if prediction == "x":
        return out
    raise ValueError(f"z alone turns {', '.join(PREDICTIONS[:3])} into one another, not {prediction!r}")


def from_x(x: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """The inverse of `to_x` in `out`: ε = (z − α x) / σ;   v = (α z − x) / σ;   x: itself"""
    if prediction == "eps":
        return (z - alpha * x) / sigma
    if prediction == "v":
        return (alpha * z - x) / sigma
    if prediction == "x":
        return x
    raise ValueError(f"z alone turns {', '.join(PREDICTIONS[:3])} into one another, not {prediction!r}")


@dataclass(frozen=True)
class Denoiser:
    """A network, the schedule it was trained under, and what it predicts.

    eps, v, x: the network sees z and its output is ε, v or x.
    residual:  the network F corrects the enlarged low-res picture u, preconditioned as in EDM (Karras et al. 2022):
               x̂ = u + c_skip (z − α u) + c_out F(c_in (z − α u)),
               c_in = 1/√(α²s² + σ²),  c_skip = α s² c_in²,  c_out = s σ c_in,
               where s is the spread of x − u, augmentation's noise counted in. F = 0 is the best linear guess.
               u itself is the best linear guess of the enlarged picture under that noise.
    """

    unet: Any  # a UNet, or any module that is called as unet(z, network_time, cond)
    schedule: Schedule
    prediction: str = "eps"
    spread: float = 0.1  # s where nothing is augmented: the standard deviation of x − u; used by "residual" alone

    def __post_init__(self):
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"a prediction is one of {', '.join(PREDICTIONS)}, not {self.prediction!r}")

    def prepare(self, cond: Cond) -> Cond:
        """The text's keys, values and pooled vector, once a picture; a network without `prepare` takes cond as is."""
        return self.unet.prepare(cond) if hasattr(self.unet, "prepare") else cond

    @staticmethod
    def network_time(t: Tensor) -> Tensor:
        """The network's own time input: 1000 t − 1, so that t = (i + 1)/1000 is row i of IF's table."""
        return (STEPS * t - 1).clamp(min=0)

    def __call__(self, z: Tensor, t: float | Tensor, cond: Cond) -> Prediction:
        t = torch.as_tensor(t, dtype=torch.float32, device=z.device).expand(len(z))
        alpha, sigma = self.schedule(t, like=z)
        if self.prediction == "residual":
            return self._residual(z, t, alpha, sigma, cond)
        out = self.unet(z, self.network_time(t), cond).float()
        out, log_var = (out[:, :3], (out[:, 3:] + 1) / 2) if out.shape[1] == 6 else (out, None)
        return Prediction(to_x(out, z, alpha, sigma, self.prediction), log_var)

    def loss_terms(self, x: Tensor, eps: Tensor, t: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """(the network's output, what it should have been), in the network's own space, for a mean squared error."""
        alpha, sigma = self.schedule(t, like=x)
        z = alpha * x + sigma * eps
        if self.prediction == "residual":
            u, y, c_in, c_skip, c_out = self._precondition(z, alpha, sigma, cond)
            return self.unet(c_in * y, self.network_time(t), replace(cond, low_res=u)).float(), (
                x - u - c_skip * y
            ) / c_out
        return self.unet(z, self.network_time(t), cond).float()[:, :3], from_x(x, z, alpha, sigma, self.prediction)

    def _precondition(self, z: Tensor, alpha: Tensor, sigma: Tensor, cond: Cond) -> tuple[Tensor, ...]:
        if cond.low_res is None:
            raise ValueError("a residual denoiser corrects an enlarged picture: it needs cond.low_res")
        u, variance = cond.low_res, torch.full((), self.spread**2, device=z.device)
        if cond.aug is not None and bool((cond.aug > 0).any()):
            u, error = without_noise(u, *augment_moments(cond.aug, like=z))
            variance = variance + error
        y, c_in = z - alpha * u, (alpha**2 * variance + sigma**2).rsqrt()
        return u, y, c_in, alpha * variance * c_in**2, variance.sqrt() * sigma * c_in

    def _residual(self, z: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor, cond: Cond) -> Prediction:
        u, y, c_in, c_skip, c_out = self._precondition(z, alpha, sigma, cond)
        out = self.unet(c_in * y, self.network_time(t), replace(cond, low_res=u)).float()
        return Prediction(u + c_skip * y + c_out * out)


def without_noise(low_res: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """From a u + b n the best linear guess of u, and its error's variance, for n white and u an enlarged picture.

    Of a·u + b·n with u of variance v and b·n of variance e, u is a v / (a² v + e) of it, with error e v / (a² v + e).
    What smooth() keeps holds most of u and little of n, what it drops is the reverse, so each has its own share.
    """
    kept = smooth(low_res)
    coarse, fine = NOISE_LEFT * b**2, (1 - NOISE_LEFT) * b**2  # e of either part
    share_kept = SMOOTH_VARIANCE / (a**2 * SMOOTH_VARIANCE + coarse)
    share_rest = FINE_VARIANCE / (a**2 * FINE_VARIANCE + fine)
    u = a * share_kept * kept + a * share_rest * (low_res - kept)
    return u, share_kept * coarse + share_rest * fine


class _Pair(NamedTuple):
    """What `Guided.prepare` keeps: the conditional half alone, and both halves as one batch."""

    conditional: Cond
    both: Cond


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance: x̃ = guide(x̂(z, c), x̂(z, null), w) from one batched pass.

    w = 1 is off and costs one network call; so does a t outside `interval`, (low, high), None = always inside.
    """

    denoiser: DenoiserLike
    w: float = 1.0
    null: Text | None = None
    interval: tuple[float, float] | None = None
    guide: Callable[[Tensor, Tensor, float], Tensor] = guide

    def __post_init__(self):
        if self.interval is None:
            return
        if not hasattr(self.interval, "__len__") or len(self.interval) != 2:
            raise ValueError(f"an interval is a pair of times, (low, high), and {self.interval!r} is none")
        if not self.interval[0] <= self.interval[1]:
            raise ValueError(f"an interval is (low, high), and {tuple(self.interval)} begins above its end")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def prepare(self, cond: Cond) -> Cond | _Pair:
        prepare: Callable[[Cond], Cond] = getattr(self.denoiser, "prepare", lambda cond: cond)
        if self.w == 1 or cond.text is None:
            return prepare(cond)
        if not isinstance(cond.text, Text):
            raise ValueError("guidance prepares both texts itself: give it the Text, not what `prepare` made of it")
        if self.null is None:
            raise ValueError("guidance compares with the null text: give Guided one, as TextEncoder.null() makes it")
        both = prepare(Cond.cat([cond, replace(cond, text=self.null.expand(len(cond)).to(cond.text.tokens))]))
        return _Pair(both[: len(cond)], both)

    def __call__(self, z: Tensor, t: float | Tensor, cond: Any) -> Prediction:
        pair = cond if isinstance(cond, _Pair) else self.prepare(cond)
        if not isinstance(pair, _Pair):
            return self.denoiser(z, t, pair)
        time = torch.as_tensor(t, dtype=torch.float32).reshape(-1)
        acts = None if self.interval is None else (self.interval[0] <= time) & (time <= self.interval[1])
        if acts is not None and not bool(acts.any()):
            return self.denoiser(z, t, pair.conditional)
        x, log_var = self.denoiser(torch.cat([z, z]), time.to(z.device).expand(len(z)).repeat(2), pair.both)
        x_c, x_u = x.chunk(2)
        x = self.guide(x_c, x_u, self.w)
        if acts is not None and not bool(acts.all()):  # pictures at times of their own
            x = torch.where(acts.to(x.device).view(-1, 1, 1, 1), x, x_c)
        return Prediction(x, None if log_var is None else log_var.chunk(2)[0])  # IF guides ε alone


@dataclass(frozen=True)
class Thresholded:
    """x̂ ← threshold(x̂): after guidance, for w > 1 is what pushes x̂ outside [−1, 1]. None = off."""

    denoiser: DenoiserLike
    threshold: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        if self.threshold is not None and (isinstance(self.threshold, type) or not callable(self.threshold)):
            raise ValueError(f"a threshold is Static(), Dynamic(), a function or None, not {self.threshold!r}")

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def prepare(self, cond: Cond) -> Any:
        return self.denoiser.prepare(cond) if hasattr(self.denoiser, "prepare") else cond

    def __call__(self, z: Tensor, t: float | Tensor, cond: Any) -> Prediction:
        x, log_var = self.denoiser(z, t, cond)
        return Prediction(x if self.threshold is None else self.threshold(x), log_var)
