"""A small T5, trained on text alone: it learns the language of Toyland without ever seeing a picture.

Span corruption and text-to-text exercises (text_tasks.py), and one loss for both:

    loss = − mean log p(token | the tokens before it, the corrupted sentence)

Only the encoder is kept: the picture model reads what it makes of each token. That the decoder had to answer from those
vectors alone is what puts into them which colour belongs to which thing, what a synonym means, and which letter comes
where.

    python -m minimagen.pretrain --out folder --minutes 20

writes folder/text_encoder/ and folder/tokenizer/ as transformers reads them, and folder/t5/, to go on from.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoint, files, hub
from .text_tasks import Corpus, Examples, Tasks
from .tokenizer import save_tokenizer, t5_tokenizer, train_tokenizer

HELD_OUT = 1 << 20  # the seed of text that no training run reads
MOMENTS = ("row_var", "col_var", "variance")  # what Adafactor remembers of a weight's gradients


@dataclass(frozen=True)
class Recipe:
    """The model's size and how it is trained. The encoder has about 3.5 million parameters."""

    dim: int = 256
    layers: int = 5
    decoder_layers: int = 2
    heads: int = 8
    hidden: int = 512  # of the gated feed-forward layers
    vocabulary: int = 2000  # pieces, besides the sentinels
    lr: float = 0.02  # relative to each weight's own size: Adafactor, as T5 and Imagen were trained
    warmup: int = 100  # steps
    tasks: Tasks = field(default_factory=Tasks)


@dataclass(frozen=True)
class PretrainStep:
    """What `pretrain` yields after each step."""

    index: int  # from 1
    loss: float
    lr: float
    tokens: int  # read and written so far, padding not counted
    seconds: float  # of training so far, over all resumed runs
    done: float  # part of the run, 1 at its end


def t5(recipe: Recipe, tokenizer: Any) -> Any:
    """An untrained T5 of this size (version 1.1's gated layers; embeddings shared by encoder, decoder and output)."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=recipe.dim,
            d_kv=recipe.dim // recipe.heads,
            d_ff=recipe.hidden,
            num_layers=recipe.layers,
            num_decoder_layers=recipe.decoder_layers,
            num_heads=recipe.heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,  # hardly a sentence comes twice, so there is nothing to learn by heart
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


def pretrain(
    out: str | Path,
    corpus: Corpus | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    recipe: Recipe = Recipe(),
    resume: bool = False,
    device: str | torch.device = "cpu",
    save_minutes: float = 3.0,
) -> Iterator[PretrainStep]:
    """Train until `minutes` or `steps` are over, whichever is first; saves now and then, and at the end.

    Who stops early finds the last step saved. corpus None: Toyland's.
    With `steps` alone a resumed run ends with the weights of an unbroken one, bit for bit.
    """
    if minutes is None and steps is None:
        raise ValueError("say how long to train: minutes, steps, or both")
    for name, budget in {"minutes": minutes, "steps": steps}.items():
        if budget is not None and not budget > 0:
            raise ValueError(f"training takes more than {budget:g} {name}")
    if not resume and (Path(out) / hub.MODEL).exists():
        raise ValueError(f"{out} holds a text encoder: name another folder, or resume its run if it is there")
    run = _Run(Path(out), corpus or _toyland(), recipe, seed, resume, device)
    saved = time.monotonic()
    with checkpoint.Guard() as guard, guard.keeping(run.save):
        while not guard.caught and (done := run.done(minutes, steps)) < 1:
            with guard.step():  # a signal waits for the end of the step
                step = run.step(done, minutes, steps)
            yield step
            if time.monotonic() - saved > 60 * save_minutes and run.done(minutes, steps) < 1:
                run.save()
                saved = time.monotonic()


class _Run:
    """The state of a training run: the model, the optimizer's, and how far it has come."""

    def __init__(self, out: Path, corpus: Corpus, recipe: Recipe, seed: int, resume: bool, device) -> None:
        self.out, self.recipe, self.seed, self.device = out, recipe, seed, device
        self.index, self.tokens, self.seconds, self.start, self.within = 0, 0, 0.0, 0, 0
        at = out / "t5"
        if resume and not (at / "state.json").is_file():
            raise FileNotFoundError(f"there is no run to resume in {out}: {at / 'state.json'} is missing")
        if resume:
            state = files.read_json(at / "state.json")
            if (state["recipe"], state["seed"]) != (_plain(recipe), seed):
                raise ValueError(f"the run in {out} has another recipe or seed: resume it with the same, or start anew")
            self.index, self.tokens, self.seconds = state["index"], state["tokens"], state["seconds"]
            self.start, self.within = state["pool"], state["within"]
            self.spiece = (out / hub.TOKENIZER / "spiece.model").read_bytes()
        else:
            sentences = [*corpus.sentences(seed, 40_000), *(s for pair in corpus.pairs(seed, 20_000) for s in pair)]
            self.spiece = train_tokenizer(sentences, recipe.vocabulary)
        self.tokenizer = t5_tokenizer(self.spiece)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = t5(recipe, self.tokenizer).to(device)
        self.named = dict(self.model.named_parameters())
        self.optimizer = torch.optim.Adafactor(self.named.values(), lr=recipe.lr)
        if resume:
            files.load_into(self.model, _with_ties(files.load_tensors(at / files.WEIGHTS, device), self.model), at)
            moments = files.load_tensors(at / "optimizer.safetensors", device)
            for name, parameter in self.named.items():
                state = {key: moments[f"{name}:{key}"] for key in MOMENTS if f"{name}:{key}" in moments}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(self.index)), **state}
        self.batches = Examples(corpus, self.tokenizer, recipe.tasks, seed).batches(self.start, self.within)

    def done(self, minutes: float | None, steps: int | None) -> float:
        """The part of the run that is over."""
        return max(self.seconds / (60 * minutes) if minutes else 0.0, self.index / steps if steps else 0.0)

    def step(self, done: float, minutes: float | None, steps: int | None) -> PretrainStep:
        """One step of Adafactor, its rate rising over the warm-up and then falling to zero along half a cosine."""
        began = time.monotonic()
        self.start, self.within, source, target = next(self.batches)
        self.within += 1
        source, target = source.to(self.device), target.to(self.device)
        lr = self.recipe.lr * min(1.0, (self.index + 1) / self.recipe.warmup) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        loss = token_loss(self.model, source, target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.index += 1
        self.tokens += int((source > 0).sum() + (target >= 0).sum())
        self.seconds += time.monotonic() - began
        return PretrainStep(self.index, loss.item(), lr, self.tokens, self.seconds, min(1.0, self.done(minutes, steps)))

    def save(self) -> None:
        """The encoder and the tokenizer, to use; the whole T5 and the optimizer's moments, to resume."""
        about = {"recipe": _plain(self.recipe), "seed": self.seed, "index": self.index, "tokens": self.tokens}
        about |= {"seconds": self.seconds, "pool": self.start, "within": self.within}
        moments: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            state = self.optimizer.state[parameter]
            moments |= {f"{name}:{key}": state[key] for key in MOMENTS if key in state}

        def write(fresh: str) -> None:
            self.model.save_pretrained(fresh)
            files.save_tensors(Path(fresh) / "optimizer.safetensors", moments)
            files.write_json(Path(fresh) / "state.json", about)

        save_tokenizer(self.spiece, self.out / hub.TOKENIZER)
        hub.save_folder(self.out / hub.MODEL, lambda fresh: encoder_of(self.model).half().save_pretrained(fresh))
        hub.save_folder(self.out / "t5", write)


def token_loss(model: Any, source: Tensor, target: Tensor) -> Tensor:
    """− mean log p(target token | those before it, the source); bfloat16 in the layers, float32 in the softmax."""
    mask = (source != model.config.pad_token_id).long()
    # two to three times as fast where the processor has bfloat16, and never needed on weights as small as a test's
    fast = torch.autocast(source.device.type, torch.bfloat16) if model.config.d_model >= 128 else nullcontext()
    with fast:
        logits = model(input_ids=source, attention_mask=mask, labels=target.clamp(min=0)).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), target.flatten())  # −100 is left out


