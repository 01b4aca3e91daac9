"""Training as a GPU does it: what the renderers write, what is drawn from it, the losses in closed form, going on."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from minimagen.cascade import Stage
from minimagen.conditioning import Cond, Text
from minimagen.data import ToylandImages
from minimagen.denoiser import Denoiser
from minimagen.files import load_tensors
from minimagen.resources import data_folder
from minimagen.schedule import CosineSchedule
from minimagen.text import TextEncoder
from minimagen.twins import ToylandTwins, attended
from minimagen.unet import UNet, UNetConfig
from tools import train_on_gpu
from tools.train_on_gpu import CAPTIONS, SEED, TWINS, Pool, apart_counts, batch_of, losses_of, main, write_chunk

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def text():
    return TextEncoder.from_pretrained(data_folder())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("run") / "rendered"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_on_gpu, "CHUNK", 8)
        for turn in range(3):  # the third needs more room than the first two
            write_chunk(folder, turn, text, SEED)
    return folder


@pytest.fixture
def stage(text):
    torch.manual_seed(0)
    config = UNetConfig(
        channels=(8, 16), layers=(1, 1), attention=("none", "text"), head_dim=8, groups=4, text_dim=text.dim
    )
    return Stage(Denoiser(UNet(config), CosineSchedule(), "v"), 64, steps=2)


def pools(folder):
    found = {name: Pool(folder, name, CPU) for name in ("images", "pairs")}
    for pool in found.values():
        pool.look()
    return found


def test_a_chunk_holds_what_the_data_give_and_a_pool_what_the_chunks_hold(rendered, text):
    pool = Pool(rendered, "images", CPU)
    for count in (8, 16, 24, 24):
        pool.look(most=1)
        assert pool.count == count
    data = ToylandImages(64, captions=CAPTIONS, seed=SEED)
    for i in (0, 3, 9):
        item = data[i]
        assert (pool.rows["images"][i].float() / 127.5 - 1 - item["image"]).abs().max() <= 1 / 127.5
        assert torch.equal(pool.rows["ids"][i].long(), text.ids(item["captions"])[0])
    pairs, twins = load_tensors(rendered / "pairs-000001.safetensors"), ToylandTwins(64, of=TWINS, seed=SEED)
    for i in (8, 11):
        item = twins[i]
        assert torch.equal(pairs["where"][i - 8], item["where"])
        assert torch.equal(pairs["ids"][i - 8].long(), text.ids(item["caption"])[0][0])
        own = [text.tokens(item["caption"])[k] for k in pairs["own"][i - 8].nonzero().flatten()]
        a, b = item["nouns"][0].tolist()
        assert "".join(own).replace("▁", " ").strip() == item["caption"][a:b].strip()
        assert not (pairs["own"][i - 8] & pairs["others"][i - 8]).any()


def test_both_of_two_have_one_noise_and_one_time_and_pictures_of_the_pool(rendered, text, stage):
    torch.manual_seed(0)
    found, n = pools(rendered), 5
    batch = batch_of(found, text, text([""]).tokens, n, 4)
    assert len(batch.x) == len(batch.t) == n + 8 and len(batch.own) == len(batch.where) == 8
    x, eps = batch.x, batch.eps
    assert torch.equal(batch.t[n::2], batch.t[n + 1 :: 2]) and len(batch.t.unique()) == n + 4
    torch.testing.assert_close(eps[n::2], eps[n + 1 :: 2], atol=1e-4, rtol=0)
    assert (eps[0] - eps[1]).abs().max() > 1 and abs(float(eps.std()) - 1) < 0.02
    every = found["pairs"].rows["images"][:24].float() / 127.5 - 1
    places = [(every - one).abs().amax((1, 2, 3)).argmin() for one in x[n:]]
    assert all(a % 2 == 0 and b == a + 1 for a, b in zip(places[::2], places[1::2], strict=True))
    torch.testing.assert_close(every[torch.stack(places)], x[n:], atol=1e-3, rtol=0)


def test_twins_have_times_at_which_the_sentence_decides_and_two_pictures_of_three_are_noisy(rendered, text, stage):
    torch.manual_seed(0)
    t = batch_of(pools(rendered), text, text([""]).tokens, 300, 40).t
    assert 0.45 <= t[300:].min() < 0.5 and 0.92 < t[300:].max() <= 0.97
    assert 0.64 < (t[:300] > 0.5).float().mean() < 0.69 and t[:300].min() < 0.1


def test_one_in_ten_captions_is_the_null_text_and_never_a_twins(rendered, text, stage):
    torch.manual_seed(0)
    null, n = text([""]).tokens, 300
    tokens = batch_of(pools(rendered), text, null, n, 20).tokens
    empty = (tokens - null).abs().amax((1, 2)) == 0
    assert 15 <= int(empty[:n].sum()) <= 50 and not empty[n:].any()


def test_the_losses_of_a_network_that_returns_zeros_are_the_targets(rendered, text, stage):
    torch.manual_seed(0)
    batch = batch_of(pools(rendered), text, text([""]).tokens, 3, 2)
    with attended(stage.denoiser.unet) as scores:
        plain, same, apart, asked = losses_of(stage.denoiser, scores, batch, 3)
    alpha, sigma = stage.denoiser.schedule(batch.t, like=batch.x)
    v = alpha * batch.eps - sigma * batch.x
    torch.testing.assert_close(plain, v[:3].square().mean())
    sums, differences = ((v[3] + v[4]) / 2, (v[5] + v[6]) / 2), ((v[3] - v[4]) / 2, (v[5] - v[6]) / 2)
    torch.testing.assert_close(same, torch.stack(sums).square().mean())
    energies = [((a - b) / 2).square().mean() for a, b in (batch.x[3:5], batch.x[5:7])]
    torch.testing.assert_close(batch.weights, torch.stack([0.005 / e for e in energies]).clamp(max=4))
    torch.testing.assert_close(apart, (torch.stack(differences).square().mean((1, 2, 3)) * batch.weights).mean())
    assert 0 < float(asked.detach()) < 5
    out = stage.denoiser.unet(batch.x, batch.t, Cond(Text(batch.tokens)))
    assert not out.any()


def test_the_difference_counts_more_at_first():
    assert [apart_counts(p) for p in (0, 0.5, 0.7, 0.9, 1)] == pytest.approx([6, 6, 3.5, 1, 1])


def test_a_run_goes_on_and_leaves_a_stage_in_half_precision(rendered, stage, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_on_gpu, "LOG_EVERY", 1)
    seeds, seed = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: seeds.append(number) or seed(number))
    replace(stage, about={"steps": 100, "images": 1000}).save_pretrained(tmp_path / "begin")
    out = tmp_path / "out"
    out.mkdir()
    (out / "rendered").symlink_to(rendered)
    call = [str(out), "--begin", str(tmp_path / "begin"), "--minutes", "60", "--batch", "4", "--pairs", "2"]
    main([*call, "--renderers", "0", "--stop", "0.02"])
    first = len((out / "log.jsonl").read_text().splitlines())
    main([*call, "--renderers", "0", "--stop", "0.02"])
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert seeds == [0, first], "what goes on draws other pictures, times and noise"
    assert 0 < first < len(rows) and [row["steps"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["images"] == row["twins"] == 4 * row["steps"] for row in rows)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    trained = Stage.from_pretrained(out)
    steps = rows[-1]["steps"]
    assert trained.about == {"steps": 100 + steps, "images": 1000 + 4 * steps, "twins": 4 * steps, "gpu_minutes": 0}
    kept = torch.load(out / "state.pt", weights_only=True)
    raw = load_tensors(out / "model.safetensors")
    assert all(value.dtype == torch.float16 for value in raw.values() if value.is_floating_point())
    weight = trained.denoiser.unet.state_dict()["conv_in.weight"]
    torch.testing.assert_close(weight, kept["average"]["conv_in.weight"].half().float())
    assert (weight - stage.denoiser.unet.state_dict()["conv_in.weight"]).abs().max() > 0
    assert list((out / "samples").glob("*.png"))


class Enough(Exception):
    """A step's gradient is known."""


