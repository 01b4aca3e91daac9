"""The U-Net's own laws. That it is DeepFloyd IF's, to the last digit, is test_deepfloyd.py's matter."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen import fused, unet
from minimagen.conditioning import Cond, Text
from minimagen.layers import Attention, Pooling, ResBlock
from minimagen.twins import attended
from minimagen.unet import BASE_64, SR_256, SR_1024, UNet, UNetConfig

TINY = UNetConfig(
    size=16,
    channels=(32, 64),
    layers=1,
    attention=("none", "self+text"),
    head_dim=8,
    text_dim=32,
)
ENLARGES = replace(TINY, in_channels=6, augmentation=True)
EFFICIENT = replace(ENLARGES, efficient=True, skip_scale=math.sqrt(0.5), attention=("none", "text"), size=32, fold=4)


def random_unet(config, seed=0):
    """A network whose every parameter is random: a new one returns zeros, which would hide all its mistakes."""
    generator = torch.Generator().manual_seed(seed)
    network = UNet(config)
    for name, p in network.named_parameters():
        spread = p[0].numel() ** -0.5 if p.ndim > 1 else 0.2
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        p.data = (torch.randn(p.shape, generator=generator) * spread + around).contiguous(
            memory_format=torch.channels_last if p.ndim == 4 else torch.contiguous_format
        )
    return network.eval().requires_grad_(False)


def inputs(config, batch=2, length=7, seed=1, size=None):
    generator = torch.Generator().manual_seed(seed)
    size = size or config.size
    z = torch.randn(batch, 3, size, size, generator=generator)
    t = torch.rand(batch, generator=generator) * 999
    text = Text(torch.randn(batch, length, config.text_dim, generator=generator)) if config.text_dim else None
    low_res = torch.randn(z.shape, generator=generator) if config.enlarges else None
    aug = torch.rand(batch, generator=generator) if config.augmentation else None
    return z, t, Cond(text, low_res, aug)


def test_a_new_network_returns_zeros_and_learns_from_the_first_steps():
    z, t, cond = inputs(TINY)
    network = UNet(TINY)
    assert not network(z, t, cond).any()
    optimizer, target = torch.optim.Adam(network.parameters(), lr=3e-3), torch.randn_like(z)
    losses = []
    for _ in range(25):
        loss = (network(z, t, cond) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("config", [TINY, ENLARGES, EFFICIENT, replace(TINY, pool="mean", text_norm="layer")])
def test_text_prepared_once_gives_the_same_picture(config):
    network, (z, t, cond) = random_unet(config), inputs(config)
    prepared = network.prepare(cond)
    assert network.prepare(prepared) is prepared
    torch.testing.assert_close(network(z, t, prepared), network(z, t, cond))


@pytest.mark.parametrize("config", [TINY, EFFICIENT])
def test_everything_that_conditions_a_picture_changes_it(config):
    network, (z, t, cond) = random_unet(config), inputs(config)
    out = network(z, t, cond)
    other = inputs(config, seed=2)[2]
    changed = [network(z, t + 100, cond), network(z, t, replace(cond, text=other.text))]
    if config.enlarges:
        changed += [network(z, t, replace(cond, low_res=other.low_res)), network(z, t, replace(cond, aug=other.aug))]
    assert all((out - c).abs().max() > 1e-3 for c in changed)
    assert out.shape == z.shape


@pytest.mark.parametrize("config", [TINY, EFFICIENT])
def test_a_picture_does_not_depend_on_its_batch(config):
    network, (z, t, cond) = random_unet(config), inputs(config, batch=3)
    alone = torch.cat([network(z[i : i + 1], t[i : i + 1], cond[i]) for i in range(3)])
    torch.testing.assert_close(network(z, t, cond), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_the_order_of_tokens_is_known_from_their_numbers_alone(pool):
    """No key has a place of its own: where a word stands, the text encoder has to have written into it."""
    config = replace(TINY, pool=pool)
    network, (z, t, cond) = random_unet(config), inputs(config)
    shuffled = Text(cond.text.tokens[:, torch.randperm(7, generator=torch.Generator().manual_seed(0))])
    torch.testing.assert_close(network(z, t, replace(cond, text=shuffled)), network(z, t, cond), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_a_mask_is_respected_and_without_one_padding_is_attended(pool):
    config = replace(TINY, pool=pool, text_norm=None)  # a GroupNorm on text counts the padding's numbers, mask or not
    network, (z, t, cond) = random_unet(config), inputs(config, length=9)
    tokens = cond.text.tokens
    mask = (torch.arange(9) < 5).expand(2, 9)
    masked = network(z, t, Cond(Text(tokens, mask)))
    torch.testing.assert_close(masked, network(z, t, Cond(Text(tokens[:, :5]))), atol=1e-5, rtol=1e-5)
    assert (masked - network(z, t, Cond(Text(tokens)))).abs().max() > 1e-2
    nothing = network(z, t, Cond(Text(tokens, torch.zeros_like(mask))))
    torch.testing.assert_close(nothing, network(z, t, Cond(Text(tokens))))  # not a token: all, rather than NaN


def test_mean_pooling_is_the_mean():
    torch.manual_seed(0)
    pool, tokens = Pooling(8, 12, kind="mean", heads=2), torch.randn(2, 5, 8)
    pool.norm_in.weight.data.normal_()
    expected = pool.norm_out(pool.out(pool.norm_in(tokens).mean(1)))
    torch.testing.assert_close(pool(tokens, None), expected)


def test_text_by_pooling_alone_and_by_tokens_alone():
    pooled = random_unet(replace(TINY, attention=("none", "self"), mid_attention="self"))
    tokens = random_unet(replace(TINY, pool=None))
    z, t, cond = inputs(TINY)
    assert pooled.prepare(cond).text.layers == () and tokens.prepare(cond).text.pooled is None
    for network in (pooled, tokens):
        assert (network(z, t, cond) - network(z, t, inputs(TINY, seed=5)[2])).abs().max() > 1e-3


def test_an_unconditional_network_takes_no_text():
    config = replace(TINY, text_dim=None, attention=("none", "self"), mid_attention="none")
    network, (z, t, _) = random_unet(config), inputs(config)
    torch.testing.assert_close(network(z, t), network(z, t, Cond()))
    with pytest.raises(ValueError, match="unconditional"):
        network(z, t, inputs(TINY)[2])


def widths_and_sizes(network, z, t, cond):
    """(channels, edge) of what every residual block receives."""
    seen, hooks = [], []
    for m in network.modules():
        if isinstance(m, ResBlock):
            hooks.append(m.register_forward_pre_hook(lambda m, args: seen.append(tuple(args[0].shape[1:3]))))
    network(z, t, cond)
    for hook in hooks:
        hook.remove()
    return seen


def test_the_efficient_network_halves_first_and_doubles_last():
    config = replace(EFFICIENT, fold=1)
    seen = widths_and_sizes(random_unet(config), *inputs(config))
    assert seen == [(32, 16), (64, 8), (128, 8), (64, 16)]  # of 32 px: no block ever sees them whole
    assert widths_and_sizes(random_unet(TINY), *inputs(TINY))[0] == (32, 16)  # IF's first block does


def test_folding_stands_for_the_first_halving_and_loses_nothing():
    seen = widths_and_sizes(random_unet(EFFICIENT), *inputs(EFFICIENT))
    assert seen == [(32, 8), (64, 4), (128, 4), (64, 8)]  # of 32 px, 4 × 4 in a position
    network, grabbed = random_unet(EFFICIENT), {}
    network.conv_in.register_forward_hook(lambda m, args, out: grabbed.update(entering=args[0]))
    network.conv_out.register_forward_hook(lambda m, args, out: grabbed.update(leaving=out))
    z, t, cond = inputs(EFFICIENT)
    out = network(z, t, cond)
    for folded, picture in ((grabbed["entering"], z), (grabbed["leaving"], out)):
        torch.testing.assert_close(folded[:, 16 + 7, 2, 3], picture[:, 1, 2 * 4 + 1, 3 * 4 + 3])  # green, 7 = (1, 3)


def test_skips_are_scaled_by_one_over_root_two_and_neutral_is_one():
    z, t, cond = inputs(EFFICIENT)

    def skip_and_left(scale):
        network, seen = random_unet(replace(EFFICIENT, skip_scale=scale)), {}
        network.down[1].attentions[0].register_forward_hook(lambda m, a, o: seen.update(left=o))
        network.up[0].blocks[0].register_forward_pre_hook(lambda m, a: seen.update(taken=a[0]))
        network(z, t, cond)
        return seen["taken"][:, 64:], seen["left"]

    taken, left = skip_and_left(1.0)
    torch.testing.assert_close(taken, left)
    taken, left = skip_and_left(math.sqrt(0.5))
    torch.testing.assert_close(taken, left / math.sqrt(2))


def test_the_1024_stage_attends_to_text_and_not_to_itself():
    network = UNet(SR_1024)
    attentions = [m for m in network.modules() if isinstance(m, Attention)]
    assert attentions and all(a.to_text and not a.to_self for a in attentions)


@pytest.mark.parametrize(("config", "most"), [(BASE_64, 7.2), (SR_256, 4.6), (SR_1024, 2.6)])
def test_our_networks_stay_small(config, most):
    with torch.device("meta"):
        parameters = sum(p.numel() for p in UNet(config).parameters()) / 1e6
    assert 0.6 * most < parameters < most
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def psnr(a, b):
    return -10 * math.log10(((a.float() - b) ** 2).mean() / b.var())


@pytest.mark.parametrize("config", [TINY, EFFICIENT])
def test_bfloat16_pure_and_by_autocast(config):
    network, (z, t, cond) = random_unet(config), inputs(config)
    exact = network(z, t, cond)
    with torch.autocast("cpu", torch.bfloat16):
        assert psnr(network(z, t, cond), exact) > 30
    assert psnr(copy.deepcopy(network).bfloat16()(z, t, cond), exact) > 30


@given(
    groups=st.sampled_from([1, 2, 8]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    act=st.sampled_from(["gelu", "silu", None]),
    scaled=st.booleans(),
    offset=st.floats(-3, 3),
    part=st.sampled_from([1, fused._PART]),  # smaller than a picture, and larger than all
)
@settings(max_examples=30, deadline=None)
def test_fast_normalisation_is_the_formula_forwards_and_backwards(groups, height, width, act, scaled, offset, part):
    if height * width * 16 // groups < 4:
        return  # one or two numbers to normalise: their spread is rounding
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(groups, 16)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = (torch.randn(3, 16, height, width) + offset).to(memory_format=torch.channels_last).requires_grad_()
    scale_shift = [torch.randn(3, 16, requires_grad=True) for _ in range(2)] if scaled else [None, None]
    wanted = [x, norm.weight, norm.bias, *scale_shift[: 2 * scaled]]
    weight = torch.randn(x.shape)
    ways = fused.norm_act_as_written, fused.norm_act, fused.norm_act_by_sums
    plain, *others = (way(x, norm, act, *scale_shift) for way in ways)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_PART", part)
        expected, *gradients = (torch.autograd.grad((y * weight).sum(), wanted) for y in (plain, *others))
    for way, found in zip(others, gradients, strict=True):
        torch.testing.assert_close(way, plain, atol=1e-4, rtol=1e-4)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)


def test_a_compiled_network_is_the_network_and_tells_where_it_looks():
    """In one graph, with the hooks that collect attention's scores, as a GPU trains it."""
    network = random_unet(TINY).requires_grad_(True)
    torch.manual_seed(0)
    z, t, cond = torch.randn(2, 3, 16, 16), torch.rand(2), Cond(Text(torch.randn(2, 5, 32)))
    found = []
    with attended(network) as scores:
        for call in (network, torch.compile(network, backend="aot_eager", fullgraph=True)):
            for _ in range(2):  # the second time nothing is compiled
                scores.clear()
                loss = call(z, t, cond).square().mean() + sum(s.square().mean() for s in scores)
                found.append((len(scores), loss, *torch.autograd.grad(loss, list(network.parameters()))))
    count, *eager = found[0]
    assert count > 0
    for other, *compiled in found[1:]:
        assert other == count
        for a, b in zip(compiled, eager, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_by_formula_is_attention_by_kernel(masked):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8) for n in (5, 11, 11))
    mask = torch.arange(11).expand(2, 1, 1, 11) < 7 if masked else None
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(fused.attend(q, k, v, mask), exact)
    half = fused.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert psnr(half, exact) > 40


