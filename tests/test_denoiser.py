"""Predictions, guidance and thresholding against closed forms and against diffusers."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Gaussian, Network, Small

from minimagen.conditioning import Cond, PreparedText, Text, augment, smooth, upsample
from minimagen.data import ToylandImages
from minimagen.denoiser import (
    FINE_VARIANCE,
    NOISE_LEFT,
    SMOOTH_VARIANCE,
    Denoiser,
    Dynamic,
    Guided,
    Static,
    Thresholded,
    dynamic_threshold,
    from_x,
    guide,
    static_threshold,
    to_x,
)
from minimagen.schedule import CosineSchedule

COSINE = CosineSchedule()


def pictures(batch=2, size=8, seed=0, scale=1.0):
    return scale * torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def text(batch=2, seed=1):
    return Text(torch.randn(batch, 5, 8, generator=torch.Generator().manual_seed(seed)))


# Conversions


@given(t=st.floats(0.001, 0.999), prediction=st.sampled_from(["eps", "v", "x"]))
def test_conversions_are_inverse_to_each_other(t, prediction):
    x, eps = pictures(seed=1).double(), pictures(seed=2).double()
    alpha, sigma = (a.double() for a in COSINE(t, like=x))
    z = alpha * x + sigma * eps
    out = from_x(x, z, alpha, sigma, prediction)
    torch.testing.assert_close(to_x(out, z, alpha, sigma, prediction), x, atol=1e-4, rtol=1e-4)
    wanted = {"eps": eps, "v": alpha * eps - sigma * x, "x": x}[prediction]
    torch.testing.assert_close(out, wanted, atol=1e-3, rtol=1e-3)


def test_conversions_by_hand():
    alpha, sigma, z = torch.tensor(0.6), torch.tensor(0.8), torch.tensor(1.0)  # x = 0.2, ε = 1.1
    assert float(from_x(torch.tensor(0.2), z, alpha, sigma, "eps")) == pytest.approx(1.1)
    assert float(from_x(torch.tensor(0.2), z, alpha, sigma, "v")) == pytest.approx(0.6 * 1.1 - 0.8 * 0.2)
    assert float(to_x(torch.tensor(1.1), z, alpha, sigma, "eps")) == pytest.approx(0.2)


@pytest.mark.parametrize("prediction", ["eps", "v", "x"])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_whatever_a_network_predicts_x_stays(prediction, t):
    exact, z = Gaussian(), pictures()
    denoiser = Denoiser(Network(exact, prediction), exact.schedule, prediction)
    torch.testing.assert_close(denoiser(z, t, Cond()).x, exact(z, torch.tensor(t), Cond()).x, atol=1e-4, rtol=1e-4)


def test_network_time_is_the_row_of_ifs_table():
    t = (torch.tensor([0, 1, 499, 999]) + 1) / 1000
    torch.testing.assert_close(Denoiser.network_time(t), torch.tensor([0.0, 1.0, 499.0, 999.0]), atol=1e-3, rtol=0)
    assert float(Denoiser.network_time(torch.zeros(()))) == 0


def test_unknown_predictions_are_refused():
    with pytest.raises(ValueError, match="one of eps, v, x, residual"):
        Denoiser(Small(), COSINE, "epsilon")
    for convert in (to_x, from_x):
        with pytest.raises(ValueError, match="eps, v, x into one another, not 'residual'"):
            convert(pictures(), pictures(), torch.tensor(0.6), torch.tensor(0.8), "residual")


def test_learned_variance_is_read_as_ifs():
    """Six channels: ε, and v in [−1, 1], whose (v + 1) / 2 is the place between log β̃ and log β."""
    network = Small(out_channels=6)
    z, cond = pictures(), Cond(text())
    out = network(z, Denoiser.network_time(torch.full((2,), 0.5)), cond)
    x, log_var = Denoiser(network, COSINE)(z, 0.5, cond)
    alpha, sigma = COSINE(0.5, like=z)
    torch.testing.assert_close(x, (z - sigma * out[:, :3]) / alpha)
    torch.testing.assert_close(log_var, (out[:, 3:] + 1) / 2)


# The preconditioned residual


class Silent(Small):
    def forward(self, z, t, cond):
        return torch.zeros_like(z)


@cache
def enlarged_pictures():
    """(4, 3, 256, 256): Toyland at 64 px, enlarged, which is what `augment` adds its noise to."""
    return upsample(torch.stack([item["image"] for item in ToylandImages(64, seed=9).__getitems__(range(4))]), 256)


@pytest.mark.parametrize("level", [None, 0.0, 0.1, 0.3, 0.9])
def test_a_silent_residual_network_is_the_best_linear_guess(level):
    """x − u of spread s, u known up to augmentation: x̂ must have the least error that a linear estimate can have."""
    generator, u0 = torch.Generator().manual_seed(0), enlarged_pictures()
    x = u0 + 0.1 * torch.randn(u0.shape, generator=generator)
    low_res = u0 if level is None else augment(u0, level, generator)
    cond = Cond(low_res=low_res, aug=None if level is None else torch.full((4,), level))
    denoiser = Denoiser(Silent(enlarges=True), COSINE, "residual", spread=0.1)
    a, b = (1.0, 0.0) if level is None else (float(v) for v in COSINE(level))
    parts = ((SMOOTH_VARIANCE, NOISE_LEFT * b**2), (FINE_VARIANCE, (1 - NOISE_LEFT) * b**2))
    from_low = 0.01 + sum(v * e / (a**2 * v + e) for v, e in parts)
    for t in (0.02, 0.3, 0.9):
        alpha, sigma = (float(a) for a in COSINE(t))
        z = alpha * x + sigma * torch.randn(x.shape, generator=generator)
        error = float((denoiser(z, t, cond).x - x).square().mean())
        # the information adds up: 1/variance of what is known of x from z and from low_res
        assert error == pytest.approx(1 / (1 / from_low + alpha**2 / sigma**2), rel=0.1)


def test_each_pictures_own_level_decides_how_much_noise_is_taken_out():
    denoiser, z, u = Denoiser(Small(enlarges=True), COSINE, "residual"), pictures(), pictures(seed=1)
    levels = torch.tensor([0.0, 0.5])
    both = denoiser(z, 0.5, Cond(low_res=u, aug=levels)).x
    alone = denoiser(z[1:], 0.5, Cond(low_res=u[1:], aug=levels[1:])).x
    torch.testing.assert_close(both[1:], alone)


def test_what_the_guess_supposes_of_enlarged_pictures_is_so():
    u, noise = enlarged_pictures(), torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert smooth(noise[..., :32]).shape == noise[..., :32].shape
    assert float(smooth(noise).var()) == pytest.approx(NOISE_LEFT, rel=0.03)
    assert float((u - smooth(u)).var()) == pytest.approx(FINE_VARIANCE, rel=0.5)
    assert float(smooth(u).var()) == pytest.approx(SMOOTH_VARIANCE, rel=0.5)


def test_residual_target_has_unit_variance_and_inverts():
    generator = torch.Generator().manual_seed(0)
    u = 0.5 * torch.randn(4, 3, 64, 64, generator=generator)
    x, eps = u + 0.1 * torch.randn(u.shape, generator=generator), torch.randn(u.shape, generator=generator)
    denoiser = Denoiser(Silent(enlarges=True), COSINE, "residual", spread=0.1)
    t = torch.tensor([0.05, 0.3, 0.6, 0.95])
    cond = Cond(low_res=u, aug=torch.zeros(4))
    _, target = denoiser.loss_terms(x, eps, t, cond)
    torch.testing.assert_close(target.var(dim=(1, 2, 3)), torch.ones(4), atol=0.05, rtol=0)

    class Knows(Small):
        def forward(self, z, t, cond):
            return target

    alpha, sigma = COSINE(t, like=x)
    known = replace(denoiser, unet=Knows(enlarges=True))(alpha * x + sigma * eps, t, cond).x
    torch.testing.assert_close(known, x, atol=1e-4, rtol=1e-4)


def test_a_residual_denoiser_asks_for_the_picture_it_corrects():
    with pytest.raises(ValueError, match=r"needs cond\.low_res"):
        Denoiser(Small(), COSINE, "residual")(pictures(), 0.5, Cond())


@pytest.mark.parametrize("prediction", ["eps", "v", "x"])
def test_loss_terms_of_an_exact_network_leave_what_cannot_be_known(prediction):
    """E|x − x̂|² of N(m, s²) is s²σ²/(α²s² + σ²); in the network's space, times the conversion's factor²."""
    exact = Gaussian()
    denoiser = Denoiser(Network(exact, prediction), exact.schedule, prediction)
    generator = torch.Generator().manual_seed(0)
    x = 0.2 + 0.4 * torch.randn(4, 3, 96, 96, generator=generator)
    t = torch.full((4,), 0.6)
    out, target = denoiser.loss_terms(x, torch.randn(x.shape, generator=generator), t, Cond())
    alpha, sigma = (float(a) for a in exact.schedule(0.6))
    unknown = 0.16 * sigma**2 / (alpha**2 * 0.16 + sigma**2)
    factor = {"eps": alpha / sigma, "v": 1 / sigma, "x": 1.0}[prediction]
    assert float((out - target).pow(2).mean()) == pytest.approx(unknown * factor**2, rel=0.02)


# Guidance


def test_guide_by_hand():
    x_c, x_u = pictures(seed=1), pictures(seed=2)
    torch.testing.assert_close(guide(x_c, x_u, 7.0), 7 * x_c - 6 * x_u, atol=1e-5, rtol=1e-5)


def test_w_of_one_is_identity_and_w_of_zero_is_unconditional():
    x_c, x_u = pictures(seed=1), pictures(seed=2)
    assert torch.equal(guide(x_c, x_u, 1.0), x_c) and torch.equal(guide(x_c, x_u, 0.0), x_u)


def test_guiding_x_is_guiding_eps():
    """Both are linear in each other at the same z, so that Imagen's ε-space formula and ours are one."""
    z, x_c, x_u = pictures(seed=1), pictures(seed=2), pictures(seed=3)
    alpha, sigma = COSINE(0.5, like=z)
    eps = guide(from_x(x_c, z, alpha, sigma, "eps"), from_x(x_u, z, alpha, sigma, "eps"), 3.0)
    torch.testing.assert_close(to_x(eps, z, alpha, sigma, "eps"), guide(x_c, x_u, 3.0), atol=1e-4, rtol=1e-4)


