"""How the shipped picture networks were trained, as data, and one function that does it again.

    for step in cook(CPU["base"], "runs/base", minutes=60): ...

Beside the weights it writes log.jsonl (a line every 50 steps) and samples/, the same grid of pictures again and again,
so that anyone can watch the network learn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, files, samples
from .cache import Cached
from .cascade import Stage
from .data import ToylandImages
from .denoiser import Denoiser, Dynamic, Static
from .resources import data_folder
from .schedule import CosineSchedule, Schedule, ShiftedSchedule
from .training import TrainStep, train
from .twins import ToylandTwins, Twins
from .unet import BASE_64, SR_256, SR_1024, UNet, UNetConfig

LOG_EVERY = 50  # steps
# Of the base's twins each kind is as frequent as it stands here.
TWINS = (
    *("word", "color", "length", "material", "number", "shape", "word", "size", "material", "length"),
    *("shape", "place", "number", "word", "material", "length", "shape", "color", "number", "size"),
)
TIMES = 0.45, 0.97  # of the base's twins: in more noise neither shows, in less the picture itself tells which it is
TYPICAL = 0.005  # mean square of half the difference of the base's twins; 0.0016 for materials and words, see `evened`
WINDOW = 64  # pixels of the windows that an enlarging stage's twins are
# The fields of a Recipe that are options of `train`.
TRAINED = "batch lr warmup decay weight shift optimizer drop ema crop stretched noisiest".split()


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a network's training but its length, which `cook` may change, and the text encoder."""

    name: str
    size: int
    network: UNetConfig
    prediction: str = "v"
    schedule: Schedule = field(default_factory=CosineSchedule)
    spread: float = 0.1  # of a residual network: the standard deviation of picture − enlarged picture, measured
    minutes: float = 60
    batch: int = 32
    lr: float = 5e-4
    warmup: int = 200
    decay: float = 0.4
    weight: str = "plain"
    shift: float = 1.0
    optimizer: str = "adamw"
    drop: float = 0.1
    ema: float = 0.9995
    crop: int | None = None  # pixels of the windows that an SR stage trains on
    stretched: float = 0.25  # share of low-res pictures enlarged as diffusers enlarges them
    noisiest: float = 1.0  # augmentation levels are U(0, noisiest)
    pairs: int = 0  # twins beside every batch, see `minimagen.twins`; 0 = none
    small: float = 0.0  # share of the budget that goes to pictures of half the size, before the others; 0 = none
    cache: int | None = None  # pictures rendered once and kept on disk; None = each is rendered anew
    captions: int = 8  # ways of saying each picture, in a cache
    drawing: dict[str, Any] = field(default_factory=dict)  # fields of the Stage: steps, guidance, threshold, aug
    show_every: float = 10  # minutes between two grids of samples


_ENLARGE = {"steps": 4, "guidance": 1.0, "threshold": Static()}
_SR = Recipe(
    "sr256",
    256,
    SR_256,
    "residual",
    spread=0.05,
    minutes=130,
    batch=16,
    lr=1e-3,
    optimizer="muon",
    shift=2.0,
    decay=0.5,
    crop=128,
    noisiest=0.5,
    cache=16_000,
)
CPU = {
    "base": Recipe(
        "base",
        64,
        BASE_64,
        minutes=240,
        lr=1e-3,
        optimizer="muon",
        shift=2.0,
        ema=0.998,
        pairs=16,
        small=0.15,
        cache=60_000,
        drawing={"steps": 16, "guidance": 3.0, "threshold": Dynamic()},
    ),
    "sr256": replace(_SR, pairs=16, drawing={**_ENLARGE, "guidance": 2.0, "aug": 0.1}),
    "sr1024": replace(
        _SR,
        name="sr1024",
        size=1024,
        network=SR_1024,
        spread=0.03,
        minutes=25,
        cache=12_000,
        drawing=_ENLARGE,
    ),
}
GPU = {  # larger batches, hardly more minutes; the processors fill the cache first, for they render ahead of it
    "base": replace(CPU["base"], minutes=60, batch=256, pairs=128, warmup=1000, ema=0.9998),
    "sr256": replace(CPU["sr256"], minutes=30, batch=128, pairs=128),
    "sr1024": replace(CPU["sr1024"], minutes=30, batch=64, crop=256),
}


