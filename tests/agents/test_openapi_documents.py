"""OpenAPI documents of all kinds: what a tool of them takes, and the request that a server then gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from shop import Shop, open_shop

from tidemill.agents import openapi
from tidemill.agents.tools.tool import Tool
from tidemill.errors import ConfigError

COLOUR = {"type": "object", "additionalProperties": {"type": "integer"}}
NUMBERS = {"type": "array", "items": {"type": "integer"}}


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def shop(server: Shop) -> Iterator[Shop]:
    """Whatever it is asked is answered with `true`."""
    server.seen.clear()
    server.faults[:] = [(200, {}, b"true")]
    yield server
    server.faults.clear()
    server.drain()


def describe(operation: Mapping[str, Any], path: str = "/x", method: str = "get", **more: Any) -> dict[str, Any]:
    """A document of one operation, `do`."""
    return {"openapi": "3.1.0", "paths": {path: {method: {"operationId": "do", **operation}}}, **more}


def take(operation: Mapping[str, Any], path: str = "/x", method: str = "post", **more: Any) -> Tool:
    [tool] = openapi(describe(operation, path, method, **more), ["do"], base_url="http://127.0.0.1:9")
    return tool


def json_body(schema: Any, *, required: bool = True, media: str = "application/json") -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {media: {"schema": schema}}}}


async def call(tool: Tool, /, **arguments: Any) -> Any:
    given = tool.signature.check(arguments)
    assert given.values is not None, given.render()
    return await tool.function(**given.values)


@pytest.mark.parametrize(
    ("style", "explode", "numbers", "colour"),
    [
        (None, None, "c=3&c=4", "R=100&G=200"),
        ("form", False, "c=3,4", "c=R,100,G,200"),
        ("form", True, "c=3&c=4", "R=100&G=200"),
        ("spaceDelimited", False, "c=3%204", "c=R%20100%20G%20200"),
        ("pipeDelimited", False, "c=3%7C4", "c=R%7C100%7CG%7C200"),
        ("deepObject", True, "c=3&c=4", "c%5BR%5D=100&c%5BG%5D=200"),
    ],
)
async def test_styles_of_a_query(
    shop: Shop, style: str | None, explode: bool | None, numbers: str, colour: str
) -> None:
    """The table of the specification, "Style Examples"."""
    told = {key: value for key, value in (("style", style), ("explode", explode)) if value is not None}
    for schema, value, expected in ((NUMBERS, [3, 4], numbers), (COLOUR, {"R": 100, "G": 200}, colour)):
        shop.faults[:] = [(200, {}, b"true")]
        parameter = {"name": "c", "in": "query", "schema": schema, **told}
        [tool] = openapi(describe({"parameters": [parameter]}), ["do"], base_url=shop.url)
        assert await call(tool, c=value) is True
        assert shop.last.query == expected


@pytest.mark.parametrize(
    ("style", "explode", "text", "numbers", "colour"),
    [
        ("simple", False, "a%20b", "3,4", "R,100,G,200"),
        ("simple", True, "a%20b", "3,4", "R=100,G=200"),
        ("label", False, ".a%20b", ".3,4", ".R,100,G,200"),
        ("label", True, ".a%20b", ".3.4", ".R=100.G=200"),
        ("matrix", False, ";c=a%20b", ";c=3,4", ";c=R,100,G,200"),
        ("matrix", True, ";c=a%20b", ";c=3;c=4", ";R=100;G=200"),
    ],
)
async def test_styles_of_a_path(shop: Shop, style: str, explode: bool, text: str, numbers: str, colour: str) -> None:
    cases = (({"type": "string"}, "a b", text), (NUMBERS, [3, 4], numbers), (COLOUR, {"R": 100, "G": 200}, colour))
    for schema, value, expected in cases:
        shop.faults[:] = [(200, {}, b"true")]
        parameter = {"name": "c", "in": "path", "required": True, "schema": schema, "style": style, "explode": explode}
        [tool] = openapi(describe({"parameters": [parameter]}, "/x/{c}/y"), ["do"], base_url=f"{shop.url}/v1/")
        assert await call(tool, c=value) is True
        assert shop.last.path == f"/v1/x/{expected}/y"


async def test_parameters_as_json_reserved_boolean_and_null(shop: Shop) -> None:
    """A null is left out, as an undefined value of RFC 6570 is."""
    parameters = [
        {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
        {"name": "at", "in": "query", "allowReserved": True, "schema": {"type": "string"}},
        {"name": "is[new]", "in": "query", "schema": {"type": "boolean"}},
        {"name": "none", "in": "query", "schema": {"type": ["string", "null"]}},
        {"name": "X-Ids", "in": "header", "schema": NUMBERS},
        {"name": "a", "in": "cookie", "schema": {"type": "integer"}},
        {"name": "b", "in": "cookie", "schema": {"type": "string"}},
    ]
    [tool] = openapi(describe({"parameters": parameters}), ["do"], base_url=shop.url)
    given = {"filter": {"a": [1]}, "at": "a/b:c&d", "is_new": True, "none": None, "X-Ids": [1, 2], "a": 1, "b": "x y"}
    await call(tool, **given)
    assert shop.last.query == "filter=%7B%22a%22%3A%5B1%5D%7D&at=a/b:c%26d&is%5Bnew%5D=true"
    assert (shop.last.headers["x-ids"], shop.last.headers["cookie"]) == ("1,2", "a=1; b=x%20y")


async def test_names_that_stand_in_two_places_are_told_apart(shop: Shop) -> None:
    parameters = [
        {"name": "id", "in": where, "required": where == "path", "schema": {"type": "string"}}
        for where in ("path", "query", "header")
    ]
    body = json_body({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}})
    [tool] = openapi(describe({"parameters": parameters, **body}, "/x/{id}", "put"), ["do"], base_url=shop.url)
    await call(tool, path_id="1", query_id="2", header_id="3", body_id="4", name="5")
    assert (shop.last.path, shop.last.query, shop.last.headers["id"]) == ("/x/1", "id=2", "3")
    assert json.loads(shop.last.body) == {"id": "4", "name": "5"}


async def test_a_body_of_several_parts_is_one_object(shop: Shop) -> None:
    """`allOf` of objects, by reference; what only answers have is not asked for."""
    schemas = {
        "Named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "Pet": {
            "allOf": [{"$ref": "#/components/schemas/Named"}, {"properties": {"age": {"type": "integer"}}}],
            "properties": {"id": {"type": "integer", "readOnly": True}},
            "required": ["id", "age"],
        },
    }
    body = json_body({"$ref": "#/components/schemas/Pet"}, media="application/merge-patch+json")
    document = describe(body, method="patch", components={"schemas": schemas})
    [tool] = openapi(document, ["do"], base_url=shop.url)
    assert set(tool.signature.schema["properties"]) == {"name", "age"}
    assert set(tool.signature.schema["required"]) == {"name", "age"}
    await call(tool, name="Rex", age=3)
    assert shop.last.headers["content-type"] == "application/merge-patch+json"
    assert json.loads(shop.last.body) == {"name": "Rex", "age": 3}


async def test_recursion_within_references(shop: Shop) -> None:
    """A tree of trees is checked at every depth."""
    tree = {
        "type": "object",
        "required": ["value"],
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
    }
    document = describe(
        json_body({"$ref": "#/components/schemas/Tree"}), method="post", components={"schemas": {"Tree": tree}}
    )
    [tool] = openapi(document, ["do"], base_url=shop.url)
    given = {"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}]}
    await call(tool, **given)
    assert json.loads(shop.last.body) == given
    refused = tool.signature.check({"value": 1, "children": [{"value": 2, "children": [{"value": "x"}]}]})
    assert refused.values is None
    assert "children[0].children[0].value" in refused.render()


def test_words_that_are_no_json_schema_are_left_out() -> None:
    """Extensions, and the recursion of JSON Schema 2019-09, which is put into a reference."""
    filters = {
        "type": "object",
        "$recursiveAnchor": True,
        "x-title": "Filters",
        "required": ["all"],
        "properties": {"all": {"type": "array", "items": {"$recursiveRef": "#"}}},
    }
    parameter = {
        "name": "f",
        "in": "query",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/F"}}},
    }
    [tool] = openapi(
        describe({"parameters": [parameter]}, components={"schemas": {"F": filters}}),
        ["do"],
        base_url="http://127.0.0.1:9",
    )
    assert tool.signature.check({"f": {"all": [{"all": []}]}}).values is not None
    assert tool.signature.check({"f": {"all": [{"all": [{}]}]}}).values is None
    assert "x-title" not in str(tool.signature.schema)


def test_schemas_of_openapi_3_0() -> None:
    """`nullable`, exclusive bounds as flags, and what stands beside a reference."""
    body = json_body(
        {
            "type": "object",
            "properties": {
                "a": {"type": "string", "nullable": True},
                "b": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                "c": {"type": "string", "enum": ["x"], "nullable": True},
                "d": {"nullable": True, "allOf": [{"$ref": "#/components/schemas/D"}]},
                "e": {"$ref": "#/components/schemas/D", "maximum": 1},
            },
        }
    )
    document = describe(body, method="post", components={"schemas": {"D": {"type": "integer"}}}) | {"openapi": "3.0.3"}
    [tool] = openapi(document, ["do"], base_url="http://127.0.0.1:9")
    check = tool.signature.check
    assert check({"a": None, "b": 1, "c": None, "d": None, "e": 2}).values is not None
    for wrong in ({"b": 0}, {"a": 1}, {"c": "y"}, {"d": "z"}, {"e": None}):
        assert check(wrong).values is None, wrong


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": True},
        {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
        {"type": "object"},
        {},
    ],
)
def test_a_body_that_is_no_closed_object_is_one_argument(schema: Any) -> None:
    assert set(take(json_body(schema)).signature.schema["properties"]) == {"body"}


async def test_a_body_that_may_be_left_out(shop: Shop) -> None:
    """It is sent once anything of it is given; one that then needs more is one argument."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    [tool] = openapi(describe(json_body(schema, required=False), method="post"), ["do"], base_url=shop.url)
    await call(tool)
    assert (shop.last.body, "content-type" in shop.last.headers) == (b"", False)
    needy = take(json_body({**schema, "required": ["a"]}, required=False)).signature.schema
    assert (set(needy["properties"]), needy.get("required", [])) == ({"body"}, [])


