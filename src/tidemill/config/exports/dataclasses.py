"""A configuration's values in dataclasses: given ones, or ones made for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Set
from functools import lru_cache, partial
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, RootModel, SecretBytes, SecretStr, TypeAdapter, ValidationError

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import problems_from_validation
from tidemill.config.shapes.membership import name_member
from tidemill.config.shapes.shape import Shape, Shapes, enter
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError, Problem

T = TypeVar("T")


def fill_dataclass(config: BaseModel, cls: type[T]) -> T:
    """The values in an instance of `cls`, checked by its annotations as a configuration is.

    Raises:
        ConfigError: with every field that does not fit, at the caller's line.
    """
    if not dataclasses.is_dataclass(cls):
        raise ConfigError(f"expected a dataclass, got {describe_value(cls)}", hint="or give none: one is made then")
    checked: Any = Annotated[cls, ConfigRules()]
    adapter: TypeAdapter[T] = TypeAdapter(checked)
    shape = Shape.of(adapter.core_schema)
    values, value = _to_fields(config, (shape,)), None
    problems: list[Problem] = []
    try:
        value = adapter.validate_python(values)
    except ValidationError as error:
        document = Document.from_value(values)
        document.hide([*shape.iter_secrets(values), *_iter_secrets(config, ())], shape.secret_names)
        problems = problems_from_validation(error, document, shape)
    raise_at_caller(problems, shape)
    return cast(T, value)


def make_dataclass(config: BaseModel) -> Any:
    """The values in an instance of a frozen dataclass that is made for their class, once for each."""
    return _to_made(config)


def _to_made(value: Any) -> Any:
    if isinstance(value, RootModel):
        return _to_made(value.root)
    if isinstance(value, BaseModel):
        made = _make_class(type(value))
        return made(**{name: _to_made(getattr(value, name)) for name in type(value).model_fields})
    return _map_held(value, _to_made)


@lru_cache(maxsize=256)
def _make_class(kind: type[BaseModel]) -> type[Any]:
    fields = [
        (name, field.annotation, dataclasses.field(repr=field.repr, kw_only=True))
        for name, field in kind.model_fields.items()
    ]
    made = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    made.__doc__ = kind.__doc__
    made.__module__ = kind.__module__
    return made


def _to_fields(value: Any, shapes: Shapes) -> Any:
    """Models and dataclasses as mappings of their fields, secrets as they are, all else as it is.

    Args:
        shapes: what they are for: where that is a tagged union that the value is a member of, its tag is added.
    """
    if isinstance(value, RootModel):
        return _to_fields(value.root, shapes)
    fields: dict[str, Any] | None = None
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
    if fields is not None:
        return {name: _to_fields(each, enter(shapes, name)) for name, each in fields.items()} | name_member(
            shapes, value
        )
    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    return _map_held(value, partial(_to_fields, shapes=enter(shapes, 0)))


def _map_held(value: Any, change: Callable[[Any], Any]) -> Any:
    """A mapping, list, tuple or set with what it holds changed; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [change(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [change(item) for item in value]
    if isinstance(value, Set):
        changed = [change(item) for item in value]
        return changed if any(isinstance(each, dict) for each in changed) else type(value)(changed)  # type: ignore[call-arg]
    return value


def _iter_secrets(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Where secrets stand in a configuration."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, (SecretStr, SecretBytes)):
        yield path
    elif isinstance(value, BaseModel):
        inner = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, (list, tuple)):
        inner = list(enumerate(value))
    for item, held in inner:
        yield from _iter_secrets(held, (*path, item))
