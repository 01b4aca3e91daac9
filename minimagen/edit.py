"""Editing with the same weights: a wrapper or another starting point, never a second sampler.

inpaint    x̂ ← the known picture where it is to stay
outpaint   inpaint, in a window that is moved past the edge
vary       start from the picture, noised to a middle time, instead of from pure noise (IF's "style transfer")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .cascade import Imagen, Stage
from .conditioning import noise_like
from .denoiser import DenoiserLike, Prediction
from .images import floats, from_pil, given, one_each, to_pil, to_rgb
from .schedule import Schedule

SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Known:
    """x̂ ← x̂ where `repaint`, the known picture elsewhere. repaint all 1 = off.

    The known region is then at the step's own noise level at every step, without further ado: a step from x̂ = known
    moves z = α_t known + σ_t ε to α_s known + σ_s ε. (A published codebase puts it in clean at every t, which is a z
    that the network has never seen.)

    mend: what x̂ has wrong about the known region is carried into the new one by `membrane`, so that the two join
    without a seam:  x̂ ← x̂ + membrane(known − x̂)  where `repaint`. False = off.
    """

    denoiser: DenoiserLike
    known: Tensor  # (B or 1, 3, H, W)
    repaint: Tensor  # (B or 1, 1, H, W) in [0, 1], 1 where new pixels go
    mend: bool = False

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def prepare(self, cond: Any) -> Any:
        return self.denoiser.prepare(cond) if hasattr(self.denoiser, "prepare") else cond

    def __call__(self, z: Tensor, t: float | Tensor, cond: Any) -> Prediction:
        x, log_var = self.denoiser(z, t, cond)
        known, repaint = self.known.to(x), self.repaint.to(x)
        new = x + membrane(known - x, 1 - repaint) if self.mend else x
        return Prediction(torch.lerp(known, new, repaint), log_var)


def membrane(f: Tensor, there: Tensor, rounds: int = 8) -> Tensor:
    """f where `there` is 1; elsewhere Δf = 0, as a membrane hangs in a frame  (Poisson blending, Pérez et al. 2003)

    f (B, C, H, W), there (B or 1, 1, H, W) in [0, 1]. No peak arises where f is not known; a plane
    stays a plane inside a frame.
    Solved nearly, from coarse to fine: half the size first, then `rounds` times the mean of the four neighbours.
    """
    there = there.expand(len(f), -1, -1, -1)
    if min(f.shape[-2:]) <= 2 or f.shape[-1] % 2 or f.shape[-2] % 2:
        guess = (f * there).sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1e-6)
        guess = guess.expand_as(f)
    else:
        share = F.avg_pool2d(there, 2)
        coarse = membrane(F.avg_pool2d(f * there, 2) / share.clamp(min=1e-6), (share > 0).to(f), rounds)
        guess = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
    for _ in range(rounds):
        filled = F.pad(torch.lerp(guess, f, there), (1, 1, 1, 1), mode="replicate")
        up, down, left, right = (
            filled[..., :-2, 1:-1],
            filled[..., 2:, 1:-1],
            filled[..., 1:-1, :-2],
            filled[..., 1:-1, 2:],
        )
        guess = (up + down + left + right) / 4
    return torch.lerp(guess, f, there)


def as_mask(repaint: Image.Image | np.ndarray | Tensor) -> Tensor:
    """→ (1, 1, H, W), or one a picture, 1 where new pixels go. A picture's white means repaint; so does True."""
    if isinstance(repaint, Image.Image):
        repaint = np.asarray(repaint.convert("L")) >= 128
    mask = torch.as_tensor(np.asarray(repaint) if not isinstance(repaint, Tensor) else repaint).float()
    low, high = float(mask.min()), float(mask.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"repaint lies between 0 and 1, and this one from {low:g} to {high:g}: repaint > 127 does it")
    if mask.ndim not in (2, 4) or mask.shape[-1] != mask.shape[-2]:
        raise ValueError(f"repaint is a square mask (H, W), True where new pixels go; this one is {tuple(mask.shape)}")
    return mask.view(-1, 1, *mask.shape[-2:])


def inpaint(
    imagen: Imagen,
    image: Image.Image | Sequence[Image.Image] | Tensor,
    repaint: Image.Image | np.ndarray | Tensor,
    prompt: str | Sequence[str] | None = None,
    *,
    size: int | None = None,
    rounds: int = 3,
    mend: bool = True,
    interval: tuple[float, float] | None = (0.3, 1.0),
    **options: Any,
) -> list[Image.Image]:
    """`image` with new pixels where `repaint` is True, drawn from the prompt; all else stays as it is, to the pixel.

    The prompt describes the whole picture. repaint all False gives the image back.
    rounds: how often the first stage takes each step, so that the new comes to agree with what is known; 1 = once.
    mend: whether what the networks have wrong beside the mask is carried into it, so that no seam shows, see `Known`.
    interval: the times in which guidance acts on the first stage; towards the end it would rather part things than let
    them join. None = all.
    Options are those of `Imagen.draw`.
    """
    prompt = _listed(prompt)
    known, mask = (_of(images, prompt, options) for images in (given(image), as_mask(repaint)))

    def edit(stage: Stage, noise: list[torch.Generator], pictures: range) -> dict[str, Any]:
        here = _resize(known(pictures), stage.size)
        inside = F.interpolate(mask(pictures), (stage.size, stage.size), mode="area")
        return {
            "wrap": lambda denoiser: Known(denoiser, here, inside, mend),
            "rounds": 1 if stage.enlarges else rounds,
        }

    return imagen.draw(prompt, size=size, edit=edit, interval=interval, **options)


