"""What values an estimate x̂ has, step by step, and where a percentile cuts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .frame import COLORS, DASHES, Figure, page, styled
from .pictures import pixels

BINS = 61


@styled
def fans(
    named: Mapping[str, tuple[Sequence[float], Sequence[Tensor]]], *, limit: float = 3.0, caption: str = ""
) -> Figure:
    """A panel a name, (times, estimates): each estimate a column, its histogram; dark is often.

    Between the lines is [−1, 1], where pictures live; what lies beyond ±limit is counted at the rim.
    """
    figure = page(2.9, caption)
    axes = figure.subplots(1, len(named), sharey=True, squeeze=False)[0]
    edges = np.linspace(-limit, limit, BINS + 1)
    for ax, (name, (times, estimates)) in zip(axes, named.items()):
        if len(times) != len(estimates):
            raise ValueError(f"{name} has {len(times)} times for {len(estimates)} estimates")
        columns = []
        for x in estimates:
            values = x.detach().float().clamp(-limit, limit).flatten().cpu().numpy()
            counts = np.histogram(values, edges)[0].astype(float)
            columns.append(np.sqrt(counts / counts.max()))  # the root, so that few values are seen as well
        ax.imshow(
            np.stack(columns, axis=1),
            cmap="Blues",
            vmin=0,
            vmax=1,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            extent=(-0.5, len(columns) - 0.5, -limit, limit),
        )
        for edge in (-1, 1):
            ax.axhline(edge, color=COLORS[1], linestyle=DASHES[1], linewidth=1.5)
        ticks = sorted({0, (len(columns) - 1) // 2, len(columns) - 1})
        ax.set_xticks(ticks, [f"{float(times[i]):.2f}" for i in ticks])
        ax.set(title=name, xlabel="t", ylim=(-limit, limit))
        ax.grid(False)
    axes[0].set_ylabel("value of the estimate")
    return figure


@styled
def cut(
    picture: Tensor | Image.Image,
    times: Sequence[float],
    estimates: Sequence[Tensor],
    p: float,
    *,
    at: int = 0,
    caption: str = "",
) -> Figure:
    """Dynamic thresholding of one picture: what came of it; the |x̂| of step `at` with s marked; s at every step.

    estimates: x̂ (3, H, W) as guidance left it, one a step.
    """
    s = [max(1.0, float(torch.quantile(x.detach().float().abs().flatten(), p))) for x in estimates]
    figure = page(3.0, caption)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.25, 1.15))
    left.imshow(pixels(picture).clip(0, 1), interpolation="nearest")
    left.set(xticks=[], yticks=[], title=f"drawn with p = {p:g}")
    left.grid(False)
    left.spines[:].set_visible(False)
    values = estimates[at].detach().float().abs().flatten().cpu().numpy()
    top = max(1.5, 1.1 * s[at], float(np.quantile(values, 0.999)))
    middle.axvspan(0, 1, color="#f0e6d2", zorder=0)
    middle.hist(values.clip(0, top), bins=np.linspace(0, top, BINS), color=COLORS[0], density=True)
    middle.axvline(s[at], color=COLORS[1], linestyle=DASHES[1])
    middle.set(title=f"|x̂| at t = {float(times[at]):.2f};  s = {s[at]:.2f}", xlabel="value", ylabel="density")
    middle.grid(False)
    right.plot([float(t) for t in times], s, color=COLORS[1])
    right.plot([float(times[at])], [s[at]], "o", color="black", markersize=6, zorder=3)
    right.set(title="s at each step", xlabel="t", ylabel="s", ylim=(0.9, max(2.0, 1.1 * max(s))))
    right.invert_xaxis()
    return figure