def counted():
    class Counted(Small):
        passes = pictures = 0

        def forward(self, z, t, cond):
            self.passes, self.pictures = self.passes + 1, self.pictures + len(z)
            return super().forward(z, t, cond)

    return Counted()


def test_guided_is_one_batched_pass_equal_to_two():
    network = counted()
    denoiser, z = Denoiser(network, COSINE), pictures()
    guided = Guided(denoiser, 3.0, text(1, seed=9))
    x = guided(z, 0.5, Cond(text())).x
    assert (network.passes, network.pictures) == (1, 4)
    both = (denoiser(z, 0.5, Cond(text())).x, denoiser(z, 0.5, Cond(text(1, seed=9).expand(2))).x)
    torch.testing.assert_close(x, guide(*both, 3.0), atol=1e-4, rtol=1e-4)


def test_guidance_of_one_costs_one_network_call_a_picture():
    network = counted()
    z = pictures()
    x = Guided(Denoiser(network, COSINE), 1.0, text(1)).__call__(z, 0.5, Cond(text())).x
    assert (network.passes, network.pictures) == (1, 2)
    assert torch.equal(x, Denoiser(network, COSINE)(z, 0.5, Cond(text())).x)


def test_outside_its_interval_guidance_is_off_and_free():
    network = counted()
    z, cond = pictures(), Cond(text())
    guided = Guided(Denoiser(network, COSINE), 3.0, text(1, seed=9), interval=(0.2, 0.7))
    x = guided(z, 0.9, cond).x
    assert network.pictures == 2 and torch.equal(x, Denoiser(network, COSINE)(z, 0.9, cond).x)
    assert not torch.equal(guided(z, 0.5, cond).x, Denoiser(network, COSINE)(z, 0.5, cond).x)


