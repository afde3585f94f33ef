from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.files import measure_file
from tidemill.data.formats.columnar.arrow import ARROW, ARROWS, Arrow
from tidemill.data.formats.format import Options
from tidemill.errors import DataError, ResourceError, StateError

FEW = settings(max_examples=25)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
records = st.fixed_dictionaries(
    {
        "n": st.integers(-(2**63), 2**63 - 1) | st.none(),
        "text": texts | st.none(),
        "raw": st.binary(max_size=5),
        "meta": st.none() | st.fixed_dictionaries({"tags": st.lists(texts, max_size=3)}),
    }
)
forms = pytest.mark.parametrize("form", [ARROW, ARROWS], ids=lambda form: form.name)


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"row {n}", "label": "odd" if n % 2 else "even"} for n in range(count)]


def save(
    path: Path, rows: list[dict[str, Any]], form: Arrow, *, batch: int = 10, coded: bool = False, **options: Any
) -> Path:
    table = pa.Table.from_pylist(rows)
    if coded:
        table = table.set_column(2, "label", table["label"].dictionary_encode())
    make: Any = pa.ipc.new_file if form is ARROW else pa.ipc.new_stream
    with make(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


def read(path: Path, form: Arrow = ARROW, **options: Any) -> list[Any]:
    return check_resumes_everywhere(lambda state: form.open(path, state, Options(**options)))


@forms
@FEW
@given(rows=st.lists(records, max_size=20))
def test_what_is_written_is_read_back(tmp_path: Path, form: Arrow, rows: list[dict[str, Any]]) -> None:
    """Numbers, text, bytes, None, lists and structs come back as they were."""
    path = tmp_path / "a"
    with path.open("wb") as file:
        assert form.save(iter(rows), file) == len(rows)
    assert [outcome[1] for outcome in read(path)] == rows


@forms
@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"emit_dictionary_deltas": True}])
@pytest.mark.parametrize("coded", [False, True])
def test_every_position_of_several_batches_resumes(
    tmp_path: Path, form: Arrow, options: dict[str, Any], coded: bool
) -> None:
    """Compressed or not, with dictionaries or without, whatever the name of the file says."""
    path = save(tmp_path / "a.arrow", rows_of(35), form, coded=coded, **options)
    assert [outcome[1] for outcome in read(path)] == rows_of(35)


@forms
def test_a_resume_within_a_long_batch_gives_the_tail(tmp_path: Path, form: Arrow) -> None:
    """Batches longer than what is taken at a time are gone on with in their middle."""
    path = save(tmp_path / "a", rows_of(5_000), form, batch=3_000)
    for stop in (0, 1, 255, 256, 257, 2_999, 3_000, 3_001, 5_000):
        reader = form.open(path)
        outcomes(reader, stop)
        again = form.open(path, reader.state())
        reader.close()
        assert [row["n"] for row in again] == list(range(stop, 5_000))
        again.close()


@forms
def test_a_corrupt_batch_costs_itself(tmp_path: Path, form: Arrow) -> None:
    """Values that stand outside of the batch are told, not followed; the batches around it are read."""
    path = save(tmp_path / "a", rows_of(30), form)
    raw = path.read_bytes()
    at = raw.index(b"row 12row 13") - len(b"row 10row 11") - 48  # where the offsets of the texts stand
    path.write_bytes(raw[:at] + b"\x7f" * 48 + raw[at + 48 :])
    found = read(path)
    (error,) = (outcome for outcome in found if outcome[0] != "record")
    assert error[1].startswith("record batch 1 is corrupt, 10 of its 10 rows are lost: ")
    assert [outcome[1]["n"] for outcome in found if outcome[0] == "record"] == [*range(10), *range(20, 30)]
    data = form.open_rows(path)
    assert data.read_row(25) == rows_of(30)[25]
    with pytest.raises(DataError, match="record batch 1 is corrupt"):
        data.read_row(11)


@forms
@FEW
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), min_size=1, max_size=3))
def test_any_turned_bytes_are_taken_or_told(tmp_path: Path, form: Arrow, flips: list[tuple[int, int]]) -> None:
    """Wherever a file is corrupt, reading raises data errors only, comes to an end, and resumes everywhere."""
    path = save(tmp_path / "a", rows_of(12), form, batch=5)
    raw = bytearray(path.read_bytes())
    for place, flip in flips:
        raw[place % len(raw)] ^= flip
    path.write_bytes(raw)
    assert {outcome[0] for outcome in read(path, form)} <= {"record", "DataError"}


@forms
def test_text_that_is_no_utf8_is_told(tmp_path: Path, form: Arrow) -> None:
    """It costs its row; where it stands inside of a struct, its batch."""
    path = save(tmp_path / "a", rows_of(30), form)
    path.write_bytes(path.read_bytes().replace(b"row 10row 11", b"row \xff\xffrow 11"))
    found = read(path)
    (error,) = (outcome for outcome in found if outcome[0] != "record")
    assert error[1] == "a value has no form in Python: invalid UTF-8: invalid start byte at byte 4 of a text"
    assert [outcome[1]["n"] for outcome in found if outcome[0] == "record"] == [*range(10), *range(11, 30)]
    path = save(tmp_path / "b", [{"n": n, "inner": {"text": f"row {n}"}, "label": ""} for n in range(30)], form)
    path.write_bytes(path.read_bytes().replace(b"row 10row 11", b"row \xff\xffrow 11"))
    found = read(path)
    (error,) = (outcome for outcome in found if outcome[0] != "record")
    assert "Invalid UTF8" in error[1]
    assert len(found) == 21


