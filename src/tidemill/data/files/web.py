"""Files of HTTP servers, by ranges where the server gives them: what fsspec's own takes aiohttp for, and more.

A cut connection goes on from the byte that it came to. A file that is exchanged meanwhile is refused.
"""

from __future__ import annotations

import base64
import email.utils
import http
import http.client
import io
import re
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from tidemill.config.secrets import mask_start, register_secret
from tidemill.config.wording.suggest import suggest
from tidemill.data.files.codecs import find_codec
from tidemill.data.files.path import RemotePath
from tidemill.data.files.query import is_web
from tidemill.errors import ConfigError, ResourceError
from tidemill.protocols import State
from tidemill.version import __version__

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

R = TypeVar("R")

TIMEOUT_S = 30.0
RETRIES = 5
"""How often in a row a request is sent again that gave not a byte more."""

_FIRST_PAUSE_S = 0.25  # doubled each time; the first try again goes out at once
_MAX_PAUSE_S = 30.0
_OPTIONS = ("headers", "timeout_s", "retries")
_GONE = "there is no such file"
_UNTRUSTED = "where an authority of your own has signed it, name the file of its certificate: SSL_CERT_FILE=ca.pem"
_MISSING = (404, 410)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_SKIP_BYTES = 256 * 1024
_GZIP_WINDOW_BITS = 31
_MAX_CAUSE = 300
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Facts:
    """What a server tells of a file.

    Attributes:
        size: in bytes; None where it does not say, or sends it packed otherwise than it is stored.
        version: its ETag, else when it was changed; empty where it tells neither.
        has_ranges: whether it can be asked for a part of it.
        encoding: how it is packed on the way, empty for not at all.
    """

    size: int | None
    version: str
    has_ranges: bool
    encoding: str


class WebFile(io.RawIOBase):
    """A file of an HTTP server, open for reading. Used from one thread at a time.

    Args:
        path: its address.
        block_bytes: asked for at a time; None asks for all from where it is read on, in one request.

    Raises:
        ConfigError: an option is none.
        ResourceError: it cannot be opened or read, or was exchanged meanwhile.
    """

    def __init__(self, path: RemotePath, block_bytes: int | None = None) -> None:
        self._client = _Client(path)
        self._path = path
        self._block_bytes = block_bytes
        self._position = 0
        self._body: _Body | None = None
        self.facts = self._client.ask()
        if block_bytes is not None and not self.facts.has_ranges and self.facts.size != 0:
            raise ResourceError(
                "the server gives no ranges, and this kind of file is read from more than one place",
                where=str(path),
                hint="fetch it first, or serve it as JSON Lines, CSV or text, which are read from their start",
            )

    def state(self, size_bytes: int) -> State:
        """That so many bytes were read of this version."""
        return {"end": size_bytes, "size": self.facts.size, "version": self.facts.version}

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view:
            count = self._client.insist(lambda: self._read(view))
        self._position += count
        return count

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            if self.facts.size is None:
                raise ResourceError("the server does not say how large the file is", where=str(self._path))
            position += self.facts.size
        self._position = position + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._drop()
            super().close()

    def _read(self, view: memoryview) -> int:
        if self.facts.size is not None and self._position >= self.facts.size:
            return 0
        try:
            if self._body is None or self._body.position != self._position or self._body.is_used_up:
                self._drop()
                self._body = self._open()
            return 0 if self._body is None else self._body.readinto(view)
        except BaseException:
            self._drop()
            raise

    def _open(self) -> _Body | None:
        """The bytes from the position on, None behind the last; without ranges those before it are passed over."""
        start = self._position
        stop = None if self._block_bytes is None else start + self._block_bytes
        response = self._client.send(start if self.facts.has_ranges else None, stop)
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            return None
        try:
            found = _read_facts(self._path, response)
            if (found.version, found.encoding) != (self.facts.version, self.facts.encoding):
                raise ResourceError(
                    f"the file was exchanged while it was read: it was {self.facts.version or 'packed otherwise'}, "
                    f"and is {found.version or 'packed otherwise'}",
                    where=str(self._path),
                    hint="read it anew, or from an address that names one version",
                )
            first = _find_first(response)
            body = _Body(response, first, self.facts.encoding)
            body.skip(start)
            if body.position != start:
                raise http.client.HTTPException(f"expected the bytes from {start:,} on, got those from {first:,} on")
        except BaseException:
            response.close()
            raise
        return body

    def _drop(self) -> None:
        body = getattr(self, "_body", None)  # missing when opening failed
        if body is not None:
            body.close()
        self._body = None


