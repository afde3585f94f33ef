"""A file of an HTTP server, read by ranges where the server gives them.

A cut connection goes on from the byte that it came to. A file that is exchanged meanwhile is refused.
"""

from __future__ import annotations

import http
import http.client
from typing import TYPE_CHECKING, Any

from tidemill.data.files.elsewhere import FileElsewhere
from tidemill.data.files.path import RemotePath
from tidemill.data.files.web.body import Body
from tidemill.data.files.web.client import Client
from tidemill.data.files.web.facts import find_first, read_facts
from tidemill.errors import ResourceError
from tidemill.protocols import State

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class WebFile(FileElsewhere):
    """A file of an HTTP server, open for reading. Used from one thread at a time.

    Args:
        path: its address.
        block_bytes: asked for at a time; None asks for all from where it is read on, in one request.

    Raises:
        ConfigError: an option is none.
        ResourceError: it cannot be opened or read, or was exchanged meanwhile.
    """

    _body: Body | None = None

    def __init__(self, path: RemotePath, block_bytes: int | None = None) -> None:
        self._client = Client(path)
        self._path = path
        self._block_bytes = block_bytes
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

    def _find_size(self) -> int:
        if self.facts.size is None:
            raise ResourceError("the server does not say how large the file is", where=str(self._path))
        return self.facts.size

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

    def _open(self) -> Body | None:
        """The bytes from the position on, None behind the last; without ranges those before it are passed over."""
        start = self._position
        stop = None if self._block_bytes is None else start + self._block_bytes
        response = self._client.send(start if self.facts.has_ranges else None, stop)
        if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            response.close()
            return None
        try:
            found = read_facts(self._path, response)
            if (found.version, found.encoding) != (self.facts.version, self.facts.encoding):
                raise ResourceError(
                    f"the file was exchanged while it was read: it was {self.facts.version or 'packed otherwise'}, "
                    f"and is {found.version or 'packed otherwise'}",
                    where=str(self._path),
                    hint="read it anew, or from an address that names one version",
                )
            first = find_first(response)
            body = Body(response, first, self.facts.encoding)
            body.skip(start)
            if body.position != start:
                raise http.client.HTTPException(f"expected the bytes from {start:,} on, got those from {first:,} on")
        except BaseException:
            response.close()
            raise
        return body

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None


def stat_web(path: RemotePath) -> dict[str, Any]:
    """Size and version, asked for anew."""
    facts = Client(path).ask()
    return {"size": facts.size, "version": facts.version}


def find_web_absence(path: RemotePath) -> str:
    """What the server answers where there is no file at the address; empty where there is one."""
    return Client(path).find_absence()