@pytest.mark.parametrize("keep", [0, 3, 60, -1])
def test_a_file_without_its_footer_is_one_error(tmp_path: Path, keep: int) -> None:
    """Empty, or cut anywhere: told once, at every position the same."""
    path = save(tmp_path / "a.arrow", rows_of(40), ARROW)
    path.write_bytes(path.read_bytes()[:keep])
    ((kind, message, *_),) = read(path)
    assert kind == "DataError"
    assert message.startswith("expected an Arrow file")
    with pytest.raises(DataError, match=r"a\.arrow: expected an Arrow file"):
        ARROW.read_schema(path)


@pytest.mark.parametrize("coded", [False, True])
def test_a_cut_stream_gives_the_batches_in_front(tmp_path: Path, coded: bool) -> None:
    """Then one error; once more of it is there, it is gone on with at the batch it was cut in."""
    path = save(tmp_path / "a.arrows", rows_of(30), ARROWS, coded=coded)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"row 20row 21") + 4])
    *good, last = read(path, ARROWS)
    assert [outcome[1]["n"] for outcome in good] == list(range(20))
    assert last[1].startswith("record batch 2 is corrupt, its rows are lost: Expected to be able to read")
    reader = ARROWS.open(path)
    outcomes(reader)
    state = reader.state()
    path.write_bytes(whole)
    assert ARROWS.compare(path, state) == "grown"
    assert [row["n"] for row in ARROWS.open(path, state)] == list(range(20, 30))


def test_a_stream_that_is_still_written_is_gone_on_with(tmp_path: Path) -> None:
    """A stream needs no end; batches appended later are read from the state on."""
    path = save(tmp_path / "a.arrows", rows_of(30), ARROWS)
    whole = path.read_bytes()
    reader = ARROWS.open(path)
    outcomes(reader, 20)
    end = reader.state()["offset"]
    reader.close()
    path.write_bytes(whole[:end])
    reader = ARROWS.open(path)
    assert len(outcomes(reader)) == 20
    path.write_bytes(whole)
    assert ARROWS.compare(path, reader.state()) == "grown"
    assert len(outcomes(ARROWS.open(path, reader.state()))) == 10


@forms
def test_columns_are_chosen(tmp_path: Path, form: Arrow) -> None:
    """Only these are read, and one that is not there is the file's error."""
    path = save(tmp_path / "a", rows_of(3), form)
    assert [outcome[1] for outcome in read(path, columns=("text", "n"))] == [
        {"n": n, "text": f"row {n}"} for n in range(3)
    ]
    assert form.read_schema(path, Options(columns=("text",))).names == ["text"]
    ((_, message, *_),) = read(path, columns=("other",))
    assert message == "expected a column `other`, got `n`, `text`, `label`"


@forms
def test_another_file_is_told(tmp_path: Path, form: Arrow) -> None:
    """Touched it is the same; with other rows it is edited, and no state of it is taken."""
    path = save(tmp_path / "a", rows_of(30), form)
    reader = form.open(path)
    outcomes(reader, 15)
    state = reader.state()
    reader.close()
    os.utime(path, ns=(0, 0))
    assert form.compare(path, state) == "same"
    assert len(outcomes(form.open(path, state))) == 15
    save(path, rows_of(31)[1:], form, batch=7)
    assert form.compare(path, state) == "edited"
    with pytest.raises(StateError, match="the file is another than the one the state was taken of"):
        form.open(path, state)
    path.unlink()
    with pytest.raises(ResourceError, match="cannot be read: No such file"):
        form.open(path)


@forms
def test_how_far_it_is_read_is_told_in_bytes(tmp_path: Path, form: Arrow) -> None:
    """From nothing to about its size."""
    path = save(tmp_path / "a", rows_of(30), form)
    reader = form.open(path)
    size = path.stat().st_size
    assert measure_file(path, None) == (0, size)
    outcomes(reader, 20)
    read_bytes, of = measure_file(path, reader.state()) or (0, 0)
    assert (0 < read_bytes < size, of) == (True, size)
    reader.close()
    path.unlink()
    assert measure_file(path, None) is None


@forms
@pytest.mark.parametrize("coded", [False, True])
@FEW
@given(indices=st.lists(st.integers(0, 69), max_size=12), start=st.integers(0, 70), stop=st.integers(0, 70))
def test_rows_are_found_by_number(
    tmp_path: Path, form: Arrow, coded: bool, indices: list[int], start: int, stop: int
) -> None:
    """One, several in any order and more than once, and a range."""
    rows = rows_of(70)
    data = form.open_rows(save(tmp_path / "a", rows, form, batch=9, coded=coded))
    assert (data.count_rows(), data.columns()) == (70, ("n", "text", "label"))
    assert data.read_rows(indices) == [rows[index] for index in indices]
    assert list(data.iter_rows(start, stop)) == rows[start:stop]
    assert list(pickle.loads(pickle.dumps(data)).iter_rows(start, stop)) == rows[start:stop]
    data.release()
    assert [data.read_row(index) for index in indices] == [rows[index] for index in indices]


@forms
def test_threads_share_rows(tmp_path: Path, form: Arrow) -> None:
    """Each finds its own, whatever batch the others read."""
    rows = rows_of(400)
    data = form.open_rows(save(tmp_path / "a", rows, form, batch=7))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(data.read_row, range(399, -1, -1))) == rows[::-1]


@forms
def test_what_has_no_form_in_arrow_is_told(form: Arrow) -> None:
    """As in Parquet; a row has no bytes of its own."""
    with pytest.raises(DataError, match="record 1 has a value in the column `n` that fits no Arrow type"):
        form.save([{"n": 1}, {"n": 2**64}], BytesIO())
    with pytest.raises(DataError, match="no bytes were kept of it"):
        form.decode(b"")
