"""Draw the two pictures of the documents.

docs/toyland.png    on the first page: eight scenes of Toyland as its renderer shows them
docs/samples.jpg    on the model card: what the shipped weights draw, one picture a prompt, at seed 0, none left out
"""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from minimagen.cascade import Imagen, to_pil  # noqa: E402
from minimagen.files import atomic  # noqa: E402
from minimagen.samples import COLUMNS, PROMPTS  # noqa: E402
from minimagen.toyland.compose import random_scene  # noqa: E402
from minimagen.toyland.render import render  # noqa: E402

SEEDS = (2, 7, 12, 10, 8, 16, 5, 23)  # a word, pattern, stack, shine and metal, counts, glass, two materials, rings


def sheet(tiles: list[Image.Image], edge: int, columns: int, name: str, **how) -> None:
    """docs/name, of tiles brought to edge × edge pixels, with a white line between them."""
    pitch = edge + 2
    page = Image.new("RGB", (columns * pitch - 2, len(tiles) // columns * pitch - 2), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile.resize((edge, edge)), (i % columns * pitch, i // columns * pitch))
    with atomic(ROOT / "docs" / name) as temporary:
        page.save(temporary, **how)


if __name__ == "__main__":
    scenes = [to_pil(render([random_scene(seed)], 400))[0] for seed in SEEDS]
    sheet(scenes, 200, 4, "toyland.png", format="PNG", optimize=True)
    drawn = Imagen.from_pretrained(stages=(64, 256)).draw(list(PROMPTS), seed=0)
    sheet(drawn, 128, COLUMNS, "samples.jpg", format="JPEG", quality=88)
