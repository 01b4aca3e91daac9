"""Sentences that were encoded before: T5-XXL reads them once, is freed, and the networks have the memory to themselves.

t5 = mi.TextEncoder.from_pretrained("DeepFloyd/IF-I-M-v1.0", clean=mi.clean_caption)       # IF reads what this leaves
text = deepfloyd.embed(prompts, t5)
text.save("prompts.safetensors")                                   # perhaps on another machine
imagen = mi.Imagen.from_pretrained("DeepFloyd/IF-I-M-v1.0", text="prompts.safetensors")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import files
from ..conditioning import Text


class Embeddings:
    """A text encoder that looks its sentences up: embeddings(captions) → Text. The null text "" is among them."""

    def __init__(self, rows: dict[str, Tensor]):
        if "" not in rows:
            raise ValueError(
                "these embeddings lack the null text '', which guidance compares with: see deepfloyd.embed"
            )
        if len({row.shape for row in rows.values()}) != 1:
            raise ValueError("these embeddings differ in shape: encode all prompts with the same text encoder")
        self.rows = rows

    @property
    def prompts(self) -> list[str]:
        """What can be drawn."""
        return [prompt for prompt in self.rows if prompt]

    @property
    def dim(self) -> int:
        return self.rows[""].shape[-1]

    def __call__(self, captions: str | Sequence[str]) -> Text:
        captions = [captions] if isinstance(captions, str) else list(captions)
        if unknown := [caption for caption in captions if caption not in self.rows]:
            known = ", ".join(map(repr, self.prompts[:3])) + (", …" if len(self.prompts) > 3 else "")
            raise ValueError(
                f"{unknown[0]!r} was not encoded before (there are {known or 'none'}): encode it with deepfloyd.embed"
            )
        return Text(torch.stack([self.rows[caption] for caption in captions]).float())

    def null(self, batch: int = 1) -> Text:
        """The text of the empty caption."""
        return self("").expand(batch)

    def save(self, path: str | Path) -> None:
        """One safetensors file: a tensor a sentence, and the sentences beside them."""
        named = {str(i): row for i, row in enumerate(self.rows.values())}
        files.save_tensors(path, named, {"prompts": json.dumps(list(self.rows))})

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        """What `save` wrote."""
        tensors, words = files.load_tensors(path), files.load_metadata(path)
        if "prompts" not in words:
            raise ValueError(f"{path} holds no sentences: it should be a file that deepfloyd.Embeddings.save wrote")
        return cls({prompt: tensors[str(i)] for i, prompt in enumerate(json.loads(words["prompts"]))})


def embed(
    prompts: str | Sequence[str], encoder: Callable[[list[str]], Text], dtype: torch.dtype | None = None
) -> Embeddings:
    """`Embeddings` of these sentences and of the null text. dtype: what they are kept in; None = as they come."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    rows: dict[str, Tensor] = {}
    for prompt in dict.fromkeys(["", *prompts]):
        text = encoder([prompt])
        if text.mask is not None:
            raise ValueError("embeddings are kept as IF's are, all of one length: give the text encoder pad='max'")
        rows[prompt] = text.tokens[0].cpu().to(dtype or text.tokens.dtype)
    return Embeddings(rows)
