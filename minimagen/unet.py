"""The U-Net: DeepFloyd IF's, Imagen's Efficient one, and ours, by one config.

    conv_in → levels down (blocks, attention, ↓) → middle → levels up (the same, and what the way down left) → conv_out

The time, the augmentation level and the pooled sentence become one vector that scales and shifts every block; the
sentence's tokens are attended to inside the levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import Cond, PreparedText, Text
from .fused import ACTIVATIONS, norm_act
from .layers import Attention, Down, Embedding, Pooling, ResBlock, Up, time_embedding

ATTENTION = ("none", "self", "text", "self+text")  # self+text: both in one softmax


@dataclass(frozen=True)
class UNetConfig:
    """Everything about a U-Net but its weights. The defaults are DeepFloyd IF's habits at a small size."""

    size: int = 64  # the picture's edge in pixels in training; any edge divisible by `multiple` works
    in_channels: int = 3  # 6: the noisy picture and low_res, an SR stage
    out_channels: int = 3  # 6: ε and the learned variance of IF
    channels: tuple[int, ...] = (32, 48, 96, 128)  # width of each level
    layers: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks of each level; the way up has one more
    attention: tuple[str, ...] = (
        "none",
        "none",
        "none",
        "self+text",
    )  # of each level, one of ATTENTION
    mid_attention: str = "self+text"
    head_dim: int = 32
    groups: int = 8  # of every GroupNorm on pictures
    act: str = "gelu"
    time_dim: int | None = None  # None = 4 · channels[0]
    time_act: str | None = None  # one activation over the whole time embedding; None = off
    skip_time_act: bool = False  # True: blocks take the embedding as it is, without an activation of their own
    text_dim: int | None = 256  # width of the text encoder; None = an unconditional network
    cross_dim: int | None = None  # the width to which text is projected for the attention layers; None = as it comes
    text_norm: str | None = "group"  # of text before keys and values: group (IF), layer (Imagen), None = off
    pool: str | None = "attention"  # the sentence as one vector: attention (IF), mean; None = off
    pool_heads: int = 4
    augmentation: bool = False  # told how much noise low_res carries
    block_scale: float = 1.0  # blocks are divided by it; 1 = off, IF-II: √2
    mid_scale: float = 1.0  # the same for the middle
    skip_scale: float = 1.0  # skips are multiplied by it; 1 = off, Efficient U-Net: 1/√2
    efficient: bool = False  # Imagen's Efficient U-Net: each level first halves the picture, and last doubles it
    fold: int = 1  # the picture enters as fold × fold pixels a position, and leaves so; 1 = off

    def __post_init__(self):
        for name in ("channels", "layers", "attention"):
            value = getattr(self, name)
            object.__setattr__(
                self, name, (value,) * len(self.channels) if isinstance(value, int | str) else tuple(value)
            )
        if not len(self.channels) == len(self.layers) == len(self.attention):
            raise ValueError(f"{self.channels}, {self.layers} and {self.attention} must name as many levels each")
        for kind in (*self.attention, self.mid_attention):
            if kind not in ATTENTION:
                raise ValueError(f"attention is one of {', '.join(ATTENTION)}, not {kind!r}")
            if "text" in kind and self.text_dim is None:
                raise ValueError(f"attention {kind!r} needs text, but text_dim is None")
        for name, allowed in (
            ("act", ("gelu", "silu")),
            ("time_act", (None, "gelu", "silu")),
            ("text_norm", (None, "group", "layer")),
            ("pool", (None, "attention", "mean")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")
        for width, kind in zip((*self.channels, self.channels[-1]), (*self.attention, self.mid_attention)):
            if width % self.groups or (kind != "none" and width % self.head_dim):
                raise ValueError(
                    f"a level's {width} channels must divide into {self.groups} groups and heads of {self.head_dim}"
                )
        if self.attends_text and self.text_norm == "group" and self.kv_dim % 32:
            raise ValueError(f"the text's GroupNorm has 32 groups, into which a width of {self.kv_dim} does not divide")
        if self.pool == "attention" and self.text_dim is not None and self.text_dim % self.pool_heads:
            raise ValueError(f"pool_heads = {self.pool_heads} does not divide the text's width of {self.text_dim}")
        if self.size % self.multiple:
            raise ValueError(f"a size of {self.size} px is not divisible by {self.multiple}, which this network needs")

    @property
    def enlarges(self) -> bool:
        """Whether this network is of an SR stage, and sees low_res beside z."""
        return self.in_channels == 6

    @property
    def attends_text(self) -> bool:
        return any("text" in kind for kind in (*self.attention, self.mid_attention))

    @property
    def kv_dim(self) -> int:
        """The width of text as the attention layers see it."""
        return self.cross_dim or self.text_dim or 0

    @property
    def embedding_dim(self) -> int:
        return self.time_dim or 4 * self.channels[0]

    @property
    def halves_first(self) -> bool:
        """Whether the first level halves the picture too: in the Efficient U-Net, unless folding has done it."""
        return self.efficient and self.fold == 1

    @property
    def multiple(self) -> int:
        """A picture's height and width must be divisible by it."""
        return self.fold * 2 ** (len(self.channels) - 1 + self.halves_first)

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise ValueError(f"a U-Net's config has no {', '.join(sorted(unknown))}")
        return cls(**values)


class Level(nn.Module):
    """One resolution: residual blocks, each followed by attention or by None, and the way to the next resolution."""

    def __init__(self, blocks: list[ResBlock], attentions: list[Attention | None], resample: nn.Module | None = None):
        super().__init__()
        self.blocks, self.attentions, self.resample = nn.ModuleList(blocks), nn.ModuleList(attentions), resample

    def layers(self) -> Iterator[tuple[nn.Module, Attention | None]]:
        return zip(self.blocks, self.attentions)  # type: ignore[arg-type]


class UNet(nn.Module):
    """unet(z, t, cond) → (B, out_channels, H, W): the raw network. t is its own time, 0 … 999 in IF, of shape (B,).

    A new network returns zeros: with a residual prediction that is bicubic enlargement, and training improves on it.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = c = config
        time_dim, channels = c.embedding_dim, c.channels

        def block(dim, out, resample=None, scale=c.block_scale):
            return ResBlock(dim, out, time_dim, groups=c.groups, act=c.act, resample=resample, scale=scale)

        def attentions(kind, dim, places):
            """Attention after the blocks whose place is True."""
            text_dim = c.kv_dim if "text" in kind else None
            options = {"head_dim": c.head_dim, "groups": c.groups, "text_dim": text_dim, "text_norm": c.text_norm}
            return [
                Attention(dim, to_self="self" in kind, **options) if at and kind != "none" else None for at in places
            ]

        def places(count):  # the Efficient U-Net attends once a level, after its last block
            return [not c.efficient or j == count - 1 for j in range(count)]

        self.time = Embedding(channels[0], time_dim, c.act)
        self.aug = Embedding(channels[0], time_dim, c.act) if c.augmentation else None
        self.text_in = nn.Linear(c.text_dim, c.cross_dim) if c.attends_text and c.cross_dim else None
        self.pool = Pooling(c.text_dim, time_dim, kind=c.pool, heads=c.pool_heads) if c.text_dim and c.pool else None

        self.conv_in = nn.Conv2d(c.in_channels * c.fold**2, channels[0], 3, padding=1)
        last = len(channels) - 1
        self.down = nn.ModuleList()
        widths, skips = (channels[0], *channels), [channels[0]] * (not c.efficient)
        for i, (width, count, kind) in enumerate(zip(channels, c.layers, c.attention)):
            resample: nn.Module | None = None
            entry = widths[i]
            if c.efficient:
                if i > 0 or c.halves_first:
                    resample, entry = Down(widths[i], width), width
            elif i < last:
                resample = block(width, width, "down")
            blocks = [block(entry if j == 0 else width, width) for j in range(count)]
            self.down.append(Level(blocks, attentions(kind, width, places(count)), resample))
            skips += [width] * (count + (not c.efficient and i < last))

        width = channels[-1]
        if not c.efficient:
            blocks = [block(width, width, scale=c.mid_scale) for _ in range(2)]
            self.mid = Level(blocks, attentions(c.mid_attention, width, (True, False)))
        self.up = nn.ModuleList()
        for i in reversed(range(len(channels))):
            count, entry, width = c.layers[i] + (not c.efficient), width, channels[i]
            blocks = [block((entry if j == 0 else width) + skips.pop(), width) for j in range(count)]
            resample = None
            if c.efficient:
                if i > 0 or c.halves_first:
                    resample = Up(width, widths[i])
            elif i > 0:
                resample = block(width, width, "up")
            self.up.append(Level(blocks, attentions(c.attention[i], width, places(count)), resample))
            width = widths[i] if c.efficient else width
        self.norm_out = nn.GroupNorm(c.groups, channels[0])
        self.conv_out = nn.Conv2d(channels[0], c.out_channels * c.fold**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def attentions(self) -> list[Attention]:
        """Every layer that attends to text, in the order in which a picture meets them."""
        return [m for m in self.modules() if isinstance(m, Attention) and m.to_text]

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
            layers = tuple(layer.prepare(tokens) for layer in self.attentions())
        return replace(cond, text=PreparedText(pooled, layers, mask))

    def forward(self, z: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        cond = self.prepare(cond or Cond())
        self._check(z, cond)
        c, text, dtype = self.config, cond.text, self.conv_in.weight.dtype
        h = z if cond.low_res is None else torch.cat([z, cond.low_res.to(z)], dim=1)
        h = F.pixel_unshuffle(h.to(dtype), c.fold) if c.fold > 1 else h.to(dtype)

        emb = self.time(time_embedding(t.expand(len(z)), c.channels[0]).to(dtype))
        if self.aug is not None:
            emb = emb + self.aug(time_embedding(1000 * cond.aug.expand(len(z)), c.channels[0]).to(dtype))
        if self.pool is not None:
            emb = emb + text.pooled
        emb = emb if c.time_act is None else ACTIVATIONS[c.time_act](emb)
        emb = emb if c.skip_time_act else ACTIVATIONS[c.act](emb)  # the same in every block, so once for all

        kv, mask = (iter(text.layers), text.mask) if text is not None else (iter(()), None)

        def attend(layer: Attention | None, h: Tensor) -> Tensor:
            return h if layer is None else layer(h, next(kv) if layer.to_text else None, mask)

        h = self.conv_in(h.contiguous(memory_format=torch.channels_last))
        skips = [] if c.efficient else [h]
        for level in self.down:
            if c.efficient and level.resample is not None:
                h = level.resample(h)
            for block, attention in level.layers():
                h = attend(attention, block(h, emb))
                skips.append(h)
            if not c.efficient and level.resample is not None:
                h = level.resample(h, emb)
                skips.append(h)
        if not c.efficient:
            for block, attention in self.mid.layers():
                h = attend(attention, block(h, emb))
        for level in self.up:
            for block, attention in level.layers():
                skip = skips.pop()
                skip = skip if c.skip_scale == 1 else skip * c.skip_scale
                h = attend(attention, block(torch.cat([h, skip], dim=1), emb))
            if level.resample is not None:
                h = level.resample(h) if c.efficient else level.resample(h, emb)
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
                "this network is conditioned on text: give cond.text, for guidance's other half the null text"
            )
        if cond.text is not None and len(cond.text) != len(z):
            raise ValueError(f"there are {len(cond.text)} sentences for {len(z)} pictures")


# Ours. The base has IF's shape, so that diffusers' IFPipeline can run its weights; the others are Imagen's Efficient
# U-Net, folded 4 × 4, and small enough for a picture of 1024 px in a moment on a CPU. The largest has no self-attention.
BASE_64 = UNetConfig(
    channels=(32, 48, 96, 128),
    layers=(1, 2, 2, 2),
    attention=("none", "none", "text", "self+text"),
    act="silu",
)
SR_256 = UNetConfig(
    size=256,
    in_channels=6,
    channels=(64, 96, 128),
    layers=(2, 2, 2),
    attention=("none", "none", "self+text"),
    act="silu",
    augmentation=True,
    efficient=True,
    skip_scale=math.sqrt(0.5),
    fold=4,
)
SR_1024 = replace(
    SR_256,
    size=1024,
    channels=(32, 48, 64, 96),
    layers=(1, 1, 2, 2),
    attention=("none", "none", "none", "text"),
)
