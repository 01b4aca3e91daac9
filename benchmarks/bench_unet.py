"""Our U-Net beside diffusers' UNet2DConditionModel with the same weights, and beside imagen-pytorch's Unet of its size.

    python benchmarks/bench_unet.py [--quick] [--threads 2]

Prints Markdown tables: forward passes, drawings of a sentence beside IFPipeline, training steps, memory. All of a row's
competitors take turns in one process, and the best turn of each counts, so that another program on the machine disturbs
them alike. Memory is measured in processes of their own. diffusers runs twice: with its weights in channels-last
memory, which is best for it and which we choose by ourselves, and as it comes.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock, patch

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from minimagen import deepfloyd, export
from minimagen.cascade import Imagen
from minimagen.conditioning import Cond, Text
from minimagen.fused import keep_memory
from minimagen.unet import BASE_64, UNet, UNetConfig

# Two shapes: what we ship, and IF's habits at that size (gelu, 3 blocks a level, attention to itself at 16 and 8 px).
OURS = BASE_64
IF_SHAPE = replace(
    BASE_64,
    channels=(32, 64, 96, 128),
    layers=(3, 3, 3, 3),
    attention=("none", "none", "self+text", "self+text"),
    act="gelu",
    out_channels=6,
)
TOKENS = 77
PEERS = ("diffusers", "as it comes", "imagen-pytorch")


def random_unet(config: UNetConfig) -> UNet:
    torch.manual_seed(0)
    unet = UNet(config)
    for p in unet.parameters():
        nn.init.normal_(p, std=0.02)
    return unet


def best(turns: int, competitors: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The shortest time of each in seconds; they take turns, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(turns + 1):
        for name, run in competitors.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def inputs(config: UNetConfig, batch: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    z = torch.randn(batch, 3, config.size, config.size, dtype=dtype)
    return z, torch.full((batch,), 500.0), torch.randn(batch, TOKENS, config.text_dim or 1, dtype=dtype)


def forward(config: UNetConfig, batch: int, dtype: torch.dtype, turns: int) -> tuple[dict[str, float], int]:
    """Seconds a network call while drawing, and the floating-point operations that it takes."""
    ours = random_unet(config).eval().to(dtype)
    theirs, plain = diffusers_twins(ours)
    z, t, tokens = inputs(config, batch, dtype)
    wide = z.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        cond = ours.prepare(Cond(Text(tokens)))
        with FlopCounterMode(display=False) as counter:
            ours(z, t, cond)
        competitors = {
            "ours": lambda: ours(z, t, cond),
            "diffusers": lambda: theirs(wide, t, tokens).sample,
            "as it comes": lambda: plain(z, t, tokens).sample,
        }
        return best(turns, competitors), counter.get_total_flops()


def diffusers_twins(unet: UNet) -> tuple[nn.Module, nn.Module]:
    """The same network in diffusers, with its weights in channels-last memory, and in the memory that it comes in."""
    model = deepfloyd.to_diffusers(unet)
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    return model.to(memory_format=torch.channels_last), plain


def samples(batch: int, dtype: torch.dtype, turns: int, steps: int = 25) -> dict[str, float]:
    """Seconds a guided drawing at 64 px from sentence to picture, with the weights that ship, by DDIM."""
    imagen = Imagen.from_pretrained(stages=(64,)).to(dtype)
    prompts = ["a large red cube left of a small blue sphere on grass"] * batch
    settings = {"num_inference_steps": steps, "guidance_scale": 4.0, "output_type": "pt", "clean_caption": False}

    def theirs(layout: torch.memory_format) -> Callable[[], object]:
        pipe = deepfloyd.ddim(export.pipeline(Imagen.from_pretrained(stages=(64,))).to(dtype))
        pipe.unet.to(memory_format=layout)
        pipe.set_progress_bar_config(disable=True)
        return lambda: pipe(prompts, **settings)

    with torch.inference_mode():
        return best(
            turns,
            {
                "ours": lambda: imagen.draw(prompts, size=64, steps=steps, guidance=4.0, solver="ddim"),
                "diffusers": theirs(torch.channels_last),
                "as it comes": theirs(torch.contiguous_format),
            },
        )


def step(model: nn.Module, run: Callable[[], Tensor], bf16: bool) -> Callable[[], None]:
    """One training step without the optimizer, which is the same for all."""

    def once() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = run()
        out.float().square().mean().backward()
        for p in model.parameters():
            p.grad = None

    return once


def competitors(config: UNetConfig, batch: int, bf16: bool) -> dict[str, Callable[[], None]]:
    ours = random_unet(config).train()
    theirs, plain = diffusers_twins(copy.deepcopy(ours))
    z, t, tokens = inputs(config, batch)
    wide = z.to(memory_format=torch.channels_last)
    found = {
        "ours": step(ours, lambda: ours(z, t, Cond(Text(tokens))), bf16),
        "diffusers": step(theirs, lambda: theirs(wide, t, tokens).sample, bf16),
        "as it comes": step(plain, lambda: plain(z, t, tokens).sample, bf16),
    }
    if other := imagen_pytorch(sum(p.numel() for p in ours.parameters()), config):
        other = other.train().to(memory_format=torch.channels_last)
        found["imagen-pytorch"] = step(other, lambda: other(wide, t / 1000, text_embeds=tokens), bf16)  # type: ignore[misc]
    return found


def imagen_pytorch(parameters: int, config: UNetConfig) -> nn.Module | None:
    """Its Unet, as wide as makes about so many parameters; None where it is not installed.

    Importing it asks the Hub for T5's width and needs torchvision, whose common build does not fit a CPU's torch. Its
    U-Net uses neither, so both are stood in for meanwhile.
    """
    import datasets  # noqa: F401  (before torchvision is stood in for)
    from transformers import T5Config, T5EncoderModel, T5Tokenizer  # noqa: F401

    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    with patch.dict(sys.modules, dict.fromkeys(names, MagicMock())):
        with patch.object(T5Config, "from_pretrained", return_value=T5Config()):
            try:
                from imagen_pytorch import Unet
            except ImportError:
                return None
    attends = tuple(kind != "none" for kind in config.attention)
    options = {"dim_mults": (1, 2, 3, 4), "num_resnet_blocks": 2, "layer_attns": attends, "layer_cross_attns": attends}

    def of(dim: int) -> nn.Module:
        return Unet(dim=dim, text_embed_dim=config.text_dim, cond_dim=64, **options)

    def distance(unet: nn.Module) -> int:
        return abs(sum(p.numel() for p in unet.parameters()) - parameters)

    return min((of(dim) for dim in (16, 24, 32, 40, 48)), key=distance)


def peak_flops(turns: int) -> float:
    """Operations a second of a bf16 convolution that this machine does well."""
    conv = nn.Conv2d(128, 128, 3, padding=1).bfloat16().to(memory_format=torch.channels_last)
    x = torch.randn(16, 128, 32, 32, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = best(3 * turns, {"conv": lambda: conv(x)})["conv"]
    return 2 * 9 * 128 * 128 * 16 * 32 * 32 / seconds


def _memory(config: UNetConfig, batch: int, training: bool, who: str, threads: int, answer) -> None:
    torch.set_num_threads(threads)
    ours = random_unet(config)
    model = ours if who == "ours" else deepfloyd.to_diffusers(ours)
    model = model.train(training).to(memory_format=torch.channels_last)
    z, t, tokens = inputs(config, batch)

    def run() -> Tensor:
        return model(z, t, Cond(Text(tokens))) if who == "ours" else model(z, t, tokens).sample

    def once() -> None:
        if training:
            step(model, run, bf16=True)()
        else:
            with torch.inference_mode():
                run()

    once()  # what a first call sets up for good is not counted
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins again here
    before = resident("VmRSS")
    once()
    answer.put(resident("VmHWM") - before)


def resident(kind: str) -> float:
    """Memory of this process in MB: VmRSS now, VmHWM at its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) / 1024


