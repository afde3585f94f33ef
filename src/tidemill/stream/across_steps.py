"""The steps of a stream that look across records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from tidemill.data.nodes.across import Batch, Every, Pack, Prefetch, Repeat, Sample, Shard, Shuffle, Skip, Sliding, Take
from tidemill.data.nodes.node import Node, OnError
from tidemill.data.sources.sharing import place_shard

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

T = TypeVar("T")


class AcrossSteps(ABC, Generic[T]):
    """Each method gives a new stream with one step more. In a job they stand before the first call."""

    __slots__ = ()

    @abstractmethod
    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]: ...

    @abstractmethod
    def _arrange(self, arrange: Callable[[tuple[Node, ...]], tuple[Node, ...]]) -> Stream[Any]: ...

    def take(self, count: int, *, name: str | None = None) -> Stream[T]:
        """Keep the first `count` records; what is behind them is not read, and no call is made for it.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact.
        """
        return self._append(Take, count=count, name=name)

    def skip(self, count: int, *, name: str | None = None) -> Stream[T]:
        """Pass over the first `count` records.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact.
        """
        return self._append(Skip, count=count, name=name)

    def every(self, count: int, *, offset: int = 0, name: str | None = None) -> Stream[T]:
        """Keep one record of every `count`, beginning with the one numbered `offset`.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact.
        """
        return self._append(Every, count=count, offset=offset, name=name)

    def sample(self, ratio: float, *, seed: int = 0, name: str | None = None) -> Stream[T]:
        """Keep about `ratio` (0-1) of the records, each chosen by its number and `seed`.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact.
        """
        return self._append(Sample, ratio=ratio, seed=seed, name=name)

    def shard(
        self,
        rank: int,
        world: int,
        *,
        even: Literal["drop", "pad"] | None = None,
        early: bool = False,
        name: str | None = None,
    ) -> Stream[T]:
        """Keep the records of one rank of `world`: every `world`-th, beginning with the one numbered `rank`.

        Together the ranks give each record once. Their numbers differ by one at most; `even="drop"` leaves out the
        last records that do not go round, `even="pad"` goes through the last round again from its start. The states
        of all ranks go on with another number of them behind `tidemill.merge_states`.

        Behind a `read` the files share their records out: what is another rank's turn is not parsed, and a record that
        fails comes to one rank alone.

        Order: kept.   Memory: one record, of `even` one round.   Failure: none.   Resume: exact.

        Args:
            early: share out as near to the source as the steps allow: in front of all steps behind the last that looks
                across records, so that each rank calls their functions for its own records only. Numbers are then
                those of the records there. This is what `stream.torch()` does.
        """
        shard = Shard(rank=rank, world=world, even=even, name=name)
        return self._arrange(lambda nodes: place_shard(nodes, shard) if early else (*nodes, shard))

    def batch(
        self,
        size: int | None = None,
        *,
        size_bytes: int | None = None,
        tokens: int | None = None,
        length_of: str = "input_ids",
        form: Literal["records", "columns", "arrow", "numpy"] = "records",
        drop_last: bool = False,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[Any]:
        """Gather records into batches of `size`, or as many as `size_bytes` or padded `tokens` hold.

        Order: kept.   Memory: one batch.
        Failure: records whose columns do not go together fail their batch, as `on_error` says; iteration goes on with
        the next.
        Resume: exact; reads at most a batch and 1,024 records again.

        Args:
            size_bytes: of the records as JSON; a larger record stands alone.
            tokens: lengths of the column `length_of`, each counted as the longest of its batch.
            form: the list of `records`, a dict of `columns` (lists), an `arrow` table, or a dict of `numpy` arrays
                (numbers `(batch, …)` in their own dtype, everything else as objects).
            drop_last: leave out a last batch that is not full.
        """
        bounds = {"size": size, "size_bytes": size_bytes, "tokens": tokens}
        return self._append(
            Batch, **bounds, length_of=length_of, form=form, drop_last=drop_last, name=name, on_error=on_error
        )

    def sliding(self, size: int, *, step: int = 1, name: str | None = None) -> Stream[list[T]]:
        """Lists of `size` records in a row, each beginning `step` records after the last; only whole ones.

        Order: kept.   Memory: `size` records.   Failure: none.
        Resume: exact; reads at most `size` and 1,024 records again.
        """
        return cast("Stream[list[T]]", self._append(Sliding, size=size, step=step, name=name))

    def pack(
        self,
        max_tokens: int,
        *,
        column: str = "input_ids",
        also: Sequence[str] | None = None,
        how: Literal["first_fit", "concat_and_split"] = "first_fit",
        buffer: int | None = None,
        split: bool = False,
        drop_last: bool = False,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[dict[str, list[Any]]]:
        """Pack token sequences into records of at most `max_tokens` tokens.

        A packed record has the tokens, the columns in `also`, and of each token in `segment_ids` which of its
        sequences it belongs to (1, 2, …) and in `positions` its place in that (from 0); what else the records had is
        left out. `first_fit` keeps sequences whole, each in the first open bin with room for it; once `buffer` bins
        were opened, the next that fits in none closes them all. `concat_and_split` puts sequences in a row and cuts it
        every `max_tokens`. An empty sequence adds nothing.

        Order: bins as they fill, then as they were opened; sequences within one, and tokens, as they come.
        Memory: `buffer` bins, or one record.
        Failure: the record's, when it has no such list, or with `first_fit` one that is too long.
        Resume: exact; reads at most the sequences of `buffer` bins and 1,024 records again.

        Args:
            column: the column of the tokens.
            also: columns with a value for each token, as `labels`.
            buffer: 128 bins by default, which are about 99 % full where most sequences are short.
            split: cut a longer sequence into pieces of `max_tokens` instead of failing it.
            drop_last: of `concat_and_split`, leave out a last record that is not full.
        """
        chosen = {"column": column, "also": also, "how": how, "buffer": buffer}
        packed = self._append(
            Pack, max_tokens=max_tokens, **chosen, split=split, drop_last=drop_last, name=name, on_error=on_error
        )
        return cast("Stream[dict[str, list[Any]]]", packed)

    def shuffle(self, seed: int = 0, *, buffer: int = 10_000, name: str | None = None) -> Stream[T]:
        """Give the records block by block, the `buffer` records of each in an order that follows from `seed`.

        In front of a `repeat` each epoch has orders of its own.

        Order: a function of `seed`, epoch and number.   Memory: one block.   Failure: none.
        Resume: exact; reads one block again.
        """
        return self._append(Shuffle, seed=seed, buffer=buffer, name=name)

    def prefetch(self, count: int, *, name: str | None = None) -> Stream[T]:
        """Read up to `count` records ahead of who consumes them, in a thread that begins with the first one.

        Order: kept.   Memory: `count` records.   Failure: that of the steps in front, at its place.
        Resume: exact, from what was given; reads at most `count` and 1,024 records again.
        """
        return self._append(Prefetch, count=count, name=name)

    def repeat(self, epochs: int | None = None, *, start: int = 0, name: str | None = None) -> Stream[T]:
        """Go through all in front of it `epochs` times, without end by default; what shuffles there does so anew.

        The first of them is number `start`: `repeat(1, start=2)` gives the third epoch alone.

        Order: that of each epoch.   Memory: one record.   Failure: none.   Resume: exact, within the epoch.
        """
        return self._append(Repeat, epochs=epochs, start=start, name=name)
