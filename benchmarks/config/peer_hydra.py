"""Hydra: `@hydra.main` over a structured config, its dataclass made with `OmegaConf.to_object`.

It has no bounds, patterns, durations, sizes or secrets: the first two are in `__post_init__`, by hand (`by_hand.py`). A
file names its schema in a `defaults` list, here behind what it says, so that its lines keep their numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from by_hand import SCHEMAS
from trials import run_trials

QUIET = [
    "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled",
]  # fmt: skip


for name, schema in SCHEMAS.items():
    ConfigStore.instance().store(name=name, node=schema)


def load(schema: str, path: str) -> object:
    file = Path(path).absolute()
    file.write_text(f"{file.read_text()}defaults: [{schema}, _self_]\n")
    sys.argv = ["train.py", *QUIET]
    found: list[object] = []

    @hydra.main(version_base="1.3", config_path=str(file.parent), config_name=file.stem)  # type: ignore[untyped-decorator]  # not installed where types are checked
    def main(config: object) -> None:
        found.append(OmegaConf.to_object(config))

    main()
    return found[0]


if __name__ == "__main__":
    run_trials("hydra-core", load)
