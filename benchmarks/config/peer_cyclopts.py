"""cyclopts: an `App` whose configuration is a YAML file, over dataclasses with its validators."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.config import Yaml
from cyclopts.validators import Number
from pydantic import ByteSize, SecretStr

from trials import PATTERN, run_trials


def check_name(_: object, value: str) -> None:
    """It has no validator for patterns: written as its documentation shows."""
    if not re.search(PATTERN, value):
        raise ValueError(f"Must match {PATTERN}.")


AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]
Finite = Annotated[float, Parameter(validator=Number(gte=-sys.float_info.max, lte=sys.float_info.max))]

NO_KEY = SecretStr("")
ONE_BYTE = ByteSize(1)


@dataclass
class Training:
    learning_rate: Annotated[float, Parameter(validator=Number(gt=0))] = 0.001
    batch_size: AtLeastOne = 32
    weight_decay: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0
    epochs: AtLeastOne = 3
    run_name: Annotated[str, Parameter(validator=check_name)] = "run"


@dataclass
class Numbers:
    count: Annotated[int, Parameter(validator=Number(gte=0))] = 1
    rate: Finite = 1.0
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: ByteSize = ONE_BYTE


@dataclass
class Keyed:
    api_key: SecretStr = NO_KEY
    epochs: AtLeastOne = 3


SCHEMAS: dict[str, Any] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    app = App(name="train.py", config=Yaml(path, must_exist=True), result_action="return_value")
    kind = SCHEMAS[schema]

    def main(config: Any = None) -> object:
        return config

    main.__annotations__["config"] = Annotated[kind, Parameter(name="*")]
    app.default(main)
    found: object = app([])
    return found


if __name__ == "__main__":
    run_trials("cyclopts", load)
