"""Put what a run has learned where weights ship: in half precision, with how long all of it took.

    minimagen train base --begin data --minutes 60 --out runs/more
    python -m tools.ship runs/more/unet_64

Then evaluate it, and say in the card what came of it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from minimagen import checkpoint
from minimagen.cascade import Stage
from minimagen.resources import data_folder
from minimagen.stored import save_stage


def ship(run: Path, folder: Path | None = None) -> Path:
    """The run's averaged weights into `folder`, None = its place in data/; what it began with is counted in."""
    stage = Stage.from_pretrained(run)
    told, begun = checkpoint.counts(run / checkpoint.NAME), stage.about.get("begun", {})
    took = {"steps": told["step"], "images": told["images"], "minutes": round(told["seconds"] / 60)}
    about = {name: value for name, value in stage.about.items() if name != "begun"}
    about |= {name: count + begun.get(name, 0) for name, count in took.items()} | {"seed": told["about"]["seed"]}
    folder = folder or data_folder() / f"unet_{stage.size}"
    save_stage(replace(stage, about=about), folder, torch.float16)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a stage in training, or trained")
    parser.add_argument("--to", type=Path, help="a folder for the weights (default: their place in data/)")
    options = parser.parse_args()
    print(ship(options.run, options.to))
