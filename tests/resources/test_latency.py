"""A block is counted under the names around it in its own task and thread, wherever and however it ends."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.errors import ConfigError, ResourceError
from tidemill.resources.timing.latency import collecting
from tidemill.resources.timing.timings import MAX_DEPTH, MAX_TIMINGS, OTHERS, Timings, render_timings


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timings(clock: Clock) -> Iterator[Timings]:
    """What the test's own blocks are counted in."""
    with collecting(Timings(clock=clock)) as timings:
        yield timings


def counts(timings: Timings) -> dict[str, float]:
    """How often each path was counted."""
    return {path: found["count"] for path, found in timings.to_dict().items()}


def test_blocks_within_others_are_told_by_all_their_names(timings: Timings, clock: Clock) -> None:
    for _ in range(3):
        with tm.latency("answer"):
            clock.pass_s(0.5)
            with tm.latency("retrieve"):
                clock.pass_s(1.0)
    with tm.latency("retrieve"):
        clock.pass_s(8.0)
    assert counts(timings) == {"answer": 3, "answer/retrieve": 3, "retrieve": 1}
    found = timings.to_dict()
    assert [found[path]["total_s"] for path in found] == [4.5, 3.0, 8.0]
    assert found["answer"] == {
        "count": 3, "failed": 0, "total_s": 4.5, "p50_s": 1.5, "p95_s": 1.5, "p99_s": 1.5, "max_s": 1.5
    }  # fmt: skip


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_a_block_that_fails_is_counted_as_that(timings: Timings, clock: Clock, kind: type[BaseException]) -> None:
    """And whatever it raised goes on."""
    error = kind("no more")
    with pytest.raises(kind, match="no more") as caught, tm.latency("outer"), tm.latency("inner"):
        clock.pass_s(2.0)
        raise error
    assert caught.value is error
    with tm.latency("next"):
        pass
    found = timings.to_dict()
    assert {path: (each["count"], each["failed"]) for path, each in found.items()} == {
        "next": (1, 0),
        "outer": (1, 1),
        "outer/inner": (1, 1),
    }
    assert found["outer/inner"]["total_s"] == 2.0


async def test_tasks_do_not_see_each_others_blocks(timings: Timings) -> None:
    """A global stack would put the one that begins later within the one that waits."""
    began, may_end = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        with tm.latency("first"):
            began.set()
            await may_end.wait()
            with tm.latency("within"):
                pass

    async def second() -> None:
        await began.wait()
        with tm.latency("second"):
            may_end.set()
            await asyncio.sleep(0)

    await asyncio.gather(first(), second())
    assert counts(timings) == {"first": 1, "first/within": 1, "second": 1}


async def test_a_task_or_thread_begun_within_a_block_is_within_it(timings: Timings) -> None:
    """As long as that is held: afterwards it stands for itself."""
    go_on = asyncio.Event()

    def work(name: str) -> None:
        with tm.latency(name):
            pass

    async def work_later(name: str) -> None:
        work(f"{name} early")
        await go_on.wait()
        work(f"{name} late")

    with tm.latency("outer"):
        await asyncio.to_thread(work, "thread")
        task = asyncio.create_task(work_later("task"))
        await asyncio.sleep(0)
    go_on.set()
    await task
    bare = threading.Thread(target=work, args=("bare",))
    bare.start()
    bare.join()
    assert counts(timings) == {"outer": 1, "outer/task early": 1, "outer/thread": 1, "task late": 1}


