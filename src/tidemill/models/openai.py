"""The OpenAI chat-completions wire format: a request's bytes from messages, a reply from a response.

Source: the API reference of `POST /v1/chat/completions`, which vLLM, llama.cpp and most providers also answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from tidemill.calls.credentials import find_keys
from tidemill.calls.wire import Request, Response, Usage
from tidemill.config.secrets import MASK, mask_start
from tidemill.errors import PermanentCallError, TransientCallError
from tidemill.models.messages import Message, Reply

_TEXT_OR_NONE = {str, type(None)}


class ChatEndpoint:
    """Where one model is asked, and how.

    Args:
        base_url: up to and including the version (`https://api.openai.com/v1`), with a query where one belongs.
        model: the name the endpoint knows it by.
        headers: as sent with every request, the credentials among them.
        options: the body's fields besides the messages (`max_tokens`, `response_format`, …).
    """

    def __init__(self, base_url: str, model: str, headers: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self.base_url = base_url
        parts = urlsplit(base_url)  # a query, such as Azure's `api-version`, stays behind the path
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/chat/completions"))
        self._headers = {"content-type": "application/json", **headers}
        self._keys = find_keys(headers, base_url)
        self._ceiling = _find_ceiling(options)
        # Everything around the messages is the same in every request: serialised once.
        self._head = b'{"model":' + orjson.dumps(model) + b',"messages":'
        self._tail = b"," + orjson.dumps(dict(options))[1:] if options else b"}"

    def build_request(self, messages: list[Message]) -> Request:
        """The request that asks `messages`: equal messages give equal bytes."""
        body = self._head + orjson.dumps(messages) + self._tail
        return Request(self._url, self._headers, body, self._ceiling)

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests, with `***` where it repeats their key.

        Raises:
            TransientCallError, PermanentCallError: as the function `parse_reply`.
        """
        reply = parse_reply(response)
        for key in self._keys:
            if key in reply.text or key in reply.finish_reason or key in reply.refusal:
                shown = (text.replace(key, MASK) for text in (reply.text, reply.finish_reason, reply.refusal))
                text, reason, refusal = shown
                reply = Reply(text, reason, reply.usage, refusal)
        return reply


def _find_ceiling(options: Mapping[str, Any]) -> int | None:
    """The most output tokens the options allow, whichever an endpoint goes by; None when there is no telling."""
    given: list[Any] = [
        options[name] for name in ("max_tokens", "max_completion_tokens") if options.get(name) is not None
    ]
    if not given or not all(type(value) is int and value > 0 for value in given):
        return None  # llama.cpp, for one, takes -1 for no bound
    return int(max(given))


def parse_reply(response: Response) -> Reply:
    """The reply in a successful response.

    Raises:
        TransientCallError: the body is not a chat completion; another attempt may bring one.
        PermanentCallError: the body is an error object sent with a success status.
    """
    try:
        body = orjson.loads(response.body)
        choice = body["choices"][0]
        message = choice["message"]
        text, reason, refusal = message.get("content"), choice.get("finish_reason"), message.get("refusal")
        if {type(text), type(reason), type(refusal)} <= _TEXT_OR_NONE:
            return Reply(text or "", reason or "", _parse_usage(body.get("usage")), refusal or "")
    except (ValueError, LookupError, TypeError, AttributeError):  # the error told below says what is wrong
        pass
    # Outside the handler: the parser's own error holds the whole body, which may repeat the request's key.
    raise _explain_body(response)


def _parse_usage(usage: Any) -> Usage | None:
    """The tokens told; None when there are none, or they are no counts: the budget then counts the call whole."""
    if type(usage) is not dict:
        return None
    tokens, more = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(tokens) is not int or type(more) is not int or tokens < 0 or more < 0:
        return None
    return Usage(tokens, more)


def _explain_body(response: Response) -> TransientCallError | PermanentCallError:
    try:
        error = orjson.loads(response.body)["error"]
        text = error["message"] if isinstance(error, dict) else error
        shown = mask_start(str(text), 200)
        return PermanentCallError(f"the endpoint answered {response.status} with an error: {shown}")
    except (ValueError, LookupError, TypeError):
        start = mask_start(response.body.decode("utf-8", "replace"), 80)
        return TransientCallError(
            f"expected a chat completion as JSON, got {len(response.body)} bytes starting {start!r}"
        )
