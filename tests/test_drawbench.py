"""Prompts, scores, intervals, distances and reports: everything between a reading and a table."""

import importlib
import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minimagen.resources import data_folder
from minimagen.toyland import stats
from minimagen.toyland.compose import random_scene
from minimagen.toyland.drawbench import DRAWBENCH, SUITES, drawbench, suite
from minimagen.toyland.heldout import HELDOUT_WORDS, SYNONYMS, TRAIN_WORDS, held_out, relation_held_out, thing_held_out
from minimagen.toyland.judge_check import true_reading
from minimagen.toyland.language import caption
from minimagen.toyland.parsing import matches, parse
from minimagen.toyland.prompts import Prompt, edits
from minimagen.toyland.sample import sample_scenes, write_sample
from minimagen.toyland.scene import COLORS, Scene, Thing
from minimagen.toyland.scoring import alignment, legal, score
from minimagen.toyland.sources import draw_of, prompts_of

evaluation = importlib.import_module("minimagen.toyland.evaluate")
evaluate = evaluation.evaluate

RED_CUBE = Thing("cube", "red", "large", "metal", "striped", x=-1.5)
BLUE_BALL = Thing("sphere", "blue", "small", "matte", "plain", x=1.5)
PAIR = Scene((RED_CUBE, BLUE_BALL), "blue sky", "grassy", "left")


# -- prompts -----------------------------------------------------------------------------------------------------------


def test_drawbench_has_eleven_categories_of_at_least_twenty():
    counts = Counter(p.category for p in drawbench())
    assert list(counts) == list(DRAWBENCH) and len(counts) == 11
    assert min(counts.values()) >= 20 and sum(counts.values()) == 276
    assert all(len({p.text for p in drawbench(c)}) == len(drawbench(c)) for c in DRAWBENCH)


@pytest.mark.parametrize("name", ["drawbench", *SUITES])
def test_every_prompt_is_true_of_its_scene(name):
    for p in prompts_of(name, 24):
        assert matches(p.description, p.scene), p.text
        if p.category != "misspellings":
            assert parse(p.text, synonyms=True) == p.description, p.text


def test_prompts_are_the_same_in_every_process():
    code = "from minimagen.toyland.drawbench import *; print([p.text for p in drawbench() + suite('unseen word', 9)])"
    said = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True)
    assert said.stdout.decode() == str([p.text for p in drawbench() + suite("unseen word", 9)]) + "\n"


def test_a_longer_suite_begins_with_the_shorter():
    assert suite("synonyms", 12) == suite("synonyms", 30)[:12]


def test_held_out_prompts_hold_out_what_they_say_and_the_others_do_not():
    for p in drawbench("held-out combinations") + suite("held-out combinations", 24):
        assert held_out(p.scene), p.text
    for p in suite("seen combinations", 24):
        said = [p.scene.things[i] for i in range(len(p.description.things))]
        assert not any(thing_held_out(replace(t, pattern="plain")) for t in said), p.text
        for i, r, j in p.description.relations:
            a, b = p.description.things[i], p.description.things[j]
            assert not relation_held_out(a.shape, r, b.shape), p.text
    assert all(p.description.word in TRAIN_WORDS for p in suite("training word", 20))
    assert all(p.description.word in HELDOUT_WORDS for p in suite("unseen word", 20))
    written = {p.description.word for p in drawbench("quoted words")}
    assert written & set(TRAIN_WORDS) and written & set(HELDOUT_WORDS)


def test_misspellings_are_one_or_two_letters_off():
    counts = Counter()
    for p in drawbench("misspellings"):
        plain = f"{p.description.things[0].color} {p.description.things[0].shape}".split()
        wrong = [(a, b) for a, b in zip(p.text.split()[-2:], plain) if a != b]
        assert len(wrong) == 1, p.text
        counts[edits(*wrong[0])] += 1
    assert counts == {1: 10, 2: 10}


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
@settings(max_examples=100, deadline=None)
def test_edits_is_a_distance(a, b):
    assert edits(a, b) == edits(b, a) and (edits(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edits(a, b) <= max(len(a), len(b))
    assert edits(a + "x", b) <= edits(a, b) + 1


def test_synonyms_and_definitions_are_words_that_captions_lack():
    for p in drawbench("synonyms") + drawbench("definitions"):
        with pytest.raises(ValueError):
            parse(p.text)
    used = {s for p in suite("synonyms", 95) for texts in SYNONYMS.values() for s in texts if s in p.text}
    assert len(used) > 0.9 * len({s for name, texts in SYNONYMS.items() if name != "plain" for s in texts})


def test_counts_are_even():
    assert Counter(p.description.count for p in suite("count", 50)) == dict.fromkeys(range(1, 6), 10)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: drawbench("colours"), "no category 'colours'"),
        (lambda: suite("words"), "no suite 'words'"),
        (lambda: suite("count", 0), "1 to 20000 prompts; 0"),
        (lambda: prompts_of("all"), "no prompts 'all'"),
        (lambda: prompts_of([]), "list is empty"),
        (lambda: prompts_of(["a red unicorn"]), "'unicorn' is not known"),
    ],
)
def test_what_is_not_there_is_one_sentence(ask, says):
    with pytest.raises(ValueError, match=says):
        ask()


