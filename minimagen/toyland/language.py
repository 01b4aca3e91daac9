"""Captions: what a scene shows, said in many ways, each of them true, and each readable by `parse`.

A caption names everything that stands in the picture, but not each of its attributes: what goes without saying (matte,
plain, the setting) is mostly left unsaid, and patterns are mostly said, because super-resolution reads them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from minimagen.toyland.compose import SIGN, relations
from minimagen.toyland.phrases import (
    BACKDROP_PHRASES,
    BACKDROP_SENTENCES,
    FLOOR_PHRASES,
    FLOOR_SENTENCES,
    FRAMES,
    LIGHT_PHRASES,
    LIGHT_SENTENCES,
    MADE_OF,
    NUMBERS,
    OF_IT,
    PLURALS,
    RELATED,
    SENTENCE_FRAMES,
    SIGNS,
    TOGETHER,
    VERBS,
    WITH_PATTERN,
    a,
)
from minimagen.toyland.scene import Scene, Thing

# How often an attribute is said.
SAID = {"size": 0.7, "color": 0.96, "material": 0.8, "matte": 0.25, "pattern": 0.93, "plain": 0.08}
STATED = 0.9  # how often the relation of two things is
STANDS = {"is": "stands", "are": "stand"}
SETTING = {"backdrop": 0.36, "floor": 0.36, "light": 0.14}


@dataclass(frozen=True)
class Entity:
    """What a noun phrase stands for: a thing, some alike things, or the sign (index SIGN)."""

    index: int
    full: str  # "two small red cubes": with its article or number
    short: str  # "the cubes": for the second mention; empty where it would not be clear
    noun: str  # "small red cubes"
    count: int = 1

    @property
    def verb(self) -> str:
        return "are" if self.count > 1 and not self.full.startswith("a ") else "is"  # "there is a pair of cubes"


@dataclass(frozen=True)
class Content:
    """What is to be said, before it is put into words: of each kind of thing some attributes, and of the setting."""

    said: tuple[dict[str, str], ...]  # one for each group of alike things, in the scene's order
    setting: tuple[str, ...]  # of backdrop, floor, light
    related: bool  # whether the relation of two things is said


def content(rng: random.Random, scene: Scene) -> Content:
    """A random choice of what to say, enough to tell the things apart."""
    firsts = [scene.things[g[0]] for g in _groups(scene)]
    said = [_said(rng, t, brief=len(firsts) > 2) for t in firsts]
    for s, t in zip(said, firsts):
        if sum(o.shape == t.shape for o in firsts) > 1:
            s["color"] = t.color
    for attribute in ("color", "size", "material", "pattern"):  # say more until words tell the things apart
        for i, t in enumerate(firsts):
            if any(s == said[i] for j, s in enumerate(said) if j != i):
                said[i][attribute] = getattr(t, attribute)
    rate = 0.5 if len(scene.things) + bool(scene.word) > 2 else 1.0  # long enough already
    return Content(tuple(said), tuple(k for k, p in SETTING.items() if rng.random() < rate * p), rng.random() < STATED)


def caption(scene: Scene, index: int = 0) -> str:
    """The index-th caption of the scene; 0 is the main one. The words depend on (scene.seed, index) alone."""
    rng, told = _told(scene, index)
    return express(rng, scene, told)


def nouns(scene: Scene, index: int = 0) -> dict[int, tuple[str, dict[str, str]]]:
    """What `caption(scene, index)` calls each group of alike things, and which of their attributes it says.

    Where it is terse, articles are left out, a noun's too.

    By the index of a group's first thing: {0: ("small red cubes", {"shape": "cube", "size": "small", "color": "red"})}.
    """
    rng, told = _told(scene, index)
    said = dict(zip((group[0] for group in _groups(scene)), told.said, strict=True))
    return {e.index: (e.noun, said.get(e.index, {})) for e in _begun(rng, scene, told)[1]}


def says_relation(scene: Scene, index: int = 0) -> bool:
    """Whether `caption(scene, index)` is to say how two things stand to each other, if that is clear."""
    return _told(scene, index)[1].related


def _told(scene: Scene, index: int) -> tuple[random.Random, Content]:
    rng = random.Random(1009 * scene.seed + index + 1)
    return rng, content(rng, scene)


def express(rng: random.Random, scene: Scene, told: Content) -> str:
    """The content in words: one of the many ways to say it."""
    terse, entities = _begun(rng, scene, told)
    rng.shuffle(entities)
    text, kind, verb = _core(rng, scene, entities, told.related)
    if terse and kind == "noun":
        text = _without_articles(text)
    else:
        text = _framed(rng, scene, told.setting, text, kind, verb)
    return text + ("." if rng.random() < 0.12 else "")


def _begun(rng: random.Random, scene: Scene, told: Content) -> tuple[bool, list[Entity]]:
    """Whether it is said tersely, "red cube left of blue sphere", and what is spoken of."""
    return rng.random() < 0.08 and not told.setting, _entities(rng, scene, told.said)


def captions(scene: Scene, n: int) -> list[str]:
    """The main caption and n − 1 others, all different where the scene allows it."""
    found: dict[str, None] = {}
    for index in range(4 * n):
        found[caption(scene, index)] = None
        if len(found) == n:
            break
    return list(found)


def _pick(rng: random.Random, names):
    return names[int(rng.random() * len(names))]


def _groups(scene: Scene) -> list[list[int]]:
    """The things' indices; things alike in everything share a noun phrase."""
    groups: dict[tuple, list[int]] = {}
    for i, t in enumerate(scene.things):
        groups.setdefault(t.look, []).append(i)
    return list(groups.values())


