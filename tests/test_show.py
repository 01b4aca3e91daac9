"""Figures and widgets: legible, whole, the same each time, and answering when they are played with."""

import base64
import io

import ipywidgets as w
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import minimagen as mi
from minimagen import show
from minimagen.sampler import Step

LONG = "What a reader should see here, said in one or two sentences that do not end before the line does, so it wraps."


def pictures(count: int, size: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def taken(count: int = 5) -> list[Step]:
    x = pictures(2 * count).view(count, 2, 3, 8, 8)
    return [Step(x[i], x[i] / 2, 1 - (i + 1) / count, i) for i in range(count)]


FIGURES = {
    "images": lambda: show.images(pictures(8), [f"t = {i / 7:.2f}" for i in range(8)], caption=LONG),
    "grid": lambda: show.images(pictures(21), [f"number {i}" for i in range(21)], caption=LONG),
    "one": lambda: show.images(pictures(1, 64), ["two lines\nof title"], width=4, caption=LONG),
    "large": lambda: show.images([pictures(1, 64)[0], pictures(1, 300)[0]], ["64 px", "300 px"], width=6),
    "strip": lambda: show.strip({"z": pictures(6), "x̂": pictures(6)}, [f"t = {i}" for i in range(6)], caption=LONG),
    "steps": lambda: show.steps(taken(), caption=LONG),
    "curves": lambda: show.curves({"one": ([0, 1], [1, 2]), "two": ([0, 1], [2, 1])}, "t", "how much", caption=LONG),
    "marked": lambda: show.curves(
        {"one": ([1, 9], [1, 2])}, "t", "much", log="xy", level=("here", 1.5), ylim=(0.5, 4), caption=LONG
    ),
    "schedules": lambda: show.schedules(
        {"cosine": mi.CosineSchedule(), "linear": mi.LinearSchedule()}, caption=LONG
    ),
    "noise_level": lambda: show.noise_level(pictures(1, 64), 0.5, mi.CosineSchedule(), caption=LONG),
    "histograms": lambda: show.histograms({f"t = {t}": torch.randn(99) for t in (0.1, 0.5, 0.9, 1.0)}, caption=LONG),
    "bars": lambda: show.bars(
        {f"shape {i}": i for i in range(6)}, "how often", errors={"shape 2": (1, 3)}, level=("even", 2.5), caption=LONG
    ),
}  # fmt: skip


def texts(figure) -> list[Text]:
    """Everything written in a figure that is seen."""
    figure.canvas.draw()
    unseen = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            seen = {tick.label1 for tick in axis._update_ticks()} if ax.axison else set()
            unseen |= {t for t in axis.findobj(Text) if t is not axis.label} - seen
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in unseen]


def assert_legible(figure) -> list[Text]:
    """All that is written lies inside the figure, and is large enough to read; gives the texts."""
    width, height = figure.get_size_inches() * figure.dpi
    written = texts(figure)
    for text in written:
        box = text.get_window_extent()
        assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, text.get_text()
        assert text.get_fontsize() >= 10, text.get_text()
    return written


@pytest.mark.parametrize("name", FIGURES)
def test_everything_written_is_inside_the_figure_and_large_enough(name):
    figure = FIGURES[name]()
    written = assert_legible(figure)
    titles = [t.get_window_extent() for t in written if t.axes is not None and t is t.axes.title]
    for i, a in enumerate(titles):
        assert not any(a.overlaps(b) for b in titles[:i]), "two titles overlap"
    if figure.caption:
        caption = figure._supxlabel
        assert " ".join(caption.get_text().split()) == figure.caption
        boxes = [ax.get_tightbbox() for ax in figure.axes]
        assert all(box.y0 >= caption.get_window_extent().y1 - 1 for box in boxes), "the caption has a room of its own"


def test_a_caption_of_wide_letters_stays_inside():
    figure = show.images(pictures(1), width=4, caption="WWW mmm " * 20)
    assert_legible(figure)
    assert figure._supxlabel.get_text().count("\n") >= 5


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_small_png_the_same_each_time_with_words_beside_it(name):
    torch.manual_seed(0)
    data, about = FIGURES[name]()._repr_mimebundle_()
    torch.manual_seed(0)
    assert FIGURES[name]()._repr_mimebundle_()[0] == data
    png = base64.b64decode(data["image/png"])
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG" and len(png) < 500_000
    assert image.width <= 1000
    assert data["text/plain"] == about["image/png"]["alt"]
    assert data["text/plain"].startswith("Figure")


def test_axes_are_named():
    for name in ("curves", "marked", "schedules", "histograms", "bars"):
        for ax in FIGURES[name]().axes:
            assert ax.get_xlabel() or name == "bars"
            assert ax.get_ylabel() or name == "histograms"


