"""A conversation as a user gives it, in a call or in a record's column, checked into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.config.wording.suggest import find_near, list_names
from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.models.images.images import is_web_address, make_image
from tidemill.models.messages import ImagePart, Message, Part

ROLES = ("system", "user", "assistant")

_CONTENT = {"text": "text", "image": "url"}
"""By the type of a part, the key of what it holds."""
_HINT = 'a message is {"role": "user", "content": "…"}'
_PART_HINT = 'a part is {"type": "text", "text": "…"} or {"type": "image", "url": "…"}'


class TurnError(ValueError):
    """What makes a value no conversation.

    Attributes:
        place: where in it that stands: `[0].content`, empty for the whole.
        message, hint: as an error's of Tidemill.
    """

    def __init__(self, place: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.hint = hint


def read_turns(turns: Any) -> list[Message]:
    """The messages of a list of mappings with `role` and `content`; a further key that holds None is as if not there.

    Raises:
        TurnError: it is no such list, or something in it would not be sent.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, (str, bytes, bytearray)) or not turns:
        raise TurnError("", f"expected a list of messages, got {describe_value(turns)}", _HINT)
    return [_read_turn(turn, f"[{index}]") for index, turn in enumerate(turns)]


def _read_turn(turn: Any, place: str) -> Message:
    _check_keys(turn, ("role", "content"), place, "a mapping of `role` and `content`", _HINT, ignored=("shared",))
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        raise TurnError(f"{place}.role", f"expected `system`, `user` or `assistant`, got {describe_value(role)}")
    message = Message(role=role, content=content if isinstance(content, str) else _read_parts(content, place))
    if turn.get("shared"):
        message["shared"] = True
    return message


def _read_parts(content: Any, place: str) -> list[Part]:
    if not isinstance(content, (list, tuple)) or not content:
        found = describe_value(content)
        raise TurnError(f"{place}.content", f"expected a text or a list of parts, got {found}", _PART_HINT)
    return [_read_part(part, f"{place}.content[{index}]") for index, part in enumerate(content)]


def _read_part(part: Any, place: str) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _CONTENT:
        found = describe_value(part if kind is None else kind)
        raise TurnError(place, f"expected a part of the type `text` or `image`, got {found}", _PART_HINT)
    key = _CONTENT[kind]
    _check_keys(part, ("type", key), place, f"a mapping of `type` and `{key}`", _PART_HINT)
    value = part[key]
    if kind == "text":
        if not isinstance(value, str):
            raise TurnError(f"{place}.text", f"expected a text, got {describe_value(value)}")
        return {"type": "text", "text": value}
    return _read_image(value, f"{place}.url")


def _read_image(url: Any, place: str) -> ImagePart:
    if not (is_web_address(url) or (isinstance(url, str) and url[:5].lower() == "data:")):
        raise TurnError(place, f"expected an http(s) address or a data URI, got {describe_value(url)}")
    try:
        return make_image(url)
    except DataError as error:
        raise TurnError(place, error.message, error.hint) from None


def _check_keys(
    value: Any, keys: tuple[str, str], place: str, expected: str, hint: str, ignored: tuple[str, ...] = ()
) -> None:
    """Refuse what is no mapping of exactly these keys, besides those that hold None."""
    if not isinstance(value, Mapping):
        raise TurnError(place, f"expected {expected}, got {describe_value(value)}", hint)
    if value.keys() == set(keys):
        return
    unknown = [str(key) for key, each in value.items() if key not in (*keys, *ignored) and each is not None]
    if unknown:
        near = find_near(unknown[0], [key for key in keys if key not in value])
        told = f"did you mean `{near}`?" if near else "leave it out: nothing else of it is sent"
        raise TurnError(place, f"expected {expected} only, got one with {list_names(unknown, ' and ')}", told)
    missing = [key for key in keys if key not in value]
    if missing:
        raise TurnError(place, f"expected {expected}, got one without {list_names(missing, ' and ')}", hint)
