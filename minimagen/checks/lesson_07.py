"""Lesson 07, super-resolution: enlarging in place, the residual's preconditioning, and noise on the small picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minimagen.conditioning import augment
from minimagen.schedule import CosineSchedule

from .frame import RANDOM, Case, Exercise

LESSON = "07_super_resolution"


# Enlarging, every pixel in its place


def centred(low_res: Tensor, size: int) -> Tensor:
    """u(i) = (1 − f) y(k) + f y(k + 1),  k + f = (i + ½) n / size − ½,  kept within [0, n − 1];  along both axes"""
    n = low_res.shape[-1]
    at = ((torch.arange(size) + 0.5) * n / size - 0.5).clamp(0, n - 1)  # in small pixels
    k = at.long().clamp(max=n - 2)
    f = at - k
    rows = low_res[..., k, :] * (1 - f)[:, None] + low_res[..., k + 1, :] * f[:, None]
    return rows[..., k] * (1 - f) + rows[..., k + 1] * f


def small_pictures(generator: torch.Generator) -> list[Case]:
    four, six, one = (torch.randn(count, 3, n, n, generator=generator) for count, n in ((2, 4), (3, 6), (1, 8)))
    return [
        Case("two pictures of 4 px, to be enlarged to 16 px", (four, 16)),
        Case("three pictures of 6 px, to be enlarged to 12 px", (six, 12)),
        Case("one picture of 8 px, to be enlarged to 24 px", (one, 24)),
        Case("two pictures of 4 px, to be enlarged to 10 px", (four, 10)),
    ]


enlarge = Exercise(
    "enlarge",
    LESSON,
    reference=centred,
    cases=small_pictures,
    learned="four large pixels lie evenly about the centre of each small one, and nothing has moved.",
    points=3,
    minutes=10,
    level=2,
)


def _between(low_res: Tensor, at: Tensor, turned: bool = False) -> Tensor:
    """The right way to mix, at places of its own."""
    n = low_res.shape[-1]
    at = at.clamp(0, n - 1)
    k = at.long().clamp(max=n - 2)
    f = at - k
    f = 1 - f if turned else f
    rows = low_res[..., k, :] * (1 - f)[:, None] + low_res[..., k + 1, :] * f[:, None]
    return rows[..., k] * (1 - f) + rows[..., k + 1] * f


@enlarge.mistake
def corner_to_corner(low_res, size):
    """Your corners fall on the small picture's corners (align_corners=True elsewhere). Then everything is shifted, by
    an amount that grows from the middle to the edges. It is pixel centres that must agree: (i + ½) n / size − ½."""
    n = low_res.shape[-1]
    return _between(low_res, torch.arange(size) * (n - 1) / (size - 1))


@enlarge.mistake
def no_halves(low_res, size):
    """Both halves are missing: you counted from the first pixel's left edge on one side, and from its centre on the
    other, so that the whole picture moves. A pixel's centre is at i + ½: (i + ½) n / size − ½."""
    return _between(low_res, torch.arange(size) * low_res.shape[-1] / size)


@enlarge.mistake
def one_half(low_res, size):
    """You went to the centre of the large pixel, (i + ½) n / size, but forgot that the small pixel's value belongs to
    its centre too: take ½ off again."""
    return _between(low_res, (torch.arange(size) + 0.5) * low_res.shape[-1] / size)


@enlarge.mistake
def plus_a_half(low_res, size):
    """You added ½ where it is to be taken off: the small pixel k has its centre at k + ½, so the place among centres is
    (i + ½) n / size − ½."""
    return _between(low_res, (torch.arange(size) + 0.5) * low_res.shape[-1] / size + 0.5)


@enlarge.mistake
def off_the_edge(low_res, size):
    """Near the edges you went on in a straight line beyond the outermost centres. There is no neighbour there: keep the
    places within [0, n − 1] before you cut them into k and f."""
    n = low_res.shape[-1]
    at = (torch.arange(size) + 0.5) * n / size - 0.5
    k = at.long().clamp(0, n - 2)
    f = at - k
    rows = low_res[..., k, :] * (1 - f)[:, None] + low_res[..., k + 1, :] * f[:, None]
    return rows[..., k] * (1 - f) + rows[..., k + 1] * f


