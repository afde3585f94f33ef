"""Qdrant's REST API on loopback, for one client library: run as a program, it prints its port.

Bodies are checked by the models that `qdrant-client` has of Qdrant's OpenAPI description, which know every field, and
what a filter or a query means is decided by that library's own local mode. Paths, statuses and error bodies are as
api.qdrant.tech has them. `POST /faults` says what comes of the next requests instead.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from pydantic import ValidationError
from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal

MAX_BODY_BYTES = 32 << 20
KEY = "canary-4711-key-of-qdrant"
"""What a collection whose name begins with `secret` is asked with."""
_RESET = struct.pack("ii", 1, 0)


@dataclass
class State:
    """All there is, of one lock: the local mode is for one thread."""

    local: QdrantLocal = field(default_factory=lambda: QdrantLocal(":memory:"))
    lock: threading.Lock = field(default_factory=threading.Lock)
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    yellow: int = 0
    keeps_metadata: bool = True


STATE = State()


class RefusedError(Exception):
    """What the server answers instead."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


def describe(name: str, body: bytes, query: str) -> Any:
    info = STATE.local.get_collection(name).model_dump(mode="json")
    STATE.yellow -= (is_yellow := STATE.yellow > 0)
    return {**info, "payload_schema": STATE.schemas[name], "status": "yellow" if is_yellow else "green"}


def create(name: str, body: bytes, query: str) -> Any:
    asked = models.CreateCollection.model_validate_json(body)
    if STATE.local.collection_exists(name):
        raise RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
    STATE.schemas[name] = {}
    return STATE.local.create_collection(name, asked.vectors, metadata=asked.metadata if STATE.keeps_metadata else None)


def index(name: str, body: bytes, query: str) -> Any:
    asked = models.CreateFieldIndex.model_validate_json(body)
    schema = models.PayloadSchemaType(asked.field_schema)
    STATE.schemas[name][asked.field_name] = {"data_type": schema.value, "points": 0}
    return update(query)


def upsert(name: str, body: bytes, query: str) -> Any:
    told = orjson.loads(body)
    models.PointsList.model_validate({**told, "points": told["points"][:1]})  # all of them would take most of the time
    size = STATE.local.get_collection(name).config.params.vectors.size  # type: ignore[union-attr] # one vector a point
    for point in told["points"]:
        if set(point) != {"id", "vector", "payload"}:
            raise RefusedError(400, "Format error in JSON body: not the fields of a point")
        if len(point["vector"]) != size:
            given = len(point["vector"])
            raise RefusedError(400, f"Wrong input: Vector dimension error: expected dim: {size}, got {given}")
    STATE.local.upsert(name, [models.PointStruct.model_construct(**point) for point in told["points"]])
    return update(query)


def find(name: str, body: bytes, query: str) -> Any:
    asked = models.QueryRequestBatch.model_validate_json(body)
    found = STATE.local.query_batch_points(name, asked.searches)
    return [each.model_dump(mode="json", exclude_none=True) for each in found]


def retrieve(name: str, body: bytes, query: str) -> Any:
    asked = models.PointRequest.model_validate_json(body)
    payload = True if asked.with_payload is None else asked.with_payload
    found = STATE.local.retrieve(name, asked.ids, with_payload=payload, with_vectors=bool(asked.with_vector))
    return [each.model_dump(mode="json", exclude_none=True) for each in found]


def count(name: str, body: bytes, query: str) -> Any:
    asked = models.CountRequest.model_validate_json(body)
    return {"count": STATE.local.count(name, asked.filter).count}


def delete(name: str, body: bytes, query: str) -> Any:
    STATE.local.delete(name, models.PointIdsList.model_validate_json(body))
    return update(query)


def update(query: str) -> dict[str, Any]:
    return {"operation_id": len(STATE.asked), "status": "completed" if "wait=true" in query else "acknowledged"}


Handle = Callable[[str, bytes, str], Any]

ROUTES: dict[tuple[str, str], Handle] = {
    ("GET", ""): describe,
    ("PUT", ""): create,
    ("PUT", "/index"): index,
    ("PUT", "/points"): upsert,
    ("POST", "/points"): retrieve,
    ("POST", "/points/query/batch"): find,
    ("POST", "/points/count"): count,
    ("POST", "/points/delete"): delete,
}
_PATH = re.compile(r"/collections/([^/?]+)(/[^?]*)?(?:\?(.*))?")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_any(self) -> None:
        started_at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/faults":
            self.control(orjson.loads(body))
            return
        with STATE.lock:
            STATE.asked.append(f"{self.command} {self.path}")
            fault = STATE.faults.pop(0) if STATE.faults else {}
        if self.fail(fault):
            return
        try:
            status, answer = 200, {"result": self.answer(body), "status": "ok"}
        except RefusedError as refused:
            status, answer = refused.status, {"status": {"error": refused.error}}
        except ValidationError as error:
            status, answer = 400, {"status": {"error": f"Format error in JSON body: {error.errors()[0]['msg']}"}}
        self.give(status, {**answer, "time": time.monotonic() - started_at})

    do_GET = do_PUT = do_POST = do_any  # noqa: N815 - as `http.server` names them

    def answer(self, body: bytes) -> Any:
        match = _PATH.fullmatch(self.path)
        handle = ROUTES.get((self.command, match[2] or "")) if match else None
        if match is None or handle is None:
            raise RefusedError(404, "")
        name = match[1]
        if name.startswith("secret") and self.headers.get("api-key") != KEY:
            raise RefusedError(401, "Must provide an API key or an Authorization bearer token")
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, "Payload too large")
        with STATE.lock:
            if handle is not create and not STATE.local.collection_exists(name):
                raise RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
            return handle(name, body, match[3] or "")

    def control(self, told: dict[str, Any]) -> None:
        """Take what comes (`faults`, one a request; `yellow`, describings; `old`), and tell what was asked since."""
        with STATE.lock:
            STATE.faults = told.get("faults", [])
            STATE.yellow = told.get("yellow", 0)
            STATE.keeps_metadata = not told.get("old", False)
            asked, STATE.asked = STATE.asked, []
        self.give(200, asked)

    def fail(self, fault: dict[str, Any]) -> bool:
        """Whether a fault answers: `status` and `headers`, `cut`, `garbage`, or `stall` until the client goes."""
        if "status" in fault:
            self.give(fault["status"], {"status": {"error": "as told"}}, fault.get("headers", {}))
        elif "cut" in fault:
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close_connection = True
        elif "stall" in fault:
            self.connection.recv(1)
            self.close_connection = True
        elif "garbage" in fault:
            self.give(200, ["no result"])
        return bool(fault)

    def give(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = orjson.dumps(answer)
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes before it has its answer is no error."""


def main() -> None:
    """Serve until standard input ends."""
    warnings.simplefilter("ignore")  # of the many points that there are
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
