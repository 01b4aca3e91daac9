"""The lessons as a web site: the executed notebooks through Sphinx and MyST-NB, nothing run again.

python -m tools.site          build/site, to be opened or put on any server
python -m tools.site FOLDER   there
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from minimagen import hub
from tools.editions import NOTEBOOKS, ROOT, Source, read, sources
from tools.lessons import paths

PAGES = ROOT / "docs" / "site"
MATHJAX = "sphinx-mathjax-offline"
LINK = re.compile(r"\[([^\]]+)\]\((?:exercises/)?(\d\d_\w+)\.ipynb\)")
EXERCISES = re.compile(r"\[([^\]]+)\]\((exercises/[^)]+\.ipynb)\)")
STILL = "*(A still of a figure that has dials or a play button in JupyterLab.)*"
INDEX = """\
# minimagen

**How does a sentence become a picture?** This course answers by building [Imagen](https://arxiv.org/abs/2205.11487) in
miniature: notebooks, and the small Python package that they build up. It runs offline, on a laptop without a GPU.

![Eight scenes of Toyland, the course's world of ray-traced toys](toyland.png)

These are the lessons as they ran, to be read without running anything. To run them, and to do the exercises, open the
notebooks in JupyterLab: `make lab` in a checkout does that.

| | Lesson | The question it answers | |
|---|---|---|---|
{rows}

```{{toctree}}
:hidden:
:caption: The lessons

{lessons}
```

```{{toctree}}
:hidden:
:caption: For teachers

teachers
```
"""


class Failed(Exception):
    """A site that could not be built, in words."""


def page(nb: NotebookNode, lessons: set[str]) -> NotebookNode:
    """A lesson as a page: answers folded, figures described, and the exercises as a file to download.

    Of links to other lessons only those stay whose lesson is a page too. What only JupyterLab can move is said to.
    """
    cells = []
    for cell in nb.cells:
        cells.append(cell)
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda link: link[0] if link[2] in lessons else link[1], cell.source)
            cell.source = EXERCISES.sub(r'<a href="\2" download>\1</a>', cell.source)
            cell.source = cell.source.replace("click its bar to see it", "click to see it")
        figures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        if len(figures) == 1 and (said := figures[0].data.get("text/plain")):
            cell.metadata["mystnb"] = {"image": {"alt": re.sub(r"^Figure[^:]*: ", "", said)}}
            if said.startswith("Figure to play with"):
                cells.append(nbformat.v4.new_markdown_cell(STILL, id=f"{cell.id}-still"))
    nb.cells = cells
    return nb


def row(source: Source) -> str:
    exercises = f'<a href="exercises/{source.name}.ipynb" download>exercises</a>' if source.exercises else ""
    return f"| {source.number} | [{source.title}]({source.name}.ipynb) | {source.question} | {exercises} |"


def stage(folder: Path, lessons: list[Source]) -> None:
    """Everything that Sphinx reads, in one folder."""
    static, download = folder / "_static", folder / "download" / "exercises"
    static.mkdir(parents=True)
    download.mkdir(parents=True)
    shutil.copyfile(PAGES / "conf.py", folder / "conf.py")
    shutil.copyfile(PAGES / "course.css", static / "course.css")
    shutil.copyfile(ROOT / "docs" / "toyland.png", folder / "toyland.png")
    shutil.copyfile(ROOT / "docs" / "teachers.md", folder / "teachers.md")
    (static / "mathjax").mkdir()
    shutil.copyfile(mathjax(), static / "mathjax" / "tex-svg.js")
    there = {source.name for source in lessons}
    for source in lessons:
        ways = paths(source.name)
        nbformat.write(page(nbformat.read(ways["lesson"], as_version=4), there), folder / f"{source.name}.ipynb")
        shutil.copyfile(ways["learner"], download / f"{source.name}.ipynb")
    rows, names = "\n".join(map(row, lessons)), "\n".join(source.name for source in lessons)
    (folder / "index.md").write_text(INDEX.format(rows=rows, lessons=names))


def mathjax() -> Path:
    """The one file that sets formulas, glyphs and all, out of the package that brings MathJax."""
    spec = find_spec(MATHJAX)
    if spec is None or spec.origin is None:
        raise Failed("Sphinx and its companions are not installed here: `make site` installs them")
    return Path(spec.origin).parent / "static" / "mathjax" / "tex-svg.js"


def build(out: Path, lessons: list[Source]) -> None:
    """The site, whole or not at all; a warning is a fault. A folder that holds anything else is left alone."""
    if out.exists() and not (out.is_dir() and ((out / "objects.inv").exists() or not any(out.iterdir()))):
        raise Failed(f"{out} is there already, and no site of ours: name a new folder")
    with tempfile.TemporaryDirectory() as work:
        staged, made = Path(work) / "source", Path(work) / "html"
        stage(staged, lessons)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", staged, made]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"Sphinx does not build the site:\n{done.stderr.strip()}")
        shutil.rmtree(made / ".doctrees", ignore_errors=True)
        hub.save_folder(out, lambda fresh: shutil.copytree(made, fresh, dirs_exist_ok=True))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "site")
    args = parser.parse_args(arguments)
    lessons = [source for source in map(read, sources()) if paths(source.name, NOTEBOOKS)["lesson"].exists()]
    try:
        build(args.folder, lessons)
    except Failed as fault:
        print(fault, file=sys.stderr)
        return 1
    size = sum(p.stat().st_size for p in args.folder.rglob("*") if p.is_file())
    print(f"{args.folder / 'index.html'}: {len(lessons)} lessons, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
