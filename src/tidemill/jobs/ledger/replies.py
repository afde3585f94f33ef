"""Replies found again: those of this run before a crash, and those of an earlier run."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tidemill.agents.calling.outcome import ROW_OF_TOOL
from tidemill.agents.numbers import iter_around
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.journal import Journal
from tidemill.jobs.ledger.rows import CallKey, pack_call, parse_call
from tidemill.jobs.ledger.segments import iter_calls, iter_failed
from tidemill.jobs.records.root import Root


class Row(Protocol):
    """A reply that can be kept."""

    def to_row(self) -> list[Any]:
        """The reply as a JSON list."""
        ...


CACHED_SEGMENTS = 2
"""Archives of an earlier run held at a time while its replies are looked up, and one more for each pass it went."""


class LedgerReplies:
    """The window's reply store: what the ledger holds from before, and the journal for what is new.

    Args:
        frames: the frames left by a run that died.
        journal: where new replies go.
        old: an earlier run whose replies may be used.
    """

    def __init__(self, frames: Iterable[bytes], journal: Journal, old: OldReplies | None = None) -> None:
        self._journal = journal
        self._old = old
        self._known: dict[CallKey, tuple[str, list[Any], bytes]] = {}
        self._within: defaultdict[CallKey, list[CallKey]] = defaultdict(list)
        for frame in frames:
            for line in frame.split(b"\n"):
                key, digest, reply, _ = parse_call(line)
                self._known[key] = (digest, reply, line)
                for around in iter_around(key[4]):
                    self._within[(*key[:4], around)].append(key)
        self.recalled = 0
        self.reused = 0

    def recall(self, root: Root, path: tuple[int, ...], step: str, number: int, digest: str) -> list[Any] | None:
        """The row of the reply committed for just this call: same identity, step, call number and request."""
        if not self._known and self._old is None:
            return None
        key = (root.part, root.ordinal, path, step, number)
        known = self._known.pop(key, None)
        if known is not None and known[0] == digest:
            self.recalled += 1
            root.recalled += 1
            root.rows.append(known[2])
            if key in self._within and len(known[1]) == ROW_OF_TOOL:
                self._keep_within(root, key)
            return known[1]
        if self._old is not None:
            line = self._old.find(key, digest)
            if line is not None:
                self.reused += 1
                root.rows.append(line)
                return parse_call(line)[2]
        return None

    def _keep_within(self, root: Root, key: CallKey) -> None:
        """Keep what was called within a call whose outcome is known: nothing asks for it again."""
        rows = (self._known.pop(within, None) for within in self._within.pop(key))
        root.rows += [row[2] for row in rows if row is not None]

    def commit(
        self, root: Root, path: tuple[int, ...], step: str, number: int, digest: str, reply: Row, attempts: int
    ) -> Awaitable[None]:
        """Done once the reply is durable."""
        row = pack_call((root.part, root.ordinal, path, step, number), digest, reply.to_row(), attempts)
        root.rows.append(row)
        return self._journal.commit(root.number, row)


class OldReplies:
    """The replies of an earlier run, looked up in its archives and ledger with flat memory.

    A segment's archive is loaded when a record of its range comes up, and a few are kept: both runs go through
    their source in the same order. The reply of a call that led to a failed outcome is never given.
    """

    def __init__(self, folder: RunFolder, segments: Sequence[Mapping[str, Any]], frames: Iterable[bytes]) -> None:
        self._folder = folder
        self._segments = list(reversed(segments))  # a later segment's reply (a retry's) goes before an earlier one's
        self._loaded: OrderedDict[int, dict[CallKey, tuple[str, bytes]]] = OrderedDict()
        # Each pass goes through the identities in order: one archive of each is in use at a time, or two at its seam.
        self._most = CACHED_SEGMENTS + len({segment["pass"] for segment in segments})
        self._unsealed = _index(line for frame in frames for line in frame.split(b"\n"))

    def find(self, key: CallKey, digest: str) -> bytes | None:
        """The archived line of a call with this key and request."""
        part, ordinal = key[0], key[1]
        found = self._unsealed.get(key)
        if found is not None and found[0] == digest:
            return found[1]
        for segment in self._segments:
            span = segment["ranges"].get(part)
            if span is None or not span[0] <= ordinal <= span[1] or "calls" not in segment:
                continue
            found = self._load(segment).get(key)
            if found is not None and found[0] == digest:
                return found[1]
        return None

    def _load(self, segment: Mapping[str, Any]) -> dict[CallKey, tuple[str, bytes]]:
        number = segment["number"]
        loaded = self._loaded.get(number)
        if loaded is not None:
            self._loaded.move_to_end(number)
            return loaded
        failed = {(row.part, row.ordinal, row.path, row.name) for row in iter_failed(self._folder, segment)}
        lines = (line.rstrip(b"\n") for line in iter_calls(self._folder.call_part(number)))
        loaded = {key: value for key, value in _index(lines).items() if key[:4] not in failed}
        self._loaded[number] = loaded
        if len(self._loaded) > self._most:
            self._loaded.popitem(last=False)
        return loaded


def _index(lines: Iterable[bytes]) -> dict[CallKey, tuple[str, bytes]]:
    index = {}
    for line in lines:
        key, digest, _, _ = parse_call(line)
        index[key] = (digest, line)
    return index