def test_threads_lose_no_count() -> None:
    threads, blocks = 8, 2_000
    timings = Timings()

    def work(number: int) -> None:
        with tm.latency(f"thread {number % 2}"):
            for _ in range(blocks):
                with suppress(LookupError), tm.latency("block"):
                    if number == 1:
                        raise LookupError

    with collecting(timings):
        started = [
            threading.Thread(target=contextvars.copy_context().run, args=(work, number)) for number in range(threads)
        ]
    for thread in started:
        thread.start()
    while any(thread.is_alive() for thread in started):
        timings.to_dict()  # who reads meanwhile takes nothing away
    for thread in started:
        thread.join()
    found = timings.to_dict()
    half = threads // 2
    assert counts(timings) == {
        "thread 0": half, "thread 0/block": half * blocks, "thread 1": half, "thread 1/block": half * blocks
    }  # fmt: skip
    assert [each["failed"] for each in found.values()] == [0, 0, 0, blocks]


def test_a_generator_may_end_in_another_context_than_it_began_in(timings: Timings) -> None:
    """Neither context is left within a block that has ended, or within one of the other."""

    def read() -> Generator[int]:
        with tm.latency("read"):
            yield 1

    def begin() -> None:
        with tm.latency("here"):
            next(reading)

    def end() -> None:
        with tm.latency("there"):
            reading.close()
            with tm.latency("within"):
                pass

    reading = read()
    context = contextvars.copy_context()
    context.run(begin)
    contextvars.copy_context().run(end)
    context.run(tm.latency("after").__enter__).__exit__(None, None, None)
    assert counts(timings) == {"after": 1, "here": 1, "here/read": 1, "there": 1, "there/within": 1}
    assert timings.to_dict()["here/read"]["failed"] == 0, "left early is no failure"


def test_generators_that_overlap_grow_no_path(timings: Timings) -> None:
    """Names are those of the blocks that are held, however many there were before."""

    def read() -> Iterator[int]:
        with tm.latency("read"):
            yield 1

    open_ones: list[Iterator[int]] = []
    for _ in range(100):
        open_ones.append(read())
        next(open_ones[-1])
        if len(open_ones) == 3:
            assert list(open_ones.pop(0)) == []
    assert list(open_ones.pop()) == list(open_ones.pop()) == []
    assert set(counts(timings)) <= {"read", "read/read", "read/read/read"}
    assert sum(counts(timings).values()) == 100
    with tm.latency("after"):
        pass
    assert counts(timings)["after"] == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 9)), max_size=40))
def test_blocks_may_begin_and_end_in_any_order_and_context(moves: list[tuple[bool, int, int]]) -> None:
    """Each is counted once, no context is left within any, and no path has more names than were held at once."""
    with collecting(Timings()) as timings:
        contexts = [contextvars.copy_context() for _ in range(3)]
    held: list[Any] = []
    begun = most = 0
    for is_begun, place, which in moves:
        if is_begun or not held:
            held.append(tm.latency("block"))
            contexts[place].run(held[-1].__enter__)
            begun, most = begun + 1, max(most, len(held))
        else:
            contexts[place].run(held.pop(which % len(held)).__exit__, None, None, None)
    for block in held:
        contexts[0].run(block.__exit__, None, None, None)
    assert sum(counts(timings).values()) == begun
    assert max((len(path.split("/")) for path in counts(timings)), default=0) <= most
    for number, context in enumerate(contexts):
        context.run(_hold, f"after {number}")
        assert counts(timings)[f"after {number}"] == 1


def _hold(name: str) -> None:
    with tm.latency(name):
        pass


def test_blocks_that_end_elsewhere_leave_nothing_behind(timings: Timings) -> None:
    """However many there were: each begun before the last has ended, and ended in another context."""

    def read() -> Generator[int]:
        with tm.latency("read"):
            yield 1

    def count_blocks() -> int:
        gc.collect()
        return sum(type(each).__name__ == "Block" for each in gc.get_objects())

    elsewhere = contextvars.copy_context()
    before, last = count_blocks(), read()
    for _ in range(200):
        next_one = read()
        next(next_one)
        elsewhere.run(last.close)
        last = next_one
    assert count_blocks() - before <= 3
    last.close()