@torch.no_grad()
def held_out_loss(folder: str | Path, corpus: Corpus | None = None, count: int = 20, spans: float = 1.0) -> float:
    """The loss on `count` batches of text that training never reads. spans: 1 = span corruption alone, 0 = pairs alone.

    folder: what `pretrain` wrote. Knowing nothing costs the log of the vocabulary's size, about 7.
    """
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    folder, corpus = Path(folder), corpus or _toyland()
    with hub.plainly(str(folder)), hub.quietly():
        model = T5ForConditionalGeneration.from_pretrained(str(folder / "t5")).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(folder / hub.TOKENIZER))
    tasks = Tasks(**files.read_json(folder / "t5" / "state.json")["recipe"]["tasks"])
    tasks = replace(tasks, spans=spans, letters=0.0, spelled=0.0)
    total = tokens = 0.0
    for _, _, source, target in itertools.islice(Examples(corpus, tokenizer, tasks, HELD_OUT).batches(), count):
        n = int((target >= 0).sum())
        total, tokens = total + n * token_loss(model, source, target).item(), tokens + n
    return total / tokens


def encoder_of(model: Any) -> Any:
    """The encoder of a T5 alone, as a copy."""
    from transformers import T5EncoderModel

    with hub.quietly():
        encoder = T5EncoderModel(model.config)
    state = model.state_dict()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return encoder


def _toyland() -> Corpus:
    from .toyland import corpus

    return corpus


def _with_ties(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """A checkpoint stores the shared embeddings once; a state dict names them four times."""
    return {name: state.get(name, state["shared.weight"]) for name in model.state_dict()}


def _plain(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m minimagen.pretrain", description="Train a small T5 on text alone.")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--minutes", type=float, help="how long to train")
    parser.add_argument("--steps", type=int, help="how many steps to train at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    options = parser.parse_args(arguments)
    run = pretrain(options.out, minutes=options.minutes, steps=options.steps, seed=options.seed, resume=options.resume)
    mean = None
    try:
        for step in run:
            mean = step.loss if mean is None else 0.98 * mean + 0.02 * step.loss
            if step.index % 50 == 0 or step.done >= 1:
                pace = step.tokens / step.seconds
                print(f"{step.index:6} {step.done:6.1%}  loss {mean:.3f}  {pace:,.0f} tokens/s", flush=True)
    except (OSError, ValueError) as fault:
        parser.error(str(fault))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
