"""dature: `dature.load` of a dataclass with its validators, from a YAML 1.2 file, strict."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import dature
from dature import V
from dature.fields.byte_size import ByteSize
from dature.fields.secret_str import SecretStr

from trials import PATTERN, run_trials

AtLeastOne = Annotated[int, V >= 1]
Finite = Annotated[float, (-sys.float_info.max <= V) & (sys.float_info.max >= V)]

NO_KEY = SecretStr("")
ONE_BYTE = ByteSize(1)


@dataclass
class Training:
    learning_rate: Annotated[float, V > 0] = 0.001
    batch_size: AtLeastOne = 32
    weight_decay: Annotated[float, V >= 0] = 0.0
    epochs: AtLeastOne = 3
    run_name: Annotated[str, V.matches(PATTERN)] = "run"


@dataclass
class Numbers:
    count: Annotated[int, V >= 0] = 1
    rate: Finite = 1.0
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: ByteSize = ONE_BYTE


@dataclass
class Keyed:
    api_key: SecretStr = NO_KEY
    epochs: AtLeastOne = 3


SCHEMAS: dict[str, Any] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    source = dature.Yaml12Source(file=path)
    found: object = dature.load(source, schema=SCHEMAS[schema], strict="error", masking_mode="secrets_only")
    return found


if __name__ == "__main__":
    run_trials("dature", load)
