"""Our weights in diffusers' own IF pipelines: the same network, noise and steps must give the same picture."""

from dataclasses import replace

import pytest
import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import minimagen as mi
from minimagen import deepfloyd, export
from minimagen.cascade import Imagen, Stage, generators
from minimagen.conditioning import noise_like
from minimagen.denoiser import Denoiser
from minimagen.schedule import CosineSchedule, ShiftedSchedule
from minimagen.text import TextEncoder
from minimagen.unet import UNet, UNetConfig

PROMPTS = ["a red cube", "a small blue ring"]


@pytest.fixture(scope="module")
def text():
    letters = "abcdefghijklmnopqrstuvwxyz "
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)] + [(c, -3.0) for c in letters.strip()]
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(vocab) + 100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return TextEncoder(T5EncoderModel(config), T5Tokenizer(vocab=vocab), max_tokens=77)


def network(enlarges=False):
    config = UNetConfig(
        size=32 if enlarges else 16,
        in_channels=6 if enlarges else 3,
        channels=(32, 64),
        layers=1,
        attention=("none", "self+text"),
        head_dim=8,
        groups=8,
        text_dim=32,
        augmentation=enlarges,
    )
    torch.manual_seed(1)
    unet = UNet(config)
    for p in unet.parameters():
        torch.nn.init.normal_(p, std=0.08)
    return unet.eval().requires_grad_(False)


def base(prediction="v", schedule=None, threshold=mi.Dynamic(0.9, 1.5), **options):  # noqa: B008
    denoiser = Denoiser(network(), schedule or deepfloyd.schedule(), prediction)
    return Stage(denoiser, 16, steps=10, guidance=3.0, threshold=threshold, **options)


def enlarging(prediction="residual"):
    return Stage(Denoiser(network(True), CosineSchedule(), prediction, 0.1), 32, steps=5, guidance=2.0, aug=0.25)


def psnr(a, b):
    """Relative to the range: an untrained network's ε without thresholding ends far outside [−1, 1]."""
    scale = a.abs().max().clamp(min=1)
    a, b = a / scale, b / scale
    return float(10 * torch.log10(4 / (a - b).pow(2).mean().clamp(min=1e-12)))


def theirs(pipe, **options):
    pipe.set_progress_bar_config(disable=True)
    return pipe(PROMPTS, output_type="pt", **options).images


@pytest.mark.parametrize("prediction", ["eps", "v", "x"])
@pytest.mark.parametrize("threshold", [None, mi.Static(), mi.Dynamic(0.9, 1.5)], ids=str)
def test_the_base_draws_the_same_picture_in_if_pipeline(text, prediction, threshold, monkeypatch):
    """DDPM with shared noise, guidance, thresholding: everything that both have."""
    imagen = Imagen([base(prediction, threshold=threshold, eta=1.0)], text)
    noise = [torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(40)]
    ours_noise, their_noise = iter(noise), iter(noise)
    monkeypatch.setattr("minimagen.cascade.noise_like", lambda *a, **k: next(ours_noise))
    monkeypatch.setattr("minimagen.sampler.noise_like", lambda *a, **k: next(ours_noise))
    monkeypatch.setattr("diffusers.pipelines.deepfloyd_if.pipeline_if.randn_tensor", lambda *a, **k: next(their_noise))
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: next(their_noise))
    ours = list(imagen.stream(PROMPTS))[-1].z
    drawn = theirs(export.pipeline(imagen), num_inference_steps=10, guidance_scale=3.0)
    assert psnr(ours, drawn) > 40


def test_the_folder_loads_untouched(text, tmp_path):
    from diffusers import IFPipeline

    imagen = Imagen([base(), enlarging()], text)
    export.to_diffusers(imagen, tmp_path / "out")
    pipe = IFPipeline.from_pretrained(tmp_path / "out" / "stage_1")
    z = noise_like(torch.empty(2, 3, 16, 16), generators(0, range(2)))
    cond = imagen.encode(PROMPTS)[0]
    embeds, _ = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False, clean_caption=True)
    torch.testing.assert_close(embeds, cond.tokens, atol=1e-5, rtol=1e-5)
    t = torch.tensor([499, 499])
    with torch.no_grad():
        out = pipe.unet(z, t, encoder_hidden_states=embeds).sample
        mine = imagen.stages[0].denoiser.unet(z, t.float(), mi.Cond(cond))
    assert out.shape[1] == 6 and not out[:, 3:].any()
    torch.testing.assert_close(out[:, :3], mine, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "residual"])
def test_stage_two_enlarges_the_same_in_if_super_resolution_pipeline(text, prediction, tmp_path, monkeypatch):
    stage = enlarging(prediction)
    imagen = Imagen([base(), replace(stage, eta=1.0, upsample=deepfloyd.upsample)], text)
    export.to_diffusers(imagen, tmp_path / "out")
    assert Stage.from_pretrained(tmp_path / "out" / "stage_2").upsample is deepfloyd.upsample
    pipe = export.super_resolution_pipeline(tmp_path / "out" / "stage_2")
    small = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1
    noise = [torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(40)]
    ours_noise, their_noise = iter(noise), iter(noise)
    for place in ("cascade", "sampler", "conditioning"):
        monkeypatch.setattr(f"minimagen.{place}.noise_like", lambda *a, **k: next(ours_noise))
    for place in ("pipelines.deepfloyd_if.pipeline_if_superresolution", "schedulers.scheduling_ddpm"):
        monkeypatch.setattr(f"diffusers.{place}.randn_tensor", lambda *a, **k: next(their_noise))
    ours = list(imagen.stream(PROMPTS, image=small, aug=0.251))[-1].z
    drawn = theirs(pipe, image=small, num_inference_steps=5, guidance_scale=2.0, noise_level=250)
    assert psnr(ours, drawn) > 40


def test_a_schedule_that_diffusers_has_no_name_for_is_told_by_its_betas():
    scheduler = export.scheduler(base(schedule=ShiftedSchedule(16)))
    alpha, _ = ShiftedSchedule(16)((torch.arange(1000) + 1) / 1000)
    inside = slice(0, 990)  # the last β reaches the clip at 0.999
    torch.testing.assert_close(scheduler.alphas_cumprod[inside], alpha[inside] ** 2, atol=1e-4, rtol=1e-3)


def test_the_residual_cannot_be_a_first_stage_and_folders_are_not_overwritten(text, tmp_path):
    with pytest.raises(ValueError, match="knows no 'residual'"):
        export.pipeline(Imagen([replace(base(), denoiser=Denoiser(network(), CosineSchedule(), "residual"))], text))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="not empty"):
        export.to_diffusers(Imagen([base()], text), tmp_path / "full")
    with pytest.raises(ValueError, match="conditioned on text"):
        export.pipeline(Imagen([base()]))


def test_a_failed_export_leaves_nothing(text, tmp_path, monkeypatch):
    monkeypatch.setattr(export.stored, "save_stage", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.to_diffusers(Imagen([base(), enlarging()], text), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