# -- scores ------------------------------------------------------------------------------------------------------------


def test_what_was_said_of_a_scene_is_seen_in_it():
    for seed in range(300):
        scene = random_scene(seed, "all")
        result = score(true_reading(scene), parse(caption(scene)))
        assert result.right and result.accuracy == 1.0 and result.wrong == "", caption(scene)


def test_scores_agree_with_matches_on_shuffled_captions():
    """Two independent ways to the same answer, on captions that are mostly false of their picture."""
    scenes = [random_scene(seed, "all") for seed in range(250)]
    described = [parse(caption(s)) for s in scenes]
    random.Random(0).shuffle(described)
    right = [score(true_reading(s), d).right for s, d in zip(scenes, described)]
    assert right == [matches(d, s, 0.7) for s, d in zip(scenes, described)]
    assert sum(right) <= 5  # chance
    assert alignment([true_reading(s) for s in scenes], described) == sum(right) / len(right)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("a red cube left of a blue sphere", set()),
        ("a blue sphere and a large striped red metal cube", set()),
        ("a red cube right of a blue sphere", {"relation"}),
        ("a red sphere and a blue cube", {"color"}),
        ("a green cube and a blue sphere", {"color"}),
        ("a small red cube and a blue sphere", {"size"}),
        ("a shiny red cube and a blue sphere", {"material"}),
        ("a dotted red cube and a blue sphere", {"pattern"}),
        ("a red cube", {"count"}),
        ("two red cubes", {"shape", "color"}),
        ("a red cube, a blue sphere and a green cone", {"count", "shape", "color"}),
        ('a sign that says "toy"', {"count", "sign", "word"}),
        ("a red cube and a blue sphere at night", {"backdrop"}),
        ("a red cube and a blue sphere on grass, lit from the right", {"light"}),
    ],
)
def test_each_fault_is_named(said, wrong):
    result = score(true_reading(PAIR), parse(said))
    found = {q.kind for q in result.questions if q.right is False}
    assert result.right == (not wrong)
    if said == "a red sphere and a blue cube":
        assert found <= {"shape", "color"} and len(found) == 1  # either the colours are swapped or the shapes are
    else:
        assert found == wrong
        assert all(kind in result.wrong for kind in wrong)


def test_patterns_are_not_asked_of_a_small_picture_whether_or_not_its_things_are_there():
    small, dotted = true_reading(PAIR, 64), parse("a dotted red cube and a blue sphere")
    missing = replace(small, things=small.things[1:])
    for reading in (small, missing, replace(small, readable=False)):
        result = score(reading, dotted)
        assert result.right == (reading is small) and result.of("pattern") is None
        assert [q.right for q in result.questions if q.kind == "pattern"] == [None]
    large = true_reading(PAIR)
    assert score(replace(large, things=large.things[1:]), dotted).of("pattern") is False


def test_an_unreadable_picture_is_wrong_in_everything():
    result = score(replace(true_reading(PAIR), readable=False), parse("a red cube left of a blue sphere"))
    assert not result.right and result.accuracy == 0.0 and result.wrong == "unreadable"
    assert all(q.right is False for q in result.questions)


def test_relations_choose_among_things_that_look_alike():
    scene = Scene((replace(RED_CUBE, x=1.5), replace(RED_CUBE, x=-2.5), replace(BLUE_BALL, x=-0.5)))
    for said, right in (("a red cube left of a blue sphere", True), ("a blue sphere left of a red cube", True)):
        questions = [q for q in score(true_reading(scene), parse(said)).questions if q.kind == "relation"]
        assert [q.right for q in questions] == [right]


