"""Text encoders: equal to calling transformers directly; padding, limits, the null text, the cache, and faults."""

import json
import os
import random
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen import hub
from minimagen.captions import clean_caption, lowered
from minimagen.conditioning import Cond, Text
from minimagen.denoiser import Denoiser, Guided
from minimagen.schedule import CosineSchedule
from minimagen.text import CachedTextEncoder, TextEncoder
from minimagen.tokenizer import save_tokenizer, train_tokenizer
from minimagen.unet import UNet, UNetConfig

transformers = pytest.importorskip("transformers")
SENTENCES = [
    "a photo of a small red cube left of a large blue sphere",
    "two shiny cones and a glass ring on a wooden floor",
    'a white sign that says "cat" in front of a green pyramid',
] * 20
CAPTIONS = ["a small red cube", "A large blue Sphere left of a cone", ""]
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def _byte_level(folder, kind, **special):
    """A byte-level BPE tokenizer, as CLIP's kin, GPT-2 and Llama 3 have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if "bos_token" in special and "eos_token" in special and kind == "clip":
        start, end = special["bos_token"], special["eos_token"]
        ends = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ends)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.save_pretrained(folder)
    return len(fast)


def _make_t5(folder, **config):
    save_tokenizer(train_tokenizer(SENTENCES, 150), folder)
    size = len(transformers.AutoTokenizer.from_pretrained(folder))
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, **config}
    config = transformers.T5Config(vocab_size=size, **shape, decoder_start_token_id=0)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)  # decoder and all, as checkpoints have it


def _make_clip(folder):
    size = _byte_level(
        folder, "clip", bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    text = {**SIZE, "vocab_size": size, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**SIZE, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)


def _make_bert(folder, config=None):
    from tokenizers import BertWordPieceTokenizer

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(SENTENCES, vocab_size=200, show_progress=False)
    pieces.save_model(str(folder))
    tokenizer = transformers.BertTokenizer.from_pretrained(folder, model_max_length=90)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def _make_bert_model(folder):
    size = _make_bert(folder)
    config = transformers.BertConfig(**SIZE, vocab_size=size, max_position_embeddings=90)
    transformers.BertForMaskedLM(config).save_pretrained(folder)  # has no pooler, and a head that is not ours


def _make_electra(folder):
    size = _make_bert(folder)
    config = transformers.ElectraConfig(**SIZE, embedding_size=8, vocab_size=size, max_position_embeddings=90)
    transformers.ElectraModel(config).save_pretrained(folder)


def _make_gpt2(folder):
    size = _byte_level(folder, "gpt2", eos_token="<|endoftext|>")  # no pad token
    config = transformers.GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=96)
    config.bos_token_id = config.eos_token_id = 0
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)


def _make_llama(folder):
    size = _byte_level(folder, "llama", bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")
    config = transformers.LlamaConfig(**SIZE, vocab_size=size, bos_token_id=0, eos_token_id=1, pad_token_id=None)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def _make_bart(folder):
    size = _byte_level(folder, "bart", bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    transformers.BartModel(transformers.BartConfig(vocab_size=size, **shape, **heads)).save_pretrained(folder)


def _t5_encoder(folder):
    return transformers.T5EncoderModel.from_pretrained(folder)


def _inner(name):
    return lambda folder: getattr(transformers, name).from_pretrained(folder)


MODELS = {
    "t5": (_make_t5, _t5_encoder),
    "t5-gated": (
        lambda folder: _make_t5(folder, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        _t5_encoder,
    ),
    "clip": (_make_clip, _inner("CLIPTextModel")),
    "bert": (_make_bert_model, _inner("BertModel")),
    "electra": (_make_electra, _inner("ElectraModel")),
    "gpt2": (_make_gpt2, _inner("GPT2Model")),
    "llama": (_make_llama, _inner("LlamaModel")),
    "bart": (_make_bart, lambda folder: transformers.BartModel.from_pretrained(folder).get_encoder()),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for each small model, made here: nothing is downloaded."""
    made = {}
    for name, (make, _) in MODELS.items():
        torch.manual_seed(0)
        made[name] = tmp_path_factory.mktemp(name)
        make(made[name])
    return made


@pytest.fixture(scope="session")
def t5(folders):
    return TextEncoder.from_pretrained(folders["t5"])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pad", ["max", "longest"])
def test_any_model_equals_transformers(folders, name, pad):
    """Each caption's tokens are what the model itself makes of that caption alone, unpadded."""
    encoder = TextEncoder.from_pretrained(folders[name], pad=pad)
    model = MODELS[name][1](folders[name]).float().eval()
    text = encoder(CAPTIONS)
    assert text.tokens.dtype == torch.float32 and text.tokens.isfinite().all()
    assert encoder.dim == text.tokens.shape[-1] == 16
    for i, caption in enumerate(CAPTIONS):
        ids = encoder.tokenizer(caption.lower())["input_ids"]
        if not ids:
            continue  # GPT-2 and Llama make no token of the empty caption; its own test is below
        assert encoder.tokens(caption) == encoder.tokenizer.convert_ids_to_tokens(ids)
        with torch.no_grad():
            alone = model(torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(text.tokens[i, : len(ids)], alone, atol=2e-5, rtol=1e-4)
        if pad == "longest":
            assert text.mask[i].tolist() == [j < len(ids) for j in range(text.tokens.shape[1])]
            assert not text.tokens[i, len(ids) :].any()
    assert (text.mask is None) == (pad == "max")
    assert text.tokens.shape[1] == (77 if pad == "max" else text.mask.sum(1).max())


@pytest.mark.parametrize("name", MODELS)
def test_the_null_text_is_that_of_the_empty_caption(folders, name):
    encoder = TextEncoder.from_pretrained(folders[name])
    null = encoder.null(3)
    assert len(null) == 3 and null.tokens.isfinite().all()
    assert torch.equal(null.tokens[1:2], encoder("").tokens)


def test_equal_to_diffusers_if_pipeline(t5):
    """The numbers that DeepFloyd IF's pipeline feeds its U-Net, padding included, are ours."""
    diffusers = pytest.importorskip("diffusers")
    pipeline = diffusers.IFPipeline.__new__(diffusers.IFPipeline)  # encode_prompt needs no more than these two
    object.__setattr__(pipeline, "tokenizer", t5.tokenizer)
    object.__setattr__(pipeline, "text_encoder", t5.model)
    object.__setattr__(pipeline, "unet", None)
    prompts = ["A small red cube", 'a white sign that says "CAT"']
    positive, negative = pipeline.encode_prompt(prompts, device=torch.device("cpu"))
    torch.testing.assert_close(t5(prompts).tokens, positive, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(t5.null(2).tokens, negative, atol=1e-6, rtol=1e-5)


def test_a_caption_does_not_depend_on_its_batch(t5):
    both = t5(["a red cube", "two shiny cones and a glass ring on a wooden floor"]).tokens
    torch.testing.assert_close(both[:1], t5("a red cube").tokens, atol=1e-6, rtol=1e-5)


def test_too_long_a_caption_says_what_was_cut(folders):
    for name in MODELS:
        encoder = TextEncoder.from_pretrained(folders[name], max_tokens=12)
        caption = "a small red cube left of a large blue sphere and two shiny cones on a wooden floor"
        with pytest.warns(UserWarning, match=r"so this was cut off: '.*two shiny cones on a wooden floor'"):
            pieces = encoder.tokens(caption)
        assert len(pieces) == 12
        if encoder.tokens("a")[-1] in ("</s>", "[SEP]", "<|endoftext|>"):
            assert pieces[-1] == encoder.tokens("a")[-1]  # the end token survives the cut
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder("a red cube")


def test_a_t5_tokenizer_without_end_token_gets_one(folders, t5):
    from tokenizers import processors

    bare = transformers.AutoTokenizer.from_pretrained(folders["t5"])
    bare._tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    assert bare("a red cube")["input_ids"][-1] != bare.eos_token_id
    encoder = TextEncoder(t5.model, bare)
    assert torch.equal(encoder(CAPTIONS).tokens, t5(CAPTIONS).tokens)
    short = TextEncoder(t5.model, bare, max_tokens=4)
    with pytest.warns(UserWarning, match="'sphere'"):
        assert short.tokens("a large blue sphere") == ["▁a", "▁large", "▁blue", "</s>"]


def test_captions_are_lowered_and_can_be_left_alone(folders):
    encoder = TextEncoder.from_pretrained(folders["gpt2"])
    plain = TextEncoder.from_pretrained(folders["gpt2"], clean=str)
    assert encoder.tokens("  A Red Cube ") == encoder.tokens("a red cube") == plain.tokens("a red cube")
    assert plain.tokens("A Red Cube") != plain.tokens("a red cube")


def test_random_is_as_large_and_repeats_itself(t5):
    a, b, c = TextEncoder.random(t5, seed=1), TextEncoder.random(t5, seed=1), TextEncoder.random(t5, seed=2)
    assert torch.equal(a(CAPTIONS).tokens, b(CAPTIONS).tokens)
    assert not torch.allclose(a(CAPTIONS).tokens, c(CAPTIONS).tokens)
    assert a.dim == t5.dim and a.tokens("a red cube") == t5.tokens("a red cube")
    assert sum(p.numel() for p in a.model.parameters()) == sum(p.numel() for p in t5.model.parameters())
    assert len({t5.fingerprint, a.fingerprint, c.fingerprint}) == 3 and a.fingerprint == b.fingerprint
    torch.manual_seed(7)
    before = torch.rand(1)
    torch.manual_seed(7)
    TextEncoder.random(t5)
    assert torch.equal(before, torch.rand(1))  # the caller's own randomness is left alone


def test_saved_as_diffusers_lays_it_out(t5, tmp_path):
    for _ in range(2):  # the second replaces the first
        t5.save_pretrained(tmp_path, dtype=torch.float16)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text_encoder", "tokenizer"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in tmp_path.rglob("*"))  # readable for everyone
    again = TextEncoder.from_pretrained(tmp_path)
    assert again.model.dtype == torch.float32 == t5.model.dtype  # neither is left in half precision
    torch.testing.assert_close(again(CAPTIONS).tokens, t5(CAPTIONS).tokens, atol=5e-3, rtol=5e-3)
    assert transformers.T5EncoderModel.from_pretrained(tmp_path / "text_encoder").dtype == torch.float16
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "tokenizer")("a cube") == t5.tokenizer("a cube")


def test_a_folder_that_cannot_take_its_name_leaves_the_earlier_one(tmp_path, monkeypatch):
    place, replace = tmp_path / "model", os.replace
    place.mkdir()
    (place / "old").touch()

    def fails(source, target):
        if target == place and not source.name.endswith(".old"):
            raise OSError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no"):
        hub.save_folder(place, lambda fresh: None)
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (place / "old").exists()


def test_how_captions_are_read_is_saved_with_the_weights(t5, tmp_path):
    made = TextEncoder(t5.model, t5.tokenizer, max_tokens=20, pad="longest", clean=str)
    made.save_pretrained(tmp_path)
    again = TextEncoder.from_pretrained(tmp_path)
    assert (again.max_tokens, again.pad, again.clean) == (20, "longest", str)
    a, b = made(CAPTIONS), again(CAPTIONS)
    assert torch.equal(a.mask, b.mask) and torch.allclose(a.tokens, b.tokens, atol=1e-6)
    assert TextEncoder.from_pretrained(tmp_path, max_tokens=30, pad="max").max_tokens == 30
    with pytest.raises(ValueError, match="which no file can hold"):
        TextEncoder(t5.model, t5.tokenizer, clean=lambda caption: caption).save_pretrained(tmp_path)


def test_a_masked_text_of_any_length_is_guided_as_it_would_be_alone(t5):
    encoder = TextEncoder(t5.model, t5.tokenizer, pad="longest")
    text, null = encoder(CAPTIONS[:1]), encoder("")
    assert text.tokens.shape[1] > null.tokens.shape[1]
    both = Text.cat([null, text])
    assert both.mask.sum(1).tolist() == [null.tokens.shape[1], text.tokens.shape[1]]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"channels": (16, 32), "layers": (1, 1), "attention": ("none", "text"), "groups": 8, "head_dim": 16}
        unet = UNet(UNetConfig(size=8, text_dim=encoder.dim, text_norm="layer", **shape))
        for parameter in unet.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    z, t = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0.5])
    denoiser = Denoiser(unet.eval(), CosineSchedule())
    with torch.no_grad():
        x_c, x_u = (denoiser(z, t, Cond(part)).x for part in (text, null))
        guided = Guided(denoiser, 3.0, null)(z, t, Cond(text)).x
    assert not torch.allclose(x_c, x_u, atol=1e-3)
    torch.testing.assert_close(guided, x_u + 3 * (x_c - x_u), atol=1e-4, rtol=1e-4)
    bare = Text(text.tokens)
    with pytest.raises(ValueError, match="all to one length"):
        Text.cat([bare, Text(null.tokens)])


