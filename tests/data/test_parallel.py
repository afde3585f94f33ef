"""Records in flight: how many, in which order, what fails, what is left when it ends, and where it goes on."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil
import pytest
import work
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes.across import Batch, Prefetch, Repeat, Shuffle, Skip, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch, Filter, FlatMap, Map
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.stages import anchored
from tidemill.errors import ConfigError, DataError, StateError, WorkerError
from tidemill.protocols import State

WAIT_S = 60.0
"""How long a test waits for another thread or process before it fails."""

On = Literal["threads", "processes", "async"]
ALL: list[On] = ["threads", "processes", "async"]
IN_PROCESS: list[On] = ["threads", "async"]


def doubling(on: On, concurrency: int = 3, *, fails: bool = False, **fields: Any) -> Map:
    """The same function for each kind of worker."""
    plain, later = (work.double_or_fail, work.double_or_fail_later) if fails else (work.double, work.double_later)
    return Map(fn=later if on == "async" else plain, on=on, concurrency=concurrency, **fields)


def open_numbers(nodes: list[Node], stop: int = 20, state: State | None = None) -> Records:
    return iterate(FromIterable(iterable=range(stop)), nodes, state)


def failed(n: int) -> Any:
    return ("DataError", f"ValueError: {n} is a seventh", None, None)


def doubles(stop: int, *, fails: bool) -> list[Any]:
    """What must come of the numbers below `stop`."""
    return [failed(n) if fails and n % 7 == 3 else ("record", 2 * n) for n in range(stop)]


@contextmanager
def anchors_every(records: int) -> Iterator[None]:
    before, anchored.ANCHOR_RECORDS = anchored.ANCHOR_RECORDS, records
    try:
        yield
    finally:
        anchored.ANCHOR_RECORDS = before


class Gates:
    """A function that says when it has begun with a number, and ends when the gate of that number is opened."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._gates: dict[int, Future[None]] = {}
        self._lock = threading.Lock()  # guards _gates

    def pass_through(self, n: int) -> int:
        self.begun.put(n)
        self.gate(n).result(WAIT_S)
        return 2 * n

    async def pass_later(self, n: int) -> int:
        self.begun.put(n)
        await asyncio.wrap_future(self.gate(n))
        return 2 * n

    def map(self, on: On, concurrency: int, **fields: Any) -> Map:
        fn: Callable[[int], Any] = self.pass_later if on == "async" else self.pass_through
        return Map(fn=fn, on=on, concurrency=concurrency, **fields)

    def open(self, *numbers: int) -> None:
        for n in numbers:
            self.gate(n).set_result(None)

    def gate(self, n: int) -> Future[None]:
        with self._lock:
            return self._gates.setdefault(n, Future())

    def take_begun(self, many: int) -> set[int]:
        """The next numbers that were begun with."""
        return {self.begun.get(timeout=WAIT_S) for _ in range(many)}


class Counted:
    """A source that counts what is read of it."""

    def __init__(self, stop: int) -> None:
        self.read = 0
        self._stop = stop

    def __call__(self) -> Iterator[int]:
        for n in range(self._stop):
            self.read += 1
            yield n


class Length:
    """How many a source function gives."""

    stop = 20


def shrinking() -> Iterator[int]:
    return iter(range(Length.stop))


# What is given, and in which order


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("on", ALL)
def test_every_record_has_one_outcome(on: On, ordered: bool, fails: bool) -> None:
    """In the order of the records, or in any; a failure stands at its record's place and the next one follows it."""
    found = outcomes(open_numbers([doubling(on, fails=fails, ordered=ordered)]))
    expected = doubles(20, fails=fails)
    assert found == expected if ordered else sorted(map(str, found)) == sorted(map(str, expected))


@pytest.mark.parametrize("on", IN_PROCESS)
@pytest.mark.parametrize("ordered", [True, False])
def test_order_is_kept_or_not(on: On, ordered: bool) -> None:
    """The second is finished first."""
    gates = Gates()
    iterator = open_numbers([gates.map(on, 2, ordered=ordered)], 2)
    gates.open(1)
    if ordered:
        gates.open(0)
        assert list(iterator) == [0, 2]
    else:
        assert next(iterator) == 2
        gates.open(0)
        assert list(iterator) == [0]


