"""Lesson 03, the U-Net: the time as waves, a residual block that is told the time, attention to text and picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minimagen.fused import attend, norm_act, norm_act_as_written
from minimagen.layers import Attention, ResBlock, time_embedding

from .frame import Case, Exercise

LESSON = "03_unet"


# The time as waves


def waves(t: Tensor, dim: int) -> Tensor:
    """(cos ω₀t, …, sin ω₀t, …),  ω_i = 10000^(−2i / dim)"""
    omega = 10000.0 ** (-torch.arange(dim // 2) * 2 / dim)
    angle = t[:, None] * omega
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def times(generator: torch.Generator) -> list[Case]:
    some = 998 * torch.rand(3, generator=generator) + 1
    return [
        Case("three times, and a width of 8", (some, 8)),
        Case("the first and the last time, and a width of 32", (torch.tensor([0.0, 999.0]), 32)),
    ]


time_waves = Exercise(
    "time_waves",
    LESSON,
    reference=waves,
    cases=times,
    learned="one number became many, from quick waves to slow ones, and near times have near vectors.",
    borrowed=(time_embedding,),
    points=2,
    minutes=5,
    level=1,
    tolerance=1e-3,  # 10000^(−2i / dim) and its twin by exp and log differ in the last digits, and t multiplies that
)


def _with(t: Tensor, omega: Tensor, sine_first: bool = False) -> Tensor:
    """The right answer with one thing changed."""
    angle = t[:, None] * omega
    pair = [angle.sin(), angle.cos()] if sine_first else [angle.cos(), angle.sin()]
    return torch.cat(pair, dim=1)


@time_waves.mistake
def sines_first(t, dim):
    """Your sines come first. That is the Transformer's order; IF's has the cosines in the first half, and IF's weights
    would read nonsense here."""
    return _with(t, 10000.0 ** (-torch.arange(dim // 2) * 2 / dim), sine_first=True)


@time_waves.mistake
def in_turn(t, dim):
    """Your cosines and sines take turns. Here all the cosines come first and then all the sines: use `torch.cat`."""
    return _with(t, 10000.0 ** (-torch.arange(dim // 2) * 2 / dim)).unflatten(1, (2, -1)).mT.flatten(1)


@time_waves.mistake
def half_as_fast(t, dim):
    """Your exponent is −i / dim. It is −2i / dim: the dim / 2 frequencies go all the way from 1 to nearly 1/10000."""
    return _with(t, 10000.0 ** (-torch.arange(dim // 2) / dim))


@time_waves.mistake
def twice_two(t, dim):
    """The 2 is in your exponent twice: `torch.arange(0, dim, 2)` is 2i already. It is −2i / dim."""
    return _with(t, 10000.0 ** (-2 * torch.arange(0, dim, 2) / dim))


@time_waves.mistake
def begins_at_one(t, dim):
    """Your i begins at 1. It begins at 0, so that the quickest frequency is ω₀ = 1."""
    return _with(t, 10000.0 ** (-torch.arange(1, dim // 2 + 1) * 2 / dim))


@time_waves.mistake
def one_too_few(t, dim):
    """Your slowest frequency is 1/10000 itself: you divided by dim / 2 − 1. Some codebases do so, and IF divides by
    dim / 2."""
    return _with(t, 10000.0 ** (-torch.arange(dim // 2) / (dim // 2 - 1)))


@time_waves.mistake
def growing(t, dim):
    """Your frequencies grow from 1 to nearly 10000. The exponent wants a minus."""
    return _with(t, 10000.0 ** (torch.arange(dim // 2) * 2 / dim))


@time_waves.mistake
def no_power(t, dim):
    """Your frequencies are 1, 2, 3, …, or the like: equal steps. They go down by an equal factor: 10000 to the power
    of −2i / dim."""
    return _with(t, torch.arange(1, dim // 2 + 1))


@time_waves.mistake
def whole_turns(t, dim):
    """There is a 2π in your angle, and the formula has none."""
    return _with(t, 2 * torch.pi * 10000.0 ** (-torch.arange(dim // 2) * 2 / dim))


# A residual block


def block_forward(block: ResBlock, x: Tensor, film: Tensor, act: Callable) -> Tensor:
    """h = conv1(act(norm1(x)));  h = conv2(act(norm2(h) · (1 + s) + b));  out = skip(x) + h"""
    h = block.conv1(act(block.norm1(x)))
    s, b = film[:, :, None, None].chunk(2, dim=1)
    h = block.conv2(act(block.norm2(h) * (1 + s) + b))
    return h + (x if block.skip is None else block.skip(x))


def some_block(before: int, width: int, generator: torch.Generator) -> ResBlock:
    """A block in which nothing is zero or one, so that nothing can be left out unseen."""
    block = ResBlock(before, width, 8, groups=4, act="silu").requires_grad_(False)
    for parameter in block.parameters():
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5
        parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    block.norm1.weight.data += 1
    block.norm2.weight.data += 1
    return block


def blocks(generator: torch.Generator) -> list[Case]:
    def case(about: str, before: int, width: int, act: Callable) -> Case:
        x = torch.randn(2, before, 6, 5, generator=generator)
        film = torch.randn(2, 2 * width, generator=generator)
        return Case(about, (some_block(before, width, generator), x, film, act))

    return [
        case("8 channels in and out, so that `block.skip` is None, and SiLU", 8, 8, F.silu),
        case("8 channels in and 12 out, so that `block.skip` is a convolution, and GELU", 8, 12, F.gelu),
    ]


residual_block = Exercise(
    "residual_block",
    LESSON,
    reference=block_forward,
    cases=blocks,
    learned="the time turns the knobs of every channel, and what came in is still there.",
    borrowed=(ResBlock.forward, norm_act, norm_act_as_written),
    points=3,
    minutes=10,
    level=2,
)


def _past(block: ResBlock, x: Tensor) -> Tensor:
    return x if block.skip is None else block.skip(x)


def _film(film: Tensor) -> tuple[Tensor, Tensor]:
    s, b = film[:, :, None, None].chunk(2, dim=1)
    return s, b


@residual_block.mistake
def without_one(block, x, film, act):
    """You scaled by s. The scale is 1 + s, so that a network that says nothing about the time leaves h as it is."""
    s, b = _film(film)
    h = block.norm2(block.conv1(act(block.norm1(x))))
    return block.conv2(act(h * s + b)) + _past(block, x)


@residual_block.mistake
def shift_first(block, x, film, act):
    """Scale and shift have changed places: `film` holds s in its first half, and b in its second."""
    b, s = _film(film)
    h = block.norm2(block.conv1(act(block.norm1(x))))
    return block.conv2(act(h * (1 + s) + b)) + _past(block, x)


@residual_block.mistake
def before_the_norm(block, x, film, act):
    """You scaled and shifted before norm2, which takes most of it away again: it makes mean 0 and variance 1. First
    the norm, then the scale and the shift."""
    s, b = _film(film)
    h = block.conv1(act(block.norm1(x))) * (1 + s) + b
    return block.conv2(act(block.norm2(h))) + _past(block, x)


@residual_block.mistake
def after_the_activation(block, x, film, act):
    """You scaled and shifted after the activation. It comes before: the shift decides which values the activation lets
    through."""
    s, b = _film(film)
    h = act(block.norm2(block.conv1(act(block.norm1(x)))))
    return block.conv2(h * (1 + s) + b) + _past(block, x)


@residual_block.mistake
def shift_alone(block, x, film, act):
    """You added the shift, and left the scale out. The first diffusion networks did; BigGAN's block has both."""
    h = block.norm2(block.conv1(act(block.norm1(x))))
    return block.conv2(act(h + _film(film)[1])) + _past(block, x)


