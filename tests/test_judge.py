"""The judge: what it accepts, how a grid becomes a reading, how it learns, and how well the one that ships reads."""

import math
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from minimagen.resources import data_folder
from minimagen.toyland import camera, judge_check, judge_data, judge_training
from minimagen.toyland.compose import random_scene
from minimagen.toyland.judge import Judge, ReadThing, as_list, resize, spell, stacked
from minimagen.toyland.judge_data import ATTRIBUTES, SETTING, Cache, heat_map, junk, targets, worn
from minimagen.toyland.judge_net import GRID, HEADS, VOCABULARY, WHOLE, JudgeConfig, JudgeNet, crop_boards
from minimagen.toyland.judge_training import losses, train_judge
from minimagen.toyland.matching import assign
from minimagen.toyland.render import render
from minimagen.toyland.scene import Scene, Thing

TINY = JudgeConfig(widths=(16, 24, 32, 32), head=32, reader=(8, 16, 16))
LETTERS = Scene((Thing("cube", "red", "large", x=-1.5, z=-1.0),), word="BOOK", sign=(0.5, 2.0))
try:
    SHIPPED = data_folder("judge")
except FileNotFoundError:
    SHIPPED = None
needs_weights = pytest.mark.skipif(SHIPPED is None, reason="data/judge holds no trained judge in this copy")


# -- pictures at the door ----------------------------------------------------------------------------------------------


def test_pil_and_tensors_are_the_same_pictures():
    pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    tensor = pixels.float() / 127.5 - 1
    for form in (image, [image], tensor, tensor[None], [tensor]):
        assert torch.allclose(as_list(form)[0], tensor, atol=1e-6)
    grey = as_list(Image.new("L", (32, 32), 255))[0]
    assert grey.shape == (3, 32, 32) and (grey == 1).all()
    assert (as_list(torch.full((1, 3, 32, 32), 3.0))[0] == 1).all()  # beyond the range is cut off


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], "list is empty"),
        (torch.zeros(1, 1, 64, 64), "in colour"),
        (torch.zeros(2, 64), "in colour"),
        (torch.zeros(1, 3, 64, 32), "square pictures of 16 to 4096 px; this one is 32 × 64"),
        (Image.new("RGB", (8, 8)), "square pictures"),
        (torch.full((1, 3, 64, 64), float("nan")), "not finite"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "floats in"),
        (["picture.png"], "this is a str"),
    ],
)
def test_what_is_no_picture_is_one_sentence(bad, says):
    with pytest.raises(ValueError, match=says) as caught:
        as_list(bad)
    assert str(caught.value).count("\n") == 0


def test_resize_keeps_flat_pictures_flat_and_large_ones_their_means():
    flat = torch.full((3, 64, 64), 0.3)
    assert torch.allclose(resize(flat), torch.full((3, 256, 256), 0.3), atol=1e-5)
    x = torch.rand(3, 1024, 1024) * 2 - 1
    assert torch.allclose(resize(x), x.unflatten(1, (256, 4)).unflatten(3, (256, 4)).mean((2, 4)), atol=1e-5)
    same = torch.rand(3, 256, 256)
    assert resize(same) is same


# -- from scene to grid, and back --------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """In the network's place: the grid that a perfect one would give for these scenes."""

    def __init__(self, scenes: list[Scene]):
        super().__init__()
        self.scenes, self.weight, self.reader = scenes, nn.Parameter(torch.zeros(1)), None

    def forward(self, x):
        t, B = targets(self.scenes), len(self.scenes)
        grid, whole = torch.zeros(B, HEADS["pattern"].stop, GRID, GRID), torch.zeros(B, WHOLE["readable"].stop)
        grid[:, HEADS["heat"]] = torch.logit(heat_map(t).clamp(1e-4, 0.9))
        for b, n in t["there"].nonzero().tolist():
            u, v = ((t["box"][b, n, :2] + t["box"][b, n, 2:]) / 2 * GRID).tolist()
            at = grid[b, :, int(v), int(u)]
            at[HEADS["offset"]] = torch.tensor([u - int(u) - 0.5, v - int(v) - 0.5])
            at[HEADS["box"]] = (t["box"][b, n, 2:] - t["box"][b, n, :2]).log()
            at[HEADS["place"]] = t["place"][b, n]
            for k, name in enumerate(ATTRIBUTES):
                at[HEADS[name].start + t["looks"][b, n, k]] += 9.0
        for k, name in enumerate(SETTING):
            whole[torch.arange(B), WHOLE[name].start + t["setting"][:, k]] = 9.0
        whole[:, WHOLE["readable"]] = 1.0
        return grid, whole, torch.zeros(B, 2)

    def scaled(self, raw):
        return raw

    def read(self, x, boxes):
        words = [s.word for s in self.scenes if s.word is not None]
        logits = torch.zeros(len(words), 28, 27)
        for row, word in zip(logits, words):
            row[:, 0] = 1.0
            for k, letter in enumerate(word):
                row[3 * k : 3 * k + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(letter) + 1] = 9.0
        return logits


