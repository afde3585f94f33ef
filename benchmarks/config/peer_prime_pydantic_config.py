"""prime-pydantic-config: `cli` over a `BaseConfig`, the file as `@ train.yaml` on the command line."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from pydantic import ByteSize, ConfigDict, Field, SecretStr
from pydantic_config import BaseConfig, cli

from trials import PATTERN, run_trials


class FiniteConfig(BaseConfig):  # type: ignore[misc]  # not installed where types are checked
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class Training(FiniteConfig):
    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)
    run_name: str = Field(default="run", pattern=PATTERN)


class Numbers(FiniteConfig):
    count: int = Field(default=1, ge=0)
    rate: float = 1.0
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: ByteSize = ByteSize(1)


class Keyed(FiniteConfig):
    api_key: SecretStr = SecretStr("")
    epochs: int = Field(default=3, ge=1)


SCHEMAS: dict[str, Any] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    sys.argv = ["train.py", "@", path]  # with `args=` it raises what it would show in a frame
    return cli(SCHEMAS[schema])


if __name__ == "__main__":
    run_trials("prime-pydantic-config", load)
