"""Lesson 04, training: the loss with v as its target, min-SNR weights, dropped captions, the average of the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minimagen.denoiser import from_x
from minimagen.objective import losses, min_snr
from minimagen.schedule import CosineSchedule, LinearSchedule, Schedule

from .frame import Case, Exercise

LESSON = "04_training"

Network = Callable[[Tensor, Tensor], Tensor]


# The loss


def squared_error(network: Network, x: Tensor, eps: Tensor, t: Tensor, schedule: Schedule, prediction: str) -> Tensor:
    """mean (out − target)², one a picture,  out = network(z, t),  z = α x + σ ε,  target: x, ε, or v = α ε − σ x"""
    alpha, sigma = schedule(t, like=x)
    target = {"x": x, "eps": eps, "v": alpha * eps - sigma * x}[prediction]
    return (network(alpha * x + sigma * eps, t) - target).square().mean((1, 2, 3))


def some_network(z: Tensor, t: Tensor) -> Tensor:
    """No network, but a function of z and t that no target is by chance."""
    return torch.tanh(z) * (0.3 + t[:, None, None, None]) + 0.1


def batches(generator: torch.Generator) -> list[Case]:
    def case(about: str, prediction: str, size: int, t: list[float], schedule: Schedule) -> Case:
        x, eps = (torch.randn(len(t), 3, size, size, generator=generator) for _ in range(2))
        return Case(about, (some_network, 0.5 * x, eps, torch.tensor(t), schedule, prediction))

    # four pictures of four pixels a side: there α of shape (4,) goes along the width without an error
    return [
        case("prediction = 'v', four pictures, each at its own t", "v", 4, [0.2, 0.4, 0.6, 0.85], CosineSchedule()),
        case("prediction = 'eps', two pictures under the linear schedule", "eps", 8, [0.1, 0.6], LinearSchedule()),
        case("prediction = 'x', two pictures", "x", 8, [0.3, 0.9], CosineSchedule()),
    ]


training_loss = Exercise(
    "training_loss",
    LESSON,
    reference=squared_error,
    cases=batches,
    learned="one line noises, one says what is right, one compares: this is all that the network is ever told.",
    borrowed=(from_x, losses),
    points=3,
    minutes=8,
    level=1,
)


def _v(a, s, x, eps):
    return a * eps - s * x


def _noised(a, s, x, eps):
    return a * x + s * eps


def _compared(network, x, eps, t, schedule, prediction, v=_v, z=_noised):
    """The right answer, or one with another v, or with another z."""
    alpha, sigma = schedule(t, like=x)
    target = {"x": x, "eps": eps, "v": v(alpha, sigma, x, eps)}[prediction]
    return (network(z(alpha, sigma, x, eps), t) - target).square().mean((1, 2, 3))


@training_loss.mistake
def always_noise(network, x, eps, t, schedule, prediction):
    """Your target is ε, where `prediction` says something else. For "v" it is α ε − σ x, and for "x" the picture."""
    return _compared(network, x, eps, t, schedule, "eps")


@training_loss.mistake
def always_the_picture(network, x, eps, t, schedule, prediction):
    """Your target is the picture x, where `prediction` says something else. For "v" it is α ε − σ x, and for "eps" the
    noise."""
    return _compared(network, x, eps, t, schedule, "x")


@training_loss.mistake
def backwards(network, x, eps, t, schedule, prediction):
    """Your v points backwards: σ x − α ε is −v. At t = 0, where α = 1 and σ = 0, v is ε."""
    return _compared(network, x, eps, t, schedule, prediction, lambda a, s, x, eps: s * x - a * eps)


@training_loss.mistake
def weights_swapped(network, x, eps, t, schedule, prediction):
    """In your v, α and σ have changed places. It is the other way round from z: ε is weighed with α, and x with σ."""
    return _compared(network, x, eps, t, schedule, prediction, lambda a, s, x, eps: s * eps - a * x)


@training_loss.mistake
def a_sum(network, x, eps, t, schedule, prediction):
    """Your v is α ε + σ x. There is a minus: v is the direction in which z moves as t grows, from picture to noise."""
    return _compared(network, x, eps, t, schedule, prediction, lambda a, s, x, eps: a * eps + s * x)


@training_loss.mistake
def noise_minus_picture(network, x, eps, t, schedule, prediction):
    """Your v is ε − x, the velocity of rectified flow. Under our schedules it is v = α ε − σ x."""
    return _compared(network, x, eps, t, schedule, prediction, lambda a, s, x, eps: eps - x)


@training_loss.mistake
def shown_the_picture(network, x, eps, t, schedule, prediction):
    """You gave the network the clean picture. It must see z = α x + σ ε, for that is all that it will have to draw
    from."""
    return _compared(network, x, eps, t, schedule, prediction, z=lambda a, s, x, eps: x)


@training_loss.mistake
def always_v(network, x, eps, t, schedule, prediction):
    """Your target is v, where `prediction` says something else. For "eps" it is the noise, and for "x" the picture."""
    return _compared(network, x, eps, t, schedule, "v")


@training_loss.mistake
def noised_by_the_wrong_weights(network, x, eps, t, schedule, prediction):
    """In your z, α and σ have changed places. z = α x + σ ε: at t = 0, where α = 1, it is the picture."""
    return _compared(network, x, eps, t, schedule, prediction, z=lambda a, s, x, eps: s * x + a * eps)


@training_loss.mistake
def noise_added(network, x, eps, t, schedule, prediction):
    """Your z is x + ε, equally noisy at every t. Weigh the picture with α and the noise with σ."""
    return _compared(network, x, eps, t, schedule, prediction, z=lambda a, s, x, eps: x + eps)


@training_loss.mistake
def in_the_pictures_space(network, x, eps, t, schedule, prediction):
    """You turned the answer into x̂ and compared that with x, which gives every t another weight (part 3). Compare the
    answer as it is with its own target."""
    alpha, sigma = schedule(t, like=x)
    z = alpha * x + sigma * eps
    out = network(z, t)
    back = {"x": out, "eps": (z - sigma * out) / alpha, "v": alpha * z - sigma * out}[prediction]
    return (back - x).square().mean((1, 2, 3))


@training_loss.mistake
def rooted(network, x, eps, t, schedule, prediction):
    """You took the root of the mean. The loss is the mean of the squares itself."""
    return _compared(network, x, eps, t, schedule, prediction).sqrt()


@training_loss.mistake
def one_for_all(network, x, eps, t, schedule, prediction):
    """You took the mean over the batch as well. Keep one loss a picture, (B,), so that each can get the weight of its
    own t: take the mean over the axes 1, 2 and 3."""
    return _compared(network, x, eps, t, schedule, prediction).mean()


@training_loss.mistake
def added_up(network, x, eps, t, schedule, prediction):
    """You added the squares up. Take their mean over colours and pixels: a picture with more pixels would else have a
    larger loss, and no two sizes could be compared."""
    return x[0].numel() * _compared(network, x, eps, t, schedule, prediction)


@training_loss.mistake
def absolute(network, x, eps, t, schedule, prediction):
    """You took the absolute error. Its best answer is the median of all pictures that z may have been; the squared
    error's is their mean x̂, on which the sampler is built."""
    alpha, sigma = schedule(t, like=x)
    target = {"x": x, "eps": eps, "v": alpha * eps - sigma * x}[prediction]
    return (network(alpha * x + sigma * eps, t) - target).abs().mean((1, 2, 3))


