"""The web site of the lessons: every link leads somewhere, every figure and formula is there, wide and narrow."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

pytest.importorskip("jupytext", reason="`make setup` installs jupytext")
pytest.importorskip("myst_nb", reason="`make site` installs Sphinx, MyST-NB and the theme")
pytest.importorskip("furo", reason="`make site` installs Sphinx, MyST-NB and the theme")
from tools import editions, lessons, site

SOURCES = [s for s in map(editions.read, editions.sources()) if lessons.paths(s.name)["lesson"].exists()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "html"
    site.build(out, SOURCES)
    return out


class Page(HTMLParser):
    """A page's links, pictures and anchors."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images: list[dict] = []
        self.anchors: set[str] = set()
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.anchors |= {known[key] for key in ("id", "name") if known.get(key)}
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        if tag in ("script", "img", "iframe") and known.get("src"):
            self.loaded.append(known["src"])
        if tag == "link" and known.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(known["href"])
        if tag == "img":
            self.images.append(known)


@pytest.fixture(scope="module")
def pages(folder):
    return {path.relative_to(folder).as_posix(): Page(path) for path in folder.rglob("*.html")}


def figures(name: str) -> int:
    nb = nbformat.read(lessons.paths(name)["lesson"], as_version=4)
    return sum("image/png" in o.get("data", {}) for c in nb.cells for o in c.get("outputs", []))


def test_every_lesson_is_a_page_with_its_figures(folder, pages):
    for source in SOURCES:
        page = pages[f"{source.name}.html"]
        assert f"{source.number} · {source.title}" in page.text
        shown = [image for image in page.images if "_images/" in image["src"] or image["src"].startswith("data:")]
        assert len(shown) == figures(source.name) > 0
        assert page.text.count("Show the answer") >= len(source.exercises)
        assert (folder / "exercises" / f"{source.name}.ipynb").read_text() == lessons.paths(source.name)[
            "learner"
        ].read_text()


def test_figures_are_described(pages):
    for source in SOURCES:
        described = [i for i in pages[f"{source.name}.html"].images if len(i.get("alt") or "") > 20]
        assert len(described) >= figures(source.name) / 2


def test_links_lead_somewhere(folder, pages):
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                continue
            target = ((folder / name).parent / unquote(parts.path)).resolve() if parts.path else folder / name
            assert target.exists(), f"{name} links {link}"
            if parts.fragment and target.suffix == ".html":
                anchors = pages[target.relative_to(folder.resolve()).as_posix()].anchors
                assert unquote(parts.fragment) in anchors, f"{name} links {link}"


def test_nothing_is_loaded_from_elsewhere(folder, pages):
    for name, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{name} loads {address}"
            if not address.startswith("data:"):
                assert ((folder / name).parent / unquote(urlsplit(address).path)).exists(), f"{name} loads {address}"


def test_the_index_for_searching_knows_the_lessons(folder):
    index = (folder / "searchindex.js").read_text()
    assert all(json.dumps(source.name)[1:-1] in index for source in SOURCES)


def test_a_page_is_made_of_a_lesson():
    new, out = nbformat.v4.new_code_cell, nbformat.v4.new_output
    picture = out("display_data", data={"image/png": "aa", "text/plain": "Figure to play with (t): a cube, noisy"})
    cells = [
        nbformat.v4.new_markdown_cell("[do it](exercises/01_a.ipynb) · [next](02_b.ipynb) · [later](03_c.ipynb)"),
        new("x", metadata={"jupyter": {"source_hidden": True}}),
        new("y", outputs=[picture]),
    ]
    text, answer, figure, still = site.page(nbformat.v4.new_notebook(cells=cells), {"01_a", "02_b"}).cells
    assert text.source == '<a href="exercises/01_a.ipynb" download>do it</a> · [next](02_b.ipynb) · later'
    assert answer.metadata["tags"] == ["hide-input"]
    assert figure.metadata["mystnb"] == {"image": {"alt": "a cube, noisy"}}
    assert still.source == site.STILL


def test_a_fault_leaves_the_old_site(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("old")
    with pytest.raises(site.Failed, match="no site of ours"):
        site.build(tmp_path, [])
    (tmp_path / "objects.inv").touch()
    monkeypatch.setattr(site, "INDEX", "# A\n\n[nowhere](nowhere.md)\n{rows}{lessons}")
    with pytest.raises(site.Failed, match="nowhere"):
        site.build(tmp_path, [])
    assert (tmp_path / "index.html").read_text() == "old"
