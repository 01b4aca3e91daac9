"""What a U-Net is made of, as a value: `UNetConfig`, our three networks, and DeepFloyd IF's five."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

ATTENTION = ("none", "self", "text", "self+text")  # self+text: both in one softmax


@dataclass(frozen=True)
class UNetConfig:
    """Everything about a U-Net but its weights. The defaults are DeepFloyd IF's habits at a small size."""

    size: int = 64  # the picture's edge in pixels in training; any edge divisible by `multiple` works
    in_channels: int = 3  # 6: the noisy picture and low_res, an SR stage
    out_channels: int = 3  # 6: ε and the learned variance of IF
    channels: tuple[int, ...] = (32, 48, 96, 128)  # width of each level
    layers: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks of each level; the way up has one more, unless efficient
    attention: tuple[str, ...] = ("none", "none", "none", "self+text")  # of each level, one of ATTENTION
    mid_attention: str = "self+text"  # an efficient network has no middle
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
            value = getattr(self, name)  # one value stands for all levels
            value = (value,) * len(self.channels) if isinstance(value, int | str) else tuple(value)
            object.__setattr__(self, name, value)
        if not len(self.channels) == len(self.layers) == len(self.attention):
            raise ValueError(f"{self.channels}, {self.layers} and {self.attention} must name as many levels each")
        if not self.channels or min(self.layers) < 1:
            raise ValueError(f"a U-Net has at least one level, and a level at least one block: layers = {self.layers}")
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
                groups, heads = f"{self.groups} groups", f"heads of {self.head_dim}"
                raise ValueError(f"a level's {width} channels must divide into {groups} and {heads}")
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
    def multiple(self) -> int:
        """A picture's height and width must be divisible by it."""
        return self.fold * 2 ** sum(self.halves(i) for i in range(len(self.channels)))

    def halves(self, level: int) -> bool:
        """Whether that level's resolution is half of the one before it.

        The Efficient U-Net halves at once what comes in, unless folding has done that already.
        """
        return level > 0 or (self.efficient and self.fold == 1)

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise ValueError(f"a U-Net's config has no {', '.join(sorted(unknown))}")
        return cls(**values)


# Ours. The base has IF's shape, so that diffusers' IFPipeline can run its weights; the others are Imagen's Efficient
# U-Net, folded 4 × 4, which draws 1024 px in a moment on a CPU. Neither has self-attention, like the paper's last: they
# are trained on windows, and when they draw it would meet four or sixty-four times as many places as it knows.
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
    attention=("none", "none", "text"),
    mid_attention="text",
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

# DeepFloyd IF's. I-XL is as published. The others are inferred, not read from their config.json: I-M and I-L are I-XL's
# shape with 192 and 320 channels (371.6 M and 935.4 M parameters; published as 400 M and 900 M), and II-M and II-L have
# the published habits of stage II (all in IF_II_M below but channels, attention and the two widths after them) with
# guided diffusion's multiples 1, 1, 2, 3, 4 (449.1 M and 1150.6 M; published as 450 M and 1.2 B). Given a config.json,
# use `deepfloyd.from_diffusers_config`, which infers nothing.
IF_I_XL = UNetConfig(
    out_channels=6,
    channels=(704, 1408, 2112, 2816),
    layers=(3, 3, 3, 3),
    attention=("none", "self+text", "self+text", "self+text"),
    head_dim=64,
    groups=32,
    text_dim=4096,
    cross_dim=2816,
    pool_heads=64,
)
IF_I_M = replace(IF_I_XL, channels=(192, 384, 576, 768), cross_dim=768)
IF_I_L = replace(IF_I_XL, channels=(320, 640, 960, 1280), cross_dim=1280)
IF_II_M = replace(
    IF_I_XL,
    size=256,
    in_channels=6,
    channels=(192, 192, 384, 576, 768),
    layers=(2, 2, 3, 5, 5),
    attention=("none", "none", "none", "none", "text"),
    mid_attention="text",
    time_act="gelu",
    time_dim=768,
    cross_dim=768,
    skip_time_act=True,
    augmentation=True,
    block_scale=1 / 0.7071,
    mid_scale=1 / 0.7071,
)
IF_II_L = replace(IF_II_M, channels=(320, 320, 640, 960, 1280), time_dim=1280, cross_dim=1280)
