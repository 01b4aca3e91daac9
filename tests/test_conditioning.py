"""The batch that conditioning is, and `augment`, the one place that noises the low-res picture."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimagen.conditioning import Cond, PreparedText, Text, augment, noise_like, upsample
from minimagen.schedule import CosineSchedule


def seeded(n=0):
    return torch.Generator().manual_seed(n)


@pytest.mark.parametrize("level", [0.1, 0.25, 0.7])
def test_augment_is_variance_preserving_under_the_cosine_schedule(level):
    alpha, sigma = CosineSchedule()(level)
    noisy = augment(torch.full((1, 3, 256, 256), 0.5), level, seeded())
    assert float(noisy.mean()) == pytest.approx(0.5 * float(alpha), abs=0.01)
    assert float(noisy.std()) == pytest.approx(float(sigma), rel=0.01)


def test_level_zero_is_identity_also_within_a_batch():
    x = torch.randn(2, 3, 8, 8, generator=seeded())
    assert augment(x, 0.0) is x
    noisy = augment(x, torch.tensor([0.0, 0.5]), seeded())
    assert torch.equal(noisy[0], x[0]) and not torch.equal(noisy[1], x[1])


@pytest.mark.parametrize("level", [-0.1, 1.1, 250.0])
def test_levels_are_between_0_and_1(level):
    with pytest.raises(ValueError, match="between 0"):
        augment(torch.zeros(1, 3, 8, 8), level)


def test_augment_then_normalise_is_another_thing():
    """The published bug: noise on a picture in [0, 1], normalised afterwards, is noise of twice the size."""
    picture = torch.rand(1, 3, 128, 128, generator=seeded())
    ours = augment(picture * 2 - 1, 0.3, seeded(1))
    theirs = augment(picture, 0.3, seeded(1)) * 2 - 1
    alpha, sigma = CosineSchedule()(0.3)
    assert float((ours - alpha * (picture * 2 - 1)).std()) == pytest.approx(float(sigma), rel=0.02)
    assert float((theirs - (alpha * picture * 2 - 1)).std()) == pytest.approx(2 * float(sigma), rel=0.02)


@given(split=st.integers(1, 3))
def test_with_a_generator_each_a_picture_does_not_depend_on_its_batch(split):
    z = torch.zeros(4, 3, 4, 4)
    whole = noise_like(z, [seeded(i) for i in range(4)])
    parts = [
        noise_like(z[:split], [seeded(i) for i in range(split)]),
        noise_like(z[split:], [seeded(i) for i in range(split, 4)]),
    ]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("generators", [seeded, lambda: [seeded(0), seeded(1)]], ids=["one", "one each"])
def test_the_noise_is_drawn_in_float32_whatever_it_is_wanted_in(generators):
    z = torch.zeros(2, 3, 8, 8)
    assert torch.equal(noise_like(z.double(), generators()), noise_like(z, generators()).double())


def test_too_few_generators_are_refused():
    with pytest.raises(ValueError, match="2 random generators for 3 pictures"):
        noise_like(torch.zeros(3, 3, 4, 4), [seeded(), seeded()])


def test_upsample_keeps_flat_pictures_and_the_slope_of_ramps():
    ramp = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16)
    large = upsample(ramp, 64)
    assert large.shape == (1, 3, 64, 64)
    slope = large[0, 0, 32, 16:48].diff()
    torch.testing.assert_close(slope, torch.full((31,), 2 / 15 / 4), atol=1e-5, rtol=0)
    assert torch.allclose(upsample(torch.full((1, 3, 8, 8), 0.3), 32), torch.tensor(0.3))
    assert upsample(large, 64) is large


def text(batch=2, mask=True):
    tokens = torch.randn(batch, 5, 8, generator=seeded(batch))
    return Text(tokens, torch.ones(batch, 5, dtype=torch.bool) if mask else None)


def test_a_batch_is_cut_and_joined_and_moved():
    cond = Cond(text(), torch.zeros(2, 3, 4, 4), torch.tensor([0.1, 0.2]))
    assert len(cond) == 2 and len(cond[0]) == 1 and torch.equal(cond[1].aug, torch.tensor([0.2]))
    assert torch.equal(cond[-1].aug, cond[1].aug)
    again = Cond.cat([cond[0], cond[1]])
    assert torch.equal(again.text.tokens, cond.text.tokens) and torch.equal(again.aug, cond.aug)
    half = cond.to(torch.bfloat16)
    assert half.text.tokens.dtype == torch.bfloat16 and half.text.mask.dtype == torch.bool


def test_prepared_text_is_a_batch_too():
    prepared = PreparedText(torch.randn(2, 4), (torch.randn(2, 5, 6), torch.randn(2, 5, 6)))
    again = Cond.cat([Cond(prepared[0]), Cond(prepared[1])]).text
    assert all(torch.equal(a, b) for a, b in zip(again.layers, prepared.layers, strict=True)) and again.mask is None
    assert prepared[:1].expand(3).layers[1].shape == (3, 5, 6)


def test_one_condition_serves_many_pictures_but_two_do_not_serve_three():
    assert len(text(1).expand(3)) == 3
    with pytest.raises(ValueError, match="2 pictures, but 3"):
        text(2).expand(3)


def test_parts_that_some_lack_are_refused():
    with pytest.raises(ValueError, match="others lack"):
        Text.cat([text(1), text(1, mask=False)])


@pytest.mark.parametrize("tokens, mask", [((5, 8), None), ((2, 5, 8), (2, 4))])
def test_shapes_are_checked_at_the_door(tokens, mask):
    with pytest.raises(ValueError, match=r"must be \(batch, length, width\)|the mask is"):
        Text(torch.zeros(tokens), None if mask is None else torch.ones(mask, dtype=torch.bool))
