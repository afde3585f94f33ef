"""What of a JSON Schema no type says, held to by a validator: every problem at its place, in our words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from tidemill.config.paths import KeyPath
from tidemill.config.schemas.normalizing import point
from tidemill.config.subschemas import JsonSchema
from tidemill.config.wording.rules import describe_match
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import cut, describe_value
from tidemill.errors import ConfigError

if TYPE_CHECKING:
    import jsonschema_rs

FORMATS: Mapping[str, str] = {
    "date": "a date (YYYY-MM-DD)",
    "date-time": "a date and time with its offset (YYYY-MM-DDTHH:MM:SS+HH:MM)",
    "time": "a time with its offset (HH:MM:SS+HH:MM)",
    "duration": "a duration (ISO 8601, as P3DT4H)",
    "email": "an e-mail address",
    "hostname": "a host name",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "regex": "a regular expression",
    "uri": "a URI",
    "uuid": "a UUID",
}
"""How the values of a `format` are called; formats that are not known are not checked, as JSON Schema has it."""

_UNKNOWN_KEYS = ("AdditionalProperties", "UnevaluatedProperties")


class Enforcement:
    """Refuses what is not of a JSON Schema (draft 2020-12, formats included); a validator that changes nothing.

    Patterns are those of ECMA-262, as the specification has them. Nothing is fetched.
    """

    def __init__(self, schema: JsonSchema) -> None:
        """Raises ConfigError: `schema` is none, with the path of the part that is wrong."""
        import jsonschema_rs  # 10 ms, which whoever has no tool or output given as a schema does not pay

        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema, validate_formats=True, ignore_unknown_formats=True, offline=True
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            path = tuple(getattr(error, "instance_path", ()))
            raise ConfigError(f"this is no JSON Schema: {_first_line(error)}", where=point(path)) from None
        self._schema = schema

    def __call__(self, value: Any) -> Any:
        if self._validator.is_valid(value):
            return value
        lines = [line for error in self._validator.iter_errors(value) for line in self._explain(error)]
        raise ValidationError.from_exception_data("schema", lines)

    def _explain(self, error: jsonschema_rs.ValidationError) -> Iterator[InitErrorDetails]:
        kind = type(error.kind).__name__.rpartition("_")[2]
        said: Mapping[str, Any] = error.kind.as_dict()
        path: KeyPath = tuple(error.instance_path)
        if kind in _UNKNOWN_KEYS:
            known = self._find_properties(error.schema_path)
            for name in said.get("unexpected", ()):
                yield _to_line(f"unknown key `{cut(name)}`", (*path, name), suggest(name, known), at_key=True)
        elif kind == "Required":
            name = said["property"]
            yield _to_line(f"missing key `{name}`", (*path, name), at_key=True)
        else:
            yield _to_line(_describe(kind, said, error), path)

    def _find_properties(self, schema_path: list[str | int]) -> list[str]:
        """The names that an object may have of which a keyword says that it has no others."""
        part: Any = self._schema
        for item in schema_path[:-1]:
            if item not in part if isinstance(part, dict) else not isinstance(item, int):
                return []  # it goes on within what is referred to
            part = part[item]
        return list(part.get("properties", ())) if isinstance(part, dict) else []


def _describe(kind: str, said: Mapping[str, Any], error: jsonschema_rs.ValidationError) -> str:
    got = describe_value(error.instance)
    if kind == "Format":
        return f"expected {FORMATS.get(said['format'], 'text of the format ' + said['format'])}, got {got}"
    if kind == "Pattern":
        return f"expected text {describe_match(said['pattern'])}, got {got}"
    if kind == "UniqueItems":
        return f"expected different items, got one of {got} twice"
    if kind == "OneOfMultipleValid":
        return f"expected what is of one of the alternatives alone, got {got}, which is of several"
    if kind in ("AnyOf", "OneOfNotValid"):
        return f"expected what is of one of the alternatives, got {got}"
    if kind == "Not":
        return f"expected what is not of {cut(json.dumps(said['schema']))}, got {got}"
    return cut(_first_line(error))


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).partition("\n")[0]


def _to_line(message: str, path: KeyPath, hint: str = "", *, at_key: bool = False) -> InitErrorDetails:
    # At the root, with the path in its context: a `loc` would have to name the members of unions on the way.
    context = {"message": message, "path": path, "hint": hint, "at_key": at_key}
    return {"type": PydanticCustomError("schema", "{message}", context), "loc": (), "input": None}
