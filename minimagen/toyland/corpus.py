"""The text corpus: what our T5 reads before it ever conditions a picture. Text alone, generated, and endless.

`sentences` are plain, for span corruption; `pairs` are T5's text-to-text form, with prefixes that name the task. The
corpus is the only place with synonyms ("crimson"), definitions ("a thing with six square faces") and misspellings.
It may mention any combination of attributes, any relation and any word, those held out of pictures too: what training
must not show are pictures of them. The strings in `exclude` (a benchmark's prompts) do not occur, neither alone nor as
a clause of their own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator

from minimagen.toyland.compose import OPPOSITE
from minimagen.toyland.filler import filler
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.phrases import NUMBERS, PLURALS, a, plural
from minimagen.toyland.rewording import articles, defined, look, misspell, reword
from minimagen.toyland.scene import COLORS, RELATIONS, SHAPES
from minimagen.toyland.situations import ATTRIBUTES, pick, random_thing, random_word, situation, some_caption, twice
from minimagen.toyland.tasks import PAIRS


def sentences(seed: int, n: int, exclude: Collection[str] = ()) -> Iterator[str]:
    """n plain sentences; the first k of them do not depend on n."""
    forbidden = {normal(e) for e in exclude}
    yield from _stream(seed, n, SENTENCES, lambda text: not forbidden.isdisjoint(clauses(text)))


def pairs(seed: int, n: int, exclude: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """n pairs (input, target), as "question: what colour is the cube? context: a blue cube" and "blue"."""
    forbidden = {normal(e) for e in exclude}
    yield from _stream(
        seed + 1_000_003, n, PAIRS, lambda pair: any(not forbidden.isdisjoint(clauses(text)) for text in pair)
    )


def normal(text: str) -> str:
    """A text without what does not matter for being the same: case, spaces at the ends, the final stop."""
    return text.lower().strip(" .")


def clauses(text: str) -> set[str]:
    """The text, and whatever in it stands as a text of its own, in normal form."""
    parts = _BREAK.split(text)
    return {normal(text), *map(normal, parts)}


_BREAK = re.compile(r"[.:?] | = |, in other words |, that is to say |in other words, | is (?=an? )| means ")


def _stream(seed: int, n: int, makers: dict[Callable, float], bad: Callable) -> Iterator:
    rng = random.Random(seed)
    names, weights = tuple(makers), tuple(makers.values())
    count = 0
    while count < n:
        made = rng.choices(names, weights)[0](rng)
        if made is not None and not bad(made):
            yield made
            count += 1


def _synonym_caption(rng: random.Random) -> str:
    return reword(rng, some_caption(rng), pick(rng, (0.4, 0.7, 1.0)))


def _same_thing(rng: random.Random) -> str:
    text = look(rng, random_thing(rng))
    other = reword(rng, text)
    first, second = (text, other) if rng.random() < 0.5 else (other, text)
    return pick(
        rng,
        (
            "{} is {}",
            "{}, in other words {}",
            "{}, that is to say {}",
            "{} and {} are the same thing",
            "if you see {}, you see {}",
            "we call {} also {}",
            "{} means {}",
        ),
    ).format(first, second)


def _definition(rng: random.Random) -> str:
    u = rng.random()
    if u < 0.3:
        text, mean = defined(rng, random_thing(rng))
        first, second = (text, mean) if rng.random() < 0.5 else (mean, text)
        return pick(rng, ("{} is {}", "we see {}, which is {}", "{} means {}", "{}: this is {}")).format(first, second)
    key = pick(rng, tuple(SYNONYMS))
    word = pick(rng, SYNONYMS[key])
    options: tuple[str, ...]
    if key in SHAPES:
        text = pick(rng, DEFINITIONS[key])
        options = (
            f"{a(key)} is a thing {text}",
            f"{a(word)} is {a(key)}",
            f"{a(word)} is a thing {text}",
            f"another word for {key} is {word}",
            f"every {word} is {a(key)}",
            f"{plural(word)} and {plural(key)} are alike",
        )
    elif key in COLORS:
        thing = pick(rng, DEFINITIONS[key])
        verb = (
            "is"
            if thing
            in (
                "blood",
                "grass",
                "snow",
                "coal",
                "midnight",
                "the sun",
                "fresh milk",
                "bubble gum",
                "a clear sky",
                "the deep sea",
                "a shallow lagoon",
            )
            else "are"
        )
        options = (
            f"{word} is a kind of {key}",
            f"what is {word} is {key}",
            f"{thing} {verb} {key}",
            f"{key} is the colour of {thing}",
            f"{thing} {verb} {word}",
            f"{word} is {key}, like {thing}",
        )
    elif key in RELATIONS:
        options = (f"{word} means the same as {key}", f"what is {word} a thing is {key} it")
    else:
        shape = pick(rng, SHAPES)
        options = (
            f"{word} means {key}",
            f"{a(word)} {shape} is {a(key)} {shape}",
            f"what is {word} is {key}",
            f"if a {shape} is {word}, it is {key}",
            f"another word for {key} is {word}",
        )
    return articles(pick(rng, options))


def _inverse(rng: random.Random) -> str:
    r = pick(rng, tuple(OPPOSITE))
    x, y = look(rng, random_thing(rng)), look(rng, random_thing(rng))
    s = OPPOSITE[r]
    text = pick(
        rng,
        (
            "{x} is {r} {y}, so {y} is {s} {x}",
            "if {x} is {r} {y}, then {y} is {s} {x}",
            "{x} {r} {y} is the same as {y} {s} {x}",
            "{x} is {r} {y}. it is not {s} {y}",
        ),
    )
    text = text.format(x=x, y=y, r=r, s=s)
    if rng.random() < 0.25:
        text = f"{x} is on top of {y}, so {y} is under {x}"
    return reword(rng, text, 0.5) if rng.random() < 0.3 else text


def _negation(rng: random.Random) -> str:
    kind = pick(rng, tuple(ATTRIBUTES))
    value, other = rng.sample(ATTRIBUTES[kind], 2)
    t = random_thing(rng)
    options: tuple[str, ...]
    if kind == "shape":
        options = (
            f"this is not {a(value)} but {a(other)}",
            f"{a(value)} is no {other}",
            f"not {a(value)}: {a(other)}",
            f"there is {a(other)} and no {value}",
        )
    else:
        x = t.shape
        options = (
            f"the {x} is not {value} but {other}",
            f"{a(f'{value} {x}')} is not {other}",
            f"the {x} is {value}, not {other}",
            f"it is no {value} {x}, it is {a(f'{other} {x}')}",
            f"there is no {value} {x} here, only {a(f'{other} {x}')}",
        )
    text = pick(rng, options)
    return reword(rng, text, 0.5) if rng.random() < 0.3 else articles(text)


def _spelling(rng: random.Random) -> str:
    word = random_word(rng)
    letters = " ".join(word)
    return pick(
        rng,
        (
            '"{w}" is spelled {l}',
            'the letters of "{w}" are {l}',
            '{l} spells "{w}"',
            'the sign says "{w}", letter by letter {l}',
            '"{w}" begins with {f} and ends with {e}',
            'the word "{w}" has {n}',
            'write "{w}": {l}',
        ),
    ).format(w=word, l=letters, f=word[0], e=word[-1], n=_letters(len(word)))


def _letters(n: int) -> str:
    return "one letter" if n == 1 else f"{(*NUMBERS, 'six')[n - 1]} letters"


def _counting(rng: random.Random) -> str:
    n, t = 1 + int(5 * rng.random()), random_thing(rng)
    m = 1 + int(5 * rng.random())
    noun, color = PLURALS[t.shape], t.color
    options = [f"{NUMBERS[n - 1]} {color} {noun if n > 1 else t.shape}: " + ", ".join(NUMBERS[:n])]
    if n < 5:
        options += [
            f"{NUMBERS[n - 1]} {noun if n > 1 else t.shape} and one more make {NUMBERS[n]}",
            f"after {NUMBERS[n - 1]} comes {NUMBERS[n]}",
            f"{n + 1} is one more than {n}",
        ]
    if n != m:
        options += [f"{NUMBERS[max(n, m) - 1]} {noun} are more than {NUMBERS[min(n, m) - 1]}"]
    options += [f"{n} is written {NUMBERS[n - 1]}", f"we count {n}, that is {NUMBERS[n - 1]}"]
    return pick(rng, options)


def _order(rng: random.Random) -> str:
    x, y, z = (look(rng, random_thing(rng)) for _ in range(3))
    return pick(
        rng,
        (
            "from left to right: {x}, {y} and {z}. {y} is in the middle",
            "first comes {x}, then {y}, last {z}",
            "{y} is between {x} and {z}",
            "from right to left: {z}, {y} and {x}. {x} is on the left",
            "{x} is left of {y}, and {y} is left of {z}, so {x} is left of {z}",
        ),
    ).format(x=x, y=y, z=z)


def _colours(rng: random.Random) -> str:
    """Who has which attribute: the binding of adjectives to their nouns, said twice."""
    s, t = random_thing(rng), random_thing(rng)
    if s.shape == t.shape or s.color == t.color:
        return _counting(rng)
    text = pick(
        rng,
        (
            "{x} and {y}. the {s} is {c} and the {t} is {d}",
            "{x} and {y}: {c} is the {s}, {d} is the {t}",
            "the {s} is {c}, the {t} is {d}, so we see {x} and {y}",
        ),
    )
    text = text.format(
        x=a(f"{s.color} {s.shape}"), y=a(f"{t.color} {t.shape}"), s=s.shape, t=t.shape, c=s.color, d=t.color
    )
    return reword(rng, text, 0.6) if rng.random() < 0.3 else text


def _in_other_words(rng: random.Random) -> str:
    first, second = (text.rstrip(".") for text in twice(rng, situation(rng)))
    if rng.random() < 0.6:
        second = reword(rng, second)
    if rng.random() < 0.5:
        first, second = second, first
    return pick(rng, ("{}. in other words, {}", "{}, or: {}", "{} = {}", "{}. one could also say: {}")).format(
        first, second
    )


def _typo(rng: random.Random) -> str:
    return misspell(some_caption(rng), rng.getrandbits(32), edits=1 + (rng.random() < 0.3))


SENTENCES: dict[Callable[[random.Random], str], float] = {
    some_caption: 0.26,
    _synonym_caption: 0.18,
    _same_thing: 0.09,
    _in_other_words: 0.09,
    _definition: 0.06,
    _inverse: 0.05,
    _negation: 0.04,
    _spelling: 0.05,
    _counting: 0.02,
    _order: 0.03,
    _colours: 0.03,
    _typo: 0.02,
    filler: 0.08,
}
