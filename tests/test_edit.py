"""Editing: what is known stays, to the pixel and at each step's own noise level; True means repaint."""

import numpy as np
import pytest
import torch
from oracles import Gaussian, Small
from PIL import Image
from test_cascade import cascade, pixels

from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Cond
from minimagen.denoiser import Denoiser
from minimagen.edit import Known, as_mask, inpaint, outpaint, vary
from minimagen.sampler import sample, times
from minimagen.schedule import CosineSchedule


def picture(seed=0, size=32):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))


LEFT = np.zeros((32, 32), dtype=bool)
LEFT[:, :16] = True


def test_true_is_repainted_and_false_is_kept_to_the_pixel():
    known = picture()
    drawn = pixels(inpaint(cascade(), known, LEFT, "a cube"))
    assert torch.equal(drawn[..., 16:], pixels(known)[..., 16:])
    assert (drawn[..., :16] - pixels(known)[..., :16]).abs().mean() > 0.1


def test_an_empty_mask_gives_the_picture_back():
    assert torch.equal(pixels(inpaint(cascade(), picture(), LEFT & False, "a cube")), pixels(picture()))


def test_a_full_mask_is_drawing():
    everything = pixels(inpaint(cascade(), picture(), ~LEFT | LEFT, "a cube", seed=2))
    assert torch.equal(everything, pixels(cascade().draw("a cube", seed=2)))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_known_region_is_at_each_steps_own_noise_level(eta):
    """A published codebase puts it in clean at every t. Here its z has the moments of α_t known + σ_t n."""
    schedule, known = CosineSchedule(), torch.full((1, 3, 96, 96), 0.6)
    repaint = torch.zeros(1, 1, 96, 96)
    repaint[..., :48] = 1
    denoiser = Known(Gaussian(schedule=schedule), known, repaint)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, 3, 96, 96, generator=generator)
    for step in sample(denoiser, z, times(10), Cond(), eta=eta, generator=generator):
        alpha, sigma = (float(a) for a in schedule(step.t))
        kept = step.z[..., 48:]
        assert float(kept.mean()) == pytest.approx(alpha * 0.6, abs=0.03)
        assert float(kept.std()) == pytest.approx(sigma, abs=0.03)


def test_masks_are_read_as_white_is_repaint_and_refused_when_not_square():
    white = Image.fromarray(LEFT.astype(np.uint8) * 255)
    assert torch.equal(as_mask(white), as_mask(LEFT)) and float(as_mask(white).mean()) == 0.5
    with pytest.raises(ValueError, match="square mask"):
        as_mask(np.zeros((3, 4)))


@pytest.mark.parametrize(
    "side, size", [("left", (48, 32)), ("right", (48, 32)), ("top", (32, 48)), ("bottom", (32, 48))]
)
def test_outpainting_grows_one_edge_and_keeps_the_rest(side, size):
    known = picture()
    grown = outpaint(cascade(), known, "a cube", **{side: 0.5})
    assert grown.size == size
    x, y = (16 if side == "left" else 0), (16 if side == "top" else 0)
    assert np.array_equal(np.asarray(grown.crop((x, y, x + 32, y + 32))), np.asarray(known))


def test_outpainting_by_nothing_is_the_picture_and_both_axes_are_refused():
    assert np.array_equal(np.asarray(outpaint(cascade(), picture(), "a cube")), np.asarray(picture()))
    with pytest.raises(ValueError, match="one axis at a time"):
        outpaint(cascade(), picture(), "a cube", left=0.5, top=0.5)
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        outpaint(cascade(), picture(), "a cube", left=1.5)


def exact_base():
    class Exact(Small):
        def forward(self, z, t, cond):
            t = (t + 1) / 1000
            alpha, sigma = CosineSchedule()(t, like=z)
            return (alpha * z - Gaussian(0.0, 0.5)(z, t, cond).x) / sigma

    return Imagen([Stage(Denoiser(Exact(), CosineSchedule(), "v"), 32, steps=40, threshold=None)])


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_strength_goes_from_the_picture_itself_to_a_new_one(strength):
    own = torch.tanh(0.5 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(7)))
    varied = pixels(vary(exact_base(), own, strength=strength))
    likeness = float(torch.corrcoef(torch.stack([varied.flatten(), own.flatten()]))[0, 1])
    alpha, sigma = (float(a) for a in CosineSchedule()(strength))
    std = float(own.std())
    # of a Gaussian world DDIM maps z linearly, so that the picture's likeness is that of z = α x + σ n
    assert likeness == pytest.approx(alpha * std / (alpha**2 * std**2 + sigma**2) ** 0.5, abs=0.05)


def test_varying_starts_from_the_right_mixture_not_from_noise_plus_image():
    """The published bug is z = noise + image, whatever α and σ: a picture of variance 1 + s², which no t has."""
    own, firsts = torch.full((1, 3, 32, 32), 0.5), []
    imagen = cascade()

    def watch(step):
        firsts.append(step)

    vary(imagen, own, "a cube", strength=0.6, progress=watch, size=16, steps=1000)
    alpha, sigma = (float(a) for a in CosineSchedule()(0.6))
    assert float(firsts[0].z.mean()) == pytest.approx(alpha * 0.5, abs=0.1)
    assert float(firsts[0].z.std()) == pytest.approx(sigma, abs=0.05)


def test_strength_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="strength lies"):
        vary(cascade(), picture(), "a cube", strength=1.2)


def test_more_pictures_than_images_are_refused():
    with pytest.raises(ValueError, match="2 images for more pictures"):
        vary(cascade(), [picture(0), picture(1)], ["a", "b", "c"])
