"""Going through a stream in an event loop: what plain iteration gives, from a thread that ends with it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import SOURCES, open_source, steps_for
from resuming import outcomes, through_json

import tidemill as tm
from tidemill.data import async_iteration
from tidemill.data.async_iteration import AsyncRecords
from tidemill.data.merging import merge_states
from tidemill.errors import TidemillError
from tidemill.protocols import Source, State
from tidemill.stream.stream import make_stream
from tidemill.testing import Fault, Faults, FaultServer


async def next_outcome(records: AsyncRecords[Any]) -> Any:
    """The next record, or what its failure says; None at the end."""
    try:
        return ("record", await anext(records))
    except StopAsyncIteration:
        return None
    except TidemillError as error:
        return (type(error).__name__, error.message, getattr(error, "raw", None), getattr(error, "offset", None))


async def all_outcomes(records: AsyncRecords[Any]) -> list[Any]:
    found: list[Any] = []
    while (outcome := await next_outcome(records)) is not None:
        found.append(outcome)
    await records.aclose()
    return found


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    with open_source(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=[256, 3])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Records in a block at most."""
    monkeypatch.setattr("tidemill.stream.stream.BLOCK_RECORDS", request.param)
    monkeypatch.setattr(async_iteration, "BLOCK_S", 60)
    size: int = request.param
    return size


async def test_every_step_over_every_source_gives_what_plain_iteration_gives(source: Source, block: int) -> None:
    """Records, failures at their places, and the state at every position: for both kinds, and twice in a row.

    Within one block every fourth position stands for the others.
    """
    for node in steps_for(source):
        stream = make_stream(source, [node])
        whole = outcomes(stream.iterate())
        walking = stream.aiterate()
        for position in range(len(whole) + 1):
            state = through_json(walking.state())
            if position % 4 == 1 or block == 3:
                assert outcomes(stream.iterate(state)) == whole[position:]
            if position % 4 == 1:
                assert await all_outcomes(stream.aiterate(state)) == whole[position:]
                again = stream.iterate(state)
                assert again.state() == state
                outcomes(again, 1)
                assert outcomes(stream.iterate(through_json(again.state()))) == whole[position + 1 :]
                again.close()
            found = await next_outcome(walking)
            assert found == (whole[position] if position < len(whole) else None)
        await walking.aclose()


async def test_a_state_of_plain_iteration_goes_on_in_a_loop(source: Source) -> None:
    stream = make_stream(source)
    records = stream.iterate()
    given = outcomes(records, 4)
    rest = await all_outcomes(stream.aiterate(through_json(records.state())))
    assert given + rest == outcomes(stream.iterate())
    records.close()


def numbers(stop: int) -> Iterator[dict[str, int]]:
    return ({"n": n} for n in range(stop))


async def test_async_for_goes_through_a_stream(tmp_path: Path) -> None:
    """A stream, a dataset, and one in which failures are passed over."""
    tm.from_iterable(partial(numbers, 1000)).save(tmp_path / "a.jsonl")
    stream = tm.read(tmp_path / "a.jsonl").filter(lambda record: record["n"] % 2)
    assert [record["n"] async for record in stream] == list(range(1, 1000, 2))
    assert [record async for record in tm.dataset([1, 2, 3])] == [1, 2, 3]


async def test_functions_run_in_one_thread_of_their_own_with_the_callers_context() -> None:
    """Never in the loop's; context variables and torch's gradient mode go along, as they are when it is asked."""
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[Any] = []

    def note(_: Any) -> None:
        seen.append((threading.current_thread(), variable.get(), torch.is_grad_enabled()))

    records = tm.from_iterable(partial(numbers, 2)).observe(note).aiterate()
    variable.set(7)
    with torch.no_grad():
        assert [record async for record in records] == [{"n": 0}, {"n": 1}]
    assert [each[1:] for each in seen] == [(7, False)] * 2
    assert {each[0] for each in seen}.isdisjoint({threading.current_thread()})
    assert len({each[0] for each in seen}) == 1


async def test_a_slow_source_hands_over_what_it_has() -> None:
    """The loop goes on meanwhile, and the first record does not wait for a block to fill."""
    gates = [threading.Event() for _ in range(3)]

    def wait(record: dict[str, int]) -> dict[str, int]:
        gates[record["n"]].wait(30)
        return record

    async with aclosing(tm.from_iterable(partial(numbers, 3)).map(wait).aiterate()) as records:
        for number, gate in enumerate(gates):
            asked = asyncio.ensure_future(anext(records))
            for _ in range(10):
                await asyncio.sleep(0)  # the loop is free
            assert not asked.done()
            await asyncio.to_thread(pass_time)
            gate.set()
            assert await asked == {"n": number}


