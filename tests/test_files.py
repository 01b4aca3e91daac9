"""Files are whole or absent, and every fault is one sentence."""

import errno
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minimagen import files


def leftovers(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".part"))


def test_atomic_write_appears_whole(tmp_path):
    with files.atomic(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert leftovers(tmp_path / "deep") == []


def test_whoever_reads_the_old_file_goes_on_reading_it(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old and long")
    with open(path) as reader:
        files.write_text(path, "new")
        assert reader.read() == "old and long"  # the name changed hands, the bytes were not written over
    assert path.read_text() == "new"


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_fault_while_writing_leaves_the_old_file(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(fault), files.atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise fault
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_written_files_have_the_usual_permissions(tmp_path):
    files.write_text(tmp_path / "a", "")
    (tmp_path / "b").write_text("")
    assert os.stat(tmp_path / "a").st_mode == os.stat(tmp_path / "b").st_mode


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    files.save_tensors(path, {"w": torch.ones(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full: w.safetensors was not written") as caught:
        files.save_tensors(path, {"w": torch.zeros(3)})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs a device that is always full")
def test_a_device_that_is_really_full():
    with pytest.raises(OSError, match="the disk is full"), files.atomic("/dev/shm/never") as _:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
    assert not os.path.exists("/dev/shm/never")


def test_safetensors_reports_a_limit_in_one_sentence_too(tmp_path):
    """The library gives text in place of an errno: run it against a real limit on file size."""
    code = f"""
        import resource, signal, torch
        from minimagen import files
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            files.save_tensors({str(tmp_path / "w.safetensors")!r}, {{"w": torch.ones(100_000)}})
        except OSError as fault:
            print(fault)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "w.safetensors" in done.stdout
    assert done.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        files.write_text(tmp_path / "a" / "b", "")


@given(st.dictionaries(st.text("abc.", min_size=1), st.lists(st.floats(-9, 9, width=32), max_size=5), max_size=4))
@settings(max_examples=20, deadline=None)
def test_tensors_come_back_bit_for_bit(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("t") / "t.safetensors"
    tensors = {name: torch.tensor(values) for name, values in table.items()}
    digest = files.save_tensors(path, tensors, {"word": "Ünï"})
    back = files.load_tensors(path, digest=digest)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in back)
    assert files.load_metadata(path)["word"] == "Ünï"


def test_tied_and_strided_tensors_are_saved(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    files.save_tensors(tmp_path / "t", {"whole": whole, "same": whole, "turned": whole.T})
    back = files.load_tensors(tmp_path / "t")
    assert torch.equal(back["same"], whole)
    assert torch.equal(back["turned"], whole.T)


def test_a_truncated_altered_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    digest = files.save_tensors(path, {"w": torch.arange(100.0)})
    good = path.read_bytes()
    path.write_bytes(good[:-40])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        files.load_tensors(path)
    path.write_bytes(good[:-1] + b"\x7f")  # still a valid file: only the SHA-256 can tell
    files.load_tensors(path)
    with pytest.raises(ValueError, match="altered or cut short"):
        files.load_tensors(path, digest=digest)
    for foreign in (b"", b"PK\x03\x04 a zip", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(foreign)
        with pytest.raises(ValueError, match="another kind of file"):
            files.load_tensors(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files.load_tensors(tmp_path / "absent")


def test_json(tmp_path):
    path = tmp_path / "c.json"
    files.write_json(path, {"a": [1, None], "ü": "x"})
    assert files.read_json(path) == {"a": [1, None], "ü": "x"}
    files.write_json(path, {"steps": np.int64(4), "w": np.float64(0.5), "t": torch.tensor(2)})
    assert files.read_json(path) == {"steps": 4, "w": 0.5, "t": 2}
    with pytest.raises(TypeError, match="a Path|a PosixPath"):
        files.write_json(path, {"p": path})
    for text, said in (("{", "not valid JSON"), ("[1]", "holds a list"), ("\udcff", "not valid JSON")):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=said):
            files.read_json(path)


def test_a_network_folder_round_trip(tmp_path):
    module = nn.Linear(3, 2)
    digest = files.save_network(tmp_path / "n", {"width": 3}, module.state_dict())
    assert json.loads((tmp_path / "n" / "config.json").read_text()) == {"width": 3, "sha256": digest}
    config, state = files.load_network(tmp_path / "n")
    assert config == {"width": 3}
    other = nn.Linear(3, 2)
    files.load_into(other, state)
    assert torch.equal(other.weight, module.weight)
    files.save_network(tmp_path / "n", {}, module.state_dict(), torch.float16)
    assert files.load_network(tmp_path / "n")[1]["weight"].dtype == torch.float16
    files.save_tensors(tmp_path / "n" / "model.safetensors", state)
    with pytest.raises(ValueError, match="altered"):
        files.load_network(tmp_path / "n")


@pytest.mark.parametrize("fault", ["a setting that is no JSON", "a full disk"])
def test_a_network_that_cannot_be_saved_leaves_the_earlier_one_whole(tmp_path, fault, monkeypatch):
    old, new = nn.Linear(3, 2), nn.Linear(3, 2)
    files.save_network(tmp_path, {"width": 3}, old.state_dict())
    config = {"width": 3}
    if fault == "a full disk":
        synced = []

        def fsync(handle):
            synced.append(handle)
            if len(synced) == 2:  # the weights are on the disk, their config is not
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fsync)
    else:
        config["mine"] = object()
    with pytest.raises((OSError, TypeError)):
        files.save_network(tmp_path, config, new.state_dict())
    assert torch.equal(files.load_network(tmp_path)[1]["weight"], old.weight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_weights_of_another_network_are_one_sentence():
    with pytest.raises(ValueError, match="another network's weights: 1 names missing, 1 unknown"):
        files.load_into(nn.Linear(3, 2), {"weight": torch.ones(2, 3), "beta": torch.ones(2)})
    with pytest.raises(ValueError, match=r"weight is \(2, 4\); this network has \(2, 3\)"):
        files.load_into(nn.Linear(3, 2), nn.Linear(4, 2).state_dict(), "w.safetensors")
