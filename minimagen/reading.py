"""A second question for a network in training: what stands where? From the features with which it draws.

The error of a picture's pixels tells little of a small thing's material, and less of which of two things is red. Asked
beside it, cell by cell, for shape and colour and the rest, a network must bring each word to its place to answer. It is
REPA's idea (Yu et al. 2024, arXiv 2410.06940) with the world's own description in place of another network's features.
The heads go when training ends: what draws has not changed its shape.

Off in the recipes. Measured over 300 steps of 16 pictures from trained weights, beside the same steps without it, at
weight 0.05: to tell the network the two colours or the two shapes of a scene the wrong way round costs it 34 to 60 %
more wherever t ≤ 0.6, and what it draws is no better. Nor, measurably, after 19,000 pictures, and its error on unseen
pictures is then 3 to 7 % higher at t = 0.5 and 0.6 (data/README.md), perhaps for want of room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import Cond
from .fused import norm_act


class Questions(NamedTuple):
    """What data with maps "where" answer: how many answers each question has (0: "there is none"), and the grid."""

    answers: Mapping[str, int]
    cells: int  # across the picture


GAIN = 10.0  # of the heads: they begin at zero, and are to be ahead of the network that they teach


class Head(nn.Module):
    """Features (B, C, h, w) → answers (B, classes, cells, cells): a norm and a 1 × 1 convolution, from zero."""

    def __init__(self, channels: int, groups: int, classes: int, finer: int):
        super().__init__()
        self.finer = finer
        self.norm = nn.GroupNorm(groups, channels)
        self.conv = nn.Conv2d(channels, classes * finer**2, 1)
        for parameter in self.conv.parameters():  # at first it asks nothing of the features
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        return F.pixel_shuffle(GAIN * self.conv(norm_act(h, self.norm)), self.finer)


class Reading(nn.Module):
    """reading(z, t, cond) is unet(z, t, cond); then `reading.loss(where)` asks what it knew on the way.

    A head stands at the end of every level on the way up that attends to text, and answers for every cell of the map.
    """

    def __init__(self, unet: Any, questions: Questions):
        super().__init__()
        self.unet, self.answers_of, cells = unet, list(questions.answers.values()), questions.cells
        c, last = unet.config, len(unet.config.channels) - 1
        asked = [i for i in range(last, 0, -1) if "text" in c.attention[i]]  # as the way up meets them
        edge = {i: c.size // (c.fold * 2**i) for i in asked}  # of the level's pictures
        if c.efficient or not asked or any(cells % e for e in edge.values()):
            raise ValueError(f"a map of {cells} × {cells} cells can't be read off this network's levels")
        classes = sum(self.answers_of)
        self.heads = nn.ModuleList([Head(c.channels[i], c.groups, classes, cells // edge[i]) for i in asked])
        self._features: list[Tensor] | None = None  # None: the network is at other work, such as drawing
        self._hooks = [
            # a level ends where its resampling begins
            unet.up[last - i].resample.register_forward_pre_hook(lambda _, inputs: self._meet(inputs[0]))
            for i in asked
        ]

    def forward(self, z: Tensor, t: Tensor, cond: Cond | None = None) -> Tensor:
        self._features = []
        out = self.unet(z, t, cond)
        features, self._features = self._features, None
        self.answers = [head(h) for head, h in zip(self.heads, features, strict=True)]
        return out

    def _meet(self, h: Tensor) -> None:
        if self._features is not None:
            self._features.append(h)

    def loss(self, where: Tensor) -> Tensor:
        """Mean cross-entropy over heads, questions and pictures. where (B, questions, cells, cells): the true answers.

        What there is and where there is nothing count half each, though most of a picture is empty.
        """
        terms = []
        for answers in self.answers:
            for logits, truth in zip(answers.float().split(self.answers_of, 1), where.long().unbind(1)):
                errors = F.cross_entropy(logits, truth, reduction="none")  # (B, cells, cells)
                there = (truth > 0).float()
                for part in (there, 1 - there):
                    terms.append((errors * part).sum((1, 2)) / part.sum((1, 2)).clamp(min=1))
        return torch.stack(terms).mean()

    def remove(self) -> None:
        """Leave the network as it was found."""
        for hook in self._hooks:
            hook.remove()
