"""Twins: what differs and what does not, what is made of it by hand and by loops, and the run that has them beside."""

import math
import random
from dataclasses import replace

import pytest
import torch

from minimagen.cache import Cached
from minimagen.cascade import Stage
from minimagen.conditioning import Cond, Text
from minimagen.data import ToylandImages, collate
from minimagen.denoiser import Denoiser
from minimagen.layers import Attention
from minimagen.objective import Task, dice, losses, spread_times
from minimagen.resources import data_folder
from minimagen.schedule import CosineSchedule
from minimagen.text import TextEncoder
from minimagen.toyland.compose import OPPOSITE, SIGN, boxes, free, random_scene, relations
from minimagen.toyland.heldout import held_out
from minimagen.toyland.language import caption, nouns
from minimagen.toyland.parsing import parse
from minimagen.toyland.render import render
from minimagen.toyland.scene import Scene, Thing
from minimagen.toyland.twins import _others, _stretched, shown, twins
from minimagen.training import train
from minimagen.twins import ToylandTwins, Twins, attended, evened, halves, unlike
from minimagen.unet import UNet, UNetConfig

SMALL = UNetConfig(
    size=64, in_channels=6, channels=(8, 16), layers=(1, 1), attention=("none", "text"), mid_attention="self+text",
    head_dim=8, groups=4, text_dim=32, pool_heads=4, augmentation=True, fold=4,
)  # fmt: skip


# The scenes


@pytest.mark.parametrize("of", ["pattern", "color", "material"])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_twins_differ_in_nothing_but_what_two_things_exchange(split, of):
    for seed in range(60):
        one, other, thing = twins(seed, split, of)
        changed = [i for i, (t, o) in enumerate(zip(one.scene.things, other.scene.things)) if t != o]
        a, b = changed
        assert thing in changed
        things = list(one.scene.things)
        things[a], things[b] = (replace(things[i], **{of: getattr(things[j], of)}) for i, j in ((a, b), (b, a)))
        assert replace(one.scene, things=tuple(things)) == other.scene
        assert all(held_out(twin.scene) == (split == "heldout") for twin in (one, other))
    assert twins(7) == twins(7) != twins(8)


def test_shapes_and_sizes_are_exchanged_where_there_is_room_for_both():
    for of in ("shape", "size"):
        for seed in range(40):
            one, other, thing = twins(seed, of=of)
            a, b = (i for i, (t, o) in enumerate(zip(one.scene.things, other.scene.things)) if t != o)
            assert thing in (a, b) and free(other.scene) and not held_out(other.scene)
            t, o = one.scene.things, other.scene.things
            assert (getattr(t[a], of), getattr(t[b], of)) == (getattr(o[b], of), getattr(o[a], of))
            assert all(replace(t[i], **{of: getattr(o[i], of)}) == o[i] for i in (a, b))


def test_changing_places_turns_the_relation_round_and_the_caption_tells_it():
    for seed in range(60):
        one, other, _ = twins(seed, of="place")
        assert [t.look for t in one.scene.things] == [t.look for t in other.scene.things]
        assert [(t.x, t.z) for t in one.scene.things] == [(t.x, t.z) for t in other.scene.things[::-1]]
        ((_, said, _),) = relations(one.scene)[:1]
        ((_, turned, _),) = relations(other.scene)[:1]
        assert turned == OPPOSITE[said]
        for twin in (one, other):
            told = parse(twin.caption)
            places = [
                next(i for i, t in enumerate(one.scene.things) if t.shape == d.shape and d.color in (None, t.color))
                for d in told.things
            ]
            ((i, relation, j),) = told.relations
            assert (places[i], relation, places[j]) in relations(twin.scene)


def test_one_of_two_lacks_a_thing_that_nothing_stands_on():
    for seed in range(60):
        one, other, thing = twins(seed, of="number")
        assert thing == 0 and len(other.scene.things) == len(one.scene.things) - 1
        assert all(t in one.scene.things and t.y == 0 for t in other.scene.things)
        assert one.caption != other.caption and len(other.spans) <= len(one.spans)


