"""Every phrase that a caption may hold, and what it stands for: the tables that reading looks things up in."""

from __future__ import annotations

import re
from functools import cache

from minimagen.toyland import phrases as ph
from minimagen.toyland.description import ATTRIBUTES
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.scene import RELATIONS, SHAPES

ADJECTIVES = ("color", "size", "material", "pattern")
Table = dict[str, list[tuple[tuple[str, ...], tuple]]]  # first word → (words, symbol), longest first


class Lexicon:
    """Phrases → symbols. A phrase is a tuple of words; `"` stands for a quoted word."""

    def __init__(self) -> None:
        self.phrases: Table = {}
        self.adjectives: Table = {}
        self.nouns: Table = {}
        self.tails: Table = {}

    @staticmethod
    def add(table: Table, phrase: str, *symbol) -> None:
        words = tuple(split_words(phrase.replace('"{}"', '"')))
        entries = table.setdefault(words[0], [])
        entries.append((words, symbol))
        entries.sort(key=lambda e: -len(e[0]))

    @staticmethod
    def find(table: Table, words: list[str], k: int) -> tuple[int, tuple]:
        """(how many words, symbol) of the longest entry at place k; (0, ()) if there is none."""
        for phrase, symbol in table.get('"' if words[k][0] == '"' else words[k], ()):
            here = ['"' if w[0] == '"' else w for w in words[k : k + len(phrase)]]
            if here == list(phrase):
                return len(phrase), symbol
        return 0, ()


def split_words(text: str) -> list[str]:
    return re.findall(r'"[^"]*"|"|[\w\'’-]+|[.,:;?!]', text.lower().replace("“", '"').replace("”", '"'))


@cache
def lexicon(synonyms: bool) -> Lexicon:
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