def memory(config: UNetConfig, batch: int, training: bool, who: str) -> float:
    """MB at the worst moment of a step beyond what is there before it. Linux alone can say."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_memory, args=(config, batch, training, who, torch.get_num_threads(), answer))
    process.start()
    result = answer.get()
    process.join()
    return result


def row(name: str, values: dict[str, float], unit: float = 1e3, note: str = "") -> None:
    ours = values["ours"]
    cells = [f"{values[peer] * unit:.1f} = {values[peer] / ours:.2f} ×" if peer in values else "–" for peer in PEERS]
    print(f"| {name} | {ours * unit:.1f} | {' | '.join(cells)} | {note} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few turns, and no memory")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    turns = 3 if options.quick else 10
    keep_memory()  # for all: it is the process's
    peak = peak_flops(turns)
    print(f"{options.threads} threads; a bf16 convolution reaches {peak / 1e12:.2f} TFLOP/s here.\n")
    for title, config in (("The base that ships", OURS), ("DeepFloyd IF's shape", IF_SHAPE)):
        parameters = sum(p.numel() for p in random_unet(config).parameters()) / 1e6
        print(f"**{title}**, {parameters:.1f} M parameters, milliseconds\n")
        print("| | ours | diffusers | diffusers as it comes | imagen-pytorch | |")
        print("|---|---|---|---|---|---|")
        for dtype in (torch.float32, torch.bfloat16):
            for batch in (1, 2, 8):
                times, flops = forward(config, batch, dtype, turns)
                share = f"{flops / times['ours'] / peak:.0%} of the convolution peak" if dtype == torch.bfloat16 else ""
                row(f"forward, {str(dtype)[6:]}, batch {batch}", times, note=share)
        for dtype in (torch.float32, torch.bfloat16) if config is OURS else ():
            for batch in (1, 8):
                row(f"25 guided steps, {str(dtype)[6:]}, batch {batch}", samples(batch, dtype, max(2, turns // 3)))
        for bf16 in (False, True):
            times = best(max(2, turns // 3), competitors(config, 16, bf16))
            rate = ", ".join(f"{name} {16 / value:.0f}" for name, value in times.items())
            row(f"training, {'bf16 autocast' if bf16 else 'float32'}, batch 16", times, note=f"pictures/s: {rate}")
        if not options.quick and Path("/proc/self/clear_refs").exists():
            for training, batch in ((False, 8), (True, 16)):
                used = {who: memory(config, batch, training, who) for who in ("ours", "diffusers")}
                row(f"memory in MB, {'training' if training else 'forward'}, batch {batch}", used, unit=1)
        print()


if __name__ == "__main__":
    main()
