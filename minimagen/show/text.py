"""Text: who attends to whom, what a word means by where it lies, and encoders side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.patheffects import withStroke
from torch import Tensor

from .frame import COLORS, Figure, page, styled

HATCHES = ("", "//", "..", "xx", "\\\\")  # bars differ in more than their colour
PAPER: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}  # behind what lies over something


@styled
def heads(weights: Tensor, tokens: Sequence[str], titles: Sequence[str] | None = None, *, caption: str = "") -> Figure:
    """One square a head, weights (heads, L, L): rows ask, columns answer, and dark is much. At most four a row."""
    if weights.ndim != 3 or weights.shape[1:] != (len(tokens), len(tokens)):
        raise ValueError(f"{len(tokens)} tokens want weights (heads, L, L), not {tuple(weights.shape)}")
    columns = min(4, len(weights))
    rows = -(-len(weights) // columns)
    figure = page(2.75 * rows + 0.35, caption)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    words = [plain(token) for token in tokens]
    for i, ax in enumerate(axes):
        if i >= len(weights):
            ax.set_axis_off()
            continue
        ax.imshow(weights[i].detach().float(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.set_xticks(range(len(words)), words, rotation=90, fontsize=9)
        ax.set_yticks(range(len(words)), words if i % columns == 0 else [""] * len(words), fontsize=9)
        ax.grid(False)
        ax.tick_params(length=0)
        ax.set_title(titles[i] if titles else f"head {i + 1}")
    axes[0].set_ylabel("asks")
    return figure


@styled
def reading(weights: Tensor, tokens: Sequence[str], word: int, *, caption: str = "") -> Figure:
    """How one word reads its sentence, a row a head, weights (heads, L): the darker, the more it takes from a word."""
    if not 0 <= word < len(tokens):
        raise ValueError(f"the sentence has {len(tokens)} tokens, and no number {word}")
    rows, names = len(weights), [plain(token) for token in tokens]
    figure = page(0.42 * rows + 0.75, caption)
    ax = figure.subplots()
    ax.imshow(weights.detach().float(), cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for r in range(rows):
        for c in range(len(names)):
            share = float(weights[r, c])
            if share >= 0.05:
                ink = "white" if share > 0.55 else "black"
                ax.text(c, r, f"{share:.2f}"[1:] if share < 0.995 else "1", ha="center", va="center", color=ink)
    ax.set_xticks(range(len(names)), names, fontsize=10.5)
    ax.xaxis.tick_top()
    ax.get_xticklabels()[word].set(fontweight="bold", color=COLORS[1])
    ax.set_yticks(range(rows), [f"head {r + 1}" for r in range(rows)])
    ax.axvline(word - 0.5, color=COLORS[1], linewidth=1.4)
    ax.axvline(word + 0.5, color=COLORS[1], linewidth=1.4)
    ax.tick_params(length=0)
    ax.grid(False)
    return figure


@styled
def words(
    maps: Mapping[str, tuple[Tensor, Sequence[str], Sequence[Any]]], *, strong: Sequence[str] = (), caption: str = ""
) -> Figure:
    """Words by where they lie, a panel a map: name → (embeddings (N, D), words, colours). strong: words to set off."""
    figure = page(4.6, caption)
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for ax, (name, (embeddings, texts, colors)) in zip(axes, maps.items()):
        x, y = plane(embeddings).T.tolist()
        homes = [i for i, text in enumerate(texts) if text in strong]
        width, height = max(x) - min(x), max(y) - min(y)
        for i, color in enumerate(colors):
            for home in homes:
                if i not in homes and colors[home] == color:  # whose it is, also for those who tell no red from green
                    (line,) = ax.plot([x[i], x[home]], [y[i], y[home]], color=color, linewidth=1.2, zorder=1)
                    line.set_path_effects([withStroke(linewidth=2.2, foreground="#999999")])  # white ones, too
            size = 13 if i in homes else 8
            ax.plot(x[i], y[i], "s" if i in homes else "o", color=color, markersize=size, markeredgecolor="black")
        for n, i in enumerate(homes):
            met = any(abs(x[i] - x[j]) < 0.15 * width and abs(y[i] - y[j]) < 0.06 * height for j in homes[:n])
            below = {"xytext": (0, -10), "va": "top"} if met else {"xytext": (0, 9)}
            text = ax.annotate(
                texts[i], (x[i], y[i]), textcoords="offset points", ha="center", fontweight="bold", zorder=4, **below
            )
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        ax.margins(0.12)
        ax.set(title=name, xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(True)
    return figure


@styled
def groups(
    values: Mapping[str, Mapping[str, float]],
    y: str,
    *,
    level: tuple[str, Mapping[str, float]] | None = None,
    caption: str = "",
    height: float = 3.0,
) -> Figure:
    """Bars in groups, {series: {group: value}}, each with its number. level: a name, and what a group compares with."""
    figure = page(height, caption)
    ax = figure.subplots()
    names = list(next(iter(values.values())))
    width = 0.8 / len(values)
    for s, (series, bars) in enumerate(values.items()):
        at = torch.arange(len(names)) + (s - (len(values) - 1) / 2) * width
        color, hatch = COLORS[s % len(COLORS)], HATCHES[s % len(HATCHES)]
        ax.bar(at, list(bars.values()), 0.92 * width, color=color, hatch=hatch, edgecolor="white", label=series)
        for place, (group, value) in zip(at.tolist(), bars.items()):
            line = level[1].get(group, 0.0) if level is not None else 0.0
            top = line if value <= line < value + 0.1 else value  # the number stands above a line that would cross it
            ax.annotate(f"{value:.0%}", (place, top), (0, 3), textcoords="offset points", ha="center", bbox=PAPER)
    if level is not None:
        here = [names.index(group) for group in level[1]]
        ends = [place - 0.47 for place in here], [place + 0.47 for place in here]
        ax.hlines(list(level[1].values()), *ends, color="black", linewidth=1.5, linestyle=(0, (4, 2)), label=level[0])
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel=y)
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def plain(token: str) -> str:
    """A token without sentencepiece's mark of a space: ▁cube → cube."""
    return token.removeprefix("▁") or "▁"


def plane(x: Tensor) -> Tensor:
    """(N, D) → (N, 2): its two directions of the greatest spread, each pointing the same way on every machine."""
    x = x.double() - x.double().mean(0)
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    points = (u * s)[:, :2]
    return points * points.gather(0, points.abs().argmax(0, keepdim=True)).sign()