class _Body:
    """The bytes of one response, as they stand in the file."""

    def __init__(self, response: http.client.HTTPResponse, first: int, encoding: str) -> None:
        self.position = first
        self.is_used_up = False
        self._response = response
        self._left = response.length
        self._is_within = False
        self._decoder: Any = zlib.decompressobj(_GZIP_WINDOW_BITS) if encoding else None

    def readinto(self, view: memoryview) -> int:
        """Some bytes; none at the end of the response.

        Raises:
            http.client.IncompleteRead: the connection ended before that.
        """
        if self._decoder is not None:
            data = self._unpack(len(view))
            view[: len(data)] = data
            count = len(data)
        else:
            count = self._response.readinto(view)
            self._take(count)
        self.position += count
        self.is_used_up = not count or self._left == 0
        return count

    def skip(self, position: int) -> None:
        """Pass over the bytes in front of `position`."""
        held = memoryview(bytearray(_SKIP_BYTES))
        while self.position < position:
            if not self.readinto(held[: min(_SKIP_BYTES, position - self.position)]):
                return

    def close(self) -> None:
        self._response.close()

    def _unpack(self, most: int) -> bytes:
        """Some of what a server has packed with gzip on the way, of one or more members (RFC 1952)."""
        while True:
            if self._decoder.eof:
                packed = self._decoder.unused_data
                self._is_within = False
                self._decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
            else:
                packed = self._decoder.unconsumed_tail
            if not packed:
                packed = self._response.read(_SKIP_BYTES)
                self._take(len(packed))
                if not packed and self._is_within:
                    raise http.client.IncompleteRead(b"")
            if not packed:
                return b""
            self._is_within = True
            if text := self._decoder.decompress(packed, most):
                return bytes(text)

    def _take(self, count: int) -> None:
        if self._left is None:
            return
        if not count and self._left:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= count


class _RefusedError(OSError):
    """A status that may be another the next time."""

    def __init__(self, status: str, pause_s: float | None) -> None:
        super().__init__(status)
        self.pause_s = pause_s


class _Client:
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
        """What the server tells of the file."""
        facts = self.find()
        if facts is None:
            raise self._fail(_GONE)
        return facts

    def find(self) -> Facts | None:
        """The same, None where there is no such file; by its first byte, since not every server takes a HEAD."""

        def ask() -> Facts:
            with closing(self.send(0, 1)) as response:
                return _read_facts(self._path, response)

        try:
            return self._repeat(ask)
        except urllib.error.HTTPError as error:
            if error.code in _MISSING:
                return None
            raise self._fail(_name_status(error)) from None

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


def stat_web(path: RemotePath) -> dict[str, Any]:
    """Size and version, asked for anew."""
    facts = _Client(path).ask()
    return {"size": facts.size, "version": facts.version}


def has_web_file(path: RemotePath) -> bool:
    """Whether there is a file at the address."""
    return _Client(path).find() is not None


def _read_facts(path: RemotePath, response: http.client.HTTPResponse) -> Facts:
    headers = response.headers
    encoding = (headers.get("Content-Encoding") or "identity").strip().lower()
    codec = find_codec(path)
    if encoding == "identity" or (codec is not None and codec.name == "gzip" and encoding in ("gzip", "x-gzip")):
        encoding = ""  # of a `.gz` file, its own
    elif encoding not in ("gzip", "x-gzip"):
        message = f"cannot be read: the server packs it as `{encoding}` unasked"
        raise ResourceError(message, where=str(path), hint="have it serve the file as it is")
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    ranged = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if encoding:
        return Facts(None, version, has_ranges=False, encoding=encoding)
    if ranged is None:
        return Facts(response.length, version, has_ranges=False, encoding="")
    return Facts(None if ranged[3] == "*" else int(ranged[3]), version, has_ranges=True, encoding="")


def _find_first(response: http.client.HTTPResponse) -> int:
    """The place in the file of a response's first byte."""
    ranged = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(ranged[1]) if ranged is not None and ranged[1] is not None else 0


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
    if error.code in _MISSING:
        return _GONE
    denied = "access is denied" if error.code in (401, 403) else "the server answers"
    return f"{denied} ({error.code} {str(error.reason).splitlines()[0]})"


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
