"""`web_search`: three engines' wire formats, answered by a real server, and what goes wrong with each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pageserver import Answer, PageServer, serve_pages

from tidemill.agents.builtin.search_engines import Brave, SearchEngine, SearchHit, SearXNG, Tavily
from tidemill.agents.builtin.web_search import web_search
from tidemill.config.secrets import mask
from tidemill.errors import CallError, ConfigError, PermanentCallError, TransientCallError

KEY = "canary-4711-search-key"

SEARXNG = {
    "query": "tide mill",
    "number_of_results": 0,
    "results": [
        {
            "url": "https://mills.example/eling",
            "title": "Eling Tide Mill",
            "content": "One of two working  tide mills;\nAT&T <b> is text here.",
            "publishedDate": "2024-05-01T00:00:00",
            "engine": "duckduckgo",
            "engines": ["duckduckgo", "brave"],
            "positions": [1, 2],
            "score": 3.0,
            "category": "general",
        },
        {"url": "https://mills.example/two", "title": "Two", "content": None, "publishedDate": None},
        {"title": "an infobox without an address", "content": "x"},
        {"url": "javascript:alert(1)", "title": "no page", "content": "x"},
    ],
    "answers": [],
    "corrections": [],
    "infoboxes": [],
    "suggestions": [],
    "unresponsive_engines": [["google", "timeout"]],
}
BRAVE = {
    "type": "search",
    "query": {"original": "tide mill", "more_results_available": True},
    "mixed": {"type": "mixed", "main": [{"type": "web", "index": 0, "all": False}]},
    "web": {
        "type": "search",
        "results": [
            {
                "type": "search_result",
                "subtype": "generic",
                "title": "Eling <strong>Tide</strong> Mill &#x27;24",
                "url": "https://mills.example/eling",
                "description": "One of two working <strong>tide</strong> mills &amp; a <script>x()</script>museum.",
                "page_age": "2024-05-01T00:00:00",
                "age": "May 1, 2024",
                "meta_url": {"scheme": "https", "netloc": "mills.example"},
                "family_friendly": True,
            }
        ],
        "family_friendly": True,
    },
}
TAVILY = {
    "query": "tide mill",
    "follow_up_questions": None,
    "answer": None,
    "images": [],
    "results": [
        {
            "url": "https://mills.example/eling",
            "title": "Eling Tide Mill",
            "content": "One of two working tide mills.",
            "score": 0.98,
            "raw_content": None,
            "published_date": "Wed, 01 May 2024 00:00:00 GMT",
        }
    ],
    "response_time": 1.2,
    "request_id": "123e4567-e89b-12d3-a456-426614174111",
}

ENGINES: dict[str, tuple[str, Any, Callable[[PageServer], SearchEngine]]] = {
    "searxng": ("/sub/search", SEARXNG, lambda pages: SearXNG(base_url=pages.url("/sub/"))),
    "brave": ("/res/web/search", BRAVE, lambda pages: Brave(base_url=pages.url("/res"), api_key=KEY)),
    "tavily": ("/search", TAVILY, lambda pages: Tavily(base_url=pages.url(""), api_key=KEY)),
}
each_engine = pytest.mark.parametrize("kind", ENGINES)


async def search(kind: str, answer: Answer, *, count: int = 5) -> list[SearchHit]:
    """What the tool gives where the engine answers so."""
    path, _, make = ENGINES[kind]
    with serve_pages({path: answer}) as pages:
        found: list[SearchHit] = await web_search(make(pages))(query="tide mill", count=count)
    return found


def as_json(value: Any, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), headers={"content-type": "application/json", **headers})


async def test_searxng_is_asked_and_read() -> None:
    """Its texts are text: what looks like a tag in them stays. What is no page is left out."""
    path, reply, _ = ENGINES["searxng"]
    with serve_pages({path: as_json(reply)}) as pages:
        engine = SearXNG(base_url=pages.url("/sub/"), params={"language": "en", "safesearch": 1})
        assert await engine.search("tide & mill", 10) == [
            SearchHit(
                "Eling Tide Mill",
                "https://mills.example/eling",
                "One of two working tide mills; AT&T <b> is text here.",
                "2024-05-01T00:00:00",
            ),
            SearchHit("Two", "https://mills.example/two", ""),
        ]
        (asked,) = pages.asked
    assert (asked.method, asked.body) == ("GET", b"")
    assert asked.path == "/sub/search?q=tide+%26+mill&format=json&language=en&safesearch=1"


async def test_brave_is_asked_and_read() -> None:
    """Its titles and descriptions are HTML, of which a model needs none."""
    path, reply, make = ENGINES["brave"]
    with serve_pages({path: as_json(reply)}) as pages:
        assert await make(pages).search("tide mill", 50) == [
            SearchHit(
                "Eling Tide Mill '24",
                "https://mills.example/eling",
                "One of two working tide mills & a museum.",
                "2024-05-01T00:00:00",
            )
        ]
        (asked,) = pages.asked
    assert (asked.method, asked.headers["x-subscription-token"]) == ("GET", KEY)
    assert asked.path == "/res/web/search?q=tide+mill&count=20&result_filter=web"


async def test_tavily_is_asked_and_read() -> None:
    path, reply, make = ENGINES["tavily"]
    with serve_pages({path: as_json(reply)}) as pages:
        assert await make(pages).search("tide mill", 3) == [
            SearchHit(
                "Eling Tide Mill",
                "https://mills.example/eling",
                "One of two working tide mills.",
                "Wed, 01 May 2024 00:00:00 GMT",
            )
        ]
        (asked,) = pages.asked
    assert (asked.method, asked.headers["authorization"]) == ("POST", f"Bearer {KEY}")
    assert json.loads(asked.body) == {"query": "tide mill", "max_results": 3}


@each_engine
async def test_no_more_pages_are_given_than_were_asked_for(kind: str) -> None:
    """SearXNG takes no count."""
    assert len(await search(kind, as_json(ENGINES[kind][1]), count=1)) == 1


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("searxng", {**SEARXNG, "results": []}),
        ("brave", {"type": "search", "query": {"original": "x"}}),
        ("brave", {"type": "search", "web": {"type": "search", "results": []}}),
        ("tavily", {**TAVILY, "results": []}),
    ],
)
async def test_nothing_found_is_no_error(kind: str, reply: Any) -> None:
    """Brave leaves the part out then."""
    assert await search(kind, as_json(reply)) == []


@each_engine
async def test_a_pause_that_is_asked_for_is_told(kind: str) -> None:
    """So that the call is tried again after it."""
    with pytest.raises(TransientCallError, match="answered 429") as caught:
        await search(kind, Answer(b"{}", 429, {"retry-after": "7"}))
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("left", "reset", "wait_s"),
    [("0, 900", "1, 86400", 1.0), ("1, 0", "1, 600", 600.0), ("0, 0", "1, 50", 50.0), ("1, 9", "1, 9", None)],
)
async def test_braves_quota_says_how_long_to_wait(left: str, reset: str, wait_s: float | None) -> None:
    """It sends no `Retry-After`, but what is left of each quota and when that is back."""
    headers = {"x-ratelimit-remaining": left, "x-ratelimit-reset": reset}
    with pytest.raises(TransientCallError, match="answered 429") as caught:
        await search("brave", Answer(b"{}", 429, headers))
    assert caught.value.retry_after_s == wait_s


async def test_a_quota_that_is_spent_for_long_stops_the_run() -> None:
    headers = {"x-ratelimit-remaining": "1, 0", "x-ratelimit-reset": "1, 1419704"}
    with pytest.raises(PermanentCallError, match="the quota is spent, and back in 394 hours") as caught:
        await search("brave", Answer(b"{}", 429, headers))
    assert caught.value.of == "run"


@pytest.mark.parametrize(("kind", "variable"), [("brave", "BRAVE_API_KEY"), ("tavily", "TAVILY_API_KEY")])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_not_accepted_is_named_and_not_shown(kind: str, variable: str, status: int) -> None:
    """The server's own words may repeat it."""
    with pytest.raises(PermanentCallError, match=f"the key is not accepted; check {variable}") as caught:
        await search(kind, Answer(f'{{"error": "bad key {KEY}"}}'.encode(), status))
    assert (caught.value.of, KEY in str(caught.value)) == ("run", False)