def _entities(rng: random.Random, scene: Scene, said: tuple[dict[str, str], ...]) -> list[Entity]:
    groups = _groups(scene)
    firsts = [scene.things[g[0]] for g in groups]
    found = []
    for group, t, s in zip(groups, firsts, said):
        count = len(group)
        alike = [o for o in firsts if o.shape == t.shape]
        name = PLURALS[t.shape] if count > 1 else t.shape
        if len(alike) > 1 or (rng.random() < 0.3 and "color" in s):
            name = f"{t.color} {name}"
        clear = len({o.color for o in alike}) == len(alike)
        noun = _noun(rng, t, s, count)
        found.append(Entity(group[0], _counted(rng, noun, count), f"the {name}" if clear else "", noun, count))
    if scene.word is not None:
        found.append(Entity(SIGN, _pick(rng, SIGNS).format(scene.word.lower()), "the sign", "sign"))
    return found


def _said(rng: random.Random, t: Thing, brief: bool) -> dict[str, str]:
    """The attributes that will be said, by name."""
    chance = {
        "size": SAID["size"] - 0.2 * brief,
        "color": SAID["color"],
        "material": SAID["matte"] if t.material == "matte" else SAID["material"],
        "pattern": SAID["plain"] if t.pattern == "plain" else SAID["pattern"],
    }
    return {"shape": t.shape, **{k: getattr(t, k) for k, p in chance.items() if rng.random() < p}}


def _noun(rng: random.Random, t: Thing, said: dict[str, str], count: int) -> str:
    """Adjectives, noun, and sometimes what follows it ("made of glass", "with stripes")."""
    said, tail = dict(said), ""
    u = rng.random()
    if u < 0.12 and said.get("material") in MADE_OF:
        tail = " " + MADE_OF[said.pop("material")]
    elif 0.12 <= u < 0.27 and "pattern" in said:
        tail = " " + _pick(rng, WITH_PATTERN[said.pop("pattern")])
    elif 0.27 <= u < 0.31 and "color" in said and count == 1:
        tail = f" that is {said.pop('color')}"
    # "shiny" goes before the colour, what a thing is made of next to the noun, a pattern on either side of the colour
    order = ["size", "pattern", "color"] if rng.random() < 0.5 else ["size", "color", "pattern"]
    order.insert(1 if said.get("material") in ("matte", "shiny") else 3, "material")
    if rng.random() < 0.05:
        rng.shuffle(order)
    words = [said[k] for k in order if k in said]
    comma = ", " if len(words) > 2 and rng.random() < 0.06 else " "
    return " ".join([comma.join(words), PLURALS[t.shape] if count > 1 else t.shape]).strip() + tail


def _counted(rng: random.Random, noun: str, count: int) -> str:
    u = rng.random()
    if count == 1:
        return f"one {noun}" if u < 0.04 else f"a single {noun}" if u < 0.07 else a(noun)
    if u < 0.12:
        return f"{count} {noun}"
    if u < 0.2:
        return f"exactly {NUMBERS[count - 1]} {noun}"
    if u < 0.3:
        return f"a pair of {noun}" if count == 2 else f"a group of {NUMBERS[count - 1]} {noun}"
    return f"{NUMBERS[count - 1]} {noun}"


def _core(rng: random.Random, scene: Scene, entities: list[Entity], related: bool) -> tuple[str, str, str]:
    """(text, kind, verb): kind "noun" can stand in a frame, "sentence" is one by itself; verb: "there {verb} …"."""
    if len(entities) == 1:
        return _alone(rng, scene, entities[0])
    at = {e.index: e for e in entities if e.count == 1}
    stated = [(at[i], r, at[j]) for i, r, j in relations(scene) if i in at and j in at]
    if stated and len(entities) == 2 and related:
        return _relation(rng, *_pick(rng, stated))
    if len(entities) == 3:
        row = sorted(entities, key=lambda e: scene.sign[0] if e.index == SIGN else scene.things[e.index].x)
        chain = {(i.index, j.index) for i, r, j in stated if r == "left of"}
        if all((row[k].index, row[k + 1].index) in chain for k in (0, 1)) and rng.random() < 0.4:
            x, y, z = (e.full for e in row)
            return f"from left to right: {x}, {y} and {z}", "sentence", "is"
        clear = [(e, r, f) for e, r, f in stated if e.short and f.short]
        if clear and rng.random() < 0.6:
            e, r, f = _pick(rng, clear)
            return (
                f"{_list(rng, entities)}. {e.short} is {_pick(rng, RELATED[r][:2])} {f.short}",
                "noun",
                entities[0].verb,
            )
    return _list(rng, entities), "noun", entities[0].verb


