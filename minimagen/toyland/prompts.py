"""Prompts by kind, each with what must be seen and a scene that it is true of. drawbench.py says which, and how many.

A builder yields prompts without end; the scenes come from seeds that no training sees.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from minimagen.toyland import phrases as ph
from minimagen.toyland.compose import SIGN, random_scene, relations
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS, relation_held_out, thing_held_out
from minimagen.toyland.language import caption
from minimagen.toyland.parsing import Description, parse
from minimagen.toyland.rewording import misspell
from minimagen.toyland.scene import (
    BACKDROPS,
    COLORS,
    FLOORS,
    LIGHTS,
    MATERIALS,
    PATTERNS,
    RELATIONS,
    SIZES,
    Scene,
    Thing,
)

SEED = 3_000_000_000  # its scenes are in no training
LOOK = ("size", "material", "pattern", "color")


@dataclass(frozen=True)
class Prompt:
    """What to draw, and how to tell whether it was drawn."""

    text: str
    category: str
    description: Description  # what a picture must show
    scene: Scene | None = None  # one that the prompt is true of; None = not known


class Pool:
    """Scenes by what is in them, each given once, in the order of their seeds."""

    def __init__(self, number: int):
        self.rng = random.Random(number)
        self.seen: dict[str, list[tuple[Scene, set[str]]]] = {"train": [], "all": []}
        self.first_seed = SEED + 1_000_000 * number

    def take(self, kind: str, split: str = "train", when: Callable[[Scene], bool] = lambda scene: True) -> Scene:
        """The next scene of a kind: "one", "two", "three", "n alike", a relation, "sign", or "sign and one"."""
        k, seen = 0, self.seen[split]
        while True:
            if k == len(seen):
                scene = random_scene(self.first_seed + k, split)
                seen.append((scene, set(_kinds(scene))))
            scene, kinds = seen[k]
            if kind in kinds and when(scene):
                kinds.clear()  # given: it is of no kind any more
                return scene
            k += 1


def _kinds(scene: Scene) -> Iterator[str]:
    count, alike = len(scene.things), len({t.look for t in scene.things}) == 1
    if scene.word is not None:
        yield {0: "sign", 1: "sign and one"}.get(count, "sign and more")
    elif alike:
        yield from (["one", "1 alike"] if count == 1 else [f"{count} alike"])
    elif count == 2:
        yield "two"
        yield from {r for _, r, _ in relations(scene)}
    else:
        yield "three"


def say(thing: Thing, *kinds: str, count: int = 1, words: dict[str, str] | None = None) -> str:
    """ "a large shiny red cube": the thing with these attributes. words: what is said in place of a word."""
    order = [k for k in LOOK if k in kinds and not (k == "pattern" and thing.pattern == "plain")]
    if thing.material in ("metal", "glass") and "material" in order:  # "a large striped red metal cube"
        order = [k for k in order if k != "material"] + ["material"]
    swap = words or {}
    told = [swap.get(v, v) for v in (getattr(thing, k) for k in order)]
    noun = swap.get(thing.shape, thing.shape)
    if count > 1:
        return " ".join([ph.NUMBERS[count - 1], *told, noun + "s"])
    return ph.a(" ".join([*told, noun]))


def _prompt(text: str, scene: Scene, plain: str | None = None) -> Prompt:
    """plain: the same in training's words; None = the text is in them already."""
    return Prompt(text, "", parse(plain or text), scene)  # drawbench.py names the category


def _pair(scene: Scene, relation: str) -> tuple[Thing, Thing]:
    """The two things (a, b) of "a relation b"."""
    i, _, j = next(x for x in relations(scene) if x[1] == relation)
    return scene.things[i], scene.things[j]


def _having(kind: str, name: str) -> Callable[[Scene], bool]:
    return lambda scene: getattr(scene.things[0], kind) == name


# -- the builders: each yields prompts without end ---------------------------------------------------------------------


def colour_binding(pool: Pool) -> Iterator[Prompt]:
    while True:
        scene = pool.take("two", when=lambda s: s.things[0].color != s.things[1].color)
        a, b = scene.things
        yield _prompt(f"{say(a, 'color')} and {say(b, 'color')}", scene)


