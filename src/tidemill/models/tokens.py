"""How many tokens a request comes to before the server says: exact by a vocabulary, else by a ratio that learns."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from tidemill.calls.admission.estimates import InputCounter, Ratio
from tidemill.calls.wire import Request, Usage
from tidemill.models.vocabulary import Vocabulary, find_vocabulary

MESSAGE_TOKENS: Final = 4
"""A message's own, its role among them (OpenAI's cookbook, "How to count tokens with tiktoken": 3 and the role)."""

REPLY_TOKENS: Final = 3
"""Those that begin the reply (likewise)."""

_LEARNT_FIRST: Final = 64
_LEARNT_EVERY: Final = 8
"""Where texts are counted, which takes some 10 us for 100 tokens: the first replies are learnt from, then one of so
many."""


class TokenCounter(InputCounter):
    """The input tokens of one model's requests, before the server counts them.

    With the model's vocabulary the texts are counted, else the bytes of the body; either way a ratio learns from each
    reply what the server makes of that. Belongs to one thread.

    Args:
        vocabulary: the model's, None where it is not on this machine.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        super().__init__(None if vocabulary is None else Ratio(1.0, 64))
        self._vocabulary = vocabulary
        self._replies = 0
        # Prompts share what comes before their last message: a system prompt, examples, a schema.
        self._known = None if vocabulary is None else functools.lru_cache(maxsize=256)(vocabulary.count)

    @property
    def is_exact(self) -> bool:
        """Whether texts are counted by the model's own vocabulary."""
        return self._vocabulary is not None

    @property
    def basis(self) -> str:
        """What it goes by, for people."""
        if self._vocabulary is not None:
            return self._vocabulary.name
        learnt = f", learnt from {self._text.learnt:,} replies" if self._text.learnt else ""
        return f"{1 / self._text.per_unit:.3g} bytes a token{learnt}"

    def measure(self, request: Request) -> int:
        """The tokens of a request's texts, and those a chat puts around them; without a vocabulary its bytes."""
        if self._vocabulary is None or self._known is None:
            return super().measure(request)
        return count_body(orjson.loads(request.body), self._vocabulary.count, self._known)

    def estimate_likely(self, request: Request, count_image: Callable[[str], int]) -> float:
        """The input tokens of `request` as they probably come to, where `estimate` goes by the most they can.

        Reads the body, which may be megabytes: for an estimate, not for each call.

        Args:
            count_image: the tokens of the image at an address, or in a data URI or base64.
        """
        if request.max_input_tokens is None:
            return self.estimate(request)
        body = orjson.loads(request.body)
        images = list(_iter_images(body))
        if self._vocabulary is None or self._known is None:
            units = len(request.body) - sum(map(len, images))
        else:
            units = count_body(body, self._vocabulary.count, self._known)
        return units * self._text.per_unit + sum(map(count_image, images))

    def learn(self, request: Request, usage: Usage) -> None:
        """The server counted `usage` for `request`."""
        if self._vocabulary is None or self._text.learnt < _LEARNT_FIRST or self._replies % _LEARNT_EVERY == 0:
            super().learn(request, usage)
        self._replies += 1

    def count_text(self, text: str) -> int:
        """The tokens of `text` by itself, without those a chat puts around it."""
        if self._vocabulary is not None:
            return self._vocabulary.count(text)
        return math.ceil(len(text.encode("utf-8", "replace")) * self._text.per_unit)


def find_counter(model: str) -> TokenCounter:
    """The counter of the model called `provider/name`; reads a vocabulary of some megabytes the first time."""
    return TokenCounter(find_vocabulary(model))


def count_body(body: Mapping[str, Any], count: Callable[[str], int], count_shared: Callable[[str], int]) -> int:
    """The tokens of a request's texts, whichever its wire format, and those a chat puts around them.

    Args:
        count: of the text that is this request's own: its last message.
        count_shared: of those that other requests share.
    """
    if "input" in body:  # embeddings
        texts = body["input"]
        return sum(count(text) for text in ([texts] if isinstance(texts, str) else texts) if isinstance(text, str))
    messages: Sequence[Mapping[str, Any]] = body.get("messages", ())
    tokens = REPLY_TOKENS + MESSAGE_TOKENS * len(messages)
    for message in messages[:-1]:
        tokens += sum(map(count_shared, _iter_message(message)))
    for message in messages[-1:]:
        tokens += sum(map(count, _iter_message(message)))
    if "system" in body:  # Anthropic's
        tokens += MESSAGE_TOKENS + sum(map(count_shared, _iter_texts(body["system"])))
    for name in ("response_format", "output_config", "tools"):
        if body.get(name):
            tokens += count_shared(orjson.dumps(body[name]).decode())
    return tokens


def _iter_images(body: Mapping[str, Any]) -> Iterator[str]:
    """The address, data URI or base64 of each image in a chat's messages, in OpenAI's format or Anthropic's."""
    contents = (message.get("content") for message in body.get("messages", ()))
    for part in (part for content in contents if isinstance(content, list) for part in content):
        if part["type"] == "image_url":
            yield part["image_url"]["url"]
        elif part["type"] == "image":
            yield part["source"].get("url") or part["source"]["data"]


def _iter_message(message: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a message, the calls of tools that it asks for among them."""
    yield from _iter_texts(message.get("content"))
    if calls := message.get("tool_calls"):
        yield orjson.dumps(calls).decode()


def _iter_texts(content: Any) -> Iterator[str]:
    """The texts in the content of a message: one, or those among its parts."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            yield part["text"]
        elif part.get("type") == "tool_use":
            yield orjson.dumps(part["input"]).decode()
        elif part.get("type") == "tool_result":
            yield from _iter_texts(part.get("content"))
