"""A function of a job is given a store by the name it has: open, shared with the steps, closed on every way out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shelf import Shelf, ShelfStore

import tidemill as tm
from tidemill.agents import vector_search
from tidemill.errors import ConfigError
from tidemill.protocols import VectorStore
from tidemill.stores.lance.settings import LanceDB
from tidemill.testing import Call, Delivery, FaultServer, ToolCalls

LIBRARY = """\
async def count(record, docs):
    return {"held": await docs.count(), "found": (await docs.fetch([str(record["id"])]))[0].id}


async def count_before(record, docs):
    return {**record, "before": await docs.count()}


def count_plainly(record, docs):
    return True


async def mistype(record, dcos):
    return None
"""

JOB = """\
stores:
  docs: {type: "shelf:Shelf", dimensions: 2, metric: dot}
source: {path: records.jsonl}
steps:
  - index: {store: docs}
  - call: {fn: library:count, into: counted}
  - search: {store: docs, k: 1}
sink: {path: out}
"""


@pytest.fixture(autouse=True)
def shelves() -> Iterator[dict[str, ShelfStore]]:
    Shelf.shelves.clear()
    yield Shelf.shelves
    Shelf.shelves.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job's folder, with functions that take a store."""
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "records.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in make_records(5)))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def make_records(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "embedding": [1.0, number]} for number in range(count)]


def write_job(folder: Path, *changes: tuple[str, str]) -> Path:
    text = JOB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "job.yaml").write_text(text)
    return folder / "job.yaml"


async def count(record: dict[str, Any], docs: VectorStore) -> dict[str, Any]:
    return {"held": await docs.count()}


async def fail(record: dict[str, Any], docs: VectorStore) -> None:
    raise ValueError("of the function")


def shelf() -> Shelf:
    return Shelf(dimensions=2, metric="dot")


def test_a_function_is_given_the_store_that_the_steps_use(folder: Path, shelves: dict[str, ShelfStore]) -> None:
    """One open store for all three; written out and read again it is the same job, under the parameter's name."""
    job = tm.load_job(write_job(folder))
    assert job.run(progress=False).records["landed"] == 5
    counted = list(tm.dataset(folder / "out")["counted"])
    assert [each["found"] for each in counted] == [str(number) for number in range(5)]
    assert (shelves["one"].opened, shelves["one"].closed) == (1, 1)
    (folder / "again.yaml").write_text(job.to_yaml().replace("path: out", "path: again"))
    assert list(job.to_yaml().split("docs:")[0].split()) == ["stores:"]
    again = tm.load_job(folder / "again.yaml")
    assert again.spec.steps == job.spec.steps
    assert again.run(progress=False).records["landed"] == 5


