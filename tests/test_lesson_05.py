"""Lesson 05: its answers are the package's guidance, and its clouds show every point that they are given."""

import pytest
import torch
from test_show import assert_legible

import minimagen as mi
from minimagen import show
from minimagen.checks.lesson_05 import FORMULAS, one_pass, weight_of_the_caption


def network(z, t, cond):
    said = cond.text.tokens.mean((1, 2)).view(-1, 1, 1, 1)
    return z.tanh() * (1 + t.view(-1, 1, 1, 1) / 1000) + said


def test_one_pass_is_what_guided_does():
    g = torch.Generator().manual_seed(0)
    z, t = torch.randn(3, 3, 8, 8, generator=g), torch.tensor(0.4)
    tokens, null = (torch.randn(n, 4, 6, generator=g) for n in (3, 1))
    denoiser = mi.Denoiser(network, mi.CosineSchedule(), "x")

    def estimate(z, t, tokens):
        return denoiser(z, t, mi.Cond(mi.Text(tokens))).x

    for w in (0.0, 1.0, 4.0):
        theirs = mi.Guided(denoiser, w, mi.Text(null))(z, t, mi.Cond(mi.Text(tokens))).x
        torch.testing.assert_close(one_pass(estimate, z, t.expand(3), tokens, null, w), theirs)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_w_that_is_found_draws_the_same(name):
    formula, x_c, x_u = FORMULAS[name], torch.randn(2, 3), torch.randn(2, 3)
    w = weight_of_the_caption(formula, 3.0)
    if w is None:
        assert name in ("sign lost", "way alone")
        assert not torch.allclose(formula(x_c, x_c, 3.0), x_c), "with two alike, guidance gives the same again"
    else:
        torch.testing.assert_close(mi.guide(x_c, x_u, w), formula(x_c, x_u, 3.0))


def test_clouds_show_all_points_and_those_outside_on_the_edge():
    drawn, ground = torch.tensor([[0.5, -0.5], [7.0, 0.0]]), torch.zeros(3, 2)
    figure = show.clouds({"w = 1": {"drawn": drawn}, "w = 4": {"drawn": drawn}}, {"true": ground}, caption="Look.")
    assert [ax.get_title() for ax in figure.axes] == ["w = 1", "w = 4"]
    behind, points = figure.axes[0].collections
    assert points.get_offsets().tolist() == [[0.5, -0.5], [2.0, 0.0]]
    assert len(behind.get_offsets()) == 3
    assert_legible(figure)
