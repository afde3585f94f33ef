"""The stage at the start of every chain: a source's parts, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from tidemill.data.failures import explain_failure, raise_explained
from tidemill.data.origin import Origin, describe_position
from tidemill.data.policy import SOURCE, Policy
from tidemill.data.reader import PartReader, raise_each
from tidemill.data.stages.stage import Stage
from tidemill.errors import DataError, StateError
from tidemill.protocols import RecordIterator, Source, State


class PartsStage(Stage):
    """The records of a source's parts, one part after the other."""

    cursor: _PartCursor

    def ended(self) -> bool:
        return self.cursor.ended

    def marks(self, back: int) -> State:
        cursor = self.cursor
        state = cursor.state if cursor.reader is None else _reader_state(cursor.reader, back)
        return {"part": cursor.part, "index": cursor.index, "source": state, "steps": {}}

    def origin(self) -> Origin:
        return self._find_origin("origin")

    def explain(self) -> Origin:
        return self._find_origin("explain")

    def close(self) -> None:
        if self.cursor.reader is not None:
            self.cursor.reader.close()

    def _find_origin(self, how: str) -> Origin:
        cursor = self.cursor
        part = cursor.part or ""
        if cursor.reader is None:
            return Origin(part)
        find = getattr(cursor.reader, how, None)  # a reader over other streams knows more
        found: Origin = find() if find else Origin(part, describe_position(_reader_state(cursor.reader, 1)))
        return found


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


def open_parts(source: Source, names: tuple[str, ...], state: State | None, *, policy: Policy) -> Stage:
    """The stage that reads the parts `names`; `policy` says what an error of the source gets.

    Raises:
        StateError: the part that `state` stands in is not where it was.
    """
    cursor = _PartCursor(state)
    if cursor.part is not None and names[cursor.index : cursor.index + 1] != (cursor.part,):
        raise StateError(
            f"the state stands in part `{cursor.part}`, number {cursor.index}, which is not there now",
            hint="put the source's files back as they were, or start without a state",
        )
    stage = cast(PartsStage, PartsStage.from_iterable(_iter_parts(source, names, cursor, policy)))
    stage.cursor = cursor
    return stage


def _iter_parts(source: Source, names: tuple[str, ...], cursor: _PartCursor, policy: Policy) -> Iterator[Iterator[Any]]:
    for index in range(cursor.index, len(names)):
        cursor.close()
        try:
            reader = source.open_part(names[index], cursor.state)
        except DataError as error:  # nothing of the part can be read: it is told once, and the next one follows
            cursor.part, cursor.index, cursor.state, cursor.reader = None, index + 1, None, None
            error.step = error.step or SOURCE
            if not policy.takes(error):
                yield raise_each((error,))
            continue
        except BaseException as error:  # noqa: BLE001 - raised by the chain, each time it is asked
            yield _Broken(explain_failure(error, SOURCE, names[index]))
            return
        cursor.part, cursor.index, cursor.state = names[index], index, None
        cursor.reader = reader if isinstance(reader, PartReader) else _Remembering(reader)
        link = _Link(cursor.reader)
        while not link.ended:
            yield link.read(names[index], policy)
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
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - raised again, unless it is passed over
                if not policy.takes(explain_failure(error, SOURCE, part)):
                    raise_explained(error, SOURCE, part)


class _Broken:
    """Raises the same error for ever: nothing behind a part that cannot be opened may be read as if it were next."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error


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

    def close(self) -> None:
        self._reader.close()


def _reader_state(reader: RecordIterator, back: int) -> State:
    return cast(PartReader, reader).state(back)
