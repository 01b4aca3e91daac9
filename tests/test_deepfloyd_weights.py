"""DeepFloyd IF's weights in minimagen: folders that diffusers wrote, and the pictures of diffusers' own pipelines."""

import json
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import minimagen as mi
from minimagen import deepfloyd, hub
from minimagen.cascade import Imagen, to_pil
from minimagen.deepfloyd import dolls, memory, weights
from minimagen.deepfloyd.source import Source
from minimagen.text import TextEncoder
from minimagen.unet import IF_I_M, UNet

diffusers = pytest.importorskip("diffusers")

VOCAB = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0)]
VOCAB += [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz"]
PROMPTS = ["a red cube", "a small blue ring"]
TINY = {
    "out_channels": 6,
    "block_out_channels": [32, 64],
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "encoder_hid_dim": 32,
    "attention_head_dim": 8,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "cross_attention_norm": "group_norm",
    "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu",
}
FIRST = {**TINY, "sample_size": 16, "in_channels": 3}
SECOND = {**TINY, "sample_size": 32, "in_channels": 6, "class_embed_type": "timestep", "time_embedding_act_fn": "gelu"}
SECOND |= {"resnet_skip_time_act": True, "resnet_out_scale_factor": 1.414, "mid_block_scale_factor": 1.414}
SECOND |= {"only_cross_attention": True, "mid_block_only_cross_attention": True}


def network(config):
    torch.manual_seed(1)
    unet = diffusers.UNet2DConditionModel(**config)
    with torch.no_grad():
        for (
            p
        ) in unet.parameters():  # the normalisations' factors stay about 1, or nothing of the input would come through
            p.copy_(torch.randn_like(p) * 0.06 if p.ndim > 1 else p + 0.06 * torch.randn_like(p))
    return unet.eval()


def scheduler(cap):
    """As IF publishes it."""
    return diffusers.DDPMScheduler(
        1000,
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        thresholding=True,
        dynamic_thresholding_ratio=0.95,
        sample_max_value=cap,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """first/ and second/, as diffusers writes pipelines; plain, and the first also as fp16 and in shards."""
    root = tmp_path_factory.mktemp("if")
    torch.manual_seed(0)
    t5 = T5EncoderModel(
        T5Config(vocab_size=len(VOCAB) + 100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    ).eval()
    tokenizer = T5Tokenizer(vocab=VOCAB)
    empty = deepfloyd.pipelines.WITHOUT_CHECKER
    one = diffusers.IFPipeline(tokenizer, t5, network(FIRST), scheduler(1.5), **empty)
    one.save_pretrained(root / "first")
    noising = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    two = diffusers.IFSuperResolutionPipeline(tokenizer, t5, network(SECOND), scheduler(1.0), noising, **empty)
    two.save_pretrained(root / "second")
    shutil.copytree(root / "first", root / "sharded")
    shutil.rmtree(root / "sharded" / "unet")
    one.unet.save_pretrained(root / "sharded" / "unet", max_shard_size="300KB")
    shutil.copytree(root / "first", root / "fp16")
    for part in ("unet", "text_encoder"):
        shutil.rmtree(root / "fp16" / part)
    half = network(FIRST).half()
    half.save_pretrained(root / "fp16" / "unet", variant="fp16", max_shard_size="200KB")
    t5.save_pretrained(root / "fp16" / "text_encoder", variant="fp16")
    return root


def load(folder, **options):
    return Imagen.from_pretrained(folder, **options)


def psnr(a, b):
    """Both round in fp32, each in its own order, and random weights magnify that: 40 dB is equality."""
    return float(10 * torch.log10(4 / (a - b).pow(2).mean().clamp(min=1e-12)))


def share_noise(monkeypatch, size):
    noise = [torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(i)) for i in range(60)]
    ours, theirs = iter(noise), iter(noise)
    for place in ("cascade", "sampler", "deepfloyd.conventions"):
        monkeypatch.setattr(f"minimagen.{place}.noise_like", lambda *a, **k: next(ours))
    for place in ("pipelines.deepfloyd_if.pipeline_if", "pipelines.deepfloyd_if.pipeline_if_superresolution") + (
        "schedulers.scheduling_ddpm",
    ):
        monkeypatch.setattr(f"diffusers.{place}.randn_tensor", lambda *a, **k: next(theirs))


def theirs(pipe, **options):
    pipe.set_progress_bar_config(disable=True)
    return pipe(PROMPTS, output_type="pt", **options).images


# The same pictures


def test_the_first_stage_draws_what_if_pipeline_draws(folders, monkeypatch):
    """Learned variance, guidance of ε alone, dynamic thresholding, the times that begin at row 900 of ten steps."""
    share_noise(monkeypatch, 16)
    imagen, pipe = load(folders / "first"), deepfloyd.pipeline(folders / "first")
    ours = list(imagen.stream(PROMPTS, steps=10))
    drawn = theirs(pipe, num_inference_steps=10, guidance_scale=7.0)
    assert psnr(ours[-1].z, drawn) > 40
    assert ours[-1].z.std() > 0.1


def test_the_second_stage_draws_what_if_super_resolution_pipeline_draws(folders, monkeypatch):
    """Enlarged from corner to corner, noised in row 250, told 250."""
    share_noise(monkeypatch, 32)
    small = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1
    imagen, pipe = load(folders / "second"), deepfloyd.pipeline(folders / "second")
    ours = list(imagen.stream(PROMPTS, image=small, steps=5))[-1].z
    drawn = theirs(pipe, image=small, num_inference_steps=5, guidance_scale=4.0, noise_level=250)
    assert psnr(ours, drawn) > 40


def test_both_stages_with_published_habits(folders):
    imagen = load(folders / "first", second=folders / "second")
    one, two = imagen.stages
    assert (one.steps, one.guidance, one.eta, one.threshold) == (100, 7.0, 1.0, mi.Dynamic(0.95, 1.5))
    assert (two.steps, two.guidance, two.eta, two.threshold) == (50, 4.0, 1.0, mi.Dynamic(0.95, 1.0))
    assert (two.aug, two.augment, two.upsample) == (0.25, deepfloyd.augment, deepfloyd.upsample)
    assert one.times is two.times is deepfloyd.times
    assert one.denoiser.schedule == deepfloyd.schedule() and one.denoiser.prediction == "eps"
    assert imagen.draw(PROMPTS[0], steps=[3, 2])[0].size == (32, 32)
    assert [stage.size for stage in load(folders / "first", second=folders / "second", stages=[32]).stages] == [32]


def test_a_published_second_stage_runs_through_the_adapter_too(folders, monkeypatch):
    """Its learned variance and its count of augmentation levels pass through."""
    small = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1
    stage, drawn = load(folders / "second").stages[0], []
    text = TextEncoder.from_pretrained(folders / "second")
    for pipe in (deepfloyd.pipeline(folders / "second"), mi.export.super_resolution_pipeline(stage, text)):
        share_noise(monkeypatch, 32)
        drawn.append(theirs(pipe, image=small, num_inference_steps=4, noise_level=250))
    assert psnr(*drawn) > 40


def test_ddim_without_a_crash_and_as_ours(folders, monkeypatch):
    """DDIM from IF's own scheduler config fails on 3 against 6 channels; `deepfloyd.ddim` does not, and agrees."""
    share_noise(monkeypatch, 16)
    pipe = deepfloyd.pipeline(folders / "first")
    broken = deepfloyd.pipeline(folders / "first")
    broken.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    options = {"num_inference_steps": 10, "guidance_scale": 7.0}
    with pytest.raises(RuntimeError, match="size of tensor"):
        theirs(broken, **options)
    share_noise(monkeypatch, 16)
    ours = list(load(folders / "first").stream(PROMPTS, steps=10, eta=0.0))[-1].z
    assert psnr(ours, theirs(deepfloyd.ddim(pipe, "leading"), **options)) > 40


def test_what_was_loaded_can_be_saved_and_loaded_as_ours(folders, tmp_path):
    imagen = load(folders / "first", second=folders / "second")
    imagen.save_pretrained(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert again.stages[1].augment is deepfloyd.augment and again.stages[0].times is deepfloyd.times
    a, b = ([step.z for step in cascade.stream("a cube", steps=[2, 2])][-1] for cascade in (imagen, again))
    assert torch.equal(a, b)


def test_our_own_export_comes_back(folders, tmp_path):
    """A fixed variance: the three channels of zeros that were added for diffusers are left out again."""
    imagen = load(folders / "first")
    stage = imagen.stages[0]
    state = {k: v[:3] if k.startswith("conv_out") else v for k, v in stage.denoiser.unet.state_dict().items()}
    unet = UNet(replace(stage.denoiser.unet.config, out_channels=3))
    unet.load_state_dict(state)
    plain = replace(stage, denoiser=mi.Denoiser(unet.eval(), deepfloyd.schedule(), "v"), times=mi.times, eta=1.0)
    mi.export.to_diffusers(Imagen([plain], imagen.text), tmp_path / "out")
    (back,) = load(tmp_path / "out" / "stage_1").stages
    assert back.denoiser.unet.config.out_channels == 3 and back.denoiser.prediction == "v"
    assert back.times is mi.times and back.threshold == plain.threshold
    assert all(torch.equal(v, state[k]) for k, v in back.denoiser.unet.state_dict().items())


# Files


def same(a, b):
    a, b = (x.stages[0].denoiser.unet.state_dict() for x in (a, b))
    return all(torch.equal(a[k], b[k]) for k in a)


def test_shards_and_variants_are_the_same_numbers(folders):
    text = lambda captions: None  # noqa: E731
    whole = load(folders / "first", text=text)
    assert len(Source(str(folders / "sharded")).weights()) > 1
    assert same(whole, load(folders / "sharded", text=text))
    assert len(Source(str(folders / "fp16")).weights(variant="fp16")) > 1
    half = load(folders / "fp16", variant="fp16", text=text, dtype=torch.float16)
    assert half.stages[0].denoiser.unet.conv_in.weight.dtype == torch.float16
    assert same(load(folders / "first", text=text, dtype=torch.float16), half)
    again = load(folders / "fp16", variant="fp16")  # the text encoder's variant, too
    assert torch.equal(again.text(PROMPTS).tokens, load(folders / "first").text(PROMPTS).tokens)


def test_the_other_spelling_of_a_variants_index(folders, tmp_path):
    shutil.copytree(folders / "fp16", tmp_path / "if")
    (index,) = (tmp_path / "if" / "unet").glob("*index*")
    names = {"safetensors.index.fp16.json", "fp16.safetensors.index.json"} - {index.name.split(".", 1)[1]}
    assert len(names) == 1
    index.rename(index.parent / f"diffusion_pytorch_model.{names.pop()}")
    assert len(Source(str(tmp_path / "if")).weights(variant="fp16")) > 1


def test_files_that_are_missing_or_foreign(folders, tmp_path):
    with pytest.raises(ValueError, match="has no fp16 weights as safetensors in unet/: leave out variant"):
        load(folders / "first", variant="fp16", text=len)
    shutil.copytree(folders / "sharded", tmp_path / "cut")
    shard = sorted((tmp_path / "cut" / "unet").glob("*.safetensors"))[-1]
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tmp_path / "cut", text=len)
    shard.unlink()
    with pytest.raises(ValueError, match="is not whole: its index names"):
        load(tmp_path / "cut", text=len)
    shutil.copytree(folders / "first", tmp_path / "foreign")
    shutil.copy(folders / "second" / "unet" / "diffusion_pytorch_model.safetensors", tmp_path / "foreign" / "unet")
    with pytest.raises(ValueError, match="another network's weights"):
        load(tmp_path / "foreign", text=len)
    with pytest.raises(ValueError, match="holds no stages"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder here"):
        load("no/such/folder")
    with pytest.raises(ValueError, match="draws from noise alone"):
        load(folders / "first", second=folders / "first")
    with pytest.raises(ValueError, match="no stage of 64 px"):
        load(folders / "first", stages=[64])
    with pytest.raises(ValueError, match="no stage of 64 px"):
        load(folders / "first", stages=64)
    with pytest.raises(ValueError, match="watermark is no option"):
        load(folders / "first", watermark=True)


DPM = {"_class_name": "DPMSolverMultistepScheduler", "timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "a EulerDiscreteScheduler"),
        ({"num_train_timesteps": 500}, "500 training steps"),
        ({"prediction_type": "flow"}, "prediction 'flow'"),
        ({"timestep_spacing": "linspace"}, "linspace timesteps"),
        ({"beta_schedule": "sigmoid"}, "schedule 'sigmoid'"),
        ({"steps_offset": 1}, "steps_offset 1"),
        ({"variance_type": "fixed_large"}, "variance_type 'fixed_large'"),
        ({"thresholding": False, "clip_sample": True, "clip_sample_range": 3.0}, "clip_sample_range 3.0"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr True"),
        ({"_class_name": "DDIMScheduler", "set_alpha_to_one": False}, "set_alpha_to_one False"),
        (DPM | {"timestep_spacing": "leading"}, "timestep_spacing 'leading'"),
        (DPM | {"solver_order": 1}, "solver_order 1"),
        (DPM | {"algorithm_type": "sde-dpmsolver++"}, "algorithm_type 'sde-dpmsolver\\+\\+'"),
        (DPM | {"solver_type": "heun"}, "solver_type 'heun'"),
        (DPM | {"final_sigmas_type": "sigma_min"}, "final_sigmas_type 'sigma_min'"),
        (DPM | {"use_karras_sigmas": True}, "use_karras_sigmas True"),
    ],
)
def test_another_kind_of_scheduler_is_refused(folders, tmp_path, change, says):
    config = json.loads((folders / "first" / "scheduler" / "scheduler_config.json").read_text())
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=says):
        weights.settings_of(Source(str(tmp_path)), mi.UNetConfig())


@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_what_diffusers_does_by_default_is_what_we_do(kind):
    default = dict(getattr(diffusers, kind)(1000).config)
    for name, known in (weights.TOLD[""] | weights.TOLD[kind]).items():
        if name != "timestep_spacing":  # its own default, linspace, is refused
            assert default.get(name, known[0]) in known, name


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_tables_are_diffusers(kind):
    scheduler = diffusers.DDPMScheduler(1000, beta_schedule=kind, beta_start=1e-4, beta_end=0.02)
    ours = weights.table(dict(scheduler.config), "x").alphas_cumprod.float()
    torch.testing.assert_close(ours, scheduler.alphas_cumprod, atol=1e-7, rtol=2e-4)


def test_if_i_m_at_its_true_widths_reads_every_weight():
    """On the meta device: diffusers' keys and shapes, renamed, are all of ours."""
    with torch.device("meta"):
        model = diffusers.UNet2DConditionModel(**deepfloyd.to_diffusers_config(IF_I_M))
        unet = UNet(deepfloyd.from_diffusers_config(dict(model.config)))
    state = {deepfloyd.from_diffusers_key(key): value for key, value in model.state_dict().items()}
    assert unet.config == IF_I_M
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in unet.state_dict().items()}
    assert deepfloyd.network_bytes(IF_I_M, torch.float16) == sum(2 * p.numel() for p in model.parameters())


# The text


def test_embeddings_from_a_file_draw_the_same_picture(folders, tmp_path):
    imagen = load(folders / "first")
    prompts = [*PROMPTS, "a red cube (shiny) & a small blue sphere — on grass"]
    embeddings = deepfloyd.embed(prompts, TextEncoder.from_pretrained(folders / "first", clean=mi.clean_caption))
    embeddings.save(tmp_path / "prompts.safetensors")
    light = load(folders / "first", text=tmp_path / "prompts.safetensors")
    assert light.text.prompts == prompts and light.text.dim == 32
    assert torch.equal(light.text.null(2).tokens, imagen.text.null(2).tokens)
    a, b = ([step.z for step in cascade.stream(prompts, steps=3)][-1] for cascade in (imagen, light))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="'a dog' was not encoded before.*'a red cube'"):
        light.draw("a dog")
    half = deepfloyd.embed("a red cube", imagen.text, torch.float16)
    assert half.rows[""].dtype == torch.float16 and half("a red cube").tokens.dtype == torch.float32
    with pytest.raises(ValueError, match="lack the null text"):
        deepfloyd.Embeddings({"a": torch.zeros(3, 4)})
    mi.deepfloyd.weights.files.save_tensors(tmp_path / "x.safetensors", {"0": torch.zeros(1)})
    with pytest.raises(ValueError, match="holds no sentences"):
        load(folders / "first", text=tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="pad='max'"):
        deepfloyd.embed("a", lambda captions: mi.Text(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool)))


