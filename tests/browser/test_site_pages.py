"""The web site of the lessons in Chromium, on a desk and on a phone: figures, formulas, folds, menu and search."""

import http.server
import threading
from functools import partial

import pytest

pytest.importorskip("jupytext", reason="`make setup` installs jupytext")
pytest.importorskip("myst_nb", reason="`make site` installs Sphinx, MyST-NB and the theme")
pytest.importorskip("furo", reason="`make site` installs Sphinx, MyST-NB and the theme")
from tools import editions, lessons, site

SOURCES = [s for s in map(editions.read, editions.sources()) if lessons.paths(s.name)["lesson"].exists()]
LOOK = """() => ({
  wide: [document.scrollingElement, ...document.querySelectorAll(".content")].some(e => e.scrollWidth > innerWidth),
  formulas: document.querySelectorAll("mjx-container svg").length,
  broken: [...document.images].filter(i => i.complete && !i.naturalWidth && i.loading !== "lazy").length,
  raw: document.querySelector("article").innerText.includes("\\\\("),
})"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The site on a server of this machine, as on any other."""
    folder = tmp_path_factory.mktemp("site") / "html"
    site.build(folder, SOURCES)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(("name", "width", "height"), [("desk", 1280, 900), ("phone", 390, 844)])
def test_every_page_is_whole_and_can_be_searched(address, visit, shoot, name, width, height):
    page = visit(viewport={"width": width, "height": height})
    page.goto(f"{address}/index.html")
    assert not page.evaluate(LOOK)["wide"]
    shoot(page, f"site-{name}-index")
    for source in SOURCES:
        page.goto(f"{address}/{source.name}.html")
        if "math notranslate" in page.content():
            page.wait_for_selector("mjx-container svg", state="attached")
        seen = page.evaluate(LOOK)
        assert not seen["wide"] and not seen["broken"] and not seen["raw"], (source.name, seen)
        shoot(page, f"site-{name}-{source.name}")
    hint = page.locator("details", has_text="Hint").first
    hint.locator("summary").first.click()
    assert hint.evaluate("d => d.open")
    folded = page.locator("details.hide").first
    folded.locator("summary").click()
    assert "def " in folded.inner_text()

    page.goto(f"{address}/index.html")
    if width < 600:
        page.locator("label.nav-overlay-icon").first.click()
    page.locator("input.sidebar-search").fill("schedule")
    page.locator("input.sidebar-search").press("Enter")
    page.wait_for_selector("ul.search li a")
    shoot(page, f"site-{name}-search")
    page.locator("ul.search li a").first.click()
    page.wait_for_load_state()
    assert "schedule" in page.locator("article").inner_text().lower()
