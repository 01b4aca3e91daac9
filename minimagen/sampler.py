"""From noise to picture: one generator of steps for every sampler.

ddim, η = 0      deterministic; η = 1 is DDPM; what lies between is between
dpm++2m          the same step from an x̂ that is extrapolated from the last two: second order, at no more cost
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .conditioning import Cond, Generators, noise_like
from .denoiser import DenoiserLike
from .schedule import Schedule


@dataclass(frozen=True)
class Step:
    """The noisy picture z at time t, and the estimate x̂ that led there. The last step has t = 0, where z = x."""

    z: Tensor
    x: Tensor
    t: float
    index: int
    stage: int = 0


def times(steps: int, *, start: float = 1.0, schedule: Schedule | None = None) -> Tensor:
    """steps + 1 times from `start` down to 0, evenly in t; with a schedule, evenly in its log-SNR between its ends.

    1000 steps are the training table's; fewer are its respacing.
    """
    if steps < 1:
        raise ValueError(f"a sampler takes one step or more, not {steps}")
    if not 0 < start <= 1:
        raise ValueError(f"start is a time in (0, 1], not {start}")
    if schedule is None:
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64).float()
    ends = schedule.logsnr(torch.tensor([start, min(1e-3, start / 2)])).double()
    inside = schedule.t(torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64))
    return torch.cat([torch.tensor([start]), inside[1:], torch.zeros(1)])


def ddim(
    z: Tensor,
    x: Tensor,
    alpha_t: Tensor,
    sigma_t: Tensor,
    alpha_s: Tensor,
    sigma_s: Tensor,
    *,
    eta: float = 0.0,
    noise: Tensor | None = None,
    log_var: Tensor | None = None,
) -> Tensor:
    """z_s = α_s x̂ + √(σ_s² − η² β̃) ε̂ + η √β̃ n,   ε̂ = (z − α_t x̂)/σ_t,   β̃ = σ_s² (1 − (α_t σ_s / α_s σ_t)²)

    η = 0 is DDIM and needs no noise; η = 1 is DDPM, whose posterior has the variance β̃. log_var, in [0, 1], moves the
    variance of the noise that is added from β̃ to β = 1 − (α_t / α_s)², as networks of learned variance ask.
    """
    eps = (z - alpha_t * x) / sigma_t  # recomputed from the thresholded x̂, so that the two agree
    if eta == 0:
        return alpha_s * x + sigma_s * eps
    if noise is None:
        raise ValueError("a step with eta > 0 adds noise: give it some")
    posterior = sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
    added = posterior
    if log_var is not None:
        beta = 1 - (alpha_t / alpha_s) ** 2
        added = torch.exp(torch.lerp(posterior.clamp(min=1e-20).log(), beta.log(), log_var)) * (sigma_s > 0)
    return alpha_s * x + (sigma_s**2 - eta**2 * posterior).clamp(min=0).sqrt() * eps + eta * added.sqrt() * noise


def again(z: Tensor, noise: Tensor, alpha_s: Tensor, sigma_s: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> Tensor:
    """From s back to the noisier t:  z_t = a z_s + √(σ_t² − a² σ_s²) n,   a = α_t / α_s;   t = s gives z back."""
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 - a**2 * sigma_s**2).clamp(min=0).sqrt() * noise


def extrapolate(x: Tensor, x_last: Tensor, ratio: Tensor) -> Tensor:
    """D = x̂ + (x̂ − x̂_last) / 2r,   r = (λ_t − λ_last) / (λ_s − λ_t)    (DPM-Solver++(2M), Lu et al. 2022)

    A DDIM step from D instead of x̂ is the second-order multistep solver.
    """
    return x + (x - x_last) / (2 * ratio)


@torch.no_grad()
def sample(
    denoiser: DenoiserLike,
    z: Tensor,
    times: Tensor,
    cond: Cond | None = None,
    *,
    eta: float = 0.0,
    solver: str = "ddim",
    generator: Generators = None,
    step: Callable[..., Tensor] = ddim,
    rounds: int = 1,
    stage: int = 0,
) -> Iterator[Step]:
    """The steps from z, at times[0], to the picture at times[-1]. Text is prepared once; noise is `generator`'s.

    rounds: how often each step is taken, going back by new noise in between (RePaint, Lugmayr et al. 2022); 1 = off.
    """
    if solver not in ("ddim", "dpm++2m"):
        raise ValueError(f"a solver is 'ddim' or 'dpm++2m', not {solver!r}; DDPM is 'ddim' with eta=1")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta lies between 0 (DDIM) and 1 (DDPM), and {eta} does not")
    if solver == "dpm++2m" and eta != 0:
        raise ValueError("dpm++2m is a deterministic solver: eta must be 0")
    times = torch.as_tensor(times)
    if not bool((times[1:] < times[:-1]).all()):
        raise ValueError("the times of a sampler fall from noise (1) to picture (0)")
    if rounds < 1:
        raise ValueError(f"a step is taken once or more, not {rounds} times")
    prepared: Any = getattr(denoiser, "prepare", lambda cond: cond)(Cond() if cond is None else cond)
    schedule, last = denoiser.schedule, None
    for index, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t, like=z), schedule(s, like=z)
        here = schedule.logsnr(t)
        for left in reversed(range(rounds)):
            x, log_var = denoiser(z, t.expand(len(z)), prepared)
            if not bool(torch.isfinite(x).all()):
                raise ValueError(
                    f"the network's estimate at step {index} has NaN or infinite values: are its weights whole?"
                )
            stochastic = {"eta": eta, "noise": noise_like(z, generator), "log_var": log_var} if eta else {}
            towards = x
            if solver == "dpm++2m" and last is not None and s > 0:
                # (to t = 0 the way in λ is infinite: there the solver is of first order)
                towards = extrapolate(x, last[0], (here - last[1]) / (schedule.logsnr(s) - here))
            z = step(z, towards, alpha_t, sigma_t, alpha_s, sigma_s, **stochastic)
            if left:
                z = again(z, noise_like(z, generator), alpha_s, sigma_s, alpha_t, sigma_t)
                last = None  # it belongs to the noise that was
        last = (x, here)
        yield Step(z, x, float(s), index, stage)
