"""The text corpus: what our T5 reads before it ever conditions a picture. Text alone, generated, and endless.

`sentences` are plain, for span corruption; `pairs` are T5's text-to-text form, with prefixes that name the task. The
corpus is the only place with synonyms ("crimson"), definitions ("a thing with six square faces") and misspellings.
It may mention any combination of attributes, any relation and any word, those held out of pictures too: what training
must not show are pictures of them. It contains none of the strings in `exclude` (a benchmark's prompts).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator

from minimagen.toyland import camera
from minimagen.toyland.compose import OPPOSITE, SIGN, relations
from minimagen.toyland.filler import filler
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS, random_letters
from minimagen.toyland.language import caption, content, express, misspell
from minimagen.toyland.phrases import NUMBERS, PLURALS, a, plural
from minimagen.toyland.scene import (
    BACKDROPS,
    COLORS,
    FLOORS,
    LIGHTS,
    MATERIALS,
    PATTERNS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
)
from minimagen.toyland.words import WORDS

KINDS = {"shape": SHAPES, "color": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}
NAMES = {"shape": "shape", "color": "colour", "size": "size", "material": "material", "pattern": "pattern"}


def sentences(seed: int, n: int, exclude: Collection[str] = ()) -> Iterator[str]:
    """n plain sentences; the first k of them do not depend on n."""
    forbidden = {normal(e) for e in exclude}
    yield from _stream(seed, n, SENTENCES, lambda text: normal(text) in forbidden)


def pairs(seed: int, n: int, exclude: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """n pairs (input, target), as "question: what colour is the cube? context: a blue cube" and "blue"."""
    forbidden = {normal(e) for e in exclude}

    def bad(pair: tuple[str, str]) -> bool:
        parts = [pair[1], *re.split(r"\w+: ", pair[0])]
        return any(normal(part) in forbidden for part in parts)

    yield from _stream(seed + 1_000_003, n, PAIRS, bad)


def normal(text: str) -> str:
    """A text without what does not matter for being the same: case, spaces at the ends, the final stop."""
    return text.lower().strip(" .")


def _stream(seed: int, n: int, makers: dict[Callable, float], bad: Callable) -> Iterator:
    rng = random.Random(seed)
    names, weights = tuple(makers), tuple(makers.values())
    count = 0
    while count < n:
        made = rng.choices(names, weights)[0](rng)
        if made is not None and not bad(made):
            yield made
            count += 1


def _pick(rng: random.Random, names):
    return names[int(rng.random() * len(names))]


# ---- what is spoken of ----


def _thing(rng: random.Random, **where: float) -> Thing:
    pattern = "plain" if rng.random() < 0.4 else _pick(rng, PATTERNS[1:])
    look = _pick(rng, SHAPES), _pick(rng, COLORS), _pick(rng, SIZES), _pick(rng, MATERIALS), pattern
    return Thing(*look, **where)


def situation(rng: random.Random) -> Scene:
    """A scene to speak of. It is never drawn, so its things need only stand in clear relations, not in the picture."""
    setting = {"backdrop": _pick(rng, BACKDROPS), "floor": _pick(rng, FLOORS), "light": _pick(rng, LIGHTS)}
    setting["seed"] = int(rng.random() * 2**40)
    u = rng.random()
    if u < 0.28:
        return Scene((_thing(rng),), **setting)
    if u < 0.40:
        return Scene((_thing(rng),) * (2 + int(4 * rng.random())), **setting)
    if u < 0.52:
        word = random_letters(rng, "all") if rng.random() < 0.3 else _pick(rng, WORDS)
        x = _pick(rng, (-6.0, 0.0, 6.0))
        things = (_thing(rng, x=x, z=-2.0 if x == 0 else 0.0),) if rng.random() < 0.6 else ()
        return Scene(things, word=word, **setting)
    things = (_thing(rng), _thing(rng)) if u < 0.9 else (_thing(rng), _thing(rng), _thing(rng))
    if len({(t.shape, t.color) for t in things}) < len(things):
        return situation(rng)
    if len(things) == 3:
        places = [(-2.0, 0.0), (0.0, 0.0), (2.0, 0.0)] if u < 0.96 else [(-1.0, 1.5), (1.5, 1.0), (-1.0, -1.5)]
        rng.shuffle(places)
    else:
        places = _pick(rng, ([(-1.5, 0.0), (1.5, 0.0)], [(0.0, -1.5), (0.0, 1.5)], [(0.0, 0.0), (0.0, 0.0)]))
        if rng.random() < 0.5:
            places = places[::-1]
    moved = [Thing(*t.look, x=x, z=z) for t, (x, z) in zip(things, places)]
    if len({(t.x, t.z) for t in moved}) < len(moved):  # a stack
        if moved[1].shape not in ("cube", "cylinder"):
            return situation(rng)
        moved[0] = Thing(*moved[0].look, y=camera.height(moved[1].shape, moved[1].size))
    return Scene(tuple(moved), **setting)


def _caption(rng: random.Random) -> str:
    scene = situation(rng)
    return express(rng, scene, content(rng, scene))


def _twice(rng: random.Random, scene: Scene) -> tuple[str, str]:
    """The same content in two forms."""
    told = content(rng, scene)
    return express(rng, scene, told), express(rng, scene, told)


# ---- synonyms ----

_WORD = {w: w for w in SYNONYMS}
_WORD |= {PLURALS[s]: s for s in SHAPES}
_PHRASE = re.compile(r'"[^"]*"|\b(?:on top of|(?:to the |on the )?(?:left|right) of|in front of)\b|[\w-]+')


def reword(rng: random.Random, text: str, rate: float = 1.0) -> str:
    """The text with its vocabulary's words exchanged for synonyms, each with probability `rate`; quoted words stay."""

    def exchange(match: re.Match[str]) -> str:
        word = match.group()
        key = "left of" if word.endswith("left of") else "right of" if word.endswith("right of") else _WORD.get(word)
        key = "behind" if word == "behind" else key
        after = text[match.end() : match.end() + 3]
        if key is None or word[0] == '"' or rng.random() >= rate or (key == "behind" and after == " it"):
            return word
        if key == "in front of" and after == " it":
            return word
        new = _pick(rng, SYNONYMS[key])
        return plural(new) if word in PLURALS.values() else new

    kept = {s: f"@{k}@" for k, s in enumerate(_KEPT) if s in text}
    for phrase, mark in kept.items():
        text = text.replace(phrase, mark)
    text = _PHRASE.sub(exchange, text)
    for phrase, mark in kept.items():
        text = text.replace(mark, phrase)
    return articles(text)


