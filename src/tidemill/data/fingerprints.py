"""What a description does, as JSON, and what tells one from another across processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tidemill.config.secrets import is_secret_key, mask
from tidemill.config.types.functions import fingerprint_function, fingerprint_schema
from tidemill.config.types.templates import Template
from tidemill.data.nodes.node import Node


def describe_node(node: Node) -> dict[str, Any]:
    """A step as JSON that says what it does: its kind and what `describe_value` makes of its fields."""
    return {"kind": node.kind, **describe_value(node)}


def are_same_nodes(ours: Sequence[Node], theirs: Sequence[Node]) -> bool:
    """Whether two lists of steps say the same, field by field; functions do when their fingerprints are equal."""
    return len(ours) == len(theirs) and all(
        type(one) is type(other)
        and all(_are_same(getattr(one, name), getattr(other, name)) for name in type(one).model_fields)
        for one, other in zip(ours, theirs, strict=True)
    )


def _are_same(one: Any, other: Any) -> bool:
    if one is other or one == other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(_are_same(one[key], other[key]) for key in one)
    if isinstance(one, BaseModel) or isinstance(other, BaseModel):  # a model may be called, and is no function
        return False
    return callable(one) and callable(other) and fingerprint_function(one) == fingerprint_function(other)


def describe_value(value: Any) -> Any:
    """`value` as JSON that says what it does: functions and schemas by their source, secrets left out.

    Fields at their default are left out, so that a new field changes no old fingerprint; so are names, and what a
    class with `result_fields` does not count among them.
    """
    if isinstance(value, Template):
        return value.text
    if isinstance(value, BaseModel):
        return _describe_fields(value)
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"schema": fingerprint_schema(value)}
    if isinstance(value, Mapping):
        return {str(key): describe_value(item) for key, item in value.items() if not is_secret_key(str(key))}
    if isinstance(value, (list, tuple)):
        return [describe_value(item) for item in value]
    if callable(value):
        return {"function": fingerprint_function(value)}
    return value


def _describe_fields(value: BaseModel) -> dict[str, Any]:
    fields = type(value).model_fields
    described = {}
    for name in sorted(getattr(type(value), "result_fields", fields)):
        held = describe_value(getattr(value, name))
        if name == "headers":  # a credential may stand under any name: what is kept of a header is its digest
            held = {key: fingerprint_json(text)[:16] for key, text in held.items()}
        if name != "name" and held != describe_value(fields[name].get_default(call_default_factory=True)):
            described[name] = held
    return described


def conceal_description(description: Any) -> Any:
    """A description as a file may hold it: a text with a secret in it is masked, and has its digest behind it."""
    if isinstance(description, dict):
        return {key: conceal_description(item) for key, item in description.items()}
    if isinstance(description, list):
        return [conceal_description(item) for item in description]
    if not isinstance(description, str):
        return description
    shown = mask(description)
    return description if shown == description else f"{shown} (sha256 {fingerprint_json(description)[:16]})"


def fingerprint_json(description: Any) -> str:
    """A hex digest of plain JSON; the order of keys does not count."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
