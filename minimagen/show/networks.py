"""What is inside a U-Net, as figures: its shape, its costs, what it makes of a picture, where it looks in the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.patches import Rectangle
from torch import Tensor

from .frame import COLORS, Figure, page, styled
from .pictures import images, strip
from .tracing import KINDS, Stop
from .tracing import attention_to_text as attention_to_text
from .tracing import base as base
from .tracing import operations as operations
from .tracing import outline as outline
from .tracing import preparing as preparing
from .tracing import random as random
from .tracing import trace as trace

PAINT = dict(zip(KINDS, (COLORS[5], COLORS[6], COLORS[4], COLORS[1], COLORS[0], COLORS[2])))


def by_word(picture: Tensor, words: Sequence[str], maps: Mapping[str, Tensor], *, caption: str = "") -> Figure:
    """Rows of maps (words, H, W), one a word, beside the picture (3, H, W); bright where pixels look at that word.

    Each map runs from its smallest to its largest value, for a word among 77 has little weight.
    """
    rows = {
        name: [picture, *(_framed(_enlarged(_full_range(channel), picture)) for channel in some[:, None])]
        for name, some in maps.items()
    }
    return strip(rows, ["the picture", *words], caption=caption)


def _full_range(channel: Tensor) -> Tensor:
    """(1, H, W), its smallest value at −1 and its largest at 1."""
    channel = channel.float()
    low, high = channel.amin(), channel.amax()
    return (channel - low) / (high - low).clamp(min=1e-12) * 2 - 1


def _enlarged(channel: Tensor, like: Tensor) -> Tensor:
    """A small picture as large as another, its pixels still to be seen."""
    times = max(like.shape[-1] // channel.shape[-1], 1)
    return channel.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _framed(channel: Tensor) -> Tensor:
    """With a grey rim, for on a white page a white edge cannot be seen."""
    framed = channel.clone()
    framed[:, [0, -1]] = framed[..., [0, -1]] = 0.6
    return framed


def activations(stop: Stop, *, count: int = 7, caption: str | None = None) -> Figure:
    """The liveliest channels of what left a stop, each from its darkest to its brightest value."""
    if stop.size is None:
        raise ValueError(f"{stop.name} gives a vector, and only pictures can be shown")
    channels = stop.output[0].float()
    most = channels.flatten(1).std(1).topk(min(count, len(channels))).indices.sort().values
    said = f"{stop.name}: {stop.shape[1]} channels of {stop.size} × {stop.size}; the {len(most)} that vary most."
    pictures = [_full_range(channels[i : i + 1]) for i in most]
    return images(pictures, [f"channel {i}" for i in most], columns=count, caption=said if caption is None else caption)


def journey(picture: Tensor, stops: Sequence[Stop], names: Sequence[str], *, caption: str = "") -> Figure:
    """The picture (3, H, W), and the liveliest channel of what left each of the named stops."""
    known = {stop.name: stop for stop in stops}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"this network has no {missing[0]!r}; it has {', '.join(known)}")
    chosen = [known[name] for name in names]
    lively = [stop.output[0][stop.output[0].float().flatten(1).std(1).argmax()][None] for stop in chosen]
    titles = ["the picture", *(f"{stop.name.split(',')[0]}\n{stop.shape[1]} × {stop.size}²" for stop in chosen)]
    shown = [_enlarged(_full_range(channel), picture) for channel in lively]
    return images([picture, *shown], titles, columns=len(titles), caption=caption)


# Shapes and costs


@styled
def shapes(stops: Sequence[Stop], *, caption: str = "") -> Figure:
    """The U: a row for each resolution, a tile for each part, and what crosses from the way down to the way up."""
    seen = [s for s in stops if s.size is not None and not s.name.startswith("last norm")]
    sizes = sorted({s.size for s in seen if s.size}, reverse=True)
    figure = page(0.72 * len(sizes) + 0.9, caption)
    ax = figure.subplots()
    turn = max(i for i, s in enumerate(seen) if s.size == sizes[-1] and not s.name.startswith("up")) + 0.5
    for row, size in enumerate(sizes):
        places = [i for i, s in enumerate(seen) if s.size == size]
        left, right = [i for i in places if i < turn], [i for i in places if i > turn]
        if left and right and row < len(sizes) - 1:
            ax.plot(
                [left[-1] + 0.5, right[0] - 0.5], [-row, -row], color="#999999", linewidth=1.4, linestyle=(0, (4, 3))
            )
        for side in (left, right):
            if side:
                blocks = [i for i in side if seen[i].kind == "block"]
                width = max(seen[i].shape[1] for i in blocks or side)
                where = (side[0] + side[-1]) / 2
                ax.text(where, -row + 0.36, f"{width} channels", ha="center", va="bottom", fontsize=10)
    for i, stop in enumerate(seen):
        row = sizes.index(stop.size)  # type: ignore[arg-type]
        ax.add_patch(Rectangle((i - 0.42, -row - 0.3), 0.84, 0.6, color=PAINT[stop.kind], linewidth=0))
    ax.set(xlim=(-1, len(seen)), ylim=(-len(sizes) + 0.5, 0.85), xticks=[])
    ax.set_yticks([-row for row in range(len(sizes))], [f"{size} × {size}" for size in sizes])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    kinds = [kind for kind in KINDS if any(s.kind == kind for s in seen)]
    handles = [Rectangle((0, 0), 1, 1, color=PAINT[kind]) for kind in kinds]
    figure.legend(handles, kinds, loc="outside upper center", ncols=len(kinds), handlelength=1, columnspacing=1.2)
    return figure


def places(stops: Sequence[Stop]) -> dict[str, dict[str, int]]:
    """Parameters by level and kind, in the order of the network: {"down\\n64 px": {"block": …, "attention": …}, …}."""
    found: dict[str, dict[str, int]] = {}
    size = {s.name.split(",")[0]: s.size for s in stops if s.kind == "block"}
    for stop in stops:
        way = stop.name.split(",")[0]
        level = f"{way.split()[0]}\n{size[way]} px" if way in size else "text, time,\nends"
        found.setdefault(level, {}).setdefault(stop.kind, 0)
        found[level][stop.kind] += stop.parameters
    return found


@styled
def parameters(stops: Sequence[Stop], *, caption: str = "") -> Figure:
    """A bar a level, in millions, stacked by what they are parameters of."""
    levels = places(stops)
    unit, word = (1e9, "billion") if sum(s.parameters for s in stops) > 1e9 else (1e6, "million")
    figure = page(3.2, caption)
    ax = figure.subplots()
    floor = dict.fromkeys(levels, 0.0)
    for kind, color in PAINT.items():
        height = {level: known[kind] / unit for level, known in levels.items() if kind in known}
        if height:
            ax.bar(list(height), list(height.values()), bottom=[floor[x] for x in height], color=color, label=kind)
        for level, more in height.items():
            floor[level] += more
    ax.set(ylabel=f"parameters, {word}")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def costs(named: Mapping[str, Sequence[Stop]], *, caption: str = "") -> Figure:
    """By resolution, for each network: parameters, multiplications, and numbers to keep between the parts."""
    every = [[s for s in stops if s.size is not None] for stops in named.values()]
    sizes = sorted({s.size for stops in every for s in stops if s.size is not None}, reverse=True)
    what: dict[str, Callable[[Stop], float]] = {
        "parameters, million": lambda s: s.parameters / 1e6,
        "multiplications, billion": lambda s: (s.operations or 0) / 1e9,
        "activations, million": lambda s: s.output.numel() / 1e6,
    }
    figure = page(2.7, caption)
    axes = figure.subplots(1, 3)
    width = 0.8 / len(named)
    for ax, (title, amount) in zip(axes, what.items()):
        for j, (name, stops) in enumerate(zip(named, every)):
            heights = [sum(amount(s) for s in stops if s.size == size) for size in sizes]
            where = [i + (j - (len(named) - 1) / 2) * width for i in range(len(sizes))]
            ax.bar(
                where,
                heights,
                width=width,
                color=COLORS[j],
                label=name,
                hatch=("", "//", "..")[j % 3],
                edgecolor="white",
            )
        ax.set(title=title, xlabel="px")
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.grid(axis="x", visible=False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure
