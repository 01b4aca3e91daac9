"""The recipes build what ships, and a few steps of each leave a stage, a log and a grid of samples behind."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from minimagen import recipes, samples
from minimagen.cascade import Stage
from minimagen.checkpoint import NAME, counts
from minimagen.conditioning import Cond, Text
from minimagen.files import load_tensors
from minimagen.recipes import CPU, GPU, cook, new_data, new_stage, recipe
from minimagen.samples import grid, psnr
from minimagen.toyland.scene import WORLD_VERSION
from minimagen.training import EMA, TrainStep
from minimagen.unet import UNetConfig
from tools.compare_encoders import without_text
from tools.ship import ship


class Words:
    """A stand-in for the text encoder: each caption's length, eight tokens long."""

    dim = 32

    def __call__(self, captions):
        return Text(torch.stack([torch.full((8, 32), len(c) / 50) for c in captions]))


def tiny(name):
    """The recipe with a network and sampling that take no time."""
    whole = CPU[name]
    network = UNetConfig(
        in_channels=whole.network.in_channels,
        channels=(16, 32),
        layers=(1, 1),
        attention=("none", "self+text"),
        head_dim=16,
        groups=8,
        augmentation=whole.network.augmentation,
        fold=4,
    )
    return replace(
        whole,
        network=network,
        batch=2,
        cache=8 if name == "base" else None,
        captions=2,
        small=0.0,
        pairs=0,
        drawing={**whole.drawing, "steps": 1},
    )


@pytest.mark.parametrize("name", CPU)
def test_a_recipe_makes_a_stage_that_fits_the_limits(name):
    for made in (CPU[name], GPU[name]):
        with torch.device("meta"):
            unet = recipes.UNet(replace(made.network, size=made.size, text_dim=256))
        parameters = sum(p.numel() for p in unet.parameters())
        assert 2 * parameters < 15e6  # bytes at half precision
        assert unet.config.enlarges == (name != "base")
        assert made.crop is None or (made.crop % 4, made.crop % unet.config.multiple) == (0, 0)
    assert recipe(name, gpu=False) is CPU[name]
    assert recipe(name, gpu=True) is GPU[name]


def test_an_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match="a recipe for base, sr256, sr1024, not for 'sr512'"):
        recipe("sr512")


def test_fresh_weights_follow_the_seed_and_leave_the_callers_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    a, b, c = (new_stage(tiny("base"), 32, seed).denoiser.unet.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_another_seeds_pictures_come_in_another_order(tmp_path):
    assert new_data(tiny("base"), tmp_path, seed=3).seed == 3


@pytest.mark.parametrize("name", CPU)
def test_a_few_steps_leave_a_stage_a_log_and_samples(tmp_path, name, monkeypatch):
    monkeypatch.setattr(recipes, "LOG_EVERY", 2)
    scored = []

    def score(stage, prompts, pictures):
        scored.append((len(prompts), pictures.shape))
        return {"right": 0.5}

    made = tiny(name)
    first = [s.step for s in cook(made, tmp_path, text=Words(), steps=2, score=score)]
    again = [s.step for s in cook(made, tmp_path, text=Words(), steps=3, resume=True)]
    assert (first, again) == ([1, 2], [3])
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2]
    shown = [row for row in rows if "loss" not in row]
    assert [row["step"] for row in shown] == [2, 3], "at the end of each call, and none of an untrained network"
    assert shown[0]["right"] == 0.5
    assert "psnr" in shown[0] or name == "base"
    assert scored[0][0] == scored[0][1][0]
    assert Image.open(tmp_path / "samples" / "0000003.png").width == (6 * 64 if name == "base" else 6 * 256)
    stage = Stage.from_pretrained(tmp_path)
    assert (stage.size, stage.steps, stage.about["recipe"]) == (made.size, 1, name)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == (name == "base")


def test_a_run_that_begins_small_goes_on_large_with_what_it_learned(tmp_path):
    made = replace(tiny("base"), small=0.5, ema=0.0)
    out, whole = tmp_path / "whole", {"text": Words(), "cache": tmp_path, "ema": 0.0}
    steps = list(cook(made, out, steps=4, **whole))
    assert [(s.step, s.images) for s in steps] == [(1, 4), (2, 8), (3, 10), (4, 12)]
    assert [s.seconds for s in steps] == sorted(s.seconds for s in steps)
    small, large = Stage.from_pretrained(out / "small"), Stage.from_pretrained(out)
    assert (small.size, large.size) == (32, 64)
    seen = [stage.denoiser.schedule.logsnr(torch.tensor([0.3, 0.8])).exp() for stage in (small, large)]
    assert torch.allclose(seen[0], 4 * seen[1])  # a quarter of the pixels, each with a quarter of the noise's power
    moved = [(p - q).abs().max() for p, q in zip(weights(small), weights(large), strict=True)]
    fresh = [(p - q).abs().max() for p, q in zip(weights(new_stage(made, 32)), weights(large), strict=True)]
    assert max(moved) < 0.7 * max(fresh)
    # stopped in either part, it takes the same steps
    for stop in (1, 3):
        cut = tmp_path / f"cut{stop}"
        for step in cook(made, cut, steps=4, **whole):
            if step.step == stop:
                break
        list(cook(made, cut, steps=4, resume=True, **whole))
        assert all(torch.equal(p, q) for p, q in zip(weights(Stage.from_pretrained(cut)), weights(large), strict=True))


def test_a_run_goes_on_to_its_new_end_whether_or_not_it_began_small(tmp_path):
    made, whole = replace(tiny("base"), small=0.4), {"text": Words(), "cache": tmp_path}
    for first, small in ((1, 0), (5, 2)):
        out = tmp_path / f"{first}"
        list(cook(made, out, steps=first, **whole))
        assert (out / "small").exists() == (small > 0)
        assert [s.step for s in cook(made, out, steps=10, resume=True, **whole)] == list(range(first + 1, 11))


def test_the_minutes_of_the_small_part_are_the_runs(tmp_path, monkeypatch):
    made, budgets = replace(tiny("base"), small=0.5), []
    list(cook(made, tmp_path, text=Words(), steps=2))

    def train(*_, minutes, **options):
        budgets.append(minutes)
        yield from ()

    monkeypatch.setattr(recipes, "train", train)
    list(cook(made, tmp_path, text=Words(), minutes=10, resume=True))
    spent = counts(tmp_path / "small" / NAME)["seconds"] / 60
    assert spent > 0 and budgets == [pytest.approx(10 - spent, abs=1e-9)]


def test_training_goes_on_from_given_weights(tmp_path):
    made = tiny("base")
    begun = new_stage(made, 32, seed=5)
    begun.save_pretrained(tmp_path / "begun")
    list(cook(made, tmp_path / "run", text=Words(), steps=1, begin=tmp_path / "begun", lr=1e-9, ema=0.0))
    pairs = list(zip(weights(begun), weights(Stage.from_pretrained(tmp_path / "run")), strict=True))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in pairs)
    other = replace(made, network=replace(made.network, layers=(2, 1)))
    with pytest.raises(ValueError, match="another network's weights"):
        next(cook(other, tmp_path / "other", text=Words(), steps=1, begin=tmp_path / "begun"))


def test_only_weights_of_toyland_say_that_they_are(tmp_path):
    made = tiny("base")
    own = [{"image": torch.zeros(3, 64, 64), "caption": "a brown dog"}] * 4
    for name, data, world in (("toyland", None, WORLD_VERSION), ("own", own, None)):
        list(cook(made, tmp_path / name, text=Words(), data=data, steps=1))
        assert Stage.from_pretrained(tmp_path / name).about.get("world") == world


def test_what_a_run_learned_ships_in_half_precision_with_all_that_it_took(tmp_path):
    made = tiny("base")
    first, second, shipped = tmp_path / "first", tmp_path / "second", tmp_path / "shipped"
    list(cook(made, first, text=Words(), steps=2))
    ship(first, shipped)
    list(cook(made, second, text=Words(), steps=3, begin=shipped))
    ship(second, shipped)
    stage, run = Stage.from_pretrained(shipped), Stage.from_pretrained(second)
    assert {k: v for k, v in stage.about.items() if k != "minutes"} == {
        "recipe": "base", "world": WORLD_VERSION, "steps": 5, "images": 10, "seed": 0,
    }  # fmt: skip
    assert load_tensors(shipped / "model.safetensors")["conv_in.weight"].dtype == torch.float16
    assert all(torch.equal(p, q.half().float()) for p, q in zip(weights(stage), weights(run), strict=True))
    assert (stage.steps, stage.guidance, stage.threshold) == (run.steps, run.guidance, run.threshold)


