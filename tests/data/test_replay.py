"""`tidemill.replay`: what stands in quarantine, given again as it came to the step that failed."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from resuming import check_resumes_everywhere, outcomes

import tidemill as tm


def number(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"number {n}"} for n in range(count)]


def fail_on_thirds(record: Any) -> Any:
    if record["n"] % 3 == 0:
        raise ValueError(f"{record['n']} is a third")
    return {**record, "done": True}


def write_lines(path: Path, count: int = 10) -> Path:
    """JSON Lines with two that are corrupt."""
    tm.from_iterable(number(count)).save(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{corrupt\n", *lines[2:], b'{"text": "\xff"}\n']))
    return path


def test_failed_records_are_a_stream_again(tmp_path: Path) -> None:
    """Each as it came to the step that failed; the mended steps take them up."""
    kept = tmp_path / "kept.jsonl"
    stream = tm.from_iterable(number(10)).with_columns(twice=lambda record: record["n"] * 2)
    assert len(list(stream.map(fail_on_thirds).catch(to=kept))) == 6
    assert list(tm.replay(kept)) == [{**record, "twice": record["n"] * 2} for record in number(10)[::3]]
    assert list(tm.replay(kept).map(lambda record: record["n"])) == [0, 3, 6, 9]


def test_bytes_that_are_no_record_are_told_again(tmp_path: Path) -> None:
    """With where they stood, what was wrong with them, and themselves."""
    source, kept = write_lines(tmp_path / "a.jsonl"), tmp_path / "kept.jsonl"
    first = outcomes(tm.read(source).iterate())
    assert len(list(tm.read(source).map(fail_on_thirds).catch(to=kept))) == 6
    iterator = tm.replay(kept).iterate()
    records, errors = [], []
    while True:
        try:
            records.append(next(iterator))
        except StopIteration:
            break
        except tm.DataError as error:
            errors.append(error)
    assert [record["n"] for record in records] == [0, 3, 6, 9]
    told = [(error.message, error.raw) for error in errors]
    assert told == [(message, raw) for kind, message, raw, _ in (each for each in first if each[0] == "DataError")]
    assert [error.where for error in errors] == [f"{source}, byte 52", f"{source}, byte 269"]


def test_a_replay_may_pass_over_what_it_cannot_give(tmp_path: Path) -> None:
    """`on_error="skip"` counts it; a `catch` of its own keeps it once more."""
    source, kept, again = write_lines(tmp_path / "a.jsonl"), tmp_path / "kept.jsonl", tmp_path / "again.jsonl"
    assert len(list(tm.read(source).map(fail_on_thirds).catch(to=kept))) == 6
    iterator = tm.replay(kept, on_error="skip").iterate()
    assert len(list(iterator)) == 4
    assert iterator.losses.skipped == {"source": 2}
    assert len(list(tm.replay(kept).catch(to=again))) == 4
    before, after = (list(tm.replay(path, errors=True)) for path in (kept, again))
    assert after == [row for row in before if row["raw"]]


def test_rows_whole(tmp_path: Path) -> None:
    """`errors=True` gives each with what it failed with."""
    source, kept = write_lines(tmp_path / "a.jsonl", 2), tmp_path / "kept.jsonl"
    assert len(list(tm.read(source).map(fail_on_thirds).catch(to=kept))) == 1
    wrong, *rows = tm.replay(kept, errors=True)
    assert wrong == {
        "step": "map",
        "where": "a.jsonl, byte 0, step `map`",
        "type": "ValueError",
        "message": "0 is a third",
        "record": {"n": 0, "text": "number 0"},
        "raw": None,
        "is_whole": True,
    }
    assert [(row["step"], row["type"], row["record"], row["raw"], row["is_whole"]) for row in rows] == [
        ("source", "DataError", None, b"{corrupt", True),
        ("source", "DataError", None, b'{"text": "\xff"}', True),
    ]


EXACT: list[Any] = [
    *(math.nan, -math.inf, 2**70, "\ud800", b"\xff", bytearray(b"a"), (1, (2,)), {1, 2}, frozenset({None}), 1j),
    *({1: "one"}, {"$float": "nan"}, {"$bytes": 1, "more": 2}, {"\ud800": 1}, Decimal("1.10"), UUID(int=5)),
    *(date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
    *(time(1, 2, 3, 4), timedelta(days=-1, microseconds=7), [], {}, None, True, 0.1, -0.0, "", "é"),
]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_a_record_comes_back_as_it_was(tmp_path: Path, value: Any) -> None:
    """Also with values that JSON lacks, or makes others of."""
    kept = tmp_path / "kept.jsonl"
    assert list(tm.from_iterable([{"n": 0, "value": [value]}]).map(fail_on_thirds).catch(to=kept)) == []
    (record,) = tm.replay(kept)
    assert repr(record) == repr({"n": 0, "value": [value]})


class Point(NamedTuple):
    x: int


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("value", "shown"), [(Point(1), "[Point(x=1)]"), (object, "[<class 'object'>]")])
def test_a_record_with_other_objects_is_told(tmp_path: Path, value: Any, shown: str) -> None:
    """It never comes back as something else."""
    kept = tmp_path / "kept.jsonl"
    assert list(tm.from_iterable([{"n": 0, "value": [value]}]).map(fail_on_thirds).catch(to=kept)) == []
    with pytest.raises(tm.DataError, match="as the quarantine does not keep its values; it failed at `map`"):
        list(tm.replay(kept))
    (row,) = tm.replay(kept, errors=True)
    assert (row["record"], row["is_whole"]) == (f"{{'n': 0, 'value': {shown}}}", False)


@pytest.mark.parametrize("value", [Unshowable(), nested(5_000)], ids=["unshowable", "deep"])
def test_a_record_that_cannot_even_be_shown_is_told(tmp_path: Path, value: Any) -> None:
    """By its type, and why."""
    kept = tmp_path / "kept.jsonl"
    assert list(tm.from_iterable([{"n": 0, "value": value}]).map(fail_on_thirds).catch(to=kept)) == []
    (row,) = tm.replay(kept, errors=True)
    assert row["record"].startswith("a dict that cannot be shown: ")


@pytest.mark.parametrize("errors", [False, True])
def test_it_resumes_everywhere(tmp_path: Path, errors: bool) -> None:
    """At every position, raised ones among them."""
    source, kept = write_lines(tmp_path / "a.jsonl"), tmp_path / "kept.jsonl"
    stream = tm.read(source).map(fail_on_thirds)
    assert len(list(stream.catch(to=kept))) == 6
    with open(kept, "ab") as file:
        file.write(b'{"no": "row"}\n[1]\n{torn')
    found = check_resumes_everywhere(partial(tm.replay(kept, errors=errors).iterate))
    assert len(found) == 9


def test_it_is_read_when_it_is_iterated(tmp_path: Path) -> None:
    """A path where there is nothing is told then; an empty file is an empty stream."""
    stream = tm.replay(tmp_path / "kept.jsonl")
    with pytest.raises(tm.DataError, match="expected a quarantine file or a run, got a path where there is nothing"):
        list(stream)
    assert list(tm.from_iterable(number(0)).catch(to=tmp_path / "kept.jsonl")) == []
    assert list(stream) == []
    assert repr(stream) == f"<Stream: replay({str(tmp_path / 'kept.jsonl')!r})>"
    with pytest.raises(tm.StateError, match="expected a run"):
        list(tm.replay(tmp_path))


def test_a_quarantine_is_not_written_over_while_it_is_read(tmp_path: Path) -> None:
    """Nor into a file that the source's pattern matches: the next time it would be read as records."""
    source, kept = write_lines(tmp_path / "a.jsonl"), tmp_path / "kept.jsonl"
    list(tm.read(source).catch(to=kept))
    before = kept.read_bytes()
    for stream in (tm.replay(kept), tm.read(tmp_path / "*.jsonl")):
        with pytest.raises(tm.ConfigError, match="the source reads the file that failures are put in"):
            list(stream.catch(to=kept))
    assert kept.read_bytes() == before
