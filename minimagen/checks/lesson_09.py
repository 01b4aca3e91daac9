"""Lesson 09, evaluation: what is wrong with a picture, how sure a score is, and how far two sets of pictures are."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from minimagen.toyland.stats import frechet

from .frame import RANDOM, Case, Exercise

LESSON = "09_evaluation"
Thing = dict[str, str]


# A picture against its caption


def fewest_faults(wanted: list[Thing], pictures: list[list[Thing]]) -> list[int]:
    """For each picture the faults of the best pairing: said attributes that are not so, and one for each thing more."""

    def of(seen: list[Thing]) -> int:
        padded = [*seen, *({} for _ in wanted)]  # a thing that is missing shows nothing
        pairings = itertools.permutations(padded, len(wanted))
        wrong = min(sum(t.get(k) != v for w, t in zip(wanted, p) for k, v in w.items()) for p in pairings)
        return wrong + max(0, len(seen) - len(wanted))

    return [of(seen) for seen in pictures]


NAMES = {"shape": ("cube", "sphere", "cone"), "color": ("red", "blue", "green"), "size": ("small", "large")}


def shown(generator: torch.Generator) -> list[Case]:
    def pick(names: tuple[str, ...]) -> str:
        return names[int(torch.randint(len(names), (), generator=generator))]

    def thing() -> Thing:
        return {kind: pick(names) for kind, names in NAMES.items()}

    def things(n: int) -> list[Thing]:
        return [thing() for _ in range(n)]

    two = [{"color": "red", "shape": "cube"}, {"color": "blue", "shape": "sphere"}]
    trap = [{"shape": "cube"}, {"shape": "cube", "color": "red", "size": "large"}]
    three = [{"shape": "cone", "size": "small"}, {"color": "green"}, {"color": "red", "shape": "cone"}]
    cube = {"shape": "cube", "color": "red", "size": "large"}
    swapped = [
        {"shape": "cube", "color": "blue", "size": "small"},
        {"shape": "sphere", "color": "red", "size": "small"},
    ]
    behind = [{"shape": "cone", "color": "green", "size": "small"}, swapped[1] | {"color": "blue"}, cube]
    numbers = [2, 2, 1, 3, 2, 3, 4, 1, 2, 2, 0]
    return [
        Case("“a red cube and a blue sphere” and thirteen pictures", (two, [swapped, behind, *map(things, numbers)])),
        Case("“a cube and a large red cube” and twelve", (trap, [[cube, swapped[0]], *map(things, numbers)])),
        Case("“a small cone, a green thing and a red cone” and eleven", (three, [*map(things, numbers)])),
    ]


matched = Exercise(
    "matched",
    LESSON,
    reference=fewest_faults,
    cases=shown,
    learned="the picture gets the benefit of the best pairing, and of nothing else.",
    points=4,
    minutes=12,
    level=3,
)


def _each(pictures, of):
    return [of(seen) for seen in pictures]


def _wrong(want, thing):
    return sum(thing.get(k) != v for k, v in want.items())


def _extra(wanted, seen):
    return max(0, len(seen) - len(wanted))


@matched.mistake
def bag_of_words(wanted, pictures):
    """You asked whether each word is to be seen somewhere. A blue cube and a red sphere would pass for a red cube and a
    blue sphere: the words of one thing must be true of one thing."""

    def of(seen):
        missing = sum(v not in [t[k] for t in seen] for want in wanted for k, v in want.items())
        return missing + _extra(wanted, seen)

    return _each(pictures, of)


@matched.mistake
def in_order(wanted, pictures):
    """You compared the first with the first, and the second with the second. What is seen comes in no order: try every
    pairing, and keep the best."""

    def of(seen):
        padded = [*seen, *({} for _ in wanted)]
        return sum(_wrong(w, t) for w, t in zip(wanted, padded)) + _extra(wanted, seen)

    return _each(pictures, of)


@matched.mistake
def twice(wanted, pictures):
    """One thing served for two: it cannot be both cubes of “two cubes”. Each thing that is seen belongs to one that is
    wanted, at most."""

    def of(seen):
        return sum(min(_wrong(w, t) for t in [*seen, {}]) for w in wanted) + _extra(wanted, seen)

    return _each(pictures, of)


@matched.mistake
def greedy(wanted, pictures):
    """You gave each wanted thing the best that was left, one after the other. “A cube” may take the red one away from
    “a red cube”, which comes later: try every pairing, and keep the best."""

    def of(seen):
        left, wrong = [*seen, *({} for _ in wanted)], 0
        for w in wanted:
            best = min(left, key=lambda t: _wrong(w, t))
            left = [t for t in left if t is not best]
            wrong += _wrong(w, best)
        return wrong + _extra(wanted, seen)

    return _each(pictures, of)


def _best(wanted, seen, cost):
    padded = [*seen, *({} for _ in wanted)]
    return min(sum(cost(w, t) for w, t in zip(wanted, p)) for p in itertools.permutations(padded, len(wanted)))


@matched.mistake
def first_ones_alone(wanted, pictures):
    """You paired only the things that are seen first, as many as were wanted. The right ones may come later: pair with
    any of those that are seen."""
    return _each(pictures, lambda seen: _best(wanted, seen[: len(wanted)], _wrong) + _extra(wanted, seen))


@matched.mistake
def extras_are_free(wanted, pictures):
    """Things that nobody asked for cost nothing with you. Then a picture of all toys at once is always right: add one
    fault for each thing more than was wanted."""
    return _each(pictures, lambda seen: _best(wanted, seen, _wrong))


@matched.mistake
def missing_is_free(wanted, pictures):
    """A thing that is missing cost nothing with you, so that an empty picture is perfect. It shows none of what was
    said of it: each of those words is a fault."""
    return _each(
        pictures, lambda seen: _best(wanted, seen, lambda w, t: _wrong(w, t) if t else 0) + _extra(wanted, seen)
    )


@matched.mistake
def missing_twice(wanted, pictures):
    """You counted a missing thing twice: once by its words, none of which is shown, and once more as a thing. Only
    things too many cost one each."""
    return _each(pictures, lambda seen: _best(wanted, seen, _wrong) + abs(len(seen) - len(wanted)))


@matched.mistake
def right_or_wrong(wanted, pictures):
    """You gave 1 for every picture that has a fault. Asked is how many it has."""
    return _each(pictures, lambda seen: int(_best(wanted, seen, _wrong) + _extra(wanted, seen) > 0))


@matched.mistake
def empties_are_extra(wanted, pictures):
    """You counted the empty things, which stand in for missing ones, among those that are too many: compare the number
    wanted with the number that was seen, before you added any."""
    return _each(pictures, lambda seen: _best(wanted, seen, _wrong) + len(seen))


@matched.mistake
def things_not_words(wanted, pictures):
    """You counted wrong things, or one fault for a thing that is missing. Count the words: a cube of the wrong colour
    and size is wrong twice."""
    return _each(pictures, lambda seen: _best(wanted, seen, lambda w, t: int(_wrong(w, t) > 0)) + _extra(wanted, seen))


@matched.mistake
def what_was_not_said(wanted, pictures):
    """You also counted what nobody asked for: “a cube” may have any colour and size. Only words that were said can be
    wrong."""

    def cost(w, t):
        return sum(t.get(k) != w.get(k) for k in NAMES)

    return _each(pictures, lambda seen: _best(wanted, seen, cost) + _extra(wanted, seen))


# How sure is a score?


def middle(right: Tensor, picks: Tensor) -> Tensor:
    """(low, high): between them lie 95 % of the means of resampled prompts"""
    of_prompts = right.mean(1)  # (prompts,)
    means = of_prompts[picks].mean(1)  # (draws,)
    return torch.quantile(means, torch.tensor([0.025, 0.975]))


def verdicts(generator: torch.Generator) -> list[Case]:
    def case(about: str, prompts: int, pictures: int, draws: int) -> Case:
        hard = torch.rand(prompts, 1, generator=generator)  # some prompts are harder than others
        right = (torch.rand(prompts, pictures, generator=generator) > hard).float()
        right[0, 0], right[1, 0], right[0, 1] = 1.0, 0.0, 0.0
        return Case(about, (right, torch.randint(prompts, (draws, prompts), generator=generator)))

    return [
        case("20 prompts with 4 pictures each, resampled 300 times", 20, 4, 300),
        case("9 prompts with 3 pictures each, resampled 200 times", 9, 3, 200),
        case("20 prompts with 4 pictures each, resampled 25 times", 20, 4, 25),  # few: neighbouring means are no ties
    ]


interval = Exercise(
    "interval",
    LESSON,
    reference=middle,
    cases=verdicts,
    learned="had other prompts been written, the score would have fallen about so far from yours.",
    points=3,
    minutes=8,
    level=2,
)


@interval.mistake
def pictures_alone(right, picks):
    """You took every picture for evidence of its own (mean ± 1.96 spread / √pictures). The pictures of one prompt share
    its difficulty: resample the prompts, and average each prompt's pictures first."""
    flat = right.flatten()
    half = 1.96 * flat.std() / len(flat) ** 0.5
    return torch.stack([flat.mean() - half, flat.mean() + half])


