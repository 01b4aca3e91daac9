"""A cascade on disk: what `save_pretrained` writes and `from_pretrained` reads.

folder/text_encoder/, folder/tokenizer/        transformers' own layout
folder/unet_64/, unet_256/, unet_1024/         config.json (network, stage, about) and model.safetensors
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import deepfloyd, files
from .conditioning import augment, upsample
from .denoiser import Denoiser, Dynamic, Static, guide
from .resources import data_folder
from .sampler import ddim, times
from .schedule import CosineSchedule, LinearSchedule, Schedule, ShiftedSchedule, TableSchedule

if TYPE_CHECKING:
    from .cascade import Imagen, Stage

FORMAT = 1
PLAIN = ("size", "steps", "guidance", "aug", "eta", "solver")  # a stage's fields that are JSON as they are
TAUGHT: dict[str, tuple[Callable, ...]] = {  # fields that hold a function: only the package's own can be saved
    "guide": (guide,),
    "augment": (augment, deepfloyd.augment),
    "step": (ddim,),
    "upsample": (upsample, deepfloyd.upsample),
    "times": (times, deepfloyd.times),
}  # the default first; DeepFloyd IF's own is the other


def schedule_to_dict(schedule: Schedule) -> dict[str, Any]:
    """The schedule's kind and numbers, for config.json."""
    if isinstance(schedule, TableSchedule):
        return {"kind": "table", "alphas_cumprod": schedule.alphas_cumprod.tolist()}
    if isinstance(schedule, ShiftedSchedule):
        base = schedule_to_dict(schedule.base)
        return {"kind": "shifted", "size": schedule.size, "reference": schedule.reference, "base": base}
    if isinstance(schedule, LinearSchedule):
        return {"kind": "linear", **asdict(schedule)}
    if isinstance(schedule, CosineSchedule):
        return {"kind": "cosine", **asdict(schedule)}
    raise ValueError(f"a {type(schedule).__name__} cannot be saved: only the schedules of minimagen.schedule can")


def schedule_from_dict(d: dict[str, Any]) -> Schedule:
    """The inverse of `schedule_to_dict`."""
    d = dict(d)
    kind = d.pop("kind", None)
    if kind == "table":
        return TableSchedule(torch.tensor(d["alphas_cumprod"], dtype=torch.float64))
    if kind == "shifted":
        return ShiftedSchedule(d["size"], d["reference"], schedule_from_dict(d["base"]))
    if kind in ("linear", "cosine"):
        return LinearSchedule(**d) if kind == "linear" else CosineSchedule(**d)
    raise ValueError(f"{kind!r} is no schedule of this version of minimagen")


def stage_to_dict(stage: Stage) -> dict[str, Any]:
    """What config.json says of a stage; a `ValueError` where a file cannot hold what it is made of."""
    if not hasattr(getattr(stage.denoiser.unet, "config", None), "to_dict"):
        own = type(stage.denoiser.unet).__name__
        raise ValueError(f"this stage's network is a {own} of your own, and only a UNet can be saved")
    for name, functions in TAUGHT.items():
        if getattr(stage, name) not in functions:
            raise ValueError(
                f"this stage has a {name} of your own, which no file can hold: put minimagen's back, then save"
            )
    threshold = stage.threshold
    if threshold is not None and not isinstance(threshold, (Static, Dynamic)):
        raise ValueError(
            "this stage has a threshold of your own, which no file can hold: use Static, Dynamic or None, then save"
        )
    kind = None if threshold is None else {"kind": type(threshold).__name__.lower(), **asdict(threshold)}
    denoiser = stage.denoiser
    as_if = [name for name, functions in TAUGHT.items() if getattr(stage, name) is not functions[0]]
    return {
        "format": FORMAT,
        "network": denoiser.unet.config.to_dict(),
        "prediction": denoiser.prediction,
        "spread": denoiser.spread,
        "schedule": schedule_to_dict(denoiser.schedule),
        "stage": {**{name: getattr(stage, name) for name in PLAIN}, "threshold": kind, "interval": stage.interval}
        | ({"as_if": as_if} if as_if else {}),
        "about": dict(stage.about),
    }


def save_stage(stage: Stage, folder: str | Path, dtype: torch.dtype | None = None) -> str:
    """config.json and model.safetensors; gives the weights' SHA-256. dtype None = the weights as they are."""
    return files.save_network(folder, stage_to_dict(stage), stage.denoiser.unet.state_dict(), dtype)