@training_loss.mistake
def along_the_width(network, x, eps, t, schedule, prediction):
    """α of shape (4,) went along the pictures' width, not along the batch, and no error told you. Ask for
    `schedule(t, like=x)`, which has the shape (B, 1, 1, 1)."""
    alpha, sigma = schedule(t)
    target = {"x": x, "eps": eps, "v": alpha * eps - sigma * x}[prediction]
    return (network(alpha * x + sigma * eps, t) - target).square().mean((1, 2, 3))


# min-SNR weights


def spans(generator: torch.Generator) -> list[Case]:
    def case(prediction: str, gamma: float) -> Case:
        logsnr = torch.tensor([-4.0, -0.5, 0.7, 1.4, 3.0, 6.0]) + 0.2 * torch.rand(6, generator=generator)
        return Case(f"a network that predicts {prediction}, γ = {gamma:g}", (logsnr, prediction, gamma))

    return [case("v", 5.0), case("eps", 3.0), case("x", 5.0)]


min_snr_weight = Exercise(
    "min_snr_weight",
    LESSON,
    reference=min_snr,
    cases=spans,
    learned="one weight of x̂'s error, min(SNR, γ), written for each of the three spaces.",
    points=3,
    minutes=10,
    level=2,
)


def _weighed(logsnr, prediction, gamma, snr=None, over=None, top=None):
    """The right answer with one thing changed."""
    snr = logsnr.exp() if snr is None else snr
    over = {"x": torch.ones_like(snr), "eps": snr, "v": snr + 1} if over is None else over
    return (snr.clamp(max=gamma) if top is None else top) / over[prediction]


