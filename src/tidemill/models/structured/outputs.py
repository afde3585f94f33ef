"""What a reply may be asked to be: a Pydantic model, any other annotation, or a JSON Schema."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.config.coercion.adapters import adapt
from tidemill.config.coercion.annotations import is_annotation
from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.config.roles import Runtime
from tidemill.config.schemas.reading import read_schema
from tidemill.config.types.fingerprints import fingerprint_annotation
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.suggest import find_near_file
from tidemill.config.wording.words import Says, describe_value
from tidemill.errors import ConfigError

_FORMS = "a Pydantic model, another class or annotation, a JSON Schema, or the path of one"


@dataclass(frozen=True, slots=True, eq=False)
class ReplyType:
    """What a reply must be of, where that is no Pydantic model. Two are equal that take the same.

    Attributes:
        digest: tells it from others: of its JSON Schema and its validators, not its name.
        annotation: what values are checked by, under the rules of `Config`.
        document: the JSON Schema that was given, where one was: a value is plain JSON then.
        path: how a job file names it, empty where it does not.
    """

    digest: str
    annotation: Annotated[Any, Runtime()]
    document: Annotated[Mapping[str, Any] | None, Runtime()] = None
    path: Annotated[str, Runtime()] = ""

    @property
    def __name__(self) -> str:
        """What a message calls it."""
        if self.path:
            return self.path
        return "a JSON Schema" if self.document is not None else getattr(self.annotation, "__name__", "a union")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyType) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


Target = type[BaseModel] | ReplyType
"""What `output` holds."""


def annotation_of(target: Target) -> Any:
    """What values of `target` are annotated with."""
    return target.annotation if isinstance(target, ReplyType) else target


def to_target(value: Any, folder: Path | None = None) -> Target:
    """What `value` asks a reply to be.

    Args:
        value: a Pydantic model, a dataclass, a TypedDict or any other annotation; a JSON Schema as a mapping; the path
            of a JSON file with one; or the import path of any of these.
        folder: what a relative path is relative to, and where modules are importable from.

    Raises:
        ConfigError: it is none of these, or has no JSON Schema.
    """
    if isinstance(value, ReplyType) or (isinstance(value, type) and issubclass(value, BaseModel)):
        return value
    if isinstance(value, str) and ":" in value and not value.endswith(".json"):
        return _import(value, folder)
    if isinstance(value, (str, os.PathLike)):
        return _load_file(value, folder)
    if isinstance(value, Mapping):
        return _read_document(value, "")
    if is_annotation(value):
        adapt(value)  # says what is wrong with it
        return ReplyType(fingerprint_annotation(value), value)
    raise ConfigError(f"expected {_FORMS}, got {describe_value(value)}")


def to_written(target: Target, folder: Path) -> Any:
    """How a job file in `folder` has it.

    Raises:
        ConfigError: it has no name that another process finds.
    """
    if not isinstance(target, ReplyType):
        return to_import_path(target)
    if target.document is not None:
        is_file = target.path.endswith(".json")
        return os.path.relpath(target.path, folder) if is_file else target.path or dict(target.document)
    if target.path:
        return target.path
    if isinstance(target.annotation, type) and target.annotation.__module__ != "builtins":
        return to_import_path(target.annotation)
    for module_name, module in sorted(sys.modules.items()):
        for name, held in list(getattr(module, "__dict__", {}).items()):
            if held is target.annotation and module_name not in ("__main__", "builtins"):
                return f"{module_name}:{name}"
    raise ConfigError(
        f"`{target.annotation}` has no import path",
        hint="give it a name at the top of a module, `Labels = list[Label]`, and pass it by that",
    )


def _import(path: str, folder: Path | None) -> Target:
    found = import_object(path, folder)
    if not (is_annotation(found) or isinstance(found, (Mapping, ReplyType))):
        raise ConfigError(f"`{path}` is no Pydantic model, no other class or annotation, and no JSON Schema")
    target = to_target(found, folder)
    return replace(target, path=path) if isinstance(target, ReplyType) else target


def _load_file(path: str | os.PathLike[str], folder: Path | None) -> ReplyType:
    file = Path(folder or ".", path).expanduser()
    if file.suffix != ".json":
        raise ConfigError(f"expected an import path `module:name` or a `.json` file, got `{path}`")
    try:
        document = orjson.loads(file.read_bytes())
    except OSError as error:
        near = find_near_file(file)
        hint = f"did you mean `{near}`?" if near else ""
        raise ConfigError(f"`{path}` cannot be read: {error.strerror or error}", hint=hint) from None
    except ValueError as error:
        raise ConfigError(f"`{path}` is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"`{path}` holds no JSON Schema: expected an object, got {describe_value(document)}")
    return _read_document(document, os.path.abspath(file))


def _read_document(document: Mapping[str, Any], path: str) -> ReplyType:
    return replace(_read_text(orjson.dumps(dict(document))), path=path)


@lru_cache(maxsize=256)
def _read_text(text: bytes) -> ReplyType:
    """The type of a schema as JSON, read once: that takes milliseconds, and a model is asked with it often."""
    document = orjson.loads(text)
    return ReplyType(fingerprint_json(document), read_schema(document), document)


def _validate(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    try:
        return to_target(value, None if folder is None else Path(folder))
    except ConfigError as error:
        context = {"message": error.message, "hint": error.hint}
        raise PydanticCustomError("output", "{message}", context) from None


def _describe(target: Target) -> str:
    try:
        return str(to_written(target, Path()))
    except ConfigError:
        return target.__name__


Output = Annotated[
    Any,
    BeforeValidator(_validate),
    PlainSerializer(_describe, return_type=str),
    Says("the import path of a Pydantic model, of another class or annotation, or a `.json` file with a JSON Schema"),
    WithJsonSchema(
        {
            "description": "An import path, `module:name`, or a `.json` file with a JSON Schema; or the schema itself.",
            "anyOf": [{"type": "string"}, {"type": "object"}],
        }
    ),
]
"""Anything that `to_target` takes; holds what that gives."""