@residual_block.mistake
def scale_alone(block, x, film, act):
    """You scaled, and left the shift out: after norm2 it is h · (1 + s) + b."""
    h = block.norm2(block.conv1(act(block.norm1(x))))
    return block.conv2(act(h * (1 + _film(film)[0]))) + _past(block, x)


@residual_block.mistake
def time_left_out(block, x, film, act):
    """Neither s nor b is in it, so that the block does not know the time. After norm2 it is h · (1 + s) + b."""
    return block.conv2(act(block.norm2(block.conv1(act(block.norm1(x)))))) + _past(block, x)


@residual_block.mistake
def at_the_first_norm(block, x, film, act):
    """You scaled and shifted at norm1. The time enters at norm2, in the middle of the block."""
    s, b = _film(film[:, : 2 * x.shape[1]])
    h = block.conv1(act(block.norm1(x) * (1 + s) + b))
    return block.conv2(act(block.norm2(h))) + _past(block, x)


@residual_block.mistake
def nothing_goes_past(block, x, film, act):
    """At the end x is not added, so that this is no residual block: what came in must be in
    what goes out, by `block.skip` where that is a layer."""
    s, b = _film(film)
    return block.conv2(act(block.norm2(block.conv1(act(block.norm1(x)))) * (1 + s) + b))


