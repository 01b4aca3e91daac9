"""A drawing as pictures that a browser can show: one `Frame` a step, of every stage."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from minimagen import edit
from minimagen.cascade import Imagen, to_pil
from minimagen.sampler import Step

from .wishes import Wish

SHARP = 64  # px: up to this size a picture is sent without loss, and shown with sharp pixels
THUMB = 96  # px: a stage's small picture


@dataclass(frozen=True)
class Frame:
    """One step: what the network was left with (z), and what it believes the picture to be (x̂)."""

    stage: int
    size: int
    index: int  # of `of` steps
    of: int
    t: float
    z: bytes  # PNG or JPEG
    x: bytes
    state: Tensor | None = None  # z itself, (1, 3, H, W), of the first stage: what its attention can be asked about

    @property
    def sharp(self) -> bool:
        return self.size <= SHARP

    @property
    def done(self) -> float:
        """How much of the stage is done, in (0, 1]."""
        return (self.index + 1) / self.of


def lengths(imagen: Imagen, wish: Wish) -> list[int]:
    """The steps of every stage that will run, in order."""
    stages = [s for s in imagen.stages if wish.size is None or s.size <= wish.size]
    return [wish.steps if i == 0 and wish.steps else stage.steps for i, stage in enumerate(stages)]


def paint(
    imagen: Imagen,
    wish: Wish,
    show: Callable[[Frame], None],
    *,
    over: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> Image.Image:
    """The picture that is wished for; `show` is given every step on the way, and may raise to end it.

    over, mask: keep this picture, and draw anew only where the mask is white.
    """
    sentence, options, of = wish.sentence(), wish.options(imagen), lengths(imagen, wish)

    def report(step: Step) -> None:
        size = step.z.shape[-1]
        z, x = (encode(picture, size) for picture in (step.z, step.x))
        state = step.z.clone() if step.stage == 0 else None
        show(Frame(step.stage, size, step.index, of[step.stage], step.t, z, x, state))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for a console; `doubts` says the same on the page
        if over is None:
            return imagen.draw(sentence, progress=report, **options)[0]
        if mask is None or not (np.asarray(mask.convert("L")) >= 128).any():
            raise ValueError("Nothing is marked yet: paint over what should change, then repaint.")
        return edit.inpaint(imagen, over, mask, sentence, progress=report, **options)[0]


def encode(picture: Tensor, size: int) -> bytes:
    """(1, 3, H, W) in [−1, 1] → PNG while that is small, JPEG beyond."""
    image, buffer = to_pil(picture[:1].nan_to_num())[0], io.BytesIO()
    if size <= SHARP:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def thumb(encoded: bytes) -> bytes:
    """The same picture at a stage's small size."""
    image, buffer = Image.open(io.BytesIO(encoded)).convert("RGB"), io.BytesIO()
    how = Image.Resampling.NEAREST if image.width < THUMB else Image.Resampling.BOX
    image.resize((THUMB, THUMB), how).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def png(image: Image.Image, wish: Wish) -> bytes:
    """The finished picture as a file that knows its sentence and its seed."""
    buffer, about = io.BytesIO(), PngInfo()
    about.add_itxt("prompt", wish.sentence())
    about.add_itxt("seed", str(wish.seed))
    image.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


def read_mask(painted: bytes) -> Image.Image | None:
    """What the easel sends: a PNG, opaque where the brush has been; nothing is None. White where it has been."""
    if not painted:
        return None
    return Image.open(io.BytesIO(painted)).convert("RGBA").getchannel("A").point(lambda a: 255 * (a >= 128))


def veil(heat: Tensor) -> bytes:
    """A map (H, W) in [0, 1] as a dark veil, a PNG with alpha: where the map is high it is thin, and light falls."""
    pixels = torch.zeros(*heat.shape, 4)
    pixels[..., :3] = torch.tensor([0.06, 0.07, 0.10])
    pixels[..., 3] = 0.86 * (1 - heat.clamp(0, 1))
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).round().byte().numpy(), "RGBA").save(buffer, "PNG")
    return buffer.getvalue()
