"""Lesson 06: its figures say what the values are, and its exercises are what the package computes."""

import numpy as np
import pytest
import torch
from test_show import LONG, assert_legible, pictures

import minimagen as mi
from minimagen import show
from minimagen.checks.lesson_06 import burnt, whole_batch


def estimates(count=5, spread=1.0):
    g = torch.Generator().manual_seed(0)
    return [spread * (k + 1) * torch.randn(3, 8, 8, generator=g) for k in range(count)]


FIGURES = {
    "fans": lambda: show.fans({"w = 1": (mi.times(5)[:-1], estimates()), "w = 8": ([1.0], estimates(1))}, caption=LONG),
    "cut": lambda: show.cut(pictures(1, 64)[0], mi.times(5)[:-1], estimates(), 0.95, at=2, caption=LONG),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_written_is_inside_the_figure_and_large_enough(name):
    figure = FIGURES[name]()
    assert_legible(figure)


def test_a_fans_columns_are_histograms_and_its_rim_counts_what_lies_beyond():
    inside, beyond = torch.full((3, 4, 4), 0.01), torch.full((3, 4, 4), 9.0)
    (image,) = show.fans({"one": ([1.0, 0.5], [inside, beyond])}, limit=3.0).axes[0].get_images()
    ink = image.get_array()
    assert ink.shape[1] == 2 and ink.sum() == pytest.approx(2)
    assert ink[:, 0].argmax() == 30 and ink[:, 1].argmax() == 60  # 61 bins from −3 to 3: the middle, and the top
    with pytest.raises(ValueError, match="one has 1 times for 2 estimates"):
        show.fans({"one": ([1.0], [inside, beyond])})


def test_a_cut_marks_the_s_of_dynamic_thresholding():
    xs, p = estimates(spread=0.4), 0.9
    figure = show.cut(pictures(1)[0], mi.times(5)[:-1], xs, p, at=3)
    _, middle, right = figure.axes
    line, dot = right.get_lines()
    assert list(line.get_ydata()) == pytest.approx([max(1.0, float(x.abs().flatten().quantile(p))) for x in xs])
    assert line.get_ydata()[0] == 1.0 < line.get_ydata()[-1]
    assert list(dot.get_ydata()) == [line.get_ydata()[3]]
    assert middle.get_title().endswith(f"s = {line.get_ydata()[3]:.2f}")
    (edge,) = middle.get_lines()
    assert list(edge.get_xdata()) == [line.get_ydata()[3]] * 2


def test_burnt_out_is_a_share_of_values():
    x = torch.zeros(2, 3, 4, 4)
    x[0, 0, 0, 0], x[0, 1, 2, 2], x[1] = 1.0, -3.0, 0.98
    assert burnt(x).tolist() == pytest.approx([2 / 48, 0.0])


def test_after_dynamic_thresholding_at_most_a_share_of_one_minus_p_is_burnt_out():
    """Which is why to win in that measure proves nothing."""
    x = 5 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert (
        float(burnt(mi.dynamic_threshold(x, 0.995), 1.0).max()) <= 0.0054 < float(burnt(mi.static_threshold(x)).min())
    )


def test_one_percentile_for_a_batch_makes_a_picture_depend_on_its_neighbour_and_ours_does_not():
    x = torch.stack(estimates(2, spread=2.0))
    own, both = mi.dynamic_threshold(x, 0.9), whole_batch(x, 0.9)
    torch.testing.assert_close(mi.dynamic_threshold(x[:1], 0.9), own[:1])
    assert (whole_batch(x[:1], 0.9) - both[:1]).abs().max() > 0.1


def test_diffusers_cap_of_one_is_a_plain_clip_and_ours_is_theirs_with_every_cap():
    from diffusers import DDPMScheduler

    x = torch.stack(estimates(3, spread=2.0))
    for cap in (1.0, 1.5, 100.0):
        scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=cap)
        theirs = scheduler._threshold_sample(x)
        torch.testing.assert_close(theirs, mi.dynamic_threshold(x, 0.9, cap))
        assert torch.equal(theirs, x.clamp(-1, 1)) is (cap == 1.0)
    assert DDPMScheduler().config.sample_max_value == 1.0


def test_a_percentile_of_a_hundredth_is_static():
    x = torch.stack(estimates(1, spread=3.0))
    assert np.percentile(x.abs().numpy(), 0.995) < 1 < np.percentile(x.abs().numpy(), 99.5)
