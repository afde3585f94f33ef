"""Groups that memory holds: a column of the numbers of their first records, one of their keys, one for each aggregate.

Columns of plain values are nothing that the collector of garbage goes through, however many groups there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tidemill.data.gathered.aggregates import Accumulator
from tidemill.data.kept.shares import Columns
from tidemill.data.records.keys import Named, hash_named

Name = Callable[[Any], Named]


class Groups:
    """Groups by key, in the order that they came.

    Args:
        name: what stands for a key.
        aggregates: what is made of each group.

    Attributes:
        find: gives the place of a key's group, if there is one.
    """

    def __init__(self, name: Name, aggregates: Sequence[Accumulator]) -> None:
        self._name = name
        self._places: dict[Named, int] = {}
        self.find: Callable[[Named], int | None] = self._places.get
        self._numbers: list[int] = []
        self._keys: list[Any] = []
        self._made: list[tuple[Accumulator, list[Any]]] = [(each, []) for each in aggregates]
        self._starting = [(each.start, states.append) for each, states in self._made]

    def start(self, named: Named, key: Any, number: int, values: list[Any]) -> None:
        """Begin the group of a key with its first record, given its number and values."""
        self._places[named] = len(self._numbers)
        self._numbers.append(number)
        self._keys.append(key)
        for (start, append), value in zip(self._starting, values, strict=True):
            append(start(number, value))

    def add(self, place: int, number: int, values: list[Any]) -> None:
        """Add a record to the group at a place."""
        for (each, states), value in zip(self._made, values, strict=True):
            states[place] = each.add(states[place], number, value)

    def merge(self, columns: Columns) -> None:
        """Add what `to_columns` gave of records that stand behind those of each group here, once or more often."""
        _, numbers, keys, *others = columns
        places = self._places
        found = [places.setdefault(named, len(places)) for named in map(self._name, keys)]
        for place, number, key in zip(found, numbers, keys, strict=True):
            if place == len(self._numbers):
                self._numbers.append(number)
                self._keys.append(key)
        for (each, states), other in zip(self._made, others, strict=True):
            merge = each.merge
            for place, state in zip(found, other, strict=True):
                if place == len(states):
                    states.append(state)
                else:
                    states[place] = merge(states[place], state)

    def to_columns(self) -> Columns:
        """The hashes of the keys, the numbers, the keys, and the states of each aggregate."""
        return [list(map(hash_named, self._places)), self._numbers, self._keys, *[states for _, states in self._made]]

    def iter_finished(self) -> Iterator[tuple[int, Any, tuple[Any, ...]]]:
        """Of each group its number, its key, and what the aggregates come to; they are used up."""
        made = [map(each.finish, states) for each, states in self._made]
        return zip(self._numbers, self._keys, zip(*made, strict=True), strict=True)