def test_a_decorated_function_is_a_block_a_call(timings: Timings, clock: Clock) -> None:
    @tm.latency("add")
    def add(first: int, second: int = 2) -> int:
        """Adds."""
        clock.pass_s(0.25)
        return first + second

    assert [add(1), add(1, second=4)] == [3, 5]
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    with pytest.raises(TypeError, match="concatenate"):
        add("a")  # type: ignore[arg-type]
    found = timings.to_dict()["add"]
    assert (found["count"], found["failed"], found["total_s"]) == (3, 1, 0.75)


async def test_a_decorated_coroutine_function_is_timed_until_it_was_awaited(timings: Timings, clock: Clock) -> None:
    @tm.latency("fetch")
    async def fetch(number: int) -> int:
        await asyncio.sleep(0)
        clock.pass_s(2.0)
        with tm.latency("parse"):
            return 2 * number

    assert inspect.iscoroutinefunction(fetch)
    assert list(await asyncio.gather(fetch(1), fetch(2))) == [2, 4]
    assert counts(timings) == {"fetch": 2, "fetch/parse": 2}
    assert timings.to_dict()["fetch"]["max_s"] == 4.0


def test_a_decorated_generator_function_is_timed_to_its_end(timings: Timings, clock: Clock) -> None:
    """What the consumer does between two items takes time, and is not within it."""

    @tm.latency("read")
    def read(count: int) -> Iterator[int]:
        with tm.latency("file"):
            for number in range(count):
                clock.pass_s(1.0)
                with tm.latency("parse"):
                    pass
                yield number

    assert inspect.isgeneratorfunction(read)
    for _ in zip(read(3), read(2), strict=False):
        with tm.latency("use"):
            clock.pass_s(10.0)
    assert counts(timings) == {"read": 2, "read/file": 2, "read/file/parse": 5, "use": 2}
    assert timings.to_dict()["read"]["failed"] == 0
    assert timings.to_dict()["read"]["max_s"] == 25.0