async def test_searxng_without_json_says_what_to_turn_on() -> None:
    with pytest.raises(PermanentCallError, match=r"name `json` under `search: formats:`"):
        await search("searxng", Answer(b"<html>Forbidden</html>", 403))


@each_engine
@pytest.mark.parametrize(
    ("answer", "kind_of_error", "message"),
    [
        (
            Answer(b"<html>busy</html>", headers={"content-type": "text/html"}),
            TransientCallError,
            "no JSON .text/html.",
        ),
        (Answer(b'{"results": [', headers={"content-type": "application/json"}), TransientCallError, "no JSON"),
        (as_json({"nothing": 1}), PermanentCallError, "no search engine of this kind"),
        (as_json([1, 2]), PermanentCallError, "no search engine of this kind"),
        (as_json({"results": {"a": 1}, "web": {"results": 5}}), PermanentCallError, "no search engine of this kind"),
        (Answer(b"oh", 503), TransientCallError, "answered 503: oh"),
        (Answer(b"", 302, {"location": "https://evil.example/"}), PermanentCallError, "answered 302"),
    ],
    ids=["a page", "half of it", "another object", "a list", "other types", "503", "a redirect"],
)
async def test_what_is_no_answer_is_an_error(
    kind: str, answer: Answer, kind_of_error: type[CallError], message: str
) -> None:
    """A key goes to no other address."""
    with pytest.raises(kind_of_error, match=message):
        await search(kind, answer)


