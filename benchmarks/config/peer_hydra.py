"""Hydra: `@hydra.main` over a structured config, its dataclass made with `OmegaConf.to_object`.

It has no bounds, patterns, durations, sizes or secrets: the first two are in `__post_init__`, by hand. A file names
its schema in a `defaults` list, here behind what it says, so that its lines keep their numbers.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from trials import PATTERN, run_trials

QUIET = [
    "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled",
]  # fmt: skip


@dataclass
class Training:
    learning_rate: float = 0.001
    batch_size: int = 32
    weight_decay: float = 0.0
    epochs: int = 3
    run_name: str = "run"

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {self.learning_rate}")
        if not self.batch_size >= 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be >= 0, got {self.weight_decay}")
        if not self.epochs >= 1:
            raise ValueError(f"epochs must be >= 1, got {self.epochs}")
        if not re.search(PATTERN, self.run_name):
            raise ValueError(f"run_name must match {PATTERN}, got {self.run_name}")


@dataclass
class Numbers:
    count: int = 1
    rate: float = 1.0
    timeout: float = 1.0
    memory_bytes: int = 1

    def __post_init__(self) -> None:
        if not self.count >= 0:
            raise ValueError(f"count must be >= 0, got {self.count}")
        if not math.isfinite(self.rate):
            raise ValueError(f"rate must be finite, got {self.rate}")


@dataclass
class Keyed:
    api_key: str = ""
    epochs: int = 3

    def __post_init__(self) -> None:
        if not self.epochs >= 1:
            raise ValueError(f"epochs must be >= 1, got {self.epochs}")


for name, schema in {"training": Training, "numbers": Numbers, "keyed": Keyed}.items():
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
