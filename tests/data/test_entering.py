"""Steps that are context managers: entered once per worker, left on every way out there is."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import tidemill as tm
from tidemill.data.nodes.single import Filter, FlatMap, Map, WithColumns

On = Literal["threads", "processes", "async"]


class Step:
    """Doubles a number while it is entered, and says in a shared list what was done with it."""

    def __init__(self, log: list[str], *, fails: str = "") -> None:
        self.log = log
        self.fails = fails
        self.is_entered = False

    def __enter__(self) -> Step:
        assert not self.is_entered, "entered twice"
        if self.fails == "enter":
            raise OSError("no such database")
        self.is_entered = True
        self.log.append("enter")
        return self

    def __exit__(self, *error: object) -> None:
        assert self.is_entered, "left twice"
        self.is_entered = False
        self.log.append("exit")
        if self.fails == "exit":
            raise OSError("cannot commit")

    def __call__(self, record: Any) -> Any:
        assert self.is_entered, "called outside"
        if record == 13:
            raise ValueError("unlucky")
        return 2 * record


class AsyncStep:
    """The same, entered and called in a loop."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.is_entered = False

    async def __aenter__(self) -> AsyncStep:
        await asyncio.sleep(0)
        self.is_entered = True
        self.log.append("enter")
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.sleep(0)
        self.is_entered = False
        self.log.append("exit")

    async def __call__(self, record: Any) -> Any:
        assert self.is_entered, "called outside"
        await asyncio.sleep(0)
        return 2 * record


class Marked:
    """Doubles a number, and leaves marks as files: for processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = ""

    def __enter__(self) -> Marked:
        self.number = str(len(list(self.folder.iterdir())))
        self.path = self.folder / f"{threading.get_native_id()}"
        self.path.write_text("enter")
        return self

    def __exit__(self, *error: object) -> None:
        self.path.write_text("enter exit")

    def __call__(self, record: Any) -> Any:
        assert self.path.read_text() == "enter"
        if record == "wait":
            threading.Event().wait()
        return 2 * record


class Database:
    """Looks a number up in a connection that belongs to the thread that opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None

    def __enter__(self) -> Database:
        self.connection = sqlite3.connect(self.path)
        return self

    def __exit__(self, *error: object) -> None:
        assert self.connection is not None
        self.connection.close()

    def __call__(self, record: Any) -> Any:
        assert self.connection is not None
        return self.connection.execute("select ? * 2", (record,)).fetchone()[0]


def numbers(stop: int = 5) -> tm.Stream[int]:
    return tm.from_iterable(range(stop))


STEPS: dict[str, Callable[[Step], Any]] = {
    "map": lambda step: Map(fn=step),
    "skipping map": lambda step: Map(fn=step, on_error="skip"),
    "filter": lambda step: Filter(fn=step),
    "flat_map": lambda step: FlatMap(fn=Listing(step)),
    "with_columns": lambda step: WithColumns(columns={"a": step, "b": step}),
}


class Listing:
    """A step as one that gives children."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __enter__(self) -> None:
        self.step.__enter__()

    def __exit__(self, *error: object) -> None:
        self.step.__exit__(*error)

    def __call__(self, record: Any) -> Any:
        yield self.step(record)


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_is_entered_once_for_an_iteration_and_left_at_its_end(kind: str) -> None:
    """In front of the first record, behind the last one; again for the next iteration."""
    log: list[str] = []
    records = [{"n": 1}, {"n": 2}] if kind == "with_columns" else [1, 2]

    def value(record: Any) -> Any:
        return record["n"] if isinstance(record, dict) else record

    step = Step(log)
    if kind == "with_columns":
        step.__class__ = type("Columns", (Step,), {"__call__": lambda self, record: Step.__call__(self, record["n"])})
    stream = tm.Pipeline([STEPS[kind](step)])(tm.from_iterable(records))
    iterator = iter(stream)
    assert log == []
    next(iterator)
    assert log == ["enter"]
    assert [value(each) for each in iterator]
    assert log == ["enter", "exit"]
    list(stream)
    assert log == ["enter", "exit"] * 2


@pytest.mark.parametrize("way", ["drop", "close"])
def test_an_iteration_that_stops_early_leaves_its_steps(way: str) -> None:
    """Closed or dropped, at once, not when it is collected."""
    log: list[str] = []
    iterator = numbers().map(Step(log)).take(3).iterate()
    assert next(iterator) == 0
    gc.disable()
    try:
        if way == "close":
            iterator.close()
        del iterator
        assert log == ["enter", "exit"]
    finally:
        gc.enable()


def test_an_error_leaves_the_step_entered_for_the_records_behind_it() -> None:
    """A record's failure is no end of the iteration."""
    log: list[str] = []
    iterator = iter(tm.from_iterable([12, 13, 14]).map(Step(log)))
    assert next(iterator) == 24
    with pytest.raises(tm.DataError, match="unlucky"):
        next(iterator)
    assert log == ["enter"]
    assert list(iterator) == [28]
    assert log == ["enter", "exit"]