def test_a_perfect_grid_is_read_perfectly():
    """targets and the decoder are inverse to each other, over all that the world draws."""
    scenes = [random_scene(seed, "all") for seed in range(150)]
    for size in (256, 64):
        for i in range(0, len(scenes), 50):
            part = scenes[i : i + 50]
            readings = Judge(Oracle(part))(torch.zeros(len(part), 3, size, size), batch=64)
            for reading, scene in zip(readings, part):
                truth = judge_check.true_reading(scene, size)
                assert all(all(v) for v in judge_check.compare(reading, scene, size).values()), scene
                seen = sorted(reading.things, key=lambda t: t.box)
                for a, b in zip(seen, sorted(truth.things, key=lambda t: t.box)):
                    assert a.pattern == b.pattern  # None at 64 px, where no pattern shows
                    assert a.box == pytest.approx(b.box, abs=2e-3)
                    assert a.place == pytest.approx(b.place, abs=2e-3)
                assert reading.sign == pytest.approx(truth.sign, abs=2e-3)


def test_a_picture_in_which_nothing_is_seen_is_not_readable():
    class Sees(Oracle):
        def forward(self, x):
            grid, whole, raw = super().forward(x)
            grid[:, HEADS["heat"]] = -9.0
            return grid, whole, raw

    (reading,) = Judge(Sees([random_scene(0)]))(torch.zeros(1, 3, 256, 256))
    assert not reading.things and reading.word is None and not reading.readable


def test_a_thing_is_on_top_where_a_stack_would_be_seen_and_on_the_floor_elsewhere():
    def read(thing, x, z, y=0.0, told=None):  # where it is seen; told: the floor's place that the network would name
        box = camera.screen_box(thing, "small", x, y, z)
        return ReadThing(thing, "red", "small", "matte", "plain", box, (x, 0.0, z if told is None else told))

    base, top = read("cube", 0.5, 0.2), camera.height("cube", "small")
    above = read("sphere", 0.5, 0.2, y=top, told=2.1)
    behind, beside = read("sphere", 0.5, 2.6), read("sphere", -1.5, 0.2)
    y = [t.place[1] for t in stacked([above, base, behind, beside])]
    assert y == pytest.approx([top, 0, 0, 0], abs=1e-3)
    assert stacked([above, base])[0].place == (0.5, round(top, 3), 0.2)  # the place of what bears it
    round_base = read("ring", 0.5, 0.2)
    assert [t.place[1] for t in stacked([above, round_base])] == [0, 0]  # a ring bears nothing


def test_heat_is_one_at_the_cell_of_each_centre_and_nowhere_else():
    scene = random_scene(3, "all")
    t = targets([scene])
    heat = heat_map(t)[0]
    cells = {
        (int((b[1] + b[3]) / 2 * GRID), int((b[0] + b[2]) / 2 * GRID))
        for b in (camera.screen_box(x.shape, x.size, x.x, x.y, x.z, x.yaw) for x in scene.things)
    }
    assert {tuple(c) for c in (heat[0] == 1).nonzero().tolist()} == cells
    assert heat.max() <= 1 and heat[1].sum() == 0  # there is no sign
    i, j = next(iter(cells))
    assert heat[0, i, j - 1] >= math.exp(-1 / (2 * 0.8**2)) - 1e-6


