"""Vectors are taken over their own memory where they can be, and every fault is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tidemill.stores.store import Metric, Store
from tidemill.stores.vectors import read_vectors

PLAIN = np.arange(1, 13, dtype=np.float32).reshape(4, 3)


def column() -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(PLAIN.reshape(-1)), 3)


@pytest.mark.parametrize(
    ("form", "memory"),
    [
        (PLAIN, PLAIN),
        (PLAIN[1:3], PLAIN[1:3]),
        (torch.from_numpy(PLAIN), PLAIN),
        (torch.from_numpy(PLAIN).requires_grad_(), PLAIN),
        (arrow := column(), np.asarray(arrow.flatten())),
        (arrow.slice(1, 2), np.asarray(arrow.flatten())[3:9]),
        (pa.chunked_array([arrow]), np.asarray(arrow.flatten())),
    ],
    ids=["array", "slice", "tensor", "gradient", "arrow", "arrow slice", "one chunk"],
)
def test_float32_is_not_copied(form: Any, memory: Any) -> None:
    matrix, faults = read_vectors(form, Store(dimensions=3))
    assert not faults
    assert matrix.__array_interface__["data"][0] == memory.__array_interface__["data"][0]
    assert matrix.size == memory.size
    assert matrix.flags.c_contiguous


NUMBERS = st.one_of(
    st.floats(width=32),
    st.floats(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([None, "1", True, float("nan"), float("inf"), 1e39, 1e-30, 0]),
)
VECTORS = st.one_of(
    st.lists(NUMBERS, max_size=4), st.lists(NUMBERS, min_size=3, max_size=3), st.sampled_from([None, "abc", 5])
)


@given(vectors=st.lists(VECTORS, max_size=6), metric=st.sampled_from(["cosine", "dot", "l2"]))
def test_a_row_is_at_fault_exactly_where_it_is_no_vector(vectors: list[Any], metric: Metric) -> None:
    if vectors and all(isinstance(each, int) for each in vectors):
        vectors = [None, *vectors]  # else it is a single one
    matrix, faults = read_vectors(vectors, Store(dimensions=3, metric=metric))
    assert matrix.shape == (len(vectors), 3)
    for number, vector in enumerate(vectors):
        assert (number in faults) is not is_vector(vector, metric), (vector, faults)
        if number not in faults:
            with np.errstate(over="ignore"):
                assert matrix[number].tolist() == np.asarray(vector, dtype=np.float32).tolist()


def is_vector(vector: Any, metric: Metric) -> bool:
    if not isinstance(vector, list) or len(vector) != 3:
        return False
    if not all(isinstance(each, (int, float)) for each in vector):
        return False
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.square(np.asarray(vector, dtype=np.float32)).sum()
    return bool(np.isfinite(squares)) and (metric != "cosine" or squares > 0)