async def test_a_text_body_and_a_required_empty_one(shop: Shop) -> None:
    [tool] = openapi(
        describe(json_body({"type": "string"}, media="text/plain"), method="post"), ["do"], base_url=shop.url
    )
    await call(tool, body="Grüße")
    assert shop.last.body == "Grüße".encode()
    shop.faults[:] = [(200, {}, b"true")]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    [tool] = openapi(describe(json_body(schema), method="post"), ["do"], base_url=shop.url)
    await call(tool)
    assert shop.last.body == b"{}"


def test_yaml_in_a_file_and_names_without_operation_ids(tmp_path: Path) -> None:
    """Names are made of method and path; relative paths start at `folder`; `NO` is a text, as YAML 1.2 has it."""
    text = """
        openapi: 3.1.0
        servers: [{url: "https://{region}.shop.test/v2", variables: {region: {default: eu}}}]
        paths:
          /items/{id}:
            parameters: [{name: id, in: path, required: true, schema: {type: string, enum: [NO, SE]}}]
            get: {summary: One item}
          /items.{id}:
            parameters: [{name: id, in: path, required: true, schema: {type: string}}]
            get: {}
        """
    (tmp_path / "api.yaml").write_text(text)
    tools = openapi("api.yaml", ["GET /**"], folder=tmp_path)
    assert [(tool.name, tool.description) for tool in tools] == [
        ("get_items_id", "One item"),
        ("get_items_id_2", "GET /items.{id}"),
    ]
    assert tools[0].signature.schema["properties"]["id"]["enum"] == ["NO", "SE"]
    assert tools[0].identity == {"openapi": "https://eu.shop.test/v2", "operation": "GET /items/{id}"}


