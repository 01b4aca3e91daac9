"""The state of a training run in one file, and what to do when somebody interrupts it.

The file is safetensors: weights, averaged weights and the optimizer's moments as tensors, the counts as words beside
them. There is no random state in it, for a run draws all its randomness from the seed and the picture's place (see
`objective`).
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from . import files

if TYPE_CHECKING:
    from .training import EMA

NAME = "checkpoint.safetensors"
NETWORK, AVERAGE, OPTIMIZER = "network/", "average/", "optimizer/"


def counts(file: str | Path) -> dict[str, Any]:
    """How far the run of that checkpoint is: {"step", "images", "seconds", …}."""
    words = files.load_metadata(file).get("run")
    if words is None:
        raise ValueError(f"{file} is no training run's checkpoint")
    return json.loads(words)


class Run:
    """Where a run stands: its network, optimizer and averaged weights, and how far they are."""

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, average: EMA | None, about: dict[str, Any]
    ):
        self.network, self.optimizer, self.average, self.about = network, optimizer, average, about
        self.step, self.images, self.seconds = 0, 0, 0.0

    def save(self, file: str | Path) -> None:
        """The whole state, or nothing at all; a state that is no numbers does not replace one that is."""
        if not all(bool(p.isfinite().all()) for p in self.network.parameters()):
            raise FloatingPointError(
                f"the weights are no numbers after step {self.step}, and not saved: lower lr= or raise warmup="
            )
        tensors = {NETWORK + name: value for name, value in self.network.state_dict().items()}
        for name, p in self.network.named_parameters():
            for key, value in self.optimizer.state[p].items():
                tensors[f"{OPTIMIZER}{name}/{key}"] = value
        told = {"step": self.step, "images": self.images, "seconds": self.seconds, "about": self.about}
        if self.average is not None:
            tensors |= {AVERAGE + name: value for name, value in self.average.average.items()}
            told["updates"] = self.average.updates
        files.save_tensors(file, tensors, {"run": json.dumps(told)})

    def load(self, file: str | Path) -> None:
        """Continue where `save` stopped, bit for bit."""
        told = self._told(file)
        tensors = files.load_tensors(file)

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        files.load_into(self.network, under(NETWORK), file)
        moments = under(OPTIMIZER)
        states: dict[int, dict[str, Tensor]] = {}
        names = {id(p): name for name, p in self.network.named_parameters()}
        groups = self.optimizer.state_dict()["param_groups"]
        for i, p in enumerate(p for group in self.optimizer.param_groups for p in group["params"]):
            name = names[id(p)]
            keys = [key for key in moments if key.rpartition("/")[0] == name]
            # in the parameter's own memory layout, without which a resumed step may round differently
            states[i] = {
                key.rpartition("/")[2]: torch.empty_like(p).copy_(moments[key]) if moments[key].ndim else moments[key]
                for key in keys
            }
        self.optimizer.load_state_dict({"state": {i: s for i, s in states.items() if s}, "param_groups": groups})
        if self.average is not None:
            saved = under(AVERAGE)
            if saved:
                self.average.updates = told.get("updates", 0)
            # a run that kept no average begins one from its weights
            kept = saved or under(NETWORK)
            for name, value in self.average.average.items():
                value.copy_(kept[name])
        self.step, self.images, self.seconds = told["step"], told["images"], told["seconds"]

    def _told(self, file: str | Path) -> dict[str, Any]:
        told = counts(file)
        for name, mine in self.about.items():
            theirs = told["about"].get(name)
            if theirs is not None and mine is not None and theirs != mine:
                raise ValueError(f"{file} is of a run with {name} {theirs}, and this one has {name} {mine}")
        return told


class Guard:
    """Ctrl-C and a polite kill wait for the end of the step being computed, so that the checkpoint is of a whole step.

    Outside a step, as in the caller's own lines, they act at once; so does a second one. Other threads catch nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.busy = self.forced = False
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def caught(self) -> bool:
        return self.number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    @contextmanager
    def keeping(self, save: Callable[[], None]) -> Iterator[None]:
        """Around a loop that yields: saves at its end or when the caller leaves it, then does what a signal asked for.

        Not if a second signal cut a step in two, nor when Python itself is ending.
        """
        try:
            yield
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            if not self.forced and not sys.is_finalizing():
                save()
            raise
        save()
        self.repeat()

    def repeat(self) -> None:
        """Do now what the caught signal asked for."""
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number is not None:
            raise SystemExit(128 + self.number)

    def _handle(self, number: int, _: object) -> None:
        again, self.number = self.caught, number
        if again or not self.busy:
            self.forced = self.busy
            self.repeat()
