"""One noise level: the noisy picture, and where on its schedule it stands."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.schedule import Schedule

from .frame import COLORS, DASHES, Figure, page, styled
from .pictures import pixels


@styled
def noise_level(z: Tensor, t: float, schedule: Schedule, *, caption: str | None = None) -> Figure:
    """The first picture of z (B, 3, H, W) at time t, and beside it α, σ and the log-SNR with t marked on them."""
    alpha, sigma = (float(v) for v in schedule(t))
    figure = page(3.1, f"α = {alpha:.3f}, σ = {sigma:.3f}" if caption is None else caption)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.15, 1.15))
    left.imshow(pixels(z[0]).clip(0, 1), interpolation="nearest")
    left.set(xticks=[], yticks=[], title=f"z at t = {t:.2f}")
    left.grid(False)
    left.spines[:].set_visible(False)
    times = torch.linspace(0.001, 1, 300)
    alphas, sigmas = schedule(times)
    middle.plot(times, alphas, color=COLORS[0], label="α, picture")
    middle.plot(times, sigmas, color=COLORS[1], linestyle=DASHES[1], label="σ, noise")
    middle.plot([t, t], [alpha, sigma], "o", color="black", markersize=6, zorder=3)
    middle.set(xlabel="t", title="picture and noise", ylim=(-0.05, 1.25))
    middle.legend(loc="upper center", ncols=2, handlelength=1.5, columnspacing=1.0)
    right.plot(times, schedule.logsnr(times), color=COLORS[2])
    right.plot([t], [float(schedule.logsnr(max(t, 0.001)))], "o", color="black", markersize=6, zorder=3)
    right.axhline(0, color="#777777", linewidth=1.2)
    right.set(xlabel="t", title="log-SNR  λ", ylim=(-20, 14))
    for ax, top in (middle, 0.84), (right, 1.0):  # below the legend
        ax.axvline(t, ymax=top, color="black", linewidth=1)
    return figure
