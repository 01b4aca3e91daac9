"""The training loop of one stage. It yields its steps, and leaves bars, plots and samples to the caller.

    for step in train(stage, data, text=encoder, minutes=30, out="run"):
        print(step.step, step.loss)

What is minimised stands in `objective`, what a checkpoint holds in `checkpoint`.
"""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from . import checkpoint, files
from .conditioning import Text, augment
from .data import batches
from .fused import fast_bf16, keep_memory
from .muon import optimizer_of
from .objective import Task
from .objective import losses as losses
from .objective import min_snr as min_snr

if TYPE_CHECKING:
    from .cascade import Stage


class EMA:
    """θ̄ ← d·θ̄ + (1 − d)·θ after each step: a moving average of the weights, which draw better than the last.

    d = min(decay, (1 + n) / (10 + n)) after n updates, and 0 at the first, so that the random weights of the beginning
    are soon forgotten.
    decay = 0 is the weights themselves. `with ema:` puts the average into the network, and the weights back after.
    """

    def __init__(self, module: nn.Module, decay: float = 0.9995):
        if not 0 <= decay < 1:
            raise ValueError(f"an EMA's decay lies in [0, 1), and {decay} does not: 0.9995 remembers about 2000 steps")
        self.module, self.decay, self.updates = module, decay, 0
        self.average = {name: p.detach().float().clone() for name, p in module.named_parameters()}
        self._kept: dict[str, Tensor] | None = None

    @torch.no_grad()
    def update(self) -> None:
        d = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        now = [p.detach().float() for p in self.module.parameters()]
        torch._foreach_lerp_(list(self.average.values()), now, 1 - d)
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the average into a network of the same shape."""
        for name, p in module.named_parameters():
            p.copy_(self.average[name])

    def __enter__(self) -> Self:
        if self._kept is not None:
            raise ValueError("these averaged weights are in use already; leave the first `with ema:` before the second")
        self._kept = {name: p.detach().clone() for name, p in self.module.named_parameters()}
        self.copy_to(self.module)
        return self

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        assert self._kept is not None
        for name, p in self.module.named_parameters():
            p.copy_(self._kept[name])
        self._kept = None


@dataclass(frozen=True)
class TrainStep:
    """What one step of training tells. `with step.ema:` the stage draws with the averaged weights."""

    step: int  # steps taken so far, this one included
    images: int  # pictures seen so far, by all processes
    lr: float
    seconds: float  # spent so far, earlier sessions included
    raw_loss: Tensor
    ema: EMA | None  # None: training without averages
    main: bool = True  # whether this process is the one that writes files, if there are several

    @property
    def loss(self) -> float:
        """As a number; read when asked for, since on a GPU every reading waits for the device."""
        return float(self.raw_loss)

    def averaged(self) -> AbstractContextManager:
        """`with step.averaged():` the averaged weights, if there are any."""
        return self.ema or nullcontext()


def lr_factor(step: int, progress: float, warmup: int = 0, decay: float = 0.3) -> float:
    """Linearly up in `warmup` steps (0 = off), 1, and down to 0 over the last `decay` of the budget (0 = off)."""
    down = min(1.0, (1 - progress) / decay) if decay else 1.0
    return max(0.0, min((step + 1) / (warmup + 1), down))


def train(
    stage: Stage,
    data: Any,
    *,
    text: Callable[[list[str]], Text] | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int = 32,
    lr: float = 3e-4,
    warmup: int = 100,
    decay: float = 0.3,
    weight: str = "plain",
    gamma: float = 5.0,
    shift: float = 1.0,
    drop: float = 0.1,
    ema: float | None = 0.9995,
    accumulate: int = 1,
    clip: float | None = 1.0,
    betas: tuple[float, float] = (0.9, 0.99),
    optimizer: str = "adamw",
    factor: int = 4,
    crop: int | None = None,
    stretched: float = 0.25,
    noisiest: float = 1.0,
    beside: Callable[[Task, Tensor, torch.device], Tensor] | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    save_every: float = 3.0,
    resume: bool = False,
    workers: int = 0,
    seed: int = 0,
) -> Generator[TrainStep, None, None]:
    """Train a stage's network in place, one yielded step at a time, until `steps` or `minutes` are spent.

    data: items {"image": (3, H, W) in [−1, 1], "caption": str}, see `minimagen.data`. text None: unconditional.
    batch: pictures a step and process; accumulate: compute them in so many parts, to save memory (1 = off).
    lr rises in `warmup` steps and falls to zero over the last `decay` of the budget.
    clip: bound of the gradient's norm (None = off). optimizer: "adamw", or "muon", see `minimagen.muon`.
    shift: above 1, more pictures are noisy ones, see `objective.spread_times` (1 = off).
    factor, crop, stretched, noisiest: of SR, see `objective.Task`.
    beside: (task, places, device) → what a step lowers, too, such as `minimagen.twins.Twins` (None = nothing).
    precision: "bf16", "fp32", or None, which is bf16 where the processor computes it fast. ema None = off.
    out: folder of the checkpoint (every `save_every` minutes, at the end, and when interrupted) and of the stage.
    resume: continue the run in `out`, if there is one. `steps` and `minutes` count earlier sessions too.

    When the loop ends, or is left, the network holds the averaged weights. `accelerate launch` and `torchrun` change
    nothing in the code.
    """
    if (steps is None) == (minutes is None):
        raise ValueError("give training a budget: either steps= or minutes=")
    if steps is not None and steps < 1:
        raise ValueError(f"training takes one step or more, not {steps}")
    if minutes is not None and not minutes >= 0:
        raise ValueError(f"training takes 0 minutes or more, not {minutes}")
    for name, value, fits, wanted in (
        ("accumulate", accumulate, accumulate >= 1, "one part or more"),
        ("clip", clip, clip is None or clip > 0, "above 0, or None"),
        ("drop", drop, 0 <= drop <= 1, "a share, from 0 to 1"),
        ("decay", decay, 0 <= decay <= 1, "a share, from 0 to 1"),
        ("warmup", warmup, warmup >= 0, "0 steps or more"),
        ("shift", shift, shift > 0, "above 0"),
    ):
        if not fits:
            raise ValueError(f"{name} is {wanted}, not {value}")
    if batch % accumulate:
        raise ValueError(f"a batch of {batch} cannot be computed in {accumulate} equal parts")
    file = None if out is None else Path(out) / checkpoint.NAME
    if file is not None:  # what cannot be saved says so before the work, not after
        if file.exists() and not resume:
            raise ValueError(f"{out} holds a training run: continue it with resume=True, or name another folder")
        if not file.exists() and (file.parent / files.WEIGHTS).exists():
            raise ValueError(f"{out} holds a trained network, and no run to go on with: name another folder")
        if hasattr(stage, "save_pretrained"):
            stage.to_dict()
    from accelerate import Accelerator

    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if several:  # before the connections: its defaults would hold them for ever
        import_module("torch.distributed.nn.functional")
    accelerator = Accelerator(cpu=several and not torch.cuda.is_available())  # else they would not know of each other
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            f"mixed precision {accelerator.mixed_precision} overflows in training: launch with bf16, or none"
        )
    device, world = accelerator.device, accelerator.num_processes
    if world > 1:  # a thread of theirs that lets go of a tensor when Python has ended aborts the process
        atexit.register(accelerator.state.destroy_process_group)
    unet, enlarges = stage.denoiser.unet, bool(getattr(getattr(stage.denoiser.unet, "config", None), "enlarges", False))
    unet.requires_grad_(True).train().to(device, memory_format=torch.channels_last)
    keep_memory()  # on a CPU a fifth of a step is memory that goes to the system and comes back
    network = accelerator.prepare(unet)
    stepper = optimizer_of(unet, optimizer, lr, betas)
    average = EMA(unet, ema) if ema is not None else None
    cast = _autocast(precision, device)
    with torch.no_grad(), cast():
        null = None if text is None else text([""]).to(device)
    task = Task(
        replace(stage.denoiser, unet=network), stage.size, enlarges, text, null, seed, weight, gamma, drop, factor,
        crop, stretched=stretched, noisiest=noisiest, augment=getattr(stage, "augment", augment), shift=shift,
    )  # fmt: skip
    about = {"seed": seed, "prediction": stage.denoiser.prediction, "optimizer": optimizer}
    about["world"] = getattr(data, "world", None)
    run = checkpoint.Run(unet, stepper, average, about)
    if file is not None and file.exists():
        try:
            run.load(file)
        except BaseException:
            _finish(accelerator, network, average, unet)
            raise
    parameters = list(unet.parameters())  # a list: clipping an exhausted generator clips nothing
    start, earlier, saved = time.monotonic(), run.seconds, time.monotonic()

    def save() -> None:
        if file is not None and accelerator.is_main_process:
            run.save(file)
            if hasattr(stage, "save_pretrained"):
                with average or nullcontext():
                    stage.save_pretrained(Path(out))  # type: ignore[arg-type]

    with ExitStack() as stack:
        guard = stack.enter_context(checkpoint.Guard())
        stack.callback(_finish, accelerator, network, average, unet)
        stream = batches(data, batch, run.images, accelerator.process_index, world, workers, seed)
        with guard.keeping(save):
            while True:
                with guard.step():  # a signal waits for the end of the step
                    run.seconds, stop = _agree(accelerator, earlier + time.monotonic() - start, guard.caught)
                    progress = run.step / steps if steps is not None else run.seconds / (60 * (minutes or 1e-9))
                    if progress >= 1 or stop:
                        break
                    for group in stepper.param_groups:
                        group["lr"] = lr * lr_factor(run.step, progress, warmup, decay)
                    first = run.images + accelerator.process_index * batch
                    loss = _step(accelerator, network, task, beside, cast, next(stream), first, accumulate, device)
                    if clip is not None:
                        nn.utils.clip_grad_norm_(parameters, clip)
                    if (device.type == "cpu" or run.step % 25 == 0) and not math.isfinite(loss):
                        raise FloatingPointError(
                            f"the loss is {float(loss)} at step {run.step}: lower lr= or raise warmup="
                        )
                    stepper.step()
                    stepper.zero_grad(set_to_none=True)
                    if average is not None:
                        average.update()
                    run.step, run.images = run.step + 1, run.images + batch * world
                    if time.monotonic() - saved > 60 * save_every:
                        save()
                        saved = time.monotonic()
                now = stepper.param_groups[0]["lr"]
                main = accelerator.is_main_process
                yield TrainStep(run.step, run.images, now, run.seconds, loss, average, main)
        accelerator.wait_for_everyone()  # what the first has written is there for all


def _step(
    accelerator: Any, network: Any, task: Task, beside: Any, cast: Any, batch: dict, first: int, parts: int,
    device: torch.device,
) -> Tensor:  # fmt: skip
    """Forward and backward of a batch in equal parts, and once of what stands beside it; gives the pictures' loss."""
    count = len(batch["image"])
    size, total, places = count // parts, torch.zeros((), device=device), torch.arange(first, first + count)
    # dropout and the like follow the run's places too, and the caller's random state stays as it is
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(task.seed + first)
        if device.type == "cuda":
            torch.cuda.manual_seed(task.seed + first)
        for part in range(parts):
            rows = slice(part * size, (part + 1) * size)
            with accelerator.no_sync(network) if part + 1 < parts else nullcontext():
                with cast():
                    loss = task({name: value[rows] for name, value in batch.items()}, places[rows], device) / parts
                    more = beside(task, places, device) if beside is not None and part == 0 else 0.0
                accelerator.backward(loss + more)
            total += loss.detach()
    return accelerator.reduce(total, "mean") if accelerator.num_processes > 1 else total


def _agree(accelerator: Any, seconds: float, stop: bool) -> tuple[float, bool]:
    """The same clock and the same decision in every process, for one that stopped alone would leave others waiting."""
    if accelerator.num_processes == 1:
        return seconds, stop
    both = accelerator.gather(torch.tensor([[seconds, float(stop)]], dtype=torch.float64, device=accelerator.device))
    return float(both[0, 0]), bool(both[:, 1].any())


def _autocast(precision: str | None, device: torch.device) -> Callable[[], Any]:
    if precision not in (None, "bf16", "fp32"):
        raise ValueError(f"precision is 'bf16' or 'fp32', not {precision!r}; fp16 overflows in training")
    if precision is None:
        wished = os.environ.get("ACCELERATE_MIXED_PRECISION")  # what `accelerate launch` was told
        precision = "bf16" if wished == "bf16" or fast_bf16(device) else "fp32"
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _finish(accelerator: Any, network: nn.Module, average: EMA | None, unet: nn.Module) -> None:
    accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    if average is not None and average.updates:
        average.copy_to(unet)
    unet.eval()
