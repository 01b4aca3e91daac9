"""Does a picture show what its caption says? A reading against a description, question by question, exact.

score(judge(picture)[0], parse(caption)).right
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from minimagen.toyland.compose import SIGN, relations
from minimagen.toyland.judge import Reading, ReadThing
from minimagen.toyland.parsing import Description, ThingDescription
from minimagen.toyland.scene import MAX_THINGS, Thing

ATTRIBUTES = ("shape", "color", "size", "material", "pattern")
SETTING = ("backdrop", "floor", "light")
KINDS = ("count", "sign", *ATTRIBUTES, "relation", "word", *SETTING)
MARGIN = 0.7  # of `relations`: captions state what holds at 1; a picture that leaves no doubt, but less room, is right


@dataclass(frozen=True)
class Question:
    """One thing that the caption says, and whether the picture shows it;

    None where the picture is too small to tell.
    """

    kind: str
    asked: str
    seen: str
    right: bool | None


@dataclass(frozen=True)
class Score:
    """All questions about one picture. right: every one of them; an unreadable picture has none right."""

    questions: tuple[Question, ...]
    readable: bool

    @property
    def right(self) -> bool:
        return self.readable and all(q.right is not False for q in self.questions)

    @property
    def accuracy(self) -> float:
        """The part of the questions that is right, of those that could be asked."""
        asked = [q.right for q in self.questions if q.right is not None]
        return sum(asked) / len(asked) if asked else float(self.readable)

    def of(self, kind: str) -> bool | None:
        """Are all questions of this kind right? None where there is none."""
        answers = [q.right for q in self.questions if q.kind == kind and q.right is not None]
        return all(answers) if answers else None

    @property
    def wrong(self) -> str:
        """What is wrong, for people: "color: red, seen blue"; empty if nothing is."""
        if not self.readable:
            return "unreadable"
        return "; ".join(f"{q.kind}: {q.asked}, seen {q.seen}" for q in self.questions if q.right is False)


@dataclass(frozen=True)
class _Seen:
    """What `relations` needs of a scene; unlike a Scene, it may hold more than the world allows."""

    things: tuple[Thing, ...]
    word: str | None
    sign: tuple[float, float]


def seen_relations(reading: Reading, margin: float = MARGIN) -> set[tuple[int, str, int]]:
    """(i, relation, j) over the things that were read, with SIGN for the sign."""
    seen = _Seen(tuple(t.to_thing() for t in reading.things), reading.word, reading.sign)
    return set(relations(seen, margin))  # type: ignore[arg-type]


def score(reading: Reading, description: Description, margin: float = MARGIN) -> Score:
    """Every question that the description allows, answered by the reading.

    count: as many things as said, no more and no fewer. sign: one if a word was said, else none. Then each attribute of
    each thing, where described things belong to read ones so that the fewest are wrong, and among those so that most
    relations hold.
    """
    slots = [i for i, t in enumerate(description.things) for _ in range(t.count)]
    wanted = [description.things[i] for i in slots]
    holds = seen_relations(reading, margin) if description.relations else set()
    found = _best(wanted, slots, reading.things, description, holds)
    questions = [
        _question("count", description.count, len(reading.things)),
        _question("sign", _presence(description.word), _presence(reading.word)),
    ]
    for thing, at in zip(wanted, found):
        there = None if at is None else reading.things[at]
        for kind in ATTRIBUTES:
            if (asked := getattr(thing, kind)) is not None:
                seen = "nothing" if there is None else getattr(there, kind)
                hidden = kind == "pattern" and not reading.patterned
                questions.append(Question(kind, asked, str(seen), None if hidden else seen == asked))
    place = {SIGN: SIGN, **{i: at for i, at in zip(slots, found) if at is not None}}
    for i, relation, j in description.relations:
        ends = (place.get(i), place.get(j))
        now = " or ".join(r for a, r, b in sorted(holds) if (a, b) == ends) or "unrelated"
        right = (ends[0], relation, ends[1]) in holds
        questions.append(Question("relation", relation, relation if right else now, right))
    if description.word is not None:
        questions.append(_question("word", description.word, reading.word))
    for kind in SETTING:
        if (asked := getattr(description, kind)) is not None:
            questions.append(_question(kind, asked, getattr(reading, kind)))
    if not reading.readable:
        questions = [replace(q, seen="unreadable", right=None if q.right is None else False) for q in questions]
    return Score(tuple(questions), reading.readable)


def _question(kind: str, asked: object, seen: object) -> Question:
    return Question(kind, str(asked), str(seen), asked == seen)


def _presence(word: str | None) -> str:
    return "no sign" if word is None else "a sign"


def _faults(wanted: ThingDescription, seen: ReadThing) -> int:
    """How many of the said attributes this thing lacks; what cannot be seen is no fault."""
    return sum(
        getattr(wanted, k) is not None and getattr(seen, k) not in (None, getattr(wanted, k)) for k in ATTRIBUTES
    )


def _best(
    wanted: Sequence[ThingDescription],
    slots: Sequence[int],
    things: Sequence[ReadThing],
    description: Description,
    holds: set[tuple[int, str, int]],
) -> list[int | None]:
    """For each described thing its read one: fewest faults, then most relations, then the first in order;

    exact, by branch and bound.
    """
    cost = [[_faults(w, t) for t in things] for w in wanted]
    missed = [sum(getattr(w, k) is not None for k in ATTRIBUTES) for w in wanted]
    least = [min([*row, m]) for row, m in zip(cost, missed)]  # what each one costs at the very least
    ahead = [sum(least[k:]) for k in range(len(wanted) + 1)]
    best: tuple[tuple[int, int], list[int | None]] = ((1 << 30, 0), [])

    def go(k: int, faults: int, chosen: list[int | None]) -> None:
        nonlocal best
        if faults + ahead[k] > best[0][0] or (not description.relations and faults + ahead[k] == best[0][0]):
            return
        if k == len(wanted):
            place = {SIGN: SIGN, **dict(zip(slots, chosen))}
            held = sum((place[i], r, place[j]) in holds for i, r, j in description.relations)
            if (faults, -held) < best[0]:
                best = (faults, -held), list(chosen)
            return
        for at in sorted((at for at in range(len(things)) if at not in chosen), key=lambda at: cost[k][at]):
            go(k + 1, faults + cost[k][at], [*chosen, at])
        go(k + 1, faults + missed[k], [*chosen, None])

    go(0, 0, [])
    return best[1]


def alignment(readings: Sequence[Reading], descriptions: Sequence[Description]) -> float:
    """The part of the pictures that show everything said of them."""
    scores = [score(r, d) for r, d in zip(readings, descriptions, strict=True)]
    if not scores:
        raise ValueError("There are no pictures to score.")
    return sum(s.right for s in scores) / len(scores)


def legal(reading: Reading, sure: float = 0.5) -> bool:
    """Could this world look so? Read surely, not empty, at most five things, none afloat, and letters on the sign if

    there is one.
    """
    if not reading.readable or len(reading.things) > MAX_THINGS or reading.word == "":
        return False
    stacked = {i for i, r, _ in seen_relations(reading) if r == "on top of"}
    afloat = any(t.raised and i not in stacked for i, t in enumerate(reading.things))
    return not afloat and all(t.confidence >= sure for t in reading.things)
