"""DeepFloyd IF, the open model of Imagen's design: its conventions, its weights in minimagen, and ours in diffusers.

renaming      U-Nets and configs, minimagen ⇄ diffusers
conventions   IF's schedule, times, enlarging and augmentation, as functions for a Stage
"""

from .conventions import augment, schedule, times, upsample
from .renaming import from_diffusers, from_diffusers_config, from_diffusers_key, to_diffusers, to_diffusers_config

__all__ = [
    "augment",
    "from_diffusers",
    "from_diffusers_config",
    "from_diffusers_key",
    "schedule",
    "times",
    "to_diffusers",
    "to_diffusers_config",
    "upsample",
]
