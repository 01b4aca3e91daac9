"""What stands on the page: every control with its words, and how they are arranged. `page` gives them life."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as w

from .easel import Easel
from .wishes import EXAMPLES, THRESHOLDS

STYLE = Path(__file__).with_name("page.css")
ABOUT = """\
<h1>minimagen <span>playground</span></h1>
<p>Write a sentence. A language model reads it, and three small networks draw it: the first 64 pixels wide, the others
make it 256 and 1024. It all happens on this computer.</p>"""
WORLD = """\
<details><summary>What can it draw?</summary><p>Toyland: cubes, spheres, cylinders, cones, pyramids and rings, large and
small, in ten colours; matte, shiny, metal or glass; striped, checkered, dotted or marbled; up to five of them, beside,
before, behind or on each other; a sign with a word; walls, skies and floors. It has seen nothing else, so for a cat
it has no picture.</p></details>"""
REPAINT = """\
<h2>Repaint a part</h2>
<p>Take the brush, paint over what should change, and say what the whole picture shows then. The rest stays as it is,
at the same size to the pixel (lesson 08).</p>"""
WAYS = (("what it sees: z", "z"), ("what it believes: x̂", "x"))
NOWHERE = "—"  # no word is chosen


def classed(widget: Any, *names: str) -> Any:
    for name in names:
        widget.add_class(f"mm-{name}")
    return widget


def note(text: str = "", kind: str = "note") -> str:
    """A line of plain text for an HTML widget."""
    return f'<p class="mm-{kind}" role="status">{html.escape(text)}</p>' if text else ""


def line(example: str, what: str) -> w.Text:
    """A line to write in; `what` is its name for those who hear the page: see easel.js."""
    return w.Text(placeholder=example, tooltip=what, layout=w.Layout(width="auto"))


def dial(name: str, control: w.Widget, says: str, lesson: str = "") -> w.VBox:
    """A control below its name, and above what it does and the number of the lesson that explains it."""
    control.layout.width = "auto"
    title = w.HTML(f"<b>{name}</b>")
    return classed(w.VBox([title, control, w.HTML(f"<small>{says}{lesson and f' Lesson {lesson}.'}</small>")]), "dial")


class Controls:
    """All widgets of the page by name; `page` is the whole."""

    def __init__(self) -> None:
        self.style = w.HTML(f"<style>{STYLE.read_text(encoding='utf-8')}</style>")
        self.prompt = line("three blue cones against a sunset sky", "the sentence to draw")
        self.draw = classed(w.Button(description="Draw", disabled=True), "go")
        self.examples = [classed(w.Button(description=text, tooltip=why), "chip") for text, why in EXAMPLES.items()]
        self.easel = Easel()
        self.message = w.HTML(note("Loading the networks …"))
        self.fault = w.HTML()  # the same, where repainting is asked for

        self.moment = w.IntSlider(0, min=0, max=0, readout=False, disabled=True, tooltip="wind the film")
        self.moment.layout.width = "auto"
        self.way = w.ToggleButtons(options=WAYS, tooltips=["what a network is given", "what a network makes of it"])
        self.when = w.HTML()
        self.words = w.ToggleButtons(options=[(NOWHERE, -1)], tooltip="the word to look for")
        self.words_says = w.HTML("<small>Draw something first.</small>")
        self.judged = w.HTML()

        self.guidance = w.FloatSlider(4, min=0, max=12, step=0.5, readout_format=".1f", continuous_update=False)
        self.threshold = w.ToggleButtons(options=THRESHOLDS, value="dynamic")
        self.p = w.FloatSlider(0.995, min=0.8, max=1, step=0.005, readout_format=".3f", continuous_update=False)
        self.steps = w.IntSlider(32, min=1, max=128, continuous_update=False)
        self.seed = w.BoundedIntText(0, min=0, max=2**31 - 1)
        self.roll = classed(w.Button(description="another", tooltip="a seed by chance, and draw"), "small")
        self.aug = w.FloatSlider(0, min=0, max=0.6, step=0.02, readout_format=".2f", continuous_update=False)
        self.size = w.ToggleButtons(options=[("64 px", 64)])
        self.reset = classed(
            w.Button(description="As they were", tooltip="all dials as the networks have them"), "small"
        )

        self.brushing = w.ToggleButton(description="Brush", tooltip="paint on the picture", disabled=True)
        self.width = w.FloatSlider(0.16, min=0.04, max=0.5, step=0.02, readout=False, tooltip="the brush's width")
        self.wipe = classed(w.Button(description="Wipe", tooltip="take the mask away"), "small")
        self.change = line("what the whole picture should show", "the sentence to repaint by")
        self.repaint = classed(w.Button(description="Repaint", disabled=True), "go")
        self.p_dial = dial("Percentile", self.p, "Dynamic only: this share of the values lies inside; 1 is all.")

    def arranged(self) -> list[w.Widget]:
        """The page from top to bottom; the style sheet puts its parts side by side where there is room."""
        row, column = w.HBox, w.VBox
        ask = column(
            [
                classed(row([self.prompt, self.draw]), "line", "asking"),
                self.message,
                classed(w.Box(self.examples), "chips"),
                classed(w.HTML(WORLD), "world"),
            ]
        )
        film = classed(column([self.moment, classed(row([self.way, self.when]), "line", "film")]), "winding")
        look = column([w.HTML("<b>Where does it look for a word?</b>"), classed(self.words, "words"), self.words_says])
        view = column([self.easel, film, classed(look, "card"), self.judged])
        dials = column(
            [
                w.HTML("<h2>Dials</h2>"),
                dial(
                    "Guidance w", self.guidance, "How hard the sentence pulls. 1 is off, much burns the colours.", "05"
                ),
                dial(
                    "Threshold",
                    self.threshold,
                    "What becomes of values brighter than white: left, cut, or drawn in.",
                    "06",
                ),
                self.p_dial,
                dial("Steps", self.steps, "How often the first network looks again. More is slower."),
                dial("Seed", classed(row([self.seed, self.roll]), "line"), "The noise to begin from: another picture."),
                dial(
                    "Augmentation level",
                    self.aug,
                    "Noise on the enlarged small picture: more invention.",
                    "07",
                ),
                dial("Size", self.size, "Where to stop."),
                self.reset,
            ]
        )
        repaint = column(
            [
                w.HTML(REPAINT),
                classed(row([self.brushing, self.width, self.wipe]), "line"),
                classed(row([self.change, self.repaint]), "line", "asking"),
                self.fault,
            ]
        )
        body = w.Box(
            [
                classed(ask, "ask", "card"),
                classed(view, "view"),
                classed(dials, "dials", "card"),
                classed(repaint, "repaint", "card"),
            ]
        )
        return [self.style, classed(w.HTML(ABOUT), "about"), classed(body, "body")]
