"""The steps of a stream that keep on disk what is more than memory holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from tidemill.data.gathered.aggregates import Aggregate
from tidemill.data.nodes.keeping import Cache, Dedupe, GroupBy, Join, Sort
from tidemill.data.nodes.node import Node, OnError

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

T = TypeVar("T")

Columns = str | Sequence[str]
KeyOf = Columns | Callable[[Any], Any]
Folder = str | PathLike[str] | None


Made = str | Sequence[str] | Mapping[str, Any] | Aggregate


class Groups:
    """Groups of records, of which `agg` says what is made: what `Stream.group_by` gives."""

    __slots__ = ("_append", "_fields")

    def __init__(self, append: Callable[..., Stream[Any]], fields: Mapping[str, Any]) -> None:
        self._append = append
        self._fields = fields

    def agg(self, **made: Made) -> Stream[dict[str, Any]]:
        """One record for each group: the columns of its key, and each of these.

        `count` counts records, `("count", column)` those with a value; `sum mean min max` are of the values that are
        not None, sums exact to the last digit; `first` and `last` are the value of one record, `list` and `distinct`
        the first 1,000 values, or as many as `{"how": "list", "of": column, "limit": n}` says.

        Args:
            made: of each new column a text (`"count"`), a pair (`("sum", "price")`), or a mapping with `limit`.
        """
        return self._append(GroupBy, **self._fields, agg=made)


class KeepingSteps(ABC, Generic[T]):
    """Each method gives a new stream with one step more. In a job they stand before the first call.

    `dir` is the folder of a step: any number of steps, pipelines and processes may have one. It can be left out in a
    job alone, whose run folder it then is. What stands there is for states to go on from; delete it when none of them
    is wanted any more.
    """

    __slots__ = ()

    @abstractmethod
    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]: ...

    def dedupe(
        self,
        key: KeyOf | None = None,
        *,
        near: float | None = None,
        dir: Folder = None,  # noqa: A002 - the word of the job file
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Keep the first record of each key.

        Keys are compared by a digest of 16 bytes. Those are one that Python's `==` says are: 3 and 3.0, not 3 and "3",
        nor texts that only look the same.

        Order: kept.   Memory: some 60 MB, whatever the number of keys; 32 bytes of disk for each.
        Failure: a record without such a key fails, as `on_error` says; it is compared with none.
        Resume: exact, nothing is read again.

        With `near`, keys are texts, and a record is left out whose text is near to one that was kept: of the runs of
        three words that either has they have this share in common. That is told by MinHash, within 0.03 at 0.85
        (standard error of 128 numbers); of pairs just so near 99 % are compared. It takes rensa (`tidemill[near]`), and
        some 800 bytes of disk for each record kept.

        Args:
            key: a column, a list of columns, or a function of the record; the whole record by default.
            near: from 0 to 1; 0.85 leaves out most copies with a few words changed.
        """
        return self._append(Dedupe, key=key, near=near, dir=dir, name=name, on_error=on_error)

    def sort(
        self,
        key: KeyOf,
        *,
        reverse: bool = False,
        dir: Folder = None,  # noqa: A002 - the word of the job file
        memory: int | str | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Give the records in the order of their keys, the largest first with `reverse`.

        Keys are of one kind, that of the first: numbers, texts, bytes, dates, times, or tuples of such; scalars of
        NumPy are their Python values. All records are read before the first is given; each is pickled, and given as a
        copy.

        Order: that of the keys; those of equal keys as they came.
        Memory: `memory`; records beyond it are on disk, once, and behind 64 times `memory` twice.
        Failure: a record whose key is of another kind, or cannot be kept, fails, as `on_error` says.
        Resume: exact; reads what memory held again, and once records are given at most 1,024 of the folder.

        Args:
            key: a column, a list of columns, or a function of the record.
            memory: bytes, or a text as `512MiB`; 256 MiB by default.
        """
        return self._append(Sort, key=key, reverse=reverse, dir=dir, memory=memory, name=name, on_error=on_error)

    def join(
        self,
        other: Stream[Any],
        on: str | Sequence[str] | Mapping[str, str],
        *,
        how: Literal["inner", "left", "semi", "anti"] = "inner",
        suffix: str = "",
        dir: Folder = None,  # noqa: A002 - the word of the job file
        memory: int | str | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[Any]:
        """Put each record together with those of another stream that have the same key.

        The other stream is read whole, without the columns of the key, before the first record is given: let it be the
        smaller one. `inner` gives a record for each pair; `left` also the records that have none, with None in the
        other's columns; `semi` the records that have one, `anti` those that have none, as they are. None equals
        nothing; other keys are compared as those of `dedupe`, and a record keeps its own.

        Order: kept; the pairs of one record in the order of the other stream.
        Memory: `memory`, 256 MiB by default; what is more of the other stream is in one file, searched in place.
        Failure: a record without the key, or with a column that the other has too, fails, as `on_error` says; one of
        the other stream ends it, unless that stream passes over it: `losses` counts these as `other of join`.
        Resume: exact; reads the other stream again. A state is refused where that gives other records than it did, or
        gives them in another order, unless a `map` in it has `ordered=False`; a set has another in each process.

        Args:
            other: the other stream, in front of any call.
            on: a column, a list of columns, or a mapping of columns to those of the other stream.
            suffix: what is put behind a name of the other stream that the record has, too.
            memory: bytes, or a text as `512MiB`.
        """
        given = {"other": other, "on": on, "how": how, "suffix": suffix, "dir": dir, "memory": memory}
        return self._append(Join, **given, name=name, on_error=on_error)

    def group_by(
        self,
        *keys: str,
        dir: Folder = None,  # noqa: A002 - the word of the job file
        memory: int | str | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Groups:
        """Groups of the records that have the same values in these columns; `.agg(…)` says what is made of each.

        All records are read before the first group is given. Values are compared as the keys of `dedupe`, and a group
        has those of its first record; None is a value like others.

        Order: that of each group's first record.
        Memory: `memory`, 256 MiB by default; groups beyond it are on disk.
        Failure: a record without one of the columns, or with a value that does not go with the others, fails alone.
        Resume: exact; reads what memory held again, and once groups are given at most 1,024 of the folder.

        Args:
            memory: bytes, or a text as `512MiB`.
        """
        fields = {"keys": keys, "dir": dir, "memory": memory, "name": name, "on_error": on_error}
        return Groups(self._append, fields)

    def cache(
        self,
        dir: Folder,  # noqa: A002 - the word of the other steps
        *,
        changed: Literal["refuse", "rebuild"] = "refuse",
        part_bytes: int | str | None = None,
        name: str | None = None,
    ) -> Stream[T]:
        """Put what passes on disk the first time, and give it from there the next: the steps in front rest.

        A cache belongs to the steps in front, their functions' source among them: another pipeline fills another one
        in the same folder. One that was left half-way goes on where its last whole part ends. Failures of records are
        kept in their places, and raised again. What is shuffled in front keeps the order of the first time. Several
        processes may fill one at once; they write the same.

        Order: kept.   Memory: `part_bytes`, 16 MiB by default, while it is filled; one record behind that.
        Failure: a record that cannot be pickled fails.
        Resume: exact; makes at most one part again.

        Args:
            changed: what a cache gets whose source has other files now, or files that were written since (one alone
                may be written again as it was), or whose joins would read another stream: `refuse` or `rebuild`.
        """
        return self._append(Cache, dir=dir, changed=changed, part_bytes=part_bytes, name=name)
