"""Tidemill: `tm.load_config` of a `tm.Config`."""

from __future__ import annotations

from pydantic import Field, SecretStr

import tidemill as tm
from tidemill.config import ByteSize, Duration
from trials import PATTERN, run_trials


class Training(tm.Config):
    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)
    run_name: str = Field(default="run", pattern=PATTERN)


class Numbers(tm.Config):
    count: int = Field(default=1, ge=0)
    rate: float = 1.0
    timeout: Duration = 1.0
    memory_bytes: ByteSize = 1


class Keyed(tm.Config):
    api_key: SecretStr = SecretStr("")
    epochs: int = Field(default=3, ge=1)


SCHEMAS: dict[str, type[tm.Config]] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    return tm.load_config(SCHEMAS[schema], path)


if __name__ == "__main__":
    run_trials("tidemill", load)