@pytest.mark.parametrize("pad", ["max", "longest"])
def test_cache(folders, tmp_path, pad, monkeypatch):
    encoder = TextEncoder.from_pretrained(folders["t5"], pad=pad)
    cache = CachedTextEncoder(encoder, tmp_path)
    captions = ["a red cube", "two cones and a ring", "a red cube", ""]
    fresh = encoder(captions)
    for text in (cache(captions), cache(captions)):
        torch.testing.assert_close(text.tokens, fresh.tokens, atol=1e-6, rtol=1e-5)
        assert text.mask is None if pad == "max" else torch.equal(text.mask, fresh.mask)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3 and not list(tmp_path.rglob("*.part"))
    assert cache.dim == encoder.dim and torch.equal(cache.null(2).tokens, encoder.null(2).tokens)

    monkeypatch.setattr(TextEncoder, "__call__", lambda *a: pytest.fail("encoded again"))
    CachedTextEncoder(encoder, tmp_path)(captions)  # another process would find it all
    assert cache.to("cpu") is cache and cache.encoder.device == torch.device("cpu")
    monkeypatch.undo()

    damaged = next(tmp_path.rglob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:20])
    torch.testing.assert_close(cache(captions).tokens, fresh.tokens, atol=1e-6, rtol=1e-5)

    named = [TextEncoder(encoder.model, encoder.tokenizer, pad=pad, clean=clean) for clean in (
        lambda said: said.lower(), lambda said: said.replace("red", "blue")
    )]  # fmt: skip
    one, two = (CachedTextEncoder(own, tmp_path)("a red cube").tokens for own in named)  # both are called <lambda>
    assert torch.allclose(two, named[1]("a red cube").tokens, atol=1e-5) and not torch.allclose(one, two)

    other = CachedTextEncoder(TextEncoder.random(encoder), tmp_path)  # shares the folder, not the embeddings
    assert not torch.allclose(other(captions).tokens, fresh.tokens)