@pytest.mark.parametrize("t", [(0.5, 0.9), (0.9, 0.5), (0.2, 0.7)])
def test_each_pictures_own_time_decides_whether_it_is_guided(t):
    z, cond, t = pictures(), Cond(text()), torch.tensor(t)
    plain, always = Denoiser(Small(), COSINE), Guided(Denoiser(Small(), COSINE), 3.0, text(1, seed=9))
    x = replace(always, interval=(0.2, 0.7))(z, t, cond).x
    for i, time in enumerate(t):
        wanted = always if 0.2 <= time <= 0.7 else plain
        torch.testing.assert_close(x[i], wanted(z, t, cond).x[i])


def test_guidance_leaves_the_learned_variance_to_the_conditional_half():
    denoiser = Denoiser(Small(out_channels=6), COSINE)
    z, cond = pictures(), Cond(text())
    torch.testing.assert_close(Guided(denoiser, 5.0, text(1, 9))(z, 0.5, cond).log_var, denoiser(z, 0.5, cond).log_var)


def test_guidance_without_a_null_text_says_so():
    with pytest.raises(ValueError, match="null text"):
        Guided(Denoiser(Small(), COSINE), 3.0)(pictures(), 0.5, Cond(text()))
    with pytest.raises(ValueError, match="a threshold is Static.*, not 'dynamic'"):
        Thresholded(Denoiser(Small(), COSINE), "dynamic")
    with pytest.raises(ValueError, match=r"a threshold is Static\(\)"):
        Thresholded(Denoiser(Small(), COSINE), Dynamic)
    with pytest.raises(ValueError, match="begins above its end"):
        Guided(Denoiser(Small(), COSINE), 3.0, text(1), interval=(0.8, 0.2))
    with pytest.raises(ValueError, match="a pair of times, .low, high., and 0.3 is none"):
        Guided(Denoiser(Small(), COSINE), 3.0, text(1), interval=0.3)
    with pytest.raises(ValueError, match="guidance prepares both texts itself"):
        Guided(Denoiser(Small(), COSINE), 3.0, text(1))(pictures(), 0.5, Cond(PreparedText(None)))


