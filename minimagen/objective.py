"""What a network is trained for: from a batch of clean pictures to the loss.

Every random number of a run (time, noise, dropped captions, augmentation, crops) is a function of the seed and of the
picture's place in the run alone. So there is no random state to lose: a run that was stopped and resumed, or shared
among several processes, takes the very steps that it would have taken otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .conditioning import Cond, Text, augment, noise_like, upsample
from .denoiser import Denoiser

WEIGHTS = ("plain", "min-snr")
GOLDEN = (math.sqrt(5) - 1) / 2
FIRST = (
    1e-3  # the smallest time that is trained: below it there is nothing to see, and ε = (z − α x) / σ loses its digits
)


def min_snr(logsnr: Tensor, prediction: str, gamma: float = 5.0) -> Tensor:
    """x: min(SNR, γ);   ε: min(SNR, γ) / SNR;   v: min(SNR, γ) / (SNR + 1)    (Hang et al. 2023; γ = ∞: SNR)

    One and the same weight of x̂'s error, for ‖ε̂ − ε‖² = SNR ‖x̂ − x‖² and ‖v̂ − v‖² = (SNR + 1) ‖x̂ − x‖².
    """
    snr = logsnr.exp()
    if prediction == "residual":
        raise ValueError("a residual denoiser's target has unit spread at every t, which is its weighting: use 'plain'")
    return snr.clamp(max=gamma) / {"x": torch.ones_like(snr), "eps": snr, "v": snr + 1}[prediction]


def losses(
    denoiser: Denoiser, x: Tensor, eps: Tensor, t: Tensor, cond: Cond, weight: str = "plain", gamma: float = 5.0
) -> Tensor:
    """w(t) · mean (F − F*)², one a picture  # (B,)    F: the network's output, F*: the ε, v, x or residual it should be

    weight "plain" is w = 1 in the network's own space, Imagen's choice; "min-snr" see `min_snr`.
    """
    if weight not in WEIGHTS:
        raise ValueError(f"a loss is weighted {' or '.join(map(repr, WEIGHTS))}, not {weight!r}")
    out, target = denoiser.loss_terms(x, eps, t, cond)
    squared = (out - target).square().mean((1, 2, 3))
    if weight == "plain":
        return squared
    return squared * min_snr(denoiser.schedule.logsnr(t), denoiser.prediction, gamma)


def spread_times(
    places: Tensor, seed: int = 0, shift: float = 1.0, times: tuple[float, float] = (FIRST, 1.0)
) -> Tensor:
    """u_i = frac(u + i·φ), evenly spread over any run of pictures  # (B,)    t = low + (high − low) · s(u)

    low and high are `times`, the lowest and the highest; s(u) = shift·u / (1 + (shift − 1)·u).

    φ is the golden ratio: its multiples fill the interval as evenly as can be. That lowers the loss's noise at no cost.
    shift = 1: t is uniform from FIRST to 1. shift = 2: two thirds of the pictures have t > ½, where the text decides.
    """
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = (start + places.double() * GOLDEN).frac()
    low, high = times
    return (low + (high - low) * shift * u / (1 + (shift - 1) * u)).float()


def dice(seed: int, places: Tensor, device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One random generator a picture, from the seed and its place in the run."""

    def mixed(number: int) -> int:  # splitmix64, for neighbouring seeds give related generators
        number = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return (number ^ (number >> 31)) >> 1

    return [torch.Generator(device).manual_seed(mixed(mixed(seed) ^ place)) for place in places.tolist()]


def shrink(x: Tensor, factor: int) -> Tensor:
    """(B, 3, H, W) → (B, 3, H / factor, W / factor): each pixel the mean of factor × factor."""
    if x.shape[-1] % factor or x.shape[-2] % factor:
        raise ValueError(f"pictures of {x.shape[-1]} × {x.shape[-2]} px cannot be shrunk {factor} times")
    return F.avg_pool2d(x, factor)


def stretch(low: Tensor, factor: int, origin: Tensor, whole: int) -> Tensor:
    """Enlarged bilinearly corner to corner, as diffusers' IF pipeline does: a shift that grows across the picture.

    low is the window at `origin` (B, 2), x and y in target pixels, of a picture `whole` px wide.
    """
    height, width = low.shape[-2:]

    def places(
        start: Tensor, count: int
    ) -> Tensor:  # of the target's pixels, in low's pixels, then in grid_sample's unit
        at = (start[:, None] + torch.arange(count * factor, device=low.device)) * (whole / factor - 1) / (whole - 1)
        return (at - start[:, None] / factor + 0.5) * 2 / count - 1

    x, y = places(origin[:, 0], width), places(origin[:, 1], height)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)  # (B, H, W, 2)
    return F.grid_sample(low, grid.to(low), mode="bilinear", padding_mode="border", align_corners=False)


