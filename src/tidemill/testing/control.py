"""What a fault server is asked about itself, over HTTP: counters, the oracle, another plan, its models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from tidemill.config.loading import load_config
from tidemill.errors import ConfigError
from tidemill.testing.answers import render_error, render_response
from tidemill.testing.board import Board
from tidemill.testing.counters import COUNTS
from tidemill.testing.formats.openai import count_body
from tidemill.testing.load.plan import Load
from tidemill.testing.plan import Faults

MODEL = "mock"

_MODEL = {
    "id": MODEL,
    "object": "model",
    "type": "model",
    "display_name": MODEL,
    "created": 1_700_000_000,
    "created_at": "2023-11-14T22:13:20Z",
    "owned_by": "tidemill",
}
_MODELS = {"object": "list", "data": [_MODEL], "has_more": False, "first_id": MODEL, "last_id": MODEL}


def answer_control(board: Board, method: str, target: str, body: bytes, tell: Callable[[bytes], None]) -> None:
    """Answer by `tell`, now or once what is waited for is reached."""
    address = urlsplit(target)
    query = dict(parse_qsl(address.query))
    match method, address.path:
        case "GET", "/stats":
            told = board.counters.to_json(bodies="bodies" in query, log="log" in query, timeline="timeline" in query)
            tell(render_response(200, told))
        case "GET", "/oracle":
            tell(_ask_oracle(board, query))
        case "GET", "/wait" if address.query == "idle":
            board.wait(lambda counters: counters.in_flight == 0, tell)
        case "GET", "/wait" if query and all(name in COUNTS and query[name].isdigit() for name in query):
            floors = [(name, int(count)) for name, count in query.items()]
            board.wait(lambda counters: all(getattr(counters, name) >= floor for name, floor in floors), tell)
        case "POST", "/reset":
            board.reset()
            tell(render_response(200, b"{}"))
        case "POST", "/faults" | "/load":
            tell(_replan(board, address.path, body))
        case _:
            tell(_answer_client(board, method, address.path, body))


def _answer_client(board: Board, method: str, path: str, body: bytes) -> bytes:
    """What clients ask for beside calls: which models there are, how many tokens a message has."""
    if method == "GET" and path.endswith("/models"):
        return render_response(200, orjson.dumps(_MODELS))
    if method == "GET" and "/models/" in path:
        return render_response(200, orjson.dumps({**_MODEL, "id": path.rpartition("/")[2]}))
    if method == "POST" and path.endswith("/messages/count_tokens"):
        return render_response(200, orjson.dumps({"input_tokens": count_body(body)}))
    board.counters.strays += 1
    return render_error(404, f"nothing is served at {method} {path}")


def _ask_oracle(board: Board, query: dict[str, str]) -> bytes:
    try:
        start_s, stop_s = float(query["start"]), float(query["stop"])
    except (KeyError, ValueError):
        return render_error(400, "the oracle is asked with start and stop, in seconds of the timeline")
    # JSON has no infinity: what nothing bounds is null.
    told: dict[str, Any] = board.ask_oracle(start_s, stop_s)._asdict()
    return render_response(200, orjson.dumps(told))


def _replan(board: Board, path: str, body: bytes) -> bytes:
    try:
        if path == "/faults":
            board.faults = Faults.from_json(body)
        else:
            plan = orjson.loads(body)
            board.carry(load_config(Load, plan) if plan is not None else None)
    except (ConfigError, ValueError, TypeError, AttributeError) as exc:
        return render_error(400, f"no plan of {path[1:]}: {exc}")
    return render_response(200, b"{}")
