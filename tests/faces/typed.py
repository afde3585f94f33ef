"""What type checkers make of streams and datasets: read by mypy and basedpyright (`make types`), never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection, connect
from typing import Any, assert_type

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

import tidemill as tm
from tidemill.data.async_iteration import AsyncRecords
from tidemill.stream.dataset import Column


class Review(BaseModel):
    text: str


class Numbers:
    """An object with numbers."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int, /) -> float:
        return float(index)


def count_words(review: Review) -> int:
    return len(review.text.split())


async def ask(review: Review) -> bytes:
    return review.text.encode()


def iter_words(review: Review) -> Iterator[str]:
    yield from review.text.split()


def look_up(review: Review, db: Connection, *, cache: dict[str, int]) -> int:
    return cache[review.text]


async def alook_up(review: Review, db: Connection) -> bytes:
    return review.text.encode()


def iter_found(review: Review, db: Connection) -> Iterator[str]:
    yield from db.execute(review.text)


def of_another(record: Path, db: Connection) -> int:
    return 1


def read_files(path: Path, schema: pa.Schema) -> None:
    """Records are those of the schema, else dicts."""
    assert_type(tm.read(path), tm.Stream[dict[str, Any]])
    assert_type(tm.read([path, "b.csv"], delimiter=";", encoding="latin-1"), tm.Stream[dict[str, Any]])
    assert_type(tm.read("a.parquet", schema=schema, columns=["a"]), tm.Stream[dict[str, Any]])
    assert_type(tm.read(path, schema=Review, on_error="skip"), tm.Stream[Review])
    assert_type(tm.read("s3://b/*.jsonl", schema=Review, storage_options={"anon": True}), tm.Stream[Review])
    tm.read(path, on_error="ignore")  # type: ignore[call-overload]
    tm.read(path, on_eror="skip")  # type: ignore[call-overload]


def map_streams(reviews: tm.Stream[Review]) -> None:
    """What a step gives follows from its function."""
    assert_type(reviews.map(count_words), tm.Stream[int])
    assert_type(reviews.map(ask, concurrency=8), tm.Stream[bytes])
    assert_type(reviews.map(lambda review: review.text), tm.Stream[str])
    assert_type(reviews.map(count_words, concurrency=4, on="processes", ordered=False), tm.Stream[int])
    assert_type(reviews.filter(count_words), tm.Stream[Review])
    assert_type(reviews.flat_map(iter_words), tm.Stream[str])
    assert_type(reviews.sliding(3), tm.Stream[list[Review]])
    assert_type(reviews.shuffle().take(3).repeat(), tm.Stream[Review])
    assert_type(reviews.split(train=0.9, test=0.1), dict[str, tm.Stream[Review]])
    assert_type(reviews.concat(reviews), tm.Stream[Review])
    assert_type(reviews + reviews, tm.Stream[Review])
    assert_type(tm.mix([reviews, reviews]), tm.Stream[Review])
    assert_type(reviews.zip(reviews), tm.Stream[tuple[Any, ...]])
    for review in reviews:
        assert_type(review, Review)


def take_resources(reviews: tm.Stream[Review], rows: tm.Dataset[Review]) -> None:
    """A function may have parameters besides the record's; that one is still checked."""
    assert_type(reviews.map(look_up), tm.Stream[int])
    assert_type(reviews.map(alook_up, concurrency=4), tm.Stream[bytes])
    assert_type(reviews.filter(look_up).observe(look_up).with_columns(a=look_up), tm.Stream[Review])
    assert_type(reviews.flat_map(iter_found).provide(db=connect), tm.Stream[str])
    assert_type(rows.map(look_up).provide(db=connect), tm.Dataset[int])
    assert_type(tm.Pipeline([look_up]).provide(db=connect), tm.Pipeline)
    reviews.map(of_another)  # type: ignore[arg-type]
    reviews.filter(of_another)  # type: ignore[arg-type]