def test_the_board_is_cut_out_where_it_stands():
    """On a picture whose values are its coordinates, the window's values are the window's place."""
    u = (torch.arange(256) + 0.5) / 256
    x = torch.stack([u.expand(256, 256), u[:, None].expand(256, 256), torch.zeros(256, 256)])[None]
    box = camera.board_box("LAMP", 0.4, 1.0)
    crop = crop_boards(x, torch.tensor([box]))[0]
    assert crop[0].mean().item() == pytest.approx((box[0] + box[2]) / 2, abs=2e-3)
    assert crop[1].mean().item() == pytest.approx((box[1] + box[3]) / 2, abs=2e-3)
    width = crop[0, 0, -1] - crop[0, 0, 0]  # of a window that holds six letters, whatever the word
    six = camera.board_box("LLLLLL", 0.0, 1.0)
    assert width.item() == pytest.approx(six[2] - six[0], rel=0.12)


def test_spelling_merges_repeats_and_drops_blanks():
    def logits(*letters: int):
        return nn.functional.one_hot(torch.tensor([letters]), 27).float()

    assert spell(logits(2, 2, 15, 0, 15, 11, 11)) == ["BOOK"]
    assert spell(logits(0, 0, 0)) == [""]
    assert spell(logits(1, 0, 0, 1)) == ["AA"]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_assignment_is_the_best_of_all(rows, columns, seed):
    from itertools import permutations

    cost = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)).tolist()
    missed = 0.5
    options = [*range(columns), *([None] * rows)]
    totals = [
        sum(missed if at is None else cost[i][at] for i, at in enumerate(chosen))
        for chosen in permutations(options, rows)
    ]
    found = assign(cost, missed)
    assert len({at for at in found if at is not None}) == sum(at is not None for at in found)
    assert sum(missed if at is None else cost[i][at] for i, at in enumerate(found)) == pytest.approx(min(totals))


# -- comparing with the truth ------------------------------------------------------------------------------------------


def test_compare_finds_the_one_fault():
    scene = random_scene(11, "all")
    truth = judge_check.true_reading(scene)
    assert all(all(v) for v in judge_check.compare(truth, scene).values())
    thing = truth.things[0]
    other = next(c for c in VOCABULARY["color"] if c != thing.color)
    wrong = replace(truth, things=(replace(thing, color=other), *truth.things[1:]))
    faults = {k for k, v in judge_check.compare(wrong, scene).items() if not all(v)}
    assert faults == {"color", "scene"}
    missing = judge_check.compare(replace(truth, things=truth.things[1:]), scene)
    assert missing["count"] == [False] and missing["shape"].count(False) == 1
    assert judge_check.compare(replace(truth, word="EXTRA"), scene)["word"] == [False]
    at_64 = judge_check.compare(judge_check.true_reading(scene, 64), scene, 64)
    assert "pattern" not in at_64 and all(all(v) for v in at_64.values())


def test_the_judges_scenes_hold_everything():
    scenes = [judge_data.judge_scene(i) for i in range(150)]
    assert {len(s.things) for s in scenes} == {0, 1, 2, 3, 4, 5}
    assert sum(s.word is not None for s in scenes) > 30
    assert any(len(s.things) == 5 and len({t.look for t in s.things}) == 5 for s in scenes)
    assert all(any(t.color == "white" for t in s.things) for s in scenes[2::3] if s.things)  # the hardest to read
    assert scenes[:5] == [judge_data.judge_scene(i) for i in range(5)]


def test_damage_at_zero_is_none():
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(judge_check.noisy(x, 0.0), x)
    assert torch.equal(judge_data.blur(x, 0.0), x)
    flat = torch.full((1, 3, 32, 32), 0.25)
    assert torch.allclose(judge_data.blur(flat, 2.0), flat, atol=1e-6)  # a blur keeps what is even
    with pytest.raises(ValueError, match="no damage 'rust'"):
        judge_check.decay(None, "rust")


def test_worn_and_junk_stay_pictures():
    import random

    x = torch.rand(3, 256, 256) * 2 - 1
    for seed in range(12):
        for harm in (worn, junk):
            y = harm(x, random.Random(seed))
            assert y.shape == x.shape and y.abs().max() <= 1 and y.isfinite().all()


