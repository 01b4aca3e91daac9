"""What does an embedding know? Linear probes: whatever a straight cut can read from a token, attention can use too.

    W = (XᵀX + λI)⁻¹ XᵀY,   answer = argmax W x        (X: embeddings with a 1 appended, Y: one-hot labels)

Each probe is fitted on some sentences and asked about others. An untrained encoder of equal size (`TextEncoder.random`)
is the measure: a probe that does as well on it has found nothing that was learned.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .resources import data_folder
from .text import TextEncoder
from .toyland.heldout import SYNONYMS, random_letters
from .toyland.phrases import RELATED, a
from .toyland.scene import COLORS, MATERIALS, PATTERNS, SHAPES, SIZES

Place = tuple[int, int]  # (caption, token)


@dataclass(frozen=True)
class Score:
    """Right answers among all, and what guessing would give."""

    right: int
    count: int
    chance: float

    @property
    def share(self) -> float:
        return self.right / self.count

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.right}/{self.count}, chance {self.chance:.0%})"


def fit(x: Tensor, labels: Sequence[str], ridge: float = 1.0) -> Any:
    """A linear probe: embeddings (N, D) and their labels → a function from embeddings to labels."""
    names = sorted(set(labels))
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)

    def features(v: Tensor) -> Tensor:
        return torch.cat([(v - mean) / scale, torch.ones(len(v), 1)], dim=1).double()

    f = features(x)
    y = torch.nn.functional.one_hot(torch.tensor([names.index(label) for label in labels]), len(names)).double()
    w = torch.linalg.solve(f.T @ f + ridge * torch.eye(f.shape[1]).double(), f.T @ y)
    return lambda v: [names[i] for i in (features(v) @ w).argmax(1).tolist()]


def score(x: Tensor, labels: Sequence[str], new_x: Tensor, new_labels: Sequence[str]) -> Score:
    """Fit on the first, ask about the second."""
    answers = fit(x, labels)(new_x)
    right = sum(answer == label for answer, label in zip(answers, new_labels, strict=True))
    return Score(right, len(new_labels), 1 / len(set(labels)))


def embed(encoder: Any, captions: Sequence[str], words: Sequence[int]) -> Tensor:
    """(N, D): for each caption the embedding of the last token of its words[i]-th word."""
    found = []
    for start in range(0, len(captions), 64):
        some = captions[start : start + 64]
        text = encoder(some)
        for row, caption, word in zip(text.tokens, some, words[start : start + 64], strict=True):
            before = len(encoder.tokens(" ".join(caption.split()[: word + 1])))
            found.append(row[before - 2].cpu())  # the last is the end token
    return torch.stack(found)


def binding(encoder: Any, which: int, count: int = 1000, seed: int = 0) -> Score:
    """Which colour has the first (0) or the second (1) thing? Read from its noun; the caption names both colours."""
    rng = random.Random(seed)
    captions, words, labels = [], [], []
    for _ in range(count):
        (c1, c2), (s1, s2) = rng.sample(COLORS, 2), rng.sample(SHAPES, 2)
        first, second = (a(f"{rng.choice(SIZES)} {c} {rng.choice(MATERIALS)} {s}") for c, s in ((c1, s1), (c2, s2)))
        caption = f"{first} {rng.choice(rng.choice(list(RELATED.values())))} {second}"
        captions.append(caption)
        words.append(len(caption.split()) - 1 if which else 4)
        labels.append((c1, c2)[which])
    half = count // 2
    x = embed(encoder, captions, words)
    return score(x[:half], labels[:half], x[half:], labels[half:])


def synonyms(encoder: Any, names: Sequence[str], contexts: int = 40, seed: int = 0) -> Score:
    """Which word of the vocabulary does a synonym mean? Fitted on the vocabulary's own words only.

    names: words of one kind, COLORS say; each synonym is read in `contexts` captions that differ in all other words.
    """
    rng = random.Random(seed)

    def read(word: str) -> tuple[list[str], list[int]]:
        captions, words = [], []
        for _ in range(contexts):
            size, color, material, pattern, shape = map(rng.choice, (SIZES, COLORS, MATERIALS, PATTERNS, SHAPES))
            parts = [
                word if names is kind else value
                for kind, value in zip(
                    (SIZES, MATERIALS, COLORS, PATTERNS, SHAPES), (size, material, color, pattern, shape), strict=True
                )
            ]
            at = (SIZES, MATERIALS, COLORS, PATTERNS, SHAPES).index(names)
            captions.append("a " + " ".join(parts))
            words.append(len(" ".join(["a", *parts[: at + 1]]).split()) - 1)
        return captions, words

    seen = [(read(name), name) for name in names]
    asked = [(read(synonym), name) for name in names for synonym in SYNONYMS[name]]
    x = torch.cat([embed(encoder, *what) for what, _ in seen])
    new = torch.cat([embed(encoder, *what) for what, _ in asked])
    return score(x, [n for _, n in seen for _ in range(contexts)], new, [n for _, n in asked for _ in range(contexts)])


def letters(encoder: Any, what: str, count: int = 600, seed: int = 0) -> Score:
    """Of a letter in a quoted word that training never saw: which it is ("letter"), or where it stands ("place")."""
    rng = random.Random(seed)
    captions = []
    places: list[Place] = []
    labels: list[str] = []
    words = [random_letters(rng, "heldout" if i >= count // 2 else "train").lower() for i in range(count)]
    cut = 0
    for i, word in enumerate(words):
        thing = a(f"{rng.choice(SIZES)} {rng.choice(COLORS)} {rng.choice(SHAPES)}")
        start = rng.choice(("a sign that says", f"{thing} and a sign saying", f"{thing} behind a sign reading"))
        captions.append(f'{start} "{word}"')
        first = len(encoder.tokens(start))  # counts the end token, as the quotation mark will
        cut = len(places) if i == count // 2 else cut
        places += [(i, first + k) for k in range(len(word))]
        labels += [letter if what == "letter" else str(k) for k, letter in enumerate(word)]
    tokens = torch.cat([encoder(captions[i : i + 64]).tokens.cpu() for i in range(0, count, 64)])
    x = torch.stack([tokens[i, k] for i, k in places])
    return score(x[:cut], labels[:cut], x[cut:], labels[cut:])


def evidence(encoder: Any, seed: int = 0) -> dict[str, Score]:
    """All probes by name."""
    kinds = {"shape": SHAPES, "colour": COLORS, "size": SIZES, "material": MATERIALS, "pattern": PATTERNS}
    return {
        "colour of the first thing": binding(encoder, 0, seed=seed),
        "colour of the second thing": binding(encoder, 1, seed=seed),
        **{f"synonyms of a {kind}": synonyms(encoder, names, seed=seed) for kind, names in kinds.items()},
        "letter of an unseen word": letters(encoder, "letter", seed=seed),
        "place of a letter": letters(encoder, "place", seed=seed),
    }


def main(arguments: list[str] | None = None) -> int:
    """The probes of one encoder, beside those of an untrained one of its size."""
    parser = argparse.ArgumentParser(prog="python -m minimagen.probes", description="What does a text encoder know?")
    parser.add_argument("folder", nargs="?", help="folder or Hub name of a text model; without it the one that ships")
    folder = parser.parse_args(arguments).folder
    try:
        trained = TextEncoder.from_pretrained(data_folder() if folder is None else folder, pad="longest")
    except (OSError, ValueError) as fault:
        parser.error(str(fault))
    untrained = evidence(TextEncoder.random(trained))
    for name, found in evidence(trained).items():
        print(f"{name:28} {found}, untrained {untrained[name].share:.1%}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
