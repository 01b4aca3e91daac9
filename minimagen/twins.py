"""What only the sentence can tell, asked twice: twins as a second batch beside the pictures, and what is made of them.

A stage that enlarges sees no pattern in its small picture, and in much noise no stage sees which of two things is red.
One batch after another it pays to draw the likeliest, and little to look it up in the sentence. Two means make it look:

twins       two pictures alike but for one told thing, with one noise, time and level. Of their errors e and e' the half
            sum is what no sentence helps with, the half difference what the sentence alone decides, which counts more:
            mean((e + e') / 2)² + apart · mean((e − e') / 2)²;  apart = 1 is the mean of both squares
            (`evened`: of each pair alike, in however few pixels it shows)
attention   where the window shows a thing, its own noun phrase is to be attended to rather than all others together:
            mean softplus(log Σ exp s_others − log Σ exp s_own), s = q·k / √d, over layers, heads, and the thing's cells
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from .data import GRID, collate, corner, rendered
from .fused import norm_act, tokens_of
from .layers import Attention
from .objective import Task

NOTHING = -1e4  # the score of a token that is not asked for
NOUNS = 5  # noun phrases of a caption that an item tells the places of: of at most three things and a sign


class ToylandTwins(Dataset):
    """Twins at items 2 i and 2 i + 1: endless, and a function of (seed, i) alone.

    of: what they differ in, one kind a pair, by turns. crop: only a window that shows what differs; None = all.
    factor: how many times smaller the item's "low" is; 1 = there is none.
    Beside an item's picture, caption and origin: "nouns" (NOUNS, 2), where in the caption the noun phrases begin
    and end, that of the thing looked at first, then −1; and "where" (edge, edge), which cells of GRID pixels show it.
    """

    def __init__(
        self, size: int, crop: int | None = None, factor: int = 1, of: Sequence[str] = ("pattern",), seed: int = 0
    ):
        from .toyland.scene import WORLD_VERSION

        self.size, self.crop, self.factor, self.of, self.seed = size, crop or size, factor, tuple(of), seed
        self.world = WORLD_VERSION
        told = {"size": size, "crop": self.crop, "factor": factor, "seed": seed, "twins": list(of)}
        self.about = {"world": WORLD_VERSION, **told}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        from .toyland.compose import boxes
        from .toyland.twins import shown, twins

        told: list[dict[str, Any]] = []
        scenes, windows = [], []
        for index in indexes:
            number = index // 2
            *both, thing = twins((self.seed << 30) + number, of=self.of[number % len(self.of)])
            one, rng = both[index % 2], random.Random(f"{self.seed}/{number}")
            u0, v0, u1, v1 = boxes(both[0].scene)[thing]  # the first's, so that both show one place
            x, y = (
                corner(self.size, self.crop, middle, rng.uniform(0.3, 0.7)) for middle in ((u0 + u1) / 2, (v0 + v1) / 2)
            )
            u, v = ((low + GRID / 2 + torch.arange(0, self.crop, GRID)) / self.size for low in (x, y))
            where = shown(one.scene, thing, torch.stack(torch.broadcast_tensors(u[None], v[:, None]), -1))
            nouns = torch.full((NOUNS, 2), -1)
            nouns[: len(one.spans)] = torch.tensor(one.spans)
            told.append({"caption": one.caption, "origin": torch.tensor([x, y]), "nouns": nouns, "where": where})
            scenes.append(one.scene)
            windows.append(tuple(edge / self.size for edge in (x, y, x + self.crop, y + self.crop)))
        pictures = rendered(scenes, self.size, windows, self.factor)
        return [one | picture for one, picture in zip(told, pictures, strict=True)]


class Twins:
    """twins(task, places, device) → what `train` adds to the loss of the pictures at these places.

    data: ToylandTwins, or a cache of them. pairs: how many a call. drawn, asked: how much either means counts; 0 = off.
    typical: what `evened` is told; None = every pair's half difference counts by its pixels.
    times: the lowest and the highest, evenly spread between; None = as the pictures'.
    """

    def __init__(
        self,
        data: Any,
        text: Any,
        pairs: int,
        drawn: float = 0.7,
        asked: float = 0.15,
        apart: float = 4.0,
        typical: float | None = None,
        times: tuple[float, float] | None = None,
    ):
        self.data, self.text, self.pairs, self.drawn, self.asked, self.apart = data, text, pairs, drawn, asked, apart
        self.typical, self.times = typical, times
        self.told: dict[str, Tensor] = {}  # the last call's numbers

    def __call__(self, task: Task, places: Tensor, device: torch.device) -> Tensor:
        numbers = int(places[0]) // len(places) * self.pairs + torch.arange(self.pairs)
        count = getattr(self.data, "count", None)  # a cache would shuffle its second round, and part the twins
        first = [2 * n if count is None else 2 * n % (count - count % 2) for n in numbers.tolist()]
        batch = collate([self.data[n + i] for n in first for i in (0, 1)])
        told = replace(task, drop=0.0, crop=None)  # both twins, whole, and told
        told = told if self.times is None else replace(told, shift=1.0, times=self.times)
        terms = told.terms(batch, numbers.repeat_interleave(2), device)
        with attended(task.denoiser.unet) as scores:
            out, target = task.denoiser.loss_terms(*terms)
        if not scores:
            raise ValueError("twins differ in what is told of them alone: they need a network that attends to text")
        asked = unlike(scores, batch["where"].to(device), *words(self.text, batch, scores[0].shape[-1]))
        weights = None if self.typical is None else evened(terms[0], self.typical)
        same, apart = halves(out - target, weights)
        self.told = {name: v.detach() for name, v in (("same", same), ("apart", apart), ("asked", asked))}
        return self.drawn * (same + self.apart * apart) + self.asked * asked


def halves(error: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """mean((e + e') / 2)² and mean w·((e − e') / 2)² of twins' errors (2 N, …), in which two stand beside each other.

    weights: (N,), one a pair; None = all 1.
    """
    same, apart = (((error[0::2] + sign * error[1::2]) / 2).square() for sign in (1, -1))
    return same.mean(), apart.mean() if weights is None else (apart.flatten(1).mean(1) * weights).mean()


def evened(x: Tensor, typical: float, most: float = 4.0) -> Tensor:
    """w = min(most, typical / mean((x − x') / 2)²), one a pair of twins (2 N, …)  # (N,); 1 where the mean is typical

    What differs in few pixels, as letters and materials do, then counts as what differs in many.
    """
    return (typical / ((x[0::2] - x[1::2]) / 2).square().flatten(1).mean(1)).clamp(max=most)


def words(text: Any, batch: dict[str, Any], length: int) -> tuple[Tensor, Tensor]:
    """(B, length) each: which tokens belong to what is looked at, and which to all else."""
    own, others = [], []
    for caption, nouns in zip(batch["caption"], batch["nouns"].tolist(), strict=True):
        offsets = text.offsets(caption)[:length]
        marks = [
            [a < end and start < b for start, end in offsets] if a >= 0 else [False] * len(offsets) for a, b in nouns
        ]
        own.append(torch.tensor(marks[0]))
        others.append(torch.tensor(marks[1:]).any(0))
    return torch.stack(own), torch.stack(others)


@contextmanager
def attended(unet: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the scores (B, heads, h, w, L) with which each layer's cells attend to the text's tokens."""
    found: list[Tensor] = []

    def meet(attention: Attention, inputs: tuple[Any, ...]) -> None:
        h, text, _ = inputs
        q, k = attention.q(tokens_of(norm_act(h, attention.norm))), text.chunk(2, dim=-1)[0]
        q, k = (y.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for y in (q, k))
        found.append((q @ k.mT * q.shape[-1] ** -0.5).unflatten(2, h.shape[-2:]))

    layers = [m for m in unet.modules() if isinstance(m, Attention) and m.to_text]
    hooks = [layer.register_forward_pre_hook(meet) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def unlike(scores: Sequence[Tensor], where: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """mean softplus(log Σ exp s_others − log Σ exp s_own) where the thing is; log 2 where neither is preferred.

    scores: (B, heads, h, w, L) a layer; where (B, edge, edge) and own, others (B, L) bool. A cell is the thing's where
    half of it shows it.
    """
    terms = []
    for s in scores:
        there = F.adaptive_avg_pool2d(where.float()[:, None], (s.shape[2], s.shape[3])) >= 0.5  # (B, 1, h, w)
        there &= own.any(-1).to(there.device)[:, None, None, None]  # a caption may have been cut before its noun
        of_others, of_own = (
            s.float().masked_fill(~words.to(s.device)[:, None, None, None], NOTHING).logsumexp(-1)
            for words in (others, own)
        )  # (B, heads, h, w)
        counted = there.expand_as(of_own)  # as a factor, for how many there are a GPU would have to be waited for
        terms.append((F.softplus(of_others - of_own) * counted).sum() / counted.sum().clamp(min=1))
    return torch.stack(terms).mean()
