"""What sources of Hugging Face datasets share: one part, of which the library tells neither length nor version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.errors import DataError
from tidemill.protocols import Growth, State

PART = "dataset"
"""The name of the one part."""


class Examples:
    """The examples of a dataset, as far as no library is needed to say it."""

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part."""
        return (PART,)

    def decode_record(self, raw: bytes) -> Any:
        """Not possible: no error about an example carries its bytes."""
        raise DataError("expected an example of a dataset, which cannot be made from bytes", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Always `same`: what a dataset on a hub or in a generator gives is not compared; a `revision` keeps it."""
        return "same"

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Nothing: a streamed dataset does not tell how long it is."""
        return None