def test_an_iterator_that_is_not_begun_enters_nothing() -> None:
    """Neither a state nor a drop takes a step."""
    log: list[str] = []
    stream = numbers().map(Step(log))
    stream.iterate().state()
    stream.iterate().close()
    assert log == []


def test_a_step_that_cannot_be_entered_is_told_before_the_first_record() -> None:
    """It is no failure of a record: nothing is skipped or caught, those before it are left, and it is told again."""
    log: list[str] = []
    read: list[int] = []
    stream = numbers().observe(read.append).map(Step(log)).map(Step(log, fails="enter"), on_error="skip").catch()
    iterator = iter(stream)
    for _ in range(2):
        with pytest.raises(
            tm.ResourceError, match=r"step `map_2`: `Step` cannot be entered: OSError: no such database"
        ):
            next(iterator)
    assert log == ["enter", "exit"] * 2
    assert read == []


def test_a_step_that_fails_as_it_is_left_is_told_behind_the_last_record() -> None:
    """The others are left all the same."""
    log: list[str] = []
    iterator = iter(numbers(2).map(Step(log, fails="exit")).map(Step(log)))
    assert [next(iterator), next(iterator)] == [0, 4]
    with pytest.raises(tm.ResourceError, match="failed as it was left: OSError: cannot commit"):
        next(iterator)
    assert log == ["enter", "enter", "exit", "exit"]
    assert list(iterator) == []


def test_each_iteration_has_a_copy_of_its_own() -> None:
    """Two at once do not share what a step opened, and the object that was given stays as it is."""
    log: list[str] = []
    step = Step(log)
    stream = numbers(3).map(step)
    assert list(zip(stream, stream, strict=True)) == [(0, 0), (2, 2), (4, 4)]
    assert sorted(log) == ["enter", "enter", "exit", "exit"]
    assert not step.is_entered


def test_a_state_does_not_depend_on_what_a_step_opened(tmp_path: Path) -> None:
    """Taken while it is entered, it is taken up by a stream that is not."""
    stream = numbers().map(Database(tmp_path / "numbers.db"))
    iterator = stream.iterate()
    assert [next(iterator), next(iterator)] == [0, 2]
    state = iterator.state()
    iterator.close()
    rest = stream.iterate(state)
    assert list(rest) == [4, 6, 8]


def test_a_step_in_front_of_a_repeat_is_entered_once_for_all_epochs() -> None:
    """An epoch is no iteration of its own."""
    log: list[str] = []
    assert list(numbers(2).map(Step(log)).repeat(3)) == [0, 2] * 3
    assert log == ["enter", "exit"]


def test_steps_in_front_of_a_prefetch_belong_to_its_thread(tmp_path: Path) -> None:
    """They are entered, called and left there, at the end and when the iteration is stopped."""
    log: list[str] = []

    class Threaded(Step):
        def __enter__(self) -> Step:
            log.append(threading.current_thread().name)
            return super().__enter__()

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            log.append(threading.current_thread().name)

    stream = numbers().map(Threaded(log)).prefetch(2).map(Step(log))
    assert list(stream) == [0, 4, 8, 12, 16]
    thread = "tidemill-prefetch"
    assert [each for each in log if each == thread] == [thread] * 2
    assert log.count("enter") == log.count("exit") == 2
    log.clear()
    iterator = stream.iterate()
    next(iterator)
    iterator.close()
    assert [each for each in log if each == thread] == [thread] * 2
    assert log.count("enter") == log.count("exit") == 2


def test_explaining_a_gathered_record_enters_its_steps_once_more() -> None:
    """What is read again is called again, and left."""
    log: list[str] = []
    iterator = numbers(4).map(Step(log)).batch(2).iterate()
    assert next(iterator) == [0, 2]
    iterator.explain()
    iterator.close()
    assert log.count("enter") == log.count("exit") == 2


def test_threads_have_a_copy_each(tmp_path: Path) -> None:
    """What belongs to one thread is opened, used and closed in it."""
    stream = numbers(40).map(Database(tmp_path / "numbers.db"), concurrency=4, on="threads")
    assert list(stream) == [2 * n for n in range(40)]
    log: list[str] = []
    assert list(numbers(12).map(Step(log), concurrency=4)) == [2 * n for n in range(12)]
    assert log.count("enter") == log.count("exit") <= 4
    iterator = numbers(12).map(Step(log), concurrency=4).iterate()
    next(iterator)
    del iterator
    assert log.count("enter") == log.count("exit")


def test_a_thread_that_cannot_enter_its_step_is_told_whatever_becomes_of_failing_records() -> None:
    """`on_error="skip"` is about records."""
    with pytest.raises(tm.ResourceError, match=r"`Step` cannot be entered: OSError: no such database"):
        list(numbers().map(Step([], fails="enter"), concurrency=2, on_error="skip"))
    iterator = numbers(1).map(Step([], fails="exit"), concurrency=2).iterate()
    assert next(iterator) == 0
    with pytest.raises(tm.ResourceError, match="failed as it was left: OSError: cannot commit"):
        next(iterator)


