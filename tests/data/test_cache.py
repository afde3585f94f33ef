"""What passes a cache comes from disk the next time: the same, failures included, and the steps in front rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm


class Counted:
    """How often a step's function was called."""

    calls = 0


def slow(record: Any) -> Any:
    Counted.calls += 1
    if record["n"] % 7 == 3:
        raise ValueError(f"{record['n']} is a seventh")
    return {**record, "made": Counted.calls}


def count_calls(records: Any) -> tuple[list[Any], int]:
    before = Counted.calls
    return outcomes(records), Counted.calls - before


def make(tmp_path: Path, count: int = 40, **cache: Any) -> tm.Stream[Any]:
    return tm.from_iterable([{"n": n} for n in range(count)]).map(slow).cache(tmp_path, **cache)


@pytest.mark.parametrize("part_bytes", [1 << 20, 300])
def test_the_second_pass_gives_what_the_first_gave(part_bytes: int, tmp_path: Path) -> None:
    """Failures in their places too; no function is called."""
    stream = make(tmp_path, part_bytes=part_bytes)
    first, calls = count_calls(stream.iterate())
    assert (len(first), calls) == (40, 40)
    assert [kind for kind, *_ in first].count("DataError") == 6
    assert count_calls(stream.iterate()) == (first, 0)
    again = stream.iterate()
    assert [next(again)["n"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(tm.DataError, match="iterable, item 3, step `map`: ValueError: 3 is a seventh") as told:
        next(again)
    assert told.value.step == "map"
    assert next(again)["n"] == 4
    assert check_resumes_everywhere(stream.iterate) == first


def test_a_cache_left_half_way_goes_on(tmp_path: Path) -> None:
    """Where its last whole part ends; what stands in that is not made again."""
    stream = make(tmp_path, part_bytes=300)
    left = stream.iterate()
    outcomes(left, 25)
    state = through_json(left.state())
    left.close()
    parts = len(list(tmp_path.glob("*/part-*")))
    rest, calls = count_calls(stream.iterate(state))
    assert (len(rest), parts) == (15, 4)
    assert calls < 22
    assert count_calls(stream.iterate())[1] == 0
    shutil.rmtree(tmp_path)
    rest, calls = count_calls(stream.iterate(state))
    assert ([record["n"] for kind, record, *_ in rest if kind == "record"][:2], calls) == ([25, 26], 40)


def test_iterators_that_fill_one_cache_at_once_write_the_same(tmp_path: Path) -> None:
    stream = tm.from_iterable([{"n": n} for n in range(60)]).cache(tmp_path, part_bytes=200)
    first, second = stream.iterate(), stream.iterate()
    given = [next(first) for _ in range(20)]
    assert len([next(second) for _ in range(40)]) == 40
    given += list(first)
    assert list(second) == given[40:]
    assert list(stream) == given == [{"n": n} for n in range(60)]


def test_a_source_that_changed_is_refused_or_cached_anew(tmp_path: Path) -> None:
    """Another size, the same size with other text, another file."""
    path = tmp_path / "in" / "a.jsonl"
    path.parent.mkdir()
    stream = tm.read(f"{path.parent}/*.jsonl").cache(tmp_path / "kept")
    rebuilt = tm.read(f"{path.parent}/*.jsonl").cache(tmp_path / "kept", changed="rebuild")
    path.write_text('{"n": 1}\n{"n": 2}\n')
    assert list(stream) == [{"n": 1}, {"n": 2}]
    for text, expected in [('{"n": 1}\n{"n": 3}\n', [1, 3]), ('{"n": 1}\n', [1])]:
        path.write_text(text)
        for _ in range(2):
            with pytest.raises(
                tm.StateError, match=r'not what the cache was filled from[\s\S]*or say changed="rebuild"'
            ):
                list(stream)
        assert [record["n"] for record in rebuilt] == expected
        assert [record["n"] for record in stream] == expected
    (path.parent / "b.jsonl").write_text('{"n": 9}\n')
    with pytest.raises(tm.StateError, match="not what the cache was filled from"):
        list(stream)


@pytest.mark.parametrize("shape", ["read", "concat"])
def test_an_edit_of_any_file_is_seen(shape: str, tmp_path: Path) -> None:
    """Of one size, in a file that no part of the cache ends in; one file alone may be written again as it was."""
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text('{"n": 1}\n')
    files = tm.read(f"{tmp_path}/[ab].jsonl")
    source = files if shape == "read" else tm.read(tmp_path / "c.jsonl").concat(files)
    stream, rebuilt = source.cache(tmp_path / "kept"), source.cache(tmp_path / "kept", changed="rebuild")
    count = len(list(stream))
    assert len(list(stream)) == count
    (tmp_path / "a.jsonl").write_text('{"n": 7}\n')
    with pytest.raises(tm.StateError, match="the source is not what the cache was filled from"):
        list(stream)
    assert sum(record["n"] for record in rebuilt) == count + 6 == sum(record["n"] for record in stream)
    records = tm.read(tmp_path / "b.jsonl").concat(tm.read(tmp_path / "a.jsonl")).cache(tmp_path / "kept")
    filling = records.iterate()
    assert next(filling)["n"] == 1
    (tmp_path / "b.jsonl").write_text('{"n": 2}\n')
    list(filling)
    with pytest.raises(tm.StateError, match="the source is not what the cache was filled from"):
        list(records)
    alone = tm.read(tmp_path / "a.jsonl").cache(tmp_path / "kept")
    for _ in range(2):
        (tmp_path / "a.jsonl").write_text('{"n": 7}\n')
        assert list(alone) == [{"n": 7}]


def test_a_cache_behind_a_join_is_refused_or_made_anew_where_the_other_stream_changed(tmp_path: Path) -> None:
    """Though the cache reads neither; a file written again with the same records is the same."""
    path = tmp_path / "b.jsonl"

    def make(**cache: Any) -> tm.Stream[Any]:
        joined = tm.from_iterable([{"n": n} for n in range(20)]).join(tm.read(path), "n", dir=tmp_path / "kept")
        return joined.map(dict).cache(tmp_path / "kept", part_bytes=200, **cache)

    def write(name: str) -> None:
        path.write_text("".join(f'{{"n": {n}, "name": "{name}"}}\n' for n in range(20)))

    write("a")
    first = list(make())
    records = make().iterate()
    given = [next(records) for _ in range(9)]
    state = through_json(records.state())
    records.close()
    write("a")
    assert list(make()) == first == given + list(make().iterate(state))
    write("b")
    for again in (make(), make().iterate(state)):
        with pytest.raises(tm.StateError, match="step `cache`: the other stream of a join is not what the cache was"):
            list(again)
    assert {record["name"] for record in make(changed="rebuild")} == {"b"} == {record["name"] for record in make()}
    with pytest.raises(tm.StateError, match="step `cache`: the other stream is not what records were joined with"):
        list(make().iterate(state))


def test_a_join_behind_a_cache_is_none_of_its_concern(tmp_path: Path) -> None:
    """It has read its other stream when the cache is filled; that may change, or another step stand there."""
    path = tmp_path / "b.jsonl"
    cached = tm.from_iterable([{"n": n} for n in range(20)]).cache(tmp_path / "kept", part_bytes=200)

    def make() -> tm.Stream[Any]:
        return cached.join(tm.read(path), "n", dir=tmp_path / "kept")

    for name in "ab":
        path.write_text("".join(f'{{"n": {n}, "name": "{name}"}}\n' for n in range(20)))
        assert list(make()) == list(make()) == [{"n": n, "name": name} for n in range(20)]
    assert list(cached.map(dict)) == [{"n": n} for n in range(20)]


def test_a_list_with_other_items_is_another_source(tmp_path: Path) -> None:
    assert list(tm.from_iterable([1, 2, 3]).cache(tmp_path)) == [1, 2, 3]
    with pytest.raises(tm.StateError, match="not what the cache was filled from"):
        list(tm.from_iterable([1, 2, 4]).cache(tmp_path))


def test_other_steps_in_front_fill_a_cache_of_their_own(tmp_path: Path) -> None:
    records = tm.from_iterable([{"n": n} for n in range(5)])
    assert len(list(records.take(4).cache(tmp_path))) == 4
    assert len(list(records.take(3).cache(tmp_path))) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_epochs_behind_a_cache_make_nothing_again(tmp_path: Path) -> None:
    """And have the order of the first, whatever is shuffled in front."""
    stream = make(tmp_path, 30).catch().shuffle(3, buffer=8).cache(tmp_path).repeat(3)
    before = Counted.calls
    given = [record["n"] for record in stream]
    assert given[:26] == given[26:52] == given[52:]
    assert Counted.calls - before == 30
    records = stream.iterate()
    for _ in range(40):
        next(records)
    assert [record["n"] for record in stream.iterate(through_json(records.state()))] == given[40:]


def test_a_state_behind_what_there_is_now_is_refused(tmp_path: Path) -> None:
    stream = tm.from_iterable(iter([1, 2, 3, 4])).cache(tmp_path / "a")
    records = stream.iterate()
    for _ in range(4):
        next(records)
    state = through_json(records.state())
    short = tm.from_iterable(iter([1, 2])).cache(tmp_path / "b")
    with pytest.raises(tm.StateError, match="the state stands 2 records behind the end"):
        list(short.iterate(state))


def test_a_cache_of_another_source_is_refused_again_and_again(tmp_path: Path) -> None:
    list(tm.from_iterable([1, 2, 3]).cache(tmp_path))
    records = tm.from_iterable([1, 2, 4]).cache(tmp_path).iterate()
    for _ in range(3):
        with pytest.raises(tm.StateError, match="not what the cache was filled from"):
            next(records)


def test_a_job_refuses_a_cache(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"n": 1}\n')
    job = tm.read(str(tmp_path / "in.jsonl")).cache(tmp_path / "kept").job(tmp_path / "out")
    with pytest.raises(tm.ConfigError, match="it has no use for a cache"):
        job.check()
