"""The same in other words: synonyms, definitions and misspellings, which pictures' captions never use."""

from __future__ import annotations

import random
import re

from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.phrases import PLURALS, a, plural
from minimagen.toyland.scene import BACKDROPS, COLORS, MATERIALS, PATTERNS, SHAPES, SIZES, Thing

KNOWN = frozenset((*SHAPES, *PLURALS.values(), *COLORS, *SIZES, *MATERIALS, *PATTERNS))

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


def look(rng: random.Random, t: Thing) -> str:
    """A short noun phrase in canonical words: "a small red cube"."""
    words = [getattr(t, k) for k in ("size", "color") if rng.random() < 0.75]
    if t.material != "matte" and rng.random() < 0.4:
        words.append(t.material)
    return a(" ".join([*words, t.shape]))


def defined(rng: random.Random, t: Thing) -> tuple[str, str]:
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


def misspell(text: str, seed: int, edits: int = 1) -> str:
    """The text with one of its longer words misspelled by 1 or 2 edits: a letter lost, added, changed, or two swapped.

    The first letter stays, as it mostly does in human slips. Words in double quotes are not touched.
    """
    if edits not in (1, 2):
        raise ValueError(f"A misspelling has 1 or 2 edits, not {edits}.")
    rng = random.Random(seed)
    spans = [m for m in re.finditer(r'"[^"]*"|[a-z]+', text) if len(m.group()) >= 4 and m.group()[0] != '"']
    if not spans:
        raise ValueError(f"{text!r} has no word of four letters or more to misspell.")
    vocabulary = [m for m in spans if m.group().rstrip("s") in KNOWN or m.group() in KNOWN]
    m = _pick(rng, vocabulary or spans)
    word = m.group()
    while word == m.group() or word in KNOWN:
        word = m.group()
        for _ in range(edits):
            word = _slip(rng, word, swap=edits == 1)  # a swap and another slip could be three edits
    return text[: m.start()] + word + text[m.end() :]


def _slip(rng: random.Random, word: str, swap: bool) -> str:
    k, u = 1 + int(rng.random() * (len(word) - 1)), rng.random()
    if u < 0.25:
        return word[:k] + word[k + 1 :]
    if u < 0.5:
        return word[:k] + word[k] + word[k:]
    if u < 0.75 and swap and k < len(word) - 1:
        return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return word[:k] + chr(97 + int(26 * rng.random())) + word[k + 1 :]


def _pick(rng: random.Random, names):
    return names[int(rng.random() * len(names))]
