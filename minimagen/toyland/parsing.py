"""Captions read back: words → what was said, and whether a scene shows it.

Reading goes in three steps: phrases (a setting, a relation, a frame, the sign) are found in one table, longest first;
what is between them must be noun phrases; and the order of the two kinds in a clause says what stands where.
"""

from __future__ import annotations

from collections.abc import Iterator

from minimagen.toyland import phrases as ph
from minimagen.toyland.compose import SIGN, Relation
from minimagen.toyland.description import ATTRIBUTES as ATTRIBUTES
from minimagen.toyland.description import Description as Description
from minimagen.toyland.description import ThingDescription as ThingDescription
from minimagen.toyland.description import matches as matches
from minimagen.toyland.lexicon import Lexicon, lexicon, split_words
from minimagen.toyland.scene import MAX_THINGS, check_word

NUMBERS = {**{w: k for k, w in enumerate((*ph.NUMBERS, "six", "seven", "eight", "nine", "ten"), 1)}}
NUMBERS |= {str(k): k for k in range(1, 11)}


def parse(caption: str, synonyms: bool = False) -> Description:
    """What the caption says. With synonyms, it also reads the words and definitions that only the text corpus uses."""
    symbols = list(_symbols(caption, lexicon(synonyms)))
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
        if "thing" not in kinds:
            raise ValueError("It is not clear what stands on which side.")
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


def _symbols(caption: str, lex: Lexicon) -> Iterator[tuple]:
    words, k = split_words(caption), 0
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
