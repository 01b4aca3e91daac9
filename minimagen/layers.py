"""The rooms of the U-Net: residual block, attention over text and picture, attention pooling, embeddings.

Everything works on (B, C, H, W) in channels-last memory, where (B, H·W, C), which attention wants, is the same bytes.
Each class is numerically equal to its counterpart in DeepFloyd IF, and `deepfloyd/renaming.py` lists which name
became which.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fused import attend, enlarge_and_convolve, norm_act, picture_of, tokens_of


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """(cos ω₀t, …, sin ω₀t, …),  ω_i = 10000^(−2i / dim)    (B,) → (B, dim), in float32"""
    half = dim // 2
    omega = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float32, device=t.device))
    angle = t.float()[:, None] * omega
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class Embedding(nn.Sequential):
    """linear → act → linear, of a sinusoidal embedding; for the time, and for the augmentation level."""

    def __init__(self, dim: int, out: int, act: str):
        super().__init__(nn.Linear(dim, out), nn.GELU() if act == "gelu" else nn.SiLU(), nn.Linear(out, out))


class ResBlock(nn.Module):
    """BigGAN's residual block; the time embedding enters as scale s and shift b.

    h = conv1(resample(act(norm1(x))));  h = conv2(act(norm2(h) · (1 + s) + b));  out = (skip(resample(x)) + h) / scale

    resample: None, "down" (mean of 2 × 2) or "up" (nearest).  scale: 1 = off; IF's super-resolution stages use √2.
    """

    def __init__(
        self, dim: int, out: int, time_dim: int, *, groups: int, act="gelu", resample: str | None = None, scale=1.0
    ):
        super().__init__()
        self.act, self.resample, self.scale = act, resample, scale
        self.norm1 = nn.GroupNorm(groups, dim)
        self.conv1 = nn.Conv2d(dim, out, 3, padding=1)
        self.time = nn.Linear(time_dim, 2 * out)
        self.norm2 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.skip = nn.Conv2d(dim, out, 1) if dim != out else None
        for parameter in self.conv2.parameters():  # a new block is the identity: a deep network trains from the start
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """film: this block's scale and shift side by side, (B, 2 · out), as the U-Net makes for all at once."""
        h = norm_act(x, self.norm1, self.act)
        if self.resample == "up":
            x, h = F.interpolate(x, scale_factor=2.0, mode="nearest"), enlarge_and_convolve(h, self.conv1)
        elif self.resample == "down":
            x, h = F.avg_pool2d(x, 2), self.conv1(F.avg_pool2d(h, 2))
        else:
            h = self.conv1(h)
        s, b = film.chunk(2, dim=1)
        h = self.conv2(norm_act(h, self.norm2, self.act, s, b))
        h = h + (x if self.skip is None else self.skip(x))
        return h if self.scale == 1 else h / self.scale


def beside(*layers: nn.Linear) -> tuple[Tensor, Tensor]:
    """The weight and bias of several linear layers as one: a single matrix product for all of them."""
    return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])


class Attention(nn.Module):
    """h + out(softmax(q kᵀ / √d) v): queries from the picture; keys and values from the text, the picture, or both.

    Imagen's base lets both share one softmax: the text's keys and values are prepended to the picture's own. Attention
    to the text alone is the same without the picture's. `prepare` gives the text's part, the same at every step.
    """

    def __init__(
        self, dim: int, head_dim: int, groups: int, *, to_self: bool, text_dim: int | None, text_norm: str | None
    ):
        super().__init__()
        self.heads, self.to_self, self.to_text = dim // head_dim, to_self, text_dim is not None
        self.norm = nn.GroupNorm(groups, dim)
        self.q = nn.Linear(dim, dim)
        if to_self:
            self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim)
        if text_dim is not None:
            if text_norm is not None:
                self.text_norm = nn.GroupNorm(32, text_dim) if text_norm == "group" else nn.LayerNorm(text_dim)
            self.text_k, self.text_v = nn.Linear(text_dim, dim), nn.Linear(text_dim, dim)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def prepare(self, text: Tensor) -> Tensor:
        """The text's keys and values side by side, (B, L, 2 C). The text is normalised but for this layer's γ and β.

        W (γ x + β) + b = (W γ) x + (W β + b): the text's statistics are the same for every layer, so taken once.
        """
        weight, bias = beside(self.text_k, self.text_v)
        if hasattr(self, "text_norm"):
            weight, bias = weight * self.text_norm.weight, bias + weight @ self.text_norm.bias
        return F.linear(text, weight, bias)

    def forward(self, h: Tensor, text: Tensor | None, mask: Tensor | None) -> Tensor:
        x = tokens_of(norm_act(h, self.norm))  # (B, H·W, C)
        if self.to_self:
            q, k, v = F.linear(x, *beside(self.q, self.k, self.v)).chunk(3, dim=-1)
            if text is not None:
                text_k, text_v = text.chunk(2, dim=-1)
                k, v = torch.cat([text_k, k], dim=1), torch.cat([text_v, v], dim=1)  # (B, L + H·W, C)
        else:
            assert text is not None
            q, (k, v) = self.q(x), text.chunk(2, dim=-1)
        if mask is not None and text is not None:
            mask = F.pad(mask, (0, k.shape[1] - mask.shape[1]), value=True)[:, None, None]  # the picture is all there
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))  # (B, heads, ·, d)
        a = attend(q, k, v, mask if text is not None else None)
        return h + picture_of(self.out(a.transpose(1, 2).flatten(2)), like=h)


class Pooling(nn.Module):
    """The whole sentence as one vector for the time embedding: LN → pool → linear → LN.

    attention: a query made of mean(tokens) + a learned vector attends to the tokens and to itself (DeepFloyd IF).
    mean: the mean of the tokens, which the paper compares with.
    """

    def __init__(self, text_dim: int, time_dim: int, *, kind: str, heads: int):
        super().__init__()
        self.kind, self.heads = kind, heads
        self.norm_in = nn.LayerNorm(text_dim)
        if kind == "attention":
            self.query = nn.Parameter(torch.randn(1, text_dim) / text_dim**0.5)
            self.q, self.k, self.v = (nn.Linear(text_dim, text_dim) for _ in "qkv")
        self.out = nn.Linear(text_dim, time_dim)
        self.norm_out = nn.LayerNorm(time_dim)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm_in(tokens)
        if mask is None:
            mean = x.mean(dim=1, keepdim=True)  # (B, 1, D)
        else:
            mean = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1).view(-1, 1, 1)
            mask = F.pad(mask, (1, 0), value=True)[:, None, None]
        if self.kind == "mean":
            return self.norm_out(self.out(mean.squeeze(1)))
        query = mean + self.query.to(mean.dtype)
        x = torch.cat([query, x], dim=1)
        q, k, v = (
            f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f, y in ((self.q, query), (self.k, x), (self.v, x))
        )
        a = attend(q, k, v, mask)  # (B, heads, 1, d)
        return self.norm_out(self.out(a.flatten(1)))


class Down(nn.Conv2d):
    """A stride-2 convolution, with which the Efficient U-Net begins a level."""

    def __init__(self, dim: int, out: int):
        super().__init__(dim, out, 3, stride=2, padding=1)

    def forward(self, h: Tensor, film: None = None) -> Tensor:
        return super().forward(h)


class Up(nn.Module):
    """A 1 × 1 convolution to four times the channels, laid out as 2 × 2 pixels: so the Efficient U-Net ends a level."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, 4 * out, 1)

    def forward(self, h: Tensor, film: None = None) -> Tensor:
        return F.pixel_shuffle(self.conv(h), 2)
