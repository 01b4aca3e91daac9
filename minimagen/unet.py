"""The U-Net: DeepFloyd IF's, Imagen's Efficient one, and ours, by one config.

    conv_in → levels down (blocks, attention, ↓) → middle → levels up (the same, and what the way down left) → conv_out

The time, the augmentation level and the pooled sentence become one vector that scales and shifts every block; the
sentence's tokens are attended to inside the levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import Cond, PreparedText, Text
from .fused import ACTIVATIONS, norm_act
from .layers import Attention, Down, Embedding, Pooling, ResBlock, Up, beside, time_embedding
from .unet_config import BASE_64, IF_I_L, IF_I_M, IF_I_XL, IF_II_L, IF_II_M, SR_256, SR_1024, UNetConfig

__all__ = [
    "BASE_64",
    "IF_II_L",
    "IF_II_M",
    "IF_I_L",
    "IF_I_M",
    "IF_I_XL",
    "SR_1024",
    "SR_256",
    "UNet",
    "UNetConfig",
]


class Level(nn.Module):
    """One resolution: residual blocks, each followed by attention or by None, and the way to the next resolution."""

    def __init__(self, blocks: list[ResBlock], attentions: list[Attention | None], resample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(attentions)  # type: ignore[arg-type]  # it takes None, and keeps its place
        self.resample = resample

    def layers(self) -> Iterator[tuple[nn.Module, Attention | None]]:
        return zip(self.blocks, self.attentions)  # type: ignore[arg-type]


class UNet(nn.Module):
    """unet(z, t, cond) → (B, out_channels, H, W): the raw network. t is its own time, 0 … 999 in IF, of shape (B,).

    A new network returns zeros: with a residual prediction that is nearly bicubic enlargement, on which
    training improves.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        channels, time_dim = c.channels, c.embedding_dim

        def block(before: int, width: int, resample: str | None = None, scale: float = c.block_scale) -> ResBlock:
            return ResBlock(before, width, time_dim, groups=c.groups, act=c.act, resample=resample, scale=scale)

        def attention(kind: str, width: int) -> Attention | None:
            if kind == "none":
                return None
            to_self, text_dim = "self" in kind, c.kv_dim if "text" in kind else None
            return Attention(width, c.head_dim, c.groups, to_self=to_self, text_dim=text_dim, text_norm=c.text_norm)

        def level(befores: list[int], i: int, resample: nn.Module | None) -> Level:
            """Attention after every block, in the Efficient U-Net after the last alone."""
            last = len(befores) - 1
            kinds = [c.attention[i] if j == last or not c.efficient else "none" for j in range(len(befores))]
            blocks = [block(before, channels[i]) for before in befores]
            return Level(blocks, [attention(kind, channels[i]) for kind in kinds], resample)

        self.time = Embedding(channels[0], time_dim, c.act)
        self.aug = Embedding(channels[0], time_dim, c.act) if c.augmentation else None
        self.text_in = nn.Linear(c.text_dim, c.cross_dim) if c.text_dim and c.cross_dim and c.attends_text else None
        self.pool = Pooling(c.text_dim, time_dim, kind=c.pool, heads=c.pool_heads) if c.text_dim and c.pool else None
        self.conv_in = nn.Conv2d(c.in_channels * c.fold**2, channels[0], 3, padding=1)

        width, last = channels[0], len(channels) - 1
        skips = [] if c.efficient else [width]  # widths of what the way down leaves to the way up
        down: list[Level] = []
        for i, count in enumerate(c.layers):
            before, width = width, channels[i]
            resample: nn.Module | None
            if c.efficient:
                resample = Down(before, width) if c.halves(i) else None
                before = width if resample is not None else before
            else:
                resample = block(width, width, "down") if i < last else None
            down.append(level([before] + [width] * (count - 1), i, resample))
            skips += [width] * (count + (not c.efficient and i < last))
        self.down: list[Level] = nn.ModuleList(down)  # type: ignore[assignment]

        self.mid = None
        if not c.efficient:
            blocks = [block(width, width, scale=c.mid_scale) for _ in range(2)]
            self.mid = Level(blocks, [attention(c.mid_attention, width), None], None)

        up: list[Level] = []
        for i in reversed(range(len(channels))):
            before, width = width, channels[i]
            count, below = c.layers[i] + (not c.efficient), channels[max(i - 1, 0)]
            if c.efficient:
                resample = Up(width, below) if c.halves(i) else None
            else:
                resample = block(width, width, "up") if i > 0 else None
            up.append(level([w + skips.pop() for w in [before] + [width] * (count - 1)], i, resample))
            width = below if c.efficient else width
        self.up: list[Level] = nn.ModuleList(up)  # type: ignore[assignment]

        self.norm_out = nn.GroupNorm(c.groups, channels[0])
        self.conv_out = nn.Conv2d(channels[0], c.out_channels * c.fold**2, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def films(self, emb: Tensor) -> tuple[Tensor, ...]:
        """Every block's scale and shift, in the order in which a picture meets them, from a single matrix product."""
        layers = [m.time for m in self.modules() if isinstance(m, ResBlock)]
        return F.linear(emb, *beside(*layers)).split([layer.out_features for layer in layers], dim=1)

    @property
    def untrained(self) -> bool:
        """Whether this network still returns the zeros it was born with."""
        return self.conv_out.weight.device.type != "meta" and not bool(self.conv_out.weight.any())

    def prepare(self, cond: Cond) -> Cond:
        """What depends on the sentence alone: keys, values, pooled vector. Once a picture, not once a step."""
        text = cond.text
        if not isinstance(text, Text):
            return cond
        c = self.config
        if c.text_dim is None:
            raise ValueError("this network is unconditional: it takes no text")
        if text.tokens.shape[-1] != c.text_dim:
            raise ValueError(f"the text is {text.tokens.shape[-1]} wide; this network expects {c.text_dim}")
        tokens, mask = text.tokens.to(self.conv_in.weight.dtype), text.mask
        if mask is not None:
            mask = mask | ~mask.any(
                1, keepdim=True
            )  # a sentence without a single token: attend its padding, not nothing
        pooled = self.pool(tokens, mask) if self.pool is not None else None
        layers: tuple[Tensor, ...] = ()
        if c.attends_text:
            tokens = self.text_in(tokens) if self.text_in is not None else tokens
            if c.text_norm == "group":
                tokens = F.group_norm(tokens.mT, 32).mT
            elif c.text_norm == "layer":
                tokens = F.layer_norm(tokens, tokens.shape[-1:])
            attentions = [m for m in self.modules() if isinstance(m, Attention) and m.to_text]
            layers = tuple(attention.prepare(tokens) for attention in attentions)
        return replace(cond, text=PreparedText(pooled, layers, mask))

    def forward(self, z: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        cond = self.prepare(cond or Cond())
        self._check(z, cond)
        c, dtype, text = self.config, self.conv_in.weight.dtype, cond.text
        assert text is None or isinstance(text, PreparedText)
        h = z if cond.low_res is None else torch.cat([z, cond.low_res.to(z)], dim=1)
        h = F.pixel_unshuffle(h.to(dtype), c.fold) if c.fold > 1 else h.to(dtype)

        emb = self.time(time_embedding(t.expand(len(z)), c.channels[0]).to(dtype))
        if self.aug is not None and cond.aug is not None:
            emb = emb + self.aug(time_embedding(1000 * cond.aug.expand(len(z)), c.channels[0]).to(dtype))
        if text is not None and text.pooled is not None:
            emb = emb + text.pooled
        emb = ACTIVATIONS[c.time_act](emb)
        emb = emb if c.skip_time_act else ACTIVATIONS[c.act](emb)  # the same in every block, so once for all

        films = iter(self.films(emb))
        kv, mask = iter(text.layers if text is not None else ()), text.mask if text is not None else None

        def attend(attention: Attention | None, h: Tensor) -> Tensor:
            return h if attention is None else attention(h, next(kv) if attention.to_text else None, mask)

        h = self.conv_in(h.contiguous(memory_format=torch.channels_last))
        skips = [] if c.efficient else [h]
        for level in self.down:
            if c.efficient and level.resample is not None:
                h = level.resample(h)
            for block, attention in level.layers():
                h = attend(attention, block(h, next(films)))
                skips.append(h)
            if not c.efficient and level.resample is not None:
                h = level.resample(h, next(films))
                skips.append(h)
        for block, attention in self.mid.layers() if self.mid is not None else ():
            h = attend(attention, block(h, next(films)))
        for level in self.up:
            for block, attention in level.layers():
                left = skips.pop() if c.skip_scale == 1 else skips.pop() * c.skip_scale
                h = torch.cat([h, left], dim=1)
                del left  # or it would stay in memory through the block
                h = attend(attention, block(h, next(films)))
            if level.resample is not None:
                h = level.resample(h) if c.efficient else level.resample(h, next(films))
        h = self.conv_out(norm_act(h, self.norm_out, c.act))
        return F.pixel_shuffle(h, c.fold) if c.fold > 1 else h

    def _check(self, z: Tensor, cond: Cond) -> None:
        """What does not fit is named here, not by a convolution deep inside."""
        c, low_res = self.config, cond.low_res
        channels = z.shape[1] + (0 if low_res is None else low_res.shape[1]) if z.ndim == 4 else 0
        if z.ndim != 4 or min(z.shape) == 0:
            raise ValueError(f"z must be pictures of shape (batch, channels, height, width), not {tuple(z.shape)}")
        if low_res is not None and low_res.shape[-2:] != z.shape[-2:]:
            raise ValueError(
                f"low_res is {tuple(low_res.shape[-2:])} px, but must first be enlarged to {tuple(z.shape[-2:])}"
            )
        if channels != c.in_channels:
            if c.in_channels == 6 and low_res is None:
                raise ValueError("this network enlarges: give it the enlarged small picture as cond.low_res")
            raise ValueError(f"z and low_res have {channels} channels together; this network expects {c.in_channels}")
        if z.shape[-1] % c.multiple or z.shape[-2] % c.multiple:
            raise ValueError(
                f"a picture of {z.shape[-2]} × {z.shape[-1]} px is not divisible by {c.multiple}, as this network needs"
            )
        if c.augmentation and cond.aug is None:
            raise ValueError("this network must be told how much noise low_res carries: give cond.aug, 0 for none")
        if cond.text is None and c.text_dim is not None:
            raise ValueError(
                "this network is conditioned on text: give cond.text (to `train`, text=), for guidance's other "
                "half the null text"
            )
        if cond.text is not None and len(cond.text) != len(z):
            raise ValueError(f"there are {len(cond.text)} sentences for {len(z)} pictures")
