"""Where in the picture the network looks at each word of its sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minimagen.cascade import Stage
from minimagen.conditioning import Cond, Text
from minimagen.show.tracing import attention_to_text


@dataclass(frozen=True)
class Word:
    """A word as a person reads it, and the places of its pieces in the encoder's rows."""

    text: str
    pieces: tuple[int, ...]


def words(encoder: Any, sentence: str) -> list[Word]:
    """The words of a sentence, put together from the encoder's pieces; punctuation and the end token are left out.

    A word in quotes falls into letters, and stays one word.
    """
    found: list[tuple[str, list[int]]] = []
    for i, piece in enumerate(encoder.tokens(sentence)):
        if piece == encoder.tokenizer.eos_token:
            continue
        quoted = found and found[-1][0].count('"') == 1
        if piece.startswith("▁") and not quoted or not found:
            found.append((piece.strip("▁"), [i]))
        else:
            found[-1] = found[-1][0] + piece.strip("▁"), [*found[-1][1], i]
    return [Word(text.strip('.,:;!?"'), tuple(i)) for text, i in found if any(c.isalnum() for c in text)]


@torch.no_grad()
def gaze(stage: Stage, text: Text, z: Tensor, t: float, word: Word) -> Tensor:
    """How much each place of the picture looks at a word, (H, W) in [0, 1]: the mean over the finest layers with text.

    Each layer's map is the share of the word among all tokens, from its least to its most. Coarser layers look at the
    picture's borders as much as at its things, and are left out.
    """
    unet = stage.denoiser.unet
    time = stage.denoiser.network_time(torch.full((1,), t, device=z.device))
    maps = attention_to_text(unet, z, time, Cond(text.to(z.device)))
    if not maps:
        raise ValueError("this network does not attend to single words")
    edge = max(m.shape[-1] for m in maps.values())
    finest = [m[0].cpu() for m in maps.values() if m.shape[-1] == edge]  # (L, H, W) each
    shares = [m[list(word.pieces)].sum(0) / m.sum(0) for m in finest]
    return _full_range(torch.stack([_full_range(share) for share in shares]).mean(0))


def _full_range(heat: Tensor) -> Tensor:
    low, high = heat.amin(), heat.amax()
    return (heat - low) / (high - low).clamp(min=1e-12)
