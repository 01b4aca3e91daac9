"""Samplers against worlds whose denoiser is exact, against closed forms, and against diffusers' schedulers."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from oracles import Gaussian, Network, Points, Small

from minimagen.conditioning import Cond, Text
from minimagen.denoiser import Denoiser, from_x
from minimagen.sampler import ddim, extrapolate, sample, times
from minimagen.schedule import CosineSchedule, LinearSchedule, ShiftedSchedule, TableSchedule


def seeded(n=0):
    return torch.Generator().manual_seed(n)


def noise(batch=4, size=32, seed=0):
    return torch.randn(batch, 3, size, size, generator=seeded(seed))


def last(steps):
    return list(steps)[-1]


# Laws


@pytest.mark.parametrize(
    "schedule", [CosineSchedule(), LinearSchedule(), ShiftedSchedule(256)], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_gaussians_moments_come_out(eta, schedule):
    exact = Gaussian(schedule=schedule)
    x = last(sample(exact, noise(8, 48), times(400, schedule=schedule), eta=eta, generator=seeded(1))).x
    assert float(x.mean()) == pytest.approx(0.2, abs=0.015)
    assert float(x.std()) == pytest.approx(0.4, abs=0.015)


@pytest.mark.parametrize("steps", [8, 16, 32])
def test_the_second_order_solver_errs_less_at_equal_steps(steps):
    """Deterministic samplers of a Gaussian map z linearly: the map at t = 0 is known, z → mean + std · z."""
    exact, z = Gaussian(), noise(1)

    def error(solver):
        return float(
            (last(sample(exact, z, times(steps, schedule=exact.schedule), solver=solver)).z - (0.2 + 0.4 * z))
            .abs()
            .mean()
        )

    assert error("dpm++2m") < error("ddim")


def test_the_second_order_solver_is_of_second_order():
    exact, z = Gaussian(), noise(1)

    def error(steps):
        return float(
            (last(sample(exact, z, times(steps, schedule=exact.schedule), solver="dpm++2m")).z - (0.2 + 0.4 * z))
            .abs()
            .mean()
        )

    assert error(80) < error(20) / 8  # fourfold steps: 16 times less, the first and last step being of first order


@pytest.mark.parametrize("options", [{}, {"eta": 0.5}, {"eta": 1.0}, {"solver": "dpm++2m"}], ids=str)
def test_ten_pictures_come_out_themselves_and_equally_often(options):
    pictures = torch.randn(10, 3, 4, 4, generator=seeded(3)).clamp(-1, 1)
    x = last(sample(Points(pictures), noise(400, 4), times(100), generator=seeded(4), **options)).x
    distance, which = (x[:, None] - pictures).flatten(2).abs().amax(2).min(1)
    assert float(distance.quantile(0.98)) < 0.02
    counts = torch.bincount(which, minlength=10)
    assert counts.min() > 15, counts  # 40 expected, binomial: 15 is 4 standard deviations away


def test_the_ddpm_step_is_the_posterior():
    """paper.md's closed form: r = e^{λt − λs}, mean = r (αs/αt) z + (1 − r) αs x, variance (1 − r) σs²."""
    schedule, (t, s) = CosineSchedule(), (0.6, 0.5)
    (at, st), (as_, ss) = schedule(t), schedule(s)
    z, x = torch.tensor(0.7), torch.tensor(-0.3)
    r = (schedule.logsnr(t) - schedule.logsnr(s)).exp()
    mean = ddim(z, x, at, st, as_, ss, eta=1.0, noise=torch.tensor(0.0))
    std = ddim(z, x, at, st, as_, ss, eta=1.0, noise=torch.tensor(1.0)) - mean
    torch.testing.assert_close(mean, r * (as_ / at) * z + (1 - r) * as_ * x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(std**2, (1 - r) * ss**2, atol=1e-6, rtol=1e-4)


def test_two_small_steps_from_the_same_x_are_one_large_step():
    schedule, z, x = CosineSchedule(), noise(1), 0.3 * noise(1, seed=2)
    at, mid, to = schedule(0.8), schedule(0.5), schedule(0.2)
    torch.testing.assert_close(ddim(ddim(z, x, *at, *mid), x, *mid, *to), ddim(z, x, *at, *to), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["ddim", "dpm++2m"])
def test_the_last_step_arrives_at_x(solver):
    steps = list(sample(Gaussian(), noise(1), times(7), solver=solver))
    assert len(steps) == 7 and steps[-1].t == 0 and torch.equal(steps[-1].z, steps[-1].x)
    assert [s.index for s in steps] == list(range(7))


def test_extrapolation_is_exact_for_what_is_linear_in_logsnr():
    x_last, x = (
        torch.tensor(1.0),
        torch.tensor(3.0),
    )  # at λ = 0 and 2; at 2.5, half of the next step of 1, it will be 3.5
    assert float(extrapolate(x, x_last, torch.tensor(2.0))) == pytest.approx(3.5)


# diffusers' schedulers, on the same network


TABLE = TableSchedule(DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod)


def grid(scheduler):
    """Its timesteps as times, with 0 at the end."""
    return torch.cat([(scheduler.timesteps + 1) / 1000, torch.zeros(1)]).float()


def network(prediction):
    points = Points(torch.randn(5, 3, 8, 8, generator=seeded(5)), TABLE)
    return Network(points, prediction)


@pytest.mark.parametrize("prediction, name", [("eps", "epsilon"), ("v", "v_prediction"), ("x", "sample")])
def test_ddim_is_diffusers_step_by_step(prediction, name):
    scheduler = DDIMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        prediction_type=name,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    net, z = network(prediction), noise(2, 8)
    ours = sample(Denoiser(net, TABLE, prediction), z, grid(scheduler))
    theirs = z
    for t, step in zip(scheduler.timesteps, ours, strict=True):
        theirs = scheduler.step(net(theirs, t.expand(2).float(), Cond()), t, theirs).prev_sample
        torch.testing.assert_close(step.z, theirs, atol=2e-3, rtol=1e-3)


def test_ddpm_is_diffusers_posterior_step_by_step(monkeypatch):
    """Without noise both give the posterior's mean; with it, fixed_small's variance."""
    scheduler = DDPMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        variance_type="fixed_small",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    net, z, n = network("eps"), noise(2, 8), noise(2, 8, seed=9)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: n)
    monkeypatch.setattr("minimagen.sampler.noise_like", lambda *a, **k: n)
    theirs = z
    for t, step in zip(scheduler.timesteps, sample(Denoiser(net, TABLE), z, grid(scheduler), eta=1.0), strict=True):
        theirs = scheduler.step(net(theirs, t.expand(2).float(), Cond()), t, theirs).prev_sample
        torch.testing.assert_close(step.z, theirs, atol=2e-3, rtol=1e-3)