def test_encoders_that_pad_otherwise_share_no_cache(t5):
    assert TextEncoder(t5.model, t5.tokenizer, pad="longest").fingerprint != t5.fingerprint


def _said(name, **options):
    with pytest.raises(OSError) as fault:
        TextEncoder.from_pretrained(name, **options)
    said = str(fault.value)
    assert "\n" not in said and str(name) in said
    return said


def test_faults_are_one_sentence(folders, tmp_path, monkeypatch):
    assert "there is no folder" in _said(tmp_path / "absent")
    assert "no config.json" in _said(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "cannot be reached" in _said("somebody/some-model", local_files_only=True)

    import shutil

    broken = shutil.copytree(folders["t5"], tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "damaged or cut short" in _said(broken)
    (broken / "config.json").write_text(json.dumps({"model_type": "martian"}))
    assert "no model that this version of transformers knows" in _said(broken)
    foreign = shutil.copytree(folders["bert"], tmp_path / "foreign")
    shutil.copy(folders["gpt2"] / "model.safetensors", foreign)
    assert "are missing" in _said(foreign)  # transformers alone would fill them with noise


def test_gated_and_unknown_names(monkeypatch):
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def refuse(kind, said):
        def from_pretrained(*_, **__):
            raise OSError(said) from kind.__new__(kind)

        monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", from_pretrained)

    refuse(GatedRepoError, "You are trying to access a gated repo.\nMake sure to have access to it.")
    assert "accept its licence" in _said("DeepFloyd/IF-I-M-v1.0")
    refuse(RepositoryNotFoundError, "is not a valid model identifier\nand more")
    assert "check the spelling" in _said("nobody/nothing")


def test_wrong_tokenizers_are_refused(folders, t5):
    with pytest.raises(ValueError, match="knows hardly a word"):
        TextEncoder(t5.model, transformers.T5Tokenizer())  # transformers gives an almost empty vocabulary, silently
    with pytest.raises(ValueError, match="another model's"):
        TextEncoder(t5.model, transformers.AutoTokenizer.from_pretrained(folders["llama"]))


def test_bad_input(folders, t5):
    with pytest.raises(ValueError, match="no caption"):
        t5([])
    with pytest.raises(ValueError, match="a caption is a string, not int"):
        t5(["a cube", 3])
    with pytest.raises(ValueError, match="pad is"):
        TextEncoder(t5.model, t5.tokenizer, pad="left")
    with pytest.raises(ValueError, match="reads from 2 to 77 tokens"):
        TextEncoder.from_pretrained(folders["clip"], max_tokens=78)
    assert TextEncoder.from_pretrained(folders["t5"], max_tokens=256)("a").tokens.shape[1] == 256


def test_import_contacts_nothing_and_stays_light():
    code = (
        "import socket, sys\n"
        "socket.socket.connect = lambda *a: (_ for _ in ()).throw(SystemExit('contacted something'))\n"
        "import minimagen.text\n"
        "assert not {'transformers', 'diffusers', 'bs4', 'ftfy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


NASTY = (
    "https://a.com/b?x=1|www:foo|www.site.org/|example.com|a@b.com|@nick|<person>|<b>bold</b>|&quot;|&amp;amp;lt;|&#65;B|"
    "—|“quoted”|«x»|’s|1.2.3.4|#12|#123456|1234567|12:30 |photo.png|a png image|...|''|***A***|(x)|[y]|{z}|\\n|/|"
    "a-b-c-d-e|a_b_c_d_e|schÃ¶n|jc6640|jc6640vc|6640vc231|worldwide free shipping|free download free|click on here|"
    'page 12|j2d1a2a3|1920x1080|12х3| : |a,b|3,4|x.y|\t|汉字|㌀|é|ﬁ|İ|%20|+|-|_|\'|"|;|,|.|red cube|says "CAT"|½|™|&|'
    "<br/>|&nbsp;|&lt;b&gt;|\u3000|<!-- c -->|https:x|.com"
).split("|")


def test_clean_caption_is_deepfloyds():
    diffusers = pytest.importorskip("diffusers")
    for package in ("bs4", "ftfy"):
        pytest.importorskip(package)
    pipeline = diffusers.IFPipeline.__new__(diffusers.IFPipeline)
    rng = random.Random(0)
    captions = NASTY + [rng.choice(["", " "]).join(rng.choices(NASTY, k=rng.randint(2, 7))) for _ in range(1500)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BeautifulSoup remarks on captions that look like file names
        assert [clean_caption(c) for c in captions] == pipeline._text_preprocessing(captions, clean_caption=True)
    assert [lowered(c) for c in captions] == pipeline._text_preprocessing(captions, clean_caption=False)


def test_clean_caption_without_optional_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "bs4", None)
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_caption("<b>A Red</b> cube &amp; a “cone” — see www.site.org @me") == 'a red cube a "cone" - see'


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_string_is_a_caption(t5, caption):
    assert t5(caption).tokens.isfinite().all()
    assert "\t" not in clean_caption(caption)


def test_a_plain_caption_stays_as_it_is():
    plain = 'a small shiny red cube, left of a sign that says "cat", on a wooden floor'
    assert clean_caption(plain) == lowered(plain) == plain
