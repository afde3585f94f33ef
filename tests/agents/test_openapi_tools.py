"""Operations of a real FastAPI server as tools, made from the document that it generates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from shop import Shop, open_shop

from tidemill.agents import openapi
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.tool import Tool
from tidemill.errors import ConfigError, PermanentCallError, ResourceError, TransientCallError

KEY = "0123456789abcdef0123456789abcdef"
ITEM = {"name": "lamp", "price": 9.5}


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def shop(server: Shop) -> Iterator[Shop]:
    server.seen.clear()
    server.faults.clear()
    yield server
    server.drain()


def make(shop: Shop, *allow: str, **settings: Any) -> dict[str, Tool]:
    return {tool.name: tool for tool in openapi(f"{shop.url}/openapi.json", allow, **settings)}


async def call(tool: Tool, /, **arguments: Any) -> Any:
    """What a call that a model makes of the tool gives."""
    given = tool.signature.check(arguments)
    assert given.values is not None, given.render()
    return await tool.function(**given.values, **{tool.context: Context(None, KEY)})


async def test_path_and_query_parameters(shop: Shop) -> None:
    [tool] = make(shop, "get_item").values()
    assert tool.description == "One item\n\nLooked up by its number."
    assert await call(tool, item_id=7, fields=["a b", "c&d"]) == {"item_id": 7, "fields": ["a b", "c&d"]}
    assert (shop.last.path, shop.last.query) == ("/items/7", "fields=a%20b&fields=c%26d")
    assert await call(tool, item_id=7) == {"item_id": 7, "fields": None}


async def test_headers_cookies_enums_and_bounds(shop: Shop) -> None:
    """What is left out is left to the server's default; what is out of bounds is never sent."""
    [tool] = make(shop, "GET /items").values()
    given = {"colour": "blue", "x-trace": "t 1", "basket": "a;b", "limit": 3}
    assert await call(tool, **given) == {"colour": "blue", "limit": 3, "trace": "t 1", "basket": "a%3Bb"}
    assert await call(tool) == {"colour": None, "limit": 10, "trace": None, "basket": None}
    refused = tool.signature.check({"colour": "bleu", "limit": 101, "limt": 3})
    told = refused.render()
    assert refused.values is None
    assert all(word in told for word in ("colour", "blue", "limit", "100", "limt"))
    assert len(shop.seen) == 2


async def test_a_nested_body_with_unions_recursion_and_defaults(shop: Shop) -> None:
    [tool] = make(shop, "add_item").values()
    part = {"name": "bulb", "price": 1, "measure": {"kind": "weight", "grams": 20.5}}
    given = {**ITEM, "measure": {"kind": "size", "width_mm": 4}, "parts": [part], "tags": {"a": "b"}, "colour": "blue"}
    added = await call(tool, **given)
    assert (added["colour"], added["measure"], added["tags"]) == ("blue", {"kind": "size", "width_mm": 4}, {"a": "b"})
    assert added["parts"][0]["measure"] == {"kind": "weight", "grams": 20.5}
    refused = tool.signature.check({**ITEM, "parts": [{"name": "bulb", "price": "dear"}]})
    assert refused.values is None
    assert "parts" in refused.render()


async def test_all_methods(shop: Shop) -> None:
    """PUT, PATCH, DELETE and HEAD; a name that stands in path and body is told apart."""
    tools = make(shop, "* /items/*")
    assert await call(tools["put_item"], path_name="a b", body_name="lamp", price=1) == {"put": "a b", "as": "lamp"}
    assert await call(tools["patch_item"], item_id=1, body={"price": 3}) == {"item_id": 1, "changes": {"price": 3.0}}
    assert await call(tools["delete_item"], item_id=1) == "answered 204 No Content, with nothing more"
    head = await call(tools["head_item"], item_id=1)
    assert (head["status"], head["etag"]) == (200, '"1"')
    assert [each.method for each in shop.seen] == ["PUT", "PATCH", "DELETE", "HEAD"]


async def test_bodies_that_are_no_objects_forms_and_files(shop: Shop) -> None:
    tools = make(shop, "add_all", "POST /forms/*")
    assert await call(tools["add_all"], body=[ITEM, ITEM]) == 2
    assert await call(tools["log_in"], user="ä&b", roles=["x", "y"]) == {"user": "ä&b", "roles": ["x", "y"]}
    sent = await call(tools["upload"], note="first\r\nsecond", file="Grüße --")
    assert sent == {"note": "first\r\nsecond", "name": "file.txt", "text": "Grüße --"}


async def test_answers_that_are_no_json(shop: Shop) -> None:
    tools = make(shop, "GET /texts/*")
    assert await call(tools["get_text"]) == "Grüße"
    assert await call(tools["get_picture"]) == "answered 200 OK with 5 bytes of image/png"


async def test_writes_have_the_calls_key_and_reads_have_none(shop: Shop) -> None:
    tools = make(shop, "get_item", "add_item")
    await call(tools["get_item"], item_id=1)
    await call(tools["add_item"], **ITEM)
    assert [each.headers.get("idempotency-key") for each in shop.seen] == [None, KEY]


