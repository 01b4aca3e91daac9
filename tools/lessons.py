"""Execute the lessons and write their editions; or say which of them are not current.

python -m tools.lessons               execute every lesson, and write all editions
python -m tools.lessons 01 04         these lessons alone
python -m tools.lessons --stale       those alone whose source has changed since
python -m tools.lessons --text        write what changed in words; outputs stay, where the code is the same
python -m tools.lessons --check       write nothing; exit 1 if an edition is not current
python -m tools.lessons --teacher F   nbgrader's source folder, F/source/NN_name/NN_name.ipynb
python -m tools.lessons --table       seconds and memory a lesson, as a table in Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.editions import NOTEBOOKS, ROOT, Source, dumps, edition, project_url, read, sources

MEASURED = "measured.json"
VIEW = "application/vnd.jupyter.widget-view+json"
SECONDS, MEGABYTES, LARGEST = 120, 3000, 2_000_000  # a lesson's bounds: its running time, its memory, its file
SPENT = """
import sys, time
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * 1024 if sys.platform == "darwin" else 1024)
except ImportError:
    peak = 0
print(time.process_time(), peak)
"""  # seconds of all cores together, and megabytes at most, as the lesson's own process knows them


class Failed(Exception):
    """A lesson that does not run clean, in one sentence."""


def execute(source: Source, folder: Path = NOTEBOOKS, timeout: float = 600) -> tuple[NotebookNode, dict[str, int]]:
    """The lesson's edition with its outputs, and {"seconds", "cpu_seconds", "megabytes"}.

    What runs is the teacher's edition, so that the hidden tests are held to the solutions too.
    """
    if fault := unstyled(source):
        raise Failed(f"{source.name} is not run, for its code wants another form:\n{fault}")
    ran = edition(source, "teacher")
    for cell in ran.cells:
        cell.metadata.pop("tags", None)  # here an error is an error
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, known)]))
    client = NotebookClient(ran, timeout=timeout, resources={"metadata": {"path": str(folder)}}, record_timing=False)
    start = time.monotonic()
    try:
        with client.setup_kernel():
            for number, cell in enumerate(ran.cells):
                client.execute_cell(cell, number)
            seconds = time.monotonic() - start
            ran.cells.append(spent := nbformat.v4.new_code_cell(SPENT))
            client.execute_cell(spent, len(ran.cells) - 1, store_history=False)
            ran.cells.pop()
    except CellExecutionError as error:
        raise Failed(f"{source.name} stops:\n{error}") from None
    lesson = edition(source, "lesson", url=project_url())
    codes = [[c for c in nb.cells if c.cell_type == "code"] for nb in (lesson, ran)]
    for cell, done in zip(*codes, strict=True):
        cell.execution_count, cell.outputs = done.execution_count, tidied(done.outputs)
    if fault := faults(lesson):
        raise Failed(f"{source.name}: {'; '.join(fault)}")
    cpu, peak = map(float, spent.outputs[0].text.split())
    return lesson, {"seconds": round(seconds), "cpu_seconds": round(cpu), "megabytes": round(peak / 10) * 10}


def unstyled(source: Source) -> str:
    """What ruff has against the lesson's code, before minutes are spent on running it; without ruff, nothing."""
    if (
        ruff := shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    ) is None:
        return ""
    text, name = dumps(edition(source, "lesson")), f"notebooks/{source.name}.ipynb"
    said = ""
    for command in (["check", "--quiet"], ["format", "--diff", "--quiet"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", name, "-"], input=text, cwd=ROOT, capture_output=True, text=True
        )
        said += done.stdout if done.returncode else ""
    return said


def tidied(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs as they are kept: texts joined, and of a widget what it leaves behind, for its kernel is gone."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
            continue
        if "data" in output:
            output = nbformat.from_dict({**output, "data": {k: v for k, v in output.data.items() if k != VIEW}})
        kept.append(output)
    return kept


def faults(nb: NotebookNode) -> list[str]:
    """What keeps an executed lesson from being handed out: errors, warnings, a broken count, too large a file."""
    found = []
    code = [c for c in nb.cells if c.cell_type == "code"]
    if [c.execution_count for c in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not run once each, in order")
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {cell.execution_count} ends with {output.ename}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {cell.execution_count} writes to stderr: {output.text.strip()[:200]}")
    if len(dumps(nb).encode()) > LARGEST:
        found.append(f"it has {len(dumps(nb).encode()) / 1e6:.1f} MB, and at most {LARGEST / 1e6:.0f} are allowed")
    if "widgets" in nb.metadata:
        found.append("it stores the state of widgets")
    return found


def stripped(nb: NotebookNode) -> dict[str, Any]:
    """A notebook without what running it adds."""
    bare = json.loads(dumps(nb))
    for cell in bare["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return bare


def paths(name: str, folder: Path = NOTEBOOKS) -> dict[str, Path]:
    """Where the editions lie that are handed out."""
    return {"lesson": folder / f"{name}.ipynb", "learner": folder / "exercises" / f"{name}.ipynb"}


def stale(source: Source, folder: Path = NOTEBOOKS) -> list[str]:
    """Which editions of a lesson are not current, and why."""
    found = []
    for kind, path in paths(source.name, folder).items():
        if not path.exists():
            found.append(f"{path.name} ({kind}) is missing")
            continue
        have, want = nbformat.read(path, as_version=4), edition(source, kind, url=project_url())
        if path.read_text() != dumps(have):
            found.append(f"{path.name} ({kind}) was saved by another hand: its JSON is not as it is written here")
        if stripped(have) != stripped(want):
            found.append(f"{path.name} ({kind}) is not what its source says")
        elif kind == "lesson":
            found += [f"{path.name}: {fault}" for fault in faults(have)]
        elif have != want:
            found.append(f"{path.name} ({kind}) has outputs, and learners make their own")
    return found


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def reworded(source: Source, folder: Path = NOTEBOOKS) -> NotebookNode:
    """The lesson's edition in new words with the old outputs; only where no code has changed."""
    path = paths(source.name, folder)["lesson"]
    old = nbformat.read(path, as_version=4) if path.exists() else nbformat.v4.new_notebook()
    new = edition(source, "lesson", url=project_url())
    before, after = ([c for c in nb.cells if c.cell_type == "code"] for nb in (old, new))
    if [c.source for c in before] != [c.source for c in after]:
        raise Failed(f"{source.name} has new code, so it must be run: leave out --text")
    for have, cell in zip(before, after):
        cell.outputs, cell.execution_count = have.outputs, have.execution_count
    return new


def table(folder: Path = NOTEBOOKS) -> str:
    """Seconds and memory a lesson, as Markdown."""
    measured = json.loads((folder / MEASURED).read_text())
    rows = [f"| {name[:2]} {read(path).title} | {m['seconds']} | {m['cpu_seconds']} | {m['megabytes']} |"
            for path in sources() if (m := measured.get(name := path.stem))]  # fmt: skip
    total, cpu = (sum(m[key] for m in measured.values()) for key in ("seconds", "cpu_seconds"))
    head = ["| Lesson | seconds | processor seconds | MB |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, f"| all | {total} | {cpu} | |"])


def build(source: Source, folder: Path = NOTEBOOKS, run: bool = True) -> str:
    """Write a lesson's editions; gives one line on what was done."""
    said = "reworded"
    if run:
        lesson, measured = execute(source, folder)
        file = folder / MEASURED
        known = json.loads(file.read_text()) if file.exists() else {}
        write(file, json.dumps({**known, source.name: measured}, indent=1, sort_keys=True) + "\n")
        said = f"{measured['seconds']} s ({measured['cpu_seconds']} s of processor), {measured['megabytes']} MB"
        if measured["seconds"] > SECONDS or measured["megabytes"] > MEGABYTES:
            said += f"   more than the {SECONDS} s or the {MEGABYTES} MB that a lesson may take"
    else:
        lesson = reworded(source, folder)
    ways = paths(source.name, folder)
    write(ways["lesson"], dumps(lesson))
    write(ways["learner"], dumps(edition(source, "learner", url=project_url())))
    return f"{source.name}: {said}, {ways['lesson'].stat().st_size / 1e6:.2f} MB of notebook"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="numbers or names; none = all")
    parser.add_argument("--stale", action="store_true")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args(arguments)
    if args.table:
        print(table())
        return 0
    chosen = [p for p in sources() if not args.lessons or any(p.stem.startswith(name) for name in args.lessons)]
    if unknown := [name for name in args.lessons if not any(p.stem.startswith(name) for p in chosen)]:
        print(f"no lesson is called {', '.join(unknown)}", file=sys.stderr)
        return 1
    NOTEBOOKS.mkdir(exist_ok=True)
    failed = False
    for source in map(read, chosen):
        try:
            if args.check:
                for line in (old := stale(source)):
                    print(f"{line}; run `make notebooks`", file=sys.stderr)
                failed |= bool(old)
            elif args.teacher is not None:
                nb = edition(source, "teacher")
                write(args.teacher / "source" / source.name / f"{source.name}.ipynb", dumps(nb))
            elif not args.stale or stale(source):
                print(build(source, run=not args.text), flush=True)
        except (Failed, ValueError) as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