def test_a_word_has_another_letter_or_two_changed_places_and_is_looked_at_in_quotes():
    replaced = 0
    for seed in range(60):
        one, other, thing = twins(seed, of="word")
        a, b = one.scene.word, other.scene.word
        changed = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        assert thing == SIGN and replace(other.scene, word=a) == one.scene
        assert len(changed) == 1 or (len(changed) == 2 and sorted(a) == sorted(b))
        replaced += len(changed) == 1
        for twin in (one, other):
            assert twin.caption[slice(*twin.spans[0])] == f'"{twin.scene.word.lower()}"'
    assert 15 < replaced < 50
    with pytest.raises(ValueError, match="not in 'weight'"):
        twins(0, of="weight")


def test_a_sign_with_a_letter_twice_or_missing_is_as_wide_as_its_word_and_has_room():
    longer = 0
    for seed in range(60):
        one, other, thing = twins(seed, of="length")
        short, long = sorted((one.scene.word, other.scene.word), key=len)
        places = [i for i in range(len(long)) if long[:i] + long[i + 1 :] == short]
        assert 1 <= len(short) == len(long) - 1 <= 5 and places and thing == SIGN
        longer += other.scene.word == long
        if other.scene.word == long:
            assert any(long[i] == long[i + 1] for i in range(len(short)))
        assert replace(other.scene, word=one.scene.word) == one.scene and not held_out(other.scene)
        u0, _, u1, _ = boxes(other.scene)[SIGN]
        assert free(other.scene) and 0 < u0 < u1 < 1
        for twin in (one, other):
            assert twin.caption[slice(*twin.spans[0])] == f'"{twin.scene.word.lower()}"'
    assert 15 < longer < 45


@pytest.mark.parametrize(
    "word, others", [("I", {"II", None}), ("CANDLE", {"ANDLE", "CNDLE", "CADLE", "CANLE", "CANDE", "CANDL", None})]
)
def test_a_word_keeps_a_letter_and_has_no_seventh(word, others):
    assert {_stretched(random.Random(k), word) for k in range(60)} == others


def test_a_sign_does_not_grow_over_what_stands_beside_it(monkeypatch):
    scene = random_scene(164)  # one of the few whose sign would
    for word, fits in (("Q", True), ("QQW", False)):
        monkeypatch.setattr("minimagen.toyland.twins._stretched", lambda rng, _, word=word: word)
        assert free(replace(scene, word=word)) == fits == bool(list(_others(scene, "length")))


@pytest.mark.parametrize("word", ["I", "II", "JJJ"])
def test_a_word_that_no_other_is_as_wide_as_has_no_twin(word, monkeypatch):
    first, second, _ = twins(0, of="word")
    scenes = iter([replace(first.scene, word=word), first.scene])
    monkeypatch.setattr("minimagen.toyland.twins.random_scene", lambda seed, split: next(scenes))
    assert [twin.scene for twin in twins(0, of="word")[:2]] == [first.scene, second.scene], "the next scene's"


def test_a_sign_is_looked_at_where_its_board_is():
    data = ToylandTwins(64, of=("word",))
    for k in range(4):
        a, b = data[2 * k], data[2 * k + 1]
        changed = (a["image"] - b["image"]).abs().amax(0) > 0.2
        cells = changed.unflatten(1, (16, 4)).unflatten(0, (16, 4)).any(3).any(1)
        assert 0 < cells.sum() and not (cells & ~a["where"]).any() and torch.equal(a["where"], b["where"])