def test_a_coroutine_function_alone_is_awaited() -> None:
    assert list(tm.from_iterable(range(5)).map(work.double_later)) == [0, 2, 4, 6, 8]
    stream = tm.from_iterable(range(5)).map(lambda n: work.double_later(n + 1 - 1), on="async", concurrency=2)
    assert list(stream) == [0, 2, 4, 6, 8]


def test_threads_are_the_default() -> None:
    names = set(tm.from_iterable(range(50)).map(lambda n: threading.current_thread().name, concurrency=2))
    assert names <= {"tidemill-map-0", "tidemill-map-1"}


def test_one_process_for_each_record_in_flight() -> None:
    pids = list(open_numbers([Map(fn=work.tell_process, on="processes", concurrency=2)]))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize("on", ALL)
async def test_it_works_inside_a_running_loop(on: On) -> None:
    """As in a notebook's cell."""
    assert len(list(open_numbers([doubling(on)]))) == 20


@pytest.mark.parametrize("on", IN_PROCESS)
def test_context_variables_go_along(on: On) -> None:
    """Each record has those of the consumer at the time it was started, in a copy of its own."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")

    def ask(n: int) -> str:
        found = name.get()
        name.set("leaked")
        return found

    async def ask_later(n: int) -> str:
        return ask(n)

    iterator = open_numbers([Map(fn=ask_later if on == "async" else ask, on=on, concurrency=2)], 8)
    name.set("first")
    given = [next(iterator) for _ in range(3)]
    name.set("second")
    assert [*given, *iterator] == ["first"] * 5 + ["second"] * 3
    assert name.get() == "second"


@pytest.mark.parametrize("on", ALL)
def test_the_gradient_mode_goes_along(on: On) -> None:
    """Each record has that of the consumer at the time it was started."""
    torch = pytest.importorskip("torch")

    async def find_mode(n: int) -> tuple[bool, bool]:
        return work.find_mode(n)

    iterator = open_numbers([Map(fn=find_mode if on == "async" else work.find_mode, on=on)], 5)
    with torch.no_grad():
        given = [next(iterator)]
    with torch.inference_mode():
        given.append(next(iterator))
    assert [*given, *iterator] == [(False, False), (False, False), (False, True), (True, False), (True, False)]
    assert torch.is_grad_enabled()


# How many are in flight


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("on", ALL)
def test_exactly_n_are_in_flight_while_the_consumer_stalls(on: On, ordered: bool) -> None:
    """Whoever has taken `k` has had `k + n` read, no more and no fewer, and nothing before the first."""
    source = Counted(20)
    iterator = iterate(FromIterable(iterable=source), [doubling(on, 4, ordered=ordered)])
    iterator.state()
    assert source.read == 0
    for taken in range(1, 21):
        next(iterator)
        assert source.read == min(20, taken + 4)
    iterator.close()


@pytest.mark.parametrize("on", IN_PROCESS)
def test_all_that_are_in_flight_are_begun_with(on: On) -> None:
    """While the consumer does nothing; one that was given has its place taken at once."""
    gates = Gates()
    iterator = open_numbers([gates.map(on, 4)])
    gates.open(0)
    assert next(iterator) == 0
    assert gates.take_begun(5) == {0, 1, 2, 3, 4}
    gates.open(1, 2)
    assert next(iterator) == 2
    assert gates.take_begun(1) == {5}
    assert gates.begun.empty()
    gates.open(3, 4, 5)
    iterator.close()


@pytest.mark.parametrize("on", IN_PROCESS)
def test_finished_ones_keep_their_place_until_they_are_given(on: On) -> None:
    """A slow first record lets no others be started in the place of those that wait behind it."""
    gates = Gates()
    source = Counted(20)
    iterator = iterate(FromIterable(iterable=source), [gates.map(on, 4)])

    def work_on() -> None:
        gates.take_begun(4)
        gates.open(1, 2, 3)
        gates.open(0)

    thread = threading.Thread(target=work_on)
    thread.start()
    assert next(iterator) == 0
    thread.join()
    assert source.read == 5
    gates.open(4)
    iterator.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("on", IN_PROCESS)
@settings(max_examples=25)
@given(stop=st.integers(0, 30), concurrency=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_any_latencies(on: On, ordered: bool, stop: int, concurrency: int, seed: int) -> None:
    """However long each record takes: every one once, in order or not, and never more than `concurrency` at work."""
    gates, chance, source = Gates(), random.Random(seed), Counted(stop)

    def release() -> None:
        working: list[int] = []
        for _ in range(stop):
            if not working or (len(working) < concurrency and chance.random() < 0.5 and not gates.begun.empty()):
                working.append(gates.begun.get(timeout=WAIT_S))
            while not gates.begun.empty():
                working.append(gates.begun.get())
            assert len(working) <= concurrency
            gates.open(working.pop(chance.randrange(len(working))))

    thread = threading.Thread(target=release)
    thread.start()
    iterator = iterate(FromIterable(iterable=source), [gates.map(on, concurrency, ordered=ordered)])
    given: list[int] = []
    for record in iterator:
        given.append(record)
        assert source.read == min(stop, len(given) + concurrency)
    thread.join()
    assert (given if ordered else sorted(given)) == [2 * n for n in range(stop)]


# What fails


@pytest.mark.parametrize("on", ALL)
def test_failures_are_passed_over(on: On) -> None:
    assert list(open_numbers([doubling(on, fails=True, on_error="skip")], 12)) == [
        2 * n for n in range(12) if n % 7 != 3
    ]


@pytest.mark.parametrize("on", ALL)
def test_a_failure_in_front_is_raised_at_its_place(on: On) -> None:
    """It is not this step's to pass over."""
    nodes: list[Node] = [Map(fn=work.double_or_fail), doubling(on, on_error="skip")]
    found = outcomes(open_numbers(nodes, 12))
    assert found == [failed(n) if n % 7 == 3 else ("record", 4 * n) for n in range(12)]