@residual_block.mistake
def first_without_activation(block, x, film, act):
    """The activation before conv1 is missing. Each convolution has a norm and an activation before it."""
    s, b = _film(film)
    h = block.norm2(block.conv1(block.norm1(x)))
    return block.conv2(act(h * (1 + s) + b)) + _past(block, x)


@residual_block.mistake
def second_without_activation(block, x, film, act):
    """The activation before conv2 is missing. Each convolution has a norm and an activation before it."""
    s, b = _film(film)
    return block.conv2(block.norm2(block.conv1(act(block.norm1(x)))) * (1 + s) + b) + _past(block, x)


@residual_block.mistake
def always_silu(block, x, film, act):
    """You used SiLU although `act` is another function. Our base has SiLU, and IF has GELU: use what you are given."""
    s, b = _film(film)
    h = block.norm2(block.conv1(F.silu(block.norm1(x))))
    return block.conv2(F.silu(h * (1 + s) + b)) + _past(block, x)


# Attention to text and picture


def joint_attention(q: Tensor, k: Tensor, v: Tensor, text_k: Tensor, text_v: Tensor, heads: int) -> Tensor:
    """softmax(q [k_text, k]ᵀ / √d) [v_text, v], head by head"""
    k, v = torch.cat([text_k, k], dim=1), torch.cat([text_v, v], dim=1)  # (B, L + N, C)
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))  # (B, heads, ·, d)
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)  # (B, heads, N, L + N)
    return (weights @ v).transpose(1, 2).flatten(2)  # (B, N, C)


def attentions(generator: torch.Generator) -> list[Case]:
    def case(about: str, pixels: int, tokens: int, width: int, heads: int) -> Case:
        # large queries, as a trained network has them: then it matters what the scores are divided by
        q, k, v = (s * torch.randn(2, pixels, width, generator=generator) for s in (2.0, 1.0, 1.0))
        text_k, text_v = (torch.randn(2, tokens, width, generator=generator) for _ in range(2))
        return Case(about, (q, k, v, text_k, text_v, heads))

    return [
        case("2 pictures of 6 pixels, 4 tokens, 8 channels in 2 heads", 6, 4, 8, 2),
        case("2 pictures of 9 pixels, 3 tokens, 18 channels in 3 heads", 9, 3, 18, 3),
    ]


attend_to_both = Exercise(
    "attend_to_both",
    LESSON,
    reference=joint_attention,
    cases=attentions,
    learned="every pixel asks the sentence and the picture at once, and one softmax decides between them.",
    borrowed=(attend, Attention.forward),
    points=4,
    minutes=12,
    level=2,
)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, scale: float | None = None, dim: int = -1) -> Tensor:
    """Attention with one thing changed, (B, heads, N, d). scale None = √d"""
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
    scores = q @ k.mT / (q.shape[-1] ** 0.5 if scale is None else scale)
    return torch.softmax(scores, dim=dim) @ v


def _together(a: Tensor) -> Tensor:
    return a.transpose(1, 2).flatten(2)


@attend_to_both.mistake
def picture_alone(q, k, v, text_k, text_v, heads):
    """The text is left out: this is plain self-attention. Put the text's keys and values beside the picture's own."""
    return _together(_attend(q, k, v, heads))


