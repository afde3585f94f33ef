"""What a configuration does, as JSON: what tells one result from another, and how two of them differ."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import re
from collections.abc import Mapping, Set
from typing import Any, Protocol, cast

import orjson
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from tidemill.config.roles import result_fields
from tidemill.config.secrets import MASK, is_secret_key, mask
from tidemill.config.types.functions import fingerprint_function, fingerprint_schema
from tidemill.config.types.templates import Template

_SECRETS = (SecretStr, SecretBytes)
_AS_THEY_ARE = frozenset({type(None), bool, int, float, str})


class Described(Protocol):
    """What says by itself what it does, where neither its fields nor its source would."""

    def describe_result(self) -> Any:
        """What decides its result, as JSON without secrets."""
        ...


def describe_value(value: Any, *, defaults: bool = False) -> Any:
    """`value` as JSON that says what it does: functions and schemas by their source, without secrets.

    Fields that decide no result are left out, and so is what a mapping holds under a secret key.

    Args:
        defaults: whether fields at their default are told too. Those of Tidemill's own descriptions are not, so that
            a new field changes no old fingerprint.
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Template):
        return value.text
    if hasattr(type(value), "describe_result"):  # `isinstance` of a protocol takes longer than all else here
        return cast(Described, value).describe_result()
    if isinstance(value, BaseModel):
        return describe_fields(value, defaults=defaults)
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"schema": fingerprint_schema(value)}
    if isinstance(value, Mapping):
        items = ((str(key), item) for key, item in value.items())
        return {key: describe_value(item, defaults=defaults) for key, item in items if not is_secret_key(key)}
    if isinstance(value, (list, tuple)):
        return [describe_value(item, defaults=defaults) for item in value]
    if isinstance(value, Set):
        return sorted((describe_value(item, defaults=defaults) for item in value), key=_to_json)
    if isinstance(value, _SECRETS):
        return MASK
    if callable(value):
        return {"function": fingerprint_function(value)}
    if dataclasses.is_dataclass(value):
        return _describe_dataclass(value, defaults)
    return _describe_leaf(value)


def _describe_dataclass(value: Any, defaults: bool) -> dict[str, Any]:
    return {name: describe_value(getattr(value, name), defaults=defaults) for name in result_fields(type(value))}


def _describe_leaf(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return describe_value(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:  # it has no form as JSON; its kind is what can be told
        return f"{type(value).__module__}.{type(value).__qualname__}"


def describe_fields(value: BaseModel, *, defaults: bool = False) -> dict[str, Any]:
    """The fields of a configuration that decide its result, each as `describe_value` has it."""
    fields = type(value).model_fields
    described = {}
    for name in sorted(result_fields(type(value))):
        told = describe_value(value.__dict__.get(name), defaults=defaults)
        if name == "headers" and isinstance(told, dict):
            told = {key: fingerprint_json(text)[:16] for key, text in told.items()}  # any of them may be a credential
        default = fields[name].get_default(call_default_factory=True, validated_data=value.__dict__)
        if defaults or told != describe_value(default):
            described[name] = told
    extras: dict[str, Any] = describe_value(value.__pydantic_extra__ or {}, defaults=defaults)
    return extras | described


def conceal_description(description: Any, *, hidden: bool = False) -> Any:
    """A description as a file may hold it: a text with a secret in it is masked, and has its digest behind it.

    Args:
        hidden: whether all texts are secrets, as below a secret key.
    """
    if isinstance(description, dict):
        items = description.items()
        return {key: conceal_description(item, hidden=hidden or is_secret_key(key)) for key, item in items}
    if isinstance(description, list):
        return [conceal_description(item, hidden=hidden) for item in description]
    if not isinstance(description, str):
        return description
    shown = MASK if hidden else mask(description)
    return description if shown == description else f"{shown} (sha256 {fingerprint_json(description)[:16]})"


def fingerprint_json(description: Any) -> str:
    """A hex digest of plain JSON; the order of keys does not count."""
    return hashlib.sha256(_to_json(description).encode()).hexdigest()


def _to_json(description: Any) -> str:
    return json.dumps(description, sort_keys=True, separators=(",", ":"))


_NOTHING: Any = object()
_DIGEST = re.compile(r" \(sha256 [0-9a-f]{16}\)")


def find_differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two descriptions differ, one line a field."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            lines += find_differences(old.get(key, _NOTHING), new.get(key, _NOTHING), f"{path}.{key}" if path else key)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in find_differences(a, b, f"{path}[{i}]")]
    if old == new:
        return []
    was, now = _show(old), _show(new)
    return [f"{path}: was {was}, is {now if now != was else 'another'}"]


def _show(value: Any) -> str:
    """A value as a message may hold it: of a secret no digest, by which a short one can be found out."""
    text = "not there" if value is _NOTHING else _DIGEST.sub("", orjson.dumps(value).decode())
    return text if len(text) <= 100 else f"{text[:97]}…"
