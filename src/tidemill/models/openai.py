"""The OpenAI chat-completions wire format: a request's bytes from messages, a reply from a response.

Source: the API reference of `POST /v1/chat/completions`, which vLLM, llama.cpp and most providers also answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from tidemill.calls.credentials import find_keys
from tidemill.calls.wire import Request, Response, Usage
from tidemill.config.secrets import MASK, mask_start
from tidemill.errors import PermanentCallError, TransientCallError
from tidemill.models.messages import Message, Part, Reply
from tidemill.models.options import CEILINGS, Options
from tidemill.models.structured import response_format

_TEXT_OR_NONE = {str, type(None)}


class ChatEndpoint:
    """Where one model is asked, and how.

    Args:
        base_url: up to and including the version (`https://api.openai.com/v1`), with a query where one belongs.
        model: the name the endpoint knows it by.
        headers: as sent with every request, the credentials among them.
        options: how it is to answer.
    """

    def __init__(self, base_url: str, model: str, headers: Mapping[str, str], options: Options) -> None:
        self.base_url = base_url
        parts = urlsplit(base_url)  # a query, such as Azure's `api-version`, stays behind the path
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/chat/completions"))
        self._headers = {"content-type": "application/json", **headers}
        self._keys = find_keys(headers, base_url)
        self._options = options
        self._format = response_format(options.output) if options.output else None
        # Everything around the messages is the same in every request: serialised once.
        self._head = b'{"model":' + orjson.dumps(model) + b',"messages":'
        self._tail, self._ceiling = self._close_body(options)

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The request that asks `messages`: equal arguments give equal bytes."""
        tail, ceiling = self._tail, self._ceiling
        if overrides:
            tail, ceiling = self._close_body(self._options.override(overrides))
        body = self._head + orjson.dumps(_to_wire(messages)) + tail
        return Request(self._url, self._headers, body, ceiling)

    def _close_body(self, options: Options) -> tuple[bytes, int | None]:
        """What follows the messages, and the most output tokens it allows."""
        fields = self._list_fields(options)
        return b"," + orjson.dumps(fields)[1:] if fields else b"}", _find_ceiling(fields)

    def _list_fields(self, options: Options) -> dict[str, Any]:
        named: dict[str, Any] = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
            "stop": options.stop,
        }
        fields = {name: value for name, value in named.items() if value is not None}
        fields.update(options.params)
        if options.output is not None:
            is_own = options.output is self._options.output
            fields["response_format"] = self._format if is_own else response_format(options.output)
        return fields

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests, with `***` where it repeats their key.

        Raises:
            TransientCallError, PermanentCallError: as the function `parse_reply`.
        """
        reply = parse_reply(response)
        for key in self._keys:
            if any(key in text for text in (reply.text, reply.finish_reason, reply.refusal, reply.reasoning)):
                reply = _mask_key(reply, key)
        return reply


def _mask_key(reply: Reply, key: str) -> Reply:
    names = ("text", "finish_reason", "refusal", "reasoning")
    return reply._replace(**{name: getattr(reply, name).replace(key, MASK) for name in names})


def _to_wire(messages: Sequence[Message]) -> Sequence[Any]:
    """The messages in the words of the format; those of text alone are as they are."""
    if all(type(message["content"]) is str for message in messages):
        return messages
    return [{**message, "content": _content(message["content"])} for message in messages]


def _content(content: str | list[Part]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": part["text"]}
        if part["type"] == "text"
        else {"type": "image_url", "image_url": {"url": part["url"]}}
        for part in content
    ]


def _find_ceiling(options: Mapping[str, Any]) -> int | None:
    """The most output tokens the options allow, whichever an endpoint goes by; None when there is no telling."""
    given: list[Any] = [options[name] for name in CEILINGS if options.get(name) is not None]
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
            usage = _parse_usage(body.get("usage"))
            return Reply(text or "", reason or "", usage, refusal or "", _find_reasoning(message))
    except (ValueError, LookupError, TypeError, AttributeError):  # the error told below says what is wrong
        pass
    # Outside the handler: the parser's own error holds the whole body, which may repeat the request's key.
    raise _explain_body(response)


def _find_reasoning(message: Mapping[str, Any]) -> str:
    """What the model thought, where the server shows it."""
    for name in ("reasoning_content", "reasoning"):  # DeepSeek, vLLM and llama.cpp by the one, OpenRouter by the other
        if type(text := message.get(name)) is str:
            return text
    return ""


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
