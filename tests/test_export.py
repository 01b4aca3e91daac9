"""Our weights in diffusers' own IF pipelines: the same network, noise and steps must give the same picture."""

from dataclasses import replace

import diffusers
import pytest
import torch
from oracles import Small
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import minimagen as mi
from minimagen import deepfloyd, export
from minimagen.cascade import Imagen, Stage, from_pil, generators, to_pil
from minimagen.conditioning import augment, noise_like
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
    return pipe(prompt=PROMPTS, output_type="pt", **options).images


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


@pytest.mark.parametrize("solver", ["ddim", "dpm++2m"])
def test_without_noise_both_draw_the_same_picture(text, solver, monkeypatch):
    """The same seed for the first picture, then no noise at all: DDIM, and DPM-Solver++ of second order."""
    imagen = Imagen([base(solver=solver)], text)
    pipe = export.pipeline(imagen)
    if solver == "ddim":
        deepfloyd.ddim(pipe)
    else:
        pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    z = noise_like(torch.empty(2, 3, 16, 16), generators(3, range(2)))
    monkeypatch.setattr("diffusers.pipelines.deepfloyd_if.pipeline_if.randn_tensor", lambda *a, **k: z)
    ours = list(imagen.stream(PROMPTS, seed=3))[-1].z
    assert psnr(ours, theirs(pipe, num_inference_steps=10, guidance_scale=3.0)) > 40


def test_image_to_image_is_our_vary(text, tmp_path, monkeypatch):
    imagen = Imagen([base()], text)
    export.to_diffusers(imagen, tmp_path / "out")
    pipe = deepfloyd.ddim(diffusers.IFImg2ImgPipeline.from_pretrained(tmp_path / "out" / "stage_1"))
    picture = to_pil(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1)[0]
    z = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(6))
    monkeypatch.setattr("diffusers.pipelines.deepfloyd_if.pipeline_if_img2img.randn_tensor", lambda *a, **k: z)
    monkeypatch.setattr("minimagen.edit.noise_like", lambda *a, **k: z)
    drawn = theirs(pipe, image=[picture] * 2, num_inference_steps=10, strength=0.5, guidance_scale=3.0)
    ours = from_pil(mi.edit.vary(imagen, picture, PROMPTS, strength=0.5, steps=5))
    assert psnr(ours, drawn) > 40


def test_inpainting_and_its_kin_of_the_second_stage_run_on_ours(text, tmp_path):
    imagen = Imagen([base(), enlarging()], text)
    export.to_diffusers(imagen, tmp_path / "out")
    pipe = diffusers.IFInpaintingPipeline.from_pretrained(tmp_path / "out" / "stage_1")
    picture = to_pil(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1)
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 8:] = 1  # 1 = repaint
    options = {"mask_image": mask, "num_inference_steps": 4, "strength": 1.0, "guidance_scale": 3.0}
    drawn = theirs(pipe, image=picture, generator=torch.Generator().manual_seed(0), **options)
    kept = (drawn - from_pil(picture)).abs().mean(dim=(0, 1, 2))
    assert kept[:8].max() < 0.1 < kept[8:].min()
    stage = tmp_path / "out" / "stage_2"
    large_mask = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    large_picture = [p.resize((32, 32)) for p in picture]
    for kind, more in (
        (diffusers.IFImg2ImgSuperResolutionPipeline, {"original_image": large_picture, "strength": 0.8}),
        (diffusers.IFInpaintingSuperResolutionPipeline, {"original_image": large_picture, "mask_image": large_mask}),
    ):
        large = theirs(export.super_resolution_pipeline(stage, kind=kind), image=drawn, num_inference_steps=4, **more)
        assert large.shape == (2, 3, 32, 32) and bool(large.isfinite().all())


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


@pytest.mark.parametrize("noising, level", [(augment, 0.251), (deepfloyd.augment, 0.25)])
def test_a_row_of_the_table_is_the_level_that_the_stage_was_told(noising, level):
    told = []

    class Watches(Small):
        def forward(self, z, t, cond):
            told.append(cond.aug)
            return super().forward(z, t, cond)

    stage = Stage(Denoiser(Watches(enlarges=True), CosineSchedule(), "v"), 8, augment=noising)
    export.Enlarger(stage)(torch.zeros(1, 6, 8, 8), torch.tensor([500]), torch.zeros(1, 5, 8), torch.tensor([250]))
    assert float(told[0]) == pytest.approx(level, abs=1e-6)


def test_a_schedule_that_diffusers_has_no_name_for_is_told_by_its_betas():
    scheduler = export.scheduler(base(schedule=ShiftedSchedule(16)))
    alpha, _ = ShiftedSchedule(16)((torch.arange(1000) + 1) / 1000)
    inside = slice(0, 990)  # the last β reaches the clip at 0.999
    torch.testing.assert_close(scheduler.alphas_cumprod[inside], alpha[inside] ** 2, atol=1e-4, rtol=1e-3)


def test_what_diffusers_cannot_follow_and_folders_that_are_full_are_refused(text, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="knows no 'residual'"):
        export.pipeline(Imagen([replace(base(), denoiser=Denoiser(network(), CosineSchedule(), "residual"))], text))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="not empty"):
        export.to_diffusers(Imagen([base()], text), tmp_path / "full")
    with pytest.raises(ValueError, match="conditioned on text"):
        export.pipeline(Imagen([base()]))
    with pytest.raises(ValueError, match="no text encoder of its own"):
        export.super_resolution_pipeline(base())
    short = TextEncoder(text.model, text.tokenizer, max_tokens=20, pad="longest")
    with pytest.raises(ValueError, match="reads 77 tokens"):
        export.pipeline(Imagen([base()], short))
    for own in ({"times": lambda steps, start: mi.times(steps)}, {"guide": lambda x_c, x_u, w: x_c}):
        with pytest.raises(ValueError, match=f"a {next(iter(own))} of your own"):
            export.pipeline(Imagen([base(**own)], text))
        with pytest.raises(ValueError, match=f"a {next(iter(own))} of your own"):
            export.super_resolution_pipeline(replace(enlarging(), **own), text)
    monkeypatch.chdir(tmp_path / "full")
    with pytest.raises(ValueError, match="the folder in which you are"):
        export.to_diffusers(Imagen([base()], text), ".")


def test_a_cascade_that_no_file_can_hold_leaves_nothing(text, tmp_path):
    own = replace(enlarging(), guide=lambda x_c, x_u, w: x_c)
    cleaned = TextEncoder(text.model, text.tokenizer, clean=lambda caption: caption)
    for imagen in (Imagen([base(), own], text), Imagen([base()], cleaned), Imagen([base()], lambda captions: None)):
        with pytest.raises(ValueError):
            imagen.save_pretrained(tmp_path / "half")
        assert not list(tmp_path.rglob("*.json"))
    Imagen([base()], text).save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match="holds a text encoder, and this cascade has none"):
        Imagen([base()]).save_pretrained(tmp_path / "whole")


def test_a_failed_export_leaves_nothing(text, tmp_path, monkeypatch):
    monkeypatch.setattr(export.stored, "save_stage", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.to_diffusers(Imagen([base(), enlarging()], text), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
