"""The phrases that captions are made of, in one table, so that what is written can be read back."""

from __future__ import annotations

from minimagen.toyland.scene import BACKDROPS, FLOORS, LIGHTS, SHAPES

NUMBERS = ("one", "two", "three", "four", "five")
PLURALS = {s: s + "s" for s in SHAPES}

MADE_OF = {"metal": "made of metal", "glass": "made of glass"}
WITH_PATTERN = {
    "striped": ("with stripes", "with a striped pattern"),
    "checkered": ("with checks", "with a checkered pattern"),
    "dotted": ("with dots", "with a dotted pattern"),
    "marbled": ("with marbling", "with a marbled pattern"),
    "plain": ("without a pattern",),
}

# What stands between two things: "A … B".
RELATED = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "in front of": ("in front of", "standing in front of"),
    "behind": ("behind", "standing behind"),
    "on top of": ("on top of", "on", "resting on", "sitting on top of"),
}
VERBS = ("is", "stands", "sits")
# What follows the second thing: "B with A …", "B has A …".
OF_IT = {
    "left of": ("to its left", "on its left"),
    "right of": ("to its right", "on its right"),
    "in front of": ("in front of it",),
    "behind": ("behind it",),
    "on top of": ("on top of it", "on top"),
}
TOGETHER = ("and", "with", "and", "together with", "as well as", "plus", "near", "alongside")

SIGNS = (
    'a sign that says "{}"',
    'a sign saying "{}"',
    'a sign reading "{}"',
    'a sign that reads "{}"',
    'a sign with the word "{}"',
    'a sign with the word "{}" on it',
    'a sign bearing the word "{}"',
    'the word "{}" on a sign',
)

BACKDROP_PHRASES = {
    "white wall": ("against a white wall", "before a white wall", "with a white wall in the background"),
    "blue sky": ("under a blue sky", "against a blue sky", "with a blue sky in the background"),
    "sunset sky": ("under a sunset sky", "against a sunset sky", "at sunset"),
    "night sky": ("under a night sky", "against a night sky", "at night"),
    "green hedge": ("against a green hedge", "before a green hedge", "with a green hedge in the background"),
}
FLOOR_PHRASES = {
    "wooden": ("on a wooden floor", "on the wooden floor"),
    "tiled": ("on a tiled floor", "on tiles"),
    "sandy": ("on sand", "on a sandy floor"),
    "grassy": ("on grass", "on the grass", "on a grassy floor"),
    "concrete": ("on a concrete floor", "on concrete"),
}
LIGHT_PHRASES = {
    d: (f"lit from {p}", f"with light from {p}") for d, p in zip(LIGHTS, ("the left", "the right", "above"))
}
BACKDROP_SENTENCES = {b: (f"the background is a {b}", f"there is a {b} in the background") for b in BACKDROPS}
FLOOR_SENTENCES = {f: (f"the floor is {f}",) for f in FLOORS}
LIGHT_SENTENCES = {
    d: (f"the light comes from {p}", f"light falls from {p}")
    for d, p in zip(LIGHTS, ("the left", "the right", "above"))
}

# Around a noun phrase {x}; {is} is "is" or "are".
FRAMES = (
    "a picture of {x}",
    "a photo of {x}",
    "an image of {x}",
    "a photograph of {x}",
    "a rendering of {x}",
    "a scene with {x}",
    "a still life of {x}",
    "there {is} {x}",
    "there {is} {x} here",
    "here {is} {x}",
    "we see {x}",
    "i see {x}",
    "you can see {x}",
    "this picture shows {x}",
    "the picture shows {x}",
    "the photo shows {x}",
    "in this picture there {is} {x}",
    "look, {x}",
    "just {x}",
    "nothing but {x}",
    "{x} and nothing else",
    "show me {x}",
    "please draw {x}",
    "draw {x}",
    "i would like to see {x}",
    "imagine {x}",
    "somebody has put {x} here",
    "what a nice picture: {x}",
)
# Around a whole sentence {s}.
SENTENCE_FRAMES = ("{s}", "in this picture, {s}", "we see that {s}", "here, {s}", "look: {s}", "as you can see, {s}")


def a(noun_phrase: str) -> str:
    """With its indefinite article: "an orange cube", "a red one"."""
    return ("an " if noun_phrase[0] in "aeio" else "a ") + noun_phrase


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")
