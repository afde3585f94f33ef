"""A section given in part: what it leaves out is what the field's own default has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tidemill.config.members import list_aliases
from tidemill.config.shapes.membership import name_member
from tidemill.config.shapes.shape import Shape
from tidemill.config.wording.suggest import find_near


class Fill:
    """Puts a field's default below a mapping that gives some of its keys.

    With `data: Data = Data(workers=8)` a file that says `data: {path: /d}` leaves 8 workers. A mapping of another
    member of a tagged union is taken as it is.
    """

    def __init__(self, default: BaseModel, schema: Mapping[str, Any]) -> None:
        self.default = default
        self.tag = name_member((Shape(schema),), default)

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(self._may_be(value, *tag) for tag in self.tag.items()):
            return value
        return self.tag | _fill(self.default, value)

    def _may_be(self, value: Mapping[Any, Any], key: str, tag: Any) -> bool:
        """Whether a mapping says that it has this tag or, without a mistyped key, nothing of it."""
        if key in value:
            return bool(value[key] == tag)
        return find_near(key, [str(each) for each in value if each not in type(self.default).model_fields]) is None


def can_fill(schema: Mapping[str, Any]) -> bool:
    """Whether a mapping under this schema can only be of one class, or says by a tag of which."""
    inner: Any = schema
    while inner is not None:
        if inner["type"] == "union" or isinstance(inner.get("function", {}).get("function"), Fill):
            return False
        inner = inner.get("schema") if inner["type"] not in ("model", "tagged-union", "definition-ref") else None
    return True


def _fill(default: BaseModel, value: Mapping[Any, Any]) -> dict[Any, Any]:
    """`value` with what `default` was given besides, at every depth."""
    filled = dict(value)
    keys = {name: [name] for name in type(default).model_fields}
    for alias, name in reversed(list_aliases(type(default)).items()):
        keys[name].insert(0, alias)
    for name, known in keys.items():
        held = getattr(default, name)
        key = next((each for each in known if each in value), None)
        if key is None and name in default.model_fields_set:
            filled[known[0]] = held
        elif key is not None and isinstance(held, BaseModel) and isinstance(value[key], Mapping):
            filled[key] = _fill(held, value[key])
    return filled