def test_words_and_signs():
    scene = Scene((), word="MOON")
    assert score(true_reading(scene), parse('a sign that says "moon"')).right
    assert score(true_reading(scene), parse('a sign that says "mood"')).wrong == "word: MOOD, seen MOON"
    assert "sign: no sign, seen a sign" in score(true_reading(scene), parse("a red cube")).wrong


def test_legal_is_what_the_world_can_hold():
    assert all(legal(true_reading(random_scene(seed, "all"))) for seed in range(100))
    reading = true_reading(PAIR)
    thing = reading.things[0]
    assert not legal(replace(reading, readable=False))
    assert not legal(replace(reading, things=(thing,) * 6))
    assert not legal(replace(reading, things=(replace(thing, place=(0.0, 2.0, 0.0)),)))  # afloat
    assert not legal(replace(reading, things=(replace(thing, confidence=0.3),)))
    assert not legal(replace(reading, word=""))


# -- numbers with their uncertainty ------------------------------------------------------------------------------------


@given(st.integers(60, 500), st.floats(0.2, 0.8))
@settings(max_examples=12, deadline=None)
def test_the_bootstrap_of_a_proportion_is_the_closed_form(n, p):
    """For a proportion p of n the interval is p ± 1.96 √(p (1 − p) / n), to the grain of 1 / n."""
    k = round(p * n)
    e = stats.bootstrap([1.0] * k + [0.0] * (n - k))
    spread = 1.96 * math.sqrt(k / n * (1 - k / n) / n)
    assert e.mean == pytest.approx(k / n) and e.n == n
    assert e.high - e.mean == pytest.approx(spread, rel=0.12, abs=1 / n)
    assert e.mean - e.low == pytest.approx(spread, rel=0.12, abs=1 / n)


def test_what_belongs_together_counts_once():
    values = [float(i % 3 == 0) for i in range(90)]
    alone = stats.bootstrap(values)
    repeated = stats.bootstrap([v for v in values for _ in range(4)], [i for i in range(90) for _ in range(4)])
    assert repeated.n == 90 and (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    naive = stats.bootstrap([v for v in values for _ in range(4)])
    assert naive.high - naive.low < 0.6 * (repeated.high - repeated.low)  # the four copies are no news
    assert stats.bootstrap(values) == alone


def test_groups_of_several_sizes_count_by_their_values():
    """One group of fifty and fifty of one: the interval lies around the mean of values, not of groups."""
    e = stats.bootstrap([0.0] * 50 + [1.0] * 50, [0] * 50 + list(range(1, 51)))
    assert e.low <= e.mean <= e.high and e.low < 0.55


def test_all_right_is_not_certainty():
    e = stats.bootstrap([1.0] * 20)
    assert (e.mean, e.high) == (1.0, 1.0) and e.low == pytest.approx(0.025 ** (1 / 20))  # Clopper–Pearson
    assert stats.bootstrap([0.0] * 20).high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert math.isnan(stats.bootstrap([]).mean)
    with pytest.raises(ValueError, match="2 values, but 1 groups"):
        stats.bootstrap([1.0, 0.0], ["a"])
    with pytest.raises(ValueError, match="not finite"):
        stats.bootstrap([1.0, float("nan")])


def test_paired_differences_are_sharper_than_separate_ones():
    rng = random.Random(0)
    easy = [rng.random() for _ in range(200)]
    a, b = [float(e > 0.3) for e in easy], [float(e > 0.35) for e in easy]
    e = stats.paired(a, b)
    assert e.mean == pytest.approx(sum(a) / 200 - sum(b) / 200)
    assert e.high - e.low < 0.5 * (
        stats.bootstrap(a).high - stats.bootstrap(a).low + stats.bootstrap(b).high - stats.bootstrap(b).low
    )


def _exactly(mean, cov, n, seed):
    """n samples whose mean and covariance are exactly these."""
    x = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (n - 1))).T
    return x @ torch.linalg.cholesky(cov).T + mean


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    """|μ − μ'|² + Σ (√λ − √λ')² where the covariances share their axes."""
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    a, b = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 0.3, 0.5, 1.0]).double()
    mean = torch.tensor([0.5, -1.0, 0.0, 2.0]).double()
    x = _exactly(torch.zeros(4).double(), turn @ a.diag() @ turn.T, 300, 2)
    y = _exactly(mean, turn @ b.diag() @ turn.T, 200, 3)
    expected = mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert stats.frechet(x, y) == pytest.approx(expected.item(), rel=1e-6)
    assert stats.frechet(x, x) == pytest.approx(0.0, abs=1e-6)


