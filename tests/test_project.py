"""The project around the package: one list of dependencies, a light import, a whole wheel, honest pages."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from minimagen import resources

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = ("README.md", "CONTRIBUTING.md", "docs/teachers.md")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.M))


def tracked() -> list[Path]:
    """The files of the project: git's list in a checkout, all in the folders that ship elsewhere."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return [p for folder in ("minimagen", "tests", "data", "notebooks") for p in (ROOT / folder).rglob("*.*")]
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python(code: str, *args: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT, **options)


def dependencies(*extras: str) -> dict[str, Requirement]:
    """pyproject's own requirements by name, the project itself (as an extra's extra) left out."""
    optional = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for extra in extras for line in optional[extra]]
    found = {canonicalize_name((r := Requirement(line)).name): r for line in lines}
    found.pop(PROJECT["name"], None)
    return found


# One list of dependencies


def test_the_distribution_has_a_name_of_its_own():
    assert PROJECT["name"] == resources.DISTRIBUTION != "minimagen"


def test_conda_reads_the_one_list():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert set(conda) == {f"python{PROJECT['requires-python']}", "pip", "make"}
    constraint, editable = pip["pip"]
    assert (ROOT / constraint.removeprefix("--constraint ")).exists()
    extras = re.fullmatch(r"--editable \.\[([a-z,]+)\]", editable)[1]
    assert extras == re.search(r"^EXTRAS \?= (\S+)$", MAKEFILE, flags=re.M)[1], "make and conda install the same"
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_every_dependency_is_pinned_within_its_range():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line) for line in lines), "no local tag, no address"
    pins = dict(line.split("==") for line in lines)
    wanted = dependencies(*(set(PROJECT["optional-dependencies"]) - {"bench"}))
    assert {name for name in wanted if name not in pins} == set()
    assert {name for name, r in wanted.items() if not SpecifierSet(str(r.specifier)).contains(pins[name])} == set()


def imports(path: Path) -> set[str]:
    """Top-level names of the third-party modules a file imports, wherever in the file it does so."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"minimagen", "minimagen_course", "__future__"}


def test_what_the_package_imports_is_declared():
    providers = packages_distributions()
    declared = set(dependencies("data", "deepfloyd", "lab", "play"))
    for path in (ROOT / "minimagen").rglob("*.py"):
        for name in imports(path):
            found = {canonicalize_name(d) for d in providers.get(name, [name])}
            assert found & declared, f"{path.relative_to(ROOT)} imports {name}, which pyproject.toml does not name"


FLOORS = {
    "resources": 0, "files": 0, "schedule": 0, "layers": 0, "fused": 0, "conditioning": 0,
    "unet": 1, "unet_config": 1, "text": 1, "hub": 1, "captions": 1, "tokenizer": 1, "text_tasks": 1,
    "denoiser": 1, "toyland": 1, "images": 1,
    "sampler": 2, "muon": 2, "twins": 2, "training": 2, "objective": 2, "checkpoint": 2, "pretrain": 2, "probes": 2,
    "data": 2, "cache": 2, "pictures": 2, "deepfloyd": 2, "deepfloyd/weights": 3, "deepfloyd/pipelines": 3,
    "cascade": 3, "stored": 3, "recipes": 3, "samples": 3,
    "edit": 4, "export": 4, "show": 4, "checks": 4,
    "toyland/evaluate": 4, "toyland/sources": 4, "toyland/claims": 4,  # who examines the cascades stands above them
    "cli": 5, "options": 5, "commands": 5, "terminal": 5, "__main__": 5, "playground": 5,
}  # fmt: skip


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: what stands under `if TYPE_CHECKING:` is for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from running(node)


def rooms_above(path: Path) -> list[str]:
    """The rooms of higher floors that a file of the package imports."""
    inside = path.relative_to(ROOT / "minimagen")
    floor = FLOORS.get(inside.with_suffix("").as_posix(), FLOORS[inside.parts[0].removesuffix(".py")])
    names = []
    for node in running(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.level == len(inside.parts) or node.level == 0):
            module = (node.module or "").removeprefix("minimagen").strip(".") if node.level == 0 else node.module
            if node.level or (node.module or "").startswith("minimagen"):
                names += [module.split(".")[0]] if module else [alias.name for alias in node.names]
    return [name for name in names if FLOORS.get(name, -1) > floor]


def test_imports_go_down_only():
    files = [p for p in (ROOT / "minimagen").rglob("*.py") if p != ROOT / "minimagen" / "__init__.py"]
    homes = {p.relative_to(ROOT / "minimagen").parts[0].removesuffix(".py") for p in files}
    assert homes - set(FLOORS) == set(), "every room has its floor"
    assert {str(p.relative_to(ROOT)): above for p in files if (above := rooms_above(p))} == {}


# A light import


def test_import_is_light_and_so_is_help():
    heavy = "{m for m in sys.modules if m in {'torch', 'transformers', 'diffusers', 'matplotlib', 'numpy', 'PIL'}}"
    done = python(f"import sys, minimagen, minimagen.cli; minimagen.cli.parser().format_help(); print({heavy})")
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


def test_importing_every_module_contacts_nothing():
    code = """
