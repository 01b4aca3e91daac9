"""Lesson 09: its figures, the points of its claims, and what it says of scores."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from test_show import LONG, assert_legible

from minimagen import checks, show
from minimagen.cascade import Imagen, Stage
from minimagen.checks.frame import NotYet
from minimagen.checks.lesson_09 import fewest_faults, gaussian_distance, middle
from minimagen.conditioning import Text
from minimagen.denoiser import Denoiser, Dynamic
from minimagen.schedule import CosineSchedule
from minimagen.show.networks import random
from minimagen.toyland import claims, stats
from minimagen.toyland.claims import Bench, Setting, Watched, find, measure, orders, plan
from minimagen.toyland.judge_check import true_reading
from minimagen.toyland.stats import Estimate
from minimagen.unet import UNetConfig
from tools.measure_claims import setting_of, still_true

TINY = UNetConfig(
    size=64, channels=(16,), layers=(1,), attention=("none",), mid_attention="none", text_dim=8, pool="mean",
    efficient=True, fold=16, head_dim=8,
)  # fmt: skip


# Figures


def estimates(*means):
    return [Estimate(m, m - 0.1, m + 0.05, 9) for m in means]


FIGURES = {
    "ranges": lambda: show.ranges(
        {
            "right": {"dynamic": ([1, 2, 4], estimates(0.4, 0.6, 0.7)), "none": ([1, 2], estimates(0.4, 0.5))},
            "Fréchet distance": {"dynamic": ([1, 2, 4], estimates(3, 2, 4))},
        },
        "guidance w",
        log=True,
        percent=["right"],
        level={"Fréchet distance": ("floor", 1.0)},
        caption=LONG,
    ),
    "board": lambda: show.board(
        {"colour binding": estimates(0.5)[0], "counting": estimates(0.9)[0]},
        {"judge": {"counting": 0.95, "colour binding": None}, "chance": {"colour binding": 0.1}},
        caption=LONG,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_legible_and_named(name):
    figure = FIGURES[name]()
    assert_legible(figure)
    assert all(ax.get_xlabel() for ax in figure.axes)


def test_intervals_are_where_they_were_measured():
    ax = FIGURES["ranges"]().axes[0]
    bars = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")]
    ends = [(float(s[0][0]), float(s[0][1]), float(s[1][1])) for b in bars for s in b]
    assert any(x == 4 and low == pytest.approx(0.6) and high == pytest.approx(0.75) for x, low, high in ends)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4"]


# The exercises are the package's, said in a few lines


def test_the_distance_is_torchmetrics():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(200, 6, generator=g)
    b = 1.3 * torch.randn(150, 6, generator=g) @ torch.randn(6, 6, generator=g) + 0.4
    assert float(gaussian_distance(a, b)) == pytest.approx(stats.frechet(a, b), rel=1e-3)


@pytest.mark.parametrize("how", ["lower", "higher", "nearest", "midpoint"])
def test_a_quantile_that_does_not_go_between_is_found_at_once(how):
    """What the hidden test would refuse, the learner's own check refuses, too."""

    def answer(right, picks):
        return torch.quantile(right.mean(1)[picks].mean(1), torch.tensor([0.025, 0.975]), interpolation=how)

    for seed in range(3):
        with pytest.raises(NotYet):
            checks.interval._try(answer, seed)


