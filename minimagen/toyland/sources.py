"""Where the pictures that are judged come from: a folder of them, or whatever draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from minimagen.images import to_rgb
from minimagen.toyland.drawbench import DRAWBENCH, SUITES, drawbench, suite
from minimagen.toyland.parsing import parse
from minimagen.toyland.prompts import Prompt
from minimagen.toyland.scene import Scene

CHUNK = 16  # prompts drawn at once: the k-th sixteen have seed + k, so that the noise depends on nothing else
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
Draw = Callable[[list[str], int, int], Sequence[Any]]  # (prompts, pictures a prompt, seed) → pictures


def prompts_of(prompts: str | Sequence[Prompt] | Sequence[str] = "drawbench", n: int = 50) -> list[Prompt]:
    """By name: "drawbench", "suites" (n prompts of each but the captions), a suite, or a category of DrawBench.

    Or from a list: Prompts stay, captions are parsed.
    """
    if not isinstance(prompts, str):
        found = [p if isinstance(p, Prompt) else captioned(p) for p in prompts]
        if not found:
            raise ValueError("There are no prompts to draw: the list is empty.")
        return found
    if prompts == "drawbench":
        return drawbench()
    if prompts == "suites":
        return [p for s in SUITES if s != "captions" for p in suite(s, n)]
    if prompts in SUITES:
        return suite(prompts, n)
    if prompts in DRAWBENCH:
        return drawbench(prompts)
    names = ", ".join({**SUITES, **DRAWBENCH})
    raise ValueError(f"There are no prompts {prompts!r}; there are drawbench, suites, {names}.")


def captioned(text: str, scene: Scene | None = None) -> Prompt:
    """A caption of one's own: DrawBench's prompts are known by their words, others are parsed."""
    known = {p.text: p for p in drawbench()}
    if text in known and scene is None:
        return known[text]
    return Prompt(text, "captions", parse(text, synonyms=True), scene)


def folder_of_pictures(source: Any) -> Path | None:
    """The path, if it is a folder of pictures; None for everything that draws."""
    if not isinstance(source, (str, Path)):
        return None
    folder = Path(source)
    if not folder.is_dir() or any(folder.glob("unet_*/config.json")) or (folder / "model_index.json").exists():
        return None
    return folder


def from_folder(folder: Path, settings: dict) -> tuple[list[Prompt], Iterator, dict]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no pictures; there should be .png or .jpg files with their captions.")
    told: dict[str, dict] = {}
    if (listing := folder / "metadata.jsonl").exists():
        for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                told[row["file_name"]] = row
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(f"Line {number} of {listing} is not an object with a file_name.") from None
    asked = []
    for file in files:
        row = told.get(file.name, {})
        text = next((row[k] for k in ("text", "caption", "prompt") if k in row), None)
        if text is None and file.with_suffix(".txt").exists():
            text = file.with_suffix(".txt").read_text(encoding="utf-8").strip()
        if text is None:
            raise ValueError(f"{file} has no caption: neither a line in metadata.jsonl nor {file.stem}.txt beside it.")
        if not isinstance(text, str):
            raise ValueError(f"The caption of {file.name} is no text: {text!r}.")
        try:
            asked.append(captioned(text, None if row.get("scene") is None else Scene.from_dict(row["scene"])))
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"The scene of {file.name} is none of Toyland's.") from None
        except ValueError as fault:
            raise ValueError(
                f"The caption of {file.name} cannot be judged. {fault} Take it out of the folder."
            ) from fault

    def opened() -> Iterator[tuple[int, list[Image.Image], list[str]]]:
        for k, part in enumerate(parts(files)):
            yield k * CHUNK, [_open(f) for f in part], [f.stem for f in part]

    return asked, opened(), {"folder": folder.name}


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return to_rgb(image)
    except (UnidentifiedImageError, OSError) as fault:
        raise ValueError(f"{file} is not a whole picture.") from fault


def draw_of(source: Any, size: int | None, options: dict) -> Draw:
    """Whatever draws, as a function (prompts, count, seed) → pictures, `count` of each prompt in turn."""
    if isinstance(source, (str, Path)):
        if (Path(source) / "model_index.json").exists():
            from diffusers import DiffusionPipeline

            source = DiffusionPipeline.from_pretrained(str(source))
        else:
            from minimagen.cascade import Imagen

            source = Imagen.from_pretrained(source)
        source = source.to("cuda") if torch.cuda.is_available() else source
    if hasattr(source, "draw"):
        return lambda texts, count, seed: source.draw(texts, count=count, seed=seed, size=size, **options)
    if hasattr(source, "components"):  # a diffusers pipeline

        def pipe(texts: list[str], count: int, seed: int) -> Sequence[Any]:
            many = [t for t in texts for _ in range(count)]
            noise = [torch.Generator().manual_seed(1_000_000 * seed + k) for k in range(len(many))]
            return source(prompt=many, generator=noise, **options).images

        return pipe
    if callable(source):
        return lambda texts, count, seed: source(texts, count, seed)
    raise ValueError(f"A {type(source).__name__} draws nothing: give a folder, an Imagen, a pipeline or a function.")


def parts(items: Sequence) -> Iterator[Any]:
    """CHUNK of them at a time, which bounds the memory of whatever is done with them."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def drawing(
    draw: Draw, asked: list[Prompt], pictures: int, seed: int
) -> Iterator[tuple[int, Sequence[Any], list[str]]]:
    texts = [p.text for p in asked[::pictures]]
    for k, part in enumerate(parts(texts)):
        first = k * CHUNK
        drawn = draw(part, pictures, seed + k)
        if len(drawn) != len(part) * pictures:
            raise ValueError(f"{len(part) * pictures} pictures were to be drawn, and {len(drawn)} came.")
        names = [f"{first + i:05d}_{c}" for i in range(len(part)) for c in range(pictures)]
        yield first * pictures, drawn, names
