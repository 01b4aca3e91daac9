"""Lesson 02, T5 embeddings: span corruption, T5's attention, the mean of a sentence's words."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from minimagen.text_tasks import corrupt

from .frame import Case, Exercise

LESSON = "02_t5_embeddings"


# Span corruption


def gapped(words: list, spans: list[tuple[int, int]], sentinels: list) -> tuple[list, list]:
    """a red cube left of a cone → a <0> left of <1> cone,  <0> red cube <1> a"""
    source, target, at = [], [], 0
    for (start, stop), sentinel in zip(spans, sentinels):
        source += [*words[at:start], sentinel]
        target += [sentinel, *words[start:stop]]
        at = stop
    return source + words[at:], target


def sentences(generator: torch.Generator) -> list[Case]:
    rng = random.Random(int(torch.randint(1 << 30, (1,), generator=generator)))
    words = "a shiny red cube left of a small red sphere on a wooden floor at night".split()
    sentinels = [f"<extra_id_{i}>" for i in range(5)]
    ids = rng.sample(range(3, 900), 14)
    start = rng.randint(5, 7)
    return [
        Case("three spans in a sentence of words", (words, [(1, 3), (5, 7), (8, 11)], sentinels)),
        Case("two spans in a list of ids", (ids, [(1, 4), (start, start + 2)], [1022, 1021, 1020])),
        Case("a span at each end", (ids, [(0, 2), (12, 14)], [1022, 1021])),
        Case("one span", (words[:4], [(2, 3)], sentinels)),
        Case("a word that stands elsewhere too", (words[:9], [(6, 7)], sentinels)),
    ]


span_corruption = Exercise(
    "span_corruption",
    LESSON,
    reference=gapped,
    cases=sentences,
    learned="what is gone can be told from what is left, by whoever has understood it. This is a third of what our T5 "
    "has practised, and all of T5-XXL's.",
    borrowed=(corrupt,),
    points=3,
    minutes=8,
    level=1,
)


def _gapped(words, spans, sentinels):
    """The right answer, for the wrong ones to change: the reference itself is out of reach."""
    starts = [0, *(stop for _, stop in spans)]
    source = [x for at, (start, _), s in zip(starts, spans, sentinels) for x in (*words[at:start], s)]
    return source + words[starts[-1] :], [x for (i, j), s in zip(spans, sentinels) for x in (s, *words[i:j])]


@span_corruption.mistake
def one_sentinel_for_all(words, spans, sentinels):
    """Every gap has the same sentinel, so that nobody can tell which answer belongs to which gap. The first gap takes
    the first sentinel, the second gap the second, and so on."""
    return _gapped(words, spans, [sentinels[0]] * len(spans))


@span_corruption.mistake
def one_sentinel_a_word(words, spans, sentinels):
    """You put a sentinel in place of each word, as BERT does with its masks. In T5 one sentinel stands for a whole
    span, so that the network is not even told how many words are gone."""
    gone = {i: s for (start, stop), s in zip(spans, sentinels) for i in range(start, stop)}
    source = [gone.get(i, word) for i, word in enumerate(words)]
    return source, _gapped(words, spans, sentinels)[1]


@span_corruption.mistake
def only_deleted(words, spans, sentinels):
    """The spans are gone from the source, and nothing marks where they were. Put a sentinel in place of each."""
    gone = {i for start, stop in spans for i in range(start, stop)}
    return [word for i, word in enumerate(words) if i not in gone], _gapped(words, spans, sentinels)[1]


@span_corruption.mistake
def answers_without_names(words, spans, sentinels):
    """The target has the words that are gone, but does not say which gap each span belongs to. Before each span, name
    its sentinel."""
    gone = [word for start, stop in spans for word in words[start:stop]]
    return _gapped(words, spans, sentinels)[0], gone


@span_corruption.mistake
def sentinel_behind(words, spans, sentinels):
    """In the target the sentinel stands behind its span. It comes first: it says which gap is answered next."""
    target = [x for (start, stop), s in zip(spans, sentinels) for x in (*words[start:stop], s)]
    return _gapped(words, spans, sentinels)[0], target


@span_corruption.mistake
def whole_sentence(words, spans, sentinels):
    """Your target is the whole sentence. T5 only has to say what is gone: shorter to write, and cheaper to train."""
    return _gapped(words, spans, sentinels)[0], list(words)


@span_corruption.mistake
def changed_places(words, spans, sentinels):
    """Source and target have changed places: return first the sentence with gaps, then what belongs into them."""
    return _gapped(words, spans, sentinels)[::-1]


@span_corruption.mistake
def stop_included(words, spans, sentinels):
    """Your spans are a word too long. (2, 4) are the words 2 and 3, as in `words[2:4]`: the stop is left out."""
    return _gapped(words, [(start, stop + 1) for start, stop in spans], sentinels)


@span_corruption.mistake
def no_tail(words, spans, sentinels):
    """The source ends with the last gap. What comes after it is missing: add `words[at:]`."""
    return _gapped(words[: spans[-1][1]], spans, sentinels)


@span_corruption.mistake
def starts_over(words, spans, sentinels):
    """Each part of the source begins at the sentence's first word. Remember where the last span stopped, and go on from
    there."""
    source = [x for (start, _), s in zip(spans, sentinels) for x in (*words[:start], s)]
    return source + words[spans[-1][1] :], _gapped(words, spans, sentinels)[1]


@span_corruption.mistake
def left_in_the_loop(words, spans, sentinels):
    """Only the first span is done: your `return` stands inside the loop. Move it out, to where the loop has ended."""
    return _gapped(words, spans[:1], sentinels)


@span_corruption.mistake
def always_from_the_start(words, spans, sentinels):
    """Every part of the source begins at the first word, the last part too: `at` stays 0. Move it on after each span,
    to where that span stopped."""
    source = [x for (start, _), s in zip(spans, sentinels) for x in (*words[:start], s)]
    return source + words, _gapped(words, spans, sentinels)[1]


@span_corruption.mistake
def lists_in_lists(words, spans, sentinels):
    """Your lists hold lists: `append` puts a slice in as a single thing. Add slices by `+=`, which puts in their
    words."""
    starts = [0, *(stop for _, stop in spans)]
    source = [x for at, (start, _), s in zip(starts, spans, sentinels) for x in (words[at:start], s)]
    return [*source, words[starts[-1] :]], [x for (i, j), s in zip(spans, sentinels) for x in (s, words[i:j])]


# Attention, as T5 has it


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """softmax(q kᵀ + bias) v, over the keys that are there"""
    scores = q @ k.mT + bias  # (B, heads, L, L)
    scores = scores.masked_fill(~mask[:, None, None, :], -torch.inf)
    return scores.softmax(dim=-1) @ v


def readings(generator: torch.Generator) -> list[Case]:
    def case(about: str, lengths: list[int], heads: int, width: int, taken: int | None = None) -> Case:
        length, widths = max(lengths), (width, width, taken or width)
        q, k, v = (torch.randn(len(lengths), heads, length, d, generator=generator) for d in widths)
        bias = torch.randn(1, heads, length, length, generator=generator)
        mask = torch.arange(length) < torch.tensor(lengths)[:, None]
        return Case(about, (0.7 * q, k, v, bias, mask))

    return [
        case("two sentences, of 6 and of 3 tokens, two heads", [6, 3], 2, 8),
        case("one sentence without padding", [5], 3, 4),
        case("as many sentences as heads and as tokens", [4, 2, 3, 4], 4, 4),
        case("values that are wider than the keys", [3, 5], 2, 4, 7),
    ]


attention = Exercise(
    "attention",
    LESSON,
    reference=attend,
    cases=readings,
    learned="each word asks all the others, and takes from them by how well they answer.",
    points=4,
    minutes=12,
    level=2,
)


def _attend(q, k, v, bias, mask, scale=1.0, dim=-1):
    """The right answer with one thing changed."""
    return (scale * q @ k.mT + bias).masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim) @ v


@attention.mistake
def scaled(q, k, v, bias, mask):
    """You divided by √d. Nearly every transformer does; T5 does not, for it began with smaller weights in its queries.
    Its weights were trained without it: leave it out."""
    return _attend(q, k, v, bias, mask, scale=q.shape[-1] ** -0.5)


@attention.mistake
def everything_scaled(q, k, v, bias, mask):
    """You divided by √d, and the bias with it. T5 divides neither."""
    d = q.shape[-1] ** 0.5
    return _attend(q, k, v, bias / d, mask, scale=1 / d)


@attention.mistake
def over_the_queries(q, k, v, bias, mask):
    """Your weights add up to one over the queries. Each query shares out its own attention: take the softmax over the
    keys, which is the last axis."""
    return _attend(q, k, v, bias, mask, dim=-2)


@attention.mistake
def no_bias(q, k, v, bias, mask):
    """The bias is missing. Without it the words have no order, and "a red cube, a blue ball" is a bag of words."""
    return _attend(q, k, v, 0 * bias, mask)


@attention.mistake
def bias_later(q, k, v, bias, mask):
    """You added the bias after the softmax, so that the weights no longer add up to one. It belongs to the scores."""
    scores = (q @ k.mT).masked_fill(~mask[:, None, None, :], -torch.inf)
    return (scores.softmax(-1) + bias) @ v


@attention.mistake
def bias_turned(q, k, v, bias, mask):
    """The bias is transposed: its rows are the queries and its columns the keys, as in the scores."""
    return _attend(q, k, v, bias.mT, mask)


@attention.mistake
def no_mask(q, k, v, bias, mask):
    """Padding is attended to: the words listen to places where no word is. Before the softmax, set the scores of those
    keys to −∞."""
    return (q @ k.mT + bias).softmax(-1) @ v


@attention.mistake
def mask_inverted(q, k, v, bias, mask):
    """You kept the padding and left out the words: in `mask` True is a word. Where it is False the score is −∞."""
    return (q @ k.mT + bias).masked_fill(mask[:, None, None, :], -torch.inf).softmax(-1) @ v


@attention.mistake
def mask_of_zeros(q, k, v, bias, mask):
    """You set the scores of padding to 0. The softmax makes e⁰ = 1 of it, which is a good deal of attention; only −∞
    becomes 0."""
    return (q @ k.mT + bias).masked_fill(~mask[:, None, None, :], 0.0).softmax(-1) @ v


@attention.mistake
def mask_later(q, k, v, bias, mask):
    """You took the padding out after the softmax, so that the weights of the words no longer add up to one. Set the
    scores to −∞ before it."""
    return ((q @ k.mT + bias).softmax(-1) * mask[:, None, None, :]) @ v


@attention.mistake
def mask_on_queries(q, k, v, bias, mask):
    """Your mask went along the queries. It is the keys that are left out, the last axis: `mask[:, None, None, :]`."""
    scores = (q @ k.mT + bias).masked_fill(~mask[:, None, :, None], -torch.inf)
    return scores.softmax(-1) @ v


@attention.mistake
def mask_along_the_heads(q, k, v, bias, mask):
    """Your mask of shape (B, 1, L) laid the sentences along the heads, and no error told you. It needs an axis for the
    heads too: `mask[:, None, None, :]`."""
    return (q @ k.mT + bias).masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ v


@attention.mistake
def mask_on_both(q, k, v, bias, mask):
    """You masked the queries too. A row that is −∞ everywhere becomes 0/0, NaN. Padding may ask; only as a key, on the
    last axis, it must be left out."""
    both = mask[:, None, None, :] & mask[:, None, :, None]
    return (q @ k.mT + bias).masked_fill(~both, -torch.inf).softmax(-1) @ v


@attention.mistake
def keys_and_queries(q, k, v, bias, mask):
    """Keys and queries have changed places. Rows are queries: the scores are q kᵀ."""
    return _attend(k, q, v, bias, mask)


@attention.mistake
def hardest(q, k, v, bias, mask):
    """You took the best key alone. Attention takes from all of them, by a softmax of the scores."""
    scores = (q @ k.mT + bias).masked_fill(~mask[:, None, None, :], -torch.inf)
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(v) @ v


# A sentence as one vector


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Σ tokens / number of words, for each sentence"""
    words = mask[..., None].to(tokens.dtype)  # (B, L, 1)
    return (tokens * words).sum(1) / words.sum(1)