def test_another_text_encoder_by_folder_or_as_it_is(folders):
    assert load(folders / "first", text=folders / "second").text.dim == 32
    encoder = TextEncoder.from_pretrained(folders / "first")
    assert load(folders / "first", text=encoder).text is encoder


def test_captions_are_cleaned_as_if_does(folders):
    a = load(folders / "first").text("a red cube www.example.com")
    pipe = deepfloyd.pipeline(folders / "first")
    b, _ = pipe.encode_prompt("a red cube www.example.com", do_classifier_free_guidance=False, clean_caption=True)
    torch.testing.assert_close(a.tokens, b, atol=1e-6, rtol=1e-5)


def test_an_offloaded_t5_reads_the_same(folders, tmp_path):
    """Its embeddings and a block on the disk, as where memory is short."""
    spread = {"device_map": {"shared": "disk", "encoder.block.0": "cpu", "encoder.final_layer_norm": "cpu"}}
    spread["device_map"] |= {"encoder.embed_tokens": "disk", "encoder.block.1": "disk", "encoder.dropout": "cpu"}
    imagen = load(folders / "first", t5={**spread, "offload_folder": str(tmp_path)})
    assert any(p.device.type == "meta" for p in imagen.text.model.parameters())
    assert torch.equal(imagen.text(PROMPTS).tokens, load(folders / "first").text(PROMPTS).tokens)
    assert load(folders / "first", t5="offload").text(PROMPTS).tokens.shape == (2, 77, 32)


