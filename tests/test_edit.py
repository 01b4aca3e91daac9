"""Editing: what is known stays, to the pixel and at each step's own noise level; True means repaint."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import Gaussian, Small
from PIL import Image
from test_cascade import cascade, pixels

from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Cond
from minimagen.denoiser import Denoiser, Prediction
from minimagen.edit import Known, as_mask, inpaint, membrane, outpaint, vary
from minimagen.sampler import again, ddim, sample, times
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
    everything = pixels(inpaint(cascade(), picture(), ~LEFT | LEFT, "a cube", seed=2, rounds=1, interval=None))
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


class Twins:
    """Each pixel of the left half and its twin in the right half are standard normal, with correlation ρ."""

    rho, schedule = 0.9, CosineSchedule()

    def __call__(self, z, t, cond):
        alpha, sigma = self.schedule(t, like=z)
        left, right = z.chunk(2, dim=3)

        def estimate(part, var):
            return alpha * var / (alpha**2 * var + sigma**2) * part

        mean, half = estimate((left + right) / 2, 1 + self.rho), estimate((left - right) / 2, 1 - self.rho)
        return Prediction(torch.cat([mean + half, mean - half], dim=3))


def test_steps_taken_often_bring_the_new_into_agreement_with_the_known():
    """The right half's mean, given the left, is ρ·left. One pass finds half of that."""
    generator = torch.Generator().manual_seed(0)
    left, z = torch.randn(1, 3, 64, 64, generator=generator), torch.randn(1, 3, 64, 128, generator=generator)
    repaint = torch.zeros(1, 1, 64, 128)
    repaint[..., 64:] = 1
    denoiser, slopes = Known(Twins(), torch.cat([left, left], dim=3), repaint), {}
    for rounds in (1, 3, 10, 30):
        *_, last = sample(denoiser, z, times(50), Cond(), rounds=rounds, generator=generator)
        right = last.z[..., 64:]
        slopes[rounds] = float((left * right).mean() / left.square().mean())
    assert slopes[1] < 0.5 and slopes[1] < slopes[3] < slopes[10] < slopes[30]
    assert slopes[30] == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("solver", ["ddim", "dpm++2m"])
