"""Lesson 08, editing: the start of image-to-image, the known region at the step's own noise level, and a step back."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.conditioning import augment
from minimagen.edit import Known
from minimagen.sampler import again
from minimagen.sampler import times as the_times
from minimagen.schedule import CosineSchedule, LinearSchedule, Schedule

from .frame import RANDOM, Case, Exercise

LESSON = "08_editing"


# The start of image-to-image


def started(x: Tensor, noise: Tensor, strength: float, steps: int, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """z = α x + σ n at t = strength, and the steps + 1 times from there down to 0."""
    times = torch.linspace(strength, 0, steps + 1)
    alpha, sigma = schedule(times[0], like=x)
    return alpha * x + sigma * noise, times


def pictures(generator: torch.Generator) -> list[Case]:
    x, noise = (torch.randn(2, 3, 6, 6, generator=generator) for _ in range(2))
    return [
        Case("two pictures, strength 0.6 and 10 steps", (x, noise, 0.6, 10, CosineSchedule())),
        Case("strength 0.3 and 4 steps, under the linear schedule", (x, noise, 0.3, 4, LinearSchedule())),
        Case("strength 1, which is drawing from noise", (x, noise, 1.0, 5, CosineSchedule())),
    ]


image_start = Exercise(
    "image_start",
    LESSON,
    reference=started,
    cases=pictures,
    learned="the sampler begins in the middle of its way, at a z such as training has shown it there.",
    borrowed=(augment, the_times),
    points=2,
    minutes=6,
    level=1,
)


def _start(x, noise, strength, steps, schedule):
    times = torch.linspace(strength, 0, steps + 1)
    return *schedule(times[0], like=x), times


@image_start.mistake
def noise_plus_picture(x, noise, strength, steps, schedule):
    """You added noise + picture. A published codebase begins like this, and the network gets a z that no training has
    shown it: weigh the picture with α and the noise with σ."""
    return x + noise, _start(x, noise, strength, steps, schedule)[2]


@image_start.mistake
def swapped(x, noise, strength, steps, schedule):
    """α and σ have changed places: a small strength must leave most of the picture."""
    alpha, sigma, times = _start(x, noise, strength, steps, schedule)
    return sigma * x + alpha * noise, times


@image_start.mistake
def variances(x, noise, strength, steps, schedule):
    """You weighed with α² and σ². Picture and noise themselves are multiplied by α and σ, as `schedule` gives them."""
    alpha, sigma, times = _start(x, noise, strength, steps, schedule)
    return alpha**2 * x + sigma**2 * noise, times


@image_start.mistake
def strength_as_weight(x, noise, strength, steps, schedule):
    """You mixed (1 − strength) x + strength n. strength is a time: ask the schedule how much picture is left then."""
    return (1 - strength) * x + strength * noise, _start(x, noise, strength, steps, schedule)[2]


@image_start.mistake
def from_the_top(x, noise, strength, steps, schedule):
    """Your times begin at 1, and your z is at t = strength. The network would be told of more noise than there is: the
    first time is where z stands."""
    alpha, sigma, _ = _start(x, noise, strength, steps, schedule)
    return alpha * x + sigma * noise, torch.linspace(1, 0, steps + 1)


@image_start.mistake
def upwards(x, noise, strength, steps, schedule):
    """Your times go up, from 0 to strength. Drawing goes down: from strength, where z stands, to 0."""
    alpha, sigma, times = _start(x, noise, strength, steps, schedule)
    return alpha * x + sigma * noise, times.flip(0)


@image_start.mistake
def no_picture_left(x, noise, strength, steps, schedule):
    """You begin at t = 1, where no picture is left. The first of the times is strength, and z stands there."""
    alpha, sigma, _ = _start(x, noise, 1.0, steps, schedule)
    return alpha * x + sigma * noise, torch.linspace(1, 0, steps + 1)


@image_start.mistake
def no_noise_yet(x, noise, strength, steps, schedule):
    """Your times go up, and so your z is at t = 0, the clean picture. Drawing goes down: from strength to 0."""
    alpha, sigma, _ = _start(x, noise, 0.0, steps, schedule)
    return alpha * x + sigma * noise, torch.linspace(0, strength, steps + 1)


@image_start.mistake
def the_other_way(x, noise, strength, steps, schedule):
    """You began at t = 1 − strength. Here a strength of 1 forgets the picture, and one near 0 keeps it: begin at
    t = strength."""
    alpha, sigma, times = _start(x, noise, 1 - strength, steps, schedule)
    return alpha * x + sigma * noise, times


@image_start.mistake
def without_noise(x, noise, strength, steps, schedule):
    """Your z is the dimmed picture without noise. The network finds nothing to take away, and redraws nothing: add
    σ n."""
    alpha, _, times = _start(x, noise, strength, steps, schedule)
    return alpha * x, times


@image_start.mistake
def one_time_too_few(x, noise, strength, steps, schedule):
    """There is one time too few: n steps have n + 1 ends."""
    alpha, sigma, _ = _start(x, noise, strength, steps, schedule)
    return alpha * x + sigma * noise, torch.linspace(strength, 0, steps)


@image_start.mistake
def part_of_the_grid(x, noise, strength, steps, schedule):
    """You kept the last of the usual times, as diffusers does, and so a weak edit takes fewer steps. That works; here
    all the steps are to go into the shorter way."""
    alpha, sigma, _ = _start(x, noise, strength, steps, schedule)
    times = torch.linspace(1, 0, steps + 1)
    return alpha * x + sigma * noise, times[times <= strength + 1e-6]


# The known region


def kept(z: Tensor, known: Tensor, repaint: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """z where `repaint`, and α known + σ n elsewhere."""
    there = alpha * known + sigma * noise
    return repaint * z + (1 - repaint) * there


def half_known(generator: torch.Generator) -> list[Case]:
    z, known, noise = (torch.randn(2, 3, 6, 6, generator=generator) for _ in range(3))
    half = torch.zeros(1, 1, 6, 6)
    half[..., 2:] = 1
    soft = torch.rand(2, 1, 6, 6, generator=generator)
    soft[..., 0], soft[..., -1] = 0, 1

    def case(about: str, mask: Tensor, t: float) -> Case:
        return Case(about, (z, known, mask, noise, *CosineSchedule()(t, like=z)))

    return [
        case("two pictures, the right part of which is new, at t = 0.6", half, 0.6),
        case("a mask that is soft, at t = 0.3", soft, 0.3),
        case("t = 0, where the known is as it is", half, 0.0),
    ]


put_in = Exercise(
    "put_in",
    LESSON,
    reference=kept,
    cases=half_known,
    learned="what is known is as noisy as what is new, at every step, and at t = 0 it is itself.",
    borrowed=(augment, Known.__call__),
    points=3,
    minutes=7,
    level=2,
)


def _mixed(z, there, repaint):
    return repaint * z + (1 - repaint) * there


@put_in.mistake
def clean(z, known, repaint, noise, alpha, sigma):
    """You put the known region in clean. Two published codebases do so at every step, and the network, which expects
    noise everywhere, sees a seam: take it to the noise level of z first, by α and σ."""
    return _mixed(z, known, repaint)


@put_in.mistake
def clean_and_dimmed(z, known, repaint, noise, alpha, sigma):
    """The known region is dimmed by α, but the noise is missing: add σ n."""
    return _mixed(z, alpha * known, repaint)


@put_in.mistake
def inside_out(z, known, repaint, noise, alpha, sigma):
    """Your mask is inside out. Here 1 means: new pixels go here. In imagen-pytorch it means: keep these, which is why
    the mask of this course is called `repaint`."""
    return _mixed(z, alpha * known + sigma * noise, 1 - repaint)


@put_in.mistake
def swapped_weights(z, known, repaint, noise, alpha, sigma):
    """α and σ have changed places: at t = 0, where α = 1, the known region must be itself."""
    return _mixed(z, sigma * known + alpha * noise, repaint)


@put_in.mistake
def squares(z, known, repaint, noise, alpha, sigma):
    """You weighed with α² and σ². Picture and noise themselves are multiplied by α and σ."""
    return _mixed(z, alpha**2 * known + sigma**2 * noise, repaint)


@put_in.mistake
def noise_and_known(z, known, repaint, noise, alpha, sigma):
    """You put in known + noise, at every level the same. Weigh the picture with α and the noise with σ."""
    return _mixed(z, known + noise, repaint)


@put_in.mistake
def only_where_one(z, known, repaint, noise, alpha, sigma):
    """You took z only where `repaint` is exactly 1. Between 0 and 1 both have a share: repaint · z + (1 − repaint) ·
    the known."""
    return torch.where(repaint == 1, z, alpha * known + sigma * noise)


@put_in.mistake
def everywhere(z, known, repaint, noise, alpha, sigma):
    """You put the known picture in everywhere, and nothing new can appear. Where `repaint` is 1, z stays as it is."""
    return alpha * known + sigma * noise


@put_in.mistake
def black(z, known, repaint, noise, alpha, sigma):
    """You took the old pixels away, but put none in: add the known region where `repaint` is 0."""
    return repaint * z


@put_in.mistake
def hard(z, known, repaint, noise, alpha, sigma):
    """You made the mask hard. On its edge it may lie between 0 and 1, as when a mask is made smaller: mix in
    proportion."""
    return torch.where(repaint > 0.5, z, alpha * known + sigma * noise)


@put_in.mistake
def anything_above_zero(z, known, repaint, noise, alpha, sigma):
    """You took z wherever `repaint` is not 0. Between 0 and 1 both have a share: mix them with the weights `repaint`
    and 1 − `repaint`."""
    return torch.where(repaint.bool(), z, alpha * known + sigma * noise)


@put_in.mistake
def noise_upon_noise(z, known, repaint, noise, alpha, sigma):
    """You added noise everywhere. z has its noise already: only the known region is to be brought to its level."""
    return alpha * _mixed(z, known, repaint) + sigma * noise


def fresh(z, known, repaint, noise, alpha, sigma):
    return _mixed(z, alpha * known + sigma * torch.randn_like(z), repaint)


put_in.mistake(fresh, says=RANDOM)


# A step back


def returned(z: Tensor, noise: Tensor, alpha_s: Tensor, sigma_s: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> Tensor:
    """z_t = a z_s + √(σ_t² − a² σ_s²) n,  a = α_t / α_s"""
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 - a**2 * sigma_s**2).sqrt() * noise


def from_s(generator: torch.Generator) -> list[Case]:
    z, noise = (torch.randn(2, 3, 5, 5, generator=generator) for _ in range(2))

    def case(about: str, s: float, t: float) -> Case:
        return Case(about, (z, noise, *CosineSchedule()(s, like=z), *CosineSchedule()(t, like=z)))

    return [
        case("a step back from s = 0.5 to t = 0.7", 0.5, 0.7),
        case("a step back from s = 0.2 to t = 0.3", 0.2, 0.3),
        case("a step back from the clean picture, s = 0, to t = 0.4", 0.0, 0.4),
    ]


go_back = Exercise(
    "go_back",
    LESSON,
    reference=returned,
    cases=from_s,
    learned="from s to t as noise would have gone: the variances are right, and nobody can tell that you were at s.",
    borrowed=(augment, again),
    points=3,
    minutes=9,
    level=3,
)


@go_back.mistake
def from_clean(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You jumped as from the clean picture. z is at s, where noise is in it and some picture is gone already: dim it by
    α_t / α_s, and add only the noise that is missing."""
    return alpha_t * z + sigma_t * noise


