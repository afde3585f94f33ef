from __future__ import annotations

import datetime
import multiprocessing
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from missing import error_without
from torch.utils.data import DataLoader

import tidemill as tm
from tidemill.adapters.torch import to_torch
from tidemill.errors import DataError


def test_each_kind_of_column_becomes_what_a_model_takes() -> None:
    """Numbers are tensors in torch's own dtypes, strings stay, dicts are dicts of columns."""
    records = [
        {
            "id": n,
            "score": n / 2,
            "mixed": n or 0.5,
            "is_good": n > 0,
            "text": f"row {n}",
            "ids": [n, n + 1],
            "grid": [[n, 0.5]] * 3,
            "array": np.full((2, 2), n, dtype=np.float32),
            "tensor": torch.full((3,), n, dtype=torch.int16),
            "scalar": np.float64(n),
            "meta": {"depth": n, "tags": ["a"] * n},
            "messages": [{"role": "user", "content": "hi"}] * n,
            "empty": [],
        }
        for n in range(2)
    ]
    batch = tm.collate(records)
    expected = {
        "id": torch.tensor([0, 1]),
        "score": torch.tensor([0.0, 0.5]),
        "mixed": torch.tensor([0.5, 1.0]),
        "is_good": torch.tensor([False, True]),
        "ids": torch.tensor([[0, 1], [1, 2]]),
        "grid": torch.tensor([[[0, 0.5]] * 3, [[1, 0.5]] * 3]),
        "array": torch.tensor([[[0.0] * 2] * 2, [[1.0] * 2] * 2]),
        "tensor": torch.tensor([[0] * 3, [1] * 3], dtype=torch.int16),
        "scalar": torch.tensor([0.0, 1.0], dtype=torch.float64),
        "empty": torch.empty(2, 0),
    }
    for name, tensor in expected.items():
        torch.testing.assert_close(batch[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(batch["meta"]["depth"], torch.tensor([0, 1]), rtol=0, atol=0)
    assert batch["text"] == ["row 0", "row 1"]
    assert batch["meta"]["tags"] == [[], ["a"]]
    assert batch["messages"] == [[], [{"role": "user", "content": "hi"}]]


numbers = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
    st.lists(st.floats(), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.one_of(st.integers(-(2**53), 2**53), st.floats()), min_size=4, max_size=4),
)


@given(numbers, st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
def test_numbers_are_those_that_torch_makes(values: list[Any], dtype: torch.dtype) -> None:
    """To the last bit and in its dtype, whatever the default is: rounded, infinite, none."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        expected = torch.tensor(values)
        batch = tm.collate([{"one": value, "two": [value, value]} for value in values])
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(batch["one"], expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(batch["two"], expected.repeat(2, 1).T, rtol=0, atol=0, equal_nan=True)


TODAY = datetime.date(2026, 1, 2)

REFUSED: list[tuple[list[Any], str]] = [
    ([1, None], r"column `x`, record 1 of the batch: expected a value, got None\n  fill it"),
    ([[1, 2], [3]], r"column `x`, record 1 of the batch: expected lists of one length, 2 as the first, got 1\n  pad"),
    ([[[1], [2]], [[3], [4, 5]]], r"column `x`, record 1 of the batch: expected lists of one length, 1 as the first"),
    ([[1, 2], [3, None]], r"column `x`, record 1 of the batch: expected a value, got None"),
    ([[1, 2], 3], r"column `x`, record 0 of the batch: expected a number, got a list\n  make all its values one kind"),
    ([TODAY, TODAY], r"column `x`, record 0 of the batch: expected a number, got a date\n  make it a number"),
    ([np.datetime64(TODAY)] * 2, r"column `x`, record 0 of the batch: expected a number, got a datetime64"),
    ([1, "two"], r"column `x`, record 1 of the batch: expected a number, got a str\n  make all its values one kind"),
    ([Decimal(1), 2], r"column `x`, record 0 of the batch: expected a number, got a Decimal"),
    ([1, object()], r"column `x`, record 1 of the batch: expected a number, got a object"),
    ([1, 2**63], r"column `x`, record 1 of the batch: expected an integer of 64 bits, got a larger one"),
    ([2, True], r"column `x`, record 1 of the batch: expected numbers or booleans, got both"),
    ([np.zeros(2), np.zeros(3)], r"column `x`, record 1 of the batch: expected an array of shape \(2,\)"),
    ([torch.zeros(2), torch.zeros(2, 2)], r"column `x`, record 1 of the batch: expected an array of shape \(2,\)"),
    ([np.array(["a"])] * 2, r"column `x`, record 0 of the batch: expected numbers, got an array of <U1"),
    ([{"y": 1}, {"y": None}], r"column `x\.y`, record 1 of the batch: expected a value, got None"),
    ([{"y": 1}, {"z": 1}], r"column `x`, record 1 of the batch: it has other columns than the first .*'y', 'z'"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_what_has_no_tensor_is_refused_with_its_column_and_record(values: list[Any], message: str) -> None:
    """Never a traceback out of torch: which column, which record, what to do."""
    with pytest.raises(DataError, match=message):
        tm.collate([{"x": value} for value in values])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([], "expected a batch of records to collate, got none"),
        (7, "expected a batch of records to collate, got a int"),
        ([1, 2], "record 0 of the batch: expected a dict, got a int"),
        ([{"a": 1}, {"b": 1}], "record 1 of the batch: it has other columns than the first record"),
    ],
)
def test_what_is_no_batch_is_refused(batch: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tm.collate(batch)


def test_numpy_columns_reach_tensors_without_a_copy() -> None:
    """The tensor's memory is the array's; what is read-only is copied, since a tensor may be written."""
    numbers, fixed = np.arange(4.0), np.arange(4)
    fixed.flags.writeable = False
    batch = tm.collate({"n": numbers, "fixed": fixed, "back": numbers[::-1], "text": ["a", "b", "c", "d"]})
    assert batch["n"].data_ptr() == numbers.ctypes.data
    assert batch["n"].dtype == torch.float64
    assert batch["fixed"].tolist() == [0, 1, 2, 3]
    assert batch["back"].tolist() == [3, 2, 1, 0]
    assert batch["text"] == ["a", "b", "c", "d"]
    with pytest.raises(DataError, match=r"column `t`, .*: expected numbers, got an array of datetime64\[D\]"):
        tm.collate({"t": np.array([TODAY], dtype="datetime64[D]")})
    ragged = np.array([None, None], dtype=object)
    ragged[:] = [[1], [1, 2]]
    with pytest.raises(DataError, match="column `r`, record 1 of the batch: expected lists of one length"):
        tm.collate({"r": ragged})


def test_arrow_columns_reach_tensors_without_a_copy() -> None:
    """Numbers and lists of numbers of one length lie where Arrow has them, slices too."""
    table: Any = pa.table(
        {
            "n": pa.array(range(6), pa.int32()),
            "vector": pa.array([[float(n)] * 3 for n in range(6)], pa.list_(pa.float32(), 3)),
            "ids": [[n, n] for n in range(6)],
            "is_good": [True, False] * 3,
            "text": pa.array(["a", "b"] * 3).dictionary_encode(),
            "meta": [{"depth": n} for n in range(6)],
        }
    ).slice(2, 3)
    batch = tm.collate(table)
    assert batch["n"].tolist() == [2, 3, 4]
    assert batch["n"].data_ptr() == table["n"].chunk(0).buffers()[1].address + 2 * 4
    assert batch["vector"].tolist() == [[n] * 3 for n in (2, 3, 4)]
    assert batch["vector"].data_ptr() == table["vector"].chunk(0).values.buffers()[1].address + 2 * 3 * 4
    assert batch["ids"].tolist() == [[n, n] for n in (2, 3, 4)]
    assert batch["ids"].data_ptr() == table["ids"].chunk(0).values.buffers()[1].address + 2 * 2 * 8
    assert batch["is_good"].tolist() == [True, False, True]
    assert batch["text"] == ["a", "b", "a"]
    assert batch["meta"]["depth"].tolist() == [2, 3, 4]


WRITE_MAPPED = """
import sys, pyarrow as pa, tidemill as tm
batch = tm.collate(pa.ipc.open_file(pa.memory_map(sys.argv[1])).get_batch(0))
for name in ("n", "vector"):
    batch[name] += 1
print(batch["n"].tolist(), batch["vector"].tolist(), batch["none"].shape)
"""


def test_tensors_of_a_mapped_arrow_file_may_be_written(tmp_path: Path) -> None:
    """They are copies: the process goes on, and the file stays as it is."""
    table = pa.table({"n": [1, 2], "vector": pa.array([[0.5], [1.5]], pa.list_(pa.float32(), 1)), "none": [[], []]})
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    before = path.read_bytes()
    command = [sys.executable, "-c", WRITE_MAPPED, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[2, 3] [[1.5], [2.5]] torch.Size([2, 0])\n", done
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, None]), "column `x`, record 1 of the batch: expected a value, got None"),
        (pa.array([[1], [1, 2]]), "column `x`, record 1 of the batch: expected lists of one length, 1 as the first"),
        (pa.array([[1, 2], [1, None]]), "column `x`, record 1 of the batch: expected a value, got None"),
        (pa.array([TODAY]), r"column `x`, record 0 of the batch: expected numbers, got the Arrow type date32\[day\]"),
        (pa.array([Decimal(1)]), "column `x`, record 0 of the batch: expected a number, got a Decimal"),
        (pa.array([{"y": None}, {"y": 1}]), r"column `x\.y`, record 0 of the batch: expected a value, got None"),
    ],
)
def test_arrow_columns_without_a_tensor_are_refused(column: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tm.collate(pa.table({"x": column}))


@pytest.mark.parametrize("form", ["records", "numpy", "arrow"])
def test_batches_of_every_form_pass_through_a_loader(form: Any) -> None:
    """A stream that batches itself needs no batches from the loader."""
    stream = tm.from_iterable([{"n": n, "text": str(n)} for n in range(5)]).batch(2, form=form)
    batches = list(DataLoader(to_torch(stream), batch_size=None, collate_fn=tm.collate))
    assert [batch["n"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert [batch["text"] for batch in batches] == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_runs_in_workers(method: str) -> None:
    """It pickles by name, and tensors come back from the workers."""
    stream = tm.from_iterable([{"n": n} for n in range(6)])
    context = multiprocessing.get_context(method)
    loader = DataLoader(
        to_torch(stream), batch_size=2, num_workers=2, collate_fn=tm.collate, multiprocessing_context=context
    )
    assert sorted(n for batch in loader for n in batch["n"].tolist()) == list(range(6))


def test_without_torch_the_error_names_the_extra() -> None:
    assert error_without("torch", "import tidemill as tm; tm.collate([{'n': 1}])").endswith(
        'collate needs the package torch, which is not installed\n  pip install "tidemill[torch]"'
    )
