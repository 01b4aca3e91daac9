"""A small sample of Toyland on disk, as `datasets` and most tools expect a folder of captioned pictures.

    python -m minimagen.toyland.sample data/sample

data/sample/000.jpg … 063.jpg, and metadata.jsonl with file_name, text, and the scene from which both come.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from minimagen import files
from minimagen.toyland.compose import random_scene
from minimagen.toyland.language import caption
from minimagen.toyland.render import render
from minimagen.toyland.scene import Scene

FIRST_SEED = 4_000_000_000  # in no training and no test
COUNT, SIZE, QUALITY = 64, 256, 94


def sample_scenes(count: int = COUNT) -> list[Scene]:
    return [random_scene(FIRST_SEED + i, "train") for i in range(count)]


def write_sample(folder: str | Path, count: int = COUNT, size: int = SIZE, quality: int = QUALITY) -> list[Path]:
    """Pictures as JPEG, then metadata.jsonl; gives the paths. The same bytes every time on the same libraries."""
    if not 1 <= count <= 1000:
        raise ValueError(f"A sample has 1 to 1000 pictures; {count} were asked for.")
    folder, rows, paths = Path(folder), [], []
    for i, scene in enumerate(sample_scenes(count)):
        pixels = render([scene], size)[0].add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        paths.append(folder / f"{i:03d}.jpg")
        with files.atomic(paths[-1]) as temporary:
            Image.fromarray(pixels).save(temporary, "JPEG", quality=quality, subsampling=0, optimize=True)
        rows.append({"file_name": paths[-1].name, "text": caption(scene), "scene": scene.to_dict()})
    listing = folder / "metadata.jsonl"
    files.write_text(listing, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return [*paths, listing]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write sample scenes: pictures, captions and what is in them.")
    parser.add_argument("folder", nargs="?", default="data/sample")
    for path in write_sample(parser.parse_args().folder):
        print(path)
