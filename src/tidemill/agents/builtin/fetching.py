"""One page over HTTP: redirects followed where each may go, sizes and times kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

from tidemill.agents.builtin.reach import Reach, Target
from tidemill.agents.tools.refusal import RefusalError
from tidemill.calls.http.dialer import make_tls
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnsentError

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {"accept": "text/html, application/xhtml+xml, application/json, text/*;q=0.9, */*;q=0.5"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of an address.

    Attributes:
        url: where it came from in the end.
        response: whatever its status; cut where it is longer than was wanted.
    """

    url: str
    response: Response


class Fetcher:
    """Gets pages, each over connections to just the addresses that were checked for it. Safe to share.

    A name is resolved once for each request, and the connection goes to what was found then, whatever the name leads
    to a moment later; `Host`, and the name in TLS, are the address's own. No proxy of the environment is used, which
    would resolve the name anew.

    Args:
        reach: where may be gone.
        max_bytes: what is taken of a page, out of its compression.
        timeout_s: for a page, its redirects included.
        tls: what certificates are checked against; the system's by default.
    """

    def __init__(self, reach: Reach, *, max_bytes: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self.reach = reach
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._tls = tls

    async def get(self, url: str) -> Fetched:
        """The page at `url`.

        Raises:
            RefusalError: it, or one it leads to, may not be called, or shows a certificate that is not accepted; or it
                leads on and on.
            TransientCallError: it did not answer whole in time, or the connection failed.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url)
        except TimeoutError:
            raise AttemptTimeoutError(f"no complete answer within {self._timeout_s:.3g} s", where=url[:200]) from None

    async def _follow(self, url: str) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            target = await self.reach.find(url)
            response = await self._send(target)
            location = response.headers.get("location", "")
            if response.status not in _REDIRECTS or not location:
                return Fetched(url, response)
            url = _lead_on(target, location)
        raise RefusalError(f"the address was redirected more than {MAX_REDIRECTS} times")

    async def _send(self, target: Target) -> Response:
        if self._tls is None and target.origin.scheme == "https":
            self._tls = make_tls()

        async def resolve(host: str, port: int) -> Sequence[Any]:
            return target.found

        transport = HttpTransport(
            max_body_bytes=self._max_bytes, cuts=True, resolve=resolve, by_proxy=False, tls=self._tls
        )
        try:
            return await transport.send(Request(target.url, _HEADERS, b"", method="GET"), self._timeout_s)
        except UnsentError as exc:  # of the page that the model named, not of the run
            raise RefusalError(f"`{target.origin.host}` is not called: {exc.message}") from None
        finally:
            await transport.close()


def _lead_on(target: Target, location: str) -> str:
    """The address a redirect leads to."""
    text = location.encode("latin-1", "replace").decode("utf-8", "replace")  # heads are read as Latin-1
    try:
        url = urljoin(target.url, text.strip())
    except ValueError:
        raise RefusalError("the address is redirected to what is no address") from None
    if target.origin.scheme == "https" and url.lower().startswith("http:"):
        raise RefusalError("the address is redirected from https to http, which is not followed")
    return url.partition("#")[0].replace(" ", "%20")