def test_learned_variance_is_diffusers_learned_range(monkeypatch):
    scheduler = DDPMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        variance_type="learned_range",
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    net, z, n = Small(out_channels=6), noise(2, 8), noise(2, 8, seed=9)
    text = Text(torch.randn(2, 5, 8, generator=seeded(1)))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: n)
    monkeypatch.setattr("minimagen.sampler.noise_like", lambda *a, **k: n)
    ours = sample(Denoiser(net, TABLE), z, grid(scheduler), Cond(text), eta=1.0)
    theirs = z
    for t, step in zip(scheduler.timesteps, ours, strict=True):
        theirs = scheduler.step(net(theirs, t.expand(2).float(), Cond(text)), t, theirs).prev_sample
        if (
            step.t == 0
        ):  # there diffusers still adds noise, of what the network says of a variance that is 0; we add none
            break
        scale = float(theirs.abs().max())
        torch.testing.assert_close(step.z / scale, theirs / scale, atol=2e-3, rtol=1e-3)


def test_dpm_solver_is_diffusers_step_by_step():
    scheduler = DPMSolverMultistepScheduler(
        1000, beta_schedule="squaredcos_cap_v2", algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
        final_sigmas_type="zero", timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(20)
    net, z = network("eps"), noise(2, 8)
    ours = sample(Denoiser(net, TABLE), z, grid(scheduler), solver="dpm++2m")
    theirs = z
    for t, step in zip(scheduler.timesteps, ours, strict=True):
        theirs = scheduler.step(net(theirs, t.expand(2).float(), Cond()), t, theirs).prev_sample
        torch.testing.assert_close(step.z, theirs, atol=5e-3, rtol=5e-3)


# Habits


@pytest.mark.parametrize("options", [{}, {"eta": 1.0}, {"solver": "dpm++2m"}], ids=str)
def test_a_picture_alone_and_in_a_batch_agree(options):
    denoiser = Denoiser(Small(), CosineSchedule(), "v")
    text = Text(torch.randn(3, 5, 8, generator=seeded(1)))
    z = noise(3, 8)
    many = last(sample(denoiser, z, times(10), Cond(text), generator=[seeded(i) for i in range(3)], **options)).z
    one = last(sample(denoiser, z[1:2], times(10), Cond(text[1]), generator=[seeded(1)], **options)).z
    assert 10 * torch.log10(4 / (many[1:2] - one).pow(2).mean()) > 50


def test_text_is_prepared_once_a_picture():
    class Prepares(Small):
        prepared = 0

        def prepare(self, cond):
            self.prepared += 1
            return cond

    net = Prepares()
    last(sample(Denoiser(net, CosineSchedule(), "v"), noise(1, 8), times(10), Cond(Text(torch.zeros(1, 5, 8)))))
    assert net.prepared == 1


def test_times_end_at_zero_and_respace():
    assert times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert times(4, start=0.6).tolist() == pytest.approx([0.6, 0.45, 0.3, 0.15, 0])
    even = CosineSchedule().logsnr(times(10, schedule=CosineSchedule())[:-1]).diff()
    torch.testing.assert_close(even, even.mean().expand(9), rtol=0.02, atol=0)


def test_a_step_of_ones_own_is_used():
    calls = []

    def mine(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
        calls.append(1)
        return alpha_s * x + sigma_s * from_x(x, z, alpha_t, sigma_t, "eps")

    ours = last(sample(Gaussian(), noise(1, 8), times(6), step=mine)).z
    assert len(calls) == 6 and torch.allclose(ours, last(sample(Gaussian(), noise(1, 8), times(6))).z)


def test_times_may_be_a_list():
    drawn = [last(sample(Gaussian(), noise(1, 8), ts)).z for ts in ([1.0, 0.5, 0.0], torch.tensor([1.0, 0.5, 0.0]))]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    "fault, says",
    [
        ({"solver": "euler"}, "solver is"),
        ({"solver": "dpm++2m", "eta": 1.0}, "deterministic"),
        ({"times": torch.tensor([0.0, 1.0])}, "fall from noise"),
    ],
)
def test_faults_are_named(fault, says):
    options = {"times": times(2), **fault}
    with pytest.raises(ValueError, match=says):
        last(sample(Gaussian(), noise(1, 8), options.pop("times"), **options))


@pytest.mark.parametrize("start", [1e-3, 5e-4])
def test_times_that_begin_near_the_picture_fall_too(start):
    assert bool((times(4, start=start, schedule=CosineSchedule()).diff() < 0).all())


def test_a_run_that_is_broken_off_and_gone_on_with_is_the_same():
    for eta in (0.0, 0.7):
        whole, parts, t = seeded(), seeded(), times(8)
        z = last(sample(Gaussian(), noise(1, 8), t[:5], eta=eta, generator=parts)).z
        gone_on = last(sample(Gaussian(), z, t[4:], eta=eta, generator=parts)).z
        assert torch.equal(gone_on, last(sample(Gaussian(), noise(1, 8), t, eta=eta, generator=whole)).z)
    assert torch.equal(times(8, start=0.5), times(16)[8:])


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"steps": 3, "start": 0.0}, {"steps": 3, "start": 1.5}])
def test_impossible_times_are_refused(arguments):
    with pytest.raises(ValueError, match="one step or more|start is a time"):
        times(**arguments)


def test_nan_is_noticed_at_the_step_where_it_appears():
    class Broken(Small):
        def forward(self, z, t, cond):
            return torch.full_like(z, float("nan"))

    with pytest.raises(ValueError, match="step 0 has NaN"):
        last(sample(Denoiser(Broken(), CosineSchedule()), noise(1, 8), times(3)))