def recipe(name: str, gpu: bool | None = None) -> Recipe:
    """The recipe of that name for this machine; gpu None = for what is there."""
    if name not in CPU:
        raise ValueError(f"there is a recipe for {', '.join(CPU)}, not for {name!r}")
    return (GPU if (torch.cuda.is_available() if gpu is None else gpu) else CPU)[name]


def new_stage(recipe: Recipe, text_dim: int | None, seed: int = 0) -> Stage:
    """The recipe's stage with fresh weights, for a text encoder of that width."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        unet = UNet(replace(recipe.network, size=recipe.size, text_dim=text_dim))
    denoiser = Denoiser(unet, recipe.schedule, recipe.prediction, recipe.spread)
    return Stage(denoiser, recipe.size, about={"recipe": recipe.name}, **recipe.drawing)


def new_data(recipe: Recipe, cache: str | Path | None, seed: int = 0) -> Any:
    """The recipe's pictures: rendered as they are needed, or once, into a folder of `cache`."""
    source = ToylandImages(
        recipe.size,
        crop=recipe.crop,
        captions=1 if recipe.cache is None or cache is None else recipe.captions,
        factor=samples.FACTOR if recipe.network.enlarges else 1,
        seed=seed,
    )
    return _kept(source, recipe, cache, recipe.crop or recipe.size, seed)


def new_twins(recipe: Recipe, cache: str | Path | None, seed: int = 0) -> Any:
    """The twins that stand beside the recipe's pictures, rendered once or as they are needed."""
    if recipe.network.enlarges:
        source = ToylandTwins(recipe.size, WINDOW, samples.FACTOR, seed=seed)
    else:
        source = ToylandTwins(recipe.size, of=TWINS, seed=seed)
    return _kept(source, recipe, cache, "twins", seed)


def _kept(source: Any, recipe: Recipe, cache: str | Path | None, kind: int | str, seed: int) -> Any:
    if recipe.cache is None or cache is None:
        return source
    return Cached(source, Path(cache) / f"{recipe.size}px-{kind}-{seed}", recipe.cache, seed)


def halved(recipe: Recipe) -> Recipe:
    """The recipe for pictures of half the size: four cost what one does, and as much of a scene survives each t."""
    size = recipe.size // 2
    schedule = ShiftedSchedule(size, recipe.size, recipe.schedule)
    return replace(recipe, size=size, schedule=schedule, batch=2 * recipe.batch, decay=0.05, ema=0.999, small=0.0)


