"""Quarantined records as a source: those of a quarantine file, or those that stand in quarantine in a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any, NoReturn

from tidemill.data.failing.replaying import ParseRow, Row, open_replay, parse_row
from tidemill.data.files import measure_file
from tidemill.data.formats.lines import LineReader, compare_lines
from tidemill.data.nodes.node import OnError
from tidemill.errors import DataError
from tidemill.jobs.ledger.folder import RunFolder, locate_run
from tidemill.jobs.ledger.rows import FailedRow
from tidemill.protocols import Growth, State


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of rows, and how many at its start were tried again before."""

    path: Path
    first: int
    parse: ParseRow


@dataclass(frozen=True)
class Replay:
    """What stands in quarantine as a source; making one touches nothing.

    The parts are the quarantine file, or of a run the quarantine parts that its manifest names: those of sealed
    segments, without the rows that `retry` took up. So it can be read while the run goes on.

    Attributes:
        path: the quarantine file, or the run's output or run folder.
        shows_errors: each row is a record, with what it failed with; otherwise just the record that failed.
        on_error: what a row gets whose record cannot be given.
    """

    path: Path
    shows_errors: bool = False
    on_error: OnError | None = None

    def parts(self, start: str | None = None) -> Iterator[str]:
        """The names of the files, oldest first; none where nothing stands in quarantine.

        Raises:
            DataError: there is nothing at the path.
            StateError: the folder is none of a run.
        """
        names = self._find_parts()
        yield from names if start is None else dropwhile(lambda name: name != start, names)

    def open_part(self, part: str, state: State | None = None) -> LineReader:
        """The records of one file, from its start or from `state`."""
        found = self._find_part(part)
        return open_replay(found.path, state, found.parse, first=found.first, shows_errors=self.shows_errors)

    def decode_record(self, raw: bytes) -> NoReturn:
        """Not possible: bytes that the first source could make nothing of are nothing here either.

        Raises:
            DataError: always.
        """
        raise DataError("expected a record, got bytes that their source could make none of", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether the file, up to `state`, is as it was."""
        return compare_lines(self._find_part(part).path, state)

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Bytes of the file that the rows before `state` take, and its size."""
        return measure_file(self._find_part(part).path, state)

    def would_read(self, path: Path) -> bool:
        """Whether a file of this path, were it there, would be one of the parts."""
        return path.absolute() == self.path.absolute()

    def describe(self) -> dict[str, Any]:
        """The source as JSON."""
        described = {"path": str(self.path), "errors": self.shows_errors, "on_error": self.on_error}
        return {"replay": {name: value for name, value in described.items() if value}}

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"replay({str(self.path)!r})"

    def _find_parts(self) -> dict[str, _Part]:
        if self.path.is_file():
            return {self.path.name: _Part(self.path, 0, parse_row)}
        if not self.path.exists():
            raise DataError(
                "expected a quarantine file or a run, got a path where there is nothing", where=str(self.path)
            )
        folder = locate_run(self.path)
        manifest = folder.load_manifest() or {"quarantine": []}
        return {part["name"]: _locate(folder, part) for part in manifest["quarantine"]}

    def _find_part(self, name: str) -> _Part:
        found = self._find_parts().get(name)
        if found is None:
            raise DataError("expected a quarantine part, got the name of none", where=f"{self.path}, {name}")
        return found


def _locate(folder: RunFolder, part: dict[str, Any]) -> _Part:
    return _Part(folder.run / "quarantine" / part["name"], part["retired"], _parse_failed)


def _parse_failed(row: dict[str, Any]) -> Row:
    failed = FailedRow.from_row(row)
    is_lost = not failed.step and failed.raw is None  # a row group, say
    identity = {"part": failed.part, "ordinal": failed.ordinal, "path": list(failed.path), "outcome": failed.outcome}
    return Row(
        failed.place,
        failed.error.get("where", ""),
        failed.error["type"],
        failed.error["message"],
        failed.record,
        failed.raw,
        failed.restorable and not is_lost,
        tuple(identity.items()),
    )
