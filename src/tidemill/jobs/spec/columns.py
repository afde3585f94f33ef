"""The columns that the record half can name: sampled where the source half ends, followed through the steps."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.config.suggest import find_near, list_names
from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes import Node, Take
from tidemill.data.source import Read
from tidemill.jobs.records.step import USER_ERRORS

SAMPLED = 1_000
"""Records read at most before a column that none of them has counts as missing."""

SHOWN = 8
"""Records read to name the columns there are."""


class Columns:
    """The columns of the records at the end of the source half, read as far as it takes to find one."""

    def __init__(self, source: Read, before: Sequence[Node]) -> None:
        self._records: Records = iterate(source, (Take(count=SAMPLED), *before))
        self._left = SAMPLED
        self._names: dict[str, None] = {}
        self._kept: tuple[str, ...] | None = None
        self.are_known = True
        for _ in range(SHOWN):
            self._read()
        self.are_known = self.are_known and bool(self._names)

    def __contains__(self, name: str) -> bool:
        if self._kept is not None:
            return name in self._kept
        while name not in self._names and self._left:
            self._read()
        return name in self._names

    def add(self, names: Sequence[str]) -> None:
        """What a step adds."""
        if self._kept is not None:
            self._kept += tuple(names)
        self._names |= dict.fromkeys(names)

    def keep(self, names: tuple[str, ...]) -> None:
        """All that a step leaves."""
        self._kept = names

    def suggest(self, name: str) -> str:
        """The column that was meant, or those there are."""
        known = list(self._names if self._kept is None else self._kept)
        near = find_near(name, known)
        return f"did you mean `{near}`?" if near else f"columns: {list_names(known)}"

    def close(self) -> None:
        """Close the source."""
        self._records.close()

    def _read(self) -> None:
        if not self._left:
            return
        self._left -= 1
        try:
            record = next(self._records)
        except StopIteration:
            self._left = 0
        except USER_ERRORS:  # a record that fails here fails in the run too, and is quarantined there
            return
        else:
            if isinstance(record, dict):
                self._names |= dict.fromkeys(record)
            else:
                self.are_known = False
