"""What stands where: a scene as a coarse map, read off its description alone, without rendering.

A cell says of what covers its middle which shape it is, its colour, size and material, and on a sign's board which
letter. So the map holds what a caption speaks of, in the place where the picture shows it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minimagen.reading import Questions
from minimagen.toyland import camera
from minimagen.toyland.compose import box_of
from minimagen.toyland.scene import COLORS, MATERIALS, SHAPES, SIZES, Scene, Thing

CELLS = 16  # across the picture: at 64 px, 4 px each; a small thing covers about 3 × 3
QUESTIONS = Questions(
    {  # the answer 0 is "there is none"
        "shape": len(SHAPES) + 2,  # the last is the sign
        "color": len(COLORS) + 1,
        "size": len(SIZES) + 1,
        "material": len(MATERIALS) + 1,
        "letter": 27,
    },
    CELLS,
)
SIGN = len(SHAPES) + 1


def whereabouts(scene: Scene, cells: int = CELLS) -> Tensor:
    """(5, cells, cells) uint8, in the order of QUESTIONS; what is nearer to the camera covers what is behind it."""
    found = torch.zeros(len(QUESTIONS.answers), cells, cells, dtype=torch.uint8)
    for _, box, answers in sorted(_covers(scene), key=lambda cover: -cover[0]):
        (x0, x1), (y0, y1) = (_cells(box[i], box[i + 2], cells) for i in (0, 1))
        found[:, y0:y1, x0:x1] = torch.tensor(answers, dtype=torch.uint8)[:, None, None]
    return found


def _covers(scene: Scene) -> list[tuple[float, camera.Box, list[int]]]:
    """(depth, box, answers) of all that covers a part of the picture."""
    found = [(t.z - 0.01 * t.y, box_of(t), _answers(t)) for t in scene.things]
    if scene.word is not None:
        x, z = scene.sign
        u0, v0, u1, v1 = camera.board_box(scene.word, x, z)
        found.append((z, (u0, v0, u1, v1), [SIGN, 0, 0, 0, 0]))
        edges, unit = camera.cells(scene.word), (u1 - u0) / camera.board_width(scene.word)
        for letter, a, b in zip(scene.word, edges[:-1], edges[1:]):
            left, right = (u0 + unit * (edge + camera.BOARD_MARGIN) for edge in (a, b))
            found.append((z - 0.001, (left, v0, right, v1), [SIGN, 0, 0, 0, ord(letter) - 64]))
    return found


def _answers(t: Thing) -> list[int]:
    return [
        SHAPES.index(t.shape) + 1,
        COLORS.index(t.color) + 1,
        SIZES.index(t.size) + 1,
        MATERIALS.index(t.material) + 1,
        0,
    ]


def _cells(low: float, high: float, cells: int) -> tuple[int, int]:
    """The cells whose middles lie between, from the first to one past the last."""
    first, end = (min(max(round(edge * cells), 0), cells) for edge in (low, high))
    return first, end
