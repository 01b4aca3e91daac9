"""The playground of `make play` in a real browser, at a desk and on a phone."""

import shutil
import sys

import pytest
from servers import ROOT, free_port, serving, surroundings

from minimagen.cascade import Stage
from minimagen.denoiser import Denoiser
from minimagen.resources import data_folder
from minimagen.schedule import CosineSchedule
from minimagen.show import tracing
from minimagen.stored import save_stage
from minimagen.unet import UNetConfig

pytestmark = pytest.mark.slow
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
NARROW = {**PHONE, "viewport": {"width": 340, "height": 700}}
HASH = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return `${canvas.width} ${data.reduce((h, v) => (h * 31 + v) | 0, 7)}`;
}"""
# Keeps what the picture was, whenever it changed.
WATCH = f"""() => {{
    const canvas = document.querySelector(".mm-picture"), hash = {HASH};
    window.seen = [];
    new MutationObserver(() => window.seen.push(hash(canvas))).observe(canvas, {{ attributeFilter: ["data-turn"] }});
}}"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights that ship; where they do not, small untrained ones, which draw noise and do all else."""
    if all((ROOT / "data" / f"unet_{size}").is_dir() for size in (64, 256)):
        return None
    folder = tmp_path_factory.mktemp("weights")
    for name in ("text_encoder", "tokenizer"):
        shutil.copytree(data_folder(name), folder / name)
    small = {"channels": (16, 32), "layers": (1, 1), "attention": ("none", "text"), "head_dim": 8}
    base = tracing.random(UNetConfig(**small))
    large = tracing.random(UNetConfig(**small, size=256, in_channels=6, augmentation=True, efficient=True, fold=4))
    save_stage(Stage(Denoiser(base, CosineSchedule(), "v"), 64, steps=16, guidance=3.0), folder / "unet_64")
    save_stage(Stage(Denoiser(large, CosineSchedule(), "residual"), 256, steps=4, aug=0.05), folder / "unet_256")
    return folder


@pytest.fixture(scope="module")
def address(browser, weights, tmp_path_factory):
    """Where the playground answers."""
    home, port = tmp_path_factory.mktemp("play"), free_port()
    command = [sys.executable, "-m", "minimagen.playground", "--no-browser", f"--port={port}"]
    command += [] if weights is None else [f"--weights={weights}"]
    # preheated, the first answer comes when the page is ready
    with serving(
        command, home / "log", f"http://127.0.0.1:{port}/voila/static/main.js", cwd=home, env=surroundings(home)
    ):
        yield f"http://127.0.0.1:{port}"


def opened(visit, address, **options):
    page = visit(**options)
    page.goto(address)
    says(page, "Ready")
    return page


def says(page, text: str, part: str = ".mm-ask") -> None:
    page.wait_for_function(
        "([part, text]) => document.querySelector(part)?.innerText.includes(text)",
        arg=[part, text],
    )


def drawn(page) -> None:
    """Wait for the end of a drawing."""
    page.wait_for_selector(".mm-save.mm-on", state="attached")
    page.wait_for_function("() => document.querySelector('.mm-ask .mm-go').innerText === 'Draw'")


def hashed(page) -> str:
    return page.eval_on_selector(".mm-picture", HASH)


def stop_at(page, size: int) -> None:
    page.locator(".mm-dials button", has_text=f"{size} px").click()


