"""A lesson alone: one notebook in an empty folder, in a fresh environment with the wheel and nothing of this checkout.

As in Colab, torch and numpy are there before, and newer than those of the tests. What else is there is what the wheel's
own metadata asks for, link by link, and no package more: a dependency that nobody declared is missed here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("jupytext", reason="`make setup` installs jupytext")
pytest.importorskip("hatchling", reason="`make setup` installs hatchling")
from nbclient import NotebookClient
from packaging.specifiers import SpecifierSet

from minimagen.resources import DISTRIBUTION
from tools import editions, lessons, pins

ROOT = Path(__file__).parents[1]
SOURCES = {path.stem: editions.read(path) for path in editions.sources()}
NEWER = {"torch": "2.99.0", "numpy": "2.99.0"}  # as pip sees them: the same files under a version yet to come


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist and the wheel, as they would be published."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


def link(name: str, site: Path) -> None:
    """A distribution in another environment, by links; a newer version is said in a copy of its metadata."""
    found = distribution(name)
    home = Path(str(found.locate_file("")))
    tops = {str(path).split("/")[0] for path in found.files or []} - {"..", "__pycache__", "bin"}
    for top in tops:
        if (home / top).exists() and not (site / top).exists():
            (site / top).symlink_to(home / top)
    if version := NEWER.get(name):
        (info,) = (site / top for top in tops if top.endswith(".dist-info"))
        copy = site / f"{name}-{version}.dist-info"
        shutil.copytree(info, copy)
        info.unlink()
        told = (copy / "METADATA").read_text()
        (copy / "METADATA").write_text(re.sub(r"^Version: .*$", f"Version: {version}", told, count=1, flags=re.M))


class Fresh:
    """An environment of its own, and kernels in it."""

    def __init__(self, folder: Path):
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.site = (
            folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        )
        kernel = folder / "jupyter" / "kernels" / "fresh"
        kernel.mkdir(parents=True)
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "fresh", "language": "python"}))
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        self.env |= {"JUPYTER_PATH": str(folder / "jupyter"), "HF_HUB_OFFLINE": "1", "PYTHONNOUSERSITE": "1"}

    def clean(self) -> dict[str, str]:
        """For pip: the machine's own settings, such as constraints on torch, are not what is tested."""
        return {k: v for k, v in self.env.items() if not k.startswith("PIP_")} | {"PIP_CONFIG_FILE": os.devnull}

    def pip(self, *arguments) -> subprocess.CompletedProcess:
        return run(sys.executable, "-m", "pip", "--python", self.python, *arguments, env=self.clean())

    def execute(self, nb, folder: Path, monkeypatch, errors: bool = False):
        for name in set(os.environ) - set(self.env):
            monkeypatch.delenv(name)
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        resources = {"metadata": {"path": str(folder)}}
        options = {"resources": resources, "allow_errors": errors, "store_widget_state": False}
        NotebookClient(nb, kernel_name="fresh", timeout=600, **options).execute()
        return nb


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A kernel, and no minimagen."""
    fresh = Fresh(tmp_path_factory.mktemp("bare"))
    for name in pins.closure(["ipykernel"]):
        link(name, fresh.site)
    return fresh


@pytest.fixture(scope="module")
def colab(tmp_path_factory, dist):
    """Everything that the wheel asks for, a kernel, and then the wheel."""
    fresh = Fresh(tmp_path_factory.mktemp("colab"))
    project = editions.tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in pins.closure([*project["dependencies"], "ipykernel"]):
        link(name, fresh.site)
    (wheel,) = dist.glob("*.whl")
    done = fresh.pip("install", "--no-index", "--no-cache-dir", wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    fresh.said = done.stdout
    return fresh


def setup(name: str) -> str:
    cells = editions.edition(SOURCES[name], "learner").cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


def cells(*codes: str):
    return nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, codes)))


def errors(nb) -> list[str]:
    return [o.evalue for c in nb.cells for o in c.get("outputs", []) if o.output_type == "error"]


def printed(nb) -> str:
    return "".join(o.text for o in nb.cells[-1].outputs if o.output_type == "stream")


def cheapest() -> str:
    measured = json.loads((editions.NOTEBOOKS / lessons.MEASURED).read_text())
    return min((name for name in measured if name in SOURCES), key=lambda name: measured[name]["cpu_seconds"])


# What is published


def test_the_sdist_gives_the_same_wheel(dist, tmp_path):
    (archive,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=folder)
    assert done.returncode == 0, done.stderr
    (again,) = tmp_path.glob("*.whl")
    first, second = (zipfile.ZipFile(path) for path in (wheel, again))
    assert {i.filename: i.CRC for i in first.infolist()} == {i.filename: i.CRC for i in second.infolist()}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_pip_takes_the_wheel_for_every_python(dist, tmp_path, python):
    (wheel,) = dist.glob("*.whl")
    wanted = ["--python-version", python, "--only-binary=:all:", "--no-deps", "--no-index", "--target", tmp_path]
    done = run(sys.executable, "-m", "pip", "install", "--dry-run", *wanted, wheel)
    assert done.returncode == 0 and f"Would install {DISTRIBUTION}" in done.stdout, done.stderr


def test_the_wheel_says_which_python_it_needs(dist):
    """Read from the wheel itself: for a wheel given by its path, an older pip does not heed --python-version."""
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = message_from_bytes(archive.read(name))
    takes = SpecifierSet(told["Requires-Python"])
    assert "3.11.0" in takes and "3.13.5" in takes and "3.10.14" not in takes


# A lone notebook


def test_only_the_course_is_installed_and_nothing_is_replaced(colab):
    assert colab.said.splitlines()[-1].startswith(f"Successfully installed {DISTRIBUTION}-")
    assert len(colab.said.splitlines()[-1].split()) == 3, "one package, and no other"
    for name, version in NEWER.items():
        assert [p.name for p in colab.site.glob(f"{name}-*.dist-info")] == [f"{name}-{version}.dist-info"]


@pytest.mark.slow
def test_a_lesson_runs_alone(colab, tmp_path, monkeypatch):
    name = cheapest()
    path = tmp_path / f"{name}.ipynb"
    shutil.copyfile(lessons.paths(name)["lesson"], path)
    nb = nbformat.read(path, as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell("import torch\nprint(mi.__file__, torch.__file__, sep='\\n')"))
    colab.execute(nb, tmp_path, monkeypatch)
    ours, torch = map(Path, printed(nb).split())
    assert ours.is_relative_to(colab.site) and torch.is_relative_to(colab.site)
    assert lessons.faults(nbformat.from_dict({**nb, "cells": nb.cells[:-1]})) == []
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "and leaves nothing behind"


@pytest.mark.slow
def test_every_lesson_starts_alone(colab, tmp_path, monkeypatch):
    nb = colab.execute(cells(*map(setup, SOURCES)), tmp_path, monkeypatch, errors=True)
    assert errors(nb) == []
    for name, cell in zip(SOURCES, nb.cells):
        assert any("image/png" in o.get("data", {}) for o in cell.outputs), f"{name} opens with a picture"


@pytest.mark.parametrize("name", SOURCES)
def test_no_lesson_reads_a_file_of_the_checkout(name):
    code = "\n".join(cell.source for cell in SOURCES[name].cells if cell.cell_type == "code")
    assert not re.search(r"""["'](?:\.\./|data/|docs/|notebooks/|lessons/|tests/)""", code)