def test_the_interval_is_the_packages():
    g = torch.Generator().manual_seed(0)
    right = (torch.rand(40, 4, generator=g) > torch.rand(40, 1, generator=g)).float()
    picks = torch.randint(40, (4000, 40), generator=g)
    ours = stats.bootstrap(right.flatten().tolist(), [i // 4 for i in range(160)])
    assert middle(right, picks).tolist() == pytest.approx([ours.low, ours.high], abs=0.02)


def test_the_matching_finds_what_a_greedy_one_does_not():
    cubes = [{"shape": "cube", "color": "red"}, {"shape": "cube", "color": "blue"}]
    assert fewest_faults([{"shape": "cube"}, {"shape": "cube", "color": "red"}], [cubes, cubes[::-1]]) == [0, 0]
    assert fewest_faults([{"color": "red"}], [[], cubes, cubes[1:]]) == [1, 1, 1]


# The claims


class Sees:
    """A judge that reads from every picture the first caption's scene."""

    def __init__(self, scene):
        self.reading = true_reading(scene)

    def look(self, x):
        return [self.reading] * len(x), x.flatten(1)[:, : 8 * claims.DIRECTIONS]

    def features(self, x):
        return self.look(x)[1]

    def __call__(self, x):
        return self.look(x)[0]


@pytest.fixture(scope="module")
def bench():
    base = random(TINY)
    sr = random(replace(TINY, in_channels=6, augmentation=True, size=256))
    stages = [
        Stage(Denoiser(base, CosineSchedule(), "v"), 64),
        Stage(Denoiser(sr, CosineSchedule(), "residual", 0.05), 256, steps=1),
    ]

    def text(captions):
        return Text(torch.stack([torch.randn(3, 8, generator=torch.Generator().manual_seed(len(c))) for c in captions]))

    bench = Bench(Imagen(stages, text), judge=SimpleNamespace(), captions=2, true=24)
    bench.judge = Sees(bench.prompts[0].scene)
    return bench


def test_a_reference_is_read_again_digit_for_digit(bench):
    found = bench.reference(64)
    assert len(found["true"]) == 24 and len(found["own"]) == 2 and len(found["axes"][0]) == claims.DIRECTIONS
    raw = bench.judge.features(claims.render(bench.scenes(), 64))
    bench.know(64, json.loads(json.dumps(found)))
    torch.testing.assert_close(bench.along(raw, 64), torch.tensor(found["own"]), atol=2e-3, rtol=1e-3)


def test_a_point_of_the_base_counts_each_picture(bench):
    bench.know(64, bench.reference(64))
    setting = Setting(steps=2, threshold="none")
    point = measure(bench, setting)
    assert {k: point[k] for k in asdict(setting)} == asdict(setting)
    assert all(len(point[k]) == 2 for k in ("right", "part", "legal", "clipped", "largest", "features"))
    assert point["right"][0] == 1 and point["part"][0] == 1.0, "the judge reads the first caption's scene"
    assert point == measure(bench, setting), "the same noise every time"
    assert point["features"] != measure(bench, replace(setting, w=1.0))["features"]


def test_a_captions_noise_depends_on_its_number_alone(bench):
    both, alone = ([x for x, _ in claims.draw(bench, Setting(steps=1), which)][0] for which in ([0, 1], [1]))
    torch.testing.assert_close(both[1:], alone)


def test_enlarging_begins_from_the_true_from_the_drawn_and_from_plain_things(bench):
    bench.know(256, {"mean": [0.0] * 128, "axes": torch.eye(128)[:, : claims.DIRECTIONS].tolist()})
    bench._drawn = torch.zeros(2, 3, 64, 64)
    true, drawn = (measure(bench, Setting(start, level=0.25)) for start in ("true", "drawn"))
    assert len(true["psnr"]) == 2 and "psnr" not in drawn and true["features"] != drawn["features"]
    scenes, captions, patterns = orders()
    assert len(scenes) == len(captions) == 30 and patterns[:5] == list(claims.PATTERNS)
    assert captions[1].startswith("a large striped red cube") and {s.things[0].pattern for s in scenes} == {"plain"}


def test_what_goes_beyond_is_remembered_before_it_is_cut():
    watched = Watched(Dynamic())
    for scale in (1.0, 3.0, 2.0):
        assert watched(scale * torch.ones(2, 3, 4, 4)).abs().max() <= 1.0
    assert watched.largest.tolist() == [3.0, 3.0]


def test_the_plan_asks_each_thing_once_and_what_matters_first():
    points = plan()
    assert len(set(points)) == len(points)
    assert {p.start for p in points[:16]} == {"noise", "restyled", "drawn", "true"}
    assert {p.threshold for p in points[:5]} == {"none", "static", "dynamic"}
    assert all(p.solver == "ddim" or p.eta == 0 for p in points)


def test_points_are_found_by_what_is_not_usual():
    stored = {"points": [asdict(p) for p in plan()]}
    assert len(find(stored)) == 1
    assert {p["w"] for p in find(stored, w=...)} >= {1.0, 2.0, 4.0, 8.0}
    assert [p["steps"] for p in find(stored, solver="dpm++2m", steps=4)] == [4]
    with pytest.raises(ValueError, match="a point has no guidance"):
        find(stored, guidance=4)


def test_a_file_of_another_world_is_refused(tmp_path):
    (tmp_path / "claims.json").write_text('{"world": 0}')
    with pytest.raises(ValueError, match="version 0 of Toyland"):
        claims.read(tmp_path / "claims.json")


def test_new_weights_forget_what_they_would_draw_otherwise():
    points = [asdict(setting) | {"right": [True]} for setting in plan()]
    about = {"world": 2, "captions": 3, "weights": {"judge": "a", "text_encoder": "b", "unet_64": "c", "unet_256": "d"}}
    kept = about | {"seconds": 5.0, "points": points}
    assert still_true(kept, about) == kept and [setting_of(p) for p in points] == plan()
    larger = still_true(kept, about | {"weights": about["weights"] | {"unet_256": "e"}})
    assert larger["points"] == [p for p in points if p["start"] == "noise"] and 0 < len(larger["points"]) < len(points)
    for name in ("judge", "text_encoder", "unet_64"):
        assert still_true(kept, about | {"weights": about["weights"] | {name: "e"}}) == {}
    assert still_true(kept, about | {"captions": 4}) == {} == still_true({}, about)
