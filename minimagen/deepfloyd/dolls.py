"""Dolls: pipelines of DeepFloyd IF and of Stable Diffusion in their published layout, tiny, with random weights.

They draw noise, and take all the roads that the real ones take: files, shapes, schedulers, calls. So what is to run on
sixteen gigabytes can be tried in seconds, offline.

if_folders(folder, text)      folder/first and folder/second, as DeepFloyd/IF-I-M-v1.0 and IF-II-M-v1.0 are laid out
stable_diffusion(text)        a StableDiffusionPipeline: CLIP, a U-Net on latents, an autoencoder
upscaler(text)                a StableDiffusionUpscalePipeline, four times as large
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import hub
from ..text import TextEncoder
from ..unet import IF_I_M, IF_II_M, UNetConfig
from .pipelines import WITHOUT_CHECKER
from .renaming import to_diffusers_config

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, StableDiffusionUpscalePipeline

# What makes a doll small; every other field of its config is the published network's.
SMALL: dict[str, Any] = {"channels": (32, 64), "layers": 1, "head_dim": 8, "groups": 8, "pool_heads": 4}


def small(published: UNetConfig, size: int, text_dim: int) -> UNetConfig:
    """A published config at a doll's width: two levels, the second of which attends as its lowest does."""
    attention = (published.attention[0], published.attention[-1])
    return replace(published, size=size, attention=attention, text_dim=text_dim, cross_dim=64, **SMALL)


def random(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    """A module with weights of its own, whatever was drawn before; none of its layers begins as zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(0.06 * torch.randn_like(p) + (0 if p.ndim > 1 else p))
    return module.eval().requires_grad_(False)


def if_folders(folder: str | Path, text: TextEncoder, size: int = 16) -> tuple[Path, Path]:
    """Write an IF of two stages, `size` and 4 · `size` px, that reads with `text`; gives the folders of both."""
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

    def network(published: UNetConfig, edge: int) -> Any:
        config = to_diffusers_config(small(published, edge, text.dim))
        return random(lambda: UNet2DConditionModel(**config))

    def scheduler(cap: float) -> Any:
        """As IF publishes it."""
        return DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            variance_type="learned_range",
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=cap,
        )

    parts = text.tokenizer, text.model
    one = IFPipeline(*parts, network(IF_I_M, size), scheduler(1.5), **WITHOUT_CHECKER)
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    two = IFSuperResolutionPipeline(*parts, network(IF_II_M, 4 * size), scheduler(1.0), noising, **WITHOUT_CHECKER)
    places = Path(folder) / "first", Path(folder) / "second"
    with hub.quietly():
        for pipe, place in zip((one, two), places):
            pipe.save_pretrained(place, safe_serialization=True)
    return places


def _latent_parts(text: TextEncoder, in_channels: int, halvings: int) -> tuple[nn.Module, ...]:
    """An autoencoder that halves so many times, a CLIP that reads `text`'s tokens, and a U-Net on four channels."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    levels = halvings + 1
    vae = random(
        lambda: AutoencoderKL(
            block_out_channels=[32] * levels,
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            latent_channels=4,
            norm_num_groups=8,
            scaling_factor=0.08333 if in_channels == 7 else 0.18215,
        )
    )
    words = text.model.get_input_embeddings().weight.shape[0]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    sizes |= {"bos_token_id": 0, "eos_token_id": 1}
    clip = random(lambda: CLIPTextModel(CLIPTextConfig(vocab_size=words, **sizes)))
    unet = random(
        lambda: UNet2DConditionModel(
            sample_size=16,
            in_channels=in_channels,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
            num_class_embeds=1000 if in_channels == 7 else None,  # the upscaler is told how noisy its picture is
        )
    )
    return vae, clip, unet


def _tokenizer(text: TextEncoder) -> Any:
    """`text`'s own, which these pipelines ask for its longest caption."""
    tokenizer = copy.deepcopy(text.tokenizer)
    tokenizer.model_max_length = 77
    return tokenizer


def stable_diffusion(text: TextEncoder) -> StableDiffusionPipeline:
    """Latents of 16 × 16 × 4 for pictures of 128 px: eight times smaller a side, as in Stable Diffusion."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    vae, clip, unet = _latent_parts(text, 4, halvings=3)
    betas: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = DDIMScheduler(**betas, steps_offset=1, clip_sample=False)
    pipe = StableDiffusionPipeline(
        vae, clip, _tokenizer(text), unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def upscaler(text: TextEncoder) -> StableDiffusionUpscalePipeline:
    """The x4 upscaler: its U-Net sees four channels of latent beside three of the noised small picture."""
    from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionUpscalePipeline

    vae, clip, unet = _latent_parts(text, 7, halvings=2)
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    pipe = StableDiffusionUpscalePipeline(vae, clip, _tokenizer(text), unet, DDPMScheduler(), scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe
