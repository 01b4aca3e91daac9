"""Pictures of your own: a folder with captions, and streamed shards."""

from __future__ import annotations

import glob
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset, IterableDataset

from .images import to_tensor

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CAPTIONS = ("caption", "text", "prompt")  # the columns in which people keep captions, the first that is there is read


class Folder(Dataset):
    """A folder of pictures of any size and mode, each with a caption in NAME.txt beside it, or all in metadata.jsonl.

    Pictures are turned as their camera says, laid on white where they are transparent, brought to the size by their
    shorter side (small ones are enlarged, and blurred by that), and cut to the middle square. Pictures that a
    metadata.jsonl does not list are left out.
    """

    def __init__(self, folder: str | Path, size: int):
        self.folder, self.size = Path(folder), size
        if not self.folder.is_dir():
            raise FileNotFoundError(f"there is no folder {self.folder}")
        if size < 1:
            raise ValueError(f"pictures are of 1 px or more, not {size}")
        datasets = _library("datasets")
        if any((self.folder / f"metadata.{kind}").exists() for kind in ("jsonl", "csv", "parquet")):
            silent = datasets.are_progress_bars_disabled()
            datasets.disable_progress_bars()
            try:
                # every file, whatever names say of a split, and however the folder is called
                every = {"train": [glob.escape(str(self.folder.resolve())) + "/**"]}
                self.rows = datasets.load_dataset("imagefolder", data_files=every, split="train")
            except (datasets.exceptions.DatasetsError, ValueError, OSError) as fault:
                raise ValueError(f"the metadata file in {self.folder} cannot be used: {_innermost(fault)}") from fault
            finally:
                if not silent:
                    datasets.enable_progress_bars()
            column = next((name for name in CAPTIONS if name in self.rows.column_names), None)
            if column is None or "image" not in self.rows.column_names:
                raise ValueError(
                    f"the metadata file in {self.folder} needs the columns file_name and one of {', '.join(CAPTIONS)}"
                )
            self.rows = self.rows.select_columns(["image", column]).rename_columns(
                {column: "caption"} if column != "caption" else {}
            )
        else:
            self.rows = datasets.Dataset.from_dict(self._beside())
        # paths for now, not pictures: a broken file is to be named when it is met
        self.rows = self.rows.cast_column("image", datasets.Image(decode=False))
        lost = next((image["path"] for image in self.rows["image"] if not Path(image["path"]).exists()), None)
        if lost is not None:
            raise ValueError(f"the metadata file in {self.folder} names {lost}, which is not there")
        self.about = {"folder": str(self.folder.resolve()), "size": size, "pictures": len(self)}  # to a cache

    def _beside(self) -> dict[str, list[str]]:
        found = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in PICTURES)
        if not found:
            raise ValueError(f"{self.folder} holds no pictures; those that are read end in {', '.join(PICTURES)}")
        bare = [p for p in found if not p.with_suffix(".txt").exists()]
        if bare:
            more = f", and {len(bare) - 1} others have none either" if len(bare) > 1 else ""
            raise ValueError(
                f"{bare[0]} has no caption: write it into {bare[0].with_suffix('.txt').name} beside it{more}"
            )
        return {"image": [str(p) for p in found], "caption": [_words(p.with_suffix(".txt")) for p in found]}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        path = row["image"]["path"]
        if row["caption"] is None:
            raise ValueError(f"{path} has an empty caption in the metadata file")
        if not isinstance(row["caption"], str):
            raise ValueError(f"{path} has a caption in the metadata file that is no text: {row['caption']!r}")
        try:
            with Image.open(path) as image:
                return {"image": to_tensor(image, self.size), "caption": row["caption"]}
        except (UnidentifiedImageError, OSError) as fault:
            raise ValueError(f"{path} is no whole picture ({fault}): mend it or take it out of the folder") from fault


def _words(file: Path) -> str:
    try:
        return " ".join(file.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not in UTF-8: save it so, and its letters can be read") from None


def shards(
    urls: str | Path | Sequence[str | Path], size: int, *, shuffle: int = 1000, seed: int = 0
) -> IterableDataset:
    """A stream of tar files in WebDataset's layout (NAME.jpg with NAME.txt), split among processes and workers.

    urls: "shards/{000..009}.tar", a list, or what else webdataset opens. shuffle: the buffer's size (0 = off).
    A resumed run reads a stream from its beginning: only indexed data continue where they were.
    """
    wds = _library("webdataset")
    urls = str(urls) if isinstance(urls, Path) else urls
    names = wds.shardlists.expand_urls(urls) if isinstance(urls, str) else list(map(str, urls))
    names = [name for pattern in names for name in (sorted(glob.glob(pattern)) if "*" in pattern else [pattern])]
    local = [name for name in names if "://" not in name and not name.startswith("pipe:")]
    lost = [name for name in local if not Path(name).exists()]
    if lost or not names:
        raise FileNotFoundError(f"there is no folder and no shard {lost[0] if lost else urls}")

    def item(sample: dict[str, Any]) -> dict[str, Any]:
        image = next((v for k, v in sample.items() if isinstance(v, Image.Image)), None)
        caption = next((sample[k] for k in ("txt", "text", "caption") if k in sample), None)
        if caption is None and isinstance(sample.get("json"), dict):
            caption = next((sample["json"][name] for name in CAPTIONS if name in sample["json"]), None)
        if image is None or caption is None:
            lacking = "picture" if image is None else "caption"
            raise ValueError(
                f"{sample['__key__']} in {sample['__url__']} has no {lacking}: NAME.jpg and NAME.txt go together"
            )
        if not isinstance(caption, str):
            raise ValueError(f"{sample['__key__']} in {sample['__url__']} has a caption that is no text: {caption!r}")
        return {"image": to_tensor(image, size), "caption": " ".join(caption.split())}

    def damaged(fault: Any) -> bool:
        inner = _innermost(fault)
        said = inner.args[0] if inner.args and isinstance(inner.args[0], str) else inner
        place = f"{fault.key}.{fault.k} in {fault.url}" if hasattr(fault, "url") else " or ".join(names)
        raise ValueError(f"{place} is damaged: {said}") from fault

    stream = wds.WebDataset(
        names,
        shardshuffle=len(names) if shuffle else False,
        nodesplitter=wds.split_by_node,
        seed=seed,
        empty_check=False,
        handler=damaged,
    )
    stream = stream.decode(_as_stored, handler=damaged)
    return (stream.shuffle(shuffle, seed=seed) if shuffle else stream).map(item)


def _as_stored(name: str, data: bytes) -> Image.Image | None:
    """The pictures among a sample's files, in their own mode: webdataset's decoder would lay them on black."""
    if not name.lower().endswith(PICTURES):
        return None
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        raise ImportError(f"this needs the {name} library: pip install 'minimagen-course[data]'") from fault


def _innermost(fault: BaseException) -> BaseException:
    while (deeper := fault.__cause__ or fault.__context__) is not None:
        fault = deeper
    return fault
