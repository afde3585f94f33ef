"""Stages that pack token sequences into records of at most so many tokens.

An anchor stands where no token read before it is held: where all open bins were emptied, or a block was full. Its
`own` is how many tokens of the next record were given by then.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from tidemill.data.gathered.packing import Columns, OpenBins, Piece, make_reader, render_packed
from tidemill.data.nodes.across import Pack
from tidemill.data.stages import anchored
from tidemill.data.stages.anchored import Anchor
from tidemill.data.stages.stage import Stage
from tidemill.errors import DataError


def feed_packed(node: Pack, upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
    """The packed records of a `pack` step."""
    return _iter_packed(node, _Packer(node, upstream, anchor))


def trace_packed(node: Pack, upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
    """The boxes of the records that each packed one is made of."""
    return _iter_packed(node, _BoxPacker(node, upstream, anchor))


def _iter_packed(node: Pack, packer: _Packer) -> Generator[Iterator[Any]]:
    return packer.iter_bins() if node.how == "first_fit" else packer.iter_blocks()


class _Packer:
    """Packs what the stage in front gives; one for each time that it is opened."""

    def __init__(self, node: Pack, upstream: Stage, anchor: Anchor) -> None:
        self._limit = node.max_tokens
        self._names = node.packed
        self._bins = OpenBins(node.max_tokens, node.buffer)
        self._bound = None if node.split or node.how == "concat_and_split" else node.max_tokens
        self._drops_last = node.drop_last
        self._take_columns = make_reader(self._names)
        self._upstream = upstream
        self._anchor = anchor
        self._given: int = anchor.own or 0  # tokens of the first record that were given in front of the anchor
        self._since = 0  # records read and blocks given since the anchor

    def iter_bins(self) -> Generator[Iterator[Any]]:
        """Each sequence in the first bin that has room for it; all bins are given when it fits in none of them."""
        bins = self._bins
        for columns in self._iter_records():
            if not isinstance(columns, tuple):
                yield columns
                continue
            for piece in self._cut(columns):
                _, start, stop = piece
                number = bins.find(stop - start)
                if number is None and bins.are_spent:
                    yield from map(self._render, bins.empty())
                    self._move(start, len(columns[0]))
                full = bins.add(bins.open() if number is None else number, piece)
                if full is not None:
                    yield self._render(full)
        yield from map(self._render, bins.empty())

    def iter_blocks(self) -> Generator[Iterator[Any]]:
        """All tokens in a row, cut every `max_tokens`."""
        block: list[Piece] = []
        room = self._limit
        for columns in self._iter_records():
            if not isinstance(columns, tuple):
                yield columns
                continue
            start, length = self._take_given(), len(columns[0])
            while start < length:
                stop = min(length, start + room)
                block.append((columns, start, stop))
                room -= stop - start
                start = stop
                if not room:
                    yield self._render(block)
                    block, room = [], self._limit
                    self._since += 1
                    self._move(start, length)
        if block and not self._drops_last:
            yield self._render(block)

    def _iter_records(self) -> Iterator[Columns | Iterator[Any]]:
        """The packed columns of each record, or the link that raises what it fails with."""
        while True:
            found: Columns | Iterator[Any]
            try:
                record = next(self._upstream)
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                found = self._anchor.error(error)
            else:
                self._since += 1
                found = self._try_record(record)
            yield found
            del found

    def _try_record(self, record: Any) -> Columns | Iterator[Any]:
        try:
            return self._read_record(record)
        except Exception as error:  # noqa: BLE001 - any failure of the record, which the step's `on_error` judges
            return self._anchor.error(error, record)

    def _read_record(self, record: Any) -> Columns:
        columns = self._take_columns(record)
        if self._bound is not None and len(columns[0]) > self._bound:
            raise DataError(
                f"expected at most {self._bound:,} tokens in `{self._names[0]}`, got {len(columns[0]):,}",
                hint="split=True packs it in pieces; tokenize(…, max_tokens=…) cuts its end off",
            )
        return columns

    def _cut(self, columns: Columns) -> Iterator[Piece]:
        """The sequence, in pieces of the limit where it is longer."""
        length = len(columns[0])
        for start in range(self._take_given(), length, self._limit):
            yield columns, start, min(length, start + self._limit)

    def _take_given(self) -> int:
        given, self._given = self._given, 0
        return given

    def _move(self, given: int, length: int) -> None:
        """Put the anchor behind the first `given` of the `length` tokens of the record read last."""
        if self._since >= anchored.ANCHOR_RECORDS:
            self._since = 0
            if given < length:
                self._anchor.move(given or None, back=1)
            else:
                self._anchor.move(None)

    def _render(self, pieces: Sequence[Piece]) -> Iterator[Any]:
        return self._anchor.link([self._form(pieces)])

    def _form(self, pieces: Sequence[Piece]) -> Any:
        return render_packed(self._names, pieces)


class _BoxPacker(_Packer):
    """Packs records in boxes, which go along behind the columns."""

    def _read_record(self, record: Any) -> Columns:
        return (*super()._read_record(record.record), record)

    def _form(self, pieces: Sequence[Piece]) -> Any:
        return [columns[-1] for columns, _, _ in pieces]
