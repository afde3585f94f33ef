"""Pydantic's own errors without secrets: what `.errors()` and `.json()` of a model show that a `Config` stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from tidemill.config.paths import KeyPath
from tidemill.config.secrets import MASK, MIN_CONCEALED, is_secret_key, mask, mask_parts
from tidemill.config.shapes.misplaced import iter_misplaced
from tidemill.config.shapes.shape import Shape

_MARK = "tidemill_concealed"
_KINDS = frozenset(get_args(core_schema.ErrorType))


def conceal_errors(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    """The core schema of `model`, whose errors hold no value of a secret type or under a name that looks like one.

    What a model around it says of its own input is not in reach: a field that is missing there shows all of it.
    """
    if _is_concealed(schema) or _is_concealed(schema.get("schema", {})):
        return schema
    if schema["type"] == "model":  # within, so that an error of a union has the model's name in its `loc`
        return {**schema, "schema": _wrap(model, schema["schema"])}
    inner = {name: part for name, part in schema.items() if name != "ref"}
    outer = {name: part for name, part in schema.items() if name == "ref"}
    return _wrap(model, inner) | outer


def _is_concealed(schema: Mapping[str, Any]) -> bool:
    return _MARK in schema.get("metadata", {})


def _wrap(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    def conceal(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            concealed = _Concealing(Shape.of(model.__pydantic_core_schema__), value, error).conceal()
        raise concealed from None

    conceal.__qualname__ = model.__qualname__  # which tells a union's members apart
    function = {"type": "no-info", "function": conceal}
    return {"type": "function-wrap", "function": function, "schema": schema, "metadata": {_MARK: True}}


class _Concealing:
    """The secrets of one value that did not fit."""

    def __init__(self, shape: Shape, value: Any, error: ValidationError) -> None:
        self.shape = shape
        self.error = error
        self.details = cast(list[dict[str, Any]], error.errors(include_url=False))
        self.names = shape.secret_names
        self.paths = frozenset([*shape.iter_secrets(value), *iter_misplaced(self.details, shape)])
        self.texts = sorted(set(self._iter_texts(value, ())), key=len, reverse=True)

    def conceal(self) -> ValidationError:
        """The error without them, itself where it has none."""
        lines = [self._conceal_line(each) for each in self.details]
        if all(line is None for line in lines):
            return self.error
        kept = [line or _to_line(each) for line, each in zip(lines, self.details, strict=True)]
        return ValidationError.from_exception_data(self.error.title, kept, hide_input=True)

    def _conceal_line(self, detail: dict[str, Any]) -> InitErrorDetails | None:
        """One line of the error, None when it shows no secret."""
        given, path = detail["input"], self.shape.walk(tuple(detail["loc"])).path
        secret = str(given) if isinstance(given, (str, int, float)) and self._is_secret(path) else ""
        shown = self._mask(given, path)
        context = {name: self._conceal_text(value, secret) for name, value in detail.get("ctx", {}).items()}
        message = self._conceal_text(detail["msg"], secret)
        kept = [shown is given, message is detail["msg"]]
        kept += [context[name] is value for name, value in detail.get("ctx", {}).items()]
        return None if all(kept) else _to_line({**detail, "input": shown, "ctx": context, "msg": message})

    def _mask(self, value: Any, path: KeyPath) -> Any:
        """What an error shows, itself where it is no secret and holds none; only plain data is looked into."""
        if value is None or isinstance(value, bool):
            return value
        if self._is_secret(path):
            return MASK
        if isinstance(value, Mapping):
            masked = {key: self._mask(item, (*path, key)) for key, item in value.items()}
            return value if all(masked[key] is item for key, item in value.items()) else masked
        if isinstance(value, (list, tuple)):
            items = [self._mask(item, (*path, index)) for index, item in enumerate(value)]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return self._conceal_text(value) if isinstance(value, str) else value

    def _is_secret(self, path: KeyPath) -> bool:
        named = any(isinstance(item, str) and is_secret_key(item, self.names) for item in path)
        return named or any(path[: len(secret)] == secret for secret in self.paths)

    def _iter_texts(self, value: Any, path: KeyPath) -> Iterator[str]:
        if isinstance(value, str):
            if len(value) >= MIN_CONCEALED and self._is_secret(path):
                yield value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from self._iter_texts(item, (*path, key))
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from self._iter_texts(item, (*path, index))

    def _conceal_text(self, value: Any, own: str = "") -> Any:
        """A text or an exception without the secrets, and any part of its `own`; itself where it has none."""
        if isinstance(value, (ValueError, AssertionError)):
            text = self._conceal_text(said := str(value), own)
            kind = AssertionError if isinstance(value, AssertionError) else ValueError
            return value if text is said else kind(text)
        if not isinstance(value, str):
            return value
        text = mask_parts(mask(value), own)
        for secret in self.texts:
            text = text.replace(secret, MASK)
        return value if text == value else text


def _to_line(detail: Mapping[str, Any]) -> InitErrorDetails:
    line: dict[str, Any] = {name: detail[name] for name in ("loc", "input")}
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _KINDS:
        return cast(InitErrorDetails, {**line, "type": kind, "ctx": context})
    return cast(InitErrorDetails, {**line, "type": PydanticCustomError(kind, detail["msg"], context)})
