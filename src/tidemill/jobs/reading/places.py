"""How much of the source is read: what progress and the expected end of a run are told from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidemill.jobs.reading.prefix import Prefix
from tidemill.jobs.records.chunk import PartPosition
from tidemill.protocols import Source


class Places(Protocol):
    """Where reading stands in the source."""

    def note(self, position: PartPosition) -> None:
        """Reading stands here now."""
        ...

    def measure(self) -> tuple[int, int] | None:
        """How much is read, and how much there is; None when that is unknown."""
        ...


class PartPlaces:
    """Places in the parts of a plan."""

    def __init__(self, source: Source, plan: Sequence[PartPosition]) -> None:
        self._source = source
        self._places = {position.name: source.measure_part(position.name, position.state) for position in plan}

    def note(self, position: PartPosition) -> None:
        place = self._source.measure_part(position.name, position.state)
        if place is not None and position.done:
            place = place[1], place[1]  # whatever else stands at its end
        self._places[position.name] = place

    def measure(self) -> tuple[int, int] | None:
        places = [place for place in self._places.values() if place is not None]
        if not places or len(places) < len(self._places):
            return None
        return sum(read for read, _ in places), sum(size for _, size in places)


class PrefixPlaces:
    """The place in all parts of the source, where they are read as one."""

    def __init__(self, prefix: Prefix, plan: Sequence[PartPosition]) -> None:
        self._prefix = prefix
        names = list(prefix.source.parts()) if plan else []
        chosen = prefix.choose()
        sizes = [place[1] for name in names if (place := chosen.measure_part(name, None)) is not None]
        self._sizes = sizes if len(sizes) == len(names) else []
        self._place: tuple[int, int] | None = None
        for position in plan:
            self.note(position)

    def note(self, position: PartPosition) -> None:
        place = self._prefix.measure(self._sizes, position.state) if self._sizes else None
        self._place = (place[1], place[1]) if place is not None and position.done else place

    def measure(self) -> tuple[int, int] | None:
        return self._place
