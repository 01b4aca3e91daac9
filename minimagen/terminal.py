"""What a command shows while it works: a bar, and, where asked for, the picture as it forms."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from .sampler import Step

COLUMNS = 48


def note(text: str) -> None:
    """Something worth knowing that is no fault."""
    print(f"minimagen: note: {text.rstrip('.')}.", file=sys.stderr)


def blocks(image: Image, columns: int = COLUMNS) -> str:
    """A picture as lines of text, two pixels a character: the upper is the sign's colour, the lower its ground's."""
    import numpy as np

    small = image.convert("RGB").resize((columns, columns - columns % 2))
    pixels = np.asarray(small).tolist()
    rows = []
    for upper, lower in zip(pixels[::2], pixels[1::2]):
        signs = (f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀" for a, b in zip(upper, lower))
        rows.append("".join(signs) + "\x1b[0m")
    return "\n".join(rows)


class Progress:
    """Called with every `Step` of a cascade: a bar a stage. watch: the first picture's x̂ too, in a terminal."""

    def __init__(self, steps_of: Callable[[int], int], watch: bool = False):
        from tqdm import tqdm

        self.steps_of, self.watch = steps_of, watch and sys.stderr.isatty()
        self.bar = tqdm(unit="step", disable=None, leave=False)
        self.drawn = 0

    def __call__(self, step: Step) -> None:
        if step.index == 0:
            self.bar.reset(total=self.steps_of(step.stage))
            self.bar.set_description(f"{step.z.shape[-1]} px", refresh=False)
        self.bar.update()
        if self.watch:
            self._show(step)

    def _show(self, step: Step) -> None:
        from .cascade import to_pil

        picture = blocks(to_pil(step.x[:1])[0])
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.drawn = picture.count("\n") + 1
        self.bar.clear()
        print(f"{up}{picture}", file=sys.stderr, flush=True)
        self.bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *fault: object) -> None:
        self.bar.close()


class Training:
    """Called with every step of a training run: a bar of its budget; without a terminal, a line now and then."""

    LINES = 30  # seconds between two
    READ = 10  # steps between two looks at the loss, for on a GPU every look waits for the device

    def __init__(self, name: str, minutes: float | None, steps: int | None):
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
        self.bar = tqdm(total=1.0, desc=name, bar_format=form, disable=None)
        self.name, self.minutes, self.steps = name, minutes, steps
        self.loss: float | None = None
        self.told, self.calls = time.monotonic(), 0

    def __call__(self, step: Any) -> None:
        number = step.step if hasattr(step, "step") else step.index
        part = self._part(step, number)
        if self.calls % self.READ == 0 and math.isfinite(loss := step.loss):  # a judge renders first, without a loss
            self.loss = loss if self.loss is None else 0.9 * self.loss + 0.1 * loss
        self.calls += 1
        words = f"{getattr(step, 'phase', 'step')} {number}" + ("" if self.loss is None else f", loss {self.loss:.4f}")
        if not self.bar.disable:
            self.bar.set_postfix_str(words, refresh=False)
            self.bar.update(part - self.bar.n)
        elif time.monotonic() - self.told > self.LINES or part >= 1:
            self.told = time.monotonic()
            print(f"{self.name} {part:4.0%}  {words}", file=sys.stderr, flush=True)

    def _part(self, step: Any, number: int) -> float:
        """How much of the budget is spent, 0 to 1."""
        for name in ("done", "progress"):
            if hasattr(step, name):
                return getattr(step, name)
        return min(1.0, number / self.steps if self.steps else step.seconds / (60 * (self.minutes or 1)))

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *fault: object) -> None:
        self.bar.close()
