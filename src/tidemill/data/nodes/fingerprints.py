"""What a step does, as JSON, and whether two lists of steps say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tidemill.config.objects.descriptions import describe_value
from tidemill.config.types.functions import fingerprint_function
from tidemill.data.nodes.node import Node


def describe_node(node: Node) -> dict[str, Any]:
    """A step as JSON that says what it does: its kind, how it compares keys, and what `describe_value` has of it."""
    compared = {} if node.compared is None else {"compared": node.compared}
    return {"kind": node.kind, **compared, **describe_value(node)}


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
