"""What a caption says, as data, and whether a scene shows it."""

from __future__ import annotations

from dataclasses import dataclass

from minimagen.toyland.compose import SIGN, Relation, relations
from minimagen.toyland.scene import COLORS, MATERIALS, PATTERNS, SHAPES, SIZES, Scene, Thing

ATTRIBUTES = {"shape": SHAPES, "color": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}


@dataclass(frozen=True)
class ThingDescription:
    """What was said of a thing, or of `count` alike things; None where nothing was."""

    shape: str | None = None
    color: str | None = None
    size: str | None = None
    material: str | None = None
    pattern: str | None = None
    count: int = 1

    def fits(self, thing: Thing) -> bool:
        return all(getattr(self, k) in (None, getattr(thing, k)) for k in ATTRIBUTES)


@dataclass(frozen=True)
class Description:
    """What a caption says. Relations are (i, relation, j) over the indices of things, with SIGN (−1) for the sign."""

    things: tuple[ThingDescription, ...] = ()
    relations: tuple[Relation, ...] = ()
    word: str | None = None  # on the sign, in capitals; None: no sign
    backdrop: str | None = None
    floor: str | None = None
    light: str | None = None

    @property
    def count(self) -> int:
        return sum(t.count for t in self.things)


def matches(description: Description, scene: Scene, margin: float = 1.0) -> bool:
    """Does the scene show just what was said: these things and no others, so related, this sign or none, this setting?

    margin: of `relations`; 1 is how captions state them, and less forgives what was measured in a picture.
    """
    if description.word != scene.word or description.count != len(scene.things):
        return False
    for name in ("backdrop", "floor", "light"):
        if getattr(description, name) not in (None, getattr(scene, name)):
            return False
    holds = set(relations(scene, margin)) if description.relations else set()
    slots = [i for i, t in enumerate(description.things) for _ in range(t.count)]

    def assign(k: int, taken: tuple[int, ...]) -> bool:
        if k == len(slots):
            place = {SIGN: [SIGN], **{i: [n for j, n in zip(slots, taken) if j == i] for i in slots}}
            return all((m, r, n) in holds for i, r, j in description.relations for m in place[i] for n in place[j])
        wanted = description.things[slots[k]]
        return any(assign(k + 1, (*taken, n)) for n, t in enumerate(scene.things) if n not in taken and wanted.fits(t))

    return assign(0, ())
