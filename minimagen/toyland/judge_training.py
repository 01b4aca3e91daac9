"""Training the judge: renders in, a judge's folder out.

    for step in train_judge("runs/judge", minutes=60): ...

Each scene is rendered once and kept on disk (about 0.2 MB), however long the training. A run can be stopped at any
time, and goes on from where it was. How far the result can be trusted, judge_check.py says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from minimagen import files
from minimagen.toyland.judge import Judge, resize
from minimagen.toyland.judge_data import ATTRIBUTES, SETTING, Cache, heat_map, junk, targets, worn
from minimagen.toyland.judge_net import ALPHABET, GRID, HEADS, WHOLE, JudgeConfig, JudgeNet

STATE = "training.safetensors"


def losses(net: JudgeNet, x: Tensor, t: dict[str, Tensor], fine: Tensor, real: Tensor, words: list[str | None]):
    """Every part of the loss by name. fine (B,): true 256 px pictures, which show patterns. real (B,):

    false for junk.
    """
    grid, whole, _ = net(x)
    B = len(x)
    p, heat = grid[:, HEADS["heat"]].sigmoid().clamp(1e-4, 1 - 1e-4), heat_map(t)
    peak = heat == 1
    focal = torch.where(peak, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
    out = {"heat": (focal.sum((1, 2, 3)) * real).sum() / peak.sum().clamp(min=1)}
    out["readable"] = F.binary_cross_entropy_with_logits(whole[:, WHOLE["readable"]][:, 0], real.float())
    for k, name in enumerate(SETTING):
        out[name] = F.cross_entropy(whole[real][:, WHOLE[name]], t["setting"][real, k])

    # what stands at a centre is asked at its cell and at the four beside it, so that a peak one cell off still reads
    # well
    center = (t["box"][..., :2] + t["box"][..., 2:]) / 2 * GRID  # (B, n, 2)
    beside = torch.tensor([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])
    cell = (center.long()[:, :, None] + beside).clamp(0, GRID - 1)  # (B, n, 5, 2)
    keep = (t["there"] & real[:, None])[..., None].expand(*cell.shape[:3])
    b = torch.arange(B)[:, None, None].expand_as(keep)[keep]
    j, i = cell[..., 0][keep], cell[..., 1][keep]
    values = grid[b, :, i, j]  # (M, C)

    def at(target: Tensor) -> Tensor:  # (B, n, …) → (M, …)
        return target[:, :, None].expand(*keep.shape, *target.shape[2:])[keep]

    thing = ~at(t["sign"])
    out["offset"] = F.l1_loss(values[:, HEADS["offset"]], at(center) - 0.5 - torch.stack([j, i], -1))
    size = (t["box"][..., 2:] - t["box"][..., :2]).clamp(min=0.01).log()
    out["box"] = 2 * F.l1_loss(values[:, HEADS["box"]], at(size))
    out["place"] = F.l1_loss(values[:, HEADS["place"]], at(t["place"]))
    looks = at(t["looks"])
    for k, name in enumerate(ATTRIBUTES):
        use = thing & fine[b] if name == "pattern" else thing
        if use.any():
            out[name] = F.cross_entropy(values[use][:, HEADS[name]], looks[use, k])
    signs = [k for k, w in enumerate(words) if w and real[k]]
    if signs:
        boxes = jittered(t["box"][signs, -1])
        logits = net.read(x[signs], boxes)  # (N, T, 27)
        letters = [torch.tensor([ALPHABET.index(c) + 1 for c in words[k] or ""]) for k in signs]
        out["word"] = F.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1),
            torch.cat(letters),
            torch.full((len(signs),), logits.shape[1]),
            torch.tensor([len(w) for w in letters]),
        )
    return out


def jittered(boxes: Tensor) -> Tensor:
    """Boards a little off, as the detector finds them."""
    tall = (boxes[:, 3] - boxes[:, 1])[:, None]
    shift, stretch = torch.randn(len(boxes), 2) * 0.05 * tall, 1 + 0.06 * torch.randn(len(boxes), 1)
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift, (boxes[:, 2:] - boxes[:, :2]) / 2 * stretch
    return torch.cat([center - half, center + half], 1)


# -- training ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeStep:
    """One step of train_judge: of rendering ("render": scenes there so far) or of training ("train": step number)."""

    phase: str
    index: int
    progress: float  # of this phase, 0 to 1
    loss: float = float("nan")
    parts: dict[str, float] | None = None
    rate: float = 0.0  # pictures a second

    def __str__(self) -> str:
        if self.phase == "render":
            return f"rendered {self.index} scenes ({self.progress:.0%})"
        return f"step {self.index} ({self.progress:.0%})  loss {self.loss:.3f}  {self.rate:.0f} pictures/s"


def train_judge(
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    scenes: int = 24_000,
    batch: int = 48,
    lr: float = 2e-3,
    cache: str | Path | None = None,  # where renders are kept; None = beside out
    resume: bool = True,
    device: str = "cpu",
    config: JudgeConfig = JudgeConfig(),  # noqa: B008 (frozen, so shared without harm)
    save_seconds: float = 120.0,
) -> Iterator[JudgeStep]:
    """Render `scenes` scenes once, then train for so many minutes (rendering not counted) or steps. Writes a judge's
    folder.

    The learning rate rises over the first 3 % and falls to zero at the end. Step k is a function of (seed, k) alone, so
    a run bounded by steps gives the same weights whether or not it was interrupted. The weights that ship are the
    running mean of the last thousand steps'.
    """
    if (minutes is None) == (steps is None):
        raise ValueError("Say how long to train: either minutes or steps, and not both.")
    if scenes < 1 or batch < 1:
        raise ValueError(f"There must be scenes and a batch to train on; these are {scenes} and {batch}.")
    out, store = Path(out), Cache(cache or Path(out).with_name(Path(out).name + "_renders"))
    for there in store.fill(scenes, device):
        yield JudgeStep("render", there, min(1.0, there / scenes))
    torch.manual_seed(seed)
    net = JudgeNet(config).to(memory_format=torch.channels_last).to(device).train()  # type: ignore[call-overload]
    mean = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr
    )
    step, spent = 0, 0.0
    if not (out / STATE).exists() and (out / files.WEIGHTS).exists():
        raise ValueError(f"{out} holds a trained judge, and no run to go on with: name another folder")
    if resume and (out / STATE).exists():
        step, spent = _restore(out / STATE, net, mean, optimizer)
    started = saved = time.monotonic()
    kept = step  # the last step on disk
    try:
        while True:
            now = time.monotonic()
            progress = step / steps if steps else (spent + now - started) / (60 * minutes)  # type: ignore[operator]
            if progress >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, progress / 0.03 + 1e-3) * (1 - progress)
            parts = _train_step(net, optimizer, store, scenes, batch, 1_000_003 * seed + step, device)
            step += 1
            _follow(mean, net, min(0.999, step / (step + 9)))
            rate = batch / (time.monotonic() - now)
            if time.monotonic() - saved > save_seconds:
                saved, kept = time.monotonic(), step
                _store(out / STATE, net, mean, optimizer, step, spent + saved - started)
            yield JudgeStep("train", step, min(1.0, progress), sum(parts.values()), parts, rate)
    finally:  # whoever stops early finds the last step on disk
        if kept < step:
            _store(out / STATE, net, mean, optimizer, step, spent + time.monotonic() - started)
    net.load_state_dict(mean)
    judge = Judge(net)
    _measure_features(judge, store, min(scenes, 2000))
    about = {"trained": {"seed": seed, "steps": step, "batch": batch, "scenes": scenes, "lr": lr}}
    judge.save_pretrained(out, **about)


def _train_step(net, optimizer, store: Cache, scenes: int, batch: int, seed: int, device: str) -> dict[str, float]:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    chosen = [store[rng.randrange(scenes)] for _ in range(batch)]
    real, fine, pictures = torch.ones(batch, dtype=torch.bool), torch.zeros(batch, dtype=torch.bool), []
    for k, (large, small, _) in enumerate(chosen):
        fine[k] = k % 3 != 0  # a third are true 64 px renders, enlarged
        x = resize(torch.from_numpy((large if fine[k] else small).copy()).float() / 127.5 - 1)
        if rng.random() < 0.06:
            real[k], x = False, junk(x, rng)
        elif rng.random() < 0.75:
            x = worn(x, rng)
        pictures.append(x)
    x = torch.stack(pictures).to(device, memory_format=torch.channels_last)
    drawn = [scene for _, _, scene in chosen]
    t = {name: tensor.to(device) for name, tensor in targets(drawn).items()}
    with torch.autocast(device, dtype=torch.bfloat16):
        parts = losses(net, x, t, fine.to(device), real.to(device), [s.word for s in drawn])
    loss = torch.stack(list(parts.values())).sum()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    return {name: float(part.detach()) for name, part in parts.items()}


@torch.no_grad()
def _follow(mean: dict[str, Tensor], net: JudgeNet, keep: float) -> None:
    """mean ← keep · mean + (1 − keep) · weights; whole numbers (BatchNorm's counts) are taken over."""
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            mean[name].lerp_(tensor, 1 - keep)
        else:
            mean[name].copy_(tensor)


def _store(path: Path, net, mean, optimizer, step: int, spent: float) -> None:
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()} | {f"mean.{k}": v for k, v in mean.items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
    files.save_tensors(path, tensors, {"step": str(step), "spent": str(spent)})


def _restore(path: Path, net, mean, optimizer) -> tuple[int, float]:
    tensors, words = files.load_tensors(path), files.load_metadata(path)
    part = {
        kind: {k[len(kind) + 1 :]: v for k, v in tensors.items() if k.startswith(kind + ".")}
        for kind in ("net", "mean")
    }
    files.load_into(net, part["net"], path)
    for name, tensor in part["mean"].items():
        mean[name].copy_(tensor)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, i, key = name.split(".")
            state.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(words["step"]), float(words["spent"])


@torch.no_grad()
def _measure_features(judge: Judge, store: Cache, count: int) -> None:
    """The features' mean and spread over true pictures, so that each counts alike in a Fréchet distance."""
    net = judge.net
    device = next(net.parameters()).device
    rows = []
    for i in range(0, count, 32):
        x = [torch.from_numpy(store[k][0].copy()).float() / 127.5 - 1 for k in range(i, min(i + 32, count))]
        rows.append(net(torch.stack(x).to(device))[2])
    raw = torch.cat(rows)
    net.feature_mean.copy_(raw.mean(0))
    net.feature_std.copy_(raw.std(0, correction=0).clamp(min=1e-2))