@attend_to_both.mistake
def text_alone(q, k, v, text_k, text_v, heads):
    """The picture's own keys and values are left out: this is plain cross-attention. Here both stand in one row."""
    return _together(_attend(q, text_k, text_v, heads))


@attend_to_both.mistake
def two_softmaxes(q, k, v, text_k, text_v, heads):
    """You attended twice, to the picture and to the text, and added. Here there is one softmax over both: the weights
    of tokens and pixels add up to one together."""
    return _together(_attend(q, k, v, heads) + _attend(q, text_k, text_v, heads))


@attend_to_both.mistake
def summed_into_the_picture(q, k, v, text_k, text_v, heads):
    """You summed the text into the picture's keys and values. Then no pixel can choose a word: put them beside one
    another with `torch.cat`, over the axis of tokens and pixels."""
    return _together(_attend(q, k + text_k.mean(1, keepdim=True), v + text_v.mean(1, keepdim=True), heads))


@attend_to_both.mistake
def in_two_orders(q, k, v, text_k, text_v, heads):
    """Keys and values stand in two orders, so that a pixel that looks at a word gets some pixel's value. If the text
    comes first in one of them, it comes first in both."""
    return _together(_attend(q, torch.cat([text_k, k], 1), torch.cat([v, text_v], 1), heads))


@attend_to_both.mistake
def one_head(q, k, v, text_k, text_v, heads):
    """You attended with one head over all channels. Split them into heads, each with scores and a softmax of its
    own."""
    return _together(_attend(q, torch.cat([text_k, k], 1), torch.cat([text_v, v], 1), 1))


@attend_to_both.mistake
def scaled_by_all(q, k, v, text_k, text_v, heads):
    """You divided by √C. Each head's scores are sums of d = C / heads products: divide by √d."""
    k, v = torch.cat([text_k, k], 1), torch.cat([text_v, v], 1)
    return _together(_attend(q, k, v, heads, scale=q.shape[-1] ** 0.5))


@attend_to_both.mistake
def unscaled(q, k, v, text_k, text_v, heads):
    """The scores are not divided by √d, so that the softmax is too sure of itself."""
    return _together(_attend(q, torch.cat([text_k, k], 1), torch.cat([text_v, v], 1), heads, scale=1.0))


@attend_to_both.mistake
def over_the_queries(q, k, v, text_k, text_v, heads):
    """Your softmax runs over the pixels that ask. For each of them the weights of all that it may look at add up to
    one: take the last axis."""
    return _together(_attend(q, torch.cat([text_k, k], 1), torch.cat([text_v, v], 1), heads, dim=-2))


@attend_to_both.mistake
def heads_in_disorder(q, k, v, text_k, text_v, heads):
    """The attention is right, but the heads are put together in disorder: (B, heads, N, d) must become (B, N, heads, d)
    by `transpose(1, 2)` before the last two axes are joined."""
    a = _attend(q, torch.cat([text_k, k], 1), torch.cat([text_v, v], 1), heads)
    return a.reshape(q.shape)


@attend_to_both.mistake
def dealt_out(q, k, v, text_k, text_v, heads):
    """You dealt the channels out to the heads in turn. Each head takes d channels in a row: the heads come first,
    `unflatten(-1, (heads, -1))`."""
    k, v = torch.cat([text_k, k], 1), torch.cat([text_v, v], 1)
    q, k, v = (y.unflatten(-1, (-1, heads)).movedim(-1, 1) for y in (q, k, v))
    return _together(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v)


@attend_to_both.mistake
def split_in_disorder(q, k, v, text_k, text_v, heads):
    """You made (B, heads, ·, d) by reshaping alone, which mixes pixels with channels. First split the channels, to
    (B, ·, heads, d); then `transpose(1, 2)`."""
    k, v = torch.cat([text_k, k], 1), torch.cat([text_v, v], 1)
    q, k, v = (y.reshape(len(y), heads, -1, y.shape[-1] // heads) for y in (q, k, v))
    return _together(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v)
