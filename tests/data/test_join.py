"""Records with those of another stream that have their key: against two loops, whatever memory holds."""

from __future__ import annotations

import math
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import check_resumes_everywhere, through_json

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.nodes.keeping import Join, Other, place_folders
from tidemill.data.sources.iterable import FromIterable
from tidemill.jobs.spec.notes import find_notes

How = Any
HOWS: list[How] = ["inner", "left", "semi", "anti"]


def orders(count: int) -> list[dict[str, Any]]:
    rng = random.Random(count)
    return [{"at": at, "shop": rng.choice([None, *range(30)])} for at in range(count)]


def shops(count: int) -> list[dict[str, Any]]:
    rng = random.Random(-count)
    return [{"id": rng.choice([None, *range(20)]), "name": f"shop {at}"} for at in range(count)]


def join(left: list[dict[str, Any]], right: list[dict[str, Any]], how: How) -> list[dict[str, Any]]:
    given = []
    for one in left:
        found = [{"name": each["name"]} for each in right if each["id"] == one["shop"] is not None]
        if how in ("semi", "anti"):
            given += [one] if bool(found) == (how == "semi") else []
        else:
            given += [{**one, **each} for each in found or ([{"name": None}] if how == "left" else [])]
    return given


@pytest.mark.parametrize("memory", ["256MiB", "2kB"])
@pytest.mark.parametrize("how", HOWS)
def test_each_pair_is_given_in_order(how: How, memory: str, tmp_path: Path) -> None:
    """Keys that come again on both sides, and None, which equals nothing."""
    left, right = orders(200), shops(60)
    stream = tm.from_iterable(left).join(tm.from_iterable(right), {"shop": "id"}, how=how, dir=tmp_path, memory=memory)
    assert list(stream) == join(left, right, how)
    assert bool(list(tmp_path.glob("*/table"))) == (memory == "2kB")


@pytest.mark.parametrize("memory", ["256MiB", "300"])
def test_keys_that_are_equal_are_one(memory: str, tmp_path: Path) -> None:
    """Whether a key is held itself or stands on disk by its digest; what a record has stays as it is."""
    keys = [1, "1", 2**70, 0.5, math.nan]
    other = tm.from_iterable([{"key": key, "kind": repr(key)} for key in keys])
    asked = [math.nan, Decimal("0.5"), np.float32(0.5), 2.0**70, True, 1.0, np.int64(1), np.str_("1"), "1.0", None]
    records = tm.from_iterable([{"key": key} for key in asked])
    found = [(record["key"], record["kind"]) for record in records.join(other, "key", dir=tmp_path, memory=memory)]
    kinds = ["nan", "0.5", "0.5", repr(2**70), "1", "1", "1", "'1'"]
    assert repr(found) == repr(list(zip(asked[:8], kinds, strict=True)))