def end_early(n: int) -> Any:
    return next(iter(())) if n == 1 else n


async def end_early_later(n: int) -> Any:
    return end_early(n)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("on", ALL)
def test_stop_iteration_never_ends_the_stream(on: On, on_error: Literal["raise", "skip"]) -> None:
    fn = {"threads": end_early, "async": end_early_later, "processes": work.misbehave}[on]
    start = 8 if on == "processes" else 0
    node = Map(fn=fn, on=on, concurrency=2, on_error=on_error)
    iterator = iterate(FromIterable(iterable=range(start, start + 3)), [node])
    found = outcomes(iterator)
    if on_error == "skip":
        assert [kind for kind, *_ in found] == ["record", "record"]
        assert iterator.losses.skipped == {"map": 1}
        return
    assert [kind for kind, *_ in found] == ["record", "WorkerError", "record"]
    assert found[1][1] == "the function raised StopIteration, which would have ended the stream"


def test_a_step_behind_that_raises_stop_iteration_fails_its_record() -> None:
    """Also on the last record, when all was read ahead of it."""
    for step in (doubling("threads"), Prefetch(count=5)):
        found = outcomes(open_numbers([step, Map(fn=lambda n: next(iter(())))], 2))
        assert [kind for kind, *_ in found] == ["WorkerError", "WorkerError"]


@pytest.mark.parametrize("on", IN_PROCESS)
def test_a_base_exception_is_raised_at_its_place(on: On) -> None:
    async def leave_later(n: int) -> int:
        return leave(n)

    def leave(n: int) -> int:
        if n == 1:
            raise SystemExit("out")
        return n

    iterator = open_numbers([Map(fn=leave_later if on == "async" else leave, on=on, concurrency=3)], 3)
    assert next(iterator) == 0
    with pytest.raises(SystemExit, match="out"):
        next(iterator)
    assert list(iterator) == [2]