# names of settings hold words that are no attributes here
_KEPT = (*BACKDROPS, "light from", "on top,", "with checks", "made of glass", "made of metal")


def articles(text: str) -> str:
    """ "a" and "an" put right before the word that follows them."""
    return re.sub(r"\b(an?) (?=([a-z]+))", lambda m: "an " if _vowel(m.group(2)) else "a ", text)


def _vowel(word: str) -> bool:
    return word[0] in "aeio" and word != "one" or word.startswith("un") and not word.startswith(("uni", "use"))


def _look(rng: random.Random, t: Thing) -> str:
    """A short noun phrase in canonical words: "a small red cube"."""
    words = [getattr(t, k) for k in ("size", "color") if rng.random() < 0.75]
    if t.material != "matte" and rng.random() < 0.4:
        words.append(t.material)
    return a(" ".join([*words, t.shape]))


def _defined(rng: random.Random, t: Thing) -> tuple[str, str]:
    """(a definition, what it means): "a thing with six square faces, the colour of blood", "a red cube"."""
    size = rng.random() < 0.4
    head = a(f"{t.size} thing") if size else "a thing"
    mean = [t.size] if size else []
    text = f"{head} {_pick(rng, DEFINITIONS[t.shape])}"
    u = rng.random()
    if u < 0.4:
        text, mean = text.replace("thing", f"{t.color} thing", 1), [*mean, t.color]
    elif u < 0.8:
        text, mean = f"{text}, the colour of {_pick(rng, DEFINITIONS[t.color])}", [*mean, t.color]
    return articles(text), a(" ".join([*mean, t.shape]))


# ---- sentences ----


def _plain_caption(rng: random.Random) -> str:
    return _caption(rng)


def _synonym_caption(rng: random.Random) -> str:
    return reword(rng, _caption(rng), _pick(rng, (0.4, 0.7, 1.0)))


def _same_thing(rng: random.Random) -> str:
    text = _look(rng, _thing(rng))
    other = reword(rng, text)
    first, second = (text, other) if rng.random() < 0.5 else (other, text)
    return _pick(rng, ("{} is {}", "{}, in other words {}", "{}, that is to say {}", "{} and {} are the same thing",
                       "if you see {}, you see {}", "we call {} also {}", "{} means {}")).format(first, second)  # fmt: skip


