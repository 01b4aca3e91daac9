"""Figures to play with: sliders that redraw one, a film of a sampler's steps, a bar for long work.

    explore(draw, t=(0, 1, 0.05, 0.5))      draw(t=…) → Figure, again whenever the slider moves

A widget lives while its kernel does. So each also carries the figure of its first values, which GitHub, a printed page
and a notebook that was not run show in its place.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

import ipywidgets as w

from minimagen.sampler import Step

from .frame import Figure
from .pictures import strip

T = TypeVar("T")


class Explorer(w.VBox):
    """Controls, and the figure that they draw. `controls[name].value = …` redraws; `figure` is the last one drawn."""

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, w.Widget], top: Sequence[w.Widget] = ()):
        self.draw, self.controls = draw, controls
        self.image = w.Image(format="png", layout=w.Layout(max_width="100%", align_self="flex-start"))
        self.message = w.HTML()
        # the figure's caption for those who hear the page: a widget's image has no text
        self.told = w.HTML(layout=w.Layout(height="0", margin="0"))
        self._drawn: dict[tuple, tuple[Figure, bytes]] = {}  # what was drawn once comes back at once
        self.figure = Figure()
        for control in controls.values():
            control.observe(self._moved, names="value")
        self._moved()
        row = w.HBox([*top, *controls.values()], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([row, self.image, self.told, self.message])

    def _moved(self, _change: Any = None) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        key = tuple(values.values())
        try:
            if key not in self._drawn:
                figure = self.draw(**values)
                self._drawn[key] = figure, figure.png()
            self.figure, self.image.value = self._drawn[key]
            self.message.value = ""
            self.told.value = f'<span role="img" aria-label="{html.escape(self.figure.caption)}"></span>'
        except Exception as error:  # a widget's errors appear nowhere else
            self.message.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    def __repr__(self) -> str:
        names = ", ".join(self.controls)
        return f"Figure to play with ({names}): {self.figure.caption}"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        data = super()._repr_mimebundle_(**options)
        still, about = self.figure._repr_mimebundle_()
        return {**(data or {}), "image/png": still["image/png"], "text/plain": repr(self)}, about


def explore(draw: Callable[..., Figure], **controls: Any) -> Explorer:
    """draw(**values) → Figure, drawn anew whenever a control moves.

    (low, high, step, value) is a slider; a list of names is a choice, beginning with the first; True or False a box to
    tick; a string a line to write in; any ipywidget stands for itself.
    """
    return Explorer(draw, {name: _control(name, control) for name, control in controls.items()})


def _control(name: str, control: Any) -> w.Widget:
    label = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if isinstance(control, w.Widget):
        return control
    if isinstance(control, bool):
        return w.Checkbox(control, **label)
    if isinstance(control, str):
        return w.Text(control, **label, continuous_update=False, layout=w.Layout(width="30em"))
    if isinstance(control, list):
        return w.Dropdown(options=control, value=control[0], **label)
    if isinstance(control, tuple) and len(control) == 4:
        low, high, step, value = control
        kind = w.IntSlider if all(isinstance(v, int) for v in control) else w.FloatSlider
        return kind(value, min=low, max=high, step=step, **label, layout=w.Layout(width="26em"))
    raise ValueError(
        f"{name}={control!r} is no control: give (low, high, step, value), a list of choices, a string or a bool"
    )


def film(taken: Sequence[Step], *, picture: int = 0, caption: str = "") -> Explorer:
    """The steps of a sampler as a film, with a button to play and a slider to wind: z at the left, x̂ at the right."""
    taken = list(taken)
    if not (count := len(taken)):
        raise ValueError("there are no steps to show")

    def frame(step: int) -> Figure:
        s = taken[step - 1]
        titles = [f"z at t = {s.t:.2f}", f"x̂, step {s.index + 1}"]
        return strip({"": [s.z[picture], s.x[picture]]}, titles, caption=caption, width=6.0)

    slider = w.IntSlider((count + 1) // 2, min=1, max=count, description="step")
    play = w.Play(value=(count + 1) // 2, min=1, max=count, interval=150, show_repeat=False)
    w.link((play, "value"), (slider, "value"))
    return Explorer(frame, {"step": slider}, top=[play])


class Bar(w.HBox):
    """A bar for long work; in a stored notebook its name alone is left."""

    def __init__(self, says: str, total: int | None):
        self.says, self.place = says, w.IntProgress(0, 0, total or 1)
        self.note = w.Label(f"{says} …")
        super().__init__([self.place, self.note])

    def __repr__(self) -> str:
        return self.says


def progress(work: Iterable[T], says: str, total: int | None = None) -> Iterator[T]:
    """A bar for long work: `for step in show.progress(train(...), "training", 400)`. total None = len(work), if any."""
    from IPython.display import display

    total = total if total is not None else len(work) if isinstance(work, Sized) else None
    bar, start = Bar(says, total), time.monotonic()
    display(bar)
    done = 0
    for item in work:
        yield item
        done += 1
        seconds = time.monotonic() - start
        left = f", about {seconds / done * (total - done):.0f} s left" if total else ""
        bar.place.value, bar.note.value = done, f"{says}: {done}{f' of {total}' if total else ''}{left}"
    bar.place.value, bar.note.value = bar.place.max, f"{says}: done in {time.monotonic() - start:.0f} s"