def test_a_coroutine_that_is_cancelled_from_within_fails() -> None:
    async def cancel(n: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(WorkerError, match="iterable, item 0, step `map`: the function was cancelled from within"):
        next(open_numbers([Map(fn=cancel, concurrency=2)]))


def test_what_cannot_be_awaited_fails() -> None:
    with pytest.raises(WorkerError, match="expected something to await from the function, got a int"):
        next(open_numbers([Map(fn=work.double, on="async")]))


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_coroutine_functions_are_refused_where_nothing_awaits_them(on: On) -> None:
    with pytest.raises(ConfigError, match=f'coroutine function, which on="{on}" does not await'):
        open_numbers([Map(fn=work.double_later, on=on)])


@pytest.mark.parametrize("on", ALL)
def test_failures_go_to_quarantine_whole(on: On, tmp_path: Path) -> None:
    """With their place and cause, as those of a step without workers."""
    held = tmp_path / "held.jsonl"
    nodes: list[Node] = [doubling(on, fails=True), Catch(to=str(held))]
    iterator = open_numbers(nodes, 12)
    assert list(iterator) == [2 * n for n in range(12) if n % 7 != 3]
    assert iterator.losses.quarantined == {"map": 2}
    first, second = map(orjson.loads, held.read_bytes().splitlines())
    assert (first["record"], first["type"], first["where"]) == (3, "ValueError", "iterable, item 3, step `map`")
    assert second["record"] == 10


@pytest.mark.parametrize("step", [*IN_PROCESS, "prefetch"])
def test_a_record_knows_where_it_came_from(step: On | Literal["prefetch"], tmp_path: Path) -> None:
    """That which was given last, however many were read since; in front of it children, epochs and batches."""
    name = "prefetch" if step == "prefetch" else "map"
    node = Prefetch(count=4) if step == "prefetch" else doubling(step, 4)
    with anchors_every(5):
        iterator = open_numbers([node])
        for n in range(20):
            next(iterator)
            assert str(iterator.explain()) == f"iterable, item {n}: {name}"
        iterator = open_numbers([FlatMap(fn=lambda n: [n, n]), node, Repeat(epochs=2)], 3)
        found = [str(iterator.explain()) for _ in iterator]
        assert found[5:8] == [
            f"iterable, item 2: flat_map child 1, {name}, repeat epoch 0",
            f"iterable, item 0: flat_map child 0, {name}, repeat epoch 1",
            f"iterable, item 0: flat_map child 1, {name}, repeat epoch 1",
        ]
        iterator = open_numbers([Shuffle(seed=1, buffer=8), node], 20)
        for record in iterator:
            n = record if step == "prefetch" else record // 2
            assert str(iterator.explain()) == f"iterable, item {n}: shuffle, {name}"
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(30)))
    lines = tm.read(path)
    iterator = (lines.prefetch(4) if step == "prefetch" else lines.map(dict, concurrency=4)).iterate()
    for n in range(20):
        assert next(iterator) == {"n": n}
        offset = sum(len(f'{{"n": {number}}}\n') for number in range(n))
        assert iterator.explain().location == f"numbers.jsonl, byte {offset}"
    iterator.close()


# Processes


def test_a_remote_traceback_survives() -> None:
    """As the cause of the error, with the functions and lines of the worker."""
    with pytest.raises(DataError, match="iterable, item 0, step `map`: LookupError: no 0 down here") as caught:
        next(open_numbers([Map(fn=work.fail_deep_down, on="processes")]))
    assert isinstance(caught.value.__cause__, LookupError)
    text = str(caught.value.__cause__.__cause__)
    assert "in fail_deep_down" in text
    assert "in _fail_here" in text
    assert "work.py" in text


def test_what_does_not_pickle_fails_its_record() -> None:
    found = dict(enumerate(all_outcomes(open_numbers([Map(fn=work.misbehave, on="processes", concurrency=2)], 14))))
    odd = {n: found.pop(n) for n in range(0, 13, 3)}
    assert found == {n: 2 * n for n in found}
    assert {n: type(error) for n, error in odd.items()} == {
        0: WorkerError, 3: WorkerError, 6: WorkerError, 9: WorkerError, 12: SystemExit,
    }  # fmt: skip
    assert "StubbornError: two words" in str(odd[0])
    assert "UnpicklableError: stays here" in str(odd[3])
    assert "the result, a function, cannot be pickled" in str(odd[6])
    records = FromIterable(iterable=[1, lambda: 2, 3])
    found_too = all_outcomes(iterate(records, [Map(fn=work.double, on="processes")]))
    assert (found_too[0], found_too[2]) == (2, 6)
    assert "the record, a function, cannot be sent between processes" in str(found_too[1])


