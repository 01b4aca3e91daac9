"""The cascade's order, its determinism, its files, and what it says of bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import Small
from PIL import Image

import minimagen as mi
from minimagen.cascade import Imagen, Stage, from_pil, generators, to_pil
from minimagen.conditioning import Text, augment, upsample
from minimagen.denoiser import Denoiser, guide
from minimagen.sampler import ddim
from minimagen.schedule import CosineSchedule, LinearSchedule, ShiftedSchedule, TableSchedule
from minimagen.stored import schedule_from_dict, schedule_to_dict
from minimagen.unet import UNet, UNetConfig


def encode(captions):
    """A text encoder as small as can be: 5 tokens of width 8 out of the letters."""
    rows = [torch.randn(5, 8, generator=torch.Generator().manual_seed(sum(map(ord, c)) if c else 0)) for c in captions]
    return Text(torch.stack(rows))


def cascade(**options):
    base = Stage(Denoiser(Small(0), CosineSchedule(), "v"), 16, steps=4, guidance=3.0, **options)
    large = Stage(
        Denoiser(Small(1, enlarges=True), CosineSchedule(), "v"), 32, steps=3, guidance=2.0, aug=0.1, **options
    )
    return Imagen([base, large], encode)


def pixels(images):
    return from_pil(images)


def test_draws_pil_pictures_of_the_last_size():
    (picture,) = cascade().draw("a cube")
    assert isinstance(picture, Image.Image) and picture.size == (32, 32) and picture.mode == "RGB"


def test_a_seed_is_a_picture_and_another_seed_another():
    imagen = cascade()
    assert torch.equal(pixels(imagen.draw("a cube", seed=3)), pixels(imagen.draw("a cube", seed=3)))
    assert not torch.equal(pixels(imagen.draw("a cube", seed=3)), pixels(imagen.draw("a cube", seed=4)))
    assert not torch.equal(pixels(imagen.draw("a cube", seed=3)), pixels(imagen.draw("a ring", seed=3)))


@pytest.mark.parametrize("options", [{}, {"eta": 1.0}], ids=str)
def test_a_picture_does_not_depend_on_its_batch(options, monkeypatch):
    imagen, prompts = cascade(**options), ["a cube", "a ring", "a cone"]
    together = [s.z for s in imagen.stream(prompts, seed=5)][-1]
    alone = [s.z for s in imagen.stream("a ring", seed=5, first=1)][-1]
    assert 10 * torch.log10(4 / (together[1:2] - alone).pow(2).mean().clamp(min=1e-12)) > 50
    monkeypatch.setattr("minimagen.cascade.BATCH_PIXELS", 2 * 32 * 32)  # so that draw goes by two
    assert (pixels(imagen.draw(prompts, seed=5)) - together.clamp(-1, 1)).abs().max() < 0.02


def test_stream_shows_every_step_of_every_stage():
    steps = list(cascade().stream("a cube"))
    assert [(s.stage, s.index) for s in steps] == [(0, i) for i in range(4)] + [(1, i) for i in range(3)]
    assert steps[3].t == 0 and steps[3].z.shape[-1] == 16 and steps[-1].z.shape[-1] == 32
    assert torch.equal(steps[-1].z, steps[-1].x)


def test_overrides_are_the_first_stages_or_one_each():
    imagen = cascade()
    assert len(list(imagen.stream("a cube", steps=7))) == 7 + 3
    for each in ([7, 2], (7, 2)):
        assert len(list(imagen.stream("a cube", steps=each))) == 7 + 2
    assert len(list(imagen.stream("a cube", size=16))) == 4
    with pytest.raises(ValueError, match="3 values for 2 stages"):
        next(imagen.stream("a cube", steps=[1, 2, 3]))
    with pytest.raises(ValueError, match="guidence is no option of a stage"):
        next(imagen.stream("a cube", guidence=3))


def test_one_level_of_augmentation_is_for_the_first_stage_that_enlarges():
    imagen = cascade()
    one, listed, none = (pixels(imagen.draw("a cube", aug=aug)) for aug in (0.5, [0.0, 0.5], 0.0))
    assert torch.equal(one, listed) and not torch.equal(one, none)
    for aug in ([0.5], [0.5, 0.0]):
        with pytest.raises(ValueError, match="the first stage has none: its aug is 0"):
            imagen.draw("a cube", aug=aug)
    with pytest.raises(ValueError, match="the first stage has none: its aug is 0"):
        imagen.draw("a cube", aug=0.5, size=16)


def test_networks_that_read_text_say_so_where_there_is_no_encoder():
    for prompt in ("a cube", None):
        with pytest.raises(ValueError, match="px network reads text, and this cascade has no text encoder"):
            Imagen([saved_stage()]).draw(prompt)


def test_a_seed_is_a_whole_number():
    assert generators(np.int64(3), [0])[0].initial_seed() == generators(3, [0])[0].initial_seed()
    for seed in (None, "a", 1.5):
        with pytest.raises(ValueError, match="a seed is a whole number"):
            cascade().draw("a cube", seed=seed)


def test_outside_a_stages_interval_there_is_no_guidance():
    imagen = cascade()
    plain = pixels(imagen.draw("a cube", size=16, guidance=1.0))
    assert torch.equal(pixels(imagen.draw("a cube", size=16, interval=(2.0, 3.0))), plain)
    assert not torch.equal(pixels(imagen.draw("a cube", size=16, interval=(0.5, 1.0))), plain)


def test_guide_then_threshold_then_step_and_augment_before_all():
    """One's own functions take the package's place everywhere, and in this order."""
    calls = []

    def mine(name, function):
        return lambda *a, **k: (calls.append(name), function(*a, **k))[1]

    imagen = cascade()
    imagen.stages = [
        replace(
            s,
            steps=2,
            guide=mine("guide", guide),
            threshold=mine("threshold", mi.static_threshold),
            augment=mine("augment", augment),
            step=mine("step", ddim),
        )
        for s in imagen.stages
    ]
    imagen.draw("a cube")
    once = ["guide", "threshold", "step"]
    assert calls == once * 2 + ["augment"] + once * 2


def test_what_a_replaced_function_returns_is_what_is_drawn():
    imagen = cascade()
    imagen.stages[1] = replace(imagen.stages[1], step=lambda z, x, *rest: torch.full_like(z, 0.25))
    assert pixels(imagen.draw("a cube")).sub(0.25).abs().max() < 0.01


def test_what_is_enlarged_is_a_picture_in_range():
    imagen, seen = cascade(threshold=None), []
    imagen.stages[1] = replace(imagen.stages[1], upsample=lambda x, size: seen.append(x) or upsample(x, size))
    drawn = [step.z for step in imagen.stream("a cube") if step.stage == 0][-1]
    assert float(drawn.abs().max()) > 1 and torch.equal(seen[0], drawn.clamp(-1, 1))


def test_the_low_res_picture_is_augmented_once_for_all_steps_and_both_halves():
    """IF's own code draws new low-res noise at every step, and another for each half of guidance."""
    seen = []

    class Watches(Small):
        def forward(self, z, t, cond):
            seen.append(cond.low_res)
            return super().forward(z, t, cond)

    imagen = cascade()
    imagen.stages[1] = replace(imagen.stages[1], denoiser=Denoiser(Watches(1, enlarges=True), CosineSchedule(), "v"))
    imagen.draw("a cube")
    assert len(seen) == 3 and all(torch.equal(seen[0], s) for s in seen)
    assert torch.equal(seen[0][0], seen[0][1])


