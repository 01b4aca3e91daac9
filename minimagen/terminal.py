"""What a command shows while it works: a bar, and, where asked for, the picture as it forms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from .sampler import Step

COLUMNS = 48


def blocks(image: Image, columns: int = COLUMNS) -> str:
    """A picture as lines of text, two pixels a character: the upper is the sign's colour, the lower its ground's."""
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