def all_outcomes(iterator: Records) -> list[Any]:
    """Records and errors, whatever they are."""
    found: list[Any] = []
    while True:
        try:
            found.append(next(iterator))
        except StopIteration:
            return found
        except BaseException as error:  # noqa: BLE001 - what is looked at
            found.append(error)


def test_a_function_without_a_name_is_refused_for_processes() -> None:
    """Before anything is read."""
    for fn in (lambda n: n, lambda_in_a_class.fn):
        with pytest.raises(
            ConfigError, match=r"step `map`: the function cannot be sent to a process(.|\n)*top of a module"
        ):
            open_numbers([Map(fn=fn, on="processes")])


class lambda_in_a_class:  # noqa: N801 - a place for a function without a name of its own
    fn = staticmethod(lambda n: n)


def dying(folder: Path, how: str, *times: int, ordered: bool = True) -> Records:
    records = [{"n": n, "folder": str(folder), "how": how, "times": each} for n, each in enumerate(times)]
    return iterate(FromIterable(iterable=records), [Map(fn=work.die, on="processes", concurrency=2, ordered=ordered)])


@pytest.mark.parametrize("ordered", [True, False])
def test_a_record_whose_worker_died_is_tried_once_more(tmp_path: Path, ordered: bool) -> None:
    assert sorted(dying(tmp_path, "kill", 0, 1, 0, 1, 0, ordered=ordered)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("how", "told"), [("kill", "SIGKILL"), ("exit", "exit code 3"), ("segfault", "SIGSEGV")])
def test_a_record_that_workers_die_of_fails(tmp_path: Path, how: str, told: str) -> None:
    """The error says what the last one ended with, and those around it are given."""
    first, failed, *rest = outcomes(dying(tmp_path, how, 0, 9, 0, 0))
    assert (first, rest) == (("record", 0), [("record", 2), ("record", 3)])
    assert failed[:2] == ("WorkerError", f"2 worker processes died of the record, the last one by {told}")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_killed_from_outside_is_replaced() -> None:
    """Idle or at work: nothing is lost, and nothing given twice."""
    iterator = open_numbers([doubling("processes", 2)], 30)
    given = []
    for killed in range(3):
        given += [next(iterator) for _ in range(5)]
        victim = psutil.Process().children()[-1 - killed % 2]
        if not any("resource_tracker" in word for word in victim.cmdline()):
            victim.kill()
    assert [*given, *iterator] == [2 * n for n in range(30)]


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
import work
import tidemill as tm

if __name__ == "__main__":
    list(tm.from_iterable([sys.argv[2]] * 2).map(work.stay, on="processes", concurrency=2))
"""


def test_workers_end_when_their_parent_dies(tmp_path: Path) -> None:
    """Killed, without a chance to tell them; what they work on does not keep them."""
    script, pids = tmp_path / "parent.py", tmp_path / "pids"
    script.write_text(PARENT)
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(Path(work.__file__).parent), str(pids)])
    try:
        workers = [psutil.Process(pid) for pid in wait_for_names(pids, 2, parent)]
    finally:
        parent.kill()
        parent.wait(WAIT_S)
    gone, alive = psutil.wait_procs(workers, timeout=WAIT_S)
    assert (len(gone), alive) == (2, [])


def wait_for_names(folder: Path, many: int, parent: subprocess.Popen[bytes]) -> list[int]:
    for _ in count():
        names = list(folder.iterdir())
        if len(names) >= many:
            return [int(name.name) for name in names]
        with pytest.raises(subprocess.TimeoutExpired, match="timed out"):
            parent.wait(0.05)
    raise AssertionError


def test_a_process_that_may_have_no_children_says_so(tmp_path: Path) -> None:
    """A DataLoader's worker, for one."""
    told = tmp_path / "told"
    process = multiprocessing.get_context("spawn").Process(target=work.try_processes, args=(str(told),), daemon=True)
    process.start()
    process.join(WAIT_S)
    process.close()
    assert "may not start processes of its own" in told.read_text()


# How it ends


@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("step", [*ALL, "prefetch"])
def test_closing_early_leaves_nothing(step: On | Literal["prefetch"], taken: int) -> None:
    """Closed twice, or dropped without: threads, processes and loops are gone, as the fixtures check."""
    node = Prefetch(count=3) if step == "prefetch" else doubling(step)
    iterator = open_numbers([node])
    for _ in range(taken):
        next(iterator)
    iterator.close()
    iterator.close()
    assert list(iterator) == []
    dropped = open_numbers([node])
    for _ in range(taken):
        next(dropped)
    del dropped