def test_a_loop_enters_its_step_once_and_awaits_it() -> None:
    """With `async with`, at the end, and when the iteration is dropped."""
    log: list[str] = []
    stream = numbers(40).map(AsyncStep(log), concurrency=8)
    assert list(stream) == [2 * n for n in range(40)]
    assert log == ["enter", "exit"]
    iterator = stream.iterate()
    next(iterator)
    del iterator
    assert log == ["enter", "exit"] * 2
    assert list(numbers(3).map(AsyncStep(log))) == [0, 2, 4]
    assert log == ["enter", "exit"] * 3


def test_a_process_enters_its_step_and_leaves_it_as_it_ends(tmp_path: Path) -> None:
    """At the end, and when it is stopped at work."""
    assert list(numbers(8).map(Marked(tmp_path), concurrency=2, on="processes")) == [2 * n for n in range(8)]
    marks = [path.read_text() for path in tmp_path.iterdir()]
    assert marks
    assert set(marks) == {"enter exit"}
    for path in tmp_path.iterdir():
        path.unlink()
    stream = tm.from_iterable([1, "wait"]).map(Marked(tmp_path), concurrency=1, on="processes")
    iterator = stream.iterate()
    assert next(iterator) == 2
    iterator.close()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"enter exit"}


def test_an_async_step_that_nothing_awaits_is_refused() -> None:
    """Told when the iteration begins, with the way."""

    class Plain(AsyncStep):
        def __call__(self, record: Any) -> Any:
            return record

    with pytest.raises(tm.ConfigError, match="`Plain` is an async context manager, and nothing awaits it here"):
        iter(numbers().map(Plain([])))
    with pytest.raises(tm.ConfigError, match="`Plain` is an async context manager, and nothing awaits it here"):
        iter(numbers().map(Plain([]), concurrency=2, on="threads"))


def test_a_step_that_cannot_be_copied_is_told() -> None:
    """One that bears several workers says so with `__copy__`."""

    class Single(Step):
        def __copy__(self) -> Single:
            raise TypeError("there is one of me")

    class Shared(Step):
        def __copy__(self) -> Shared:
            return self

    with pytest.raises(tm.ResourceError, match="`Single` cannot be copied, and each worker enters a copy"):
        list(numbers().map(Single([])))
    step = Shared([])
    assert list(numbers(2).map(step)) == [0, 2]
    assert step.log == ["enter", "exit"]


def test_a_dataset_enters_its_steps_for_each_read() -> None:
    """One row, several together, or all in an iteration; nobody says when the last one is read."""
    log: list[str] = []
    data = tm.dataset([1, 2, 13, 4]).map(Step(log))
    assert data[1] == 4
    assert data.__getitems__([0, 3]) == [2, 8]
    assert log == ["enter", "exit"] * 2
    log.clear()
    joined = iter(data + data)
    assert [next(joined), next(joined)] == [2, 4]
    with pytest.raises(tm.DataError, match="unlucky"):
        next(joined)
    assert next(joined) == 8
    del joined
    gc.collect()
    assert log.count("enter") == log.count("exit") > 0
    log.clear()
    joined = iter(data[:2] + data[:2])
    assert list(joined) == [2, 4, 2, 4]
    assert log == ["enter", "exit"] * 2


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(20)))
    return path


def test_a_job_enters_its_steps_once_a_run_and_leaves_them_whatever_ends_it(tmp_path: Path, numbered: Path) -> None:
    """Also when it stops at failing records. The check in front of a run calls them for a few records, too."""
    log: list[str] = []
    stream = tm.read(numbered).map(OfRecord(log))
    stream.job(tmp_path / "out").check()
    checks = len(log)
    assert log == ["enter", "exit"] * (checks // 2)
    report = stream.write(tmp_path / "out", max_errors=0.9, progress=False)
    assert report.records["landed"] == 19
    assert log[2 * checks :] == ["enter", "exit"]
    log.clear()
    stream.write(tmp_path / "strict", max_errors=1, progress=False)
    assert log[checks:] == ["enter", "exit"]


def test_a_job_whose_step_cannot_be_entered_fails_before_its_first_record(tmp_path: Path, numbered: Path) -> None:
    """The run says why, and goes on once it can."""
    stream = tm.read(numbered).map(OfRecord([], fails="enter"))
    report = stream.write(tmp_path / "out", progress=False)
    assert (report.outcome, report.records["landed"]) == ("failed", 0)
    assert "`OfRecord` cannot be entered: OSError: no such database" in report.reason


class OfRecord(Step):
    """The same of a column."""

    def __call__(self, record: Any) -> Any:
        return {"n": super().__call__(record["n"])}
