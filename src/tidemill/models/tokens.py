"""How many tokens a request comes to before the server says: exact by a vocabulary, else by a ratio that learns."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from tidemill.calls.wire import Request, Usage
from tidemill.models.vocabulary import Vocabulary, find_vocabulary

BYTES_PER_TOKEN: Final = 4.0
"""What a token of English text is about, by most vocabularies; what is counted before anything is learnt."""

MESSAGE_TOKENS: Final = 4
"""A message's own, its role among them (OpenAI's cookbook, "How to count tokens with tiktoken": 3 and the role)."""

REPLY_TOKENS: Final = 3
"""Those that begin the reply (likewise)."""

_KEPT: Final = 1 - 1 / 32
"""How much of what was learnt before stays with each reply: the last hundred decide."""

_LEARNT_FIRST: Final = 64
_LEARNT_EVERY: Final = 8
"""Where texts are counted, which takes some 10 us for 100 tokens: the first replies are learnt from, then one of so
many."""


class Ratio:
    """Tokens a unit, learnt from what calls came to; a pure state machine.

    The exponentially weighted sum of tokens over that of units, so that a large request counts for more than a small
    one, and what all of them come to together is right.

    Args:
        per_unit: what is taken before anything is learnt.
        units: how many units that weighs.

    Attributes:
        per_unit: tokens a unit, now.
        learnt: how many calls it was learnt from.
    """

    __slots__ = ("_tokens", "_units", "learnt", "per_unit")

    def __init__(self, per_unit: float, units: float) -> None:
        self.per_unit = per_unit
        self.learnt = 0
        self._units = units
        self._tokens = per_unit * units

    def learn(self, units: int, tokens: int) -> None:
        """A call of so many units came to so many tokens."""
        if units > 0 and tokens > 0:  # an endpoint that tells 0 does not count
            self._units = self._units * _KEPT + units
            self._tokens = self._tokens * _KEPT + tokens
            self.per_unit = self._tokens / self._units
            self.learnt += 1


class TokenCounter:
    """The input tokens of one model's requests, before the server counts them.

    With the model's vocabulary the texts are counted, else the bytes of the body; either way a ratio learns from each
    reply what the server makes of that. What carries images is counted by the most it can come to, with a ratio of its
    own. Belongs to one thread.

    Args:
        vocabulary: the model's, None where it is not on this machine.
    """

    __slots__ = ("_known", "_media", "_replies", "_text", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self._vocabulary = vocabulary
        self._text = Ratio(1 / BYTES_PER_TOKEN, 256) if vocabulary is None else Ratio(1.0, 64)
        self._media = Ratio(1.0, 64)
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

    def estimate(self, request: Request) -> int:
        """The input tokens of `request`; at least 1."""
        if request.max_input_tokens is not None:
            return min(int(request.max_input_tokens * self._media.per_unit) + 1, request.max_input_tokens)
        units = len(request.body) if self._vocabulary is None else self._count_body(request.body)
        return int(units * self._text.per_unit + 0.5) or 1

    def learn(self, request: Request, usage: Usage) -> None:
        """The server counted `usage` for `request`."""
        if request.max_input_tokens is not None:
            self._media.learn(request.max_input_tokens, usage.input_tokens)
            return
        if self._vocabulary is None:
            self._text.learn(len(request.body), usage.input_tokens)
        elif self._text.learnt < _LEARNT_FIRST or self._replies % _LEARNT_EVERY == 0:
            self._text.learn(self._count_body(request.body), usage.input_tokens)
        self._replies += 1

    def count_text(self, text: str) -> int:
        """The tokens of `text` by itself, without those a chat puts around it."""
        if self._vocabulary is not None:
            return self._vocabulary.count(text)
        return math.ceil(len(text.encode("utf-8", "replace")) * self._text.per_unit)

    def _count_body(self, body: bytes) -> int:
        """The tokens of a body's texts, and those a chat puts around them."""
        assert self._vocabulary is not None
        assert self._known is not None
        return count_body(orjson.loads(body), self._vocabulary.count, self._known)


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
        tokens += sum(map(count_shared, _iter_texts(message.get("content"))))
    for message in messages[-1:]:
        tokens += sum(map(count, _iter_texts(message.get("content"))))
    if "system" in body:  # Anthropic's
        tokens += MESSAGE_TOKENS + sum(map(count_shared, _iter_texts(body["system"])))
    for name in ("response_format", "output_config", "tools"):
        if body.get(name):
            tokens += count_shared(orjson.dumps(body[name]).decode())
    return tokens


def _iter_texts(content: Any) -> Iterator[str]:
    """The texts in the content of a message: one, or those among its parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
