"""Lesson 02: its figures show what they are given, and its answers are T5's own training and T5's own layer."""

import random

import pytest
import torch

from minimagen import show
from minimagen.checks import attention, mean_of_words, span_corruption
from minimagen.show.text import plain, plane
from minimagen.text_tasks import corrupt

TOKENS = ["▁a", "▁red", "▁cube", "</s>"]


def shares(heads: int = 3) -> torch.Tensor:
    return torch.rand(heads, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)


# The answers


def test_span_corruption_is_what_our_t5_was_trained_on():
    ids, sentinels = list(range(100, 130)), [9, 8, 7, 6, 5, 4, 3, 2, 1]
    source, target = corrupt(ids, sentinels, random.Random(0), 0.3, 2.0)
    names = [i for i in source if i < 10]
    spans, held = [], target
    for name, following in zip(names, [*names[1:], None]):
        end = held.index(following) if following is not None else len(held)
        span, held = held[1:end], held[end:]
        spans.append((span[0] - 100, span[-1] - 99))
        assert name == target[target.index(span[0]) - 1]
    assert span_corruption.reference(ids, spans, sentinels) == (source, target)


def test_attention_is_t5s_own_layer():
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    torch.manual_seed(0)
    config = T5Config(d_model=16, d_kv=4, num_heads=4, dropout_rate=0.0)
    layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    x, mask = torch.randn(2, 6, 16), torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()
    split = [f(x).unflatten(-1, (4, 4)).transpose(1, 2) for f in (layer.q, layer.k, layer.v)]
    with torch.no_grad():
        a = attention.reference(*split, layer.compute_bias(6, 6), mask)
        theirs = layer(x, mask=torch.zeros(2, 1, 1, 6).masked_fill(~mask[:, None, None], -1e9))[0]
        torch.testing.assert_close(layer.o(a.transpose(1, 2).flatten(2)), theirs, rtol=1e-4, atol=1e-5)


def test_the_mean_does_not_depend_on_padding():
    tokens, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    mean = mean_of_words.reference(tokens, mask)
    torch.testing.assert_close(mean[0], (tokens[0, 0] + tokens[0, 1]) / 2)
    torch.testing.assert_close(mean[:1], mean_of_words.reference(tokens[:1, :2], mask[:1, :2]))


# The figures


def test_heads_is_one_square_a_head():
    figure = show.heads(shares(), TOKENS, caption="Who asks whom.")
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "red", "cube", "</s>"]
    assert len(show.heads(shares(6), TOKENS, [str(i) for i in range(6)]).axes) == 8  # two rows of four
    with pytest.raises(ValueError, match="4 tokens want weights"):
        show.heads(shares()[:, :3], TOKENS)


def test_reading_shows_the_shares_and_marks_the_word():
    weights = torch.tensor([[0.0, 0.96, 0.04, 0.0], [1.0, 0.0, 0.0, 0.0]])
    figure = show.reading(weights, TOKENS, 2)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.texts] == [".96", "1"]  # what is below 0.05 stays blank
    assert [t.get_fontweight() for t in ax.get_xticklabels()] == ["normal", "normal", "bold", "normal"]
    with pytest.raises(ValueError, match="no number 4"):
        show.reading(weights, TOKENS, 4)


def test_words_lie_where_their_embeddings_do():
    embeddings = torch.tensor([[0.0, 0, 9], [0, 0, 9], [4, 0, 9], [4, 1, 9]])
    figure = show.words(
        {"map": (embeddings, ["red", "crimson", "blue", "azure"], ["r", "r", "b", "b"])}, strong=("red", "blue")
    )
    (ax,) = figure.axes
    marks = [line for line in ax.lines if len(line.get_xdata()) == 1]
    points = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in marks]
    assert points[0] == points[1] and abs(points[2][0] - points[0][0]) > 3
    assert [t.get_text() for t in ax.texts] == ["red", "blue"]
    assert [line.get_marker() for line in marks] == ["s", "o", "s", "o"]
    home = [line.get_xydata().tolist() for line in ax.lines if len(line.get_xdata()) == 2]
    assert home == [[list(points[i]), list(points[i - 1])] for i in (1, 3)], "a synonym has a line to its own word"


def test_a_plane_keeps_the_greatest_spread_and_its_sides():
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([9.0, 4, 1, 1, 1, 1, 1, 1])
    points = plane(x)
    assert points.shape == (30, 2) and points.var(0)[0] > points.var(0)[1] > 9
    turned = plane(x @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0])
    torch.testing.assert_close(points, turned, rtol=1e-3, atol=1e-3)  # no matter which way the axes point


def test_groups_are_bars_with_their_numbers():
    figure = show.groups(
        {"T5": {"whose": 1.0, "which": 0.5}, "none": {"whose": 0.2, "which": 0.1}},
        "right",
        level=("by chance", {"which": 0.3}),
    )
    (ax,) = figure.axes
    assert [round(p.get_height(), 2) for p in ax.patches] == [1.0, 0.5, 0.2, 0.1]
    assert [t.get_text() for t in ax.texts] == ["100%", "50%", "20%", "10%"]
    (level,) = [c for c in ax.collections if c.get_label() == "by chance"]
    ((left, right),) = [segment[:, 0].tolist() for segment in level.get_segments()]
    assert 0.5 < left < 1 < right and level.get_segments()[0][:, 1].tolist() == [0.3, 0.3]  # over its group alone
    assert len({p.get_hatch() for p in ax.patches}) == 2  # told apart without colour


def test_tokens_lose_their_mark_but_not_their_name():
    assert [plain(t) for t in (*TOKENS, "▁", "b")] == ["a", "red", "cube", "</s>", "▁", "b"]
