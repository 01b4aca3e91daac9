"""Between PIL and tensors: pictures of any mode in, [−1, 1] inside, PIL out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def to_pil(images: Tensor) -> list[Image.Image]:
    """[−1, 1] (B, 3, H, W) → PIL"""
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(p) for p in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def from_pil(images: Image.Image | np.ndarray | Sequence[Image.Image] | Tensor, size: int | None = None) -> Tensor:
    """PIL, of any mode and square or not → (B, 3, size, size) in [−1, 1]; the middle square is kept. Tensors pass.

    Pictures are turned as their camera says, and laid on white where they are transparent. An array is read as bytes.
    """
    if isinstance(images, Tensor):
        return images if images.ndim == 4 else images[None]
    if isinstance(images, np.ndarray):
        with suppress(TypeError):  # floats, or channels first: refused below
            images = Image.fromarray(images)
    images = [images] if isinstance(images, Image.Image) else list(images)
    if not images or not all(isinstance(image, Image.Image) for image in images):
        raise ValueError("pictures are PIL's, one or a list, an array (H, W, 3) of bytes, or a tensor (B, 3, H, W)")
    side = size or min(images[0].size)
    return torch.stack([to_tensor(image, side) for image in images])


def one_each(x: Tensor, prompts: str | Sequence[str] | None, count: int = 1) -> Tensor:
    """Pictures or masks (B, C, H, W) for all that is to be drawn: a single one is everybody's and stays single.

    Else there is one a picture, or one a prompt, which the prompt's `count` pictures share.
    """
    number = 1 if prompts is None or isinstance(prompts, str) else len(prompts)
    if len(x) in (1, number * count):
        return x
    if len(x) != number:
        what, more = "masks" if x.shape[1] == 1 else "images", "s" * (number * count > 1)
        raise ValueError(f"there are {len(x)} {what} for {number * count} picture{more}: give one, or one a prompt")
    return x.repeat_interleave(count, 0)


def given(images: Any) -> Tensor:
    """`from_pil`, and refuse tensors that are no pictures in [−1, 1]."""
    x = from_pil(images)
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(f"a picture is (3, H, W) of floats in [−1, 1], and this is {tuple(x.shape)} {x.dtype}")
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"the networks draw squares, and this picture is {x.shape[-1]} × {x.shape[-2]}: cut one out")
    if not float(x.abs().amax()) <= 2:  # a little more than 1 is what enlarging makes of an edge; also true of NaN
        raise ValueError(f"pictures lie in [−1, 1], and these reach {float(x.abs().amax()):.4g}: x / 127.5 − 1 does it")
    return x.float()


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in plain colours: turned as its camera says, laid on white where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # of 16 bits a pixel, PIL would clip what should be scaled
        values = np.asarray(image, dtype=np.float32)
        deep = image.mode.startswith("I;16") or (image.mode == "I" and values.max() > 255)
        image = Image.fromarray((values / 257 if deep else values).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """A picture of any mode → the middle square, (3, size, size) in [−1, 1]."""
    return floats(ImageOps.fit(to_rgb(image), (size, size), Image.Resampling.LANCZOS))


def floats(image: Image.Image) -> Tensor:
    """A picture in plain colours → (3, H, W) in [−1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
