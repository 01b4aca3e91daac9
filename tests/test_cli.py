"""The command line: what it draws, what it says when something is wrong, and what it leaves behind."""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from PIL import Image

from minimagen import cli, commands, recipes, terminal
from minimagen.cascade import Imagen, Stage, to_pil
from minimagen.denoiser import Denoiser, Dynamic, Static
from minimagen.schedule import CosineSchedule
from minimagen.text import TextEncoder
from minimagen.unet import UNet, UNetConfig

ROOT = Path(__file__).parents[1]
SMALL = {
    "channels": (8, 16),
    "layers": 1,
    "attention": ("none", "self+text"),
    "head_dim": 8,
    "groups": 8,
    "text_dim": 32,
}


def tiny_text() -> TextEncoder:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    known = "<pad> </s> <unk> a photo of small red cube left large blue sphere"
    words = {word: i for i, word in enumerate(known.split())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    return TextEncoder(T5EncoderModel(config), fast)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A cascade of 8 and 16 px with random weights, in a folder of its own."""
    torch.manual_seed(0)
    base = UNet(UNetConfig(size=8, **SMALL))
    larger = UNet(UNetConfig(size=16, in_channels=6, augmentation=True, **SMALL))
    for weight in [*base.parameters(), *larger.parameters()]:  # a fresh network says nothing at all
        torch.nn.init.normal_(weight, std=0.1)
    stages = [
        Stage(Denoiser(base, CosineSchedule()), 8, steps=3),
        Stage(Denoiser(larger, CosineSchedule(), "residual"), 16, steps=2),
    ]
    folder = tmp_path_factory.mktemp("weights")
    Imagen(stages, tiny_text()).save_pretrained(folder)
    return folder


def run(capsys, *words: str | Path) -> tuple[int, str, str]:
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as stop:  # argparse leaves this way
        code = stop.code
    said = capsys.readouterr()
    return code, said.out, said.err


# Drawing


def test_draw_writes_the_picture_that_the_package_draws(weights, tmp_path, capsys):
    code, out, err = run(capsys, "draw", "a red cube", "--weights", weights, "--out", tmp_path / "a.png", "--seed", "3")
    assert (code, out) == (0, f"{tmp_path / 'a.png'}\n"), err
    image = Image.open(tmp_path / "a.png")
    assert image.tobytes() == Imagen.from_pretrained(weights).draw("a red cube", seed=3)[0].tobytes()
    assert (image.text["prompt"], image.text["seed"], image.text["index"]) == ("a red cube", "3", "0")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_every_option_reaches_the_cascade(weights, tmp_path, capsys, monkeypatch):
    heard = {}
    draw = Imagen.drawn

    def listen(self, prompts, **options):
        heard.update(options, stages=[stage.size for stage in self.stages])
        return draw(self, prompts, **options)

    monkeypatch.setattr(Imagen, "drawn", listen)
    options = "--steps 2,1 --guidance 3,2 --threshold dynamic,static --percentile 0.9 --aug 0,0.1 --eta 0.5"
    options += " --count 2 --seed 5"
    code, _, err = run(
        capsys, "draw", "a cube", *options.split(), "--weights", weights, "--out", tmp_path, "--size", "16"
    )
    assert code == 0, err
    heard.pop("progress")
    assert heard == {
        "steps": [2, 1], "guidance": [3.0, 2.0], "threshold": [Dynamic(p=0.9), Static()], "aug": [0.0, 0.1],
        "eta": 0.5, "count": 2, "seed": 5, "size": 16, "stages": [8, 16], "image": None, "first": 0,
    }  # fmt: skip
    drawn = sorted(p.name for p in tmp_path.iterdir())
    assert drawn == ["a-cube-5-0.png", "a-cube-5-0.txt", "a-cube-5-1.png", "a-cube-5-1.txt"]
    assert (tmp_path / "a-cube-5-0.txt").read_text() == "a cube\n"


def test_any_picture_of_a_seed_can_be_drawn_again_alone(weights, tmp_path, capsys):
    run(capsys, "draw", "a cube", "a ball", "--weights", weights, "--out", tmp_path / "two", "--seed", "7")
    both = Image.open(tmp_path / "two" / "a-ball-7-1.png")
    again = ["--seed", both.text["seed"], "--first", both.text["index"], "--out", tmp_path / "one"]
    assert run(capsys, "draw", both.text["prompt"], "--weights", weights, *again)[0] == 0
    assert Image.open(tmp_path / "one" / "a-ball-7-1.png").tobytes() == both.tobytes()


def test_what_is_finished_is_written_when_it_is_interrupted(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minimagen.cascade.BATCH_PIXELS", 16 * 16)  # one picture at a time
    stream, begun = Imagen.stream, []

    def interrupted(self, **options):
        begun.append(options["first"])
        if len(begun) == 3:
            raise KeyboardInterrupt
        yield from stream(self, **options)

    monkeypatch.setattr(Imagen, "stream", interrupted)
    code, out, err = run(capsys, "draw", "a", "b", "c", "--weights", weights, "--out", tmp_path)
    assert code == 130 and "what was finished is kept" in err and len(out.split()) == 2
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["a-0-0.png", "b-0-1.png"]


def test_sentences_of_other_scripts_have_names_of_their_own(tmp_path):
    names = [p.name for p in commands.places(tmp_path, ["красный куб", "赤い 球", "!?"], 1, 0)]
    assert names == ["красный-куб-0-0.png", "赤い-球-0-1.png", "picture-0-2.png"]


def test_threshold_none_is_off_and_neutral_options_are_not_passed_on():
    parse = cli.parser().parse_args
    assert commands.settings(parse(["draw", "x", "--threshold", "none"])) == {"threshold": [None]}
    assert commands.settings(parse(["draw", "x"])) == {}


def test_size_stops_early_and_stages_load_less(weights, tmp_path, capsys):
    small = tmp_path / "small.png"
    assert run(capsys, "draw", "a cube", "--weights", weights, "--out", small, "--size", "8")[0] == 0
    assert Image.open(small).size == (8, 8)
    code, _, err = run(
        capsys,
        "draw",
        "a cube",
        "--weights",
        weights,
        "--stages",
        "16",
        "--enlarge",
        small,
        "--out",
        tmp_path / "b.png",
    )
    assert code == 0, err
    assert Image.open(tmp_path / "b.png").size == (16, 16)


def test_a_picture_to_enlarge_may_be_transparent_and_its_settings_are_the_running_stages(weights, tmp_path, capsys):
    drawn = []
    for name, picture in {
        "clear": Image.new("RGBA", (8, 8), (0, 0, 0, 0)),
        "white": Image.new("L", (8, 8), 255),
    }.items():
        picture.save(tmp_path / f"{name}.png")
        words = [
            "a cube",
            "--weights",
            weights,
            "--enlarge",
            tmp_path / f"{name}.png",
            "--out",
            tmp_path / f"{name}-16.png",
        ]
        assert run(capsys, "draw", *words, "--steps", "1")[0] == 0
        drawn.append(Image.open(tmp_path / f"{name}-16.png").tobytes())
        assert run(capsys, "draw", *words, "--steps", "3")[0] == 0
        assert Image.open(tmp_path / f"{name}-16.png").tobytes() != drawn[-1]  # more steps of the stage that ran
    assert drawn[0] == drawn[1]


def test_weights_of_toyland_doubt_what_toyland_has_not(capsys):
    commands.doubt(["a crimson ball left of a cube", "a giraffe"])
    said = capsys.readouterr().err
    assert said.startswith("minimagen: note: ") and "'giraffe'" in said and said.count("\n") == 1


def test_draw_without_text(tmp_path, capsys):
    plain = {**SMALL, "text_dim": None, "attention": "none", "mid_attention": "self", "pool": None}
    Imagen([Stage(Denoiser(UNet(UNetConfig(size=8, **plain)), CosineSchedule()), 8, steps=1)]).save_pretrained(
        tmp_path / "w"
    )
    code, out, err = run(capsys, "draw", "--weights", tmp_path / "w", "--count", "2", "--out", tmp_path / "p")
    assert code == 0, err
    assert out.split() == [str(tmp_path / "p" / f"picture-0-{i}.png") for i in range(2)]


# Training and export


def pictures(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (12, 9), (40 * i, 90, 200)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a red cube\n")
    return folder


def test_train_then_draw_from_own_pictures(weights, tmp_path, capsys, monkeypatch):
    tiny = {"size": 8, "network": UNetConfig(size=8, **SMALL), "warmup": 0, "drawing": {"steps": 1}}
    monkeypatch.setitem(recipes.CPU, "base", replace(recipes.CPU["base"], **tiny))
    out = tmp_path / "run"
    words = ["train", "base", "--data", pictures(tmp_path / "pictures"), "--out", out, "--text", weights]
    words += ["--preset", "cpu", "--batch", "2", "--lr", "0.001"]
    code, told, err = run(capsys, *words, "--steps", "2")
    assert (code, told) == (0, f"{out / 'unet_8'}\n"), err
    assert "base 100%  step 2, loss " in err
    code, _, err = run(capsys, *words, "--steps", "3")
    assert code == 1 and "resume" in err and err.count("\n") == 1
    assert run(capsys, *words, "--steps", "3", "--resume")[0] == 0
    assert run(capsys, "draw", "--weights", out, "--out", tmp_path / "a.png", "a cube")[0] == 0


def test_rendered_pictures_are_no_run_and_the_first_part_is_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recipes, "cook", lambda *dish, **options: (_ for _ in ()))
    place = tmp_path / f"unet_{recipes.CPU['base'].size}"
    (place / "cache").mkdir(parents=True)
    assert run(capsys, "train", "base", "--out", tmp_path, "--steps", "1")[0] == 0
    (place / "small").mkdir()
    (place / "small" / "checkpoint.safetensors").touch()
    code, _, err = run(capsys, "train", "base", "--out", tmp_path, "--steps", "1")
    assert code == 1 and "small holds a run already: go on with --resume" in err


def test_another_text_encoder_than_the_folders_is_refused(weights, tmp_path, capsys):
    encoder = TextEncoder.from_pretrained(weights)
    encoder.save_pretrained(tmp_path / "run")
    with torch.no_grad():
        next(encoder.model.parameters()).add_(1.0)
    encoder.save_pretrained(tmp_path / "other")
    words = ["train", "base", "--out", tmp_path / "run", "--steps", "1", "--text", tmp_path / "other"]
    code, _, err = run(capsys, *words)
    assert code == 1 and "has a text encoder of its own: leave out --text" in err


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_hands_a_sentence_on_with_its_quotes(tmp_path):
    stand_in = tmp_path / "minimagen"
    stand_in.write_text('#!/bin/sh\nprintf "%s" "$2"\n')
    stand_in.chmod(0o755)
    sentence = """a sign that says "IT'S" & `more`"""
    words = ["make", "-s", "--no-print-directory", "draw", f"PROMPT={sentence}", f"BIN={tmp_path}", "STAMP="]
    assert subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout == sentence


@pytest.mark.parametrize("stage", ["base", "sr256", "sr1024"])
def test_every_option_reaches_the_recipe(stage, tmp_path, capsys, monkeypatch):
    heard = {}
    monkeypatch.setattr(recipes, "cook", lambda *dish, **options: (_ for _ in heard.update(options, dish=dish) or []))
    options = "--minutes 3 --resume --seed 4 --preset gpu --cache c --batch 5 --accumulate 5 --lr 0.1 --precision fp32"
    pairs = ["--pairs", "3"] if stage in ("base", "sr256") else []
    options += " --workers 1 --begin data"
    code, _, err = run(capsys, "train", stage, "--out", tmp_path, *options.split(), *pairs)
    assert code == 0, err
    recipe = replace(recipes.GPU[stage], pairs=3 if pairs else 0)
    assert heard == {
        "dish": (recipe, tmp_path / f"unet_{recipe.size}"), "text": None, "data": None, "cache": "c", "minutes": 3.0,
        "steps": None, "seed": 4, "resume": True, "batch": 5, "accumulate": 5, "lr": 0.1, "precision": "fp32",
        "workers": 1, "begin": Path("data") / f"unet_{recipe.size}",
    }  # fmt: skip


def test_twins_of_ones_own_pictures_are_refused(tmp_path, capsys):
    code, _, err = run(capsys, "train", "sr256", "--out", tmp_path, "--data", tmp_path, "--pairs", "2", "--steps", "1")
    assert code == 1 and "leave out --pairs" in err


@pytest.mark.parametrize("stage", ["text", "judge"])
def test_text_and_judge_are_trained_by_their_own(stage, tmp_path, capsys, monkeypatch):
    from minimagen import pretrain
    from minimagen.toyland import judge_training

    heard = {}
    owner, name = {"text": (pretrain, "pretrain"), "judge": (judge_training, "train_judge")}[stage]
    monkeypatch.setattr(owner, name, lambda out, **options: iter(heard.update(options, out=out) or []))
    words = ["train", stage, "--out", tmp_path / "r", "--device", "cpu", "--seed", "2"]
    place = {"text": tmp_path / "r", "judge": tmp_path / "r" / "judge"}[stage]
    assert run(capsys, *words, "--steps", "7")[0] == 0
    assert heard == {"out": place, "minutes": None, "steps": 7, "seed": 2, "resume": False, "device": "cpu"}
    (place / "t5").mkdir(parents=True)
    code, _, err = run(capsys, *words, "--steps", "7")
    assert code == 1 and "go on with --resume, or name another folder by --out" in err


def test_every_option_reaches_the_examination(weights, tmp_path, capsys, monkeypatch):
    from minimagen.toyland import evaluate as examination

    heard = {}

    def listen(source, prompts, **options):
        options["progress"](1, 2)
        heard.update(options, source=source, prompts=prompts)
        return SimpleNamespace(to_markdown=lambda: "| a table |")

    monkeypatch.setattr(examination, "evaluate", listen)
    out = tmp_path / "report"
    options = "--prompts suites --n 3 --pictures 2 --seed 4 --keep --size 8 --steps 2 --guidance 3 --threshold static"
    code, told, err = run(capsys, "evaluate", weights, *options.split(), "--out", out)
    assert (code, told) == (0, f"| a table |\n{out / 'evaluation.html'}\n"), err
    heard.pop("progress")
    assert heard == {
        "source": str(weights), "prompts": "suites", "n": 3, "pictures": 2, "seed": 4, "keep": True, "size": 8,
        "steps": [2], "guidance": [3.0], "threshold": [Static()], "out": out, "judge": None,
    }  # fmt: skip


def test_drawings_can_be_evaluated(weights, tmp_path, capsys):
    from minimagen.toyland.judge import Judge
    from minimagen.toyland.judge_net import JudgeConfig, JudgeNet

    Judge(JudgeNet(JudgeConfig())).save_pretrained(tmp_path / "judge")
    drawings = tmp_path / "drawings"
    assert run(capsys, "draw", "a red cube", "two blue cones", "--weights", weights, "--out", drawings)[0] == 0
    words = ["evaluate", drawings, "--judge", tmp_path / "judge", "--out", tmp_path / "report"]
    code, told, err = run(capsys, *words)
    assert code == 0, err
    assert "folder drawings, size 16" in told and (tmp_path / "report" / "evaluation.html").exists()
    code, _, err = run(capsys, *words, "--steps", "4", "--prompts", "suites")
    assert code == 1 and "are drawn already" in err and "leave out steps, prompts" in err


def test_a_cache_is_filled_before_a_gpu_asks_for_it(tmp_path, monkeypatch):
    from minimagen import cache, commands
    from minimagen.data import ToylandImages

    monkeypatch.setattr(cache, "CHUNK", 2)
    cached = cache.Cached(ToylandImages(16), tmp_path, 2)
    commands._fill(cached)
    assert cached.filled == cached.chunks == 1


def test_only_what_keeps_something_says_so_when_it_is_interrupted(capsys, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    words = {"evaluate": [], "draw": ["a cube"], "train": ["base"], "export": ["diffusers", "x"]}
    for command in words:
        monkeypatch.setattr(f"minimagen.commands.{command}", interrupted)
    said = {command: run(capsys, command, *more)[2].strip() for command, more in words.items()}
    assert said["evaluate"] == said["export"] == "minimagen: interrupted."
    assert "what was finished is kept" in said["draw"] and "--resume" in said["train"]


def test_the_version_is_told_without_weights(capsys, monkeypatch):
    def missing(*parts):
        raise FileNotFoundError("no data")

    monkeypatch.setattr("minimagen.resources.data_folder", missing)
    code, told, _ = run(capsys, "--version")
    assert code == 0 and told.startswith("minimagen ") and "no weights ship with this copy" in told


def test_export_writes_what_diffusers_reads(weights, tmp_path, capsys):
    out = tmp_path / "exported"
    code, told, err = run(capsys, "export", "diffusers", out, "--weights", weights)
    assert (code, told) == (0, f"{out}\n"), err
    assert (out / "stage_1" / "model_index.json").exists() and (out / "stage_2" / "config.json").exists()
    code, _, err = run(capsys, "export", "diffusers", out, "--weights", weights)
    assert code == 1 and "is not empty" in err


# Faults: one sentence, the right exit code, nothing left behind


def broken(weights: Path, folder: Path) -> Path:
    """A copy of the weights, cut short."""
    for path in weights.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(weights)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    file = folder / "unet_8" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return folder


FAULTS = {
    "an empty sentence": (["  "], "an empty sentence has nothing to draw"),
    "no sentence": ([], "there is nothing to draw"),
    "no such weights": (["a cube", "--weights", "nowhere"], "nowhere"),
    "no such size": (["a cube", "--size", "99"], "size 99 is not one of this cascade's: 8, 16"),
    "no such stage": (["a cube", "--stages", "99"], "none of 99"),
    "no base to begin from": (["a cube", "--stages", "16"], "there is none: give image=, or load the first"),
    "too many values": (["a cube", "--steps", "1,2,3"], "steps has 3 values for 2 stages"),
    "no steps": (["a cube", "--steps", "0"], "one step or more"),
    "augmentation above one": (["a cube", "--aug", "0,7"], "between 0 (none) and 1"),
    "more noise than there is": (["a cube", "--eta", "5"], "between 0 (DDIM) and 1 (DDPM), and 5.0 does not"),
    "no such device": (["a cube", "--device", "abacus"], "there is no device 'abacus'"),
    "no such picture": (["a cube", "--enlarge", "nowhere.png"], "there is no picture nowhere.png"),
    "a folder that is a file": (["a cube", "--out", "a file"], "a file"),
    "a strange ending": (["a cube", "--out", "a.doc"], "pictures end in .png"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_sentence(name, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("not a folder")
    words, told = FAULTS[name]
    words = words if "--weights" in words else [*words, "--weights", str(weights)]
    code, out, err = run(capsys, "draw", *words)
    assert (code, out) == (1, "")
    assert err.startswith("minimagen: ") and told in err
    assert err.count("\n") == 1 and err.endswith(".\n")
    assert sorted(os.listdir(tmp_path)) == ["a file"], "nothing half-written stays behind"


def test_a_checkpoint_cut_short_is_named(weights, tmp_path, capsys):
    code, _, err = run(capsys, "draw", "a cube", "--weights", broken(weights, tmp_path / "w"), "--out", tmp_path / "p")
    assert code == 1
    assert "cut short" in err and err.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(weights, tmp_path, capsys, monkeypatch):
    def full(self, file, *args, **kwargs):
        Path(file).write_bytes(b"half a pic")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    code, out, err = run(capsys, "draw", "a cube", "--weights", weights, "--out", tmp_path / "a.png")
    assert (code, out) == (1, "")
    assert "the disk is full" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_expected_says_how_to_see_more(weights, tmp_path, capsys, monkeypatch):
    def stumble(self, *args, **kwargs):
        raise TypeError("a bug")

    monkeypatch.setattr(Imagen, "drawn", stumble)
    words = ["draw", "a cube", "--weights", weights, "--out", tmp_path / "a.png"]
    code, _, err = run(capsys, *words)
    assert (code, err) == (1, "minimagen: unexpected TypeError: a bug; `minimagen --traceback …` shows where.\n")
    with pytest.raises(TypeError):
        run(capsys, "--traceback", *words)


USAGE = {
    "no command": ([], "required: COMMAND"),
    "no such command": (["paint"], "invalid choice: 'paint'"),
    "a word for a number": (["draw", "x", "--steps", "many"], "'many' is not a number, nor a list"),
    "an endless w": (["draw", "x", "--guidance", "3,inf"], "'3,inf' is not a number, nor a list"),
    "no eta": (["draw", "x", "--eta", "nan"], "'nan' is not a number"),
    "a percentile as it is said": (["draw", "x", "--percentile", "99.5"], "write the 99.5th percentile as 0.995"),
    "no such threshold": (["draw", "x", "--threshold", "soft"], "there are static, dynamic and none"),
    "a percentile without its threshold": (["draw", "x", "--percentile", "0.9", "--threshold", "static"], "belongs to"),
    "two budgets": (["train", "base", "--steps", "3", "--minutes", "2"], "either --minutes or --steps"),
    "no budget": (["train", "judge"], "say how long to train"),
    "no time": (["train", "text", "--minutes", "0"], "0 is not above zero"),
    "no such stage": (["train", "third"], "invalid choice: 'third'"),
    "a count of none": (["draw", "x", "--count", "0"], "0 is too few"),
}


@pytest.mark.parametrize("name", USAGE)
def test_what_makes_no_sense_exits_with_two(name, capsys):
    words, told = USAGE[name]
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err and "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_exits_with_130_and_leaves_nothing(weights, tmp_path):
    words = ["draw", "a cube", "--weights", weights, "--steps", "100000", "--out", tmp_path / "p"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minimagen", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        while process.poll() is None and psutil.Process(process.pid).cpu_times().user < 8:  # it draws, if slowly
            time.sleep(0.2)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()  # a hundred thousand steps would outlive a failed test
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "minimagen: interrupted; what was finished is kept."
    assert "Traceback" not in err
    assert not (tmp_path / "p").exists()


def test_a_closed_pipe_is_no_fault(weights, tmp_path):
    draw = f"{sys.executable} -m minimagen draw 'a cube' --weights {weights} --out {tmp_path / 'p'}"
    words = f"{draw} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# Words


def test_version_names_package_world_and_weights(capsys):
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("minimagen 0.") and "Toyland, version " in out and "weights" in out


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Those of all commands, and of their stages."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for child in action.choices.values():
                yield child
                yield from parsers(child)


def test_every_help_ends_in_examples_that_are_understood(capsys):
    for parser in parsers(cli.parser()):
        code, out, _ = run(capsys, *parser.prog.split()[1:], "--help")
        lines = [line for line in out.splitlines() if line.startswith(f"  {parser.prog} ")]
        assert code == 0 and "examples:" in out and lines
        for line in lines:
            args = cli.parser().parse_args(shlex.split(line)[1:])
            cli.check(cli.parser(), args)


def test_blocks_show_a_picture_in_text():
    image = to_pil(torch.tensor([1.0, -1.0]).view(1, 1, 2, 1).expand(1, 3, 2, 2))[0]
    assert terminal.blocks(image, 2) == "\x1b[38;2;255;255;255;48;2;0;0;0m▀" * 2 + "\x1b[0m"
