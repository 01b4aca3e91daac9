"""Our weights in diffusers: stage I as a folder that `IFPipeline` loads untouched, stage II through a thin adapter.

to_diffusers(imagen, folder)               folder/stage_1 for IFPipeline.from_pretrained, folder/stage_2 for the adapter
super_resolution_pipeline(folder/stage_2)  an IFSuperResolutionPipeline that runs our stage II
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import deepfloyd, hub, stored
from .cascade import Imagen, Stage
from .conditioning import Cond, Text
from .deepfloyd.pipelines import WITHOUT_CHECKER
from .denoiser import Dynamic, Static
from .schedule import STEPS, CosineSchedule, Schedule

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline

PREDICTION = {"eps": "epsilon", "v": "v_prediction", "x": "sample"}
NO_CAP = 1e9  # diffusers has no "None": a cap that no x̂ reaches


def scheduler(stage: Stage, prediction: str | None = None) -> DDPMScheduler:
    """diffusers' DDPMScheduler of a stage: its schedule, prediction and threshold, at the times that minimagen takes.

    Any schedule can be said in diffusers: β_i = 1 − ᾱ_i / ᾱ_{i−1} at t = (i + 1)/1000.
    """
    from diffusers import DDPMScheduler

    threshold: dict[str, Any] = {"clip_sample": isinstance(stage.threshold, Static)}
    if isinstance(stage.threshold, Dynamic):
        p, cap = stage.threshold.p, stage.threshold.cap or NO_CAP
        threshold |= {"thresholding": True, "dynamic_thresholding_ratio": p, "sample_max_value": cap}
    elif stage.threshold is not None and not isinstance(stage.threshold, Static):
        raise ValueError("diffusers has no threshold of your own: use Static, Dynamic or None, then export")
    stored.stage_to_dict(stage)  # refuses any other function of one's own, which diffusers would not follow either
    return DDPMScheduler(
        STEPS,
        **_betas(stage.denoiser.schedule),
        prediction_type=prediction or PREDICTION[stage.denoiser.prediction],
        variance_type="learned_range" if stage.denoiser.unet.config.out_channels == 6 else "fixed_small",
        timestep_spacing="leading" if stage.times is deepfloyd.times else "trailing",
        **threshold,
    )


def _betas(schedule: Schedule) -> dict[str, Any]:
    if schedule in (CosineSchedule(), deepfloyd.schedule()):
        return {"beta_schedule": "squaredcos_cap_v2"}
    alpha, _ = schedule((torch.arange(STEPS + 1, dtype=torch.float64) / STEPS).float())
    bar = alpha.double() ** 2
    return {"trained_betas": (1 - bar[1:] / bar[:-1]).clamp(1e-8, 0.999).tolist()}


def pipeline(imagen: Imagen) -> IFPipeline:
    """diffusers' IFPipeline over the first stage's own tensors."""
    from diffusers import IFPipeline

    stage = imagen.stages[0]
    if stage.denoiser.prediction not in PREDICTION:
        raise ValueError(
            f"diffusers knows no {stage.denoiser.prediction!r} prediction: the first stage cannot be exported"
        )
    if imagen.text is None:
        raise ValueError("IFPipeline is conditioned on text, and this cascade has none: it cannot be exported")
    if (getattr(imagen.text, "pad", None), getattr(imagen.text, "max_tokens", None)) != ("max", 77):
        raise ValueError(
            "IFPipeline reads 77 tokens by a tokenizer, padding included, and this cascade's text encoder does not: "
            "it would draw other pictures, and cannot be exported"
        )
    unet = deepfloyd.to_diffusers(stage.denoiser.unet, variance=True)
    return IFPipeline(imagen.text.tokenizer, imagen.text.model, unet, scheduler(stage), **WITHOUT_CHECKER)


class Enlarger(nn.Module):
    """An SR stage's denoiser under the signature of diffusers' U-Net: six channels in, x̂ and its variance or zeros out.

    IF's pipeline hands over the noisy and the enlarged picture as channels and the noise level as a row of the table.
    Its scheduler reads what comes back as x̂ (prediction_type "sample"), whatever the network itself predicts.
    """

    def __init__(self, stage: Stage):
        super().__init__()
        self.unet, self.denoiser = stage.denoiser.unet, stage.denoiser
        # Row 250 of the table is the level 0.25 to IF, and t = 0.251 to us.
        self.row = 0 if stage.augment is deepfloyd.augment else 1
        self.config = SimpleNamespace(in_channels=6, sample_size=stage.size, _name_or_path="minimagen")

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, class_labels: Tensor, **_: Any
    ) -> tuple[Tensor]:
        z, low_res = sample.chunk(2, dim=1)
        cond = Cond(Text(encoder_hidden_states), low_res, (class_labels.float() + self.row) / STEPS)
        x, log_var = self.denoiser(z, (timestep.float() + 1) / STEPS, cond)
        return (torch.cat([x, torch.zeros_like(x) if log_var is None else 2 * log_var - 1], dim=1),)


def super_resolution_pipeline(
    stage: Stage | str | Path, text: Any = None, kind: Any = None
) -> IFSuperResolutionPipeline:
    """diffusers' IFSuperResolutionPipeline running an SR stage of ours, or the folder in which one was exported.

    kind: another class that is made of the same parts, IFImg2ImgSuperResolutionPipeline or the one for inpainting.
    """
    from diffusers import DDPMScheduler, IFSuperResolutionPipeline

    if not isinstance(stage, Stage):
        from .text import TextEncoder

        text = TextEncoder.from_pretrained(stage)
        stage = Stage.from_pretrained(stage)
    elif text is None:
        raise ValueError("a Stage has no text encoder of its own: give text=, the one that its cascade reads with")
    if not stage.enlarges:
        raise ValueError(
            f"the {stage.size} px stage draws from noise alone: IFSuperResolutionPipeline needs one that enlarges"
        )
    noising = DDPMScheduler(STEPS, beta_schedule="squaredcos_cap_v2")  # the schedule of `augment`
    return (kind or IFSuperResolutionPipeline)(
        text.tokenizer, text.model, Enlarger(stage), scheduler(stage, "sample"), noising, **WITHOUT_CHECKER
    )


def to_diffusers(imagen: Imagen, folder: str | Path) -> None:
    """Write stage_1/, for `IFPipeline.from_pretrained`, and stage_2/ where there is one. `folder` must be new or empty.

    All is written beside `folder` first and takes its name when it is whole.
    """
    folder = Path(folder).absolute()
    if folder == Path.cwd():
        raise ValueError("the folder in which you are cannot be exported to: name a new one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty: name a new folder to export to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        with hub.quietly():
            pipeline(imagen).save_pretrained(temporary / "stage_1", safe_serialization=True)
        if len(imagen.stages) > 1:
            stored.save_stage(imagen.stages[1], temporary / "stage_2")
            imagen.text.save_pretrained(temporary / "stage_2")
        temporary.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
