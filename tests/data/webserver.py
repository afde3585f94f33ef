"""A loopback server of files, which can be told to fail in the ways that real ones do."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server holds, and how it behaves.

    Attributes:
        files: contents by path.
        etags: of files; one without has none.
        has_ranges: whether it heeds `Range`.
        packs: whether it sends files packed with gzip, whatever it is asked.
        chunked: whether it does not say how long a file is.
        cuts: for each coming response that has more than so many bytes, after how many the connection ends.
        statuses: what the coming requests get instead, with headers.
        redirects: addresses by path.
        seen: each request: its path and its headers.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    has_ranges: bool = True
    packs: bool = False
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self) -> list[str]:
        """What was asked for beyond what a file is asked about with."""
        asked = [headers.get("range", "") for _, headers in self.seen]
        return [each for each in asked if each != "bytes=0-0"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Nothing is logged."""

    def do_GET(self) -> None:
        site = self.site
        path = self.path.partition("?")[0]
        site.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if site.statuses:
            self._answer(*site.statuses.pop(0))
        elif path in site.redirects:
            self._answer(302, {"Location": site.redirects[path]})
        elif path not in site.files:
            self._answer(404, {})
        else:
            self._send(path)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, path: str) -> None:
        site, data = self.site, self.site.files[path]
        headers = {"ETag": site.etags[path]} if path in site.etags else {}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if site.packs:
            data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
        elif site.has_ranges and ranged:
            start, size = int(ranged[1]), len(data)
            stop = min(int(ranged[2]) + 1, size) if ranged[2] else size
            if start >= size:
                self._answer(416, {"Content-Range": f"bytes */{size}", **headers})
                return
            status, data = 206, data[start:stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        cut = site.cuts.pop(0) if site.cuts and len(data) > site.cuts[0] else None
        self.send_response(status)
        headers |= {"Transfer-Encoding": "chunked"} if site.chunked else {"Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._write(data[:cut], ended=cut is None)

    def _write(self, data: bytes, *, ended: bool) -> None:
        try:
            if self.site.chunked:
                data = b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" if ended else b"")
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:  # who asked has gone
            ended = False
        self.close_connection = self.close_connection or not ended


@contextmanager
def open_site() -> Iterator[Site]:
    """A server on a port of its own."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
