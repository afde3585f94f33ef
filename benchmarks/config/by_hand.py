"""The schemas as dataclasses that check themselves, for libraries with no bounds and no patterns of their own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from trials import PATTERN


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


SCHEMAS: dict[str, Any] = {"training": Training, "numbers": Numbers, "keyed": Keyed}
