"""What is the text encoder's training worth? Two equal short runs, into data/encoders.json: ours, and an untrained one.

    python -m tools.compare_encoders         # ninety minutes on two cores; run again to go on where it was stopped

Both runs begin with the shipped base, whose weights that read text are drawn anew; pictures, captions, times and noise
are the same. So what differs is what the encoder knew of the language before it met a picture. The suites of synonyms
and definitions ask for words that no picture was ever captioned with; that of seen combinations asks in training's own.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minimagen import files
from minimagen.cascade import Imagen, Stage, generators
from minimagen.conditioning import Cond, noise_like
from minimagen.objective import losses
from minimagen.recipes import CPU, cook, new_stage
from minimagen.resources import data_folder
from minimagen.text import TextEncoder
from minimagen.toyland import stats
from minimagen.toyland.drawbench import suite
from minimagen.toyland.evaluate import Judged, evaluate
from minimagen.toyland.prompts import Prompt
from minimagen.toyland.render import render
from minimagen.toyland.scoring import score

READS_TEXT = ("pool.", "text_in.", "text_norm.", "text_k.", "text_v.")
ENCODERS = ("trained", "untrained")
SUITES = ("seen combinations", "synonyms", "definitions")
KINDS = ("shape", "color", "size", "material")  # patterns cannot be seen at 64 px
TIMES = (0.5, 0.7, 0.85)  # where sentences tell most
FILE = "encoders.json"


def encoder(name: str) -> TextEncoder:
    ours = TextEncoder.from_pretrained(data_folder())
    return ours if name == "trained" else TextEncoder.random(ours)


def without_text(stage: Stage) -> Stage:
    """The stage with its weights that read text as they are in a new network."""
    new = new_stage(CPU["base"], stage.denoiser.unet.config.text_dim).denoiser.unet.state_dict()
    reads = {name: value for name, value in new.items() if any(part in name for part in READS_TEXT)}
    stage.denoiser.unet.load_state_dict(reads, strict=False)
    return stage


def train(out: Path, name: str, steps: int) -> None:
    if not (out / "begin").exists():
        without_text(Stage.from_pretrained(data_folder("unet_64"))).save_pretrained(out / "begin")
    settings = {"begin": out / "begin", "cache": out / "cache", "steps": steps, "resume": True}
    for step in cook(replace(CPU["base"], warmup=20), out / name, text=encoder(name), **settings):
        if step.step % 10 == 0:
            print(name, step.step, round(step.loss, 5), flush=True)


def answers(judged: Judged, prompt: Prompt, new: bool) -> list[bool]:
    """Whether each attribute is right that the prompt says in words that are new, or else in training's own."""
    asked = [q for q in score(judged.reading, prompt.description).questions if q.kind in KINDS and q.right is not None]
    return [bool(q.right) for q in asked if (re.search(rf"\b{q.asked}s?\b", prompt.text) is None) == new]


def obeyed(judged: Sequence[Judged], new: bool) -> dict[str, Any]:
    """How many of these attributes are right, and how many would be with the prompts dealt anew."""
    right = [(r, j.prompt.text) for j in judged for r in answers(j, j.prompt, new)]
    others = [*judged[len(judged) // 2 :], *judged[: len(judged) // 2]]
    dealt = [r for j, other in zip(judged, others) for r in answers(j, other.prompt, new)]
    estimate = stats.bootstrap([float(r) for r, _ in right], [text for _, text in right])
    return {"right": asdict(estimate), "count": len(right), "chance": sum(dealt) / len(dealt) if dealt else None}


@torch.no_grad()
def saved(stage: Stage, text: TextEncoder, asked: Sequence[Prompt]) -> dict[str, float]:
    """1 − loss(told the prompt) / loss(told nothing), on true renders of the prompts' scenes, in mean over TIMES."""
    told = [p for p in asked if p.scene is not None]
    x, cond = render([p.scene for p in told], stage.size), Cond(text([p.text for p in told]))  # type: ignore[misc]

    def loss(cond: Cond) -> Tensor:
        all_times = []
        for number, t in enumerate(TIMES):
            eps = noise_like(x, generators(0, range(len(x)), number))
            all_times.append(losses(stage.denoiser, x, eps, torch.full((len(x),), t), cond))
        return torch.stack(all_times).mean(0)

    part = 1 - loss(cond) / loss(Cond(text.null(len(x))))
    return {"mean": float(part.mean()), "half": float(1.96 * part.std() / len(part) ** 0.5)}


def compare(out: Path, name: str, prompts: int) -> dict[str, Any]:
    stage, text = Stage.from_pretrained(out / name), encoder(name)
    found: dict[str, Any] = {}
    for kind in SUITES:
        asked = suite(kind, prompts)
        judged = evaluate(Imagen([stage], text), asked, pictures=2).pictures
        told = {"own": obeyed(judged, False), "new": obeyed(judged, True)}
        found[kind] = {words: row for words, row in told.items() if row["count"]} | {"saved": saved(stage, text, asked)}
        print(name, kind, json.dumps(found[kind]), flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=280, help="steps of 32 pictures for each encoder (280)")
    parser.add_argument("--prompts", type=int, default=40, help="prompts of each suite (40)")
    parser.add_argument("--out", type=Path, default=Path("runs/encoders"), help="where the runs go (runs/encoders)")
    options = parser.parse_args()
    for name in ENCODERS:
        train(options.out, name, options.steps)
    found = {name: compare(options.out, name, options.prompts) for name in ENCODERS}
    files.write_text(data_folder() / FILE, json.dumps({"steps": options.steps, **found}) + "\n")
