"""What a cascade takes of memory, from its configs alone; what there is; and what a function took.

Sizes are in bytes, printed as GB of 10⁹. Networks are built on the meta device, where tensors take no memory.
"""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..conditioning import Cond, Text
from ..unet import UNet, UNetConfig

GB = 10**9
T5_MODES = ("whole", "8bit", "offload")
ATTENTION = ("fused", "sliced", "stored")


def gb(size: float) -> str:
    return f"{size / GB:.1f} GB" if size >= 0.95 * GB else f"{size / 1e6:.0f} MB"


# Weights


def weight_bytes(module: nn.Module) -> int:
    """What a module's parameters and buffers take."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


@lru_cache(maxsize=64)
def network_bytes(config: UNetConfig, dtype: torch.dtype = torch.float32) -> int:
    """What a U-Net's weights take."""
    with torch.device("meta"):
        return weight_bytes(UNet(config).to(dtype))


class T5Size(NamedTuple):
    """The numbers that decide how large a T5 encoder is."""

    vocab: int = 32128
    dim: int = 4096
    ff: int = 10240
    layers: int = 24
    heads: int = 64
    head_dim: int = 64
    gated: bool = True
    buckets: int = 32

    @classmethod
    def of(cls, config: Any) -> T5Size | None:
        """From transformers' config; None for another kind of model."""
        if config.model_type != "t5":
            return None
        names = ("vocab_size", "d_model", "d_ff", "num_layers", "num_heads", "d_kv")
        vocab, dim, ff, layers, heads, head_dim = (int(getattr(config, name)) for name in names)
        gated = config.feed_forward_proj.startswith("gated")
        return cls(vocab, dim, ff, layers, heads, head_dim, gated, config.relative_attention_num_buckets)

    @property
    def parameters(self) -> int:
        attention = 4 * self.dim * self.heads * self.head_dim
        ff = (3 if self.gated else 2) * self.dim * self.ff
        biases = self.buckets * self.heads + self.dim
        return self.vocab * self.dim + self.layers * (attention + ff + 2 * self.dim) + biases

    def bytes(self, dtype: torch.dtype = torch.float32, mode: str = "whole") -> int:
        """What the encoder takes on its device.

        transformers keeps each block's last matrix, `wo`, in float32 where the rest is float16, for its values leave
        float16's range, and never makes it 8-bit. Offloaded, one block at a time is there.
        """
        width = torch.empty(0, dtype=dtype).element_size()
        wo = self.layers * self.dim * self.ff
        last = wo * (4 if dtype == torch.float16 else width)
        rest = self.parameters - wo
        if mode == "offload":
            return max(self.bytes(dtype) // self.layers, self.vocab * self.dim * width)
        if mode == "8bit":
            kept = self.vocab * self.dim + self.layers * 2 * self.dim + self.buckets * self.heads + self.dim
            return last + kept * width + (rest - kept)
        return last + rest * width


T5_XXL = T5Size()


# Activations


class Live(TorchDispatchMode):
    """The most bytes of tensors that were alive at once while this mode was on, those of `before` left out.

    It counts shapes, so it works on the meta device as on any other; what a kernel needs inside it does not see.
    """

    def __init__(self, before: Any = ()):
        super().__init__()
        self.now = self.peak = 0
        self.known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and (key := (storage := leaf.untyped_storage())._cdata) not in self.known:
                self.known.add(key)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, key, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class Attending(TorchFunctionMode):
    """How attention is computed: fused (scores never stored, as PyTorch ≥ 2 does by itself), sliced (those of one head
    at a time, diffusers' attention slicing), or stored (all at once, as before PyTorch 2 without xformers)."""

    def __init__(self, kind: str):
        super().__init__()
        if kind not in ATTENTION:
            raise ValueError(f"attention is one of {', '.join(ATTENTION)}, not {kind!r}")
        self.kind = kind

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = args[:3]
        if self.kind == "stored":
            return _attend(q, k, v)
        if self.kind == "sliced":
            out = q.new_empty(*q.shape[:-1], v.shape[-1])
            for head in range(q.shape[1]):
                out[:, head] = _attend(q[:, head], k[:, head], v[:, head])
            return out
        return q.new_empty(*q.shape[:-1], v.shape[-1])


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).mul_(q.shape[-1] ** -0.5).softmax(-1) @ v


@lru_cache(maxsize=64)
def activation_bytes(
    config: UNetConfig, dtype: torch.dtype = torch.float32, batch: int = 2, tokens: int = 77, attention: str = "fused"
) -> int:
    """What one pass through a U-Net takes beside its weights. batch 2 is one picture under guidance."""
    with torch.device("meta"), torch.no_grad():
        unet = UNet(config).to(dtype)
        z = torch.empty(batch, 3, config.size, config.size)
        text = Text(torch.empty(batch, tokens, config.text_dim)) if config.text_dim else None
        aug = torch.empty(batch) if config.augmentation else None
        cond = Cond(text, torch.empty_like(z) if config.enlarges else None, aug)
        with Attending(attention), Live(unet.parameters()) as live:
            unet(z, torch.empty(batch), cond)
    return live.peak


def score_bytes(
    config: UNetConfig, dtype: torch.dtype = torch.float32, batch: int = 2, tokens: int = 77, attention: str = "stored"
) -> int:
    """What the scores of the largest attention layer take, (batch, heads, H·W, keys): none where it is fused."""
    width = torch.empty(0, dtype=dtype).element_size()
    largest = 0
    for i, (kind, channels) in enumerate(zip(config.attention, config.channels)):
        places = (config.size // (config.fold * 2 ** sum(config.halves(j) for j in range(i + 1)))) ** 2
        keys = (places if "self" in kind else 0) + (tokens if "text" in kind else 0)
        heads = {"stored": batch * channels // config.head_dim, "sliced": batch, "fused": 0}[attention]
        largest = max(largest, heads * places * keys * width)
    return largest


# What there is, and what was taken


def available(device: str | torch.device = "cpu") -> int:
    """Bytes that a device has free."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "meta":
        return 2**62
    import psutil

    return psutil.virtual_memory().available


class TooLittleMemory(MemoryError, ValueError):
    """Said before anything large is read; the message says what to do."""


def check(name: str, needs: Mapping[str, tuple[torch.device, int]]) -> None:
    """One sentence, before anything large is read, where the parts do not fit where they are to go."""
    for device in {where for where, _ in needs.values()}:
        parts = {part: size for part, (where, size) in needs.items() if where == device}
        if (needed := sum(parts.values())) > (free := available(device)):
            each = ", ".join(f"{part} {gb(size)}" for part, size in parts.items())
            raise TooLittleMemory(
                f"{name} needs {gb(needed)} on {device.type} ({each}) and {gb(free)} are free: take "
                "dtype=torch.float16, t5='8bit' or 'offload', text= embeddings from a file, or what "
                f"deepfloyd.plan({free / GB:.0f}) proposes"
            )


def peak(function: Callable[[], Any], device: str | torch.device = "cpu") -> int:
    """The most bytes that PyTorch had taken at once while the function ran, beyond what it held before."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault(
        "KINETO_LOG_LEVEL", "99"
    )  # or else its start and stop are told to stderr, which is a page here
    activities = [torch.profiler.ProfilerActivity.CPU]
    gc.collect()  # what nobody holds any more would be freed meanwhile, and be told of on stderr, too
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        function()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