def test_the_servers_of_a_fetched_document_are_not_trusted(shop: Shop) -> None:
    """One that names another origin than its own sends no credentials there by itself."""
    document = describe({}, servers=[{"url": "https://elsewhere.test"}])
    shop.faults[:] = [(200, {}, json.dumps(document).encode())] * 2
    with pytest.raises(
        ConfigError, match=r"from one server and names another: https://elsewhere.test\n  give base_url"
    ):
        openapi(f"{shop.url}/api.json", ["do"])
    [tool] = openapi(f"{shop.url}/api.json", ["do"], base_url="https://elsewhere.test")
    assert tool.identity == {"openapi": "https://elsewhere.test", "operation": "GET /x"}


def test_alternatives_of_security() -> None:
    """The first that there are credentials for; without any where that is one of them."""
    schemes = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        "id": {"type": "apiKey", "in": "header", "name": "X-Id"},
        "tls": {"type": "mutualTLS"},
    }

    def make(security: list[Any], **settings: Any) -> list[Tool]:
        document = describe({"security": security}, components={"securitySchemes": schemes})
        return openapi(document, ["do"], base_url="http://127.0.0.1:9", **settings)

    assert make([{}, {"key": []}])
    assert make([{"tls": []}, {"key": [], "id": []}], auth={"key": "a", "id": "b"})
    with pytest.raises(ConfigError, match="`GET /x` needs credentials for `id`"):
        make([{"key": [], "id": []}], auth={"key": "a"})
    with pytest.raises(ConfigError, match="`tls` is mutualTLS, which cannot be met"):
        make([{"tls": []}])
    with pytest.raises(ConfigError, match="a credential cannot be sent: the header X-Key has a line break"):
        make([{"key": []}], auth={"key": "a\r\nb"})


