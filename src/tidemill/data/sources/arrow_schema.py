"""Validators made of Arrow schemas: records as dicts, their values cast where nothing is lost."""

from __future__ import annotations

import functools
from typing import Any

import pyarrow as pa
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from tidemill.errors import ConfigError


def make_validator(schema: pa.Schema) -> SchemaValidator:
    """What makes a dict of a record, with just the columns of `schema`, each of its type.

    A column that may be null may be missing too, and is None then. Texts become numbers, dates or booleans where they
    are ones, numbers texts; a number that does not fit its type is wrong, and so is one with a fraction that the type
    has not.

    Raises:
        ConfigError: a type that records are not checked for.
    """
    return SchemaValidator(_record(list(schema)))


def _record(fields: list[Any]) -> CoreSchema:
    columns = {field.name: _column(field) for field in fields}
    return core_schema.typed_dict_schema(columns, extra_behavior="forbid")


def _column(field: Any) -> core_schema.TypedDictField:
    value = _value(field.type, field.name)
    if not field.nullable:
        return core_schema.typed_dict_field(value)
    return core_schema.typed_dict_field(
        core_schema.with_default_schema(core_schema.nullable_schema(value), default=None)
    )


def _value(kind: Any, name: str) -> CoreSchema:
    types = pa.types
    for is_one, make in _PLAIN:
        if getattr(types, is_one)(kind):
            plain: CoreSchema = make()
            return plain
    if types.is_integer(kind):
        signed = types.is_signed_integer(kind)
        top = 1 << (kind.bit_width - signed)
        return core_schema.int_schema(ge=-top if signed else 0, le=top - 1)
    if types.is_decimal(kind):
        return core_schema.decimal_schema(max_digits=kind.precision, decimal_places=max(kind.scale, 0))
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        return core_schema.list_schema(_item(kind, name), min_length=size, max_length=size)
    if types.is_list(kind) or types.is_large_list(kind):
        return core_schema.list_schema(_item(kind, name))
    if types.is_struct(kind):
        return _record([kind.field(number) for number in range(kind.num_fields)])
    if types.is_dictionary(kind):
        return _value(kind.value_type, name)
    if types.is_map(kind):
        pair = core_schema.tuple_positional_schema([_value(kind.key_type, name), _value(kind.item_type, name)])
        return core_schema.list_schema(pair)
    raise ConfigError(f"records cannot be checked for the Arrow type {kind} of the column `{name}`")


def _item(kind: Any, name: str) -> CoreSchema:
    value = _value(kind.value_type, name)
    return core_schema.nullable_schema(value) if kind.value_field.nullable else value


_text = functools.partial(core_schema.str_schema, coerce_numbers_to_str=True)

_PLAIN: tuple[tuple[str, Any], ...] = (
    ("is_null", core_schema.none_schema),
    ("is_boolean", core_schema.bool_schema),
    ("is_floating", core_schema.float_schema),
    ("is_string", _text),
    ("is_large_string", _text),
    ("is_string_view", _text),
    ("is_binary", core_schema.bytes_schema),
    ("is_large_binary", core_schema.bytes_schema),
    ("is_fixed_size_binary", core_schema.bytes_schema),
    ("is_date", core_schema.date_schema),
    ("is_timestamp", core_schema.datetime_schema),
    ("is_time", core_schema.time_schema),
    ("is_duration", core_schema.timedelta_schema),
)
