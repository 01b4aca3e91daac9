"""Captions → `Text`: a frozen language model reads the sentence, and the picture model attends to what it made of it.

    encoder = TextEncoder.from_pretrained("google/flan-t5-small")      # or a folder; contacts the Hub only here
    text = encoder(["a red cube"])                                     # Text: tokens (1, 77, 512), mask None

Imagen and DeepFloyd IF use the encoder of T5. Any other Hugging Face text model works as well: CLIP's text tower, BERT
and its kin, or a decoder-only language model, of which the last hidden states are taken. All sizes come from
the model itself.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import files, hub
from .captions import clean_caption as clean_caption  # re-exported: text.clean_caption
from .captions import lowered
from .conditioning import Text

PROVENANCE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")  # decide no embedding
SETTINGS = "reading.json"  # beside the saved tokenizer's files: how captions are read, where not by default
CLEANERS: dict[str, Callable[[str], str]] = {"lowered": lowered, "clean_caption": clean_caption, "str": str}


class TextEncoder:
    """A frozen text model and its tokenizer: encoder(captions) → Text(tokens (B, L, D), mask).

    max_tokens  the longest caption, its end token included; what is longer is cut, with a warning that says what
    pad         "max": all are padded to max_tokens, and the padding is attended (mask None), as DeepFloyd IF does;
                "longest": padded to the longest of the batch, and masked
    clean       what is done to a caption first: `lowered`; `clean_caption` as IF does by default; str = nothing
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        max_tokens: int = 77,
        pad: str = "max",
        clean: Callable[[str], str] = lowered,
    ) -> None:
        if pad not in ("max", "longest"):
            raise ValueError(f'pad is "max" or "longest", not {pad!r}')
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer, self.max_tokens, self.pad, self.clean = tokenizer, max_tokens, pad, clean
        self.tokenizer.truncation_side = "right"
        self._null: Text | None = None
        _check_tokenizer(model, tokenizer)
        limit = _position_limit(model.config, tokenizer)
        if not 1 < max_tokens <= limit:
            raise ValueError(f"max_tokens is {max_tokens}, but this text model reads from 2 to {limit} tokens")

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        *,
        max_tokens: int | None = None,
        pad: str | None = None,
        clean: Callable[[str], str] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> TextEncoder:
        """A model by its name on the Hugging Face Hub, or by its folder: one that holds the model and its tokenizer
        together, or diffusers' layout with text_encoder/ and tokenizer/.

        max_tokens, pad, clean: None = as `save_pretrained` found them; else 77, "max" and `lowered`.
        dtype: what the model computes in; its output is always float32. T5-XXL takes 19 GB in float32, 9.5 in bfloat16.
        options: passed on to transformers: revision, token, local_files_only, quantization_config, device_map, …
        """
        from transformers import AutoTokenizer

        access: dict[str, Any] = {
            key: options[key] for key in ("revision", "token", "local_files_only", "cache_dir") if key in options
        }
        with hub.plainly(str(name)), hub.quietly():
            config, (model_at, how), (tokenizer_at, how_tokenizer) = hub.find(str(name), access)
            model = hub.load_model(config, model_at, dtype, {**options, **how})
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_at, **how_tokenizer)
        saved = Path(name).expanduser() / hub.TOKENIZER / SETTINGS
        settings = files.read_json(saved) if saved.is_file() else {}
        settings |= {"clean": CLEANERS[settings["clean"]]} if "clean" in settings else {}
        given = {"max_tokens": max_tokens, "pad": pad, "clean": clean}
        settings |= {key: value for key, value in given.items() if value is not None}
        return cls(model if device is None else model.to(device), tokenizer, **settings)

    @classmethod
    def random(cls, like: TextEncoder, seed: int = 0) -> TextEncoder:
        """An untrained model of the same size, with the same tokenizer: it lacks just what training on text brought."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = type(like.model)(copy.deepcopy(like.model.config))
        return cls(model.to(like.device), like.tokenizer, like.max_tokens, like.pad, like.clean)

    @torch.no_grad()
    def __call__(self, captions: str | Sequence[str]) -> Text:
        """What the picture model is told. An empty caption is the null text."""
        ids, mask = self.ids(captions)
        tokens = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        if self.pad == "max":
            return Text(tokens)
        return Text(tokens * mask[..., None], mask.bool())

    def ids(self, captions: str | Sequence[str]) -> tuple[Tensor, Tensor]:
        """The token ids and the attention mask that the model is given, padded on the right."""
        captions = _as_list(captions)
        rows = [self._row(self.clean(caption)) for caption in captions]
        length = self.max_tokens if self.pad == "max" else max(map(len, rows))
        pad = self._special("pad_token_id", "eos_token_id")
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=self.device)
        return ids, mask

    def tokens(self, caption: str) -> list[str]:
        """The pieces that a caption is cut into, the end token included: one for each row of its `Text` but padding."""
        return self.tokenizer.convert_ids_to_tokens(self._row(self.clean(caption)))

    def offsets(self, caption: str) -> list[tuple[int, int]]:
        """Where in the cleaned caption each row of its `Text` begins and ends; (0, 0) for padding and the end token."""
        if not self.tokenizer.is_fast:
            raise ValueError("this tokenizer does not tell where its tokens stand: train without twins, by pairs=0")
        found = self.tokenizer(self.clean(caption), return_offsets_mapping=True)["offset_mapping"][: self.max_tokens]
        return found + [(0, 0)] * (self.max_tokens - len(found))

    def null(self, batch: int = 1) -> Text:
        """The text of the empty caption, which guidance sets against the caption's."""
        if self._null is None:
            self._null = self("")
        return self._null.expand(batch)

    @property
    def dim(self) -> int:
        """Width of a token's embedding."""
        return self.null().tokens.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where captions are read. Of a model that is offloaded in part, the rest lies on "meta"."""
        devices = (parameter.device for parameter in self.model.parameters())
        return next((device for device in devices if device.type != "meta"), torch.device("cpu"))

    def to(self, device: str | torch.device) -> TextEncoder:
        """The same encoder on another device."""
        self.model.to(device)
        self._null = None
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides an embedding: settings, tokenizer, and about 1,024 numbers of every weight."""
        config = {name: value for name, value in self.model.config.to_dict().items() if name not in PROVENANCE}
        settings = [self.max_tokens, self.pad, getattr(self.clean, "__name__", ""), config]
        digest = hashlib.sha256(
            json.dumps([*settings, self.tokenizer.get_vocab()], sort_keys=True, default=str).encode()
        )
        for name, weight in self.model.state_dict().items():
            some = weight.detach().flatten()[:: max(1, weight.numel() // 1024)]
            digest.update(name.encode() + some.float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def save_pretrained(self, folder: str | os.PathLike, dtype: torch.dtype | None = None) -> None:
        """folder/text_encoder/ and folder/tokenizer/, as transformers and diffusers read them.

        dtype: what the weights are stored as (torch.float16 halves the file); None = as they are.
        """
        cleaner = next((name for name, function in CLEANERS.items() if function is self.clean), None)
        if cleaner is None:
            raise ValueError(
                f"this encoder cleans captions by a function of your own, which no file can hold: use one of "
                f"{', '.join(CLEANERS)}, then save"
            )
        settings = {"max_tokens": self.max_tokens, "pad": self.pad, "clean": self.clean}
        usual = {name: p.default for name, p in inspect.signature(type(self)).parameters.items() if name in settings}

        def write_tokenizer(place: str) -> None:
            self.tokenizer.save_pretrained(place)
            if settings != usual:
                files.write_json(Path(place) / SETTINGS, settings | {"clean": cleaner})

        model = self.model if dtype is None else copy.deepcopy(self.model).to(dtype)
        hub.save_folder(Path(folder) / hub.MODEL, model.save_pretrained)
        hub.save_folder(Path(folder) / hub.TOKENIZER, write_tokenizer)

    def _row(self, caption: str) -> list[int]:
        """The ids of one cleaned caption, at most max_tokens."""
        row = self.tokenizer(caption, verbose=False)["input_ids"]
        # T5 was trained with </s> at the end, and some of its fast tokenizers leave it out
        end = [self.tokenizer.eos_token_id] if "t5" in self.model.config.model_type else []
        end = [] if row[-1:] == end else end
        if len(row) + len(end) > self.max_tokens:
            length = len(row) + len(end)
            row = self.tokenizer(caption, truncation=True, max_length=self.max_tokens - len(end))["input_ids"]
            warnings.warn(
                f"the caption has {length} tokens and the text encoder reads {self.max_tokens}, "
                f"so this was cut off: {self._cut_off(caption, row)!r}",
                stacklevel=4,
            )
        # a model without start and end tokens has nothing to read in an empty caption, and softmax over nothing is NaN
        return [*row, *end] or [self._special("bos_token_id", "eos_token_id", "pad_token_id")]

    def _cut_off(self, caption: str, row: list[int]) -> str:
        """What of the caption did not fit into this row of ids."""
        if not self.tokenizer.is_fast:
            return caption[len(self.tokenizer.decode(row, skip_special_tokens=True)) :].strip()
        limits = {"truncation": True, "max_length": len(row), "return_offsets_mapping": True}
        return caption[max(end for _, end in self.tokenizer(caption, **limits)["offset_mapping"]) :].strip()

    def _special(self, *names: str) -> int:
        """The first of these ids that the tokenizer or the model names; decoder-only models often have no pad token."""
        ids = [getattr(owner, name, None) for owner in (self.tokenizer, self.model.config) for name in names]
        return next((i for i in ids if isinstance(i, int) and i >= 0), 0)


class CachedTextEncoder:
    """An encoder that keeps on disk what it computed: each caption once, by whichever process meets it first.

    The folder may serve several encoders and several processes. A file is written whole or not at all, and one that is
    damaged is computed anew.
    """

    def __init__(self, encoder: TextEncoder, folder: str | os.PathLike) -> None:
        self.encoder = encoder
        self.folder = Path(folder) / encoder.fingerprint[:16]
        self._dtype = next(encoder.model.parameters()).dtype  # holds what the model computed without loss

    def __getattr__(self, name: str) -> Any:
        if name == "encoder":  # not yet set, as while unpickling in a worker
            raise AttributeError(name)
        return getattr(self.encoder, name)  # null, dim, tokens, max_tokens, …

    def to(self, device: str | torch.device) -> CachedTextEncoder:
        self.encoder.to(device)
        return self

    @torch.no_grad()
    def __call__(self, captions: str | Sequence[str]) -> Text:
        captions = _as_list(captions)
        known: dict[str, Tensor] = {}
        for caption in dict.fromkeys(captions):
            if (found := self._read(caption)) is not None:
                known[caption] = found
        if fresh := [caption for caption in dict.fromkeys(captions) if caption not in known]:
            text = self.encoder(fresh)
            for i, caption in enumerate(fresh):
                known[caption] = text.tokens[i] if text.mask is None else text.tokens[i, text.mask[i]]
                files.save_tensors(self._path(caption), {"tokens": known[caption].to(self._dtype)})
        rows = [known[caption] for caption in captions]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if self.encoder.pad == "max":
            return Text(tokens)
        lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
        return Text(tokens, torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None])

    def _path(self, caption: str) -> Path:
        key = hashlib.sha256(self.encoder.clean(caption).encode()).hexdigest()  # cleaners of one name are not one
        return self.folder / key[:2] / f"{key[2:]}.safetensors"  # 256 folders, so that none grows too long

    def _read(self, caption: str) -> Tensor | None:
        try:
            return files.load_tensors(self._path(caption), self.encoder.device)["tokens"].float()
        except (FileNotFoundError, ValueError, KeyError):
            return None


def _as_list(captions: str | Sequence[str]) -> list[str]:
    captions = [captions] if isinstance(captions, str) else list(captions)
    if not captions:
        raise ValueError("there is no caption to encode; the empty caption is [''], the null text")
    if wrong := [caption for caption in captions if not isinstance(caption, str)]:
        raise ValueError(f"a caption is a string, not {type(wrong[0]).__name__}")
    return captions


def _position_limit(config: Any, tokenizer: Any) -> int:
    """The most tokens the model has positions for. T5's positions are relative, so it has no limit of its own."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or 0
    if positions <= 0:
        return 1_000_000
    return min(
        positions, tokenizer.model_max_length
    )  # RoBERTa counts its positions from 2, so the tokenizer knows better


def _check_tokenizer(model: Any, tokenizer: Any) -> None:
    """Refuse an empty or a foreign vocabulary: either would turn every caption into noise without a word."""
    sample = "a photo of a small red cube left of a large blue sphere"
    ids, rows = tokenizer(sample)["input_ids"], model.get_input_embeddings().weight.shape[0]
    if max(ids, default=0) >= rows:
        raise ValueError(
            f"this tokenizer is another model's: it gives the id {max(ids)}, and the model knows {rows} ids"
        )
    if ids.count(tokenizer.unk_token_id) >= len(sample.split()) / 2:
        raise ValueError(
            "this tokenizer knows hardly a word; load it with from_pretrained, "
            "since a T5Tokenizer made in any other way has an almost empty vocabulary"
        )
