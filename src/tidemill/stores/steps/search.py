"""The `search` step: put the records of a store that are nearest to a vector into a column, durably."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.limits import Limits
from tidemill.config.paths import KeyPath
from tidemill.config.roles import Runtime
from tidemill.errors import DataError
from tidemill.models.steps.calling import CallNode
from tidemill.protocols import Record
from tidemill.stores.filters import parse_filter
from tidemill.stores.steps.reference import StoreRef
from tidemill.stores.store import FieldKind, Store

COLUMN = "column"
"""The key that stands for a value of the record's: `{tenant: {column: tenant}}`."""

_SAMPLES: Mapping[FieldKind, Any] = {"str": "", "int": 0, "float": 0.0, "bool": False}


class Search(CallNode):
    """Put the `k` records of `store` that are nearest to the record's vector into the column `into`.

    Each is `{"id": …, "score": …, "payload": …}`, nearest first, the score the greater the nearer, the payload null
    where there is none. What was found is kept, so that a run that goes on does not search for it again, and says the
    same.

    Attributes:
        store: the settings of a store, or the name of one under `stores`.
        vector: the column of the vector.
        k: how many, fewer where there are fewer.
        filter: what they have to have, by field: the value it equals, a list of those it may be, or a mapping of
            operators (`eq ne gt ge lt le in not_in`); `{column: name}` stands for the record's own value.
        into: the column of what was found.
        limits: how many searches are under way at once, how many begin a minute, how often and how long each is tried.
    """

    kind = "search"

    store: StoreRef
    vector: str = "embedding"
    k: int = Field(default=5, ge=1, le=10_000)
    filter: dict[str, Any] | None = None
    into: str = "matches"
    limits: Annotated[Limits, Runtime()] = Limits()

    @model_validator(mode="after")
    def _check_filter(self) -> Self:
        """A filter that no record could be searched with; of a store that cannot be read nothing is known."""
        if type(self.store) is Store:
            return self
        try:
            parse_filter(_put_samples(self.filter, self.store.fields), self.store.fields)
        except DataError as error:
            path = ("filter", *error.where.split(".")[1:])
            context = {"text": error.message, "path": path, "hint": error.hint}
            raise PydanticCustomError("filter", "{text}", context) from None
        return self

    @property
    def lane_limits(self) -> Limits:
        """The limits its searches go by."""
        return self.limits

    def column_types(self) -> dict[str, Any]:
        """The column of what was found, whose payloads may be of any type."""
        return {self.into: None}

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        yield ("vector",), self.vector
        for name, asked in (self.filter or {}).items():
            yield from ((("filter", name, *path), column) for path, column in _iter_columns(asked))

    def make_filter(self, record: Record) -> dict[str, Any] | None:
        """The filter of one record's search.

        Raises:
            KeyError: the record lacks a column that it names.
        """
        if self.filter is None:
            return None
        return {name: _fill(asked, record) for name, asked in self.filter.items()}


def _is_column(asked: Any) -> bool:
    return isinstance(asked, Mapping) and asked.keys() == {COLUMN} and isinstance(asked[COLUMN], str)


def _iter_columns(asked: Any) -> Iterator[tuple[KeyPath, str]]:
    """The columns whose values a field is compared with, each with its key."""
    if _is_column(asked):
        yield (COLUMN,), asked[COLUMN]
    elif isinstance(asked, Mapping):
        yield from (((operator, COLUMN), value[COLUMN]) for operator, value in asked.items() if _is_column(value))


def _fill(asked: Any, record: Record) -> Any:
    """What a field is compared with: of the record's values where they are asked for."""
    if _is_column(asked):
        return record[asked[COLUMN]]
    if isinstance(asked, Mapping):
        return {key: record[value[COLUMN]] if _is_column(value) else value for key, value in asked.items()}
    return asked


def _put_samples(filter: Mapping[str, Any] | None, fields: Mapping[str, FieldKind]) -> dict[str, Any] | None:
    """The filter with a value of the field's kind for each column."""
    if filter is None:
        return None
    put = {}
    for name, asked in filter.items():
        sample = _SAMPLES.get(fields.get(name, "str"))
        if _is_column(asked):
            put[name] = sample
        elif isinstance(asked, Mapping):
            put[name] = {
                key: ([sample] if key in ("in", "not_in") else sample) if _is_column(value) else value
                for key, value in asked.items()
            }
        else:
            put[name] = asked
    return put
