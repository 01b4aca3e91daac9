"""The loss against hand-worked numbers and theory; exact resume, whole files, several processes that agree."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minimagen import files, objective
from minimagen.cascade import Stage
from minimagen.checkpoint import NAME
from minimagen.conditioning import Cond, Text, upsample
from minimagen.denoiser import Denoiser
from minimagen.objective import Task, cut, dice, losses, min_snr, shrink, spread_times, stretch
from minimagen.schedule import CosineSchedule
from minimagen.training import EMA, lr_factor, train
from minimagen.unet import UNet, UNetConfig

COSINE = CosineSchedule()
SIX_EIGHTS = COSINE.t(math.log(0.64 / 0.36))  # the time at which α = 0.8 and σ = 0.6


class Tiny(nn.Module):
    """A stand-in network: two convolutions, shifted by time, text and augmentation level; it keeps what it was told."""

    def __init__(self, channels=3, enlarges=False, dropout=0.0, width=8):
        super().__init__()
        self.config = SimpleNamespace(enlarges=enlarges, to_dict=dict)
        self.first, self.last = (
            nn.Conv2d(6 if enlarges else 3, width, 3, padding=1),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.time, self.text, self.aug = nn.Linear(1, width), nn.Linear(4, width), nn.Linear(1, width)
        self.dropout, self.told = nn.Dropout(dropout), []

    def forward(self, z, t, cond):
        self.told.append((z.detach(), t, cond))
        shift = self.time(t[:, None] / 1000) + (0 if cond.text is None else self.text(cond.text.tokens.mean(1)))
        shift = shift + (0 if cond.aug is None else self.aug(cond.aug[:, None]))
        z = z if cond.low_res is None else torch.cat([z, cond.low_res], 1)
        return self.last(self.dropout(F.gelu(self.first(z) + shift[..., None, None])))


class Constant(nn.Module):
    """Says the same whatever it is asked: a number, or a function of (z, t)."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, z, t, cond):
        return self.value(z, t) if callable(self.value) else torch.full_like(z, self.value)


class Pictures:
    """An endless, indexed stream of smooth pictures."""

    def __init__(self, size=8, items=None):
        self.size = size
        if items is not None:
            self.__class__ = type("Finite", (Pictures,), {"__len__": lambda self: items})

    def __getitem__(self, index):
        g = torch.Generator().manual_seed(index)
        image = F.interpolate(torch.rand(1, 3, 2, 2, generator=g) * 1.4 - 0.7, (self.size, self.size), mode="bilinear")[
            0
        ]
        return {"image": image, "caption": "abc"[index % 3] * (1 + index % 5)}


def encode(captions):
    """Text of three tokens; the null text is zeros."""
    rows = [torch.full((3, 4), float(len(c))) * (ord(c[0]) - 95 if c else 0) / 8 for c in captions]
    return Text(torch.stack(rows))