def _definition(rng: random.Random) -> str:
    u = rng.random()
    if u < 0.3:
        text, mean = _defined(rng, _thing(rng))
        first, second = (text, mean) if rng.random() < 0.5 else (mean, text)
        return _pick(rng, ("{} is {}", "we see {}, which is {}", "{} means {}", "{}: this is {}")).format(first, second)
    key = _pick(rng, tuple(SYNONYMS))
    word = _pick(rng, SYNONYMS[key])
    if key in SHAPES:
        text = _pick(rng, DEFINITIONS[key])
        options = (f"{a(key)} is a thing {text}", f"{a(word)} is {a(key)}", f"{a(word)} is a thing {text}",
                   f"another word for {key} is {word}", f"every {word} is {a(key)}", f"{plural(word)} and {plural(key)} are alike")  # fmt: skip
    elif key in COLORS:
        thing = _pick(rng, DEFINITIONS[key])
        verb = "is" if thing in ("blood", "grass", "snow", "coal", "midnight", "the sun", "fresh milk", "bubble gum",
                                 "a clear sky", "the deep sea", "a shallow lagoon") else "are"  # fmt: skip
        options = (f"{word} is a kind of {key}", f"what is {word} is {key}", f"{thing} {verb} {key}",
                   f"{key} is the colour of {thing}", f"{thing} {verb} {word}", f"{word} is {key}, like {thing}")  # fmt: skip
    elif key in RELATIONS:
        options = (f"{word} means the same as {key}", f"what is {word} a thing is {key} it")
    else:
        shape = _pick(rng, SHAPES)
        options = (f"{word} means {key}", f"{a(word)} {shape} is {a(key)} {shape}", f"what is {word} is {key}",
                   f"if a {shape} is {word}, it is {key}", f"another word for {key} is {word}")  # fmt: skip
    return articles(_pick(rng, options))


def _inverse(rng: random.Random) -> str:
    r = _pick(rng, tuple(OPPOSITE))
    x, y = _look(rng, _thing(rng)), _look(rng, _thing(rng))
    s = OPPOSITE[r]
    text = _pick(rng, ("{x} is {r} {y}, so {y} is {s} {x}", "if {x} is {r} {y}, then {y} is {s} {x}",
                       "{x} {r} {y} is the same as {y} {s} {x}", "{x} is {r} {y}. it is not {s} {y}"))  # fmt: skip
    text = text.format(x=x, y=y, r=r, s=s)
    if rng.random() < 0.25:
        text = f"{x} is on top of {y}, so {y} is under {x}"
    return reword(rng, text, 0.5) if rng.random() < 0.3 else text


def _negation(rng: random.Random) -> str:
    kind = _pick(rng, tuple(KINDS))
    value, other = rng.sample(KINDS[kind], 2)
    t = _thing(rng)
    if kind == "shape":
        options = (f"this is not {a(value)} but {a(other)}", f"{a(value)} is no {other}", f"not {a(value)}: {a(other)}",
                   f"there is {a(other)} and no {value}")  # fmt: skip
    else:
        x = t.shape
        options = (f"the {x} is not {value} but {other}", f"{a(f'{value} {x}')} is not {other}",
                   f"the {x} is {value}, not {other}", f"it is no {value} {x}, it is {a(f'{other} {x}')}",
                   f"there is no {value} {x} here, only {a(f'{other} {x}')}")  # fmt: skip
    text = _pick(rng, options)
    return reword(rng, text, 0.5) if rng.random() < 0.3 else articles(text)


def _word(rng: random.Random) -> str:
    return (random_letters(rng, "all") if rng.random() < 0.35 else _pick(rng, WORDS)).lower()


def _spelling(rng: random.Random) -> str:
    word = _word(rng)
    letters = " ".join(word)
    return _pick(rng, ('"{w}" is spelled {l}', 'the letters of "{w}" are {l}', "{l} spells \"{w}\"",
                       'the sign says "{w}", letter by letter {l}', '"{w}" begins with {f} and ends with {e}',
                       'the word "{w}" has {n}', 'write "{w}": {l}')).format(
        w=word, l=letters, f=word[0], e=word[-1], n=_letters(len(word)))  # fmt: skip


def _letters(n: int) -> str:
    return "one letter" if n == 1 else f"{(*NUMBERS, 'six')[n - 1]} letters"


def _counting(rng: random.Random) -> str:
    n, t = 1 + int(5 * rng.random()), _thing(rng)
    m = 1 + int(5 * rng.random())
    noun, color = PLURALS[t.shape], t.color
    options = [f"{NUMBERS[n - 1]} {color} {noun if n > 1 else t.shape}: " + ", ".join(NUMBERS[:n])]
    if n < 5:
        options += [f"{NUMBERS[n - 1]} {noun if n > 1 else t.shape} and one more make {NUMBERS[n]}",
                    f"after {NUMBERS[n - 1]} comes {NUMBERS[n]}", f"{n + 1} is one more than {n}"]  # fmt: skip
    if n != m:
        options += [f"{NUMBERS[max(n, m) - 1]} {noun} are more than {NUMBERS[min(n, m) - 1]}"]
    options += [f"{n} is written {NUMBERS[n - 1]}", f"we count {n}, that is {NUMBERS[n - 1]}"]
    return _pick(rng, options)