@interval.mistake
def of_one_prompt(right, picks):
    """This is the range of single prompts' scores. How sure their *mean* is, the means of the resampled prompts tell:
    `[picks]`, then the mean of each draw."""
    return torch.quantile(right.mean(1), torch.tensor([0.025, 0.975]))


@interval.mistake
def picks_of_pictures(right, picks):
    """The numbers in `picks` are of prompts, and you took them for numbers of pictures: most were never looked at.
    Average each prompt's pictures first, so that one number a prompt is left."""
    return torch.quantile(right.flatten()[picks].mean(1), torch.tensor([0.025, 0.975]))


@interval.mistake
def bell(right, picks):
    """You gave mean ± 1.96 spreads, as if the means lay in the shape of a bell. The bootstrap needs no shape: take the
    quantiles 0.025 and 0.975 of the means."""
    means = right.mean(1)[picks].mean(1)
    return torch.stack([means.mean() - 1.96 * means.std(), means.mean() + 1.96 * means.std()])


@interval.mistake
def high_first(right, picks):
    """Your high end comes first. It is the low one, then the high one."""
    return torch.quantile(right.mean(1)[picks].mean(1), torch.tensor([0.975, 0.025]))


@interval.mistake
def ninety(right, picks):
    """You cut off 5 % at each end, which leaves 90 %. For 95 % it is 0.025 and 0.975."""
    return torch.quantile(right.mean(1)[picks].mean(1), torch.tensor([0.05, 0.95]))


