"""Train the 64 px stage on a GPU from where it stands, beside twins of every kind, as fast as the card can be fed.

python -m tools.train_on_gpu runs/gpu --minutes 8 --renderers 15
python -m tools.train_on_gpu runs/gpu --minutes 8 --stop 1        # a part of it; the next call goes on
python -m tools.train_on_gpu runs/try --minutes 1 --batch 16 --pairs 8 --renderers 2        # on a CPU, to try it

`minimagen train` is for any machine. A GPU takes thousands of pictures a second, and all else has to stand aside: other
processes render without end, and write pictures, token ids and the places of noun phrases in chunks; what they have
written so far lies on the card, where a batch is drawn from it; one generator makes all noise. So a run cannot be
repeated bit for bit. The stage in `out` is as it ships, in half precision, with averaged weights, and counts what it
began with in.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minimagen import files, samples
from minimagen.cache import as_bytes, as_floats
from minimagen.cascade import Stage
from minimagen.conditioning import Cond, Text
from minimagen.data import GRID, ToylandImages, collate
from minimagen.denoiser import Denoiser
from minimagen.fused import fast_bf16
from minimagen.muon import optimizer_of
from minimagen.objective import spread_times
from minimagen.recipes import TIMES, TWINS, TYPICAL
from minimagen.resources import data_folder
from minimagen.stored import save_stage
from minimagen.text import TextEncoder
from minimagen.training import EMA, TrainStep, lr_factor
from minimagen.twins import ToylandTwins, attended, evened, halves, unlike, words

CAPTIONS = 8  # ways of saying each picture
CHUNK = 256  # pictures a file
SEED = 77  # of the scenes of --seed 0, which no other training has seen
APART = 6.0, 1.0  # what the twins' half difference counts: in the first half, and in the last tenth
DRAWN, ASKED = 0.7, 0.15  # what the twins' error counts, and the attention's question
LOOK_EVERY, LOG_EVERY, SAVE_EVERY = 20, 50, 60  # steps, steps, seconds


# What is rendered


def render(folder: Path, number: int, count: int, seed: int) -> None:
    """Chunk after chunk without end: those of renderer `number` of `count`."""
    torch.set_num_threads(1)
    os.nice(5)  # whoever feeds the card goes first
    text = TextEncoder.from_pretrained(data_folder())
    for turn in range(number, 1 << 30, count):
        if not (folder / f"pairs-{turn:06d}.safetensors").exists():  # what an earlier call has rendered is there
            write_chunk(folder, turn, text, seed)


def write_chunk(folder: Path, turn: int, text: TextEncoder, seed: int) -> None:
    """One file of pictures with token ids of CAPTIONS captions each, and one of twins, with what `unlike` asks for."""
    images, pairs = ToylandImages(64, captions=CAPTIONS, seed=seed), ToylandTwins(64, of=TWINS, seed=seed)
    places = range(turn * CHUNK, (turn + 1) * CHUNK)

    items = images.__getitems__(places)
    said = [one["captions"][i % len(one["captions"])] for one in items for i in range(CAPTIONS)]
    found = {"images": as_bytes(collate(items)["image"]), "ids": text.ids(said)[0].unflatten(0, (-1, CAPTIONS)).short()}
    files.save_tensors(folder / f"images-{turn:06d}.safetensors", found)

    batch = collate(pairs.__getitems__(places))
    own, others = words(text, batch, text.max_tokens)
    ids = text.ids(batch["caption"])[0].short()
    found = {"images": as_bytes(batch["image"]), "ids": ids, "where": batch["where"]}
    files.save_tensors(folder / f"pairs-{turn:06d}.safetensors", found | {"own": own, "others": others})


@contextmanager
def renderers(folder: Path, count: int, seed: int) -> Iterator[list[subprocess.Popen]]:
    """So many processes that render meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tools.train_on_gpu", str(folder), "--seed", str(seed)]
    command += ["--renderers", str(count), "--render"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    helpers = [subprocess.Popen([*command, str(i)], env=environment) for i in range(count)]
    try:
        yield helpers
    finally:
        for helper in helpers:
            helper.terminate()


@dataclass
class Pool:
    """What the renderers have written so far, on the device."""

    folder: Path
    name: str  # "images" or "pairs"
    device: torch.device
    count: int = 0
    known: set[str] = field(default_factory=set)
    rows: dict[str, Tensor] = field(default_factory=dict)

    def look(self, most: int = 64) -> None:
        """Takes in what is new, at most so many chunks."""
        found = sorted(f.name for f in self.folder.glob(f"{self.name}-*.safetensors") if f.name not in self.known)
        for name in found[:most]:
            self.known.add(name)
            tensors = files.load_tensors(self.folder / name)
            end = self.count + len(tensors["images"])
            for k, value in tensors.items():
                room = self.rows.get(k)
                if room is None or end > len(room):
                    room = torch.empty(2 * end, *value.shape[1:], dtype=value.dtype, device=self.device)
                    room[: self.count] = self.rows[k][: self.count] if self.count else room[:0]
                    self.rows[k] = room
                room[self.count : end] = value.to(self.device)
            self.count = end


def filled(folder: Path, device: torch.device, least: int, helpers: list[subprocess.Popen]) -> dict[str, Pool]:
    """The pools of pictures and of pairs, as soon as there are so many of each."""
    pools = {name: Pool(folder, name, device) for name in ("images", "pairs")}
    for pool in pools.values():
        pool.look()
        while pool.count < least:
            if all(helper.poll() is not None for helper in helpers):
                raise RuntimeError(f"{pool.count} {pool.name} are rendered, and nobody renders more: see --renderers")
            time.sleep(0.2)
            pool.look()
    return pools


# The run


@dataclass
class Batch:
    """Pictures first, then twins, one after the other; noise and time are the same in both of two."""

    x: Tensor
    eps: Tensor
    t: Tensor
    tokens: Tensor
    own: Tensor
    others: Tensor
    where: Tensor
    weights: Tensor  # of the twins' half differences, one a pair


@torch.no_grad()
def batch_of(pools: dict[str, Pool], text: TextEncoder, null: Tensor, n: int, pairs: int) -> Batch:
    """n pictures and `pairs` twins, drawn from what there is."""
    device = null.device
    one = torch.randint(pools["images"].count, (n,), device=device)
    first = 2 * torch.randint(pools["pairs"].count // 2, (pairs,), device=device)
    two = torch.stack([first, first + 1], 1).flatten()
    images, twins = pools["images"].rows, pools["pairs"].rows
    ids = images["ids"][one, torch.randint(CAPTIONS, (n,), device=device)]
    ids = torch.cat([ids, twins["ids"][two]]).long()
    mask = (ids != text.tokenizer.pad_token_id).long()
    tokens = text.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    dropped = torch.rand(n, device=device) < 0.1
    tokens[:n] = torch.where(dropped[:, None, None], null, tokens[:n])
    x = as_floats(torch.cat([images["images"][one], twins["images"][two]]))
    eps = torch.randn_like(x)
    eps[n + 1 :: 2] = eps[n::2]
    seed = int(torch.randint(1 << 30, ()))
    t_twins = spread_times(torch.arange(pairs), seed, times=TIMES).repeat_interleave(2)
    t = torch.cat([spread_times(torch.arange(n), seed, shift=2.0), t_twins]).to(device)
    weights = evened(x[n:], TYPICAL)
    return Batch(x, eps, t, tokens, twins["own"][two], twins["others"][two], twins["where"][two], weights)


def blank(n: int, pairs: int, null: Tensor) -> Batch:
    """A batch of that shape in which nothing is to be seen or asked, to compile with."""
    count, device = n + 2 * pairs, null.device
    x = torch.zeros(count, 3, 64, 64, device=device)
    asked = torch.zeros(2 * pairs, null.shape[1], dtype=torch.bool, device=device)
    where = torch.zeros(2 * pairs, 64 // GRID, 64 // GRID, dtype=torch.bool, device=device)
    t, weights = torch.full((count,), 0.5, device=device), torch.ones(pairs, device=device)
    return Batch(x, x, t, null.expand(count, -1, -1).contiguous(), asked, asked, where, weights)


def losses_of(denoiser: Denoiser, scores: list[Tensor], batch: Batch, n: int) -> Tensor:
    """(4,): the pictures' error; of the twins half the sum, half the difference, and the attention's question.

    scores: the list that `attended` fills, which is emptied here.
    """
    scores.clear()
    out, target = denoiser.loss_terms(batch.x, batch.eps, batch.t, Cond(Text(batch.tokens)))
    error = out - target
    asked = unlike([s[n:] for s in scores], batch.where, batch.own, batch.others)
    return torch.stack([error[:n].square().mean(), *halves(error[n:], batch.weights), asked])


def apart_counts(progress: float) -> float:
    """What the half difference counts, from APART[0], as it is until half the time has passed, down to APART[1]."""
    return APART[0] + (APART[1] - APART[0]) * min(1.0, max(0.0, (progress - 0.5) / 0.4))


def train(args: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    text = TextEncoder.from_pretrained(data_folder()).to(device)
    stage = Stage.from_pretrained(args.begin)
    unet = stage.denoiser.unet.requires_grad_(True).train().to(device, memory_format=torch.channels_last)
    optimizer, average = optimizer_of(unet, "muon", args.lr, (0.9, 0.99)), EMA(unet, 0.998)
    counts, state = {"steps": 0, "images": 0, "twins": 0, "seconds": 0.0}, args.out / "state.pt"
    if state.exists():
        kept = torch.load(state, map_location=device, weights_only=True)
        unet.load_state_dict(kept["unet"])
        optimizer.load_state_dict(kept["optimizer"])
        average.average, average.updates, counts = kept["average"], kept["updates"], kept["counts"]
    precision, null, told = fast_bf16(device), text([""]).tokens, []
    before, start = counts["seconds"], time.monotonic()

    def save() -> None:
        kept = {"unet": unet.state_dict(), "optimizer": optimizer.state_dict(), "average": average.average}
        with files.atomic(state) as temporary:
            torch.save(kept | {"updates": average.updates, "counts": counts}, temporary)
        took = {"steps": counts["steps"], "images": counts["images"], "twins": counts["twins"]}
        took |= {"gpu_minutes": round(counts["seconds"] / 60)}
        about = stage.about | {name: stage.about.get(name, 0) + count for name, count in took.items()}
        with average:
            save_stage(replace(stage, about=about), args.out, torch.float16)

    def steps(denoiser: Denoiser, scores: list[Tensor], pools: dict[str, Pool]) -> None:
        torch.manual_seed(args.seed + counts["steps"])
        saved = since = time.monotonic()
        while True:
            now = time.monotonic()
            counts["seconds"] = round(before + now - start, 1)
            progress = counts["seconds"] / (60 * args.minutes)
            if progress >= 1 or (args.stop and now - start >= 60 * args.stop):
                break
            rate = args.lr * lr_factor(counts["steps"], progress, args.warmup, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if counts["steps"] % LOOK_EVERY == 0:
                for pool in pools.values():
                    pool.look()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision):
                losses = losses_of(denoiser, scores, batch_of(pools, text, null, args.batch, args.pairs), args.batch)
            plain, same, apart, asked = losses
            (plain + DRAWN * (same + apart_counts(progress) * apart) + ASKED * asked).backward()
            nn.utils.clip_grad_norm_(list(unet.parameters()), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()
            counts["steps"] += 1
            counts["images"] += args.batch
            counts["twins"] += 2 * args.pairs
            told.append(losses.detach())
            if counts["steps"] % LOG_EVERY == 0:
                values = torch.stack(told).mean(0).tolist()
                speed = round(len(told) * (args.batch + 2 * args.pairs) / (time.monotonic() - since))
                since = time.monotonic()
                told.clear()
                if not math.isfinite(sum(values)):
                    raise FloatingPointError(f"the losses are {values} at step {counts['steps']}: lower --lr")
                row = counts | dict(zip(("loss", "same", "apart", "asked"), (round(v, 5) for v in values), strict=True))
                row |= {"lr": round(rate, 6), "images_per_second": speed, "rendered": pools["images"].count}
                print(json.dumps(row), flush=True)
                with open(args.out / "log.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            if time.monotonic() - saved > SAVE_EVERY:
                save()
                saved = time.monotonic()

    with attended(unet) as scores:  # once, for the compiler takes hooks as it finds them
        denoiser = stage.denoiser
        if args.compile:  # before anybody renders, for it takes minutes even of all processors
            denoiser = replace(denoiser, unet=torch.compile(unet, dynamic=False))
            with torch.autocast(device.type, torch.bfloat16, enabled=precision):
                losses_of(denoiser, scores, blank(args.batch, args.pairs, null), args.batch).sum().backward()
            optimizer.zero_grad(set_to_none=True)
        with renderers(args.out / "rendered", args.renderers, args.seed) as helpers:
            steps(denoiser, scores, filled(args.out / "rendered", device, args.batch, helpers))
    save()
    last = TrainStep(counts["steps"], counts["images"], 0.0, counts["seconds"], torch.zeros(()), average)
    samples.show(stage, last, text, args.out)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the run's folder; one that holds a run is gone on with")
    parser.add_argument("--begin", type=Path, default=data_folder("unet_64"), help="the stage (default: what ships)")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all calls together, at whose end the rate is 0")
    parser.add_argument("--stop", type=float, default=0.0, help="minutes after which this call ends; 0 = --minutes")
    parser.add_argument("--batch", type=int, default=512, help="pictures a step (512)")
    parser.add_argument("--pairs", type=int, default=256, help="twins a step (256)")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps (100)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of noise and scenes: a run from other weights takes another"
    )
    parser.add_argument(
        "--renderers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that render"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="the network: twice as fast, but not before some minutes have gone into it",
    )
    parser.add_argument("--render", type=int, help=argparse.SUPPRESS)  # this process is renderer number …
    args = parser.parse_args(arguments)
    if args.batch < 1 or args.pairs < 1:
        parser.error("a step takes one picture and one pair, or more")
    if args.render is not None:
        render(args.out, args.render, args.renderers, SEED + args.seed)
    train(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
