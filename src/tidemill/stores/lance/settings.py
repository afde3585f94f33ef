"""`LanceDB`: where a table of vectors stands, and how it is indexed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from tidemill.config.roles import Runtime
from tidemill.config.types.durations import Duration
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.packages import check_package
from tidemill.stores.store import Store

if TYPE_CHECKING:
    from tidemill.stores.lance.opened import LanceStore

Index = Literal["ivf_flat", "ivf_pq", "hnsw_sq", "none"]

_INDEXES_ELSEWHERE = ChoicesElsewhere(
    {**dict.fromkeys(("flat", "exact", "brute_force"), "none"), "ivf_sq": None, "hnsw_pq": None}
)


class LanceDB(Store):
    """A table of LanceDB in a folder of this machine: the default, without a server.

    Any number of processes may write to it at once: Lance finds that two of them put in the same id, and has the later
    one look again.

    Attributes:
        path: the folder; made where there is none.
        table: its name in the folder.
        index: what `flush` builds over the vectors: `ivf_flat` finds nearly all of the nearest, `ivf_pq` takes the
            least memory, `hnsw_sq` is a graph, which takes seventeen times the CPU to build and more
            (`docs/lab-notes.md`); `none` has every search look at all of them. Another kind than is there takes its
            place with the next `flush`.
        index_above: records from which on `flush` builds it. Below, every search looks at all of them: it is exact.
        partitions: of the index, when it is built; by default one for every 4,096 records, as Lance has it.
        nprobes: partitions of the index that a search looks into at least: more finds more, and takes longer.
        refine: how many times as many as are asked for are compared exactly, where the index holds vectors cut short.
        sync: whether `upsert` and `delete` return once what they wrote is on the disk, and survives a power cut; else
            once the system has it, which survives the death of the process.
        keep_versions: how long `flush` lets replaced and deleted records stand, for readers of an older version.
    """

    path: Path
    table: str = Field(default="vectors", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)
    index: Annotated[Index, _INDEXES_ELSEWHERE] = "ivf_flat"
    index_above: int = Field(default=50_000, ge=1)
    partitions: int | None = Field(default=None, ge=1)
    nprobes: int = Field(default=20, ge=1)
    refine: int = Field(default=4, ge=1)
    sync: Annotated[bool, Runtime()] = True
    keep_versions: Annotated[Duration, Runtime()] = Field(default=3600.0, ge=60)

    def within(self, folder: Path) -> Self:
        return self.model_copy(update={"path": folder / self.path.expanduser()})

    def find_place(self) -> tuple[str, str]:
        return str(self.path.absolute()), self.table

    def open(self) -> LanceStore:
        check_package("lancedb", need="a store of LanceDB", extra="lancedb")
        from tidemill.stores.lance.opened import LanceStore

        return LanceStore(self)