@enlarge.mistake
def blocks(low_res, size):
    """You took the nearest small pixel, which makes blocks. Mix the two on either side, by how near each is."""
    n = low_res.shape[-1]
    k = ((torch.arange(size) + 0.5) * n / size).long()
    return low_res[..., k, :][..., k]


@enlarge.mistake
def far_weighs_more(low_res, size):
    """The farther of the two pixels weighs more. f says how far it is from the first, so the first gets 1 − f."""
    n = low_res.shape[-1]
    return _between(low_res, (torch.arange(size) + 0.5) * n / size - 0.5, turned=True)


@enlarge.mistake
def around_the_edge(low_res, size):
    """Left of the first pixel there is none, and index −1 takes the last: the right edge shines in at the left. Keep
    the places within [0, n − 1] before you cut them into k and f."""
    n = low_res.shape[-1]
    at = (torch.arange(size) + 0.5) * n / size - 0.5
    k = at.floor().long()
    f = at - k
    after = (k + 1) % n
    rows = low_res[..., k, :] * (1 - f)[:, None] + low_res[..., after, :] * f[:, None]
    return rows[..., k] * (1 - f) + rows[..., after] * f


@enlarge.mistake
def rows_alone(low_res, size):
    """You enlarged along one axis. The same is to be done along the other: rows first, then columns."""
    n = low_res.shape[-1]
    at = ((torch.arange(size) + 0.5) * n / size - 0.5).clamp(0, n - 1)
    k = at.long().clamp(max=n - 2)
    f = at - k
    return low_res[..., k, :] * (1 - f)[:, None] + low_res[..., k + 1, :] * f[:, None]


# A correction, not a picture


def corrected(z: Tensor, u: Tensor, alpha: Tensor, sigma: Tensor, s: Tensor, network: Callable) -> Tensor:
    """x̂ = u + c_skip y + c_out F(c_in y),  y = z − α u

    c_in = 1 / √(α² s² + σ²),  c_skip = α s² c_in²,  c_out = s σ c_in
    """
    y = z - alpha * u
    c_in = (alpha**2 * s**2 + sigma**2).rsqrt()
    return u + alpha * s**2 * c_in**2 * y + s * sigma * c_in * network(c_in * y)


def some_network(y: Tensor) -> Tensor:
    """Whatever it does, it does it to what it is given."""
    return torch.sin(1.7 * y) - 0.3 * y + 0.2


def says_nothing(y: Tensor) -> Tensor:
    """The network as it is born."""
    return torch.zeros_like(y)


def residuals(generator: torch.Generator) -> list[Case]:
    def case(about: str, t: Tensor, s: Tensor, network: Callable) -> Case:
        u = torch.randn(len(t), 3, 4, 4, generator=generator)
        s = s.view(-1, 1, 1, 1)
        x = u + s * torch.randn(u.shape, generator=generator)
        alpha, sigma = CosineSchedule()(t, like=u)
        z = alpha * x + sigma * torch.randn(u.shape, generator=generator)
        return Case(about, (z, u, alpha, sigma, s, network))

    t, s = torch.tensor([0.3, 0.5, 0.8]), torch.tensor([0.2, 0.5, 0.3])
    return [
        case("three pictures at t = 0.3, 0.5 and 0.8", t, s, some_network),
        case("a network that says nothing yet", t, s, says_nothing),
        case("little noise, t = 0.05", torch.tensor([0.05]), torch.tensor([0.4]), some_network),
    ]


residual_x = Exercise(
    "residual_x",
    LESSON,
    reference=corrected,
    cases=residuals,
    learned="a network that says nothing enlarges as interpolation does, and every word it says is a correction.",
    points=4,
    minutes=12,
    level=3,
)


def _mixed(z, u, alpha, sigma, s, network, y=None, total=None, c_in=None, skip=None, out=None, start=None, seen=None):
    """The right answer with one thing changed."""
    y = z - alpha * u if y is None else y
    total = alpha**2 * s**2 + sigma**2 if total is None else total
    c_in = total.rsqrt() if c_in is None else c_in
    skip = alpha * s**2 * c_in**2 if skip is None else skip
    out = s * sigma * c_in if out is None else out
    return (u if start is None else start) + skip * y + out * network(c_in * y if seen is None else seen)


@residual_x.mistake
def u_not_dimmed(z, u, alpha, sigma, s, network):
    """You took u itself from z. What z holds of it is α u: y = z − α u."""
    return _mixed(z, u, alpha, sigma, s, network, y=z - u)


