"""A T5 tokenizer for a small world: sentencepiece's unigram model, in which a quoted word falls apart into its letters.

A word that is to be *written* must be known by its letters, or no picture model could write one it never saw. So every
piece of more than one letter stands for a whole word of the corpus and begins with "▁", the mark of a space before it.
Inside quotation marks no space precedes the letters, and only single letters are left to cut the word into:

    a red cube → ▁a ▁red ▁cube          "cube" → ▁" c u b e "

Nothing but the vocabulary does this, so it holds wherever the tokenizer is loaded: transformers rebuilds a T5 tokenizer
from its vocabulary, and silently drops a pre-tokenizer of one's own.
"""

from __future__ import annotations

import io
import math
import re
import string
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hub

if TYPE_CHECKING:
    from transformers import T5Tokenizer

SENTINELS = 100  # <extra_id_0> … <extra_id_99>, as T5 has
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation
SPACE = "▁"
_ALIKE = {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": "-"}


def train_tokenizer(sentences: Iterable[str], size: int = 2000) -> bytes:
    """sentencepiece's model of the sentences, of at most `size` pieces: the content of a spiece.model."""
    return _train(list(sentences), size).SerializeToString()


def t5_tokenizer(spiece: bytes) -> T5Tokenizer:
    """transformers' tokenizer with this vocabulary, the sentinels of span corruption added."""
    from sentencepiece import sentencepiece_model_pb2
    from transformers import T5Tokenizer

    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(spiece)
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces]
    # T5 counts its sentinels backwards: <extra_id_0> has the last id
    vocabulary += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(SENTINELS))]
    charsmap = model.normalizer_spec.precompiled_charsmap
    return T5Tokenizer(vocab=vocabulary, extra_ids=SENTINELS, _spm_precompiled_charsmap=charsmap, model_max_length=512)


def save_tokenizer(spiece: bytes, folder: str | Path) -> None:
    """tokenizer.json as transformers reads it, and spiece.model, which its versions before 5 and sentencepiece read."""

    def write(fresh: str) -> None:
        t5_tokenizer(spiece).save_pretrained(fresh)
        (Path(fresh) / "spiece.model").write_bytes(spiece)

    hub.save_folder(Path(folder), write)


def _train(sentences: list[str], size: int) -> Any:
    """sentencepiece's model of the sentences, without the pieces that could swallow a quoted word's letters."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    # what is quoted is no vocabulary: it would be learned as words
    plain = [re.sub(r'"[^"]*"', '"', sentence) for sentence in sentences]
    written = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text(_normalisation(), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(plain),
            model_writer=written,
            model_type="unigram",
            vocab_size=2 * size,
            hard_vocab_limit=False,  # a small corpus has fewer pieces
            required_chars=CHARACTERS,
            normalization_rule_tsv=str(rules),
            pad_id=0,  # T5's ids: <pad> 0, </s> 1, <unk> 2
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(written.getvalue())
    learned = {piece.piece: piece.score for piece in model.pieces[3:]}
    words = Counter(word for sentence in plain for word in re.findall(r"[a-z0-9]+", sentence.lower()))
    total = sum(words.values())
    # a word that sentencepiece cut in two is put back, with the score of its frequency
    pieces = {SPACE + word: learned.get(SPACE + word, math.log(n / total)) for word, n in words.items() if n > 1}
    lowest = min([*learned.values(), *pieces.values()])
    singles = {c: learned.get(c, lowest) for c in CHARACTERS + SPACE} | {f'{SPACE}"': learned.get(f'{SPACE}"', lowest)}
    common = sorted(pieces, key=lambda piece: -words[piece[1:]])[: size - 3 - len(singles)]
    kept = singles | {piece: pieces[piece] for piece in common}
    special = list(model.pieces[:3])
    del model.pieces[:]
    model.pieces.extend(special)
    for text, score in sorted(kept.items(), key=lambda item: -item[1]):
        model.pieces.add(piece=text, score=score)
    return model


def _normalisation() -> str:
    """Rules for Latin letters and punctuation: lower case, no accents, one kind of quotation mark, "-" parts words."""
    rules = {"-": "- "}  # three-sided is two words
    for code in (*range(0x21, 0x250), *range(0x2010, 0x2070), *range(0xFF01, 0xFF5F)):
        character = chr(code)
        plain = unicodedata.normalize("NFKD", _ALIKE.get(character, character)).casefold()
        plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("-", "- ")
        if plain and plain != character:
            rules[character] = plain
    lines = (f"{ord(key):X}\t{' '.join(f'{ord(c):X}' for c in value)}" for key, value in rules.items())
    return "\n".join(lines) + "\n"
