"""What a tool takes where a server or a specification says it: as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.agents.tools.arguments import TypeSignature
from tidemill.config.schemas.json_schema import json_schema
from tidemill.config.schemas.reading import read_schema
from tidemill.errors import ConfigError


def schema_signature(schema: Mapping[str, Any]) -> TypeSignature:
    """What is taken by a tool whose arguments are of a JSON Schema.

    Values are plain JSON by their names in the schema, defaults not filled in: whoever made the schema knows them. The
    model is told the schema as it is, closed where it does not say otherwise.

    Raises:
        ConfigError: it is no JSON Schema, or none of an object; with the path of the part that is wrong.
    """
    if schema.get("type", "object") != "object":
        raise ConfigError(
            f"a tool's arguments are an object, and this schema says `{schema['type']}`",
            where="#/type",
            hint="put it under a property of an object",
        )
    target = read_schema({"type": "object", "properties": {}, **schema})
    told = {key: value for key, value in json_schema(target).items() if key != "$schema"}
    return TypeSignature(target, told)