def cut(x: Tensor, crop: int, factor: int, u: Tensor) -> tuple[Tensor, Tensor]:
    """A random window of crop × crop px a picture, on the low-res grid, and its origin (B, 2). u: (B, 2) in [0, 1)."""
    if crop % factor:
        raise ValueError(f"a crop of {crop} px is no whole number of low-res pixels: choose a multiple of {factor}")
    room = torch.tensor([x.shape[-1] - crop, x.shape[-2] - crop])
    if bool((room < 0).any()):
        raise ValueError(f"pictures of {x.shape[-1]} × {x.shape[-2]} px are smaller than the crop of {crop} px")
    origin = (u * (room // factor + 1)).long() * factor
    rows = [picture[:, b : b + crop, a : a + crop] for picture, (a, b) in zip(x, origin.tolist(), strict=True)]
    return torch.stack(rows), origin


@dataclass(frozen=True)
class Task:
    """From clean pictures and captions to the loss: all that is random about it comes from the pictures' places."""

    denoiser: Denoiser
    size: int
    enlarges: bool = False
    text: Callable[[list[str]], Text] | None = None
    null: Text | None = None
    seed: int = 0
    weight: str = "plain"
    gamma: float = 5.0
    drop: float = 0.1  # share of captions replaced by the null text, for guidance to compare with; 0 = off
    factor: int = 4  # how many times an SR stage enlarges
    crop: int | None = None  # SR trains on random windows of this many pixels; None = whole pictures
    stretched: float = 0.25  # share of low-res pictures enlarged as diffusers does; 0 = all bicubic, as minimagen does
    noisiest: float = 1.0  # augmentation levels are U(0, noisiest), one a picture; 1 = the paper's
    augment: Callable[..., Tensor] = augment
    shift: float = 1.0  # of the times, see `spread_times`
    times: tuple[float, float] = (FIRST, 1.0)  # the lowest and the highest

    def __call__(self, batch: Mapping[str, Any], places: Tensor, device: torch.device) -> Tensor:
        """The mean loss of these pictures."""
        return losses(self.denoiser, *self.terms(batch, places, device), self.weight, self.gamma).mean()

    def terms(
        self, batch: Mapping[str, Any], places: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor, Cond]:
        """For `Denoiser.loss_terms`: the pictures, their noise, their times, and what else the network is told."""
        x = batch["image"].to(device, torch.float32)
        seeds = dice(self.seed, places, device)
        u = torch.stack([torch.rand(5, generator=g, device=device) for g in seeds])  # (B, 5)
        if "origin" in batch:  # windows, cut before
            origin = batch["origin"].to(device)
        else:
            origin, (height, width) = torch.zeros(len(x), 2, device=device).long(), x.shape[2:]
            if height != width or (width not in (self.size, self.crop) if self.enlarges else width % self.size):
                raise ValueError(f"the data's pictures are {width} × {height} px; this stage draws {self.size} px")
        low = batch["low"].to(device, torch.float32) if "low" in batch else None
        if self.enlarges and self.crop and x.shape[-1] != self.crop:
            window = u[:, :2].cpu()
            x, origin = cut(x, self.crop, self.factor, window)
            low = None if low is None else cut(low, self.crop // self.factor, 1, window)[0]
        elif not self.enlarges and x.shape[-1] > self.size:
            x = shrink(x, x.shape[-1] // self.size)
        cond = Cond(self._text(batch, u[:, 2] < self.drop, device))
        if self.enlarges:
            low = shrink(x, self.factor) if low is None else low
            low_res = upsample(low, x.shape[-1])
            if self.stretched:
                corners = stretch(low, self.factor, origin.to(device), self.size)
                low_res = torch.where((u[:, 3] < self.stretched).view(-1, 1, 1, 1), corners, low_res)
            aug = u[:, 4] * self.noisiest
            cond = replace(cond, low_res=self.augment(low_res, aug, seeds), aug=aug)
        t = spread_times(places, self.seed, self.shift, self.times).to(device)
        return x, noise_like(x, seeds), t, cond

    @torch.no_grad()
    def _text(self, batch: Mapping[str, Any], dropped: Tensor, device: torch.device) -> Text | None:
        if self.text is None:
            return None
        if "caption" not in batch:
            raise ValueError("these pictures have no captions: train without a text encoder, or give each item one")
        text, null = self.text(list(batch["caption"])).to(device), self.null
        assert null is not None
        if text.tokens.shape[1:] != null.tokens.shape[1:]:
            raise ValueError("the text encoder must pad all captions to one length, the null text too")
        tokens = torch.where(dropped[:, None, None], null.tokens, text.tokens)
        mask = None if text.mask is None or null.mask is None else torch.where(dropped[:, None], null.mask, text.mask)
        return Text(tokens, mask)
