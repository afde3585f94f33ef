"""Every kind of bad input under every policy: told, passed over and counted, or kept whole; resumed at every position.

A case says what a file holds, which records are good, and what each failure says and keeps; all get the same checks.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from failing import Checks, Wrong, check_quarantine_resumes, check_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes, through_json
from small_files import COLUMNAR, MAKERS, MARKED, count_records, write_good, write_groups, write_packed

import tidemill as tm
from tidemill.data.formats.columnar.groups import unpack_row

SUFFIXES = (*MAKERS, *COLUMNAR)
PACKED = ("", ".gz", ".zst", ".bz2", ".xz")
CUT: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@dataclass(frozen=True)
class Case:
    """A file: what it holds, and what comes of that, in order."""

    suffix: str
    text: bytes
    found: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()


def line(text: bytes, message: str, *, raw: bytes | None = None, **options: Any) -> Case:
    """Two good lines of JSON with one between them that is not."""
    found = ({"n": 1}, Wrong(message, text if raw is None else raw), {"n": 2})
    return Case(".jsonl", b'{"n": 1}\n' + text + b'\n{"n": 2}\n', found, tuple(options.items()))


def row(text: bytes, message: str, *, raw: bytes | None = None, **options: Any) -> Case:
    """The same of CSV."""
    found = ({"n": "1", "s": "a"}, Wrong(message, text if raw is None else raw), {"n": "2", "s": "b"})
    return Case(".csv", b"n,s\n1,a\n" + text + b"\n2,b\n", found, tuple(options.items()))


def nested(depth: int) -> bytes:
    return b'{"n": ' + b"[" * depth + b"]" * depth + b"}"


TEXTS = {
    "jsonl corrupt": line(b"{corrupt", "not JSON at column 2: unexpected character, expected a string key"),
    "jsonl torn": line(b'{"n": 1', "not JSON at column 8: unexpected end of data"),
    "jsonl encoding": line(b'{"n": "\xff"}', "invalid UTF-8: invalid start byte at byte 7 of the line"),
    "jsonl utf-16": line('{"n":1}'.encode("utf-16"), "invalid UTF-8: invalid start byte at byte 0 of the line"),
    "jsonl nul": line(b'{"n": "\x00"}', "not JSON at column 8: unexpected control character in string"),
    "jsonl zeros": line(bytes(5_000), "not JSON at column 1: unexpected character, expected a JSON value"),
    "jsonl huge": line(
        b'{"n": "' + b"x" * 500 + b'"}',
        "expected at most 100 bytes in a line, got 5",
        raw=(b'{"n": "' + b"x" * 100)[:100],
        max_line_bytes=100,
    ),
    "jsonl deep": line(nested(5_000), "not JSON at column 1031: depth limit exceeded"),
    "jsonl surrogate": line(b'{"n": "\\ud800"}', "not JSON at column 8: no low surrogate in string"),
    "jsonl nan": line(b'{"n": NaN}', "not JSON at column 7: unexpected character, expected a JSON value"),
    "jsonl infinity": line(b'{"n": -Infinity}', "not JSON at column 8: no digit after sign"),
    "jsonl large float": line(b'{"n": 1e999}', "not JSON at column 7: number is infinity when parsed as double"),
    "jsonl list": line(b"[1, 2]", "expected a JSON object, got a list"),
    "jsonl null": line(b"null", "expected a JSON object, got null"),
    "jsonl two": line(b'{"n": 1}{"n": 2}', "not JSON at column 9: unexpected content after document"),
    "jsonl old Mac": line(b'{"n": 1}\r{"n": 2}', "not JSON at column 10: unexpected content after document"),
    "csv fields": row(b"3", "expected 2 fields as in the header, got 1"),
    "csv more fields": row(b"3,b,c", "expected 2 fields as in the header, got 3"),
    "csv encoding": row(b"3,\xff", "invalid UTF-8: invalid start byte at byte 2 of the row"),
    "csv cp1252": row("3,€".encode("cp1252"), "invalid UTF-8: invalid start byte at byte 2 of the row"),
    "csv quote": row(b'3,"x', "a quote is opened and not closed within 67,108,864 bytes or the end of the file"),
    "csv quoting": row(b'3,"x"y', "not CSV: ',' expected after '\"'"),
    "csv huge": row(
        b"3," + b"x" * 500, "expected at most 100 bytes in a line, got 5", raw=b"3," + b"x" * 98, max_line_bytes=100
    ),
    "csv header": Case(".csv", b"n,n\n1,2\n", (Wrong("expected a header with a name of its own", b"n,n"),)),
    "csv header encoding": Case(".csv", b"n,\xff\n1,2\n", (Wrong("invalid UTF-8: invalid start byte", b"n,\xff"),)),
    "tsv fields": Case(".tsv", b"n\ts\n1\n", (Wrong("expected 2 fields as in the header, got 1", b"1"),)),
    "text encoding": Case(
        ".txt", b"a\n\xff\nb\n", ({"text": "a"}, Wrong("invalid UTF-8: invalid start byte", b"\xff"), {"text": "b"})
    ),
    "text huge": Case(
        ".txt",
        b"a\n" + b"x" * 500 + b"\nb\n",
        ({"text": "a"}, Wrong("expected at most 100 bytes in a line, got 501", b"x" * 100), {"text": "b"}),
        (("max_line_bytes", 100),),
    ),
    "whole text encoding": Case(
        ".txt", b"a\n\xff\nb\n", (Wrong("invalid UTF-8", b"a\n\xff\nb\n"),), (("whole", True),)
    ),
    "empty jsonl": Case(".jsonl", b"", ()),
    "blank jsonl": Case(".jsonl", b"\n \n\r\n", ()),
    "empty csv": Case(".csv", b"", ()),
    "header alone": Case(".csv", b"n,s\n", ()),
    "empty text": Case(".txt", b"", ()),
    "large integers": Case(".jsonl", b'{"n": %d}\n{"n": %d}\n' % (2**63, -(2**70)), ({"n": 2**63}, {"n": -(2**70)})),
    "jsonl nul escaped": Case(".jsonl", b'{"n": "\\u0000"}\n', ({"n": "\0"},)),
    "csv nul": Case(".csv", b"n,s\n1,\x00\n", ({"n": "1", "s": "\0"},)),
}


def write_text(folder: Path, case: Case, packed: str) -> Path:
    return write_packed(folder / f"bad{case.suffix}{packed}", case.text)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", TEXTS)
def test_what_text_files_hold(tmp_path: Path, name: str, packed: str) -> None:
    """Of every format and codec, every fault costs itself."""
    case = TEXTS[name]
    path = write_text(tmp_path, case, packed)
    checks = Checks(path, tmp_path, case.found, dict(case.options))
    checks.check_all()
    assert len(outcomes(tm.read(path, **dict(case.options)).iterate())) == len(case.found)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("policy", ["raise", "skip", "catch"])
def test_one_corrupt_line_in_a_thousand(tmp_path: Path, packed: str, policy: str) -> None:
    """The other 999 are delivered, in every policy."""
    lines = [b'{"n": %d}\n' % number for number in range(1_000)]
    lines[500] = b"{corrupt\n"
    path = write_text(tmp_path, Case(".jsonl", b"".join(lines), ()), packed)
    stream = tm.read(path, on_error="skip" if policy == "skip" else "raise")
    if policy == "catch":
        stream = stream.catch(to=tmp_path / "kept" / "failures.txt")
    found = [outcome[1] for outcome in outcomes(stream.iterate()) if outcome[0] == "record"]
    assert found == [{"n": number} for number in range(1_000) if number != 500]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt"])
@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz"])
def test_a_packed_file_that_is_cut(tmp_path: Path, suffix: str, packed: str) -> None:
    """What stands in front of the cut is given, then one failure, in every policy."""
    text = b"".join(b'{"n": %d}\n' % number for number in range(60)) if suffix == ".jsonl" else b"n\n" * 60
    path = tmp_path / f"bad{suffix}{packed}"
    path.write_bytes(CUT[packed](text) + CUT[packed](text)[:-12])
    found = outcomes(tm.read(path).iterate())
    *good, last = found
    assert len(good) >= 59
    assert all(outcome[0] == "record" for outcome in good)
    assert "the file is cut" in last[1] or "stream is corrupt" in last[1]
    wrong = Wrong(last[1], last[2])
    Checks(path, tmp_path, (*(outcome[1] for outcome in good), wrong), {}).check_all()


def test_a_row_group_that_is_corrupt(tmp_path: Path) -> None:
    """It costs its ten rows, which it says; those around it are given."""
    path = write_groups(tmp_path / "bad.parquet", pa.table({"s": MARKED}))
    path.write_bytes(path.read_bytes().replace(b"value 15", b"value\xff15"))
    wrong = Wrong("row group 1 is corrupt, 10 of its 10 rows are lost: ")
    found = [{"s": text} for text in MARKED]
    Checks(path, tmp_path, (*found[:10], wrong, *found[20:]), {}).check_all()
    assert [each[0] for each in outcomes(tm.read(path).iterate())] == ["record"] * 10 + ["DataError"] + ["record"] * 10


@pytest.mark.parametrize("suffix", COLUMNAR)
def test_a_row_that_is_no_text(tmp_path: Path, suffix: str) -> None:
    """It alone fails, and is kept as an Arrow stream."""
    path = write_groups(tmp_path / f"bad{suffix}", pa.table({"n": range(30), "s": MARKED}))
    path.write_bytes(path.read_bytes().replace(b"value 15", b"value\xff15"))
    if suffix == ".parquet":  # its checksum would tell first
        table = pa.table({"n": range(30), "s": pa.array(MARKED)})
        broken = pa.Array.from_buffers(pa.string(), 30, break_text(table["s"].chunk(0)))
        pq.write_table(pa.table({"n": range(30), "s": broken}), path, row_group_size=10)
    found = [outcome[1:3] if outcome[0] == "DataError" else outcome[1] for outcome in outcomes(tm.read(path).iterate())]
    message, raw = found[15]
    assert message == "a value has no form in Python: invalid UTF-8: invalid start byte at byte 5 of a text"
    assert [each["n"] for each in found if isinstance(each, dict)] == [*range(15), *range(16, 30)]
    Checks(path, tmp_path, (*found[:15], Wrong(message, raw), *found[16:]), {}).check_all()
    with pytest.raises(tm.DataError, match="invalid UTF-8"):
        unpack_row(raw)


def break_text(array: Any) -> list[Any]:
    validity, offsets, data = array.buffers()
    return [validity, offsets, pa.py_buffer(data.to_pybytes().replace(b"value 15", b"value\xff15"))]


@pytest.mark.parametrize("suffix", COLUMNAR)
@pytest.mark.parametrize("kind", ["empty", "cut", "text", "zeros"])
def test_a_file_in_columns_that_is_none(tmp_path: Path, suffix: str, kind: str) -> None:
    """One failure names it; an Arrow stream that is cut gives what stands in front of that."""
    path = write_groups(tmp_path / f"bad{suffix}", pa.table({"s": MARKED}))
    whole = path.read_bytes()
    contents = {"empty": b"", "cut": whole[:-100], "text": b'{"n": 1}\n' * 10, "zeros": bytes(1_000)}
    path.write_bytes(contents[kind])
    found = [outcome[1] for outcome in outcomes(tm.read(path).iterate())]
    if (kind, suffix) == ("cut", ".arrows"):
        assert found[:-1] == [{"s": text} for text in MARKED[:20]]
        assert found[-1].startswith("record batch 2 is corrupt, its rows are lost: ")
    else:
        assert len(found) == 1
        assert found[0].startswith(("expected a Parquet file: ", "expected an Arrow file"))
    Checks(path, tmp_path, (*found[:-1], Wrong(found[-1])), {}).check_all()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".csv"])
def test_files_of_other_columns(tmp_path: Path, suffix: str) -> None:
    """The one that is unlike the others is one failure, which names both and is one rank's; the others are given."""
    for number in range(4):
        name = "other" if number == 1 else "n"
        tm.from_iterable([{name: str(number)}]).save(tmp_path / "x.jsonl")
        table = pa.table({name: [str(number)]})
        path = tmp_path / f"{number}{suffix}"
        if suffix == ".csv":
            path.write_text(f"{name}\n{number}\n" if name == "n" else f"n,{name}\n{number},{number}\n")
        else:
            write_groups(path, table if name == "n" else table.append_column("n", pa.array([1])))
    stream = tm.read(tmp_path / f"*{suffix}", on_error="skip")
    found = list(stream)
    assert [record["n"] for record in found if "other" not in record or record["other"] is None][:3]
    whole = check_resumes_everywhere(partial(tm.read(tmp_path / f"*{suffix}").iterate))
    check_shared(tm.read(tmp_path / f"*{suffix}"), whole)