def test_the_frechet_floor_falls_with_the_count():
    x = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    floors = [stats.frechet_floor(x, n) for n in (100, 2000)]
    assert floors[0] > 5 * floors[1] > 0
    with pytest.raises(ValueError, match="needs 8000 true ones; here are 4000"):
        stats.frechet_floor(x, 4000)
    with pytest.raises(ValueError, match="at least two"):
        stats.frechet(x[:1], x)
    with pytest.raises(ValueError, match="equal features"):
        stats.frechet(x, x[:, :3])


def test_diversity_is_the_mean_distance():
    assert stats.diversity(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]])) == pytest.approx(20 / 6)
    assert stats.diversity(torch.ones(5, 3)) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="at least two"):
        stats.diversity(torch.ones(1, 3))


# -- evaluation --------------------------------------------------------------------------------------------------------


class Known:
    """A judge that knows every scene by the one colour its picture is painted in, and so reads without fail."""

    def __init__(self):
        self.scenes = []

    def paint(self, scene, size=64):
        if scene not in self.scenes:
            self.scenes.append(scene)
        high, low = divmod(self.scenes.index(scene), 100)
        code = torch.tensor([64.0 + high, 64.0 + low, 128.0]) / 127.5 - 1  # as bytes, so that a file keeps it
        return code[:, None, None].expand(3, size, size)

    def look(self, images, batch=16):
        pictures = evaluation.as_list(images)
        codes = [((p[:2, 0, 0] + 1) * 127.5).round().sub(64).tolist() for p in pictures]
        known = [self.scenes[int(100 * high + low)] for high, low in codes]
        readings = [true_reading(s, p.shape[-1]) for s, p in zip(known, pictures)]
        rng = [torch.Generator().manual_seed(self.scenes.index(s)) for s in known]
        return readings, torch.stack([torch.randn(6, generator=g) for g in rng])

    def features(self, images, batch=16):
        return self.look(images)[1]


def _pil(picture):
    return Image.fromarray(picture.permute(1, 2, 0).add(1).mul(127.5).round().byte().contiguous().numpy())


@pytest.fixture
def known(monkeypatch):
    judge = Known()
    monkeypatch.setattr(evaluation, "_render", lambda scenes, size: torch.stack([judge.paint(s, size) for s in scenes]))
    return judge


def _mostly(judge, prompts, wrong):
    """Draws every prompt rightly, but for those numbered in `wrong`."""
    scenes = {p.text: judge.paint(p.scene) if i not in wrong else judge.paint(PAIR) for i, p in enumerate(prompts)}
    return lambda texts, count, seed: torch.stack([scenes[t] for t in texts for _ in range(count)])


def test_evaluate_counts_exactly(known, tmp_path):
    prompts = drawbench("counting") + drawbench("quoted words")
    seen = []
    e = evaluate(
        _mostly(known, prompts, {0, 1, 30}), prompts, pictures=3, judge=known, out=tmp_path / "r", keep=True,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    rows = {r.name: r for r in e.categories}
    assert list(rows) == ["counting", "quoted words", "all"]
    assert rows["counting"].right.mean == pytest.approx(23 / 25) and rows["counting"].pictures == 75
    assert rows["all"].right.mean == pytest.approx(46 / 49) == e.alignment.mean and rows["all"].right.n == 49
    assert all(r.judge == 1.0 for r in rows.values())
    assert all(r.chance is not None and r.chance < 0.2 for r in rows.values())
    assert {r.name for r in e.questions} == {"count", "sign", "shape", "color", "word"}
    assert next(r for r in e.questions if r.name == "word").right.mean == pytest.approx(23 / 24)
    assert seen[-1] == (147, 147) and e.settings["size"] == 64
    assert e.fidelity["legal"] == 1.0 and e.fidelity["clipped"] == 0.0

    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "evaluation.html", "evaluation.json", "evaluation.md", "pictures"
    ]  # fmt: skip
    stored = json.loads((tmp_path / "r" / "evaluation.json").read_text())
    assert len(stored["pictures"]) == 147 and sum(p["right"] for p in stored["pictures"]) == 138
    table = (tmp_path / "r" / "evaluation.md").read_text()
    assert "| counting | 25 | 75 | 92.0 % |" in table and "| all | 49 | 147 | 93.9 % |" in table
    page = (tmp_path / "r" / "evaluation.html").read_text()
    assert page.count("<figure") == 147 and page.count('class="wrong"') == 9 and "&quot;" in page

    again = evaluate(tmp_path / "r" / "pictures", judge=known)  # what was kept can be judged again
    assert again.categories == e.categories and again.questions == e.questions