def pass_time() -> None:
    """Let a block's time pass."""
    threading.Event().wait(3 * async_iteration.BLOCK_S)


async def test_a_cancelled_request_loses_no_record() -> None:
    """What was being read is given to the next request, and the state is in front of it until then."""
    gate = threading.Event()

    def wait(record: dict[str, int]) -> dict[str, int]:
        gate.wait(30)
        return record

    stream = tm.from_iterable(partial(numbers, 3)).map(wait)
    async with aclosing(stream.aiterate()) as records:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(records), 0.001)
        state = records.state()
        gate.set()
        assert [record["n"] async for record in records] == [0, 1, 2]
    assert [record["n"] for record in stream.iterate(state)] == [0, 1, 2]


async def test_several_tasks_share_one_iterator() -> None:
    """Each record goes to one of them."""
    records = tm.from_iterable(partial(numbers, 2000)).aiterate()

    async def collect() -> list[int]:
        found = []
        async for record in records:
            found.append(record["n"])
            await asyncio.sleep(0)
        return found

    shares = await asyncio.gather(*(collect() for _ in range(4)))
    assert sorted(number for share in shares for number in share) == list(range(2000))
    assert all(shares)


@pytest.mark.parametrize("how", ["break", "aclose", "cancel", "drop"])
async def test_leaving_early_frees_files_and_threads(tmp_path: Path, how: str) -> None:
    """At once when it is closed, and when it is dropped; the fixtures of every test look for what is left."""
    tm.from_iterable(partial(numbers, 5000)).save(tmp_path / "a.jsonl")
    stream = tm.read(tmp_path / "a.jsonl").prefetch(4)
    if how == "break":
        async for _ in stream:
            break
    elif how == "cancel":
        task = asyncio.create_task(go_on_for_ever(stream.repeat()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        records = stream.aiterate()
        await anext(records)
        if how == "aclose":
            await records.aclose()
            await records.aclose()
            assert [each async for each in records] == []
            assert not [each for each in threading.enumerate() if each.name == "tidemill-prefetch"]
        del records
        gc.collect()


async def go_on_for_ever(stream: tm.Stream[Any]) -> None:
    async for _ in stream:
        await asyncio.sleep(0)


async def test_closing_ends_the_reading_at_the_next_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the block would go on."""
    monkeypatch.setattr("tidemill.stream.stream.BLOCK_RECORDS", 1 << 60)
    monkeypatch.setattr(async_iteration, "BLOCK_S", 1 << 60)
    seen = threading.Event()
    async with aclosing(tm.from_iterable(count).observe(lambda _: seen.set()).aiterate()) as records:
        asked = asyncio.ensure_future(anext(records))
        await asyncio.to_thread(seen.wait)
    with pytest.raises(StopAsyncIteration):
        await asked


def fail_at_two(record: dict[str, int]) -> dict[str, int]:
    if record["n"] == 2:
        raise ValueError("two")
    return record


async def test_a_failure_that_is_kept_keeps_no_iterator() -> None:
    """Its traceback has no frame of the reading in it."""
    stream = tm.from_iterable(partial(numbers, 4)).map(fail_at_two)
    records = stream.aiterate()
    found: list[Any] = []
    kept = []
    while True:
        try:
            found.append(await anext(records))
        except StopAsyncIteration:
            break
        except tm.DataError as error:
            kept.append(error)
    assert [record["n"] for record in found] == [0, 1, 3]
    assert "item 2, step `map`" in str(kept[0])
    alive = weakref.ref(records)
    del records
    assert alive() is None


async def test_a_foreign_state_is_refused_at_once() -> None:
    records = tm.from_iterable([1, 2]).map(str).aiterate()
    with pytest.raises(tm.StateError, match="step `map` is gone"):
        tm.from_iterable([1, 2]).aiterate(records.state())


async def test_a_source_that_is_not_there_is_told_by_the_first_record(tmp_path: Path) -> None:
    """Making the iterator touches nothing; it is then at its end."""
    records = tm.read(tmp_path / "none.jsonl").aiterate()
    with pytest.raises(tm.DataError, match=r"none\.jsonl"):
        await anext(records)
    assert [each async for each in records] == []


async def test_a_state_behind_the_end_is_refused(tmp_path: Path) -> None:
    """The source gives fewer records than it gave then."""
    path = tmp_path / "words"
    path.write_text("a b c d e")
    stream = tm.from_iterable(lambda: path.read_text().split())
    async with aclosing(stream.aiterate()) as records:
        for _ in range(4):
            await anext(records)
        state = records.state()
    path.write_text("a b")
    with pytest.raises(tm.StateError, match="the state stands 2 records behind the end of what there is now"):
        next(stream.iterate(state))


async def test_explain_tells_where_the_record_given_last_came_from(tmp_path: Path) -> None:
    """Within a block, at its end, behind a step that gathers, and at the end of all."""
    tm.from_iterable(partial(numbers, 9)).save(tmp_path / "a.jsonl")
    for stream in (tm.read(tmp_path / "a.jsonl").map(dict), tm.read(tmp_path / "a.jsonl").batch(2).map(list)):
        plain, records = stream.iterate(), stream.aiterate()
        assert str(await records.explain()) == str(plain.explain())
        for _ in plain:
            await anext(records)
            assert str(await records.explain()) == str(plain.explain())
        with pytest.raises(StopAsyncIteration):
            await anext(records)
        assert (await records.explain()).steps == plain.explain().steps
        await records.aclose()


async def test_explain_writes_no_quarantine(tmp_path: Path) -> None:
    """Records read again for it leave the file of a `catch` as it is."""
    stream = tm.from_iterable(partial(numbers, 6)).map(fail_at_two).catch(to=tmp_path / "bad.jsonl")
    async with aclosing(stream.aiterate()) as records:
        for _ in range(4):
            await anext(records)
            await records.explain()
        state: State = records.state()
        assert len((tmp_path / "bad.jsonl").read_bytes().splitlines()) == 1
    assert [record["n"] async for record in stream.aiterate(state)] == [5]
    assert len((tmp_path / "bad.jsonl").read_bytes().splitlines()) == 1


async def test_behind_a_call_records_come_one_by_one(fault_server: FaultServer) -> None:
    """So that a state holds each reply that was given, and a resume asks for none of them again."""
    fault_server.faults = Faults(matching=[("Is 2?", Fault("status", status=400))])
    model = tm.model("openai/any", base_url=fault_server.base_url, api_key="none", limits=tm.Limits(concurrency=2))
    stream = tm.from_iterable(list(numbers(6))).generate(model, "Is {{ n }}?")
    async with aclosing(stream.aiterate()) as records:
        assert [await next_number(records) for _ in range(4)] == [0, 1, "PermanentCallError", 3]
        state = through_json(records.state())
        assert "passed" not in state
    assert [record["n"] async for record in stream.aiterate(state)] == [4, 5]


async def next_number(records: AsyncRecords[Any]) -> Any:
    outcome = await next_outcome(records)
    return outcome[1]["n"] if outcome[0] == "record" else outcome[0]


async def test_hooks_are_those_there_are_when_it_is_made() -> None:
    """As for plain iteration."""
    pipeline = tm.Pipeline([dict])
    handle = pipeline.register_after(lambda name, record, result: {**result, "by": name})
    records = (tm.from_iterable(partial(numbers, 2)) | pipeline).aiterate()
    handle.remove()
    assert [record["by"] async for record in records] == ["map", "map"]
    assert [record async for record in tm.from_iterable(partial(numbers, 1)) | pipeline] == [{"n": 0}]


class Entered:
    """A step that is entered and left, and notes where."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Entered:
        self.threads.append(threading.current_thread())
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.append(threading.current_thread())

    def __call__(self, record: Any) -> Any:
        self.threads.append(threading.current_thread())
        return record


@pytest.mark.parametrize("early", [False, True])
async def test_a_step_is_entered_and_left_in_the_thread_that_calls_it(early: bool) -> None:
    """At the end, and when it is closed before that."""
    step = Entered()
    async with aclosing(tm.from_iterable(partial(numbers, 600)).map(step).aiterate()) as records:
        async for _ in records:
            if early:
                break
    assert len(step.threads) == (258 if early else 602)
    assert len(set(step.threads)) == 1
    assert step.threads[0] is not threading.current_thread()


async def test_a_state_within_a_block_is_not_merged() -> None:
    """Ranks are put together by where their pipelines stand."""
    async with aclosing(tm.from_iterable(list(numbers(9))).shard(0, 1).aiterate()) as records:
        await anext(records)
        state = records.state()
    with pytest.raises(tm.StateError, match="got one of an asynchronous iterator within a block"):
        merge_states([state])
