"""The small T5's tokenizer, exercises, training and probes, on a corpus of a few words so that it takes seconds."""

import itertools
import random
import re
import string
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen.conditioning import Text
from minimagen.pretrain import HELD_OUT, Recipe, held_out_loss, main, pretrain, t5, token_loss
from minimagen.probes import Score, binding, embed, fit, letters, score, synonyms
from minimagen.probes import main as probe_command
from minimagen.text import TextEncoder
from minimagen.text_tasks import Examples, Tasks, corrupt, which_letter
from minimagen.tokenizer import save_tokenizer, t5_tokenizer, train_tokenizer
from minimagen.toyland.scene import COLORS, SHAPES

transformers = pytest.importorskip("transformers")
THINGS = [f"a {color} {shape}" for color in COLORS[:4] for shape in SHAPES[:4]]


def _word(rng):
    return "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 6)))


def _sentences(seed, n):
    rng = random.Random(seed)
    return [
        f'{rng.choice(THINGS)} left of {rng.choice(THINGS)}, and a sign that says "{_word(rng)}".' for _ in range(n)
    ]


def _pairs(seed, n):
    rng = random.Random(seed)
    words = [_word(rng).lower() for _ in range(n)]
    return [(f'spell: "{word}"', " ".join(word)) for word in words]


CORPUS = SimpleNamespace(sentences=_sentences, pairs=_pairs)
TINY = Recipe(dim=32, layers=1, decoder_layers=1, heads=2, hidden=32, vocabulary=150, warmup=5, tasks=Tasks(batch=512))


@pytest.fixture(scope="module")
def spiece():
    return train_tokenizer([*_sentences(0, 2000), *(text for pair in _pairs(0, 500) for text in pair)], 150)