def test_free_is_what_stands_in_the_picture_and_apart():
    alone = Scene((Thing("cube", "red", "small", x=-1.5), Thing("ring", "blue", "small", x=1.5)))
    assert free(alone)
    for x in (-1.2, 9.0):  # in the other thing, and outside the picture
        assert not free(replace(alone, things=(alone.things[0], replace(alone.things[1], x=x))))
    assert not free(replace(alone, things=(alone.things[0], replace(alone.things[1], y=1.0))))
    behind = replace(alone, things=(Thing("cube", "red", "large", z=-2.0), Thing("ring", "blue", "small", z=1.5)))
    assert not free(behind)


def test_captions_say_the_patterns_and_the_spans_say_where():
    for seed in range(100):
        one, other, thing = twins(seed)
        for twin in (one, other):
            phrases = [twin.caption[a:b] for a, b in twin.spans]
            own = twin.scene.things[thing]
            assert own.shape in phrases[0] and len(phrases) == len(twin.scene.things) + (twin.scene.word is not None)
            for phrase in phrases[1:]:
                assert phrase not in phrases[0] and not (own.shape in phrase and own.color in phrase)
        words = {"striped": "strip", "checkered": "check", "dotted": "dot", "marbled": "marbl"}
        for twin in (one, other):
            phrase = twin.caption[slice(*twin.spans[0])]
            assert {p for p, w in words.items() if w in phrase} == {twin.scene.things[thing].pattern} - {"plain"}


def test_a_captions_nouns_stand_in_it():
    for seed in range(200):
        scene = random_scene(seed)
        for index in range(3):
            for i, (noun, said) in nouns(scene, index).items():
                assert noun in caption(scene, index) or noun.replace(" a ", " ") in caption(
                    scene, index
                )  # said tersely
                assert all(getattr(scene.things[i], name) == value for name, value in said.items())


def test_the_small_pictures_are_the_same_and_the_large_ones_are_not():
    data = ToylandTwins(256, 64, 4)
    for k in range(6):
        a, b = data[2 * k], data[2 * k + 1]
        assert torch.equal(a["origin"], b["origin"]) and torch.equal(a["where"], b["where"])
        large, small = ((a[name] - b[name]).abs() for name in ("image", "low"))
        # a mirror's and a shadow's edge apart, no 64 px picture tells which twin it is
        assert small.mean() < 0.1 * large.mean() and large.mean() > 0.01
        x, y = a["origin"].tolist()
        one = twins(k)[0]
        whole = render(one.scene, 256)[0, :, y : y + 64, x : x + 64]
        torch.testing.assert_close(a["image"], whole, atol=1e-4, rtol=0)


def test_of_whole_pictures_colours_and_materials_take_turns():
    data = ToylandTwins(64, of=("color", "material"))
    for number, of in enumerate(("color", "material", "color")):
        one, other, _ = twins(number, of=of)
        a, b = data[2 * number], data[2 * number + 1]
        assert (a["caption"], b["caption"]) == (one.caption, other.caption) and "low" not in a
        torch.testing.assert_close(a["image"], render(one.scene, 64)[0], atol=1e-5, rtol=0)
        assert a["where"].shape == (16, 16) and 0 < a["where"].sum() < 200 and a["origin"].tolist() == [0, 0]


def test_an_item_depends_on_seed_and_number_alone_and_travels_through_the_cache(tmp_path):
    data = ToylandTwins(64, 32, 4, seed=2)
    cached = Cached(data, tmp_path, 4)
    for i in (3, 0):
        alone, kept = data[i], cached[i]
        assert torch.equal(data.__getitems__([5, i])[1]["image"], alone["image"])
        assert (alone["image"] - kept["image"]).abs().max() <= 1 / 127.5
        assert all(torch.equal(alone[name], kept[name]) for name in ("nouns", "where", "origin"))
        assert alone["caption"] == kept["caption"]
    assert data[0]["caption"] != ToylandTwins(64, 32, 4, seed=3)[0]["caption"]


