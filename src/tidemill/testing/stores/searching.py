"""What a search finds, against every vector compared by NumPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tidemill.errors import DataError
from tidemill.stores.store import Metric
from tidemill.stores.vectors import Matrix
from tidemill.testing.stores.subject import FIELDS, StoreSubject, check_kinds, draw_vectors, refused

METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")


async def check_empty(subject: StoreSubject) -> None:
    """A store that holds nothing finds nothing."""
    async with subject.make(dimensions=4, fields=FIELDS).open() as store:
        assert await store.count() == 0
        assert await store.count({"number": 1}) == 0
        assert [list(matches) for matches in await store.search(draw_vectors(3), 5)] == [[], [], []]
        assert list(await store.search([], 5)) == []
        assert list(await store.fetch(["a"])) == [None]
        assert await store.delete(["a"]) == 0
        await store.flush()


async def check_metrics(subject: StoreSubject) -> None:
    """By each metric the nearest come first, with their scores, payloads and vectors: of a small store exactly."""
    for metric in METRICS:
        held, queries = draw_vectors(200, 8) * 3, draw_vectors(6, 8, seed=1) * 2
        held *= np.linspace(0.5, 2, 200, dtype=np.float32)[:, None]
        async with subject.make(dimensions=8, metric=metric).open() as store:
            await store.upsert([str(number) for number in range(200)], held, [{"n": number} for number in range(200)])
            found = await store.search(queries, 10, with_vectors=True)
        scores = score(held, queries, metric)
        for row, matches in zip(scores, found, strict=True):
            best = np.argsort(-row)[:10]
            assert [int(match.id) for match in matches] == best.tolist(), metric
            assert np.allclose([match.score for match in matches], row[best], atol=1e-4), metric
            assert [match.payload["n"] for match in matches] == best.tolist()
            for match in matches:
                assert match.vector is not None
                assert np.allclose(_along(match.vector, held[int(match.id)], metric), 1, atol=1e-4)


def score(held: Matrix, queries: Matrix, metric: Metric) -> Matrix:
    """How near every vector is to every query, as `Match.score` is: float32 (queries, vectors)."""
    found: Matrix = queries @ held.T
    if metric == "l2":
        found = -np.sqrt(((queries[:, None] - held[None]) ** 2).sum(axis=2))
    if metric == "cosine":
        found = found / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(held, axis=1)[None]
    return found


def _along(one: Any, other: Matrix, metric: Metric) -> Any:
    """1 where two vectors are one; by `cosine` where they point one way, for a store may hold directions alone."""
    if metric == "cosine":
        return np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other)
    return 1 + np.abs(np.subtract(one, other)).max()


async def check_more_than_there_are(subject: StoreSubject) -> None:
    """Fewer matches come where there are fewer records, and where fewer pass the filter."""
    async with subject.make(dimensions=4, fields={"number": "int"}).open() as store:
        await store.upsert(list("abcdef"), draw_vectors(6), [{"number": number % 2} for number in range(6)])
        for k in (5, 6, 7, 1000):
            found = await store.search(draw_vectors(2, seed=1), k)
            assert [len(matches) for matches in found] == [min(k, 6)] * 2
        (matches,) = await store.search(draw_vectors(1), 4, {"number": 1})
        assert sorted(match.id for match in matches) == ["b", "d", "f"]
        (matches,) = await store.search(draw_vectors(1), 4, {"number": 7})
        assert list(matches) == []


async def check_bad_questions(subject: StoreSubject) -> None:
    """A search or a filter that makes no sense raises and says what would."""
    one = draw_vectors(1)
    async with subject.make(dimensions=4, fields=FIELDS).open() as store:
        await store.upsert(["a"], one)
        for k in (0, -1, True, 2.0, None):
            with refused(DataError, "a number of records from 1 on"):
                await store.search(one, k)  # type: ignore[arg-type]
        with refused(DataError, "vectors[1]: the vector has NaN at 0"):
            await store.search([[1, 1, 1, 1], [float("nan"), 1, 1, 1]], 1)
        with refused(DataError, "3 numbers, the store takes 4"):
            await store.search([[1, 2, 3]], 1)
        with refused(DataError, "`[vector]`"):
            await store.search(one[0], 1)
        bad: list[tuple[Any, str]] = [
            ({"numbr": 1}, "did you mean `number`?"),
            ({"number": {"gte": 1}}, "there is no operator `gte`"),
            ({"number": "1"}, 'a whole number of 64 bits, got "1"'),
            ({"number": 1.5}, "a whole number of 64 bits, got 1.5"),
            ({"share": float("nan")}, "a finite number"),
            ({"flag": {"gt": False}}, "no order of a bool"),
            ({"text": {"lt": None}}, "no order of None"),
            ({"text": {"in": "abc"}}, "`in` takes a list"),
            ({"text": {}}, "expected an operator"),
            ("text", "expected a filter, a mapping"),
        ]
        for filter, words in bad:
            with refused(DataError, words):
                await store.search(one, 1, filter)
            with refused(DataError, words):
                await store.count(filter)


async def check_forms_of_vectors(subject: StoreSubject) -> None:
    """Vectors come as arrays of any number type, lists, Arrow columns, tensors where torch is there, row by row."""
    plain = draw_vectors(3)
    forms: dict[str, Any] = {
        "float32": plain,
        "float64": plain.astype(np.float64),
        "float16": plain.astype(np.float16),
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "fortran": np.asfortranarray(plain),
        "big endian": plain.astype(">f4"),
        "read-only": _freeze(plain),
        "lists": plain.tolist(),
        "tuples": [tuple(row) for row in plain.tolist()],
        "rows": list(plain),
    }
    if (pa := sys.modules.get("pyarrow")) is not None:
        forms["arrow"] = pa.FixedSizeListArray.from_arrays(pa.array(plain.reshape(-1)), 4)
        forms["arrow lists"] = pa.chunked_array([pa.array(plain.tolist())])
    if (torch := sys.modules.get("torch")) is not None:
        forms["tensor"] = torch.tensor(plain, requires_grad=True)
        forms["bfloat16"] = torch.tensor(plain, dtype=torch.bfloat16)
        forms["tensors"] = list(torch.tensor(plain))
    async with subject.make(dimensions=4).open() as store:
        for name, form in forms.items():
            check_kinds(await store.upsert([f"{name} {number}" for number in range(3)], form), "sss")
            found = await store.search(form, len(forms) * 3)
            for number, matches in enumerate(found):
                assert f"{name} {number}" in [match.id for match in matches if match.score > 0.999], name
        assert await store.count() == 3 * len(forms)


def _freeze(vectors: Matrix) -> Matrix:
    frozen = vectors.copy()
    frozen.flags.writeable = False
    return frozen
