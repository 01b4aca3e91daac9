"""What each memory lever saves, and what to set for the memory that there is: computed from the configs alone.

    print(deepfloyd.levers())                    # a table
    plan = deepfloyd.plan(16)                    # for a GPU of 16 GB
    imagen = mi.Imagen.from_pretrained(plan.first, text=embeddings, **plan.options)    # written by deepfloyd.embed

Peaks are those of drawing one picture under guidance in float16: weights, what a pass through the largest network takes
beside them, and what the driver keeps for itself. They leave out what kernels take inside, so they are a little low.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ..unet import IF_I_L, IF_I_M, IF_I_XL, IF_II_L, IF_II_M, UNetConfig
from .memory import GB, T5_XXL, T5Size, activation_bytes, gb, network_bytes, score_bytes
from .pipelines import X4

HALF = torch.float16
PUBLISHED = {
    "DeepFloyd/IF-I-XL-v1.0": IF_I_XL,
    "DeepFloyd/IF-I-L-v1.0": IF_I_L,
    "DeepFloyd/IF-I-M-v1.0": IF_I_M,
    "DeepFloyd/IF-II-L-v1.0": IF_II_L,
    "DeepFloyd/IF-II-M-v1.0": IF_II_M,
}
PAIRS = [("XL", "L"), ("L", "L"), ("L", "M"), ("M", "M")]  # the best first
DRIVER = int(0.6 * GB)  # what CUDA and its libraries keep for themselves
T5_WAYS = {
    "beside": "T5 stays beside the networks",
    "first": "encode first with deepfloyd.embed, then free T5",
    "8bit": "encode first with T5 in 8 bit, then free it",
    "elsewhere": "encode on the CPU, or offloaded (t5='offload'), or elsewhere, with deepfloyd.embed",
}


class Lever(NamedTuple):
    """One way to save memory: the peak before and after it, in bytes."""

    name: str
    before: int
    after: int

    @property
    def saves(self) -> int:
        return self.before - self.after


class Levers(tuple[Lever, ...]):
    """`levers` prints as a table in Markdown."""

    def __str__(self) -> str:
        rows = [f"| {x.name} | {gb(x.before)} | {gb(x.after)} | {gb(x.saves)} |" for x in self]
        return "\n".join(["| lever | before | after | saves |", "|---|---|---|---|", *rows])

    def _repr_markdown_(self) -> str:
        return str(self)


def levers(
    networks: Sequence[UNetConfig] = (IF_I_XL, IF_II_L), t5: T5Size = T5_XXL, dtype: torch.dtype = HALF
) -> Levers:
    """What each lever saves of the peak, each taken alone but where it says otherwise. Everything at once comes before.

    The last two are of the largest attention layer's scores alone: at 64 px they are not what decides the peak.
    """
    sizes = [network_bytes(config, dtype) for config in networks]
    work = max(activation_bytes(config, dtype) for config in networks)
    stored, sliced, fused = (
        max(score_bytes(config, dtype, attention=kind) for config in networks) for kind in ("stored", "sliced", "fused")
    )
    text, all_at_once = t5.bytes(dtype), t5.bytes(dtype) + sum(sizes) + work
    in_full = sum(map(network_bytes, networks)) + max(map(activation_bytes, networks))
    drawing = sum(sizes) + work
    return Levers(
        [
            Lever(f"{str(dtype).removeprefix('torch.')} instead of float32", t5.bytes() + in_full, all_at_once),
            Lever("encode first and free T5", all_at_once, max(text, drawing)),
            Lever("T5 in 8 bit", all_at_once, all_at_once - text + t5.bytes(torch.bfloat16, "8bit")),
            Lever(
                "T5 offloaded to the CPU, block by block", all_at_once, all_at_once - text + t5.bytes(dtype, "offload")
            ),
            Lever("T5 on another machine, embeddings from a file", all_at_once, drawing),
            Lever("T5 freed, and one stage at a time", drawing, max(sizes) + work),
            Lever("sliced attention, of one layer's scores", stored, sliced),
            Lever("scaled-dot-product attention, which is built in, of the same", stored, fused),
        ]
    )


@dataclass(frozen=True)
class Plan:
    """Settings that fit. `options` are those of Imagen.from_pretrained(plan.first, **plan.options)."""

    memory_gb: float
    first: str
    second: str
    third: str | None  # the x4 upscaler, by `upscale_x4`, once the cascade is freed; None = it does not fit
    t5: str  # one of T5_WAYS
    one_at_a_time: bool
    encoding: int  # peak bytes on the GPU while T5 reads
    drawing: int  # and while the networks draw

    @property
    def peak(self) -> int:
        return max(self.encoding, self.drawing)

    @property
    def options(self) -> dict[str, Any]:
        """For from_pretrained. Unless T5 stays beside the networks, add text=, the embeddings that it wrote."""
        options: dict[str, Any] = {"second": self.second, "variant": "fp16", "dtype": HALF, "device": "cuda"}
        return options | ({"one_at_a_time": True} if self.one_at_a_time else {})

    def __str__(self) -> str:
        stages = f"{self.first} + {self.second}" + (f" + {self.third}" if self.third else "")
        how = "one stage at a time" if self.one_at_a_time else "both stages on the GPU"
        return (
            f"{self.memory_gb:g} GB: {stages}, fp16; {T5_WAYS[self.t5]}; {how}; "
            f"peak {gb(self.encoding)} encoding, {gb(self.drawing)} drawing"
        )


# The x4 upscaler: 473.4 M parameters of its U-Net, 340.4 M of its CLIP text encoder, 55.3 M of its autoencoder, and
# what its decoder takes at 1024 px in float32, counted as in `activation_bytes`: 3.2 GB, and 35 GB if attention stored
# its scores, for the decoder's attends from each of 256 × 256 places to all others.
X4_WEIGHTS, X4_WORK = int(2 * 869.1e6), int(3.3 * GB)


def candidates(memory_gb: float) -> Iterator[Plan]:
    """Every plan there is, the best pictures first, then the least waiting."""
    text = {
        "beside": T5_XXL.bytes(HALF),
        "first": T5_XXL.bytes(HALF),
        "8bit": T5_XXL.bytes(torch.bfloat16, "8bit"),
        "elsewhere": 0,
    }
    for large, small in PAIRS:
        first, second = f"DeepFloyd/IF-I-{large}-v1.0", f"DeepFloyd/IF-II-{small}-v1.0"
        configs = [PUBLISHED[first], PUBLISHED[second]]
        sizes, work = [network_bytes(c, HALF) for c in configs], [activation_bytes(c, HALF) for c in configs]
        third = X4 if X4_WEIGHTS + X4_WORK + DRIVER <= memory_gb * GB else None
        for alone in (False, True):
            weights = max(s + w for s, w in zip(sizes, work)) if alone else sum(sizes) + max(work)
            for way, taken in text.items():
                drawing = DRIVER + weights + (taken if way == "beside" else 0)
                encoding = DRIVER + taken + (sum(sizes) if way == "beside" and not alone else 0) if taken else 0
                yield Plan(memory_gb, first, second, third, way, alone, encoding, drawing)


def plan(memory_gb: float) -> Plan:
    """What to load, and how, on a GPU with so many GB: the best pictures that fit, then the least waiting."""
    smallest = None
    for one in candidates(memory_gb):
        if one.peak <= memory_gb * GB:
            return one
        smallest = one if smallest is None or one.peak < smallest.peak else smallest
    assert smallest is not None
    raise ValueError(
        f"{memory_gb:g} GB is too little for DeepFloyd IF's smallest networks, which take {gb(smallest.peak)} one at a "
        "time: draw with device='cpu', or with minimagen's own weights"
    )
