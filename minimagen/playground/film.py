"""The film of a drawing: its frames on the easel, the stages below it, and a light on where a word is looked at."""

from __future__ import annotations

import html

from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Text

from . import painting
from .controls import NOWHERE, Controls
from .painting import Frame
from .words import Word, gaze, words

STAGES = ("a first idea", "its surfaces", "the details")  # what each stage brings
CHOOSE = "<small>Choose a word. Wind the film back to see it earlier.</small>"
LOOK_AT = 0.4  # the time at which the larger stages' pictures are asked where the first network looked


class Film:
    """The frames of one drawing after another, and what the page shows of them."""

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        self.frames: list[Frame] = []
        self.stages: list[Stage] = []
        self.words: list[Word] = []
        self.text: Text | None = None

    def begin(self) -> None:
        """Make room for a new drawing, now that its first step is here."""
        c = self.controls
        self.frames, self.words, self.text = [], [], None
        c.easel.final, c.easel.veil, c.judged.value, c.words_says.value = b"", b"", "", ""
        c.words.options, c.moment.disabled = [(NOWHERE, -1)], True
        self.cards()

    def add(self, frame: Frame, of: list[int]) -> None:
        """Show the next step; of: how many each stage takes."""
        c = self.controls
        self.frames.append(frame)
        self.present(frame)
        c.moment.min, c.moment.max = 1, sum(of)
        c.moment.value = len(self.frames)
        self.cards(of)

    def end(self) -> None:
        """It can be wound from now on, also if it was stopped half way."""
        self.controls.moment.max = max(len(self.frames), 1)
        self.controls.moment.disabled = not self.frames

    def read(self, imagen: Imagen, sentence: str) -> None:
        """The words to choose from, where the first network attends to words."""
        config = self.stages[0].denoiser.unet.config
        if hasattr(imagen.text, "tokens") and getattr(config, "attends_text", False):
            self.words, self.text = words(imagen.text, sentence), imagen.encode([sentence])[0]
            c = self.controls
            c.words.options = [(NOWHERE, -1), *((word.text, i) for i, word in enumerate(self.words))]
            c.words_says.value = CHOOSE

    # Looking

    def present(self, frame: Frame) -> None:
        """Put one frame on the easel."""
        c = self.controls
        way = "the noisy picture" if c.way.value == "z" else "the picture as it is believed to be"
        with c.easel.hold_sync():
            c.easel.sharp, c.easel.chosen = frame.sharp, frame.stage
            c.easel.told = f"{frame.size} pixels wide, step {frame.index + 1} of {frame.of}: {way}"
            c.easel.picture = getattr(frame, c.way.value)
        c.when.value = f"<small>{frame.size} px, step {frame.index + 1} of {frame.of}, t = {frame.t:.2f}</small>"

    def cards(self, of: list[int] | None = None) -> None:
        """The stages below the picture: how far each is, and its own small picture. of None = nothing is drawn yet."""
        cards = []
        for i, stage in enumerate(self.stages):
            frame = next((f for f in reversed(self.frames) if f.stage == i), None)
            about = STAGES[min(i, 2)] if of is None or i < len(of) else "left out"
            share, small = (frame.done, painting.thumb(frame.x)) if frame else (0.0, b"")
            cards.append({"name": f"{stage.size} px", "about": about, "share": share, "thumb": small})
        self.controls.easel.stages = cards

    def frame(self) -> Frame | None:
        """The frame that the film stands at."""
        at = self.controls.moment.value - 1
        return self.frames[min(max(at, 0), len(self.frames) - 1)] if self.frames else None

    def wound(self) -> None:
        """Show where the film was wound to."""
        if (frame := self.frame()) is not None:
            self.present(frame)
            self.light()

    def pick(self, stage: int) -> None:
        """Wind to the end of a stage."""
        last = max((i for i, f in enumerate(self.frames, 1) if f.stage == stage), default=None)
        if last is not None:
            self.controls.moment.value = last

    def light(self) -> None:
        """Let a light fall where the first network looks at the chosen word."""
        c, frame = self.controls, self.frame()
        if frame is None or self.text is None or c.words.value == -1:
            c.easel.veil = b""
            if self.words:
                c.words_says.value = CHOOSE
            return
        if frame.state is None:  # a larger stage: ask the first one, at the middle of its way
            frame = min((f for f in self.frames if f.state is not None), key=lambda f: abs(f.t - LOOK_AT))
        assert frame.state is not None
        word = self.words[c.words.value]
        c.easel.veil = painting.veil(gaze(self.stages[0], self.text, frame.state, frame.t, word))
        said = f"Bright is where the {frame.size} px network looks at “{html.escape(word.text)}”, at t = {frame.t:.2f}."
        c.words_says.value = f"<small>{said}</small>"