@pytest.mark.parametrize("step", [*ALL, "prefetch"])
def test_an_iterator_dropped_with_failures_ahead_leaves_nothing(step: On | Literal["prefetch"]) -> None:
    """The errors that wait for their place do not keep it alive: nothing is left to the collector."""
    gc.disable()
    try:
        nodes: list[Node] = [
            Map(fn=work.double_or_fail),
            Prefetch(count=6) if step == "prefetch" else doubling(step, 6, fails=True),
        ]
        for taken in (1, 4, 5):
            dropped = open_numbers(nodes)
            outcomes(dropped, taken)
            last = weakref.ref(dropped._last)
            del dropped
            assert last() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("step", [*ALL, "prefetch"])
def test_the_collector_ends_an_iterator_in_a_cycle(step: On | Literal["prefetch"]) -> None:
    """Also one that stood when its workers began."""
    iterator = open_numbers([Prefetch(count=3) if step == "prefetch" else doubling(step)])
    next(iterator)
    last = weakref.ref(iterator._last)
    cycle: list[Any] = [iterator]
    cycle.append(cycle)
    del iterator, cycle
    gc.collect()
    assert last() is None


def test_closing_cancels_what_awaits_and_waits_for_it() -> None:
    begun: queue.SimpleQueue[int] = queue.SimpleQueue()
    cancelled: list[int] = []

    async def wait(n: int) -> int:
        begun.put(n)
        if n == 0:
            return n
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cancelled.append(n)
        return n

    iterator = open_numbers([Map(fn=wait, concurrency=3)])
    assert next(iterator) == 0
    assert {begun.get(timeout=WAIT_S) for _ in range(4)} == {0, 1, 2, 3}
    iterator.close()
    assert sorted(cancelled) == [1, 2, 3]


def test_closing_ends_processes_at_work(tmp_path: Path) -> None:
    """And does not wait for what never comes back."""
    records = FromIterable(iterable=[{"n": 0, "folder": "", "how": ""}, str(tmp_path), str(tmp_path)])
    iterator = iterate(records, [Map(fn=first_or_stay, on="processes", concurrency=2)])
    assert next(iterator) == 0
    iterator.close()


def first_or_stay(record: Any) -> Any:
    return work.stay(record) if isinstance(record, str) else 0


LEFT_OPEN = """
import sys
sys.path.insert(0, sys.argv[1])
import work
import tidemill as tm

if __name__ == "__main__":
    numbers = tm.from_iterable(range(100))
    left = [
        numbers.map(work.double, on="threads", concurrency=4).iterate(),
        numbers.map(work.double, on="processes", concurrency=2).iterate(),
        numbers.map(work.double_later, concurrency=4).iterate(),
        numbers.prefetch(4).iterate(),
    ]
    print([next(iterator) + next(iterator) for iterator in left])
"""


