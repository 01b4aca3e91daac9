"""An evaluation for people: a table in Markdown, and a page of pictures with their prompts and verdicts."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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


class Table(NamedTuple):
    """Heads and rows; the first column holds words and all others numbers."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        rule = "|---|" + "---:|" * (len(self.heads) - 1)
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.heads, *self.rows)]
        return "\n".join([lines[0], rule, *lines[1:]]) + "\n"

    def html(self) -> str:
        def row(kind: str, cells: tuple[str, ...]) -> str:
            words, *numbers = map(html.escape, cells)
            rest = "".join(f'<{kind} class="number">{number}</{kind}>' for number in numbers)
            return f"<tr><{kind}>{words}</{kind}>{rest}</tr>"

        head, body = row("th", self.heads), "\n".join(row("td", cells) for cells in self.rows)
        return f'<div class="table"><table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table></div>'


def tables(e: Evaluation) -> list[Table]:
    """What was right, by prompts and by questions, and how true to the world the pictures look.

    Every score has its interval, the judge's own score on true renders, and the score of shuffled captions.
    """
    return [_scores("kind of prompt", e.categories), _scores("question", e.questions), _fidelity(e.fidelity)]


def markdown(e: Evaluation) -> str:
    """The tables for a terminal, or for GitHub."""
    return "\n".join([f"# Evaluation\n\n{_settings(e)}\n", *(table.markdown() for table in tables(e))])


def _settings(e: Evaluation) -> str:
    return ", ".join(f"{k} {v}" for k, v in e.settings.items() if v is not None)


def _scores(what: str, rows: list[Row]) -> Table:
    heads = (what, "prompts", "pictures", "right", "95 % interval", "judge on true renders", "shuffled")
    cells = [
        (
            r.name,
            str(r.prompts),
            str(r.pictures),
            _per_cent(r.right.mean),
            f"{_per_cent(r.right.low)} to {_per_cent(r.right.high)}",
            _per_cent(r.judge),
            _per_cent(r.chance),
        )
        for r in rows
    ]
    return Table(heads, cells)


def _fidelity(f: Mapping[str, float | int | None]) -> Table:
    rows = []
    for name, meaning in MEANINGS.items():
        excess = f.get(f"{name} excess")
        rows.append((f"{name}: {meaning}", _number(f[name]), "–" if excess is None else f"{excess:+.4f}"))
    if "diversity" in f:
        spread = _number(f["diversity"]), _number(f["true diversity"])
        rows.append(("diversity: mean distance between features", *spread))
    if "fréchet" in f:
        times = float(f["fréchet"] or 0) / float(f["fréchet floor"] or math.nan)
        floor = f"{_number(f['fréchet floor'])} (× {times:.2f})"
        rows.append((f"Fréchet distance, {f['fréchet count']} pictures", _number(f["fréchet"]), floor))
    return Table(("fidelity", "measured", "true pictures, or the excess over them"), rows)


def _per_cent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.1f} %"


def _number(x: float | int | None) -> str:
    return "–" if x is None else f"{x:.4f}"


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Evaluation</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222;
background: #fff }}
.table {{ overflow-x: auto; margin: 1rem 0 }}
table {{ border-collapse: collapse }}
th, td {{ padding: .15rem .8rem; text-align: left; border-bottom: 1px solid #ddd; vertical-align: bottom }}
.number {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}
th.number {{ white-space: normal }}
section {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px }}
figure {{ margin: 0; font-size: 13px }}
img {{ width: 100%; aspect-ratio: 1; border: 4px solid #1a7f37; box-sizing: border-box; border-radius: 4px }}
.wrong img {{ border-color: #c62828; border-style: dashed }}
small {{ color: #555; display: block; font-size: 12px }}
</style>
<h1>Evaluation</h1>
<p>A solid green frame: the picture shows all that its prompt says. A dashed red one: it does not, and below it stands
what is wrong.</p>
<p>{settings}</p>
{tables}
{body}
</html>
"""


def page(e: Evaluation) -> str:
    """One HTML file with everything in it."""
    body = []
    for category in dict.fromkeys(j.prompt.category for j in e.pictures):
        figures = [_figure(j) for j in e.pictures if j.prompt.category == category]
        body.append(f"<h2>{html.escape(category)}</h2>\n<section>\n" + "\n".join(figures) + "\n</section>")
    return PAGE.format(
        settings=html.escape(_settings(e)), tables="\n".join(table.html() for table in tables(e)), body="\n".join(body)
    )


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
