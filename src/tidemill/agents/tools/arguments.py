"""A call's arguments checked against a type: at once where they fit, mended and explained where they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from tidemill.agents.tools.tool import Arguments
from tidemill.config.coercion.adapters import adapt, shape_of
from tidemill.config.paths import KeyPath
from tidemill.config.report.values import check_value, explain_value, to_json_path
from tidemill.config.wording.words import describe_value
from tidemill.errors import Place, Problem
from tidemill.models.structured.repair import decode_text, repair_json, unwrap_value

MAX_ROUNDS = 4
"""How many layers of JSON within texts are read, each where an object or a list belongs."""

_HOLDERS = frozenset(
    {
        "dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type", "dataclass_exact_type",
        "list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type", "named_tuple_type",
    }
)  # fmt: skip
"""Pydantic's errors where an object or a list belongs."""


@dataclass(frozen=True, slots=True)
class TypeSignature:
    """Takes the arguments that are of a type; safe to share between threads.

    Attributes:
        target: the type, as `config.coercion.depth.deepen` or `config.schemas.reading.read_schema` gives it.
        schema: what the model is told of it.
        whole: the parameter that the value as a whole goes to; empty where its keys are the parameters.
    """

    target: Any
    schema: Mapping[str, Any]
    whole: str = ""
    _validate: Callable[[str | bytes], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_validate", adapt(self.target).validator.validate_json)

    def check(self, arguments: Any) -> Arguments:
        """The arguments of a call: JSON text as a model wrote it, or the object itself. Raises nothing.

        Empty text is an object without keys. Text that is no JSON is mended where it can mean one thing, and so is
        JSON within a text where an object or a list belongs; what is mended is said in `repairs`. Of a key that is
        given twice nobody knows which was meant, so that it is refused.
        """
        given, text = arguments, arguments
        try:
            if isinstance(text, str):
                given = _DECODER.decode(text)
            else:
                text = orjson.dumps(arguments)
            if type(given) is dict:
                return Arguments(self._pass_on(self._validate(text)), given)
        except ValidationError as error:
            return self._mend_value(given, error)
        except (ValueError, TypeError, RecursionError):  # no JSON, or deeper than Python goes
            return self._mend_text(arguments)
        return self._mend_text(arguments)

    def _pass_on(self, made: Any) -> Mapping[str, Any]:
        return {self.whole: made} if self.whole else made

    def _mend_text(self, arguments: Any) -> Arguments:
        """What is no object as it came: JSON with a fault, within a text, or something else."""
        if isinstance(arguments, (bytes, bytearray)):
            return self.check(arguments.decode("utf-8", "replace"))
        if arguments is None or (isinstance(arguments, str) and arguments.strip() in ("", "null")):
            return self._check_object({}, ())
        if not isinstance(arguments, str):
            return self._refuse(arguments, arguments)
        repaired = repair_json(arguments)
        try:
            given = None if repaired is None else _DECODER.decode(repaired.value_text)
        except (ValueError, RecursionError):
            given, repaired = None, None
        if repaired is None:
            return self._refuse(arguments, arguments)
        if isinstance(given, dict):
            return self._check_object(given, repaired.repairs)
        return self._refuse(arguments, given)

    def _check_object(self, given: dict[str, Any], repairs: tuple[str, ...]) -> Arguments:
        try:
            return Arguments(self._pass_on(self._validate(orjson.dumps(given))), given, (), repairs)
        except ValidationError as error:
            return self._mend_value(given, error, repairs)

    def _mend_value(self, given: dict[str, Any], error: ValidationError, repairs: tuple[str, ...] = ()) -> Arguments:
        """The arguments with JSON read within texts, or out of a wrapper, if that makes them fit; else the problems."""
        found = self._read_texts(given, error)
        if found is None and isinstance(inner := unwrap_value(given), dict):
            try:
                made = self._validate(orjson.dumps(inner))
            except (ValidationError, TypeError):
                pass
            else:
                return Arguments(self._pass_on(made), inner, (), (*repairs, "the object within a wrapper was taken"))
        if found is None:
            return Arguments(None, given, tuple(explain_value(error, self.target, given)), repairs)
        value, paths = found
        told = tuple(f"the JSON text at {to_json_path(path)} was read" for path in paths)
        return self._check_object(value, (*repairs, *told)) if len(repairs) < MAX_ROUNDS else self._refuse(given, given)

    def _read_texts(self, given: dict[str, Any], error: ValidationError) -> tuple[dict[str, Any], list[KeyPath]] | None:
        """`given` with the objects and lists that stand in it as texts; None where there are none."""
        paths = list(dict.fromkeys(self._iter_texts(error)))
        value, read = deepcopy(given), []
        for path in paths:
            *above, last = path
            holder: Any = value
            for item in above:
                holder = holder[item]
            held = decode_text(holder[last])
            if held is not None:
                holder[last] = held
                read.append(path)
        return (value, read) if read else None

    def _iter_texts(self, error: ValidationError) -> Iterator[KeyPath]:
        """The paths of texts where an object or a list belongs."""
        shape = shape_of(self.target)
        for each in error.errors(include_url=False, include_context=False):
            if each["type"] in _HOLDERS and isinstance(each["input"], str) and each["loc"]:
                yield shape.walk(tuple(each["loc"])).path

    def _refuse(self, arguments: Any, given: Any) -> Arguments:
        """The problems of what is no object, or cannot be read."""
        if isinstance(given, str) and given is arguments:
            problems = check_value(self.target, given).problems
        else:
            problems = ()
        fallback = Problem(f"expected an object of arguments, got {describe_value(given)}", Place("$"))
        return Arguments(None, arguments, problems or (fallback,))


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")


def _parse_float(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"no float holds {text}")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant, parse_float=_parse_float)
"""Reads JSON with each key once and finite numbers, and nothing else."""