# What is missing is said


def test_without_the_package_the_first_cell_says_what_to_do(bare, tmp_path, monkeypatch):
    (said,) = errors(bare.execute(cells(setup("01_forward_noise")), tmp_path, monkeypatch, errors=True))
    assert said.startswith("this kernel has no minimagen: run `make lab`, or install the course's wheel")


def test_another_minimagen_is_not_taken_for_this_one(bare, tmp_path, monkeypatch):
    (tmp_path / "minimagen").mkdir()
    (tmp_path / "minimagen" / "__init__.py").write_text("checks = show = None")
    (said,) = errors(bare.execute(cells(setup("01_forward_noise")), tmp_path, monkeypatch, errors=True))
    assert said.startswith("this kernel has no minimagen")


def test_another_minimagen_beside_this_one_is_named(colab, tmp_path, monkeypatch):
    info = tmp_path / "minimagen-0.0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: minimagen\nVersion: 0.0.9\n")
    (said,) = errors(colab.execute(cells(setup("01_forward_noise")), tmp_path, monkeypatch, errors=True))
    assert "the unrelated package `minimagen` 0.0.9 is installed beside minimagen-course" in said


def test_without_data_the_lesson_says_so(colab, tmp_path, monkeypatch):
    data, away = colab.site / "minimagen" / "_data", tmp_path / "away"
    shutil.move(data, away)
    try:
        code = "from minimagen.resources import data_folder\ndata_folder('text_encoder')"
        (said,) = errors(colab.execute(cells(code), tmp_path, monkeypatch, errors=True))
        assert "the shipped weights are missing" in said and "install minimagen-course again" in said
    finally:
        shutil.move(away, data)