def padded(generator: torch.Generator) -> list[Case]:
    def case(about: str, lengths: list[int], length: int, width: int) -> Case:
        tokens = torch.randn(len(lengths), length, width, generator=generator) + 0.5
        return Case(about, (tokens, torch.arange(length) < torch.tensor(lengths)[:, None]))

    return [
        case("three sentences of 6, 3 and 2 tokens, padded to 9", [6, 3, 2], 9, 5),
        case("no padding", [4, 4], 4, 3),
        case("the null text, whose one token is the end", [1, 7], 77, 4),
    ]


mean_of_words = Exercise(
    "mean_of_words",
    LESSON,
    reference=mean,
    cases=padded,
    learned="each sentence's mean is its own, however long its neighbours and its padding are.",
    points=2,
    minutes=6,
    level=1,
)


@mean_of_words.mistake
def over_nulls(tokens, mask):
    """You took the mean over all places, padding too: the mean over nulls, a published codebase's mistake. Add up the
    words alone, and divide by how many there are."""
    return tokens.mean(1)


@mean_of_words.mistake
def too_large_a_divisor(tokens, mask):
    """The padding is out of the sum, but you still divide by the number of places, so that short sentences become
    faint. Divide by the number of words."""
    return (tokens * mask[..., None]).mean(1)


