"""Lesson 10: what it says of IF is true of it, and the cells that wait for IF's weights run, as dolls can show."""

import re
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch

import minimagen as mi
from minimagen import checks, deepfloyd
from minimagen.cascade import generators
from minimagen.checks import lesson_10
from minimagen.checks.frame import NotYet
from minimagen.deepfloyd import dolls, memory
from minimagen.deepfloyd.renaming import RENAMED
from minimagen.resources import data_folder
from minimagen.samples import psnr

SOURCE = Path(__file__).parents[1] / "lessons" / "10_cascade_and_deepfloyd_if.md"
PROMPT = "a red cube left of a blue sphere"
QUIET = {"output_type": "pt", "clean_caption": False}


@pytest.fixture(scope="module")
def text():
    return mi.TextEncoder.from_pretrained(data_folder())


@pytest.fixture(scope="module")
def folders(text, tmp_path_factory):
    return dolls.if_folders(tmp_path_factory.mktemp("if"), text)


def cells() -> list[str]:
    """The lesson's code, cell by cell."""
    return re.findall(r"```\{code-cell\} ipython3\n(.*?)```", SOURCE.read_text(), flags=re.S)


def cell_with(words: str) -> str:
    (found,) = [cell for cell in cells() if words in cell]
    return found


# Dolls


def test_dolls_are_laid_out_and_sampled_as_published(folders):
    imagen = mi.Imagen.from_pretrained(folders[0], second=folders[1])
    one, two = imagen.stages
    assert (one.size, two.size) == (16, 64)
    assert (one.steps, one.guidance, one.threshold) == (100, 7.0, mi.Dynamic(0.95, 1.5))
    assert (two.steps, two.guidance, two.threshold, two.aug) == (50, 4.0, mi.Dynamic(0.95, 1.0), 0.25)
    for stage, published in ((one, mi.IF_I_M), (two, mi.IF_II_M)):
        config = stage.denoiser.unet.config
        for name in ("in_channels", "out_channels", "act", "text_norm", "pool", "augmentation", "skip_time_act"):
            assert getattr(config, name) == getattr(published, name), name
        assert config.attention[-1] == published.attention[-1] and len(config.channels) == 2
    assert {p.name for p in folders[0].iterdir()} >= {"model_index.json", "unet", "scheduler", "text_encoder"}


def test_a_doll_is_the_same_each_time_and_none_of_its_layers_sleeps(text, tmp_path):
    torch.manual_seed(1)
    a = dolls.random(lambda: torch.nn.Linear(3, 3))
    torch.manual_seed(2)
    b = dolls.random(lambda: torch.nn.Linear(3, 3))
    assert torch.equal(a.weight, b.weight)
    sd = dolls.stable_diffusion(text)
    assert all(bool(p.any()) for module in (sd.unet, sd.vae, sd.text_encoder) for p in module.parameters())


def test_a_latent_is_an_eighth_as_wide_and_the_upscaler_makes_four_of_one(text):
    sd = dolls.stable_diffusion(text)
    how = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(0)}
    latent = sd(PROMPT, output_type="latent", **how).images
    assert latent.shape == (1, 4, 16, 16) and latent.abs().max() > 1
    assert sd.vae.decode(latent / sd.vae.config.scaling_factor).sample.shape == (1, 3, 128, 128)
    x4 = dolls.upscaler(text)
    assert (x4.unet.config.in_channels, x4.unet.config.num_class_embeds) == (7, 1000)
    (picture,) = deepfloyd.upscale_x4(torch.zeros(1, 3, 16, 16), PROMPT, x4, steps=2)
    assert picture.size == (64, 64)


# The cells behind the switch


def namespace(text) -> dict:
    known = {"mi": mi, "generators": generators, "psnr": psnr, "Path": Path, "dolls": dolls}
    exec(cell_with("def read_first"), known)
    return known


@pytest.mark.parametrize("way", ["first", "elsewhere", "8bit"])
def test_the_cell_behind_the_switch_runs(text, folders, tmp_path, monkeypatch, capsys, way):
    """Word for word, with dolls in the place of what the plan names, and the processor in that of the GPU."""
    known = namespace(text)
    shown, read = [], {}

    def short(original, **shorter):
        return lambda *args, **options: original(*args, **{**options, **shorter})

    def reads(name, prompts, file, **t5):
        read.update(t5)
        embeddings = deepfloyd.embed(prompts, text)
        embeddings.save(file)

    options = {"second": folders[1], "device": "cpu"}
    plan = SimpleNamespace(first=folders[0], second=folders[1], third=dolls.upscaler(text), t5=way, options=options)
    monkeypatch.setattr(deepfloyd, "plan", lambda memory_gb: plan)
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr(
        "minimagen.deepfloyd.pipeline", short(deepfloyd.pipeline, variant=None, dtype=torch.float32), raising=True
    )
    loads = mi.Imagen.from_pretrained.__func__
    plain = {"variant": None, "dtype": torch.float32}
    monkeypatch.setattr(mi.Imagen, "from_pretrained", classmethod(lambda cls, n, **o: loads(cls, n, **{**o, **plain})))
    known |= {
        "USE_IF": True,
        "MEMORY_GB": 16,
        "file": tmp_path / "prompts.safetensors",
        "torch": torch,
        "show": mi.show,
        "transformers": SimpleNamespace(BitsAndBytesConfig=dict),
        "read_first": reads,
        "draw_and_enlarge": short(known["draw_and_enlarge"], stage_steps=(3, 2), steps=2),
        "both_codes": short(known["both_codes"], steps=6),
    }
    exec(cell_with("if USE_IF:"), known)
    assert len(shown) == 1 and "minimagen and diffusers with IF's weights agree to" in capsys.readouterr().out
    assert known["agree"] > 40 and [p.size for p in known["large"]] == [(256, 256)] * 2
    assert ("quantization_config" in read) == (way == "8bit") and ("variant" in read) == (way == "first")


