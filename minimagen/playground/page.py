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
from minimagen.denoiser import Dynamic, Static

from . import WEIGHTS, painting
from .controls import Controls, classed, note
from .film import Film
from .painting import Frame
from .wishes import EXAMPLES, Wish, doubts, plainly

DIALS = ("guidance", "threshold", "p", "steps", "aug")  # those that a stage has a value of its own for


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
        self.picture: Image.Image | None = None
        self.shown: Wish | None = None  # what the picture is of
        self.own: dict[str, Any] = {}  # what the dials show of the stages
        self.busy = False  # loading or drawing; the judge may take its time after that
        self._ends, self._job = Event(), object()
        c = self.controls = Controls()
        self.film = Film(c)
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
            control.observe(lambda _: self._look(self.film.wound), "value")
        c.words.observe(lambda _: self._look(self.film.light), "value")
        for control in (c.brushing, c.width):
            control.observe(lambda _: self.take_brush(), "value")
        c.threshold.observe(lambda _: self.thresholds(), "value")
        c.easel.observe(lambda change: self._look(lambda: self.film.pick(change["new"]["stage"])), "picked")
        super().__init__(c.arranged())
        classed(self, "play")
        self._apart(self.load)

    # Work, aside or here

    def _apart(self, work: Callable[[], None]) -> None:
        """Do this aside, and say on the page what goes wrong, unless other work has begun since."""
        self.busy, self._job = True, (job := object())

        def run() -> None:
            said = None
            try:
                work()
            except Stopped:
                said = ("Stopped.", "note")
            except Exception as fault:  # of a widget's callbacks nothing else is seen
                said = (plainly(fault), "fault")
            if self._job is job:
                self._rest()
                if said:
                    self.say(*said)

        if self.aside:
            Thread(target=run, daemon=True).start()
        else:
            run()

    def say(self, text: str, kind: str = "note") -> None:
        self.controls.message.value = note(text, kind)
        self.controls.fault.value = note(text, kind) if kind == "fault" and self.picture is not None else ""

    def stop(self) -> None:
        """End what is being drawn, after the step at hand."""
        self._ends.set()

    def _rest(self) -> None:
        """The controls as they are while nothing is drawn."""
        c, self.busy = self.controls, False
        c.draw.description, c.draw.disabled = "Draw", self.imagen is None
        self.film.end()
        c.brushing.disabled = c.repaint.disabled = self.picture is None

    def _look(self, look: Callable[[], None]) -> None:
        """Look at what is drawn; while something is being drawn, there is nothing to wind."""
        if not self.busy:
            try:
                look()
            except Exception as fault:
                self.say(plainly(fault), "fault")

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
        self.film.stages = self.imagen.stages
        self.film.cards()
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
        self.own = {name: getattr(c, name).value for name in DIALS}
        self.thresholds()

    def thresholds(self) -> None:
        """The percentile is there when dynamic thresholding is."""
        self.controls.p_dial.layout.display = None if self.controls.threshold.value == "dynamic" else "none"

    # Drawing

    def wish(self, prompt: str | None = None) -> Wish:
        """What the page asks for. Of a dial that nobody has moved, that is what each stage has itself."""
        c = self.controls
        now = {name: getattr(c, name).value for name in DIALS}
        moved = {name for name, value in now.items() if value != self.own.get(name)}
        if moved & {"threshold", "p"}:  # one makes no threshold without the other
            moved |= {"threshold", "p"}
        dials = {name: now[name] for name in moved}
        return Wish(c.prompt.value if prompt is None else prompt, seed=c.seed.value, size=c.size.value, **dials)

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

        def show(frame: Frame) -> None:
            if ends.is_set():
                raise Stopped
            if frame.stage == frame.index == 0:
                self.film.begin()
                self.picture = None
            self.film.add(frame, of)

        c.brushing.value = False
        picture = painting.paint(self.imagen, wish, show, **onto)
        self.picture, self.shown = picture, wish
        self.wipe()
        c.easel.final = painting.png(picture, wish)
        words = "".join(x if x.isalnum() else " " for x in wish.prompt).split()
        c.easel.filename = ("-".join(words)[:60] or "picture") + ".png"
        c.change.value = wish.sentence()
        self.film.read(self.imagen, wish.sentence())
        self.say(" ".join(warned) or "Done. Wind the film back, choose a word, or repaint a part.")
        self._rest()
        self._judge(picture)

    def _judge(self, picture: Image.Image) -> None:
        """What the judge, which has not read the sentence, sees in the picture."""
        if self.judge is None:
            return
        sees = self.judge(picture)[0]
        if self.picture is picture:  # and not another by now
            self.controls.judged.value = note(f"The judge, who has not read the sentence, sees: {sees}.")

    # The brush

    def take_brush(self) -> None:
        c = self.controls
        c.easel.brush = c.width.value if c.brushing.value else 0.0
        if c.brushing.value:
            c.words.value = -1  # a veil would hide what is painted
            self.say("Paint over what should change, say what the whole picture shows then, and press Repaint.")

    def wipe(self) -> None:
        """Take the mask away, here and in the browser."""
        self.controls.easel.wiped += 1
        self.controls.easel.mask = b""
