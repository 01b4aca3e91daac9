"""The text corpus's tasks: pairs (input, target) in T5's text-to-text form, with a prefix that names the task."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from minimagen.toyland.compose import OPPOSITE, SIGN, relations
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.language import caption
from minimagen.toyland.phrases import NUMBERS, PLURALS, a
from minimagen.toyland.rewording import articles, defined, look, misspell, reword
from minimagen.toyland.scene import BACKDROPS, COLORS, SHAPES, Scene
from minimagen.toyland.situations import ATTRIBUTES, pick, random_thing, random_word, situation, some_caption, twice

Pair = tuple[str, str]


def _paraphrase(rng: random.Random) -> Pair:
    one, two = twice(rng, situation(rng))
    u = rng.random()
    if u < 0.4:
        one = reword(rng, one)
    elif u < 0.6:
        two = reword(rng, two)
    return f"paraphrase: {one}", two


def _plainly(rng: random.Random) -> Pair:
    """Synonyms and definitions into the vocabulary's own words."""
    u = rng.random()
    if u < 0.35:
        text, mean = defined(rng, random_thing(rng))
        return f"say it plainly: {text}", mean
    text = look(rng, random_thing(rng)) if u < 0.65 else some_caption(rng)
    return f"say it plainly: {reword(rng, text)}", text


def _summary(rng: random.Random) -> Pair:
    scene = situation(rng)
    names = [a(f"{t.color} {t.shape}") for t in dict.fromkeys(scene.things)]
    if len(scene.things) > 1 and len(names) == 1:
        names = [f"{NUMBERS[len(scene.things) - 1]} {scene.things[0].color} {PLURALS[scene.things[0].shape]}"]
    if scene.word:
        names.append(f'a sign that says "{scene.word.lower()}"')
    text = caption(scene, 1)
    return f"summarize: {reword(rng, text) if rng.random() < 0.3 else text}", " and ".join(names)


def _question(rng: random.Random) -> Pair | None:
    """A question that its context answers; None where the context says too little."""
    scene = situation(rng)
    context = caption(scene, 1)
    made = _asked(rng, scene, context)
    if made is None:
        return None
    question, answer = made
    if rng.random() < 0.25:
        context = reword(rng, context)
    return f"question: {question} context: {context}", answer


def _name(scene: Scene, i: int) -> str:
    if i == SIGN:
        return "the sign"
    t = scene.things[i]
    alike = sum(o.shape == t.shape for o in scene.things)
    return f"the {t.color} {t.shape}" if alike > 1 else f"the {t.shape}"


def _asked(rng: random.Random, scene: Scene, context: str) -> Pair | None:
    things, u = scene.things, rng.random()
    setting = context
    for name in BACKDROPS:  # "white" in "a white wall" says nothing of things
        context = context.replace(name, "")
    if scene.word and u < 0.5:
        return "what does the sign say?", f'"{scene.word.lower()}"'
    if things and len({t.look for t in things}) == 1 and len(things) > 1:
        return f"how many {PLURALS[things[0].shape]} are there?", NUMBERS[len(things) - 1]
    if u > 0.9:
        if scene.backdrop in setting:
            return "what is in the background?", a(scene.backdrop)
        if f"{scene.floor} floor" in setting:
            return "what is the floor like?", scene.floor
    row = "left to right" in context
    if row or len(things) + (scene.word is not None) == 2:  # else the context may speak of another pair
        told = [(i, r, j) for i, r, j in relations(scene) if r in context or (row and r in ("left of", "right of"))]
    else:
        told = []
    if told and u < 0.4:
        i, r, j = pick(rng, told)
        v = rng.random()
        if v < 0.4:
            return f"where is {_name(scene, i)}?", f"{r} {_name(scene, j)}"
        if v < 0.7 and len(things) == 2:
            return f"what is {r} {_name(scene, j)}?", _name(scene, i)
        if r in OPPOSITE:
            truth = rng.random() < 0.5
            s = r if truth else OPPOSITE[r]
            return f"is {_name(scene, i)} {s} {_name(scene, j)}?", "yes" if truth else "no"
    if not things:
        return None
    i = int(rng.random() * len(things))
    kind = pick(rng, ("color", "color", "size", "material", "pattern", "shape"))
    value = getattr(things[i], kind)
    if value not in context or sum(getattr(t, kind) == value for t in things) > 1:
        return None
    if kind == "shape":
        if sum(t.color == things[i].color for t in things) > 1 or things[i].color not in context:
            return None
        return f"what is {things[i].color}?", f"the {value}"
    if rng.random() < 0.3:
        truth = rng.random() < 0.5
        asked = value if truth else pick(rng, [v for v in ATTRIBUTES[kind] if v != value])
        return f"is {_name(scene, i)} {asked}?", "yes" if truth else "no"
    ask = {
        "color": "what colour is {}?",
        "size": "how large is {}?",
        "material": "what is {} made like?",
        "pattern": "what pattern has {}?",
    }[kind]
    return ask.format(_name(scene, i)), value


def _true_or_false(rng: random.Random) -> Pair | None:
    """A statement about the context that is true, or has one word exchanged."""
    scene = situation(rng)
    one, two = (text.rstrip(".") for text in twice(rng, scene))
    if rng.random() < 0.5:
        return f"true or false: {two}. context: {one}", "true"
    if len({t.look for t in scene.things}) != 1:
        return None
    t = scene.things[0]
    kind = pick(rng, ("color", "color", "size", "shape"))
    value = getattr(t, kind)
    if value not in one or two.count(value) != 1 or scene.backdrop in two:
        return None
    other = pick(rng, [v for v in ATTRIBUTES[kind] if v != value])
    wrong = articles(re.sub(rf"\b{value}(?=s?\b)", other, two))
    return f"true or false: {wrong}. context: {one}", "false"


def _spell(rng: random.Random) -> Pair:
    word = random_word(rng)
    letters, u = " ".join(word), rng.random()
    if u < 0.45:
        return f'spell: "{word}"', letters
    if u < 0.7:
        return f"join: {letters}", f'"{word}"'
    if u < 0.8:
        return f'how many letters: "{word}"', str(len(word))
    if u < 0.9:
        return f'first letter: "{word}"', word[0]
    return f'last letter: "{word}"', word[-1]


def _define(rng: random.Random) -> Pair:
    key = pick(rng, (*SHAPES, *COLORS))
    text = pick(rng, DEFINITIONS[key])
    if key in SHAPES:
        return (
            (f"define: {pick(rng, (key, *SYNONYMS[key]))}", f"a thing {text}")
            if rng.random() < 0.5
            else (f"name: a thing {text}", key)
        )
    return f"name: the colour of {text}", key


def _meaning(rng: random.Random) -> Pair:
    key = pick(rng, tuple(SYNONYMS))
    return f"meaning: {pick(rng, SYNONYMS[key])}", key


def _correct(rng: random.Random) -> Pair:
    text = some_caption(rng)
    return f"correct: {misspell(text, rng.getrandbits(32), edits=1 + (rng.random() < 0.4))}", text


PAIRS: dict[Callable[[random.Random], Pair | None], float] = {
    _paraphrase: 0.28,
    _plainly: 0.22,
    _question: 0.20,
    _true_or_false: 0.06,
    _summary: 0.06,
    _spell: 0.07,
    _define: 0.03,
    _meaning: 0.03,
    _correct: 0.05,
}
