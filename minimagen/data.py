"""Pictures with captions: the toy world, a folder of your own, or streamed shards.

An item is {"image": (3, H, W) float32 in [−1, 1], "caption": str}, for a stage that enlarges also "low", the small
picture, if it is not to be the large one shrunk. Any map-style data set of such items will do, a
plain list too; one without a length is an endless stream that is asked for item 0, 1, 2, …

    ToylandImages(64)                      rendered as they are needed, for ever
    Cached(ToylandImages(64, captions=8), "cache", count=50_000)     rendered once, kept on disk, captioned by turns
    Folder("pictures", 64)                 cat.png beside cat.txt, or metadata.jsonl as Hugging Face's imagefolder
    shards("shards/{000..009}.tar", 64)    WebDataset
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from .cache import Cached as Cached
from .images import to_tensor as to_tensor
from .pictures import Folder as Folder
from .pictures import shards as shards

if TYPE_CHECKING:
    from .toyland.scene import Scene

GRID = 4  # pixels a low-res pixel: windows begin at multiples of it
LOOKS = 0.75  # share of windows that look at something


class ToylandImages(Dataset):
    """An endless stream of Toyland: item i is a function of (seed, i) alone, whoever asks, in whatever order.

    crop: only a window of so many pixels of the whole picture, at the item's "origin" (x, y); None = off. Three windows
    of four look at a thing or at the sign, for sky and floor are soon learned.
    captions: how many ways of saying it an item brings along, for a cache to take turns with.
    factor: how many times smaller the item's "low" is, the same view rendered at that size; 1 = there is none.
    A means of the large picture's pixels would still hold traces of patterns that no small picture shows.
    """

    def __init__(
        self,
        size: int,
        split: str = "train",
        *,
        crop: int | None = None,
        captions: int = 1,
        factor: int = 1,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        from .toyland.scene import WORLD_VERSION

        if crop is not None and (crop > size or crop % GRID or size % GRID):
            raise ValueError(f"a crop of {crop} px does not fit a {size} px picture in steps of {GRID} px")
        self.size, self.split, self.crop, self.captions, self.seed, self.device = (
            size,
            split,
            crop,
            captions,
            seed,
            device,
        )
        self.world, self.factor = WORLD_VERSION, factor
        told = {"world": WORLD_VERSION, "size": size, "split": split, "crop": crop, "captions": captions, "seed": seed}
        self.about = told | ({"factor": factor} if factor > 1 else {}) | ({} if crop is None else {"windows": LOOKS})

    def scene(self, index: int) -> Scene:
        from .toyland.compose import random_scene

        return random_scene((self.seed << 40) + index, self.split)

    def origin(self, index: int) -> tuple[int, int]:
        """Where item `index`'s window begins, in pixels: on the low-res picture's grid."""
        if self.crop is None:
            return 0, 0
        from .toyland.compose import boxes

        rng = random.Random(f"{self.seed}/{index}")
        if rng.random() >= LOOKS:
            room = (self.size - self.crop) // GRID
            return rng.randint(0, room) * GRID, rng.randint(0, room) * GRID
        box = rng.choice(boxes(self.scene(index)))
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        x, y = (corner(self.size, self.crop, m, rng.uniform(0.25, 0.75)) for m in middle)
        return x, y

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        from .toyland.language import captions

        scenes, windows = [self.scene(i) for i in indexes], None
        origins = [self.origin(i) for i in indexes]
        if self.crop is not None:
            windows = [tuple(v / self.size for v in (x, y, x + self.crop, y + self.crop)) for x, y in origins]
        items = rendered(scenes, self.size, windows, self.factor, self.device)
        for item, scene in zip(items, scenes, strict=True):
            said = captions(scene, self.captions)
            item |= {"caption": said[0], "captions": said}
        if self.crop is not None:
            for item, origin in zip(items, origins, strict=True):
                item["origin"] = torch.tensor(origin)
        return items


def corner(size: int, crop: int, middle: float, share: float) -> int:
    """Where a window begins that has `middle`, in [0, 1] of the picture, at this share of its width; in GRID steps."""
    return min(max(round((size * middle - crop * share) / GRID), 0), (size - crop) // GRID) * GRID


def rendered(
    scenes: Sequence[Scene], size: int, windows: Sequence[Any] | None, factor: int, device: str | torch.device = "cpu"
) -> list[dict[str, Any]]:
    """Each scene's "image", or a window of it, and its "low", the same view so many times smaller; factor 1 = none."""
    from .toyland.render import render

    items: list[dict[str, Any]] = [{"image": image} for image in render(scenes, size, windows, device)]
    if factor > 1:
        for item, low in zip(items, render(scenes, size // factor, windows, device), strict=True):
            item["low"] = low
    return items


def batches(
    data: Any, batch: int, start: int = 0, rank: int = 0, world: int = 1, workers: int = 0, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """{"image": (batch, 3, H, W), "caption": [str, …]} for ever, beginning with place `start` of the run.

    Process `rank` of `world` has its share of every batch · world places. Finite data are shuffled anew each round.
    """
    # a generator of its own, for else the loader draws its workers' seeds from the caller's
    options: dict[str, Any] = {
        "num_workers": workers,
        "collate_fn": collate,
        "generator": torch.Generator().manual_seed(seed),
    }
    if isinstance(data, IterableDataset):
        loader = DataLoader(data, batch, drop_last=True, **options)
        stream: Iterator[dict[str, Any]] = _again(loader, batch)
    else:
        order = Order(data, batch, start, rank, world, seed)
        stream = iter(DataLoader(data, batch_sampler=order, **options))
    return stream


class Order(Sampler[list[int]]):
    """Which item stands at which place of a run: by a shuffle of (seed, round), or the place itself in endless data."""

    def __init__(self, data: Any, batch: int, start: int, rank: int, world: int, seed: int):
        if batch < 1:
            raise ValueError(f"a batch holds at least one picture, not {batch}")
        self.count = len(data) if hasattr(data, "__len__") else None
        if self.count == 0:
            raise ValueError("there are no pictures to train on: the data are empty")
        self.first, self.stride, self.batch, self.seed = start + rank * batch, batch * world, batch, seed
        self._round: tuple[int, Tensor] | None = None

    def at(self, place: int) -> int:
        if self.count is None:
            return place
        turn, k = divmod(place, self.count)
        if self._round is None or self._round[0] != turn:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + turn) % 2**32)
            self._round = turn, torch.randperm(self.count, generator=generator)
        return int(self._round[1][k])

    def __iter__(self) -> Iterator[list[int]]:
        first = self.first
        while True:
            yield [self.at(place) for place in range(first, first + self.batch)]
            first += self.stride


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Items → a batch, refusing what is no picture in [−1, 1]."""
    for item in items:
        if not isinstance(item, Mapping) or "image" not in item:
            raise ValueError('the data\'s items must be {"image": (3, H, W) in [−1, 1], "caption": str}')
    images = [item["image"] for item in items]
    first = images[0]
    if not isinstance(first, Tensor) or first.ndim != 3 or first.shape[0] != 3 or not first.is_floating_point():
        kind = f"{tuple(first.shape)} {first.dtype}" if isinstance(first, Tensor) else type(first).__name__
        raise ValueError(f"a picture must be a float tensor (3, H, W) in [−1, 1], and this is {kind}")
    if any(image.shape != first.shape for image in images):
        raise ValueError("the data's pictures are of different sizes; bring them to one")
    x = torch.stack(images)
    if not float(x.abs().amax()) <= 1.001:  # also true of NaN
        raise ValueError(
            f"pictures lie in [−1, 1], and these reach {float(x.abs().amax()):.4g}: uint8 / 127.5 − 1 does it"
        )
    batch: dict[str, Any] = {"image": x}
    if all("caption" in item for item in items):
        batch["caption"] = [item["caption"] for item in items]
    for name in ("origin", "low", "nouns", "where"):
        if all(name in item for item in items):
            batch[name] = torch.stack([item[name] for item in items])
    return batch


def _again(loader: DataLoader, batch: int) -> Iterator[dict[str, Any]]:
    while True:
        count = 0
        for item in loader:
            count += 1
            yield item
        if not count:
            raise ValueError(f"the stream ended before it filled a batch of {batch} pictures")
