"""Text models from a folder or from the Hugging Face Hub: the right class for each, or one sentence that says why not.

transformers and the Hub are reached inside these functions only, so that importing the package contacts nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

MODEL, TOKENIZER = "text_encoder", "tokenizer"  # the two parts in diffusers' layout of a folder or a repository


class TextModelError(OSError):
    """A text model that could not be loaded; the message says why, and what to do."""


def find(name: str, access: dict[str, Any]) -> tuple[Any, tuple[str, dict], tuple[str, dict]]:
    """(config, where the model is, where its tokenizer is): both in one place, or in diffusers' layout."""
    from transformers import AutoConfig

    folder = Path(name).expanduser()
    if folder.is_dir():
        if (folder / MODEL / "config.json").is_file():
            whole, pieces = folder / MODEL, folder / TOKENIZER
            if not pieces.is_dir():
                raise TextModelError(f"{folder} has a {MODEL}/ and no {TOKENIZER}/: copy the model's tokenizer there")
        elif (folder / "config.json").is_file():
            whole = pieces = folder
        else:
            raise TextModelError(
                f"{folder} holds no text model: there is no config.json in it, nor in a {MODEL}/ inside it"
            )
        return AutoConfig.from_pretrained(str(whole)), (str(whole), {}), (str(pieces), {})
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise TextModelError(
            f"there is no folder {name}: check the path, or give a model's name on the Hugging Face Hub"
        )
    try:
        return AutoConfig.from_pretrained(name, **access), (name, access), (name, access)
    except OSError as fault:
        if "does not appear to have a file named config.json" not in str(fault):
            raise
    config = AutoConfig.from_pretrained(name, subfolder=MODEL, **access)  # a pipeline's repository, such as IF's own
    return config, (name, {**access, "subfolder": MODEL}), (name, {**access, "subfolder": TOKENIZER})


def load_model(config: Any, name: str, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    """The part of a checkpoint that reads text: an encoder-decoder's encoder, CLIP's text tower, or the model whole."""
    import transformers

    named = type(config).__name__
    encoder = getattr(transformers, named.replace("Config", "EncoderModel"), None)  # T5EncoderModel and its kin
    own = getattr(transformers, type(config.get_text_config()).__name__.replace("Config", "Model"), None)
    kind = encoder or own or transformers.AutoModel
    model, report = kind.from_pretrained(name, dtype=dtype, output_loading_info=True, **options)
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)  # BERT's pooler is not used here
    if missing:  # transformers would fill them with noise and go on
        raise TextModelError(
            f"{name} holds not all weights of a {kind.__name__}: {len(missing)} are missing, {missing[0]} first"
        )
    return model.get_encoder() if config.is_encoder_decoder and kind is not encoder else model


@contextmanager
def plainly(name: str, kind: str = "a text model") -> Iterator[None]:
    """Whatever goes wrong inside becomes one sentence about the model called `name`."""
    try:
        yield
    except TextModelError:
        raise
    except Exception as fault:
        raise TextModelError(_sentence(name, kind, fault)) from fault


def _sentence(name: str, kind: str, fault: BaseException) -> str:
    said = str(fault)
    kinds: set[str] = set()
    link: BaseException | None = fault
    while link is not None:
        kinds |= {kind.__name__ for kind in type(link).__mro__}
        link = link.__cause__ or link.__context__
    if "GatedRepoError" in kinds or "gated repo" in said:
        return (
            f"{name} is gated: accept its licence on its page on the Hugging Face Hub, then log in with `hf auth login`"
        )
    if any(sign in said for sign in ("Invalid credentials", "Invalid user token")) or (
        "HfHubHTTPError" in kinds and "RepositoryNotFoundError" not in kinds and "401" in said
    ):
        return "the Hugging Face Hub does not know your token: make a new one there, then log in with `hf auth login`"
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError"}:
        return (
            f"{name} is not on this machine and the Hugging Face Hub cannot be reached: "
            "go online once to fetch it, or give a folder that holds it"
        )
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return (
            f"the Hugging Face Hub has no {name}, or it is private: check the spelling, or log in with `hf auth login`"
        )
    if "RevisionNotFoundError" in kinds:
        return f"{name} has no such revision on the Hugging Face Hub: leave it out, or check it there"
    if "SafetensorError" in kinds:
        return f"the weights of {name} are damaged or cut short: fetch them again"
    if "ImportError" in kinds:
        return f"{name} needs a package that is not installed: {said.strip().splitlines()[0]}"
    if "does not recognize this architecture" in said or "Unrecognized model" in said:
        return f"{name} is no model that this version of transformers knows: check the name, or update transformers"
    reason = said.strip().splitlines()[0] if said.strip() else type(fault).__name__
    return f"{name} could not be loaded as {kind}: {reason}"


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' loading bars and reports; what matters of them is checked in `load_model`."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def save_folder(target: Path, write: Callable[[str], Any]) -> None:
    """`write` fills a folder, which takes the target's name once it is whole; what stood there before goes last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    os.chmod(fresh, 0o755)
    old = fresh.with_name(fresh.name + ".old")
    try:
        with quietly():
            write(str(fresh))
        for path in fresh.rglob("*"):  # some writers make private files; weights are for everyone
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            os.replace(target, old)
        os.replace(fresh, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
