"""Lesson 08: its exercises are what `minimagen.edit` does, and one's own picture may come in any kind and shape."""

import numpy as np
import pytest
import torch
from oracles import Gaussian
from PIL import Image
from test_show import inks, pictures

import minimagen as mi
from minimagen import edit, show
from minimagen.cascade import from_pil
from minimagen.checks.lesson_08 import clean, kept, returned, started
from minimagen.conditioning import noise_like

SCHEDULE = mi.CosineSchedule()


def gray(size=(48, 36), value=64):
    return Image.new("RGBA", size, (value, value, value, 255))


# A picture of one's own


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_a_picture_of_any_kind_is_the_same_picture(kind):
    x = from_pil(gray().convert(kind))
    assert x.shape == (1, 3, 36, 36)
    assert (x - (64 / 127.5 - 1)).abs().max() <= 0.03  # a palette and inks round


def test_sixteen_bits_are_scaled_and_black_and_white_is_read():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    x = from_pil(Image.fromarray(ramp))
    assert x.min() == -1 and x.max() == 1 and abs(float(x.mean())) < 0.02
    assert from_pil(Image.new("1", (8, 8), 1)).min() == 1


def test_transparency_lies_on_white_and_the_camera_is_heeded():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert from_pil(clear).min() == 1
    turned = Image.fromarray(np.stack([np.arange(64, dtype=np.uint8).reshape(8, 8)] * 3, axis=2))
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.info["exif"] = exif.tobytes()
    again = from_pil(turned)
    assert torch.equal(again, from_pil(Image.fromarray(np.asarray(turned))).flip(2, 3))


@pytest.mark.parametrize("shape", [(48, 36), (36, 48)])
def test_of_any_shape_the_middle_square_is_taken(shape):
    image = gray(shape)
    image.paste((255, 255, 255, 255), (0, 0, 6, 36) if shape[0] > 36 else (0, 0, 36, 6))  # what is cut away
    x = from_pil(image)
    assert x.shape == (1, 3, 36, 36) and len(x.unique()) == 1


# The exercises


def test_the_start_is_that_of_vary_and_has_trainings_moments():
    x = torch.full((1, 3, 96, 96), 0.5)
    noise = noise_like(x, torch.Generator().manual_seed(0))
    z, times = started(x, noise, 0.6, 10, SCHEDULE)
    torch.testing.assert_close(times, mi.times(10, start=0.6))
    alpha, sigma = (float(v) for v in SCHEDULE(0.6))
    assert float(z.mean()) == pytest.approx(0.5 * alpha, abs=0.02)
    assert float(z.std()) == pytest.approx(sigma, abs=0.02)


def test_putting_in_after_each_step_is_the_wrapper_and_putting_in_clean_is_not():
    known, noise = (torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    repaint = torch.zeros(1, 1, 16, 16)
    repaint[..., 8:] = 1
    denoiser = Gaussian(schedule=SCHEDULE)

    def after(put):
        def step(z, x, alpha_t, sigma_t, alpha_s, sigma_s):
            return put(mi.ddim(z, x, alpha_t, sigma_t, alpha_s, sigma_s), known, repaint, noise, alpha_s, sigma_s)

        return [s.z for s in mi.sample(denoiser, noise, mi.times(8), step=step)]

    wrapped = [s.z for s in mi.sample(edit.Known(denoiser, known, repaint), noise, mi.times(8))]
    # at t = 1 all of z is noise but for α = 0.00005, which the wrapper takes for noise
    assert max(float((a - b).abs().max()) for a, b in zip(after(kept), wrapped)) < 1e-3
    assert max(float((a - b).abs().max()) for a, b in zip(after(clean), wrapped)) > 0.5


def test_a_step_back_has_the_moments_of_the_jump_and_is_a_small_step():
    g = torch.Generator().manual_seed(0)
    noise, more = (torch.randn(1, 3, 256, 256, generator=g) for _ in range(2))
    (alpha_s, sigma_s), (alpha_t, sigma_t) = SCHEDULE(0.4), SCHEDULE(0.7)
    z = returned(alpha_s * 0.5 + sigma_s * noise, more, alpha_s, sigma_s, alpha_t, sigma_t)
    assert float(z.mean()) == pytest.approx(float(alpha_t) * 0.5, abs=0.01)
    assert float(z.std()) == pytest.approx(float(sigma_t), abs=0.01)
    a = alpha_t / alpha_s
    torch.testing.assert_close(sigma_t**2 - a**2 * sigma_s**2, 1 - a**2)  # lesson 01's, with a² for 1 − β


# The figure


def test_wide_pictures_take_no_more_room_than_they_need():
    wide = torch.zeros(3, 64, 256)
    one, two = show.images([wide], width=8.0), show.images([wide, pictures(1, 64)[0]], columns=1, width=8.0)
    assert one.get_size_inches()[1] < 2.5
    assert two.get_size_inches()[1] > one.get_size_inches()[1] + 4
    for ink, (height, width) in zip(inks(two), ((64, 256), (64, 64))):
        assert ink.shape[1] * height == ink.shape[0] * width
