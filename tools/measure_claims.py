"""Measure the paper's claims that sampling alone can test, into data/claims.json. Run it again to go on.

python -m tools.measure_claims --minutes 15          # processor minutes; what is not done yet is done next time
python -m tools.measure_claims --fresh               # forget what was measured, as after new weights

What is measured, and in which order, stands in minimagen/toyland/claims.py. The seeds are fixed. Points that were
drawn with other weights than those in data/ are forgotten by themselves; a new stage of 256 px leaves those of 64 px.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from minimagen import files
from minimagen.cascade import Imagen
from minimagen.resources import data_folder
from minimagen.toyland.claims import CAPTIONS, FILE, Bench, Setting, measure, plan
from minimagen.toyland.scene import WORLD_VERSION


def weights() -> dict[str, str]:
    """The SHA-256 of every network that has a part in it."""
    names = ("judge", "text_encoder", "unet_64", "unet_256")
    return {name: files.sha256(data_folder(name) / "model.safetensors") for name in names}


def setting_of(point: dict[str, Any]) -> Setting:
    """How a measured point was drawn."""
    return Setting(**{field.name: point[field.name] for field in fields(Setting)})


def still_true(kept: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """What was measured, less what these weights would draw otherwise: all of it, or the points of 256 px, or none."""
    if any(kept.get(name) != about[name] for name in ("world", "captions")):
        return {}
    changed = {name for name, digest in about["weights"].items() if kept.get("weights", {}).get(name) != digest}
    if changed - {"unet_256"}:
        return {}
    return kept | {"points": [p for p in kept["points"] if not changed or setting_of(p).size == 64]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15, help="processor minutes to spend at most (15)")
    parser.add_argument("--out", type=Path, default=data_folder() / FILE)
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--captions", type=int, default=CAPTIONS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)

    about: dict[str, Any] = {"world": WORLD_VERSION, "captions": args.captions, "weights": weights()}
    kept = still_true(files.read_json(args.out), about) if args.out.exists() and not args.fresh else {}
    found: dict[str, Any] = {"seconds": 0.0, "reference": {}, "points": [], **kept, **about}
    bench = Bench(Imagen.from_pretrained(stages=[64, 256]), captions=args.captions)
    done = [asdict(setting_of(point)) for point in found["points"]]
    start, before = time.process_time(), found["seconds"]
    for setting in plan():
        if asdict(setting) in done:
            continue
        spent = time.process_time() - start
        if spent > 60 * args.minutes:
            print(f"{len(found['points'])} of {len(plan())} points; run it again to go on", file=sys.stderr)
            return 1
        size = str(setting.size)
        if size not in found["reference"]:
            found["reference"][size] = bench.reference(setting.size)
        bench.know(setting.size, found["reference"][size])
        found["points"].append(point := measure(bench, setting))
        found["seconds"] = round(before + time.process_time() - start, 1)
        files.write_text(args.out, json.dumps(found) + "\n")
        rate = point.get("right", point.get("obeyed"))
        print(f"{found['seconds']:6.0f} s  {setting}  {sum(rate)} of {len(rate)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
