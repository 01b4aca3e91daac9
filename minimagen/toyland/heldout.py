"""What training never shows: one place for every rule, so that a test can tell composing from remembering.

Held out of pictures and their captions (`held_out(scene)` is true if any of these is in the scene):

1. shape with colour: the colour 3·shape + 6 (mod 10), counted in the vocabulary's order: 6 of 60 pairs. Every shape
   still comes in nine colours, and no colour loses more than one shape.
2. material with pattern and size: 4 of the 32 patterned ones. The m-th material lacks the m-th pattern after plain, in
   one size.
3. a relation between two shapes: for each of left of, in front of and on top of some ordered pairs (and with them what
   is the same thing said the other way round). The mirrored pair stays in training.
4. words on signs: the strings whose weighted letter sum is 3 (mod 8), about one word in eight.

Held out of pictures and captions, but not of the text corpus (`parse(…, synonyms=True)` reads them):

5. synonyms and definitions of the vocabulary's words: SYNONYMS and DEFINITIONS. What a picture owes to them, it owes to
   text alone.
"""

from __future__ import annotations

import random

from minimagen.toyland.scene import COLORS, MATERIALS, MAX_LETTERS, PATTERNS, SHAPES, SIZES, SUPPORTS, Scene, Thing
from minimagen.toyland.words import WORDS

SPLITS = ("train", "heldout", "all")


def look_held_out(shape: str, color: str, size: str, material: str, pattern: str) -> bool:
    """Rules 1 and 2: is this combination of attributes kept from training?"""
    if COLORS.index(color) == (3 * SHAPES.index(shape) + 6) % len(COLORS):
        return True
    m, p = MATERIALS.index(material), PATTERNS.index(pattern)
    return p == m + 1 and SIZES.index(size) == m % 2


def relation_held_out(a: str, relation: str, b: str) -> bool:
    """Rule 3, for shapes a and b: is "a relation b" kept from training?

    Right of and behind are left of and in front of, reversed.
    """
    if relation in ("right of", "behind"):
        return relation_held_out(b, "left of" if relation == "right of" else "in front of", a)
    i, j = SHAPES.index(a), SHAPES.index(b)
    if relation == "left of":
        return i % 2 == 0 and j == (i + 2) % len(SHAPES)
    if relation == "in front of":
        return j == i + 3
    return b in SUPPORTS and (i + j) % len(SHAPES) == 0


def word_held_out(word: str) -> bool:
    """Rule 4: Σ (i + 1)·letter_i = 3 (mod 8), with A = 1 … Z = 26."""
    return sum(i * (ord(c) - 64) for i, c in enumerate(word.upper(), 1)) % 8 == 3


def thing_held_out(thing: Thing) -> bool:
    return look_held_out(*thing.look)


def held_out(scene: Scene) -> bool:
    """Does the scene show anything that training must not? Relations count whether or not a caption states them."""
    from minimagen.toyland.compose import relations  # compose stands above: it draws by these rules

    if any(thing_held_out(t) for t in scene.things) or (scene.word is not None and word_held_out(scene.word)):
        return True
    shapes = [t.shape for t in scene.things]
    return any(relation_held_out(shapes[i], r, shapes[j]) for i, r, j in relations(scene) if min(i, j) >= 0)


TRAIN_WORDS = tuple(w for w in WORDS if not word_held_out(w))
HELDOUT_WORDS = tuple(w for w in WORDS if word_held_out(w))


def random_letters(rng: random.Random, split: str = "train") -> str:
    """Two to six letters drawn evenly, which can only be spelled one by one. Rule 4 holds for them as for words."""
    while True:
        word = "".join(chr(65 + int(26 * rng.random())) for _ in range(2 + int((MAX_LETTERS - 1) * rng.random())))
        if split == "all" or word_held_out(word) == (split == "heldout"):
            return word


# Rule 5. Words that mean a word of the vocabulary, and occur in the text corpus only.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "sphere": ("ball", "orb", "globe"),
    "cube": ("box", "block", "crate"),
    "cylinder": ("barrel", "drum", "tin"),
    "cone": ("funnel", "spire", "party hat"),
    "pyramid": ("tent", "pointed tower"),
    "ring": ("hoop", "donut", "torus"),
    "red": ("crimson", "scarlet", "ruby"),
    "orange": ("tangerine", "amber", "apricot"),
    "yellow": ("lemon", "canary", "mustard"),
    "green": ("emerald", "jade", "verdant"),
    "cyan": ("turquoise", "aqua", "teal"),
    "blue": ("azure", "navy", "sapphire"),
    "purple": ("violet", "lilac", "plum"),
    "pink": ("rosy", "salmon", "fuchsia"),
    "white": ("snowy", "ivory", "milky"),
    "black": ("ebony", "inky", "sooty"),
    "small": ("tiny", "little", "mini"),
    "large": ("big", "huge", "giant", "enormous"),
    "matte": ("dull", "unpolished", "chalky"),
    "shiny": ("glossy", "polished", "gleaming"),
    "metal": ("metallic", "steel", "chrome"),
    "glass": ("crystal", "transparent", "see-through"),
    "plain": ("unpatterned", "uniform"),
    "striped": ("stripy", "banded"),
    "checkered": ("chequered", "checked"),
    "dotted": ("spotted", "speckled"),
    "marbled": ("veined", "swirly"),
    "left of": ("on the left-hand side of", "leftward of"),
    "right of": ("on the right-hand side of", "rightward of"),
    "in front of": ("ahead of", "nearer than"),
    "behind": ("in back of", "farther away than"),
    "on top of": ("atop", "upon"),
}

# "a thing" and one of these is a shape; "the colour of" and one of these is a colour.
DEFINITIONS: dict[str, tuple[str, ...]] = {
    "sphere": ("that is round from every side", "that rolls in every direction"),
    "cube": ("with six square faces", "with six equal square sides"),
    "cylinder": ("with a round bottom and a flat round top", "shaped like a pillar"),
    "cone": ("with a round bottom and one sharp tip", "shaped like the hat of a wizard"),
    "pyramid": ("with a square bottom and four triangles", "shaped like the old tombs of egypt"),
    "ring": ("with a hole in the middle", "that fits around a finger"),
    "red": ("blood", "ripe strawberries"),
    "orange": ("carrots", "pumpkins"),
    "yellow": ("the sun", "bananas"),
    "green": ("grass", "spring leaves"),
    "cyan": ("a shallow lagoon", "swimming pools"),
    "blue": ("a clear sky", "the deep sea"),
    "purple": ("grapes", "eggplants"),
    "pink": ("flamingos", "bubble gum"),
    "white": ("snow", "fresh milk"),
    "black": ("coal", "midnight"),
}
