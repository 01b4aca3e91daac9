"""What a U-Net does, part by part: the shape of what leaves each, its costs, and where its attention looks.

trace(unet, z, t, cond) → stops     every block, attention and embedding in the order in which a picture meets them
outline(config)                     the same without weights or numbers, on the meta device: IF's 4.3 billion fit
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minimagen.conditioning import Cond, Text
from minimagen.fused import tokens_of
from minimagen.layers import Attention, Down
from minimagen.resources import data_folder
from minimagen.unet import BASE_64, Level, UNet, UNetConfig

KINDS = ("text and time", "convolution", "block", "attention", "down", "up")


@dataclass(frozen=True)
class Stop:
    """One part of a network, and what left it."""

    name: str  # "down 1, block 0"
    kind: str  # one of KINDS
    output: Tensor
    parameters: int
    operations: int | None  # multiplications, where the network was only outlined; the text's keys are not in it

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
    known, counter = parts(unet), FlopCounterMode(display=False)

    def enter(module: nn.Module, args: Any) -> None:
        begun[module] = counter.get_total_flops()

    def leave(module: nn.Module, args: Any, output: Tensor) -> None:
        name, kind = known[module]
        own = sum(p.numel() for p in module.parameters())
        done = counter.get_total_flops() - begun[module]
        stops.append(Stop(name, kind, output, own, done // 2 if output.is_meta else None))

    try:
        for module in known:
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        with counter if z.is_meta else nullcontext():
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
    return (
        z,
        torch.empty(1),
        Cond(text, z if config.enlarges else None, torch.empty(1) if config.augmentation else None),
    )


@torch.no_grad()
def operations(function: Callable[..., Any], *args: Any) -> int:
    """How many multiplications function(*args) asks of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        function(*args)
    return counter.get_total_flops() // 2


def preparing(config: UNetConfig, tokens: int = 77) -> tuple[int, int]:
    """Multiplications for the text's part, and for all else, of one pass."""
    with torch.device("meta"):
        unet = UNet(config)
        z, t, cond = _nothing(config, tokens)
        text = operations(unet.prepare, cond)
        return text, operations(unet, z, t, cond) - text


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
