"""Numbers as figures: lines, schedules, histograms, bars with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from minimagen.schedule import Schedule

from .frame import COLORS, DASHES, Figure, page, styled


def _array(values: Any) -> np.ndarray:
    return torch.as_tensor(values).detach().double().cpu().numpy()


def _lines(ax: Any, lines: Mapping[str, tuple[Any, Any]]) -> None:
    for k, (name, (x, y)) in enumerate(lines.items()):
        ax.plot(
            _array(x), _array(y), color=COLORS[k % len(COLORS)], linestyle=DASHES[k % len(DASHES)], label=name or None
        )


@styled
def curves(
    lines: Mapping[str, tuple[Any, Any]],
    x: str,
    y: str,
    *,
    caption: str = "",
    height: float = 3.4,
    log: str = "",
    level: tuple[str, float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """Lines by name, each (xs, ys), under axes named x and y. log: "x", "y" or "xy". level: a named line to compare."""
    figure = page(height, caption)
    ax = figure.subplots()
    _lines(ax, lines)
    ax.set(xlabel=x, ylabel=y, xscale="log" if "x" in log else "linear", yscale="log" if "y" in log else "linear")
    if ylim is not None:
        ax.set_ylim(*ylim)
    if "x" in log:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if level is not None:
        ax.axhline(level[1], color="#777777", linewidth=1.4, label=level[0])
    if any(lines) or level:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def schedules(named: Mapping[str, Schedule], *, caption: str = "", height: float = 3.2) -> Figure:
    """Noise schedules: how much picture α and how much noise σ, and the log-SNR λ = log α²/σ², over t."""
    figure = page(height, caption)
    left, right = figure.subplots(1, 2)
    t = torch.linspace(0.001, 1, 400)
    for k, schedule in enumerate(named.values()):
        alpha, sigma = schedule(t)
        left.plot(t, alpha, color=COLORS[k % len(COLORS)], linestyle="-")
        left.plot(t, sigma, color=COLORS[k % len(COLORS)], linestyle=DASHES[1])
    left.set(xlabel="t", ylabel="weight", title="solid: α, the picture's.  dashed: σ, the noise's")
    for k, (name, schedule) in enumerate(named.items()):
        right.plot(t, schedule.logsnr(t), color=COLORS[k % len(COLORS)], label=name)
    right.axhline(0, color="#777777", linewidth=1.2)
    right.set(xlabel="t", ylabel="λ", ylim=(-20, 14), title="log-SNR  λ = log α²/σ²")
    right.legend(loc="upper right")
    return figure


@styled
def histograms(
    named: Mapping[str, Any], x: str = "pixel value", *, range: tuple[float, float] = (-3, 3), caption: str = ""
) -> Figure:
    """One histogram beside the other, on the same axes; the band is [−1, 1], where pictures live."""
    figure = page(2.1, caption)
    axes = figure.subplots(1, len(named), sharex=True, sharey=True, squeeze=False)[0]
    edges = np.linspace(*range, 61) * (1 + 1e-6)  # a hair wider: what is clipped to ±1 falls inside the band
    for ax, (name, values) in zip(axes, named.items()):
        ax.axvspan(-1, 1, color="#f0e6d2", zorder=0)
        ax.hist(np.clip(_array(values).ravel(), *range), bins=edges, density=True, color=COLORS[0])
        ax.set(title=name, xlabel=x)
        ax.grid(False)
    axes[0].set_ylabel("density")
    return figure


@styled
def bars(
    values: Mapping[str, float],
    y: str,
    *,
    errors: Mapping[str, Sequence[float]] | None = None,
    level: tuple[str, float] | None = None,
    caption: str = "",
    height: float = 2.8,
) -> Figure:
    """A bar a name. errors: (low, high) ends of an interval, absolute. level: a named line to compare with."""
    figure = page(height, caption)
    ax = figure.subplots()
    ax.bar(list(values), list(values.values()), color=COLORS[0], width=0.7)
    for name, (low, high) in (errors or {}).items():
        ax.plot([name, name], [low, high], color="black", linewidth=1.6)
    if level is not None:
        ax.axhline(level[1], color=COLORS[1], linestyle=DASHES[1], label=level[0])
        ax.legend(loc="upper right")
        ax.margins(y=0.25)
    ax.set(ylabel=y)
    if all(isinstance(value, int) for value in values.values()):
        ax.locator_params(axis="y", integer=True)  # no half counts
    ax.grid(axis="x", visible=False)
    return figure