def test_the_network_is_told_the_level_that_was_added():
    stage = replace(cascade().stages[1], aug=0.3)
    low, generator = torch.zeros(2, 3, 16, 16), torch.Generator().manual_seed(0)
    cond = stage.cond(None, low, generator)
    assert torch.equal(cond.aug, torch.tensor([0.3, 0.3]))
    assert float(cond.low_res.std()) == pytest.approx(float(CosineSchedule()(0.3)[1]), rel=0.05)


def test_unconditional_stages_draw_by_count():
    imagen = Imagen([replace(cascade().stages[0], guidance=1.0)])
    assert len(imagen.draw(count=3)) == 3
    with pytest.raises(ValueError, match="without text"):
        imagen.draw("a cube")


def test_a_picture_of_ones_own_is_only_enlarged():
    imagen = cascade()
    own = Image.new("L", (20, 16), 128)  # grey-scale and not square: its middle square is taken
    assert [s.stage for s in imagen.stream("a cube", image=own)] == [1, 1, 1]
    assert len(list(imagen.stream("a cube", image=own, steps=5))) == 5  # one value is for the first stage that runs
    with pytest.raises(ValueError, match="2 values for 1 stage"):
        next(imagen.stream("a cube", image=own, steps=[1, 2]))
    with pytest.raises(ValueError, match="no stage up to 32 px enlarges a picture of 64 px: give a smaller one"):
        imagen.draw("a cube", image=Image.new("RGB", (64, 64)))