def test_at_a_desk_a_sentence_is_drawn_looked_into_and_changed(visit, address, shoot):
    page = opened(visit, address, viewport={"width": 1280, "height": 940})
    shoot(page, "play-desk-1-opened")
    assert page.title() == "minimagen playground"
    page.click(".mm-ask .mm-go")
    says(page, "write a sentence, or choose one of the examples")

    page.evaluate(WATCH)
    page.locator(".mm-chip").nth(1).click()
    says(page, "Stop")
    page.wait_for_function("() => window.seen.length > 6")
    shoot(page, "play-desk-2-drawing")
    drawn(page)
    shoot(page, "play-desk-3-drawn")
    seen = page.evaluate("() => window.seen")
    assert len(set(seen)) > 12, "it forms step by step"
    sizes = list(dict.fromkeys(line.split()[0] for line in seen))
    assert sizes[:2] == ["64", "256"], "one stage after the other"
    assert page.locator(".mm-stage:not([disabled])").count() == len(sizes)
    last = hashed(page)

    page.locator(".mm-stage").first.click()
    page.wait_for_function("() => document.querySelector('.mm-picture').width === 64")
    before = hashed(page)
    page.locator(".mm-winding .noUi-handle").focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    changes(page, before)
    page.locator(".mm-words button").nth(3).click()
    page.wait_for_selector(".mm-veil.mm-on")
    says(page, "network looks at", ".mm-view")
    page.wait_for_timeout(500)
    shoot(page, "play-desk-4-word")
    page.locator(".mm-words button").first.click()
    page.wait_for_selector(".mm-veil:not(.mm-on)", state="attached")

    stop_at(page, 64)
    page.locator(".mm-dials .noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.click(".mm-ask .mm-go")
    page.wait_for_selector(".mm-save:not(.mm-on)", state="attached")
    drawn(page)
    assert hashed(page) not in (last, seen[-1]) and page.locator(".mm-stage[disabled]").count() == len(sizes) - 1


def changes(page, before: str) -> None:
    page.wait_for_function(f"before => ({HASH})(document.querySelector('.mm-picture')) !== before", arg=before)


def test_every_control_has_a_name_and_says_whether_it_is_chosen(visit, address):
    page = opened(visit, address, viewport={"width": 1280, "height": 940})
    for name in ("wind the film", "Guidance w", "Percentile", "Steps", "Augmentation level", "the brush's width"):
        page.get_by_role("slider", name=name, exact=True).wait_for()
    for name in ("the sentence to draw", "the sentence to repaint by"):
        page.get_by_role("textbox", name=name, exact=True).wait_for()
    page.get_by_role("spinbutton", name="Seed", exact=True).wait_for()
    assert page.get_by_role("slider", name="Percentile").get_attribute("aria-valuetext") == "0.995"

    threshold = page.get_by_role("group", name="Threshold")
    threshold.get_by_role("button", name="dynamic", pressed=True).wait_for()
    threshold.get_by_role("button", name="static", pressed=False).click()
    threshold.get_by_role("button", name="static", pressed=True).wait_for()
    threshold.get_by_role("button", name="dynamic", pressed=False).wait_for()
    page.get_by_role("button", name="Brush", pressed=False).wait_for()


def test_on_a_phone_a_part_is_repainted_with_a_finger(visit, address, shoot):
    page = opened(visit, address, **PHONE)
    stop_at(page, 64)
    page.evaluate("() => scrollTo(0, 0)")
    page.locator(".mm-chip").first.tap()
    drawn(page)
    shoot(page, "play-phone-1-drawn", full_page=True)
    before = pixels(page)
    page.locator(".mm-repaint .mm-go").tap()
    says(page, "Nothing is marked yet", ".mm-repaint")
    page.locator(".mm-repaint button", has_text="Brush").tap()
    page.wait_for_selector(".mm-mask.mm-on")
    box = in_view(page)
    stroke(page, [(box["x"] + box["width"] * 0.15, box["y"] + box["height"] * (0.1 + 0.08 * i)) for i in range(11)])
    shoot(page, "play-phone-2-brush")
    page.fill(".mm-repaint input[type=text]", "a small blue cube")
    page.locator(".mm-repaint .mm-go").tap()
    page.wait_for_selector(".mm-save:not(.mm-on)", state="attached")
    drawn(page)
    in_view(page)
    after = pixels(page)
    shoot(page, "play-phone-3-repainted")
    assert [a for a, b in zip(after, before) if a["x"] > 40 and a != b] == [], "what was not marked stays"
    assert sum(a != b for a, b in zip(after, before) if a["x"] < 10) > 100


def in_view(page) -> dict[str, float]:
    """Where the picture is, which comes into view by itself when it is wanted."""
    page.wait_for_timeout(1000)
    box = page.locator(".mm-frame").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"]
    return box


def pixels(page) -> list[dict]:
    """Some pixels of a 64 px picture, with where they are."""
    return page.eval_on_selector(
        ".mm-picture",
        """canvas => {
            const found = [], data = canvas.getContext("2d").getImageData(0, 0, 64, 64).data;
            for (let i = 0; i < 4096; i++) found.push({ x: i % 64, rgb: [...data.slice(4 * i, 4 * i + 3)].join() });
            return found;
        }""",
    )


def stroke(page, points: list[tuple[float, float]]) -> None:
    """A finger that is laid down, moved and lifted."""
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *at: tuple[float, float]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]})

    send("touchStart", points[0])
    for point in points[1:]:
        send("touchMove", point)
    send("touchEnd")
    page.wait_for_timeout(700)


@pytest.mark.parametrize("size", [PHONE, NARROW], ids=["390", "340"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit, address, shoot, size):
    page = opened(visit, address, **size)
    shoot(page, f"play-phone-{size['viewport']['width']}", full_page=True)
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    small = page.evaluate(
        """() => [...document.querySelectorAll(".mm-play button, .mm-play input")].filter(e => e.offsetParent)
            .filter(e => e.offsetHeight < 36 || (e.type === "text" && parseFloat(getComputedStyle(e).fontSize) < 16))
            .map(e => e.className + e.innerText)"""
    )
    assert small == [], "large enough for a thumb, and no zoom when a field is entered"
