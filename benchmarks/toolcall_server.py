"""A model on loopback that asks for one call and then ends: what every library of `benchmarks/tools` is put through.

Imports nothing beyond the standard library: peers use it in virtual environments of their own.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

from children import tell
from toolcall_cases import BAD, CLEAR, Call

Outcome = Mapping[str, Any]
"""What came of a call: `told`, the message that the model got for a mistake; `ended`, the error the run ended with;
`executed`, the arguments that the function was given. Each is None where there is none."""

MODEL = "scripted"
API_KEY = "no-key"
_MAX_SHOWN = 2_000


class ModelServer(ThreadingHTTPServer):
    """Answers the first request of a run with `call`, and each later one with a word.

    Attributes:
        call: what is asked for.
        told: what the last request had for it; None where no request had anything.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.call: Call | None = None
        self.told: str | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request, in the format of OpenAI's chat completions."""
        messages = request["messages"]
        if any(each["role"] == "assistant" for each in messages):
            self.told = "\n".join(_read_text(each) for each in messages if each["role"] == "tool")
            return _reply({"content": "done"}, "stop")
        assert self.call is not None
        function = {"name": self.call.tool, "arguments": self.call.arguments}
        return _reply(
            {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}, "tool_calls"
        )


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(self.server.answer(request)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _read_text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _reply(message: Mapping[str, Any], reason: str) -> dict[str, Any]:
    return {
        "id": "reply",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


@contextmanager
def open_server() -> Iterator[ModelServer]:
    """The server, answering in a thread of its own."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def try_calls(run: Callable[[str], object], executed: list[dict[str, Any]]) -> dict[str, Outcome]:
    """What comes of every call.

    Args:
        run: asks an agent with the tools something, its model at this base URL.
        executed: where the function keeps what it was given.
    """
    outcomes: dict[str, Outcome] = {}
    with open_server() as server:
        for call in (*CLEAR, *BAD):
            server.call, server.told, ended = call, None, None
            executed.clear()
            try:
                run(server.base_url)
            except Exception as error:  # noqa: BLE001 - whatever a library ends a run with is what is asked for
                ended = f"{type(error).__name__}: {error}"[:_MAX_SHOWN]
            given = list(executed) or None
            outcomes[call.name] = {"told": None if given else server.told, "ended": ended, "executed": given}
    return outcomes


def tell_outcomes(package: str, run: Callable[[str], object], executed: list[dict[str, Any]]) -> None:
    """Print, as the last line, the version of `package` and what comes of every call."""
    outcomes = try_calls(run, executed)
    sys.stdout.flush()
    tell(version=version(package), outcomes=outcomes)
