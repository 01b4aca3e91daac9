"""Lesson 06, thresholding: how much of a picture is burnt out, and the two ways to bring x̂ back into [−1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.denoiser import dynamic_threshold as dynamic
from minimagen.denoiser import static_threshold as static

from .frame import Case, Exercise

LESSON = "06_thresholding"


# How much is burnt out


def burnt(x: Tensor, edge: float = 0.99) -> Tensor:
    """The share of a picture's values with |x| ≥ edge, one number a picture."""
    return (x.abs() >= edge).float().flatten(1).mean(1)


def estimates(generator: torch.Generator) -> list[Case]:
    wild = torch.randn(3, 3, 8, 8, generator=generator) * torch.tensor([0.7, 1.2, 2.0]).view(3, 1, 1, 1) - 0.3
    return [
        Case("three estimates, each wilder than the last", (wild,)),
        Case("the same, clipped to [−1, 1], and edge = 1", (wild.clamp(-1, 1), 1.0)),
        Case("pictures of another shape, and edge = 0.5", (wild[:2, :, :4], 0.5)),
    ]


saturation = Exercise(
    "saturation",
    LESSON,
    reference=burnt,
    cases=estimates,
    learned="one number a picture: the part of it that is as dark or as bright as can be.",
    points=1,
    minutes=4,
    level=1,
)


@saturation.mistake
def one_for_all(x, edge=0.99):
    """You took the mean over the whole batch. Each picture has its own number: the result has the shape (B,)."""
    return (x.abs() >= edge).float().mean()


@saturation.mistake
def bright_alone(x, edge=0.99):
    """You counted what is bright. A value near −1 is burnt out as well: look at |x|."""
    return (x >= edge).float().flatten(1).mean(1)


@saturation.mistake
def strictly_above(x, edge=0.99):
    """You counted what lies above the edge. After clipping, burnt values lie exactly on it: use ≥."""
    return (x.abs() > edge).float().flatten(1).mean(1)


@saturation.mistake
def beyond_one(x, edge=0.99):
    """You counted what lies beyond 1. After thresholding nothing does, and a burnt picture would pass as a good one:
    compare with `edge`."""
    return (x.abs() > 1).float().flatten(1).mean(1)


@saturation.mistake
def counted(x, edge=0.99):
    """You counted values. A share can be compared between pictures of any size: take the mean in place of the sum."""
    return (x.abs() >= edge).float().flatten(1).sum(1)


@saturation.mistake
def the_rest(x, edge=0.99):
    """This is the share that is *not* burnt out: turn the comparison round."""
    return (x.abs() < edge).float().flatten(1).mean(1)


@saturation.mistake
def mean_size(x, edge=0.99):
    """You took the mean of |x|, and never asked where the edge is. A dark picture is no burnt one: count."""
    return x.abs().flatten(1).mean(1)


@saturation.mistake
def whole_pixels(x, edge=0.99):
    """You counted a pixel when any of its three colours is burnt out. Count values: each colour of each pixel."""
    return (x.abs() >= edge).any(1).float().flatten(1).mean(1)


@saturation.mistake
def grey(x, edge=0.99):
    """You made the picture grey first. A pure red has one colour at 1 and two at −1, and its grey hides all three."""
    return (x.mean(1).abs() >= edge).float().flatten(1).mean(1)


# Static


def wild_ones(generator: torch.Generator) -> list[Case]:
    return [
        Case("two estimates that leave [−1, 1] far behind", (2 * torch.randn(2, 3, 6, 6, generator=generator),)),
        Case("an estimate that lies inside", (torch.rand(1, 3, 6, 6, generator=generator) - 0.3,)),
    ]


static_threshold = Exercise(
    "static_threshold",
    LESSON,
    reference=static,
    cases=wild_ones,
    learned="what lies inside stays, and what lies outside is put on the edge.",
    borrowed=(dynamic,),
    points=1,
    minutes=2,
    level=1,
)


@static_threshold.mistake
def unit_interval(x):
    """You cut at 0. Pictures live in [−1, 1] here, and all that is darker than grey would be lost."""
    return x.clamp(0, 1)


@static_threshold.mistake
def above_alone(x):
    """You cut what is above 1. What is below −1 is outside as well."""
    return x.clamp(max=1)


@static_threshold.mistake
def by_the_largest(x):
    """You divided by the largest value. Then one wild pixel turns all the others grey: static thresholding leaves what
    lies inside as it is."""
    return x / x.abs().flatten(1).amax(1).clamp(min=1).view(-1, 1, 1, 1)


@static_threshold.mistake
def stretched(x):
    """You stretched each picture from its darkest to its brightest value. A grey picture would not stay grey: cut, and
    leave the rest as it is."""
    low, high = x.flatten(1).aminmax(dim=1)
    return (x - low.view(-1, 1, 1, 1)) / (high - low).view(-1, 1, 1, 1) * 2 - 1


@static_threshold.mistake
def squashed(x):
    """You squashed with tanh, which changes every value, those inside too. Cut only what lies outside."""
    return x.tanh()


@static_threshold.mistake
def below_alone(x):
    """You cut what is below −1. What is above 1 is outside as well."""
    return x.clamp(min=-1)


@static_threshold.mistake
def to_zero(x):
    """You put what lies outside to zero, which is grey. A value above 1 wants to be bright: put it on the edge."""
    return torch.where(x.abs() <= 1, x, 0.0)


@static_threshold.mistake
def wrapped(x):
    """You let what leaves on one side come in on the other. Bright would become dark: put it on the edge."""
    return torch.remainder(x + 1, 2) - 1


# Dynamic


