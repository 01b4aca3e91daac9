"""Our U-Net against diffusers' UNet2DConditionModel: the same numbers, the same keys, both ways."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_unet import ENLARGES, TINY, inputs, random_unet

from minimagen import deepfloyd
from minimagen.unet import BASE_64, IF_I_L, IF_I_M, IF_I_XL, IF_II_L, IF_II_M, SR_256, SR_1024, UNet, UNetConfig

diffusers = pytest.importorskip("diffusers")

ROOT2 = 1 / 0.7071
CONFIGS = {
    "base": replace(TINY, cross_dim=64),
    "super-resolution": ENLARGES,
    "layers per level": replace(TINY, channels=(32, 32, 64), layers=(1, 2, 3), attention=("none", "none", "self+text")),
    "only cross-attention": replace(TINY, attention=("none", "text"), mid_attention="text"),
    "middle alone with itself": replace(TINY, attention=("text", "text"), mid_attention="self+text"),
    "scaled blocks": replace(ENLARGES, skip_time_act=True, time_act="gelu", block_scale=ROOT2, mid_scale=ROOT2),
    "learned variance": replace(TINY, out_channels=6, groups=32),
    "silu, tokens alone": replace(TINY, act="silu", pool=None, time_dim=48),
}


def theirs(model, z, t, cond):
    z = z if cond.low_res is None else torch.cat([z, cond.low_res], dim=1)
    labels = None if cond.aug is None else 1000 * cond.aug
    return model(z, t, cond.text.tokens, class_labels=labels).sample


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_equal_to_diffusers(config):
    ours = random_unet(config)
    model, (z, t, cond) = deepfloyd.to_diffusers(ours), inputs(config)
    with torch.no_grad():
        a, b = ours(z, t, cond), theirs(model, z, t, cond)
    assert b.abs().max() > 0.5
    assert (a - b).abs().max() < 1e-4


@given(
    channels=st.lists(st.sampled_from([16, 32, 48]), min_size=1, max_size=3),
    layers=st.integers(1, 2),
    kinds=st.lists(st.sampled_from(["none", "text", "self+text"]), min_size=3, max_size=3),
    mid=st.sampled_from(["text", "self+text"]),
    act=st.sampled_from(["gelu", "silu"]),
    flags=st.tuples(*[st.booleans()] * 5),
    cross_dim=st.sampled_from([None, 64]),
    scale=st.sampled_from([1.0, ROOT2]),
)
@settings(max_examples=12, deadline=None)
def test_equal_to_diffusers_whatever_the_config(channels, layers, kinds, mid, act, flags, cross_dim, scale):
    augmented, normed, pooled, skip_time_act, variance = flags
    config = UNetConfig(
        size=2 ** (len(channels) + 1),
        in_channels=6 if augmented else 3,
        out_channels=6 if variance else 3,
        channels=tuple(channels),
        layers=layers,
        attention=tuple(kinds[: len(channels)]),
        mid_attention=mid,
        head_dim=8,
        act=act,
        text_dim=32,
        cross_dim=cross_dim,
        text_norm="group" if normed else None,
        pool="attention" if pooled else None,
        augmentation=augmented,
        skip_time_act=skip_time_act,
        block_scale=scale,
        mid_scale=scale,
    )
    ours, (z, t, cond) = random_unet(config), inputs(config)
    model = deepfloyd.to_diffusers(ours)
    assert deepfloyd.from_diffusers_config(dict(model.config)) == config
    with torch.no_grad():
        assert (ours(z, t, cond) - theirs(model, z, t, cond)).abs().max() < 1e-4


def test_gradients_are_equal_too():
    ours = random_unet(TINY)
    model = deepfloyd.to_diffusers(ours)
    z, t, cond = inputs(TINY)
    target = torch.randn(z.shape, generator=torch.Generator().manual_seed(3))
    ours.requires_grad_(True)
    model.requires_grad_(True)
    (ours(z, t, cond) - target).square().mean().backward()
    (theirs(model, z, t, cond) - target).square().mean().backward()
    named = dict(ours.named_parameters())
    for key, p in model.named_parameters():
        torch.testing.assert_close(named[deepfloyd.from_diffusers_key(key)].grad, p.grad, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_weights_there_and_back_are_the_same_bits(config):
    ours = random_unet(config)
    back = deepfloyd.from_diffusers(deepfloyd.to_diffusers(ours))
    assert back.config == config
    a, b = ours.state_dict(), back.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_from_a_model_that_diffusers_made():
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(**deepfloyd.to_diffusers_config(CONFIGS["scaled blocks"])).eval()
    ours, (z, t, cond) = deepfloyd.from_diffusers(model), inputs(ENLARGES)
    assert not ours.training
    with torch.no_grad():
        assert (ours(z, t, cond) - theirs(model, z, t, cond)).abs().max() < 1e-4


PUBLISHED = {"I-M": (IF_I_M, 371.6), "I-L": (IF_I_L, 935.4), "I-XL": (IF_I_XL, 4304.7)}
PUBLISHED |= {"II-M": (IF_II_M, 449.1), "II-L": (IF_II_L, 1150.6), "ours": (BASE_64, 6.69)}


@pytest.mark.parametrize(("config", "millions"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_networks_build_with_every_key_and_shape(config, millions):
    with torch.device("meta"):
        ours = UNet(config).state_dict()
        model = diffusers.UNet2DConditionModel(**deepfloyd.to_diffusers_config(config)).state_dict()
    assert {deepfloyd.from_diffusers_key(k): v.shape for k, v in model.items()} == {k: v.shape for k, v in ours.items()}
    assert sum(v.numel() for v in ours.values()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_the_config_of_if_i_xl_as_diffusers_publishes_it():
    published = {
        "sample_size": 64,
        "in_channels": 3,
        "out_channels": 6,
        "layers_per_block": 3,
        "block_out_channels": [704, 1408, 2112, 2816],
        "down_block_types": ["ResnetDownsampleBlock2D"] + ["SimpleCrossAttnDownBlock2D"] * 3,
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ["SimpleCrossAttnUpBlock2D"] * 3 + ["ResnetUpsampleBlock2D"],
        "cross_attention_dim": 2816,
        "encoder_hid_dim": 4096,
        "attention_head_dim": 64,
        "addition_embed_type": "text",
        "cross_attention_norm": "group_norm",
        "resnet_time_scale_shift": "scale_shift",
        "act_fn": "gelu",
    }
    assert deepfloyd.from_diffusers_config(published) == IF_I_XL
    # diffusers: the middle follows a single value, and not a list of them
    assert deepfloyd.from_diffusers_config({**published, "only_cross_attention": True}).mid_attention == "text"
    listed = deepfloyd.from_diffusers_config({**published, "only_cross_attention": [True] * 4})
    assert listed.mid_attention == "self+text" and listed.attention == ("none", "text", "text", "text")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mid_block_type": "UNetMidBlock2DCrossAttn"}, "its mid_block_type is 'UNetMidBlock2DCrossAttn'"),
        ({"class_embed_type": "projection"}, "its class_embed_type is 'projection'"),
        ({"down_block_types": ("CrossAttnDownBlock2D",) * 2}, "it has a CrossAttnDownBlock2D"),
        ({"attention_head_dim": (8, 16)}, "heads of different widths"),
    ],
)
def test_another_kind_of_network_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        deepfloyd.from_diffusers_config({**deepfloyd.to_diffusers_config(TINY), **change})


@pytest.mark.parametrize(
    "config",
    [SR_256, SR_1024, replace(TINY, pool="mean"), replace(TINY, text_norm="layer"), replace(TINY, skip_scale=0.7)]
    + [replace(TINY, attention=("none", "self")), replace(TINY, mid_attention="none"), replace(TINY, fold=2)],
)
def test_what_diffusers_cannot_express_is_said(config):
    with pytest.raises(ValueError, match="UNet2DConditionModel does not have"):
        deepfloyd.to_diffusers_config(config)


def test_a_variance_of_zeros_for_the_pipelines_that_split_one_off():
    ours, (z, t, cond) = random_unet(TINY), inputs(TINY)
    model = deepfloyd.to_diffusers(ours, variance=True)
    with torch.no_grad():
        out = theirs(model, z, t, cond)
        assert (out[:, :3] - ours(z, t, cond)).abs().max() < 1e-4
    assert out.shape[1] == 6 and not out[:, 3:].any()


def test_the_schedule_is_ifs_table():
    scheduler = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
    table = deepfloyd.schedule().alphas_cumprod
    assert len(table) == 1000
    torch.testing.assert_close(table.float(), scheduler.alphas_cumprod, atol=1e-7, rtol=1e-4)
    alpha, sigma = deepfloyd.schedule()(251 / 1000)  # noise_level 250
    assert alpha**2 == pytest.approx(float(table[250]), abs=1e-6) and alpha**2 + sigma**2 == pytest.approx(1)