@each_engine
async def test_rows_that_are_none_are_left_out(kind: str) -> None:
    rows: list[Any] = [
        None,
        5,
        {},
        {"url": 7},
        {"url": "https://a.example/", "title": 3, "content": [], "description": {}},
    ]
    reply = {"type": "search", "results": rows, "web": {"results": rows}}
    assert await search(kind, as_json(reply)) == [SearchHit("", "https://a.example/", "")]


@pytest.mark.parametrize(("engine", "variable"), [(Brave, "BRAVE_API_KEY"), (Tavily, "TAVILY_API_KEY")])
def test_a_key_comes_from_the_usual_variable(
    engine: Callable[[], SearchEngine], variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or from `.env`; without one there is no tool. What is found is masked from then on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=f"needs a key, and {variable} is not set"):
        web_search(engine())
    Path(".env").write_text(f"{variable}={KEY}\n")
    web_search(engine())
    assert mask(f"it is {KEY}") == "it is ***"
    monkeypatch.setenv(variable, "line\nbreak-in-the-key")
    with pytest.raises(ConfigError, match="cannot be sent"):
        web_search(engine())


@pytest.mark.parametrize("url", ["ftp://far", "nonsense", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        SearXNG(base_url=url)


async def test_whatever_finds_pages_is_an_engine() -> None:
    class Own:
        async def search(self, query: str, count: int) -> list[SearchHit]:
            return [SearchHit(query, f"https://own.example/{number}", "") for number in range(count + 3)]

    made = web_search(Own(), count=2, name="find")
    assert (made.name, [hit.url for hit in await made(query="x")]) == (
        "find",
        ["https://own.example/0", "https://own.example/1"],
    )


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a search engine, got `str`"):
        web_search("brave")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "x" * 401}, "query"),
        ({"query": "x", "count": 21}, "count"),
        ({"query": "x", "count": 0}, "count"),
        ({"query": "x", "number": 3}, "number"),
    ],
)
def test_arguments_are_bounded(arguments: dict[str, Any], problem: str) -> None:
    made = web_search(SearXNG(base_url="http://localhost:8080"))
    assert problem in made.signature.check(arguments).render()


def test_its_fingerprint_has_the_engine_and_no_key() -> None:
    made = web_search(Brave(api_key=KEY, params={"country": "DE"}))
    assert "DE" in str(made.identity)
    assert KEY not in str(made.identity)
    assert made.identity != web_search(Brave(api_key=KEY)).identity
