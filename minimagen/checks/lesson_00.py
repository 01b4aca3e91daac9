"""Lesson 00, start here: from numbers to colours, and how alike two pictures are. The course uses both throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen import cascade, samples

from .frame import Case, Exercise

LESSON = "00_start_here"


# From numbers to colours


def colours(x: Tensor) -> Tensor:
    """[−1, 1] (3, H, W) → 0 … 255 (H, W, 3)"""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)


def pictures(generator: torch.Generator) -> list[Case]:
    inside = 2 * torch.rand(3, 4, 6, generator=generator) - 1
    square = 0.6 * torch.rand(3, 5, 5, generator=generator) - 0.3
    outside = 3 * torch.rand(3, 3, 4, generator=generator) - 1.5
    outside[0, 0, :2] = torch.tensor([1.4, -1.4])  # whatever the seed
    return [
        Case("a picture of 4 × 6 pixels", (inside,)),
        Case("a pale picture of 5 × 5 pixels", (square,)),
        Case("a picture with pixels outside [−1, 1]", (outside,)),
    ]


to_pixels = Exercise(
    "to_pixels",
    LESSON,
    reference=colours,
    cases=pictures,
    learned="−1 is black, 1 is full, and what lies outside is clipped: so a tensor becomes a picture.",
    borrowed=(cascade.to_pil,),
    of_kind=True,
    points=1,
    minutes=5,
    level=1,
)


@to_pixels.mistake  # the first: where the numbers are right, others that fail elsewhere are right as well
def left_as_floats(x):
    """The numbers are right, but not their kind: a picture file wants bytes, whole numbers from 0 to 255. Make them so
    by `.to(torch.uint8)`."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)


@to_pixels.mistake
def channels_first(x):
    """The numbers are right, and the colours come first: (3, H, W). A picture file wants them last: `.permute(1, 2, 0)`
    makes (H, W, 3)."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@to_pixels.mistake
def lying_down(x):
    """Your picture lies on its side: rows and columns have changed places. It is `.permute(1, 2, 0)`, which keeps H
    before W."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(2, 1, 0)


@to_pixels.mistake
def reshaped(x):
    """You changed the shape by `reshape` or `view`, which deals the same numbers out anew and mixes up the pixels. To
    move an axis, use `.permute(1, 2, 0)`."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).reshape(*x.shape[1:], 3)


@to_pixels.mistake
def from_zero(x):
    """You took the pixels for numbers from 0 to 1. Here black is −1: first add 1, then multiply by 127.5."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)


@to_pixels.mistake
def around_again(x):
    """What lies outside [−1, 1] has come round to the other end: 256 became 0, so that the brightest spots are black.
    Clip first: `x.clamp(-1, 1)`."""
    return ((x + 1) * 127.5).round().long().remainder(256).to(torch.uint8).permute(1, 2, 0)


@to_pixels.mistake
def cut_off(x):
    """You cut the fractions off, and made everything a little darker. Round to the nearest: `.round()`, before
    `.to(torch.uint8)`."""
    return ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).permute(1, 2, 0)


@to_pixels.mistake
def times_255(x):
    """You multiplied by 255, and your numbers run to 510. After adding 1 the largest is 2, not 1: it takes 127.5 to
    make 255 of 2."""
    return ((x.clamp(-1, 1) + 1) * 255).round().long().remainder(256).to(torch.uint8).permute(1, 2, 0)


@to_pixels.mistake
def times_128(x):
    """You multiplied by 128, and 255 is the largest number that there is: 2 · 127.5."""
    return ((x.clamp(-1, 1) + 1) * 128).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


@to_pixels.mistake
def stretched(x):
    """You stretched the picture from its own darkest to its own brightest pixel. A pale picture is to stay pale: −1 is
    black and 1 is full, whether the picture has them or not."""
    low, high = x.amin(), x.amax()
    return ((x - low) / (high - low) * 255).round().to(torch.uint8).permute(1, 2, 0)


