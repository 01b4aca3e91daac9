"""The paper's claims that sampling alone can test, measured on the same prompts and the same noise.

    for setting in plan(): point = measure(bench, setting)     # one point of a figure: a number a picture
    find(read(), w=4, threshold="dynamic")     # out of data/claims.json, which tools/measure_claims.py writes

Every setting draws one picture of each of the same captions, from noise that depends on the caption's number alone. So
two settings differ in nothing but themselves, and `stats.paired` compares them picture by picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minimagen import files
from minimagen.cascade import Imagen, Stage, generators
from minimagen.denoiser import Dynamic, Static
from minimagen.resources import data_folder
from minimagen.toyland.compose import random_scene
from minimagen.toyland.drawbench import suite
from minimagen.toyland.judge import Judge, shipped
from minimagen.toyland.prompts import Prompt
from minimagen.toyland.render import render
from minimagen.toyland.scene import PATTERNS, WORLD_VERSION, Scene, Thing
from minimagen.toyland.scoring import legal, score
from minimagen.toyland.sources import parts

FILE = "claims.json"
CAPTIONS = 48  # of scenes that no training saw
TRUE = 320  # renders of other scenes, for the Fréchet distance
# Directions in which true pictures vary most: few enough that 48 pictures can tell where their mean and spread lie.
DIRECTIONS = 16
TRUE_SEED = 2_950_000_000
THRESHOLDS = {"none": None, "static": Static(), "dynamic": Dynamic()}


@dataclass(frozen=True)
class Setting:
    """How the pictures of one point were drawn.

    start "noise": by the 64 px stage. Else they are enlarged to 256 px, at augmentation level `level`, from renders of
    the captions' scenes ("true"), from what the 64 px stage drew ("drawn"), or from renders of plain things whose
    caption orders a pattern ("restyled"). w is the 64 px stage's guidance; only what is restyled is enlarged with it.
    """

    start: str = "noise"
    w: float = 4.0
    threshold: str = "dynamic"
    steps: int = 16
    solver: str = "ddim"
    eta: float = 0.0
    level: float = 0.0

    @property
    def size(self) -> int:
        return 64 if self.start == "noise" else 256


def plan() -> list[Setting]:
    """Every point of the figures, the ones that matter most first, so that a short budget still tells something."""
    usual = Setting()
    points = [usual, replace(usual, w=1.0), replace(usual, w=8.0)]
    points += [replace(usual, w=8.0, threshold=name) for name in ("none", "static")]
    points += [replace(usual, steps=n) for n in (4, 8)]
    for level in (0.0, 0.5, 0.25):
        points += [Setting("restyled", w=8.0, level=level), *(Setting(s, level=level) for s in ("drawn", "true"))]
    points += [replace(usual, w=2.0, threshold=name) for name in ("dynamic", "none", "static")]
    points += [replace(usual, steps=n, solver="dpm++2m") for n in (4, 8)]
    points += [replace(usual, steps=n, eta=1.0) for n in (4, 16, 8)]
    points += [Setting("restyled", w=1.0, level=0.5), Setting("restyled", w=8.0, level=0.1)]
    points += [Setting(s, level=0.1) for s in ("drawn", "true")]
    points += [replace(usual, w=16.0, threshold=name) for name in ("dynamic", "none", "static")]
    points += [replace(usual, w=w) for w in (1.5, 3.0)]
    points += [replace(usual, steps=32), replace(usual, steps=16, solver="dpm++2m"), replace(usual, steps=32, eta=1.0)]
    return points


@dataclass
class Bench:
    """What all settings share: the cascade, the captions, true pictures, and the directions of their features."""

    imagen: Imagen
    judge: Judge = field(default_factory=shipped)
    captions: int = CAPTIONS
    true: int = TRUE

    def __post_init__(self) -> None:
        self.prompts: list[Prompt] = suite("captions", self.captions)
        self._axes: dict[int, tuple[Tensor, Tensor]] = {}
        self._drawn: Tensor | None = None
        self._truth: Tensor | None = None

    def scenes(self) -> list[Scene]:
        return [p.scene for p in self.prompts if p.scene is not None]

    def reference(self, size: int) -> dict[str, list]:
        """Features of true pictures: of other scenes, and of the captions' own, whose distance is the floor."""
        count = self.true if size == 64 else self.true // 2
        others = self._features([random_scene(TRUE_SEED + i, "train") for i in range(count)], size)
        axes = torch.linalg.svd(others - others.mean(0), full_matrices=False).Vh[:DIRECTIONS].T  # (F, 16)
        axes = axes * axes.sum(0).sign()  # each pointing the same way on every machine
        found = {"mean": _rounded(others.mean(0)), "axes": _rounded(axes, 5)}
        self.know(size, found)  # as it will be read again, digit for digit
        own = self._features(self.scenes(), size)
        return found | {"true": _rounded(self.along(others, size)), "own": _rounded(self.along(own, size))}

    def know(self, size: int, reference: dict[str, list]) -> None:
        """Take the directions from what `reference` gave before."""
        self._axes[size] = torch.tensor(reference["mean"]), torch.tensor(reference["axes"])

    def _features(self, scenes: Sequence[Scene], size: int) -> Tensor:
        return torch.cat([self.judge.features(render(part, size)) for part in parts(scenes)])

    def along(self, raw: Tensor, size: int) -> Tensor:
        """The judge's features in the directions in which true pictures vary most."""
        mean, axes = self._axes[size]
        return (raw - mean) @ axes

    def drawn(self) -> Tensor:
        """What the 64 px stage draws of the captions in its usual setting, drawn once."""
        if self._drawn is None:
            pairs = draw(self, Setting(), range(self.captions))
            self._drawn = torch.cat([x for x, _ in pairs])
        return self._drawn

    def truth(self) -> Tensor:
        """The captions' scenes at 256 px, rendered once."""
        if self._truth is None:
            self._truth = torch.cat([render(part, 256) for part in parts(self.scenes())])
        return self._truth