def load_stage(folder: str | Path, cls: type[Stage]) -> Stage:
    """The stage that `save_stage` wrote, ready to draw: in float32, in evaluation mode."""
    from .unet import UNet, UNetConfig

    config, state = files.load_network(folder)
    if config.get("format") != FORMAT:
        raise ValueError(
            f"{folder} is no stage of this version of minimagen (format {config.get('format')}, not {FORMAT})"
        )
    if lacking := sorted({"network", "prediction", "spread", "schedule", "stage"} - set(config)):
        raise ValueError(f"{folder}/config.json is not whole: it lacks {', '.join(lacking)}")
    _check_world(config.get("about", {}), folder)
    with torch.device("meta"):
        unet = UNet(UNetConfig.from_dict(config["network"]))
    unet.to_empty(device="cpu")
    files.load_into(unet, {name: tensor.float() for name, tensor in state.items()}, folder)
    denoiser = Denoiser(
        unet.eval().requires_grad_(False),
        schedule_from_dict(config["schedule"]),
        config["prediction"],
        config["spread"],
    )
    settings = dict(config["stage"])
    threshold, interval = settings.pop("threshold"), settings.pop("interval")
    settings |= {name: TAUGHT[name][1] for name in settings.pop("as_if", ())}
    if threshold is not None:
        threshold = dict(threshold)
        threshold = {"static": Static, "dynamic": Dynamic}[threshold.pop("kind")](**threshold)
    return cls(
        denoiser,
        threshold=threshold,
        interval=None if interval is None else tuple(interval),
        about=config.get("about", {}),
        **settings,
    )


def _check_world(about: dict[str, Any], folder: str | Path) -> None:
    """Weights name the version of Toyland that they were trained on, and do not run in another."""
    if "world" not in about:
        return
    from .toyland.scene import WORLD_VERSION

    if about["world"] != WORLD_VERSION:
        raise ValueError(
            f"{folder} was trained on version {about['world']} of Toyland, and this package draws version "
            f"{WORLD_VERSION}: use the weights that came with this package"
        )


def save_imagen(imagen: Imagen, folder: str | Path) -> None:
    """Every stage, and the text encoder, in data/'s layout."""
    folder = Path(folder)
    own = {f"unet_{stage.size}" for stage in imagen.stages}
    if other := sorted(path.name for path in folder.glob("unet_*") if path.name not in own):
        raise ValueError(f"{folder} holds {other[0]}, which is no stage of this cascade: name another folder")
    if imagen.text is None and (folder / "text_encoder").exists():
        raise ValueError(f"{folder} holds a text encoder, and this cascade has none: name another folder")
    if imagen.text is not None and not hasattr(imagen.text, "save_pretrained"):
        raise ValueError("this text encoder cannot be saved: it has no save_pretrained")
    for stage in imagen.stages:
        stage_to_dict(stage)  # what no file can hold says so before anything is written
    if imagen.text is not None:
        imagen.text.save_pretrained(folder)
    for stage in imagen.stages:
        save_stage(stage, folder / f"unet_{stage.size}")


def load_imagen(
    cls: type[Imagen], name: str | Path | None, sizes: int | Sequence[int] | None, **options: Any
) -> Imagen:
    """The shipped cascade (None), a folder of this layout, or one of diffusers' IF layout by folder or hub name."""
    from .cascade import Stage
    from .text import TextEncoder

    sizes = [sizes] if isinstance(sizes, int) else sizes
    folder = data_folder() if name is None else Path(name).expanduser()
    if not any(folder.glob("unet_*/config.json")):
        return _foreign(cls, name, folder, sizes, options)
    if options:
        raise ValueError(f"{', '.join(options)} is an option of DeepFloyd IF's weights, and {folder} holds minimagen's")
    found = {int(match[1]): path for path in folder.glob("unet_*") if (match := re.fullmatch(r"unet_(\d+)", path.name))}
    wanted = sorted(found if sizes is None else sizes)
    if missing := [size for size in wanted if size not in found]:
        raise ValueError(f"{folder} has stages of {sorted(found)} px, and none of {missing[0]}")
    text = TextEncoder.from_pretrained(folder) if (folder / "text_encoder").is_dir() else None
    return cls([load_stage(found[size], Stage) for size in wanted], text)


def _foreign(
    cls: type[Imagen], name: str | Path | None, folder: Path, sizes: Sequence[int] | None, options: dict[str, Any]
) -> Imagen:
    if name is None:
        raise FileNotFoundError(f"this copy of minimagen has no trained stages: {folder} holds no unet_64/")
    if early := sorted(folder.glob("unet_*/small/config.json")):
        raise ValueError(f"{early[0].parents[1]} holds the first part of a run alone, of half the size: go on with it")
    if folder.is_dir() and not (folder / "unet" / "config.json").is_file():
        raise ValueError(
            f"{name} holds no stages: there should be unet_64/config.json or the like in it, or diffusers' unet/"
        )
    return deepfloyd.load(cls, name, stages=sizes, **options)
