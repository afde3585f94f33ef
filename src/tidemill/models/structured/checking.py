"""`OutputParser`: checks what a model wrote against what was asked for, mended where it can mean one thing only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json

from tidemill.config.coercion.adapters import adapt
from tidemill.config.coercion.table import ConfigRules
from tidemill.config.report.values import MAX_LINES, explain_value, render_lines
from tidemill.models.structured.outputs import ReplyType, Target, annotation_of
from tidemill.models.structured.repair import decode_text, repair_json, unwrap_value

WRAPPED = "value"
"""The key under which a reply stands that is no object, where a provider wants one."""

_NOT_TEXT = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type", "dataclass_type"}) | {
    "list_type",
    "tuple_type",
    "set_type",
    "frozen_set_type",
}
"""Pydantic's errors of a text where an object or a list belongs."""


class OutputParser:
    """Checks replies against one target.

    A parsed reply is the JSON form of what was asked for (`model_dump(mode="json")`): what a sink can write and a
    resumed run reads back the same. Safe to share between threads.

    Args:
        target: a Pydantic model, checked by its own rules, or a `ReplyType`, by those of `Config`.
        is_wrapped: whether the value stands in an object, under `value`.
    """

    def __init__(self, target: Target, *, is_wrapped: bool = False) -> None:
        self._name = target.__name__
        self._is_wrapped = is_wrapped
        self._is_plain = isinstance(target, ReplyType) and target.document is not None
        self._target: Any = _wrap(target) if is_wrapped else annotation_of(target)
        self._validate, self._dump = _find_functions(self._target)

    def parse(self, text: str) -> Any:
        """The value in `text`, as JSON has it.

        Raises:
            pydantic.ValidationError: the text is not JSON, or not of the target, and not one mend away from it.
        """
        return self._to_json(self._read(text))

    def parse_object(self, text: str) -> Any:
        """The object of the target in `text`, of a JSON Schema its JSON; raises as `parse`."""
        return self._to_object(self._read(text))

    def parse_both(self, text: str) -> tuple[Any, Any]:
        """What `parse_object` gives of `text`, and what `parse` does; raises as they do."""
        value = self._read(text)
        return self._to_object(value), self._to_json(value)

    def is_mended(self, text: str) -> bool:
        """Whether `text` is of the target once it is mended, and is not as it stands. Raises nothing."""
        try:
            self._validate(text)
        except ValidationError as error:
            try:
                self._mend(text, error)
            except ValidationError:
                return False
            return True
        except Exception:  # noqa: BLE001 - a validator of the user's may raise anything, and will where it counts
            return False
        return False

    def explain(self, error: ValidationError, text: str) -> str:
        """What to tell the model: one line for each failing path, what was expected and what it sent."""
        if (repaired := repair_json(text)) is None:
            return "Your reply is not valid JSON: it is cut off or has text around the object."
        if repaired.repairs:
            text = repaired.value_text
            try:
                self._validate(text)
            except ValidationError as found:
                error = found
        lines = explain_misfits(error, self._target, text)
        return "These parts of your reply are wrong:\n" + "\n".join(f"- {line}" for line in lines[:MAX_LINES])

    def _read(self, text: str) -> Any:
        """The value in `text`, in what it is wrapped in."""
        try:
            return self._validate(text)
        except ValidationError as error:
            return self._mend(text, error)

    def _to_json(self, value: Any) -> Any:
        dumped = self._dump(value)
        return dumped[WRAPPED] if self._is_wrapped else dumped

    def _to_object(self, value: Any) -> Any:
        if self._is_plain:
            return self._to_json(value)
        return value.value if self._is_wrapped else value

    def _mend(self, text: str, error: ValidationError) -> Any:
        """The value of `text` mended, if that is of the target.

        Raises:
            pydantic.ValidationError: `error`, where nothing that it can mean fits.
        """
        repaired = repair_json(text)
        if repaired is None:
            raise error
        found = error
        if repaired.repairs:
            try:
                return self._validate(repaired.value_text)
            except ValidationError as again:
                found = again
        for mended in self._iter_meanings(orjson.loads(repaired.value_text), found):
            try:
                return self._validate(orjson.dumps(mended))
            except ValidationError:  # it means something else then
                continue
        raise error

    def _iter_meanings(self, value: Any, error: ValidationError) -> Iterator[Any]:
        """What a reply may have meant that is JSON and does not fit."""
        inner = unwrap_value(value, self._name)
        yield from (each for each in (decode_texts(value, error), inner) if each is not None)
        if self._is_wrapped and not (isinstance(value, dict) and WRAPPED in value):
            yield {WRAPPED: value}
            if inner is not None:
                yield {WRAPPED: inner}


def decode_texts(value: Any, error: ValidationError) -> Any:
    """`value` with the texts read that are JSON of an object or a list, where `error` says that one belongs.

    None where there is no such text.
    """
    paths = [each["loc"] for each in error.errors(include_url=False, include_context=False) if _wants_more(each)]
    changed = False
    for path in dict.fromkeys(paths):
        value, is_changed = _decode_at(value, path)
        changed = changed or is_changed
    return value if changed else None


def _wants_more(error: Any) -> bool:
    return error["type"] in _NOT_TEXT and isinstance(error["input"], str)


def _decode_at(value: Any, path: tuple[int | str, ...]) -> tuple[Any, bool]:
    """`value` with the text at `path` read; parts of the path that name a member of a union are none of it."""
    if not path:
        decoded = decode_text(value)
        return (value, False) if decoded is None else (decoded, True)
    head, rest = path[0], path[1:]
    if isinstance(value, dict) and head in value:
        held, changed = _decode_at(value[head], rest)
        return ({**value, head: held}, True) if changed else (value, False)
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        held, changed = _decode_at(value[head], rest)
        return ([*value[:head], held, *value[head + 1 :]], True) if changed else (value, False)
    return _decode_at(value, rest) if isinstance(head, str) else (value, False)


def explain_misfits(error: ValidationError, target: Any, text: str | bytes) -> list[str]:
    """A line for each failing path of a JSON `text`: what was expected and what there was, secrets masked.

    Args:
        target: a Pydantic model or another annotation, or a `ReplyType`.
    """
    try:
        value = from_json(text)
    except ValueError:  # then that is the one error there is
        value = text
    return render_lines(explain_value(error, annotation_of(target), value))


def _wrap(target: Target) -> type[BaseModel]:
    """The object that a value of the target stands in."""
    annotation: Any = Annotated[target.annotation, ConfigRules()] if isinstance(target, ReplyType) else target
    fields: dict[str, Any] = {WRAPPED: (annotation, ...)}
    wrapper: type[BaseModel] = create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields)
    return wrapper


def _find_functions(target: Any) -> tuple[Callable[[str | bytes], Any], Callable[[Any], Any]]:
    """What makes a value of JSON text, and its JSON form of that."""
    if isinstance(target, type) and issubclass(target, BaseModel):
        dump = target.__pydantic_serializer__.to_python
        return target.__pydantic_validator__.validate_json, lambda value: dump(value, mode="json")
    adapter: TypeAdapter[Any] = adapt(target)
    return adapter.validate_json, lambda value: adapter.dump_python(value, mode="json")
