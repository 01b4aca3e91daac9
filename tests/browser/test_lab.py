"""The JupyterLab of `make lab` as a learner has it: a lesson opens, runs, and redraws its figure for a slider."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from servers import PATIENCE, ROOT, free_port, serving, surroundings

pytestmark = pytest.mark.slow
TOKEN = "chalk"
RUN_AT_MOST = 15 * 60  # seconds, on a machine that has other things to do
OPEN = "jupyterapp.shell.currentWidget?.content"
# Every cell of the open notebook: its kind, number, and what it put out.
CELLS = f"""() => {OPEN}.widgets.map(cell => ({{
    code: cell.model.type === "code" && cell.model.sharedModel.source.trim() !== "",
    count: cell.model.executionCount ?? null,
    outputs: cell.model.outputs ? cell.model.outputs.toJSON() : [],
}}))"""
DONE = f"""() => {OPEN}.widgets.every(cell => cell.model.type !== "code" || cell.model.sharedModel.source.trim() === ""
    || cell.model.executionCount !== null) || {OPEN}.widgets.some(cell => cell.model.outputs?.toJSON()
    .some(output => output.output_type === "error"))"""


def with_sliders() -> list[str]:
    """The three quickest lessons that have a slider."""
    measured = json.loads((ROOT / "notebooks" / "measured.json").read_text())
    found = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        code = "".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")
        if "show.explore(" in code or "show.film(" in code:
            found.append(path.stem)
    quickest = sorted(found, key=lambda name: measured.get(name, {}).get("cpu_seconds", 1e9))
    return sorted(quickest[:3])


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address of a JupyterLab that `make lab` started, in a copy of the lessons that may be written to."""
    copy, venv, port = tmp_path_factory.mktemp("copy"), Path(sys.prefix), free_port()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "notebooks", copy / "notebooks")
    arguments = f"--no-browser --ServerApp.ip=127.0.0.1 --IdentityProvider.token={TOKEN} --ServerApp.port_retries=0"
    arguments += " --LabApp.expose_app_in_browser=True --LabApp.news_url= --LabApp.check_for_updates_class="
    arguments += "jupyterlab.NeverCheckForUpdate"
    # -o: take the set-up as done, for this very Python runs in it
    command = ["make", "-o", venv / ".installed", "lab", f"VENV={venv}", f"PORT={port}", f"LAB_ARGS={arguments}"]
    url = f"http://127.0.0.1:{port}"
    with serving(command, copy / "log", f"{url}/api", cwd=copy, env=surroundings(copy / "home")):
        yield url


@pytest.mark.parametrize("lesson", with_sliders())
def test_a_lesson_runs_and_its_slider_redraws_the_figure(lab, visit, shoot, lesson):
    page = visit(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/workspaces/{lesson}/tree/notebooks/{lesson}.ipynb?token={TOKEN}")
    page.wait_for_function(f"() => window.jupyterapp && {OPEN}?.widgets?.length > 5")
    page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")
    stored = [cell["count"] for cell in page.evaluate(CELLS) if cell["code"]]
    menu(page, "Edit", "Clear Outputs of All Cells")
    assert {cell["count"] for cell in page.evaluate(CELLS) if cell["code"]} == {None}

    menu(page, "Run", "Run All Cells")
    page.wait_for_function(DONE, timeout=1000 * RUN_AT_MOST)
    cells = page.evaluate(CELLS)
    faults = [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert faults == []
    assert [cell["count"] for cell in cells if cell["code"]] == stored, "the numbers of the stored lesson"

    number = next(i for i, cell in enumerate(cells) if any(widget(o) for o in cell["outputs"]))
    page.evaluate(f"i => {OPEN}.scrollToItem(i, 'start')", number)
    view = page.locator(".jp-OutputArea-output:has(.widget-slider):has(img.widget-image)").first
    figure, handle = view.locator("img.widget-image"), view.locator(".noUi-handle").first
    figure.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=figure.element_handle())
    shoot(page, f"lab-{lesson}-before")
    before, value = seen(page, figure), float(handle.get_attribute("aria-valuenow"))
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft" if value == float(handle.get_attribute("aria-valuemax")) else "ArrowRight")
    assert float(handle.get_attribute("aria-valuenow")) != value
    changed(page, figure, before)
    shoot(page, f"lab-{lesson}-after")


def menu(page, name: str, entry: str) -> None:
    """Click an entry of JupyterLab's menu."""
    page.locator(".lm-MenuBar-itemLabel", has_text=name).first.click()
    page.locator(".lm-Menu-itemLabel").get_by_text(entry, exact=True).click()


def widget(output: dict) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def seen(page, figure) -> str:
    """The pixels of an image."""
    return page.evaluate(
        """image => {
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), ink = canvas.getContext("2d");
            ink.drawImage(image, 0, 0);
            const { data } = ink.getImageData(0, 0, canvas.width, canvas.height);
            return data.reduce((h, v) => (h * 31 + v) | 0, 7).toString();
        }""",
        figure.element_handle(),
    )


def changed(page, figure, before: str) -> None:
    for _ in range(4 * PATIENCE):
        if seen(page, figure) != before:
            return
        page.wait_for_timeout(250)
    raise AssertionError("the slider moved, and the figure is the same")