def test_steps_taken_often_draw_the_same_pictures_as_steps_taken_once(solver):
    """Going back adds the noise that z at t has, so that what is drawn has the data's mean and spread all the same."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, 3, 96, 96, generator=generator)
    *_, last = sample(Gaussian(0.2, 0.4), z, times(50), Cond(), solver=solver, rounds=3, generator=generator)
    assert float(last.z.mean()) == pytest.approx(0.2, abs=0.02)
    assert float(last.z.std()) == pytest.approx(0.4, abs=0.03)


def test_a_step_back_ends_at_its_times_own_noise_level():
    schedule, generator = CosineSchedule(), torch.Generator().manual_seed(0)
    noise, more = (torch.randn(1, 3, 128, 128, generator=generator) for _ in range(2))
    (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule(torch.tensor(0.4)), schedule(torch.tensor(0.7))
    z = again(alpha_s * 0.6 + sigma_s * noise, more, alpha_s, sigma_s, alpha_t, sigma_t)
    assert float(z.mean()) == pytest.approx(float(alpha_t) * 0.6, abs=0.02)
    assert float(z.std()) == pytest.approx(float(sigma_t), abs=0.02)
    assert torch.allclose(again(z, noise, alpha_s, sigma_s, alpha_s, sigma_s), z)
    with pytest.raises(ValueError, match="once or more, not 0"):
        next(sample(Gaussian(), z, times(2), Cond(), rounds=0))


def test_only_the_first_stage_takes_its_steps_more_than_once():
    sizes = []

    def step(z, *args, **options):
        sizes.append(z.shape[-1])
        return ddim(z, *args, **options)

    inpaint(cascade(step=step), picture(), LEFT, "a cube", rounds=4)
    assert sizes == 4 * 4 * [16] + 3 * [32]


def hole(size=64):
    there = torch.ones(1, 1, size, size)
    there[..., 20:44, 12:50] = 0
    return there


def test_a_membrane_keeps_what_is_known_and_planes_and_has_no_peak_of_its_own():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    plane = (0.3 * x - 0.2 * y).expand(2, 3, -1, -1)
    assert torch.allclose(membrane(plane, hole()), plane, atol=0.012 * 0.3 * 38)  # of the rise across the hole
    assert torch.allclose(membrane(torch.full((1, 3, 64, 64), 0.7), hole()), torch.tensor(0.7))
    rough = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    hung = membrane(rough, hole())
    assert torch.equal(hung * hole(), rough * hole())
    frame = rough[..., 19:45, 11:51]  # the hole and the pixels around it
    assert float(hung[..., 20:44, 12:50].abs().amax()) <= float(frame.abs().amax())


def test_a_membrane_solves_laplaces_equation():
    """As nearly as a seam asks: beside the plain iteration, run until it moves no more."""
    rough = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    rough, there = F.interpolate(rough, 32, mode="bicubic"), F.interpolate(hole(), 32)
    exact = rough * there
    kernel = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).view(1, 1, 3, 3) / 4
    for _ in range(3000):
        exact = torch.where(there > 0, rough, F.conv2d(F.pad(exact, (1, 1, 1, 1), mode="replicate"), kernel))
    near = (membrane(rough, there) - exact).square().mean().sqrt()
    assert float(near) < 0.1 * float(exact[there == 0].square().mean().sqrt())


class Off:
    """Draws a picture, but everywhere brighter than the known one: a network that is a little wrong."""

    schedule = CosineSchedule()

    def __init__(self, picture):
        self.picture = picture

    def __call__(self, z, t, cond):
        return Prediction(self.picture + 0.3)


def test_what_is_wrong_beside_the_mask_leaves_no_seam():
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 64), torch.linspace(-0.5, 0.5, 64), indexing="ij")
    true, repaint, z = (x * y).expand(1, 3, -1, -1), 1 - hole(), torch.randn(1, 3, 64, 64)
    steps = {}
    for mend in (False, True):
        *_, last = sample(Known(Off(true), true, repaint, mend), z, times(4), Cond())
        assert torch.equal(last.z * hole(), true * hole()), "what is known stays, to the last bit"
        steps[mend] = float((last.z - true)[..., 20:44, 12].mean())  # just inside the hole's left edge
    assert steps[False] == pytest.approx(0.3, abs=1e-4) and abs(steps[True]) < 0.002


def test_masks_are_read_as_white_is_repaint_and_refused_when_not_square():
    white = Image.fromarray(LEFT.astype(np.uint8) * 255)
    assert torch.equal(as_mask(white), as_mask(LEFT)) and float(as_mask(white).mean()) == 0.5
    assert [float(as_mask(Image.new("L", (4, 4), grey)).mean()) for grey in (127, 128)] == [0, 1]
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
    with pytest.raises(ValueError, match="2 masks for 1 picture: "):
        inpaint(cascade(), picture(), torch.zeros(2, 1, 16, 16), "a cube")
    for others in ({"count": 2}, {"prompt": ["a", "b"]}, {"image": [picture()]}):
        with pytest.raises(ValueError, match="outpaint grows one picture"):
            outpaint(cascade(), **{"image": picture(), "prompt": "a cube", "left": 0.5, **others})
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        outpaint(cascade(), picture(), "a cube", left=1.5)


def test_a_panorama_grows_at_its_ends_and_keeps_its_sides():
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 80, 3), dtype=np.uint8))
    grown = outpaint(cascade(), wide, "a cube", right=0.5)
    assert grown.size == (96, 32)
    assert np.array_equal(np.asarray(grown)[:, :80], np.asarray(wide))
    assert outpaint(cascade(), wide.resize((40, 16)), "a cube", left=0.25).size == (88, 32)
    with pytest.raises(ValueError, match="along its longer side"):
        outpaint(cascade(), wide, "a cube", top=0.5)


def test_masks_and_pictures_of_bytes_and_beyond_the_range_are_refused_by_name():
    with pytest.raises(ValueError, match="repaint > 127"):
        inpaint(cascade(), picture(), np.full((32, 32), 255, dtype=np.uint8), "a cube")
    with pytest.raises(ValueError, match="repaint > 127"):
        as_mask(torch.full((8, 8), float("nan")))
    for change in (vary, lambda *a: inpaint(*a[:2], np.ones((32, 32), bool), a[2])):
        with pytest.raises(ValueError, match="floats in"):
            change(cascade(), torch.zeros(3, 32, 32, dtype=torch.uint8), "a cube")
        with pytest.raises(ValueError, match="these reach 2.5"):
            change(cascade(), torch.full((3, 32, 32), 2.5), "a cube")
        with pytest.raises(ValueError, match="2 images for 1 picture: "):
            change(cascade(), [picture()] * 2, "a cube")


def test_each_picture_has_its_mask_in_whatever_chunk(monkeypatch):
    masks = torch.zeros(4, 1, 32, 32)
    for i in range(4):
        masks[i, :, 8 * i : 8 * i + 8] = 1
    whole = inpaint(cascade(), picture(), masks, ["a cube"] * 4)
    monkeypatch.setattr("minimagen.cascade.BATCH_PIXELS", 32 * 32)
    apart = inpaint(cascade(), picture(), masks, ["a cube"] * 4)
    for i, (a, b) in enumerate(zip(whole, apart, strict=True)):
        assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
        changed = (np.asarray(a, int) != np.asarray(picture(), int)).any((1, 2))
        assert changed.any() and not changed[: 8 * i].any() and not changed[8 * i + 8 :].any()


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
    with pytest.raises(ValueError, match="2 images for 3 pictures"):
        vary(cascade(), [picture(0), picture(1)], ["a", "b", "c"])


def test_pictures_count_from_the_first_that_is_drawn():
    pictures = torch.stack([torch.full((3, 32, 32), value) for value in (-0.5, 0.5)])
    nothing = torch.zeros(32, 32, dtype=torch.bool)
    for first in (0, 1, 5):
        prompts = (prompt for prompt in ("a red cube", "a blue cube"))
        kept = inpaint(cascade(), pictures, nothing, prompts, first=first, rounds=1)
        assert [round(float(np.asarray(p).mean())) for p in kept] == [64, 191]
        varied = vary(cascade(), pictures, ["a red cube", "a blue cube"], strength=0, size=16, first=first)
        assert [round(float(np.asarray(p).mean()), -1) for p in varied] == [60, 190]


def test_only_squares_are_edited_and_a_tensor_can_grow():
    with pytest.raises(ValueError, match="this picture is 16 × 8"):
        vary(cascade(), torch.zeros(3, 8, 16), "a cube")
    with pytest.raises(ValueError, match="pictures are PIL's"):
        vary(cascade(), [], "a cube")
    assert outpaint(cascade(), torch.zeros(3, 32, 32), "a cube", right=0.5).size == (48, 32)
