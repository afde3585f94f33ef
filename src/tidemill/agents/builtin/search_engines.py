"""Search engines: what one is asked and gives, and the wire formats of SearXNG, Brave and Tavily."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import urlencode

import orjson
from pydantic import Field, SecretStr, field_validator

from tidemill.calls.credentials import label_endpoint
from tidemill.calls.http.address import check_address, check_headers
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.retry import judge_response, parse_retry_after
from tidemill.calls.wire import Request, Response
from tidemill.config.model import Settings
from tidemill.config.secrets import find_key, register_secret
from tidemill.config.types.durations import Duration
from tidemill.data.pages.markup import strip_markup
from tidemill.errors import CallError, ConfigError, PermanentCallError, TransientCallError

SEARCH_TIMEOUT_S: Final = 20.0
MAX_PAUSE_S: Final = 3600.0
"""A quota that is back later than this is spent: no call of an agent waits so long."""
_BODY_BYTES: Final = 4 << 20

Params = dict[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A page that was found.

    Attributes:
        title, snippet: as text, without markup.
        url: where it is.
        published: when, as the engine has it (mostly ISO 8601); None where it does not say.
    """

    title: str
    url: str
    snippet: str
    published: str | None = None


@runtime_checkable
class SearchEngine(Protocol):
    """Finds pages. Whatever has this method is one."""

    async def search(self, query: str, count: int) -> list[SearchHit]:
        """At most `count` pages, the best first; none where nothing was found.

        Raises:
            TransientCallError: another attempt may succeed, after `retry_after_s` where the engine said so.
            PermanentCallError: it would not, such as with a key that is not accepted.
        """
        ...


class SearXNG(Settings):
    """A SearXNG server (`GET /search?format=json`, docs.searxng.org/dev/search_api.html).

    Its `settings.yml` must name `json` under `search.formats`, which few public servers do. It takes no count: what it
    gives is cut.

    Attributes:
        base_url: where it is, such as `http://localhost:8080`.
        params: sent along: `language`, `categories`, `engines`, `time_range`, `safesearch`.
        timeout_s: seconds a search may take.
    """

    base_url: str
    params: Params = Field(default_factory=dict)
    timeout_s: Duration = Field(default=SEARCH_TIMEOUT_S, gt=0)

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _check_url(value)

    async def search(self, query: str, count: int) -> list[SearchHit]:
        """See `SearchEngine`."""
        request = _get(f"{self.base_url}/search", {"q": query, "format": "json", **self.params}, {})
        try:
            found = await _ask(request, self.timeout_s)
        except PermanentCallError as error:
            if error.status == 403:
                error.hint = (
                    "name `json` under `search: formats:` in the server's settings.yml, and turn its limiter off"
                )
            raise
        return _read_hits(found, ("results",), ("title", "url", "content", "publishedDate"), request)[:count]


class Brave(Settings):
    """Brave Search (`GET /web/search`, api-dashboard.search.brave.com/app/documentation). At most 20 a search.

    Attributes:
        api_key: the key; by default BRAVE_API_KEY, from the environment or `.env`.
        base_url: another address of the same interface.
        params: sent along: `country`, `search_lang`, `freshness`, `safesearch`.
        timeout_s: seconds a search may take.
    """

    api_key: SecretStr | None = Field(default=None, repr=False)
    base_url: str = "https://api.search.brave.com/res/v1"
    params: Params = Field(default_factory=dict)
    timeout_s: Duration = Field(default=SEARCH_TIMEOUT_S, gt=0)

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _check_url(value)

    def check(self) -> None:
        """Check that there is a key.

        Raises:
            ConfigError: there is none, or none that can be sent.
        """
        _take_key(self.api_key, "BRAVE_API_KEY", "Brave")

    async def search(self, query: str, count: int) -> list[SearchHit]:
        """See `SearchEngine`."""
        key = _take_key(self.api_key, "BRAVE_API_KEY", "Brave")
        asked = {"q": query, "count": min(count, 20), "result_filter": "web", **self.params}
        request = _get(f"{self.base_url}/web/search", asked, {"x-subscription-token": key})
        found = await _ask(request, self.timeout_s, variable="BRAVE_API_KEY")
        if isinstance(found, dict) and "web" not in found and found.get("type") == "search":
            return []  # nothing was found: the part is left out
        hits = _read_hits(found, ("web", "results"), ("title", "url", "description", "page_age"), request)[:count]
        return [replace(hit, title=strip_markup(hit.title), snippet=strip_markup(hit.snippet)) for hit in hits]


