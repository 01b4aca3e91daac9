"""What is inside a U-Net: its shapes, its costs, what it makes of a picture on the way, and where it looks in the text.

trace(unet, z, t, cond) → stops     every block, attention and embedding in the order in which a picture meets them
outline(config)                     the same without weights or numbers, on the meta device: IF's 4.3 billion fit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minimagen.conditioning import Cond, Text
from minimagen.fused import tokens_of
from minimagen.layers import Attention, Down, Embedding, Pooling, ResBlock, Up
from minimagen.resources import data_folder
from minimagen.unet import BASE_64, Level, UNet, UNetConfig

from .frame import COLORS, Figure, page, styled
from .pictures import images, strip

KINDS = {"text and time": COLORS[5], "convolution": COLORS[6], "block": COLORS[4], "attention": COLORS[1]}
KINDS |= {"down": COLORS[0], "up": COLORS[2]}


@dataclass(frozen=True)
class Stop:
    """One part of a network, and what left it."""

    name: str  # "down 1, block 0"
    kind: str  # one of KINDS
    output: Tensor
    parameters: int
    operations: int  # multiplications for one picture; the text's part, which is done once a picture, is not in it

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.output.shape)

    @property
    def size(self) -> int | None:
        """The edge in pixels; None for a vector."""
        return self.output.shape[-1] if self.output.ndim == 4 else None


def base(seed: int = 0) -> tuple[UNet, bool]:
    """The 64 px network that ships, and True; where it does not, one of its shape with random weights, and False."""
    if (folder := data_folder() / "unet_64").is_dir():
        from minimagen.cascade import Stage
        from minimagen.stored import load_stage

        return load_stage(folder, Stage).denoiser.unet, True
    return random(BASE_64, seed), False


def random(config: UNetConfig, seed: int = 0) -> UNet:
    """A network with random weights everywhere. A new one begins as zero, and there is nothing to see in it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet(config)
        for module in unet.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)) and not module.weight.any():
                module.reset_parameters()
    return unet.eval().requires_grad_(False)


def parts(unet: UNet) -> dict[nn.Module, tuple[str, str]]:
    """Each part of a network with its name and kind; together they hold all of its parameters."""
    found: dict[nn.Module, tuple[str, str]] = {}

    def add(module: Any, name: str, kind: str) -> None:
        if module is not None:
            found[module] = (name, kind)

    add(unet.time, "time", "text and time")
    add(unet.aug, "augmentation", "text and time")
    add(unet.text_in, "text projection", "text and time")
    add(unet.pool, "pooled text", "text and time")
    add(unet.conv_in, "first convolution", "convolution")
    ways: list[tuple[str, Level]] = [(f"down {i}", level) for i, level in enumerate(unet.down)]
    ways += [] if unet.mid is None else [("middle", unet.mid)]
    ways += [(f"up {i}", level) for i, level in zip(reversed(range(len(unet.up))), unet.up)]
    for way, level in ways:
        resample = (level.resample, f"{way}, resample", "up" if way.startswith("up") else "down")
        if isinstance(level.resample, Down):
            add(*resample)
        for j, (block, attention) in enumerate(level.layers()):
            add(block, f"{way}, block {j}", "block")
            add(attention, f"{way}, attention {j}", "attention")
        if not isinstance(level.resample, Down):
            add(*resample)
    add(unet.norm_out, "last norm", "convolution")
    add(unet.conv_out, "last convolution", "convolution")
    return found


