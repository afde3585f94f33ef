"""`Told`: a result of which the model is told only a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool's function gives where the run is to keep more than the model is told.

    Attributes:
        told: what the model is told, as a result would be.
        value: what is kept in the run, JSON.
    """

    told: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """What a tool of ours gives in place of a `RefusalError`, where the run is to keep more than its text.

    Attributes:
        text: what the model is told.
        value: what is kept in the run, JSON.
    """

    text: str
    value: Any