def test_where_a_thing_is_shown_is_where_the_renderer_changes_with_it():
    found = there = 0
    middles = (torch.arange(64) + 0.5) / 64
    points = torch.stack(torch.broadcast_tensors(middles[None], middles[:, None]), -1)
    for seed in range(30):
        one, _, thing = twins(seed)
        t = one.scene.things[thing]
        if t.material in ("glass", "metal"):  # seen through, or mirrored elsewhere
            continue
        color = "red" if t.color != "red" else "cyan"
        things = tuple(replace(o, color=color) if i == thing else o for i, o in enumerate(one.scene.things))
        change = (render(one.scene, 64) - render(replace(one.scene, things=things), 64)).abs().amax(1)[0] > 0.08
        map_ = shown(one.scene, thing, points)
        found, there = found + int((change & map_).sum()), there + int(change.sum())
    assert found > 0.9 * there > 0


def test_what_is_nearer_hides_what_is_behind_it():
    near, far = Thing("cube", "red", "large", z=-2.0), Thing("sphere", "blue", "large", z=0.2)
    points = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    alone, behind = shown(Scene((far,)), 0, points), shown(Scene((near, far)), 1, points)
    assert torch.equal(behind, alone & ~shown(Scene((near, far)), 0, points)) and 0 < behind.sum() < alone.sum()
    assert torch.equal(shown(Scene((near, far)), 0, points), shown(Scene((near,)), 0, points))


# What is made of them


class Words:
    """As a TextEncoder: 12 tokens, whose first numbers are the letters' codes; a token every 8 letters."""

    def __call__(self, captions):
        codes = [[[ord(c) / 128 for c in text[8 * i : 8 * i + 8].ljust(32)] for i in range(12)] for text in captions]
        return Text(torch.tensor(codes))

    def offsets(self, text):
        return [(min(8 * i, len(text)), min(8 * i + 8, len(text))) for i in range(12)]


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet(SMALL)
        for p in unet.parameters():
            torch.nn.init.normal_(p, std=0.1)
    return unet


def task(**options):
    words = Words()
    settings = {"seed": 3, "noisiest": 0.5, "crop": 64, "drop": 0.5} | options
    return Task(Denoiser(network(), CosineSchedule(), "residual", 0.05), 64, True, words, words([""]), **settings)


def test_attention_that_prefers_nothing_costs_the_log_of_two():
    where, own, others = torch.ones(2, 4, 4, dtype=torch.bool), torch.zeros(2, 6).bool(), torch.zeros(2, 6).bool()
    own[:, 1:3], others[:, 3:5] = True, True
    scores = [torch.zeros(2, 3, 4, 4, 6), torch.zeros(2, 1, 2, 2, 6)]
    assert unlike(scores, where, own, others).item() == pytest.approx(math.log(2), abs=1e-6)
    scores[0][..., 1] = scores[1][..., 2] = 50.0
    assert unlike(scores, where, own, others).item() == pytest.approx(0, abs=1e-6)
    scores[0][..., 3] = scores[1][..., 4] = 100.0
    assert unlike(scores, where, own, others).item() == pytest.approx(50, abs=1e-4)


def test_the_attentions_mean_is_that_of_loops():
    g = torch.Generator().manual_seed(0)
    scores = [torch.randn(2, 3, 4, 4, 6, generator=g), torch.randn(2, 1, 2, 2, 6, generator=g)]
    where, own, others = torch.rand(2, 4, 4, generator=g) > 0.4, torch.zeros(2, 6).bool(), torch.zeros(2, 6).bool()
    own[0, :2], own[1, 4], others[0, 3:5], others[1, 1:3] = True, True, True, True
    layers = []
    for s in scores:
        edge, terms = s.shape[2], []
        step = 4 // edge
        for b in range(2):
            for y in range(edge):
                for x in range(edge):
                    if where[b, y * step : (y + 1) * step, x * step : (x + 1) * step].float().mean() >= 0.5:
                        for head in s[b]:
                            mine, theirs = (head[y, x][m[b]].exp().sum().log() for m in (own, others))
                            terms.append(math.log1p(math.exp(theirs - mine)))
        layers.append(sum(terms) / len(terms))
    assert unlike(scores, where, own, others).item() == pytest.approx(sum(layers) / 2, rel=1e-5)


