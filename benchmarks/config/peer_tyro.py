"""tyro: `tyro.cli` over Pydantic models. It reads no files: what a file says is given as flags.

It takes none of Pydantic's own types: a size is an integer and a secret a text.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import tyro
from pydantic import BaseModel, ConfigDict, Field

from trials import PATTERN, InapplicableError, run_trials

AS_FLAGS = {".nan": "nan", ".inf": "inf", "null": "None"}
"""What a command line writes differently from YAML."""


class Finite(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Training(Finite):
    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)
    run_name: str = Field(default="run", pattern=PATTERN)


class Numbers(Finite):
    count: int = Field(default=1, ge=0)
    rate: float = 1.0
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: int = 1


class Keyed(Finite):
    api_key: str = ""
    epochs: int = Field(default=3, ge=1)


SCHEMAS: dict[str, Any] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    flags: list[str] = []
    for line in Path(path).read_text().splitlines():
        key, _, text = line.partition(": ")
        if text.count('"') == 1:
            raise InapplicableError("a quote is the shell's")
        text = text.strip('"')
        flags += [f"--{key.replace('_', '-')}", AS_FLAGS.get(text, text)]
    found: object = tyro.cli(SCHEMAS[schema], prog="train.py", args=flags)
    return found


if __name__ == "__main__":
    run_trials("tyro", load)
