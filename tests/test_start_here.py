"""Lesson 00: the environment is seen as it is, and the map leads to every lesson in both editions."""

import re
from pathlib import Path

import pytest

from minimagen import __version__, resources
from minimagen.show import environment as looked
from minimagen.show.environment import environment

pytest.importorskip("jupytext")
from tools import editions

ROOT = Path(__file__).parents[1]


def finding(what):
    (found,) = [f for f in environment().findings if f.what.startswith(what)]
    return found


def test_what_is_here_is_seen():
    assert finding("Python").fine and finding("PyTorch").fine and finding("diffusers").fine
    assert finding("T5").found == "data/text_encoder/, 7 MB"
    assert finding("minimagen").found.startswith(f"{__version__}, Toyland version")
    assert len(environment().findings) == 13
    shown = environment()._repr_html_()
    assert shown.count("<tr>") == 13 and "✓" in repr(environment())


def test_what_is_missing_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "data" / "judge").mkdir(parents=True)
    monkeypatch.setattr(resources, "_HERE", tmp_path / "minimagen")
    missing = finding("the third")
    assert not missing.fine and looked.said(missing) == "missing: install minimagen-course again"
    assert not environment().fine and "4 of these want your attention" in repr(environment())
    monkeypatch.setitem(looked.LIBRARIES, "no-such-library", "nothing")
    assert looked.said(finding("no-such-library")) == "missing: pip install no-such-library"


def test_the_other_minimagen_is_pointed_out(monkeypatch):
    monkeypatch.setattr(resources, "other_minimagen", lambda: "remove it <now>")
    assert not finding("the other").fine
    assert "installed: remove it &lt;now&gt;" in environment()._repr_html_()


def test_an_old_python_and_a_full_memory_are_not_fine(monkeypatch):
    monkeypatch.setattr(looked.platform, "python_version_tuple", lambda: ("3", "9", "1"))
    monkeypatch.setattr(looked.memory, "available", lambda device: 5e8)
    assert not finding("Python").fine and not finding("memory").fine


# The map


@pytest.mark.parametrize(("kind", "whole", "yours"), [("lesson", "", "exercises/"), ("learner", "../", "")])
def test_the_map_leads_to_both_editions(kind, whole, yours):
    rows = editions.lessons_map(editions.SOURCES, kind).splitlines()[2:]
    assert len(rows) == len(editions.sources())
    for row, path in zip(rows, editions.sources()):
        source = editions.read(path)
        assert row.startswith(f"| {path.stem[:2]} | [{source.title}]({whole}{path.stem}.ipynb) | {source.question} |")
        assert row.endswith(f"| [to do]({yours}{path.stem}.ipynb) |")


def test_a_classroom_has_a_map_without_ways():
    assert re.findall(r"\]\(", editions.lessons_map(editions.SOURCES, "teacher")) == []


def test_the_map_stands_in_lesson_00_and_its_mark_in_no_edition():
    source = editions.read(ROOT / "lessons" / "00_start_here.md")
    for kind in editions.EDITIONS:
        text = "\n".join(cell.source for cell in editions.edition(source, kind).cells)
        assert editions.MAP not in text and "| 01 | " in text and "Forward noise" in text