class Heard:
    """What a generator was sent and thrown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @tm.latency("listen")
    def listen(self) -> Generator[int, Any, str]:
        while True:
            try:
                sent = yield len(self.seen)
            except LookupError as error:
                self.seen.append(type(error))
                continue
            except GeneratorExit:
                self.seen.append("closed")
                raise
            if sent is None:
                return "the end"
            self.seen.append(sent)

    @tm.latency("listen")
    async def listen_later(self) -> AsyncGenerator[int, Any]:
        while True:
            try:
                sent = yield len(self.seen)
            except LookupError as error:
                self.seen.append(type(error))
                continue
            except GeneratorExit:
                await asyncio.sleep(0)
                self.seen.append("closed")
                raise
            if sent is None:
                return
            self.seen.append(sent)


def test_a_decorated_generator_takes_what_it_is_sent_and_thrown(timings: Timings) -> None:
    heard = Heard()
    listening = heard.listen()
    assert [next(listening), listening.send("a"), listening.throw(KeyError("b")), listening.send("c")] == [0, 1, 2, 3]
    with pytest.raises(StopIteration, match="the end"):
        next(listening)
    listening = heard.listen()
    next(listening)
    listening.close()
    listening = heard.listen()
    next(listening)
    with pytest.raises(ValueError, match="not heard"):
        listening.throw(ValueError("not heard"))
    assert heard.seen == ["a", KeyError, "c", "closed"]
    assert (counts(timings), timings.to_dict()["listen"]["failed"]) == ({"listen": 3}, 1)


async def test_so_does_an_asynchronous_one(timings: Timings) -> None:
    heard = Heard()
    listening: Any = heard.listen_later()
    assert inspect.isasyncgenfunction(Heard.listen_later)
    assert [await anext(listening), await listening.asend("a"), await listening.athrow(KeyError("b"))] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration, match=r"^$"):
        await listening.asend(None)
    async with aclosing(heard.listen_later()) as listening:
        async for _ in listening:
            with tm.latency("use"):
                break
    assert heard.seen == ["a", KeyError, "closed"]
    assert (counts(timings), timings.to_dict()["listen"]["failed"]) == ({"listen": 2, "use": 1}, 0)


def test_a_decorated_generator_that_fails_leaves_no_cycle(timings: Timings) -> None:
    """The error is freed with the last who holds it, not when the collector comes by."""

    class HeldError(LookupError):
        pass

    @tm.latency("read")
    def read() -> Generator[int]:
        yield 1

    def fail() -> None:
        reading = read()
        next(reading)
        with pytest.raises(HeldError, match="gone"):
            reading.throw(HeldError("gone"))

    gc.collect()
    gc.disable()
    try:
        fail()
        assert not [each for each in gc.get_objects() if type(each) is HeldError]
    finally:
        gc.enable()


WRONG: dict[str, Any] = {"class": dict, "object": Heard(), "number": 7, "static": staticmethod(len)}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_function_is_not_decorated(wrong: str) -> None:
    """A class would no longer be one, and an object not the context manager that it may be."""
    with pytest.raises(ConfigError, match="expected a function, got"):
        tm.latency("x")(WRONG[wrong])


def test_a_function_with_arguments_filled_in_is_one(timings: Timings) -> None:
    assert tm.latency("x")(functools.partial(int, base=2))("101") == 5
    assert counts(timings) == {"x": 1}


@pytest.mark.parametrize(
    ("name", "match"),
    [("", "expected a name, got ''"), ("a/b", "without `/`"), (7, "got a int"), (len, "got a builtin")],
)
def test_what_is_no_name_is_refused(timings: Timings, name: Any, match: str) -> None:
    """Also a decorator whose name was left out."""
    with pytest.raises(ConfigError, match=match) as caught, tm.latency(name):
        pass
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    with tm.latency("next"):
        pass
    assert counts(timings) == {"next": 1}


def test_a_block_is_held_once_at_a_time(timings: Timings) -> None:
    """One that is shared would measure nothing that anyone asked for."""
    block = tm.latency("shared")
    for _ in range(2):
        with block:
            pass
    with block, pytest.raises(ResourceError, match="held already"), block:
        pass
    assert counts(timings) == {"shared": 3}


def test_one_that_is_held_again_is_within_what_is_held_then(timings: Timings) -> None:
    """Also within one that was entered within it, and is held longer."""
    first, second = tm.latency("first"), tm.latency("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    first.__enter__()
    with tm.latency("third"):
        pass
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    with tm.latency("after"):
        pass
    assert counts(timings) == {"after": 1, "first": 1, "second": 1, "second/first": 1, "second/first/third": 1}


def test_off_nothing_is_timed(timings: Timings) -> None:
    calls: list[int] = []

    @tm.latency("function")
    def work() -> None:
        calls.append(1)

    @tm.latency("generator")
    def read() -> Iterator[int]:
        yield from (1, 2)

    tm.latency.off()
    try:
        assert not tm.latency.is_on
        with tm.latency("block"):
            work()
        assert list(read()) == [1, 2]
        assert tm.latency("block") is tm.latency("block"), "none is made for each"
        with tm.latency("block"), tm.latency("block"):
            pass
    finally:
        tm.latency.on()
    assert counts(timings) == {}
    work()
    assert (counts(timings), len(calls)) == ({"function": 1}, 2)


def test_off_for_a_part_of_the_program(timings: Timings) -> None:
    """As a run is whose job says `latency: false`; the rest of the process goes on timing."""
    inner = Timings()

    def work() -> None:
        with tm.latency("block"):
            pass

    with collecting(inner, is_on=False):
        assert not tm.latency.is_on
        work()
        contextvars.copy_context().run(work)
    work()
    assert (inner.to_dict(), counts(timings)) == ({}, {"block": 1})


def test_blocks_that_are_off_take_no_memory() -> None:
    """Not even where each has another name."""
    with collecting(Timings(), is_on=False):
        for number in range(2 * MAX_TIMINGS):
            with tm.latency(f"off {number}"):
                pass
        held = [each for each in gc.get_objects() if type(each).__name__ == "_Idle"]
    assert len(held) <= MAX_TIMINGS + 5


def test_too_many_names_are_counted_together(timings: Timings) -> None:
    for number in range(MAX_TIMINGS + 50):
        with tm.latency(f"record {number:04}"), tm.latency("step"):
            pass
    found = counts(timings)
    assert len(found) == MAX_TIMINGS + 1
    assert found["record 0249/step"] == 1
    assert sum(found.values()) == 2 * (MAX_TIMINGS + 50)
    assert found[OTHERS] == MAX_TIMINGS + 100


def test_so_are_those_too_deep_within_each_other(timings: Timings) -> None:
    """A recursive function is no path for each depth."""

    @tm.latency("dive")
    def dive(depth: int) -> None:
        if depth > 1:
            dive(depth - 1)

    dive(3 * MAX_DEPTH)
    found = counts(timings)
    assert found[OTHERS] == 2 * MAX_DEPTH
    assert found["/".join(["dive"] * MAX_DEPTH)] == 1
    assert len(found) == MAX_DEPTH + 1


def test_it_is_counted_from_zero_again(timings: Timings, clock: Clock) -> None:
    """A block that is held then counts when it ends, and is still what others are within."""
    with tm.latency("outer"):
        with tm.latency("inner"):
            pass
        timings.reset()
        with tm.latency("inner"):
            clock.pass_s(3.0)
    assert {path: (each["count"], each["max_s"]) for path, each in timings.to_dict().items()} == {
        "outer": (1, 3.0),
        "outer/inner": (1, 3.0),
    }


def test_the_process_has_its_own() -> None:
    """What no run collects; a table of it can be printed."""
    tm.latency.reset()
    assert tm.latency.report() == "no block has ended yet"
    with pytest.raises(LookupError, match="none"), tm.latency("retrieve"), tm.latency("embed"):
        raise LookupError("none")
    assert {path: (each["count"], each["failed"]) for path, each in tm.latency.to_dict().items()} == {
        "retrieve": (1, 1),
        "retrieve/embed": (1, 1),
    }
    head, *rows = (line.split()[0] for line in tm.latency.report().splitlines())
    assert (head, rows) == ("latency", ["retrieve", "retrieve/embed"])
    tm.latency.reset()
    assert tm.latency.to_dict() == {}


@pytest.mark.parametrize(
    ("took_s", "shown"),
    [(2e-6, "2 us"), (0.01234, "12.3 ms"), (7.894, "7.89 s"), (99.96, "100 s"), (1234.5, "1,234 s")],
)
def test_a_table_shows_each_duration_in_its_unit(timings: Timings, clock: Clock, took_s: float, shown: str) -> None:
    with tm.latency("outer"), tm.latency("inner"):
        clock.pass_s(took_s)
    head, *rows = render_timings(timings.to_dict())
    assert head.split() == ["latency", "count", "failed", "total", "p50", "p95", "p99", "max"]
    assert rows[1].split("  ")[0] == "outer/inner"
    assert rows[1].endswith(f"  {shown}")
    assert len({len(line) for line in (head, *rows)}) == 1


def test_it_pickles_as_any_function_does() -> None:
    """So that a decorated function can be sent to a worker process, by its name."""
    made: Callable[..., Any] = tm.latency("x")(inspect.getdoc)
    assert (made.__module__, made.__qualname__) == ("inspect", "getdoc")


def test_a_block_that_was_never_entered_is_not_left() -> None:
    with pytest.raises(tm.ResourceError, match="the block is left, and was never entered"):
        tm.latency("retrieve").__exit__(None, None, None)