def test_eight_bit_asks_transformers_for_it_only_where_it_can(folders, monkeypatch):
    with pytest.raises(ValueError, match="t5 is one of whole, 8bit, offload"):
        load(folders / "first", t5="4bit")
    real = weights.importlib.util.find_spec
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None if "bits" in name else real(name))
    with pytest.raises(ImportError, match="needs the package bitsandbytes.*t5='offload'"):
        load(folders / "first", t5="8bit")
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: SimpleNamespace())
    asked = {}
    monkeypatch.setattr(TextEncoder, "from_pretrained", classmethod(lambda cls, name, **o: asked.update(o)))
    load(folders / "first", t5="8bit")
    assert asked["quantization_config"].load_in_8bit and asked["dtype"] == torch.bfloat16
    assert asked["device_map"] == {"": "cpu"} and asked["device"] is None


# What the Hub may answer


def answer(kind, status=401, said="no"):
    response = httpx.Response(status, request=httpx.Request("GET", "https://example.com"))
    try:
        return kind(said, response=response)
    except TypeError:
        fault = kind.__new__(kind)
        fault.args = (said,)
        return fault


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (answer(errors.GatedRepoError, 403), "is gated: accept its licence .* `hf auth login`"),
        (answer(errors.RepositoryNotFoundError), "has no DeepFloyd/IF-I-M-v1.0, or it is private: check the spelling"),
        (answer(errors.HfHubHTTPError, 401, "401 Invalid credentials in Authorization header"), "not know your token"),
        (errors.LocalEntryNotFoundError("x"), "is not on this machine and the Hugging Face Hub cannot be reached"),
        (errors.OfflineModeIsEnabled("x"), "is not on this machine and the Hugging Face Hub cannot be reached"),
        (answer(errors.RevisionNotFoundError, 404), "has no such revision"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Exception) else "",
)
def test_what_the_hub_refuses_is_one_sentence(fault, says, monkeypatch):
    def refuse(*args, **kwargs):
        raise fault

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(hub.TextModelError, match=says) as caught:
        Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0")
    assert "\n" not in str(caught.value)
    wrapped = OSError("There was a problem: Invalid user token.")  # as transformers passes it on
    assert "does not know your token" in hub._sentence("a/b", "a text model", wrapped)


