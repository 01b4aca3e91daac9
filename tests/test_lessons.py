"""The lessons: every edition is what its source says, whole, linked, and free of what it must not hand out."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from minimagen import checks

pytest.importorskip("jupytext")
from classroom import names

from tools import assignments, editions, lessons

ROOT = Path(__file__).parents[1]
SOURCES = {path.stem: editions.read(path) for path in editions.sources()}
every_lesson = pytest.mark.parametrize("name", SOURCES)
every_edition = pytest.mark.parametrize(("name", "kind"), [(n, k) for n in SOURCES for k in ("lesson", "learner")])

SMALL = '''\
---
lesson:
  title: A small one
  question: Does it work?
---

# 01 · A small one

Look.

```{code-cell} ipython3
:setup: true

from minimagen import checks
```

## Your turn

<details><summary>Hint</summary>

Multiply.

</details>

```{code-cell} ipython3
:exercise: forward_jump

def forward_jump(x, t, eps, schedule):
    """z = α(t) x + σ(t) ε"""
    ### BEGIN SOLUTION
    alpha, sigma = schedule(t, like=x)
    return alpha * x + sigma * eps
    ### END SOLUTION
```

```{code-cell} ipython3
:check: forward_jump
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]

print("one", end=" ")
print("two")
```
'''


@pytest.fixture
def small(tmp_path):
    """A lesson that is nobody's, in a folder of its own."""

    def write(text=SMALL, name="01_forward_noise"):
        path = tmp_path / "lessons" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return editions.read(path)

    return write


def code(nb):
    return [c for c in nb.cells if c.cell_type == "code"]


def words(nb) -> str:
    return "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")


def notebook(name: str, kind: str):
    return nbformat.read(lessons.paths(name)[kind], as_version=4)


# What is handed out


@every_lesson
def test_editions_are_current(name):
    assert lessons.stale(SOURCES[name]) == []


def test_nothing_else_lies_among_the_notebooks():
    for folder, kind in ((editions.NOTEBOOKS, "lesson"), (editions.NOTEBOOKS / "exercises", "learner")):
        assert {p.name for p in folder.glob("*.ipynb")} == {lessons.paths(name)[kind].name for name in SOURCES}
        assert {p.suffix for p in folder.iterdir() if p.is_file()} <= {".ipynb", ".json"}


@every_lesson
def test_executed_lessons_ran_clean_and_are_small(name):
    assert lessons.faults(notebook(name, "lesson")) == []
    assert lessons.paths(name)["lesson"].stat().st_size < lessons.LARGEST


@every_lesson
def test_no_lesson_takes_too_long_or_too_much(name):
    measured = json.loads((editions.NOTEBOOKS / lessons.MEASURED).read_text())[name]
    assert measured["cpu_seconds"] <= lessons.SECONDS and measured["megabytes"] <= lessons.MEGABYTES


@every_lesson
def test_a_lesson_has_every_part_of_a_lesson(name):
    text = words(editions.edition(SOURCES[name], "lesson"))
    for part in ("**By the end you can**", "minutes", "Seen in the wild", "In the paper", "Recap", "One step further"):
        assert part in text, f"{name} has no {part!r}"
    assert text.count("**Predict.**") >= 3
    assert 2 <= len(SOURCES[name].exercises) <= 4
    first = editions.edition(SOURCES[name], "lesson").cells
    assert first[0].cell_type == "markdown" and first[1].cell_type == "code", "a picture and a question first"
    assert f"**{SOURCES[name].question}**" in first[0].source
    assert "import minimagen as mi" in first[1].source
    folded = re.findall(r"<details>", text[text.index("Recap") :])
    assert len(folded) >= 3, "questions with folded answers"
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")


