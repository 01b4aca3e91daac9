"""How well do pictures show what their prompts say? A table, with the judge's own error beside every score.

    evaluate(imagen)                                          # DrawBench, four pictures a prompt
    evaluate("drawings/", out="report/")                      # a folder of pictures with their captions
    evaluate(imagen, "captions", n=2000, pictures=1, size=64)    # the Fréchet distance, beside its floor

alignment: every question that the prompt allows is answered rightly; an unreadable picture is wrong.
fidelity: does the picture look like one of this world, whatever it shows?
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from minimagen.toyland import stats
from minimagen.toyland.judge import Judge, Reading, as_list, shipped
from minimagen.toyland.prompts import Prompt
from minimagen.toyland.scene import Scene
from minimagen.toyland.scoring import KINDS, Score, legal, score
from minimagen.toyland.sources import draw_of, drawing, folder_of_pictures, from_folder, parts, prompts_of
from minimagen.toyland.stats import Estimate

FEWEST = 100  # pictures, for a Fréchet distance


@dataclass(frozen=True)
class Judged:
    """One picture: its prompt, what was read, and how it scored."""

    prompt: Prompt
    reading: Reading
    score: Score
    name: str
    thumbnail: Image.Image = field(repr=False)


@dataclass(frozen=True)
class Row:
    """A line of the table: how often a category of prompts, or a kind of question, came out right."""

    name: str
    prompts: int
    pictures: int
    right: Estimate
    judge: float | None  # the same on true renders: what a perfect painter would score; None = not tried
    chance: float | None = None  # on captions dealt to the wrong pictures of the same category


@dataclass(frozen=True)
class Evaluation:
    categories: list[Row]
    questions: list[Row]
    fidelity: dict[str, float | int | None]
    settings: dict[str, Any]
    pictures: list[Judged] = field(repr=False)

    @property
    def alignment(self) -> Estimate:
        """Over all pictures: the last line of the table."""
        return self.categories[-1].right

    def to_dict(self) -> dict[str, Any]:
        rows = {"categories": list(map(asdict, self.categories)), "questions": list(map(asdict, self.questions))}
        pictures = [
            {"name": p.name, "prompt": p.prompt.text, "category": p.prompt.category, "right": p.score.right}
            | {"wrong": p.score.wrong, "reading": p.reading.to_dict()}
            for p in self.pictures
        ]
        return {**rows, "fidelity": self.fidelity, "settings": self.settings, "pictures": pictures}

    def to_markdown(self) -> str:
        from minimagen.toyland.report import markdown

        return markdown(self)

    def save(self, folder: str | Path) -> list[Path]:
        """evaluation.md, evaluation.json and evaluation.html, whole or not at all; gives their paths."""
        from minimagen.toyland.report import save

        return save(self, Path(folder))


def evaluate(
    source: Any,
    prompts: str | Sequence[Prompt] | Sequence[str] = "drawbench",
    *,
    n: int = 50,
    pictures: int = 4,
    size: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    keep: bool = False,
    judge: Judge | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **options: Any,
) -> Evaluation:
    """Draw and judge, or judge what is drawn already.

    source: a folder of pictures with captions (metadata.jsonl, or a .txt beside each), whose captions then are the
    prompts; an Imagen; a folder of weights; a diffusers pipeline; or any function (prompts, count, seed) → pictures.
    prompts, n: see `prompts_of`; or a list of Prompts, or of captions. pictures: of each prompt. size, options: for
    Imagen.draw. out: where the report is written. keep: write the pictures there too. progress: called with (done, of)
    after every few pictures.
    """
    judge = judge or shipped()
    settings = {"pictures": pictures, "size": size, "seed": seed, **{k: str(v) for k, v in options.items()}}
    if (folder := folder_of_pictures(source)) is not None:
        said = [name for name, value in {"size": size, **options}.items() if value is not None]
        said += ["prompts"] if prompts != "drawbench" else []
        if said:
            told = "the pictures are drawn already, and their captions are the prompts"
            raise ValueError(f"In {folder} {told}: leave out {', '.join(said)}.")
        asked, drawn, settings = from_folder(folder, settings)
    else:
        if not 1 <= pictures <= 1000:
            raise ValueError(f"Between 1 and 1000 pictures are drawn of a prompt; {pictures} were asked for.")
        asked = [p for p in prompts_of(prompts, n) for _ in range(pictures)]
        drawn = drawing(draw_of(source, size, options), asked, pictures, seed)
        settings["prompts"] = prompts if isinstance(prompts, str) else len(asked) // pictures
    judged, features, looks = [], [], []
    for start, part, names in drawn:
        readings, raw = judge.look(part)
        features.append(raw)
        for k, (picture, reading, name) in enumerate(zip(as_list(part), readings, names)):
            prompt = asked[start + k]
            looks.append(_look(picture))
            thumbnail = _thumbnail(picture)
            judged.append(Judged(prompt, reading, score(reading, prompt.description), name, thumbnail))
            if keep and out is not None:
                _keep(Path(out) / "pictures" / f"{name}.png", picture)
        shape = as_list(part)[0].shape[-1]
        if progress is not None:
            progress(len(judged), len(asked))
    settings["size"] = shape
    if keep and out is not None:
        _keep_captions(Path(out) / "pictures", judged)
    truths, true_features, true_looks = _truths(judge, [j.prompt for j in judged], shape)
    fidelity = _fidelity(judge, judged, torch.cat(features), torch.stack(looks), true_features, true_looks, shape)
    result = Evaluation(*_rows(judged, truths), fidelity, settings, judged)
    if out is not None:
        result.save(out)
    return result


# -- what is made of them ----------------------------------------------------------------------------------------------


def _look(picture: Tensor) -> Tensor:
    """(5,): the part of all values within 0.05 of black or white; the mean spread between channels;

    the channels' means.
    """
    clipped = (picture.abs() > 0.95).float().mean()
    chroma = (picture.amax(0) - picture.amin(0)).mean()
    return torch.cat([clipped[None], chroma[None], picture.mean((1, 2))]).cpu()


def _pil(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def _thumbnail(picture: Tensor) -> Image.Image:
    image = _pil(picture)
    image.thumbnail((128, 128), Image.Resampling.LANCZOS)
    return image


def _truths(judge: Judge, asked: Sequence[Prompt], size: int) -> tuple[dict[str, Score], Tensor | None, Tensor | None]:
    """How the judge scores true renders of the prompts' scenes, by prompt; and their features and looks."""
    scenes = {p.text: (p, p.scene) for p in asked if p.scene is not None}
    if not scenes:
        return {}, None, None
    scores, features, looks = {}, [], []
    for pairs in parts(list(scenes.values())):
        part = [p for p, _ in pairs]
        x = _render([scene for _, scene in pairs], size)
        readings, raw = judge.look(x)
        scores.update({p.text: score(r, p.description) for p, r in zip(part, readings)})
        features.append(raw)
        looks += [_look(picture) for picture in x]
    return scores, torch.cat(features), torch.stack(looks)


