"""Lists whose items all differ."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.wording.words import describe_value


class Unique:
    """Annotation of a list whose items all differ: `Annotated[list[str], Unique()]`.

    It is `uniqueItems` in a JSON Schema. A set given as a list has this rule of itself.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        return cast(
            CoreSchema,
            {
                "type": "function-after",
                "function": {"type": "no-info", "function": _check_unique},
                "schema": schema,
                "metadata": {"pydantic_js_updates": {"uniqueItems": True}},
            },
        )


def _check_unique(items: Any) -> Any:
    for index, item in enumerate(items):
        if item in items[:index]:
            refuse_repeated(items)
    return items


def refuse_repeated(items: Sequence[Any], made: Sequence[Any] = (), *, keys: bool = False) -> None:
    """Refuse the first item that equals another one before it, as it is or once it is coerced.

    Args:
        made: what each becomes, where that is known.
        keys: they are a mapping's keys, which differ as they are given.
    """
    what = "different keys" if keys else "different items"
    found = _find_repeated(items, made)
    if found is None:
        context: dict[str, Any] = {"got": f"{len(items)} of which two become one"}
    else:
        first, again = found
        hint = f"`{items[first]}` is the same key" if keys else f"item {first} is the same"
        path = (items[again] if keys else again,)
        context = {"got": f"{describe_value(items[again])} again", "hint": hint, "path": path, "at_key": keys}
    raise PydanticCustomError("repeated", "expected {what}, got {got}", {"what": what, **context})


def _find_repeated(items: Sequence[Any], made: Sequence[Any]) -> tuple[int, int] | None:
    for given in (list(items), list(made), list(map(_fold, items))):
        for again, item in enumerate(given):
            if item in given[:again]:
                return given.index(item), again
    return None


def _fold(item: Any) -> Any:
    """What texts and numbers that become one have in common."""
    text = str(item).strip().casefold()
    try:
        return Decimal(text)
    except InvalidOperation:
        return text