def guided_ones(generator: torch.Generator) -> list[Case]:
    spreads = torch.tensor([1.5, 0.3, 4.0]).view(3, 1, 1, 1)
    three = spreads * torch.randn(3, 3, 6, 6, generator=generator) - 0.1  # not symmetric, so that |x| matters
    large = 2 * torch.randn(2, 3, 16, 16, generator=generator) + torch.tensor([0.2, -1.0]).view(2, 1, 1, 1)
    tame = 0.3 * torch.randn(1, 3, 6, 6, generator=generator).clamp(-3, 3)
    tame[0, :, 2, 3], tame[0, :, 4, 1] = 3.0, -3.0
    return [
        Case("three estimates, the second of which lies inside [−1, 1], and p = 0.9", (three, 0.9)),
        Case("two estimates, and p as it comes", (large,)),
        Case("p = 1", (large, 1.0)),
        Case("an estimate in bfloat16, as a GPU may give it", (large.bfloat16(), 0.95)),
        Case("a tame estimate with six wild values, of which p = 0.9 knows nothing", (tame, 0.9)),
    ]


dynamic_threshold = Exercise(
    "dynamic_threshold",
    LESSON,
    reference=dynamic,
    cases=guided_ones,
    learned="each picture has its own s, a tame one is left alone, and a wild one keeps its drawing.",
    borrowed=(static,),
    points=4,
    minutes=10,
    level=2,
    tolerance=0.02,  # bfloat16 has three digits
    of_kind=True,
)


def _divided(x, s):
    """The right answer, but for s."""
    s = s.clamp(min=1.0).view(-1, 1, 1, 1)
    return x.clamp(-s, s) / s


def _own(x, p):
    return torch.quantile(x.float().abs().flatten(1), p, dim=1)


@dynamic_threshold.mistake  # the first, for its numbers are right
def promoted(x, p=0.995):
    """The numbers are right, but not their dtype, which is to be that of x. An s in float32 makes float32 of a bfloat16
    picture: bring it to x's by `.to(x.dtype)` before you divide."""
    return _divided(x, _own(x, p))


@dynamic_threshold.mistake
def whole_batch(x, p=0.995):
    """You thresholded the whole batch with one percentile. Then a picture depends on its neighbours: each has its own
    s, of shape (B,)."""
    return _divided(x, torch.quantile(x.float().abs(), p).expand(len(x)))


@dynamic_threshold.mistake
def of_the_first(x, p=0.995):
    """Every picture got the first one's s, as in a published codebase. Each has its own."""
    return _divided(x, _own(x, p)[:1].expand(len(x)))


@dynamic_threshold.mistake
def signed(x, p=0.995):
    """You took the percentile of x. Dark values count as well: take that of |x|."""
    return _divided(x, torch.quantile(x.float().flatten(1), p, dim=1))


@dynamic_threshold.mistake
def sign_lost(x, p=0.995):
    """Your result has no negative values left: all that was dark is bright. |x| is for finding s alone; cut and divide
    x itself."""
    return _divided(x.abs(), _own(x, p))


@dynamic_threshold.mistake
def without_max(x, p=0.995):
    """The max(s, 1) is missing. A tame picture, whose s is below 1, would be stretched until it burns: s is never less
    than 1."""
    s = _own(x, p).view(-1, 1, 1, 1)
    return x.clamp(-s, s) / s


@dynamic_threshold.mistake
def tame_uncut(x, p=0.995):
    """Where s is not above 1 you left the picture as it is, its few wild values too. Put s to 1 there, and cut."""
    s = _own(x, p).view(-1, 1, 1, 1).to(x.dtype)
    return torch.where(s > 1, x.clamp(-s, s) / s, x)


@dynamic_threshold.mistake
def at_most_one(x, p=0.995):
    """You took the smaller of s and 1. It must be the larger one: s is never less than 1."""
    s = _own(x, p).clamp(max=1.0).view(-1, 1, 1, 1)
    return x.clamp(-s, s) / s


@dynamic_threshold.mistake
def undivided(x, p=0.995):
    """You cut at ±s, and there it ends. s may be 4: divide by it, so that the result lies in [−1, 1]."""
    s = _own(x, p).clamp(min=1.0).view(-1, 1, 1, 1)
    return x.clamp(-s, s)


@dynamic_threshold.mistake
def uncut(x, p=0.995):
    """You divided by s without cutting at ±s. The few values above the percentile stay outside [−1, 1]."""
    return x / _own(x, p).clamp(min=1.0).view(-1, 1, 1, 1)


@dynamic_threshold.mistake
def cut_at_one(x, p=0.995):
    """Every picture is cut at ±1, which is static thresholding. Cut at ±s, then divide by s. If you did, your s came
    out as 1: `torch.quantile` takes a share, and p is a share already: do not divide it by 100."""
    return x.clamp(-1, 1)


@dynamic_threshold.mistake
def cut_then_divided(x, p=0.995):
    """You cut at ±1 and then divided by s: the picture loses its bright parts, and then its light. Cut at ±s."""
    return x.clamp(-1, 1) / _own(x, p).clamp(min=1.0).view(-1, 1, 1, 1)


@dynamic_threshold.mistake
def by_colour(x, p=0.995):
    """You gave each colour its own s. Red, green and blue would be dimmed unequally, and grey would not stay grey: one
    s a picture."""
    s = torch.quantile(x.float().abs().flatten(2), p, dim=2).clamp(min=1.0)[:, :, None, None]
    return x.clamp(-s, s) / s


@dynamic_threshold.mistake
def the_largest(x, p=0.995):
    """You took the largest value, which is p = 1 whatever p is. One wild pixel would turn the picture grey: take
    the p-quantile."""
    return _divided(x, x.float().abs().flatten(1).amax(1))
