"""Plain iteration through calls: ordered, bounded, exact wherever it stops, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tidemill as tm
from tidemill.testing import Call, Fault, Faults, FaultServer

Record = dict[str, Any]
SLOTS = 8


def model_of(server: FaultServer, **limits: Any) -> tm.Model:
    return tm.model(
        "openai/any", base_url=server.base_url, api_key="none", limits=tm.Limits(**{"concurrency": SLOTS, **limits})
    )


def numbered(count: int) -> tm.Stream[Record]:
    return tm.from_iterable([{"id": number} for number in range(count)])


def asked(server: FaultServer, count: int, **limits: Any) -> tm.Stream[Record]:
    return numbered(count).generate(model_of(server, **limits), "About {{ id }}")


def ids(records: Any) -> list[int]:
    return [record["id"] for record in records]


def uneven(call: Call) -> Fault:
    """A good reply, after 0 to 20 ms that follow from the request."""
    return Fault("reply", delay_s=hashlib.sha256(call.body).digest()[0] / 255 * 0.02)


def test_results_come_in_the_order_of_the_source(server: FaultServer) -> None:
    server.faults = Faults(script=uneven)
    assert ids(asked(server, 100)) == list(range(100))
    assert server.billed == 100
    assert server.max_in_flight <= SLOTS


def test_take_bills_what_it_takes(server: FaultServer) -> None:
    server.latency_s = 0.002
    assert len(list(asked(server, 100).take(5))) == 5
    assert server.billed == 5


def test_take_behind_a_filter_bills_as_one_by_one_would(server: FaultServer) -> None:
    """A record is only called when, with all in flight kept, there would still be too few."""
    server.faults = Faults(script=uneven)
    kept = asked(server, 100).filter(lambda record: record["id"] % 3 == 2).take(5)
    assert ids(kept) == [2, 5, 8, 11, 14]
    assert server.billed == 15


def test_take_in_front_of_calls_bounds_them(server: FaultServer) -> None:
    stream = numbered(100).take(5).generate(model_of(server), "About {{ id }}")
    assert ids(stream) == [0, 1, 2, 3, 4]
    assert server.billed == 5


def test_calls_behind_a_take_behind_calls(server: FaultServer) -> None:
    """Each stretch of calls has its own window; the first one's demand holds whatever stands behind it."""
    twice = asked(server, 100).take(3).generate(model_of(server), "And {{ reply }}", into="more")
    records = list(twice)
    assert ids(records) == [0, 1, 2]
    assert all(record["more"] for record in records)
    assert server.billed == 6


def test_calls_run_ahead_of_the_consumer_by_a_few_times_the_concurrency(server: FaultServer) -> None:
    iterator = asked(server, 1_000).iterate()
    for _ in range(10):
        next(iterator)
    server.wait_idle()
    assert server.billed <= 10 + 6 * SLOTS
    iterator.close()


def children(record: Record) -> list[Record]:
    """None of every fourth, else up to three."""
    return [{**record, "child": number} for number in range(record["id"] % 4)]


def test_state_is_exact_at_every_position(server: FaultServer) -> None:
    """Also within the children of a record, in front of and behind the call, and where a record failed."""
    server.faults = Faults(matching=[("About 6", Fault("status", status=400))])
    stream = (
        numbered(12)
        .flat_map(children)
        .generate(model_of(server), "About {{ id }}.{{ child }}")
        .flat_map(lambda record: [{**record, "part": part} for part in range(record["child"] + 1)])
        .take(20)
    )
    whole, states = walk(stream.iterate())
    assert len(whole) == len(states) - 1
    assert sum(isinstance(step, str) for step in whole) == 2
    for position, state in enumerate(states):
        rest, _ = walk(stream.iterate(json.loads(json.dumps(state))))
        assert rest == whole[position:], position


def walk(iterator: Any) -> tuple[list[Any], list[Any]]:
    """What an iterator gives, errors in their places as text, and its state in front of each and at the end."""
    found: list[Any] = []
    states = [iterator.state()]
    while True:
        try:
            record = next(iterator)
        except StopIteration:
            return found, states
        except tm.CallError as error:
            found.append(str(error.status))
        else:
            found.append((record["id"], record["child"], record["part"]))
        states.append(iterator.state())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda stream, model: stream.generate(model, "Other {{ id }}"), "step `generate` changed"),
        (lambda stream, model: stream.filter(bool).generate(model, "About {{ id }}"), "step `filter` stands where"),
        (lambda stream, model: stream.generate(model, "About {{ id }}").filter(bool), "step `filter` is new"),
        (lambda stream, model: stream.take(5).generate(model, "About {{ id }}"), "step `take` stands where"),
    ],
)
def test_a_foreign_state_is_refused_naming_the_step(server: FaultServer, changed: Any, told: str) -> None:
    iterator = asked(server, 9).iterate()
    next(iterator)
    iterator.close()
    with pytest.raises(tm.StateError, match=told):
        changed(numbered(9), model_of(server)).iterate(iterator.state())


