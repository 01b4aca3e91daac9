"""Captions read back: words → what was said, and whether a scene shows it.

Reading goes in three steps: phrases (a setting, a relation, a frame, the sign) are found in one table, longest first;
what is between them must be noun phrases; and the order of the two kinds in a clause says what stands where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from minimagen.toyland import phrases as ph
from minimagen.toyland.compose import SIGN, Relation, relations
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.scene import (
    COLORS,
    MATERIALS,
    MAX_THINGS,
    PATTERNS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    check_word,
)

ATTRIBUTES = {"shape": SHAPES, "color": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}
ADJECTIVES = ("color", "size", "material", "pattern")
NUMBERS = {**{w: k for k, w in enumerate((*ph.NUMBERS, "six", "seven", "eight", "nine", "ten"), 1)}}
NUMBERS |= {str(k): k for k in range(1, 11)}


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


def parse(caption: str, synonyms: bool = False) -> Description:
    """What the caption says. With synonyms, it also reads the words and definitions that only the text corpus uses."""
    symbols = list(_symbols(caption, _lexicon(synonyms)))
    things: list[ThingDescription] = []
    said: dict[str, str] = {}
    clauses: list[list[tuple]] = [[]]
    for kind, *value in symbols:
        if kind in ("backdrop", "floor", "light", "word"):
            if said.setdefault(kind, value[0]) != value[0]:
                raise ValueError(f"The caption names two different things as its {kind}: {said[kind]} and {value[0]}.")
            if kind == "word":
                clauses[-1].append(("thing", SIGN))
        elif kind == "the sign":
            clauses[-1].append(("thing", SIGN))
        elif kind == "thing":
            clauses[-1].append(("thing", _mention(things, *value)))
        elif kind == "number":
            if not things:
                raise ValueError(f"The number {value[0]} counts nothing.")
            things[-1] = ThingDescription(**{**vars(things[-1]), "count": value[0]})
        elif kind == "stop":
            clauses.append([])
        elif kind != "frame":
            clauses[-1].append((kind, *value))
    if any(t.count == 0 for t in things):
        raise ValueError("The caption does not say how many there are.")
    if not things and "word" not in said:
        raise ValueError(f"The caption {caption!r} names nothing that could be drawn.")
    found: list[Relation] = []
    last: int | None = None
    for clause in clauses:
        found += _clause(clause, last)
        last = next((v[0] for k, *v in reversed(clause) if k == "thing"), last)
    if any(SIGN in (i, j) for i, _, j in found) and "word" not in said:
        raise ValueError("The caption speaks of a sign, but does not say its word in double quotes.")
    description = Description(tuple(things), tuple(dict.fromkeys(found)), **said)
    if description.count > MAX_THINGS:
        raise ValueError(f"{description.count} things are too many for one scene; it holds at most {MAX_THINGS}.")
    return description


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


def _mention(things: list[ThingDescription], definite: bool, thing: ThingDescription) -> int:
    """The index of a thing: "the red cube" is one named before, if there is one."""
    if definite:
        said = [(k, getattr(thing, k)) for k in ATTRIBUTES if getattr(thing, k) is not None]
        before = [i for i, t in enumerate(things) if all(getattr(t, k) == v for k, v in said)]
        if len(before) == 1:
            return before[0]
        if before:
            raise ValueError(f"It is not clear which of {len(before)} things is meant by {dict(said)}.")
    things.append(thing)
    return len(things) - 1


def _clause(clause: list[tuple], last: int | None) -> Iterator[Relation]:
    """The relations of one clause; last: the thing that the clause before named last, for "it"."""
    kinds = [k for k, *_ in clause]
    if "row" in kinds:
        row = [v[0] for k, *v in clause if k == "thing"]
        yield from ((i, "left of", j) for i, j in zip(row, row[1:]))
        return
    if "side" in kinds:
        sides: dict[str, int] = {}
        step = 1 if kinds.index("side") < kinds.index("thing") else -1  # "on the left A" or "A on the left"
        for n, (k, *v) in enumerate(clause):
            if k == "side":
                owner = clause[n + step] if 0 <= n + step < len(clause) else ("", None)
                if owner[0] != "thing":
                    raise ValueError("It is not clear what stands on which side.")
                sides[v[0]] = owner[1]
        for one, relation, other in (("left", "left of", "right"), ("front", "in front of", "back")):
            if one in sides and other in sides:
                yield sides[one], relation, sides[other]
            elif one in sides or other in sides:
                raise ValueError(f"The caption says what is {one} or {other}, but not what is opposite.")
        return
    for n, (k, *v) in enumerate(clause):
        if k not in ("relation", "of it"):
            continue
        before = [w[0] for key, *w in clause[:n] if key == "thing"]
        after = [w[0] for key, *w in clause[n + 1 :] if key == "thing"]
        if k == "relation" and before and after:  # A left of B
            pair = before[-1], after[0]
        elif k == "relation" and len(after) > 1:  # left of B is A
            pair = after[1], after[0]
        elif k == "of it" and len(before) > 1:  # B with A to its left
            pair = before[-1], before[-2]
        elif k == "of it" and after and last is not None:  # B. to its left is A
            pair = after[0], last
        else:
            raise ValueError(f"The caption says {v[0]!r}, but not of what and what.")
        yield (pair[1], "on top of", pair[0]) if v[0] == "carrying" else (pair[0], v[0], pair[1])


# ---- from words to symbols ----


class Lexicon:
    """Phrases → symbols. A phrase is a tuple of words; `"` stands for a quoted word."""

    def __init__(self) -> None:
        self.phrases: dict[str, list[tuple[tuple[str, ...], tuple]]] = {}
        self.adjectives: dict[str, list[tuple[tuple[str, ...], tuple]]] = {}
        self.nouns: dict[str, list[tuple[tuple[str, ...], tuple]]] = {}
        self.tails: dict[str, list[tuple[tuple[str, ...], tuple]]] = {}

    @staticmethod
    def add(table: dict, phrase: str, *symbol) -> None:
        words = tuple(_words(phrase.replace('"{}"', '"')))
        entries = table.setdefault(words[0], [])
        entries.append((words, symbol))
        entries.sort(key=lambda e: -len(e[0]))

    @staticmethod
    def find(table: dict, words: list[str], k: int) -> tuple[int, tuple]:
        """(how many words, symbol) of the longest entry at place k; (0, ()) if there is none."""
        for phrase, symbol in table.get('"' if words[k][0] == '"' else words[k], ()):
            here = ['"' if w[0] == '"' else w for w in words[k : k + len(phrase)]]
            if here == list(phrase):
                return len(phrase), symbol
        return 0, ()


def _words(text: str) -> list[str]:
    return re.findall(r'"[^"]*"|"|[\w\'’-]+|[.,:;?!]', text.lower().replace("“", '"').replace("”", '"'))


@cache
def _lexicon(synonyms: bool) -> Lexicon:
    lex, add = Lexicon(), Lexicon.add
    for field, tables in (
        ("backdrop", (ph.BACKDROP_PHRASES, ph.BACKDROP_SENTENCES)),
        ("floor", (ph.FLOOR_PHRASES, ph.FLOOR_SENTENCES)),
        ("light", (ph.LIGHT_PHRASES, ph.LIGHT_SENTENCES)),
    ):
        for table in tables:
            for value, texts in table.items():
                for text in texts:
                    add(lex.phrases, text, field, value)
    for relation in RELATIONS:
        for text in ph.RELATED[relation] + (SYNONYMS[relation] if synonyms else ()):
            add(lex.phrases, text, "relation", relation)
        for text in ph.OF_IT[relation] + (("atop it", "upon it") if synonyms and relation == "on top of" else ()):
            add(lex.phrases, text, "of it", relation)
    add(lex.phrases, "carrying", "relation", "carrying")
    for text, side in (
        ("on the left", "left"),
        ("on the right", "right"),
        ("in front", "front"),
        ("at the back", "back"),
    ):
        add(lex.phrases, text, "side", side)
    for text in ("from left to right", "from left to right:"):
        add(lex.phrases, text, "row")
    for text in (*ph.SIGNS, 'the sign says "{}"', '"{}" is written on a sign', 'a sign: "{}"'):
        for article in (text, text.removeprefix("a ")):  # terse captions have none
            add(lex.phrases, article, "word")
    for text in ('the word "{}" on sign', 'word "{}" on sign'):
        add(lex.phrases, text, "word")
    add(lex.phrases, "the sign", "the sign")
    for frame in (*ph.FRAMES, *ph.SENTENCE_FRAMES, "count the {x}", "how many {x}"):
        for piece in re.split(r"\{[xs]\}", frame):
            for verb in ("is", "are"):
                if piece.strip(" ,:"):
                    add(lex.phrases, piece.replace("{is}", verb), "frame")
    for text in (
        *ph.TOGETHER,
        *ph.VERBS,
        "are",
        "stand",
        "sit",
        "standing",
        "sitting",
        "has",
        "have",
        "there",
        "next to",
        "both",
        ",",
    ):
        add(lex.phrases, text, "frame")
    for text in ".;:?!":
        add(lex.phrases, text, "stop")

    def also(value: str) -> tuple[str, ...]:
        return (value, *(SYNONYMS.get(value, ()) if synonyms else ()))

    for attribute in ADJECTIVES:
        for value in ATTRIBUTES[attribute]:
            for text in also(value):
                add(lex.adjectives, text, attribute, value)
                if attribute == "material":
                    add(lex.tails, f"made of {text}", attribute, value)
                elif attribute == "pattern":
                    add(lex.tails, f"with {ph.a(text)} pattern", attribute, value)
                    add(lex.tails, f"with {text} pattern", attribute, value)  # terse
            for text in ph.WITH_PATTERN.get(value, ()):
                add(lex.tails, text, attribute, value)
                add(lex.tails, text.replace(" a ", " "), attribute, value)
            for text in DEFINITIONS.get(value, ()) if synonyms else ():
                add(lex.tails, f"the colour of {text}", attribute, value)
                add(lex.tails, f"the color of {text}", attribute, value)
    for shape in SHAPES:
        for text in also(shape):
            add(lex.nouns, text, shape, False)
            add(lex.nouns, ph.plural(text), shape, True)
        for text in DEFINITIONS[shape] if synonyms else ():
            add(lex.tails, text, "shape", shape)
    for text in ("thing", "object", "one"):
        add(lex.nouns, text, None, False)
        if text != "one":
            add(lex.nouns, text + "s", None, True)
    return lex


def _symbols(caption: str, lex: Lexicon) -> Iterator[tuple]:
    words, k = _words(caption), 0
    while k < len(words):
        n, symbol = lex.find(lex.phrases, words, k)
        if n:
            if symbol == ("word",):
                quoted = next(w for w in words[k : k + n] if w[0] == '"').strip('"').upper()
                symbol = ("word", check_word(quoted))
            yield symbol
            k += n
            continue
        n, thing = _noun_phrase(lex, words, k)
        if thing is None:
            raise ValueError(_complaint(lex, words, k))
        yield thing
        k += n


def _noun_phrase(lex: Lexicon, words: list[str], start: int) -> tuple[int, tuple | None]:
    """(how many words, symbol) of the noun phrase at this place; (0, None) if there is none."""
    k, count, definite = start, 0, False
    said: dict[str, str] = {}

    def at(*options: str) -> bool:
        return k < len(words) and words[k] in options

    if at("a", "an", "the"):
        count, definite = (0, True) if words[k] == "the" else (1, False)
        k += 1
    if at("single", "lone"):
        count, k = 1, k + 1
    if at("pair", "group") and words[k + 1 : k + 2] == ["of"]:
        count, k = (2 if words[k] == "pair" else 0), k + 2
    if at("exactly"):
        k += 1
    if at(*NUMBERS) and not (at("one") and definite):
        count, k = NUMBERS[words[k]], k + 1
        if k == len(words) or words[k] in ".,;!":
            return k - start, ("number", count)
    while k < len(words):
        if at(",", "and") and said and lex.find(lex.adjectives, words, k + 1 if k + 1 < len(words) else k)[0]:
            k += 1
        n, symbol = lex.find(lex.adjectives, words, k)
        if not n:
            break
        _say(said, *symbol)
        k += n
    n, noun = lex.find(lex.nouns, words, k) if k < len(words) else (0, ())
    if not n:
        return 0, None
    shape, many = noun
    k += n
    if shape:
        _say(said, "shape", shape)
    while k < len(words):
        pause = at(",") and k + 1 < len(words)  # "…, the colour of snow"
        n, symbol = lex.find(lex.tails, words, k + pause)
        if n:
            _say(said, *symbol)
            k += n + pause
        elif words[k : k + 2] in (["that", "is"], ["that", "are"]) and k + 2 < len(words):
            k += 2
            n, symbol = lex.find(lex.adjectives, words, k) or lex.find(lex.tails, words, k)
            if not n:
                return 0, None
            while n:
                _say(said, *symbol)
                k += n
                joined = at("and", ",") and k + 1 < len(words) and not _begins_noun_phrase(lex, words, k + 1)
                n, symbol = lex.find(lex.adjectives, words, k + 1) if joined else (0, ())
                k += bool(n)
        else:
            break
    if not many:
        count = count or 1
    elif count == 1:
        raise ValueError(f"There is one {words[k - 1]!r} and it is plural; say how many there are.")
    return k - start, ("thing", definite, ThingDescription(**said, count=count))


def _begins_noun_phrase(lex: Lexicon, words: list[str], k: int) -> bool:
    while k < len(words) and (n := lex.find(lex.adjectives, words, k)[0]):
        k += n
    return k < len(words) and bool(lex.find(lex.nouns, words, k)[0])


def _say(said: dict[str, str], attribute: str, value: str) -> None:
    if said.setdefault(attribute, value) != value:
        raise ValueError(f"One thing cannot be both {said[attribute]} and {value}.")


def _complaint(lex: Lexicon, words: list[str], k: int) -> str:
    word = words[k]
    if word.startswith('"'):
        return f"The word {word} stands on nothing; say 'a sign that says {word}'."
    if "sign" in words[k : k + 3]:
        return "A sign needs its word in double quotes: 'a sign that says \"hello\"'."
    for j in range(k, len(words)):
        known = any(lex.find(t, words, j)[0] for t in (lex.phrases, lex.adjectives, lex.nouns, lex.tails))
        articles = ("a", "an", "the", "single", "lone", "pair", "group", "of", "exactly", "that", *NUMBERS)
        if not known and words[j] not in articles:
            return f"The word {words[j]!r} is not known in Toyland."
    return f"The caption cannot be read from {' '.join(words[k : k + 5])!r} on."
