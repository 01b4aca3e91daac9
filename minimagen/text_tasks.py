"""What a small T5 is trained on: the two kinds of exercise, text → text, and batches of them.

span corruption    a red <extra_id_0> left of a <extra_id_1> cone → <extra_id_0> cube <extra_id_1> small blue
text-to-text       pairs of the corpus: a sentence or a word with a prefix that names the task, and its answer
"""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .tokenizer import SENTINELS

POOL = 4096  # examples that are drawn together and sorted by length, so that batches need little padding


class Corpus(Protocol):
    """Text to learn from, the same for the same seed: sentences, and (question, answer) pairs."""

    def sentences(self, seed: int, n: int) -> Iterable[str]: ...
    def pairs(self, seed: int, n: int) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True)
class Tasks:
    """How much of what."""

    batch: int = 3072  # tokens read and written in a step, padding included
    spans: float = 0.35  # part of the examples that are span corruption; the others are pairs
    letters: float = 0.1  # part of the examples that ask for a letter by its place; a corpus has few such questions
    noise: float = 0.2  # part of a sentence's tokens that span corruption takes out
    span: float = 2.0  # mean length of a span
    spelled: float = 0.03  # part of the words that are read letter by letter, so that letters get a word's meaning


def corrupt(ids: Sequence[int], sentinels: Sequence[int], rng: random.Random, noise: float, span: float):
    """(input, target) of span corruption: spans of ids give way to sentinels, and the target says what they held.

    noise·len(ids) ids are taken out, in spans of `span` ids on average; at least one is taken, and one is left.
    """
    n = len(ids)
    if n < 2:
        return list(ids), [sentinels[0]]
    gone = min(max(round(noise * n), 1), n - 1)
    count = min(max(round(gone / span), 1), n - gone, len(sentinels))
    lengths = _parts(gone, count, rng)
    gaps = _parts(n - gone + 2, count + 1, rng)  # what is kept before, between and after the spans;
    gaps[0], gaps[-1] = gaps[0] - 1, gaps[-1] - 1  # before and after them there may be nothing
    source, target, at = list(ids[: gaps[0]]), [], gaps[0]
    for sentinel, length, gap in zip(sentinels, lengths, gaps[1:], strict=False):
        target += [sentinel, *ids[at : at + length]]
        at += length
        source += [sentinel, *ids[at : at + gap]]
        at += gap
    return source, target


def which_letter(rng: random.Random) -> tuple[str, str]:
    """Letter 3 of "zebra" is "b", and "b" has the place 3: that letters have places is what writing a word needs."""
    word = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 7)))
    place = rng.randrange(len(word))
    if rng.random() < 0.5:
        return f'letter {place + 1}: "{word}"', word[place]
    return f'place of {word[place]}: "{word}"', str(word.index(word[place]) + 1)


def _parts(total: int, count: int, rng: random.Random) -> list[int]:
    """A random way to write `total` as a sum of `count` positive numbers."""
    cuts = [0, *sorted(rng.sample(range(1, total), count - 1)), total]
    return [b - a for a, b in zip(cuts, cuts[1:], strict=False)]


class Examples:
    """Batches without end: each is a function of (seed, its number) alone, so that a run can be resumed exactly."""

    def __init__(self, corpus: Corpus, tokenizer: Any, tasks: Tasks = Tasks(), seed: int = 0) -> None:
        self.corpus, self.tasks, self.seed = corpus, tasks, seed
        self.tokenizer, self.end = tokenizer, tokenizer.eos_token_id
        self.sentinels = tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(SENTINELS)])
        self._words: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Token ids, without the end token. A sentence is cut word by word, and each word once."""
        return [i for word in text.split() for i in self._word(word)]

    def _word(self, word: str) -> list[int]:
        if word not in self._words:
            if len(self._words) > 200_000:  # signs bear random letters: do not keep them all
                self._words.clear()
            self._words[word] = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        return self._words[word]

    def spelled(self, text: str, rng: random.Random) -> list[int]:
        """As `ids`, with some words cut into letters, so that the letters of an unknown word mean something too."""
        ids: list[int] = []
        for word in text.split():
            if word.isalpha() and rng.random() < self.tasks.spelled:
                letters = word.lower()
                ids += self._word(letters[0]) + self.tokenizer.convert_tokens_to_ids(list(letters[1:]))
            else:
                ids += self._word(word)
        return ids

    def pool(self, seed: int) -> list[tuple[list[int], list[int]]]:
        """POOL examples of both kinds, (source, target), each with its end token."""
        rng = random.Random(seed)
        count, asked = round(POOL * self.tasks.spans), round(POOL * self.tasks.letters)
        if count + asked > POOL:
            told = f"{self.tasks.spans} + {self.tasks.letters}"
            raise ValueError(f"spans and letters are parts of all examples, and {told} is more than 1")
        examples = []
        for sentence in self.corpus.sentences(seed, count):
            source, target = corrupt(
                self.spelled(sentence, rng), self.sentinels, rng, self.tasks.noise, self.tasks.span
            )
            examples.append(([*source, self.end], [*target, self.end]))
        pairs = itertools.chain(
            self.corpus.pairs(seed, POOL - count - asked), (which_letter(rng) for _ in range(asked))
        )
        for question, answer in pairs:
            examples.append(([*self.spelled(question, rng), self.end], [*self.ids(answer), self.end]))
        return examples

    def batches(self, number: int = 0, skip: int = 0) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """(pool's number, batch's number in it, sources, targets), from pool `number` on, less its first `skip`.

        What is padding is 0 in the sources and −100 in the targets.
        """
        while True:
            seed = (self.seed << 40) + number * POOL  # far enough apart for a corpus that counts its sentences from it
            groups: list[list[tuple[list[int], list[int]]]] = []
            long = short = 0  # lengths of the longest source and target of the group
            for example in sorted(self.pool(seed), key=_by_length):
                long, short = max(long, _rounded(example[0])), max(short, _rounded(example[1]))
                if not groups or (len(groups[-1]) + 1) * (long + short) > self.tasks.batch:
                    groups.append([])
                    long, short = map(_rounded, example)
                groups[-1].append(example)
            if 2 * len(groups[-1]) * (long + short) < self.tasks.batch and len(groups) > 1:
                groups.pop()  # a rest of a few long examples would make a noisy step
            random.Random(seed).shuffle(groups)
            for i, group in enumerate(groups[skip:], start=skip):
                yield number, i, _padded([s for s, _ in group], 0), _padded([t for _, t in group], -100)
            number, skip = number + 1, 0


def _by_length(example: tuple[list[int], list[int]]) -> tuple[int, int]:
    """Sources of about one length together; by bands targets grow or shrink, so that neighbours are alike."""
    band = len(example[0]) // 4
    return band, len(example[1]) if band % 2 else -len(example[1])


def _rounded(row: list[int]) -> int:
    """Its length, to the next multiple of 4: fewer shapes, for which a processor's kernels are kept in memory."""
    return -(-len(row) // 4) * 4


def _padded(rows: list[list[int]], value: int) -> Tensor:
    length = max(map(_rounded, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])