def test_a_chain_is_given_one_by_its_settings(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """By a run, an iteration and a call of the pipeline, each of which opens it once."""
    stream = tm.from_iterable(make_records(3)).index(shelf()).call(count, into="counted").provide(docs=shelf())
    assert stream.write(tmp_path / "out", progress=False).records["landed"] == 3
    assert [record["counted"]["held"] for record in stream][-1] == 3
    assert stream.pipeline({"id": 9, "embedding": [1.0, 1.0]})["counted"] == {"held": 4}
    assert (shelves["one"].opened, shelves["one"].closed) == (3, 3)


def test_it_is_closed_where_a_run_fails(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    stream = tm.from_iterable(make_records(5)).index(shelf()).call(fail, into="counted").provide(docs=shelf())
    report = stream.write(tmp_path / "out", max_errors=1, progress=False)
    assert report.outcome == "errors"
    assert (shelves["one"].opened, shelves["one"].closed) == (1, 1)


def test_it_is_closed_behind_what_is_left_with_it(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """A function that is a context manager may still use it, as it is left: by a run, and by an iteration."""
    stream = tm.from_iterable(make_records(2)).call(Counting(), into="counted").provide(docs=shelf())
    assert stream.write(tmp_path / "out", progress=False).exit_code == 0
    assert len(list(stream)) == 2
    assert Counting.seen == [(1, 0), (1, 0), (2, 1), (2, 1)]
    assert shelves["one"].closed == 2


class Counting:
    """Notes whether the shelf is open when it is entered, and when it is left."""

    seen: list[tuple[int, int]] = []  # noqa: RUF012 - of one test

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *error: object) -> None:
        self.note()

    async def __call__(self, record: dict[str, Any], docs: VectorStore) -> int:
        if not record["id"]:
            self.note()
        return await docs.count()

    def note(self) -> None:
        self.seen.append((Shelf.shelves["one"].opened, Shelf.shelves["one"].closed))


@pytest.mark.usefixtures("lance_opened_once")
def test_in_front_of_the_first_call_a_worker_opens_its_own(folder: Path) -> None:
    """A real one: in the job file's folder, as the steps', and never both in each other's way."""

    async def fill() -> None:
        async with LanceDB(path=folder / "index", dimensions=2, metric="dot").open() as store:
            await store.upsert(["old"], [[1.0, 1.0]])

    asyncio.run(fill())
    path = write_job(
        folder,
        ('type: "shelf:Shelf"', "type: lancedb, path: index"),
        ("steps:\n", 'steps:\n  - map: {fn: "library:count_before", on: async, concurrency: 2}\n'),
    )
    assert tm.load_job(path).run(progress=False).records["landed"] == 5
    records = list(tm.dataset(folder / "out"))
    assert {record["before"] for record in records} <= set(range(1, 7))
    assert [record["counted"]["found"] for record in records] == [str(number) for number in range(5)]
    assert not Path("index").exists()


@pytest.mark.parametrize(
    ("change", "line", "told", "hint"),
    [
        (
            ("library:count,", "library:mistype,"),
            6,
            "`steps.1.call.fn`: `mistype` asks for `dcos` besides the record, and nothing gives it",
            "did you mean `docs`?",
        ),
        (
            ("steps:\n", 'steps:\n  - filter: "library:count_plainly"\n'),
            5,
            "`steps.0.filter`: the resource `docs` is an async context manager, and nothing awaits it here",
            'give it a plain form, or let a coroutine function take it, in a map(…, on="async") or behind a call',
        ),
        (
            ("source:", "resources:\n  docs: {use: contextlib:nullcontext}\nsource:"),
            4,
            "`resources.docs` is a store, which functions are given by that name",
            "give the resource another",
        ),
    ],
)
def test_what_cannot_be_given_is_told_before_anything_runs(
    folder: Path, change: tuple[str, str], line: int, told: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match="1 error") as caught:
        tm.load_job(write_job(folder, change)).check()
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (told, hint)
    assert problem.place is not None
    assert problem.place.line == line


def test_an_agent_searches_the_store_that_the_steps_use(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """The one open store, in which it finds what the step in front of it put there."""

    def reply(call: Call) -> str | ToolCalls:
        return "Done." if call.results else ToolCalls(("vector_search", {"query": "wheels"}))

    with FaultServer(reply=reply, delivery=Delivery(dimensions=2)) as server:
        model, embedding = (tm.model(f"test/{name}", base_url=server.base_url) for name in ("chat", "embedding"))
        agent = tm.Agent(model, tools=[vector_search(shelf(), embedding)])
        stream = tm.from_iterable(make_records(1)).index(shelf()).agent(agent, "Find it.", transcript="how")
        assert stream.write(tmp_path / "out", progress=False).records["landed"] == 1
    (record,) = tm.dataset(tmp_path / "out")
    (found,) = json.loads(record["how"])["turns"][0]["calls"][0]["value"]
    assert found["id"] == "0"
    assert (shelves["one"].opened, shelves["one"].closed) == (1, 1)


def test_what_an_agent_found_in_one_store_is_not_reused_for_another(
    tmp_path: Path, shelves: dict[str, ShelfStore]
) -> None:
    """The model asks for just the same; in the same store nothing is searched for again."""
    settings = {place: Shelf(dimensions=2, metric="dot", place=place) for place in ("one", "two")}
    for place, store in settings.items():
        store.open().held[f"of {place}"] = [1.0, 0.0], {}

    def reply(call: Call) -> str | ToolCalls:
        return "Done." if call.results else ToolCalls(("vector_search", {"query": "wheels"}))

    def find(place: str, name: str, reuse: str | None = None) -> list[str]:
        agent = tm.Agent(model, tools=[vector_search(settings[place], embedding)])
        stream = tm.from_iterable(make_records(1)).agent(agent, "Find it.", transcript="how")
        stream.write(tmp_path / name, reuse=reuse, progress=False)
        (record,) = tm.dataset(tmp_path / name)
        return [match["id"] for match in json.loads(record["how"])["turns"][0]["calls"][0]["value"]]

    with FaultServer(reply=reply, delivery=Delivery(dimensions=2)) as server:
        model, embedding = (tm.model(f"test/{name}", base_url=server.base_url) for name in ("chat", "embedding"))
        assert find("one", "first") == ["of one"]
        assert find("one", "again", str(tmp_path / "first")) == ["of one"]
        assert shelves["one"].searches == 1
        assert find("two", "second", str(tmp_path / "first")) == ["of two"]