@go_back.mistake
def all_the_noise(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You dimmed rightly, and added all of σ_t. There is noise in z already, a² σ_s² of its variance: add what is
    missing."""
    return alpha_t / alpha_s * z + sigma_t * noise


@go_back.mistake
def noise_not_dimmed(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You added √(σ_t² − σ_s²). When z is dimmed by a, the noise in it is dimmed too: only a² σ_s² is left of its
    variance."""
    return alpha_t / alpha_s * z + (sigma_t**2 - sigma_s**2).sqrt() * noise


@go_back.mistake
def picture_not_dimmed(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You added noise and did not dim z. At t less of the picture is left than at s: multiply z by α_t / α_s."""
    return z + (sigma_t**2 - sigma_s**2).sqrt() * noise


@go_back.mistake
def spreads_subtracted(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You subtracted σ from σ, or took `noise` out of z, in which another noise is. It is the variances of independent
    noises that add up: subtract the squares, then take the root."""
    a = alpha_t / alpha_s
    return a * z + (sigma_t - a * sigma_s) * noise


@go_back.mistake
def a_not_squared(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You took a σ_s² from σ_t². The spread of z's noise becomes a σ_s, and so its variance a² σ_s²: square a as
    well."""
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 - a * sigma_s**2).sqrt() * noise


@go_back.mistake
def variances_added(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You added a² σ_s² to σ_t². That much is in z already: subtract it, and add noise for what is missing."""
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 + a**2 * sigma_s**2).sqrt() * noise


@go_back.mistake
def no_root(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You multiplied the noise with its variance. Its spread is the root of that."""
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 - a**2 * sigma_s**2) * noise


@go_back.mistake
def upside_down(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """Your fraction is upside down. Going back, the picture becomes weaker: a = α_t / α_s is below 1."""
    a = alpha_s / alpha_t
    return a * z + (sigma_t**2 - a**2 * sigma_s**2).sqrt() * noise


@go_back.mistake
def without_new_noise(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    """You dimmed z and added nothing. The time says t, so z must be as noisy as that: add what is missing of σ_t²."""
    return alpha_t / alpha_s * z


def another_noise(z, noise, alpha_s, sigma_s, alpha_t, sigma_t):
    a = alpha_t / alpha_s
    return a * z + (sigma_t**2 - a**2 * sigma_s**2).sqrt() * torch.randn_like(z)


go_back.mistake(another_noise, says=RANDOM)