class Tavily(Settings):
    """Tavily (`POST /search`, docs.tavily.com/documentation/api-reference/endpoint/search). At most 20 a search.

    Attributes:
        api_key: the key; by default TAVILY_API_KEY, from the environment or `.env`.
        base_url: another address of the same interface.
        params: sent along: `topic`, `search_depth`, `time_range`, `country`.
        timeout_s: seconds a search may take.
    """

    api_key: SecretStr | None = Field(default=None, repr=False)
    base_url: str = "https://api.tavily.com"
    params: Params = Field(default_factory=dict)
    timeout_s: Duration = Field(default=SEARCH_TIMEOUT_S, gt=0)

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return _check_url(value)

    def check(self) -> None:
        """Check that there is a key.

        Raises:
            ConfigError: there is none, or none that can be sent.
        """
        _take_key(self.api_key, "TAVILY_API_KEY", "Tavily")

    async def search(self, query: str, count: int) -> list[SearchHit]:
        """See `SearchEngine`."""
        key = _take_key(self.api_key, "TAVILY_API_KEY", "Tavily")
        headers = {"content-type": "application/json", "accept": "application/json", "authorization": f"Bearer {key}"}
        body = orjson.dumps({"query": query, "max_results": min(count, 20), **self.params})
        request = Request(f"{self.base_url}/search", headers, body)
        found = await _ask(request, self.timeout_s, variable="TAVILY_API_KEY")
        return _read_hits(found, ("results",), ("title", "url", "content", "published_date"), request)[:count]


def _check_url(value: str) -> str:
    check_address(value)
    return value.rstrip("/")


def _take_key(given: SecretStr | None, variable: str, engine: str) -> str:
    """The key for a request, which is masked from then on."""
    key = given.get_secret_value() if given else find_key((variable,), Path())
    if not key:
        hint = f"set it in the environment or in .env, or give {engine} an api_key"
        raise ConfigError(f"{engine} needs a key, and {variable} is not set", hint=hint)
    register_secret(key)
    try:
        check_headers({"authorization": key})
        key.encode("latin-1")
    except ValueError:
        raise ConfigError(f"the key of {engine} cannot be sent: it has a line break or is no plain text") from None
    return key


def _get(url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
    told = {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
    return Request(f"{url}?{urlencode(told)}", {"accept": "application/json", **headers}, b"", method="GET")


async def _ask(request: Request, timeout_s: float, *, variable: str = "") -> Any:
    """The JSON that answers `request`."""
    transport = HttpTransport(max_body_bytes=_BODY_BYTES)
    try:
        response = await transport.send(request, timeout_s)
    finally:
        await transport.close()
    if not 200 <= response.status < 300:
        raise _judge(response, request, variable)
    try:
        return orjson.loads(response.body)
    except orjson.JSONDecodeError:
        kind = response.headers.get("content-type", "no content type")[:80]
        where = label_endpoint(request.url)
        raise TransientCallError(f"answered with what is no JSON ({kind})", where=where, status=200) from None


def _judge(response: Response, request: Request, variable: str) -> CallError:
    """The error that a response stands for; of one without `Retry-After` with what its quota says (Brave)."""
    error = judge_response(response, request, wall_s=time.time())
    error.hint = ""
    if response.status in (401, 403) and variable:
        error.hint = f"the key is not accepted; check {variable}"
    if response.status == 429 and parse_retry_after(response.headers, wall_s=time.time()) is None:
        error.retry_after_s = _find_reset(response.headers)
    if error.retry_after_s is not None and error.retry_after_s > MAX_PAUSE_S:
        message = f"the quota is spent, and back in {error.retry_after_s / 3600:.0f} hours"
        return PermanentCallError(message, where=error.where, of="run", status=response.status)
    return error


def _find_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until every quota that is used up is back (`x-ratelimit-remaining: 0, 900` and `-reset: 1, 86400`)."""
    names = ("x-ratelimit-remaining", "x-ratelimit-reset")
    left, resets = ([part.strip() for part in headers.get(name, "").split(",")] for name in names)
    waits = [float(reset) for count, reset in zip(left, resets, strict=False) if count == "0" and reset.isdecimal()]
    return max(waits, default=None)


def _read_hits(found: Any, path: Sequence[str], names: Sequence[str], request: Request) -> list[SearchHit]:
    """The pages in a response of the engine's form; one without an address is no page."""
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, list):
        message = f"answered without `{'.'.join(path)}`: no search engine of this kind"
        raise PermanentCallError(
            message, where=label_endpoint(request.url), hint="check base_url", of="run", status=200
        )
    rows = [[each.get(name) for name in names] for each in found if isinstance(each, dict)]
    return [
        SearchHit(_to_text(title), url, _to_text(snippet), published if isinstance(published, str) else None)
        for title, url, snippet, published in rows
        if isinstance(url, str) and url.startswith(("http://", "https://"))
    ]


def _to_text(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