import importlib, pkgutil, socket
def refuse(*args, **kwargs): raise AssertionError(f"contacted {args}")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import minimagen
for module in pkgutil.walk_packages(minimagen.__path__, "minimagen."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = python(code, env=environment)
    assert done.returncode == 0, done.stderr


# The wheel and the checkout


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_checkout_finds_its_data():
    assert resources.data_folder() == ROOT / "data"
    with pytest.raises(FileNotFoundError, match="no_such_thing does not ship with this copy of minimagen"):
        resources.data_folder("no_such_thing")


def test_without_data_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_HERE", tmp_path / "minimagen")
    with pytest.raises(FileNotFoundError, match="the shipped weights are missing.*install minimagen-course again"):
        resources.data_folder()


def test_the_wheel_holds_the_package_and_the_data(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run([*build, "-w", tmp_path, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("minimagen_course-*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert contents(site / "minimagen" / "_data") == contents(ROOT / "data")
    shipped = {p.relative_to(ROOT / "minimagen") for p in tracked() if p.is_relative_to(ROOT / "minimagen")}
    assert {p for p in shipped if not (site / "minimagen" / p).exists()} == set()
    assert {p.name for p in site.iterdir() if p.suffix != ".dist-info"} == {"minimagen", "minimagen_course.py"}

    (entries,) = site.glob("*.dist-info/entry_points.txt")
    assert "minimagen = minimagen_course:main" in entries.read_text()  # the door that can tell who is behind it

    code = "from minimagen import resources as r; import minimagen as m; print(r.data_folder()); print(m.__version__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=at(site)
    )
    folder, version = found.stdout.split()
    assert Path(folder) == site / "minimagen" / "_data"
    assert version in wheel.name


def at(site: Path) -> dict[str, str]:
    """The environment in which `site` is looked at before whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(site)}


# The other minimagen


def pretend_other(site: Path, with_package: bool) -> None:
    info = site / "minimagen-0.0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: minimagen\nVersion: 0.0.9\n")
    if with_package:
        (site / "minimagen").mkdir()
        (site / "minimagen" / "__init__.py").write_text("")


def test_the_command_says_when_another_minimagen_hides_this_one(tmp_path):
    pretend_other(tmp_path, with_package=True)
    code = f"import sys; sys.path.append({str(ROOT)!r}); import minimagen_course; sys.exit(minimagen_course.main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=at(tmp_path), cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"minimagen: another project's `minimagen` in {tmp_path / 'minimagen'} hides this one; "
        "run `pip uninstall minimagen`, then install `minimagen-course` again.\n"
    )


def test_another_minimagen_installed_alongside_is_noticed(tmp_path, monkeypatch):
    assert resources.other_minimagen() is None
    pretend_other(tmp_path, with_package=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "`minimagen` 0.0.9 is installed beside minimagen-course" in resources.other_minimagen()


# Pages and files


def test_commands_in_the_pages_exist():
    from minimagen.cli import parser

    commands = next(a.choices for a in parser()._actions if isinstance(a.choices, dict))
    for page in PAGES:
        code = "\n".join(re.findall(r"`[^`\n]+`|^ {4}.*$", (ROOT / page).read_text(), flags=re.M))
        assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= TARGETS
        assert set(re.findall(r"\bminimagen ([a-z]+)", code)) <= set(commands)
    assert {"make lab", "make test"} <= set(re.findall(r"make [a-z]+", README))


def test_every_target_but_files_is_phony_and_help_lists_it():
    rules = re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.M)
    assert len(rules) == len(TARGETS), "each target has one rule"
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.M)[1].split())
    assert phony == TARGETS
    listed = subprocess.run(["make", "-s", "-C", ROOT, "help"], capture_output=True, text=True, env=plain_make()).stdout
    assert {"lab", "test", "draw"} <= set(re.findall(r"^  make (\S+)", listed, flags=re.M))


def test_the_readme_links_the_lessons_that_exist_and_no_others():  # tools/readme.py brings it in step
    linked = set(re.findall(r"\]\((notebooks/[^)]+\.ipynb)\)", README))
    folders = (ROOT / "notebooks", ROOT / "notebooks" / "exercises")
    lessons = {p for p in tracked() if p.parent in folders and p.suffix == ".ipynb"}
    assert linked == {p.relative_to(ROOT).as_posix() for p in lessons}


def test_an_address_puts_badges_and_the_install_line_on_the_first_page():
    from tools.readme import current

    plain = current(README)
    assert plain == README, "bring it up to date: python tools/readme.py"
    assert "colab.research" not in plain and "python -m hatchling build" in plain
    page = current(plain, "https://github.com/someone/something")
    rows = re.findall(r"^\| \d\d \| \[.*$", page, flags=re.M)
    assert len(rows) == page.count("colab.research.google.com/github/someone/something/blob/main/notebooks/") > 0
    assert "pip install git+https://github.com/someone/something" in page and "hatchling" not in page
    assert current(page) == plain, "and without it they go"


def test_the_readme_says_what_ships():
    claimed = dict(re.findall(r"^\| `(\w+)/`.*\| (yes|not yet) \|$", README, flags=re.M))
    shipped = {p.relative_to(ROOT / "data").parts[0] for p in tracked() if p.is_relative_to(ROOT / "data")}
    assert claimed == {name: "yes" if name in shipped else "not yet" for name in claimed}
    measured = {
        f"{name}.json" for name in ("evaluation", "suites", "suites_256", "captions", "enlarging", "encoders", "claims")
    }
    assert shipped <= {*claimed, "tokenizer", "README.md", *measured}


def test_links_in_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
            there = (ROOT / page).parent / target
            assert target.startswith("https://") or there.exists(), f"{page} links {target}"


def test_the_public_address_stands_in_one_place():
    address = PROJECT.get("urls", {}).get("Homepage")
    assert resources.project_url() in (address, None)
    if address is None:
        assert "colab.research.google.com" not in README


def test_files_are_small():
    sizes = {p: p.stat().st_size for p in tracked()}
    assert {p.name for p, size in sizes.items() if size > 15_000_000} == set()
    assert sum(size for p, size in sizes.items() if p.is_relative_to(ROOT / "data")) <= 40_000_000
    assert sum(sizes.values()) <= 55_000_000


def test_nothing_is_unfinished_or_tied_to_one_machine():
    machine = re.compile(r"(?<![\w.~])/(?:work|root|tmp|home/[a-z]+)/\w")
    unfinished = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".json", ""}:
            for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
                picture = path.suffix == ".ipynb" and len(line) > 2000  # base64, which spells anything in time
                found = None if picture else machine.search(line) or unfinished.search(line)
                assert not found, f"{path.relative_to(ROOT)}:{number} says {found[0]!r}"


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text() and "make test" in script.read_text()


# JupyterLab


def plain_make() -> dict[str, str]:
    """The environment without what an outer make hands down."""
    return {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}


@pytest.mark.slow
def test_make_lab_answers_with_the_notebook_list(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    venv = Path(sys.prefix)
    environment = {**plain_make(), **{f"JUPYTER_{k}_DIR": str(tmp_path / k) for k in ("CONFIG", "DATA", "RUNTIME")}}
    arguments = "--no-browser --ServerApp.ip=127.0.0.1 --IdentityProvider.token=chalk --ServerApp.port_retries=0"
    # -o: take the set-up as done, for this very Python runs in it
    command = ["make", "-o", venv / ".installed", "lab", f"VENV={venv}", f"PORT={port}", f"LAB_ARGS={arguments}"]
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)

    def ask(path: str):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": "token chalk"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                ask("/api/status")
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.3)
        listed = {entry["name"] for entry in json.loads(ask("/api/contents"))["content"]}
        assert {"README.md", "minimagen", "data"} <= listed
        lessons = {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}
        if lessons:
            entries = json.loads(ask("/api/contents/notebooks"))["content"]
            assert lessons == {entry["name"] for entry in entries if entry["type"] == "notebook"}
        assert b"JupyterLab" in ask("/lab")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