def test_a_program_may_end_with_iterators_left_open(tmp_path: Path) -> None:
    """It ends, and says nothing."""
    script = tmp_path / "program.py"
    script.write_text(LEFT_OPEN)
    line = [sys.executable, "-X", "dev", str(script), str(Path(work.__file__).parent)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[2, 2, 2, 1]\n", "")


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("on", IN_PROCESS)
def test_an_interrupt_loses_no_record(on: On, ordered: bool) -> None:
    """Ctrl-C while it waits is raised, and what was in flight is given afterwards."""
    gates = Gates()

    def open_at(state: State | None) -> Records:
        nodes = [gates.map(on, 2, ordered=ordered)]
        return iterate(FromIterable(iterable=range(4)), nodes, state, describe=list)  # gates are no part of a state

    iterator = open_at(None)

    def interrupt() -> None:
        gates.take_begun(2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            next(iterator)
    finally:
        signal.signal(signal.SIGINT, before)
        thread.join()
    state = through_json(iterator.state())
    gates.open(0, 1, 2, 3)
    assert sorted(iterator) == [0, 2, 4, 6]
    assert sorted(open_at(state)) == [0, 2, 4, 6]


# Where it goes on


@pytest.mark.parametrize("anchors", [1, 4, 1024])
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("on", IN_PROCESS)
def test_in_order_it_resumes_everywhere(on: On, skips: bool, anchors: int) -> None:
    with anchors_every(anchors):
        node = doubling(on, fails=True, on_error="skip" if skips else None)
        check_resumes_everywhere(lambda state: open_numbers([node], 12, state))


def test_processes_resume_everywhere() -> None:
    check_resumes_everywhere(lambda state: open_numbers([doubling("processes", 2, fails=True)], 5, state))


@pytest.mark.parametrize("anchors", [1, 4, 1024])
@pytest.mark.parametrize("on", IN_PROCESS)
def test_out_of_order_the_set_is_exact_everywhere(on: On, anchors: int) -> None:
    """What was given before any state and what is given after it are all of it, once each; twice in a row."""
    node = doubling(on, 3, fails=True, ordered=False)
    expected = sorted(map(str, doubles(16, fails=True)))
    with anchors_every(anchors):
        for position in range(17):
            walking = open_numbers([node], 16)
            given = outcomes(walking, position)
            again = open_numbers([node], 16, through_json(walking.state()))
            walking.close()
            given += outcomes(again, 2)
            given += outcomes(open_numbers([node], 16, through_json(again.state())))
            again.close()
            assert sorted(map(str, given)) == expected


@pytest.mark.parametrize("on", IN_PROCESS)
def test_a_straggler_is_not_lost_and_nothing_is_given_twice(on: On) -> None:
    """The state names the records that are not given yet: no more than are in flight, however many went by."""
    gates = Gates()
    node = gates.map(on, 3, ordered=False)
    gates.open(*range(1, 40))
    with anchors_every(4):
        walking = open_numbers([node], 40)
        given = [next(walking) for _ in range(30)]
        state = through_json(walking.state())
        assert state["steps"]["0"]["holes"][0] == 0
        assert len(state["steps"]["0"]["holes"]) <= 3
        gates.open(0)
        walking.close()
        rest = list(open_numbers([node], 40, state))
    assert sorted([*given, *rest]) == [2 * n for n in range(40)]


@pytest.mark.parametrize("node", [doubling("threads", 5), doubling("async", 5), Prefetch(count=5)])
def test_a_resume_reads_little_again(node: Node) -> None:
    """At most what was in flight and the records between two anchors."""
    numbers = FromIterable(iterable=range(10_000))
    iterator = iterate(numbers, [node])
    for _ in range(5_000):
        next(iterator)
    state = through_json(iterator.state())
    tail = next(iterator)
    iterator.close()
    assert 5_000 - state["source"]["count"] <= 1024 + 5
    resumed = iterate(numbers, [node], state)
    assert next(resumed) == tail
    resumed.close()


def test_a_resume_calls_the_function_for_what_was_not_given() -> None:
    called: queue.SimpleQueue[int] = queue.SimpleQueue()

    def call(n: int) -> int:
        called.put(n)
        return n

    stream = tm.from_iterable(range(100)).map(call, concurrency=4)
    iterator = stream.iterate()
    given = [next(iterator) for _ in range(50)]
    state = through_json(iterator.state())
    iterator.close()
    while not called.empty():
        called.get()
    assert [*given, *stream.iterate(state)] == list(range(100))
    assert sorted(called.get() for _ in range(called.qsize())) == list(range(50, 100))


def test_the_number_in_flight_may_change_between_runs() -> None:
    """It says nothing about the records, nor does the kind of workers."""
    iterator = open_numbers([doubling("threads", 8, ordered=False)], 30)
    given = [next(iterator) for _ in range(9)]
    state = through_json(iterator.state())
    iterator.close()
    rest = list(open_numbers([Map(fn=work.double, on="threads", concurrency=2, ordered=False)], 30, state))
    assert sorted([*given, *rest]) == [2 * n for n in range(30)]


@pytest.mark.parametrize("node", [doubling("threads"), Prefetch(count=3)])
def test_a_state_that_records_do_not_reach_is_refused(node: Node) -> None:
    source, before = FromIterable(iterable=shrinking), Length.stop
    iterator = iterate(source, [node])
    for _ in range(9):
        next(iterator)
    state = iterator.state()
    iterator.close()
    Length.stop = 4
    try:
        shorter = iterate(source, [node], state)
        with pytest.raises(StateError, match="the state stands 5 records behind the end of what there is now"):
            next(shorter)
        shorter.close()
    finally:
        Length.stop = before


STEPS: list[Node] = [
    doubling("threads", 2),
    doubling("threads", 5, fails=True),
    doubling("threads", 3, fails=True, on_error="skip"),
    doubling("async", 4, fails=True),
    Prefetch(count=1),
    Prefetch(count=6),
    Map(fn=work.double_or_fail),
    Filter(fn=lambda n: n % 3 > 0),
    FlatMap(fn=lambda n: [n] * (n % 3)),
    FlatMap(fn=lambda n: iter([n, n + 1])),
    Skip(count=2),
    Take(count=9),
    Shuffle(seed=1, buffer=4),
    Repeat(epochs=2),
]


@pytest.mark.parametrize("anchors", [1, 3, 1024])
@settings(max_examples=25)
@given(nodes=st.lists(st.sampled_from(STEPS), max_size=4), stop=st.integers(0, 12))
def test_any_steps_around_resume_everywhere(anchors: int, nodes: list[Node], stop: int) -> None:
    """The tail after any position is the uninterrupted tail, twice in a row, wherever anchors fall."""
    with anchors_every(anchors):
        check_resumes_everywhere(lambda state: open_numbers(nodes, stop, state))


# Reading ahead


def test_records_are_read_ahead() -> None:
    """As many as it says and no more, while the consumer does nothing; none before the first."""
    read: queue.SimpleQueue[int] = queue.SimpleQueue()

    def tell(n: int) -> int:
        read.put(n)
        return n

    iterator = open_numbers([Map(fn=tell), Prefetch(count=3)])
    assert read.empty()
    assert next(iterator) == 0
    assert [read.get(timeout=WAIT_S) for _ in range(4)] == [0, 1, 2, 3]
    assert next(iterator) == 1
    assert read.get(timeout=WAIT_S) == 4
    iterator.close()
    assert read.empty()


def test_reading_ahead_gives_failures_at_their_place() -> None:
    nodes: list[Node] = [Map(fn=work.double_or_fail), Prefetch(count=4)]
    assert outcomes(open_numbers(nodes)) == doubles(20, fails=True)


def test_reading_ahead_takes_the_context_along() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")
    iterator = open_numbers([Map(fn=lambda n: name.get()), Prefetch(count=4)], 3)
    name.set("mine")
    assert list(iterator) == ["mine"] * 3


def test_batches_are_made_ahead() -> None:
    assert list(open_numbers([Batch(size=8), Prefetch(count=2)])) == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]


# Over a dataset, and in a job


def test_a_dataset_stays_one_while_places_are_kept(tmp_path: Path) -> None:
    """One record is then worked out in place; out of order there are no numbers any more."""
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(30)))
    dataset = tm.dataset(path)
    ordered = dataset.map(dict, concurrency=4)
    assert isinstance(ordered, tm.Dataset)
    assert ordered[7] == {"n": 7}
    assert list(ordered[10:13]) == [{"n": 10}, {"n": 11}, {"n": 12}]
    shuffled = dataset.shuffle(3).map(dict, concurrency=4)
    assert list(shuffled) == list(dataset.shuffle(3))
    free = dataset.map(dict, concurrency=4, ordered=False)
    assert not isinstance(free, tm.Dataset)
    assert sorted(record["n"] for record in free) == list(range(30))


def test_a_job_has_workers_in_front_of_calls_alone(tmp_path: Path) -> None:
    """Behind one it calls functions itself."""
    (tmp_path / "numbers.jsonl").write_text('{"n": 1}\n')
    stream = tm.read(tmp_path / "numbers.jsonl").map(dict, concurrency=4)
    assert stream.write(tmp_path / "out", progress=False).records["landed"] == 1
    model = tm.model("openai/any", base_url="http://far.invalid/v1")
    asked = stream.generate(model, "{{ n }}").map(dict, concurrency=4)
    with pytest.raises(ConfigError, match="behind a call no function has workers of its own"):
        asked.write(tmp_path / "asked")