def _render(scenes: Sequence[Scene], size: int) -> Tensor:
    from minimagen.toyland.render import render

    return render(scenes, min(size, 256))  # the judge reads no larger ones


def _rows(judged: list[Judged], truths: dict[str, Score]) -> tuple[list[Row], list[Row]]:
    names = dict.fromkeys(j.prompt.category for j in judged)
    groups = [(name, [j for j in judged if j.prompt.category == name]) for name in names]
    categories = [
        _row(name, part, [j.score.right for j in part], truths, chance=_chance(part)) for name, part in groups
    ]
    if len(groups) > 1:
        shuffled = [(row.chance, row.pictures) for row in categories if row.chance is not None]
        chance = sum(c * n for c, n in shuffled) / sum(n for _, n in shuffled) if shuffled else None
        categories.append(_row("all", judged, [j.score.right for j in judged], truths, chance=chance))
    questions = []
    for kind in KINDS:
        answered = [(j, right) for j in judged if (right := j.score.of(kind)) is not None]
        if answered:
            part, answers = [j for j, _ in answered], [right for _, right in answered]
            questions.append(_row(kind, part, answers, truths, kind))
    return categories, questions


def _row(
    name: str,
    part: list[Judged],
    right: list[bool],
    truths: dict[str, Score],
    kind: str | None = None,
    chance: float | None = None,
) -> Row:
    texts = [j.prompt.text for j in part]
    true = [truths[t].right if kind is None else truths[t].of(kind) for t in dict.fromkeys(texts) if t in truths]
    tried = [bool(t) for t in true if t is not None]
    judge = sum(tried) / len(tried) if tried else None
    return Row(name, len(set(texts)), len(part), stats.bootstrap([float(r) for r in right], texts), judge, chance)