def counting(pool: Pool) -> Iterator[Prompt]:
    while True:
        for n in range(1, 6):
            scene = pool.take(f"{n} alike")
            yield _prompt(say(scene.things[0], "color", count=n), scene)


def positional(pool: Pool) -> Iterator[Prompt]:
    while True:
        for relation in RELATIONS:
            scene = pool.take(relation)
            a, b = _pair(scene, relation)
            yield _prompt(f"{say(a, 'color')} {relation} {say(b, 'color')}", scene)


def combinations(pool: Pool, hidden: bool) -> Iterator[Prompt]:
    """By turns a colour with a shape, a material with a pattern and a size, a relation between two shapes:

    held out, or seen.
    """

    def related(scene: Scene) -> bool:
        (a, r, b) = next((scene.things[i], r, scene.things[j]) for i, r, j in relations(scene) if r in RELATIONS)
        return relation_held_out(a.shape, r, b.shape) == hidden and not any(map(thing_held_out, scene.things))

    while True:
        scene = pool.take(
            "one", when=lambda s: not thing_held_out(replace(s.things[0], material="matte", pattern="plain"))
        )
        thing = scene.things[0]
        if hidden:
            color = next(
                c for c in COLORS if thing_held_out(replace(thing, color=c, material="matte", pattern="plain"))
            )
            thing = replace(thing, color=color)
        yield _prompt(say(thing, "color"), replace(scene, things=(thing,)))
        scene = pool.take("one", when=lambda s: s.things[0].pattern != "plain")
        thing = scene.things[0]
        if hidden:
            looks = [replace(thing, material=m, pattern=p) for m in MATERIALS for p in PATTERNS]
            thing = pool.rng.choice([t for t in looks if thing_held_out(t)])
        yield _prompt(say(thing, "size", "material", "pattern", "color"), replace(scene, things=(thing,)))
        relation = pool.rng.choice(("left of", "in front of", "on top of"))
        scene = pool.take(relation, "all" if hidden else "train", related)
        a, b = _pair(scene, relation)
        yield _prompt(f"{say(a, 'color')} {relation} {say(b, 'color')}", scene)


def looks_and_stacks(pool: Pool) -> Iterator[Prompt]:
    said = ("size", "material", "color")
    while True:
        scene = pool.take("one")
        yield _prompt(say(scene.things[0], *said), scene)
        scene = pool.take("two")
        a, b = scene.things
        yield _prompt(f"{say(a, *said)} and {say(b, *said)}", scene)
        scene = pool.take("on top of")
        a, b = _pair(scene, "on top of")
        yield _prompt(f"{say(a, *said)} on top of {say(b, *said)}", scene)


def definitions(pool: Pool) -> Iterator[Prompt]:
    """Every definition in turn: what a shape is, in place of its name;

    and what has a colour, in place of the colour.
    """
    while True:
        for name, texts in DEFINITIONS.items():
            for text in texts:
                kind = "color" if name in COLORS else "shape"
                scene = pool.take("one", when=_having(kind, name))
                thing = scene.things[0]
                told = (
                    f"{ph.a(thing.shape)} the colour of {text}" if kind == "color" else f"a {thing.color} thing {text}"
                )
                told = told.replace("a orange", "an orange")
                yield _prompt(told, scene, say(thing, "color"))


def hard(pool: Pool) -> Iterator[Prompt]:
    while True:
        scene = pool.take("three")
        a, b, c = (say(t, "size", "color") for t in scene.things)
        yield _prompt(f"{a}, {b} and {c}", scene)
        relation = pool.rng.choice(RELATIONS)
        scene = pool.take(relation)
        a, b = (say(t, "size", "material", "color") for t in _pair(scene, relation))
        where = ph.BACKDROP_PHRASES[scene.backdrop][0]
        yield _prompt(f"{a} {relation} {b} {where}", scene)
        scene = pool.take("sign and one", when=lambda s: bool(relations(s)))
        relation = next(r for i, r, j in relations(scene) if j == SIGN)
        text = (
            f"{say(scene.things[0], 'material', 'color')} {relation} {ph.SIGNS[0].format((scene.word or '').lower())}"
        )
        yield _prompt(text, scene)