MISSING = {"$ref": "#/components/schemas/Pett"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"swagger": "2.0", "paths": {}}, "expected OpenAPI 3, got Swagger 2.0\n  convert it first"),
        ({"info": {}}, "expected an OpenAPI 3 document"),
        ({"openapi": "3.1.0"}, "the document has no `paths`"),
        (describe({}), "does not say where its API is\n  give base_url"),
        (describe(json_body(MISSING), method="post"), r"`\$ref: #/components/schemas/Pett` refers to nothing"),
        (describe(json_body({"$ref": "pets.yaml#/Pet"})), r"`\$ref: pets.yaml#/Pet` is in another document\n  put all"),
        (describe({}, "/x/{id}"), r"`GET /x/\{id\}` does not describe its parameter `id`"),
        (describe({"parameters": [{"name": "a", "in": "body"}]}), "has a parameter `a` in 'body', which is not known"),
        (
            describe({"parameters": [{"name": "a", "in": "header", "style": "form"}]}),
            "style 'form'; one in the header has simple",
        ),
        (
            describe(json_body({}, media="application/octet-stream"), method="post"),
            "`POST /x` takes a body as application/octet-stream only\n  JSON, forms and texts",
        ),
        (describe({"parameters": [{"$ref": "#/a"}]}, a={"$ref": "#/a"}), r"`\$ref: #/a` refers to itself"),
        (describe({"security": [{"none": []}]}), "has no security scheme `none`"),
        (
            describe({"parameters": [{"name": "a", "in": "query", "schema": {"type": "intger"}}]}),
            "(?s)GET /x: the schema of its arguments cannot be read: .*#/properties/a/type",
        ),
    ],
)
def test_documents_that_cannot_be_used(document: dict[str, Any], told: str) -> None:
    base_url = None if "give base_url" in told else "http://127.0.0.1:9"
    with pytest.raises(ConfigError, match=told):
        openapi(document, ["do"], base_url=base_url)


@pytest.mark.parametrize("base_url", ["shop.test", "ftp://shop.test", "http://shop.test/?a=b", "http://shop.test/#a"])
def test_a_base_url_that_no_path_can_follow(base_url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        openapi(describe({}), ["do"], base_url=base_url)


def test_a_text_that_cannot_be_read_is_shown_where(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text("openapi: 3.1.0\npaths: {\n")
    with pytest.raises(ConfigError, match=r"api.yaml:\d"):
        openapi("api.yaml", ["do"], folder=tmp_path)
    with pytest.raises(ConfigError, match=r"there is no file `apy.yaml`.*\n  did you mean"):
        openapi("apy.yaml", ["do"], folder=tmp_path)
