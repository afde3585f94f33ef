"""`ToldTools`: tools for a model whose server has none, told in the prompt and asked for in schema-constrained JSON.

A reply is `{"tool": …, "arguments": …}` or `{"answer": …}`, one call at a time: of a list of calls small models find no
end, and several turns come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tidemill.calls.wire import Request, Response
from tidemill.errors import ConfigError
from tidemill.models.formats.endpoint import Endpoint, ReplyStream
from tidemill.models.formats.telling import make_schema, render_note, tell_turns
from tidemill.models.formats.told_replies import ToldStream, read_told
from tidemill.models.messages import Message, Reply
from tidemill.models.options import Options, iter_tool_misfits

_OURS = frozenset({"tools", "tool_choice", "output", "reply_schema"})


class ToldTools:
    """An endpoint that has tools, made of one that holds replies to a JSON Schema. One of the `Endpoint`s.

    Args:
        make: makes the endpoint for options without tools.
        options: how it is to answer.
        is_local: whether the model runs in process: its grammar is llama.cpp's, and it is told little.
    """

    def __init__(self, make: Callable[[Options], Endpoint], options: Options, *, is_local: bool = False) -> None:
        self._make = make
        self._options = options
        self._is_local = is_local
        self._plans: dict[str | None, _Plan] = {}
        self._own = self._find(options)
        self.base_url = self._own.endpoint.base_url

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The request that asks `messages`: equal arguments give equal bytes.

        Raises:
            ConfigError: `tool_choice` names no tool, two tools have one name, or as the endpoint within.
        """
        if not overrides:
            return self._own.build_request(messages, None)
        others = {name: value for name, value in overrides.items() if name not in _OURS}
        return self._find(self._options.override(overrides)).build_request(messages, others or None)

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests.

        Raises:
            TransientCallError, PermanentCallError: as the endpoint within.
        """
        return read_told(self._own.endpoint.parse_reply(response))

    def open_stream(self) -> ReplyStream:
        """What takes the pieces of one response; the text of an answer comes on the way, an `output` at the end."""
        return ToldStream(self._own.endpoint.open_stream())

    def _find(self, options: Options) -> _Plan:
        """What requests with these options have in common, kept for each choice among the tools they always have."""
        own = self._options
        if options.tools is not own.tools or options.output is not own.output:
            return self._plan(options)
        plan = self._plans.get(options.tool_choice)
        if plan is None:
            plan = self._plans[options.tool_choice] = self._plan(options)
        return plan

    def _plan(self, options: Options) -> _Plan:
        for misfit in iter_tool_misfits(options):
            raise ConfigError(misfit.message, hint=misfit.hint)
        schema = make_schema(options, is_local=self._is_local)
        own = self._options  # what a request overrides besides is put over these by the endpoint within
        plain = replace(own, tools=(), tool_choice=None, output=None, reply_schema=schema)
        return _Plan(self._make(plain), render_note(options, is_local=self._is_local))


class _Plan:
    """What requests with one choice of tools have in common: the endpoint that asks, and what its model is told."""

    def __init__(self, endpoint: Endpoint, note: str) -> None:
        self.endpoint = endpoint
        self._note = note

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None) -> Request:
        return self.endpoint.build_request(tell_turns(messages, self._note), overrides)
