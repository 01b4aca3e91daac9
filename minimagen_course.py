"""The door of the `minimagen` command. It opens before `import minimagen`, to say when another one stands in its place.

The package index has an unrelated project whose distribution is called `minimagen` (AssemblyAI's MinImagen). Where that
is installed, `import minimagen` may find it in place of ours, or find files of both in one folder.
"""

import sys
from importlib.util import find_spec
from pathlib import Path


def wrong_minimagen() -> str | None:
    """One sentence that says what stands in this project's place, and what to do; None if all is well."""
    spec = find_spec("minimagen")
    if spec is None:
        return "the package is not installed here; run `pip install minimagen-course`, or `make setup` in a checkout"
    folder = Path(spec.origin).parent if spec.origin else Path(next(iter(spec.submodule_search_locations or ["."])))
    if (folder / "cascade.py").exists():
        return None
    return (
        f"another project's `minimagen` in {folder} hides this one; run `pip uninstall minimagen`, "
        "then install `minimagen-course` again"
    )


def main() -> int:
    if fault := wrong_minimagen():
        print(f"minimagen: {fault}.", file=sys.stderr)
        return 1
    from minimagen.cli import main as command

    return command()
