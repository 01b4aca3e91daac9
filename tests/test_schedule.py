"""Schedules against the laws they obey and against diffusers' tables."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from minimagen.schedule import CosineSchedule, LinearSchedule, ShiftedSchedule, TableSchedule

IF_TABLE = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
SCHEDULES = {
    "cosine": CosineSchedule(),
    "linear": LinearSchedule(),
    "linear, of one β": LinearSchedule(0.01, 0.01),
    "shifted": ShiftedSchedule(256),
    "table": TableSchedule(IF_TABLE),
}
each = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
GRID = (torch.arange(1000) + 1) / 1000


@each
@given(t=st.floats(0, 1))
def test_variance_is_preserved(schedule, t):
    alpha, sigma = schedule(t)
    assert float(alpha**2 + sigma**2) == pytest.approx(1, abs=1e-6)


@each
def test_falls_from_the_clean_picture_to_noise(schedule):
    t = torch.linspace(0, 1, 2001)
    alpha, sigma = schedule(t)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert (schedule.logsnr(t).diff() <= 0).all() and (alpha.diff() <= 0).all()
    assert 0 < float(alpha[-1]) < 0.01, "at t = 1 a trace of the picture must be left, or ε-prediction divides by zero"


@each
def test_logsnr_is_that_of_alpha_and_sigma_and_has_an_inverse(schedule):
    t = torch.linspace(0.01, 0.998, 500)
    alpha, sigma = schedule(t)
    torch.testing.assert_close(schedule.logsnr(t), (alpha**2 / sigma**2).log(), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(schedule.t(schedule.logsnr(t)), t, atol=1e-4, rtol=0)


@each
def test_beyond_its_ends_it_is_as_at_its_ends(schedule):
    assert torch.equal(schedule.logsnr(torch.tensor([-0.5, 1.5])), schedule.logsnr(torch.tensor([0.0, 1.0])))


@each
def test_broadcasts_in_one_place(schedule):
    z = torch.zeros(4, 3, 8, 8)
    alpha, sigma = schedule(torch.linspace(0.1, 0.9, 4), like=z)
    assert alpha.shape == sigma.shape == (4, 1, 1, 1)
    assert schedule(0.5, like=z)[0].shape == (4, 1, 1, 1) and alpha.dtype == torch.float32


def test_table_is_deepfloyds_row_by_row():
    torch.testing.assert_close(SCHEDULES["table"](GRID)[0] ** 2, IF_TABLE, atol=1e-6, rtol=1e-6)


def test_cosine_is_deepfloyds_table_clip_included():
    torch.testing.assert_close(CosineSchedule()(GRID)[0] ** 2, IF_TABLE, atol=1e-6, rtol=1e-4)


def test_the_last_step_magnifies_an_error_in_eps_twenty_thousandfold():
    alpha, sigma = CosineSchedule()(1.0)
    assert float(sigma / alpha) == pytest.approx(2e4, rel=0.05)  # the figure that thresholding exists for


def test_linear_is_the_continuous_limit_of_the_1000_step_table():
    table = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear").alphas_cumprod
    torch.testing.assert_close(LinearSchedule()(GRID)[0] ** 2, table, atol=1e-3, rtol=0)


@given(size=st.sampled_from([32, 64, 128, 256, 1024]), t=st.floats(0.05, 0.95))
def test_shift_is_the_noise_that_averaging_removes(size, t):
    """Averaging k × k pixels divides the noise by k: at the same t, a shifted large picture averaged is a 64 px one."""
    alpha, sigma = ShiftedSchedule(size)(t)
    alpha_64, sigma_64 = CosineSchedule()(t)
    assert float(alpha / (sigma * 64 / size)) == pytest.approx(float(alpha_64 / sigma_64), rel=1e-3)


def test_a_shift_to_the_reference_is_none():
    assert torch.equal(ShiftedSchedule(64).logsnr(GRID), CosineSchedule().logsnr(GRID))


@pytest.mark.parametrize("table", [[0.9], [0.5, 0.9], [1.5, 0.5], [0.5, 0.0], [0.9, float("nan")], [0.9, 0.5, 0.5]])
def test_a_table_that_is_none_is_refused(table):
    with pytest.raises(ValueError, match="falling table"):
        TableSchedule(torch.tensor(table))
