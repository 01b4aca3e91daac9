"""Lesson 07: its figures, and what it says of enlarging, of noise on the small picture, and of the residual."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_show import LONG, assert_legible, inks, pictures

import minimagen as mi
from minimagen import show
from minimagen.checks.lesson_07 import at_level, centred, corner_to_corner, corrected, says_nothing
from minimagen.conditioning import augment, upsample
from minimagen.deepfloyd import upsample as as_diffusers
from minimagen.denoiser import Denoiser, without_noise
from minimagen.unet import UNet, UNetConfig

TINY = UNetConfig(
    size=16, in_channels=6, channels=(16,), layers=(1,), attention=("none",), mid_attention="none", text_dim=None,
    pool=None, augmentation=True, efficient=True, fold=4, head_dim=8,
)  # fmt: skip


# The figure


def closeup():
    named = {"64 px": pictures(1, 64)[0], "256 px": pictures(1, 256)[0], "PIL": Image.new("RGB", (100, 100), "white")}
    return show.closeup(named, (0.25, 0.5, 0.5, 0.75), caption=LONG)


def test_a_closeup_is_legible_and_its_rows_are_even():
    figure = closeup()
    assert_legible(figure)
    shapes = [ink.shape[:2] for ink in inks(figure)]
    assert len(shapes) == 6 and len(set(shapes)) == 1


def test_a_closeup_shows_what_lies_in_its_window_and_frames_it():
    x = torch.full((3, 8, 8), -1.0)
    x[:, 4:6, 2:4] = 1.0
    whole, part = inks(show.closeup({"one": x}, (0.25, 0.5, 0.5, 0.75)))
    assert part.min() == 1.0, "the window holds the white square and nothing else"
    assert not np.allclose(whole[..., 0], whole[..., 2]), "the frame is in colour"
    (alone,) = inks(show.closeup({"one": x}, (0.25, 0.5, 0.5, 0.75), whole=False))
    assert alone.min() == 1.0, "the window alone"
    assert x.max() == 1.0 and x.unique().numel() == 2, "the picture itself is left alone"
    with pytest.raises(ValueError, match="a window is"):
        show.closeup({"one": x}, (0.5, 0.5, 0.5, 0.75))


# Enlarging


def test_the_exercise_enlarges_as_torch_does_with_centres_and_its_mistake_as_diffusers_does():
    x = pictures(2, 8)
    torch.testing.assert_close(centred(x, 32), F.interpolate(x, (32, 32), mode="bilinear", align_corners=False))
    torch.testing.assert_close(corner_to_corner(x, 32), as_diffusers(x, 32), atol=1e-5, rtol=1e-5)


def test_centres_keep_a_ramp_in_place_and_corners_move_it():
    ramp = ((torch.arange(64) + 0.5) / 64).expand(1, 3, 64, 64)  # its value is its place, in pictures
    here = (torch.arange(256) + 0.5) / 256
    for way in (centred, upsample):
        away = (way(ramp, 256)[0, 0, 128] - here)[8:-8]
        assert away.abs().max() < 1e-4
    away = 256 * (corner_to_corner(ramp, 256)[0, 0, 128] - here)
    assert away[0] == pytest.approx(1.5, abs=1e-3) and away[-1] == pytest.approx(-1.5, abs=1e-3)


# Noise on the small picture


def test_the_exercise_is_the_packages_augmentation():
    x, noise = pictures(3, 8), torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    level = torch.tensor([0.1, 0.3, 0.5])
    torch.testing.assert_close(at_level(x, level, noise), augment(x, level, generator=torch.Generator().manual_seed(1)))


# The residual


def known(low_res, aug, spread):
    """As the lesson has it: the best guess of the enlarged picture under its noise, and how far x is from it."""
    a, b = mi.CosineSchedule()(aug, like=low_res)
    u, error = without_noise(low_res, a, b)
    return u, (spread**2 + error).sqrt()


def test_the_exercise_and_the_lessons_spread_make_the_packages_denoiser():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet(TINY).eval()
        torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    denoiser = Denoiser(unet, mi.CosineSchedule(), "residual", 0.05)
    g = torch.Generator().manual_seed(2)
    low_res, z = torch.randn(2, 3, 16, 16, generator=g), torch.randn(2, 3, 16, 16, generator=g)
    aug, t = torch.tensor([0.0, 0.3]), torch.tensor([0.4, 0.7])
    u, s = known(low_res, aug, 0.05)
    alpha, sigma = denoiser.schedule(t, like=z)
    with torch.no_grad():
        mine = corrected(
            z, u, alpha, sigma, s, lambda y: unet(y, denoiser.network_time(t), mi.Cond(low_res=u, aug=aug)).float()
        )
        theirs = denoiser(z, t, mi.Cond(low_res=low_res, aug=aug)).x
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_what_is_left_for_the_network_has_spread_one_at_every_t():
    g = torch.Generator().manual_seed(3)
    u, s = torch.zeros(1, 3, 128, 128), torch.tensor(0.05)
    x = s * torch.randn(u.shape, generator=g)
    for t in (0.02, 0.1, 0.5, 0.9):
        alpha, sigma = mi.CosineSchedule()(torch.tensor([t]), like=u)
        z = alpha * x + sigma * torch.randn(u.shape, generator=g)
        silent = corrected(z, u, alpha, sigma, s, says_nothing)
        c_out = s * sigma * (alpha**2 * s**2 + sigma**2).rsqrt()
        assert ((x - silent) / c_out).std() == pytest.approx(1.0, abs=0.02)