@residual_x.mistake
def z_for_y(z, u, alpha, sigma, s, network):
    """You scaled z where y is meant. First take the enlarged picture away: y = z − α u."""
    return _mixed(z, u, alpha, sigma, s, network, y=z)


@residual_x.mistake
def correction_alone(z, u, alpha, sigma, s, network):
    """You returned the correction, and forgot what it corrects: add u."""
    return _mixed(z, u, alpha, sigma, s, network, start=torch.zeros_like(u))


@residual_x.mistake
def network_alone(z, u, alpha, sigma, s, network):
    """The part c_skip y is missing. It is what can be guessed without a network, and leaves F only the rest to say."""
    return _mixed(z, u, alpha, sigma, s, network, skip=torch.zeros(()))


@residual_x.mistake
def unscaled_input(z, u, alpha, sigma, s, network):
    """The network saw y, and not c_in y. Unscaled, its input is thirty times smaller at one t than at another."""
    return _mixed(z, u, alpha, sigma, s, network, seen=z - alpha * u)


@residual_x.mistake
def network_sees_z(z, u, alpha, sigma, s, network):
    """The network saw z, and not y: it has to be given c_in y, from which what u shows has been taken away."""
    return _mixed(z, u, alpha, sigma, s, network, seen=z * (alpha**2 * s**2 + sigma**2).rsqrt())


@residual_x.mistake
def network_unscaled(z, u, alpha, sigma, s, network):
    """You added what the network says as it is. It says it at spread one: multiply by c_out = s σ c_in."""
    return _mixed(z, u, alpha, sigma, s, network, out=torch.ones(()))


@residual_x.mistake
def skip_unsquared(z, u, alpha, sigma, s, network):
    """The s of c_skip is not squared: c_skip = α s² c_in²."""
    return _mixed(z, u, alpha, sigma, s, network, skip=alpha * s / (alpha**2 * s**2 + sigma**2))


@residual_x.mistake
def skip_with_root(z, u, alpha, sigma, s, network):
    """In c_skip it is c_in², so that no root is left: c_skip = α s² / (α² s² + σ²)."""
    return _mixed(z, u, alpha, sigma, s, network, skip=alpha * s**2 * (alpha**2 * s**2 + sigma**2).rsqrt())


@residual_x.mistake
def out_without_root(z, u, alpha, sigma, s, network):
    """The root of c_out is missing: c_out = s σ / √(α² s² + σ²)."""
    return _mixed(z, u, alpha, sigma, s, network, out=s * sigma / (alpha**2 * s**2 + sigma**2))


@residual_x.mistake
def spread_unsquared(z, u, alpha, sigma, s, network):
    """You added α s and σ, or left the squares out: variances add up, so that c_in = 1 / √(α² s² + σ²)."""
    return _mixed(z, u, alpha, sigma, s, network, total=alpha * s + sigma)


@residual_x.mistake
def no_root(z, u, alpha, sigma, s, network):
    """The root of c_in is missing: c_in = 1 / √(α² s² + σ²)."""
    return _mixed(z, u, alpha, sigma, s, network, c_in=1 / (alpha**2 * s**2 + sigma**2))


@residual_x.mistake
def skip_without_alpha(z, u, alpha, sigma, s, network):
    """The α of c_skip is missing: c_skip = α s² c_in², for y holds the residual dimmed by α."""
    return _mixed(z, u, alpha, sigma, s, network, skip=s**2 / (alpha**2 * s**2 + sigma**2))


@residual_x.mistake
def out_without_spread(z, u, alpha, sigma, s, network):
    """The s of c_out is missing: c_out = s σ c_in. F is of spread 1, and the correction of spread s at most."""
    return _mixed(z, u, alpha, sigma, s, network, out=sigma * (alpha**2 * s**2 + sigma**2).rsqrt())


@residual_x.mistake
def out_without_sigma(z, u, alpha, sigma, s, network):
    """The σ of c_out is missing: c_out = s σ c_in. Where there is no noise there is nothing left to guess."""
    return _mixed(z, u, alpha, sigma, s, network, out=s * (alpha**2 * s**2 + sigma**2).rsqrt())


# Noise on the small picture