def inks(figure) -> list[np.ndarray]:
    return [image.get_array() for ax in figure.axes for image in ax.get_images()]


def test_pictures_are_shown_as_they_are():
    x = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0, 1.0, 5.0, float("nan"))])
    shown = [float(a.mean()) for a in inks(show.images(x))]
    assert shown == [0.0, 0.5, 1.0, 1.0, 0.5]
    pil = Image.new("L", (4, 4), 255)
    assert float(inks(show.images([pil]))[0].mean()) == 1.0


def test_a_grid_fills_its_rows_evenly():
    figure = show.images(pictures(9))
    places = [tuple(ax.get_position().bounds[:2]) for ax in figure.axes]
    assert len(places) == 9 and [len({p[i] for p in places}) for i in (0, 1)] == [5, 2], "two rows, of five and four"
    assert len({p[0] for p in (ax.get_position().bounds for ax in show.images(pictures(4), columns=1).axes)}) == 1


@pytest.mark.skipif(matplotlib.__version_info__ < (3, 11), reason="matplotlib 3.10 draws some squares a pixel wider")
@pytest.mark.parametrize("count", [1, 3, 7])
def test_every_pixel_of_a_small_picture_is_a_square_of_the_figures(count):
    x = (pictures(count, 64).add(1).mul(127.5).round() / 127.5).sub(1)
    figure = show.images(x)
    shown = np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB"))
    for k, ax in enumerate(figure.axes):
        box = ax.get_window_extent()
        x0, y0, side = round(box.x0), shown.shape[0] - round(box.y1), round(box.width)
        patch = shown[y0 : y0 + side, x0 : x0 + side]
        assert side % 64 == 0 and side >= 128
        scale = side // 64
        wanted = ((x[k].permute(1, 2, 0).numpy() + 1) * 127.5).round()
        for i in range(scale):
            assert np.abs(patch[i::scale, i::scale].astype(float) - wanted).max() <= 2  # see STEPS_OF_THREE


def test_large_pictures_are_averaged():
    noise = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)) / 4
    figure = show.images(noise, width=2.8)
    (ink,) = inks(figure)
    averaged = ink.shape[0]
    assert averaged < 280
    assert float(ink.std()) == pytest.approx(0.125 * averaged / 512, rel=0.25)


def test_steps_show_z_above_x():
    steps = taken(9)
    shown = inks(show.steps(steps, columns=3, picture=1))
    scale = shown[0].shape[0] // 8
    first, last, clean = ((x[1].permute(1, 2, 0).numpy() + 1) / 2 for x in (steps[0].z, steps[-1].z, steps[-1].x))
    assert len(shown) == 6
    assert np.allclose(shown[0][::scale, ::scale], first) and np.allclose(shown[2][::scale, ::scale], last)
    assert np.allclose(shown[5][::scale, ::scale], clean)


def test_histograms_count_what_lies_outside():
    ax = show.histograms({"far": torch.full((100,), 9.0)}, range=(-2, 2)).axes[0]
    heights = [p.get_height() for p in ax.patches if p.get_width() < 0.1]
    assert heights[-1] > 0 and sum(heights[:-1]) == 0


def test_a_bars_interval_is_where_it_was_measured():
    (line,) = show.bars({"a": 0.5}, "right", errors={"a": (0.4, 0.7)}).axes[0].lines
    assert list(line.get_ydata()) == [0.4, 0.7]


def test_bars_of_counts_have_no_half_ticks():
    for numbers, whole in (({"a": 14, "b": 2}, True), ({"a": 14.0, "b": 2.0}, False)):
        ticks = show.bars(numbers, "times").axes[0].get_yticks()
        assert all(tick == int(tick) for tick in ticks) == whole


def test_what_is_clipped_to_one_is_drawn_inside_the_band():
    for limits in ((-2, 2), (-3, 3)):
        bars = show.histograms({"a": torch.tensor([-1.0, 1.0])}, range=limits).axes[0].patches
        full = [bar for bar in bars if bar.get_height() > 0 and bar.get_alpha() is None and bar.get_width() < 1]
        assert {round(bar.get_x() + bar.get_width() / 2) for bar in full} == {-1, 1}
        assert all(-1.001 < bar.get_x() and bar.get_x() + bar.get_width() < 1.001 for bar in full)


def test_nothing_to_show_is_said():
    for nothing in (show.images, show.film):
        with pytest.raises(ValueError, match="there are no (pictures|steps) to show"):
            nothing([])


