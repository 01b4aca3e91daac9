"""Files that are whole or absent: atomic writes, and weights as safetensors with their SHA-256.

A file appears under its name only once it is complete, so an interrupted run or a full disk never leaves half a
checkpoint behind. What goes wrong is one sentence: a missing file is a `FileNotFoundError`, a damaged or foreign
one a `ValueError`, a disk that is full or read-only an `OSError`.
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # the two files of a network's folder
UMASK = os.umask(0)  # the only way to read it is to set it; once, for other threads write files meanwhile
os.umask(UMASK)
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """`with atomic(path) as temporary:` write there; on leaving it becomes `path`, or on any fault vanishes."""
    with together(path) as (temporary,):
        yield temporary


@contextmanager
def together(*paths: str | Path) -> Iterator[list[Path]]:
    """`atomic` for files that belong to one another: none takes its name before all of them are on the disk."""
    targets, temporaries = [Path(path) for path in paths], []
    path = targets[0]
    try:
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
            # in the same folder, since a rename is atomic only within one file system
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
            os.close(handle)
            temporaries.append(Path(name))
        path = targets[0]
        yield temporaries
        for path, temporary in zip(targets, temporaries):  # noqa: B007 — a fault is told of this path
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())  # the bytes first, then the name: a power cut cannot swap the two
            # mkstemp makes private files; weights are for everyone who may read the folder
            os.chmod(temporary, 0o666 & ~UMASK)
        for path, temporary in zip(targets, temporaries):
            os.replace(temporary, path)
    except (OSError, SafetensorError) as fault:
        raise _said(fault, path) from fault
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    write_text(path, _json(value))


def read_json(path: str | Path) -> dict:
    """The object in a JSON file; anything else is a `ValueError` that names the file."""
    path = _present(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path} is not valid JSON ({fault}); it is damaged or another kind of file") from fault
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}; an object with named fields was expected")
    return value


def sha256(path: str | Path) -> str:
    with open(_present(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file; gives its SHA-256. Tensors that share memory (tied weights) are written one by one."""
    with atomic(path) as temporary:
        return _write_tensors(temporary, tensors, metadata)


def load_tensors(path: str | Path, device: str | torch.device = "cpu", digest: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file. digest: the SHA-256 it must have; None = not checked."""
    path = _present(path)
    if digest is not None and (found := sha256(path)) != digest:
        raise ValueError(
            f"{path} was altered or cut short: its SHA-256 is {found[:12]}…, not {digest[:12]}…; fetch it again"
        )
    with _opened(path, device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def load_metadata(path: str | Path) -> dict[str, str]:
    """The words that stand in a safetensors file beside its tensors."""
    with _opened(_present(path), "cpu") as file:
        return file.metadata() or {}


def save_network(
    folder: str | Path, config: Mapping[str, object], state: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> str:
    """A network's folder: model.safetensors, and config.json with its SHA-256, both or neither. Gives that SHA-256.

    dtype: what floating-point weights are stored as (torch.float16 halves the file); None = as they are.
    """
    folder = Path(folder)
    if dtype is not None:
        state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    with together(folder / WEIGHTS, folder / CONFIG) as (weights, told):
        digest = _write_tensors(weights, state)
        told.write_text(_json({**config, "sha256": digest}), encoding="utf-8")
    return digest


def load_network(folder: str | Path, device: str | torch.device = "cpu") -> tuple[dict, dict[str, Tensor]]:
    """(config, state) of a network's folder; where config.json has a SHA-256, the weights must have it too."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    config = read_json(folder / CONFIG)
    return config, load_tensors(folder / WEIGHTS, device, config.pop("sha256", None))


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str | Path = "the file") -> None:
    """module.load_state_dict, with one sentence in place of a page when the weights are another network's."""
    own = module.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        example = f"{missing[0]} is missing" if missing else f"{extra[0]} is not in this network"
        raise ValueError(
            f"{source} holds another network's weights: {len(missing)} names missing, {len(extra)} unknown ({example})"
        )
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ValueError(
                f"{source} does not fit: {name} is {tuple(tensor.shape)}; this network has {tuple(own[name].shape)}"
            )
    module.load_state_dict(dict(state))


@contextmanager
def _opened(path: Path, device: str | torch.device) -> Iterator:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except SafetensorError as fault:
        raise ValueError(
            f"{path} is not a whole safetensors file ({fault}); it was cut short or is another kind of file"
        ) from fault


def _present(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; a file was expected")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def _said(fault: Exception, path: Path) -> OSError:
    """The fault of a write, in one sentence. safetensors reports a full disk as text, without an errno."""
    number = fault.errno if isinstance(fault, OSError) else None
    if number in FULL or any(sign in str(fault) for sign in ("No space left", "quota exceeded")):
        return OSError(
            errno.ENOSPC,
            f"the disk is full: {path.name} was not written and any earlier one is untouched; free some space",
            str(path),
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionError(number, "this place may not be written to; choose another folder", str(path))
    if number in (errno.EEXIST, errno.ENOTDIR):
        return NotADirectoryError(
            errno.ENOTDIR, "a file stands where a folder is needed; choose another folder", str(path)
        )
    return fault if isinstance(fault, OSError) else OSError(errno.EIO, f"could not be written: {fault}", str(path))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    taken: set[int] = set()
    whole = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        whole[name] = tensor.clone() if storage in taken else tensor
        taken.add(storage)
    save_file(whole, path, {"format": "pt", **(metadata or {})})
    return sha256(path)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    """NumPy's and torch's numbers as Python's."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