def _chance(part: list[Judged]) -> float | None:
    """How often a picture is right against another prompt of its category; None where there is no other."""
    # half way round, so that no one keeps its own
    others = [part[(i + len(part) // 2) % len(part)].prompt for i in range(len(part))]
    fits = [score(j.reading, o.description).right for j, o in zip(part, others) if o.text != j.prompt.text]
    return sum(fits) / len(fits) if fits else None


def _fidelity(
    judge: Judge,
    judged: list[Judged],
    features: Tensor,
    looks: Tensor,
    true_features: Tensor | None,
    true_looks: Tensor | None,
    size: int,
) -> dict[str, float | int | None]:
    """Everything that needs no prompt.

    Distances are to renders of other scenes, so their floor is what true pictures score.
    """
    out: dict[str, float | int | None] = {
        "pictures": len(judged),
        "readable": sum(j.reading.readable for j in judged) / len(judged),
        "legal": sum(legal(j.reading) for j in judged) / len(judged),
    }
    for name, k in (("clipped", 0), ("chroma", 1), ("red", 2), ("green", 3), ("blue", 4)):
        out[name] = float(looks[:, k].mean())
        out[f"{name} excess"] = None if true_looks is None else float(looks[:, k].mean() - true_looks[:, k].mean())
    # the first picture of each prompt: several of one prompt are alike, and would pass for a lack of variety
    first = [i for i, j in enumerate(judged) if i == 0 or j.prompt.text != judged[i - 1].prompt.text]
    if len(first) > 1:
        out["diversity"] = stats.diversity(features[first])
        out["true diversity"] = (
            None if true_features is None or len(true_features) < 2 else stats.diversity(true_features)
        )
    captions = {j.prompt.category for j in judged} == {"captions"}
    if captions and len(first) >= FEWEST:  # other prompts are of no distribution that true pictures could be drawn from
        real = _true_features(judge, len(first), size)
        out["fréchet count"] = len(first)
        out["fréchet"] = stats.frechet(real, features[first])
        out["fréchet floor"] = stats.frechet(real, _true_features(judge, len(first), size, second=True))
    return out


def _true_features(judge: Judge, count: int, size: int, second: bool = False) -> Tensor:
    from minimagen.toyland.compose import random_scene

    first = 2_900_000_000 + 10_000_000 * second
    scenes = [random_scene(first + i, "train") for i in range(count)]
    return torch.cat([judge.features(_render(part, size)) for part in parts(scenes)])


def _keep(path: Path, picture: Tensor) -> None:
    from minimagen import files

    with files.atomic(path) as temporary:
        _pil(picture).save(temporary, "PNG")


def _keep_captions(folder: Path, judged: list[Judged]) -> None:
    from minimagen import files

    rows = [{"file_name": f"{j.name}.png", "text": j.prompt.text} for j in judged]
    files.write_text(folder / "metadata.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
