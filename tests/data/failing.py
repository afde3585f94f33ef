"""What holds of any file that is not what it should be, whatever its format: each policy, each position, each rank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from resuming import check_resumes_everywhere, next_outcome, outcomes, through_json

import tidemill as tm

WORLD = 3


@dataclass(frozen=True)
class Wrong:
    """What a failure says, and the bytes it carries."""

    message: str
    raw: bytes | None = None


class Checks:
    """What holds of any bad input: `path` read, and what is expected of it."""

    def __init__(self, path: Path, folder: Path, found: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.path = path
        self.kept = folder / "kept" / "failures.txt"
        self.found = found
        self.options = options
        self.good = [each for each in found if not isinstance(each, Wrong)]
        self.wrong = [each for each in found if isinstance(each, Wrong)]

    def check_all(self) -> None:
        self.check_raised()
        self.check_skipped()
        self.check_kept()
        check_shared(tm.read(self.path, **self.options), outcomes(tm.read(self.path, **self.options).iterate()))

    def check_raised(self) -> None:
        """Typed, with file, place and step; iteration goes on behind it."""
        iterator = tm.read(self.path, **self.options).iterate()
        for expected in self.found:
            if not isinstance(expected, Wrong):
                assert next(iterator) == expected
                continue
            with pytest.raises(tm.DataError) as caught:
                next(iterator)
            assert caught.value.message.startswith(expected.message)
            assert (caught.value.raw, caught.value.step) == (expected.raw, "source")
            assert caught.value.where.startswith(str(self.path))
            assert "byte " in caught.value.where or caught.value.offset is None
        assert next_outcome(iterator) is None
        check_resumes_everywhere(partial(tm.read(self.path, **self.options).iterate))

    def check_skipped(self) -> None:
        """Passed over, counted under its step."""
        stream = tm.read(self.path, on_error="skip", **self.options)
        iterator = stream.iterate()
        assert list(iterator) == self.good
        assert iterator.losses.skipped == ({"source": len(self.wrong)} if self.wrong else {})
        check_resumes_everywhere(partial(stream.iterate))

    def check_kept(self) -> None:
        """In quarantine with bytes, file, place, step and cause; a replay tells it again."""
        stream = tm.read(self.path, **self.options).catch(to=self.kept)
        iterator = stream.iterate()
        assert list(iterator) == self.good
        assert iterator.losses.quarantined == ({"source": len(self.wrong)} if self.wrong else {})
        rows = list(tm.replay(self.kept, errors=True))
        assert [row["raw"] for row in rows] == [each.raw for each in self.wrong]
        assert all(row["step"] == "source" and row["where"].startswith(str(self.path)) for row in rows)
        again = [outcome[1:3] for outcome in outcomes(tm.replay(self.kept).iterate())]
        assert [raw for _, raw in again] == [each.raw for each in self.wrong]
        for (message, _), expected in zip(again, self.wrong, strict=True):
            assert message.startswith(expected.message)
        check_quarantine_resumes(stream, self.kept)


def check_shared(stream: tm.Stream[Any], whole: list[Any]) -> None:
    """Records and failures alike: each is one rank's."""
    shared = check_resumes_everywhere(stream.shard(0, WORLD).iterate)
    for rank in range(1, WORLD):
        shared += outcomes(stream.shard(rank, WORLD).iterate())
    assert sorted(map(repr, shared)) == sorted(map(repr, whole))


def check_quarantine_resumes(stream: tm.Stream[Any], kept: Path) -> None:
    """From the state at every position the file ends up holding the same, each failure once."""
    states = []
    iterator = stream.iterate()
    while True:
        states.append(through_json(iterator.state()))
        if next_outcome(iterator) is None:
            break
    whole = kept.read_bytes() if kept.exists() else b""
    for state in states:
        outcomes(stream.iterate(state))
        assert kept.read_bytes() == whole