def make(enlarges=False, size=8, prediction="v", dropout=0.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Plain(Denoiser(Tiny(enlarges=enlarges, dropout=dropout), COSINE, prediction), size)


class Plain(Stage):
    save_pretrained = property()  # a stand-in network has no folder layout


def run(stage=None, data=None, **options):
    options = {"batch": 4, "text": encode, "precision": "fp32", "warmup": 2, **options}
    return list(train(stage or make(), Pictures() if data is None else data, **options))


def weights(stage):
    return {name: p.detach().clone() for name, p in stage.denoiser.unet.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The loss


def test_the_loss_of_each_prediction_against_hand_worked_numbers():
    x, eps, t = torch.full((2, 3, 4, 4), 0.5), torch.ones(2, 3, 4, 4), SIX_EIGHTS.expand(2)
    # z = 0.8·0.5 + 0.6·1 = 1; the network says 0.3; ε is 1, v = 0.8·1 − 0.6·0.5 = 0.5, x is 0.5
    for prediction, expected in (("eps", 0.49), ("v", 0.04), ("x", 0.04)):
        got = losses(Denoiser(Constant(0.3), COSINE, prediction), x, eps, t, Cond())
        assert torch.allclose(got, torch.full((2,), expected), atol=1e-5), prediction
    # u = 0.4, y = z − 0.8 u = 0.68, spread 0.5: c_in = 1/√(0.16 + 0.36), c_skip = 0.2 c_in², c_out = 0.3 c_in
    c_in = 1 / math.sqrt(0.52)
    target = (0.5 - 0.4 - 0.2 * c_in**2 * 0.68) / (0.3 * c_in)
    got = losses(Denoiser(Constant(0.3), COSINE, "residual", 0.5), x, eps, t, Cond(low_res=torch.full_like(x, 0.4)))
    assert torch.allclose(got, torch.full((2,), (0.3 - target) ** 2), atol=1e-5)


def test_min_snr_against_hand_worked_numbers():
    snr = torch.tensor([0.01, 1.0, 5.0, 100.0]).log()
    assert torch.allclose(min_snr(snr, "x"), torch.tensor([0.01, 1, 5, 5]))
    assert torch.allclose(min_snr(snr, "eps"), torch.tensor([1, 1, 1, 0.05]))
    assert torch.allclose(min_snr(snr, "v"), torch.tensor([0.01 / 1.01, 1 / 2, 5 / 6, 5 / 101]))
    with pytest.raises(ValueError, match="use 'plain'"):
        min_snr(snr, "residual")


@given(st.floats(0.05, 0.95), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_min_snr_weighs_the_same_error_of_x_whatever_is_predicted(t, x_hat, pixel):
    """Networks that mean the same x̂ have the same weighted loss."""
    x, eps = torch.full((1, 3, 2, 2), pixel), torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([t])
    alpha, sigma = COSINE(t, like=x)
    says = {
        "x": lambda z, _: torch.full_like(z, x_hat),
        "eps": lambda z, _: (z - alpha * x_hat) / sigma,
        "v": lambda z, _: (alpha * z - x_hat) / sigma,
    }
    got = [losses(Denoiser(Constant(f), COSINE, kind), x, eps, t, Cond(), "min-snr") for kind, f in says.items()]
    assert torch.allclose(got[0], got[1], rtol=1e-3, atol=1e-5)
    assert torch.allclose(got[0], got[2], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_an_exact_denoiser_has_the_loss_that_theory_gives(t):
    """Pixels of N(m, s²): the best x̂ has error V = s²σ² / (α²s² + σ²), which is V α²/σ² in ε and V/σ² in v."""
    m, s = 0.2, 0.4
    g = torch.Generator().manual_seed(0)
    x = m + s * torch.randn(16, 3, 32, 32, generator=g)
    eps, time = torch.randn(x.shape, generator=g), torch.full((16,), t)
    alpha, sigma = (float(v) for v in COSINE(t))
    variance = s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)

    def best(z):
        return m + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (z - alpha * m)

    exact = {
        "x": (lambda z, _: best(z), variance),
        "eps": (lambda z, _: (z - alpha * best(z)) / sigma, variance * alpha**2 / sigma**2),
        "v": (lambda z, _: (alpha * z - best(z)) / sigma, variance / sigma**2),
    }
    for prediction, (says, expected) in exact.items():
        got = losses(Denoiser(Constant(says), COSINE, prediction), x, eps, time, Cond()).mean()
        assert float(got) == pytest.approx(expected, rel=0.02), prediction


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_a_residual_networks_target_has_unit_spread_and_silence_is_the_best_linear_guess(t):
    g = torch.Generator().manual_seed(0)
    u = torch.randn(16, 3, 32, 32, generator=g) * 0.5
    x, eps = u + 0.1 * torch.randn(u.shape, generator=g), torch.randn(u.shape, generator=g)
    denoiser = Denoiser(Constant(0.0), COSINE, "residual", 0.1)
    got = losses(denoiser, x, eps, torch.full((16,), t), Cond(low_res=u)).mean()
    assert float(got) == pytest.approx(1.0, rel=0.02)


def test_the_target_does_not_depend_on_what_the_network_says():
    x, eps = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for prediction in ("eps", "v", "x"):
        a, b = (
            Denoiser(Constant(c), COSINE, prediction).loss_terms(x, eps, torch.tensor([0.3, 0.6]), Cond())[1]
            for c in (0.0, 9.0)
        )
        assert torch.equal(a, b)


# What is random


def test_times_are_uniform_and_evenly_spread_over_any_run_of_pictures():
    for first in (0, 12_345, 3_000_000):
        t = spread_times(torch.arange(first, first + 64), seed=3).sort().values
        assert objective.FIRST <= float(t[0]) < 0.04
        assert 0.96 < float(t[-1]) <= 1
        assert float(t.diff().max()) < 3 / 64  # 64 independent times leave gaps of about 5/64
    t = spread_times(torch.arange(100_000))
    assert torch.histc(t, 10, 0, 1).sub(10_000).abs().max() < 150
    for shift in (1.0, 2.0, 5.0):  # P(t > τ) = shift (1 − τ) / (shift − (shift − 1) τ)
        late = (spread_times(torch.arange(100_000), shift=shift) > 0.7).double().mean()
        assert float(late) == pytest.approx(shift * 0.3 / (shift - (shift - 1) * 0.7), abs=0.002)
    assert not torch.equal(spread_times(torch.arange(8), 0), spread_times(torch.arange(8), 1))
    some = spread_times(torch.arange(100_000), times=(0.5, 0.9))
    assert torch.histc(some, 4, 0.5, 0.9).sub(25_000).abs().max() < 150 and 0.5 <= some.min() and some.max() <= 0.9


def test_a_pictures_dice_do_not_depend_on_its_batch():
    whole = [torch.rand(3, generator=g) for g in dice(7, torch.arange(10))]
    part = [torch.rand(3, generator=g) for g in dice(7, torch.arange(4, 6))]
    assert torch.equal(whole[4], part[0])
    assert torch.equal(whole[5], part[1])
    assert len({tuple(w.tolist()) for w in whole}) == 10


def test_neighbouring_seeds_share_no_pictures_dice():
    rolled = [torch.rand(3, generator=g) for seed in range(6, 10) for g in dice(seed, torch.arange(4))]
    assert len({tuple(u.tolist()) for u in rolled}) == 16


def test_shrink_is_the_mean_of_each_square():
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4)
    assert shrink(x, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert torch.equal(shrink(x, 1), x)
    with pytest.raises(ValueError, match="cannot be shrunk 3 times"):
        shrink(x, 3)


def test_stretch_is_diffusers_resize_and_a_window_of_it():
    low = torch.rand(2, 3, 16, 16)
    whole = F.interpolate(low, (64, 64), mode="bilinear", align_corners=True)
    assert torch.allclose(stretch(low, 4, torch.zeros(2, 2).long(), 64), whole, atol=1e-5)
    # a window of 8 low-res pixels at (16, 24); its outermost pixels would need their neighbours
    window = stretch(low[:, :, 6:14, 4:12], 4, torch.tensor([[16, 24]] * 2), 64)
    assert torch.allclose(window[:, :, 4:-4, 4:-4], whole[:, :, 28:52, 20:44], atol=1e-5)


def test_crops_lie_on_the_low_res_grid_and_reach_every_corner():
    x = torch.arange(256.0).view(1, 1, 16, 16).expand(500, 3, 16, 16)
    u = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    crops, origin = cut(x, 8, 4, u)
    assert crops.shape == (500, 3, 8, 8)
    assert sorted(set(map(tuple, origin.tolist()))) == [(a, b) for a in (0, 4, 8) for b in (0, 4, 8)]
    assert torch.equal(crops[:, 0, 0, 0], (origin[:, 1] * 16 + origin[:, 0]).float())
    assert cut(x, 16, 4, u)[0].equal(x)
    for crop, said in ((6, "multiple of 4"), (20, "smaller than the crop")):
        with pytest.raises(ValueError, match=said):
            cut(x, crop, 4, u)


def batch_of(count, size=8):
    items = [Pictures(size)[i] for i in range(count)]
    return {"image": torch.stack([i["image"] for i in items]), "caption": [i["caption"] for i in items]}


@pytest.mark.parametrize(("drop", "low", "high"), [(0.0, 0, 0), (0.1, 0.07, 0.13), (1.0, 1, 1)])
def test_a_share_of_the_captions_becomes_the_null_text(drop, low, high):
    stage = make()
    task = Task(stage.denoiser, 8, text=encode, null=encode([""]), drop=drop)
    task(batch_of(1000), torch.arange(1000), torch.device("cpu"))
    tokens = stage.denoiser.unet.told[0][2].text.tokens
    dropped = (tokens == 0).flatten(1).all(1).float().mean()
    assert low <= float(dropped) <= high


def test_an_sr_stage_is_told_the_level_that_its_low_res_has():
    """z = α x + σ n with the level of each picture: from the recorded level the noise is N(0, 1) again."""
    stage = make(enlarges=True, size=16)
    batch = batch_of(200, 16)
    task = Task(stage.denoiser, 16, True, factor=4, stretched=0.0)
    task(batch, torch.arange(200), torch.device("cpu"))
    _, _, cond = stage.denoiser.unet.told[0]
    assert cond.low_res.shape == (200, 3, 16, 16)
    assert 0 <= float(cond.aug.min()) < 0.05 < 0.95 < float(cond.aug.max()) <= 1
    alpha, sigma = COSINE(cond.aug, like=cond.low_res)
    noise = (cond.low_res - alpha * upsample(shrink(batch["image"], 4), 16)) / sigma
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert torch.allclose(noise.flatten(1).std(1), torch.ones(200), atol=0.15)
    replace(task, noisiest=0.3)(batch, torch.arange(200), torch.device("cpu"))
    assert 0.28 < float(stage.denoiser.unet.told[1][2].aug.max()) <= 0.3


def test_an_sr_stage_trains_on_crops_and_on_both_ways_of_enlarging():
    stage = make(enlarges=True, size=16)
    for stretched in (0.0, 1.0):
        task = Task(stage.denoiser, 16, True, crop=8, stretched=stretched, augment=lambda low, *_: low)
        task(batch_of(4, 16), torch.arange(4), torch.device("cpu"))
    bicubic, corners = (told[2].low_res for told in stage.denoiser.unet.told)
    assert bicubic.shape == (4, 3, 8, 8)
    assert not torch.allclose(bicubic, corners, atol=1e-3)


def test_a_window_is_stretched_as_the_whole_picture_is():
    image = batch_of(2, 64)["image"]
    whole = F.interpolate(shrink(image, 4), (64, 64), mode="bilinear", align_corners=True)
    window = {"image": image[..., 24:56, 16:48], "origin": torch.tensor([[16, 24]] * 2)}
    task = Task(make(enlarges=True, size=64).denoiser, 64, True, crop=32, stretched=1.0, augment=lambda low, *_: low)
    low_res = task.terms(window, torch.arange(2), torch.device("cpu"))[3].low_res
    assert torch.allclose(low_res[..., 4:-4, 4:-4], whole[..., 28:52, 20:44], atol=1e-5)


def test_whether_a_caption_is_dropped_says_nothing_of_how_its_small_picture_was_enlarged():
    task = Task(
        make(enlarges=True, size=16).denoiser, 16, True, text=encode, null=encode([""]), drop=0.5, stretched=0.5,
        augment=lambda low, *_: low,
    )  # fmt: skip
    batch, places, cpu = batch_of(400, 16), torch.arange(400), torch.device("cpu")
    cond, bicubic = (one.terms(batch, places, cpu)[3] for one in (task, replace(task, stretched=0.0)))
    dropped = (cond.text.tokens == 0).flatten(1).all(1)
    stretched = (cond.low_res != bicubic.low_res).flatten(1).any(1)
    assert float(stretched[dropped].float().mean()) == pytest.approx(0.5, abs=0.1)


def test_an_sr_stage_begins_from_the_data_sets_own_small_pictures_if_there_are_any():
    stage = make(enlarges=True, size=16)
    task = Task(stage.denoiser, 16, True, crop=8, stretched=0.0, augment=lambda low, *_: low)
    batch, places = batch_of(4, 16), torch.arange(4)
    shrunk = {**batch, "low": shrink(batch["image"], 4)}
    for each in (batch, shrunk, {**batch, "low": -shrunk["low"]}):
        task(each, places, torch.device("cpu"))
    without, same, negative = (told[2].low_res for told in stage.denoiser.unet.told)
    torch.testing.assert_close(same, without)  # the window of the small picture is where the large one's is
    torch.testing.assert_close(negative, -without)


def test_a_small_stage_learns_from_larger_pictures_shrunk():
    task, x = Task(make().denoiser, 8), batch_of(2, 16)
    small = {**x, "image": shrink(x["image"], 2)}
    assert task(x, torch.arange(2), torch.device("cpu")) == task(small, torch.arange(2), torch.device("cpu"))
    with pytest.raises(ValueError, match="pictures are 12 × 12 px; this stage draws 8 px"):
        task(batch_of(2, 12), torch.arange(2), torch.device("cpu"))


@pytest.mark.parametrize(("enlarges", "crop"), [(False, None), (True, None), (True, 8)])
def test_pictures_of_another_size_or_that_are_no_squares_are_refused(enlarges, crop):
    task = Task(make(enlarges=enlarges, size=16).denoiser, 16, enlarges, crop=crop)
    for height, width in [(16, 32), (32, 16)] + ([(4, 4), (32, 32)] if enlarges else [(8, 8)]):
        batch = {"image": torch.zeros(2, 3, height, width), "caption": ["a"] * 2}
        with pytest.raises(ValueError, match=f"pictures are {width} × {height} px; this stage draws 16 px"):
            task(batch, torch.arange(2), torch.device("cpu"))


# The averaged weights and the learning rate


def test_ema_against_hand_worked_numbers():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    ema = EMA(module, decay=0.15)
    averages = []
    for value in (1.0, 2.0, 3.0):
        nn.init.constant_(module.weight, value)
        ema.update()
        averages.append(float(ema.average["weight"]))
    # the first update forgets the beginning, then d = min(0.15, 2/11), min(0.15, 3/12)
    assert averages == pytest.approx([1.0, 0.15 * 1 + 0.85 * 2, 0.15 * (0.15 + 1.7) + 0.85 * 3])
    slow = EMA(module, decay=0.9999)
    slow.update()
    nn.init.constant_(module.weight, 14.0)
    slow.update()
    assert float(slow.average["weight"]) == pytest.approx(2 / 11 * 3 + 9 / 11 * 14)  # the warm-up, for 2/11 < 0.9999


def test_ema_lends_its_weights_and_gives_the_others_back():
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    ema = EMA(module, 0.5)
    before = module.weight.detach().clone()
    with pytest.raises(KeyError), ema:
        ema.average["weight"] += 1
        raise KeyError
    assert torch.equal(module.weight, before)
    with ema:
        assert torch.equal(module.weight, before + 1)
        with pytest.raises(ValueError, match="in use already"):
            ema.__enter__()
    ema.copy_to(other)
    assert torch.equal(other.weight, before + 1)
    with pytest.raises(ValueError, match="lies in"):
        EMA(module, 1.0)


def test_learning_rate_up_flat_and_down_to_zero():
    assert [lr_factor(s, 0.0, warmup=3) for s in range(4)] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert [lr_factor(99, p, decay=0.4) for p in (0, 0.6, 0.8, 0.9, 1)] == pytest.approx([1, 1, 0.5, 0.25, 0])
    assert lr_factor(0, 1.0, decay=0) == 1


# The loop


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bf16"}, {"accumulate": 2, "dropout": 0.5}, {"enlarges": True}, {"optimizer": "muon"}],
    ids=str,
)
def test_ten_steps_are_five_and_resumed_five_bit_for_bit(tmp_path, options):
    options = dict(options)
    kind = {"dropout": options.pop("dropout", 0.0), "enlarges": options.pop("enlarges", False)}
    whole, halves = make(**kind), make(**kind)
    data = Pictures(items=7)  # finite, so that its order must continue as well
    losses_whole = [s.loss for s in run(whole, data, steps=10, decay=0, out=tmp_path / "a", **options)]
    losses_halves = [s.loss for s in run(halves, data, steps=5, decay=0, out=tmp_path / "b", **options)]
    torch.rand(3)  # the caller's random numbers are not the run's
    halves = make(**kind, seed=9)  # weights come from the checkpoint alone
    steps = run(halves, data, steps=10, decay=0, out=tmp_path / "b", resume=True, **options)
    assert [s.step for s in steps] == [6, 7, 8, 9, 10]
    assert losses_whole == losses_halves + [s.loss for s in steps]
    assert same(weights(whole), weights(halves))
    a, b = (files.load_tensors(tmp_path / name / NAME) for name in "ab")
    assert same(a, b)
    assert any(name.startswith("optimizer/") and float(t.abs().max()) > 0 for name, t in a.items())


def test_no_two_pictures_of_a_run_share_their_noise_or_their_time():
    stage = make(prediction="eps")
    image = {"image": torch.zeros(3, 8, 8), "caption": ""}  # z is then σ ε
    run(stage, [image], steps=4, accumulate=2)
    z, t = (torch.cat([told[k] for told in stage.denoiser.unet.told]) for k in (0, 1))
    assert len(z) == len(t.unique()) == 16
    noise = z.flatten(1) / z.flatten(1).norm(dim=1, keepdim=True)
    assert (noise @ noise.T).fill_diagonal_(0).abs().max() < 0.4  # 192 numbers each: chance stays below that


def test_a_runs_times_and_levels_are_as_it_is_told():
    stage = make(enlarges=True, size=16)
    run(stage, Pictures(16), steps=16, shift=5.0, noisiest=0.2)
    _, t, cond = zip(*stage.denoiser.unet.told, strict=True)
    wanted = stage.denoiser.network_time(spread_times(torch.arange(64), 0, 5.0))
    torch.testing.assert_close(torch.cat(t), wanted)
    assert 0.15 < float(torch.cat([c.aug for c in cond]).max()) <= 0.2


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    stage = make()
    torch.manual_seed(5)
    run(stage, steps=2)
    assert torch.equal(torch.rand(2), expected)


def test_training_fits_one_picture():
    item = Pictures(8)[3]
    steps = run(make(), [item], steps=150, batch=8, lr=0.02)
    losses = [s.loss for s in steps]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert [s.images for s in steps[:3]] == [8, 16, 24]


def test_a_batch_in_parts_is_the_batch():
    whole, parts = make(), make()
    a = run(whole, steps=4, batch=8, text=None)
    b = run(parts, steps=4, batch=8, text=None, accumulate=4)
    assert [s.loss for s in a] == pytest.approx([s.loss for s in b], rel=1e-5)
    for name, p in weights(whole).items():
        assert torch.allclose(p, weights(parts)[name], atol=1e-5), name


def test_what_stands_beside_a_batch_in_parts_is_computed_once():
    asked, moved = [], []

    def beside(task, places, device):
        asked.append(places.tolist())
        return sum(p.square().sum() for p in task.denoiser.unet.parameters())

    for accumulate in (1, 4):
        stage = make()
        run(stage, steps=2, batch=8, text=None, accumulate=accumulate, beside=beside)
        moved.append(weights(stage))
    assert asked == 2 * [list(range(8)), list(range(8, 16))]
    for name, p in moved[0].items():
        assert torch.allclose(p, moved[1][name], atol=1e-5), name


def test_clipping_bounds_the_gradient_of_all_parameters():
    """Adam divides by |gradient| + 1e-8: gradients clipped to 1e-14 move nothing, unclipped ones move by lr."""
    still, moved = make(), make()
    before = weights(still)
    run(still, steps=2, clip=1e-14, lr=0.1, warmup=0, decay=0)
    run(moved, steps=2, clip=None, lr=0.1, warmup=0, decay=0)
    used = [name for name in before if not name.startswith("aug")]
    assert all(torch.allclose(before[name], weights(still)[name], atol=1e-5) for name in used)
    assert all((before[name] - weights(moved)[name]).abs().max() > 0.05 for name in used)


def test_the_stage_is_left_with_the_averaged_weights_and_steps_can_draw_with_them(tmp_path):
    stage = make()
    seen = []
    for step in train(stage, Pictures(), steps=30, batch=4, out=tmp_path, ema=0.5, precision="fp32"):
        raw = weights(stage)
        with step.ema:
            seen.append(not same(raw, weights(stage)))
        assert same(raw, weights(stage))
        if step.step == 6:
            break
    assert all(seen[1:])
    tensors = files.load_tensors(tmp_path / NAME)
    assert same(weights(stage), {n: tensors[f"average/{n}"] for n in raw})
    assert same(raw, {n: tensors[f"network/{n}"] for n in raw})
    assert not stage.denoiser.unet.training
    assert json.loads(files.load_metadata(tmp_path / NAME)["run"])["step"] == 6
    assert [s.step for s in run(stage, steps=8, out=tmp_path, resume=True, ema=0.5, text=None)] == [7, 8]


def test_minutes_are_a_budget_that_earlier_sessions_count_in(tmp_path):
    start = time.monotonic()
    steps = run(minutes=0.02, decay=1, out=tmp_path)
    assert time.monotonic() - start >= 1.2
    assert steps[-1].lr < 0.7 * max(s.lr for s in steps)  # decayed by the clock
    assert run(minutes=0.02, out=tmp_path, resume=True) == []
    assert len(run(steps=steps[-1].step + 2, out=tmp_path, resume=True)) == 2


def test_checkpoints_are_written_on_the_way(tmp_path):
    for step in train(make(), Pictures(), steps=3, batch=4, save_every=0, out=tmp_path, precision="fp32"):
        assert json.loads(files.load_metadata(tmp_path / NAME)["run"])["step"] == step.step


def test_every_fault_is_one_sentence(tmp_path):
    def refused(said, stage=None, data=None, kind=ValueError, **options):
        with pytest.raises(kind, match=said):
            run(stage, data, **options)

    refused("either steps= or minutes=")
    refused("either steps= or minutes=", steps=1, minutes=1)
    refused("one step or more, not 0", steps=0)
    refused("these pictures have no captions", data=[{"image": torch.zeros(3, 8, 8)}] * 4, steps=1)
    refused("3 equal parts", steps=1, accumulate=3)
    refused("accumulate is one part or more, not 0", steps=1, accumulate=0)
    refused("clip is above 0, or None, not -1", steps=1, clip=-1)
    refused("drop is a share, from 0 to 1, not 2", steps=1, drop=2)
    refused("decay is a share, from 0 to 1, not -0.1", steps=1, decay=-0.1)
    refused("warmup is 0 steps or more, not -5", steps=1, warmup=-5)
    refused("shift is above 0, not 0", steps=1, shift=0)
    refused("0 minutes or more", minutes=-1.0)
    refused("fp16 overflows", steps=1, precision="fp16")
    refused("optimizer is 'adamw' or 'muon', not 'sgd'", steps=1, optimizer="sgd")
    refused("weighted 'plain' or 'min-snr'", steps=1, weight="snr")
    refused("the data are empty", data=Pictures(items=0), steps=1)
    refused("these reach 255", data=[{"image": torch.full((3, 8, 8), 255.0), "caption": ""}], steps=1)
    refused("the loss is nan at step 0", stage=Plain(Denoiser(Broken(), COSINE), 8), steps=1, kind=FloatingPointError)
    run(steps=1, out=tmp_path)
    refused("holds a training run: continue it with resume=True", steps=1, out=tmp_path)
    refused("a run with seed 0, and this one has seed 1", steps=1, out=tmp_path, resume=True, seed=1)
    refused("optimizer adamw, and this one has optimizer muon", steps=1, out=tmp_path, resume=True, optimizer="muon")
    refused(
        "prediction v, and this one has prediction x", stage=make(prediction="x"), steps=1, out=tmp_path, resume=True
    )
    refused(
        "another network's weights", stage=Plain(Denoiser(Broken(), COSINE, "v"), 8), steps=2, out=tmp_path, resume=True
    )
    good = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(good[:-100])
    refused("cut short", steps=2, out=tmp_path, resume=True)
    files.save_tensors(tmp_path / NAME, {"w": torch.ones(1)})
    refused("no training run's checkpoint", steps=2, out=tmp_path, resume=True)
    (tmp_path / NAME).rename(tmp_path / files.WEIGHTS)
    for resume in (False, True):
        refused("holds a trained network, and no run to go on with", steps=2, out=tmp_path, resume=resume)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_that_became_no_numbers_do_not_replace_the_checkpoint(tmp_path, optimizer):
    run(steps=2, out=tmp_path, optimizer=optimizer)
    kept, stage, calls = (tmp_path / NAME).read_bytes(), make(), []

    def overflow(gradient):  # while the loss is finite
        calls.append(0)
        return gradient * torch.inf if len(calls) == 2 else gradient

    next(stage.denoiser.unet.parameters()).register_hook(overflow)
    with pytest.raises(FloatingPointError, match="no numbers after step 4, and not saved"):
        run(stage, steps=4, out=tmp_path, optimizer=optimizer, resume=True)
    assert (tmp_path / NAME).read_bytes() == kept


def test_a_run_that_cannot_be_saved_or_does_not_fit_says_so_and_leaves_no_mark(tmp_path):
    own = Stage(Denoiser(Tiny(), COSINE, "v"), 8)
    own.denoiser.unet.config = None
    with pytest.raises(ValueError, match="only a UNet can be saved"):
        run(own, steps=1, out=tmp_path / "own")
    assert list(run(own, steps=1))  # without a folder any module will do
    shape = {"channels": (16, 32), "layers": (1, 1), "attention": ("none", "text"), "groups": 8, "head_dim": 16}
    real = UNet(UNetConfig(size=8, text_dim=4, text_norm="layer", pool=None, **shape))
    with pytest.raises(ValueError, match="a guide of your own"):
        run(Stage(Denoiser(real, COSINE, "v"), 8, guide=lambda c, u, w: c), steps=1, out=tmp_path / "guide")
    run(steps=1, out=tmp_path / "run")
    for options, says in (({}, "holds a training run"), ({"resume": True, "seed": 1}, "this one has seed 1")):
        stage = make()
        stage.denoiser.unet.eval()
        with pytest.raises(ValueError, match=says):
            run(stage, steps=2, out=tmp_path / "run", **options)
        assert not stage.denoiser.unet.training


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(float("nan")))

    def forward(self, z, t, cond):
        return z * self.w


# Other processes

SCRIPT = """
    import sys
    sys.path[:0] = [{tests!r}, {root!r}]
    from test_training import *
    torch.set_num_threads(1)
"""


def script(path, body):
    tests = Path(__file__).parent
    head = textwrap.dedent(SCRIPT).format(tests=str(tests), root=str(tests.parent))
    path.write_text(head + textwrap.dedent(body))
    return path


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_a_whole_checkpoint(tmp_path, number, code):
    body = f"""
        for step in train(make(), Pictures(), steps=100_000, batch=4, out={str(tmp_path / "run")!r}, precision="fp32"):
            print(step.step, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, script(tmp_path / "s.py", body)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    for line in process.stdout:
        if int(line) == 5:
            process.send_signal(number)
            break
    printed = [int(line) for line in process.stdout]
    process.stderr.read()
    assert process.wait(300) in (code, 128 + number, 1)
    counts = json.loads(files.load_metadata(tmp_path / "run" / NAME)["run"])
    assert counts["step"] in ((printed or [5])[-1], (printed or [5])[-1] + 1)  # the step that was being computed counts
    assert os.listdir(tmp_path / "run") == [NAME]
    assert run(steps=counts["step"] + 1, out=tmp_path / "run", resume=True, text=None)[0].step == counts["step"] + 1


def test_two_processes_take_the_steps_of_one_with_the_doubled_batch(tmp_path):
    body = f"""
        import atexit
        threads = lambda: len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
        alone, end = threads(), Path({str(tmp_path)!r}) / f"threads{{os.environ['RANK']}}"
        atexit.register(lambda: end.write_text(str(threads() - alone)))  # the last of all to be called
        stage = make(enlarges=True)
        steps = run(stage, Pictures(items=13), steps=5, warmup=1, out={str(tmp_path / "two")!r})
        if int(os.environ["RANK"]) == 0:
            told = torch.tensor([s.loss for s in steps])
            files.save_tensors({str(tmp_path / "w")!r}, weights(stage) | {{"losses": told}})
    """
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        "0",
        "--rdzv_backend",
        "c10d",
    ]
    done = subprocess.run(
        [*launch, "--rdzv_endpoint", "localhost:0", script(tmp_path / "s.py", body)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # a thread of the connections that outlives them aborts Python's end, one time in twenty
    assert [(tmp_path / f"threads{rank}").read_text() for rank in range(2)] == ["0", "0"]
    two = files.load_tensors(tmp_path / "w")
    one = make(enlarges=True)
    steps = run(one, Pictures(items=13), steps=5, batch=8, warmup=1)
    assert [s.loss for s in steps] == pytest.approx(two.pop("losses").tolist(), rel=1e-5)
    for name, p in weights(one).items():
        assert torch.allclose(p, two[name], atol=1e-5), name
    # and one process can go on with what two began
    assert (
        run(make(enlarges=True), Pictures(items=13), steps=6, out=tmp_path / "two", resume=True)[0].images == 5 * 8 + 4
    )