def outpaint(
    imagen: Imagen,
    image: Image.Image | Tensor,
    prompt: str | None = None,
    *,
    left: float = 0.0,
    right: float = 0.0,
    top: float = 0.0,
    bottom: float = 0.0,
    size: int | None = None,
    **options: Any,
) -> Image.Image:
    """`image` grown past its edges: left=0.5 adds half a side there. All 0 = off.

    For each edge the square window of the networks is moved outwards; what it still shows is kept, the rest is painted.
    Grow along one axis at a time, and a panorama along its own: the window covers the whole other side.
    """
    if (
        options.get("count", 1) != 1
        or not isinstance(prompt, str | None)
        or not isinstance(image, Image.Image | Tensor)
    ):
        raise ValueError("outpaint grows one picture, as PIL or a tensor has it, by one sentence")
    amounts = dict(zip(SIDES, (left, right, top, bottom), strict=True))
    if any(not 0 <= a < 1 for a in amounts.values()):
        raise ValueError("outpaint grows a picture by less than one side an edge: amounts lie in [0, 1)")
    if (left or right) and (top or bottom):
        raise ValueError("outpaint grows along one axis at a time: left and right, or top and bottom")
    side = size or imagen.stages[-1].size
    image = to_pil(from_pil(image))[0] if isinstance(image, Tensor) else to_rgb(image)
    if image.width != image.height and (image.width > image.height) != bool(left or right):
        raise ValueError("outpaint grows a picture that is no square along its longer side: cut out a square first")
    if min(image.size) != side:
        scale = side / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    canvas = floats(image)[None]
    for edge, amount in amounts.items():
        grow = round(amount * side)
        if grow == 0:
            continue
        axis, at_end = (3 if edge in ("left", "right") else 2), edge in ("right", "bottom")
        kept = canvas.narrow(axis, canvas.shape[axis] - (side - grow) if at_end else 0, side - grow)
        blank = torch.zeros_like(canvas.narrow(axis, 0, grow))
        window = torch.cat([kept, blank] if at_end else [blank, kept], dim=axis)
        repaint = torch.zeros(1, 1, side, side)
        repaint.narrow(axis, side - grow if at_end else 0, grow).fill_(1)
        painted = from_pil(inpaint(imagen, window, repaint, prompt, size=side, **options)[0], side)
        new = painted.narrow(axis, side - grow if at_end else 0, grow)
        canvas = torch.cat([canvas, new] if at_end else [new, canvas], dim=axis)
    return to_pil(canvas)[0]


def vary(
    imagen: Imagen,
    image: Image.Image | Sequence[Image.Image] | Tensor,
    prompt: str | Sequence[str] | None = None,
    *,
    strength: float = 0.6,
    size: int | None = None,
    **options: Any,
) -> list[Image.Image]:
    """A picture like `image`, as the prompt has it: z = α x + σ n at t = strength, and from there the usual steps.

    strength 0 gives the first stage's image back, but for a few grey levels, 1 forgets it. The larger stages enlarge
    what comes of it.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength lies between 0 (the image itself) and 1 (a new one), and {strength} does not")
    prompt = _listed(prompt)
    known = _of(given(image), prompt, options)

    def edit(stage: Stage, noise: list[torch.Generator], pictures: range) -> dict[str, Any]:
        if stage.enlarges:
            return {}
        x = _resize(known(pictures), stage.size).expand(len(noise), -1, -1, -1)
        start = max(strength, 1e-3)  # t = 0 is the clean picture: there is no step to take from it
        alpha, sigma = stage.denoiser.schedule(stage.times(stage.steps, start=start)[0], like=x)
        return {"z": alpha * x + sigma * noise_like(x, noise), "start": start}

    return imagen.draw(prompt, size=size, edit=edit, **options)


def _listed(prompt: str | Iterable[str] | None) -> str | list[str] | None:
    """One sentence, or none, or several that can be gone through again."""
    return prompt if prompt is None or isinstance(prompt, str) else list(prompt)


def _of(images: Tensor, prompt: Any, options: dict[str, Any]) -> Callable[[range], Tensor]:
    """pictures → the images of these, as `one_each` deals them out; pictures count from the option `first`."""
    images, first = one_each(images, prompt, options.get("count", 1)), options.get("first", 0)
    return lambda pictures: images if len(images) == 1 else images[pictures[0] - first : pictures[-1] + 1 - first]


def _resize(images: Tensor, size: int) -> Tensor:
    """To a stage's size: averaged when it shrinks, bicubic when it grows."""
    if images.shape[-1] == size:
        return images
    mode: dict[str, Any] = {"mode": "area"} if images.shape[-1] > size else {"mode": "bicubic", "align_corners": False}
    return F.interpolate(images, (size, size), **mode)
