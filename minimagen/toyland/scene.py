"""What a Toyland scene is: its vocabulary, its things, and where they stand.

World: x to the right, y up, z away from the camera; the floor is y = 0. A thing's (x, z) is the centre of its
footprint and y the height of its base: 0 on the floor, and on top of another thing that thing's height.
A scene says everything that its picture shows. It knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WORLD_VERSION = 2  # whatever changes a pixel or a caption changes this number; weights refuse another world's

SHAPES = ("sphere", "cube", "cylinder", "cone", "pyramid", "ring")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
SIZES = ("small", "large")
MATERIALS = ("matte", "shiny", "metal", "glass")
PATTERNS = ("plain", "striped", "checkered", "dotted", "marbled")
RELATIONS = ("left of", "right of", "in front of", "behind", "on top of")
BACKDROPS = ("white wall", "blue sky", "sunset sky", "night sky", "green hedge")  # "against a white wall"
FLOORS = ("wooden", "tiled", "sandy", "grassy", "concrete")  # "on a wooden floor"
LIGHTS = ("left", "right", "above")  # "lit from the left"

SUPPORTS = ("cube", "cylinder")  # flat on top: only these carry another thing
MAX_THINGS = 5
MAX_LETTERS = 6


def _known(value: str, names: tuple[str, ...], kind: str) -> None:
    if value not in names:
        raise ValueError(f"{value!r} is no {kind} of Toyland; there are {', '.join(names)}.")


@dataclass(frozen=True)
class Thing:
    """One toy: what it is, and where it stands (x, z: centre of its footprint; y: of its base; yaw in radians)."""

    shape: str
    color: str
    size: str
    material: str = "matte"
    pattern: str = "plain"
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        _known(self.shape, SHAPES, "shape")
        _known(self.color, COLORS, "colour")
        _known(self.size, SIZES, "size")
        _known(self.material, MATERIALS, "material")
        _known(self.pattern, PATTERNS, "pattern")

    @property
    def look(self) -> tuple[str, str, str, str, str]:
        """Everything but the place: (shape, color, size, material, pattern)."""
        return self.shape, self.color, self.size, self.material, self.pattern


@dataclass(frozen=True)
class Scene:
    """1 to 5 things and perhaps a sign, or a sign alone, on a floor before a backdrop, lit from one side."""

    things: tuple[Thing, ...]
    backdrop: str = "white wall"
    floor: str = "wooden"
    light: str = "left"
    word: str | None = None  # on the sign, A–Z; None: no sign
    sign: tuple[float, float] = (0.0, 0.0)  # (x, z) of the sign's foot; it faces the camera
    seed: int = 0  # of the captions' choice of words; the picture does not depend on it

    def __post_init__(self) -> None:
        object.__setattr__(self, "things", tuple(self.things))
        object.__setattr__(self, "sign", tuple(self.sign))
        _known(self.backdrop, BACKDROPS, "backdrop")
        _known(self.floor, FLOORS, "floor")
        _known(self.light, LIGHTS, "light")
        if len(self.things) > MAX_THINGS:
            raise ValueError(f"{len(self.things)} things are too many for one scene; it holds at most {MAX_THINGS}.")
        if not self.things and self.word is None:
            raise ValueError("A scene needs at least one thing or a sign.")
        if self.word is not None:
            check_word(self.word)

    @property
    def caption(self) -> str:
        """The main caption, a function of the scene and its seed."""
        from minimagen.toyland.language import caption  # language stands above: it speaks of scenes

        return caption(self)

    def captions(self, n: int) -> list[str]:
        """The main caption and n − 1 others, as far as there are different ones."""
        from minimagen.toyland.language import captions

        return captions(self, n)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, as a line of metadata.jsonl; from_dict is the inverse."""
        return {"world": WORLD_VERSION, **asdict(self)}

    @staticmethod
    def from_dict(d: dict[str, Any]) -> Scene:
        d = dict(d)
        version = d.pop("world", WORLD_VERSION)
        if version != WORLD_VERSION:
            raise ValueError(f"The scene is of world version {version}; this package draws version {WORLD_VERSION}.")
        return Scene(**{**d, "things": tuple(Thing(**t) for t in d["things"])})


def check_word(word: str) -> str:
    """The word, if a sign can bear it: one to six capital letters A–Z."""
    if not word or not all("A" <= c <= "Z" for c in word):
        raise ValueError(f"A sign bears capital letters A–Z; {word!r} has others or none.")
    if len(word) > MAX_LETTERS:
        raise ValueError(f"A sign bears at most {MAX_LETTERS} letters; {word!r} has {len(word)}.")
    return word