def test_enlarging_by_one_transposed_convolution_is_nearest_then_convolution():
    torch.manual_seed(0)
    block = ResBlock(32, 32, 8, groups=4, resample="up")
    x = torch.randn(2, 32, 16, 16).to(memory_format=torch.channels_last)
    plain = block.conv1(torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(fused.enlarge_and_convolve(x, block.conv1), plain, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert psnr(fused.enlarge_and_convolve(x.bfloat16(), block.conv1.bfloat16()), plain) > 40


def test_fast_normalisation_without_a_gradient_is_the_formula_too():
    torch.manual_seed(0)
    norm, s, b = torch.nn.GroupNorm(2, 16), torch.randn(2, 16), torch.randn(2, 16)
    for edge in (3, 64):
        x = torch.randn(2, 16, edge, edge).to(memory_format=torch.channels_last)
        for scale, shift in ((None, None), (s, b)):
            plain = fused.norm_act_as_written(x, norm, "silu", scale, shift)
            with torch.no_grad():
                torch.testing.assert_close(fused.norm_act(x, norm, "silu", scale, shift), plain, atol=1e-5, rtol=1e-5)
                half = None if scale is None else scale.bfloat16(), None if shift is None else shift.bfloat16()
                assert psnr(fused.norm_act(x.bfloat16(), norm.bfloat16(), "silu", *half), plain) > 40
                norm.float()


def test_flat_maps_stay_finite():
    x = torch.linspace(10, 1000, 64).view(-1, 1, 1, 1).expand(-1, 8, 12, 12).contiguous()
    assert fused.norm_act(x, torch.nn.GroupNorm(4, 8)).isfinite().all()


def test_memory_is_kept_where_the_c_library_can():
    assert fused.keep_memory() in (True, False)


def test_a_copy_is_another_network():
    network, (z, t, cond) = random_unet(TINY), inputs(TINY)
    twin = copy.deepcopy(network)
    torch.testing.assert_close(twin(z, t, cond), network(z, t, cond))
    twin.conv_out.bias.data += 1
    assert (twin(z, t, cond) - network(z, t, cond)).abs().max() > 0.5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"z": torch.zeros(2, 4, 16, 16)}, "this network expects 6"),
        ({"z": torch.zeros(2, 3, 15, 16), "low_res": torch.zeros(2, 3, 15, 16)}, "not divisible by 2"),
        ({"z": torch.zeros(3, 16, 16)}, "batch, channels, height, width"),
        ({"z": torch.zeros(0, 3, 16, 16)}, "batch, channels, height, width"),
        ({"low_res": None}, "give it the enlarged small picture"),
        ({"low_res": torch.zeros(2, 3, 8, 8)}, "must first be enlarged"),
        ({"aug": None}, "how much noise"),
        ({"text": None}, "conditioned on text"),
        ({"text": Text(torch.zeros(2, 7, 31))}, "31 wide; this network expects 32"),
        ({"text": Text(torch.zeros(3, 7, 32))}, "3 sentences for 2 pictures"),
    ],
)
def test_what_does_not_fit_is_named_at_the_door(change, says):
    z, t, cond = inputs(ENLARGES)
    change = dict(change)
    z = change.pop("z", z)
    with pytest.raises(ValueError, match=says):
        UNet(ENLARGES)(z, t, replace(cond, **change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": (1, 2, 3)}, "as many levels"),
        ({"layers": (1, 0)}, "at least one"),
        ({"attention": ("none", "cross")}, "attention is one of"),
        ({"text_dim": None}, "needs text"),
        ({"act": "relu"}, "act is one of"),
        ({"pool": "max"}, "pool is one of"),
        ({"groups": 24}, "24 groups"),
        ({"head_dim": 24}, "heads of 24"),
        ({"text_dim": 48}, "32 groups"),
        ({"text_norm": None, "text_dim": 30}, "pool_heads"),
        ({"size": 17}, "not divisible"),
    ],
)
def test_a_config_that_cannot_be_says_why(change, says):
    with pytest.raises(ValueError, match=says):
        replace(TINY, **change)


def test_an_unknown_entry_in_config_json_is_named():
    with pytest.raises(ValueError, match="no colour, dept"):
        UNetConfig.from_dict({**TINY.to_dict(), "dept": 3, "colour": 1})


def test_the_names_that_the_package_promises():
    for name in ("BASE_64", "SR_256", "SR_1024", "IF_I_M", "IF_I_L", "IF_I_XL", "IF_II_M", "IF_II_L"):
        assert isinstance(getattr(unet, name), UNetConfig)
