"""What is asked of the cascade: a sentence and a few dials, checked at the door and said in plain words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from minimagen.cascade import Imagen
from minimagen.denoiser import Dynamic, Static
from minimagen.toyland.parsing import parse

THRESHOLDS = ("none", "static", "dynamic")
# Sentences to click, and what each is there to show.
EXAMPLES = {
    "a large red sphere": "one thing, to begin with",
    "a shiny red cube left of a small blue sphere": "two things: which colour belongs to which, and who stands where",
    "three small green cubes": "a number",
    "an orange sphere on top of a blue cube": "one thing on another",
    "a striped purple cylinder": "a pattern: the larger stages must read it",
    'a sign that says "HELLO"': "a word, letter by letter",
    "a yellow cone at sunset": "another time of day",
    "a crimson ball": "two words that no picture was ever captioned with: only the text encoder knows them",
}


@dataclass(frozen=True)
class Wish:
    """One picture that is wished for. None = as the stage itself has it."""

    prompt: str
    seed: int = 0
    size: int | None = None  # stop at this many pixels; None = the largest
    guidance: float | None = None  # w of the first stage; 1 = off
    threshold: str | None = None  # of the first stage, one of THRESHOLDS
    p: float = 0.995  # the quantile of dynamic thresholding
    steps: int | None = None  # of the first stage
    aug: float | None = None  # noise on the smaller picture, in every stage that enlarges one; 0 = off

    def __post_init__(self):
        if self.threshold is not None and self.threshold not in THRESHOLDS:
            raise ValueError(f"a threshold is one of {', '.join(THRESHOLDS)}, not {self.threshold!r}")
        if self.aug is not None and not 0 <= self.aug <= 1:
            raise ValueError(f"an augmentation level lies between 0 and 1, and {self.aug} does not")

    def sentence(self) -> str:
        """The prompt without stray spaces; an empty one is refused."""
        if not (said := " ".join(self.prompt.split())):
            raise ValueError("There is nothing to draw yet: write a sentence, or choose one of the examples.")
        return said

    def options(self, imagen: Imagen) -> dict[str, Any]:
        """The same for `Imagen.draw`: one value is the first stage's, a list has one each."""
        options: dict[str, Any] = {"seed": self.seed, "size": self.size}
        options |= {name: v for name in ("guidance", "steps") if (v := getattr(self, name)) is not None}
        if self.threshold is not None:
            own = imagen.stages[0].threshold
            dynamic = replace(own if isinstance(own, Dynamic) else Dynamic(), p=self.p)  # its cap stays
            options["threshold"] = {"none": None, "static": Static(), "dynamic": dynamic}[self.threshold]
        if self.aug is not None:
            stages = [s for s in imagen.stages if self.size is None or s.size <= self.size]
            options["aug"] = [self.aug if s.enlarges else s.aug for s in stages]
        return options


def doubts(imagen: Imagen, sentence: str) -> list[str]:
    """What the networks will not understand of a sentence. They know no world but Toyland."""
    found = []
    if any("world" in stage.about for stage in imagen.stages):
        try:
            parse(sentence, synonyms=True)
        except ValueError as fault:
            said = str(fault).rstrip(".")
            found.append(f"{said}. The networks know only Toyland, so the picture may not follow the sentence.")
    if imagen.text is not None and hasattr(imagen.text, "tokens"):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            imagen.text.tokens(sentence)
        found += [f"{str(w.message).capitalize()}." for w in heard if "cut off" in str(w.message)]
    untrained = [s.size for s in imagen.stages if getattr(s.denoiser.unet, "untrained", False)]
    if untrained:
        names = ", ".join(f"{size} px" for size in untrained)
        found.append(f"Not yet trained: {names}. Expect noise, or no more than an enlarged picture.")
    return found


def plainly(fault: BaseException) -> str:
    """What went wrong, as one sentence for someone who has never seen a traceback."""
    said = " ".join(str(fault).split())
    if isinstance(fault, MemoryError) or "out of memory" in said or "can't allocate memory" in said:
        return "This computer has not enough free memory for that: choose a smaller size, or close other programs."
    if isinstance(fault, (ValueError, FileNotFoundError)) and said:
        return said[0].upper() + said[1:] + ("" if said[-1] in ".!?" else ".")
    return f"Something went wrong that should not have ({type(fault).__name__}: {said or 'no more is known'})."