def test_pictures_to_enlarge_are_one_for_all_or_one_a_prompt_or_one_each():
    imagen, (a, b) = cascade(), (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)

    def last(prompts, image, **options):
        return list(imagen.stream(prompts, image=image, **options))[-1].z

    alone = [last("a cube", x[None], first=i) for i, x in enumerate((a, a, b, b))]
    assert torch.equal(last("a cube", a), alone[0])  # (3, H, W) is one picture
    assert pixels(imagen.draw("a cube", image=a)).allclose(alone[0].clamp(-1, 1), atol=1 / 127)
    apart = last(["a cube"] * 2, torch.stack([a, b]), count=2)
    assert apart.allclose(torch.cat(alone), atol=1e-5)
    drawn = imagen.draw(["a cube"] * 2, image=torch.stack([a, b]), count=2)
    assert pixels(drawn).allclose(apart.clamp(-1, 1), atol=1 / 127)
    for prompts, image, says in [
        ("a cube", torch.stack([a, b]), "2 images for 1 picture: "),
        (["a cube"] * 3, torch.stack([a, b]), "2 images for 3 pictures"),
        ("a cube", ((a + 1) * 127.5).byte(), "floats in"),
        ("a cube", (a + 1) * 127.5, "these reach"),
        ("a cube", a[:1], r"\(1, 1, 16, 16\)"),
    ]:
        for how in (imagen.draw, last):
            with pytest.raises(ValueError, match=says):
                how(prompts, image=image)


def test_an_array_is_read_as_a_picture():
    picture = Image.effect_noise((20, 16), 50).convert("RGB")
    assert torch.equal(from_pil(np.asarray(picture)), from_pil(picture))
    for no_picture in (np.zeros((8, 8, 3)), np.asarray(picture).transpose(2, 0, 1)):
        with pytest.raises(ValueError, match="an array .H, W, 3. of bytes"):
            from_pil(no_picture)


@pytest.mark.parametrize(
    "prompt, options, says",
    [
        ([], {}, "nothing to draw"),
        (None, {}, "nothing to draw"),
        ([7], {}, "prompts are strings"),
        ("a cube", {"size": 50}, "size 50 is not one of this cascade's: 16, 32"),
        ("a cube", {"solver": "euler"}, "solver is"),
        ("a cube", {"aug": [0.0, 3.0]}, "between 0"),
    ],
)
def test_bad_input_is_named(prompt, options, says):
    with pytest.raises(ValueError, match=says):
        cascade().draw(prompt, **options)


def test_stages_that_make_no_cascade_are_refused():
    base, large = cascade().stages
    for stages, says in [
        ([], "at least one"),
        ([large, base], "small to large"),
        ([base, replace(base, size=32)], "enlarges"),
    ]:
        with pytest.raises(ValueError, match=says):
            Imagen(stages, encode)


def test_an_empty_prompt_is_the_null_text_and_guidance_does_nothing_to_it():
    imagen = cascade()
    assert torch.equal(pixels(imagen.draw("", guidance=[9.0, 9.0])), pixels(imagen.draw("", guidance=[1.0, 1.0])))


def test_pil_and_back():
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert (from_pil(to_pil(images)) - images).abs().max() <= 1 / 255 + 1e-6
    assert from_pil([Image.new("RGBA", (7, 9)), Image.new("P", (30, 20))]).shape == (2, 3, 7, 7)


# Files


def tiny(enlarges=False):
    torch.manual_seed(0)
    config = UNetConfig(
        size=16,
        in_channels=6 if enlarges else 3,
        channels=(16, 32),
        layers=1,
        attention=("none", "text"),
        mid_attention="none",
        head_dim=8,
        groups=8,
        text_dim=32,
        pool_heads=4,
        augmentation=enlarges,
    )
    unet = UNet(config)
    for p in unet.parameters():
        torch.nn.init.normal_(p, std=0.05)
    return unet.eval().requires_grad_(False)


