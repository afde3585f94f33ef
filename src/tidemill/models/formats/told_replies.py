"""Replies of models that are told of tools: JSON taken apart into text and calls, whole or on its way."""

from __future__ import annotations

import re
from typing import Any

import msgspec.structs
import orjson
from pydantic_core import from_json

from tidemill.models.formats.endpoint import ReplyStream
from tidemill.models.messages import Reply, ToolCall

_CUT_CALL = re.compile(r'\s*\{\s*"tool"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(.*)', re.DOTALL)
_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
_CALL_ID = "call_1"


def read_told(reply: Reply) -> Reply:
    """`reply` with its answer as the text, or its call; as it is where it has neither form, which is then its text."""
    if reply.refusal:
        return reply
    try:
        value = orjson.loads(reply.text)
    except orjson.JSONDecodeError:
        return _read_cut(reply)
    if not isinstance(value, dict):
        return reply
    if value.keys() == {"answer"}:
        answer = value["answer"]
        text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
        return msgspec.structs.replace(reply, text=text)
    if value.keys() == {"tool", "arguments"} and isinstance(value["tool"], str):
        return _call(reply, value["tool"], orjson.dumps(value["arguments"]).decode())
    return reply


def _read_cut(reply: Reply) -> Reply:
    """A reply that ends in the midst: what there is of an answer's text, or the call with what there is of it.

    The arguments stay what they are, no JSON: completed, they could pass for those that the model meant.
    """
    if (found := _CUT_CALL.match(reply.text)) is not None:
        return _call(reply, orjson.loads(found[1]), found[2])
    text = find_answer(reply.text)
    return reply if text is None else msgspec.structs.replace(reply, text=text)


def _call(reply: Reply, name: str, arguments: str) -> Reply:
    call = ToolCall(id=_CALL_ID, name=name, arguments=arguments)
    return msgspec.structs.replace(reply, text="", tool_calls=(call,))


def find_answer(text: str) -> str | None:
    """The text of an answer as far as it has come; None where `text` is no beginning of one, or none that is text."""
    if _ANSWER.match(text) is None:
        return None
    try:
        value: Any = from_json(text, allow_partial="trailing-strings")
    except ValueError:  # it ends within an escape
        return None
    answer = value.get("answer")
    return answer if isinstance(answer, str) else None


class ToldStream:
    """A reply on its way: the text of an answer is given as it comes, of a call nothing. One of the `ReplyStream`s."""

    def __init__(self, stream: ReplyStream) -> None:
        self._stream = stream
        self._text = ""
        self._given = ""
        self._taken = 0

    def feed(self, chunk: bytes) -> str:
        """The text that `chunk` adds to the answer."""
        more = self._stream.feed(chunk)
        if not more:
            return ""
        self._text += more
        answer = find_answer(self._text)
        if answer is None or not answer.startswith(self._given):
            return ""
        added = answer[len(self._given) :]
        self._given = answer
        return added

    def take_arguments(self) -> str:
        """What the arguments of a call have grown by since this was last asked."""
        if (found := _CUT_CALL.match(self._text)) is None:
            return ""
        given = found[2].rstrip().removesuffix("}")  # which may be the end of what they stand in
        added = given[self._taken :]
        self._taken = max(self._taken, len(given))
        return added

    def reply(self) -> Reply:
        """The reply, once its body has ended.

        Raises:
            TransientCallError, PermanentCallError: as the stream within.
        """
        return read_told(self._stream.reply())
