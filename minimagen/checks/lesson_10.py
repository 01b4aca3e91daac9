"""Lesson 10, the cascade and DeepFloyd IF: stages put together by hand, IF's times, its weights under our names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Cond, Text
from minimagen.deepfloyd import conventions
from minimagen.deepfloyd.renaming import RENAMED, from_diffusers_key
from minimagen.denoiser import Denoiser, Static
from minimagen.sampler import sample, times
from minimagen.schedule import CosineSchedule

from .frame import Case, Exercise

LESSON = "10_cascade_and_deepfloyd_if"


# The cascade, stage by stage


def compose(stages: Sequence[Stage], text: Text, null: Text, noise: Sequence[Tensor]) -> Tensor:
    """Each stage draws from its own noise; all but the first are told what the one before has drawn."""
    picture = None
    for stage, z in zip(stages, noise):
        cond = Cond(text)
        if picture is not None:
            low_res = stage.augment(stage.upsample(picture, stage.size), stage.aug)
            cond = Cond(text, low_res, torch.full((len(z),), stage.aug))
        for step in sample(stage.sampling(null), z, stage.times(stage.steps), cond):
            z = step.z
        picture = z.clamp(-1, 1)
    assert picture is not None
    return picture


class Toy(nn.Module):
    """A network that answers with something of all that it is told, so that nothing can be left out unseen."""

    def __init__(self, enlarges: bool):
        super().__init__()
        self.config = SimpleNamespace(enlarges=enlarges)
        self.weight = nn.Parameter(torch.tensor(1.5))

    def forward(self, z: Tensor, t: Tensor, cond: Cond) -> Tensor:
        x = self.weight * torch.sin(3 * z) + t.view(-1, 1, 1, 1) / 5000
        if isinstance(cond.text, Text):
            x = x + cond.text.tokens.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        if cond.low_res is not None:
            x = 0.4 * x + 0.8 * cond.low_res
        return x if cond.aug is None else x + cond.aug.view(-1, 1, 1, 1)


def rippled(low_res: Tensor, level: float | Tensor, generator: object = None) -> Tensor:
    """An augmentation whose noise is always the same, so that a check can compare."""
    level = torch.as_tensor(level).view(-1, 1, 1, 1)
    ripple = torch.sin(37.0 * torch.arange(low_res.numel())).view_as(low_res)
    return (1 - level) * low_res + level * ripple


def falling(steps: int, start: float = 1.0) -> Tensor:
    return start * torch.linspace(1, 0, steps + 1) ** 1.5


def tiles(low_res: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(low_res, (size, size))


def cascades(generator: torch.Generator) -> list[Case]:
    def case(about: str, sizes: Sequence[int], pictures: int) -> Case:
        stages = [
            Stage(
                Denoiser(Toy(k > 0), CosineSchedule(), "x"),
                size,
                steps=3 - k,
                guidance=(3.0, 1.0, 2.0)[k],
                threshold=Static() if k == 0 else None,
                aug=(0.5, 0.3, 0.15)[k],  # the first stage has no use for its own
                augment=rippled,
                upsample=tiles,
                times=falling,
            )
            for k, size in enumerate(sizes)
        ]
        text, null = (Text(torch.randn(n, 3, 5, generator=generator)) for n in (pictures, 1))
        noise = [torch.randn(pictures, 3, size, size, generator=generator) for size in sizes]
        return Case(about, (stages, text, null, noise))

    return [
        case("three stages, of 4, 8 and 16 px, and two pictures", (4, 8, 16), 2),
        case("two stages, of 4 and 12 px", (4, 12), 1),
    ]


cascade_by_hand = Exercise(
    "cascade_by_hand",
    LESSON,
    reference=compose,
    cases=cascades,
    learned="each stage draws from noise of its own, and is told what the one before has drawn: that is the cascade.",
    borrowed=(Stage.sample, Stage.cond, Imagen.stream, Imagen.draw),
    points=4,
    minutes=15,
    level=3,
)


def _compose(stages: Sequence[Stage], text: Text, null: Text, noise: Sequence[Tensor], **changed) -> Tensor:
    """The right answer with one thing changed."""
    picture = first = None
    for stage, z in zip(stages, noise):
        cond, start = Cond(text), z
        if picture is not None and first is not None:
            picture = first if changed.get("always_first") else picture
            if changed.get("noise_first"):
                low_res = stage.upsample(stage.augment(picture, stage.aug), stage.size)
            else:
                low_res = stage.upsample(picture, stage.size)
                low_res = low_res if changed.get("clean") else stage.augment(low_res, stage.aug)
            told = 0.0 if changed.get("untold") else stage.aug
            cond = Cond(None if changed.get("text_once") else text, low_res, torch.full((len(z),), told))
            z = low_res if changed.get("from_low_res") else z
        denoiser = stage.denoiser if changed.get("bare") else stage.sampling(changed.get("contrast", null))
        steps = list(sample(denoiser, z, stage.times(stage.steps), cond))
        picture = start if changed.get("noise_itself") else steps[0 if changed.get("first_step") else -1].z
        picture = picture if changed.get("unclamped") else picture.clamp(-1, 1)
        first = picture if first is None else first
    assert picture is not None and first is not None
    return picture


@cascade_by_hand.mistake
def unclamped(stages, text, null, noise):
    """You handed the picture on as the last step left it. Some of its pixels lie outside [−1, 1], where no picture of
    the training was: clip it, at the end of every stage."""
    return _compose(stages, text, null, noise, unclamped=True)


@cascade_by_hand.mistake
def clipped_at_the_end(stages, text, null, noise):
    """You clipped the last picture alone. Each stage is told a picture in [−1, 1], as in training: clip at the end of
    every stage, before the next one sees it."""
    return _compose(stages, text, null, noise, unclamped=True).clamp(-1, 1)


@cascade_by_hand.mistake
def noise_itself(stages, text, null, noise):
    """You handed on the noise that the stage began from. What it has drawn is in the last step: `z = step.z`."""
    return _compose(stages, text, null, noise, noise_itself=True)


@cascade_by_hand.mistake
def noise_first(stages, text, null, noise):
    """You augmented the small picture and enlarged it then, so that each grain of noise became a blob. First enlarge,
    then augment: that is what the network was trained on."""
    return _compose(stages, text, null, noise, noise_first=True)


@cascade_by_hand.mistake
def untold(stages, text, null, noise):
    """You told the network that nothing was augmented. `Cond` has a third place, for the level of each picture: a
    tensor (B,) filled with `stage.aug`."""
    return _compose(stages, text, null, noise, untold=True)


@cascade_by_hand.mistake
def clean(stages, text, null, noise):
    """You told the network the level of the noise, and added none: call `stage.augment` on the enlarged picture."""
    return _compose(stages, text, null, noise, clean=True)


@cascade_by_hand.mistake
def text_once(stages, text, null, noise):
    """Only your first stage reads the sentence. All stages of Imagen do: which stripes a cube has cannot be seen at 64
    px."""
    return _compose(stages, text, null, noise, text_once=True)


@cascade_by_hand.mistake
def always_first(stages, text, null, noise):
    """Your last stage enlarges the first stage's picture, and the work of the one between is lost: hand on the newest
    picture."""
    return _compose(stages, text, null, noise, always_first=True)


@cascade_by_hand.mistake
def bare(stages, text, null, noise):
    """You sampled `stage.denoiser` itself, without guidance and threshold: `stage.sampling(null)` has both around
    it."""
    return _compose(stages, text, null, noise, bare=True)


@cascade_by_hand.mistake
def no_contrast(stages, text, null, noise):
    """You gave the sentence where guidance wants the null text, so that it compares the sentence with itself:
    `stage.sampling(null)`."""
    return _compose(stages, text, null, noise, contrast=text)


@cascade_by_hand.mistake
def from_low_res(stages, text, null, noise):
    """You began the larger stages from the enlarged picture. They begin from noise as the first one does; the picture
    is what they are told."""
    return _compose(stages, text, null, noise, from_low_res=True)


@cascade_by_hand.mistake
def first_step(stages, text, null, noise):
    """You handed on the picture after the first step of a stage: wait for the last one."""
    return _compose(stages, text, null, noise, first_step=True)


# IF's times


def leading(steps: int) -> Tensor:
    """t = (k · ⌊1000 / steps⌋ + 1) / 1000 for k = steps − 1 … 0, and then 0"""
    rows = torch.arange(steps - 1, -1, -1) * (1000 // steps)
    return torch.cat([(rows + 1) / 1000, torch.zeros(1)])


def counts(generator: torch.Generator) -> list[Case]:
    some = int(torch.randint(28, 47, (1,), generator=generator)) * 2 + 1  # odd and above 56: never a divisor of 1000
    return [Case(f"{n} steps", (n,)) for n in (100, 50, some, 67)]


leading_times = Exercise(
    "leading_times",
    LESSON,
    reference=leading,
    cases=counts,
    learned="these are the rows of IF's table at which diffusers stops: with 100 steps, row 990 first.",
    borrowed=(conventions.times, times),
    points=2,
    minutes=8,
    level=2,
    tolerance=1e-5,
)


def _rows(steps: int) -> Tensor:
    return torch.arange(steps - 1, -1, -1) * (1000 // steps)


def _then_zero(t: Tensor) -> Tensor:
    return torch.cat([t.float(), torch.zeros(1)])


@leading_times.mistake
def from_pure_noise(steps):
    """Your times begin at t = 1 and fall evenly, as minimagen's do. IF's begin at the row (steps − 1) · ⌊1000 / steps⌋:
    with 100 steps, 990."""
    return torch.linspace(1, 0, steps + 1)


@leading_times.mistake
def row_for_time(steps):
    """You divided the row by 1000. Row i of the table stands at t = (i + 1) / 1000: row 0 has a little noise already,
    and t = 0 has none."""
    return _then_zero(_rows(steps) / 1000)


@leading_times.mistake
def not_whole(steps):
    """Your rows are not whole numbers, and a table has none between them: IF takes ⌊1000 / steps⌋, rounded down, from
    row to row."""
    return _then_zero((torch.arange(steps - 1, -1, -1) * 1000 / steps + 1) / 1000)


@leading_times.mistake
def each_rounded(steps):
    """You rounded each row down. What is rounded is the distance from row to row, once: k · (1000 // steps). Without
    the brackets, Python multiplies first."""
    return _then_zero((torch.arange(steps - 1, -1, -1) * 1000 // steps + 1) / 1000)


@leading_times.mistake
def rising(steps):
    """Your times rise. A sampler goes from noise to picture: the largest first."""
    return _then_zero((_rows(steps).flip(0) + 1) / 1000)


@leading_times.mistake
def without_the_end(steps):
    """Your times end at t = 0.001, the last row. Add t = 0, to which the last step leads: there are steps + 1 times."""
    return (_rows(steps) + 1) / 1000


@leading_times.mistake
def rows_alone(steps):
    """You gave the rows of the table. What is asked for are times: t = (row + 1) / 1000."""
    return _then_zero(_rows(steps))


@leading_times.mistake
def rows_from_one(steps):
    """You counted the rows from 1, which is right, and gave the numbers. Times lie in [0, 1]: divide by 1000."""
    return _then_zero(_rows(steps) + 1)


@leading_times.mistake
def evenly_from_there(steps):
    """You fell evenly from IF's first time to 0. IF goes from row to row by ⌊1000 / steps⌋, and the last step alone is
    shorter, from row 0 to the picture."""
    return torch.linspace(float(_rows(steps)[0] + 1) / 1000, 0, steps + 1)


# A weight's name


def renamed(key: str, names: Sequence[tuple[str, str]]) -> str:
    """down_blocks.1.attentions.0.to_q.weight → down.1.attentions.0.q.weight: whole parts between dots are replaced."""
    for theirs, ours in names:
        key = f".{key}.".replace(f".{theirs}.", f".{ours}.")[1:-1]
    return key


TRAP = (("proj", "out"), ("to_k", "k"), ("blocks", "parts"), ("to_out.0", "out"))
KEYS = (
    ("a name in the middle of a key, and one at its beginning", "down_blocks.1.attentions.0.to_q.weight", RENAMED),
    ("a name that spans two parts of the key", "up_blocks.3.attentions.2.to_out.0.bias", RENAMED),
    ("a name at the end of a key", "up.0.to_k", TRAP),
    ("a name that is the whole key", "add_embedding.pool.positional_embedding", RENAMED),
    ("three names in one key", "mid_block.resnets.1.time_emb_proj.weight", RENAMED),
    ("names that are also parts of longer names", "up_blocks.0.proj.not_to_k.to_k.weight", TRAP),
    ("a name that stands twice", "to_k.0.proj.to_k.weight", TRAP),
    ("names with which longer ones begin", "blocks_of.0.to_k_norm.to_k.weight", TRAP),
    ("a name of two parts at a longer one's end", "blocks.0.not_to_out.0.to_k.weight", TRAP),
)


def keys(generator: torch.Generator) -> list[Case]:
    number = int(torch.randint(2, 9, (1,), generator=generator))
    return [Case(about, (key.replace(".1.", f".{number}."), names)) for about, key, names in KEYS]


rename = Exercise(
    "rename",
    LESSON,
    reference=renamed,
    cases=keys,
    learned="a published network is yours to read once its weights have your names.",
    borrowed=(from_diffusers_key,),
    points=2,
    minutes=8,
    level=1,
)


def _matching(key: str, names: Sequence[tuple[str, str]], pattern: str) -> str:
    for theirs, ours in names:
        key = re.sub(pattern.format(re.escape(theirs)), rf"\g<1>{ours}", key)
    return key


@rename.mistake
def parts_of_parts(key, names):
    """You replaced a name wherever its letters stand, also inside a longer one: `to_k` is not meant in `not_to_k`.
    A name is a whole part, or several, between dots."""
    for theirs, ours in names:
        key = key.replace(theirs, ours)
    return key


@rename.mistake
def first_alone(key, names):
    """You replaced a name where it stands first, and left it where it stands again. Replace all that are there."""
    for theirs, ours in names:
        key = f".{key}.".replace(f".{theirs}.", f".{ours}.", 1)[1:-1]
    return key


@rename.mistake
def not_alone(key, names):
    """You missed a name that is the whole key, with no dot on either side."""
    for theirs, ours in names:
        if key != theirs:
            key = _matching(key, [(theirs, ours)], r"(^|\.){}(?=\.|$)")
    return key


@rename.mistake
def not_at_the_end(key, names):
    """You found names that have a dot after them, and missed the one at the end of the key."""
    return _matching(key, names, r"(^|\.){}(?=\.)")


@rename.mistake
def part_by_part(key, names):
    """You looked up each part of the key by itself. Some names span two parts, such as `to_out.0`."""
    known = dict(names)
    return ".".join(known.get(part, part) for part in key.split("."))


@rename.mistake
def one_alone(key, names):
    """You stopped after the first name that you found. A key may hold several: go through all of `names`."""
    for theirs, ours in names:
        if (new := f".{key}.".replace(f".{theirs}.", f".{ours}.")[1:-1]) != key:
            return new
    return key


@rename.mistake
def not_at_the_beginning(key, names):
    """You found names that have a dot before them, and missed the one at the beginning of the key."""
    return _matching(key, names, r"(\.){}(?=\.|$)")


@rename.mistake
def backwards(key, names):
    """The key came back with diffusers' names. In each pair the first name, diffusers', is to be found and the second
    put in its place; and each replacement goes on from the key that the one before has left."""
    for theirs, ours in names:
        key = f".{key}.".replace(f".{ours}.", f".{theirs}.")[1:-1]
    return key


@rename.mistake
def dots_left(key, names):
    """The dots that you put around the key are still there: take off the first and the last character."""
    for theirs, ours in names:
        key = f".{key.strip('.')}.".replace(f".{theirs}.", f".{ours}.")
    return key
