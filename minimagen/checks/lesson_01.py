"""Lesson 01, forward noise: the jump to any t, the exact denoiser of a few pictures, one step of DDIM."""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.conditioning import augment
from minimagen.sampler import ddim
from minimagen.schedule import CosineSchedule, LinearSchedule, Schedule

from .frame import RANDOM, Case, Exercise

LESSON = "01_forward_noise"


# The forward jump


def jump(x: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """z = α(t) x + σ(t) ε"""
    alpha, sigma = schedule(t, like=x)
    return alpha * x + sigma * eps


def jumps(generator: torch.Generator) -> list[Case]:
    # four pictures of four pixels a side: there α of shape (4,) goes along the width without an error
    x, eps = (torch.randn(4, 3, 4, 4, generator=generator) for _ in range(2))
    t = torch.rand(4, generator=generator) * 0.6 + 0.2
    more, noise = (torch.randn(2, 3, 8, 6, generator=generator) for _ in range(2))
    return [
        Case("four pictures, each at its own t, under the cosine schedule", (x, t, eps, CosineSchedule())),
        Case("two pictures under the linear schedule", (more, torch.tensor([0.1, 0.9]), noise, LinearSchedule())),
        Case("t = 0 and t = 1", (more, torch.tensor([0.0, 1.0]), noise, CosineSchedule())),
    ]


forward_jump = Exercise(
    "forward_jump",
    LESSON,
    reference=jump,
    cases=jumps,
    learned="one jump lands where all the single steps land, at every t and for each picture of a batch.",
    borrowed=(augment,),
    points=2,
    minutes=5,
    level=1,
)


@forward_jump.mistake
def variances(x, t, eps, schedule):
    """You weighed with α² and σ². Those are shares of the variance; x and ε themselves are multiplied by α and σ, as
    `schedule` gives them."""
    alpha, sigma = schedule(t, like=x)
    return alpha**2 * x + sigma**2 * eps


@forward_jump.mistake
def roots(x, t, eps, schedule):
    """You took roots of α. The ᾱ of the DDPM paper is our α², so the root is already taken: multiply by α and σ as
    `schedule` gives them."""
    alpha, _ = schedule(t, like=x)
    return alpha.sqrt() * x + (1 - alpha).sqrt() * eps


@forward_jump.mistake
def swapped(x, t, eps, schedule):
    """α and σ have changed places: at t = 0, where α = 1, all of the picture must be left."""
    alpha, sigma = schedule(t, like=x)
    return sigma * x + alpha * eps


@forward_jump.mistake
def the_rest(x, t, eps, schedule):
    """You used 1 − α for σ. It is the squares that add up to one: σ = √(1 − α²), which `schedule` gives you."""
    alpha, _ = schedule(t, like=x)
    return alpha * x + (1 - alpha) * eps


@forward_jump.mistake
def straight_line(x, t, eps, schedule):
    """You mixed (1 − t) x + t ε, the straight line of rectified flow. Here t only says where to look on the schedule:
    ask `schedule` for α and σ."""
    t = t.view(-1, 1, 1, 1)
    return (1 - t) * x + t * eps


@forward_jump.mistake
def noise_plus_picture(x, t, eps, schedule):
    """You added noise + picture, whatever t is. A published codebase starts image-to-image like this, and its pictures
    suffer: weigh the picture with α(t) and the noise with σ(t)."""
    return x + eps


@forward_jump.mistake
def undimmed(x, t, eps, schedule):
    """The noise has its weight σ(t), but the picture is not dimmed by α(t), so that the variance grows with t."""
    return x + schedule(t, like=x)[1] * eps


@forward_jump.mistake
def unweighted_noise(x, t, eps, schedule):
    """The picture is dimmed by α(t), but the noise does not have its weight σ(t): at t = 0 there must be none."""
    return schedule(t, like=x)[0] * x + eps


@forward_jump.mistake
def cosine_by_hand(x, t, eps, schedule):
    """You took cos and sin of t, as the first cell of the lesson does. That is nearly the cosine schedule, and no other
    one: ask `schedule` for α and σ."""
    angle = torch.pi / 2 * t.view(-1, 1, 1, 1)
    return angle.cos() * x + angle.sin() * eps


@forward_jump.mistake
def along_the_width(x, t, eps, schedule):
    """α of shape (4,) went along the pictures' width, not along the batch, and no error told you. Ask for
    `schedule(t, like=x)`, which has the shape (B, 1, 1, 1)."""
    alpha, sigma = schedule(t)
    return alpha * x + sigma * eps


@forward_jump.mistake
def first_t_for_all(x, t, eps, schedule):
    """Every picture got the noise of the first one's t. Each has its own: ask for `schedule(t, like=x)`."""
    alpha, sigma = schedule(t[0])
    return alpha * x + sigma * eps


def own_noise(x, t, eps, schedule):
    alpha, sigma = schedule(t, like=x)
    return alpha * x + sigma * torch.randn_like(x)


forward_jump.mistake(own_noise, says=RANDOM)


# The exact denoiser


def posterior_mean(z: Tensor, pictures: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x̂ = Σ wᵢ xᵢ,  w = softmax(−|z − α xᵢ|² / 2σ²)"""
    far = (z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).sum(2)  # (B, N)
    w = torch.softmax(-far / (2 * sigma.view(-1, 1) ** 2), dim=1)
    return torch.einsum("bn,nchw->bchw", w, pictures)


def mixtures(generator: torch.Generator) -> list[Case]:
    def case(about: str, count: int, size: int, t: Tensor, grain: tuple[float, ...] = (1.0,)) -> Case:
        pictures = 0.3 * torch.randn(count, 3, size, size, generator=generator)
        which = torch.randint(count, (len(t),), generator=generator)
        alpha, sigma = CosineSchedule()(t, like=pictures[which])
        noise = torch.randn(len(t), 3, size, size, generator=generator)
        z = alpha * pictures[which] + torch.tensor(grain).view(-1, 1, 1, 1) * sigma * noise
        return Case(about, (z, pictures, alpha, sigma))

    return [
        case("three noisy pictures and a data set of five", 5, 4, torch.tensor([0.5, 0.65, 0.8])),
        case("little noise, so that distances count in thousands of σ²", 4, 24, torch.tensor([0.05, 0.1]), (1.0, 1.6)),
        case("pure noise", 3, 4, torch.tensor([1.0, 1.0])),
    ]


exact_x = Exercise(
    "exact_x",
    LESSON,
    reference=posterior_mean,
    cases=mixtures,
    learned="no network can do better on these pictures: this is the mean of all that z may have been.",
    points=4,
    minutes=12,
    level=2,
)


def _weigh(z, pictures, alpha, sigma, far=None, scale=None, dim=1):
    """The right answer with one thing changed."""
    far = (z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).sum(2) if far is None else far
    scale = 2 * sigma.view(-1, 1) ** 2 if scale is None else scale
    return torch.einsum("bn,nchw->bchw", torch.softmax(-far / scale, dim=dim), pictures)


@exact_x.mistake
def no_alpha(z, pictures, alpha, sigma):
    """You compared z with the pictures xᵢ. Noise dims a picture first: compare with α xᵢ."""
    return _weigh(z, pictures, alpha, sigma, far=(z[:, None] - pictures).flatten(2).pow(2).sum(2))


@exact_x.mistake
def no_square(z, pictures, alpha, sigma):
    """You divided by 2σ. A Gaussian's exponent has its variance: divide by 2σ²."""
    return _weigh(z, pictures, alpha, sigma, scale=2 * sigma.view(-1, 1))


@exact_x.mistake
def no_two(z, pictures, alpha, sigma):
    """You divided by σ², and the 2 of 2σ² is missing: the weights become too sure."""
    return _weigh(z, pictures, alpha, sigma, scale=sigma.view(-1, 1) ** 2)


@exact_x.mistake
def farthest(z, pictures, alpha, sigma):
    """The farthest picture weighs most. Put a minus before the distance."""
    return _weigh(z, pictures, alpha, sigma, scale=-2 * sigma.view(-1, 1) ** 2)


@exact_x.mistake
def mean_over_pixels(z, pictures, alpha, sigma):
    """You took the mean of the squares over the pixels. Each pixel is evidence of its own, so that they add up: take
    the sum."""
    return _weigh(z, pictures, alpha, sigma, far=(z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).mean(2))


@exact_x.mistake
def summed_before_squared(z, pictures, alpha, sigma):
    """You added the differences up and squared the sum, so that those above and below cancel out. First square each
    one, then add up."""
    return _weigh(z, pictures, alpha, sigma, far=(z[:, None] - alpha[:, None] * pictures).flatten(2).sum(2).pow(2))


@exact_x.mistake
def rooted(z, pictures, alpha, sigma):
    """You took the distance, and the exponent has its square: leave out the root."""
    return _weigh(z, pictures, alpha, sigma, far=(z[:, None] - alpha[:, None] * pictures).flatten(2).norm(dim=2))


@exact_x.mistake
def over_the_batch(z, pictures, alpha, sigma):
    """The weights of each picture add up to one over the batch. They must add up to one over the data set, for each z:
    take the softmax over the axis of length N."""
    return _weigh(z, pictures, alpha, sigma, dim=0)


@exact_x.mistake
def nearest(z, pictures, alpha, sigma):
    """You chose the nearest picture. While z leaves it open which one it was, the best estimate lies between them:
    weigh all pictures by softmax."""
    return pictures[(z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).sum(2).argmin(1)]


@exact_x.mistake
def cut_off_below(z, pictures, alpha, sigma):
    """You cut the exponents off from below, and so far from all pictures every picture weighs the same. Use
    `torch.softmax`, which takes the largest exponent off first."""
    far = (z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).sum(2)
    w = torch.exp((-far / (2 * sigma.view(-1, 1) ** 2)).clamp(min=-80))
    return torch.einsum("bn,nchw->bchw", w / w.sum(1, keepdim=True), pictures)


@exact_x.mistake
def average(z, pictures, alpha, sigma):
    """You gave the mean of the data set, whatever z is. That is right at t = 1 alone."""
    return pictures.mean(0, keepdim=True).expand(len(z), -1, -1, -1)


@exact_x.mistake
def underflow(z, pictures, alpha, sigma):
    """Somewhere it is 0/0: exp(−400) is 0 in float32, for every picture. Use `torch.softmax`, which takes the largest
    exponent off first."""
    far = (z[:, None] - alpha[:, None] * pictures).flatten(2).pow(2).sum(2)
    w = torch.exp(-far / (2 * sigma.view(-1, 1) ** 2))
    return torch.einsum("bn,nchw->bchw", w / w.sum(1, keepdim=True), pictures)


# One step of DDIM


def steps(generator: torch.Generator) -> list[Case]:
    x, eps = (torch.randn(3, 3, 4, 4, generator=generator) for _ in range(2))
    error = 0.3 * torch.randn(3, 3, 4, 4, generator=generator)  # x̂ is an estimate: it is not the x inside z

    def case(about: str, t: float | Tensor, s: float | Tensor) -> Case:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (CosineSchedule()(u, like=x) for u in (t, s))
        return Case(about, (alpha_t * x + sigma_t * eps, x + error, alpha_t, sigma_t, alpha_s, sigma_s))

    return [
        case("a step from t = 0.8 to s = 0.6", 0.8, 0.6),
        case("a small step from t = 0.31 to s = 0.3", 0.31, 0.3),
        case("the last step, to s = 0, where α = 1 and σ = 0", 0.1, 0.0),
        case("each picture at its own times", torch.tensor([0.9, 0.6, 0.3]), torch.tensor([0.7, 0.5, 0.1])),
    ]


ddim_step = Exercise(
    "ddim_step",
    LESSON,
    reference=ddim,
    cases=steps,
    learned="the same x̂ and the same ε̂, mixed for s in place of t.",
    points=3,
    minutes=8,
    level=2,
)


@ddim_step.mistake
def stays(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """Your step goes nowhere: z comes back. ε̂ belongs to time t, where z is, so it is made with α_t and σ_t; only then
    is it mixed anew, with α_s and σ_s."""
    return alpha_s * x + sigma_s * (z - alpha_s * x) / sigma_s.clamp(min=1e-9)


@ddim_step.mistake
def all_the_way(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You returned x̂, the end of the way. The step goes to time s only: mix x̂ with ε̂ by α_s and σ_s."""
    return x.clone()


@ddim_step.mistake
def as_noisy_as_before(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You mixed the noise in with σ_t, so that it never becomes less. At time s its weight is σ_s."""
    return alpha_s * x + sigma_t * (z - alpha_t * x) / sigma_t


@ddim_step.mistake
def as_dimmed_as_before(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You mixed x̂ in with α_t, so that the picture never becomes brighter. At time s its weight is α_s."""
    return alpha_t * x + sigma_s * (z - alpha_t * x) / sigma_t


@ddim_step.mistake
def alpha_of_s_in_the_noise(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You took α_s x̂ from z to find ε̂. But z is at time t, and what it holds is α_t x̂."""
    return alpha_s * x + sigma_s * (z - alpha_s * x) / sigma_t


@ddim_step.mistake
def brackets(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You divided α_t x̂ alone by σ_t. All of z − α_t x̂ is divided: put brackets around it."""
    return alpha_s * x + sigma_s * (z - alpha_t * x / sigma_t)


@ddim_step.mistake
def undivided(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """z − α_t x̂ is σ_t ε̂, not yet ε̂: divide it by σ_t."""
    return alpha_s * x + sigma_s * (z - alpha_t * x)


@ddim_step.mistake
def x_not_dimmed_in_z(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You took x̂ itself from z. What z holds of it is α_t x̂: ε̂ = (z − α_t x̂) / σ_t."""
    return alpha_s * x + sigma_s * (z - x) / sigma_t


@ddim_step.mistake
def squares(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """You weighed with α_s² and σ_s². Those are shares of the variance; x̂ and ε̂ are multiplied by α_s and σ_s."""
    return alpha_s**2 * x + sigma_s**2 * (z - alpha_t * x) / sigma_t


@ddim_step.mistake
def x_not_dimmed(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    """The noise has its weight σ_s, but x̂ is not dimmed by α_s."""
    return x + sigma_s * (z - alpha_t * x) / sigma_t


def fresh_noise(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
    return alpha_s * x + sigma_s * torch.randn_like(z)


ddim_step.mistake(fresh_noise, says=RANDOM)