def test_a_caption_cut_before_its_noun_phrase_asks_nothing():
    scores, none = torch.zeros(1, 1, 2, 2, 3, requires_grad=True), torch.zeros(1, 3).bool()
    for others in (none, ~none):
        loss = unlike([scores], torch.ones(1, 2, 2).bool(), none, others)
        loss.backward()
        assert loss.item() == 0 and not scores.grad.any()


def test_the_scores_are_those_by_which_the_layers_attend():
    unet = network().eval()
    g = torch.Generator().manual_seed(1)
    z, low, text = (
        torch.randn(2, 3, 64, 64, generator=g),
        torch.randn(2, 3, 64, 64, generator=g),
        Words()(["a cube", "b"]),
    )
    met = []
    layers = [m for m in unet.modules() if isinstance(m, Attention)]
    hooks = [m.register_forward_hook(lambda m, inputs, out: met.append((m, inputs, out))) for m in layers]
    cond = Cond(text, low, torch.full((2,), 0.1))
    with attended(unet) as scores, torch.no_grad():
        out = unet(z, torch.full((2,), 500.0), cond)
    for hook in hooks:
        hook.remove()
    assert len(scores) == len(met) == 4
    for s, (m, (h, kv, _), left) in zip(scores, met, strict=True):
        if not m.to_self:
            v = kv.chunk(2, -1)[1].unflatten(-1, (m.heads, -1)).transpose(1, 2)
            a = (s.flatten(2, 3).softmax(-1) @ v).transpose(1, 2).flatten(2)
            torch.testing.assert_close(left, h + m.out(a).mT.unflatten(2, h.shape[2:]), atol=1e-5, rtol=1e-5)
    assert not any(m._forward_pre_hooks for m in unet.modules())
    with torch.no_grad():
        assert torch.equal(unet(z, torch.full((2,), 500.0), cond), out)


@pytest.fixture(scope="module")
def data():
    source = ToylandTwins(256, 32, 4)
    return [source[i] for i in range(8)]


class Listed(list):
    @property
    def count(self):
        return len(self)


