"""Resources that steps' functions take by name: opened once per worker, closed on every way out."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.data.entering.resource import Resource
from tidemill.data.nodes.single import FlatMap, Map, Observe, WithColumns
from tidemill.errors import ConfigError, DataError, ResourceError

Log = list[str]


@contextmanager
def opened(log: Log, name: str = "db", factor: int = 2, fails: str = "") -> Iterator[int]:
    """A resource that is a factor, and says in a shared list what was done with it."""
    if fails == "open":
        raise OSError("no such host")
    log.append(f"open {name}")
    yield factor
    log.append(f"close {name}")
    if fails == "close":
        raise OSError("cannot commit")


@asynccontextmanager
async def aopened(log: Log, factor: int = 2) -> AsyncIterator[int]:
    """The same for a loop."""
    await asyncio.sleep(0)
    log.append("open")
    yield factor
    await asyncio.sleep(0)
    log.append("close")


class Factor:
    """The same as a class."""

    def __init__(self, log: Log, factor: int = 2) -> None:
        self.log = log
        self.factor = factor

    def __enter__(self) -> int:
        self.log.append("open db")
        return self.factor

    def __exit__(self, *error: object) -> None:
        assert error == (None, None, None)
        self.log.append("close db")


def times(record: int, db: int) -> int:
    return record * db


async def atimes(record: int, db: int) -> int:
    await asyncio.sleep(0)
    return record * db


def numbers(stop: int = 5) -> Any:
    """A stream; any, since no type checker knows what a lambda of several parameters takes."""
    return tm.from_iterable(range(stop))


STEPS: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "map": (lambda s: s.map(times), [0, 2, 4]),
    "skipping map": (lambda s: s.map(times, on_error="skip"), [0, 2, 4]),
    "filter": (lambda s: s.filter(lambda n, *, db: n >= db), [2]),
    "flat_map": (lambda s: s.flat_map(lambda n, db: [n] * db), [0, 0, 1, 1, 2, 2]),
    "with_columns": (
        lambda s: s.map(lambda n: {"n": n}).with_columns(a=lambda r, db: r["n"] * db, b=lambda r: 1),
        [{"n": 0, "a": 0, "b": 1}, {"n": 1, "a": 2, "b": 1}, {"n": 2, "a": 4, "b": 1}],
    ),
    "observe": (lambda s: s.observe(lambda n, db: n + db), [0, 1, 2]),
    "tokenize": (
        lambda s: s.map(lambda n: {"text": "a" * n}).tokenize(lambda text, db: [db] * len(text)),
        [
            {"text": "", "input_ids": []},
            {"text": "a", "input_ids": [2]},
            {"text": "aa", "input_ids": [2, 2]},
        ],
    ),
    "several in a row": (lambda s: s.map(times).map(times).filter(lambda n, db: True), [0, 4, 8]),
    "threads": (lambda s: s.map(times, concurrency=1, on="threads"), [0, 2, 4]),
    "async map": (lambda s: s.map(atimes, concurrency=2), [0, 2, 4]),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_resource_is_opened_once_for_an_iteration_and_closed_at_its_end(kind: str) -> None:
    """However many steps of a worker take it; nothing is opened before it is iterated."""
    log: Log = []
    append, wanted = STEPS[kind]
    stream = append(numbers(3)).provide(db=partial(opened, log))
    assert log == []
    for _ in range(2):
        assert list(stream) == wanted
        assert log == ["open db", "close db"]
        log.clear()


RESOURCES: dict[str, Callable[[Log], Any]] = {
    "generator": lambda log: partial(opened, log),
    "lambda": lambda log: lambda: opened(log),
    "class": lambda log: partial(Factor, log),
    "object": Factor,
    "Resource": lambda log: Resource(use=opened, log=log),
}


@pytest.mark.parametrize("kind", RESOURCES)
def test_whatever_makes_a_context_manager_is_a_resource(kind: str) -> None:
    log: Log = []
    assert list(numbers(3).map(times).provide(db=RESOURCES[kind](log))) == [0, 2, 4]
    assert log == ["open db", "close db"]


def test_resources_are_closed_in_the_reverse_of_their_order_whatever_ends_the_iteration() -> None:
    log: Log = []

    def both(n: int, a: int, b: int) -> int:
        return a // (2 - n)

    stream = numbers().map(both).provide(a=partial(opened, log, "a"), b=partial(opened, log, "b"))
    iterator = stream.iterate()
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(DataError, match="division"):
        next(iterator)
    assert log == ["open a", "open b"]  # a record's failure is the record's
    iterator.close()
    assert log == ["open a", "open b", "close b", "close a"]


def test_one_that_cannot_be_opened_closes_those_before_it_and_names_itself_and_the_step() -> None:
    log: Log = []
    stream = numbers().map(lambda n, a, b: n, name="look up")
    stream = stream.provide(a=partial(opened, log, "a"), b=partial(opened, log, "b", fails="open"))
    told = r"step `look up`: resource `b`: it cannot be opened: OSError: no such host"
    with pytest.raises(ResourceError, match=told) as caught:
        list(stream)
    assert isinstance(caught.value.__cause__, OSError)
    assert log == ["open a", "close a"]


def test_one_that_cannot_be_closed_is_told_and_the_others_are_closed() -> None:
    log: Log = []
    stream = numbers(2).map(lambda n, a, b: n)
    stream = stream.provide(a=partial(opened, log, "a"), b=partial(opened, log, "b", fails="close"))
    with pytest.raises(ResourceError, match="resource `b`: it cannot be closed: OSError: cannot commit"):
        list(stream)
    assert log == ["open a", "open b", "close b", "close a"]


def test_several_that_cannot_be_closed_are_all_told() -> None:
    fails = partial(opened, [], fails="close")
    with pytest.raises(ResourceError, match=r"`b`: it cannot be closed(.|\n)*`a`: it cannot be closed"):
        list(numbers(2).map(lambda n, a, b: n).provide(a=fails, b=fails))


def test_what_is_no_context_manager_is_refused_saying_what_it_is() -> None:
    with pytest.raises(
        ResourceError, match=r"resource `db`: expected a context manager from `dict`, got a dict"
    ) as told:
        list(numbers().map(times).provide(db=dict))
    assert "contextlib.contextmanager" in told.value.hint


def test_an_exit_while_it_is_opened_ends_no_process() -> None:
    def quits() -> Any:
        raise SystemExit("no password")

    with pytest.raises(ResourceError, match="resource `db`: it cannot be opened: SystemExit: no password"):
        list(numbers().map(times).provide(db=quits))


@pytest.mark.parametrize("on", [None, "async"])
def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_the_resource(on: Any) -> None:
    """As a library gives it that ends a task of its own: nobody ends the iteration."""

    def cancels() -> Any:
        raise asyncio.CancelledError

    class Refusing(nullcontext[None]):
        async def __aenter__(self) -> None:
            raise asyncio.CancelledError

    async def take(n: int, db: int) -> int:
        return n

    stream = numbers().map(times).provide(db=cancels) if on is None else numbers().map(take).provide(db=Refusing())
    with pytest.raises(ResourceError, match="resource `db`: it cannot be opened: CancelledError"):
        list(stream)


def test_two_resources_that_say_the_same_are_two() -> None:
    log: Log = []
    connect = partial(opened, log)
    assert list(numbers(1).map(lambda n, a, b: n).provide(a=connect, b=connect)) == [0]
    assert log == ["open db", "open db", "close db", "close db"]


def test_the_first_parameter_is_the_records() -> None:
    """Whatever it is called, and so are those that take any number; a default gives way."""
    assert list(numbers(2).map(lambda db: db).map(lambda n, db=7: n + db).provide(db=partial(opened, []))) == [2, 3]
    assert list(numbers(2).map(lambda *n, db: (n, db)).provide(db=partial(opened, []))) == [((0,), 2), ((1,), 2)]


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"bd": opened}, r"needs `log`"),
        ({"bd": partial(opened, log=[])}, r"no step so far takes the resource `bd`.*\n.*did you mean `db`\?"),
        ({"cache": nullcontext}, r"no step so far takes the resource `cache`.*\n.*parameter of that name"),
        ({"key": nullcontext}, r"`key` is the parameter by which a `call` gives its key"),
        ({"d b": nullcontext}, r"expected the name of a parameter, got `d b`"),
        ({"class": nullcontext}, r"expected the name of a parameter, got `class`"),
        ({"db": 3}, r"expected what makes a context manager, or one itself: got 3"),
        ({"db": opened([])}, r"can be entered only once(.|\n)*name the function, without calling it"),
        ({"db": partial(opened, lgo=[])}, r"`opened` takes no argument `lgo`; did you mean `log`\?"),  # type: ignore[call-arg]
    ],
)
def test_what_cannot_be_a_resource_is_told_at_once(resources: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        numbers().map(times).provide(**resources)


def test_steps_behind_take_none_and_steps_keep_what_they_have() -> None:
    log: Log = []
    first = numbers(2).map(times).provide(db=partial(opened, log, "first", 2))
    both = first.map(times).provide(db=partial(opened, log, "second", 3))
    assert list(both) == [0, 6]
    assert log == ["open first", "open second", "close second", "close first"]
    with pytest.raises(ConfigError, match="take the resource `db` have one already, and keep it"):
        both.provide(db=partial(opened, log))
    with pytest.raises(DataError, match="missing 1 required positional argument: 'db'"):
        list(first.map(times))


def test_a_stream_says_the_same_with_and_without_resources() -> None:
    """They are no part of equality, fingerprint and state, and go along in copies and pickles."""
    log: Log = []
    bare = numbers().map(times)
    given = bare.provide(db=Resource(use=Factor, log=log))
    assert given == bare
    assert given.pipeline.fingerprint == bare.pipeline.fingerprint
    iterator = given.iterate()
    assert [next(iterator), next(iterator)] == [0, 2]
    state = iterator.state()
    iterator.close()
    other = bare.provide(db=partial(opened, [], factor=10))
    assert list(other.iterate(state)) == [20, 30, 40]
    assert list(pickle.loads(pickle.dumps(given))) == [0, 2, 4, 6, 8]
    assert log == ["open db", "close db"]


def test_hooks_are_called_around_a_function_with_resources() -> None:
    pipe = tm.Pipeline([times]).provide(db=partial(opened, []))
    seen: list[Any] = []
    pipe.register_after(lambda step, record, result: seen.append((step, record, result)))
    assert list(numbers(3) | pipe) == [0, 2, 4]
    assert seen == [("map", 0, 0), ("map", 1, 2), ("map", 2, 4)]


def test_a_step_that_is_a_context_manager_takes_resources_too() -> None:
    log: Log = []

    class Step(Factor):
        def __enter__(self) -> Step:  # type: ignore[override]
            self.log.append("enter")
            return self

        def __exit__(self, *error: object) -> None:
            self.log.append("exit")

        def __call__(self, record: int, db: int) -> int:
            return record * db

    assert list(numbers(3).map(Step(log)).provide(db=partial(opened, log))) == [0, 2, 4]
    assert log == ["open db", "enter", "exit", "close db"]


def find_in(record: int, db: sqlite3.Connection) -> int:
    """Asks a connection, which belongs to the thread that opened it."""
    row = db.execute("select value from squares where number = ?", (record,)).fetchone()
    return int(row[0])


def find_in_row(row: dict[str, Any], db: sqlite3.Connection) -> int:
    return find_in(row["n"], db)


def connect(path: str, marks: str = "") -> Any:
    """A connection that is closed at the end, and leaves a mark as it is opened."""
    if marks:
        (Path(marks) / f"{threading.get_native_id()}").touch()
    return closing(sqlite3.connect(path))


@pytest.fixture
def squares(tmp_path: Path) -> str:
    path = str(tmp_path / "squares.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table squares (number integer primary key, value integer)")
        db.executemany("insert into squares values (?, ?)", ((n, n * n) for n in range(50)))
    return path


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_each_worker_has_a_connection_of_its_own(on: Any, squares: str, tmp_path: Path) -> None:
    """Those of a parallel map, and the one that goes through all else."""
    marks = tmp_path / "marks"
    marks.mkdir()
    stream = (
        numbers(50).map(find_in, concurrency=2, on=on).provide(db=Resource(use=connect, path=squares, marks=str(marks)))
    )
    assert list(stream) == [n * n for n in range(50)]
    assert 1 <= len(list(marks.iterdir())) <= 2


@contextmanager
def licensed(folder: str, seats: int, fails: str = "") -> Iterator[int]:
    """A resource of which there are so many."""
    for seat in range(seats):
        with suppress(FileExistsError):
            Path(folder, f"seat-{seat}").touch(exist_ok=False)
            break
    else:
        raise OSError("no seat is free")
    yield 2
    if fails:
        raise OSError(fails)


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_no_record_is_given_before_all_workers_have_opened_theirs(on: Any, tmp_path: Path) -> None:
    """In a job, nothing is called for the records of those that have one."""
    stream = numbers(9).map(times, concurrency=2, on=on)
    iterator = stream.provide(db=Resource(use=licensed, folder=str(tmp_path), seats=1)).iterate()
    with pytest.raises(ResourceError, match="step `map`: resource `db`: it cannot be opened: OSError: no seat is free"):
        next(iterator)
    iterator.close()
    more = stream.provide(db=Resource(use=licensed, folder=str(tmp_path), seats=3))
    assert list(more) == [2 * n for n in range(9)]


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_one_that_a_worker_cannot_close_is_told(on: Any, tmp_path: Path) -> None:
    connecting = Resource(use=licensed, folder=str(tmp_path), seats=2, fails="cannot commit")
    with pytest.raises(ResourceError, match="resource `db`: it cannot be closed: OSError: cannot commit") as told:
        list(numbers(9).map(times, concurrency=2, on=on).provide(db=connecting))
    assert str(told.value).count("cannot commit") == 2


def test_a_dataset_opens_it_for_each_read(squares: str, tmp_path: Path) -> None:
    numbers().map(lambda n: {"n": n}).save(tmp_path / "numbers.jsonl")
    connecting = Resource(use=connect, path=squares)
    rows = tm.dataset(tmp_path / "numbers.jsonl").map(find_in_row).provide(db=connecting)
    assert (rows[3], rows[-1], list(rows)[:3]) == (9, 16, [0, 1, 4])


async def test_a_loop_opens_async_ones(tmp_path: Path) -> None:
    log: Log = []
    pipe = tm.Pipeline([atimes]).provide(db=partial(aopened, log, 3))
    assert await pipe.acall(2) == 6
    assert log == ["open", "close"]
    async with pipe.aopen() as run:
        assert [await run(2), await run(3)] == [6, 9]
        assert log == ["open", "close", "open"]


def test_an_async_map_opens_both_kinds_and_a_coroutine_of_one() -> None:
    log: Log = []

    async def connected() -> Any:
        return aopened(log, 5)

    async def three(n: int, a: int, b: int, c: int) -> int:
        return n * a * b * c

    stream = numbers(3).map(three).provide(a=partial(opened, log), b=partial(aopened, log, 3), c=connected)
    assert list(stream) == [0, 30, 60]
    assert log == ["open db", "open", "open", "close", "close", "close db"]


def test_an_async_map_closes_what_was_opened_before_one_that_fails() -> None:
    log: Log = []

    async def both(n: int, a: int, b: int) -> int:
        return n

    stream = numbers(3).map(both).provide(a=partial(aopened, log), b=partial(opened, log, fails="open"))
    with pytest.raises(ResourceError, match="resource `b`: it cannot be opened: OSError: no such host"):
        list(stream)
    assert log == ["open", "close"] * (len(log) // 2)


async def gives_a_coroutine() -> Any:
    return nullcontext()


@pytest.mark.parametrize(
    "use", [partial(aopened, []), gives_a_coroutine, lambda: aopened([]), lambda **_: gives_a_coroutine()]
)
def test_a_plain_worker_refuses_an_async_one_with_the_way_out(use: Any) -> None:
    """As the iteration is opened where that can be told, else as the resource is."""
    with pytest.raises((ConfigError, ResourceError), match="is an async context manager, and nothing awaits") as told:
        list(numbers().map(times).provide(db=use))
    assert 'map(…, on="async")' in told.value.hint


def test_nodes_take_resources_too() -> None:
    nodes = [
        Map(fn=times),
        Observe(fn=times),
        FlatMap(fn=lambda n, db: [n, db]),
        WithColumns(columns={"a": lambda n: n}),
    ]
    pipe = tm.Pipeline(nodes[:3]).provide(db=partial(opened, []))
    assert pipe(4) == [8, 2]
    assert pipe == tm.Pipeline(nodes[:3])
    assert pipe[0].fn is times  # type: ignore[attr-defined]