def test_stopping_early_cancels_what_is_in_flight(server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("stall") if call.message != "About 0" else None)
    iterator = asked(server, 100).iterate()
    assert next(iterator)["id"] == 0
    server.wait_for(requests=1 + SLOTS)
    assert server.in_flight == SLOTS
    iterator.close()
    assert server.wait_idle()["in_flight"] == 0
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_dropped_iterator_cancels_what_is_in_flight(server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("stall") if call.message != "About 0" else None)
    for record in asked(server, 100):
        assert record["id"] == 0
        server.wait_for(requests=1 + SLOTS)
        break
    assert server.wait_idle()["in_flight"] == 0


def fail_as_our_own(record: Record) -> Record:
    raise tm.DataError("not this one")


def fail_with_an_error_that_holds_itself(record: Record) -> Record:
    failure = tm.DataError("not this one")
    raise failure


def fail_as_one_of_python(record: Record) -> Record:
    raise ValueError("not this one")


async def fail_awaited(record: Record) -> Record:
    raise tm.DataError("not this one")


@pytest.mark.parametrize(
    "refuse", [fail_as_our_own, fail_with_an_error_that_holds_itself, fail_as_one_of_python, fail_awaited]
)
@pytest.mark.parametrize("step", ["map", "call", "gather"])
def test_what_a_record_s_failure_ends_is_released_at_once_and_by_no_collection(refuse: Any, step: str) -> None:
    released = []

    @contextmanager
    def connect() -> Iterator[str]:
        yield "connection"
        released.append("connection")

    def look(record: Record, db: str) -> Record:
        return record

    stream = numbered(9).call(look).provide(db=connect)
    if step == "gather":
        stream = stream.gather(found={"call": refuse})
    else:
        stream = stream.map(refuse) if step == "map" else stream.call(refuse)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(tm.DataError, match="not this one"):
            list(stream)
        assert released == ["connection"]
    finally:
        gc.enable()


@pytest.mark.parametrize("where", ["tidemill-reader", "tidemill-loop"])
def test_an_iterator_in_a_cycle_is_released_by_whichever_thread_collects_it(server: FaultServer, where: str) -> None:
    """The collector may run in the very threads that are to be ended."""
    handed, dropped, collected = threading.Event(), threading.Event(), threading.Event()

    def answer(call: Call) -> None:
        """Record 0 is handed over before the loop stands still at record 1, which is asked for behind it."""
        if call.message == "About 1":
            handed.wait(30)

    def collect(record: Record) -> Record:
        if record["id"] == 1 and threading.current_thread().name == where:
            dropped.wait(30)
            gc.collect()
            collected.set()
        return record

    gc.collect()
    server.faults = Faults(script=answer)
    model = model_of(server, concurrency=1)
    iterator = numbered(100).map(collect).generate(model, "About {{ id }}").map(collect).iterate()
    assert next(iterator)["id"] == 0
    handed.set()
    own = [thread for thread in threading.enumerate() if thread.name in ("tidemill-reader", "tidemill-loop")]
    cycle: list[Any] = [iterator]
    cycle.append(cycle)
    del iterator, cycle
    dropped.set()
    assert collected.wait(30)
    for thread in own:
        thread.join(30)
        assert not thread.is_alive()