def test_chance_is_dealt_within_a_category_and_counts_by_pictures(known):
    prompts = drawbench("definitions") + drawbench("misspellings")
    e = evaluate(_mostly(known, prompts, ()), prompts, pictures=1, judge=known)
    *rows, everything = e.categories
    assert sum(r.chance for r in rows) > 0 and len({r.pictures for r in rows}) == 2
    assert everything.chance == pytest.approx(sum(r.chance * r.pictures for r in rows) / everything.pictures)


def test_the_frechet_distance_stands_beside_its_floor(known):
    prompts = suite("captions", 120)
    e = evaluate(_mostly(known, prompts, set()), prompts, pictures=1, judge=known)
    floor, distance = e.fidelity["fréchet floor"], e.fidelity["fréchet"]
    assert e.fidelity["fréchet count"] == 120 and 0 < floor < 1 and distance == pytest.approx(floor, rel=0.6)
    assert "Fréchet distance, 120 pictures" in e.to_markdown()
    assert (
        "fréchet" not in evaluate(_mostly(known, prompts[:99], set()), prompts[:99], pictures=1, judge=known).fidelity
    )


def test_one_set_of_noise_whatever_else_is_asked(known):
    """Sixteen prompts a call, and the k-th call has seed + k: so a picture does not depend on how many follow."""
    prompts, calls = drawbench("counting"), []

    def draw(texts, count, seed):
        calls.append((len(texts), count, seed))
        return _mostly(known, prompts, set())(texts, count, seed)

    evaluate(draw, prompts, pictures=2, seed=5, judge=known)
    assert calls == [(16, 2, 5), (9, 2, 6)]


def test_a_folder_with_captions_in_files(known, tmp_path):
    (scene,) = [p.scene for p in drawbench("counting")[:1]]
    _pil(known.paint(scene)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png has no caption"):
        evaluate(tmp_path, judge=known)
    (tmp_path / "a.txt").write_text("a purple griffin")
    with pytest.raises(ValueError, match="caption of a.png cannot be judged. The word 'griffin' is not known"):
        evaluate(tmp_path, judge=known)
    (tmp_path / "a.txt").write_text(caption(scene) + "\n")
    assert evaluate(tmp_path, judge=known).alignment.mean == 1.0
    (tmp_path / "metadata.jsonl").write_text('{"text": "a red cube"}\n')
    with pytest.raises(ValueError, match="Line 1 of .*metadata.jsonl is not an object with a file_name"):
        evaluate(tmp_path, judge=known)
    for odd, says in (
        ('{"file_name": "a.png", "text": 5}', "caption of a.png is no text: 5"),
        ('{"file_name": "a.png", "text": "a cube", "scene": {"foo": 1}}', "scene of a.png is none of Toyland's"),
        ('{"file_name": "a.png", "text": "a cube", "scene": 3}', "scene of a.png is none of Toyland's"),
    ):
        (tmp_path / "metadata.jsonl").write_text(odd + "\n")
        with pytest.raises(ValueError, match=says):
            evaluate(tmp_path, judge=known)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cube", "scene": null}\n')
    assert evaluate(tmp_path, judge=known).categories[0].judge is None
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="a.png is not a whole picture"):
        evaluate(tmp_path, judge=known)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match="holds no pictures"):
        evaluate(tmp_path, judge=known)


def test_sources_that_draw_nothing_are_one_sentence(known):
    with pytest.raises(ValueError, match="int draws nothing"):
        evaluate(7, "counting", judge=known)
    with pytest.raises(ValueError, match="2 pictures were to be drawn, and 1 came"):
        evaluate(lambda texts, count, seed: [Image.new("RGB", (64, 64))], ["a red cube"], pictures=2, judge=known)
    with pytest.raises(ValueError, match="Between 1 and 1000"):
        evaluate(lambda *_: [], ["a red cube"], pictures=0, judge=known)