# How alike two pictures are


def decibels(a: Tensor, b: Tensor) -> Tensor:
    """10 log₁₀ (2² / mean squared difference)"""
    return 10 * torch.log10(4 / (a - b).square().mean())


def pairs(generator: torch.Generator) -> list[Case]:
    def case(about: str, shape: tuple[int, ...], *spread: float) -> Case:
        a = 2 * torch.rand(shape, generator=generator) - 1
        far = torch.tensor(spread).view(-1, *[1] * (len(shape) - 1))  # one for all, or one each
        return Case(about, (a, a + far * torch.randn(shape, generator=generator)))

    return [
        case("two pictures that are nearly the same", (3, 8, 8), 0.01),
        case("two pictures that differ much", (3, 6, 4), 0.7),
        case("two batches of two pictures", (2, 3, 4, 4), 0.1),
        case("two batches of two pictures, one pair of them alike and one not", (2, 3, 4, 4), 0.02, 0.5),
    ]


how_alike = Exercise(
    "how_alike",
    LESSON,
    reference=decibels,
    cases=pairs,
    learned="10 decibels more are a tenth of the squared difference. From about 40 on the eye hardly sees one.",
    borrowed=(samples.psnr,),
    points=1,
    minutes=5,
    level=1,
)


@how_alike.mistake
def range_of_one(a, b):
    """You took 1 for the range of a pixel, and it is 2, from −1 to 1: 2² = 4 stands above the line. Yours is 6 decibels
    too low."""
    return 10 * torch.log10(1 / (a - b).square().mean())


@how_alike.mistake
def range_of_bytes(a, b):
    """You took 255 for the range of a pixel. Here pixels run from −1 to 1: 2² = 4 stands above the line."""
    return 10 * torch.log10(255**2 / (a - b).square().mean())


@how_alike.mistake
def range_not_squared(a, b):
    """The range is not squared: above the line stands 2² = 4, as the difference below it is squared too."""
    return 10 * torch.log10(2 / (a - b).square().mean())


@how_alike.mistake
def natural(a, b):
    """That is the natural logarithm. Decibels count in powers of ten: `torch.log10`."""
    return 10 * torch.log(4 / (a - b).square().mean())


@how_alike.mistake
def upside_down(a, b):
    """Yours falls as the pictures come nearer: the fraction is upside down, or a minus is left over."""
    return 10 * torch.log10((a - b).square().mean() / 4)


@how_alike.mistake
def summed(a, b):
    """You added the squares up. Take their mean, or else a large picture is never like another."""
    return 10 * torch.log10(4 / (a - b).square().sum())


@how_alike.mistake
def not_squared(a, b):
    """You took the mean of the differences themselves. Square them first: a large error at a few pixels counts for
    more than a small one everywhere."""
    return 10 * torch.log10(4 / (a - b).abs().mean())


@how_alike.mistake
def squared_too_late(a, b):
    """You squared the mean. Then errors above and below cancel out before they count: first square, then take the
    mean."""
    return 10 * torch.log10(4 / (a - b).mean().square())


@how_alike.mistake
def logarithm_too_early(a, b):
    """You took the mean of the logarithms, pixel by pixel. First the mean of the squares, then one logarithm of it."""
    return 10 * torch.log10(4 / (a - b).square()).mean()


@how_alike.mistake
def rooted(a, b):
    """Yours is half of it: you took the root of the mean, and 2 in place of 2². The formula has no root."""
    return 10 * torch.log10(2 / (a - b).square().mean().sqrt())


@how_alike.mistake
def twenty(a, b):
    """Yours is twice as much: 20 belongs before the logarithm of a root. Without the root it is 10."""
    return 20 * torch.log10(4 / (a - b).square().mean())


@how_alike.mistake
def without_ten(a, b):
    """That is bels. A decibel is a tenth of one: multiply by 10."""
    return torch.log10(4 / (a - b).square().mean())