@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_join_resumes_everywhere(how: How, tmp_path: Path) -> None:
    """Between the pairs of one record, too."""
    other: Any = Other(FromIterable(iterable=shops(30)), ())
    node = Join(other=other, on={"shop": "id"}, how=how, dir=str(tmp_path), memory=700)
    whole = check_resumes_everywhere(partial(iterate, FromIterable(iterable=orders(25)), [node]))
    assert [record for _, record in whole] == join(orders(25), shops(30), how)


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Refused record by record, or told apart; the key is there once."""
    left = tm.from_iterable([{"id": 1, "name": "a"}])
    right = tm.from_iterable([{"id": 1, "name": "b", "town": "c"}])
    with pytest.raises(
        tm.DataError, match=r'item 0, step `join`: both records have a column `name`\n.*suffix="_other"'
    ):
        next(iter(left.join(right, "id", dir=tmp_path)))
    assert list(left.join(right, "id", suffix="_shop", dir=tmp_path)) == [
        {"id": 1, "name": "a", "name_shop": "b", "town": "c"}
    ]
    assert list(left.join(right, ["id"], how="semi", dir=tmp_path)) == [{"id": 1, "name": "a"}]


def test_a_record_that_fails_fails_alone_and_one_of_the_other_stream_fails_all(tmp_path: Path) -> None:
    left = tm.from_iterable([{"id": 1}, {"idd": 1}, {"id": 2}])
    right = tm.from_iterable([{"id": 2, "x": 5}])
    records = left.join(right, "id", how="left", dir=tmp_path).iterate()
    assert next(records) == {"id": 1, "x": None}
    with pytest.raises(tm.DataError, match="item 1, step `join`: expected a column `id`, got `idd`"):
        next(records)
    assert list(records) == [{"id": 2, "x": 5}]
    skipping = left.join(right, "id", dir=tmp_path, on_error="skip").iterate()
    assert (list(skipping), skipping.losses.skipped) == ([{"id": 2, "x": 5}], {"join": 1})

    broken = tm.from_iterable([{"id": 2}, {"key": 2}])
    records = left.join(broken, "id", dir=tmp_path, on_error="skip").iterate()
    for _ in range(2):
        with pytest.raises(
            tm.DataError,
            match=r"in the other stream: expected a column `id`, got `key`\n.*columns that all of them have",
        ) as told:
            next(records)
        assert told.value.of == "run"
    assert records.state()["steps"] == {}


def test_what_is_wrong_with_the_other_source_is_passed_over_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job file too, by what the error names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    (tmp_path / "other.jsonl").write_text('{"id": 1, "x": 5}\n{"id": 2, "x"\n{"id": 2, "x": 6}\n')
    left = tm.read("left.jsonl")
    with pytest.raises(tm.DataError, match=r"in the other stream: .*\n.*`on_error: skip` of that source") as told:
        list(left.join(tm.read("other.jsonl"), "id", dir="kept"))
    assert told.value.of == "run"
    with pytest.raises(tm.DataError, match=r"in the other stream: no file matches `gone\.jsonl`[^\n]*$"):
        list(left.join(tm.read("gone.jsonl"), "id", dir="kept"))
    records = left.join(tm.read("other.jsonl", on_error="skip"), "id", dir="kept").iterate()
    assert (list(records), records.losses.skipped) == ([{"id": 1, "x": 5}, {"id": 2, "x": 6}], {"other of join": 1})
    job = "source: {{path: left.jsonl}}\nsteps:\n  - join: {{other: {}, on: id}}\nsink: {{path: out, format: jsonl}}\n"
    (tmp_path / "job.yaml").write_text(job.format("{path: other.jsonl}"))
    with pytest.raises(tm.ConfigError, match=r"in the other stream: .*`on_error: skip` of that source"):
        tm.load_job("job.yaml").check()
    (tmp_path / "job.yaml").write_text(job.format("{path: other.jsonl, on_error: skip}"))
    loaded = tm.load_job("job.yaml")
    assert find_notes(loaded.spec) == [
        "step `join`: what fails in the other source is passed over; the report has how many"
    ]
    report = loaded.run()
    assert (report.records["landed"], report.passed_over) == (2, {"join": 1})
    assert loaded.run().passed_over == {}
    beside = left.join(tm.read("other.jsonl", on_error="skip"), "id", dir="kept")
    deep = left.join(beside, "id", dir="kept/deep").job("deep")
    assert find_notes(deep.spec) == find_notes(loaded.spec)
    assert deep.run().passed_over == {"join": 1}


def test_a_join_is_one_thing_as_a_chain_and_as_a_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its books count the records without a pair as dropped."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.jsonl").write_text("".join(f'{{"at": {at}, "shop": {at % 5}}}\n' for at in range(20)))
    (tmp_path / "shops.jsonl").write_text(
        '{"shop": 1, "name": "a"}\n{"shop": 3, "name": "b"}\n{"shop": 3, "name": "c"}\n'
    )
    (tmp_path / "job.yaml").write_text(
        "source: {path: orders.jsonl}\n"
        "steps:\n"
        "  - join: {other: {path: shops.jsonl}, on: shop}\n"
        "  - sort: {key: [name, at], reverse: true, memory: 1kB}\n"
        "  - dedupe: {key: shop}\n"
        "sink: {path: out, format: jsonl}\n"
    )
    job = tm.load_job("job.yaml")
    stream = (
        tm.read("orders.jsonl").join(tm.read("shops.jsonl"), "shop").sort(["name", "at"], reverse=True).dedupe("shop")
    )
    assert job.pipeline.fingerprint == stream.pipeline.fingerprint
    job.check()
    report = job.run()
    assert [record["name"] for record in tm.read("out/*.jsonl")] == ["c", "a"]
    counts = report.steps[1:4]
    assert [(each["in"], each["dropped"], each["emitted"]) for each in counts] == [
        (20, 12, 12), (12, 0, 12), (12, 10, 2),
    ]  # fmt: skip
    assert sorted(path.name.partition("-")[0] for path in (tmp_path / "out" / ".run" / "kept").iterdir()) == [
        "dedupe", "sort",
    ]  # fmt: skip


def test_a_job_joins_with_the_rows_of_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a chain does, and as the file that is written of it."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shops.db")) as connection, connection:
        connection.execute("CREATE TABLE shops (shop INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO shops VALUES (?, ?)", [(1, "a"), (3, "b")])
    (tmp_path / "orders.jsonl").write_text("".join(f'{{"at": {at}, "shop": {at % 5}}}\n' for at in range(10)))
    query = '{sql: "SELECT * FROM shops", connect: "sqlite:///shops.db", key: shop}'
    steps = f"steps:\n  - join: {{other: {query}, on: shop}}\n"
    (tmp_path / "job.yaml").write_text(f"source: {{path: orders.jsonl}}\n{steps}sink: {{path: out, format: jsonl}}\n")
    job = tm.load_job("job.yaml")
    (tmp_path / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml").fingerprint == job.fingerprint
    rows = tm.from_sql("SELECT * FROM shops", "sqlite:///shops.db", key="shop")
    assert tm.read("orders.jsonl").join(rows, "shop").pipeline.fingerprint == job.pipeline.fingerprint
    job.run()
    assert [record["name"] for record in tm.read("out/*.jsonl")] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{other: {path: shops.jsonl}, on: shp}",
            "the other stream: expected a column `shp`, got `shop`, `name`; did you",
        ),
        ("{other: {path: shops.jsonl}, on: shop, how: outer}", "expected `inner`, `left`, `semi` or `anti`"),
        ("{other: {pth: shops.jsonl}, on: shop}", "did you mean `path`"),
        ("{other: {path: shops.jsonl}}", "`steps.0.join`: missing key `on`"),
    ],
)
def test_check_tells_what_is_wrong_with_a_join(
    written: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.jsonl").write_text("".join(f'{{"at": {at}, "shop": {at % 5}}}\n' for at in range(20)))
    (tmp_path / "shops.jsonl").write_text('{"shop": 1, "name": "a"}\n')
    text = f"source: {{path: orders.jsonl}}\nsteps:\n  - join: {written}\nsink: {{path: out}}\n"
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(tm.ConfigError, match=said):
        tm.load_job("job.yaml").check()


def write_marks(path: Path, name: str, count: int = 20) -> None:
    """Two records of each `i`, of one length whatever the name's letter."""
    path.write_text("".join(f'{{"i": {i // 2 % 10}, "mark": "{name}{i % 2}"}}\n' for i in range(count)))


