"""DeepFloyd IF's published weights as an `Imagen`, sampled as IF samples them.

    mi.Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0", second="DeepFloyd/IF-II-M-v1.0", variant="fp16")

Only unet/, its schedulers, and the text encoder are read. The safety checker and the watermarker beside them are not:
they are other networks, and the checker does not load under transformers 5. Whoever shows pictures to others takes on
what the checker is for.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import files
from ..captions import clean_caption
from ..denoiser import Denoiser, Dynamic, Static
from ..schedule import STEPS, TableSchedule
from ..unet import UNet, UNetConfig
from . import conventions, memory
from .embeddings import Embeddings
from .renaming import from_diffusers_config, from_diffusers_key
from .source import Source

if TYPE_CHECKING:
    from ..cascade import Imagen, Stage

ACCESS = ("revision", "token", "cache_dir", "local_files_only")
PREDICTION = {"epsilon": "eps", "v_prediction": "v", "sample": "x"}
SOLVERS: dict[str, dict[str, Any]] = {
    "DDPMScheduler": {"eta": 1.0},
    "DDIMScheduler": {"eta": 0.0},
    "DPMSolverMultistepScheduler": {"solver": "dpm++2m"},
}
# Of what else a scheduler may be told, the values that we sample by; the first is diffusers' default, but for the
# spacing, which every config that diffusers has saved tells.
TOLD: dict[str, dict[str, tuple]] = {
    "": {"steps_offset": (0,), "rescale_betas_zero_snr": (False,)},
    "DDPMScheduler": {"variance_type": ("fixed_small", "fixed_small_log", "learned_range")},
    "DDIMScheduler": {"set_alpha_to_one": (True,)},
    "DPMSolverMultistepScheduler": {
        "timestep_spacing": ("trailing",),
        "final_sigmas_type": ("zero",),
        "solver_order": (2,),
        "algorithm_type": ("dpmsolver++",),
        "solver_type": ("midpoint",),
        "use_karras_sigmas": (False, None),
        "use_exponential_sigmas": (False, None),
        "use_beta_sigmas": (False, None),
        "use_lu_lambdas": (False, None),
    },
}
HABITS: dict[bool, dict[str, Any]] = {
    False: {"steps": 100, "guidance": 7.0},
    True: {"steps": 50, "guidance": 4.0, "aug": 0.25},
}  # enlarges?


def load(
    cls: type[Imagen],
    name: str | Path,
    *,
    stages: Sequence[int] | None = None,
    second: str | Path | None = None,
    text: Any = None,
    t5: str | dict[str, Any] = "whole",
    variant: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    one_at_a_time: bool = False,
    **access: Any,
) -> Imagen:
    """IF by the name or folder of its first stage, or of its second alone, which then enlarges pictures.

    second         the name or folder of the second stage; None = one stage
    text           None = the pipeline's own T5; a .safetensors file of `Embeddings`; a text model's name or folder;
                   or any encoder
    t5             "whole"; "8bit", which needs bitsandbytes; "offload": what does not fit stays on the CPU or on the
                   disk; or transformers' own options, as a dict
    variant        "fp16": the files with half the numbers' digits; None = the full ones
    dtype          what the networks compute in; the pictures between the steps stay float32
    device         where the networks draw; None = the CPU
    one_at_a_time  networks rest on the CPU, and only the one that draws is on the device
    access         revision, token, cache_dir, local_files_only
    """
    from ..cascade import Imagen

    if unknown := sorted(set(access) - set(ACCESS)):
        raise ValueError(f"{unknown[0]} is no option of DeepFloyd IF's weights")
    device = torch.device(device or "cpu")
    sources = [Source(str(name), access)] + ([] if second is None else [Source(str(second), access)])
    configs = [from_diffusers_config(source.json("unet/config.json")) for source in sources]
    if len(configs) == 2 and not configs[1].enlarges:
        raise ValueError(f"{second} draws from noise alone: a second stage enlarges, as DeepFloyd/IF-II-M-v1.0 does")
    chosen = [pair for pair in zip(sources, configs) if stages is None or pair[1].size in stages]
    if missing := set(stages or ()) - {config.size for config in configs}:
        raise ValueError(f"there is no stage of {min(missing)} px here: {[config.size for config in configs]}")
    settings = [settings_of(source, config) for source, config in chosen]  # small files: read before any weights

    home = torch.device("cpu") if one_at_a_time else device
    needs = {f"the {config.size} px network": (home, memory.network_bytes(config, dtype)) for _, config in chosen}
    if own := _own_text(name, text, t5):
        needs["the text encoder"] = (device, _text_bytes(own, t5, dtype, access))
    memory.check(" and ".join(str(source.name) for source, _ in chosen), needs)

    encoder = _encoder(own, t5, variant, dtype, device, access) if own else _given(text)
    drawn = [
        _stage(source, config, how, variant, dtype, home, str(device) if one_at_a_time else None)
        for (source, config), how in zip(chosen, settings)
    ]
    return (cls or Imagen)(drawn, encoder)


# One stage


def settings_of(source: Source, config: UNetConfig) -> dict[str, Any]:
    """How diffusers' scheduler says that a network is sampled, as fields of a `Stage`, `schedule` and `prediction`."""
    c = source.json("scheduler/scheduler_config.json")
    kind, spacing = c.get("_class_name", "DDPMScheduler"), c.get("timestep_spacing", "leading")
    told = TOLD[""] | TOLD.get(kind, {})
    if not c.get("thresholding", False) and c.get("clip_sample", True) and kind != "DPMSolverMultistepScheduler":
        told |= {"clip_sample_range": (1.0,)}
    for wrong, what in (
        (kind not in SOLVERS, f"a {kind}"),
        (c.get("num_train_timesteps", STEPS) != STEPS, f"{c.get('num_train_timesteps')} training steps"),
        (c.get("prediction_type", "epsilon") not in PREDICTION, f"the prediction {c.get('prediction_type')!r}"),
        (spacing not in ("leading", "trailing"), f"{spacing} timesteps"),
        *((c.get(name, known[0]) not in known, f"{name} {c.get(name)!r}") for name, known in told.items()),
    ):
        if wrong:
            raise ValueError(f"{source.name} is not sampled as DeepFloyd IF is: its scheduler has {what}")
    threshold: Any = None
    if c.get("thresholding", False):
        threshold = Dynamic(c.get("dynamic_thresholding_ratio", 0.995), float(c.get("sample_max_value", 1.0)))
    elif c.get("clip_sample", True) and kind != "DPMSolverMultistepScheduler":
        threshold = Static()
    settings: dict[str, Any] = {
        "schedule": table(c, source.name),
        "prediction": PREDICTION[c.get("prediction_type", "epsilon")],
        "learned": c.get("variance_type") == "learned_range",
        "threshold": threshold,
        **HABITS[config.enlarges],
        **SOLVERS[kind],
    }
    if spacing == "leading":
        settings["times"] = conventions.times
    if config.enlarges:
        noising = table(source.json("image_noising_scheduler/scheduler_config.json"), source.name)
        if noising != conventions.schedule():
            raise ValueError(f"{source.name} noises the small picture by another table than DeepFloyd IF's")
        settings |= {"upsample": conventions.upsample, "augment": conventions.augment}
    return settings


