"""A conversation as a user gives it, in a call or in a record's column, checked into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from tidemill.config.wording.suggest import find_near, list_names
from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.models.images.images import is_web_address, make_image
from tidemill.models.messages import ImagePart, Message, Part, ToolCall

ROLES = ("system", "user", "assistant", "tool")

_CONTENT = {"text": "text", "image": "url"}
"""By the type of a part, the key of what it holds."""
_OPTIONAL: Mapping[str, tuple[str, ...]] = {"assistant": ("tool_calls", "blocks"), "tool": ("is_error",)}
"""By role, what a message may have besides what it must."""
_HINT = 'a message is {"role": "user", "content": "…"}'
_PART_HINT = 'a part is {"type": "text", "text": "…"} or {"type": "image", "url": "…"}'
_CALL_HINT = 'a call is {"id": "…", "name": "…", "arguments": "{…}"}'
_RESULT_HINT = 'a result is {"role": "tool", "content": "…", "call_id": "…"}, behind the turn that calls'


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

    A turn of the assistant's may have `tool_calls` and `blocks`, as `Reply.to_message` gives them. Each of its calls is
    answered by one turn of the role `tool` right behind it, which names it by `call_id`.

    Raises:
        TurnError: it is no such list, or something in it would not be sent, or no provider would take it.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, (str, bytes, bytearray)) or not turns:
        raise TurnError("", f"expected a list of messages, got {describe_value(turns)}", _HINT)
    messages = [_read_turn(turn, f"[{index}]") for index, turn in enumerate(turns)]
    _check_results(messages)
    return messages


def _read_turn(turn: Any, place: str) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    keys: tuple[str, ...]
    if role == "tool":
        keys, expected, hint = (
            ("role", "content", "call_id"),
            "a mapping of `role`, `content` and `call_id`",
            _RESULT_HINT,
        )
    else:
        keys, expected, hint = ("role", "content"), "a mapping of `role` and `content`", _HINT
    optional = _OPTIONAL.get(role, ()) if isinstance(role, str) else ()
    _check_keys(turn, keys, place, expected, hint, optional=optional, ignored=("shared",))
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        raise TurnError(f"{place}.role", f"expected {list_names(ROLES, ' or ')}, got {describe_value(role)}")
    message = Message(role=role, content=content if isinstance(content, str) else _read_parts(content, place))
    if turn.get("shared"):
        message["shared"] = True
    if role == "assistant":
        _read_calls(turn, place, message)
    elif role == "tool":
        message["call_id"] = _read_text(turn["call_id"], f"{place}.call_id")
        if turn.get("is_error"):
            message["is_error"] = True
    return message


def _read_calls(turn: Mapping[str, Any], place: str, message: Message) -> None:
    """Put what a turn of the assistant's has besides its content into `message`."""
    if calls := _read_list(turn.get("tool_calls"), f"{place}.tool_calls", "calls", _CALL_HINT):
        message["tool_calls"] = [_read_call(call, f"{place}.tool_calls[{at}]") for at, call in enumerate(calls)]
        identities = [call["id"] for call in message["tool_calls"]]
        for at, identity in enumerate(identities):
            if identity in identities[:at]:
                told = f"expected an id of its own, got {describe_value(identity)} a second time"
                raise TurnError(f"{place}.tool_calls[{at}].id", told, "its result is told by it")
    blocks = _read_list(turn.get("blocks"), f"{place}.blocks", "blocks", "give them as `Reply.blocks` has them")
    for at, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise TurnError(f"{place}.blocks[{at}]", f"expected a mapping, got {describe_value(block)}")
    if blocks:
        message["blocks"] = list(blocks)


def _read_list(value: Any, place: str, what: str, hint: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise TurnError(place, f"expected a list of {what}, got {describe_value(value)}", hint)
    return value


def _read_call(call: Any, place: str) -> ToolCall:
    expected = "a mapping of `id`, `name` and `arguments`"
    _check_keys(call, ("id", "name", "arguments"), place, expected, _CALL_HINT, optional=("extra",))
    identity, name = (_read_text(call[key], f"{place}.{key}") for key in ("id", "name"))
    if not isinstance(call["arguments"], str):
        told = f"expected the arguments as JSON in a text, got {describe_value(call['arguments'])}"
        raise TurnError(f"{place}.arguments", told, _CALL_HINT)
    read = ToolCall(id=identity, name=name, arguments=call["arguments"])
    if (extra := call.get("extra")) is not None:
        if not isinstance(extra, Mapping):
            raise TurnError(f"{place}.extra", f"expected a mapping, got {describe_value(extra)}")
        read["extra"] = dict(extra)
    return read


def _read_text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise TurnError(place, f"expected a text that is not empty, got {describe_value(value)}")
    return value


def _check_results(messages: Sequence[Message]) -> None:
    """Refuse a result of no call, and a call without a result: no provider takes the conversation then."""
    caller, waiting, answered = "", list[str](), list[str]()
    for index, message in enumerate(messages):
        if message["role"] != "tool":
            _check_answered(waiting, caller)
            caller, waiting, answered = f"[{index}]", [call["id"] for call in message.get("tool_calls", ())], []
        elif (identity := message["call_id"]) in waiting:
            waiting.remove(identity)
            answered.append(identity)
        else:
            _refuse_result(identity, f"[{index}].call_id", waiting, answered)
    _check_answered(waiting, caller)


def _refuse_result(identity: str, place: str, waiting: Sequence[str], answered: Sequence[str]) -> NoReturn:
    if identity in answered:
        raise TurnError(place, f"expected one result of a call, got another of {describe_value(identity)}")
    near = find_near(identity, waiting)
    hint = f"did you mean `{near}`?" if near else f"waiting for one: {list_names(waiting)}" if waiting else _RESULT_HINT
    raise TurnError(
        place, f"expected the id of a call in the turn in front of it, got {describe_value(identity)}", hint
    )


def _check_answered(waiting: Sequence[str], caller: str) -> None:
    if waiting:
        told = f"expected a result of each call right behind it, got none of {list_names(waiting, ' and ')}"
        raise TurnError(f"{caller}.tool_calls", told, _RESULT_HINT)


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
    value: Any,
    keys: tuple[str, ...],
    place: str,
    expected: str,
    hint: str,
    *,
    optional: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> None:
    """Refuse what is no mapping of exactly these keys, and some of the optional ones, besides those that hold None."""
    if not isinstance(value, Mapping):
        raise TurnError(place, f"expected {expected}, got {describe_value(value)}", hint)
    if value.keys() == set(keys):
        return
    known = (*keys, *optional, *ignored)
    unknown = [str(key) for key, each in value.items() if key not in known and each is not None]
    if unknown:
        near = find_near(unknown[0], [key for key in (*keys, *optional) if key not in value])
        told = f"did you mean `{near}`?" if near else "leave it out: nothing else of it is sent"
        raise TurnError(place, f"expected {expected} only, got one with {list_names(unknown, ' and ')}", told)
    missing = [key for key in keys if key not in value]
    if missing:
        raise TurnError(place, f"expected {expected}, got one without {list_names(missing, ' and ')}", hint)