@interval.mistake
def everything(right, picks):
    """You gave the smallest and the largest mean. They move outwards with every further draw: take the quantiles 0.025
    and 0.975."""
    means = right.mean(1)[picks].mean(1)
    return torch.stack([means.min(), means.max()])


@interval.mistake
def one_sigma(right, picks):
    """You gave mean ± one spread of the means, which holds 68 %. Take the quantiles 0.025 and 0.975 of the means."""
    means = right.mean(1)[picks].mean(1)
    return torch.stack([means.mean() - means.std(), means.mean() + means.std()])


@interval.mistake
def over_the_draws(right, picks):
    """You averaged over the draws, not within each. A draw is a row of `picks`, and has one mean: `.mean(1)`."""
    return torch.quantile(right.mean(1)[picks].mean(0), torch.tensor([0.025, 0.975]))


@interval.mistake
def first_pictures(right, picks):
    """You looked at the first picture of each prompt. All of them count: average over a prompt's pictures."""
    return torch.quantile(right[:, 0][picks].mean(1), torch.tensor([0.025, 0.975]))


@interval.mistake
def best_pictures(right, picks):
    """You took each prompt's best picture. That is cherry-picking, and the score rises with every picture that is
    drawn: take the mean."""
    return torch.quantile(right.amax(1)[picks].mean(1), torch.tensor([0.025, 0.975]))


def own_draws(right, picks):
    picks = torch.randint(len(right), picks.shape)
    return torch.quantile(right.mean(1)[picks].mean(1), torch.tensor([0.025, 0.975]))


interval.mistake(own_draws, says=RANDOM)


# How far are two sets of pictures?


def gaussian_distance(real: Tensor, fake: Tensor) -> Tensor:
    """|μ − μ'|² + tr Σ + tr Σ' − 2 Σ √λ,  λ the eigenvalues of Σ Σ'"""
    far = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = torch.cov(real.T), torch.cov(fake.T)
    roots = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt()
    return far + a.trace() + b.trace() - 2 * roots.sum()


def clouds(generator: torch.Generator) -> list[Case]:
    def case(about: str, n: int, m: int, width: int) -> Case:
        def cloud(count: int) -> Tensor:
            mix = torch.randn(width, width, generator=generator)
            return torch.randn(count, width, generator=generator) @ mix + torch.rand(width, generator=generator)

        apart = torch.arange(width)  # so that the clouds' means differ, each feature's and that of all numbers
        return Case(about, (cloud(n), cloud(m) + apart))

    return [
        case("30 and 20 pictures with 4 features each", 30, 20, 4),
        case("12 and 15 pictures with 3 features each", 12, 15, 3),
        case("12 and 3 pictures with 6 features each, so that some eigenvalues are 0 but for rounding", 12, 3, 6),
    ]