@mean_of_words.mistake
def the_sum(tokens, mask):
    """You added up the words, and did not divide by how many there are: a long sentence would be a loud one."""
    return (tokens * mask[..., None]).sum(1)


@mean_of_words.mistake
def one_count_for_all(tokens, mask):
    """You divided every sentence by the words of the whole batch. Each has its own number: `mask.sum(1)`."""
    return (tokens * mask[..., None]).sum(1) / mask.sum()


@mean_of_words.mistake
def longest_for_all(tokens, mask):
    """You divided every sentence by the words of the longest. Each has its own number: `mask.sum(1)`."""
    return (tokens * mask[..., None]).sum(1) / mask.sum(1).max()


@mean_of_words.mistake
def mean_per_sentence_count(tokens, mask):
    """You divided every sentence by the batch's mean number of words. Each has its own: `mask.sum(1)`."""
    return (tokens * mask[..., None]).sum(1) / mask.sum(1).float().mean()


@mean_of_words.mistake
def the_padding(tokens, mask):
    """You took the mean of the padding: in `mask` True is a word."""
    return (tokens * ~mask[..., None]).sum(1) / (~mask).sum(1)[:, None].clamp(min=1)


@mean_of_words.mistake
def first_word(tokens, mask):
    """You took the first token, as one does with BERT's [CLS]. T5 has no such token: take the mean of all words."""
    return tokens[:, 0].clone()


@mean_of_words.mistake
def last_place(tokens, mask):
    """You took the last place, where most sentences have padding. Take the mean of all words."""
    return tokens[:, -1].clone()


@mean_of_words.mistake
def over_the_batch(tokens, mask):
    """You took one mean over the whole batch, so that every sentence is told all the others' words too. Sum over the
    axis of the words, `dim=1`, and leave the batch."""
    return tokens[mask].mean(0).expand(len(tokens), -1).clone()
