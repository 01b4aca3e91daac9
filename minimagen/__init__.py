"""minimagen: Imagen in miniature, one small object a box.

    caption → T5 → text → [denoiser → guide → threshold → step]* at 64 px → the same at 256 → the same at 1024

Names are imported when they are first used, so that `import minimagen` is quick and contacts nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if sys.version_info < (3, 11):  # noqa: UP036  pip refuses it too, but a kernel can find the package in other ways
    raise ImportError(
        f"minimagen needs Python 3.11 or later, and this is {sys.version.split()[0]}: choose another kernel"
    )

_HOME = {
    "schedule": ("Schedule", "CosineSchedule", "LinearSchedule", "ShiftedSchedule", "TableSchedule"),
    "conditioning": ("Text", "Cond", "augment", "upsample"),
    "unet": ("UNet", "UNetConfig", "BASE_64", "SR_256", "SR_1024", "IF_I_M", "IF_I_L", "IF_I_XL", "IF_II_M", "IF_II_L"),
    "text": ("TextEncoder", "clean_caption"),
    "denoiser": ("Denoiser", "Guided", "Thresholded", "Static", "Dynamic", "Prediction")
    + ("guide", "static_threshold", "dynamic_threshold"),
    "sampler": ("sample", "ddim", "times"),
    "training": ("train", "EMA"),
    "cascade": ("Stage", "Imagen"),
}
_MODULES = ("toyland", "data", "deepfloyd", "edit", "export", "show", "checks")
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [*_WHERE, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module 'minimagen' has no name {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:
    from . import data as data
    from . import deepfloyd as deepfloyd
    from . import edit as edit
    from . import export as export
    from . import toyland as toyland
    from .cascade import Imagen as Imagen
    from .cascade import Stage as Stage