frechet_distance = Exercise(
    "frechet_distance",
    LESSON,
    reference=gaussian_distance,
    cases=clouds,
    learned="0 for two equal clouds; it grows when one is moved, wider, narrower, or turned.",
    borrowed=(frechet,),
    points=4,
    minutes=10,
    level=2,
    tolerance=1e-3,  # roots of what is 0 but for rounding
)


def _parts(real, fake):
    far = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = torch.cov(real.T), torch.cov(fake.T)
    return far, a, b, torch.linalg.eigvals(a @ b).real.clamp(min=0)


@frechet_distance.mistake
def means_alone(real, fake):
    """You compared the means alone. A model that always draws the average picture would be perfect: the covariances
    belong to it."""
    return _parts(real, fake)[0]


@frechet_distance.mistake
def spreads_alone(real, fake):
    """The first term is missing: |μ − μ'|², how far the means are apart."""
    _, a, b, values = _parts(real, fake)
    return a.trace() + b.trace() - 2 * values.sqrt().sum()


@frechet_distance.mistake
def mean_of_everything(real, fake):
    """Your means are of all numbers at once. Each feature has a mean of its own, over the pictures: `.mean(0)`."""
    _, a, b, values = _parts(real, fake)
    return (real.mean() - fake.mean()).square() + a.trace() + b.trace() - 2 * values.sqrt().sum()


@frechet_distance.mistake
def mean_square(real, fake):
    """You averaged the squares of how far the means are apart. |μ − μ'|² is their sum."""
    far, a, b, values = _parts(real, fake)
    return far / real.shape[1] + a.trace() + b.trace() - 2 * values.sqrt().sum()


@frechet_distance.mistake
def root_of_the_sum(real, fake):
    """You took the root of the eigenvalues' sum. Take the root of each eigenvalue, then the sum."""
    far, a, b, values = _parts(real, fake)
    return far + a.trace() + b.trace() - 2 * values.sum().sqrt()


@frechet_distance.mistake
def as_if_symmetric(real, fake):
    """You used `eigvalsh`, which is for symmetric matrices. Σ and Σ' are, but their product is not: use
    `torch.linalg.eigvals`."""
    far, a, b, _ = _parts(real, fake)
    return far + a.trace() + b.trace() - 2 * torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum()


@frechet_distance.mistake
def diagonal_alone(real, fake):
    """You compared each feature's spread by itself. How features go together is in the covariances: use `torch.cov`,
    and the eigenvalues of Σ Σ'."""
    far, *_ = _parts(real, fake)
    return far + (real.std(0) - fake.std(0)).square().sum()


@frechet_distance.mistake
def one_root(real, fake):
    """The 2 before the roots is missing: then two equal clouds are not at distance 0."""
    far, a, b, values = _parts(real, fake)
    return far + a.trace() + b.trace() - values.sqrt().sum()


@frechet_distance.mistake
def no_roots(real, fake):
    """You added up the eigenvalues themselves. It is (Σ Σ')^½: take the root of each first."""
    far, a, b, values = _parts(real, fake)
    return far + a.trace() + b.trace() - 2 * values.sum()


@frechet_distance.mistake
def root_of_each_number(real, fake):
    """You took the root of each number in the matrix Σ Σ'. The root of a matrix is another thing; its trace is the sum
    of the roots of the eigenvalues."""
    far, a, b, _ = _parts(real, fake)
    return far + a.trace() + b.trace() - 2 * (a @ b).clamp(min=0).sqrt().trace()


@frechet_distance.mistake
def rooted(real, fake):
    """You took the root at the end. What is called the Fréchet distance of pictures is its square."""
    far, a, b, values = _parts(real, fake)
    return (far + a.trace() + b.trace() - 2 * values.sqrt().sum()).clamp(min=0).sqrt()


@frechet_distance.mistake
def unsquared_means(real, fake):
    """The means' distance is not squared: it is |μ − μ'|², the sum of the squares."""
    _, a, b, values = _parts(real, fake)
    return (real.mean(0) - fake.mean(0)).norm() + a.trace() + b.trace() - 2 * values.sqrt().sum()


@frechet_distance.mistake
def divided_by_n(real, fake):
    """You divided the covariances by N. Their mean was taken from the same pictures, so it is N − 1, as `torch.cov`
    does."""
    far, *_ = _parts(real, fake)
    a, b = torch.cov(real.T, correction=0), torch.cov(fake.T, correction=0)
    return far + a.trace() + b.trace() - 2 * torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
