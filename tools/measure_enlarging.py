"""How much better than interpolation do the stages enlarge? Measured on true small pictures, into data/enlarging.json.

    python -m tools.measure_enlarging        # some minutes

Everything is counted a picture: what the stage draws, and what it began from, beside the same truth.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from minimagen import files
from minimagen.cascade import Imagen, generators
from minimagen.conditioning import augment, upsample
from minimagen.resources import data_folder
from minimagen.samples import FACTOR
from minimagen.toyland.compose import random_scene
from minimagen.toyland.drawbench import suite
from minimagen.toyland.judge import shipped
from minimagen.toyland.judge_check import compare
from minimagen.toyland.language import caption
from minimagen.toyland.render import render
from minimagen.toyland.scene import Scene
from minimagen.toyland.scoring import Score, score
from minimagen.toyland.sources import parts
from minimagen.toyland.stats import bootstrap, paired

FILE = "enlarging.json"
FIRST = 4_200_000_000  # no training sees these scenes
EDGES = 0.1  # share of a picture's pixels that are called edges: where the truth is steepest

Rows = dict[str, list[float]]  # what is measured → a number a picture


def decibels(y: Tensor, x: Tensor, where: Tensor | None = None) -> list[float]:
    """PSNR of each picture, on all of its pixels or, with `where` (B, H, W), on these."""
    error = (y - x).square().mean(1)  # (B, H, W)
    where = torch.ones_like(error) if where is None else where.float()
    mean = (error * where).sum((1, 2)) / where.sum((1, 2))
    return (10 * torch.log10(4 / mean)).tolist()


def edges(x: Tensor) -> Tensor:
    """(B, H, W): the tenth of each picture's pixels at which neighbours differ most."""
    steep = sum(x.diff(dim=across, prepend=x.narrow(across, 0, 1)).abs().sum(1) for across in (-1, -2))
    bound = steep.flatten(1).kthvalue(round((1 - EDGES) * steep[0].numel())).values  # quantile refuses so many
    return steep > bound[:, None, None]


def detail(y: Tensor) -> Tensor:
    """The power of each picture's waves that are too fine for a picture FACTOR times smaller."""
    waves = torch.fft.fftfreq(y.shape[-1], 1 / y.shape[-1]).abs()
    fine = torch.maximum(waves[:, None], waves[None]) > y.shape[-1] / FACTOR / 2
    return torch.fft.fft2(y, norm="ortho").abs().square()[..., fine].mean((1, 2))


def likeness(y: Tensor, x: Tensor) -> Rows:
    """What needs no judge: PSNR everywhere and at edges, and how much of the truth's fine detail there is."""
    return {
        "psnr": decibels(y, x),
        "psnr at edges": decibels(y, x, edges(x)),
        "detail": (detail(y) / detail(x)).tolist(),
    }


class Enlarged:
    """Scenes, their captions, and their true small pictures: interpolated, or enlarged by a stage, at one level."""

    def __init__(self, imagen: Imagen, size: int, scenes: Sequence[Scene], captions: Sequence[str]):
        self.imagen, self.captions = imagen, list(captions)
        self.stage = next(s for s in imagen.stages if s.size == size)
        self.true = torch.cat([render([s], size) for s in scenes])
        self.small = torch.cat([render([s], size // FACTOR) for s in scenes])

    def interpolated(self, level: float = 0.0) -> Tensor:
        """What the stage begins from at this level, noise and all."""
        return augment(upsample(self.small, self.stage.size), level, generators(0, range(len(self.small)), 2))

    @torch.no_grad()
    def drawn(self, level: float) -> Tensor:
        one, pictures = replace(self.stage, aug=level), []
        for which in parts(range(len(self.small))):
            text, null = self.imagen.encode([self.captions[i] for i in which])
            *_, last = one.sample(text, null, self.small[list(which)], generator=generators(0, which, 1))
            pictures.append(last.z.float().clamp(-1, 1))
        return torch.cat(pictures)


def whole(imagen: Imagen, size: int, count: int) -> dict[str, Rows]:
    """Scenes in which something is held out, at no noise and at the level that ships."""
    scenes = [random_scene(FIRST + i, "heldout") for i in range(count)]
    them = Enlarged(imagen, size, scenes, [caption(s) for s in scenes])
    pictures = {"interpolated": them.interpolated(), "drawn": them.drawn(0.0)}
    if level := them.stage.aug:
        pictures |= {"interpolated, noisy": them.interpolated(level), "drawn, noisy": them.drawn(level)}
    found = {name: likeness(y, them.true) | read(y, scenes) for name, y in pictures.items()}
    return found | {"true": read(them.true, scenes)}


def read(y: Tensor, scenes: Sequence[Scene]) -> Rows:
    """Whether the judge reads the whole scene as it is, and the word on its sign. It has learned no larger pictures."""
    if y.shape[-1] > 256:
        return {}
    told = [compare(reading, scene) for reading, scene in zip(shipped()(y), scenes, strict=True)]
    return {kind: [float(right) for one in told for right in one.get(kind, [])] for kind in ("scene", "word")}


def patterned(imagen: Imagen, count: int) -> dict[str, Rows]:
    """Two things of two patterns, which no 64 px picture shows: is each, and are both, as the caption says?"""
    asked = (p for p in suite("two objects", 40 * count) if p.scene is not None)
    asked = (p for p in asked if len({t.pattern for t in p.scene.things} - {"plain"}) == 2)
    prompts = list(itertools.islice(asked, count))
    them = Enlarged(imagen, 256, [p.scene for p in prompts], [p.text for p in prompts])
    drawn = them.drawn(them.stage.aug)
    pictures = {"interpolated": them.interpolated(), "drawn, noisy": drawn, "true": them.true}
    found = {}
    for name, y in pictures.items():
        told = [as_told(score(reading, p.description)) for reading, p in zip(shipped()(y), prompts, strict=True)]
        found[name] = {
            "each pattern": [sum(one) / len(one) for one in told],
            "pattern": [float(all(one)) for one in told],
        }
    return found


def as_told(found: Score) -> list[bool]:
    """Of each pattern that was asked for, whether it is there."""
    return [bool(q.right) for q in found.questions if q.kind == "pattern"]


def estimates(found: dict[str, Rows]) -> dict[str, dict[str, dict]]:
    """Means with their intervals; where the stage drew, also by how much the PSNR is above what it began from."""
    told = {
        way: {kind: asdict(bootstrap(values)) for kind, values in rows.items() if values} for way, rows in found.items()
    }
    for end in ("", ", noisy"):
        if f"drawn{end}" in found:
            before, after = found[f"interpolated{end}"], found[f"drawn{end}"]
            for kind in ("psnr", "psnr at edges"):
                told[f"drawn{end}"][f"{kind}, gained"] = asdict(paired(after[kind], before[kind]))
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=48, help="scenes at 256 px, and pairs of patterned things (48)")
    parser.add_argument("--large", type=int, default=12, help="scenes at 1024 px (12)")
    parser.add_argument("--out", type=Path, default=data_folder() / FILE)
    options = parser.parse_args()
    cascade = Imagen.from_pretrained(stages=[64, 256, 1024])
    at_256 = whole(cascade, 256, options.scenes)
    for way, rows in patterned(cascade, options.scenes).items():
        at_256[way] |= rows
    measured = {"256": estimates(at_256), "1024": estimates(whole(cascade, 1024, options.large))}
    files.write_text(options.out, json.dumps(measured) + "\n")
