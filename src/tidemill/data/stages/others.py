"""The other streams of joins: what they give, and whether that is what was joined with before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, cast

from isal import isal_zlib

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.failing.policy import Losses
from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.lookup import Entry
from tidemill.data.nodes.keeping import Join, find_other
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Map
from tidemill.data.records.keys import make_namer
from tidemill.data.sources.stamps import stamp_source
from tidemill.errors import DataError, StateError, TidemillError
from tidemill.protocols import RecordIterator, Source, State

_CRC_MASK = (1 << 63) - 1
"""JSON as it is kept has whole numbers of 64 bits."""

_LEAVE_OUT = "leave such records out of that stream, or join by columns that all of them have"

Iterate = Callable[[Source, Sequence[Node]], RecordIterator]
"""Opens a stream, from its start."""


class OtherStream:
    """The other stream of a join.

    Attributes:
        columns: those of its records besides the key's, once it was read; of a `left` join alone.
    """

    def __init__(self, node: Join, iterate: Iterate) -> None:
        self._node = node
        self._iterate = iterate
        self.columns: dict[str, None] = {}
        self._seen: State = {}

    def iter_entries(self) -> Generator[Entry]:
        """The records by their keys, without the columns of these; only keys where these are all.

        Raises:
            TidemillError: a record failed, or is none; it is the run's.
        """
        names = tuple(self._node.on.values())
        find_name = make_namer(names)
        keys_alone, is_left = self._node.how in ("semi", "anti"), self._node.how == "left"
        encode, extend = make_encoder(), isal_zlib.crc32
        has_order = _has_order(*find_other(self._node))
        rest: dict[str, Any] | None = None
        count = crc = 0
        stamp = self._find_stamp()
        with self._explaining(), closing(self._iterate(*find_other(self._node))) as records:
            for record in records:
                try:
                    named = find_name(record)
                except DataError as error:
                    error.hint = error.hint or _LEAVE_OUT
                    raise
                if named is None:
                    continue
                if not keys_alone:
                    rest = {**record}
                    for name in names:
                        rest.pop(name, None)
                payload = encode((named, rest))
                count += 1
                if has_order:
                    crc = extend(payload, crc)
                else:  # squares: what two records exchange can leave the plain sum as it was
                    crc += extend(payload) ** 2
                if is_left and rest is not None and not rest.keys() <= self.columns.keys():
                    self.columns.update(dict.fromkeys(rest))
                yield named, payload
            losses: Losses = cast(Any, records).losses
        skipped = losses.skipped.total() + losses.quarantined.total()
        self._seen = {"count": count, "crc": crc & _CRC_MASK, "stamp": stamp, "skipped": skipped}

    def describe_seen(self) -> State:
        """What tells the records that were read from any others, and how many were passed over: JSON."""
        return self._seen

    def is_same(self, seen: State) -> bool:
        """Whether it gives what it gave then; it is read only where its source looks otherwise.

        Raises:
            TidemillError: it has to be read, and cannot be.
        """
        if self._find_stamp() == seen["stamp"]:
            return True
        deque(self.iter_entries(), maxlen=0)
        return _are_same_records(self._seen, seen)

    def _find_stamp(self) -> str:
        with self._explaining():
            return stamp_stream(*find_other(self._node))

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Have what the other stream fails with be the run's failure, and no record's."""
        try:
            yield
        except TidemillError as error:
            error.of = "run"
            error.message = f"in the other stream: {error.message}"
            if isinstance(error, DataError) and error.step:  # of a record
                error.hint = error.hint or self._find_hint()
            raise

    def _find_hint(self) -> str:
        if hasattr(find_other(self._node)[0], "on_error"):
            return "mend it, or have it passed over: `on_error: skip` of that source; in Python by `catch`, too"
        return "mend it; in Python, `catch` has that stream pass over it"


class Others:
    """What the joins of a pipeline read of their other streams, by the place of each step; all its openings share it.

    Threads: any.

    Args:
        seen: of an earlier one, to go on from.
    """

    def __init__(self, seen: Mapping[str, State] | None = None) -> None:
        self._seen: dict[str, State] = dict(seen or {})

    def note(self, index: int, seen: State, step: str) -> None:
        """Note what a join has read.

        Raises:
            StateError: another one of the same pipeline, or an earlier sitting, read something else.
        """
        if not _are_same_records(self._seen.get(str(index), seen), seen):
            raise StateError(
                "the other stream is not what records were joined with before",
                where=f"step `{step}`",
                hint="put it back as it was, or start without a state; a query needs a `key`, or an ORDER BY",
            )
        self._seen[str(index)] = seen

    def describe(self, before: int | None = None) -> State:
        """What was read, by the places of the steps: JSON.

        Args:
            before: only of joins in front of the step at this place; None for all.
        """
        return {index: seen for index, seen in self._seen.items() if before is None or int(index) < before}


def find_changed_join(nodes: Sequence[Node], others: State, iterate: Iterate) -> int | None:
    """The place of a join among `nodes` that would not read what it had of its other stream; None when there is none.

    Raises:
        TidemillError: a stream that looks otherwise cannot be read.
    """
    for index, seen in others.items():
        node = nodes[int(index)]
        assert isinstance(node, Join)
        if not OtherStream(node, iterate).is_same(seen):
            return int(index)
    return None


def _are_same_records(one: State, other: State) -> bool:
    return (one["count"], one["crc"]) == (other["count"], other["crc"])


def _has_order(source: Source, nodes: Sequence[Node]) -> bool:
    """Whether a stream gives its records in one order each time: no `map` of it has `ordered=False`."""
    flows: Sequence[Any] = getattr(source, "flows", ())
    inner = [find_other(node) for node in nodes if isinstance(node, Join)]
    return not any(isinstance(node, Map) and not node.ordered for node in nodes) and all(
        _has_order(*each) for each in [*inner, *((flow.source, flow.nodes) for flow in flows)]
    )


def stamp_stream(source: Source, nodes: Sequence[Node]) -> str:
    """What changes when one of the sources does that a stream is read from."""
    inner = [stamp_stream(*find_other(node)) for node in nodes if isinstance(node, Join)]
    return fingerprint_json([stamp_source(source), inner])[:16]