def saved_stage(**options):
    schedule = ShiftedSchedule(16)
    settings = {"steps": 5, "guidance": 2.5, "threshold": mi.Dynamic(0.9, 1.5), "interval": (0.1, 0.8), **options}
    return Stage(Denoiser(tiny(), schedule, "v", 0.2), 16, about={"steps": 3}, **settings)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": None},
        {"threshold": mi.Static()},
        {"threshold": mi.Dynamic(0.9, 1.5)},
        {"eta": 0.5},
        {"solver": "dpm++2m"},
        {"aug": 0.1},
    ],
    ids=str,
)
def test_a_stage_comes_back_as_it_was(tmp_path, options):
    stage = saved_stage(**options)
    stage.save_pretrained(tmp_path / "unet_16")
    again = Stage.from_pretrained(tmp_path / "unet_16")
    assert replace(again, denoiser=stage.denoiser) == stage and again.about == {"steps": 3}
    assert (again.denoiser.schedule, again.denoiser.prediction, again.denoiser.spread) == (
        ShiftedSchedule(16),
        "v",
        0.2,
    )
    text = Text(torch.randn(1, 4, 32))
    ours, theirs = [
        list(s.sample(text, text, generator=torch.Generator().manual_seed(0)))[-1].z for s in (stage, again)
    ]
    assert torch.equal(ours, theirs)


def test_a_cascade_comes_back_and_loads_one_stage_at_a_time(tmp_path):
    base = saved_stage(guidance=1.0)
    large = replace(base, denoiser=Denoiser(tiny(enlarges=True), CosineSchedule(), "residual"), size=32)
    Imagen([base, large]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds unet_32, which is no stage of this cascade"):
        Imagen([base]).save_pretrained(tmp_path)
    assert [s.size for s in Imagen.from_pretrained(tmp_path).stages] == [16, 32]
    assert [s.size for s in Imagen.from_pretrained(tmp_path, stages=(32,)).stages] == [32]
    with pytest.raises(ValueError, match="none of 64"):
        Imagen.from_pretrained(tmp_path, stages=(64,))


@pytest.mark.parametrize(
    "schedule",
    [
        CosineSchedule(),
        LinearSchedule(1e-3, 0.03),
        ShiftedSchedule(256, 32, LinearSchedule()),
        TableSchedule(torch.tensor([0.9, 0.4, 0.1])),
    ],
    ids=lambda s: type(s).__name__,
)
def test_schedules_come_back(schedule):
    assert schedule_from_dict(json.loads(json.dumps(schedule_to_dict(schedule)))) == schedule


def test_functions_of_ones_own_are_not_saved_silently(tmp_path):
    for change in ({"guide": lambda c, u, w: c}, {"threshold": torch.tanh}):
        with pytest.raises(ValueError, match="of your own"):
            saved_stage(**change).save_pretrained(tmp_path / "stage")
    assert not (tmp_path / "stage").exists()


def test_weights_of_another_world_are_refused(tmp_path):
    replace(saved_stage(), about={"world": 99}).save_pretrained(tmp_path / "unet_16")
    with pytest.raises(ValueError, match="version 99 of Toyland"):
        Imagen.from_pretrained(tmp_path)


def test_faults_of_the_file_are_named(tmp_path):
    folder = tmp_path / "unet_16"
    saved_stage().save_pretrained(folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="altered or cut short"):
        Imagen.from_pretrained(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*model\.safetensors"):
        Imagen.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        Imagen.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    saved_stage().save_pretrained(tmp_path / "begun" / "unet_16" / "small")
    with pytest.raises(ValueError, match="unet_16 holds the first part of a run alone"):
        Imagen.from_pretrained(tmp_path / "begun")
    with pytest.raises(ValueError, match="holds no stages"):
        Imagen.from_pretrained(tmp_path / "empty")


def test_an_untrained_network_warns_before_it_draws_noise():
    stage = Stage(Denoiser(UNet(tiny().config), CosineSchedule(), "v"), 16, steps=1)
    text = Text(torch.zeros(1, 4, 32))
    with pytest.warns(UserWarning, match="untrained"):
        list(stage.sample(text, text))