SHAPES: dict[str, Callable[[tm.Stream[Any]], tm.Stream[Any]]] = {
    "join": lambda joined: joined,
    "shuffle": lambda joined: joined.shuffle(3, buffer=100),  # whose states stand in front of the first record
    "sort": lambda joined: joined.sort("i", reverse=True),
    "prefetch": lambda joined: joined.prefetch(4),
    "repeat": lambda joined: joined.repeat(3),
    "mix": lambda joined: tm.mix([joined, tm.from_iterable([{"i": -1}] * 8)]),
    "join with a join": lambda joined: tm.from_iterable([{"i": i} for i in range(10)]).join(joined, "i"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_state_is_refused_where_the_other_stream_changed(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another record, one more, one less; a file written again with the same records is the same."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.jsonl"
    left = tm.from_iterable([{"i": i} for i in range(10)])
    stream = SHAPES[shape](left.join(tm.read("other.jsonl"), "i", dir="kept"))
    stream = tm.Stream(stream.source, place_folders(stream.pipeline.nodes, tmp_path / "kept"))
    write_marks(other, "a")
    whole = list(stream)
    records = stream.iterate()
    given = [next(records) for _ in range(7)]
    state = through_json(records.state())
    records.close()
    write_marks(other, "a")
    assert given + list(stream.iterate(state)) == whole
    for name, count in [("b", 20), ("a", 21), ("a", 19)]:
        write_marks(other, name, count)
        with pytest.raises(tm.StateError, match="step `join`: the other stream is not what records were joined with"):
            list(stream.iterate(state))
    write_marks(other, "a")
    assert given + list(stream.iterate(state)) == whole


OBJECTS = """
import json, sys
from pathlib import Path
from pydantic import BaseModel
import torch
import tidemill as tm

class Shop(BaseModel):
    name: str = ""
    street: str = ""
    town: str = ""

vectors = torch.arange(12.0, dtype=torch.bfloat16).reshape(4, 3)
shops = [{"n": n, "shop": Shop(name="a", street="b", town="c"), "vector": vectors[n]} for n in range(4)]
joined = tm.from_iterable([{"n": 1}, {"n": 2}]).join(tm.from_iterable(shops), "n", dir="kept")
state = Path("state.json")
records = joined.iterate(json.loads(state.read_text()) if state.exists() else None)
record = next(records)
state.write_text(json.dumps(records.state()))
print(record["n"], record["shop"] == shops[0]["shop"], record["shop"].model_fields_set == {"name", "street", "town"})
print(torch.equal(record["vector"], vectors[record["n"]]))
"""


def test_tensors_and_models_of_the_other_stream_are_the_same_in_another_process(tmp_path: Path) -> None:
    """Which torch names by their addresses, and whose names a model has in a set."""
    for seed, n in (("1", 1), ("2", 2)):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", OBJECTS]
        given = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert given.stdout == f"{n} True True\nTrue\n", given.stderr


@pytest.mark.parametrize("ordered", [True, False])
def test_the_order_of_the_other_stream_counts_where_it_has_one(ordered: bool, tmp_path: Path) -> None:
    """A `map` without an order gives the same records in any; another record is seen all the same."""
    path = tmp_path / "other.jsonl"
    lines = [f'{{"i": {i}, "x": {i % 3}}}\n' for i in range(10)]
    path.write_text("".join(lines))
    mapped = tm.read(path).map(dict, concurrency=2, ordered=ordered)
    stream = tm.from_iterable([{"i": i} for i in range(10)]).join(mapped, "i", dir=tmp_path)
    records = stream.iterate()
    given = [next(records) for _ in range(4)]
    state = through_json(records.state())
    records.close()
    path.write_text("".join(reversed(lines)))
    if ordered:
        with pytest.raises(tm.StateError, match="the other stream is not what records were joined with before"):
            list(stream.iterate(state))
    else:
        assert given + list(stream.iterate(state)) == list(stream)
    lines[4:6] = ['{"i": 4, "x": 2}\n', '{"i": 5, "x": 1}\n']  # exchanged
    path.write_text("".join(lines))
    with pytest.raises(tm.StateError, match="the other stream is not what records were joined with before"):
        list(stream.iterate(state))


@pytest.mark.parametrize("within", ["join", "mix", "join with a join"])
def test_a_run_is_refused_where_the_other_stream_changed(
    within: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-way and finished; a file that was only touched is the same."""
    monkeypatch.chdir(tmp_path)
    write_marks(tmp_path / "other.jsonl", "a")
    joined = tm.from_iterable([{"i": i} for i in range(10)]).join(tm.read("other.jsonl"), "i", dir="kept")
    stream = SHAPES[within](joined)
    for limit in (7, 11, None):
        stream.write("out", format="jsonl", limit=limit)
        for name, count in [("b", 20), ("a", 22)]:
            write_marks(tmp_path / "other.jsonl", name, count)
            with pytest.raises(tm.StateError, match="the source changed since this run began"):
                stream.write("out", format="jsonl")
        write_marks(tmp_path / "other.jsonl", "a")
    assert len(list(tm.read("out/*.jsonl"))) == {"mix": 12}.get(within, 20)
    (tmp_path / "other.jsonl").unlink()
    with pytest.raises(tm.DataError, match=r"no file matches `other\.jsonl`"):
        stream.write("out", format="jsonl")


def test_states_of_ranks_that_joined_with_different_streams_do_not_merge(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    left = tm.from_iterable([{"i": i} for i in range(10)])
    states = []
    for rank, name in enumerate("aab"):
        write_marks(path, name)
        records = left.shard(rank % 2, 2).join(tm.read(path), "i", dir=tmp_path).iterate()
        next(records)
        states.append(records.state())
    assert tm.merge_states(states[:2])["others"] == states[0]["others"]
    with pytest.raises(tm.StateError, match="the other stream of step `join` was not the same for all ranks"):
        tm.merge_states([states[0], {**states[1], "others": states[2]["others"]}])
