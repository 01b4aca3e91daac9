"""diffusers' own pipelines of IF, and the upscaler that stands in for the third stage; their traps are set right here.

safety checker   IFSafetyChecker cannot be loaded under transformers 5, so `pipeline` leaves it out. It also keeps
                 unwanted pictures from being shown: put a filter of your own before a public page.
dtype            diffusers' and transformers' `torch_dtype` is `dtype` by now; `pipeline` says what yours reads.
tokenizer        T5Tokenizer() or T5Tokenizer(vocab_file=…) has an almost empty vocabulary and says nothing of it: load
                 with from_pretrained. `pipeline` and `TextEncoder` try a sentence and refuse one that knows no words.
schedulers       IF's network returns six channels. DDIMScheduler.from_config(pipe.scheduler.config) keeps the mark that
                 lets the pipeline hand on all six, and DDIM, Euler and their like fail on 3 against 6: see `ddim`.
caption          encode_prompt cleans captions only if asked, calling the pipeline cleans them by default: ask.
xformers         is not needed: PyTorch ≥ 2 has scaled-dot-product attention built in, and both codes use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from .. import hub

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

X4 = "stabilityai/stable-diffusion-x4-upscaler"
WITHOUT_CHECKER = {
    "safety_checker": None,
    "feature_extractor": None,
    "watermarker": None,
    "requires_safety_checker": False,
}


def _dtype(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """`dtype` under the name that this version of diffusers reads."""
    from diffusers.utils import deprecation_utils

    return {"dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype": dtype}


def pipeline(
    name: str | Path,
    *,
    variant: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    text: bool = True,
    **options: Any,
) -> DiffusionPipeline:
    """The pipeline that a folder or a repository of IF holds, without safety checker and watermarker.

    text: False leaves the text encoder out; the pipeline is then called with prompt_embeds=. options: diffusers' own.
    """
    from diffusers import DiffusionPipeline

    from ..text import TextEncoder

    left_out: dict[str, Any] = dict(WITHOUT_CHECKER) if text else {**WITHOUT_CHECKER, "text_encoder": None}
    with hub.plainly(str(name), "a pipeline of DeepFloyd IF"):
        pipe = DiffusionPipeline.from_pretrained(str(name), variant=variant, **_dtype(dtype), **left_out, **options)
    if text and pipe.tokenizer is not None and pipe.text_encoder is not None:
        TextEncoder(pipe.text_encoder, pipe.tokenizer)  # refuses a tokenizer that knows no words
    return pipe.to(device)


def ddim(pipe: DiffusionPipeline, spacing: str = "trailing") -> DiffusionPipeline:
    """The same pipeline, stepping by deterministic DDIM, as minimagen's η = 0 does.

    Two things make it so: a fixed variance, for which the pipeline hands on three channels of six; and ε̂ recomputed
    from the thresholded x̂, which DDIMScheduler leaves out unless asked. spacing: "leading" begins at row 990, as IF.
    """
    from diffusers import DDIMScheduler

    config = {**pipe.scheduler.config, "variance_type": "fixed_small", "timestep_spacing": spacing}
    pipe.scheduler = DDIMScheduler.from_config(config)
    pipe.scheduler.step = partial(pipe.scheduler.step, use_clipped_model_output=True)
    return pipe


def upscale_x4(
    images: Image.Image | Sequence[Image.Image] | Tensor,
    prompts: str | Sequence[str],
    pipe: Any = X4,
    *,
    seed: int = 0,
    steps: int = 75,
    guidance: float = 9.0,
    noise_level: int = 100,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> list[Image.Image]:
    """Pictures four times as large, by Stable Diffusion's x4 upscaler: IF's own third stage was never released.

    It is a latent model with a CLIP text encoder, so it reads `prompts` anew. pipe: a StableDiffusionUpscalePipeline,
    or its name or folder, then loaded in `dtype` on `device`. Picture by picture, each with its own noise from (seed,
    index). The settings are those that IF's page recommends; noise_level is a row of its table of 1000, at most 350.
    """
    from ..cascade import generators
    from ..images import from_pil, to_pil, to_rgb

    if isinstance(images, Tensor):
        images = to_pil(from_pil(images))
    pictures = [to_rgb(image) for image in ([images] if isinstance(images, Image.Image) else images)]
    prompts = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(pictures):
        raise ValueError(f"there are {len(prompts)} prompts for {len(pictures)} pictures: give one, or one a picture")
    if isinstance(pipe, str | Path):
        from diffusers import StableDiffusionUpscalePipeline

        with hub.plainly(str(pipe), "the x4 upscaler"):
            pipe = StableDiffusionUpscalePipeline.from_pretrained(str(pipe), **_dtype(dtype)).to(device)
    drawn = []
    for picture, prompt, noise in zip(pictures, prompts, generators(seed, range(len(pictures)), 2)):
        settings = {"num_inference_steps": steps, "guidance_scale": guidance, "noise_level": noise_level}
        drawn += pipe(prompt=prompt, image=picture, generator=noise, **settings).images
    return drawn
