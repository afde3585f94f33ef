"""Python iterables, and functions that make them, as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationInfo, field_serializer, field_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.types.functions import fingerprint_function, import_object, to_import_path
from tidemill.data.reader import PartReader
from tidemill.data.sources.items import compare_items, open_items
from tidemill.errors import ConfigError, DataError, StateError
from tidemill.protocols import Growth, State

ITERABLE_PART = "iterable"
"""The name of the one part of a `FromIterable`."""


class FromIterable(Settings):
    """The items of a Python iterable, or of what a function without arguments returns, as a source of one part.

    The items may be anything in plain iteration; a job needs dicts. An iterator can be gone through once only; give
    the function that makes it where the stream is iterated again, or resumed in the same process.

    Resume: the items given before the state are passed over, so the iterable must give the same ones again. A list,
    tuple or other `Sequence` that gives others is refused: their JSON is compared, by a checksum; of a value that JSON
    has no form for, the type alone. What an iterator or a function gives is not compared.
    """

    iterable: Any

    _spent: bool = PrivateAttr(default=False)

    @field_validator("iterable")
    @classmethod
    def _check_iterable(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            folder = (info.context or {}).get("folder")
            value = import_object(value, None if folder is None else Path(folder))
        if callable(value) or (isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))):
            return value
        message = "expected an iterable of records or a function that returns one, got {kind}"
        hint = "put a single record in a list" if isinstance(value, Mapping) else ""
        raise PydanticCustomError("iterable", message, {"kind": f"a {type(value).__name__}", "hint": hint})

    @field_serializer("iterable")
    def _describe_iterable(self, value: Any) -> str:
        """An import path, or, of what has none, the kind of thing it is."""
        try:
            return to_import_path(value) if callable(value) else f"a {type(value).__name__}"
        except ConfigError:
            return f"the function {getattr(value, '__qualname__', type(value).__qualname__)}"

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part."""
        return (ITERABLE_PART,)

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The items, from the first or from `state`.

        Raises:
            StateError: the iterator was gone through before, or ends in front of `state`, or an item before it changed.
        """
        return open_items(self._open(), state, self.iterable if isinstance(self.iterable, Sequence) else None)

    def decode_record(self, raw: bytes) -> Any:
        """Not possible: the items of an iterable are objects, and no error about one carries bytes."""
        raise DataError("expected an item of an iterable, which cannot be made from bytes", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether a sequence, up to `state`, is as it was; `same` for any other iterable."""
        if "crc" not in state or not isinstance(self.iterable, Sequence):
            return "same"
        return compare_items(self.iterable, state)

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Items given, and how many there are, where the iterable has a length."""
        if not isinstance(self.iterable, Sized):
            return None
        return state["count"] if state else 0, len(self.iterable)

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"from_iterable({type(self.iterable).__name__})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON; of a function its fingerprint, of any other iterable its type."""
        value = self.iterable
        return {"iterable": fingerprint_function(value) if callable(value) else type(value).__qualname__}

    def _open(self) -> Iterator[Any]:
        if callable(self.iterable):
            made: Iterable[Any] = self.iterable()
            return iter(made)
        iterator: Iterator[Any] = iter(self.iterable)
        if iterator is self.iterable:
            if self._spent:
                raise StateError(
                    f"expected an iterable that can be gone through again, got a {type(iterator).__name__} "
                    "that was gone through before",
                    hint="give from_iterable the function that makes it: `make`, not `make()`",
                )
            self._spent = True
        return iterator
