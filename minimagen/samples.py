"""The pictures by which a run is watched: the same prompts, or the same small pictures, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import files
from .cascade import Stage, generators, to_pil
from .conditioning import Text, upsample
from .data import ToylandImages
from .training import TrainStep

FACTOR = 4  # every stage after the first enlarges so many times

# One prompt a picture of the base's grid: attributes, binding, relations, counts, signs, settings.
PROMPTS = (
    "a large red sphere",
    "a small shiny blue cube on a wooden floor",
    "a green metal ring",
    "a yellow glass cone",
    "a white pyramid against a night sky",
    "a black cylinder on sand",
    "a red cube left of a blue sphere",
    "a small green cone right of a large purple cube",
    "a yellow cylinder in front of a pink pyramid",
    "a cyan ring behind a small white sphere",
    "an orange sphere on top of a blue cube",
    "a small black cone on top of a large green cylinder",
    "two red spheres",
    "three small green cubes",
    "four blue cones",
    "five yellow spheres",
    'a sign with the word "CAT"',
    'a sign that says "HELLO"',
    'a red cube and a sign saying "TOY"',
    "a striped purple sphere and a checkered orange cube",
    "a dotted cyan cylinder and a marbled white ring",
    "a red sphere, a green cube and a blue cone",
    "a pink pyramid against a sunset sky",
    "two black cubes and a large yellow ring on grass",
)
COLUMNS = 6  # of the grid that they fill


def show(
    stage: Stage, step: TrainStep, text: Callable[[list[str]], Text], out: Path, score: Any = None
) -> dict[str, float]:
    """Draw the fixed grid with the averaged weights, into samples/; gives what can be measured on it."""
    training = stage.denoiser.unet.training
    stage.denoiser.unet.eval()
    try:
        with step.averaged(), torch.no_grad():
            pictures, numbers = (enlarged if stage.enlarges else drawn)(stage, text, score)
    finally:
        stage.denoiser.unet.train(training)
    with files.atomic(out / "samples" / f"{step.step:07d}.png") as temporary:
        to_pil(pictures[None])[0].save(temporary, format="png")
    return {name: round(value, 4) for name, value in numbers.items()}


def drawn(stage: Stage, text: Callable[[list[str]], Text], score: Any = None) -> tuple[Tensor, dict[str, float]]:
    """One picture a prompt, from the same noise each time."""
    prompts = list(PROMPTS)
    *_, last = stage.sample(text(prompts), text([""]), generator=generators(0, range(len(prompts))))
    x = last.z.float().clamp(-1, 1).cpu()
    numbers = {"mean": float(x.mean()), "spread": float(x.std())}
    return grid(x, COLUMNS), numbers | (score(stage, prompts, x) if score is not None else {})


def enlarged(stage: Stage, text: Callable[[list[str]], Text], score: Any = None) -> tuple[Tensor, dict[str, float]]:
    """Pictures never trained on: interpolated, enlarged by the network, and the truth; with the PSNR of both."""
    edge = min(stage.size, 256)  # windows of the 1024 px picture, which would be slow to render whole
    window = None if edge == stage.size else edge
    source = ToylandImages(stage.size, "heldout", crop=window, factor=FACTOR, seed=1)
    items = source.__getitems__(range(6))
    x, small = (torch.stack([item[name] for item in items]).cpu() for name in ("image", "low"))
    plain = upsample(small, edge)
    part = replace(stage, size=edge)
    *_, last = part.sample(
        text([item["caption"] for item in items]), text([""]), small, generator=generators(0, range(len(items)))
    )
    y = last.z.float().clamp(-1, 1).cpu()
    numbers = {"psnr": psnr(y, x), "psnr_interpolated": psnr(plain, x)}
    return grid(torch.cat([plain, y, x]), len(items)), numbers | (
        score(stage, [item["caption"] for item in items], y) if score is not None else {}
    )


def psnr(y: Tensor, x: Tensor) -> float:
    """10 log₁₀ (2² / mean squared error), in decibels, for pictures in [−1, 1]."""
    return float(10 * torch.log10(4 / (y - x).square().mean()))


def grid(x: Tensor, columns: int) -> Tensor:
    """(B, 3, H, W) → one picture of rows of `columns`."""
    rows = [torch.cat(list(x[i : i + columns]), -1) for i in range(0, len(x), columns)]
    return torch.cat(rows, -2)
