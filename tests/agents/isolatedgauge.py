"""Tools as users write them, in processes of their own."""

from __future__ import annotations

import os
from dataclasses import dataclass

import tidemill as tm


@tm.tool(isolate=True)
def double(number: int) -> list[int]:
    """Twice a number, and the process it was found in."""
    return [2 * number, os.getpid()]


@dataclass
class Gauge:
    """Knows a level."""

    level: int

    @tm.tool(isolate=True)
    def add(self, number: int) -> int:
        """The level and a number."""
        return self.level + number
