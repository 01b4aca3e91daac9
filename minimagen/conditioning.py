"""What a picture is conditioned on: the sentence, and the smaller picture that is to be enlarged.

`augment` is the only place that adds noise to the low-resolution picture (IF's own stages have `deepfloyd.augment` in
its stead). Training and sampling both call it, at target size and after normalising to [−1, 1]; a codebase with two
such places had two noise levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from .schedule import CosineSchedule

Generators = torch.Generator | Sequence[torch.Generator] | None


class _Batch:
    """Frozen dataclasses of tensors that share their first axis, the batch; None stays None."""

    def _map(self, function: Callable[[Any], Any]) -> Self:
        def apply(value):
            if isinstance(value, tuple):
                return tuple(map(apply, value))
            return None if value is None else function(value)

        return replace(self, **{f.name: apply(getattr(self, f.name)) for f in fields(self)})  # type: ignore[type-var, arg-type]

    def __len__(self) -> int:
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            value = value[0] if isinstance(value, tuple) and value else value
            if value is not None and not isinstance(value, tuple):
                return len(value)
        return 0

    def __getitem__(self, index: int | slice | Tensor) -> Self:
        """Some pictures of the batch, which stay a batch: `text[3]` has length 1."""
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self._map(lambda value: value[index])

    def to(self, *args, **kwargs) -> Self:
        """As `Tensor.to`; a mask keeps its dtype."""

        def move(value):
            moved = value.to(*args, **kwargs)
            return moved.to(value.dtype) if isinstance(value, Tensor) and value.dtype == torch.bool else moved

        return self._map(move)

    def expand(self, batch: int) -> Self:
        """One picture's conditioning for `batch` pictures; a batch of that size stays as it is."""
        if len(self) in (0, batch):
            return self
        if len(self) != 1:
            raise ValueError(f"there is conditioning for {len(self)} pictures, but {batch} are drawn")
        return self._map(
            lambda value: value.expand(batch) if isinstance(value, _Batch) else value.expand(batch, *value.shape[1:])
        )

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several batches one after the other. What is None must be None in all of them."""

        def join(values):
            if all(v is None for v in values):
                return None
            if any(v is None for v in values):
                raise ValueError(
                    f"some of these {cls.__name__}s have a part that others lack, so they cannot share a batch"
                )
            if isinstance(values[0], tuple):
                return tuple(map(join, zip(*values, strict=True)))
            return torch.cat(list(values)) if isinstance(values[0], Tensor) else type(values[0]).cat(values)

        return cls(**{f.name: join([getattr(p, f.name) for p in parts]) for f in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Text(_Batch):
    """A sentence as a language model's token embeddings. mask None: all of it is attended, padding too, as in IF."""

    tokens: Tensor  # (B, L, D)
    mask: Tensor | None = None  # (B, L) bool, True where there is a token

    def __post_init__(self):
        if self.tokens.ndim != 3:
            raise ValueError(f"text tokens must be (batch, length, width), not {tuple(self.tokens.shape)}")
        if self.mask is not None and self.mask.shape != self.tokens.shape[:2]:
            raise ValueError(f"the mask is {tuple(self.mask.shape)}, but the tokens are {tuple(self.tokens.shape[:2])}")

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Several batches one after the other; what is masked may be of several lengths."""
        longest = max(part.tokens.shape[1] for part in parts)
        return super().cat([part.padded(longest) for part in parts])

    def padded(self, length: int) -> Self:
        """The same text, with masked tokens behind it up to this length."""
        more = length - self.tokens.shape[1]
        if more == 0:
            return self
        if self.mask is None:
            raise ValueError("texts without a mask are padded by their encoder, and all to one length: these are not")
        return replace(self, tokens=F.pad(self.tokens, (0, 0, 0, more)), mask=F.pad(self.mask, (0, more)))


@dataclass(frozen=True)
class PreparedText(_Batch):
    """What a U-Net makes of a `Text`, once a picture: each layer's keys and values, and the pooled vector."""

    pooled: Tensor | None  # (B, E)
    layers: tuple[Any, ...] = ()  # for each attention layer what it keeps of the text
    mask: Tensor | None = None  # (B, L) bool


@dataclass(frozen=True)
class Cond(_Batch):
    """All that a denoiser is told besides z and t.

    text None is an unconditional network; the null text of guidance is an explicit `Text`. low_res has the target size.
    """

    text: Text | PreparedText | None = None
    low_res: Tensor | None = None  # (B, 3, H, W) in [−1, 1]
    aug: Tensor | None = None  # (B,) in [0, 1], how much noise `augment` added to low_res; 0 = none


def noise_like(z: Tensor, generator: Generators = None) -> Tensor:
    """n ~ N(0, I) in z's shape. With a list of generators each picture has its own, whatever its batch."""
    if generator is None or isinstance(generator, torch.Generator):
        device = z.device if generator is None else generator.device
        return torch.randn(z.shape, generator=generator, device=device, dtype=torch.float32).to(z)
    if len(generator) != len(z):
        raise ValueError(f"there are {len(generator)} random generators for {len(z)} pictures")
    return torch.stack(
        [torch.randn(z.shape[1:], generator=g, device=g.device, dtype=torch.float32) for g in generator]
    ).to(z)


def augment_moments(level: float | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """(α, σ) of the noise that `augment` adds at a level: the cosine schedule at t = level."""
    return CosineSchedule()(level, like=like)


def augment(low_res: Tensor, level: float | Tensor, generator: Generators = None) -> Tensor:
    """z = α x + σ n,  (α, σ) of the cosine schedule at t = level    (noise conditioning augmentation; level 0 is off)

    Imagen, section 2.4; IF's noise_level 250 is level 0.25.
    """
    level = torch.as_tensor(level, dtype=torch.float32)
    if bool(((level < 0) | (level > 1)).any()):
        raise ValueError("an augmentation level lies between 0 (none) and 1 (pure noise)")
    if not bool((level > 0).any()):
        return low_res
    alpha, sigma = augment_moments(level, like=low_res)
    return alpha * low_res + sigma * noise_like(low_res, generator)


def upsample(images: Tensor, size: int) -> Tensor:
    """(B, 3, h, w) → (B, 3, size, size), bicubic: the picture an SR stage begins from."""
    if images.shape[-1] == size:
        return images
    return _bicubic(images, size, size)


def smooth(images: Tensor, factor: int = 4) -> Tensor:
    """Shrunk by means of factor × factor pixels, and enlarged again: what an enlarged picture holds. 1 = identity."""
    return images if factor == 1 else _bicubic(F.avg_pool2d(images, factor), *images.shape[-2:])


def _bicubic(images: Tensor, height: int, width: int) -> Tensor:
    # antialias=True is Catmull and Rom's kernel, which keeps straight ramps straight; torch's other one ripples
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True)
