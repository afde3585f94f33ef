"""The columns that the files of one source have, as a sample of them tells, and the files that have other ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tidemill.data.sources.pattern import is_partition
from tidemill.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLED_FILES = 16
PAGE_FILES = 1000
"""The sample is spread over the first so many files: one page of an object store's listing."""

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # what Hive and Spark write for a null


@dataclass(frozen=True)
class Column:
    """A column of the sample.

    Attributes:
        kind: what its values are; None where all are null.
        file: the first file that has it, with values where one has.
        is_optional: whether some file of the sample lacks it.
    """

    kind: str | None
    file: str
    is_optional: bool = False


@dataclass(frozen=True)
class Shape:
    """What the sample says of all files.

    Attributes:
        columns: what they have; None for a format that does not say.
        keys: the columns that the names of partition folders give, each with whether all values are integers.
        file: the first file of the sample.
    """

    columns: Mapping[str, Column] | None
    keys: Mapping[str, bool]
    file: str


def sample_shape(names: Iterable[str], read: Callable[[str], pa.Schema | None] | None, *, has_keys: bool) -> Shape:
    """The shape of at most 16 files, spread over the first page of `names`.

    Args:
        names: of the files, in reading order.
        read: the schema of the file of a name, None where its format has none; None reads none.
        has_keys: whether folders named `key=value` give columns.
    """
    sample = _spread(names)
    schemas = {name: read(name) for name in sample} if read is not None else {}
    known = {name: schema for name, schema in schemas.items() if schema is not None}
    keys = [find_keys(name) for name in sample] if has_keys else []
    return Shape(
        _unify(known) if known else None,
        {key: all(_is_integer(each.get(key)) for each in keys) for each in keys for key in each},
        sample[0] if sample else "",
    )


def find_misfit(shape: Shape, name: str, schema: pa.Schema | None) -> DataError | None:
    """What is wrong with a file whose columns are other ones than the sample's."""
    if shape.columns is None or schema is None:
        return None
    there = {field.name: name_kind(field.type) for field in schema}
    for column, kind in there.items():
        known = shape.columns.get(column)
        if known is None:
            return _misfit(f"column `{column}` is new: `{shape.file}` and those sampled with it have none", name)
        if None not in (kind, known.kind) and kind != known.kind:
            return _misfit(_different(column, kind, known), name)
    for column, known in shape.columns.items():
        if column not in there and not known.is_optional:
            return _misfit(f"column `{column}` is missing, which `{known.file}` and all sampled with it have", name)
    return None


def find_lacking(shape: Shape, schema: pa.Schema | None) -> dict[str, None]:
    """The columns that records of a file get because others of the source have them."""
    if shape.columns is None or schema is None:
        return {}
    there = set(schema.names)
    return {} if there.issuperset(shape.columns) else dict.fromkeys(shape.columns)


def find_key_values(shape: Shape, name: str) -> dict[str, Any]:
    """The columns that the folders in a file's name give.

    Raises:
        DataError: a value is no integer where those of the sample are, or its key is new.
    """
    if not shape.keys:
        return {}
    found = find_keys(name)
    values: dict[str, Any] = dict.fromkeys(shape.keys)
    for key, value in found.items():
        if key not in shape.keys:
            raise _misfit(f"the folder's key `{key}` is new: `{shape.file}` and those sampled with it have none", name)
        if shape.keys[key] and not _is_integer(value):
            raise _misfit(f"expected an integer for `{key}` as in `{shape.file}`, got `{value}`", name)
        values[key] = int(value) if shape.keys[key] and value is not None else value
    return values


def find_keys(name: str) -> dict[str, str | None]:
    """Keys and values of the folders named `key=value` in a file's name; a null of Hive is None.

    >>> find_keys("year=2024/city=S%C3%A3o/a.parquet")
    {'year': '2024', 'city': 'São'}
    """
    pairs = (unquote(folder).split("=", 1) for folder in name.split("/")[:-1] if is_partition(folder))
    return {key: None if value == _NULL_PARTITION else value for key, value in pairs}


def name_kind(kind: Any) -> str | None:
    """What values of an Arrow type are, their width aside; None for those that are all null."""
    import pyarrow as pa

    types = pa.types
    if types.is_null(kind):
        return None
    if types.is_dictionary(kind):
        return name_kind(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"a list of {name_kind(kind.value_type) or 'nulls'}"
    named = (word for is_one, word in _KINDS if getattr(types, is_one)(kind))
    return next(named, str(kind))


_KINDS = (
    ("is_integer", "integers"),
    ("is_floating", "floats"),
    ("is_boolean", "booleans"),
    ("is_string", "texts"),
    ("is_large_string", "texts"),
    ("is_string_view", "texts"),
    ("is_binary", "bytes"),
    ("is_large_binary", "bytes"),
    ("is_fixed_size_binary", "bytes"),
    ("is_decimal", "decimals"),
    ("is_date", "dates"),
    ("is_timestamp", "timestamps"),
    ("is_time", "times"),
    ("is_duration", "durations"),
    ("is_struct", "structs"),
    ("is_map", "maps"),
)


def _spread(names: Iterable[str]) -> list[str]:
    first = list(islice(names, PAGE_FILES))
    if len(first) <= SAMPLED_FILES:
        return first
    return [first[number * (len(first) - 1) // (SAMPLED_FILES - 1)] for number in range(SAMPLED_FILES)]


def _unify(schemas: Mapping[str, pa.Schema]) -> dict[str, Column]:
    """What most files say of each column; of kinds that equally many have, the first one's."""
    found: dict[str, dict[str | None, list[str]]] = {}  # of each column the files that have it, by kind
    for name, schema in schemas.items():
        for field in schema:
            found.setdefault(field.name, {}).setdefault(name_kind(field.type), []).append(name)
    return {column: _choose_kind(kinds, len(schemas)) for column, kinds in found.items()}


def _choose_kind(kinds: Mapping[str | None, list[str]], count: int) -> Column:
    kind = max((each for each in kinds if each is not None), key=lambda each: len(kinds[each]), default=None)
    return Column(kind, kinds[kind][0], sum(map(len, kinds.values())) < count)


def _different(column: str, kind: str | None, known: Column) -> str:
    return f"column `{column}` holds {kind}, in `{known.file}` it holds {known.kind}"


def _misfit(message: str, name: str) -> DataError:
    return DataError(
        message, where=name, hint="read such files as a source of their own, or say what all shall be with schema="
    )


def _is_integer(value: str | None) -> bool:
    """Whether a text is an integer as Python would write it: `007` is a text."""
    return value is None or (value.lstrip("-").isdecimal() and str(int(value)) == value)
