"""The JSON Schema of what a reply is to be, before any provider's dialect."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from tidemill.config.coercion.adapters import make_adapter
from tidemill.config.subschemas import JsonSchema, map_schemas
from tidemill.errors import ConfigError
from tidemill.models.structured.checking import WRAPPED
from tidemill.models.structured.dialects.table import tidy_schema
from tidemill.models.structured.outputs import ReplyType, Target

_ROOT = "Reply"


def reply_schema(target: Target) -> JsonSchema:
    """The JSON Schema of `target` as it is sent: without titles, closed, its root no reference.

    References go to `$defs` alone; what is said of one's own root is a definition, too.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(target, ReplyType):
        return tidy_schema(_schema_of(target))
    if target.document is None:
        return tidy_schema(make_adapter(target.annotation).json_schema())
    return tidy_schema(gather_definitions(dict(target.document)))


def _schema_of(model: type[BaseModel]) -> JsonSchema:
    try:
        return model.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(
            f"`{model.__qualname__}` has no JSON schema: {error.message}",
            hint="use types that JSON has, or give the field `WithJsonSchema`",
        ) from None


def is_object(schema: JsonSchema) -> bool:
    """Whether each value of `schema` is an object, and its root says so by itself."""
    return schema.get("type") == "object" and schema.keys().isdisjoint({"anyOf", "oneOf", "allOf", "$ref"})


def wrap_schema(schema: JsonSchema) -> JsonSchema:
    """The schema of an object that holds a value of `schema`."""
    inner = {keyword: value for keyword, value in schema.items() if keyword not in ("$defs", "$schema")}
    wrapped = {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": False,
    }
    return wrapped | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


def gather_definitions(schema: JsonSchema) -> JsonSchema:
    """`schema` with all definitions under `$defs`, one of itself among them where it refers to that."""
    definitions = {**schema.pop("definitions", {}), **schema.get("$defs", {})}
    if definitions:
        schema["$defs"] = definitions
    root = _ROOT
    while root in definitions:
        root += "_"
    uses_root = False

    def redirect(part: Any) -> Any:
        nonlocal uses_root
        reference = part.get("$ref")
        if reference == "#":
            uses_root = True
            return {**part, "$ref": f"#/$defs/{root}"}
        if isinstance(reference, str) and reference.startswith("#/definitions/"):
            return {**part, "$ref": f"#/$defs/{reference.removeprefix('#/definitions/')}"}
        return part

    redirected: JsonSchema = map_schemas(schema, redirect)
    if not uses_root:
        return redirected
    own = {keyword: value for keyword, value in redirected.items() if keyword not in ("$defs", "$schema", "$id")}
    return {"$ref": f"#/$defs/{root}", "$defs": {**redirected.get("$defs", {}), root: own}}