@pytest.fixture
def first_gradients(rendered, stage, tmp_path, monkeypatch):
    """(options of the call) → the gradients of a run's first step from `stage`, before they are cut."""
    found = []

    def caught(parameters, bound):
        found.append([p.grad.clone() for p in parameters])
        raise Enough

    def run(*options):
        stage.save_pretrained(tmp_path / "begin")
        with monkeypatch.context() as patch, pytest.raises(Enough):
            patch.setattr(train_on_gpu, "fast_bf16", lambda device: False)
            patch.setattr(torch.nn.utils, "clip_grad_norm_", caught)
            call = [str(tmp_path / "out"), "--begin", str(tmp_path / "begin"), "--batch", "4", "--pairs", "2"]
            main([*call, "--renderers", "0", *options])
        return found[-1]

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rendered").symlink_to(rendered)
    return run


def test_a_step_lowers_all_four_losses_as_they_count_and_its_seed_decides_it(rendered, stage, text, first_gradients):
    found = [first_gradients("--seed", seed) for seed in ("5", "5", "6")]
    torch.manual_seed(5)
    with attended(stage.denoiser.unet) as scores:
        batch = batch_of(pools(rendered), text, text([""]).tokens, 4, 2)
        plain, same, apart, asked = losses_of(stage.denoiser, scores, batch, 4)
    (plain + 0.7 * (same + 6 * apart) + 0.15 * asked).backward()
    for grads, equal in zip(found, (True, True, False), strict=True):
        close = [
            torch.allclose(g, p.grad, rtol=1e-3, atol=1e-6) for g, p in zip(grads, stage.denoiser.unet.parameters())
        ]
        assert all(close) == equal


def test_a_compiled_network_takes_the_same_step(stage, first_gradients, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    torch.nn.init.normal_(stage.denoiser.unet.conv_out.weight)  # or it would return zeros
    eager, compiled = first_gradients(), first_gradients("--compile")
    for a, b in zip(eager, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-5)
    assert max(float(a.abs().max()) for a in eager) > 1e-3


def test_a_step_without_pairs_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--pairs", "0", "--renderers", "0"])
    assert "one picture and one pair, or more" in capsys.readouterr().err


def test_without_renderers_too_few_pictures_are_not_waited_for(stage, tmp_path):
    stage.save_pretrained(tmp_path / "begin")
    with pytest.raises(RuntimeError, match="0 images are rendered, and nobody renders more"):
        main([str(tmp_path / "out"), "--begin", str(tmp_path / "begin"), "--batch", "4", "--renderers", "0"])
