"""The playground: its callbacks as plain functions, what it says of bad input, and what a browser is given."""

import io
import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import Small
from PIL import Image
from test_cascade import cascade, encode

from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Cond, Text
from minimagen.denoiser import Denoiser, Dynamic, Static
from minimagen.playground import Playground, __main__, painting
from minimagen.playground.controls import NOWHERE
from minimagen.playground.wishes import EXAMPLES, THRESHOLDS, Wish, doubts, plainly
from minimagen.playground.words import Word, gaze, words
from minimagen.schedule import CosineSchedule
from minimagen.show import tracing
from minimagen.toyland.parsing import parse
from minimagen.unet import UNetConfig

READER = UNetConfig(size=16, channels=(16, 32), layers=(1, 1), attention=("text", "text"), head_dim=8, text_dim=32)


class Letters:
    """A text encoder that has a row for each word, and one for the end; words are rows of their own numbers."""

    tokenizer = type("Tokenizer", (), {"eos_token": "</s>"})

    def tokens(self, sentence):
        return [f"▁{word}" for word in sentence.split()] + ["</s>"]

    def __call__(self, sentences):
        rows = torch.zeros(len(sentences), 8, 32)
        for row, sentence in zip(rows, sentences):
            for i, token in enumerate(self.tokens(sentence)):
                row[i] = torch.randn(32, generator=torch.Generator().manual_seed(sum(map(ord, token))))
        return Text(rows)


def reading() -> Imagen:
    """Two stages, of which the first attends to words."""
    base = Stage(Denoiser(tracing.random(READER), CosineSchedule(), "v"), 16, steps=4, guidance=1.0)
    large = Stage(Denoiser(Small(1, 32, enlarges=True), CosineSchedule(), "v"), 32, steps=3, aug=0.1)
    return Imagen([base, large], Letters())


def page(imagen: Imagen | None = None, **options) -> Playground:
    return Playground(imagen or reading(), aside=False, judge=None, **options)


def opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded))


# Wishes


def test_a_wish_becomes_the_cascades_own_options():
    wish = Wish("a cube", seed=3, size=32, guidance=5.0, threshold="dynamic", p=0.9, steps=7, aug=0.3)
    assert wish.options(cascade()) == {
        "seed": 3, "size": 32, "guidance": 5.0, "steps": 7, "threshold": Dynamic(0.9), "aug": [0.0, 0.3]
    }  # fmt: skip
    assert Wish("a cube", threshold="static").options(cascade())["threshold"] == Static()
    assert Wish("a cube", threshold="none").options(cascade())["threshold"] is None
    assert Wish("a cube", size=16, aug=0.3).options(cascade())["aug"] == [0.0], "no value for a stage left out"


def test_a_wish_with_nothing_said_is_what_the_cascade_draws_by_itself():
    drawn = painting.paint(cascade(), Wish("a cube", seed=2), lambda frame: None)
    assert np.array_equal(drawn, cascade().draw("a cube", seed=2)[0])
    assert Wish("  a   cube ").sentence() == "a cube"


@pytest.mark.parametrize("prompt", ["", "   ", "\t\n"])
def test_an_empty_sentence_is_asked_for(prompt):
    with pytest.raises(ValueError, match="write a sentence, or choose one of the examples"):
        Wish(prompt).sentence()


@pytest.mark.parametrize("options, says", [({"threshold": "soft"}, "none, static, dynamic"), ({"aug": 2}, "0 and 1")])
def test_a_wish_is_checked_at_the_door(options, says):
    with pytest.raises(ValueError, match=says):
        Wish("a cube", **options)


def test_every_example_can_be_understood():
    for text in EXAMPLES:
        parse(text, synonyms=True)


def test_what_the_world_does_not_hold_is_said():
    base = replace(cascade().stages[0], about={"world": 1})
    imagen = Imagen([base], encode)
    (said,) = doubts(imagen, "a red cat")
    assert "cat" in said and "may not follow" in said
    assert doubts(imagen, "a red cube") == [] and doubts(cascade(), "a red cat") == []


def test_an_untrained_network_is_said():
    imagen = cascade()
    imagen.stages[1].denoiser.unet.untrained = True
    assert doubts(imagen, "a cube") == ["Not yet trained: 32 px. Expect noise, or no more than an enlarged picture."]


@pytest.mark.parametrize(
    "fault, says",
    [
        (MemoryError(), "not enough free memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "not enough free memory"),
        (ValueError("there is nothing to draw"), "There is nothing to draw."),
        (KeyError("q"), "should not have (KeyError: 'q')"),
    ],
)
def test_faults_are_said_in_plain_words(fault, says):
    assert says in plainly(fault)


# Frames


def test_every_step_is_a_frame_that_a_browser_can_show():
    frames = []
    painting.paint(cascade(), Wish("a cube", steps=5), frames.append)
    assert [(f.stage, f.index, f.of) for f in frames] == [(0, i, 5) for i in range(5)] + [(1, i, 3) for i in range(3)]
    assert frames[4].done == frames[7].done == 1 and frames[4].t == 0
    for frame in frames:
        assert opened(frame.z).size == opened(frame.x).size == (frame.size, frame.size)
    states = [f.state for f in frames]
    assert all(s.shape == (1, 3, 16, 16) for s in states[:5]) and states[5:] == [None] * 3
    assert opened(frames[0].z).format == "PNG"


def test_small_pictures_lose_nothing_and_large_ones_are_sent_small():
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    back = torch.from_numpy(np.array(opened(painting.encode(x, 16)))).permute(2, 0, 1) / 127.5 - 1
    assert (back - x[0]).abs().max() < 0.01
    assert opened(painting.encode(torch.zeros(1, 3, 256, 256), 256)).format == "JPEG"
    assert opened(painting.encode(torch.full((1, 3, 16, 16), torch.nan), 16)).size == (16, 16)


def test_the_saved_picture_knows_its_sentence_and_seed():
    saved = opened(painting.png(Image.new("RGB", (8, 8)), Wish("a sign “Ü”", seed=5)))
    assert saved.text == {"prompt": "a sign “Ü”", "seed": "5"}


def test_a_mask_is_white_where_the_brush_has_been():
    painted = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    painted.paste((213, 94, 0, 255), (0, 0, 4, 8))
    buffer = io.BytesIO()
    painted.save(buffer, "PNG")
    mask = np.array(painting.read_mask(buffer.getvalue()))
    assert (mask[:, :4] == 255).all() and (mask[:, 4:] == 0).all()
    assert painting.read_mask(b"") is None


def test_a_veil_is_thin_where_the_map_is_high():
    alpha = np.array(opened(painting.veil(torch.tensor([[0.0, 1.0]]))).getchannel("A"))
    assert alpha[0, 1] == 0 and alpha[0, 0] > 200


# Words


def test_pieces_become_words_and_a_quoted_word_stays_one():
    class Pieces(Letters):
        def tokens(self, sentence):
            return ["▁a", "▁sign", ",", "▁says", '▁"', "h", "e", "y", '"', "▁now", ".", "</s>"]

    assert words(Pieces(), "") == [
        Word("a", (0,)), Word("sign", (1, 2)), Word("says", (3,)), Word("hey", (4, 5, 6, 7, 8)), Word("now", (9, 10))
    ]  # fmt: skip


def test_the_gaze_at_a_word_is_its_share_among_all_of_them():
    stage, text = reading().stages[0], Letters()(["a red cube"])
    z = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = tracing.attention_to_text(stage.denoiser.unet, z, torch.tensor([499.0]), Cond(text))
    heat = gaze(stage, text, z, 0.5, Word("red", (1,)))
    assert heat.shape == (16, 16) and heat.min() == 0 and heat.max() == 1
    assert {m.shape[-1] for m in maps.values()} == {8, 16}, "and only the finest are asked"
    only = [m[0, 1] / m[0].sum(0) for m in maps.values() if m.shape[-1] == 16]
    mean = sum((m - m.min()) / (m.max() - m.min()) for m in only)
    assert torch.allclose(heat, (mean - mean.min()) / (mean.max() - mean.min()), atol=1e-5)
    assert gaze(stage, text, z, 0.5, Word("all", (0, 1, 2, 3))).isfinite().all()


# The page


def test_the_page_opens_with_the_dials_as_the_stages_have_them():
    c = page().controls
    assert (c.guidance.value, c.steps.value, c.threshold.value, c.p.value, c.aug.value) == (
        1.0,
        4,
        "dynamic",
        0.995,
        0.1,
    )
    assert c.size.value == 32 and c.draw.disabled is False and c.repaint.disabled
    assert "Ready" in c.message.value
    c.steps.value, c.threshold.value = 9, "none"
    assert c.p_dial.layout.display == "none"
    c.reset.click()
    assert c.steps.value == 4 and c.p_dial.layout.display is None


def test_draw_shows_each_stage_and_keeps_the_picture():
    seen = []
    p = page()
    p.controls.easel.observe(lambda change: seen.append(change["new"]), "picture")
    p.controls.prompt.value = "a red cube"
    p.controls.draw.click()
    assert len(seen) == 7 == len(p.film.frames)
    expected = reading().draw("a red cube", seed=0)[0]
    assert np.array_equal(p.picture, expected)
    assert np.array_equal(opened(p.controls.easel.final), expected)
    assert [s["share"] for s in p.controls.easel.stages] == [1.0, 1.0]
    assert all(opened(s["thumb"]).size == (96, 96) for s in p.controls.easel.stages)
    assert p.controls.easel.filename == "a-red-cube.png" and p.controls.moment.value == 7
    assert p.controls.draw.description == "Draw" and not p.controls.repaint.disabled


def test_what_no_dial_has_moved_is_each_stages_own():
    def cascade_of_three():
        base, large = reading().stages
        base = replace(base, guidance=15.0, threshold=Dynamic(0.9, cap=1.5))
        largest = Stage(Denoiser(Small(2, 32, enlarges=True), CosineSchedule(), "v"), 64, steps=2, aug=0.0)
        return Imagen([base, large, largest], Letters())

    p = page(cascade_of_three())
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert np.array_equal(p.picture, cascade_of_three().draw("a red cube", seed=0)[0])
    p.controls.p.value = 0.8
    assert p.wish().options(p.imagen) == {"seed": 0, "size": 64, "threshold": Dynamic(0.8, cap=1.5)}
    p.controls.threshold.value = "static"
    assert p.wish().options(p.imagen)["threshold"] == Static()
    p.controls.reset.click()
    assert p.wish().options(p.imagen) == {"seed": 0, "size": 64}


def test_what_ends_late_is_not_said():
    p = page()

    def overtaken():
        p._apart(lambda: None)
        p.say("Words of other work.")
        raise ValueError("too late")

    p._apart(overtaken)
    assert "Words of other work." in p.controls.message.value and not p.busy


def test_the_judge_says_nothing_of_a_picture_that_is_no_longer_shown():
    p = page()
    p.judge = lambda picture: setattr(p, "picture", None) or ["a large red cube"]
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert "a large red cube" not in p.controls.judged.value
    p.judge = lambda picture: ["a large red cube"]
    p.draw()
    assert "a large red cube" in p.controls.judged.value


def test_a_picture_of_no_word_has_a_name():
    p = page()
    p.controls.prompt.value = "!!!"
    p.draw()
    assert p.controls.easel.filename == "picture.png"


def test_the_dials_reach_the_picture():
    p = page()
    p.controls.prompt.value, p.controls.seed.value = "a red cube", 4
    p.controls.guidance.value, p.controls.threshold.value = 3.0, "static"
    p.controls.steps.value, p.controls.aug.value, p.controls.size.value = 3, 0.4, 32
    p.draw()
    assert np.array_equal(
        p.picture, reading().draw("a red cube", seed=4, guidance=3.0, threshold=Static(), steps=3, aug=[0.0, 0.4])[0]
    )
    p.controls.size.value = 16
    p.draw()
    assert p.picture.size == (16, 16) and p.controls.easel.stages[1]["about"] == "left out"


@pytest.mark.parametrize("name", THRESHOLDS)
def test_every_threshold_draws(name):
    p = page()
    p.controls.threshold.value = name
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert p.picture is not None


def test_an_example_and_another_seed_draw():
    p = page()
    p.controls.examples[0].click()
    assert p.controls.prompt.value == next(iter(EXAMPLES)) and p.picture is not None
    before = np.array(p.picture)
    p.controls.seed.value = 1
    p.controls.roll.click()
    assert not np.array_equal(p.picture, before)


def test_faults_come_to_the_page_and_leave_it_usable():
    p = page()
    p.draw()
    assert "write a sentence" in p.controls.message.value and "mm-fault" in p.controls.message.value
    p.controls.prompt.value = "a <b>cube</b>"
    p.imagen.stages[0].denoiser.unet.conv_in.weight.fill_(float("nan"))
    p.draw()
    assert "NaN" in p.controls.message.value and p.controls.draw.description == "Draw"
    assert p.picture is None and p.controls.repaint.disabled


def test_without_weights_the_page_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIMAGEN_WEIGHTS", str(tmp_path))
    p = Playground(aside=False, judge=None)
    assert "holds no stages" in p.controls.message.value and p.controls.draw.disabled
    p.controls.examples[0].click()
    assert p.picture is None


def test_the_film_can_be_wound_and_shows_what_is_believed():
    p = page()
    p.controls.prompt.value = "a red cube"
    p.draw()
    p.controls.moment.value = 2
    assert p.controls.easel.picture == p.film.frames[1].z and "step 2 of 4" in p.controls.when.value
    p.controls.way.value = "x"
    assert p.controls.easel.picture == p.film.frames[1].x
    p.controls.easel.picked = {"stage": 1, "time": 1}
    assert p.controls.easel.picture == p.film.frames[-1].x and p.controls.easel.chosen == 1
    assert "32 pixels wide" in p.controls.easel.told


def test_a_word_lights_the_picture_where_it_is_looked_at():
    p = page()
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert [name for name, _ in p.controls.words.options] == [NOWHERE, "a", "red", "cube"]
    p.controls.words.value = 1
    assert "t = 0.50" in p.controls.words_says.value, "for a larger picture the first network is asked half way"
    late = p.controls.easel.veil
    p.controls.moment.value = 1
    early = p.controls.easel.veil
    assert opened(late).mode == "RGBA" and early and early != late
    assert "“red”" in p.controls.words_says.value
    p.controls.words.value = -1
    assert p.controls.easel.veil == b"" and "Choose a word" in p.controls.words_says.value


def painted(left: int, right: int) -> bytes:
    picture, buffer = Image.new("RGBA", (64, 64), (0, 0, 0, 0)), io.BytesIO()
    picture.paste((213, 94, 0, 255), (left, 0, right, 64))
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_repainting_keeps_what_was_not_marked():
    p = page()
    p.controls.prompt.value = "a red cube"
    p.draw()
    before = np.array(p.picture)
    assert p.controls.change.value == "a red cube"
    p.controls.repaint.click()
    assert "paint over what should change" in p.controls.message.value and np.array_equal(p.picture, before)
    p.controls.brushing.value = True
    assert p.controls.easel.brush == p.controls.width.value
    p.controls.easel.set_state({"mask": memoryview(painted(0, 32))})  # as a browser sends it
    p.controls.change.value = "a blue cone"
    p.controls.repaint.click()
    after = np.array(p.picture)
    assert np.array_equal(after[:, 16:], before[:, 16:]) and not np.array_equal(after[:, :16], before[:, :16])
    assert p.controls.easel.mask == b"" and p.controls.easel.brush == 0.0


def test_the_judge_says_what_it_sees():
    p = Playground(reading(), aside=False, judge=lambda picture: [f"a thing of {picture.size[0]} px"])
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert "sees: a thing of 32 px." in p.controls.judged.value


def test_a_drawing_goes_on_aside_and_can_be_stopped():
    imagen = reading()
    slow = imagen.stages[0].step

    def step(*args, **options):
        time.sleep(0.02)
        return slow(*args, **options)

    imagen.stages[0] = replace(imagen.stages[0], step=step, steps=128)
    p = Playground(imagen, judge=None)
    until(lambda: not p.busy)
    p.controls.prompt.value = "a red cube"
    p.draw()
    assert p.busy and p.controls.draw.description == "Stop"
    until(lambda: len(p.film.frames) > 1)
    p.controls.examples[0].click()
    assert p.controls.prompt.value == "a red cube", "an example waits for its turn"
    p.draw()
    until(lambda: not p.busy)
    assert "Stopped" in p.controls.message.value and 1 < len(p.film.frames) < 128 and p.picture is None
    p.controls.moment.value = 1
    assert p.controls.easel.picture == p.film.frames[0].z


def until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# The command


def test_the_command_starts_voila_with_our_page(monkeypatch):
    started = __main__.command(__main__.parser().parse_args(["--port", "9001", "--no-browser"]))
    assert started[0].endswith("playground.ipynb") and "--port=9001" in started and "--no-browser" in started
    assert "--Voila.ip=127.0.0.1" in started, "nobody else may use it unasked"
    (cell,) = json.loads(open(started[0]).read())["cells"]
    assert "".join(cell["source"]).endswith("Playground()") and cell["outputs"] == []
    with pytest.raises(SystemExit, match="no folder nowhere"):
        __main__.main(["--weights", "nowhere"])
    monkeypatch.setitem(sys.modules, "voila.app", None)
    with pytest.raises(SystemExit, match=r"minimagen-course\[play\]"):
        __main__.main([])
