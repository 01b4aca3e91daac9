"""What a cascade takes of memory: counted from configs, against what PyTorch really took."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from transformers import T5Config, T5EncoderModel

import minimagen as mi
from minimagen import deepfloyd
from minimagen.cascade import Imagen, Stage
from minimagen.conditioning import Text
from minimagen.deepfloyd import memory, plans
from minimagen.denoiser import Denoiser
from minimagen.schedule import CosineSchedule
from minimagen.unet import IF_I_L, IF_I_M, IF_I_XL, IF_II_L, UNet, UNetConfig

SMALL = UNetConfig(channels=(32, 64), layers=1, attention=("none", "self+text"), head_dim=8, text_dim=32)
LARGE = UNetConfig(
    size=128, in_channels=6, channels=(64, 64), layers=1, attention=("none", "none"), text_dim=32, augmentation=True
)


def untrained(config):
    return UNet(config).eval().requires_grad_(False)


def inputs(config, batch=2):
    z = torch.randn(batch, 3, config.size, config.size)
    aug = torch.zeros(batch) if config.augmentation else None
    return z, torch.ones(batch), mi.Cond(Text(torch.randn(batch, 77, 32)), z if config.enlarges else None, aug)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, size=128, fold=4), replace(SMALL, efficient=True)], ids=str)
def test_the_scores_are_counted_where_the_attention_is(config, monkeypatch):
    counted, attend = [], torch.nn.functional.scaled_dot_product_attention

    def watched(q, k, v, **options):
        counted.append(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * 4)
        return attend(q, k, v, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    untrained(config)(*inputs(config))
    assert max(counted) == memory.score_bytes(config)


def test_a_peak_says_nothing_of_what_was_garbage_before(capfd):
    cycle = [torch.zeros(1000)]
    cycle.append(cycle)
    del cycle
    assert deepfloyd.peak(lambda: (gc.collect(), torch.zeros(1000))) >= 4000
    assert capfd.readouterr().err == ""


# Weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_networks_weights_are_what_its_file_would_hold(dtype):
    state = untrained(SMALL).to(dtype).state_dict()
    assert deepfloyd.network_bytes(SMALL, dtype) == sum(t.numel() * t.element_size() for t in state.values())


@pytest.mark.parametrize("feed_forward_proj", ["relu", "gated-gelu"])
def test_t5s_size_is_transformers(feed_forward_proj):
    xxl = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "d_kv": 64, "vocab_size": 32128}
    config = T5Config(**xxl, feed_forward_proj=feed_forward_proj)
    with torch.device("meta"):
        model = T5EncoderModel(config)
    size = memory.T5Size.of(config)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.bytes() == memory.weight_bytes(model)
    assert (size == memory.T5_XXL) == (feed_forward_proj == "gated-gelu")


def test_t5_in_float16_keeps_a_part_in_float32(tmp_path):
    """transformers does so by itself; who counts two bytes a parameter for T5-XXL is 2 GB short."""
    config = T5Config(d_model=32, d_ff=128, num_layers=2, num_heads=4, d_kv=8, vocab_size=200)
    T5EncoderModel(config).save_pretrained(tmp_path)
    size = memory.T5Size.of(config)
    for dtype in (torch.float16, torch.bfloat16):
        model = T5EncoderModel.from_pretrained(tmp_path, dtype=dtype)
        assert memory.weight_bytes(model) == size.bytes(dtype)
    assert memory.T5_XXL.bytes(torch.float16) / 1e9 == pytest.approx(11.54, abs=0.01)
    assert memory.T5_XXL.bytes(torch.bfloat16) / 1e9 == pytest.approx(9.52, abs=0.01)
    assert memory.T5_XXL.bytes(torch.bfloat16, "8bit") / 1e9 == pytest.approx(5.90, abs=0.01)


# Activations, against PyTorch's own count


@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["attending", "enlarging"])
def test_a_pass_takes_what_was_counted_on_the_meta_device(config):
    unet, (z, t, cond) = untrained(config), inputs(config)
    with torch.no_grad():
        measured = deepfloyd.peak(lambda: unet(z, t, cond))
    assert measured > 3e6
    assert deepfloyd.activation_bytes(config) == pytest.approx(measured, rel=0.25)


def test_what_is_counted_as_alive_is_what_pytorch_holds():
    def work():
        a = torch.zeros(1000, 1000)
        b = a.view(-1)[:10]  # a view takes nothing
        c = a + 1
        del a, b
        return c * 2

    with memory.Live() as live:
        kept = work()
    assert live.peak == pytest.approx(deepfloyd.peak(work), rel=0.01)
    assert live.peak == 8_000_000 and live.now == kept.nbytes


def test_attention_stored_sliced_and_fused():
    q = k = v = torch.randn(2, 8, 512, 16)
    scores = 2 * 8 * 512 * 512 * 4
    taken = {}
    for kind in memory.ATTENTION:
        with memory.Attending(kind):
            taken[kind] = deepfloyd.peak(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert scores < taken["stored"] < 2.5 * scores
    assert taken["stored"] / 10 < taken["sliced"] < taken["stored"] / 3
    assert taken["fused"] == q.nbytes
    real = deepfloyd.peak(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert real < scores / 4  # PyTorch's own needs no slicing
    with memory.Attending("stored"):
        a = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    with memory.Attending("sliced"):
        b = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    c = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(a, c, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(b, c, atol=1e-5, rtol=1e-4)


# The levers, pulled


class Encoder:
    """A text encoder with weights, as large as it is said to be."""

    def __init__(self, size=4_000_000):
        self.weight = torch.zeros(size)

    def __call__(self, captions):
        return Text(self.weight[:32].expand(len(captions), 77, 32) + 0.1)


def test_encode_first_and_free_t5():
    encoder = Encoder()
    gone = weakref.ref(encoder.weight)
    embeddings = deepfloyd.embed(["a cube"], encoder)
    del encoder
    assert gone() is None  # nothing of it is kept
    stage = Stage(Denoiser(untrained(SMALL), CosineSchedule()), 64, steps=1, guidance=2.0)
    assert Imagen([stage], embeddings).draw("a cube")[0].size == (64, 64)


def test_one_stage_at_a_time_goes_and_comes_back():
    """On the meta device, which holds no numbers, so that going there is all that it can do."""
    seen = []

    class Watches(UNet):
        def to(self, *args, **kwargs):
            seen.extend(map(str, args))
            return self

    stage = Stage(Denoiser(Watches(SMALL).eval(), CosineSchedule()), 64, steps=1, device="meta")
    steps = stage.sample(Text(torch.zeros(1, 77, 32)), z=torch.zeros(1, 3, 64, 64))
    with pytest.raises(RuntimeError):  # its weights did not move, its text did
        next(steps)
    assert seen[-2:] == ["meta", "cpu"]


def test_peak_of_a_drawing_is_weights_and_one_pass():
    """All of it, loaded within the measurement: weights of both networks, and the larger pass."""

    def draw():
        stages = [Stage(Denoiser(untrained(c), CosineSchedule(), "v"), c.size, steps=1) for c in (SMALL, LARGE)]
        Imagen(stages, lambda captions: Text(torch.ones(len(captions), 77, 32))).draw("a cube")

    counted = sum(deepfloyd.network_bytes(c) for c in (SMALL, LARGE)) + max(
        deepfloyd.activation_bytes(c, batch=1) for c in (SMALL, LARGE)
    )
    with pytest.warns(UserWarning, match="untrained"):
        assert deepfloyd.peak(draw) == pytest.approx(counted, rel=0.3)


def test_the_table_of_levers_adds_up():
    t5 = memory.T5Size(200, 32, 128, 2, 4, 8, False)
    table = {lever.name: lever for lever in deepfloyd.levers((SMALL, LARGE), t5, torch.float32)}
    nets = [deepfloyd.network_bytes(c) for c in (SMALL, LARGE)]
    work = max(deepfloyd.activation_bytes(c) for c in (SMALL, LARGE))
    assert table["encode first and free T5"].before == t5.bytes() + sum(nets) + work
    assert table["T5 on another machine, embeddings from a file"].saves == t5.bytes()
    assert table["T5 freed, and one stage at a time"].saves == min(nets)
    scores = table[
        "sliced attention, of one layer's scores"
    ]  # 2 pictures, 8 heads, 32 × 32 places, these and 77 tokens
    assert (scores.before, scores.after) == (2 * 8 * 1024 * 1101 * 4, 2 * 1024 * 1101 * 4)
    assert table["scaled-dot-product attention, which is built in, of the same"].after == 0
    assert all(lever.saves >= 0 for lever in table.values())
    assert str(deepfloyd.levers((SMALL,), t5)).count("\n") == 9


# Plans


@pytest.fixture(scope="module")
def published():
    return {gb: deepfloyd.plan(gb) for gb in (4, 6, 8, 12, 16, 24, 40)}


def test_plans_from_4_to_40_gb_fit_and_grow(published):
    order = [f"DeepFloyd/IF-I-{x}-v1.0" for x in ("M", "L", "XL")]
    sizes = [order.index(plan.first) for plan in published.values()]
    assert sizes == sorted(sizes) and sizes[-1] == 2 and published[16].first.endswith("XL-v1.0")
    for gb, plan in published.items():
        assert plan.peak <= gb * 1e9
        assert f"{gb} GB: {plan.first}" in str(plan)
        assert plan.options["second"] == plan.second and plan.options.get("one_at_a_time", False) == plan.one_at_a_time
    assert published[40].t5 == "beside" and not published[40].one_at_a_time and published[40].third
    assert published[4].t5 == "elsewhere" and not published[4].third
    with pytest.raises(ValueError, match="1 GB is too little.*device='cpu'"):
        deepfloyd.plan(1)


def test_a_better_plan_would_not_fit():
    better = []
    for one in plans.candidates(8):
        if one == deepfloyd.plan(8):
            break
        better.append(one)
    assert better and all(one.peak > 8e9 for one in better)


def test_a_plan_counts_the_driver_while_t5_reads_too():
    first = next(one for one in plans.candidates(16) if one.t5 == "first")
    assert first.encoding == plans.DRIVER + memory.T5_XXL.bytes(torch.float16)


def test_if_published_sizes():
    """4.3 B, 900 M, 400 M and 1.2 B parameters, as its page says."""
    billions = [deepfloyd.network_bytes(c, torch.float16) / 2e9 for c in (IF_I_XL, IF_I_L, IF_I_M, IF_II_L)]
    assert billions == pytest.approx([4.3, 0.93, 0.37, 1.15], rel=0.02)


def test_the_sentence_of_too_little_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 3_000_000_000)
    cpu = torch.device("cpu")
    memory.check("IF", {"the network": (cpu, 2_900_000_000)})
    with pytest.raises(MemoryError, match=r"IF needs 4.0 GB on cpu \(a 1.5 GB, b 2.5 GB\) and 3.0 GB are free: take"):
        memory.check("IF", {"a": (cpu, 1_500_000_000), "b": (cpu, 2_500_000_000)})
    memory.check("IF", {"a": (cpu, 2_000_000_000), "b": (torch.device("meta"), 2_500_000_000)})
