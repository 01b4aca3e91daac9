"""The cascade: a `Stage` for each size, and `Imagen`, which takes a sentence through all of them.

    text → 64 px → (upsample, augment) → 256 px → (upsample, augment) → 1024 px

A Stage holds the pure functions of the course as fields and alone fixes their order: guide, then threshold, then step.
So a function of yours can take the place of any of them and draw through the whole cascade:

    replace(stage, guide=my_guide)
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from . import stored
from .conditioning import Cond, Generators, Text, augment, noise_like, upsample
from .denoiser import Denoiser, Dynamic, Guided, Thresholded, guide
from .images import from_pil as from_pil  # re-exported: a cascade is used with both
from .images import given, one_each
from .images import to_pil as to_pil
from .sampler import Step, ddim, sample, times

BATCH_PIXELS = 4 * 256 * 256  # a chunk of `draw`, so that many pictures need no more memory than a few


@dataclass(frozen=True)
class Stage:
    """One size of the cascade: a denoiser, and how to sample it. `dataclasses.replace` makes variants."""

    denoiser: Denoiser
    size: int  # pixels of a side
    steps: int = 32
    guidance: float = 1.0  # w; 1 = off
    threshold: Callable[[Tensor], Tensor] | None = field(default_factory=Dynamic)  # None = off
    aug: float = 0.0  # level of the noise on the low-res picture; 0 = none
    eta: float = 0.0  # 0 = DDIM, 1 = DDPM
    solver: str = "ddim"
    interval: tuple[float, float] | None = None  # the times in which guidance acts; None = all
    guide: Callable[[Tensor, Tensor, float], Tensor] = guide
    augment: Callable[..., Tensor] = augment  # (low_res, level, generator) → the noisy low-res picture
    step: Callable[..., Tensor] = ddim  # (z, x̂, α_t, σ_t, α_s, σ_s) → z_s; with eta > 0 also eta=, noise=, log_var=
    upsample: Callable[[Tensor, int], Tensor] = upsample  # (low_res, size) → the picture to begin from
    times: Callable[..., Tensor] = times  # (steps, start=) → the times of the steps, from start down to 0
    device: str | None = None  # where it draws; its weights go there and back, one stage at a time. None = they stay
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)  # where the weights come from

    @property
    def enlarges(self) -> bool:
        """Whether this stage starts from a smaller picture."""
        return bool(getattr(getattr(self.denoiser.unet, "config", None), "enlarges", False))

    @property
    def reads(self) -> bool:
        """Whether its network is conditioned on text."""
        return getattr(getattr(self.denoiser.unet, "config", None), "text_dim", None) is not None

    def sampling(self, null: Text | None) -> Thresholded:
        """The denoiser as it is sampled: guided, then thresholded."""
        return Thresholded(Guided(self.denoiser, self.guidance, null, self.interval, self.guide), self.threshold)

    def cond(self, text: Text | None, low_res: Tensor | None, generator: Generators = None) -> Cond:
        """What the network is told: the text, and the smaller picture, enlarged, then augmented at our level."""
        if not self.enlarges:
            return Cond(text)
        if low_res is None:
            raise ValueError(f"the {self.size} px stage enlarges a picture: give it the smaller one")
        if low_res.shape[-1] > self.size or low_res.shape[-1] != low_res.shape[-2]:
            height, width = low_res.shape[-2:]
            raise ValueError(f"low_res is {width} × {height} px; this stage expects a square of at most {self.size}")
        noisy = self.augment(self.upsample(low_res, self.size), self.aug, generator)
        return Cond(text, noisy, torch.full((len(noisy),), self.aug, device=noisy.device))

    def sample(
        self,
        text: Text | None,
        null: Text | None = None,
        low_res: Tensor | None = None,
        *,
        count: int = 1,
        generator: Generators = None,
        z: Tensor | None = None,
        start: float = 1.0,
        rounds: int = 1,
        stage: int = 0,
        wrap: Callable[[Any], Any] = lambda denoiser: denoiser,
    ) -> Iterator[Step]:
        """The steps of this stage. z: the picture at time `start`, None = noise. wrap: a wrapper more, for editing.

        rounds: how often each step is taken, see `sampler.sample`.
        """
        unet = self.denoiser.unet
        if getattr(unet, "untrained", False) and self.denoiser.prediction != "residual":
            warnings.warn(
                f"the {self.size} px network is untrained: it will draw noise. Train it, or load weights", stacklevel=2
            )
        home = next(unet.parameters()).device
        device = torch.device(self.device or home)
        text = None if text is None else text.to(device)
        count = count if text is None else len(text)
        if z is None:
            z = noise_like(torch.empty(count, 3, self.size, self.size, device=device), generator)
        cond = self.cond(text, None if low_res is None else low_res.to(device), generator)
        denoiser = wrap(self.sampling(None if null is None else null.to(device)))
        extras: dict[str, Any] = {"eta": self.eta, "solver": self.solver, "generator": generator, "step": self.step}
        try:
            unet.to(device)
            yield from sample(
                denoiser, z.to(device), self.times(self.steps, start=start), cond, rounds=rounds, stage=stage, **extras
            )
        finally:
            unet.to(home)

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as it is saved; a `ValueError` where it is made of what no file can hold."""
        return stored.stage_to_dict(self)

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json and model.safetensors in `folder`, whole or not at all."""
        stored.save_stage(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Stage:
        """The stage that `save_pretrained` wrote."""
        return stored.load_stage(folder, cls)


def generators(seed: int, indices: Sequence[int], stage: int = 0) -> list[torch.Generator]:
    """One random generator a picture, from (seed, index, stage) alone: a picture does not depend on its batch."""

    if not hasattr(seed, "__index__"):
        raise ValueError(f"a seed is a whole number, not {seed!r}")

    def one(index: int) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}/{index}/{stage}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    return [one(index) for index in indices]


class Imagen:
    """Stages of growing size, and the encoder that all of them read: text(captions) → Text; None = unconditional."""

    def __init__(self, stages: Sequence[Stage], text: Any = None):
        if not stages:
            raise ValueError("an Imagen needs at least one stage")
        sizes = [stage.size for stage in stages]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"stages go from small to large, each size once; these are {sizes}")
        if any(not stage.enlarges for stage in stages[1:]):
            raise ValueError("every stage after the first enlarges a picture; one of these draws from noise alone")
        self.stages, self.text = list(stages), text

    @classmethod
    def from_pretrained(
        cls, name: str | Path | None = None, *, stages: Sequence[int] | None = None, **options
    ) -> Imagen:
        """The shipped cascade (None), a folder that `save_pretrained` wrote, or DeepFloyd IF by its name or folder.

        stages: the sizes to load, e.g. (64,); None = all. Stages that are not loaded take no memory.
        """
        return stored.load_imagen(cls, name, stages, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """The layout of data/: text_encoder/, tokenizer/ and one unet_SIZE/ a stage."""
        stored.save_imagen(self, folder)

    def to(self, *args, **kwargs) -> Imagen:
        """Move every network, as `Module.to`; its pictures stay float32."""
        for stage in self.stages:
            stage.denoiser.unet.to(*args, **kwargs)
        return self

    def running(self, size: int | None = None, image: Tensor | None = None) -> list[tuple[int, Stage]]:
        """The stages, numbered, that draw up to `size` (None = to the last): from noise, or from this picture on."""
        sizes = [stage.size for stage in self.stages]
        if size is not None and size not in sizes:
            raise ValueError(f"size {size} is not one of this cascade's: {', '.join(map(str, sizes))}")
        run = [(i, s) for i, s in enumerate(self.stages) if size is None or s.size <= size]
        if image is not None:
            run = [(i, s) for i, s in run if s.enlarges and s.size > image.shape[-1]]
            if not run:
                raise ValueError(
                    f"no stage up to {size or sizes[-1]} px enlarges a picture of {image.shape[-1]} px: "
                    "give a smaller one, as from_pil(picture, 64) makes it, or a larger size"
                )
        elif run[0][1].enlarges:
            raise ValueError("these stages enlarge a picture, and there is none: give image=, or load the first, too")
        return run

    def encode(self, prompts: Sequence[str]) -> tuple[Text | None, Text | None]:
        """(the prompts, the null text ""), each as T5 embeddings."""
        if self.text is None:
            return None, None
        with torch.no_grad():
            return self.text(list(prompts)), self.text([""])

    def stream(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        seed: int = 0,
        count: int = 1,
        size: int | None = None,
        image: Image.Image | Sequence[Image.Image] | Tensor | None = None,
        first: int = 0,
        edit: Callable[[Stage, list[torch.Generator], range], dict[str, Any]] | None = None,
        **overrides: Any,
    ) -> Iterator[Step]:
        """Every step of every stage: step.stage, step.index, step.t, step.z, and step.x, the x̂ of the moment.

        image: begin from this picture, and only enlarge it. first: the index of the first picture, for its noise.
        edit: what else to give Stage.sample, such as z=, start= and wrap=; minimagen.edit is made of it.
        overrides: any field of a Stage, such as steps=, guidance=, threshold=, aug=;
        one value is for the first stage that runs (of aug, for the first that enlarges), a list has one for each.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt) if prompt is not None else []
        if self.text is None and (reader := next((s for s in self.stages if s.reads), None)) is not None:
            raise ValueError(
                f"the {reader.size} px network reads text, and this cascade has no text encoder: give Imagen the one "
                "that it was trained with, or put that one's text_encoder/ and tokenizer/ into the cascade's folder"
            )
        if self.text is not None and not prompts:
            raise ValueError("there is nothing to draw: give a prompt, or several")
        if any(not isinstance(p, str) for p in prompts):
            raise ValueError("prompts are strings")
        if self.text is None and prompts:
            raise ValueError("this cascade was trained without text: draw without a prompt, by count=")
        low_res = None if image is None else one_each(given(image), prompts or None, count)
        stages = _overridden(self.running(size, low_res), overrides)
        prompts = [p for p in prompts for _ in range(count)]
        text, null = self.encode(prompts) if prompts else (None, None)
        indices = range(first, first + (len(prompts) or count))
        low_res = None if low_res is None else low_res.expand(len(indices), -1, -1, -1)
        for number, stage in stages:
            step, noise = None, generators(seed, indices, number)
            extras = {} if edit is None else edit(stage, noise, indices)
            for step in stage.sample(text, null, low_res, count=len(indices), generator=noise, stage=number, **extras):
                yield step
            assert step is not None
            low_res = step.z.clamp(-1, 1)

    def draw(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        seed: int = 0,
        count: int = 1,
        size: int | None = None,
        image: Image.Image | Sequence[Image.Image] | Tensor | None = None,
        progress: bool | Callable[[Step], Any] = False,
        **options: Any,
    ) -> list[Image.Image]:
        """Pictures of the prompts, as PIL: `count` a prompt. image: one, one a prompt, or one a picture, to enlarge.

        Picture i of seed s is the same picture alone and in a batch. For the options see `stream`.
        """
        asked: dict[str, Any] = {"seed": seed, "count": count, "size": size, "image": image, "progress": progress}
        return list(self.drawn(prompt, **asked, **options))

    def drawn(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        count: int = 1,
        size: int | None = None,
        image: Image.Image | Sequence[Image.Image] | Tensor | None = None,
        first: int = 0,
        progress: bool | Callable[[Step], Any] = False,
        **options: Any,
    ) -> Iterator[Image.Image]:
        """`draw`, a few pictures at a time: what is finished is yielded before the next are begun."""
        prompts: list = [prompt] if isinstance(prompt, str) else [None] if prompt is None else list(prompt)
        low_res = None if image is None else one_each(given(image), prompts, count)
        prompts = [p for p in prompts for _ in range(count)]
        chunk = max(1, BATCH_PIXELS // (size or self.stages[-1].size) ** 2)
        if not prompts:
            raise ValueError("there is nothing to draw: give a prompt, or several, and a count of 1 or more")
        with ExitStack() as stack:
            report = _progress(progress, stack)
            for k in range(0, len(prompts), chunk):
                part = prompts[k : k + chunk]
                named: dict[str, Any] = {"prompt": part} if prompt is not None else {"count": len(part)}
                named["image"] = low_res if low_res is None or len(low_res) == 1 else low_res[k : k + chunk]
                step = None
                for step in self.stream(**named, size=size, first=first + k, **options):
                    report(step)
                assert step is not None
                yield from to_pil(step.z)


def _overridden(stages: list[tuple[int, Stage]], overrides: Mapping[str, Any]) -> list[tuple[int, Stage]]:
    """The stages with other fields: a list gives each its own, one value is the first's."""
    for name, value in overrides.items():
        each = isinstance(value, list) or (isinstance(value, tuple) and name != "interval")  # which is one value
        values = list(value) if each else [value]
        if len(values) > len(stages):
            raise ValueError(f"{name} has {len(values)} values for {len(stages)} stage{'s' * (len(stages) > 1)}")
        if name not in Stage.__dataclass_fields__:
            raise ValueError(f"{name} is no option of a stage; {', '.join(Stage.__dataclass_fields__)} are")
        if name == "aug" and not each:  # the first that can follow it: what draws from noise has no picture to add to
            first = next((k for k, (_, s) in enumerate(stages) if s.enlarges), 0)
            values = [s.aug for _, s in stages[:first]] + values
        if name == "aug" and any(v and not s.enlarges for v, (_, s) in zip(values, stages)):
            raise ValueError("aug is noise on a smaller picture, and the first stage has none: its aug is 0")
        stages = [(i, replace(s, **{name: values[k]}) if k < len(values) else s) for k, (i, s) in enumerate(stages)]
    return stages


def _progress(progress: bool | Callable[[Step], Any], stack: ExitStack) -> Callable[[Step], Any]:
    if callable(progress):
        return progress
    if not progress:
        return lambda step: None
    from tqdm.auto import tqdm

    bar = stack.enter_context(tqdm(unit="step"))

    def report(step: Step) -> None:
        bar.set_description(f"{step.z.shape[-1]} px")
        bar.update()

    return report
