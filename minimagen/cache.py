"""Pictures rendered once and kept on disk, as bytes, in chunks that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from . import files

CHUNK = 256  # pictures a file: at 64 px 3 MB, and two seconds of rendering
AS_THEY_ARE = ("origin", "nouns", "where")  # an item's tensors that are kept as such


class Cached(Dataset):
    """The first `count` items of a source, each computed at most once. Endless itself: round after round, shuffled.

    The first round goes through the source in its order and fills the cache as it goes; every later round meets each
    picture with the next of its captions. Chunks are files of their own, written whole: an interrupted run loses one at
    most, and several processes may fill one cache (`fill`), or use it while it is being filled.
    """

    def __init__(self, source: Any, folder: str | Path, count: int, seed: int = 0):
        if count < 1:
            raise ValueError(f"a cache holds at least one picture, not {count}")
        if hasattr(source, "__len__") and count > len(source):
            raise ValueError(f"a cache of {count} pictures needs as many, and there are {len(source)}")
        self.source, self.folder, self.count, self.seed = source, Path(folder), count, seed
        self.world = getattr(source, "world", None)
        about = getattr(source, "about", None) or _likeness(source)
        told = self.folder / "about.json"
        if not told.exists():
            files.write_json(told, about)
        elif (theirs := files.read_json(told)) != json.loads(json.dumps(about)):
            raise ValueError(f"{self.folder} is a cache of {theirs}, not of {about}: name another folder, or delete it")
        self._open: dict[int, tuple[dict[str, Tensor], list[list[str]]]] = {}
        self._round: tuple[int, Tensor] | None = None

    def __getitem__(self, index: int) -> dict[str, Any]:
        turn, k = divmod(index, self.count)
        if turn:
            if self._round is None or self._round[0] != turn:
                generator = torch.Generator().manual_seed((self.seed * 1_000_003 + turn) % 2**32)
                self._round = turn, torch.randperm(self.count, generator=generator)
            k = int(self._round[1][k])
        tensors, captions = self._chunk(k // CHUNK)
        row = k % CHUNK
        said = captions[row]
        item: dict[str, Any] = {"image": as_floats(tensors["images"][row])}
        if said:
            item |= {"caption": said[(turn + k) % len(said)], "captions": said}
        if "lows" in tensors:
            item["low"] = as_floats(tensors["lows"][row])
        for name in AS_THEY_ARE:
            if f"{name}s" in tensors:
                item[name] = tensors[f"{name}s"][row]
        return item

    def __getitems__(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indexes]

    @property
    def chunks(self) -> int:
        return -(-self.count // CHUNK)

    @property
    def filled(self) -> int:
        """How many chunks are on disk."""
        return sum(self._file(number).exists() for number in range(self.chunks))

    def fill(self, part: int = 0, parts: int = 1) -> Iterator[int]:
        """Compute what is missing, and yield each chunk's number. Process `part` of `parts` has every parts-th."""
        for number in range(part, self.chunks, parts):
            if not self._file(number).exists():
                self._compute(number)
                yield number

    def fill_by(self, processes: int) -> Iterator[int]:
        """`fill` by so many processes of this machine at once, each with one thread."""
        missing = [number for number in range(self.chunks) if not self._file(number).exists()]
        context = multiprocessing.get_context("spawn")  # a fork would share threads and a GPU with this process
        with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            tasks = {pool.submit(self._compute, number): number for number in missing}
            try:
                for task in as_completed(tasks):
                    task.result()
                    yield tasks[task]
            finally:
                pool.shutdown(cancel_futures=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def _chunk(self, number: int) -> tuple[dict[str, Tensor], list[list[str]]]:
        if number not in self._open:
            try:
                self._open[number] = self._read(number)
            except (FileNotFoundError, ValueError):  # absent, or damaged since: either way it can be had again
                self._compute(number)
                self._open[number] = self._read(number)
        return self._open[number]

    def _read(self, number: int) -> tuple[dict[str, Tensor], list[list[str]]]:
        tensors = files.load_tensors(self._file(number))
        return tensors, json.loads(bytes(tensors.pop("captions").numpy()).decode())

    def _compute(self, number: int) -> None:
        # a chunk is as whole as its source, even if `count` cuts through it: a larger count can go on with it
        first, end = number * CHUNK, (number + 1) * CHUNK
        end = min(end, len(self.source)) if hasattr(self.source, "__len__") else end
        many = getattr(self.source, "__getitems__", None)
        lists: dict[str, list[Tensor]] = {"images": [], "lows": [], **{f"{name}s": [] for name in AS_THEY_ARE}}
        captions = []
        for k in range(first, end, 32):  # a few at a time, which bounds the renderer's memory
            some = range(k, min(k + 32, end))
            for item in many(some) if many is not None else (self.source[i] for i in some):
                lists["images"].append(as_bytes(item["image"]))
                captions.append(list(item.get("captions") or [item["caption"]] if "caption" in item else []))
                if "low" in item:
                    lists["lows"].append(as_bytes(item["low"]))
                for name in AS_THEY_ARE:
                    if name in item:
                        lists[f"{name}s"].append(item[name])
        words = torch.frombuffer(bytearray(json.dumps(captions).encode()), dtype=torch.uint8)
        tensors = {name: torch.stack(values) for name, values in lists.items() if values}
        files.save_tensors(self._file(number), tensors | {"captions": words})


def _likeness(source: Any) -> dict[str, Any]:
    """What tells a source that says nothing of itself from others: how many it has, and the first of them."""
    item = source[0]
    digest = hashlib.sha256(as_bytes(item["image"]).numpy().tobytes())
    digest.update(json.dumps([item.get("caption"), item.get("captions")]).encode())
    return {"count": len(source) if hasattr(source, "__len__") else None, "first": digest.hexdigest()[:16]}


def as_bytes(image: Tensor) -> Tensor:
    return ((image.cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def as_floats(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1
