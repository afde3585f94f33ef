"""What the tests of agents share: an agent whose models answer from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tidemill.agents.agent import Agent
from tidemill.agents.client import AgentClient
from tidemill.agents.result import AgentResult
from tidemill.calls.wire import Request, Response
from tidemill.models.model import Model
from tidemill.testing import ScriptedTransport, chat_response

Call = tuple[str, Any]
"""The name of a tool, and its arguments: an object, or the text that the model wrote."""
MODEL = Model(model="test/model", base_url="http://scripted.invalid/v1", limits={"max_attempts": 1})


def calling(*calls: Call, text: str | None = None, usage: tuple[int, int] = (10, 5)) -> Response:
    """A reply that calls tools."""
    called = [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": _write(arguments)}}
        for place, (name, arguments) in enumerate(calls, 1)
    ]
    message = {"role": "assistant", "content": text, "tool_calls": called}
    body = {
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]},
    }
    return Response(200, {"content-type": "application/json"}, json.dumps(body).encode())


def saying(text: str) -> Response:
    """A reply in words."""
    return chat_response(text)


Script = Iterable[Any] | Callable[[Request], Any]


class Scripted:
    """An agent by itself, its models answered by a script; to be closed.

    Attributes:
        transport: what it was asked.
    """

    def __init__(self, agent: Agent, script: Script) -> None:
        self._script = script
        self.transport: ScriptedTransport
        self._client = AgentClient(agent, transport=self._connect)

    def run(self, prompt: Any, *, history: Any = (), deps: Any = None) -> AgentResult:
        """A run to its end."""
        try:
            return self._client.run(prompt, history, deps)
        finally:
            self._client.close()

    async def arun(self, prompt: Any, *, deps: Any = None) -> AgentResult:
        """The same, awaited."""
        try:
            return await self._client.arun(prompt, (), deps)
        finally:
            self._client.close()

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return [json.loads(request.body) for request in self.transport.requests]

    def _connect(self) -> ScriptedTransport:
        self.transport = ScriptedTransport(self._script)
        return self.transport


def told(request: dict[str, Any]) -> str:
    """The last message of a request."""
    return str(request["messages"][-1]["content"])


def _write(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
