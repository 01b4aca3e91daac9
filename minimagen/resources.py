"""Where minimagen's own things are: the weights that ship with it, and the address that links are made from.

In a checkout the weights lie in `data/` beside the package; in an installed wheel they lie inside it, in
`minimagen/_data/`. This is the only place that knows.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

DISTRIBUTION = "minimagen-course"  # what pip calls this project; "minimagen" in the package index is another one
_HERE = Path(__file__).resolve().parent


def data_folder(*parts: str) -> Path:
    """The folder of the shipped weights, or something in it: `data_folder("unet_64")`."""
    inside, beside = _HERE / "_data", _HERE.parent / "data"
    folder = inside if inside.is_dir() else beside
    if not folder.is_dir():
        cure = other_minimagen() or f"install {DISTRIBUTION} again"
        raise FileNotFoundError(f"the shipped weights are missing: there is neither {inside} nor {beside}; {cure}")
    path = folder.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"{'/'.join(parts)} does not ship with this copy of minimagen: {folder} holds {_listing(folder)}"
        )
    return path


def _listing(folder: Path) -> str:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir())
    return ", ".join(names) if names else "no weights"


def project_url() -> str | None:
    """The public address, from pyproject.toml's [project.urls]; None while it has none, and then no link is shown."""
    try:
        urls = metadata.metadata(DISTRIBUTION).get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return None
    named = dict(line.split(", ", 1) for line in urls)
    return named.get("Homepage")


def other_minimagen() -> str | None:
    """One sentence if the unrelated distribution that is called `minimagen` is installed too; None if all is well.

    Both have a package of that name, so their files lie in one folder, and removing either breaks the other.
    """
    try:
        version = metadata.version("minimagen")
    except metadata.PackageNotFoundError:
        return None
    return (
        f"the unrelated package `minimagen` {version} is installed beside {DISTRIBUTION}, and their files mix; "
        f"run `pip uninstall minimagen`, then `pip install --force-reinstall --no-deps {DISTRIBUTION}`"
    )
