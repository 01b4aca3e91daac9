"""What the commands do. `cli.py` parses; here torch is imported, pictures are drawn and files are written."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
BUDGET = ("minutes", "steps", "seed", "resume")


def version() -> str:
    """What `minimagen --version` says: package, version of Toyland, and the networks that ship, by their SHA-256."""
    from . import __version__
    from .resources import data_folder
    from .toyland.scene import WORLD_VERSION

    lines = [f"minimagen {__version__}", f"Toyland, version {WORLD_VERSION}"]
    try:
        configs = sorted(data_folder().glob("*/config.json"))
    except FileNotFoundError:
        configs = []
    for path in configs:
        digest = json.loads(path.read_text(encoding="utf-8")).get("sha256", "")
        lines.append(f"weights {path.parent.name} {digest[:12]}".strip())
    return "\n".join(lines if configs else [*lines, "no weights ship with this copy"])


def draw(args: Namespace) -> None:
    """Pictures of the sentences; their paths go to standard output, one a line."""
    prompts = [" ".join(prompt.split()) for prompt in args.prompt]
    if not all(prompts):
        raise ValueError("an empty sentence has nothing to draw; say what should be in the picture")
    targets = places(Path(args.out), prompts, args.count, args.seed, args.first)
    options = settings(args)
    own = None if args.enlarge is None else open_picture(Path(args.enlarge))

    from .cascade import Imagen, from_pil
    from .files import write_text
    from .terminal import Progress

    imagen = Imagen.from_pretrained(args.weights, stages=args.stages).to(device(args.device))
    if any("world" in stage.about for stage in imagen.stages):
        doubt(prompts)
    small = None if own is None else from_pil(own)
    steps = dict(zip((number for number, _ in imagen.running(args.size, small)), args.steps or []))
    with Progress(lambda stage: steps.get(stage, imagen.stages[stage].steps), args.watch) as progress:
        options |= {"count": args.count, "size": args.size, "seed": args.seed, "first": args.first, "image": small}
        told = [prompt for prompt in prompts or [""] for _ in range(args.count)]
        for i, image in enumerate(imagen.drawn(prompts or None, progress=progress, **options)):
            path, prompt = targets[i], told[i]
            save_picture(path, image, {"prompt": prompt, "seed": str(args.seed), "index": str(args.first + i)})
            if prompt and Path(args.out) in path.parents:  # a folder of drawings can be evaluated, or trained on
                write_text(path.with_suffix(".txt"), prompt + "\n")
            print(path)


def train(args: Namespace) -> None:
    """Train one stage into its place in a cascade's folder, whose path goes to standard output."""
    from .terminal import Training

    writable(Path(args.out))
    make = {"text": _text, "judge": _judge}.get(args.stage, _pictures)
    run, place = make(args, Path(args.out), {name: getattr(args, name) for name in BUDGET})
    with Training(args.stage, args.minutes, args.steps) as progress:
        for step in run:
            progress(step)
    print(place)


def _text(args: Namespace, out: Path, budget: dict[str, Any]) -> tuple[Iterator[Any], Path]:
    from .pretrain import pretrain

    _fresh(out / "t5", args.resume)
    return pretrain(out, **budget, device=device(args.device)), out / "text_encoder"


def _judge(args: Namespace, out: Path, budget: dict[str, Any]) -> tuple[Iterator[Any], Path]:
    from .toyland.judge_training import train_judge

    _fresh(out / "judge", args.resume)
    return train_judge(out / "judge", **budget, device=device(args.device)), out / "judge"


def _pictures(args: Namespace, out: Path, budget: dict[str, Any]) -> tuple[Iterator[Any], Path]:
    from . import checkpoint
    from .data import Folder, shards
    from .recipes import cook, new_data, new_twins, recipe
    from .text import TextEncoder

    dish = recipe(args.stage, None if args.preset is None else args.preset == "gpu")
    data, pairs = None, getattr(args, "pairs", None)
    if args.data is not None:
        if pairs:
            raise ValueError("twins are Toyland's, and pictures of one's own have none: leave out --pairs, or --data")
        data = Folder(args.data, dish.size) if Path(args.data).is_dir() else shards(args.data, dish.size)
    own = TextEncoder.from_pretrained(out) if (out / "text_encoder").is_dir() else None
    given = None if args.text is None else TextEncoder.from_pretrained(args.text)
    if own and given and given.fingerprint != own.fingerprint:
        raise ValueError(f"{out} has a text encoder of its own: leave out --text, or name another folder by --out")
    names = ("batch", "lr", "accumulate", "precision", "workers")
    options = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    stage = f"unet_{dish.size}"
    place, begin = out / stage, None if args.begin is None else Path(args.begin) / stage
    for part in (place, place / "small"):  # what is rendered may lie there without a run
        _fresh(part, args.resume or not (part / checkpoint.NAME).exists())
    dish = dish if pairs is None else replace(dish, pairs=pairs)
    if data is None and dish.cache is not None and device(None) == "cuda":  # which would wait for what is rendered
        for new in (new_data, new_twins) if dish.pairs else (new_data,):
            _fill(new(dish, args.cache or place / "cache", args.seed))
    text = own or given
    run = cook(dish, place, text=text, data=data, begin=begin, cache=args.cache, **budget, **options)
    return _beside_its_text(run, text, out), place