def test_a_record_that_fails_raises_in_its_place(server: FaultServer) -> None:
    server.faults = Faults(matching=[("About 3", Fault("status", status=400, content="no threes"))])
    iterator = asked(server, 6).iterate()
    assert ids(next(iterator) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(tm.PermanentCallError, match="no threes"):
        next(iterator)
    assert ids(iterator) == [4, 5]


def test_a_record_that_fails_at_a_step_that_skips_is_passed_over(server: FaultServer) -> None:
    server.faults = Faults(matching=[("About 3", Fault("status", status=400))])
    stream = numbered(6).generate(model_of(server), "About {{ id }}", on_error="skip")
    assert ids(stream) == [0, 1, 2, 4, 5]


def test_a_function_that_fails_behind_a_call_raises_in_its_place(server: FaultServer) -> None:
    def refuse(record: Record) -> Record:
        if record["id"] == 1:
            raise ValueError("not one")
        if record["id"] == 2:
            raise StopIteration
        return record

    iterator = asked(server, 4).map(refuse).iterate()
    assert next(iterator)["id"] == 0
    with pytest.raises(tm.DataError, match="step `map`: ValueError: not one") as raised:
        next(iterator)
    assert isinstance(raised.value.__cause__, ValueError)
    with pytest.raises(tm.WorkerError, match="raised StopIteration"):
        next(iterator)
    assert ids(iterator) == [3]


async def later(record: Record) -> int:
    await asyncio.sleep(0)
    return int(record["id"]) + 1


def test_coroutine_functions_behind_a_call_are_awaited(server: FaultServer) -> None:
    stream = asked(server, 3).with_columns(next=later, same=lambda record: record["id"]).filter(later).map(later)
    assert list(stream) == [1, 2, 3]
    records = list(asked(server, 3).with_columns(next=later, same=lambda record: record["id"]))
    assert [(record["next"], record["same"]) for record in records] == [(1, 0), (2, 1), (3, 2)]


def test_functions_behind_a_call_have_workers_of_their_own(server: FaultServer) -> None:
    """Where the iteration asks for them; what stands behind those runs as plain steps."""
    stream = asked(server, 9).map(later, concurrency=4).map(str, on="threads", concurrency=2).filter(bool)
    assert list(stream) == [str(number) for number in range(1, 10)]


@pytest.mark.parametrize("step", ["filter", "flat_map"])
def test_a_coroutine_function_in_front_of_calls_is_refused(server: FaultServer, step: str) -> None:
    stream = getattr(numbered(3), step)(later)
    for each in (stream, stream.generate(model_of(server), "About {{ id }}")):
        with pytest.raises(tm.ConfigError, match="nothing awaits it before the first call"):
            list(each)


def test_a_failure_of_the_run_ends_the_iteration_for_good(server: FaultServer) -> None:
    """What was finished before it is given; asked again it says the same, and never looks like an end."""
    server.faults = Faults(matching=[("About 2", Fault("unauthorized"))])
    iterator = asked(server, 9, concurrency=1).iterate()
    assert ids(next(iterator) for _ in range(2)) == [0, 1]
    for _ in range(2):
        with pytest.raises(tm.PermanentCallError, match="401") as caught:
            next(iterator)
        assert caught.value.of == "run"
    assert server.requests == 3


def test_a_source_that_fails_raises_in_its_place(server: FaultServer, tmp_path: Any) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": 0}\n{corrupt\n{"id": 2}\n')
    iterator = tm.read(path).generate(model_of(server), "About {{ id }}").iterate()
    assert next(iterator)["id"] == 0
    with pytest.raises(tm.DataError, match="JSON"):
        next(iterator)
    assert ids(iterator) == [2]


def test_no_file_is_told_before_anything_is_opened(server: FaultServer, tmp_path: Any) -> None:
    with pytest.raises(tm.DataError, match=r"no file matches `\*\.jsonl`"):
        list(tm.read(tmp_path / "*.jsonl").generate(model_of(server), "About {{ id }}"))
    assert server.stats()["connections"] == 1  # this look at the counters


def test_a_missing_key_is_told_at_the_first_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    iterator = numbered(3).generate("mistral/small", "About {{ id }}").iterate()
    for _ in range(2):
        with pytest.raises(tm.ConfigError, match="needs a key, and MISTRAL_API_KEY is not set"):
            next(iterator)


def test_an_interrupt_cancels_and_is_never_taken_for_the_end(server: FaultServer) -> None:
    def script(call: Call) -> Fault | None:
        if call.message == "About 2" and call.times == 1:
            os.kill(os.getpid(), signal.SIGINT)
            return Fault("stall")
        return None

    server.faults = Faults(script=script)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = asked(server, 5, concurrency=1)
    iterator = stream.iterate()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(iterator)
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.wait_idle()["in_flight"] == 0
    with pytest.raises(tm.StateError, match="the iteration was interrupted, and its calls in flight cancelled"):
        next(iterator)
    rest = ids(stream.iterate(iterator.state()))
    assert rest == list(range(rest[0], 5))


async def test_it_works_inside_a_running_loop(server: FaultServer) -> None:
    assert ids(asked(server, 20)) == list(range(20))
    assert asyncio.get_running_loop().is_running()


def test_a_stream_is_iterated_anew_each_time(server: FaultServer) -> None:
    stream = asked(server, 3)
    assert list(stream) == list(stream)
    assert server.billed == 6


def test_save_writes_what_iteration_gives(server: FaultServer, tmp_path: Any) -> None:
    assert asked(server, 5).save(tmp_path / "asked.jsonl.gz") == 5
    assert ids(tm.read(tmp_path / "asked.jsonl.gz")) == [0, 1, 2, 3, 4]


def test_a_slow_source_is_handed_on_record_by_record(server: FaultServer) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[Record]:
        yield {"id": 0}
        yield {"id": 1}
        go_on.wait(60)
        yield {"id": 2}

    iterator = tm.from_iterable(slow).generate(model_of(server), "About {{ id }}").iterate()
    assert next(iterator)["id"] == 0
    go_on.set()
    assert ids(iterator) == [1, 2]
