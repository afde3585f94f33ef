"""Which row stands at each place of a dataset: slices, choices and orders laid over each other, never written out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from tidemill.data.nodes.across import Every, Pick, Shard, Shuffle, Skip, Slice, Take
from tidemill.data.nodes.node import Node
from tidemill.data.order import Permutation, derive_seed
from tidemill.data.turns import Layer as TurnLayer
from tidemill.data.turns import load_layers
from tidemill.protocols import State


class Left(Sequence[int]):
    """The numbers that the ranks of an earlier world were not given, in order."""

    def __init__(self, layer: TurnLayer, size: int) -> None:
        self._layer = layer
        self._size = layer.count_left(size)
        self._ragged = [number for number in range(min(layer.end, size)) if layer.is_left(number)]
        self._given = layer.end - len(self._ragged)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: Any) -> Any:
        return self._ragged[place] if place < len(self._ragged) else place + self._given


Layer = range | tuple[int, ...] | Permutation | Left
"""Numbers of the layer below, one for each place."""


class Index:
    """Row numbers by place, `index[i]` for `0 <= i < len(index)`.

    Memory: what the choices take that were given as lists; slices and orders take none, whatever their length.
    """

    __slots__ = ("_layers", "_turns_at")

    def __init__(self, layers: tuple[Layer, ...], turns_at: int | None = None) -> None:
        self._layers = layers
        self._turns_at = turns_at  # how many layers lie in front of the last shard

    def __len__(self) -> int:
        return len(self._layers[-1])

    def __getitem__(self, place: int) -> int:
        for layer in reversed(self._layers):
            place = layer[place]
        return place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and self._layers == other._layers

    def __hash__(self) -> int:
        return hash(self._layers)

    def read(self, start: int, stop: int) -> list[int]:
        """The rows at the places from `start` to `stop`."""
        places: Sequence[int] = range(start, stop)
        for layer in reversed(self._layers):
            if isinstance(layer, range) and isinstance(places, range):
                # By arithmetic: in a slice, the stop of a range that goes down to the first place means the last one.
                start, stop = (layer.start + each * layer.step for each in (places.start, places.stop))
                places = range(start, stop, places.step * layer.step)
            elif isinstance(layer, Permutation):
                places = layer.read(places)
            else:
                places = [layer[place] for place in places]
        return list(places)

    def cut(self, places: slice) -> Index:
        """The index of a slice."""
        last = self._layers[-1]
        if isinstance(last, range) and len(self._layers) != self._turns_at:
            return Index((*self._layers[:-1], last[places]), self._turns_at)
        return Index((*self._layers, range(len(last))[places]), self._turns_at)

    def lay(self, layer: tuple[int, ...] | Permutation) -> Index:
        """The index with a choice or an order of its places on top."""
        return Index((*self._layers, layer), self._turns_at)

    def begin_turns(self, given: Sequence[TurnLayer]) -> Index:
        """The index in front of a shard, without what was `given` to the ranks of earlier worlds."""
        layers = list(self._layers)
        for each in given:
            layers.append(Left(each, len(layers[-1])))
        return Index(tuple(layers), len(self._layers))

    def find_turn(self, place: int) -> int | None:
        """The number, in front of the last shard, of what stands at a place; None without a shard."""
        if self._turns_at is None:
            return None
        for layer in reversed(self._layers[self._turns_at :]):
            place = layer[place]
        return place

    def find_range(self) -> range | None:
        """The rows as one stretch with one step, None when they are more than that."""
        (*below, last) = self._layers
        return last if not below and isinstance(last, range) else None

    @property
    def span(self) -> range | None:
        """The rows as one stretch, None when they are more than that."""
        rows = self.find_range()
        return rows if rows is not None and rows.step == 1 else None


def full_index(size: int) -> Index:
    """The index of all of `size` rows."""
    return Index((range(size),))


def is_index_node(node: Node) -> bool:
    """Whether the step chooses and orders records by their number alone."""
    if isinstance(node, Shuffle):
        return node.buffer is None
    return isinstance(node, (Slice, Pick, Take, Skip, Every, Shard))


def fold_index(index: Index, nodes: Iterable[tuple[Node, State | None]], epoch: tuple[int, ...]) -> Index:
    """The index behind all of `nodes`, each an index node with what a state says of it.

    Raises:
        IndexError: a choice names a place that is not there.
    """
    for node, mark in nodes:
        index = _fold(index, node, mark, epoch)
    return index


def _fold(index: Index, node: Node, mark: State | None, epoch: tuple[int, ...]) -> Index:
    match node:
        case Slice():
            return index.cut(slice(node.start, node.stop, node.step))
        case Take():
            return index.cut(slice(node.count))
        case Skip():
            return index.cut(slice(node.count, None))
        case Every():
            return index.cut(slice(node.offset, None, node.count))
        case Shard():
            return _shard(index.begin_turns(load_layers(mark)), node)
        case Pick():
            return index.lay(_resolve_picks(node.places, len(index)))
        case Shuffle():
            return index.lay(Permutation(len(index), derive_seed(node.seed, epoch)))
    raise TypeError(f"expected an index node, got {node.kind}")


def _shard(index: Index, node: Shard) -> Index:
    size, world = len(index), node.world
    whole = size - size % world
    if node.even == "drop":
        return index.cut(slice(node.rank, whole, world))
    if node.even is None or node.rank < size - whole or whole == size:
        return index.cut(slice(node.rank, None, world))
    padded = (*range(node.rank, whole, world), whole + node.rank % (size - whole))
    return index.lay(padded)


def _resolve_picks(places: Sequence[int], size: int) -> tuple[int, ...]:
    for place in places:
        if not -size <= place < size:
            raise IndexError(f"index {place} is out of range: there are {size:,} records")
    return tuple(place + size if place < 0 else place for place in places)


class Parted:
    """Places over several parts, one after the other."""

    __slots__ = ("ends",)

    def __init__(self, sizes: Iterable[int]) -> None:
        self.ends = list(accumulate(sizes))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def find(self, place: int) -> tuple[int, int]:
        """The number of the part that holds a place, and that part's first place."""
        number = bisect_right(self.ends, place)
        return number, self.ends[number - 1] if number else 0

    def group(self, places: Sequence[int]) -> dict[int, list[int]]:
        """For each part the positions in `places` that it holds."""
        groups: dict[int, list[int]] = {}
        for position, place in enumerate(places):
            groups.setdefault(bisect_right(self.ends, place), []).append(position)
        return groups
