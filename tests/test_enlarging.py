"""What is measured of the stages that enlarge: each number where its value is known."""

from dataclasses import replace

import pytest
import torch

from minimagen.samples import psnr
from minimagen.toyland.judge_check import true_reading
from minimagen.toyland.parsing import parse
from minimagen.toyland.scene import Scene, Thing
from minimagen.toyland.scoring import score
from tools.measure_enlarging import as_told, decibels, detail, edges, estimates, likeness


def wave(across, size=64):
    """(1, 3, size, size): a cosine of so many periods across the picture."""
    ramp = 2 * torch.pi * torch.arange(size) / size
    return (across * ramp).cos().expand(1, 3, size, size).clone()


def test_detail_is_the_power_of_waves_that_the_small_picture_cannot_hold():
    coarse, fine = wave(8), wave(9)  # 64 px, a quarter of which holds eight periods and no more
    assert detail(coarse) == pytest.approx(0, abs=1e-9)
    assert detail(fine) == pytest.approx(64**2 / 2 / (64**2 - 17**2), rel=1e-4)  # all but 17 × 17 waves are too fine
    assert detail(coarse + fine) == pytest.approx(float(detail(fine)))
    assert detail(2 * fine) == pytest.approx(4 * float(detail(fine)))  # power goes with the square
    assert detail(fine.mT) == pytest.approx(float(detail(fine)))


def test_edges_are_where_the_picture_is_steepest():
    x = torch.zeros(2, 3, 40, 40)
    x[..., 20:] = 1
    x += 1e-3 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    found = edges(x)
    assert found.float().mean((1, 2)).tolist() == pytest.approx([0.1, 0.1], abs=0.01)
    assert found[..., 20].all() and not found[..., 0].all()  # the step, and a picture does not go round


def test_decibels_are_psnr_picture_by_picture():
    x = torch.zeros(2, 3, 8, 8)
    y = x + torch.tensor([0.2, 0.02])[:, None, None, None]
    assert decibels(y, x) == pytest.approx([20.0, 40.0], abs=1e-3) and psnr(y[:1], x[:1]) == pytest.approx(20.0)
    half = torch.zeros(2, 8, 8, dtype=torch.bool)
    half[:, :4] = True
    y[:, :, 4:] = 0.9  # outside of what is asked
    assert decibels(y, x, half) == pytest.approx([20.0, 40.0], abs=1e-3)


def test_a_gain_is_paired_with_what_it_began_from():
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before = {"interpolated": likeness(x + 0.2, x), "drawn": likeness(x + 0.1, x), "true": {"scene": [1.0], "word": []}}
    told = estimates(before)
    gain = told["drawn"]["psnr, gained"]
    assert gain["mean"] == pytest.approx(6.02, abs=0.01) and gain["high"] - gain["low"] < 1e-3 and gain["n"] == 3
    assert "psnr, gained" not in told["interpolated"] and "word" not in told["true"]  # nothing was asked


def test_each_pattern_that_was_asked_for_counts_once():
    pair = Scene((Thing("cube", "red", "large", pattern="striped", x=-1.2), Thing("ring", "blue", "large", x=1.2)))
    half = replace(pair, things=(pair.things[0], replace(pair.things[1], pattern="dotted")))
    asked = parse("a striped red cube and a dotted blue ring")
    assert as_told(score(true_reading(half), asked)) == [True, True]
    assert sorted(as_told(score(true_reading(pair), asked))) == [False, True]
    assert as_told(score(true_reading(pair), parse("a red cube and a blue ring"))) == []
    assert as_told(score(true_reading(Scene(pair.things[:1])), asked)) in ([True, False], [False, True])
