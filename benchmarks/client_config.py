"""One configuration loaded in a fresh process: the first time, later times, and what the floor takes.

python benchmarks/client_config.py job|training|BOMB
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, create_model

import tidemill as tm
from children import tell
from config_inputs import BOMBS, SECTIONS, count_keys, write_job, write_training

TIMES = 30


class PlainStage(BaseModel):
    """A stage of the training configuration as plain Pydantic."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    weight_decay: float = Field(ge=0)
    epochs: int = Field(ge=1)
    warmup_ratio: float = Field(ge=0, le=1)
    optimizer: Literal["adamw", "sgd", "lion"]
    precision: str
    compile: bool
    data: Path
    seed: int
    name: str = Field(max_length=40)


class Stage(tm.Config, PlainStage):
    """The same as a Tidemill config."""


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        if name in BOMBS:
            tell(**measure_bomb(BOMBS[name](Path(folder))))
        else:
            tell(**(measure_job if name == "job" else measure_training)(Path(folder)))


def measure_job(folder: Path) -> dict[str, float]:
    path = write_job(folder)
    load = tm.load_job  # imported when it is first asked for
    from tidemill.jobs.spec.written import JobFile

    return _measure(lambda: load(path), path, lambda value: JobFile.model_validate(value, context={"folder": folder}))


def measure_training(folder: Path) -> dict[str, float]:
    path = write_training(folder)
    names = [f"stage{number}" for number in range(SECTIONS)]
    plain: Any = create_model("Plain", __base__=BaseModel, **dict.fromkeys(names, (PlainStage, ...)))  # type: ignore[call-overload]
    config: Any = create_model("Training", __base__=tm.Config, **dict.fromkeys(names, (Stage, ...)))  # type: ignore[call-overload]
    load = tm.load_config
    return _measure(lambda: load(config, path), path, plain.model_validate)


def _measure(load: Callable[[], Any], path: Path, validate: Callable[[Any], Any]) -> dict[str, float]:
    """Milliseconds of CPU; the floor is PyYAML's C loader and plain Pydantic, taken in turns with the other."""
    first_ms, first_wall_ms = _time(load)
    value = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)

    def load_plainly() -> None:
        validate(yaml.load(path.read_text(), Loader=yaml.CSafeLoader))

    load_plainly()
    rounds = [(_time(load), _time(load_plainly)) for _ in range(TIMES)]
    return {
        "keys": count_keys(value),
        "first_ms": first_ms,
        "first_wall_ms": first_wall_ms,
        "later_ms": statistics.median(ours[0] for ours, _ in rounds),
        "later_wall_ms": statistics.median(ours[1] for ours, _ in rounds),
        "floor_ms": statistics.median(floor[0] for _, floor in rounds),
        "ratio": statistics.median(ours[0] / floor[0] for ours, floor in rounds),
    }


def measure_bomb(path: Path) -> dict[str, float]:
    model: Any = create_model("Any", __base__=BaseModel, __config__=ConfigDict(extra="allow"))
    load = tm.load_config
    refused = False

    def blow() -> None:
        nonlocal refused
        try:
            load(model, path)
        except tm.ConfigError:
            refused = True

    cpu_ms, wall_ms = _time(blow)
    return {"refused": refused, "cpu_ms": cpu_ms, "wall_ms": wall_ms}


def _time(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of CPU and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return (time.process_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3


if __name__ == "__main__":
    main()
