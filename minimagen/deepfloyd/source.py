"""Where a pipeline's files are: a folder in diffusers' layout, or a repository of the Hugging Face Hub.

unet/config.json, unet/diffusion_pytorch_model[.fp16].safetensors     or shards of it, with an index that names them
scheduler/scheduler_config.json, image_noising_scheduler/…            a second stage has both
text_encoder/, tokenizer/                                             as transformers writes them

The small files are read first, so that what does not fit, or may not be fetched, is said before gigabytes are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import files, hub

WEIGHTS = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Source:
    """A pipeline by its folder or by its name on the Hub. access: revision, token, cache_dir, local_files_only."""

    name: str
    access: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        looks_local = self.name.startswith((".", "~", "/")) or self.name.count("/") != 1
        if self.folder is None and looks_local:
            raise FileNotFoundError(
                f"{self.name} is no folder here; give the folder that save_pretrained wrote, or a model's name on the "
                "Hugging Face Hub, such as DeepFloyd/IF-I-M-v1.0"
            )

    @property
    def folder(self) -> Path | None:
        """The folder; None = on the Hub."""
        folder = Path(self.name).expanduser()
        return folder if folder.is_dir() else None

    def find(self, *names: str) -> Path | None:
        """The first of these files that there is, fetched if it must be; None = there is none of them."""
        if self.folder is not None:
            return next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        unreachable: Exception | None = None
        with hub.plainly(self.name, "a DeepFloyd IF model"):
            for name in names:
                try:
                    return Path(hf_hub_download(self.name, name, **self.access))
                except LocalEntryNotFoundError as fault:  # offline; another of the names may have been fetched before
                    unreachable = fault
                except EntryNotFoundError:
                    pass
            if unreachable is not None:
                raise unreachable
        return None

    def json(self, name: str) -> dict[str, Any]:
        """One of the small files that describe the pipeline."""
        if (path := self.find(name)) is None:
            raise ValueError(f"{self.name} is no pipeline in diffusers' layout: there is no {name} in it")
        return files.read_json(path)

    def weights(self, part: str = "unet", variant: str | None = None) -> list[Path]:
        """The safetensors files of a part: one, or the shards that its index names. variant: "fp16"; None = plain."""
        dotted = f".{variant}" if variant else ""
        single = f"{part}/{WEIGHTS}{dotted}.safetensors"
        # diffusers has written the variant's index under both names
        indices = dict.fromkeys(
            [f"{part}/{WEIGHTS}.safetensors.index{dotted}.json", f"{part}/{WEIGHTS}{dotted}.safetensors.index.json"]
        )
        found = self.find(single, *indices)
        if found is None:
            kind = f"{variant} weights" if variant else "weights"
            advice = "leave out variant" if variant and self.find(f"{part}/{WEIGHTS}.safetensors") else "see its files"
            raise ValueError(f"{self.name} has no {kind} as safetensors in {part}/: {advice}; pickles are not read")
        if found.suffix == ".safetensors":
            return [found]
        shards = sorted(set(files.read_json(found).get("weight_map", {}).values()))
        paths = [(shard, self.find(f"{part}/{shard}")) for shard in shards]
        if missing := [shard for shard, path in paths if path is None]:
            raise ValueError(f"{self.name} is not whole: its index names {missing[0]}, which is not there")
        return [path for _, path in paths if path is not None]

    def state(self, part: str = "unet", variant: str | None = None) -> dict[str, Tensor]:
        """The weights under diffusers' names. They stay in the file until they are used."""
        state: dict[str, Tensor] = {}
        for path in self.weights(part, variant):
            state |= files.load_tensors(path)
        return state
