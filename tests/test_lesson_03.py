"""Lesson 03: what its figures and counts say of a network is true of it, and its exercises are the real thing."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_show import assert_legible

from minimagen.checks.lesson_03 import block_forward, joint_attention, some_block, waves
from minimagen.conditioning import Cond, Text
from minimagen.fused import attend
from minimagen.layers import Attention, time_embedding
from minimagen.show import networks, tracing
from minimagen.unet import BASE_64, UNetConfig

TINY = UNetConfig(
    size=16, channels=(16, 32), layers=(1, 2), attention=("text", "self+text"), head_dim=8, text_dim=32, cross_dim=64
)
EFFICIENT = replace(TINY, in_channels=6, augmentation=True, efficient=True, skip_scale=math.sqrt(0.5), size=32)
FOLDED = replace(EFFICIENT, fold=4)
every_config = pytest.mark.parametrize("config", [TINY, EFFICIENT, FOLDED], ids=["if", "efficient", "folded"])
LONG = "What a reader should see here, said in one or two sentences that do not end before the line does, so it wraps."


def inputs(config, batch=1, seed=0, length=6):
    g = torch.Generator().manual_seed(seed)
    z, low_res = (torch.randn(batch, 3, config.size, config.size, generator=g) for _ in range(2))
    text = Text(torch.randn(batch, length, config.text_dim, generator=g))
    aug = torch.rand(batch, generator=g) if config.augmentation else None
    return z, 999 * torch.rand(batch, generator=g), Cond(text, low_res if config.enlarges else None, aug)


# Tracing


@every_config
def test_the_parts_hold_every_parameter_once(config):
    unet = networks.random(config)
    parts = tracing.parts(unet)
    held = [id(p) for part in parts for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in unet.parameters())
    assert len({name for name, _ in parts.values()}) == len(parts)


@every_config
def test_a_trace_is_what_the_network_does(config):
    unet, given = networks.random(config), inputs(config)
    stops = {stop.name: stop for stop in networks.trace(unet, *given)}
    out = unet(*given)
    torch.testing.assert_close(F.pixel_shuffle(stops["last convolution"].output, config.fold), out)
    assert out.abs().max() > 1e-3, "random everywhere: a new network would say nothing"
    assert sum(stop.parameters for stop in stops.values()) == sum(p.numel() for p in unet.parameters())
    assert [len(m._forward_hooks) for m in unet.modules() if m._forward_hooks] == []


@every_config
def test_an_outline_is_the_trace_without_numbers(config):
    outline, trace = networks.outline(config, tokens=6), networks.trace(networks.random(config), *inputs(config))
    assert [(s.name, s.kind, s.shape, s.parameters) for s in outline] == [
        (s.name, s.kind, s.shape, s.parameters) for s in trace
    ]
    assert all(s.output.is_meta and s.operations is not None for s in outline)
    assert all(s.operations is None for s in trace)


def test_operations_are_those_worked_by_hand():
    stops = {stop.name: stop for stop in networks.outline(TINY, tokens=6)}
    assert stops["first convolution"].operations == 9 * 3 * 16 * 16**2
    assert stops["down 0, block 0"].operations == 2 * 9 * 16 * 16 * 16**2
    assert stops["down 1, block 0"].operations == (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 8**2
    pixels, keys = 64, 64 + 6
    assert stops["middle, attention 0"].operations == pixels * 32 * 4 * 32 + 2 * pixels * keys * 32  # q, k, v, out
    assert networks.operations(torch.mm, torch.empty(3, 4, device="meta"), torch.empty(4, 5, device="meta")) == 60


def test_preparing_is_the_texts_share():
    text, rest = networks.preparing(TINY, tokens=6)
    widths = (16, 32, 32, 32, 32, 32, 32, 16, 16)
    keys_and_values = sum(2 * 6 * 64 * width for width in widths)
    pooling = 32 * 32 * (1 + 2 * 7) + 2 * 7 * 32 + 32 * 64  # q of one, k and v of seven; attention; out
    assert text == 6 * 32 * 64 + keys_and_values + pooling
    outline = networks.outline(TINY, tokens=6)
    known = sum(s.operations for s in outline if s.name not in ("pooled text", "text projection"))
    films = sum(2 * s.shape[1] * 64 for s in outline if s.kind in ("block", "down", "up"))  # all blocks' s and b
    assert rest == known + films


def test_random_networks_are_the_same_each_time_and_leave_chance_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, c = (networks.random(TINY, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    given = inputs(TINY)
    assert torch.equal(a(*given), b(*given)) and not torch.equal(a(*given), c(*given))


def test_the_base_is_of_the_courses_shape_or_the_shipped_one():
    unet, trained = networks.base()
    assert trained == (tracing.data_folder() / "unet_64").is_dir()
    assert trained or unet.config == BASE_64
    assert unet.config.size == 64 and not unet.untrained


# Where it looks


def test_attention_maps_are_the_weights_with_which_values_are_taken():
    """Add 1 to all of one token's values: each pixel's answer grows by the weight that it gives to this token."""
    unet, (z, t, cond) = networks.random(TINY), inputs(TINY, batch=2)
    cond = unet.prepare(cond)
    name = "middle, attention 0"
    layer = next(m for m, (n, _) in tracing.parts(unet).items() if n == name)
    attentions = [m for m in unet.modules() if isinstance(m, Attention)]
    taken = []
    hook = layer.out.register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    layers = list(cond.text.layers)
    unet(z, t, cond)
    more = layers[(i := attentions.index(layer))].clone()
    more[:, 3, more.shape[-1] // 2 :] += 1
    layers[i] = more
    unet(z, t, replace(cond, text=replace(cond.text, layers=tuple(layers))))
    hook.remove()
    grown = (taken[1] - taken[0]).mean(-1).unflatten(1, (8, 8))  # over channels: the mean over heads
    maps = networks.attention_to_text(unet, z, t, cond)
    torch.testing.assert_close(grown, maps[name][:, 3], atol=1e-5, rtol=1e-4)


def test_weights_add_up_and_masked_tokens_have_none():
    unet, (z, t, cond) = networks.random(TINY), inputs(TINY, batch=2)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    maps = networks.attention_to_text(unet, z, t, Cond(Text(cond.text.tokens, mask)))
    assert len(maps) == 9
    for name, weights in maps.items():
        assert weights.shape[:2] == (2, 6) and not weights[:, 4:].any()
        total = weights.sum(1)
        if name.startswith(("down 0", "up 0")):  # to the text alone
            torch.testing.assert_close(total, torch.ones_like(total))
        else:  # the rest goes to the picture
            assert 0 < total.min() and total.max() < 1


# Figures


def stops(config=TINY):
    return networks.trace(networks.random(config), *inputs(config))


FIGURES = {
    "journey": lambda: networks.journey(
        torch.zeros(3, 16, 16), stops(), ["down 0, block 0", "middle, block 1", "up 0, block 1"], caption=LONG
    ),
    "activations": lambda: networks.activations(stops()[5]),
    "by_word": lambda: networks.by_word(
        torch.zeros(3, 16, 16),
        ["a", "sphere"],
        {"one": torch.rand(2, 8, 8), "two": torch.rand(2, 16, 16)},
        caption=LONG,
    ),
    "shapes": lambda: networks.shapes(networks.outline(BASE_64), caption=LONG),
    "efficient": lambda: networks.shapes(networks.outline(EFFICIENT), caption=LONG),
    "parameters": lambda: networks.parameters(networks.outline(BASE_64), caption=LONG),
    "costs": lambda: networks.costs(
        {"usual": networks.outline(TINY), "thin": networks.outline(EFFICIENT)}, caption=LONG
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_everything_written_is_inside_the_figure_and_large_enough(name):
    figure = FIGURES[name]()
    assert_legible(figure)
    assert figure.caption


@every_config
def test_places_hold_every_parameter(config):
    outline = networks.outline(config)
    assert sum(sum(kinds.values()) for kinds in networks.places(outline).values()) == sum(s.parameters for s in outline)


def test_bars_are_as_high_as_what_they_stand_for():
    outline = networks.outline(BASE_64)
    bars = networks.parameters(outline).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(sum(s.parameters for s in outline) / 1e6)


def test_what_cannot_be_shown_is_said():
    trace = stops()
    with pytest.raises(ValueError, match="gives a vector"):
        networks.activations(next(s for s in trace if s.name == "time"))
    with pytest.raises(ValueError, match="no 'down 7, block 0'"):
        networks.journey(torch.zeros(3, 16, 16), trace, ["down 7, block 0"])


# The exercises' answers are what the package computes


def test_the_answers_are_the_packages_own():
    g = torch.Generator().manual_seed(0)
    t = 999 * torch.rand(5, generator=g)
    torch.testing.assert_close(waves(t, 32), time_embedding(t, 32), atol=2e-4, rtol=0)
    for before, width in ((8, 8), (8, 12)):
        block = some_block(before, width, g)
        x, film = torch.randn(2, before, 6, 6, generator=g), torch.randn(2, 2 * width, generator=g)
        torch.testing.assert_close(block_forward(block, x, film, F.silu), block(x, film), atol=1e-5, rtol=1e-4)
    q, k, v = (torch.randn(2, 6, 8, generator=g) for _ in range(3))
    text_k, text_v = (torch.randn(2, 4, 8, generator=g) for _ in range(2))
    split = (y.unflatten(-1, (2, 4)).transpose(1, 2) for y in (q, torch.cat([text_k, k], 1), torch.cat([text_v, v], 1)))
    torch.testing.assert_close(joint_attention(q, k, v, text_k, text_v, 2), attend(*split).transpose(1, 2).flatten(2))