def _rounded(x: Tensor, digits: int = 3) -> list:
    return [_rounded(row, digits) for row in x] if x.ndim > 1 else [round(v, digits) for v in x.tolist()]


class Watched:
    """A threshold that remembers how far x̂ went beyond [−1, 1] before it was applied: its 99.5th percentile."""

    def __init__(self, threshold: Any):
        self.threshold, self.largest = threshold, torch.zeros(0)

    def __call__(self, x: Tensor) -> Tensor:
        s = torch.stack([torch.quantile(picture.float().abs().flatten(), 0.995) for picture in x])
        self.largest = torch.maximum(self.largest, s) if len(self.largest) else s
        return x if self.threshold is None else self.threshold(x)


def draw(bench: Bench, setting: Setting, which: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """(pictures, the largest x̂ on the way) of these captions, a few at a time; at size 64 from noise."""
    stage = bench.imagen.stages[0]
    for part in parts(list(which)):
        watched = Watched(THRESHOLDS[setting.threshold])
        one = replace(stage, guidance=setting.w, threshold=watched, steps=setting.steps, solver=setting.solver)
        one = replace(one, eta=setting.eta)
        yield _sampled(bench, one, [bench.prompts[i].text for i in part], None, part, 0), watched.largest


def enlarge(bench: Bench, setting: Setting, small: Tensor, captions: Sequence[str]) -> Iterator[Tensor]:
    """256 px pictures of small ones, a few at a time."""
    stage = replace(bench.imagen.stages[1], aug=setting.level)
    stage = replace(stage, guidance=setting.w) if setting.start == "restyled" else stage
    for part in parts(range(len(captions))):
        rows = list(part)
        yield _sampled(bench, stage, [captions[i] for i in rows], small[rows], rows, 1)


def _sampled(bench: Bench, stage: Stage, captions: list[str], low: Tensor | None, which: list[int], number: int):
    text, null = bench.imagen.encode(captions)
    *_, last = stage.sample(text, null, low, generator=generators(0, which, number))
    return last.z.float().clamp(-1, 1)


def orders() -> tuple[list[Scene], list[str], list[str]]:
    """Six plain things, five captions each: (scenes, captions, the patterns that they order)."""
    looks = [("cube", "red"), ("cylinder", "green"), ("sphere", "yellow"), ("cone", "blue")]
    looks += [("cube", "purple"), ("cylinder", "orange")]
    scenes = [
        Scene((Thing(shape, color, "large", x=0.2 * (k % 3) - 0.2, yaw=0.4),), "white wall", "concrete")
        for k, (shape, color) in enumerate(looks)
    ]
    ordered = [(scene, pattern) for scene in scenes for pattern in PATTERNS]
    said = ["" if pattern == "plain" else f"{pattern} " for _, pattern in ordered]
    captions = [f"a large {p}{s.things[0].color} {s.things[0].shape}" for p, (s, _) in zip(said, ordered)]
    return [s for s, _ in ordered], captions, [p for _, p in ordered]


def measure(bench: Bench, setting: Setting) -> dict[str, Any]:
    """One point: the setting, and of each picture whether it is right, and what else can be counted."""
    if setting.start == "restyled":
        return asdict(setting) | _restyled(bench, setting)
    rows: dict[str, list] = {name: [] for name in ("right", "part", "legal", "clipped", "largest", "psnr", "features")}
    if setting.start == "noise":
        chunks = draw(bench, setting, range(bench.captions))
    else:
        small = bench.drawn() if setting.start == "drawn" else torch.cat([render(p, 64) for p in parts(bench.scenes())])
        texts = [p.text for p in bench.prompts]
        chunks = ((x, torch.zeros(len(x))) for x in enlarge(bench, setting, small, texts))
    pictures = []
    for x, largest in chunks:
        pictures.append(x)
        first = len(rows["right"])
        asked = bench.prompts[first : first + len(x)]
        readings, raw = bench.judge.look(x)
        for prompt, reading, picture in zip(asked, readings, x):
            found = score(reading, prompt.description)
            rows["right"].append(int(found.right))
            rows["part"].append(round(found.accuracy, 4))
            rows["legal"].append(int(legal(reading)))
            rows["clipped"].append(round(float((picture.abs() > 0.95).float().mean()), 5))
        rows["features"] += _rounded(bench.along(raw, setting.size))
        if setting.start == "noise":
            rows["largest"] += [round(v, 3) for v in largest.tolist()]
        if setting.start == "true":
            error = (x - bench.truth()[first : first + len(x)]).square().mean((1, 2, 3))
            rows["psnr"] += [round(v, 3) for v in (10 * torch.log10(4 / error)).tolist()]
    if setting == Setting():
        bench._drawn = torch.cat(pictures)
    return asdict(setting) | {name: values for name, values in rows.items() if values}


def _restyled(bench: Bench, setting: Setting) -> dict[str, Any]:
    scenes, captions, patterns = orders()
    small = torch.cat([render(part, 64) for part in parts(scenes)])
    readings = [r for x in enlarge(bench, setting, small, captions) for r in bench.judge(x)]
    things = [r.things[0] if len(r.things) == 1 else None for r in readings]
    obeyed = [int(t is not None and t.pattern == p) for t, p in zip(things, patterns)]
    kept = [
        int(t is not None and (t.shape, t.color) == (s.things[0].shape, s.things[0].color))
        for t, s in zip(things, scenes)
    ]
    return {"obeyed": obeyed, "kept": kept, "pattern": patterns}


def read(path: str | Path | None = None) -> dict[str, Any]:
    """What was measured; path None = the file that ships."""
    found = files.read_json(data_folder(FILE) if path is None else path)
    if found.get("world") != WORLD_VERSION:
        raise ValueError(
            f"{FILE} is of version {found.get('world')} of Toyland, and this package draws {WORLD_VERSION}"
        )
    return found


def find(claims: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The points with these settings; what is not named is as usual, and ... stands for any."""
    usual = asdict(Setting())
    asked = {k: v for k, v in {**usual, **wanted}.items() if v is not ...}
    if unknown := set(wanted) - set(usual):
        raise ValueError(f"a point has no {', '.join(sorted(unknown))}; it has {', '.join(usual)}")
    return [p for p in claims["points"] if all(p[k] == v for k, v in asked.items())]