def test_what_needs_approval_and_what_is_tried_again(shop: Shop) -> None:
    """By itself writes are approved and sent once."""

    def list_approved(**settings: Any) -> set[str]:
        tools = make(shop, "get_item", "head_item", "add_item", "delete_item", **settings)
        return {name for name, tool in tools.items() if tool.options.needs_approval}

    assert list_approved() == {"add_item", "delete_item"}
    assert list_approved(approve=True) == {"get_item", "head_item", "add_item", "delete_item"}
    assert list_approved(approve=False) == set()
    assert list_approved(approve=["DELETE /**", "head_item"]) == {"delete_item", "head_item"}
    tools = make(shop, "get_item", "add_item")
    assert [tool.options.retries for tool in tools.values()] == [2, 0]
    tools = make(shop, "get_item", "add_item", idempotent_writes=True)
    assert [tool.options.retries for tool in tools.values()] == [2, 2]


async def test_a_refused_body_is_told_with_its_fields(shop: Shop) -> None:
    """The server's 422, as FastAPI words it, where the document allows more than the server."""
    document = {
        "openapi": "3.1.0",
        "paths": {
            "/items": {
                "post": {
                    "operationId": "add",
                    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True},
                }
            }
        },
    }
    [tool] = openapi(document, ["add"], base_url=shop.url)
    with pytest.raises(
        PermanentCallError, match=r"(?s)422 Unprocessable.*body.name: .*required.*body.price: .*greater than 0"
    ) as info:
        await call(tool, body={"price": -1})
    assert info.value.of == "record"


async def test_the_detail_of_an_error_is_told(shop: Shop) -> None:
    [tool] = make(shop, "add_checked_item").values()
    with pytest.raises(
        PermanentCallError, match="POST /items/checked: answered 409 Conflict: an item of this price needs"
    ):
        await call(tool, name="crown", price=2000)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "told"),
    [
        (429, {"retry-after": "7"}, b"", TransientCallError, "429 Too Many Requests"),
        (
            503,
            {},
            b"<html><script>x()</script><b>down</b> for now</html>",
            TransientCallError,
            "503 Service Unavailable: ",
        ),
        (500, {}, b'{"detail": "gone"}', TransientCallError, "500 Internal Server Error: gone"),
        (501, {}, b"", PermanentCallError, "501 Not Implemented"),
        (403, {}, b'{"title": "no", "code": 7}', PermanentCallError, '403 Forbidden: {"title":"no","code":7}'),
        (404, {}, b"x" * 5000, PermanentCallError, "404 Not Found: x{1999}…$"),
        (
            302,
            {"location": "http://elsewhere/"},
            b"",
            PermanentCallError,
            "302 Found to http://elsewhere/, which is not fo",
        ),
    ],
)
async def test_statuses(
    shop: Shop, status: int, headers: dict[str, str], body: bytes, kind: type[Exception], told: str
) -> None:
    """What may pass is a transient error with what the server asks to wait; all are the record's."""
    [tool] = make(shop, "get_text").values()
    shop.faults.append((status, headers, body))
    with pytest.raises(kind, match=told) as info:
        await call(tool)
    assert isinstance(info.value, (TransientCallError, PermanentCallError))
    assert (info.value.of, info.value.status) == ("record", status)
    assert info.value.retry_after_s == (7.0 if headers.get("retry-after") else None)


@pytest.mark.parametrize(
    ("name", "scheme", "secret", "expected"),
    [
        ("bearer", "HTTPBearer", "my-own-key-1", "my-own-key-1"),
        ("basic", "HTTPBasic", "me:my-own-key-1", "me:my-own-key-1"),
        ("header", "APIKeyHeader", "my-own-key-1", "my-own-key-1"),
        ("query", "APIKeyQuery", "my-own key-1", "my-own key-1"),
        ("cookie", "APIKeyCookie", "my-own-key-1", "my-own-key-1"),
    ],
)
async def test_credentials_go_where_the_document_says(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str, secret: str, expected: str
) -> None:
    """Given, or in a variable; the model is asked for none of them."""
    monkeypatch.setenv("SHOP_KEY", secret)
    for settings in ({"auth": {scheme: secret}}, {"auth_variables": {scheme: "SHOP_KEY"}}):
        [tool] = make(shop, f"get_with_{name}", **settings).values()
        assert tool.signature.schema["properties"] == {}
        assert await call(tool) == expected


async def test_refused_credentials_end_the_run_and_are_not_shown(shop: Shop) -> None:
    [tool] = make(shop, "get_with_bearer", auth={"HTTPBearer": "my-own-key-1"}).values()
    shop.faults.append((401, {}, b'{"detail": "my-own-key-1 is no key"}'))
    with pytest.raises(
        PermanentCallError, match=r"401 Unauthorized: \*\*\* is no key\n  check the credentials"
    ) as info:
        await call(tool)
    assert info.value.of == "run"


