"""Draw docs/toyland.png, the picture on the first page: eight scenes of Toyland as its renderer shows them."""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from minimagen.cascade import to_pil  # noqa: E402
from minimagen.files import atomic  # noqa: E402
from minimagen.toyland.compose import random_scene  # noqa: E402
from minimagen.toyland.render import render  # noqa: E402

SEEDS = (2, 7, 12, 10, 8, 16, 5, 23)  # a word, a pattern, on top of, glass, counts, in front of, two materials, rings
EDGE, COLUMNS = 200, 4


def main() -> None:
    tiles = [to_pil(render([random_scene(seed)], 2 * EDGE))[0].resize((EDGE, EDGE)) for seed in SEEDS]
    sheet = Image.new("RGB", (COLUMNS * EDGE, len(tiles) // COLUMNS * EDGE))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % COLUMNS * EDGE, i // COLUMNS * EDGE))
    with atomic(ROOT / "docs" / "toyland.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    main()
