"""A conversation bounded in tokens: what is left out of a request, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tidemill.models.images.images import list_urls
from tidemill.models.images.size import measure_url
from tidemill.models.images.tokens import UNKNOWN_SIZE, find_rule
from tidemill.models.messages import Message, ToolCall

BYTES_PER_TOKEN = 3.0
"""Of a conversation whose tokens nothing has told yet: English text has 4, JSON and code fewer."""

LEFT_OUT = "[{count} earlier messages were left out here to keep the conversation short.]"


class Measure:
    """Tokens of messages, by what the provider counted for the last request: the same when replies are recalled.

    Images count by the rule of their model's maker, whatever their bytes.

    Args:
        model: its name.
    """

    def __init__(self, model: str) -> None:
        self._tokens_per_byte = 1 / BYTES_PER_TOKEN
        self._model = model
        self._image_tokens: dict[int, int] = {}  # by the hash of the address, which may have megabytes

    def learn(self, size_bytes: int, input_tokens: int, messages: Sequence[Message]) -> None:
        """A request of `messages`, of so many bytes, came to so many tokens."""
        image_bytes, image_tokens = self._weigh_images(messages)
        if size_bytes > image_bytes and input_tokens > image_tokens:
            self._tokens_per_byte = (input_tokens - image_tokens) / (size_bytes - image_bytes)

    def count(self, message: Message) -> float:
        """About how many tokens the message takes."""
        image_bytes, image_tokens = self._weigh_images((message,))
        return (len(orjson.dumps(message)) - image_bytes) * self._tokens_per_byte + image_tokens

    def _weigh_images(self, messages: Sequence[Message]) -> tuple[int, int]:
        """The bytes of the images in messages, and their tokens."""
        urls = list_urls(messages)
        if not urls:
            return 0, 0
        return sum(map(len, urls)), sum(map(self._count_image, urls))

    def _count_image(self, url: str) -> int:
        tokens = self._image_tokens.get(hash(url))
        if tokens is None:
            tokens = find_rule(self._model)(measure_url(url) or UNKNOWN_SIZE)
            self._image_tokens[hash(url)] = tokens
        return tokens


def bound_history(messages: Sequence[Message], measure: Measure, max_tokens: int | None) -> Sequence[Message]:
    """The messages that fit: the system's and the first of the user, then the newest turns, each whole.

    A tool's result never stands without the call it answers. The last turn is kept even where it alone does not fit.
    """
    if max_tokens is None:
        return messages
    sizes = [measure.count(message) for message in messages]
    if sum(sizes) <= max_tokens:
        return messages
    start = next((index + 1 for index, each in enumerate(messages) if each["role"] == "user"), 0)
    turns = _split_turns(messages, start)
    room = max_tokens - sum(sizes[:start])
    first = len(messages)
    for begin, stop in reversed(turns):
        room -= sum(sizes[begin:stop])
        if room < 0 and first < len(messages):
            break
        first = begin
    if first == start:
        return messages
    note = Message(role="user", content=LEFT_OUT.format(count=first - start))
    return [*messages[:start], note, *messages[first:]]


def drop_native(messages: Sequence[Message]) -> list[Message]:
    """The conversation without what only the provider that wrote it knows: another may refuse fields of that."""
    return [_to_plain(message) if "tool_calls" in message or "blocks" in message else message for message in messages]


def _to_plain(message: Message) -> Message:
    plain = message.copy()
    plain.pop("blocks", None)
    if "tool_calls" in plain:
        plain["tool_calls"] = [
            ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"]) for call in plain["tool_calls"]
        ]
    return plain


def drop_open_calls(messages: Sequence[Message]) -> list[Message]:
    """The conversation without tool calls at its end that nothing answered: no provider goes on behind those."""
    if not messages or "tool_calls" not in messages[-1]:
        return list(messages)
    last = messages[-1]
    said = [Message(role="assistant", content=last["content"])] if last["content"] else []
    return [*messages[:-1], *said]


def _split_turns(messages: Sequence[Message], start: int) -> list[tuple[int, int]]:
    """The turns from `start` on: each begins with what is no tool's result."""
    begins = [index for index in range(start, len(messages)) if messages[index]["role"] != "tool"]
    return list(zip(begins, [*begins[1:], len(messages)], strict=True))
