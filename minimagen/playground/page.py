"""The page: what happens when a control is moved. Every callback is a plain method, and can be called as one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import ipywidgets as w
import torch
from PIL import Image

from minimagen import toyland
from minimagen.cascade import Imagen
from minimagen.conditioning import Text
from minimagen.denoiser import Dynamic, Static

from . import painting
from .controls import NOWHERE, Controls, classed, note
from .painting import Frame
from .wishes import EXAMPLES, Wish, doubts, plainly
from .words import Word, gaze, words

WEIGHTS = "MINIMAGEN_WEIGHTS"  # the folder of weights, from the command line to the page; unset = those that ship
STAGES = ("a first idea", "its surfaces", "the details")  # what each stage brings
LOOK_AT = 0.5  # the time at which the larger stages' pictures are asked where the first network looked


class Stopped(Exception):
    """Someone does not want the rest of a drawing."""


class Playground(w.VBox):
    """The playground as a widget. imagen None = the shipped weights, loaded while the page can already be read.

    judge: pictures → readings; None = nobody looks. aside: work in a thread, so that the page answers meanwhile;
    False waits, as tests do.
    """

    def __init__(
        self, imagen: Imagen | None = None, *, judge: Callable[..., Any] | None = toyland.judge, aside: bool = True
    ) -> None:
        self.imagen, self.judge, self.aside = imagen, judge, aside
        self.frames: list[Frame] = []
        self.picture: Image.Image | None = None
        self.shown: Wish | None = None  # what the frames are of
        self.sentence: list[Word] = []
        self.text: Text | None = None
        self._ends = Event()
        self._work: Thread | None = None
        c = self.controls = Controls()
        for button, clicked in (
            (c.draw, self.draw),
            (c.roll, self.roll),
            (c.reset, self.reset),
            (c.wipe, self.wipe),
            (c.repaint, self.repaint),
        ):
            button.on_click(lambda _, clicked=clicked: clicked())
        for button, text in zip(c.examples, EXAMPLES):
            button.on_click(lambda _, text=text: self.example(text))
        for box, submitted in ((c.prompt, self.draw), (c.change, self.repaint)):
            box.on_msg(lambda _, said, buffers, go=submitted: go() if said.get("event") == "submit" else None)
        for control in (c.moment, c.way):
            control.observe(lambda _: self.look(), "value")
        c.words.observe(lambda _: self.light(), "value")
        for control in (c.brushing, c.width):
            control.observe(lambda _: self.take_brush(), "value")
        c.threshold.observe(lambda _: self.thresholds(), "value")
        c.easel.observe(lambda change: self.pick(change["new"]["stage"]), "picked")
        super().__init__(c.arranged())
        classed(self, "play")
        self._apart(self.load)

    # Work, aside or here

    def _apart(self, work: Callable[[], None]) -> None:
        """Do this aside, and say on the page what goes wrong."""

        def run() -> None:
            try:
                work()
            except Stopped:
                self.say("Stopped.")
            except Exception as fault:  # of a widget's callbacks nothing else is seen
                self.say(plainly(fault), "fault")
            finally:
                self._rest()

        self._work = Thread(target=run, daemon=True) if self.aside else None
        if self._work is None:
            run()
        else:
            self._work.start()

    def say(self, text: str, kind: str = "note") -> None:
        self.controls.message.value = note(text, kind)
        self.controls.fault.value = note(text, kind) if kind == "fault" and self.picture is not None else ""

    @property
    def busy(self) -> bool:
        return self._work is not None and self._work.is_alive()

    def stop(self) -> None:
        """End what is being drawn, after the step at hand."""
        self._ends.set()

    def _rest(self) -> None:
        """The controls as they are while nothing is drawn."""
        c = self.controls
        c.draw.description, c.draw.disabled = "Draw", self.imagen is None
        c.moment.disabled = not self.frames
        c.moment.max = max(len(self.frames), 1)
        c.brushing.disabled = c.repaint.disabled = self.picture is None

    # Loading

    def load(self) -> None:
        """The weights, and the dials as the stages have them."""
        if self.imagen is None:
            self.imagen = Imagen.from_pretrained(os.environ.get(WEIGHTS) or None)
            if torch.cuda.is_available():
                self.imagen.to("cuda")
        c, sizes = self.controls, [stage.size for stage in self.imagen.stages]
        c.size.options = [(f"{size} px", size) for size in sizes]
        c.size.value = sizes[-1]
        self.reset()
        self._cards([])
        self.say("Ready. Write a sentence, or choose one of the examples.")

    def reset(self) -> None:
        """Every dial as the stages have it."""
        if self.imagen is None:
            return
        c, first = self.controls, self.imagen.stages[0]
        c.guidance.value, c.steps.value = first.guidance, min(first.steps, c.steps.max)
        c.threshold.value = {Dynamic: "dynamic", Static: "static"}.get(type(first.threshold), "none")
        c.p.value = getattr(first.threshold, "p", 0.995)
        c.aug.value = next((s.aug for s in self.imagen.stages if s.enlarges), 0.0)
        self.thresholds()

    def thresholds(self) -> None:
        """The percentile is there when dynamic thresholding is."""
        self.controls.p_dial.layout.display = None if self.controls.threshold.value == "dynamic" else "none"

    # Drawing

    def wish(self, prompt: str | None = None) -> Wish:
        """What the page asks for."""
        c = self.controls
        dials = {
            name: getattr(c, name).value for name in ("seed", "size", "guidance", "threshold", "p", "steps", "aug")
        }
        return Wish(c.prompt.value if prompt is None else prompt, **dials)

    def example(self, text: str) -> None:
        if self.busy:
            self.say("One moment: something is still loading or being drawn.")
            return
        self.controls.prompt.value = text
        self.draw()

    def roll(self) -> None:
        """Another seed, and its picture."""
        if not self.busy:
            self.controls.seed.value = random.SystemRandom().randrange(10_000)
            self.draw()

    def draw(self) -> None:
        """Draw the sentence; while something is drawn, the same button stops it."""
        if self.busy:
            self.stop()
        elif self.imagen is not None:
            self._begin(self.wish())

    def repaint(self) -> None:
        """Draw anew what the brush has marked."""
        c = self.controls
        if self.busy or self.imagen is None or self.picture is None or self.shown is None:
            return
        wish = self.wish(c.change.value or self.shown.prompt)
        self._begin(wish, over=self.picture, mask=painting.read_mask(c.easel.mask))

    def _begin(self, wish: Wish, **onto: Image.Image | None) -> None:
        self._ends = Event()
        self.controls.draw.description = "Stop"
        self._apart(lambda: self._paint(wish, onto))

    def _paint(self, wish: Wish, onto: dict[str, Any]) -> None:
        assert self.imagen is not None
        c, ends = self.controls, self._ends
        warned = doubts(self.imagen, wish.sentence())
        self.say(" ".join(warned) or "Drawing …")
        of = painting.lengths(self.imagen, wish)
        frames: list[Frame] = []

        def show(frame: Frame) -> None:
            if ends.is_set():
                raise Stopped
            if not frames:
                self._clear(of)
            frames.append(frame)
            self.frames = frames
            self._present(frame)
            c.moment.value = len(frames)
            if frame.index == 0 or frame.index + 1 == frame.of or frame.index % 8 == 7:
                self._cards(of)

        c.brushing.value = False
        picture = painting.paint(self.imagen, wish, show, **onto)
        self.picture, self.shown = picture, wish
        self.wipe()
        c.easel.final = painting.png(picture, wish)
        c.easel.filename = "-".join("".join(x if x.isalnum() else " " for x in wish.prompt).split())[:60] + ".png"
        c.change.value = wish.sentence()
        self._read(wish)
        self.say(" ".join(warned))
        self._judge(wish, picture)

    def _clear(self, of: list[int]) -> None:
        """Make room for a new picture, now that its first step is here."""
        c = self.controls
        c.easel.final, c.easel.veil, c.judged.value, c.words_says.value = b"", b"", "", ""
        c.words.options, self.sentence, self.picture = [NOWHERE], [], None
        c.moment.disabled, c.moment.min, c.moment.max = True, 1, sum(of)

    def _read(self, wish: Wish) -> None:
        """The words to choose from."""
        assert self.imagen is not None
        c, encoder = self.controls, self.imagen.text
        if not hasattr(encoder, "tokens") or not getattr(self.imagen.stages[0].denoiser.unet.config, "attends_text", 0):
            return
        self.sentence, self.text = words(encoder, wish.sentence()), self.imagen.encode([wish.sentence()])[0]
        c.words.options = [(NOWHERE, -1), *((word.text, i) for i, word in enumerate(self.sentence))]
        c.words_says.value = "<small>Choose a word. Wind the film back to see it earlier.</small>"

    def _judge(self, wish: Wish, picture: Image.Image) -> None:
        """What the judge, which has not read the sentence, sees in the picture."""
        if self.judge is None:
            return
        self.controls.judged.value = note(f"The judge, who has not read the sentence, sees: {self.judge(picture)[0]}.")

    # Looking

    def _present(self, frame: Frame) -> None:
        """Put one frame on the easel."""
        c = self.controls
        way = "given the noisy picture" if c.way.value == "z" else "the believed picture"
        with c.easel.hold_sync():
            c.easel.sharp, c.easel.chosen = frame.sharp, frame.stage
            c.easel.told = f"{frame.size} pixels wide, step {frame.index + 1} of {frame.of}, {way}"
            c.easel.picture = getattr(frame, c.way.value)
        c.when.value = f"<small>{frame.size} px, step {frame.index + 1} of {frame.of}, t = {frame.t:.2f}</small>"

    def _cards(self, of: list[int]) -> None:
        """The stages below the picture: how far each is, and its own small picture."""
        if self.imagen is None:
            return
        cards = []
        for i, stage in enumerate(self.imagen.stages):
            frame = next((f for f in reversed(self.frames) if f.stage == i), None)
            about = STAGES[min(i, 2)] if i < len(of) or not of else "left out"
            share, small = (frame.done, painting.thumb(frame.x)) if frame else (0.0, b"")
            cards.append({"name": f"{stage.size} px", "about": about, "share": share, "thumb": small})
        self.controls.easel.stages = cards

    def frame(self) -> Frame | None:
        """The frame that the film stands at."""
        at = self.controls.moment.value - 1
        return self.frames[min(max(at, 0), len(self.frames) - 1)] if self.frames else None

    def look(self) -> None:
        """The film was wound."""
        if (frame := self.frame()) is not None and not self.busy:
            self._present(frame)
            self.light()

    def pick(self, stage: int) -> None:
        """A stage was clicked: wind the film to its end."""
        last = max((i for i, f in enumerate(self.frames, 1) if f.stage == stage), default=None)
        if last is not None and not self.busy:
            self.controls.moment.value = last

    def light(self) -> None:
        """Let a light fall where the network looks at the chosen word."""
        c, frame = self.controls, self.frame()
        if self.busy or frame is None or self.imagen is None or self.text is None:
            return
        if c.words.value in (NOWHERE, -1, None):
            c.easel.veil = b""
            return
        if frame.state is None:  # a larger stage: ask the first one, at the middle of its way
            frame = min((f for f in self.frames if f.state is not None), key=lambda f: abs(f.t - LOOK_AT))
        assert frame.state is not None
        word = self.sentence[c.words.value]
        try:
            c.easel.veil = painting.veil(gaze(self.imagen.stages[0], self.text, frame.state, frame.t, word))
            said = f"Bright is where the 64 px network looks at “{word.text}”, at t = {frame.t:.2f}."
            c.words_says.value = f"<small>{note(said.replace('64 px', f'{frame.size} px'))}</small>"
        except Exception as fault:
            self.say(plainly(fault), "fault")

    # The brush

    def take_brush(self) -> None:
        c = self.controls
        c.easel.brush = c.width.value if c.brushing.value else 0.0
        if c.brushing.value:
            c.words.value = c.words.options[0][1] if isinstance(c.words.options[0], tuple) else NOWHERE

    def wipe(self) -> None:
        """Take the mask away, here and in the browser."""
        self.controls.easel.wiped += 1
        self.controls.easel.mask = b""