def test_two_encoders_are_compared_from_a_network_that_has_read_neither():
    stage = new_stage(CPU["base"], 256)
    unet = stage.denoiser.unet.requires_grad_(True)
    with torch.no_grad():
        for p in unet.parameters():
            p.normal_(0.5, 0.1, generator=torch.Generator().manual_seed(p.numel()))
    prepared = unet.prepare(Cond(Text(torch.randn(1, 5, 256, generator=torch.Generator().manual_seed(0))))).text
    sum(part.square().sum() for part in (prepared.pooled, *prepared.layers)).backward()
    before = {name: p.detach().clone() for name, p in unet.named_parameters()}
    reading = {name for name, p in unet.named_parameters() if p.grad is not None}
    without_text(stage)
    assert {name for name, p in unet.named_parameters() if not torch.equal(p, before[name])} == reading


class Placed(Words):
    """One that also says where its tokens begin and end: eight letters each."""

    def offsets(self, caption):
        return [(min(8 * i, len(caption)), min(8 * i + 8, len(caption))) for i in range(8)]


@pytest.mark.parametrize("cache", [None, 8])
def test_the_stage_of_patterns_learns_beside_twins_and_says_how_it_goes(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "LOG_EVERY", 2)
    made = replace(tiny("sr256"), crop=64, pairs=1, cache=cache)
    steps = list(cook(made, tmp_path, text=Placed(), steps=2))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = next(row for row in rows if "loss" in row)
    assert len(steps) == 2 and {"same", "apart", "asked"} <= told.keys() and told["apart"] > 0
    assert (tmp_path / "cache" / "256px-twins-0").is_dir() == (cache is not None)


class Slow(Placed):
    """One whose tokenizer cannot tell where its tokens stand, as ByT5's."""

    tokenizer = SimpleNamespace(is_fast=False)


def test_pictures_of_ones_own_have_no_twins(tmp_path):
    item = {"image": torch.zeros(3, 64, 64), "caption": "grey"}
    made = replace(tiny("sr256"), crop=64, pairs=1)
    for name, text, data in (("own", Placed(), [item, item]), ("wordless", Words(), None), ("slow", Slow(), None)):
        list(cook(made, tmp_path / name, text=text, data=data, steps=1))
        log = (tmp_path / name / "log.jsonl").read_text()
        assert "asked" not in log and not (tmp_path / name / "cache" / "256px-twins-0").exists()


def weights(stage):
    return list(stage.denoiser.unet.state_dict().values())


def test_a_callers_fault_does_not_lose_the_steps_before_it(tmp_path):
    with pytest.raises(KeyError):
        for _ in cook(tiny("base"), tmp_path, text=Words(), steps=9):
            raise KeyError
    assert [s.step for s in cook(tiny("base"), tmp_path, text=Words(), steps=2, resume=True)] == [2]


def test_a_fault_while_drawing_samples_does_not_lose_the_steps_before_it(tmp_path, monkeypatch):
    def fault(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(samples, "show", fault)
    with pytest.raises(KeyboardInterrupt) as caught:
        list(cook(tiny("base"), tmp_path, text=Words(), steps=9))
    assert (tmp_path / NAME).exists()  # written at once, and not when the fault, which holds the run, is forgotten
    assert caught.value.__traceback__ is not None


def test_samples_are_of_the_averaged_weights(tmp_path):
    stage, told = new_stage(tiny("base"), 32, seed=1), []
    average = EMA(stage.denoiser.unet, 0.5)
    step = TrainStep(1, 2, 0.0, 0.0, torch.zeros(()), average)
    for out in ("own", "averaged", "again"):
        told.append(samples.show(stage, step, Words(), tmp_path / out))
        for p in stage.denoiser.unet.parameters():  # the weights go on, and their average does not
            torch.nn.init.normal_(p.data, std=0.5)
    assert told[0] == told[1] == told[2]


def test_psnr_and_grid_against_hand_worked_numbers():
    assert psnr(torch.full((1, 3, 2, 2), 0.2), torch.zeros(1, 3, 2, 2)) == pytest.approx(20.0)
    x = torch.arange(6.0).view(6, 1, 1, 1)
    assert grid(x, 3)[0].tolist() == [[0, 1, 2], [3, 4, 5]]