@pytest.fixture
def pretended(folders, monkeypatch):
    """A Hub whose DeepFloyd/IF-I-M-v1.0 is our small folder; gives the list of what was fetched."""
    fetched = []

    def download(name, file, **access):
        assert name == "DeepFloyd/IF-I-M-v1.0"
        if not (folders / "first" / file).exists():
            raise answer(getattr(errors, "RemoteEntryNotFoundError", errors.EntryNotFoundError), 404)
        fetched.append(file)
        return str(folders / "first" / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return fetched


def test_by_name_only_what_is_needed_is_fetched(pretended, folders):
    imagen = Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0", text=len)
    assert pretended == [
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert same(imagen, load(folders / "first", text=len))
    with pytest.raises(ValueError, match="leave out variant"):
        Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0", text=len, variant="fp16")


def test_too_little_memory_is_said_before_weights_are_fetched(pretended, folders, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10_000)
    monkeypatch.setattr(hub, "find", lambda name, access: (T5Config(), None, None))
    with pytest.raises(
        memory.TooLittleMemory, match=r"DeepFloyd/IF-I-M-v1.0 needs .* on cpu \(the 16 px network .* are free"
    ):
        Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0")
    assert not any(name.endswith(".safetensors") for name in pretended)
    monkeypatch.setattr(memory, "available", lambda device: 2**40)
    Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0", text=len)  # enough: nothing to say


# diffusers' own


def test_the_pipeline_without_text_encoder_and_without_checker(folders):
    pipe = deepfloyd.pipeline(folders / "fp16", variant="fp16", dtype=torch.float16, text=False)
    assert pipe.text_encoder is None and pipe.safety_checker is None and pipe.unet.dtype == torch.float16
    with pytest.raises(hub.TextModelError, match="a pipeline of DeepFloyd IF|has no|cannot be reached|no folder"):
        deepfloyd.pipeline(folders / "nothing")


def test_the_x4_upscaler_enlarges_each_picture_by_its_own_noise(folders):
    pipe = dolls.upscaler(load(folders / "first").text)
    small = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    drawn = deepfloyd.upscale_x4(small, PROMPTS, pipe, steps=2)
    assert [picture.size for picture in drawn] == [(32, 32)] * 2
    alone = deepfloyd.upscale_x4(small[:1], PROMPTS[0], pipe, steps=2)
    assert alone[0].tobytes() == drawn[0].tobytes()
    one, two = deepfloyd.upscale_x4([to_pil(small)[0]] * 2, PROMPTS[0], pipe, steps=2)
    wide = to_pil(small)[0].resize((24, 16))
    assert [deepfloyd.upscale_x4(w, "a", pipe, steps=1)[0].size for w in (wide, [wide])] == [(96, 64)] * 2
    assert one.tobytes() == drawn[0].tobytes() != two.tobytes()
    with pytest.raises(ValueError, match="3 prompts for 2 pictures"):
        deepfloyd.upscale_x4(small, ["a"] * 3, pipe)


def test_every_setting_reaches_the_x4_upscaler():
    calls, settings = [], {"num_inference_steps": 3, "guidance_scale": 2.0, "noise_level": 50}

    def pipe(**told):
        calls.append(told)
        return SimpleNamespace(images=[None])

    for seed in (0, 7):
        deepfloyd.upscale_x4(torch.zeros(1, 3, 8, 8), "a", pipe, seed=seed, steps=3, guidance=2.0, noise_level=50)
    assert all(settings.items() <= told.items() for told in calls)
    assert calls[0]["generator"].initial_seed() != calls[1]["generator"].initial_seed()


def test_times_and_augmentation_are_ifs():
    scheduler = diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    for steps in (1, 27, 50, 100):
        scheduler.set_timesteps(steps)
        assert (deepfloyd.times(steps)[:-1] * 1000 - 1).round().tolist() == scheduler.timesteps.tolist()
    x, noise = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    for row in (0, 250, 999):
        theirs = scheduler.add_noise(x, noise, torch.tensor([row, row]))
        alpha, sigma = scheduler.alphas_cumprod[row] ** 0.5, (1 - scheduler.alphas_cumprod[row]) ** 0.5
        ours = deepfloyd.augment(x, row / 1000, torch.Generator().manual_seed(1))
        noise_ours = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(ours, alpha * x + sigma * noise_ours, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(theirs, alpha * x + sigma * noise, atol=1e-5, rtol=1e-4)
    assert len(deepfloyd.times(50, start=0.02)) == 21  # no more steps than rows
    assert deepfloyd.times(8, start=0.0001).tolist() == pytest.approx([0.001, 0])
    with pytest.raises(ValueError, match="between 0"):
        deepfloyd.augment(x, 1.5)


def test_importing_deepfloyd_loads_no_heavy_library():
    import subprocess

    code = "import sys, minimagen.deepfloyd, minimagen.stored; print({'diffusers', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_weights_stay_in_their_file_until_used(folders):
    state = Source(str(folders / "first")).state()
    plain = load_file(folders / "first" / "unet" / "diffusion_pytorch_model.safetensors")
    assert state.keys() == plain.keys() and all(torch.equal(state[k], plain[k]) for k in plain)
