"""U-Nets and their configs carried between minimagen and diffusers.

Weights are renamed, nothing more, so a network is the same numbers on either side. diffusers is imported when needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..unet import UNet, UNetConfig

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


# diffusers' name of a part, and ours; every key is made of these and of numbers.
RENAMED = (
    ("time_embedding.linear_1", "time.0"),
    ("time_embedding.linear_2", "time.2"),
    ("class_embedding.linear_1", "aug.0"),
    ("class_embedding.linear_2", "aug.2"),
    ("encoder_hid_proj", "text_in"),
    ("add_embedding.norm1", "pool.norm_in"),
    ("add_embedding.norm2", "pool.norm_out"),
    ("add_embedding.pool.positional_embedding", "pool.query"),
    ("add_embedding.pool.q_proj", "pool.q"),
    ("add_embedding.pool.k_proj", "pool.k"),
    ("add_embedding.pool.v_proj", "pool.v"),
    ("add_embedding.proj", "pool.out"),
    ("conv_norm_out", "norm_out"),
    ("down_blocks", "down"),
    ("up_blocks", "up"),
    ("mid_block", "mid"),
    ("downsamplers.0", "resample"),
    ("upsamplers.0", "resample"),
    ("resnets", "blocks"),
    ("time_emb_proj", "time"),
    ("conv_shortcut", "skip"),
    ("group_norm", "norm"),
    ("norm_cross", "text_norm"),
    ("add_k_proj", "text_k"),
    ("add_v_proj", "text_v"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "out"),
)


def from_diffusers_key(key: str) -> str:
    """down_blocks.1.attentions.0.to_q.weight → down.1.attentions.0.q.weight"""
    for theirs, ours in RENAMED:
        key = re.sub(rf"(^|\.){re.escape(theirs)}(?=\.|$)", rf"\g<1>{ours}", key)
    return key


# What IF's shape fixes, as diffusers spells it, and diffusers' default, which a key missing from config.json has.
_FIXED = {
    "center_input_sample": (False, False),
    "flip_sin_to_cos": (True, True),
    "freq_shift": (0, 0),
    "mid_block_type": ("UNetMidBlock2DSimpleCrossAttn", "UNetMidBlock2DCrossAttn"),
    "dropout": (0.0, 0.0),
    "norm_eps": (1e-5, 1e-5),
    "resnet_time_scale_shift": ("scale_shift", "default"),
    "time_embedding_type": ("positional", "positional"),
    "timestep_post_act": (None, None),
    "time_cond_proj_dim": (None, None),
    "conv_in_kernel": (3, 3),
    "conv_out_kernel": (3, 3),
    "class_embeddings_concat": (False, False),
    "num_class_embeds": (None, None),
}
_DOWN = {"ResnetDownsampleBlock2D": False, "SimpleCrossAttnDownBlock2D": True}


def to_diffusers_config(config: UNetConfig) -> dict[str, Any]:
    """The keyword arguments with which `UNet2DConditionModel` is this network."""
    c, kinds = config, (*config.attention, config.mid_attention)
    for wrong, what in (
        (c.efficient, "the Efficient U-Net's ordering"),
        (c.fold > 1, "folding"),
        (c.skip_scale != 1, "scaled skips"),
        ("self" in kinds or c.mid_attention == "none", "attention without text, nor a middle without attention"),
        (c.pool == "mean", "mean pooling"),
        (c.text_norm == "layer", "a working LayerNorm on text"),  # it makes that as wide as the picture, and fails
    ):
        if wrong:
            raise ValueError(f"diffusers' UNet2DConditionModel does not have {what}")
    attends = [kind != "none" for kind in c.attention]
    return {key: ours for key, (ours, _) in _FIXED.items()} | {
        "sample_size": c.size,
        "in_channels": c.in_channels,
        "out_channels": c.out_channels,
        "down_block_types": tuple("SimpleCrossAttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends),
        "up_block_types": tuple(
            "SimpleCrossAttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)
        ),
        "only_cross_attention": [kind == "text" for kind in c.attention],
        "mid_block_only_cross_attention": c.mid_attention == "text",
        "block_out_channels": c.channels,
        "layers_per_block": list(c.layers),
        "mid_block_scale_factor": c.mid_scale,
        "resnet_out_scale_factor": c.block_scale,
        "resnet_skip_time_act": c.skip_time_act,
        "act_fn": c.act,
        "time_embedding_act_fn": c.time_act,
        "time_embedding_dim": c.time_dim,
        "norm_num_groups": c.groups,
        "attention_head_dim": c.head_dim,
        "cross_attention_dim": c.kv_dim,
        "cross_attention_norm": "group_norm" if c.text_norm else None,
        "encoder_hid_dim": c.text_dim if c.cross_dim else None,
        "encoder_hid_dim_type": "text_proj" if c.cross_dim else None,
        "addition_embed_type": "text" if c.pool else None,
        "addition_embed_type_num_heads": c.pool_heads,
        "class_embed_type": "timestep" if c.augmentation else None,
    }


def from_diffusers_config(config: dict[str, Any]) -> UNetConfig:
    """Our config for diffusers' config.json of a network of IF's kind."""
    for key, (ours, default) in _FIXED.items():
        if (value := config.get(key, default)) != ours:
            raise ValueError(f"this is not a U-Net of DeepFloyd IF's kind: its {key} is {value!r}, not {ours!r}")
    for key, allowed in (
        ("class_embed_type", "timestep"),
        ("encoder_hid_dim_type", "text_proj"),
        ("addition_embed_type", "text"),
        ("cross_attention_norm", "group_norm"),
    ):
        if config.get(key) not in (None, allowed):
            raise ValueError(f"this is not a U-Net of DeepFloyd IF's kind: its {key} is {config[key]!r}")
    types, channels = config["down_block_types"], tuple(config["block_out_channels"])
    if unknown := [kind for kind in types if kind not in _DOWN]:
        raise ValueError(f"this is not a U-Net of DeepFloyd IF's kind: it has a {unknown[0]}")

    def levels(key, default):
        value = config.get(key, default)
        return list(value) if isinstance(value, list | tuple) else [value] * len(channels)

    only, heads = levels("only_cross_attention", False), set(levels("attention_head_dim", 8))
    mid_only = config.get("mid_block_only_cross_attention")
    if mid_only is None:  # diffusers: the middle follows a single only_cross_attention, not a list of them
        mid_only = config.get("only_cross_attention") is True
    if len(heads) != 1:
        raise ValueError(f"this U-Net's levels have heads of different widths: {sorted(heads)}")
    hidden, cross = config.get("encoder_hid_dim"), config["cross_attention_dim"]
    return UNetConfig(
        size=config.get("sample_size") or 64,
        in_channels=config.get("in_channels", 4),
        out_channels=config.get("out_channels", 4),
        channels=channels,
        layers=tuple(levels("layers_per_block", 2)),
        attention=tuple("none" if not _DOWN[kind] else "text" if o else "self+text" for kind, o in zip(types, only)),
        mid_attention="text" if mid_only else "self+text",
        head_dim=heads.pop(),
        groups=config.get("norm_num_groups", 32),
        act=config.get("act_fn", "silu"),
        time_dim=config.get("time_embedding_dim"),
        time_act=config.get("time_embedding_act_fn"),
        skip_time_act=config.get("resnet_skip_time_act", False),
        text_dim=hidden or cross,
        cross_dim=cross if hidden else None,
        text_norm="group" if config.get("cross_attention_norm") else None,
        pool="attention" if config.get("addition_embed_type") else None,
        pool_heads=config.get("addition_embed_type_num_heads", 64),
        augmentation=config.get("class_embed_type") == "timestep",
        block_scale=config.get("resnet_out_scale_factor", 1.0),
        mid_scale=config.get("mid_block_scale_factor", 1.0),
    )


def to_diffusers(unet: UNet, variance: bool = False) -> UNet2DConditionModel:
    """The same network as diffusers' class. Its tensors are ours, not copies.

    variance: three more output channels of zeros, which diffusers' IF pipelines split off as the learned variance,
    and which a scheduler of fixed variance ignores.
    """
    from diffusers import UNet2DConditionModel

    config, state = to_diffusers_config(unet.config), dict(unet.state_dict())
    if variance and unet.config.out_channels == 3:
        config["out_channels"] = 6
        for key in ("conv_out.weight", "conv_out.bias"):
            state[key] = torch.cat([state[key], torch.zeros_like(state[key])])
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    model.load_state_dict({key: state[from_diffusers_key(key)] for key in model.state_dict()}, assign=True)
    return model.train(unet.training)


def from_diffusers(model: UNet2DConditionModel) -> UNet:
    """A `UNet2DConditionModel` of IF's kind as our class. Its tensors are shared, not copied."""
    with torch.device("meta"):
        unet = UNet(from_diffusers_config(dict(model.config)))
    state: dict[str, Tensor] = {from_diffusers_key(key): value for key, value in model.state_dict().items()}
    unet.load_state_dict(state, assign=True)
    return unet.train(model.training)