def test_an_imagen_and_a_pipeline_are_drawn_from(known):
    scene = drawbench("counting")[0].scene
    image = _pil(known.paint(scene))

    class Imagen:
        def draw(self, texts, *, count, seed, size, guidance):
            assert (count, seed, size, guidance) == (2, 3, 64, 4.0)
            return [image] * (count * len(texts))

    class Pipeline:
        components: dict = {}

        def __call__(self, prompt, generator, num_inference_steps):
            assert len(prompt) == len(generator) == 2 and num_inference_steps == 5
            return type("Output", (), {"images": [image] * len(prompt)})

    text = [caption(scene)]
    first = evaluate(Imagen(), text, pictures=2, seed=3, size=64, judge=known, guidance=4.0)
    second = evaluate(Pipeline(), text, pictures=2, judge=known, num_inference_steps=5)
    assert first.alignment.mean == second.alignment.mean == 1.0


def test_a_folder_of_weights_draws_on_a_gpu_where_there_is_one(monkeypatch, tmp_path):
    places = []
    monkeypatch.setattr("minimagen.cascade.Imagen.from_pretrained", lambda folder: Placed(places))
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert draw_of(tmp_path, 64, {})(["a red cube"], 1, 0) == ["drawn"]
    assert places == ["cuda"]


class Placed:
    def __init__(self, places):
        self.places = places

    def to(self, place):
        self.places.append(place)
        return self

    def draw(self, texts, **options):
        return ["drawn"]


def test_no_two_calls_of_a_pipeline_share_their_noise():
    class Pipeline:
        components: dict = {}

        def __call__(self, prompt, generator):
            return type("Output", (), {"images": [g.initial_seed() for g in generator]})

    draw = draw_of(Pipeline(), None, {})
    assert len({seed for call in (0, 1) for seed in draw(["a"] * 16, 4, call)}) == 2 * 64  # as evaluate asks


def test_the_page_shows_words_as_words(known):
    prompt = Prompt('<b>"bold" & co</b>', "captions", parse("a red cube"), None)
    scene = Scene((replace(RED_CUBE, x=0.0),))
    e = evaluate(lambda *_: known.paint(scene)[None], [prompt], pictures=1, judge=known)
    from minimagen.toyland.report import page

    assert "<b>" not in page(e) and "&lt;b&gt;&quot;bold&quot; &amp; co&lt;/b&gt;" in page(e)


def test_the_page_has_the_tables_of_the_markdown(known):
    from xml.etree import ElementTree

    from minimagen.toyland.report import tables

    e = evaluate(lambda *_: known.paint(Scene((RED_CUBE,)))[None], ["a red cube & a <sphere>"], pictures=1, judge=known)
    assert e.to_markdown().count("\n|---") == len(tables(e)) == 3
    for table in tables(e):
        tree = ElementTree.fromstring(table.html())
        lines = [line for line in table.markdown().splitlines() if not line.startswith("|---")]
        found = [" | ".join("".join(cell.itertext()) for cell in row) for row in tree.iter("tr")]
        assert [f"| {line} |" for line in found] == lines and len(set(table.heads)) == len(table.heads)


# -- the sample that ships ---------------------------------------------------------------------------------------------


def test_a_sample_is_written_whole(tmp_path):
    paths = write_sample(tmp_path, count=2, size=64)
    assert [p.name for p in paths] == ["000.jpg", "001.jpg", "metadata.jsonl"]
    with pytest.raises(ValueError, match="1 to 1000 pictures; 0"):
        write_sample(tmp_path, count=0)


def test_the_shipped_sample_is_what_its_command_writes():
    try:
        folder = data_folder("sample")
    except FileNotFoundError:
        pytest.skip("data/sample is not in this copy")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    scenes = sample_scenes()
    assert [Scene.from_dict(r["scene"]) for r in rows] == scenes and [r["text"] for r in rows] == list(
        map(caption, scenes)
    )
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 1_500_000
    from minimagen.toyland.render import render

    for i in (0, 17, 63):
        pixels = torch.frombuffer(
            bytearray(Image.open(folder / rows[i]["file_name"]).convert("RGB").tobytes()), dtype=torch.uint8
        )
        stored = pixels.view(256, 256, 3).permute(2, 0, 1).float() / 127.5 - 1
        assert (stored - render([scenes[i]], 256)[0]).square().mean() < 4e-4  # 40 dB: JPEG's loss alone
    assert {t.color for s in scenes for t in s.things} == set(COLORS)
    assert any(s.word for s in scenes)