def test_a_noise_level_is_marked_on_its_schedule():
    schedule = mi.LinearSchedule()
    alpha, sigma = schedule(0.3)
    figure = show.noise_level(pictures(1), 0.3, schedule)
    assert figure.caption == f"α = {alpha:.3f}, σ = {sigma:.3f}"
    _, middle, right = figure.axes
    dots = [line for line in middle.get_lines() if line.get_marker() == "o"][0]
    assert list(dots.get_xdata()) == [0.3, 0.3]
    assert list(dots.get_ydata()) == pytest.approx([float(alpha), float(sigma)])
    (dot,) = [line for line in right.get_lines() if line.get_marker() == "o"]
    assert list(dot.get_ydata()) == pytest.approx([float(schedule.logsnr(0.3))])
    assert show.noise_level(pictures(1), 0.0, schedule).caption == "α = 1.000, σ = 0.000"


def test_lines_differ_in_colour_and_dashes():
    figure = show.curves({str(i): ([0, 1], [i, i]) for i in range(6)}, "x", "y")
    lines = figure.axes[0].get_lines()
    assert len({line.get_color() for line in lines}) == 6
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 6


def test_the_notebooks_own_style_is_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    FIGURES["curves"]()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: show.images(pictures(2), ["one"]), "1 titles for 2 pictures"),
        (lambda: show.images(torch.zeros(2, 5, 4, 4)), r"a picture has the shape \(3, H, W\)"),
        (lambda: show.explore(lambda t: None, t=(0, 1)), r"t=\(0, 1\) is no control"),
    ],
)
def test_faults_are_one_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# Widgets


def draw(t=0.5, name="a", on=True):
    return show.images(torch.full((1, 3, 4, 4), float(t)), caption=f"t = {t:.2f}, {name}, {on}")


def test_moving_a_slider_draws_anew():
    drawn = []

    def counted(t):
        drawn.append(t)
        return draw(t)

    explorer = show.explore(counted, t=(0.0, 1.0, 0.1, 0.5))
    first = explorer.image.value
    assert 'aria-label="t = 0.50, a, True"' in explorer.told.value
    explorer.controls["t"].value = 0.9
    assert explorer.figure.caption == "t = 0.90, a, True" and 'aria-label="t = 0.90, a, True"' in explorer.told.value
    assert explorer.image.value != first and bytes(explorer.image.value).startswith(b"\x89PNG")
    explorer.controls["t"].value = 0.5
    assert explorer.image.value == first
    assert drawn == [0.5, 0.9], "what was drawn once comes back at once"


def test_controls_are_what_one_expects():
    explorer = show.explore(draw, t=(0, 10, 1, 3), name=["b", "c"], on=False)
    kinds = [type(control) for control in explorer.controls.values()]
    assert kinds == [w.IntSlider, w.Dropdown, w.Checkbox]
    assert explorer.figure.caption == "t = 3.00, b, False"
    explorer.controls["name"].value = "c"
    assert explorer.figure.caption == "t = 3.00, c, False"
    assert isinstance(show.explore(draw, name="words").controls["name"], w.Text)
    own = w.FloatLogSlider(1.0)
    assert show.explore(draw, t=own).controls["t"] is own


def test_a_widget_leaves_a_still_figure_and_steady_words():
    bundles = [show.explore(draw, t=(0.0, 1.0, 0.1, 0.5))._repr_mimebundle_() for _ in range(2)]
    for data, about in bundles:
        assert about == draw()._repr_mimebundle_()[1], "and what it shows, for those who hear the page"
        assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
        assert data["text/plain"] == "Figure to play with (t): t = 0.50, a, True"
    assert bundles[0][0]["image/png"] == bundles[1][0]["image/png"] == draw()._repr_mimebundle_()[0]["image/png"]


def test_errors_in_a_widget_are_seen_and_pass():
    def fragile(t):
        if t > 0.7:
            raise ValueError("t < 0.7 & no more")
        return draw(t)

    explorer = show.explore(fragile, t=(0.0, 1.0, 0.1, 0.5))
    explorer.controls["t"].value = 0.9
    assert explorer.message.value == "<b>ValueError: t &lt; 0.7 &amp; no more</b>"
    explorer.controls["t"].value = 0.1
    assert explorer.message.value == ""


def test_a_film_winds_and_plays():
    film = show.film(iter(taken(5)), caption="a film")
    assert film.controls["step"].value == 3 and film.figure.axes[0].get_title() == "z at t = 0.40"
    film.controls["step"].value = 1
    assert film.figure.axes[0].get_title() == "z at t = 0.80"
    play = film.children[0].children[0]
    play.value = 4
    assert film.controls["step"].value == 4 and film.figure.axes[1].get_title() == "x̂, step 4"


def test_progress_counts_and_stays_quiet(capsys):
    seen = []
    assert list(show.progress([1, 2, 3], "adding")) == [1, 2, 3]
    for item in show.progress(iter("abc"), "reading", 3):
        seen.append(item)
    assert seen == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
    bar = show.widgets.Bar("training", 10)
    assert repr(bar) == "training" and bar.place.max == 10
