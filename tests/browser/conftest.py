"""A real browser, and a place for the pictures of what was seen: build/screenshots/."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import PATIENCE, ROOT

SHOTS = ROOT / "build" / "screenshots"
HOW = "`make browser-test` installs what is missing; on Debian and Ubuntu `apt install chromium` brings the browser"


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window: the system's, or playwright's own."""
    api = pytest.importorskip("playwright.sync_api", reason=f"playwright is not installed: {HOW}")
    with api.sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        found = next((path for name in names if (path := shutil.which(name))), playwright.chromium.executable_path)
        if not Path(found).exists():
            pytest.skip(f"there is no browser here: {HOW}")
        # root, as in a container, has no sandbox
        arguments = ["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """visit(**options) → a page. What the page does wrong, and what it fetches from elsewhere, fails the test."""
    contexts, wrong = [], []

    def elsewhere(request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            wrong.append(f"fetched {request.url}")

    def visit(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", elsewhere)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def shoot(request) -> Callable:
    """shoot(page, name): keep a picture of it."""
    SHOTS.mkdir(parents=True, exist_ok=True)

    def shoot(page, name: str, **options) -> None:
        page.screenshot(path=SHOTS / f"{name}.png", **options)

    return shoot