def test_the_card_measures_everything(monkeypatch):
    """With an oracle for a judge: all right on its own pictures and captions, next to nothing on shuffled ones."""
    monkeypatch.setattr(judge_check, "decay", lambda judge, damage, *a, **k: [{"level": 0.0}])
    scenes = [judge_check.test_scene(i) for i in range(40)]

    def painted(count, size=256, folder=None):
        for i in range(count):
            yield torch.full((1, 3, 16, 16), i / 100), scenes[i : i + 1]

    def oracle(size):
        return lambda x: [judge_check.true_reading(scenes[round(100 * x.mean().item())], size)]

    monkeypatch.setattr(judge_check, "renders", painted)
    for size in (64, 256):
        found = judge_check.check(oracle(size), 40, size)
        assert found.pop("another's") <= 0.1 and set(found.values()) == {1.0}
    measured = judge_check.card(oracle(256), count=40, few=4)
    assert measured["count"]["1024 px"] == 2 and measured["256 px"]["own caption"] == 1.0


def test_the_examination_is_rendered_once_if_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_data, "SHARD", 2)
    fresh = torch.cat([x for x, _ in judge_check.renders(3, 64)])
    for _ in range(2):
        kept, scenes = zip(*judge_check.renders(3, 64, str(tmp_path)))
        assert (torch.cat(kept) - fresh).abs().max() <= 1.01 / 255  # bytes
        assert sum(scenes, []) == [judge_check.test_scene(i) for i in range(3)]
        monkeypatch.setattr(sys.modules["minimagen.toyland.render"], "render", None)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_the_network_learns_eight_pictures_by_heart():
    scenes = [random_scene(40 + i, "all") for i in range(7)] + [LETTERS]
    x, t = torch.cat([render([s], 256) for s in scenes]), targets(scenes)
    real, fine, words = torch.ones(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool), [s.word for s in scenes]
    torch.manual_seed(0)
    net = JudgeNet(TINY).train()
    optimizer = torch.optim.Adam(net.parameters(), 6e-3)
    for step in range(70):
        torch.manual_seed(step)
        parts = losses(net, x, t, fine, real, words)
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    for module in net.modules():  # statistics of these eight, which a running mean has not reached yet
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    found = judge_check.accuracy(Judge.__call__(_unfrozen(net), x), scenes)
    assert found["color"] > 0.9 and found["shape"] > 0.8 and found["count"] > 0.8 and found["backdrop"] == 1.0, found


def _unfrozen(net):
    judge = Judge.__new__(Judge)
    judge.net = net
    return judge


def _train(tmp_path, name, stop=None, **options):
    run = train_judge(tmp_path / name, steps=4, scenes=8, batch=4, config=TINY, cache=tmp_path / "renders", **options)
    steps = []
    for step in run:
        steps.append(step)
        if stop is not None and step.phase == "train" and step.index == stop:
            run.close()
            break
    return steps


def test_training_goes_on_where_it_was_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_data, "SHARD", 4)
    steps = _train(tmp_path, "whole")
    assert [s.index for s in steps if s.phase == "render"] == [4, 8]
    assert [s.index for s in steps if s.phase == "train"] == [1, 2, 3, 4]
    assert all(math.isfinite(s.loss) for s in steps if s.phase == "train")
    whole = ["config.json", "model.safetensors", "training.safetensors"]
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == whole

    _train(tmp_path, "halved", stop=2)
    assert not (tmp_path / "halved" / "config.json").exists()
    rest = _train(tmp_path, "halved")
    assert [s.index for s in rest] == [3, 4]  # rendered already, and two steps done
    whole, halved = (tmp_path / n / "model.safetensors" for n in ("whole", "halved"))
    assert whole.read_bytes() == halved.read_bytes()
    longer = train_judge(tmp_path / "whole", steps=5, scenes=8, batch=4, config=TINY, cache=tmp_path / "renders")
    assert [s.index for s in longer] == [5]  # a run that ended goes on if it is given more
    (tmp_path / "whole" / "training.safetensors").unlink()
    with pytest.raises(ValueError, match="no run to go on with"):
        _train(tmp_path, "whole")


def test_another_seed_meets_other_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_data, "SHARD", 4)
    seeds = []
    monkeypatch.setattr(judge_training, "_train_step", lambda *told: seeds.append(told[5]) or {"loss": 0.0})
    for seed in (1, 2):
        _train(tmp_path, f"{seed}", seed=seed)
    assert len(set(seeds)) == 2 * 4