def misspellings(pool: Pool) -> Iterator[Prompt]:
    """One word of the prompt is one or two edits away from itself, by turns."""
    while True:
        for distance, kind in ((1, "color"), (2, "shape"), (1, "shape"), (2, "color")):
            fits = functools.partial(_long_enough, kind=kind, distance=distance)
            scene = pool.take("one", when=fits)
            thing = scene.things[0]
            word = getattr(thing, kind)
            text = say(thing, "color", words={word: _misspelled(word, distance, pool.rng)})
            yield _prompt(text, scene, say(thing, "color"))


def _long_enough(scene: Scene, kind: str, distance: int) -> bool:
    return len(getattr(scene.things[0], kind)) >= 3 + distance


def edits(a: str, b: str) -> int:
    """How many letters must be put in, taken out or changed to make a into b (Levenshtein's distance)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def _misspelled(word: str, distance: int, rng: random.Random) -> str:
    while edits(word, wrong := misspell(word, rng.randrange(1 << 30), distance)) != distance:
        pass  # two slips may undo each other
    return wrong


def synonyms(pool: Pool) -> Iterator[Prompt]:
    """Every synonym of every word in turn, one a prompt."""
    turns = [(name, text) for k in range(4) for name, texts in SYNONYMS.items() for text in texts[k : k + 1]]
    while True:
        for name, text in turns:
            if name in RELATIONS:
                scene = pool.take(name)
                a, b = (say(t, "color") for t in _pair(scene, name))
                yield _prompt(f"{a} {text} {b}", scene, f"{a} {name} {b}")
                continue
            kind = next((k for k, names in _NAMES.items() if name in names), "shape")
            if name == "plain":
                continue  # leaving the word out says the same
            scene = pool.take("one", when=_having(kind, name))
            kinds = ("color",) if kind in ("color", "shape") else (kind, "color")
            said = say(scene.things[0], *kinds)
            yield _prompt(say(scene.things[0], *kinds, words={name: text}), scene, said)


_NAMES = {"color": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}


def style(pool: Pool) -> Iterator[Prompt]:
    """Every backdrop, floor and light in turn, and eight ways to begin a caption."""
    places = [ph.BACKDROP_PHRASES[b][0] for b in BACKDROPS], [ph.FLOOR_PHRASES[f][0] for f in FLOORS]
    k = 0
    while True:
        scene = pool.take("one")
        b, f, light = k % len(BACKDROPS), (k + k // len(BACKDROPS)) % len(FLOORS), LIGHTS[k % len(LIGHTS)]
        scene = replace(scene, backdrop=BACKDROPS[b], floor=FLOORS[f], light=light)
        tail = (places[0][b], f"{places[1][f]} {places[0][b]}", f"{places[1][f]}, {ph.LIGHT_PHRASES[light][0]}")[k % 3]
        frame = ph.FRAMES[k % 8]
        x = say(scene.things[0], "color")
        yield _prompt(frame.format(x=x, **{"is": "is"}) + " " + tail, scene)
        k += 1


def words(pool: Pool, names: tuple[str, ...]) -> Iterator[Prompt]:
    """Signs that bear these words, drawn evenly among those that fit the board at hand."""
    k = 0
    while True:
        scene = pool.take("sign")
        fitting = [w for w in names if len(w) == len(scene.word or "")]
        if fitting:
            scene = replace(scene, word=pool.rng.choice(fitting))
            yield _prompt(ph.SIGNS[k % len(ph.SIGNS)].format((scene.word or "").lower()), scene)
            k += 1


def whole_looks(pool: Pool, kind: str) -> Iterator[Prompt]:
    """One thing, or two, with every attribute said."""
    while True:
        scene = pool.take(kind)
        yield _prompt(" and ".join(say(t, *LOOK) for t in scene.things), scene)


def captions(pool: Pool) -> Iterator[Prompt]:
    """Captions as training has them, of scenes that it never saw."""
    for k in itertools.count():
        scene = random_scene(pool.first_seed + k, "train")
        yield _prompt(caption(scene), scene)
