"""Items are functions of their index; caches are whole; folders and shards of every kind become squares in [−1, 1]."""

import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minimagen import data, files
from minimagen.cache import CHUNK, Cached
from minimagen.data import Folder, Order, ToylandImages, batches, collate, shards, to_tensor
from minimagen.toyland.compose import boxes
from minimagen.toyland.render import render


class Counted:
    """An endless source that counts how often each item was computed. Item i's first pixel tells i."""

    about = {"world": 1, "size": 4}
    world = 1

    def __init__(self, origin=False):
        self.computed, self.origin = [], origin

    def __getitem__(self, index):
        self.computed.append(index)
        image = torch.zeros(3, 4, 4)
        image[:, 0, 0] = torch.tensor([index % 256, index // 256, 255]) / 127.5 - 1
        item = {"image": image, "caption": f"{index} a", "captions": [f"{index} {x}" for x in "abc"]}
        return item | {"origin": torch.tensor([index, 4])} if self.origin else item


def number(item):
    r, g, _ = ((item["image"][:, 0, 0] + 1) * 127.5).round().long().tolist()
    return r + 256 * g


# Order and batches


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_round_meets_every_item_once_whatever_the_batch_and_the_processes(count, batch, world, seed):
    def places(start, rank, rounds=4):
        order = iter(Order(range(count), batch, start, rank, world, seed))
        return [next(order) for _ in range(rounds * count // (batch * world) + 2)]

    met = [i for step in zip(*(places(0, rank) for rank in range(world)), strict=True) for part in step for i in part]
    one = [i for b in iter_some(Order(range(count), 1, 0, 0, 1, seed), len(met)) for i in b]
    assert met == one  # the same order for one process with batches of one
    for turn in range(4):
        assert sorted(met[turn * count : (turn + 1) * count]) == list(range(count))[: len(met) - turn * count]
    assert places(batch * world, 0)[0] == places(0, 0)[1]  # and begun later, it goes on as it would have


def iter_some(order, count):
    rows = iter(order)
    return [next(rows) for _ in range(count)]


def test_endless_data_are_asked_in_order_and_rounds_differ():
    assert iter_some(Order(Counted(), 3, 6, 1, 2, 0), 2) == [[9, 10, 11], [15, 16, 17]]
    rows = [b[0] for b in iter_some(Order(range(50), 1, 0, 0, 1, 0), 100)]
    assert rows[:50] != rows[50:] != list(range(50))
    assert rows != [b[0] for b in iter_some(Order(range(50), 1, 0, 0, 1, 1), 100)]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(workers):
    source = Counted()
    stream = batches(source, 4, start=8, workers=workers)
    got = [next(stream) for _ in range(3)]
    assert [number({"image": image}) for b in got for image in b["image"]] == list(range(8, 20))
    assert got[0]["caption"] == ["8 a", "9 a", "10 a", "11 a"]


def test_a_batch_of_bad_pictures_is_one_sentence():
    good = torch.zeros(3, 4, 4)
    for items, said in (
        ([(good, "x")], "items must be"),
        ([{"image": good.byte()}], "float tensor"),
        ([{"image": good[:1]}], r"this is \(1, 4, 4\)"),
        ([{"image": Image.new("RGB", (4, 4))}], "this is Image"),
        ([{"image": good}, {"image": torch.zeros(3, 5, 5)}], "different sizes"),
        ([{"image": good + 255}], "these reach 255"),
        ([{"image": good * float("nan")}], "these reach nan"),
    ):
        with pytest.raises(ValueError, match=said):
            collate(items)
    assert "caption" not in collate([{"image": good}])


# The cache


def test_a_cache_computes_each_item_once_and_captions_it_anew_each_round(tmp_path):
    source = Counted(origin=True)
    cached = Cached(source, tmp_path, count=300)
    first = [cached[i] for i in range(300)]
    assert [number(item) for item in first] == list(range(300))  # the first round in the source's order
    assert sorted(source.computed) == list(range(2 * CHUNK))
    second, third = ([cached[i] for i in range(k * 300, (k + 1) * 300)] for k in (1, 2))
    assert sorted(map(number, second)) == list(range(300))
    assert [number(item) for item in second] != list(range(300))
    assert len(source.computed) == 2 * CHUNK
    said = {}
    for item in (*first, *second, *third):
        i = number(item)
        assert item["captions"] == [f"{i} {x}" for x in "abc"]
        assert item["origin"].tolist() == [i, 4]
        said.setdefault(i, set()).add(item["caption"])
    assert {item["caption"].split()[1] for item in first} == set("abc")  # a run may see no second round
    assert all(len(captions) == 3 for captions in said.values())  # three rounds, three captions of every picture
    assert torch.allclose(second[0]["image"], source[number(second[0])]["image"], atol=1 / 255 + 1e-6)


def test_a_cache_of_finite_data_ends_where_they_end_and_knows_its_folder(tmp_path):
    items = [{"image": torch.full((3, 4, 4), i / 300), "caption": f"{i}"} for i in range(300)]
    cached = Cached(items, tmp_path / "list", 300)
    assert [cached[i]["caption"] for i in range(300)] == [f"{i}" for i in range(300)]
    assert [len(cached._read(k)[1]) for k in range(2)] == [256, 44]
    with pytest.raises(ValueError, match="a cache of 301 pictures needs as many, and there are 300"):
        Cached(items, tmp_path / "more", 301)
    for color in ("red", "blue"):
        (tmp_path / color).mkdir()
        Image.new("RGB", (4, 4), color).save(tmp_path / color / "a.png")
        (tmp_path / color / "a.txt").write_text(color, encoding="utf-8-sig")  # as some editors write it
    assert Cached(Folder(tmp_path / "red", 4), tmp_path / "cache", 1)[0]["caption"] == "red"
    one, other = ([{"image": torch.zeros(3, 4, 4), "caption": said}] for said in ("one", "other"))
    assert Cached(one, tmp_path / "lists", 1)[0]["caption"] == Cached(one, tmp_path / "lists", 1)[0]["caption"] == "one"
    with pytest.raises(ValueError, match="is a cache of"):  # lists say nothing of themselves, and are told apart
        Cached(other, tmp_path / "lists", 1)
    with pytest.raises(ValueError, match="is a cache of"):
        Cached(Folder(tmp_path / "blue", 4), tmp_path / "cache", 1)


def test_several_processes_fill_a_cache_as_one_does(tmp_path):
    one, two = (Cached(ToylandImages(16, seed=4), tmp_path / name, 2 * CHUNK) for name in ("one", "two"))
    assert sorted(one.fill()) == sorted(two.fill_by(2)) == [0, 1]
    assert two.filled == 2 and list(two.fill_by(2)) == []
    for i in (0, CHUNK, 2 * CHUNK - 1):
        assert torch.equal(one[i]["image"], two[i]["image"]) and one[i]["caption"] == two[i]["caption"]


def test_a_cache_goes_on_where_it_was_and_heals(tmp_path):
    for _ in zip(range(1), Cached(Counted(), tmp_path, 1000).fill()):
        pass
    source = Counted()
    cached = Cached(source, tmp_path, 1000)
    assert (cached.filled, cached.chunks) == (1, 4)
    assert list(cached.fill(part=1, parts=2)) == [1, 3]
    assert list(cached.fill()) == [2]
    assert sorted(source.computed) == list(range(CHUNK, 4 * CHUNK))
    path = tmp_path / "00002.safetensors"
    path.write_bytes(path.read_bytes()[:-5])  # a power cut, or a full disk elsewhere
    again = Cached(source, tmp_path, 1000)
    assert number(again[2 * CHUNK + 7]) == 2 * CHUNK + 7
    assert source.computed[-CHUNK:] == list(range(2 * CHUNK, 3 * CHUNK))
    with pytest.raises(ValueError, match="is a cache of .*'size': 4.*, not of .*'size': 8"):
        Cached(type("Other", (Counted,), {"about": {"world": 1, "size": 8}})(), tmp_path, 1000)
    with pytest.raises(ValueError, match="at least one"):
        Cached(source, tmp_path, 0)


def test_a_full_disk_leaves_no_chunk_behind(tmp_path, monkeypatch):
    cached = Cached(Counted(), tmp_path, 10)
    monkeypatch.setattr(files.os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="the disk is full"):
        cached[0]
    assert os.listdir(tmp_path) == ["about.json"]


def test_several_processes_fill_one_cache(tmp_path):
    tests = Path(__file__).parent
    code = f"""
        import sys; sys.path[:0] = [{str(tests)!r}, {str(tests.parent)!r}]
        from test_data import *
        cached = Cached(Counted(), {str(tmp_path)!r}, 2 * CHUNK)
        [cached[i] for i in range(0, 2 * CHUNK, 64)]
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = [subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(2)]
    assert [p.wait(300) for p in both] == [0, 0]
    source = Counted()
    cached = Cached(source, tmp_path, 2 * CHUNK)
    assert [number(cached[i]) for i in range(2 * CHUNK)] == list(range(2 * CHUNK))
    assert source.computed == []
    assert sorted(os.listdir(tmp_path)) == ["00000.safetensors", "00001.safetensors", "about.json"]


# Pictures


def test_modes_and_shapes_become_the_middle_square():
    wide = Image.new("RGB", (30, 10), (0, 0, 255))
    wide.paste((255, 0, 0), (10, 0, 20, 10))
    assert to_tensor(wide, 10)[:, 5, 1:9].mean(1).tolist() == pytest.approx([1, -1, -1])
    assert to_tensor(wide, 5).shape == (3, 5, 5)
    assert to_tensor(wide, 40).shape == (3, 40, 40)
    assert to_tensor(Image.new("L", (4, 4), 255), 4).unique().tolist() == [1.0]
    assert to_tensor(Image.new("1", (4, 4), 0), 4).unique().tolist() == [-1.0]
    assert to_tensor(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), 4).unique().tolist() == [1.0]  # transparent: white shows
    assert to_tensor(Image.new("LA", (4, 4), (0, 255)), 4).unique().tolist() == [-1.0]
    assert to_tensor(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), 4).unique().tolist() == [1.0]
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0])
    palette.info["transparency"] = 0
    assert to_tensor(palette, 4).unique().tolist() == [1.0]
    deep = Image.fromarray(np.array([[0, 65535], [65535, 0]], dtype=np.uint16))
    assert to_tensor(deep, 2)[0].tolist() == [[-1, 1], [1, -1]]


def test_a_camera_held_sideways(tmp_path):
    image = Image.new("RGB", (8, 8), "black")
    image.paste("white", (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white goes to the right
    image.save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.txt").write_text("white on the right")
    picture = Folder(tmp_path, 8)[0]["image"]
    assert picture[0, 4].tolist() == [-1] * 4 + [1] * 4


@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 24),
)
@settings(max_examples=40, deadline=None)
def test_any_picture_becomes_a_batchs_row(mode, width, height, size):
    row = to_tensor(Image.new(mode, (width, height)), size)
    assert row.shape == (3, size, size)
    assert row.dtype == torch.float32
    collate([{"image": row, "caption": ""}])


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_pictures_keep_their_light(mode):
    grey = {"I;16": np.full((4, 4), 10000, np.uint16), "I": np.full((4, 4), 10000, np.int32)}
    deep = Image.fromarray(grey.get(mode, np.full((4, 4), 10000 / 257, np.float32)))
    assert deep.mode == mode
    assert torch.allclose(to_tensor(deep, 4), torch.tensor(39 / 127.5 - 1), atol=1e-6)
    if mode == "F":
        assert to_tensor(Image.fromarray(np.full((4, 4), -1, np.float32)), 4).max() == -1


# Folders


def picture(path, color="red", size=(9, 7)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_captions_beside_the_pictures(tmp_path):
    for name, words in (("b.png", "a blue\n thing "), ("deep/a.JPG", "one"), ("c.webp", "ü")):
        picture(tmp_path / name, "blue")
        (tmp_path / name).with_suffix(".txt").write_text(words, encoding="utf-8")
    folder = Folder(tmp_path, 8)
    assert len(folder) == 3
    assert [folder[i]["caption"] for i in range(3)] == ["a blue thing", "ü", "one"]
    assert folder[0]["image"].shape == (3, 8, 8)
    assert folder[0]["image"][:, 4, 4].tolist() == [-1, -1, 1]
    batch = next(batches(folder, 4))
    assert batch["image"].shape == (4, 3, 8, 8)


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
def test_captions_in_metadata_as_imagefolder_has_them(tmp_path, monkeypatch, column):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = []
    for name in ("x.png", "y.png"):
        picture(tmp_path / name, "lime")
        rows.append(json.dumps({"file_name": name, column: f"this is {name}", "other": 3}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    folder = Folder(tmp_path, 6)
    assert sorted(folder[i]["caption"] for i in range(2)) == ["this is x.png", "this is y.png"]
    assert folder[0]["image"][:, 3, 3].tolist() == [-1, 1, -1]


def test_faults_of_a_folder_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Folder(tmp_path / "absent", 8)
    with pytest.raises(ValueError, match="holds no pictures"):
        Folder(tmp_path, 8)
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"a.png has no caption: write it into a.txt beside it, and 1 others"):
        Folder(tmp_path, 8)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    folder = Folder(tmp_path, 8)
    assert folder[0]["caption"] == "a"
    with pytest.raises(ValueError, match="b.png is no whole picture"):
        folder[1]
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "words": "a"}\n{"file_name": "b.png", "words": "b"}\n'
    )
    with pytest.raises(ValueError, match="needs the columns file_name and one of caption, text, prompt"):
        Folder(tmp_path, 8)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "lost.png", "text": "a"}\n')
    with pytest.raises(ValueError, match="metadata file in .* names .*lost.png, which is not there"):
        Folder(tmp_path, 8)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text"')
    with pytest.raises(ValueError, match="metadata file in .* cannot be used"):
        Folder(tmp_path, 8)


def test_a_missing_library_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'minimagen-course\[data\]'"):
        Folder(tmp_path, 8)


# Shards


def shard(path, samples):
    with tarfile.open(path, "w") as tar:
        for name, content in samples:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def png(color):
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), color).save(buffer, "png")
    return buffer.getvalue()


def test_shards_stream_pictures_and_captions(tmp_path):
    for k in range(2):
        samples = [
            (f"{k}{i}.{kind}", c) for i in range(5) for kind, c in (("png", png("red")), ("txt", f"{k} {i}\n".encode()))
        ]
        shard(tmp_path / f"{k:03d}.tar", samples)
    stream = shards(str(tmp_path / "{000..001}.tar"), 4, shuffle=0)
    items = list(stream)
    assert [item["caption"] for item in items] == [f"{k} {i}" for k in range(2) for i in range(5)]
    assert items[0]["image"][:, 1, 1].tolist() == [1, -1, -1]
    assert {i["caption"] for i in shards(str(tmp_path / "*.tar"), 4)} == {i["caption"] for i in items}
    endless = batches(shards([str(tmp_path / "000.tar")], 4), 3)
    assert len([next(endless) for _ in range(4)]) == 4  # five pictures: one batch of three a round
    with pytest.raises(ValueError, match="ended before it filled a batch of 6"):
        next(batches(shards([str(tmp_path / "000.tar")], 4), 6))


def test_the_order_of_a_stream_follows_its_seed(tmp_path):
    for k in range(8):
        shard(tmp_path / f"{k}.tar", [(f"{k}.png", png("red")), (f"{k}.txt", str(k).encode())])
    orders = ["".join(i["caption"] for i in shards(str(tmp_path / "*.tar"), 4, seed=seed)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


def test_what_is_transparent_is_white_in_a_shard_as_in_a_folder(tmp_path):
    buffer = io.BytesIO()
    Image.new("LA", (4, 4), (0, 0)).save(buffer, "png")
    shard(tmp_path / "a.tar", [("x.png", buffer.getvalue()), ("x.txt", b"nothing")])
    assert next(iter(shards(str(tmp_path / "a.tar"), 4)))["image"].min() == 1


def test_the_names_of_a_folder_and_its_files_decide_nothing(tmp_path):
    folder = tmp_path / "pics [v1] *"
    names = ["train 1.png", "test-1.png", "cat.png"]
    for name in names:
        picture(folder / name)
    picture(tmp_path / "pics [v1] other" / "dog.png")
    lines = [json.dumps({"file_name": name, "text": name}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    found = Folder(folder, 4)
    assert {found[i]["caption"] for i in range(len(found))} == set(names)


def test_captions_that_cannot_be_read_are_named(tmp_path):
    picture(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "x.txt").write_bytes("ü".encode("latin-1"))
    with pytest.raises(ValueError, match="x.txt is not in UTF-8"):
        Folder(tmp_path / "a", 4)
    picture(tmp_path / "b" / "x.png")
    (tmp_path / "b" / "metadata.jsonl").write_text('{"file_name": "x.png", "text": 5}')
    with pytest.raises(ValueError, match="x.png has a caption in the metadata file that is no text: 5"):
        Folder(tmp_path / "b", 4)[0]


def test_shards_with_json_and_their_faults(tmp_path):
    shard(tmp_path / "a.tar", [("x.png", png("red")), ("x.json", b'{"caption": "in json"}')])
    assert next(iter(shards(str(tmp_path / "a.tar"), 4)))["caption"] == "in json"
    shard(tmp_path / "b.tar", [("x.png", png("red"))])
    shard(tmp_path / "c.tar", [("x.txt", b"words")])
    shard(tmp_path / "d.tar", [("x.png", png("red")[:40]), ("x.txt", b"words")])
    shard(tmp_path / "e.tar", [("x.png", png("red")), ("x.json", b'{"text": 5}')])
    (tmp_path / "f.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:600])
    assert next(iter(shards(tmp_path / "a.tar", 4)))["caption"] == "in json"
    for name, said in (
        ("b", "x in .*b.tar has no caption"),
        ("c", "x in .*c.tar has no picture"),
        ("d", "x.png in .*d.tar is damaged"),
        ("e", "x in .*e.tar has a caption that is no text: 5"),
        ("f", "f.tar is damaged: unexpected end of data"),
    ):
        with pytest.raises(ValueError, match=said):
            next(iter(shards(str(tmp_path / f"{name}.tar"), 4)))
    with pytest.raises(FileNotFoundError, match="there is no folder and no shard .*absent.tar"):
        shards(str(tmp_path / "absent.tar"), 4)


# Toyland


def test_toyland_items_are_functions_of_their_index():
    source = ToylandImages(16, seed=3)
    together, alone = source.__getitems__([5, 2]), [source[5], source[2]]
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a["image"], b["image"], atol=1e-5)
        assert a["caption"] == b["caption"] in a["captions"]
    assert together[0]["image"].shape == (3, 16, 16)
    assert not torch.equal(together[0]["image"], together[1]["image"])
    assert not torch.equal(ToylandImages(16, seed=4)[5]["image"], together[0]["image"])
    assert collate(together)["image"].shape == (2, 3, 16, 16)


def test_toyland_crops_are_windows_of_the_whole_picture():
    whole, crops = ToylandImages(32, seed=1), ToylandImages(32, seed=1, crop=16)
    origins = set()
    for index in (0, 7, 8, 33):
        item, (x, y) = crops[index], crops.origin(index)
        assert item["origin"].tolist() == [x, y]
        assert (x % 4, y % 4) == (0, 0)
        assert item["caption"] == whole[index]["caption"]
        assert torch.allclose(item["image"], whole[index]["image"][:, y : y + 16, x : x + 16], atol=1e-4)
        origins.add((x, y))
    assert len(origins) > 1
    with pytest.raises(ValueError, match="a crop of 30 px does not fit"):
        ToylandImages(32, crop=30)


def test_most_windows_look_at_something():
    """Of windows placed at random, 150 of 200 hold the middle of something."""
    source, looks = ToylandImages(64, crop=32), 0
    for index in range(200):
        x, y = (v / 64 for v in source.origin(index))
        middles = [((a + c) / 2, (b + d) / 2) for a, b, c, d in boxes(source.scene(index))]
        looks += any(x <= u <= x + 0.5 and y <= v <= y + 0.5 for u, v in middles)
        assert 0 <= x <= 0.5 and 0 <= y <= 0.5
    assert looks > 0.9 * 200


def test_the_small_picture_is_the_same_view_rendered_small(tmp_path):
    source = ToylandImages(64, crop=32, factor=4, captions=2, seed=5)
    cached = Cached(source, tmp_path, 3)
    for index in range(3):
        item, (x, y) = source[index], source.origin(index)
        whole = render([source.scene(index)], 16)[0]
        assert (item["low"] - whole[:, y // 4 : y // 4 + 8, x // 4 : x // 4 + 8]).abs().max() < 0.02
        assert (cached[index]["low"] - item["low"]).abs().max() <= 1 / 255
    assert collate([source[0], source[1]])["low"].shape == (2, 3, 8, 8)
    assert "low" not in ToylandImages(64, crop=32)[0]
    assert "factor" in source.about and "factor" not in ToylandImages(64).about


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"split": "heldout"}, {"captions": 2}, {"crop": 16}, {"factor": 2}], ids=str
)
def test_a_cache_of_other_pictures_of_toyland_is_refused(tmp_path, other):
    Cached(ToylandImages(32), tmp_path, 1)
    with pytest.raises(ValueError, match="is a cache of"):
        Cached(ToylandImages(32, **other), tmp_path, 1)


def test_data_reexports_the_cache():
    assert data.Cached is Cached
