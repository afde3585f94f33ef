"""The Anthropic messages wire format: a request's bytes from messages, a reply from a response.

Source: the API reference of `POST /v1/messages` and the guides "Structured outputs", "Prompt caching", "Vision"
and "Tool use" (platform.claude.com, read in November 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.calls.credentials import find_keys
from tidemill.calls.wire import Request, Response
from tidemill.errors import ConfigError
from tidemill.models.formats.anthropic_blocks import Prompt, read_blocks
from tidemill.models.formats.anthropic_caching import CACHED, mark_loop
from tidemill.models.formats.anthropic_fields import parse_usage
from tidemill.models.formats.anthropic_stream import MessageStream
from tidemill.models.formats.anthropic_tools import Tools, dump_tools, render_choice
from tidemill.models.formats.chat_fields import count
from tidemill.models.formats.endpoint import join_address
from tidemill.models.formats.refusals import explain_body
from tidemill.models.formats.sse import is_event_stream
from tidemill.models.images.images import bound_input
from tidemill.models.messages import Message, Reply
from tidemill.models.options import Misfit, Options, iter_tool_misfits
from tidemill.models.structured.plan import SCHEMA_INSTRUCTION

VERSION = "2023-06-01"

MAX_IMAGE_TOKENS = 4_784
"""The most one image comes to: models from Claude Opus 4.7 on scale it down to that many patches of 28 x 28 pixels."""
_FORMAT_TOKENS = 1_024
"""A bound on the system prompt that a format adds ("the input token count will be slightly higher"; not said by how
much); the schema itself is in the body."""
_TOOL_TOKENS = 1_024
"""A bound on the system prompt that tools add (guide "Tool use", pricing: 159 to 530 tokens, by model and choice)."""
_MIN_CACHED_BYTES = 512
"""The fewest tokens that any model caches (others want 1,024 or 4,096), and a token has at least one byte: a shorter
prefix is not marked. One that is too short for its model only is marked for nothing, and at no cost."""
_EXPECTED = "a message as JSON"


class MessagesEndpoint:
    """Where one Claude model is asked, and how.

    Args:
        base_url: up to and including the version (`https://api.anthropic.com/v1`).
        model: the name the endpoint knows it by.
        headers: as sent with every request, the credentials among them.
        options: how it is to answer.
        caches: whether shared messages, tools, and the turns of a loop that calls them are marked to be kept in the
            provider's prompt cache.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        headers: Mapping[str, str],
        options: Options,
        *,
        caches: bool = True,
    ) -> None:
        self.base_url = base_url
        self._url = join_address(base_url, "/messages")
        self._headers = {"content-type": "application/json", "anthropic-version": VERSION, **headers}
        self._keys = find_keys(headers, base_url)
        self._options = options
        self._caches = caches
        self._model = model
        self._tools = dump_tools(options)
        self._own = self._plan(options)

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The request that asks `messages`: equal arguments give equal bytes.

        Raises:
            ConfigError: there is no `max_tokens`, or there is an option that the format does not have.
        """
        plan = self._plan(self._options.override(overrides)) if overrides else self._own
        if plan.problem:
            raise ConfigError(plan.problem, hint=plan.hint)
        prompt, tools = self._arrange(messages, plan)
        body = plan.head + tools + (b',"system":' + orjson.dumps(prompt.system) if prompt.system else b"")
        body += b',"messages":' + orjson.dumps(prompt.turns) + b"}"
        most = bound_input(messages, len(body), MAX_IMAGE_TOKENS)
        if plan.hidden_tokens:
            most = (len(body) if most is None else most) + plan.hidden_tokens
        return Request(self._url, self._headers, body, plan.ceiling, most)

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests, with `***` where it repeats their key.

        Raises:
            TransientCallError, PermanentCallError: as the function `parse_reply`.
        """
        reply = parse_reply(response)
        return reply.masked(self._keys) if self._keys else reply

    def open_stream(self) -> MessageStream:
        """What takes the pieces of one response that comes as an event stream."""
        return MessageStream(self._keys)

    def _plan(self, options: Options) -> _Plan:
        own = self._options
        has_own = options.tools is own.tools and options.params.get("tools") is own.params.get("tools")
        tools = self._tools if has_own else dump_tools(options)
        return _Plan(self._model, options, tools)

    def _arrange(self, messages: Sequence[Message], plan: _Plan) -> tuple[Prompt, bytes]:
        """The messages, and the field of the tools; what is shared is marked at its end where that is worth it."""
        prompt = Prompt(plan.instruction)
        shared_bytes, last_shared = len(plan.tools.plain), None
        for message in messages:
            is_shared = self._caches and message.get("shared", False)
            blocks = prompt.add(message, in_blocks=is_shared)
            if is_shared and blocks:
                shared_bytes += len(orjson.dumps(blocks))
                last_shared = blocks[-1]
        is_worth_it = self._caches and shared_bytes >= _MIN_CACHED_BYTES
        if last_shared is not None and is_worth_it:
            last_shared["cache_control"] = CACHED
        if self._caches and plan.loops:
            mark_loop(prompt.turns)
        return prompt, plan.tools.marked if is_worth_it and last_shared is None else plan.tools.plain


