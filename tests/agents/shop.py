"""A FastAPI server on loopback: a shop with all that an API's operations may take, that keeps what it was sent."""

from __future__ import annotations

import asyncio
import enum
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import fastapi
import uvicorn
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.types import Message, Receive, Scope, Send


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(BaseModel):
    kind: Literal["size"]
    width_mm: int = Field(gt=0)


class Weight(BaseModel):
    kind: Literal["weight"]
    grams: float = Field(gt=0)


class Item(BaseModel):
    name: str = Field(min_length=1, description="What it is called.")
    price: float = Field(gt=0)
    colour: Colour = Colour.RED
    measure: Annotated[Size | Weight, Field(discriminator="kind")] | None = None
    parts: list[Item] = []
    tags: dict[str, str] = {}


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Shop:
    """The server's address and what came to it.

    Attributes:
        faults: what the next requests are answered with in place of an answer: status, headers, body.
        silences: how many of the next requests get no answer, until whoever asked goes away.
    """

    url: str = ""
    loop: asyncio.AbstractEventLoop | None = None
    server: uvicorn.Server | None = None
    seen: list[Seen] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    silences: int = 0

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def drain(self) -> None:
        """Wait until the server has closed its ends of the connections that were closed."""
        if self.loop is not None:
            asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result()

    async def _drain(self) -> None:
        assert self.server is not None
        while self.server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells of no end
            await asyncio.sleep(0)  # a turn of its loop


@contextmanager
def open_shop() -> Iterator[Shop]:
    shop = Shop()
    app = _Recorder(make_app(), shop)
    # Without a configuration of logging: one would close the handlers of others, absl's with pytest's stderr.
    config = uvicorn.Config(app, port=0, log_config=None, log_level="critical", lifespan="off", ws="none")
    shop.server = server = uvicorn.Server(config)
    sock = config.bind_socket()
    sock.listen()  # so that nobody comes too early
    shop.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        urllib.request.urlopen(f"{shop.url}/openapi.json").close()  # from then on it opens no more files
        shop.drain()
        yield shop
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


class _Recorder:
    """Keeps each request, and answers with a fault where one is due."""

    def __init__(self, app: Any, shop: Shop) -> None:
        self._app = app
        self._shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._shop.loop = asyncio.get_running_loop()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["raw_path"].decode()
        seen = Seen(scope["method"], path, scope["query_string"].decode(), headers)

        async def listen() -> Message:
            message = await receive()
            seen.body += message.get("body", b"")
            return message

        if path == "/openapi.json":
            await self._app(scope, receive, send)
            return
        self._shop.seen.append(seen)
        if self._shop.silences:
            self._shop.silences -= 1
            while (await listen())["type"] != "http.disconnect":
                pass
            return
        if self._shop.faults:
            while (await listen()).get("more_body"):
                pass
            status, told, body = self._shop.faults.pop(0)
            raw = [(name.encode(), value.encode()) for name, value in told.items()]
            raw.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, listen, send)


bearer, basic = HTTPBearer(auto_error=False), HTTPBasic(auto_error=False)
key_header = APIKeyHeader(name="X-Shop-Key", auto_error=False)
key_query = APIKeyQuery(name="shop_key", auto_error=False)
key_cookie = APIKeyCookie(name="shop_session", auto_error=False)


def make_app() -> fastapi.FastAPI:
    app = fastapi.FastAPI(title="Shop")
    add_items(app)
    add_bodies(app)
    add_secrets(app)

    @app.get("/admin/{name}", include_in_schema=False)
    async def admin(name: str) -> str:
        return f"reached {name}"

    return app


def add_items(app: fastapi.FastAPI) -> None:
    @app.get("/items/{item_id}", operation_id="get_item", summary="One item", description="Looked up by its number.")
    async def get_item(item_id: int, fields: Annotated[list[str] | None, fastapi.Query()] = None) -> dict[str, Any]:
        return {"item_id": item_id, "fields": fields}

    @app.get("/items", operation_id="find_items")
    async def find_items(
        colour: Colour | None = None,
        limit: Annotated[int, fastapi.Query(ge=1, le=100)] = 10,
        x_trace: Annotated[str | None, fastapi.Header()] = None,
        basket: Annotated[str | None, fastapi.Cookie()] = None,
    ) -> dict[str, Any]:
        return {"colour": colour, "limit": limit, "trace": x_trace, "basket": basket}

    @app.post("/items", operation_id="add_item", status_code=201)
    async def add_item(item: Item) -> Item:
        return item

    @app.post("/items/checked", operation_id="add_checked_item")
    async def add_checked_item(item: Item) -> Item:
        if item.price > 1000:
            raise fastapi.HTTPException(409, "an item of this price needs two signatures")
        return item

    @app.put("/items/{name}", operation_id="put_item")
    async def put_item(name: str, item: Item) -> dict[str, Any]:
        return {"put": name, "as": item.name}

    @app.patch("/items/{item_id}", operation_id="patch_item")
    async def patch_item(item_id: int, changes: dict[str, float]) -> dict[str, Any]:
        return {"item_id": item_id, "changes": changes}

    @app.delete("/items/{item_id}", operation_id="delete_item", status_code=204)
    async def delete_item(item_id: int) -> None:
        return None

    @app.head("/items/{item_id}", operation_id="head_item")
    async def head_item(item_id: int) -> fastapi.Response:
        return fastapi.Response(headers={"etag": f'"{item_id}"'})


def add_bodies(app: fastapi.FastAPI) -> None:
    @app.post("/all", operation_id="add_all")
    async def add_all(items: list[Item]) -> int:
        return len(items)

    @app.post("/forms/login", operation_id="log_in")
    async def log_in(
        user: Annotated[str, fastapi.Form()], roles: Annotated[list[str], fastapi.Form()]
    ) -> dict[str, Any]:
        return {"user": user, "roles": roles}

    @app.post("/forms/upload", operation_id="upload")
    async def upload(note: Annotated[str, fastapi.Form()], file: fastapi.UploadFile) -> dict[str, Any]:
        return {"note": note, "name": file.filename, "text": (await file.read()).decode()}

    @app.get("/texts/plain", operation_id="get_text")
    async def get_text() -> fastapi.responses.PlainTextResponse:
        return fastapi.responses.PlainTextResponse("Grüße")

    @app.get("/texts/picture", operation_id="get_picture")
    async def get_picture() -> fastapi.Response:
        return fastapi.Response(b"\x89PNG\0", media_type="image/png")


def add_secrets(app: fastapi.FastAPI) -> None:
    @app.get("/secret/bearer", operation_id="get_with_bearer")
    async def get_with_bearer(given: Annotated[Any, fastapi.Security(bearer)]) -> str:
        return given.credentials if given else _refuse()

    @app.get("/secret/basic", operation_id="get_with_basic")
    async def get_with_basic(given: Annotated[HTTPBasicCredentials | None, fastapi.Security(basic)]) -> str:
        return f"{given.username}:{given.password}" if given else _refuse()

    @app.get("/secret/header", operation_id="get_with_header")
    async def get_with_header(given: Annotated[str | None, fastapi.Security(key_header)]) -> str:
        return given or _refuse()

    @app.get("/secret/query", operation_id="get_with_query")
    async def get_with_query(given: Annotated[str | None, fastapi.Security(key_query)]) -> str:
        return given or _refuse()

    @app.get("/secret/cookie", operation_id="get_with_cookie")
    async def get_with_cookie(given: Annotated[str | None, fastapi.Security(key_cookie)]) -> str:
        return given or _refuse()


def _refuse() -> str:
    raise fastapi.HTTPException(401, "no such key")