def table(config: dict[str, Any], name: str) -> TableSchedule:
    """The table of ᾱ that a diffusers scheduler's config stands for."""
    kind = config.get("beta_schedule", "linear")
    first, last = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif kind == "squaredcos_cap_v2":
        return conventions.schedule()
    elif kind == "linear":
        betas = torch.linspace(first, last, STEPS, dtype=torch.float64)
    elif kind == "scaled_linear":
        betas = torch.linspace(math.sqrt(first), math.sqrt(last), STEPS, dtype=torch.float64) ** 2
    else:
        raise ValueError(f"{name} has the schedule {kind!r}, which minimagen does not know")
    return TableSchedule((1 - betas).cumprod(0))


def load_unet(
    source: Source, config: UNetConfig, *, variant=None, dtype=torch.float32, device: Any = "cpu", learned=True
) -> UNet:
    """The network, ready to draw. Without a learned variance the three channels that stand for it are left out."""
    state = {from_diffusers_key(key): value for key, value in source.state("unet", variant).items()}
    if config.out_channels == 6 and not learned:
        config = replace(config, out_channels=3)
        state |= {key: state[key][:3] for key in ("conv_out.weight", "conv_out.bias") if key in state}
    with torch.device("meta"):
        unet = UNet(config).to(dtype)
    unet.to_empty(device=device)
    files.load_into(unet, state, source.name)  # copies tensor by tensor, and changes the dtype on the way
    return unet.eval().requires_grad_(False)


def _stage(source: Source, config: UNetConfig, how: dict[str, Any], variant, dtype, home, device) -> Stage:
    from ..cascade import Stage

    how = dict(how)
    schedule, prediction, learned = (how.pop(key) for key in ("schedule", "prediction", "learned"))
    unet = load_unet(source, config, variant=variant, dtype=dtype, device=home, learned=learned)
    return Stage(Denoiser(unet, schedule, prediction), config.size, device=device, about={"from": source.name}, **how)


# The text


def _own_text(name: str | Path, text: Any, t5: str | dict[str, Any]) -> str | None:
    """Where a text encoder must be loaded from; None = one is given."""
    if not isinstance(t5, dict) and t5 not in memory.T5_MODES:
        raise ValueError(f"t5 is one of {', '.join(memory.T5_MODES)}, not {t5!r}")
    if t5 == "8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise ImportError(
            "an 8-bit T5 needs the package bitsandbytes: install it, or take t5='offload', or encode the prompts "
            "elsewhere with deepfloyd.embed"
        )
    if text is None:
        return str(name)
    return str(text) if isinstance(text, str | Path) and Path(text).suffix != ".safetensors" else None


def _given(text: Any) -> Any:
    return Embeddings.load(text) if isinstance(text, str | Path) else text


def _text_bytes(name: str, t5: str | dict[str, Any], dtype: torch.dtype, access: dict[str, Any]) -> int:
    """What the text encoder will take, by its config alone. Offloaded, it takes what there is."""
    from .. import hub

    if isinstance(t5, dict) or t5 == "offload":
        return 0
    with hub.plainly(name):
        config, _, _ = hub.find(name, access)
    size = memory.T5Size.of(config)
    return 0 if size is None else size.bytes(torch.bfloat16 if t5 == "8bit" else dtype, t5)


def _encoder(name: str, t5: str | dict[str, Any], variant, dtype, device, access: dict[str, Any]) -> Any:
    from ..text import TextEncoder

    options: dict[str, Any] = dict(t5) if isinstance(t5, dict) else {}
    if t5 == "8bit":
        from transformers import BitsAndBytesConfig

        # the half of T5 that transformers never makes 8-bit, each block's `wo`, is half as large in bfloat16
        dtype, options["device_map"] = torch.bfloat16, {"": str(device)}
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif t5 == "offload":
        options["device_map"] = "auto"
    if variant is not None:
        options["variant"] = variant
    return TextEncoder.from_pretrained(
        name, clean=clean_caption, dtype=dtype, device=None if "device_map" in options else device, **options, **access
    )