@every_lesson
def test_a_lesson_has_figures_with_captions_and_something_to_play_with(name):
    outputs = [o for c in code(notebook(name, "lesson")) for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(outputs) >= 5
    for output in outputs:
        assert re.match(r"Figure( to play with \([a-z_, ]+\))?: \S", "".join(output.data["text/plain"])), "a caption"
    assert any("to play with" in "".join(o.data["text/plain"]) for o in outputs)


@every_lesson
def test_exercises_are_those_of_the_checks_in_their_order(name):
    source = SOURCES[name]
    assert source.exercises == [e.name for e in checks.exercises(name)]
    graded = [c.metadata["check"] for c in source.cells if "check" in c.metadata]
    assert graded == source.exercises, "each exercise is followed by its check"


@every_edition
def test_links_between_notebooks_lead_somewhere(name, kind):
    path = lessons.paths(name)[kind]
    for target in re.findall(r"\]\(([^)]+)\)", words(notebook(name, kind))):
        assert target.startswith("https://") or (path.parent / target.partition("#")[0]).exists(), target


@every_edition
def test_files_that_the_text_names_exist(name, kind):
    for target in re.findall(r"`(minimagen/[a-z_/]+\.py)`", words(notebook(name, kind))):
        assert (ROOT / target).exists(), target


AMERICAN = (
    r"\b(colors?|colored|gray|behaviors?|centers?|centered|neighbors?|favor|favorite|modeling|labeled|artifacts?)\b"
)
SLIPS = r"\b(teh|recieve|seperate|occured|wich|adress|untill|begining|grammer|definately|the the|a a|is is|of of)\b"


@every_lesson
def test_the_text_is_spelled_one_way(name):
    text = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", " ", words(editions.edition(SOURCES[name], "lesson")), flags=re.S)
    captions = " ".join(re.findall(r'caption="([^"]*)"', SOURCES[name].path.read_text()))
    assert re.findall(AMERICAN, f"{text} {captions}") == []
    assert re.findall(SLIPS, f"{text} {captions}", flags=re.I) == []


@every_lesson
def test_an_exercise_that_was_skipped_breaks_nothing(name):
    """Nobody reads a learner's function but its check and `ready`, which gives the right one in its place."""
    source = SOURCES[name]
    for exercise in source.exercises:
        ready = f"checks.{exercise}.ready({exercise})"
        cells = [c for c in source.cells if c.cell_type == "code" and c.metadata.get("exercise") != exercise]
        assert any(ready in c.source for c in cells), f"{exercise} goes to work after its check"
        for cell in cells:
            defined, read = names(cell.source.replace(ready, "None"))
            assert exercise not in read - defined, f"{exercise} is read by\n{cell.source}"


@every_lesson
def test_hints_unfold_in_steps(name):
    cells = SOURCES[name].cells
    for text, cell in zip(cells, cells[1:]):
        if exercise := cell.metadata.get("exercise"):
            wanted = 1 if getattr(checks, exercise).level == 1 else 2
            assert text.source.count("<summary>Hint") >= wanted, f"{exercise} has {wanted} hints or more"


# What must not be handed out


def test_the_exercises_give_nothing_away_in_metadata_or_beside():
    assert assignments.leaks(editions.NOTEBOOKS / "exercises", list(SOURCES.values())) == []


@every_lesson
def test_the_learners_edition_has_no_solution_and_no_hidden_test(name):
    text = lessons.paths(name)["learner"].read_text()
    held = "\n".join(c.source for c in notebook(name, "learner").cells)
    for line in assignments.answers(SOURCES[name]):
        assert line not in held, f"{line!r} gives an answer away"
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", ".again(", "jupytext"):
        assert mark not in text
    assert held.count("# YOUR CODE HERE\n    raise NotImplementedError()") == len(SOURCES[name].exercises)
    assert all(not c.outputs and c.execution_count is None for c in code(notebook(name, "learner")))


@every_lesson
def test_nbgrader_makes_the_same_learners_edition(name):
    pytest.importorskip("nbgrader")
    from nbgrader.nbgraderformat.v3 import MetadataValidatorV3
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    teacher, learner = (editions.edition(SOURCES[name], kind) for kind in ("teacher", "learner"))
    for tool in (ClearSolutions(), ClearHiddenTests()):
        teacher, _ = tool.preprocess(teacher, {})
    assert [c.source.strip() for c in code(teacher)] == [c.source.strip() for c in code(learner)]
    for nb in (teacher, learner):
        for cell in nb.cells:
            MetadataValidatorV3().validate_cell(cell)
    graded = [c.metadata.nbgrader for c in code(learner) if c.metadata.get("nbgrader", {}).get("grade")]
    assert [m.points for m in graded] == [e.points for e in checks.exercises(name)]
    assert all(m.locked and not m.solution and m.schema_version == 3 for m in graded)
    ids = [c.metadata.nbgrader.grade_id for c in code(learner) if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids)) == 2 * len(graded)


@pytest.mark.slow
def test_the_bare_stub_fails_at_exactly_the_graded_cells(tmp_path):
    from nbclient import NotebookClient

    nb = editions.edition(SOURCES["01_forward_noise"], "learner")
    NotebookClient(nb, timeout=600, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    failed = {
        c.metadata.get("nbgrader", {}).get("grade_id")
        for c in code(nb)
        if any(o.output_type == "error" for o in c.outputs)
    }
    assert failed == {f"check_{name}" for name in SOURCES["01_forward_noise"].exercises}
    said = "\n".join(line for c in code(nb) for o in c.outputs for line in o.get("traceback", []))
    assert said.count("It is still the stub") == len(failed) and "Traceback" not in said


# The tool


def test_the_three_editions_of_a_small_lesson(small):
    source = small()
    lesson, learner, teacher = (editions.edition(source, kind) for kind in editions.EDITIONS)
    solved, stub, marked = (next(c for c in code(nb) if "nbgrader" in c.metadata) for nb in (lesson, learner, teacher))
    head = 'def forward_jump(x, t, eps, schedule):\n    """z = α(t) x + σ(t) ε"""\n'
    assert solved.source == f"{head}    alpha, sigma = schedule(t, like=x)\n    return alpha * x + sigma * eps"
    assert stub.source == f"{head}    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert "### BEGIN SOLUTION" in marked.source
    assert solved.metadata["jupyter"] == {"source_hidden": True}
    graded = [code(nb)[2] for nb in (lesson, learner, teacher)]
    assert [c.source for c in graded[:2]] == ["checks.forward_jump(forward_jump)"] * 2
    assert "checks.forward_jump.again(forward_jump, seed=20)" in graded[2].source
    assert graded[1].metadata["editable"] is graded[1].metadata["deletable"] is False
    assert "raises-exception" in graded[1].metadata["tags"] and "tags" not in graded[0].metadata
    assert "*Exercise 1 of 1 · ●○○ a warm-up · about 5 minutes · 2 points*" in words(learner)
    assert "[the lesson with its answers](../01_forward_noise.ipynb)" in words(learner)
    assert "[do the exercises yourself](exercises/01_forward_noise.ipynb)" in words(lesson)
    assert code(lesson)[3].metadata["tags"] == ["nbval-ignore-output"]
    assert lesson.metadata["minimagen"] == {
        "edition": "lesson",
        "lesson": source.name,
        "source": f"sha256:{source.digest}",
    }
    with pytest.raises(ValueError, match="an edition is one of"):
        editions.edition(source, "other")


def test_ids_are_stable_across_editions_and_edits(small):
    def ids(source, kind="lesson"):
        return [c["id"] for c in editions.edition(source, kind).cells]

    before = ids(small())
    assert before == ids(small()) and len(set(before)) == len(before)
    assert before[:6] == ids(small(), "learner")[:6]
    after = ids(small(SMALL.replace("Look.", "Look.\n\n+++\n\nLook again.").replace("alpha * x +", "x * alpha +")))
    assert set(before[1:]) <= set(after), "a new cell and a new solution change no other cell's id"
    twice = ids(small(SMALL.replace("Look.", "Look.\n\n+++\n\nSame.\n\n+++\n\nSame.")))
    assert len(set(twice)) == len(twice)


def test_json_is_the_same_each_time(small):
    first, second = (editions.dumps(editions.edition(small(), "lesson")) for _ in range(2))
    assert first == second and first.endswith("}\n")


def test_neighbours_are_linked(small, tmp_path):
    nb = editions.edition(small(), "lesson", others=("00_start_here", "01_forward_noise", "02_t5_embeddings"))
    for cell in (nb.cells[0], nb.cells[-1]):
        assert "[← 00 start here](00_start_here.ipynb)" in cell.source
        assert "[02 t5 embeddings →](02_t5_embeddings.ipynb)" in cell.source


def test_an_address_gives_colab_its_line_and_its_link(small):
    url = "https://github.com/someone/something"
    plain, nb = (editions.edition(small(), "lesson", url=u) for u in (None, url))
    assert "colab" not in editions.dumps(plain)
    setup = code(nb)[0].source
    asked = 'if "google.colab" in str(get_ipython()) and find_spec("minimagen_course") is None:'
    assert f"{asked}\n    %pip install -q git+{url}\n" in setup
    assert "colab.research.google.com/github/someone/something/blob/main/notebooks/01_forward_noise.ipynb" in words(nb)
    elsewhere = editions.edition(small(), "lesson", url="https://example.org/minimagen")
    assert "open in Colab" not in words(elsewhere) and "%pip" in code(elsewhere)[0].source
    if ruff := shutil.which("ruff", path=str(Path(sys.executable).parent)):
        for what in (["check"], ["format", "--check"]):
            command = [ruff, *what, "--stdin-filename", "notebooks/x.ipynb", "-"]
            done = subprocess.run(command, input=editions.dumps(nb), cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    ### END SOLUTION\n", "", "BEGIN SOLUTION has no end"),
        ("    ### BEGIN SOLUTION\n", "", "has no ### BEGIN SOLUTION"),
        ("    ### END SOLUTION", "    ### BEGIN SOLUTION", "stands inside another"),
        ("    ### BEGIN SOLUTION\n", "    ### BEGIN SOLUTION\n    ### END SOLUTION\n", "END SOLUTION has no beginning"),
        (":exercise: forward_jump", ":exercise: no_such", "has no exercise no_such"),
        (":check: forward_jump", ":check: Case", "has no exercise Case"),
        ("<details>", "<p>", "no hints that unfold"),
        ("## Your turn", "Your turn", "has no heading"),
        ("# 01 · A small one", "# A small one", "begins with '# A small one'"),
        ("  title: A small one\n", "", "lacks `lesson: {title: …}`"),
    ],
)
def test_faults_of_a_source_are_named(small, old, new, says):
    assert old in SMALL
    with pytest.raises(ValueError, match=re.escape(says)):
        editions.edition(small(SMALL.replace(old, new, 1)), "learner")


def test_an_exercise_belongs_to_its_lesson(small):
    with pytest.raises(ValueError, match="belongs to 01_forward_noise, and 02_other asks for it"):
        editions.edition(small(SMALL.replace("# 01", "# 02"), "02_other"), "learner")


@pytest.mark.slow
def test_building_checking_and_rewording_a_small_lesson(small, tmp_path, capsys):
    folder, source = tmp_path / "notebooks", small()
    folder.mkdir()
    assert [line.split(" (")[0] for line in lessons.stale(source, folder)] == ["01_forward_noise.ipynb"] * 2
    said = lessons.build(source, folder)
    assert re.match(r"01_forward_noise: \d+ s \(\d+ s of processor\), \d+ MB, 0.\d\d MB of notebook", said)
    assert lessons.stale(source, folder) == []
    measured = json.loads((folder / lessons.MEASURED).read_text())["01_forward_noise"]
    assert 100 < measured["megabytes"] < 2000 and measured["seconds"] < 300
    path = lessons.paths(source.name, folder)["lesson"]
    cells = code(nbformat.read(path, as_version=4))
    assert [c.execution_count for c in cells] == [1, 2, 3, 4]
    assert [o.text for o in cells[3].outputs] == ["one two\n"]
    assert cells[2].outputs[0].text.startswith("✓ forward_jump"), "the hidden test says nothing"

    text = path.read_text()
    for old, new in (("Look.", "Look!"), ("one two", "one  two"), ('"execution_count": 4', '"execution_count": 5')):
        path.write_text(text.replace(old, new))
        if old != "one two":  # outputs are nbval's to compare
            assert any("01_forward_noise.ipynb" in line for line in lessons.stale(source, folder)), old
    path.write_text(text)

    new_words = small(SMALL.replace("Look.", "Look again."))
    assert len(lessons.stale(new_words, folder)) == 2
    assert "reworded" in lessons.build(new_words, folder, run=False)
    assert lessons.stale(new_words, folder) == []
    assert code(nbformat.read(path, as_version=4))[3].outputs == cells[3].outputs
    with pytest.raises(lessons.Failed, match="new code, so it must be run"):
        lessons.build(small(SMALL.replace('"two"', '"three"')), folder, run=False)

    wrong = small(SMALL.replace("alpha * x", "alpha**2 * x"))
    before = path.read_bytes()
    with pytest.raises(lessons.Failed, match=r"(?s)stops:.*forward_jump: not yet"):
        lessons.build(wrong, folder)
    assert path.read_bytes() == before, "a lesson that stops leaves the old one"
    loud = small(SMALL.replace('print("two")', 'import warnings\n\nwarnings.warn("careful", stacklevel=1)'))
    with pytest.raises(lessons.Failed, match="cell 4 writes to stderr.*careful"):
        lessons.build(loud, folder)
    with pytest.raises(lessons.Failed, match="wants another form"):
        lessons.build(small(SMALL.replace('print("two")', "print( 'two' )")), folder)


def test_outputs_are_tidied():
    out = nbformat.v4.new_output
    view = {lessons.VIEW: {"model_id": "1"}, "text/plain": "Figure to play with", "image/png": "aa"}
    stream = [out("stream", name="stdout", text=t) for t in ("a", "b")]
    kept = lessons.tidied([*stream, out("stream", name="stderr", text="c"), out("display_data", data=view)])
    assert [o.get("text") for o in kept] == ["ab", "c", None]
    assert kept[2].data == {"text/plain": "Figure to play with", "image/png": "aa"}


def test_faults_of_an_executed_lesson_are_found():
    new, out = nbformat.v4.new_code_cell, nbformat.v4.new_output
    nb = nbformat.v4.new_notebook(cells=[new("1", execution_count=2)])
    nb.cells[0].outputs = [out("error", ename="ValueError", evalue="", traceback=[])]
    assert lessons.faults(nb) == ["its cells were not run once each, in order", "cell 2 ends with ValueError"]
    nb = nbformat.v4.new_notebook(cells=[new("1", execution_count=1)], metadata={"widgets": {}})
    nb.cells[0].outputs = [out("display_data", data={"image/png": "a" * lessons.LARGEST})]
    assert lessons.faults(nb) == ["it has 2.0 MB, and at most 2 are allowed", "it stores the state of widgets"]


def test_the_command(capsys, tmp_path):
    assert lessons.main(["--check"]) == 0, capsys.readouterr().err
    assert lessons.main(["99"]) == lessons.main(["--check", "01", "99"]) == 1
    assert "no lesson is called 99" in capsys.readouterr().err
    assert lessons.main(["--table"]) == 0
    assert re.search(r"\| 01 Forward noise \| \d+ \| \d+ \| \d+ \|", capsys.readouterr().out)
    assert lessons.main(["01", "--teacher", str(tmp_path)]) == 0
    nb = nbformat.read(tmp_path / "source" / "01_forward_noise" / "01_forward_noise.ipynb", as_version=4)
    assert "### BEGIN HIDDEN TESTS" in editions.dumps(nb)
