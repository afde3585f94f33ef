"""Requests for a file, repeated while the connection or the server fails."""

from __future__ import annotations

import base64
import email.utils
import http
import http.client
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from tidemill.config.secrets import mask_start, register_secret
from tidemill.config.wording.suggest import suggest
from tidemill.data.files.path import RemotePath
from tidemill.data.files.query import is_web
from tidemill.data.files.web.facts import Facts, read_facts
from tidemill.errors import ConfigError, ResourceError
from tidemill.version import __version__

R = TypeVar("R")

TIMEOUT_S = 30.0
RETRIES = 5
"""How often in a row a request is sent again that gave not a byte more."""

_FIRST_PAUSE_S = 0.25  # doubled each time; the first try again goes out at once
_MAX_PAUSE_S = 30.0
_OPTIONS = ("headers", "timeout_s", "retries")
_UNTRUSTED = "where an authority of your own has signed it, name the file of its certificate: SSL_CERT_FILE=ca.pem"
_MISSING = (404, 410)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_MAX_CAUSE = 300


class _RefusedError(OSError):
    """A status that may be another the next time."""

    def __init__(self, status: str, pause_s: float | None) -> None:
        super().__init__(status)
        self.pause_s = pause_s


class Client:
    """Requests for one file, with its options: `headers`, `timeout_s`, `retries`."""

    def __init__(self, path: RemotePath) -> None:
        unknown = next((name for name in path.options if name not in _OPTIONS), None)
        if unknown is not None:
            known = f"known: {', '.join(f'`{name}`' for name in _OPTIONS)}"
            message = f"no storage option of an HTTP server is `{unknown}`"
            raise ConfigError(message, where=str(path), hint=suggest(unknown, _OPTIONS) or known)
        self._path = path
        self._url, own = _split_credentials(path.address)
        given: Mapping[str, str] = path.options.get("headers") or {}
        self._headers = {
            "User-Agent": f"tidemill/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity", **own, **given
        }  # fmt: skip
        self._timeout_s = float(path.options.get("timeout_s", TIMEOUT_S))
        self._retries = int(path.options.get("retries", RETRIES))

    def ask(self) -> Facts:
        """What the server tells of the file; by its first byte, since not every server takes a HEAD."""
        return self.insist(self._ask)

    def find_absence(self) -> str:
        """What the server answers where there is no such file; empty where there is one."""
        try:
            self._repeat(self._ask)
        except urllib.error.HTTPError as error:
            if error.code in _MISSING:
                return _show_status(error)
            raise self._fail(_name_status(error)) from None
        return ""

    def _ask(self) -> Facts:
        with closing(self.send(0, 1)) as response:
            return read_facts(self._path, response)

    def insist(self, act: Callable[[], R]) -> R:
        """What `act` gives, tried again while the connection or the server fails.

        Raises:
            ResourceError: it failed too often in a row, or for good.
        """
        try:
            return self._repeat(act)
        except urllib.error.HTTPError as error:
            raise self._fail(_name_status(error)) from None

    def _repeat(self, act: Callable[[], R]) -> R:
        tries = 0
        while True:
            try:
                return act()
            except urllib.error.HTTPError:
                raise
            except (OSError, http.client.HTTPException, zlib.error) as error:
                if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                    raise self._fail(_explain(error), _UNTRUSTED) from error
                if tries >= self._retries:
                    raise self._fail(_explain(error)) from error
                pause_s = _find_pause(error, tries)
            time.sleep(pause_s)
            tries += 1

    def send(self, start: int | None, stop: int | None) -> http.client.HTTPResponse:
        """The response to one request for the bytes from `start` to `stop`, or for all.

        Raises:
            OSError, HTTPException: it may go well another time.
            urllib.error.HTTPError: it will not.
        """
        headers = dict(self._headers)
        if start is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        request = urllib.request.Request(self._url, headers=headers)
        try:
            response: http.client.HTTPResponse = _OPENER.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and isinstance(
                error.fp, http.client.HTTPResponse
            ):
                return error.fp  # behind the end, or an empty file
            with error:
                if error.code in _TRANSIENT:
                    raise _RefusedError(_name_status(error), _read_pause(error.headers)) from None
                raise
        return response

    def _fail(self, cause: str, hint: str = "") -> ResourceError:
        return ResourceError(f"cannot be read: {mask_start(cause, _MAX_CAUSE)}", where=str(self._path), hint=hint)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP alone; what was meant for one host is not told to another."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_web(newurl):
            raise urllib.error.HTTPError(newurl, code, "it redirects to what is no HTTP address", headers, fp)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            kept = ("User-agent", "Accept", "Accept-encoding", "Range")
            request.headers = {name: value for name, value in request.headers.items() if name in kept}
        return request


_OPENER = urllib.request.build_opener(_Redirects)


def _split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The address without user and password, and the header that stands for them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    name, _, password = user.partition(":")
    register_secret(unquote(password))
    token = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def _name_status(error: urllib.error.HTTPError) -> str:
    denied = "access is denied" if error.code in (401, 403) else "the server answers"
    return f"{'there is no such file' if error.code in _MISSING else denied} ({_show_status(error)})"


def _show_status(error: urllib.error.HTTPError) -> str:
    return " ".join([str(error.code), *str(error.reason).splitlines()[:1]])


def _explain(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut again and again before the end of the file"
    reason = getattr(error, "reason", error)  # of what urllib has wrapped
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {reason.verify_message}"
    return str(reason) or type(reason).__name__


def _read_pause(headers: Any) -> float | None:
    """Seconds that a server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _find_pause(failure: Exception, tries: int) -> float:
    asked = getattr(failure, "pause_s", None)
    pause_s = (_FIRST_PAUSE_S * 2 ** (tries - 1) if tries else 0.0) if asked is None else asked
    return min(pause_s, _MAX_PAUSE_S)
