"""An evaluation for people: a table in Markdown, and a page of pictures with their prompts and verdicts."""

from __future__ import annotations

import base64
import html
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from minimagen import files

if TYPE_CHECKING:
    from minimagen.toyland.evaluate import Evaluation, Judged, Row

MEANINGS = {
    "readable": "pictures that the judge could read",
    "legal": "pictures that this world could hold",
    "clipped": "values within 0.05 of black or white",
    "chroma": "mean spread between the channels",
    "red": "mean of the red channel",
    "green": "mean of the green channel",
    "blue": "mean of the blue channel",
}


def markdown(e: Evaluation) -> str:
    """The tables, with every score's interval, the judge's own score on true renders, and the score of shuffled

    captions.
    """
    settings = ", ".join(f"{k} {v}" for k, v in e.settings.items() if v is not None)
    parts = [f"# Evaluation\n\n{settings}\n", _table("prompts", e.categories), _table("question", e.questions)]
    lines = ["| fidelity | measured | true pictures, or the excess over them |", "|---|---|---|"]
    f = e.fidelity
    for name, meaning in MEANINGS.items():
        excess = f.get(f"{name} excess")
        lines.append(f"| {name}: {meaning} | {_number(f[name])} | {'–' if excess is None else f'{excess:+.4f}'} |")
    if "diversity" in f:
        spread = f"{_number(f['diversity'])} | {_number(f['true diversity'])}"
        lines.append(f"| diversity: mean distance between features | {spread} |")
    if "fréchet" in f:
        times = float(f["fréchet"] or 0) / float(f["fréchet floor"] or math.nan)
        floor = f"{_number(f['fréchet floor'])} (× {times:.2f})"
        lines.append(f"| Fréchet distance, {f['fréchet count']} pictures | {_number(f['fréchet'])} | {floor} |")
    parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _table(what: str, rows: list[Row]) -> str:
    lines = [
        f"| {what} | prompts | pictures | right | 95 % interval | judge on true renders | shuffled |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        interval = f"{_per_cent(r.right.low)} to {_per_cent(r.right.high)}"
        cells = (
            r.name,
            r.prompts,
            r.pictures,
            _per_cent(r.right.mean),
            interval,
            _per_cent(r.judge),
            _per_cent(r.chance),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _per_cent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.1f} %"


def _number(x: float | int | None) -> str:
    return "–" if x is None else f"{x:.4f}"


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Evaluation</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222;
background: #fff }} pre {{ overflow-x: auto; font-size: 13px }}
section {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px }}
figure {{ margin: 0; font-size: 12px }}
img {{ width: 100%; aspect-ratio: 1; border: 4px solid #1a7f37; box-sizing: border-box; border-radius: 4px }}
.wrong img {{ border-color: #c62828; border-style: dashed }}
small {{ color: #555; display: block }}
</style>
<h1>Evaluation</h1>
<p>A solid green frame: the picture shows all that its prompt says. A dashed red one: it does not, and below it stands
what is wrong.</p> <pre>{table}</pre>
{body}
</html>
"""


def page(e: Evaluation) -> str:
    """One HTML file with everything in it."""
    body = []
    for category in dict.fromkeys(j.prompt.category for j in e.pictures):
        figures = [_figure(j) for j in e.pictures if j.prompt.category == category]
        body.append(f"<h2>{html.escape(category)}</h2>\n<section>\n" + "\n".join(figures) + "\n</section>")
    return PAGE.format(table=html.escape(markdown(e)), body="\n".join(body))


def _figure(j: Judged) -> str:
    buffer = io.BytesIO()
    j.thumbnail.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    verdict = "right" if j.score.right else "wrong"
    seen, said, wrong = (html.escape(text, quote=True) for text in (str(j.reading), j.prompt.text, j.score.wrong))
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{seen}" title="{seen}" loading="lazy">'
    return f'<figure class="{verdict}">{image}<figcaption>{said}<small>{wrong or "right"}</small></figcaption></figure>'


def save(e: Evaluation, folder: Path) -> list[Path]:
    paths = [folder / f"evaluation.{kind}" for kind in ("md", "json", "html")]
    files.write_text(paths[0], markdown(e))
    files.write_json(paths[1], e.to_dict())
    files.write_text(paths[2], page(e))
    return paths