def _beside_its_text(run: Generator[Any, None, None], text: Any, out: Path) -> Iterator[Any]:
    """The run, whose folder gets the encoder that it reads, so that it can be drawn from."""
    from .resources import data_folder
    from .text import TextEncoder

    with closing(run):
        for step in run:
            if step.main and not (out / "text_encoder").is_dir():
                (text or TextEncoder.from_pretrained(data_folder())).save_pretrained(out)
            yield step


def _fill(cached: Any) -> None:
    """All of a cache's pictures: every processor renders some."""
    from tqdm import tqdm

    for _ in tqdm(cached.fill_by(os.cpu_count() or 1), "rendering", cached.chunks - cached.filled, disable=None):
        pass


def _fresh(place: Path, resume: bool) -> None:
    if place.exists() and not resume:
        raise ValueError(f"{place} holds a run already: go on with --resume, or name another folder by --out")


def evaluate(args: Namespace) -> None:
    """Draw and judge, or judge what is drawn already; the tables go to standard output, the report to a folder."""
    from tqdm import tqdm

    from .cascade import Imagen
    from .toyland.evaluate import evaluate as examine
    from .toyland.judge import Judge

    out = Path(args.out)
    writable(out)
    judge = Judge.from_pretrained(args.judge) if args.judge else None
    source = Imagen.from_pretrained().to(device(None)) if args.source is None else args.source
    with tqdm(unit="picture", disable=None) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        names = ("n", "pictures", "size", "seed", "keep")
        options = {name: getattr(args, name) for name in names} | settings(args)
        report = examine(source, args.prompts, out=out, judge=judge, progress=progress, **options)
    print(report.to_markdown())
    print(out / "evaluation.html")


def export(args: Namespace) -> None:
    """A cascade in another library's layout."""
    from .cascade import Imagen
    from .export import to_diffusers

    writable(Path(args.folder))
    to_diffusers(Imagen.from_pretrained(args.weights), args.folder)
    print(args.folder)


def doubt(prompts: Sequence[str]) -> None:
    """Say which sentences speak of what Toyland has not: the networks know no other world."""
    from .terminal import note
    from .toyland.parsing import parse

    for prompt in prompts:
        try:
            parse(prompt, synonyms=True)
        except ValueError as fault:
            note(f"{str(fault).rstrip('.')}, so the picture may not follow {prompt!r}")


def settings(args: Namespace) -> dict[str, Any]:
    """The fields of a Stage that the command line sets, as `Imagen.draw` takes them."""
    from .denoiser import Dynamic, Static

    options = {name: getattr(args, name) for name in ("steps", "guidance", "aug")}
    options |= {"eta": args.eta}
    names = args.threshold or (["dynamic"] if args.percentile else None)
    if names is not None:
        dynamic = Dynamic() if args.percentile is None else Dynamic(p=args.percentile)
        known = {"static": Static(), "dynamic": dynamic, "none": None}
        options["threshold"] = [known[name] for name in names]
    return {name: value for name, value in options.items() if value is not None}


def device(name: str | None) -> str:
    """The device that was asked for, or a GPU if there is one."""
    import torch

    chosen = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError):
        raise ValueError(f"there is no device {chosen!r} here; leave --device out, or say cpu") from None
    return chosen


def places(out: Path, prompts: Sequence[str], count: int, seed: int, first: int = 0) -> list[Path]:
    """Where the pictures go, known to be writable before the first is drawn."""
    prompts = prompts or ["picture"]
    total = len(prompts) * count
    if out.suffix.lower() in PICTURES:
        stem = out.with_suffix("")
        paths = [out] if total == 1 else [Path(f"{stem}-{first + i}{out.suffix}") for i in range(total)]
    elif out.suffix and not out.is_dir():
        raise ValueError(f"{out} is neither a folder nor a picture's name; pictures end in {', '.join(PICTURES)}")
    else:
        names = [re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:60] or "picture" for prompt in prompts]
        names = [name for name in names for _ in range(count)]
        numbers = [f"-{first + i}" if total > 1 or first else "" for i in range(total)]
        paths = [out / f"{name}-{seed}{number}.png" for name, number in zip(names, numbers)]
    writable(paths[0].parent)
    return paths


def writable(folder: Path) -> None:
    """Find out now, not after an hour of work, that nothing can be written there."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"{there} is no folder that may be written to; choose another")


def open_picture(path: Path) -> Image:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise FileNotFoundError(f"there is no picture {path}")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError) as fault:
        raise ValueError(f"{path} is no picture that can be read, or it was cut short") from fault


def save_picture(path: Path, image: Image, about: dict[str, str]) -> None:
    """Written whole or not at all. A PNG carries its sentence and seed with it."""
    from PIL.PngImagePlugin import PngInfo

    from .files import atomic

    kind = PICTURES[path.suffix.lower()]
    extra: dict[str, Any] = {}
    if kind == "PNG":
        extra["pnginfo"] = PngInfo()
        for name, value in about.items():
            extra["pnginfo"].add_itxt(name, value)
    with atomic(path) as temporary:
        image.save(temporary, format=kind, **extra)