def test_missing_credentials_are_told_before_anything_is_sent(shop: Shop) -> None:
    with pytest.raises(
        ConfigError, match="`GET /secret/bearer` needs credentials for `HTTPBearer`, and there are none"
    ):
        make(shop, "get_with_bearer")
    with pytest.raises(ConfigError, match="is to be in NO_SUCH_KEY, which is not set"):
        make(shop, "get_with_bearer", auth_variables={"HTTPBearer": "NO_SUCH_KEY"})
    with pytest.raises(ConfigError, match=r"no security scheme `HTTPBearr`\n  did you mean `HTTPBearer`\?"):
        make(shop, "get_with_bearer", auth={"HTTPBearr": "x"})
    with pytest.raises(ConfigError, match="auth is one credential, and the document has `HTTPBearer`, "):
        make(shop, "get_with_bearer", auth="x")
    assert shop.seen == []


async def test_headers_stand_in_place_of_a_scheme_and_of_an_argument(shop: Shop) -> None:
    tools = make(shop, "find_items", "get_with_bearer", headers={"Authorization": "Bearer own-1", "X-Trace": "t"})
    assert await call(tools["get_with_bearer"]) == "own-1"
    assert "x-trace" not in tools["find_items"].signature.schema["properties"]
    assert (await call(tools["find_items"]))["trace"] == "t"


@pytest.mark.parametrize(
    "name",
    ["..", ".", "../admin/x", "..\\admin", "%2e%2e/x", "%252e%252e", "a/../../admin", "a/b", "", " .. /x", "a\\b"],
)
async def test_no_argument_leads_to_another_path(shop: Shop, name: str) -> None:
    [tool] = make(shop, "put_item", approve=False).values()
    with pytest.raises(RefusalError, match=r"\$\.path_name: expected"):
        await call(tool, path_name=name, body_name="x", price=1)
    assert shop.seen == []


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "a;b", "a%b", "ä ", "a&b", "http:", "@host", "a\r\nb"])
async def test_all_else_stays_one_part_of_the_path(shop: Shop, name: str) -> None:
    [tool] = make(shop, "put_item").values()
    assert (await call(tool, path_name=name, body_name="x", price=1))["put"] == name


async def test_slashes_where_they_are_allowed(shop: Shop) -> None:
    """They go encoded, and lead no further up."""
    [tool] = make(shop, "put_item", allow_slashes=True).values()
    shop.faults.append((200, {}, b"1"))
    assert await call(tool, path_name="a/b", body_name="x", price=1) == 1
    assert shop.last.path == "/items/a%2Fb"
    with pytest.raises(RefusalError, match=r"expected no `\.` or `\.\.`"):
        await call(tool, path_name="a/../b", body_name="x", price=1)


async def test_no_argument_makes_a_header_of_its_own(shop: Shop) -> None:
    [tool] = make(shop, "find_items").values()
    with pytest.raises(RefusalError, match=r"\$\.x-trace: expected one line"):
        await call(tool, **{"x-trace": "a\r\nauthorization: b"})
    assert shop.seen == []


async def test_calls_at_once_share_connections_and_leave_none(shop: Shop) -> None:
    """A session of one run of an agent; `no_leaks` finds what stays open."""
    [tool] = make(shop, "get_item").values()
    assert tool.open_session is not None
    context = Context(None, KEY)
    async with tool.open_session(context) as one, tool.open_session(context) as other:
        both = await asyncio.gather(
            *(fn(item_id=n, **{tool.context: context}) for n in range(10) for fn in (one, other))
        )
    assert [each["item_id"] for each in both] == [n for n in range(10) for _ in range(2)]


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        (["get_itm"], r"`get_itm` names no operation\n  did you mean `get_item`\?"),
        (["GET /itms/{item_id}"], r"`GET /itms/{item_id}` names no operation\n  did you mean `GET /items/{item_id}`\?"),
        (["POST /items/*/parts"], "names no operation"),
        ([], "allow"),
        ("get_item", "allow"),
    ],
)
def test_an_entry_that_names_nothing(shop: Shop, allow: Sequence[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        openapi(f"{shop.url}/openapi.json", allow)


def test_a_document_that_is_not_there(shop: Shop) -> None:
    with pytest.raises(ResourceError, match="the document cannot be fetched: answered 404"):
        openapi(f"{shop.url}/openapi.yml", ["get_item"])


def test_patterns_stay_within_a_part_of_a_path(shop: Shop) -> None:
    """`*` is one part, `**` any number; operationIds have none."""

    def find(*allow: str) -> set[str]:
        return set(make(shop, *allow, auth={"HTTPBearer": "x"}, headers={"X-Shop-Key": "y"}))

    assert find("GET /*") == {"find_items"}
    assert find("get_*item") == {"get_item"}
    assert find("GET /texts/**", "post /all") == {"get_text", "get_picture", "add_all"}


def test_names_get_a_prefix_and_identity_has_no_credentials(shop: Shop) -> None:
    [tool] = make(shop, "get_with_bearer", prefix="shop_", auth={"HTTPBearer": "my-own-key-1"}).values()
    assert tool.name == "shop_get_with_bearer"
    assert tool.identity == {"openapi": shop.url, "operation": "GET /secret/bearer"}
