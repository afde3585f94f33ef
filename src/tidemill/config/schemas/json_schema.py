"""The JSON Schema of what can be configured: for editors, for other programs, for a file's first line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import AliasChoices, BaseModel, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tidemill.config.coercion.annotations import explain_annotation, is_annotation, suggest_class
from tidemill.config.coercion.conversions import ToMember
from tidemill.config.coercion.table import ConfigRules
from tidemill.config.schemas.docstrings import describe_class, describe_fields
from tidemill.config.schemas.file_schema import take_file
from tidemill.config.secrets import is_secret_key, mask_value
from tidemill.config.shapes.shape import Shape
from tidemill.config.subschemas import (
    JsonSchema,
    add_form,
    add_names,
    close_object,
    drop_title,
    inline_root,
    map_schemas,
)
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError

_FIRST = "$ref description deprecated type const enum"
_LAST = "anyOf oneOf allOf properties patternProperties required additionalProperties items default examples $defs"
_PLACES = {key: place for place, key in enumerate([*_FIRST.split(), "", *_LAST.split()])}
"""Where each keyword stands in a schema; those that are not here, as bounds, in between."""

_RENAMED = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "multiple_of": "multipleOf",
}
"""Bounds that Pydantic leaves under its own names where a validator of ours stands in front of the number."""


def json_schema(x: Any, *, of_file: bool = False) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the values that `x` takes.

    Objects are closed wherever an unknown key is refused. Descriptions are those of docstrings, as `describe_fields`
    finds them; defaults, bounds and examples those of the fields. A value is described as it is best written: texts
    that `Config` makes numbers of, as `"64"`, are not in it.

    Args:
        x: a `Config`, any Pydantic model, a dataclass, a TypedDict, any annotation; `tm.Job`, or a job, for job files.
        of_file: take what a file may have besides: `include`, and `${…}` in place of any value.

    Raises:
        ConfigError: `x` is no type, or one that Pydantic does not know.
    """
    if isinstance(given := getattr(x, "__json_schema__", None), dict):  # of `read_schema`, which was one
        return {"$schema": _Writer.schema_dialect, **(take_file(given) if of_file else given)}
    target = getattr(x, "__file_form__", x)
    if not is_annotation(target):
        raise _no_schema(x, "it is neither a class nor an annotation", suggest_class(x))
    is_model = isinstance(target, type) and issubclass(target, BaseModel)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(target if is_model else Annotated[target, ConfigRules()])
        adapter.rebuild()
        written = adapter.json_schema(schema_generator=_Writer)
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise _no_schema(x, *explain_annotation(target, error)) from error
    schema: JsonSchema = map_schemas(inline_root(written), _tidy)
    return {"$schema": _Writer.schema_dialect, **(take_file(schema) if of_file else schema)}


class _Writer(GenerateJsonSchema):
    """Pydantic's schema with our descriptions, in the order in which things were declared."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as Pydantic declares it

    _known: Mapping[str, Any] = {}
    """The schemas that others refer to."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        written = _describe(super().model_schema(schema), schema["cls"])
        is_closed = cast(Any, schema).get("config", {}).get("extra_fields_behavior") == "forbid"
        return close_object(written) if is_closed else written

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _describe(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        written = super().typed_dict_schema(schema)
        return _describe(written, schema["cls"]) if "cls" in schema else written

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        written, convert = super().function_before_schema(schema), schema["function"]["function"]
        if not isinstance(convert, ToMember) or not convert.names:
            return written
        # Taken, and not offered beside the values, which an enum would be.
        return add_form(written, {"type": "string", "pattern": f"^({'|'.join(convert.names)})$"})

    def definitions_schema(self, schema: core_schema.DefinitionsSchema) -> JsonSchemaValue:
        self._known = {each["ref"]: each for each in cast(Any, schema["definitions"])}
        return super().definitions_schema(schema)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        """Anything: what only Python can give, a validator may make of what a file has."""
        return {}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Of an instance of a tagged union's member, with its tag; of what holds a secret, none."""
        written, shape = super().default_schema(schema), Shape(schema, dict(self._known))
        if "default" in written and _has_secret(shape, written["default"]):
            del written["default"]
        tag, default = shape.tag, schema.get("default")
        if tag is not None and isinstance(written.get("default"), dict) and (name := tag.name(default)) is not None:
            written["default"] = {tag.key: name, **written["default"]}
        return written

    def encode_default(self, dft: Any) -> Any:
        """Of a model what differs from its own defaults, which stand in its own schema."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return super().encode_default(dft)


def _describe(schema: JsonSchema, cls: type) -> JsonSchema:
    """The schema of a class with what its docstrings say."""
    if schema.get("description") in (None, inspect.cleandoc(cls.__doc__ or "")):
        schema["description"] = describe_class(cls)
    fields: dict[str, FieldInfo] = getattr(cls, "__pydantic_fields__", {})
    described = describe_fields(cls)
    properties = schema.get("properties", {})
    for name in fields or properties:
        key, *others = _find_keys(cls, name, fields[name]) if fields else [name]
        if key not in properties:
            continue
        part = properties[key]
        if name in described:
            part["description"] = described[name]
        hidden = is_secret_key(key) or any(each.get("format") == "password" for each in (part, *part.get("anyOf", ())))
        for keyword in ("default", "examples"):
            if keyword in part and mask_value(part[keyword], hidden=hidden) != part[keyword]:
                del part[keyword]
        schema = add_names(schema, key, *others)
    return schema


def _has_secret(shape: Shape, default: Any) -> bool:
    """Whether a default, as JSON, is a secret or holds one; null and an empty text are none."""
    for path in shape.iter_secrets(default):
        value = default
        for item in path:
            value = value[item]
        if value not in (None, ""):
            return True
    return bool(mask_value(default) != default)


def _find_keys(cls: Any, name: str, field: FieldInfo) -> list[str]:
    """The keys under which a field is read, the one that is documented first."""
    alias = field.validation_alias or field.alias
    keys = [each for each in alias.choices if isinstance(each, str)] if isinstance(alias, AliasChoices) else [alias]
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", {})
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        keys.append(name)
    return list(dict.fromkeys(key for key in keys if isinstance(key, str))) or [name]


def _tidy(schema: JsonSchema) -> JsonSchema:
    """Without titles and empty keywords, what it says first in front and defaults last."""
    named = {_RENAMED.get(key, key): value for key, value in drop_title(schema).items()}
    kept = {key: value for key, value in named.items() if not (key in ("description", "required") and not value)}
    return dict(sorted(kept.items(), key=lambda item: _PLACES.get(item[0], _PLACES[""])))


def _no_schema(x: Any, reason: str, hint: str) -> ConfigError:
    return ConfigError(f"no JSON Schema can be made of {describe_value(x)}: {reason}", hint=hint)