def test_in_colab_the_first_cell_installs_what_is_missing(monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    nb = editions.edition(SOURCES["01_forward_noise"], "learner", url="https://github.com/someone/something")
    door = next(c.source for c in nb.cells if c.cell_type == "code").split("\n\nimport", 1)[0]
    called = []

    class Shell:
        def __str__(self):
            return "<google.colab._shell.Shell object at 0x7c>"

        def run_line_magic(self, *arguments):
            called.append(arguments)

    shell = Shell()
    for there in (True, False):
        space = {"get_ipython": lambda: shell}
        code = (
            TransformerManager()
            .transform_cell(door)
            .replace("from importlib.util import find_spec", f"find_spec = lambda name: {there or None}")
        )
        if there:
            exec(code, space)
            assert called == []
        else:
            with pytest.raises(ImportError, match="no minimagen"):
                exec(code, space)
    assert called == [("pip", "install -q git+https://github.com/someone/something")]


# Python 3.11 to 3.13


def interpreters() -> dict[str, Path]:
    """The Pythons of this machine, of those that the course is for."""
    found: dict[str, Path] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in (11, 12, 13):
        name = f"3.{minor}"
        candidates = [*filter(None, [shutil.which(f"python{name}")]), *pyenv.glob(f"{name}.*/bin/python")]
        for path in candidates:
            if run(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").stdout.strip() == name:
                found[name] = Path(path)
    return found


CHECK = """
import sys, warnings
warnings.simplefilter("error")
for line in sys.stdin:
    path = line.strip()
    compile(open(path, encoding="utf-8").read(), path, "exec")
import minimagen, minimagen_course
assert minimagen_course.wrong_minimagen() is None
print(minimagen.__version__)
"""


def test_every_python_of_this_machine_can_read_the_course(tmp_path):
    files = [p for folder in ("minimagen", "tools", "tests") for p in (ROOT / folder).rglob("*.py")]
    for name in SOURCES:
        code = "\n\n".join(c.source for c in editions.edition(SOURCES[name], "teacher").cells if c.cell_type == "code")
        (tmp_path / f"{name}.py").write_text(re.sub(r"^(\s*)%.*$", r"\1pass", code, flags=re.M))
        files.append(tmp_path / f"{name}.py")
    pythons = interpreters()
    assert pythons, "at least the one that runs the tests"
    for name, python in pythons.items():
        said = subprocess.run(
            [python, "-c", CHECK], input="\n".join(map(str, files)), capture_output=True, text=True, cwd=ROOT
        )
        assert said.returncode == 0, f"Python {name}: {said.stderr}"


def test_the_metadata_names_the_pythons(dist):
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = archive.read(name).decode()
    assert "Requires-Python: >=3.11" in told
    named = re.findall(r"^Classifier: Programming Language :: Python :: (3\.\d+)$", told, flags=re.M)
    assert named == ["3.11", "3.12", "3.13"]
