"""What stands where: the map against the renderer, the question against cross-entropy, and the run that asks it."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from minimagen.cache import Cached
from minimagen.cascade import Stage
from minimagen.checkpoint import NAME
from minimagen.conditioning import Cond, Text
from minimagen.data import ToylandImages, collate
from minimagen.denoiser import Denoiser
from minimagen.reading import Questions, Reading
from minimagen.schedule import CosineSchedule
from minimagen.toyland import camera
from minimagen.toyland.compose import random_scene
from minimagen.toyland.render import render
from minimagen.toyland.scene import COLORS, MATERIALS, SHAPES, SIZES, Scene, Thing
from minimagen.toyland.whereabouts import CELLS, QUESTIONS, SIGN, whereabouts
from minimagen.training import train
from minimagen.unet import UNet, UNetConfig

SMALL = UNetConfig(
    size=16, channels=(8, 16), layers=(1, 1), attention=("none", "text"), mid_attention="none", head_dim=8, groups=4,
    text_dim=32, pool_heads=4,
)  # fmt: skip
ASKED = Questions({"kind": 4, "shade": 3}, 16)


# The map


def seen(scene, index):
    """The cells in which the renderer shows thing `index`: what changes with its colour, less its shadow and shine."""
    thing = scene.things[index]
    others = [color for color in ("red", "cyan") if color != thing.color]
    a, b = (
        replace(scene, things=tuple(replace(t, color=c) if i == index else t for i, t in enumerate(scene.things)))
        for c in (thing.color, others[0])
    )
    change = (render(a, 64) - render(b, 64)).abs().amax(1, keepdim=True)
    return F.avg_pool2d((change > 0.08).float(), 64 // CELLS)[0, 0] > 0.5


def test_the_map_has_each_thing_where_the_renderer_shows_it():
    both = shown = told = 0
    for seed in range(20):
        scene = random_scene(seed)
        maps = whereabouts(scene)
        for i, t in enumerate(scene.things):
            alike = [o for o in scene.things if o.look == t.look]
            if t.material in ("glass", "metal") or len(alike) > 1:  # seen through, or mirrored elsewhere; not alone
                continue
            truth = seen(scene, i)
            map_ = (maps[0] == SHAPES.index(t.shape) + 1) & (maps[1] == COLORS.index(t.color) + 1)
            assert float((truth & map_).sum() / truth.sum()) > 0.5, (seed, i, t)
            both, shown, told = both + int((truth & map_).sum()), shown + int(truth.sum()), told + int(map_.sum())
    # a thing's box is larger than the thing, most of all a cone's: the map may hold more than is seen, but not less
    assert both > 0.85 * shown > 0 and both > 0.55 * told


def test_every_cell_of_a_thing_has_all_its_answers():
    thing = Thing("cone", "purple", "large", "glass", z=-1.0)
    maps = whereabouts(Scene((thing,)))
    there = maps[0] > 0
    answers = [SHAPES.index("cone"), COLORS.index("purple"), SIZES.index("large"), MATERIALS.index("glass")]
    assert [int(layer[there].unique()) - 1 for layer in maps[:4]] == answers
    assert int(maps[4].sum()) == 0 and bool((maps[:, ~there] == 0).all())


def test_what_is_nearer_covers_what_is_behind_it_and_what_stands_on_top_is_above():
    near, far = Thing("cube", "red", "large", z=-2.0), Thing("sphere", "blue", "large", z=0.2)
    both = whereabouts(Scene((near, far)))[1]
    assert torch.equal(both == 1 + COLORS.index("red"), whereabouts(Scene((near,)))[1] > 0)
    top = Thing("cone", "green", "small", y=camera.height("cube", "large"), z=-2.0)
    stack = whereabouts(Scene((near, top)))[1]
    rows = [(stack == 1 + COLORS.index(color)).nonzero()[:, 0].float().mean() for color in ("green", "red")]
    assert rows[0] < rows[1]


@pytest.mark.parametrize("word", ["CAT", "WINDOW", "I"])
def test_letters_stand_in_their_order_on_the_sign(word):
    letters, board = whereabouts(Scene((), word=word, sign=(0.0, 0.5)), cells=64)[[4, 0]]
    row = letters[:, (letters > 0).any(0)].amax(0).tolist()
    runs = [code for i, code in enumerate(row) if i == 0 or row[i - 1] != code]
    assert "".join(chr(64 + code) for code in runs) == word
    assert bool((board[letters > 0] == SIGN).all())


def test_maps_travel_through_the_cache_and_the_batch(tmp_path):
    source = ToylandImages(16, where=True, captions=2, seed=3)
    cached = Cached(source, tmp_path, 4)
    assert cached.questions == QUESTIONS == source.questions and ToylandImages(16).questions is None
    batch = collate([cached[0], cached[3]])
    truth = torch.stack([whereabouts(source.scene(i)) for i in (0, 3)])
    assert torch.equal(batch["where"], truth) and batch["where"].dtype == torch.uint8


# The question


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet(SMALL)
        for p in unet.parameters():
            torch.nn.init.normal_(p, std=0.1)
    return unet


def inputs(count=3):
    g = torch.Generator().manual_seed(1)
    z, tokens = torch.randn(count, 3, 16, 16, generator=g), torch.randn(count, 5, 32, generator=g)
    where = torch.stack([torch.randint(n, (count, 16, 16), generator=g) for n in ASKED.answers.values()], 1)
    return z, torch.full((count,), 500.0), Cond(Text(tokens)), where.to(torch.uint8)


def test_the_network_draws_the_same_while_it_is_asked_and_after():
    unet, (z, t, cond, _) = network(), inputs()
    before = unet(z, t, cond)
    reading = Reading(unet, ASKED)
    assert torch.equal(reading(z, t, cond), before)
    names = set(unet.state_dict())
    reading.remove()
    assert torch.equal(unet(z, t, cond), before) and set(unet.state_dict()) == names
    assert not any(m._forward_pre_hooks for m in unet.modules())


def test_a_question_not_yet_learned_costs_the_log_of_its_answers():
    reading, (z, t, cond, where) = Reading(network(), ASKED), inputs()
    reading(z, t, cond)
    assert reading.loss(where).item() == pytest.approx((math.log(4) + math.log(3)) / 2, abs=1e-5)


def test_the_loss_is_cross_entropy_half_for_what_there_is_and_half_for_nothing():
    reading, (z, t, cond, where) = Reading(network(), ASKED), inputs()
    for p in reading.heads.parameters():
        torch.nn.init.normal_(p, std=0.1)
    reading(z, t, cond)
    expected = []
    for logits in reading.answers:
        for slot, (start, stop) in enumerate([(0, 4), (4, 7)]):
            for i in range(len(z)):
                log_p = logits[i, start:stop].log_softmax(0)
                right = log_p.gather(0, where[i, slot].long()[None])[0]
                there = where[i, slot] > 0
                expected.append(-(right[there].mean() + right[~there].mean()) / 2)
    assert reading.loss(where).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_a_batchs_loss_is_the_mean_of_its_pictures():
    """So that a batch may be computed in parts, or by several processes."""
    reading, (z, t, cond, where) = Reading(network(), ASKED), inputs(4)
    for p in reading.heads.parameters():
        torch.nn.init.normal_(p, std=0.1)

    def loss(rows):
        reading(z[rows], t[rows], cond[rows])
        return reading.loss(where[rows]).item()

    assert loss(slice(0, 4)) == pytest.approx((loss(slice(0, 2)) + loss(slice(2, 4))) / 2, rel=1e-5)


def test_what_it_asks_reaches_the_text_and_teaches():
    """The map is told by the sentence alone: only attention to the text can answer it."""
    reading, (z, t, _, _) = Reading(network(), ASKED), inputs(4)
    tokens = F.one_hot(torch.arange(4), 32).float()[:, None].expand(-1, 5, -1)
    where = torch.stack([torch.arange(4) % 4, torch.arange(4) % 3], 1)[..., None, None].expand(-1, -1, 16, 16)
    optimizer, losses = torch.optim.Adam(reading.parameters(), 3e-3), []
    for _ in range(150):
        reading(z, t, Cond(Text(tokens)))
        loss = reading.loss(where)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert all(p.grad is not None for n, p in reading.unet.named_parameters() if "text_" in n)
    assert losses[-1] < 0.1 * losses[0]


def test_a_map_that_does_not_fit_the_network_is_refused():
    with pytest.raises(ValueError, match="12 × 12 cells"):
        Reading(network(), ASKED._replace(cells=12))


# The run


def text(captions):
    return Text(torch.stack([torch.full((4, 32), len(c) / 50.0) for c in captions]))


def run(folder, **options):
    data = Cached(ToylandImages(16, where=True, captions=2), folder / "cache", 8)
    stage = Stage(Denoiser(network(), CosineSchedule(), "v"), 16)
    settings = {"batch": 4, "lr": 1e-3, "warmup": 0, "precision": "fp32", "asked": 0.1, "optimizer": "muon"} | options
    steps = list(train(stage, data, text=text, **settings))
    return stage, [step.loss for step in steps]


def test_an_asked_run_resumes_bit_for_bit_and_ships_the_network_alone(tmp_path):
    whole, losses = run(tmp_path, steps=6, decay=0.0)
    run(tmp_path, steps=3, decay=0.0, out=tmp_path / "run")
    stage, rest = run(tmp_path, steps=6, decay=0.0, out=tmp_path / "run", resume=True)
    assert losses[3:] == rest
    for a, b in zip(whole.denoiser.unet.parameters(), stage.denoiser.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "run" / NAME).exists()
    shipped = Stage.from_pretrained(tmp_path / "run").denoiser.unet
    assert shipped.state_dict().keys() == UNet(SMALL).state_dict().keys()


def test_data_that_say_nothing_of_places_are_refused(tmp_path):
    stage = Stage(Denoiser(network(), CosineSchedule(), "v"), 16)
    with pytest.raises(ValueError, match="what stands where"):
        next(train(stage, ToylandImages(16), text=text, steps=1, batch=2, asked=0.1))


def test_what_draws_while_a_network_is_asked_leaves_nothing_behind():
    reading = Reading(network(), ASKED)
    z, t, cond = torch.zeros(1, 3, 16, 16), torch.tensor([0.5]), Cond(text(["a cube"]))
    reading.unet(z, t, cond)
    assert reading._features is None
    reading(z, t, cond)
    assert reading._features is None and len(reading.answers) == len(reading.heads)