@torch.no_grad()
def trace(unet: UNet, z: Tensor, t: Tensor, cond: Cond | None = None) -> list[Stop]:
    """unet(z, t, cond), and what left each of its parts, in order."""
    begun: dict[nn.Module, int] = {}
    stops: list[Stop] = []
    hooks = []

    def enter(module: nn.Module, args: Any) -> None:
        begun[module] = counter.get_total_flops()

    def leave(module: nn.Module, args: Any, output: Tensor) -> None:
        name, kind = known[module]
        own = sum(p.numel() for p in module.parameters())
        stops.append(Stop(name, kind, output, own, (counter.get_total_flops() - begun[module]) // 2))

    known = parts(unet)
    try:
        for module in known:
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        with FlopCounterMode(display=False) as counter:
            unet(z, t, cond)
    finally:
        for hook in hooks:
            hook.remove()
    return stops


def outline(config: UNetConfig, tokens: int = 77) -> list[Stop]:
    """The stops of a network that need not exist: shapes, parameters and operations for one picture."""
    with torch.device("meta"):
        return trace(UNet(config), *_nothing(config, tokens))


def _nothing(config: UNetConfig, tokens: int) -> tuple[Tensor, Tensor, Cond]:
    """Inputs of the right shapes, without numbers."""
    z = torch.empty(1, 3, config.size, config.size)
    text = Text(torch.empty(1, tokens, config.text_dim)) if config.text_dim else None
    return z, torch.empty(1), Cond(text, z if config.enlarges else None, torch.empty(1) if config.augmentation else None)


@torch.no_grad()
def operations(function: Callable[[], Any]) -> int:
    """How many multiplications of matrices and convolutions a function asks for."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() // 2


def preparing(config: UNetConfig, tokens: int = 77) -> tuple[int, int]:
    """Multiplications for the text's part, and for all else, of one pass."""
    with torch.device("meta"):
        unet = UNet(config)
        z, t, cond = _nothing(config, tokens)
        text = operations(lambda: unet.prepare(cond))
        return text, operations(lambda: unet(z, t, cond)) - text


# Where the attention looks


@torch.no_grad()
def attention_to_text(unet: UNet, z: Tensor, t: Tensor, cond: Cond) -> dict[str, Tensor]:
    """For each attention to text how much every pixel looks at every token, (B, L, H, W), the mean over its heads."""
    found: dict[str, Tensor] = {}

    def look(layer: Attention, args: Any) -> None:
        h, text, mask = args
        x = tokens_of(layer.norm(h))
        k = text.chunk(2, dim=-1)[0]  # (B, L, C): the text's keys, and then its values
        length = k.shape[1]
        k = torch.cat([k, layer.k(x)], dim=1) if layer.to_self else k
        q, k = (y.unflatten(-1, (layer.heads, -1)).transpose(1, 2).float() for y in (layer.q(x), k))
        scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, heads, H·W, L + H·W)
        if mask is not None:
            scores[..., :length] = scores[..., :length].masked_fill(~mask[:, None, None], -torch.inf)
        weights = scores.softmax(-1)[..., :length].mean(1)  # (B, H·W, L)
        found[known[layer][0]] = weights.mT.unflatten(-1, h.shape[-2:])

    known = parts(unet)
    layers = [m for m in known if isinstance(m, Attention) and m.to_text]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        unet(z, t, cond)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def by_word(picture: Tensor, words: Sequence[str], maps: Mapping[str, Tensor], *, caption: str = "") -> Figure:
    """Rows of maps (words, H, W), one a word, beside the picture (3, H, W); bright where pixels look at that word.

    Each map runs from its smallest to its largest value, for a word among 77 has little weight.
    """
    rows = {name: [picture, *map(_full_range, some[:, None])] for name, some in maps.items()}
    return strip(rows, ["the picture", *words], caption=caption)


def _full_range(channel: Tensor) -> Tensor:
    """(1, H, W), its smallest value at −1 and its largest at 1."""
    channel = channel.float()
    low, high = channel.amin(), channel.amax()
    return (channel - low) / (high - low).clamp(min=1e-12) * 2 - 1


def activations(stop: Stop, *, count: int = 7, caption: str | None = None) -> Figure:
    """The liveliest channels of what left a stop, each from its darkest to its brightest value."""
    if stop.size is None:
        raise ValueError(f"{stop.name} gives a vector, and only pictures can be shown")
    channels = stop.output[0].float()
    most = channels.flatten(1).std(1).topk(min(count, len(channels))).indices.sort().values
    said = f"{stop.name}: {stop.shape[1]} channels of {stop.size} × {stop.size}; the {len(most)} that vary most."
    pictures = [_full_range(channels[i : i + 1]) for i in most]
    return images(pictures, [f"channel {i}" for i in most], columns=count, caption=said if caption is None else caption)


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
            ax.plot([left[-1] + 0.5, right[0] - 0.5], [-row, -row], color="#999999", linewidth=1.4, linestyle=(0, (4, 3)))
        for side in (left, right):
            if side:
                width = max(seen[i].shape[1] for i in side if seen[i].kind != "convolution" or len(side) == 1)
                where = (side[0] + side[-1]) / 2
                ax.text(where, -row + 0.36, f"{width} channels", ha="center", va="bottom", fontsize=10)
    for i, stop in enumerate(seen):
        row = sizes.index(stop.size)  # type: ignore[arg-type]
        ax.add_patch(Rectangle((i - 0.42, -row - 0.3), 0.84, 0.6, color=KINDS[stop.kind], linewidth=0))
    ax.set(xlim=(-1, len(seen)), ylim=(-len(sizes) + 0.5, 0.85), xticks=[])
    ax.set_yticks([-row for row in range(len(sizes))], [f"{size} × {size}" for size in sizes])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    kinds = [kind for kind in KINDS if any(s.kind == kind for s in seen)]
    handles = [Rectangle((0, 0), 1, 1, color=KINDS[kind]) for kind in kinds]
    figure.legend(handles, kinds, loc="outside upper center", ncols=len(kinds), handlelength=1, columnspacing=1.2)
    return figure


def places(stops: Sequence[Stop]) -> dict[str, dict[str, int]]:
    """Parameters by level and kind: {"down, 64 px": {"block": …, "attention": …}, …}, in the network's order."""
    found: dict[str, dict[str, int]] = {}
    size = {s.name.split(",")[0]: s.size for s in stops if s.kind == "block"}
    for stop in stops:
        way = stop.name.split(",")[0]
        level = f"{way.split()[0]}\n{size[way]} px" if way in size else "text\nand time"
        level = "ends" if stop.kind == "convolution" else level
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
    for kind, color in KINDS.items():
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
        "multiplications, billion": lambda s: s.operations / 1e9,
        "activations, million": lambda s: s.output.numel() / 1e6,
    }
    figure = page(2.7, caption)
    axes = figure.subplots(1, 3)
    width = 0.8 / len(named)
    for ax, (title, amount) in zip(axes, what.items()):
        for j, (name, stops) in enumerate(zip(named, every)):
            heights = [sum(amount(s) for s in stops if s.size == size) for size in sizes]
            where = [i + (j - (len(named) - 1) / 2) * width for i in range(len(sizes))]
            ax.bar(where, heights, width=width, color=COLORS[j], label=name, hatch=("", "//", "..")[j % 3], edgecolor="white")
        ax.set(title=title, xlabel="px")
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.grid(axis="x", visible=False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure
