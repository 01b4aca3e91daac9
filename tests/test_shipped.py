"""What lies in data/: that it is what the card says, that it fits, and that it draws what it is told.

The bounds stand a little under the card's figures, for a few pictures scatter more than many.
"""

import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from minimagen import files
from minimagen.cascade import Imagen, from_pil
from minimagen.conditioning import augment, upsample
from minimagen.edit import inpaint
from minimagen.resources import data_folder
from minimagen.samples import psnr
from minimagen.toyland.compose import random_scene
from minimagen.toyland.drawbench import suite
from minimagen.toyland.judge import shipped
from minimagen.toyland.language import caption
from minimagen.toyland.parsing import parse
from minimagen.toyland.phrases import BACKDROP_PHRASES, FLOOR_PHRASES
from minimagen.toyland.render import render
from minimagen.toyland.scene import PATTERNS, Scene, Thing
from minimagen.toyland.scoring import score
from minimagen.toyland.twins import twins
from tools import card
from tools.measure_enlarging import as_told

DATA = data_folder()
NETWORKS = sorted(path.parent.name for path in DATA.glob("*/model.safetensors"))
MEGABYTE = 1_000_000


@cache
def cascade():
    return Imagen.from_pretrained()


def drawn(prompts, size, seed=0, **options):
    """(B, 3, size, size): one picture a prompt, with the settings that ship."""
    *_, last = cascade().stream(prompts, seed=seed, size=size, **options)
    return last.z.clamp(-1, 1)


def truths(size, count=6, first=4_000_000_000):
    scenes = [random_scene(first + i, "heldout") for i in range(count)]
    return render(scenes, size), [caption(scene) for scene in scenes]


def test_everything_is_there_and_fits():
    assert NETWORKS == ["judge", "text_encoder", "unet_1024", "unet_256", "unet_64"]
    sizes = [path.stat().st_size for path in DATA.rglob("*") if path.is_file()]
    assert max(sizes) < 15 * MEGABYTE and sum(sizes) < 40 * MEGABYTE
    assert not [p for p in DATA.rglob("*") if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_card_names_the_weights_by_their_hash(name):
    digest = files.sha256(DATA / name / "model.safetensors")
    page = (DATA / "README.md").read_text(encoding="utf-8")
    assert digest in re.findall(r"[0-9a-f]{64}", page)
    config = files.read_json(DATA / name / "config.json")
    assert config.get("sha256", digest) == digest


def test_the_cards_tables_are_what_was_measured():
    page = (DATA / "README.md").read_text(encoding="utf-8")
    assert card.current(page) == page, "bring it up to date: python -m tools.card"


def test_it_draws_what_the_sentence_says():
    prompts = suite("one object", 140)[100:112] + suite("definitions", 12)
    pictures = drawn([p.text for p in prompts], 64)
    scores = [score(reading, p.description) for reading, p in zip(shipped()(pictures), prompts, strict=True)]

    def part(kind):
        answers = [s.of(kind) for s in scores if s.of(kind) is not None]
        return sum(answers) / len(answers)

    wrong = [s.wrong for s in scores]
    assert sum(s.readable for s in scores) >= 22
    assert part("color") >= 0.95 and part("shape") >= 0.8, wrong  # chance: one in ten, and one in six
    assert sum(s.right for s in scores) >= 16, wrong  # chance: none
    true = render([p.scene for p in prompts], 64)  # the prompts say little of walls and floors, so the means scatter
    assert pictures.mean((0, 2, 3)).sub(true.mean((0, 2, 3))).abs().max() < 0.15


def test_the_first_stage_looks_up_whose_colour_it_is():
    """Of twins one noise makes two pictures, so that a stage that does not look has both colours right once in two."""
    pairs = [pair for *pair, _ in (twins(seed, of="color") for seed in range(6_000_000, 6_000_040))]
    pairs = [pair for pair in pairs if len(pair[0].spans) == 2][:12]
    both = []
    for which in (0, 1):
        said = [pair[which].caption for pair in pairs]
        for reading, one in zip(shipped()(drawn(said, 64)), said, strict=True):
            both.append(all(q.right for q in score(reading, parse(one)).questions if q.kind == "color"))
    assert len(both) == 24 and sum(both) >= 15, both


def test_the_first_stage_writes_words():
    """Letter by letter, the sentence's: a network that has not learned to has none of them right, as chance has."""
    prompts = suite("training word", 16)
    read = [reading.word for reading in shipped()(drawn([p.text for p in prompts], 64))]
    assert sum(word == p.scene.word for word, p in zip(read, prompts, strict=True)) >= 3, read


def test_the_second_stage_beats_the_interpolation_that_it_begins_from():
    x, said = truths(256)
    low, plain = truths(64)[0], psnr(upsample(truths(64)[0], 256), x)
    assert psnr(drawn_over(low, said, 256, 0.0), x) > plain + 0.2
    level = 0.1
    noisy = augment(upsample(low, 256), level, [torch.Generator().manual_seed(i) for i in range(len(low))])
    assert psnr(drawn_over(low, said, 256, level), x) > psnr(noisy, x) + 5


def test_the_second_stage_draws_the_pattern_that_it_is_told():
    """No 64 px picture shows a pattern, so that it can come from the sentence alone."""
    told = [(p, shape) for p in PATTERNS[1:] for shape in ("sphere", "cube", "cylinder")]
    low = render([Scene((Thing(shape, "red", "large", pattern="plain", yaw=0.4),)) for _, shape in told], 64)
    pictures = drawn_over(low, [f"a large red {pattern} {shape}" for pattern, shape in told], 256, 0.1)
    read = [{thing.pattern for thing in reading.things} for reading in shipped()(pictures)]
    assert sum({pattern} == seen for (pattern, _), seen in zip(told, read, strict=True)) >= 9, read  # chance: 3 of 12


def test_the_second_stage_looks_up_whose_pattern_it_is():
    """Twins have one small picture, so that a stage that does not look gives a thing its own once in two, at best."""
    pairs = [pair for *pair, _ in map(twins, range(6_000_000, 6_000_200)) if len(pair[0].spans) == 2]
    pairs = [pair for pair in pairs if all(t.pattern != "plain" for t in pair[0].scene.things)][:8]
    low = render([one.scene for one, _ in pairs], 64)
    right = []
    for which in (0, 1):
        said = [pair[which].caption for pair in pairs]
        for reading, one in zip(shipped()(drawn_over(low, said, 256, 0.1)), said, strict=True):
            right += as_told(score(reading, parse(one)))
    assert len(right) == 32 and sum(right) >= 22, right


def drawn_over(low, said, size, aug):
    stage = next(s for s in cascade().stages if s.size == size)
    text, null = cascade().encode(said)
    generators = [torch.Generator().manual_seed(i) for i in range(len(low))]
    with torch.no_grad():
        *_, last = replace(stage, aug=aug).sample(text, null, low, generator=generators)
    return last.z.clamp(-1, 1)


def test_the_third_stage_beats_the_interpolation_that_it_begins_from():
    x, said = truths(1024, 1)
    low = truths(256, 1)[0]
    assert psnr(drawn_over(low, said, 1024, 0.0), x) > psnr(upsample(low, 1024), x) + 1.5


def test_a_sentence_goes_through_all_three_stages():
    picture = cascade().draw("a large red sphere", seed=1)[0]
    assert picture.size == (1024, 1024)
    reading = shipped()([picture])[0]
    assert "red" in {thing.color for thing in reading.things}


def test_every_stage_says_where_it_comes_from():
    for stage in cascade().stages:
        assert stage.about["recipe"] in ("base", "sr256", "sr1024")
        assert stage.about["world"] == 2


def halves(count, columns):
    """Scenes of two things with captions that name the setting, each cut at a column; (column, pictures, captions)."""
    scenes = [s for s in map(random_scene, range(5_000_000, 5_000_000 + 8 * count)) if s.word is None]
    scenes = [s for s in scenes if len(s.things) == 2][:count]
    told = []
    for s in scenes:
        a, b = (f"a {t.size} {t.color} {t.shape}" for t in s.things)
        told.append(f"{a} and {b} {BACKDROP_PHRASES[s.backdrop][0]} {FLOOR_PHRASES[s.floor][0]}")
    true, each = render(scenes, 64), count // len(columns)
    for k, column in enumerate(columns):
        yield column, true[k * each : (k + 1) * each], told[k * each : (k + 1) * each]


@pytest.mark.slow
def test_an_inpainted_half_joins_the_other_as_in_true_pictures():
    """The step from column to column across the seam is within 10 % of true pictures'; unmended it is a line."""
    steps = {"true": [], "mended": [], "as it comes": [], "true, of these": []}

    def across(pictures, column):
        return (pictures[..., column] - pictures[..., column - 1]).abs().mean((1, 2)).tolist()

    for k, (column, true, told) in enumerate(halves(32, (20, 28, 36, 44))):
        repaint = torch.zeros(64, 64)
        repaint[:, slice(column, None) if k % 2 else slice(column)] = 1
        painted = inpaint(cascade(), true, repaint, told, size=64, steps=8)
        steps["true"] += across(true, column)
        steps["mended"] += across(from_pil(painted), column)
        if k == 0:
            plain = inpaint(cascade(), true, repaint, told, size=64, steps=8, rounds=1, mend=False, interval=None)
            steps["as it comes"] += across(from_pil(plain), column)
            steps["true, of these"] += across(true, column)
    mean = {name: sum(values) / len(values) for name, values in steps.items()}
    assert mean["mended"] == pytest.approx(mean["true"], rel=0.1)
    assert mean["as it comes"] > 1.5 * mean["true, of these"]