def at_level(low_res: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """α u + σ n,  (α, σ) of the cosine schedule at t = level"""
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return alpha * low_res + sigma * noise


def enlarged_pictures(generator: torch.Generator) -> list[Case]:
    def case(about: str, level: Tensor, size: int = 4) -> Case:
        low_res = torch.rand(len(level), 3, size, size, generator=generator) * 1.6 - 0.8
        return Case(about, (low_res, level, torch.randn(low_res.shape, generator=generator)))

    # four pictures of four pixels a side: there a level of shape (4,) goes along the width without an error
    return [
        case("four pictures, each at its own level", torch.rand(4, generator=generator) * 0.4 + 0.1),
        case("two pictures at the levels 0.25 and 0.5", torch.tensor([0.25, 0.5]), 8),
        case("level 0, which is off, and level 1", torch.tensor([0.0, 1.0]), 6),
    ]


augmented = Exercise(
    "augmented",
    LESSON,
    reference=at_level,
    cases=enlarged_pictures,
    learned="the same jump as in lesson 01, at t = level, for each picture its own.",
    borrowed=(augment,),
    points=2,
    minutes=5,
    level=1,
)


@augmented.mistake
def before_normalising(low_res, level, noise):
    """You brought the picture to [0, 1], added noise there, and went back to [−1, 1]: that doubles the noise and
    darkens the picture. Noise belongs on the picture as the network sees it, in [−1, 1]."""
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return 2 * (alpha * (low_res + 1) / 2 + sigma * noise) - 1


@augmented.mistake
def undimmed(low_res, level, noise):
    """The noise has its weight σ, but the picture is not dimmed by α, so that the variance grows with the level."""
    return low_res + CosineSchedule()(level, like=low_res)[1] * noise


@augmented.mistake
def level_for_sigma(low_res, level, noise):
    """You took the level itself for σ. The level is a time: the schedule says which α and σ belong to it."""
    sigma = level.view(-1, 1, 1, 1)
    return (1 - sigma**2).sqrt() * low_res + sigma * noise


@augmented.mistake
def straight(low_res, level, noise):
    """You mixed (1 − level) u + level n. The level is a time: ask the cosine schedule for α and σ."""
    level = level.view(-1, 1, 1, 1)
    return (1 - level) * low_res + level * noise


@augmented.mistake
def level_for_weight(low_res, level, noise):
    """You added level times the noise, and left the picture as it is. The level is a time: ask the cosine schedule for
    α and σ, and dim the picture by α."""
    return low_res + level.view(-1, 1, 1, 1) * noise


@augmented.mistake
def plain_cosine(low_res, level, noise):
    """You took cos(π t / 2) and sin(π t / 2). The cosine schedule has a small offset, 0.008, so that even its first
    steps hold some noise: ask `mi.CosineSchedule()`."""
    angle = torch.pi / 2 * level.view(-1, 1, 1, 1)
    return angle.cos() * low_res + angle.sin() * noise


@augmented.mistake
def clipped(low_res, level, noise):
    """You clipped the sum to [−1, 1]. A noisy picture may leave it, and in training it does: clip nothing here."""
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return (alpha * low_res + sigma * noise).clamp(-1, 1)


@augmented.mistake
def shares(low_res, level, noise):
    """You weighed with α² and σ², which are shares of the variance; picture and noise are multiplied by α and σ."""
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return alpha**2 * low_res + sigma**2 * noise


@augmented.mistake
def swapped(low_res, level, noise):
    """α and σ have changed places: at level 0 the picture must come back as it was."""
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return sigma * low_res + alpha * noise


@augmented.mistake
def one_for_all(low_res, level, noise):
    """Every picture got the first one's level. In training each has its own: ask for
    `schedule(level, like=low_res)`."""
    alpha, sigma = CosineSchedule()(level[0])
    return alpha * low_res + sigma * noise


@augmented.mistake
def along_the_width(low_res, level, noise):
    """A level of shape (4,) went along the pictures' width, not along the batch, and no error told you. Ask for
    `schedule(level, like=low_res)`, which has the shape (B, 1, 1, 1)."""
    alpha, sigma = CosineSchedule()(level)
    return alpha * low_res + sigma * noise


def own_noise(low_res, level, noise):
    alpha, sigma = CosineSchedule()(level, like=low_res)
    return alpha * low_res + sigma * torch.randn_like(low_res)


augmented.mistake(own_noise, says=RANDOM)
