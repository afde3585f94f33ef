"""The columns that the record half can name: sampled where the source half ends, followed through the steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import TypeVar

from tidemill.config.model import Config
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes.keeping import place_folders
from tidemill.data.nodes.node import Node
from tidemill.data.sql.connection import LateQueryError
from tidemill.errors import TidemillError
from tidemill.jobs.live.glance import Glance
from tidemill.protocols import Source

Part = TypeVar("Part")

SAMPLED = 1_000
"""Records read at most before a column that none of them has counts as missing."""

FEWEST = 3
"""Of these are read in any case."""

READ_S = 1.0
"""Seconds that reading takes beyond that, about."""

SHOWN = 8
"""Records read to name the columns there are."""


class Columns:
    """The columns of the records at the end of the source half, read as far as it takes to find one, and time goes.

    Raises (what reads): LateQueryError, where the source is a query that takes longer than it is to.

    Args:
        glance: how much is read.

    Attributes:
        passed: sampled records that came to the end of the source half.
        errors: what the others failed with.
        are_known: False where there is no record, or one that is no dict.
    """

    def __init__(self, source: Source, before: Sequence[Node], glance: Glance) -> None:
        source = _raising(source)
        steps = place_folders(list(map(_raising, before)), Path(gettempdir(), "tidemill"))  # a sample is held in memory
        self._glance = glance
        self._records: Records = iterate(source, glance.bound_steps(source, steps))
        self._left = SAMPLED
        self._names: dict[str, None] = {}
        self._common: set[str] = set()
        self._added: dict[str, None] = {}
        self._gone: set[str] = set()
        self._kept: tuple[str, ...] | None = None
        self.passed = 0
        self.errors: list[BaseException] = []
        self.are_known = True
        while self._left and (not self.passed or self._left > SAMPLED - SHOWN):
            self._read()
        self.are_known = self.are_known and bool(self._names)

    def __contains__(self, name: str) -> bool:
        if self._kept is not None:
            return name in self._kept
        if name in self._gone:
            return False
        while name not in self._names and name not in self._added and self._left:
            self._read()
        return name in self._names or name in self._added or self._is_cut

    def add(self, names: Sequence[str]) -> None:
        """What a step adds."""
        if self._kept is not None:
            self._kept += tuple(names)
        self._added |= dict.fromkeys(names)
        self._gone -= set(names)

    def drop(self, names: Collection[str]) -> None:
        """What a step takes away."""
        if self._kept is not None:
            self._kept = tuple(name for name in self._kept if name not in names)
        for name in names:
            self._added.pop(name, None)
            self._gone.add(name)

    def keep(self, names: tuple[str, ...]) -> None:
        """All that a step leaves."""
        self._kept = names

    def list_common(self) -> list[str]:
        """The columns that every record has, as far as the whole sample tells; none where time ended it."""
        self.read_all()
        if self._is_cut:
            return []
        if self._kept is not None:
            return list(dict.fromkeys(self._kept))
        common = [*filter(self._common.__contains__, self._names), *self._added]
        return [name for name in dict.fromkeys(common) if name not in self._gone]

    def suggest(self, name: str) -> str:
        """The column that was meant, or those there are."""
        known = [name for name in self._names | self._added if name not in self._gone]
        known = known if self._kept is None else list(self._kept)
        near = find_near(name, known)
        return f"did you mean `{near}`?" if near else f"columns: {list_names(known)}"

    def read_all(self) -> None:
        """Read what is left of the sample."""
        while self._left:
            self._read()

    def close(self) -> None:
        """Close the source."""
        self._records.close()

    @property
    def _is_cut(self) -> bool:
        """Whether time ended what was read, so that more may be there."""
        return self._glance.is_cut or self._glance.is_beside_cut

    def _read(self) -> None:
        if not self._glance.goes_on(SAMPLED - self._left):
            self._left = 0
            return
        self._left -= 1
        try:
            record = next(self._records)
        except StopIteration:
            self._left = 0
        except LateQueryError:  # no failure of the source: what it gives is not known in time
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a record that fails here fails in the run too
            self.errors.append(exc)
            if isinstance(exc, TidemillError) and exc.of == "run":
                self._left = 0  # it would be told again and again
        else:
            self.passed += 1
            if isinstance(record, dict):
                self._common = set(record) if self.passed == 1 else self._common & record.keys()
                self._names |= dict.fromkeys(record)
            else:
                self.are_known = False


def _raising(part: Part) -> Part:
    """A source or a step with its failures raised: a record that a run would skip fails all the same."""
    if isinstance(part, Config) and getattr(part, "on_error", None) == "skip":
        return part.model_copy(update={"on_error": "raise"})
    return part
