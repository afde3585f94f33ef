"""A call's arguments checked against a type: at once where they fit, mended and explained where they do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from tidemill.agents.tools.tool import Arguments
from tidemill.config.coercion.adapters import adapt, shape_of
from tidemill.config.paths import KeyPath
from tidemill.config.report.values import check_value, explain_value, to_json_path
from tidemill.config.wording.words import describe_value
from tidemill.errors import Place, Problem
from tidemill.models.structured.repair import decode_text, find_missing_end, repair_json, unwrap_value

_HOLDERS = frozenset(
    {
        "dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type", "dataclass_exact_type",
        "list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type", "named_tuple_type",
    }
)  # fmt: skip
"""Pydantic's errors where an object or a list belongs."""

_SECRETS = (SecretStr, SecretBytes, Secret)

_OBJECT = "an object of arguments, as JSON"
_WHOLE = "write all of it, and less if it was too long"


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
    _validate: Callable[[str], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_validate", adapt(self.target).validator.validate_json)

    def check(self, arguments: Any) -> Arguments:
        """The arguments of a call: JSON text as a model wrote it, or the object itself. Raises nothing.

        Empty text is an object without keys. Text that is no JSON is mended where it can mean one thing, and so is
        JSON within a text where an object or a list belongs; what is mended is said in `repairs`. Of a key that is
        given twice nobody knows which was meant, so that it is refused.
        """
        given = arguments
        try:
            if isinstance(arguments, str):
                given = _DECODER.decode(arguments)
            if type(given) is dict:
                text = arguments if given is not arguments else _dump(arguments)
                return Arguments(self._pass_on(self._validate(text)), given)
        except ValidationError as error:
            return self._mend(arguments, partial(self._mend_value, given, error))
        except (ValueError, TypeError, RecursionError):  # no JSON, or deeper than Python goes
            pass
        return self._mend(arguments, partial(self._mend_text, arguments))

    def write(self, arguments: Arguments, *, reveals: bool = False) -> Mapping[str, Any]:
        """What the tool gets of arguments that fit, as JSON values: `64` where `"64"` came, defaults filled in.

        Where a value has no JSON form, they stand as they came. A secret is a mask, unless it `reveals` them: then
        `check` takes what is written again.
        """
        assert arguments.values is not None
        made = arguments.values[self.whole] if self.whole else arguments.values
        dump = partial(adapt(self.target).dump_python, made, by_alias=True, warnings=False)
        try:
            written: Mapping[str, Any] = dump(mode="json")
            return _reveal(written, dump()) if reveals else written
        except PydanticSerializationError:
            return arguments.given  # type: ignore[no-any-return]  # an object, since it fits

    def _mend(self, arguments: Any, mend: Callable[[], Arguments]) -> Arguments:
        try:
            return mend()
        except RecursionError:
            return self._refuse(arguments, "expected JSON that is nested less deep")

    def _pass_on(self, made: Any) -> Mapping[str, Any]:
        return {self.whole: made} if self.whole else made

    def _mend_text(self, arguments: Any) -> Arguments:
        """What is no object as it came: JSON with a fault, within a text, or something else."""
        if arguments is None or (isinstance(arguments, str) and arguments.strip() in ("", "null")):
            return self._check_object({}, ())
        if not isinstance(arguments, str):
            said = "an object of JSON values" if isinstance(arguments, dict) else _OBJECT
            return self._refuse(arguments, f"expected {said}, got {describe_value(arguments)}")
        repaired = repair_json(arguments)
        try:
            given = arguments if repaired is None else _DECODER.decode(repaired.value_text)
        except ValueError:  # a key that is given twice
            given, repaired = arguments, None
        if isinstance(given, dict) and repaired is not None:
            return self._check_object(given, repaired.repairs)
        if closing := find_missing_end(arguments):
            return self._refuse(arguments, f"the JSON was cut off at its end, where `{closing}` is missing; {_WHOLE}")
        found = () if repaired is not None else check_value(self.target, arguments, shows_all=True).problems
        reason = "" if repaired is not None else _find_reason(arguments)
        return self._refuse(arguments, f"expected {_OBJECT}, got {reason or describe_value(given)}", found)

    def _check_object(self, given: dict[str, Any], repairs: tuple[str, ...]) -> Arguments:
        try:
            return Arguments(self._pass_on(self._validate(_dump(given))), given, (), repairs)
        except ValidationError as error:
            return self._mend_value(given, error, repairs)

    def _mend_value(self, given: dict[str, Any], error: ValidationError, repairs: tuple[str, ...] = ()) -> Arguments:
        """The arguments with JSON read within texts, or out of a wrapper, if that makes them fit; else the problems."""
        found = self._read_texts(given, error)
        if found is None and isinstance(inner := self._unwrap(given), dict):
            try:
                made = self._validate(_dump(inner))
            except ValidationError:
                pass
            else:
                return Arguments(self._pass_on(made), inner, (), (*repairs, "the object within a wrapper was taken"))
        if found is None:
            return Arguments(None, given, tuple(explain_value(error, self.target, given, shows_all=True)), repairs)
        value, paths = found
        told = tuple(f"the JSON text at {to_json_path(path)} was read" for path in paths)
        return self._check_object(value, (*repairs, *told))

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

    def _unwrap(self, given: dict[str, Any]) -> Any:
        """What a wrapper around the arguments holds, as `{"arguments": {…}}`; None where its key is one of theirs."""
        return None if given.keys() & self.schema.get("properties", {}).keys() else unwrap_value(given)

    def _refuse(self, arguments: Any, message: str, problems: tuple[Problem, ...] = ()) -> Arguments:
        """The problems of what is no object, or cannot be read; `message` where nothing else is known."""
        return Arguments(None, arguments, problems or (Problem(message, Place("$")),))


def _dump(value: Any) -> str:
    """JSON of what is made of its values alone.

    Raises:
        TypeError, ValueError: something in it is none of them: a key that is no text, NaN, a tuple.
    """
    text = json.dumps(value, allow_nan=False)
    if not isinstance(value, dict) or json.loads(text) != value:
        raise TypeError("this is not JSON")
    return text


def _reveal(written: Any, made: Any) -> Any:
    """What is written of `made`, with its secrets in the place of their masks."""
    if isinstance(made, _SECRETS):
        return to_jsonable_python(made.get_secret_value())
    if isinstance(written, dict) and isinstance(made, dict) and len(written) == len(made):
        return {
            key: _reveal(each, made_of) for (key, each), made_of in zip(written.items(), made.values(), strict=True)
        }
    if isinstance(written, list) and isinstance(made, (list, tuple)) and len(written) == len(made):
        return [_reveal(each, made_of) for each, made_of in zip(written, made, strict=True)]
    return written


def _find_reason(text: str) -> str:
    """What JSON has in it that no value is; empty where it is no JSON at all."""
    try:
        _DECODER.decode(text)
    except json.JSONDecodeError:
        return ""
    except ValueError as error:
        return str(error)
    return ""


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"`{text}`, which JSON does not have")


def _parse_float(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"`{text}`, which no float holds")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant, parse_float=_parse_float)
"""Reads JSON with each key once and finite numbers, and nothing else."""