class _Plan:
    """What requests with one set of options have in common.

    Attributes:
        head: the body up to the system prompt, without its end.
        ceiling: the most output tokens it allows.
        instruction: what the system prompt says of the form of the reply; empty where the endpoint sees to it.
        tools: what is told of the tools.
        loops: whether a reply is likely to be gone on from, with the same choice of tools.
        hidden_tokens: the most that the provider adds to the prompt.
        problem: why there can be no request, with `hint` the mend; empty when there can.
    """

    def __init__(self, model: str, options: Options, tools: Tools) -> None:
        fields: dict[str, Any] = {
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "stop_sequences": options.stop,
            "stream": options.stream or None,
            "tool_choice": render_choice(options),
        }
        fields = {name: value for name, value in fields.items() if value is not None} | dict(options.params)
        output = options.output
        self.instruction = "" if output is None else output.instruction
        has_format = output is not None and output.rung == "schema"
        if output is not None and has_format:
            config = fields.get("output_config")
            form = {"format": {"type": "json_schema", "schema": output.schema}}
            fields["output_config"] = {**config, **form} if isinstance(config, dict) else form
        if output is None and options.reply_schema is not None:  # as it is, which the endpoint may not hold it to
            self.instruction = SCHEMA_INSTRUCTION + orjson.dumps(dict(options.reply_schema)).decode()
        self.tools = tools
        self.loops = bool(options.tools) and options.tool_choice in (None, "auto", "required")
        self.hidden_tokens = (_FORMAT_TOKENS if has_format else 0) + (
            _TOOL_TOKENS if options.tools or fields.get("tools") else 0
        )
        if options.tools:
            fields.pop("tools", None)  # they stand among the others
        self.head = orjson.dumps({"model": model, **fields})[:-1]
        self.ceiling = count(fields.get("max_tokens")) or None
        _, self.problem, self.hint = next(iter_misfits(options), Misfit("", "", ""))


def iter_misfits(options: Options) -> Iterator[Misfit]:
    """What stands between `options` and a request in this format."""
    if {"max_tokens": options.max_tokens, **options.params}["max_tokens"] is None:
        message = "the Anthropic format needs max_tokens, and none is set"
        yield Misfit("max_tokens", message, "set max_tokens: the most tokens a reply may have")
    if options.output is not None and options.output.problem:
        yield Misfit("output", options.output.problem, options.output.hint)
    if options.seed is not None:
        yield Misfit("seed", "the Anthropic format has no seed", "leave out seed")
    thinking = options.params.get("thinking")
    thinks = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
    if thinks and options.tools and options.tool_choice not in (None, "auto", "none"):
        told = f"tool_choice is `{options.tool_choice}`, and a model that thinks cannot be made to call a tool"
        yield Misfit("tool_choice", told, "leave out tool_choice, or thinking")
    yield from iter_tool_misfits(options)


def parse_reply(response: Response) -> Reply:
    """The reply in a successful response, whole or as an event stream.

    Raises:
        TransientCallError: the body is no message; another attempt may bring one.
        PermanentCallError: the body is an error object sent with a success status.
    """
    if response.body[:1] != b"{" and is_event_stream(response.body):
        stream = MessageStream()
        stream.feed(response.body)
        return stream.reply()
    try:
        body = orjson.loads(response.body)
        if body["type"] == "message":
            reason, usage = body.get("stop_reason") or "", parse_usage(body.get("usage"))
            return read_blocks(body["content"], reason, usage, body.get("stop_details"))
    except (ValueError, LookupError, TypeError, AttributeError):  # the error told below says what is wrong
        pass
    # Outside the handler: the parser's own error holds the whole body, which may repeat the request's key.
    raise explain_body(response, _EXPECTED)
