"""`Qdrant`: a collection of a server, or of a folder of this machine, as a file describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from tidemill.calls.http.address import check_address
from tidemill.config.model import Settings
from tidemill.config.roles import Runtime
from tidemill.config.types.durations import Duration
from tidemill.config.types.sizes import ByteSize
from tidemill.data.sql.connection import find_address, show_address
from tidemill.packages import check_package
from tidemill.protocols import VectorStore
from tidemill.stores.store import Store

MEMORY = ":memory:"


class Graph(Settings):
    """The index that Qdrant builds by itself as records come, a graph (Qdrant, HNSW).

    Attributes:
        m: neighbours of a record in each layer of the graph.
        ef_construct: candidates looked at when a record is put in.
        ef_search: candidates looked at by a search; as many as `ef_construct` where it is not said.
    """

    m: int = Field(default=16, ge=2)
    ef_construct: int = Field(default=100, ge=4)
    ef_search: Annotated[int | None, Runtime()] = Field(default=None, ge=1)


class Qdrant(Store):
    """A collection of Qdrant, of a server (`url`) or of this process (`path`).

    Attributes:
        url: where the server is: `https://host:6333`.
        path: a folder for Qdrant's local mode, for small collections and trials, or `:memory:`, which is gone with the
            last that has it open.
        collection: its name; made where it is not there.
        api_key: the server's key; by default QDRANT_API_KEY, from the environment or `.env`, where that is set.
        index: how it is searched.
        concurrency: requests to the server that are under way at once.
        batch_bytes: of a request's body; a server takes 32 MiB unless it is told otherwise.
        timeout_s: seconds a request may take.
    """

    url: str | None = None
    path: Path | None = None
    collection: str = Field(default="vectors", pattern=r"^[^/?#%\\\s\x00-\x1f<>:\"|*]{1,255}$")
    api_key: Annotated[SecretStr | None, Runtime()] = Field(default=None, repr=False)
    index: Graph = Graph()
    concurrency: Annotated[int, Runtime()] = Field(default=32, ge=1)
    batch_bytes: Annotated[ByteSize, Runtime()] = Field(default=8 << 20, ge=1 << 10)
    timeout_s: Annotated[Duration, Runtime()] = Field(default=60.0, gt=0)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        check_address(url)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.url is None) == (self.path is None):
            raise ValueError("expected either `url`, of a server, or `path`, a folder for Qdrant's local mode")
        if self.path is not None and self.api_key is not None:
            raise ValueError("a `path` takes no `api_key`")
        return self

    def within(self, folder: Path) -> Self:
        if self.path is None or str(self.path) == MEMORY:
            return self
        return self.model_copy(update={"path": folder / self.path.expanduser()})

    def describe_result(self) -> dict[str, Any]:
        described = super().describe_result()
        return described if self.url is None else {**described, "url": find_address(self.url)}

    def find_place(self) -> tuple[str, str]:
        if self.path is None:
            return show_address(self.url or ""), self.collection
        return MEMORY if str(self.path) == MEMORY else str(self.path.absolute()), self.collection

    def open(self) -> VectorStore:
        if self.path is not None:
            check_package("qdrant_client", need="Qdrant's local mode", extra="qdrant")
        check_package("numpy", need="a store of Qdrant", extra="qdrant")
        from tidemill.stores.qdrant.opened import OpenedQdrant

        return OpenedQdrant(self)
