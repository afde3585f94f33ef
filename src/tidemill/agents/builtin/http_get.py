"""`http_get`: a page of the hosts that its author allows."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from tidemill.agents.builtin.fetching import Fetcher
from tidemill.agents.builtin.pages import render_page
from tidemill.agents.builtin.reach import Reach
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.tool import Tool
from tidemill.calls.http.dialer import Resolve
from tidemill.config.model import Settings
from tidemill.config.types.durations import Duration
from tidemill.config.wording.suggest import list_names
from tidemill.errors import ConfigError

MAX_PAGE = 2 << 20
PAGE_CHARS = 20_000
FETCH_TIMEOUT_S = 30.0


class FetchLimits(Settings):
    """How much of a page is taken, and for how long.

    Attributes:
        max_bytes: of its body, out of its compression; the rest is not waited for.
        max_chars: of its text that one call gives.
        timeout_s: seconds for name, connection, redirects and body together.
    """

    max_bytes: int = Field(default=MAX_PAGE, ge=1)
    max_chars: int = Field(default=PAGE_CHARS, ge=1)
    timeout_s: Duration = Field(default=FETCH_TIMEOUT_S, gt=0)


@dataclass(frozen=True, slots=True)
class Page:
    """What a call of `http_get` gives.

    Attributes:
        url: where the page came from, redirects followed.
        status: of the response; a page of 404 has a text, too.
        content_type: as the server says it.
        text: the part of its text that was asked for.
        total_chars: of its text; of the beginning that was taken where `is_cut`.
        next_start: where the text goes on, None at its end.
        is_cut: whether the page is longer than is taken.
    """

    url: str
    status: int
    content_type: str
    text: str
    total_chars: int
    next_start: int | None = None
    is_cut: bool = False


def http_get(
    allow: Sequence[str],
    *,
    allow_private: Sequence[str] = (),
    limits: FetchLimits = FetchLimits(),  # noqa: B008 - frozen
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
    name: str = "http_get",
) -> Tool:
    """A tool that reads pages, HTML as text with its links.

    Each address, and each that it is redirected to, must be allowed; its name is resolved once, every address found
    must be public, and the connection goes to just those, so that a name that leads elsewhere a moment later leads
    nowhere. Numbers in place of hosts, user names, `..` in paths and ports that are not named are refused. A failure
    that may pass is tried again once.

    Args:
        allow: hosts (`docs.python.org`, `*.python.org`, `far.example:8443`), beginnings of addresses
            (`https://far.example/v1`), or `*` for every public host.
        allow_private: hosts and networks (`10.1.0.0/16`) of private ones that may be called, where allowed.
        limits: of size and time.
        resolve: gives the addresses of a host and port as `loop.getaddrinfo` does, which is the default.
        tls: what certificates are checked against; the system's by default.
        name: as the model sees it.

    Raises:
        ConfigError: nothing is allowed, or an entry is neither a host nor the beginning of an address.
    """
    reach = Reach(allow, allow_private=allow_private, resolve=resolve)
    if not reach.texts:
        raise ConfigError("`http_get` is allowed no host", hint='name some: `allow=["docs.python.org"]`')
    fetcher = Fetcher(reach, max_bytes=limits.max_bytes, timeout_s=limits.timeout_s, tls=tls)

    async def get(
        url: Annotated[
            str, Field(min_length=1, max_length=4_000, description="The address, with http:// or https://.")
        ],
        start: Annotated[int, Field(ge=0, description="The character of its text to begin at.")] = 0,
        raw: Annotated[bool, Field(description="Give HTML with its tags.")] = False,
    ) -> Page:
        fetched = await fetcher.get(url)
        response = fetched.response
        kind = response.headers.get("content-type", "")
        text = render_page(response.body, kind, url=fetched.url, raw=raw) if response.body else ""
        stop = start + limits.max_chars
        return Page(
            fetched.url,
            response.status,
            kind[:200],
            text[start:stop],
            len(text),
            stop if stop < len(text) else None,
            is_cut=response.is_cut,
        )

    said = f"Read a page by GET, as text; long ones in parts. Allowed: {list_names(reach.texts)}."
    timeout_s = limits.timeout_s + 10  # its own limit tells more
    made: Tool = tool(
        get, name=name, description=said, shows_errors=True, idempotent=True, retries=1, timeout_s=timeout_s
    )
    described = {"allow": list(allow), "allow_private": list(allow_private), "limits": limits.to_dict()}
    return replace(made, identity={"builtin": "http_get", **described})