def test_training_asks_for_one_budget(tmp_path):
    for budget in ({}, {"minutes": 1, "steps": 1}):
        with pytest.raises(ValueError, match="either minutes or steps"):
            next(train_judge(tmp_path, **budget))
    with pytest.raises(ValueError, match="must be scenes"):
        next(train_judge(tmp_path, steps=1, scenes=0))


def test_the_cache_renders_once_and_keeps_scenes_with_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(judge_data, "SHARD", 2)
    store = Cache(tmp_path, lambda i: random_scene(i, "all"), "trial")
    assert list(store.fill(3)) == [2, 4] and list(store.fill(4)) == []
    large, small, scene = store[3]
    assert scene == random_scene(3, "all")
    for pixels, size in ((large, 256), (small, 64)):
        assert (
            torch.from_numpy(pixels.copy()).float() / 127.5 - 1 - render([scene], size)[0]
        ).abs().max() <= 1.01 / 255


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_a_judge_is_saved_and_loaded(tmp_path):
    torch.manual_seed(1)
    judge = Judge(JudgeNet(TINY))
    judge.save_pretrained(tmp_path / "judge", note="a trial")
    again = Judge.from_pretrained(tmp_path / "judge")
    assert again.net.config == TINY
    for a, b in zip(judge.net.state_dict().values(), again.net.state_dict().values()):
        assert torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-4)  # stored in half precision
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    assert again(x) == again(x, batch=1)
    assert torch.allclose(again.features(x), again.look(x, batch=2)[1], atol=1e-5)


def test_a_judge_of_another_world_or_a_cut_file_is_refused(tmp_path):
    from minimagen import files

    judge = Judge(JudgeNet(TINY))
    judge.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    config = files.read_json(tmp_path / "config.json")
    files.write_json(tmp_path / "config.json", {**config, "world": 99})
    with pytest.raises(ValueError, match="learned version 99 of Toyland"):
        Judge.from_pretrained(tmp_path)
    files.write_json(tmp_path / "config.json", config)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="altered or cut short"):
        Judge.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError):
        Judge.from_pretrained(tmp_path / "nowhere")


# -- the judge that ships ----------------------------------------------------------------------------------------------


@needs_weights
def test_the_shipped_judge_reads_what_was_rendered():
    judge = Judge.from_pretrained()
    found = judge_check.check(judge, 60, 256)
    assert min(found[k] for k in ATTRIBUTES) >= 0.95 and found["word"] >= 0.8 and found["scene"] >= 0.85, found
    at_64 = judge_check.check(judge, 60, 64)
    assert min(at_64[k] for k in ("shape", "color", "size")) >= 0.9, at_64


@needs_weights
def test_the_shipped_judge_sees_what_stands_on_what():
    seeds = range(700_000_000, 700_000_400)
    scenes = [s for s in (random_scene(seed, "all") for seed in seeds) if any(t.y > 0 for t in s.things)]
    assert len(scenes) >= 20
    for size in (256, 64):
        found = judge_check.accuracy(Judge.from_pretrained()(render(scenes, size)), scenes, size)
        assert found["on top"] >= 0.9, (size, found)


@needs_weights
def test_the_shipped_judge_reads_1024_px_as_256():
    judge = Judge.from_pretrained()
    found = judge_check.check(judge, 4, 1024)
    assert found["color"] >= 0.75 and found["count"] >= 0.75, found


@needs_weights
def test_the_shipped_judge_says_when_it_cannot_read():
    judge = Judge.from_pretrained()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8, 3, 64, 64, generator=generator).clamp(-1, 1)
    assert sum(r.readable for r in judge(noise)) <= 1
    assert not judge(Image.new("L", (256, 256), 128))[0].readable
    assert SHIPPED is not None and (SHIPPED / "model.safetensors").stat().st_size <= 4_000_000


@needs_weights
def test_damage_makes_it_worse():
    judge = Judge.from_pretrained()
    for damage, levels in (("noise", (0.0, 0.8)), ("blur", (0.0, 8.0))):
        clean, harmed = judge_check.decay(judge, damage, levels, count=24)
        assert clean["scene"] > harmed["scene"]
