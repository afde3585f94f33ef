"""What a model gives for an operation: parameters and body as one closed object, and where each part goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.agents.operations.bodies import Body, is_file, read_body
from tidemill.agents.operations.document import ApiDocument
from tidemill.agents.operations.operation import Operation, Parameter
from tidemill.agents.operations.schemas import Schemas, is_read_only

_OBJECT = frozenset(
    {
        *("type", "properties", "required", "title", "description", "additionalProperties", "default"),
        *("example", "examples", "externalDocs", "xml", "deprecated"),
    }
)
"""What a body's schema may say for its properties to stand beside the parameters."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What an operation takes, as a tool.

    Attributes:
        schema: the JSON Schema of its arguments, a closed object.
        parameters: by the argument that gives each.
        fields: the body's properties, by the argument that gives each; empty where `whole` gives it.
        whole: the argument that gives the body as it is, empty where there is none.
        body: what is sent, None where nothing is.
    """

    schema: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    fields: Mapping[str, str]
    whole: str
    body: Body | None

    def build_body(self, arguments: Mapping[str, Any]) -> Any:
        """The body's value; `...` where the arguments give none and none has to be."""
        if self.body is None:
            return ...
        if self.whole:
            return arguments.get(self.whole, ...)
        value = {name: arguments[argument] for argument, name in self.fields.items() if argument in arguments}
        return value if value or self.body.required else ...


def read_arguments(document: ApiDocument, operation: Operation, filled: Collection[str]) -> Takes:
    """What `operation` takes.

    A name that stands in two places is told apart by them (`path_id`, `body_id`); one with characters that not every
    provider takes loses these.

    Args:
        filled: `location:name` of the parameters that are filled in for the model, names of headers in lower case.

    Raises:
        ConfigError: its body cannot be sent, or it refers to nothing.
    """
    schemas = Schemas(document)
    parameters = [each for each in operation.parameters if _key(each) not in filled]
    body = read_body(document, operation.body, operation.label)
    merged = None if body is None else _merge(schemas, body)
    fields = list(merged["properties"]) if merged is not None else []
    names = _name_arguments([(each.location, each.name) for each in parameters] + [("body", name) for name in fields])
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument, parameter in zip(names, parameters, strict=False):
        properties[argument] = _describe(schemas.convert(parameter.schema), parameter.description)
        required += [argument] if parameter.required else []
    own = dict(zip(names[len(parameters) :], fields, strict=True))
    for argument, name in own.items():
        assert merged is not None
        properties[argument] = _convert_field(schemas, document, body, merged["properties"][name])
        required += [argument] if name in merged.get("required", ()) else []
    whole = ""
    if body is not None and merged is None:
        whole = next(name for name in ("body", "request_body", "body_") if name not in properties)
        properties[whole] = _describe(schemas.convert(body.schema), body.description)
        required += [whole] if body.required else []
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if schemas.definitions:
        schema["$defs"] = schemas.definitions
    return Takes(schema, dict(zip(names, parameters, strict=False)), own, whole, body)


def _key(parameter: Parameter) -> str:
    name = parameter.name.lower() if parameter.location == "header" else parameter.name
    return f"{parameter.location}:{name}"


def _merge(schemas: Schemas, body: Body) -> Mapping[str, Any] | None:
    """The body's schema, if its properties can stand beside the parameters: that of a closed object, as it is meant.

    One that says what else it takes is given whole, and so is one that may be left out but not in part.
    """
    schema = schemas.collapse(body.schema)
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object" or schema.get("nullable"):
        return None
    is_plain = all(key in _OBJECT or key.startswith("x-") for key in schema)
    is_closed = schema.get("additionalProperties", False) is False
    properties = schema.get("properties")
    if not (is_plain and is_closed and isinstance(properties, Mapping) and properties):
        return None
    if not body.required and schema.get("required"):
        return None
    return {**schema, "properties": {name: each for name, each in properties.items() if not is_read_only(each)}}


def _convert_field(schemas: Schemas, document: ApiDocument, body: Body | None, schema: Any) -> Any:
    found = schemas.convert(schema)
    if body is None or not body.files or not is_file(document.follow(schema)):
        return found
    plain = {key: each for key, each in found.items() if key not in ("format", "contentMediaType", "contentEncoding")}
    if "items" in plain:
        plain["items"] = {"type": "string"}
    return _describe({"type": "string", **plain}, str(found.get("description", "")) or "the text of the file")


def _describe(schema: Any, description: str) -> Any:
    """The schema with the description, where it has none of its own that says it."""
    if not description or not isinstance(schema, Mapping):
        return schema
    return {**schema, "description": description}


def _name_arguments(wanted: list[tuple[str, str]]) -> list[str]:
    """A name for each location and name: such that every provider takes it, and no two are one."""
    plain = [re.sub(r"[^a-zA-Z0-9_.-]+", "_", name).strip("_.") or "_" for _, name in wanted]
    counts = Counter(plain)
    names: dict[str, None] = {}
    for (location, _), name in zip(wanted, plain, strict=True):
        first = name if counts[name] == 1 else f"{location}_{name}"
        found, number = first, 1
        while found in names:
            number += 1
            found = f"{first}_{number}"
        names[found] = None
    return list(names)
