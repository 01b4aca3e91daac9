"""Is everything here? Python, PyTorch, the package and its weights, what draws widgets, and what stands in the way."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import torch

from minimagen import __version__, resources
from minimagen.deepfloyd import memory
from minimagen.toyland.scene import WORLD_VERSION

WEIGHTS = {
    "text_encoder": "T5, which reads the sentence",
    "unet_64": "the first stage, 64 px",
    "unet_256": "the second, 256 px",
    "unet_1024": "the third, 1024 px",
    "judge": "the judge, which reads pictures",
}
LIBRARIES = {"transformers": "T5's own code", "diffusers": "for lesson 10", "ipywidgets": "sliders and films"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. advice: what to do where it is not fine."""

    what: str
    found: str
    fine: bool = True
    advice: str = ""


@dataclass(frozen=True)
class Environment:
    """All that was found; a table in a notebook, lines of text elsewhere."""

    findings: tuple[Finding, ...]

    @property
    def fine(self) -> bool:
        """Whether the course can run here."""
        return all(finding.fine for finding in self.findings)

    def _verdict(self) -> str:
        missing = sum(not finding.fine for finding in self.findings)
        return "All is here: you can begin." if not missing else f"{missing} of these want your attention first."

    def __repr__(self) -> str:
        width = max(len(f.what) for f in self.findings)
        lines = [f"{mark(f)} {f.what:{width}}  {said(f)}" for f in self.findings]
        return "\n".join([*lines, self._verdict()])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='color:{'#009E73' if f.fine else '#D55E00'}; font-weight:bold'>{mark(f)}</td>"
            f"<td style='text-align:left'>{html.escape(f.what)}</td>"
            f"<td style='text-align:left'>{html.escape(said(f))}</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table><p><b>{self._verdict()}</b></p>"


def mark(finding: Finding) -> str:
    return "✓" if finding.fine else "✗"


def said(finding: Finding) -> str:
    return finding.found if finding.fine or not finding.advice else f"{finding.found}: {finding.advice}"


def environment() -> Environment:
    """What the course needs, and whether it is here."""
    return Environment((*_machine(), *_weights(), *map(_library, LIBRARIES), _other()))


def _machine() -> Sequence[Finding]:
    python, cuda = platform.python_version(), torch.cuda.is_available()
    new = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name(0) if cuda else f"{threads} processor thread{'s' * (threads > 1)}"
    free = memory.available(torch.device("cpu"))
    return (
        Finding("Python", python, new, "minimagen needs 3.11 or later"),
        Finding("PyTorch", f"{torch.__version__}, on {where}"),
        Finding("memory", f"{memory.gb(free)} free", free > 2e9, "close what you can: some lessons need 2 GB"),
        Finding("minimagen", f"{__version__}, Toyland version {WORLD_VERSION}"),
    )


def _weights() -> Sequence[Finding]:
    found = []
    for name, what in WEIGHTS.items():
        try:
            size = sum(path.stat().st_size for path in resources.data_folder(name).iterdir())
        except FileNotFoundError:
            found.append(Finding(what, "missing", False, f"install {resources.DISTRIBUTION} again"))
        else:
            found.append(Finding(what, f"data/{name}/, {memory.gb(size)}"))
    return found


def _library(name: str) -> Finding:
    try:
        return Finding(name, f"{metadata.version(name)}, {LIBRARIES[name]}")
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", False, f"pip install {name}")


def _other() -> Finding:
    """The unrelated package of the same name, which must not be here."""
    if (cure := resources.other_minimagen()) is None:
        return Finding("the other minimagen", "not installed, and so not in the way")
    return Finding("the other minimagen", "installed", False, cure)