def test_what_reads_no_text_is_not_guided():
    denoiser, z = Denoiser(Small(), COSINE), pictures()
    assert torch.equal(Guided(denoiser, 3.0)(z, 0.5, Cond()).x, denoiser(z, 0.5, Cond()).x)


# Thresholding


def test_static_is_a_clip():
    assert static_threshold(torch.tensor([-3.0, -1.0, 0.5, 2.0])).tolist() == [-1.0, -1.0, 0.5, 1.0]


@pytest.mark.parametrize("p, cap", [(0.95, 1.5), (0.95, None), (0.995, 1.5), (0.8, 100.0)])
def test_dynamic_is_diffusers(p, cap):
    x = pictures(4, 16, scale=1.7)
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=p, sample_max_value=cap or 1e9)
    torch.testing.assert_close(dynamic_threshold(x, p, cap), scheduler._threshold_sample(x), atol=1e-6, rtol=1e-6)


@settings(max_examples=30)
@given(p=st.floats(0.5, 1.0), scale=st.floats(0.01, 20), cap=st.sampled_from([None, 1.5, 3.0]))
def test_dynamic_stays_in_range_and_keeps_order(p, scale, cap):
    x = pictures(scale=scale)
    y = dynamic_threshold(x, p, cap)
    assert float(y.abs().max()) <= 1 + 1e-6
    assert bool((y.flatten()[x.flatten().argsort()].diff() >= -1e-6).all()) or len(x) > 1
    assert torch.equal(dynamic_threshold(x[:1], p, cap), y[:1])