def test_where_halves_count_the_same_it_is_the_loss_of_both(data):
    """mean((e + e') / 2)² + mean((e − e') / 2)² = (mean e² + mean e'²) / 2, by Task's random numbers, undropped."""
    one, batch = task(), collate(data[4:8])
    beside = Twins(Listed(data), Words(), 2, drawn=0.5, asked=0.0, apart=1.0)
    places = torch.tensor([2, 2, 3, 3])
    told = replace(one, drop=0.0, crop=None)
    x, eps, t, cond = told.terms(batch, places, torch.device("cpu"))
    assert torch.equal(eps[0], eps[1]) and not torch.equal(eps[1], eps[2])
    assert torch.equal(t, spread_times(places, 3)) and torch.equal(cond.aug[0], cond.aug[1])
    expected = 0.5 * losses(one.denoiser, x, eps, t, cond).mean()
    # the second batch of 5 places has the second two pairs beside it
    found = beside(one, torch.arange(5, 10), torch.device("cpu"))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    seeds = [g.initial_seed() for g in dice(3, places)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_twins_have_times_of_their_own_whatever_the_pictures_have(data):
    one, device, places = task(), torch.device("cpu"), torch.arange(4)
    told = replace(one, drop=0.0, crop=None, times=(0.45, 0.97))
    terms = told.terms(collate(data), places.repeat_interleave(2), device)
    assert 0.45 <= terms[2].min() and terms[2].max() <= 0.97
    expected = losses(one.denoiser, *terms).mean().item()
    for shift in (1.0, 3.0):
        beside = Twins(Listed(data), Words(), 4, drawn=1.0, asked=0.0, apart=1.0, times=(0.45, 0.97))
        assert beside(replace(one, shift=shift), places, device).item() == pytest.approx(expected, rel=1e-5)


def test_evened_a_pair_counts_alike_in_however_few_pixels_it_differs():
    x = torch.zeros(6, 3, 4, 4)
    x[0, :, 0, 0] = 2.0  # half the difference is 1 in one pixel of 16
    x[3, :, :2] = -2.0  # and −1 in eight
    w = evened(x, typical=0.25, most=8.0)  # the third two are alike
    assert w.tolist() == [4.0, 0.5, 8.0] and evened(x, 0.25).max() == 4
    error = x / 2
    same, apart = halves(error, w)
    assert (w[:2] * (error[:4:2] - error[1:4:2]).square().mean((1, 2, 3))).tolist() == [0.25, 0.25]
    assert apart.item() == pytest.approx((0.0625 + 0.0625 + 0) / 3) and same == halves(error)[0]
    assert halves(error)[1] == halves(error, torch.ones(3))[1]


def test_twins_are_evened_by_their_pictures(data):
    one, device, places = task(), torch.device("cpu"), torch.arange(4)
    plain, even = (Twins(Listed(data), Words(), 4, 1, 0, 1, typical) for typical in (None, 0.01))
    sums = [beside(one, places, device).item() for beside in (plain, even)]
    told = replace(one, drop=0.0, crop=None)
    x, eps, t, cond = told.terms(collate(data[:8]), torch.arange(4).repeat_interleave(2), device)
    out, target = one.denoiser.loss_terms(x, eps, t, cond)
    apart = ((out - target)[0::2] - (out - target)[1::2]).square().mean((1, 2, 3)) / 4
    w = (0.01 / ((x[0::2] - x[1::2]) / 2).square().mean((1, 2, 3))).clamp(max=4)
    assert sums[1] - sums[0] == pytest.approx(((w - 1) * apart).mean().item(), rel=1e-3) and w.std() > 0.1


def test_what_the_sentence_decides_counts_more(data):
    one, device, places = task(), torch.device("cpu"), torch.arange(4)
    sums = {
        (drawn, asked, apart): Twins(Listed(data), Words(), 4, drawn, asked, apart)(one, places, device).item()
        for drawn, asked, apart in [(1, 0, 0), (1, 0, 1), (1, 0, 3), (0, 1, 1), (2, 3, 3)]
    }
    same, both, thrice, asked = (sums[key] for key in [(1, 0, 0), (1, 0, 1), (1, 0, 3), (0, 1, 1)])
    assert thrice - same == pytest.approx(3 * (both - same), rel=1e-4) and both > same > 0
    assert sums[2, 3, 3] == pytest.approx(2 * thrice + 3 * asked, rel=1e-5)
    beside = Twins(Listed(data), Words(), 4, 2, 3, 3)
    total, told = beside(one, places, device), beside.told
    assert total.item() == pytest.approx((2 * (told["same"] + 3 * told["apart"]) + 3 * told["asked"]).item(), rel=1e-5)


def test_a_networks_error_apart_is_what_it_cannot_know(data):
    """A new network returns 0: what it leaves apart is half the difference of the twins' own targets."""
    one = task()
    for p in one.denoiser.unet.conv_out.parameters():
        torch.nn.init.zeros_(p)
    beside = Twins(Listed(data), Words(), 4)
    beside(one, torch.arange(4), torch.device("cpu"))
    batch, places = collate(data), torch.arange(4).repeat_interleave(2)
    _, target = one.denoiser.loss_terms(*replace(one, drop=0.0, crop=None).terms(batch, places, torch.device("cpu")))
    half = (target[0::2] - target[1::2]) / 2
    assert beside.told["apart"].item() == pytest.approx(half.square().mean().item(), rel=1e-5)


class Short(Words):
    """One that pads to the longest caption of the batch only: 9 tokens, where its offsets go on to 12."""

    def __call__(self, captions):
        return Text(super().__call__(captions).tokens[:, :9])


def test_texts_may_be_shorter_than_the_longest(data):
    words = Short()
    beside = Twins(Listed(data), words, 4)
    assert beside(replace(task(), text=words, null=words([""])), torch.arange(4), torch.device("cpu")).isfinite()
    assert beside.told["asked"] > 0


def test_a_network_that_reads_no_text_has_no_use_for_twins(data):
    unet = UNet(replace(SMALL, attention=("none", "none"), mid_attention="self"))
    one = replace(task(), denoiser=Denoiser(unet, CosineSchedule(), "residual", 0.05))
    with pytest.raises(ValueError, match="attends to text"):
        Twins(Listed(data), Words(), 4)(one, torch.arange(4), torch.device("cpu"))


def test_the_encoders_offsets_are_its_tokens():
    encoder = TextEncoder.from_pretrained(data_folder())
    for text in ("A striped red cube, and a small ring", 'a sign that says "MOON"'):
        offsets, clean = encoder.offsets(text), encoder.clean(text)
        pieces = [piece.replace("▁", "") for piece in encoder.tokens(text)]
        assert len(offsets) == encoder.max_tokens == encoder(text).tokens.shape[1]
        for (a, b), piece in zip(offsets, pieces):
            assert clean[a:b].strip() == piece if piece != "</s>" else a == b
        assert all(a == b for a, b in offsets[len(pieces) - 1 :])


# The run


def run(folder, **options):
    stage = Stage(Denoiser(network(), CosineSchedule(), "residual", 0.05), 64)
    beside = Twins(Cached(ToylandTwins(256, 32, 4), folder / "twins", 2), Words(), 2)
    pictures = Cached(ToylandImages(64, crop=32, factor=4), folder / "pictures", 8)
    settings = {"batch": 2, "lr": 1e-3, "warmup": 0, "precision": "fp32", "crop": 32, "optimizer": "muon"} | options
    told = []
    for step in train(stage, pictures, text=Words(), beside=beside, **settings):
        told.append({"loss": step.loss} | {name: value.item() for name, value in beside.told.items()})
    return stage, told


def test_a_run_beside_twins_resumes_bit_for_bit(tmp_path):
    whole, told = run(tmp_path, steps=6, decay=0.0)
    run(tmp_path, steps=3, decay=0.0, out=tmp_path / "run")
    stage, rest = run(tmp_path, steps=6, decay=0.0, out=tmp_path / "run", resume=True)
    assert told[3:] == rest
    for a, b in zip(whole.denoiser.unet.parameters(), stage.denoiser.unet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_is_asked_is_learned(tmp_path):
    _, told = run(tmp_path, steps=60, lr=1e-2)
    first, last = ([one["asked"] for one in part] for part in (told[:10], told[-10:]))
    assert sum(last) < 0.6 * sum(first), (first, last)


@pytest.mark.parametrize("held", [8, 9])
def test_no_place_of_a_run_meets_a_parted_pair(tmp_path, held):
    """Item 2 i + 1 of a cache's later rounds would be another pair's: Twins stays in the first."""
    cached = Cached(ToylandTwins(64, 32, 4), tmp_path, held)
    seen = []

    class Watched:
        count = held

        def __getitem__(self, index):
            seen.append(index)
            return cached[index]

    beside = Twins(Watched(), Words(), 3)
    for first in random.Random(0).sample(range(0, 400, 4), 5):
        beside(task(), torch.arange(first, first + 4), torch.device("cpu"))
    assert max(seen) < 8 and all(a % 2 == 0 and b == a + 1 for a, b in zip(seen[0::2], seen[1::2]))


@pytest.mark.parametrize("of", ["place", "size", "number"])
def test_both_of_two_show_one_window(of):
    data = ToylandTwins(256, 64, 4, of=(of,), seed=3)
    for i in range(0, 12, 2):
        assert torch.equal(data[i]["origin"], data[i + 1]["origin"])