def _order(rng: random.Random) -> str:
    x, y, z = (_look(rng, _thing(rng)) for _ in range(3))
    return _pick(rng, ("from left to right: {x}, {y} and {z}. {y} is in the middle", "first comes {x}, then {y}, last {z}",
                       "{y} is between {x} and {z}", "from right to left: {z}, {y} and {x}. {x} is on the left",
                       "{x} is left of {y}, and {y} is left of {z}, so {x} is left of {z}")).format(x=x, y=y, z=z)  # fmt: skip


def _colours(rng: random.Random) -> str:
    """Who has which attribute: the binding of adjectives to their nouns, said twice."""
    s, t = _thing(rng), _thing(rng)
    if s.shape == t.shape or s.color == t.color:
        return _counting(rng)
    text = _pick(rng, ("{x} and {y}. the {s} is {c} and the {t} is {d}", "{x} and {y}: {c} is the {s}, {d} is the {t}",
                       "the {s} is {c}, the {t} is {d}, so we see {x} and {y}"))  # fmt: skip
    text = text.format(
        x=a(f"{s.color} {s.shape}"), y=a(f"{t.color} {t.shape}"), s=s.shape, t=t.shape, c=s.color, d=t.color
    )
    return reword(rng, text, 0.6) if rng.random() < 0.3 else text


def _in_other_words(rng: random.Random) -> str:
    first, second = (text.rstrip(".") for text in _twice(rng, situation(rng)))
    if rng.random() < 0.6:
        second = reword(rng, second)
    if rng.random() < 0.5:
        first, second = second, first
    return _pick(rng, ("{}. in other words, {}", "{}, or: {}", "{} = {}", "{}. one could also say: {}")).format(
        first, second
    )


def _typo(rng: random.Random) -> str:
    return misspell(_caption(rng), rng.getrandbits(32), edits=1 + (rng.random() < 0.3))


SENTENCES: dict[Callable[[random.Random], str], float] = {
    _plain_caption: 0.26,
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


# ---- pairs ----

Pair = tuple[str, str]


def _paraphrase(rng: random.Random) -> Pair:
    one, two = _twice(rng, situation(rng))
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
        text, mean = _defined(rng, _thing(rng))
        return f"say it plainly: {text}", mean
    text = _look(rng, _thing(rng)) if u < 0.65 else _caption(rng)
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
    told = [(i, r, j) for i, r, j in relations(scene) if r in context or (row and r in ("left of", "right of"))]
    if told and u < 0.4:
        i, r, j = _pick(rng, told)
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
    kind = _pick(rng, ("color", "color", "size", "material", "pattern", "shape"))
    value = getattr(things[i], kind)
    if value not in context or sum(getattr(t, kind) == value for t in things) > 1:
        return None
    if kind == "shape":
        if sum(t.color == things[i].color for t in things) > 1 or things[i].color not in context:
            return None
        return f"what is {things[i].color}?", f"the {value}"
    if rng.random() < 0.3:
        truth = rng.random() < 0.5
        asked = value if truth else _pick(rng, [v for v in KINDS[kind] if v != value])
        return f"is {_name(scene, i)} {asked}?", "yes" if truth else "no"
    ask = {"color": "what colour is {}?", "size": "how large is {}?", "material": "what is {} made like?",
           "pattern": "what pattern has {}?"}[kind]  # fmt: skip
    return ask.format(_name(scene, i)), value


def _true_or_false(rng: random.Random) -> Pair | None:
    """A statement about the context that is true, or has one word exchanged."""
    scene = situation(rng)
    one, two = (text.rstrip(".") for text in _twice(rng, scene))
    if rng.random() < 0.5:
        return f"true or false: {two}. context: {one}", "true"
    if len({t.look for t in scene.things}) != 1:
        return None
    t = scene.things[0]
    kind = _pick(rng, ("color", "color", "size", "shape"))
    value = getattr(t, kind)
    if value not in one or value not in two:
        return None
    other = _pick(rng, [v for v in KINDS[kind] if v != value])
    return f"true or false: {articles(re.sub(rf'{value}(?=s?)', other, two))}. context: {one}", "false"


def _spell(rng: random.Random) -> Pair:
    word = _word(rng)
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
    key = _pick(rng, (*SHAPES, *COLORS))
    text = _pick(rng, DEFINITIONS[key])
    if key in SHAPES:
        return (f"define: {_pick(rng, (key, *SYNONYMS[key]))}", f"a thing {text}") if rng.random() < 0.5 else (
            f"name: a thing {text}", key)  # fmt: skip
    return f"name: the colour of {text}", key


def _meaning(rng: random.Random) -> Pair:
    key = _pick(rng, tuple(SYNONYMS))
    return f"meaning: {_pick(rng, SYNONYMS[key])}", key


def _correct(rng: random.Random) -> Pair:
    text = _caption(rng)
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
