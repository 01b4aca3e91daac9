"""DeepFloyd IF, the open model of Imagen's design: its conventions, its weights in minimagen, and ours in diffusers.

renaming      U-Nets and configs, minimagen ⇄ diffusers
conventions   IF's schedule, times, enlarging and augmentation, as functions for a Stage
weights       IF's published weights as an `Imagen`, from a folder or the Hub (`source`)
embeddings    sentences encoded beforehand, so that T5-XXL need not stay in memory
memory, plans what each part takes, what each lever saves, and what to set for the memory that there is
pipelines     diffusers' own pipelines of IF and the x4 upscaler, with what their current versions trip over set right
"""

from .conventions import augment, schedule, times, upsample
from .embeddings import Embeddings, embed
from .memory import activation_bytes, network_bytes, peak
from .pipelines import ddim, pipeline, upscale_x4
from .plans import Plan, levers, plan
from .renaming import from_diffusers, from_diffusers_config, from_diffusers_key, to_diffusers, to_diffusers_config
from .weights import load

__all__ = [
    "Embeddings",
    "Plan",
    "activation_bytes",
    "augment",
    "ddim",
    "embed",
    "from_diffusers",
    "from_diffusers_config",
    "from_diffusers_key",
    "levers",
    "load",
    "network_bytes",
    "peak",
    "pipeline",
    "plan",
    "schedule",
    "times",
    "to_diffusers",
    "to_diffusers_config",
    "upsample",
    "upscale_x4",
]