def _alone(rng: random.Random, scene: Scene, e: Entity) -> tuple[str, str, str]:
    u = rng.random()
    if e.index == SIGN:
        word = scene.word.lower() if scene.word else ""
        if u < 0.12:
            return f'the sign says "{word}"', "sentence", "is"
        if u < 0.22:
            return f'"{word}" is written on a sign', "sentence", "is"
        return e.full, "noun", "is"
    if e.count > 1 and u < 0.12:
        number = NUMBERS[e.count - 1]
        return _pick(rng, (f"count the {e.noun}: {number}", f"how many {e.noun}? {number}")), "sentence", e.verb
    return e.full, "noun", e.verb


def _relation(rng: random.Random, e: Entity, r: str, f: Entity) -> tuple[str, str, str]:
    """ "e r f", in one of a dozen ways."""
    u, link = rng.random(), _pick(rng, RELATED[r])
    if u < 0.46:
        return f"{e.full} {link} {f.full}", "noun", "is"
    if u < 0.58:
        return f"{e.full} {_pick(rng, VERBS)} {RELATED[r][0]} {f.full}", "sentence", "is"
    if u < 0.68:
        link = RELATED[r][1] if r in ("left of", "right of") else RELATED[r][0]
        return f"{link} {f.full} {_pick(rng, VERBS)} {e.full}", "sentence", "is"
    if u < 0.80:
        return f"{f.full} with {e.full} {_pick(rng, OF_IT[r])}", "noun", "is"
    if u < 0.86:
        return f"{f.full} has {e.full} {OF_IT[r][0]}", "sentence", "is"
    if u < 0.92 and e.short and f.short:
        first, second = (e, f) if rng.random() < 0.5 else (f, e)
        return f"{first.full} and {second.full}. {e.short} is {RELATED[r][0]} {f.short}", "noun", "is"
    if r in ("left of", "right of"):
        side, other = (r.split()[0], "right" if r == "left of" else "left")
        if u < 0.96:
            return f"{e.full} on the {side} and {f.full} on the {other}", "noun", "is"
        return f"on the {side} {_pick(rng, VERBS[:2])} {e.full}, on the {other} {f.full}", "sentence", "is"
    if r in ("in front of", "behind"):
        e, f = (e, f) if r == "in front of" else (f, e)
        return f"{e.full} in front and {f.full} at the back", "noun", "is"
    return f"{f.full} carrying {e.full}", "noun", "is"


def _list(rng: random.Random, entities: list[Entity]) -> str:
    names = [e.full for e in entities]
    if len(names) == 2:
        return f" {_pick(rng, TOGETHER)} ".join(names)
    return ", ".join(names[:-1]) + _pick(rng, (" and ", ", and ")) + names[-1]


def _without_articles(text: str) -> str:
    words = text.split(" ")
    return " ".join(
        w for k, w in enumerate(words) if w not in ("a", "an") or words[k + 1] in ("pair", "group", "single")
    )


def _framed(rng: random.Random, scene: Scene, setting: tuple[str, ...], text: str, kind: str, verb: str) -> str:
    """The text in a frame, with what is said of the setting before it, after it, or in a sentence of its own."""
    fields: tuple[tuple[str, Any, Any], ...] = (
        ("backdrop", BACKDROP_PHRASES, BACKDROP_SENTENCES),
        ("floor", FLOOR_PHRASES, FLOOR_SENTENCES),
        ("light", LIGHT_PHRASES, LIGHT_SENTENCES),
    )
    before: list[str] = []
    after: list[str] = []
    sentences: list[str] = []
    for name, phrases, clauses in fields:
        if name in setting:
            value, u = getattr(scene, name), rng.random()
            if u < 0.14 or "?" in text or text.startswith("count"):
                sentences.append(_pick(rng, clauses[value]))
            elif u < 0.32 and not before and name != "light":
                before.append(_pick(rng, phrases[value]))
            else:
                after.append(_pick(rng, phrases[value]))
    rng.shuffle(after)
    head, dot, rest = text.partition(". ")
    closed = rng.random() < 0.45  # no frame
    if kind == "sentence":
        frame = "{s}" if closed or before or ":" in head or "?" in head else _pick(rng, SENTENCE_FRAMES)
        body = frame.format(s=head)
    elif before:
        frame = "{x}" if closed else _pick(rng, ("there {is} {x}", "we see {x}", f"{STANDS[verb]} {{x}}"))
        body = frame.format(x=head, **{"is": verb})
    else:
        frame = "{x}" if closed else _pick(rng, FRAMES)
        body = frame.format(x=head, **{"is": verb})
    # what follows a whole sentence is set off by a comma, so that it belongs to all of it
    pause = ", " if (kind == "sentence" or "nothing else" in body or body.endswith("here")) and after else " "
    body = pause.join([body, " ".join(after)]).strip() if after else body
    if before:
        body = before[0] + (" " if body.startswith("stand") else ", ") + body
    return ". ".join([body, *([rest] if dot else []), *sentences])