@min_snr_weight.mistake
def the_same_for_all(logsnr, prediction, gamma):
    """You gave every network the weight min(SNR, γ). That is right for x. The errors of ε and v are SNR and SNR + 1
    times as large as x's, so divide by that."""
    return logsnr.exp().clamp(max=gamma)


@min_snr_weight.mistake
def at_least(logsnr, prediction, gamma):
    """You took the larger of SNR and γ. It is min(SNR, γ): what is nearly clean shall not count for more than γ."""
    return _weighed(logsnr, prediction, gamma, top=logsnr.exp().clamp(min=gamma))


@min_snr_weight.mistake
def logarithm(logsnr, prediction, gamma):
    """You took the logarithm for the thing itself: SNR = exp(λ)."""
    return _weighed(logsnr, prediction, gamma, snr=logsnr)


@min_snr_weight.mistake
def not_squared(logsnr, prediction, gamma):
    """You used α/σ = exp(λ/2). The SNR is its square, α²/σ² = exp(λ)."""
    return _weighed(logsnr, prediction, gamma, snr=(logsnr / 2).exp())


@min_snr_weight.mistake
def inverted(logsnr, prediction, gamma):
    """Your SNR is upside down: exp(−λ) is noise to signal. It must grow as the picture gets clearer."""
    return _weighed(logsnr, prediction, gamma, snr=(-logsnr).exp())


@min_snr_weight.mistake
def multiplied(logsnr, prediction, gamma):
    """You multiplied by the factor between the spaces. The network's own error is larger than x's by it, so that it
    must be divided out."""
    snr = logsnr.exp()
    return snr.clamp(max=gamma) * {"x": torch.ones_like(snr), "eps": snr, "v": snr + 1}[prediction]


@min_snr_weight.mistake
def v_like_noise(logsnr, prediction, gamma):
    """You divided by SNR for v, which is ε's factor. (v̂ − v)² is SNR + 1 times (x̂ − x)²."""
    snr = logsnr.exp()
    return _weighed(logsnr, prediction, gamma, over={"x": torch.ones_like(snr), "eps": snr, "v": snr})


@min_snr_weight.mistake
def noise_like_v(logsnr, prediction, gamma):
    """You divided by SNR + 1 for ε, which is v's factor. (ε̂ − ε)² is SNR times (x̂ − x)²."""
    snr = logsnr.exp()
    return _weighed(logsnr, prediction, gamma, over={"x": torch.ones_like(snr), "eps": snr + 1, "v": snr + 1})


@min_snr_weight.mistake
def cut_too_late(logsnr, prediction, gamma):
    """You divided first and cut after, where nothing is left to cut. First min(SNR, γ), then the division."""
    snr = logsnr.exp()
    return (snr / {"x": torch.ones_like(snr), "eps": snr, "v": snr + 1}[prediction]).clamp(max=gamma)


@min_snr_weight.mistake
def bare(logsnr, prediction, gamma):
    """You put γ in place of min(SNR, γ), so that the noisiest pictures weigh most."""
    return _weighed(logsnr, prediction, gamma, top=torch.full_like(logsnr, gamma))


# Dropping captions


def some_without(tokens: Tensor, null: Tensor, u: Tensor, p: float) -> Tensor:
    """The null text where u < p, each caption for itself  # (B, L, D)"""
    return torch.where((u < p)[:, None, None], null, tokens)


def captions(generator: torch.Generator) -> list[Case]:
    def case(about: str, u: list[float], p: float, length: int, width: int) -> Case:
        tokens = torch.randn(len(u), length, width, generator=generator)
        return Case(about, (tokens, torch.randn(1, length, width, generator=generator), torch.tensor(u), p))

    # as many captions as a token has numbers: there (B,) goes along the last axis without an error
    return [
        case("four captions, of which two are dropped", [0.05, 0.5, 0.08, 0.93], 0.1, 5, 4),
        case("six captions, of which three are dropped", [0.9, 0.3, 0.04, 0.6, 0.45, 0.51], 0.5, 3, 6),
        case("p = 0, where nothing is dropped", [0.0, 0.4, 0.9], 0.0, 2, 3),
    ]


drop_captions = Exercise(
    "drop_captions",
    LESSON,
    reference=some_without,
    cases=captions,
    learned="the same network now also learns to draw without a caption, which lesson 05 needs.",
    points=2,
    minutes=5,
    level=1,
)


@drop_captions.mistake
def kept_instead(tokens, null, u, p):
    """You dropped where u > p: nearly all captions are lost, and a share p is kept. u < p has the probability p."""
    return torch.where((u > p)[:, None, None], null, tokens)


@drop_captions.mistake
def the_border_too(tokens, null, u, p):
    """You dropped where u = p as well. u can be 0, and with p = 0 no caption may be lost: use <."""
    return torch.where((u <= p)[:, None, None], null, tokens)