@pytest.fixture(scope="module")
def folder(spiece, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    save_tokenizer(spiece, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizers(spiece, folder):
    """The same files by every road: as made, and as transformers loads them."""
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    return [t5_tokenizer(spiece), auto, transformers.T5Tokenizer.from_pretrained(folder)]


def _as_if_pipeline_calls(tokenizer, prompt):
    """How diffusers' IFPipeline tokenises: lower case, padded to 77, and nothing else is done for us."""
    ids = tokenizer(
        [prompt.lower().strip()],
        padding="max_length",
        max_length=77,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    ).input_ids
    assert ids.shape == (1, 77)
    return tokenizer.convert_ids_to_tokens(ids[0, : (ids[0] != tokenizer.pad_token_id).sum()])


def test_quoted_words_fall_into_letters(tokenizers):
    for tokenizer in tokenizers:
        pieces = _as_if_pipeline_calls(tokenizer, 'a red cube and a sign that says "RED".')
        assert " ".join(pieces) == '▁a ▁red ▁cube ▁and ▁a ▁sign ▁that ▁says ▁" r e d " . </s>'
        assert (
            " ".join(_as_if_pipeline_calls(tokenizer, "“Sphere”, ‘cone’")) == "▁\" s p h e r e \" , ▁ ' c o n e ' </s>"
        )


@given(st.text(string.ascii_letters, min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_every_quoted_letter_is_its_own_token(tokenizers, word):
    pieces = _as_if_pipeline_calls(tokenizers[1], f'a sign saying "{word}" on it')
    start = pieces.index('▁"')
    assert pieces[start + 1 : start + 1 + len(word)] == list(word.lower()) and pieces[start + 1 + len(word)] == '"'
    assert "<unk>" not in pieces


def test_every_road_gives_the_same_ids(tokenizers, folder):
    import sentencepiece

    plain = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    for text in [*_sentences(3, 50), "A three-sided, “Café” — ﬁne  thing?", "", "sphreical cubes 3", "x-ray"]:
        first, *others = (tokenizer(text)["input_ids"] for tokenizer in tokenizers)
        assert all(ids == first for ids in others)
        assert [*plain.encode(text), 1] == first


def test_the_vocabulary_is_t5s(tokenizers):
    for tokenizer in tokenizers:
        assert tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>"]) == [0, 1, 2]
        size = len(tokenizer)
        assert tokenizer.convert_tokens_to_ids(["<extra_id_0>", "<extra_id_99>"]) == [size - 1, size - 100]
        assert tokenizer("<extra_id_0> red")["input_ids"][0] == size - 1
        assert tokenizer("")["input_ids"] == [1]
        assert size <= 250  # as many pieces as asked for, and the sentinels
        plain = [piece for piece in tokenizer.get_vocab() if not piece.startswith("<")]
        assert all(len(piece) == 1 or piece.startswith("▁") for piece in plain)
        assert {f"▁{shape}" for shape in SHAPES[:4]} <= set(plain)


@given(st.integers(2, 40), st.floats(0.05, 0.9), st.floats(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_corruption_loses_nothing(n, noise, span, rng):
    """The target's spans in the places of the input's sentinels give the sentence back."""
    ids, sentinels = list(range(n)), list(range(1000, 1100))
    source, target = corrupt(ids, sentinels, rng, noise, span)
    spans = {}
    for i in target:
        if i >= 1000:
            spans[i] = here = []
        else:
            here.append(i)
    restored = [j for i in source for j in (spans[i] if i >= 1000 else [i])]
    assert restored == ids
    used = [i for i in source if i >= 1000]
    assert used == sentinels[: len(used)] == list(spans)
    assert sum(map(len, spans.values())) == min(max(round(noise * n), 1), n - 1) and all(spans.values())


def test_corruption_takes_every_place_equally():
    """Also the first and the last word are taken out now and then."""
    rng = random.Random(0)
    gone = torch.zeros(10)
    for _ in range(4000):
        source, _ = corrupt(list(range(10)), range(1000, 1100), rng, 0.2, 2.0)
        gone += torch.tensor([i not in source for i in range(10)])
    assert 0.07 < (gone / 4000).min() and (gone / 4000).max() < 0.35


def test_batches(tokenizers):
    tokenizer = tokenizers[0]
    examples = Examples(CORPUS, tokenizer, Tasks(batch=512, spelled=0.0), seed=1)
    text = 'a red cube left of "RED", and x'
    assert [*examples.ids(text), 1] == tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(
        Examples(CORPUS, tokenizer, Tasks(spelled=1.0)).spelled("Red cube.", random.Random(0))
    ) == ["▁r", "e", "d", "▁cube", "."]  # as an unknown word is cut; what is no plain word stays whole

    batches = list(itertools.islice(examples.batches(), 60))
    seen = sum(len(source) for _, _, source, _ in batches)
    for _, _, source, target in batches:
        assert source.numel() + target.numel() <= 512 and len(source) == len(target)
        assert (source.eq(1).sum(1) == 1).all() and (target.eq(1).sum(1) == 1).all()  # each ends once
        assert (source >= 0).all() and not (target == 0).any()
    assert seen > 1000
    pools = [next(Examples(CORPUS, tokenizer, Tasks(), seed).batches(i))[2] for seed in (0, 1) for i in (0, 1)]
    assert len({str(pool.tolist()) for pool in pools}) == 4  # neither pools nor seeds share their text
    number, within, source, target = batches[25]
    again = next(Examples(CORPUS, tokenizer, Tasks(batch=512, spelled=0.0), seed=1).batches(number, within))
    assert torch.equal(again[2], source) and torch.equal(again[3], target)


def test_no_batch_is_a_small_rest(tokenizers):
    batches = Examples(CORPUS, tokenizers[0], Tasks(), seed=3).batches()
    of_four_pools = itertools.takewhile(lambda batch: batch[0] < 4, batches)
    assert min(source.numel() + target.numel() for _, _, source, target in of_four_pools) >= Tasks().batch / 2


def test_a_letter_is_asked_for_by_its_place_and_a_place_by_its_letter():
    rng, kinds = random.Random(0), set()
    for _ in range(300):
        question, answer = which_letter(rng)
        what, word = re.fullmatch(r'(.*): "([a-z]+)"', question).groups()
        kind, asked = what.rsplit(" ", 1)
        kinds.add(kind)
        if kind == "letter":
            assert answer == word[int(asked) - 1]
        else:
            assert word[: int(answer)].count(asked) == 1 and word[int(answer) - 1] == asked, "the first of its kind"
    assert kinds == {"letter", "place of"}


def test_spans_of_one_are_span_corruption_alone(tokenizers):
    examples = Examples(CORPUS, tokenizers[0], Tasks(spans=1.0, letters=0.0), seed=3)
    assert all(set(source) & set(examples.sentinels) for source, _ in examples.pool(0))
    with pytest.raises(ValueError, match="parts of all examples"):
        Examples(CORPUS, tokenizers[0], Tasks(spans=1.0), seed=3).pool(0)


def test_held_out_spans_are_asked_for_no_letter(tmp_path, monkeypatch):
    list(pretrain(tmp_path, CORPUS, steps=1, recipe=TINY))
    monkeypatch.setattr("minimagen.text_tasks.which_letter", lambda rng: pytest.fail("a letter was asked for"))
    held_out_loss(tmp_path, CORPUS, count=1)


def test_what_is_held_out_no_training_reads(tmp_path):
    list(pretrain(tmp_path, CORPUS, steps=1, recipe=TINY))
    seeds = []

    def watched(ask):
        return lambda seed, n: seeds.append(seed) or ask(seed, n)

    corpus = SimpleNamespace(sentences=watched(_sentences), pairs=watched(_pairs))
    held_out_loss(tmp_path, corpus, count=1)
    assert seeds and min(seeds) >= HELD_OUT << 40


def test_loss_is_the_mean_over_real_tokens(tokenizers):
    torch.manual_seed(0)
    model = t5(TINY, tokenizers[0]).eval()
    source, target = torch.tensor([[5, 6, 1, 0], [7, 8, 9, 1]]), torch.tensor([[10, 1, -100], [11, 12, 1]])
    together = token_loss(model, source, target)
    first = token_loss(model, source[:1, :3], target[:1, :2])
    second = token_loss(model, source[1:], target[1:])
    torch.testing.assert_close(together, (2 * first + 3 * second) / 5)


def test_training_learns_and_saves_what_transformers_reads(tmp_path):
    steps = list(pretrain(tmp_path, CORPUS, steps=60, recipe=TINY, seed=0))
    assert [step.index for step in steps] == list(range(1, 61)) and steps[-1].done == 1
    assert sum(step.loss for step in steps[-5:]) < 0.8 * sum(step.loss for step in steps[:5])
    assert steps[4].lr > steps[0].lr and steps[-1].lr < 0.01 * TINY.lr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t5", "text_encoder", "tokenizer"]

    assert held_out_loss(tmp_path, CORPUS, count=4) < 0.8 * steps[0].loss
    assert held_out_loss(tmp_path, CORPUS, count=4, spans=0.0) != held_out_loss(tmp_path, CORPUS, count=4)
    encoder = TextEncoder.from_pretrained(tmp_path)
    assert encoder.dim == 32 and encoder(["a red cube"]).tokens.shape == (1, 77, 32)
    whole = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "t5").eval()
    ids = torch.tensor([encoder.tokenizer("a red cube")["input_ids"]])
    with torch.no_grad():
        kept = transformers.T5EncoderModel.from_pretrained(tmp_path / "text_encoder")
        assert kept.dtype == torch.float16
        torch.testing.assert_close(kept.float()(ids)[0], whole.encoder(ids)[0], atol=1e-2, rtol=1e-2)
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))


def test_resumed_is_unbroken(tmp_path):
    whole = list(pretrain(tmp_path / "whole", CORPUS, steps=12, recipe=TINY))
    run = pretrain(tmp_path / "broken", CORPUS, steps=12, recipe=TINY)
    first = list(itertools.islice(run, 6))
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)
    rest = list(pretrain(tmp_path / "broken", CORPUS, steps=12, recipe=TINY, resume=True))
    assert [s.index for s in rest] == list(range(7, 13))  # who stops early finds the last step saved
    assert [s.loss for s in first + rest] == [s.loss for s in whole]
    for name in ("t5/model.safetensors", "t5/optimizer.safetensors", "text_encoder/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_the_commands_say_what_is_wrong_in_a_sentence(tmp_path, capsys):
    for command, arguments, says in (
        (main, ["--out", str(tmp_path / "new")], "say how long"),
        (probe_command, [str(tmp_path / "nowhere")], "nowhere"),
    ):
        with pytest.raises(SystemExit):
            command(arguments)
        assert says in capsys.readouterr().err.splitlines()[-1]


def test_faults(tmp_path):
    with pytest.raises(ValueError, match="say how long"):
        next(pretrain(tmp_path, CORPUS, recipe=TINY))
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        next(pretrain(tmp_path, CORPUS, steps=2, recipe=TINY, resume=True))
    list(pretrain(tmp_path, CORPUS, steps=1, recipe=TINY))
    with pytest.raises(ValueError, match="another recipe or seed"):
        next(pretrain(tmp_path, CORPUS, steps=2, recipe=TINY, resume=True, seed=1))
    with pytest.raises(ValueError, match="holds a text encoder"):
        next(pretrain(tmp_path, CORPUS, steps=2, recipe=TINY))
    for budget in ({"steps": 0}, {"minutes": 0}, {"minutes": -1.0}, {"minutes": 1, "steps": -1}):
        with pytest.raises(ValueError, match="training takes more than"):
            next(pretrain(tmp_path / "none", CORPUS, recipe=TINY, **budget))
    with pytest.raises(SystemExit):
        main(["--help"])


class Oracle:
    """Knows each noun's colour (with bind), each letter's place; a stand-in that shows what the probes measure."""

    def __init__(self, tokenizer, bind):
        self.tokenizer, self.bind = tokenizer, bind

    def tokens(self, caption):
        return self.tokenizer.convert_ids_to_tokens(self.tokenizer(caption)["input_ids"])

    def __call__(self, captions):
        rows = torch.zeros(len(captions), 77, 40)
        for row, caption in zip(rows, captions, strict=True):
            color, place = 0, -1
            for k, piece in enumerate(self.tokens(caption)):
                color = COLORS.index(piece[1:]) + 1 if piece[1:] in COLORS and self.bind else color
                place = 0 if piece == '▁"' else place + 1 if place >= 0 and len(piece) == 1 and piece != '"' else -1
                row[k, color] = 1
                if place > 0:
                    row[k, 20 + place] = 1
        return Text(rows)


def test_probes_find_what_is_there_and_nothing_else():
    words = [*COLORS, *SHAPES, *"small large matte shiny metal glass left right of in front behind to the on".split()]
    words += "top standing resting sitting a an and sign that says saying reading".split()
    tokenizer = t5_tokenizer(train_tokenizer([" ".join(words)] * 50, 150))
    for which in (0, 1):
        assert binding(Oracle(tokenizer, bind=True), which, count=200).share == 1
        assert binding(Oracle(tokenizer, bind=False), which, count=200).share < 0.3  # chance is 0.1
    assert letters(Oracle(tokenizer, True), "place", count=120).share == 1
    assert letters(Oracle(tokenizer, True), "letter", count=120).share < 0.3


def test_a_linear_probe_by_hand():
    x = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    probe = fit(x, ["a", "a", "b", "b"])
    assert probe(torch.tensor([[0.0, 2.0], [2.0, 0.0]])) == ["a", "b"]
    assert score(x, ["a", "a", "b", "b"], x[:3], ["a", "b", "b"]) == Score(2, 3, 0.5)
    assert str(Score(2, 3, 0.5)) == "66.7% (2/3, chance 50%)"


def test_probes_read_the_token_they_mean(tmp_path):
    list(pretrain(tmp_path, CORPUS, steps=1, recipe=TINY))
    encoder = TextEncoder.from_pretrained(tmp_path)
    captions = ['a red cube left of "ab" cone', "an azure sphere"]
    found = embed(encoder, captions, [2, 1])
    assert encoder.tokens(captions[0])[2] == "▁cube"
    assert torch.equal(found[0], encoder(captions).tokens[0, 2])
    assert encoder.tokens(captions[1])[-3] == "e"  # azure is unknown here: its last letter stands for it
    assert torch.equal(found[1], encoder(captions).tokens[1, len(encoder.tokens("an azure")) - 2])
    assert synonyms(encoder, COLORS, contexts=2).count == 2 * 30


SHIPPED = Path(__file__).parent.parent / "data"


@pytest.mark.skipif(not (SHIPPED / "text_encoder").is_dir(), reason="no text encoder lies in data/")
def test_the_shipped_encoder_knows_the_language():
    """Floors a little under what its training reached; an untrained encoder stays far below them."""
    encoder = TextEncoder.from_pretrained(SHIPPED, pad="longest")
    assert binding(encoder, 0, count=400).share > 0.97 and binding(encoder, 1, count=400).share > 0.97
    assert synonyms(encoder, COLORS, contexts=4).share > 0.95 and synonyms(encoder, SHAPES, contexts=4).share > 0.95
    assert letters(encoder, "letter", count=200).share > 0.98 and letters(encoder, "place", count=200).share > 0.85
    untrained = TextEncoder.random(encoder)
    assert binding(untrained, 0, count=400).share < 0.7 and synonyms(untrained, COLORS, contexts=4).share < 0.3
    pieces = _as_if_pipeline_calls(encoder.tokenizer, 'A sign that says "ZEBRA"')
    assert pieces[-7:] == [*"zebra", '"', "</s>"]
    assert sum(p.numel() for p in encoder.model.parameters()) < 4_000_000
