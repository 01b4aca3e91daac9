"""Lesson 05, guidance: the formula, both halves in one pass, and the w of another codebase."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minimagen.denoiser import Guided, guide

from .frame import Case, Exercise

LESSON = "05_guidance"


# The formula


def estimates(generator: torch.Generator) -> list[Case]:
    def case(about: str, w: float) -> Case:
        x_c, x_u = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
        return Case(about, (x_c, x_u, w))

    return [case("w = 3", 3.0), case("w = 1, where guidance is off", 1.0), case("w = 0, without the caption", 0.0)]


guided = Exercise(
    "guided",
    LESSON,
    reference=guide,
    cases=estimates,
    learned="from x_u through x_c and beyond, w times as far.",
    points=2,
    minutes=4,
    level=1,
)


@guided.mistake
def papers_other_w(x_c, x_u, w):
    """You wrote (1 + w) x_c − w x_u, in which w = 0 is off. Imagen, whose w we use, is off at w = 1."""
    return (1 + w) * x_c - w * x_u


@guided.mistake
def swapped(x_c, x_u, w):
    """The two estimates have changed places: you go away from the caption. At w = 1 it must be x_c that is left."""
    return w * x_u + (1 - w) * x_c


@guided.mistake
def away(x_c, x_u, w):
    """Your way leads from x_c to x_u, and so away from the caption. It is x_c − x_u, and it begins at x_u."""
    return x_u + w * (x_u - x_c)


@guided.mistake
def w_minus_one(x_c, x_u, w):
    """You weighed x_u with w − 1 where 1 − w is meant, and so added what is to be taken away. The weights must add up
    to one: put x_c = x_u, and x̃ must be the same again."""
    return w * x_c + (w - 1) * x_u


@guided.mistake
def only_the_difference(x_c, x_u, w):
    """You returned w (x_c − x_u), which is the way alone. It begins at x_u: add it."""
    return w * (x_c - x_u)


@guided.mistake
def two_of_them(x_c, x_u, w):
    """Only x_c has the factor w, and x_u is taken away whole. Its weight is 1 − w, so that both add up to one."""
    return w * x_c - x_u


@guided.mistake
def no_guidance(x_c, x_u, w):
    """You returned x_c, whatever w is. That is right at w = 1 alone."""
    return x_c.clone()


# One batched pass


def one_pass(
    estimate: Callable[[Tensor, Tensor, Tensor], Tensor], z: Tensor, t: Tensor, tokens: Tensor, null: Tensor, w: float
) -> Tensor:
    """x̃ from one call estimate(z, t, tokens) of both halves, captions first; at w = 1 of the captions alone"""
    if w == 1:
        return estimate(z, t, tokens)
    x = estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, null.expand_as(tokens)]))
    x_c, x_u = x.chunk(2)
    return w * x_c + (1 - w) * x_u


def telling(z: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
    """No network, but a function of all it is given, and of how many pictures it is asked for at once."""
    if not len(z) == len(t) == len(tokens):
        raise ValueError(f"{len(z)} pictures, {len(t)} times and {len(tokens)} captions are no batch")
    said = tokens.mean((1, 2)).view(-1, 1, 1, 1)
    return torch.tanh(z + said) * (1 + t.view(-1, 1, 1, 1)) + 0.1 * len(z)


def halves(generator: torch.Generator) -> list[Case]:
    def case(about: str, count: int, w: float) -> Case:
        z, t = torch.randn(count, 3, 4, 4, generator=generator), torch.rand(count, generator=generator)
        tokens, null = (torch.randn(n, 5, 6, generator=generator) for n in (count, 1))
        return Case(about, (telling, z, t, tokens, null, w))

    return [
        case("three pictures, w = 4", 3, 4.0),
        case("two pictures, w = 1: half the work", 2, 1.0),
        case("two pictures, w = 0.5, between the two", 2, 0.5),
    ]


both_at_once = Exercise(
    "both_at_once",
    LESSON,
    reference=one_pass,
    cases=halves,
    learned="two estimates from one pass; and none that is not needed.",
    borrowed=(guide, Guided.__call__),
    points=3,
    minutes=10,
    level=2,
)


def _mixed(x: Tensor, w: float) -> Tensor:
    x_c, x_u = x.chunk(2)
    return w * x_c + (1 - w) * x_u


@both_at_once.mistake
def one_after_the_other(estimate, z, t, tokens, null, w):
    """You asked twice, for one half after the other. (The check's network gives away how many pictures it sees at
    once.) Put both into one batch of twice the length: most machines answer that sooner than two questions."""
    if w == 1:
        return estimate(z, t, tokens)
    return w * estimate(z, t, tokens) + (1 - w) * estimate(z, t, null.expand_as(tokens))


@both_at_once.mistake
def halves_swapped(estimate, z, t, tokens, null, w):
    """Your halves have changed places: what you put in first comes out first."""
    if w == 1:
        return estimate(z, t, tokens)
    x = estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([null.expand_as(tokens), tokens]))
    return _mixed(x, w)


@both_at_once.mistake
def interleaved(estimate, z, t, tokens, null, w):
    """Your `repeat_interleave` puts each picture's two copies side by side: a a b b. Then the captions, and `chunk(2)`,
    belong to others. Use `torch.cat([z, z])`: a b a b."""
    if w == 1:
        return estimate(z, t, tokens)
    x = estimate(
        z.repeat_interleave(2, 0), t.repeat_interleave(2), torch.cat([tokens, null.expand_as(tokens)])
    )  # fmt: skip
    return _mixed(x, w)


@both_at_once.mistake
def captions_twice(estimate, z, t, tokens, null, w):
    """Both halves were given the captions, so that guidance has nothing to compare with. The second half gets the null
    text."""
    if w == 1:
        return estimate(z, t, tokens)
    return _mixed(estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, tokens])), w)


@both_at_once.mistake
def always_both(estimate, z, t, tokens, null, w):
    """At w = 1 you asked for both halves, and multiplied one of them by 0. Ask for the captions alone: it is half the
    work."""
    return _mixed(estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, null.expand_as(tokens)])), w)


@both_at_once.mistake
def off_below_one(estimate, z, t, tokens, null, w):
    """You asked for the captions alone at every w up to 1. Below 1 the two halves are mixed as above it: only at w = 1
    itself has the null text no weight."""
    if w <= 1:
        return estimate(z, t, tokens)
    return _mixed(estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, null.expand_as(tokens)])), w)


@both_at_once.mistake
def still_two_halves(estimate, z, t, tokens, null, w):
    """You returned the pass as it is, twice as many pictures as asked for. Cut it in two with `chunk(2)`, and guide."""
    if w == 1:
        return estimate(z, t, tokens)
    return estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, null.expand_as(tokens)]))


@both_at_once.mistake
def zeros_for_null(estimate, z, t, tokens, null, w):
    """Your second half has zeros for text. This network has learned to draw without a caption from `null`."""
    if w == 1:
        return estimate(z, t, tokens)
    return _mixed(estimate(torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, 0 * tokens])), w)


@both_at_once.mistake
def guided_by_another_w(estimate, z, t, tokens, null, w):
    """Your pass is right, and the formula is the one in which w = 0 is off. Ours is w·x_c + (1 − w)·x_u."""
    if w == 1:
        return estimate(z, t, tokens)
    x_c, x_u = estimate(
        torch.cat([z, z]), torch.cat([t, t]), torch.cat([tokens, null.expand_as(tokens)])
    ).chunk(2)  # fmt: skip
    return (1 + w) * x_c - w * x_u


# Another codebase's w


def weight_of_the_caption(formula: Callable[[float, float, float], float], scale: float) -> float | None:
    """w = formula(1, 0, scale), if the formula is one at all: formula(1, 1, scale) must be 1; else None"""
    if abs(formula(1.0, 1.0, scale) - 1) > 1e-6:
        return None
    return formula(1.0, 0.0, scale)


def imagen(x_c: float, x_u: float, scale: float) -> float:
    return scale * x_c + (1 - scale) * x_u


def ho_and_salimans(x_c: float, x_u: float, scale: float) -> float:
    return (1 + scale) * x_c - scale * x_u


def from_the_null(x_c: float, x_u: float, scale: float) -> float:
    return x_u + scale * (x_c - x_u)


def in_percent(x_c: float, x_u: float, scale: float) -> float:
    return x_c + scale / 100 * (x_c - x_u)


def way_alone(x_c: float, x_u: float, scale: float) -> float:
    return scale * (x_c - x_u)


def sign_lost(x_c: float, x_u: float, scale: float) -> float:
    return scale * x_c + (scale - 1) * x_u


FORMULAS: dict[str, Callable[..., float]] = {
    "Imagen": imagen,
    "Ho and Salimans": ho_and_salimans,
    "from the null": from_the_null,
    "in percent": in_percent,
    "way alone": way_alone,
    "sign lost": sign_lost,
}


def formulas(generator: torch.Generator) -> list[Case]:
    scale = 2 + float(torch.rand((), generator=generator))
    return [
        Case("(1 + s) x_c − s x_u, of Ho and Salimans", (ho_and_salimans, scale)),
        Case("s x_c + (1 − s) x_u, Imagen's own", (imagen, scale + 1)),
        Case("x_u + s (x_c − x_u), as in diffusers", (from_the_null, 7.5)),
        Case("x_c + s/100 (x_c − x_u), a dial in percent", (in_percent, 250.0)),
        Case("s x_c + (s − 1) x_u, whose weights do not add up to one", (sign_lost, scale)),
        Case("s (x_c − x_u), whose weights add up to zero", (way_alone, scale)),
        Case("(1 + s) x_c − s x_u at s = 7.3, whose weights add up to 1.0000000000000009", (ho_and_salimans, 7.3)),
    ]


our_w = Exercise(
    "our_w",
    LESSON,
    reference=weight_of_the_caption,
    cases=formulas,
    learned="a formula tells its convention, if asked with ones and zeros.",
    points=2,
    minutes=8,
    level=2,
)


@our_w.mistake
def only_too_much(formula, scale):
    """You asked whether the sum is above 1. It may be below as well: compare abs(sum − 1)."""
    return None if formula(1.0, 1.0, scale) - 1 > 1e-6 else formula(1.0, 0.0, scale)


@our_w.mistake
def trusting(formula, scale):
    """You found a w in a formula that is no guidance: with x_c = x_u it must give the same again, and this one does
    not. Ask it with two ones first, and return None unless that gives 1, neither more nor less."""
    return formula(1.0, 0.0, scale)


@our_w.mistake
def to_the_last_digit(formula, scale):
    """You asked for a sum of exactly 1, and computers round: allow for a millionth."""
    return formula(1.0, 0.0, scale) if formula(1.0, 1.0, scale) == 1 else None


@our_w.mistake
def made_to_fit(formula, scale):
    """You divided by the sum of the weights. That makes a guidance of what is none: such a formula has no w, so return
    None."""
    return formula(1.0, 0.0, scale) / formula(1.0, 1.0, scale)


@our_w.mistake
def as_it_is(formula, scale):
    """You took the scale as it is. What it means is in the formula: ask it with x_c = 1 and x_u = 0."""
    return scale


@our_w.mistake
def weight_of_the_null(formula, scale):
    """You asked for the weight of x_u, which is 1 − w. Put x_c = 1 and x_u = 0."""
    return None if abs(formula(1.0, 1.0, scale) - 1) > 1e-6 else formula(0.0, 1.0, scale)


@our_w.mistake
def sum_of_the_weights(formula, scale):
    """You returned the sum of both weights, which is 1 for every true guidance. Put x_c = 1 and x_u = 0."""
    return formula(1.0, 1.0, scale)


@our_w.mistake
def one_more(formula, scale):
    """You added 1, whoever wrote the formula. That is right for Ho and Salimans; ask the formula which it is."""
    return None if abs(formula(1.0, 1.0, scale) - 1) > 1e-6 else scale + 1


@our_w.mistake
def difference_of_the_weights(formula, scale):
    """You took one weight from the other, which gives 2w − 1. The weight of x_c alone is w."""
    return None if abs(formula(1.0, 1.0, scale) - 1) > 1e-6 else formula(1.0, 0.0, scale) - formula(0.0, 1.0, scale)
