"""Joined datasets, whose records have numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.flow import Flow
from tidemill.data.formats.format import Rows
from tidemill.data.joined.joined import Joined
from tidemill.data.joined.ways import Concat, Zip
from tidemill.data.nodes.hooks import bind_hooks
from tidemill.data.rows.views import JoinedRows, ZippedRows
from tidemill.data.sources.rows import RowSource, is_dataset, open_dataset_rows
from tidemill.errors import DataError


class JoinedDatasets(RowSource):
    """Joined datasets, whose records have numbers: the same source with its rows."""

    joined: Joined

    def describe(self) -> dict[str, Any]:
        return self.joined.describe()

    def show(self) -> str:
        return self.joined.show()

    def stamp(self) -> str:
        stamps = [cast(RowSource, flow.source).stamp() for flow in self.joined.flows]
        return fingerprint_json(stamps)[:16] if any(stamps) else ""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.joined == other.joined

    def __hash__(self) -> int:
        return hash(self.joined)

    @property
    def has_hooks(self) -> bool:
        return any(flow.hooks or cast(RowSource, flow.source).has_hooks for flow in self.joined.flows)

    def _open_members(self) -> list[Rows]:
        return [
            open_dataset_rows(cast(RowSource, flow.source), bind_hooks(flow.nodes, flow.hooks))
            for flow in self.joined.flows
        ]


class ConcatRows(JoinedDatasets):
    """Datasets one after the other, as one."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.joined = Concat(flows)

    def open_rows(self) -> Rows:
        return JoinedRows(self._open_members())


class ZipRows(JoinedDatasets):
    """Tuples of the records of datasets at one place, as one dataset as long as the shortest.

    Raises:
        DataError: with `strict`, their lengths differ; told when they are counted.
    """

    def __init__(self, flows: Sequence[Flow], *, strict: bool = False) -> None:
        self.joined = Zip(flows, strict=strict)

    def open_rows(self) -> Rows:
        members = self._open_members()
        sizes = [member.count_rows() for member in members]
        if cast(Zip, self.joined).strict and len(set(sizes)) > 1:
            raise DataError(
                f"expected datasets of one length, got {', '.join(f'{size:,}' for size in sizes)} records",
                hint="leave out strict=True to end with the shortest",
            )
        return ZippedRows(members)


def are_datasets(flows: Sequence[Flow]) -> bool:
    """Whether the records of all of them have numbers."""
    return all(is_dataset(flow.source, flow.nodes) for flow in flows)