def test_what_lies_inside_is_left_alone():
    """s = max(s, 1): a dull picture is not stretched."""
    x = pictures().clamp(-0.9, 0.9)
    assert torch.equal(dynamic_threshold(x, 0.5), x)


def test_one_percentile_a_picture_not_one_a_batch():
    """A burnt picture beside a tame one: a percentile of the whole batch (a published bug) dims the tame one."""
    tame, burnt = 0.5 * pictures(1).clamp(-1, 1), pictures(1, scale=9.0)
    y = dynamic_threshold(torch.cat([tame, burnt]), 0.9)
    assert torch.equal(y[:1], tame) and torch.equal(y[1:], dynamic_threshold(burnt, 0.9))


def test_a_cap_of_one_is_static_thresholding():
    """Which is why IF's second stage, with sample_max_value 1.0, thresholds statically at the price of a quantile."""
    x = pictures(scale=3.0)
    assert torch.equal(dynamic_threshold(x, 0.95, cap=1.0), static_threshold(x))
    for cap in (0.0, 0.5):
        with pytest.raises(ValueError, match="cap bounds s, which is never below 1"):
            dynamic_threshold(x, 0.95, cap)
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.0)
    torch.testing.assert_close(scheduler._threshold_sample(x), static_threshold(x))


@pytest.mark.parametrize("p", [95, 99.5, 0.0, -1])
def test_a_percentile_where_a_quantile_is_meant_is_refused(p):
    with pytest.raises(ValueError, match="quantile"):
        dynamic_threshold(pictures(), p)


def test_one_picture_is_no_batch():
    with pytest.raises(ValueError, match="each picture of a batch"):
        dynamic_threshold(pictures()[0])


def test_large_batches_pass_though_torch_quantile_may_refuse_them():
    x = torch.randn(6, 3, 1024, 1024, generator=torch.Generator().manual_seed(0)).mul_(2)
    thresholded = dynamic_threshold(x, 0.9)
    assert float(thresholded.abs().max()) <= 1
    assert torch.equal(thresholded[4:5], dynamic_threshold(x[4:5], 0.9))


def test_half_precision_quantiles_are_computed_in_float32():
    x = pictures(1, 16, scale=2.0).bfloat16()
    s = float(torch.quantile(x.float().abs().flatten(), 0.9))
    torch.testing.assert_close(dynamic_threshold(x, 0.9).float(), x.float().clamp(-s, s) / s, atol=1e-2, rtol=1e-2)


def test_thresholded_wraps_and_none_is_off():
    denoiser, z, cond = Denoiser(Small(), COSINE), pictures(scale=4.0), Cond(text())
    plain = denoiser(z, 0.9, cond).x
    assert float(plain.abs().max()) > 1
    assert torch.equal(Thresholded(denoiser, None)(z, 0.9, cond).x, plain)
    assert torch.equal(Thresholded(denoiser, Static())(z, 0.9, cond).x, static_threshold(plain))
    assert torch.equal(Thresholded(denoiser, Dynamic(0.9))(z, 0.9, cond).x, dynamic_threshold(plain, 0.9))


def test_a_gaussians_burn_is_what_guidance_does():
    """Two exact Gaussians of means ±m: guidance moves x̂ by w times their distance, out of [−1, 1] at high w."""
    z = pictures()
    x_c, x_u = Gaussian(mean=0.5)(z, torch.tensor(0.99), Cond()).x, Gaussian(mean=-0.5)(z, torch.tensor(0.99), Cond()).x
    assert float(guide(x_c, x_u, 8.0).mean()) == pytest.approx(-0.5 + 8.0, abs=0.1)
    assert math.isclose(float(static_threshold(guide(x_c, x_u, 8.0)).mean()), 1.0, abs_tol=1e-6)