async def iterate_streams(reviews: tm.Stream[Review]) -> None:
    """Asynchronous iterators give the same."""
    async for review in reviews:
        assert_type(review, Review)
    records = reviews.aiterate()
    assert_type(records, AsyncRecords[Review])
    assert_type(await anext(records), Review)
    assert_type(records.state(), dict[str, Any])
    await records.aclose()


def open_datasets(table: pa.Table) -> None:
    """Files and tables have dicts, objects what they hold."""
    assert_type(tm.dataset("out/labelled"), tm.Dataset[dict[str, Any]])
    assert_type(tm.dataset("s3://b/rows", storage_options={"anon": True}), tm.Dataset[dict[str, Any]])
    assert_type(tm.dataset(table), tm.Dataset[dict[str, Any]])
    assert_type(tm.dataset([1, 2]), tm.Dataset[int])
    assert_type(tm.dataset(Numbers()), tm.Dataset[float])
    assert_type(tm.from_iterable([1, 2]), tm.Stream[int])
    assert_type(tm.from_iterable(lambda: iter_words(Review(text="a"))), tm.Stream[str])
    assert_type(tm.from_hf(Numbers()), tm.Dataset[float])
    tm.dataset(3)  # type: ignore[call-overload]


def index_datasets(reviews: tm.Dataset[Review]) -> None:
    """A number gives a record; slices, lists and masks a dataset; a name a column."""
    assert_type(reviews[3], Review)
    assert_type(reviews[-1], Review)
    assert_type(reviews[np.int64(3)], Review)
    assert_type(reviews[2:5], tm.Dataset[Review])
    assert_type(reviews[[3, 1, 2]], tm.Dataset[Review])
    assert_type(reviews[[True, False]], tm.Dataset[Review])
    assert_type(reviews[np.array([True, False])], tm.Dataset[Review])
    assert_type(reviews[np.arange(3)], tm.Dataset[Review])
    assert_type(reviews["text"], Column)
    assert_type(reviews["text"][2:5], Column)
    assert_type(reviews.__getitems__([1, 2]), list[Review])
    assert_type(reversed(reviews), Iterator[Review])
    assert_type(len(reviews), int)
    reviews[1.5]  # type: ignore[call-overload]


def map_datasets(reviews: tm.Dataset[Review], drops: bool) -> None:
    """What gives one record for each keeps a dataset; what may drop one gives a stream."""
    assert_type(reviews.map(count_words), tm.Dataset[int])
    assert_type(reviews.map(count_words, concurrency=4, on_error="raise"), tm.Dataset[int])
    assert_type(reviews.map(ask, concurrency=4), tm.Dataset[bytes])
    assert_type(reviews.map(count_words, on_error="skip"), tm.Stream[int])
    assert_type(reviews.map(count_words, concurrency=4, ordered=False), tm.Stream[int])
    assert_type(reviews.with_columns(length=count_words), tm.Dataset[Review])
    assert_type(reviews.with_columns(on_error="skip", length=count_words), tm.Stream[Review])
    assert_type(reviews.select("text"), tm.Dataset[Review])
    assert_type(reviews.rename({"text": "body"}).drop("a").observe(print), tm.Dataset[Review])
    assert_type(reviews.take(3).skip(1).every(2).shard(0, 2), tm.Dataset[Review])
    assert_type(reviews.shuffle(1), tm.Dataset[Review])
    assert_type(reviews.shuffle(1, buffer=100), tm.Stream[Review])
    assert_type(reviews.filter(count_words), tm.Stream[Review])
    assert_type(reviews.flat_map(iter_words), tm.Stream[str])
    assert_type(reviews.repeat(2), tm.Stream[Review])
    assert_type(reviews + reviews, tm.Dataset[Review])
    assert_type(reviews.concat(reviews), tm.Dataset[Review])
    assert_type(reviews.zip(reviews), tm.Dataset[tuple[Any, ...]])
    assert_type(reviews + reviews.filter(bool), tm.Stream[Review])
    assert_type(reviews.tokenize(len), tm.Dataset[Review])
    assert_type(reviews.decode_image(size=(8, 8)), tm.Dataset[Review])
    assert_type(reviews.decode_image(on_error="skip"), tm.Stream[Review])
