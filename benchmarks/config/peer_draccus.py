"""draccus: `draccus.parse` of a dataclass with a YAML file.

It has no bounds, patterns, durations, sizes or secrets: the first two are in `__post_init__`, by hand (`by_hand.py`).
"""

from __future__ import annotations

import draccus

from by_hand import SCHEMAS
from trials import run_trials


def load(schema: str, path: str) -> object:
    found: object = draccus.parse(SCHEMAS[schema], config_path=path, args=[])
    return found


if __name__ == "__main__":
    run_trials("draccus", load)