@drop_captions.mistake
def with_zeros(tokens, null, u, p):
    """You put zeros in their place. Imagen does that. Here, as in DeepFloyd IF, the null text is T5's reading of the
    empty caption: use `null`."""
    return torch.where((u < p)[:, None, None], torch.zeros_like(tokens), tokens)


@drop_captions.mistake
def all_or_none(tokens, null, u, p):
    """One number decided for the whole batch. Each caption has its own u."""
    return null.expand_as(tokens).clone() if float(u[0]) < p else tokens.clone()


@drop_captions.mistake
def left_out(tokens, null, u, p):
    """You took the captions out of the batch, which now is smaller than its pictures. A dropped caption is replaced by
    the null text."""
    return tokens[u >= p]


@drop_captions.mistake
def as_dropout(tokens, null, u, p):
    """You did what a dropout layer does: zeros, and the rest made larger. A caption is either itself or
    the null text."""
    return tokens * (u >= p)[:, None, None] / (1 - p)


@drop_captions.mistake
def mixed(tokens, null, u, p):
    """You mixed a share p of the null text into every caption. It is one or the other: a share p of the captions is
    replaced, whole."""
    return (1 - p) * tokens + p * null


@drop_captions.mistake
def along_the_numbers(tokens, null, u, p):
    """Your u of shape (B,) went along the numbers of each token, not along the batch, and no error told you. Make it
    (B, 1, 1): `[:, None, None]`."""
    return torch.where(u < p, null, tokens)


# The average of the weights


def averaged(average: list[Tensor], weights: list[Tensor], n: int, decay: float) -> list[Tensor]:
    """θ̄ ← d θ̄ + (1 − d) θ,  d = min(decay, (1 + n) / (10 + n))"""
    d = min(decay, (1 + n) / (10 + n))
    return [d * a + (1 - d) * w for a, w in zip(average, weights)]


def updates(generator: torch.Generator) -> list[Case]:
    def case(about: str, n: int, decay: float) -> Case:
        pairs = [[torch.randn(*shape, generator=generator) for _ in range(2)] for shape in ((3, 2), (4,), (2, 3, 3))]
        return Case(about, ([a for a, _ in pairs], [5 * w for _, w in pairs], n, decay))

    return [
        case("update number 2,000, where d is the decay", 2_000, 0.9),
        case("update number 5, where d = 6/15", 5, 0.999),
        case("update number 100, where d = 101/110", 100, 0.999),
        case("decay = 0, where the average is the weights", 40, 0.0),
    ]


ema_update = Exercise(
    "ema_update",
    LESSON,
    reference=averaged,
    cases=updates,
    learned="the average follows the weights slowly, and quickly in the beginning.",
    points=2,
    minutes=6,
    level=1,
)


@ema_update.mistake
def swapped(average, weights, n, decay):
    """Your d and 1 − d have changed places: d, near 1, belongs to the old average, and little of each step comes in."""
    d = min(decay, (1 + n) / (10 + n))
    return [(1 - d) * a + d * w for a, w in zip(average, weights)]


@ema_update.mistake
def never_warm(average, weights, n, decay):
    """Your d is the decay, here too. In the beginning (1 + n) / (10 + n) is smaller, so that the random weights of the
    start are soon forgotten: take the smaller of the two."""
    return [decay * a + (1 - decay) * w for a, w in zip(average, weights)]


@ema_update.mistake
def only_warm(average, weights, n, decay):
    """Your d is (1 + n) / (10 + n), even here, so that the average moves less and less. It ends at the decay: take the
    smaller of the two."""
    d = (1 + n) / (10 + n)
    return [d * a + (1 - d) * w for a, w in zip(average, weights)]


@ema_update.mistake
def half_and_half(average, weights, n, decay):
    """You took the mean of both: after ten steps next to nothing of the past is left. Weigh with d and 1 − d."""
    return [(a + w) / 2 for a, w in zip(average, weights)]


@ema_update.mistake
def not_dimmed(average, weights, n, decay):
    """The new weights came in with 1 − d, but the old average kept its full weight, so that it grows without end:
    multiply it by d."""
    d = min(decay, (1 + n) / (10 + n))
    return [a + (1 - d) * w for a, w in zip(average, weights)]


@ema_update.mistake
def no_average(average, weights, n, decay):
    """You returned the new weights. The average only moves a little towards them."""
    return [w.clone() for w in weights]


@ema_update.mistake
def standing_still(average, weights, n, decay):
    """You returned the old average: nothing of the new weights came in."""
    return [a.clone() for a in average]
