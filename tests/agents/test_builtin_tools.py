"""Tidemill's own tools as an agent has them: described in a file, called by the dispatcher, told to the model."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from pageserver import Answer, serve_pages
from toolkit import call_once

from tidemill.agents.builtin.settings import SQLQuery, WebSearch
from tidemill.agents.builtin.table import BUILTIN, load_settings
from tidemill.agents.tools.tool import Tool
from tidemill.config.schemas.json_schema import json_schema
from tidemill.errors import ConfigError, PermanentCallError

KEY = "canary-4711-search-key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a text and a database."""
    (tmp_path / "notes.txt").write_text("high tide at noon\n")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE users (id INTEGER, name TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 'Ada')")
        connection.commit()
    return tmp_path


def make(name: str, **settings: Any) -> Tool:
    made = load_settings(name)(**settings).make(Path())
    assert isinstance(made, Tool)
    return made


async def told(tool: Tool, **arguments: Any) -> tuple[str, Any, str]:
    """The kind of an outcome, its value, and what the model is told, without the marks around it."""
    outcome = await call_once(tool, arguments=arguments)
    return outcome.kind, outcome.value, outcome.content


async def test_each_is_made_of_its_settings_and_called(folder: Path) -> None:
    """What they give is JSON, whole in the run and marked for the model."""
    found = {"title": "Mills", "url": "https://mills.example/", "content": "Two of them."}
    answers = {"/search": Answer(orjson.dumps({"results": [found]})), "/page": Answer(b"<p>low <b>tide</b>")}
    answers["/page"].headers = {"content-type": "text/html"}
    with serve_pages(answers) as pages:
        search = make("web_search", engine="searxng", base_url=pages.url(""), count=3)
        _, value, content = await told(search, query="mills")
        assert value == [
            {"title": "Mills", "url": "https://mills.example/", "snippet": "Two of them.", "published": None}
        ]
        assert content.startswith('<result tool="web_search" id="')
        get = make("http_get", allow=[f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.1"], limits={"max_chars": 5})
        _, value, _ = await told(get, url=pages.url("/page"))
        assert (value["text"], value["next_start"], value["total_chars"]) == ("low t", 5, 8)
    _, value, _ = await told(make("read_file", root=folder), path="notes.txt")
    assert (value["text"], value["total_lines"]) == ("high tide at noon\n", 1)
    _, value, _ = await told(make("list_files", root=str(folder)))
    assert [entry["path"] for entry in value["entries"]] == ["notes.txt", "shop.db"]
    query = make("sql_query", database=str(folder / "shop.db"), limits={"rows": 5})
    _, value, _ = await told(query, sql="SELECT name FROM users WHERE id = ?", parameters=[1])
    assert value == {"columns": [{"name": "name", "type": "text"}], "rows": [["Ada"]], "is_cut": False}
    _, value, _ = await told(make("sql_schema", database=str(folder / "shop.db")))
    assert [table["name"] for table in value] == ["users"]


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("read_file", {"path": "../x"}, "has `..` in it"),
        ("read_file", {"path": "note.txt"}, "did you mean `notes.txt`?"),
        ("list_files", {"path": "/"}, "is not below the folder"),
        ("sql_query", {"sql": "SELECT nam FROM users"}, "did you mean `name`?"),
        ("sql_query", {"sql": "DROP TABLE users"}, "only reading is allowed"),
        ("sql_schema", {"table": "user"}, "did you mean `users`?"),
        ("http_get", {"url": "http://169.254.169.254/latest/meta-data"}, "a link-local address, which is not called"),
        ("http_get", {"url": "http://0x7f.1/"}, "is a number in place of a host"),
    ],
)
async def test_a_refusal_is_told_to_the_model(folder: Path, name: str, arguments: dict[str, Any], text: str) -> None:
    """In its own words, with the mend; nothing is tried again."""
    database = {"database": str(folder / "shop.db")}
    settings: dict[str, dict[str, Any]] = {"http_get": {"allow": ["*"]}, "sql_query": database, "sql_schema": database}
    outcome = await call_once(make(name, **settings.get(name, {"root": folder})), arguments=arguments)
    assert (outcome.kind, outcome.tries) == ("error", 1)
    assert text in outcome.content
    assert outcome.content.startswith(f"`{name}` refused:")


async def test_a_key_that_is_not_accepted_stops_the_run() -> None:
    """No model can mend it; who runs the agent can, by the variable that is named."""
    with serve_pages({"/search": Answer(b"{}", 401)}) as pages:
        search = make("web_search", engine="tavily", base_url=pages.url(""), api_key=KEY)
        with pytest.raises(PermanentCallError, match="the key is not accepted; check TAVILY_API_KEY") as caught:
            await call_once(search, arguments={"query": "x"})
    assert KEY not in str(caught.value)


async def test_what_an_engine_does_not_take_is_told() -> None:
    """In its own words: the model may ask in others."""
    with serve_pages({"/search": Answer(b"busy", 400)}) as pages:
        search = make("web_search", engine="tavily", base_url=pages.url(""), api_key=KEY)
        outcome = await call_once(search, arguments={"query": "x"})
    assert (outcome.kind, "answered 400: busy" in outcome.content) == ("error", True)


@pytest.mark.parametrize(
    ("name", "settings", "messages"),
    [
        ("web_search", {"engine": "serxng"}, ["did you mean `searxng`?"]),
        ("web_search", {"engine": "searxng"}, ["`searxng` needs its `base_url`"]),
        ("web_search", {"engine": "searxng", "base_url": "http://a", "api_key": "x"}, ["takes no `api_key`"]),
        ("web_search", {"engine": "brave", "api_kye": KEY, "count": 50}, ["api_key", "count"]),
        ("http_get", {}, ["allow"]),
        ("http_get", {"allow": []}, ["allow"]),
        ("http_get", {"allow": ["a"], "limits": {"max_byte": 5}}, ["max_bytes"]),
        ("http_get", {"allow": ["ftp://far"]}, ["only http and https"]),
        ("read_file", {"root": "/nothing/there"}, ["is no folder"]),
        ("sql_query", {"database": "/nothing/there.db"}, ["there is no database"]),
    ],
)
def test_settings_that_do_not_fit_are_told(name: str, settings: dict[str, Any], messages: list[str]) -> None:
    """All of them at once, with the nearest name, and without the secret that stood under a wrong one."""
    with pytest.raises(ConfigError, match=r"\S") as caught:
        make(name, **settings)
    report = f"{caught.value}{caught.value.problems}"
    assert [message for message in messages if message not in report] == []
    assert KEY not in report


def test_no_description_shows_a_secret() -> None:
    url = "postgresql://me:canary-4711-password@far/shop"
    for described in (SQLQuery(database=url), WebSearch(engine="brave", api_key=KEY)):
        assert "canary" not in f"{described!r}{described.to_dict()}{described.to_yaml()}"


@pytest.mark.parametrize("name", BUILTIN)
def test_each_is_described(name: str) -> None:
    """An editor completes its settings: every one has its sentence."""
    schema = json_schema(load_settings(name))
    assert schema["description"]
    assert [key for key, each in schema["properties"].items() if not each.get("description")] == []
