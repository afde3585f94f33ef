"""jsonargparse: `auto_cli` over a dataclass of its restricted types, and Pydantic's size.

In its mode `omegaconf`, as that one refuses a key that is given twice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta

from jsonargparse import auto_cli
from jsonargparse.typing import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    restricted_number_type,
    restricted_string_type,
)
from pydantic import ByteSize

from trials import PATTERN, run_trials

RunName = restricted_string_type("RunName", PATTERN)
Finite = restricted_number_type("Finite", float, [(">=", -sys.float_info.max), ("<=", sys.float_info.max)])

NO_KEY = SecretStr("")
ONE_BYTE = ByteSize(1)


@dataclass
class Training:
    learning_rate: PositiveFloat = 0.001
    batch_size: PositiveInt = 32
    weight_decay: NonNegativeFloat = 0.0
    epochs: PositiveInt = 3
    run_name: RunName = "run"  # type: ignore[valid-type]  # made at run time


@dataclass
class Numbers:
    count: NonNegativeInt = 1
    rate: Finite = 1.0  # type: ignore[valid-type]  # made at run time
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: ByteSize = ONE_BYTE


@dataclass
class Keyed:
    api_key: SecretStr = NO_KEY
    epochs: PositiveInt = 3


SCHEMAS = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    found: object = auto_cli(SCHEMAS[schema], as_positional=False, args=["--config", path], parser_mode="omegaconf")
    return found


if __name__ == "__main__":
    run_trials("jsonargparse", load)