def test_switched_off_it_says_so_and_shows_nothing(capsys):
    exec(cell_with("if USE_IF:"), {"USE_IF": False})
    assert capsys.readouterr().out.startswith("Skipped: this needs IF's weights")
    assert "USE_IF = False" in cell_with("MEMORY_GB = 16")


def test_t5_is_read_first_and_from_the_file(text, folders, tmp_path):
    known = namespace(text)
    known["read_first"](folders[0], [PROMPT], tmp_path / "a.safetensors")
    small, large = known["draw_and_enlarge"](
        folders[0], [PROMPT], tmp_path / "a.safetensors", {"second": folders[1]}, stage_steps=(2, 2)
    )
    assert small[0].size == (64, 64) and large == []
    assert known["both_codes"](folders[0], PROMPT, tmp_path / "a.safetensors", steps=5) > 40


# What ships, in diffusers


@pytest.mark.skipif(not (data_folder() / "unet_64").is_dir(), reason="the base is in training")
@pytest.mark.parametrize("eta", [0.0, 1.0], ids=["ddim", "ddpm"])
def test_the_weights_that_ship_draw_the_same_picture_in_diffusers(tmp_path, eta):
    imagen = mi.Imagen.from_pretrained(stages=[64])
    mi.export.to_diffusers(imagen, tmp_path / "out")
    pipe = diffusers.IFPipeline.from_pretrained(tmp_path / "out" / "stage_1")
    pipe = pipe if eta else deepfloyd.ddim(pipe)
    pipe.set_progress_bar_config(disable=True)
    *_, ours = imagen.stream(PROMPT, seed=0, steps=8, eta=eta)
    how = {"num_inference_steps": 8, "guidance_scale": imagen.stages[0].guidance, **QUIET}
    assert psnr(pipe(PROMPT, generator=generators(0, [0]), **how).images, ours.z.clamp(-1, 1)) > 40


# Its exercises


def test_the_times_and_names_of_the_exercises_are_ifs():
    scheduler = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    for steps in (20, 27, 100):
        scheduler.set_timesteps(steps)
        assert (lesson_10.leading(steps)[:-1] * 1000 - 1).round().tolist() == scheduler.timesteps.tolist()
        torch.testing.assert_close(lesson_10.leading(steps), deepfloyd.times(steps))
    with torch.device("meta"):
        keys = diffusers.UNet2DConditionModel(**deepfloyd.to_diffusers_config(mi.IF_I_M)).state_dict()
    assert {k: lesson_10.renamed(k, RENAMED) for k in keys} == {k: deepfloyd.from_diffusers_key(k) for k in keys}


def test_the_cascade_by_hand_is_the_cascade():
    """The exercise's reference against Stage.sample, on the exercise's own toys."""
    for case in checks.cascade_by_hand.cases(torch.Generator().manual_seed(0)):
        stages, text, null, noise = case.args
        picture = None
        for stage, z in zip(stages, noise):
            *_, step = stage.sample(text, null, picture, z=z)
            picture = step.z.clamp(-1, 1)
        torch.testing.assert_close(lesson_10.compose(*case.args), picture)


def test_the_cascade_may_be_told_a_level_a_picture():
    """As `mi.augment` may: a number is the same level for all."""
    picture = torch.randn(2, 3, 4, 4)
    assert torch.equal(lesson_10.rippled(picture, 0.3), lesson_10.rippled(picture, torch.full((2,), 0.3)))


def test_a_key_is_renamed_at_its_ends_and_as_a_whole():
    def all_but_the_end(key, names):
        for theirs, ours in names:
            key = ours if key == theirs else f".{key}".replace(f".{theirs}.", f".{ours}.")[1:]
        return key

    with pytest.raises(NotYet, match="missed the one at the end"):
        checks.rename._try(all_but_the_end, 0)


def test_t5s_published_sizes():
    """Of its encoders, in millions: what google/t5-v1_1-* are known by, less their decoders."""
    sizes = {"small": (512, 1024, 8, 6), "base": (768, 2048, 12, 12), "xxl": (4096, 10240, 24, 64)}
    millions = {
        name: memory.T5Size(dim=dim, ff=ff, layers=layers, heads=heads).parameters / 1e6
        for name, (dim, ff, layers, heads) in sizes.items()
    }
    assert millions == pytest.approx({"small": 35.3, "base": 109.6, "xxl": 4762.3}, rel=1e-3)