def cook(
    recipe: Recipe,
    out: str | Path,
    *,
    text: Any = None,
    data: Any = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    begin: str | Path | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    score: Callable[[Stage, Sequence[str], Tensor], dict[str, float]] | None = None,
    **options: Any,
) -> Generator[TrainStep, None, None]:
    """Train a network by its recipe, into `out`: the stage, its checkpoint, log.jsonl and samples/.

    text: the encoder; None = the one that ships. cache: for rendered pictures; None = out/cache.
    data: None = Toyland, with twins beside it if the recipe says so and the encoder tells where its tokens stand.
    minutes, steps: the budget; None = the recipe's. Its first part, if the recipe says so, is spent in out/small.
    begin: a stage's folder whose weights training goes on from; None = new ones.
    score: (stage, prompts, pictures) → numbers, logged with each grid.
    options: any of `train`'s, in place of the recipe's.
    """
    out = Path(out)
    if text is None:
        from .text import TextEncoder

        text = TextEncoder.from_pretrained(data_folder())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = text.to(device) if hasattr(text, "to") else text
    stage = new_stage(recipe, text.dim, seed)
    if begin is not None:
        given = Stage.from_pretrained(begin)
        files.load_into(stage.denoiser.unet, given.denoiser.unet.state_dict(), begin)
        recipe, stage = replace(recipe, small=0.0), replace(stage, about={**stage.about, "begun": given.about})
    settings = {name: getattr(recipe, name) for name in TRAINED} | options
    if data is None:
        data = new_data(recipe, cache or out / "cache", seed)
        slow = not getattr(getattr(text, "tokenizer", None), "is_fast", True)  # such a tokenizer cannot tell
        if recipe.pairs and hasattr(text, "offsets") and not slow:
            how: dict[str, Any] = {} if recipe.network.enlarges else {"typical": TYPICAL, "times": TIMES}
            twins = Twins(new_twins(recipe, cache or out / "cache", seed), text, recipe.pairs, **how)
            settings = {"beside": twins} | settings
    if (world := getattr(data, "world", None)) is not None:  # weights of Toyland know which; of other pictures, none
        stage = replace(stage, about={**stage.about, "world": world})
    if minutes is None and steps is None:
        minutes = recipe.minutes
    before = {"step": 0, "images": 0, "seconds": 0.0}
    early = out / "small" / checkpoint.NAME
    share: dict[str, Any] = {"minutes": None if minutes is None else minutes * recipe.small}
    share["steps"] = None if steps is None else round(steps * recipe.small)
    if recipe.small and share["steps"] != 0 and not (out / checkpoint.NAME).exists():  # a run that has its own is past
        same: dict[str, Any] = {"text": text, "data": data, "resume": resume, "seed": seed, "score": score}
        yield from cook(halved(recipe), out / "small", **share, **same, **options)
    if recipe.small and early.exists():
        told = checkpoint.counts(early)
        before = {name: told[name] for name in before}
        steps = None if steps is None else steps - int(before["step"])
        minutes = None if minutes is None else max(0.0, minutes - before["seconds"] / 60)
        stage.denoiser.unet.load_state_dict(Stage.from_pretrained(out / "small").denoiser.unet.state_dict())
    losses: list[dict[str, Tensor]] = []  # the pictures' loss, and what was told by what stands beside them
    shown = begun = time.monotonic()
    seen: int | None = None
    step: TrainStep | None = None
    budget: dict[str, Any] = {"minutes": minutes, "steps": steps, "resume": resume, "out": out, "seed": seed}
    # closed even if the caller's lines fail, for only then is the last checkpoint written
    with closing(train(stage, data, text=text, factor=samples.FACTOR, **budget, **settings)) as run:
        for step in run:
            step = replace(step, **{name: getattr(step, name) + value for name, value in before.items()})
            losses.append({"loss": step.raw_loss, **getattr(settings.get("beside"), "told", {})})
            if step.main and step.step % LOG_EVERY == 0:
                speed = 0.0 if seen is None else (step.images - seen) / (time.monotonic() - begun)
                seen, begun = step.images, time.monotonic()
                row: dict[str, float] = {"step": step.step, "images": step.images}
                row |= {name: round(float(torch.stack([one[name] for one in losses]).mean()), 5) for name in losses[0]}
                row |= {"lr": round(step.lr, 8), "seconds": round(step.seconds), "images_per_second": round(speed, 1)}
                losses.clear()
                log(out, row)
            if step.main and time.monotonic() - shown > 60 * recipe.show_every:
                shown = time.monotonic()
                log(out, {"step": step.step, **samples.show(stage, step, text, out, score)})
            yield step
    if step is not None and step.main:
        log(out, {"step": step.step, **samples.show(stage, step, text, out, score)})


def log(out: Path, row: dict[str, Any]) -> None:
    """One line more in log.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