def iter_kinds() -> Iterator[tuple[str, Callable[[Any], Any], str, str]]:
    yield "ValueError", lambda record: int(record["s"]), "DataError", "ValueError: invalid literal"
    yield "KeyError", lambda record: record["gone"], "DataError", "KeyError: 'gone'"
    yield "StopIteration", lambda record: next(iter([])), "WorkerError", "the function raised StopIteration"
    yield "BaseException", raise_own, "WorkerError", "the function raised Own: at an end, which is no Exception"
    yield "GeneratorExit", raise_exit, "WorkerError", "the function raised GeneratorExit, which is no Exception"
    yield "recursion", recurse, "DataError", "RecursionError: maximum recursion depth exceeded"


class Own(BaseException):
    """A user's own kind of exception."""


def raise_own(record: Any) -> Any:
    raise Own("at an end")


def raise_exit(record: Any) -> Any:
    raise GeneratorExit


def recurse(record: Any) -> Any:
    return recurse(record)


KINDS = {name: (function, error, message) for name, function, error, message in iter_kinds()}
RECORDS = [{"n": n, "s": f"text {n}"} for n in range(9)]
BAD = 4


def only_bad(function: Callable[[Any], Any], otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` of the one bad record, `otherwise` of any other."""
    return lambda record: function(record) if record["n"] == BAD else otherwise(record)


def give_late(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """As a generator that gives the record once and fails then."""

    def give(record: Any) -> Any:
        yield record
        if record["n"] == BAD:
            function(record)

    return give


def as_coroutine(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def call(record: Any) -> Any:
        return function(record)

    return call


same: Callable[[Any], Any] = lambda record: record  # noqa: E731 - one of several functions in a table

STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "map": lambda stream, fn: lambda **o: stream.map(only_bad(fn, same), **o),
    "filter": lambda stream, fn: lambda **o: stream.filter(only_bad(fn, same), **o),
    "flat_map": lambda stream, fn: lambda **o: stream.flat_map(only_bad(fn, lambda record: [record]), **o),
    "flat_map late": lambda stream, fn: lambda **o: stream.flat_map(give_late(fn), **o),
    "with_columns": lambda stream, fn: lambda **o: stream.with_columns(twice=only_bad(fn, same), **o),
    "observe": lambda stream, fn: lambda **o: stream.observe(only_bad(fn, same), **o),
    "threads": lambda stream, fn: lambda **o: stream.map(only_bad(fn, same), concurrency=3, **o),
    "async": lambda stream, fn: lambda **o: stream.map(as_coroutine(only_bad(fn, same)), concurrency=3, **o),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_what_functions_raise(tmp_path: Path, step: str, kind: str) -> None:
    """Typed with place, step and cause; passed over; or the record kept whole. Iteration goes on."""
    function, error, message = KINDS[kind]
    make = STEPS[step](tm.from_iterable(RECORDS), function)
    given = len(RECORDS) if step == "flat_map late" else len(RECORDS) - 1
    name = make().pipeline.step_names[0]
    # raised
    found = check_resumes_everywhere(partial(make().iterate))
    (wrong,) = (outcome for outcome in found if outcome[0] != "record")
    assert (wrong[0], wrong[1].startswith(message), len(found)) == (error, True, given + 1)
    iterator = make().iterate()
    with pytest.raises(tm.TidemillError, match=message.split(":")[0]) as caught:
        list(iterator)
    assert caught.value.where == f"iterable, item {BAD}, step `{name}`"
    assert caught.value.step == name
    if kind != "StopIteration":  # which the builtin map takes for an end, or a generator turns into another
        assert type(caught.value.__cause__).__name__ in (kind, "Own", "RecursionError")
    # skipped
    stream = make(on_error="skip")
    iterator = stream.iterate()
    assert len(list(iterator)) == given
    assert iterator.losses.skipped == {name: 1}
    check_resumes_everywhere(partial(stream.iterate))
    # kept, with and without a catch
    with pytest.raises(tm.TidemillError) as caught:
        list(make(on_error="quarantine"))
    assert caught.value.record == RECORDS[BAD]
    kept = tmp_path / "kept.jsonl"
    stream = make().catch(to=kept)
    iterator = stream.iterate()
    assert len(list(iterator)) == given
    assert iterator.losses.quarantined == {name: 1}
    (row,) = tm.replay(kept, errors=True)
    assert (row["step"], row["record"], row["where"]) == (name, RECORDS[BAD], f"iterable, item {BAD}, step `{name}`")
    assert list(tm.replay(kept)) == [RECORDS[BAD]]
    check_quarantine_resumes(stream, kept)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("policy", ["raise", "skip", "catch"])
def test_what_ends_the_program_passes_through(
    tmp_path: Path, policy: str, error: type[BaseException], step: str
) -> None:
    """Unchanged, under every policy, and the iterator can be asked again."""

    def interrupt(record: Any) -> Any:
        raise error

    make = STEPS[step](tm.from_iterable(RECORDS), interrupt)
    stream = make(on_error="skip") if policy == "skip" else make()
    if policy == "catch":
        stream = stream.catch(to=tmp_path / "kept.jsonl")
    iterator = stream.iterate()
    for _ in range(BAD + (step == "flat_map late")):
        next(iterator)
    with pytest.raises(error, match=r"^$"):
        next(iterator)
    assert len(list(iterator)) == len(RECORDS) - BAD - 1


OTHERS: list[Any] = [None, 7, "text", [1], b"raw"]

SHAPED: dict[str, Callable[..., tm.Stream[Any]]] = {
    "select": lambda stream, **o: stream.select("n", **o),
    "rename": lambda stream, **o: stream.rename({"n": "m"}, **o),
    "drop": lambda stream, **o: stream.drop("s", **o),
    "with_columns": lambda stream, **o: stream.with_columns(twice=lambda record: 2, **o),
    "tokenize": lambda stream, **o: stream.tokenize(lambda text: [len(text)], column="s", **o),
    "pack": lambda stream, **o: stream.pack(2, column="ids", **o),
    "batch": lambda stream, **o: stream.batch(tokens=4, length_of="ids", **o),
    "split": lambda stream, **o: stream.split("n", all=1.0)["all"],
}


@pytest.mark.parametrize("name", SHAPED)
def test_records_without_columns(tmp_path: Path, name: str) -> None:
    """A step that needs some says so, in its own words, of None too; they are kept whole."""
    shape = SHAPED[name]
    records = [{"n": 1, "s": "a", "ids": [1]}, *OTHERS, {"n": 2, "s": "b", "ids": [2]}]
    stream = shape(tm.from_iterable(records))
    found = check_resumes_everywhere(partial(stream.iterate))
    told = [outcome[1] for outcome in found if outcome[0] == "DataError"]
    assert len(told) == len(OTHERS)
    assert all(message.startswith("expected a ") for message in told)
    if name != "split":
        iterator = shape(tm.from_iterable(records), on_error="skip").iterate()
        assert len(list(iterator)) == len(found) - len(OTHERS)
        assert iterator.losses.skipped == {name: len(OTHERS)}
    kept = tmp_path / "kept.jsonl"
    caught = stream.catch(to=kept)
    iterator = caught.iterate()
    assert len(list(iterator)) == len(found) - len(OTHERS)
    assert list(tm.replay(kept)) == OTHERS
    check_quarantine_resumes(caught, kept)


@pytest.mark.parametrize("form", ["columns", "arrow", "numpy"])
def test_a_batch_that_does_not_go_together(tmp_path: Path, form: Any) -> None:
    """All its records are kept; the other batches are given. Passed over, it is counted."""
    records: list[Any] = [{"n": number} for number in range(9)]
    records[4] = None
    stream = tm.from_iterable(records)
    iterator = stream.batch(3, form=form, on_error="skip").iterate()
    assert (len(list(iterator)), iterator.losses.skipped) == (2, {"batch": 1})
    caught = stream.batch(3, form=form).catch(to=tmp_path / "kept.jsonl")
    assert len(list(caught)) == 2
    assert list(tm.replay(tmp_path / "kept.jsonl").unbatch()) == [{"n": 3}, None, {"n": 5}]
    check_quarantine_resumes(caught, tmp_path / "kept.jsonl")


def test_records_may_be_anything_where_no_step_minds() -> None:
    """None, NaN and what a function gives are records like others; no record is taken for an end."""
    values = [None, math.nan, 2**70, (), "", 0, False, b""]
    stream = tm.from_iterable(values).map(lambda record: record)
    assert list(map(repr, stream)) == list(map(repr, values))
    assert list(tm.from_iterable(values).map(lambda record: None)) == [None] * len(values)
    assert list(tm.from_iterable(values).filter(lambda record: None)) == []
    assert list(map(repr, tm.from_iterable(values).map(lambda record: record, concurrency=3))) == list(
        map(repr, values)
    )
    batches: Any = tm.from_iterable(values).batch(3)
    assert [repr(value) for batch in batches for value in batch] == list(map(repr, values))


def test_a_function_that_gives_no_children(tmp_path: Path) -> None:
    """`flat_map` wants an iterable; None is told, not taken for an empty one."""
    kept = tmp_path / "kept.jsonl"
    nothing: Any = lambda record: None  # noqa: E731 - which the types forbid
    with pytest.raises(tm.WorkerError, match="expected an iterable of records from the function, got None"):
        list(tm.from_iterable(RECORDS).flat_map(nothing))
    caught: tm.Stream[Any] = tm.from_iterable(RECORDS).flat_map(nothing).catch(to=kept)
    assert list(caught) == []
    assert list(tm.replay(kept)) == RECORDS


def fail_oddly(record: Any) -> Any:
    """At the top of a module, where processes find it."""
    if record["n"] == 1:
        raise Own("odd")
    if record["n"] == 3:
        os._exit(3)
    return record


def test_what_processes_raise_and_die_of(tmp_path: Path) -> None:
    """A record that workers die of is kept like one that a function raised for."""
    kept = tmp_path / "kept.jsonl"
    stream = tm.from_iterable(RECORDS[:5]).map(fail_oddly, on="processes").catch(to=kept)
    assert [record["n"] for record in stream] == [0, 2, 4]
    assert [(row["record"]["n"], row["step"]) for row in tm.replay(kept, errors=True)] == [(1, "map"), (3, "map")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_stands_where_a_file_should(tmp_path: Path, suffix: str) -> None:
    """A folder, a pipe, a link that leads nowhere or to itself: told, never waited for."""
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"gone{suffix}").symlink_to(tmp_path / "nothing")
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    for name, error, message in (
        ("folder", tm.DataError, "expected files of a known format in the folder, got none"),
        ("pipe", tm.DataError, "expected a file, got a pipe: it can be read just once"),
        ("gone", tm.ResourceError, "cannot be read: No such file or directory"),
        ("loop", tm.ResourceError, "cannot be read: Too many levels of symbolic links"),
        ("none", tm.DataError, f"no file matches `none{suffix}`"),
    ):
        with pytest.raises(error, match=message):
            list(tm.read(tmp_path / f"{name}{suffix}"))
    with pytest.raises(tm.ResourceError, match=rf"gone{suffix}: cannot be read: No such file or directory"):
        list(tm.read(tmp_path / f"*{suffix}", on_error="skip"))
    for name, message in (("pipe", f"got `.*pipe{suffix}`, a pipe"), ("gone", "where there is nothing")):
        with pytest.raises(tm.DataError, match=message):
            tm.dataset(tmp_path / f"{name}{suffix}")
    assert os.access(tmp_path / f"pipe{suffix}", os.F_OK)


FAILED_LISTINGS = {
    **{
        f"no match{suffix}": (
            [f"a{suffix}", f"none/*{suffix}", f"b{suffix}"],
            rf"no file matches `none/\*{suffix}`: there is no folder",
        )
        for suffix in SUFFIXES
    },
    "suffix": ("*", r"b\.doc: expected a file of a known format, got one of another suffix"),
    "two formats": (".", r"expected files of one format, got jsonl .* and text"),
    "not utf-8": ("*.jsonl", r"expected file names in UTF-8, got `b\\xff\.jsonl`"),
}
"""Patterns that fail behind their first file, and what is told."""


@pytest.mark.parametrize("name", FAILED_LISTINGS)
@pytest.mark.parametrize("policy", ["raise", "skip", "catch", "keep", "mix"])
def test_files_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, policy: str) -> None:
    """What is in front is read; then it is told, again and again, and never passed over with all the files behind."""
    patterns, message = FAILED_LISTINGS[name]
    kept = tmp_path / "kept.jsonl"
    monkeypatch.chdir(tmp_path / save_unlistable(tmp_path / "in", name))
    stream = tm.read(patterns, on_error="skip" if policy == "skip" else None)
    if policy == "mix":
        stream = tm.mix([stream])
    if policy != "raise":
        stream = stream.catch(to=kept if policy == "keep" else None)
    iterator = stream.iterate()
    for _ in range(count_records(find_first_suffix(name))):
        assert next(iterator) is not None
    for _ in range(2):
        with pytest.raises(tm.DataError, match=message) as caught:
            next(iterator)
        assert "/a." not in f"/{caught.value.where}"  # which has no part in it
    again = stream.iterate(state=through_json(iterator.state()))
    with pytest.raises(tm.DataError, match=message):
        next(again)
    assert not iterator.losses.skipped
    assert not iterator.losses.quarantined
    assert not kept.exists() or not kept.stat().st_size
    iterator.close()
    again.close()


def find_first_suffix(name: str) -> str:
    """Of the files that a listing fails behind."""
    return name.removeprefix("no match") if name.startswith("no match") else ".jsonl"


def save_unlistable(folder: Path, name: str) -> Path:
    """A folder with a first file, and others."""
    folder.mkdir()
    first = find_first_suffix(name)
    second = {"suffix": ".doc", "two formats": ".txt"}.get(name, first)
    write_good(folder / f"a{first}", first)
    write_good(folder / f"b{second}", second if second in SUFFIXES else first)
    if name == "not utf-8":
        (folder / f"b{second}").rename(os.fsdecode(os.fsencode(folder) + b"/b\xff.jsonl"))
    return folder


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_deleted_while_it_is_read(tmp_path: Path, suffix: str) -> None:
    """What is open is read to its end; another that is gone is told, again and again, and not passed over."""
    for name in ("a", "b", "c"):
        write_good(tmp_path / f"{name}{suffix}", suffix)
    iterator = tm.read(tmp_path / f"*{suffix}", on_error="skip").iterate()
    next(iterator)
    (tmp_path / f"a{suffix}").unlink()
    (tmp_path / f"b{suffix}").unlink()
    for _ in range(count_records(suffix) - 1):
        next(iterator)
    for _ in range(2):
        with pytest.raises(tm.ResourceError, match=r"b.* cannot be read: No such file or directory"):
            next(iterator)
    iterator.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, suffix: str, packed: str) -> None:
    """Its end is not taken for that of the data."""
    header = b"n,s\n" if suffix == ".csv" else b""
    lines = {".jsonl": b'{"n": %d}\n', ".csv": b"%d,a\n", ".txt": b"%d\n"}[suffix]
    text = header + b"".join(lines % (number * 7919) for number in range(60_000))
    path = write_text(tmp_path, Case(suffix, text, ()), packed)
    iterator = tm.read(path, on_error="skip").iterate()
    next(iterator)
    os.truncate(path, path.stat().st_size - 10_000)
    with pytest.raises(tm.ResourceError, match="the file was cut while it was read: it had"):
        list(iterator)
    with pytest.raises(tm.ResourceError, match="the file was cut while it was read"):
        next(iterator)
    iterator.close()


@pytest.mark.parametrize("name", ["plain.jsonl.gz", "gzip.jsonl.zst", "gzip.jsonl"])
def test_a_file_packed_otherwise_than_its_name_says(tmp_path: Path, name: str) -> None:
    """Told with what it is, and read when `compression` says so."""
    text = b'{"n": 1}\n{"n": 2}\n'
    (tmp_path / name).write_bytes(text if name.startswith("plain") else gzip.compress(text))
    with pytest.raises(
        tm.DataError, match=r"another.*compression=|one of gzip.*compression=|compression=.gzip. unpacks"
    ):
        list(tm.read(tmp_path / name))
    compression: Literal["none", "gzip"] = "none" if name.startswith("plain") else "gzip"
    assert list(tm.read(tmp_path / name, compression=compression)) == [{"n": 1}, {"n": 2}]
    check_resumes_everywhere(partial(tm.read(tmp_path / name).iterate))


PACKED_TEXTS = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.bz2", "a.txt.xz"]
FUZZED = [*PACKED_TEXTS, "a.tar.gz", *(f"a{each}" for each in SUFFIXES if each not in (".jsonl", ".csv", ".txt"))]


def make_whole(path: Path) -> bytes:
    """A good file of at most 60 records."""
    if path.suffix in COLUMNAR:
        table = pa.table(
            {"n": range(60), "s": [f"value {n}" for n in range(60)], "l": [[n] * (n % 3) for n in range(60)]}
        )
        return write_groups(path, table).read_bytes()
    if path.name not in PACKED_TEXTS:
        return write_packed(path, MAKERS[path.name.removeprefix("a").removesuffix(".gz")]()).read_bytes()
    row = {"l": b'{"n": %d}\n', "v": b'%d,"a, b"\n', "t": b"%d\n"}[path.name.removeprefix("a.").partition(".")[0][-1]]
    text = (b"n,s\n" if ".csv" in path.name else b"") + b"".join(row % number for number in range(60))
    return write_packed(path, text).read_bytes()


@settings(max_examples=15)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    kept=st.floats(0.5, 1),
    position=st.integers(0, 60),
)
@pytest.mark.parametrize("name", FUZZED)
def test_any_byte_may_be_another(
    tmp_path: Path, name: str, changes: list[tuple[float, int]], kept: float, position: int
) -> None:
    """Whatever a file holds: typed errors, an end, the same again from the state at any position, and nothing else."""
    path = tmp_path / name
    data = bytearray(make_whole(path))
    for place, value in changes:
        data[int(place * len(data))] = value
    path.write_bytes(data[: int(kept * len(data)) + 1])
    stream = tm.read(path)
    whole = list(map(repr, outcomes(stream.iterate())))
    assert len(whole) <= 200
    walking = stream.iterate()
    outcomes(walking, position)
    state = through_json(walking.state())
    walking.close()
    assert list(map(repr, outcomes(stream.iterate(state)))) == whole[position:]
