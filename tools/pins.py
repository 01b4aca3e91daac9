"""Write constraints.txt: every package that pyproject.toml's dependencies reach, at the version installed here.

Local tags such as `+cpu` are left off, because only some indexes carry them; a pin without one accepts any of them.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HEADER = """\
# What the tests ran with, for `pip install -c constraints.txt`. `make pins` writes it; edit pyproject.toml instead.
"""


def closure(requirements: list[str]) -> dict[str, str]:
    """Distribution name → version, for everything these requirements reach on this machine."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            dist = distribution(requirement.name)
        except PackageNotFoundError:
            raise SystemExit(f"{requirement.name} is not installed here; run `make setup` first.") from None
        name = canonicalize_name(dist.metadata["Name"])
        found[name] = dist.version.split("+")[0]
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                todo += [(Requirement(line), wanted) for line in dist.requires or []]
    return found


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "bench"}
    lines = project["dependencies"] + [line for group in extras.values() for line in group]
    lines = [line for line in lines if not re.match(project["name"], line)]
    pins = closure(lines)
    text = HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    (ROOT / "constraints.txt").write_text(text)
    print(f"constraints.txt: {len(pins)} pins")


if __name__ == "__main__":
    main()
