"""What tells one step or source from another across processes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from tidemill.config.functions import fingerprint_function, fingerprint_schema
from tidemill.data.nodes import Node


def fingerprint_node(node: Node) -> str:
    """A hex digest of a step: its kind and fields, functions and schemas by their own fingerprints."""
    fields = type(node).model_fields
    plain = node.model_dump(mode="json")
    described = {name: _describe(getattr(node, name), plain[name]) for name in fields}
    return fingerprint_json({"kind": node.kind, **described})


def fingerprint_json(description: Any) -> str:
    """A hex digest of plain JSON; the order of keys does not count."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _describe(value: Any, plain: Any) -> Any:
    """`plain`, a field's JSON form, with what only has a name there replaced by its fingerprint."""
    if isinstance(value, dict):
        return {key: _describe(each, plain[key]) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(each, other) for each, other in zip(value, plain, strict=True)]
    if isinstance(value, type) and issubclass(value, BaseModel):
        return fingerprint_schema(value)
    if callable(value):
        return fingerprint_function(value)
    return plain
