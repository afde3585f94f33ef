"""The stage at the start of every chain: a source's parts, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, cast

from tidemill.data.failing.failures import explain_failure, raise_explained
from tidemill.data.failing.policy import SOURCE, Policy, is_of_record
from tidemill.data.reader import Broken, PartReader, raise_each
from tidemill.data.records.origin import Origin, describe_position
from tidemill.data.stages.stage import Stage
from tidemill.data.turns import Share, dump_layers
from tidemill.errors import DataError, StateError, TidemillError
from tidemill.protocols import RecordIterator, Source, State


class PartsStage(Stage):
    """The records of a source's parts, one part after the other."""

    cursor: _PartCursor
    kept: State
    """What steps that the source has taken over know, by their place."""
    share: Share | None
    """Of a source that shares its records out itself, in the place of the first step."""

    def ended(self) -> bool:
        return self.cursor.ended

    def marks(self, back: int) -> State:
        cursor = self.cursor
        state = cursor.state if cursor.reader is None else _reader_state(cursor.reader, back)
        steps = dict(self.kept)
        if self.share is not None:
            steps["0"] = {"seen": self._find_seen(state), **dump_layers(self.share.turns.layers)}
        return {"part": cursor.part, "index": cursor.index, "source": state, "steps": steps}

    def spot(self) -> Any:
        cursor = self.cursor
        if cursor.reader is None:
            return cursor.part or "", None
        find = getattr(cursor.reader, "origin", None)  # a reader over other streams knows more
        return find() if find else (cursor.part or "", cast(PartReader, cursor.reader).spot())

    def describe(self, spot: Any) -> Origin:
        if isinstance(spot, Origin):
            return spot
        part, place = spot
        return Origin(part, describe_position(place() if place else None))

    def counts(self) -> Any:
        return ()

    def turn(self) -> int | None:
        if self.share is not None and self.cursor.reader is not None:
            return self.share.turns.find_next(self._find_seen(_reader_state(self.cursor.reader, 1)))
        find = getattr(self.cursor.reader, "turn", None)  # rows know theirs
        found: int | None = find() if find else None
        return found

    def gathers(self) -> bool:
        return False

    def explain(self) -> Origin:
        explain = getattr(self.cursor.reader, "explain", None)
        found: Origin = explain() if explain else self.origin()
        return found

    def _find_seen(self, state: State | None) -> int:
        """How many records of any rank were read up to a reader's state."""
        seen = self.share.seen if self.share is not None else 0
        return int((state or {}).get("seen", seen))

    def close(self) -> None:
        if self.cursor.reader is not None:
            self.cursor.reader.close()


class _PartCursor:
    """Which part is being read; shared by the stage and the generator that feeds it."""

    def __init__(self, state: State | None) -> None:
        self.part: str | None = state["part"] if state else None
        self.index: int = state["index"] if state else 0
        self.state: State | None = state["source"] if state else None
        self.reader: RecordIterator | None = None
        self.ended = False

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()


def open_parts(
    source: Source,
    parts: Sequence[str] | None,
    state: State | None,
    *,
    policy: Policy,
    passed: list[tuple[str, State]] | None = None,
) -> PartsStage:
    """The stage that reads `parts`, all that the source has for None; `policy` says what an error of it gets.

    Each part that was read to its end is added to `passed`, with the state of its reader there.

    Parts are asked for as they are come to. A state's part must be the first of those from it on; what a source lists
    in front of it is not looked at, unless the state stands in the first part.

    Raises:
        DataError: the source has no parts.
        StateError: the part that `state` stands in is not where it was.
    """
    cursor = _PartCursor(state)
    names = _iter_names(source, parts, cursor)
    ahead = list(islice(names, 1))
    if cursor.part is not None and ahead != [cursor.part]:
        raise StateError(
            f"the state stands in part `{cursor.part}`, number {cursor.index}, which is not there now",
            hint="put the source's files back as they were, or start without a state",
        )
    stage = cast(PartsStage, PartsStage.from_iterable(_iter_parts(source, chain(ahead, names), cursor, policy, passed)))
    stage.cursor = cursor
    stage.kept = {}
    stage.share = None
    return stage


def _iter_names(source: Source, parts: Sequence[str] | None, cursor: _PartCursor) -> Iterator[str]:
    """The names from the cursor's part on; an error among them is the source's, as those behind it are not known."""
    try:
        if parts is not None:
            yield from parts[cursor.index :]
        elif cursor.part is None:  # the one in front could not be opened
            yield from islice(source.parts(), cursor.index, None)
        else:
            yield from source.parts(cursor.part if cursor.index else None)
    except GeneratorExit:  # as the interpreter ends, there may be no name to look up any more
        raise
    except TidemillError as error:
        error.of = "run"
        raise


def _iter_parts(
    source: Source,
    names: Iterator[str],
    cursor: _PartCursor,
    policy: Policy,
    passed: list[tuple[str, State]] | None,
) -> Iterator[Iterator[Any]]:
    index = cursor.index - 1
    while True:
        name = ""
        try:
            name = next(names, "")
            if not name:
                break
            index += 1
            cursor.close()
            reader = source.open_part(name, cursor.state)
        except BaseException as error:  # noqa: BLE001 - raised by the chain
            if isinstance(error, DataError) and is_of_record(error):
                # nothing of the part can be read: it is told once, and the next one follows
                cursor.part, cursor.index, cursor.state, cursor.reader = None, index + 1, None, None
                error.step = error.step or SOURCE
                failed: Iterator[Any] = iter(()) if policy.takes(error) else raise_each((error,))
            else:
                failed = Broken(explain_failure(error, SOURCE, name))
        else:
            cursor.part, cursor.index, cursor.state = name, index, None
            cursor.reader = reader if isinstance(reader, PartReader) else _Remembering(reader)
            link = _Link(cursor.reader)
            while not link.ended:
                yield link.read(name, policy)
            if passed is not None:
                passed.append((name, _reader_state(cursor.reader, 0)))
            continue
        yield failed
    cursor.ended = True


class _Link:
    """A reader as a link of the chain, taken up again behind each error."""

    def __init__(self, reader: RecordIterator) -> None:
        self._reader = reader
        self.ended = False

    def read(self, part: str, policy: Policy) -> Iterator[Any]:
        while not self.ended:
            try:
                for record in self._reader:  # noqa: UP028 - `yield from` would close the reader in whatever thread drops it
                    yield record
                self.ended = True
            except GeneratorExit as error:
                if error.__traceback__ is None or error.__traceback__.tb_next is None:
                    raise
                raise_explained(error, SOURCE, part)
            except BaseException as error:  # noqa: BLE001 - raised again, unless it is passed over
                if not policy.takes(explain_failure(error, SOURCE, part)):
                    raise_explained(error, SOURCE, part)


class _Remembering:
    """A user's own `RecordIterator`, with its state one record back."""

    def __init__(self, reader: RecordIterator) -> None:
        self._reader = reader
        self._before = reader.state()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._before = self._reader.state()
        return next(self._reader)

    def state(self, back: int = 0) -> State:
        return self._before if back else self._reader.state()

    def spot(self) -> Callable[[], State]:
        before = self._before
        return lambda: before

    def close(self) -> None:
        self._reader.close()


def _reader_state(reader: RecordIterator, back: int) -> State:
    return cast(PartReader, reader).state(back)
