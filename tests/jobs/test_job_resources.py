"""Resources of the user's in jobs: named in the file, opened before the first record, closed whatever ends the run."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, ids, make_job, numbered, read_failed, read_output, run_job, write_records

import tidemill as tm
from conftest import Command
from tidemill.calls.limits import Budget
from tidemill.data.entering import beside
from tidemill.data.entering.resource import Resource
from tidemill.data.nodes.across import Shuffle
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, Map
from tidemill.data.steps.providing import provide
from tidemill.errors import ConfigError
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.checks import check_job
from tidemill.jobs.spec.file import load_job_file
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.predict import Predict
from tidemill.testing import Fault, Faults, FaultServer

MODULE = """\
import sqlite3
import threading
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

HERE = Path(__file__).parent


SIZE = 3


def note(text):
    with open(HERE / "log.txt", "a") as log:
        log.write(text + "\\n")


@contextmanager
def connect(database, dsn=""):
    note("open db")
    if not (HERE / database).exists():
        raise OSError(f"no database {dsn}")
    with closing(sqlite3.connect(HERE / database, check_same_thread=False)) as db:
        yield db
    note("close db")


@asynccontextmanager
async def session(base_url, token):
    note("open api")
    yield base_url
    note("close api")


def find_author(record, db):
    return db.execute("select author from books where id = ?", (record["id"],)).fetchone()[0]


def is_known(record, db):
    return record["id"] < 18


async def rate(record, api, key):
    return {"url": api, "has_key": len(key) == 32}
"""

JOB = """\
source: {{path: records.jsonl}}
models:
  fast: {{model: openai/any, base_url: "{base_url}", api_key: none, limits: {{concurrency: 4}}}}
resources:
  db: {{use: library:connect, database: books.db, dsn: "postgres://me:hunter2hunter2@far/books"}}
  api: {{use: library:session, base_url: "https://api.invalid", token: canary-token-1}}
steps:
  - filter: library:is_known
  - with_columns: {{author: library:find_author}}
  - generate: {{model: fast, prompt: "Praise {{{{ author }}}}", into: praise, max_tokens: 9}}
  - call: {{fn: library:rate, into: rating}}
  - map: library:shout
sink: {{path: out, format: jsonl, segment: {{records: 5}}}}
"""

SHOUT = """

def shout(record, db):
    return {**record, "again": find_author(record, db).upper()}
"""


@pytest.fixture
def folder(tmp_path: Path, fault_server: FaultServer) -> Path:
    """A job over twenty records with a database of authors, a session and a model."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    (tmp_path / "library.py").write_text(MODULE + SHOUT)
    (tmp_path / "job.yaml").write_text(JOB.format(base_url=fault_server.base_url))
    with closing(sqlite3.connect(tmp_path / "books.db")) as db, db:
        db.execute("create table books (id integer primary key, author text)")
        db.executemany("insert into books values (?, ?)", ((number, f"author {number}") for number in range(20)))
    return tmp_path


def read_log(folder: Path) -> list[str]:
    return (folder / "log.txt").read_text().splitlines()


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "out/.run/report.json").read_bytes())
    return report


def test_a_job_from_end_to_end(tidemill_command: Command, folder: Path) -> None:
    """Each half opens what its steps take, once; `check` opens nothing."""
    tm.load_job(folder / "job.yaml").check()
    assert not (folder / "log.txt").exists()
    done = tidemill_command("run", "job.yaml")
    assert done.code == 0, done.err
    rows = read_output(load_job_file(folder / "job.yaml").folders)
    assert [row["id"] for row in rows] == list(range(18))
    assert {(row["author"], row["again"]) for row in rows} == {(f"author {n}", f"AUTHOR {n}") for n in range(18)}
    assert {(row["rating"]["url"], row["rating"]["has_key"]) for row in rows} == {("https://api.invalid", True)}
    assert sorted(read_log(folder)) == ["close api", "close db", "close db", "open api", "open db", "open db"]
    for file in (path for path in folder.rglob("*") if path.is_file() and path.name != "job.yaml"):
        assert b"hunter2hunter2" not in file.read_bytes(), file
        assert b"canary-token-1" not in file.read_bytes(), file


def test_what_opens_a_resource_is_shown_without_its_secrets(tidemill_command: Command, folder: Path) -> None:
    done = tidemill_command("config", "explain", "resources.db.dsn", "job.yaml")
    assert done.code == 0, done.err
    assert "resources.db.dsn" in done.out
    assert "***" in done.out
    assert "hunter2hunter2" not in done.out + done.err
    assert "hunter2hunter2" not in repr(load_job_file(folder / "job.yaml"))


@pytest.mark.parametrize(("step", "others"), [("filter", ["map", "with_columns"]), ("map", ["filter", "with_columns"])])
def test_one_that_cannot_be_opened_stops_the_run_before_any_call(
    tidemill_command: Command, fault_server: FaultServer, folder: Path, step: str, others: list[str]
) -> None:
    """Exit code 3; the report says which, for which step, and why; what was opened before is closed; it goes on."""
    job = folder / "job.yaml"
    lines = job.read_text().replace("{{ author }}", "{{ text }}").splitlines(keepends=True)
    job.write_text("".join(line for line in lines if not any(f"- {kind}:" in line for kind in others)))
    (folder / "books.db").rename(folder / "elsewhere.db")
    done = tidemill_command("run", "job.yaml")
    assert done.code == 3
    told = f"step `{step}`: resource `db`: it cannot be opened: OSError: no database ***"
    assert told in done.out, done.out
    assert read_report(folder)["reason"] == told
    assert fault_server.requests == 0
    log = read_log(folder)
    assert log.count("open api") == log.count("close api") == 1
    (folder / "elsewhere.db").rename(folder / "books.db")
    assert tm.load_job(job).run(progress=False).exit_code == 0
    assert fault_server.billed == (18 if step == "filter" else 20)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_close_them(
    tidemill_command: Command, fault_server: FaultServer, folder: Path, number: signal.Signals, code: int
) -> None:
    fault_server.faults = Faults(matching=[("author", Fault("stall"))])
    process = tidemill_command.start("run", "job.yaml", "--set", "run.grace_s=0")
    fault_server.wait_for(requests=4)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert sorted(read_log(folder)) == ["close api", "close db", "close db", "open api", "open db", "open db"]


FAULTY = """\
source: {path: records.jsonl}
resources:
  db: {use: library:connect, databse: books.db}
  api: {use: library:session, base_url: "https://api.invalid"}
  log: {use: library:SIZE}
  key: {use: library:connect, database: books.db}
  two words: {use: library:connect, database: books.db}
  unused: {use: library:connect, database: books.db}
steps:
  - filter: library:is_known
  - call: library:rate
  - map: library:wants
sink: {path: out}
"""

TOLD = """\
job.yaml:3:30   `resources.db.databse`: `connect` takes no argument `databse`; did you mean `database`?
    3 |   db: {use: library:connect, databse: books.db}
      |                              ^^^^^^^
job.yaml:4:8    `resources.api`: `session` needs `token`; give it as a key beside `use`
    4 |   api: {use: library:session, base_url: "https://api.invalid"}
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
job.yaml:5:3    `resources.log`: no step takes the resource `log`; a function takes it by a parameter of that name
    5 |   log: {use: library:SIZE}
      |   ^^^
job.yaml:5:14   `resources.log.use`: expected what makes a context manager, or one itself: `library:SIZE` is 3
    5 |   log: {use: library:SIZE}
      |              ^^^^^^^^^^^^
job.yaml:6:3    `resources.key` is the parameter by which a `call` gives its key; give the resource another name
    6 |   key: {use: library:connect, database: books.db}
      |   ^^^
job.yaml:7:3    `resources.two words`: expected the name of a parameter, got `two words`; letters, digits \
and `_`, and no word of Python's
    7 |   two words: {use: library:connect, database: books.db}
      |   ^^^^^^^^^
job.yaml:12:10  `steps.2.map`: `wants` asks for `bd` besides the record, and nothing gives it; did you mean `db`?
   12 |   - map: library:wants
      |          ^^^^^^^^^^^^^
job.yaml:12:10  `steps.2.map`: `wants` asks for `unsed` besides the record, and nothing gives it; did you mean `unused`?
   12 |   - map: library:wants
      |          ^^^^^^^^^^^^^
8 errors"""


def test_everything_wrong_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with open(folder / "library.py", "a") as module:
        module.write("\n\ndef wants(record, bd, unsed):\n    return record\n")
    Path("job.yaml").write_text(FAULTY)
    with pytest.raises(ConfigError, match="errors") as caught:
        load_job_file("job.yaml")
    assert str(caught.value) == TOLD


def test_the_import_path_alone_is_told_with_the_form(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("job.yaml").write_text("source: {path: r.jsonl}\nresources: {db: library:connect}\nsink: {path: out}\n")
    with pytest.raises(ConfigError, match=r"expected a mapping, got .*; for example `\{use: library:connect\}`"):
        load_job_file("job.yaml")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("map: library:rate_plainly", "nothing awaits it here; give it a plain form"),
        ("map: {fn: library:rate_plainly, concurrency: 2}", "nothing awaits it here; give it a plain form"),
        ("map: {fn: library:rate_plainly, on: async}", ""),
        ("call: library:rate_plainly", ""),
    ],
)
def test_an_async_one_needs_a_step_that_is_awaited(folder: Path, step: str, told: str) -> None:
    with open(folder / "library.py", "a") as module:
        module.write("\n\ndef rate_plainly(record, api):\n    return record\n")
    (folder / "job.yaml").write_text(
        f"source: {{path: records.jsonl}}\nresources: {{api: {{use: library:session, base_url: a, token: b}}}}\n"
        f"steps:\n  - {step}\nsink: {{path: out, format: jsonl}}\n"
    )
    job = load_job_file(folder / "job.yaml")
    if not told:
        check_job(job)
        return
    with pytest.raises(
        ConfigError, match=r"steps.0.map`: the resource `api` is an async context manager, and"
    ) as caught:
        check_job(job)
    assert told in str(caught.value)


def test_the_json_schema_takes_arguments_by_any_name() -> None:
    schema = tm.json_schema(tm.Job)
    resource = schema["$defs"]["Resource"]
    assert (resource["required"], resource["additionalProperties"]) == (["use"], True)


Log = list[str]


@contextmanager
def opened(log: Log, name: str, fails: str = "") -> Iterator[str]:
    """A resource that says in a list what was done with it."""
    if fails == "open":
        raise OSError("no such host")
    log.append(f"open {name}")
    yield name
    log.append(f"close {name}")
    if fails == "close":
        raise OSError("cannot commit")


@asynccontextmanager
async def aopened(log: Log, name: str) -> AsyncIterator[str]:
    """The same for a loop."""
    await asyncio.sleep(0)
    log.append(f"open {name}")
    yield name
    await asyncio.sleep(0)
    log.append(f"close {name}")


def keeps(record: dict[str, Any], source: str) -> bool:
    assert source == "source"
    return True


def marks(record: dict[str, Any], a: str, b: str) -> dict[str, Any]:
    return {**record, "marks": a + b}


async def looks_up(record: dict[str, Any], b: str, key: str) -> str:
    return b


def make_resources(log: Log, **fails: str) -> dict[str, Any]:
    return {
        "source": partial(opened, log, "source", fails.get("source", "")),
        "a": partial(opened, log, "a", fails.get("a", "")),
        "b": partial(aopened, log, "b"),
    }


def make_steps(log: Log, **fails: str) -> tuple[Node, ...]:
    steps = [Filter(fn=keeps), ask(), Map(fn=marks), Gather(branches={"found": {"call": looks_up}})]
    return provide(steps, make_resources(log, **fails))


OPENED = ["open a", "open b", "open source"]
CLOSED = ["close source", "close b", "close a"]


async def run(folder: Path, far: FarSide, log: Log, *, fails: Any = (), **options: Any) -> Report:
    request = {"limit": options.pop("limit")} if "limit" in options else {}
    job = make_job(folder, make_steps(log, **dict(fails)), **options)
    return await run_job(job, far, **request)


def fail_at(number: int) -> Callable[[str], Exception | None]:
    """A far side whose answers fail from a call on."""
    asked: list[str] = []

    def script(question: str) -> Exception | None:
        asked.append(question)
        return ValueError("nonsense") if len(asked) >= number else None

    return script


ENDS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "the end": ("finished", {}, None),
    "a limit": ("limit", {"limit": 7}, None),
    "the budget": ("failed", {"budget": Budget(calls=7)}, None),
    "too many errors": ("errors", {"max_errors": 3}, 5),
}


@pytest.mark.parametrize("end", ENDS)
async def test_they_are_closed_whatever_ends_the_run(tmp_path: Path, end: str) -> None:
    """The last opened first, in each half; the record half's when no call is on its way any more."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    outcome, options, fails_at = ENDS[end]
    log: Log = []
    far = FarSide(fail_at(fails_at) if fails_at else lambda question: None)
    report = await run(tmp_path, far, log, **options)
    assert (report.outcome, log) == (outcome, OPENED + CLOSED), report.reason


class Stopper(FarSide):
    """A far side that stops the runner, or cancels it, with the fifth question."""

    def __init__(self, stops: int) -> None:
        super().__init__(self.stop)
        self.stops = stops
        self.asked = 0
        self.runner: Runner
        self.running: asyncio.Future[Report]

    def stop(self, question: str) -> None:
        self.asked += 1
        if self.asked == 5 and self.stops:
            self.runner.stop(self.stops)
        elif self.asked == 5:
            self.running.cancel()

    async def run(self, job: JobSpec) -> Report:
        self.runner = Runner(job, transport=self.connect)
        self.running = asyncio.ensure_future(self.runner.run())
        return await self.running


@pytest.mark.parametrize("stops", [1, 2])
async def test_they_are_closed_when_the_run_is_stopped(tmp_path: Path, stops: int) -> None:
    write_records(tmp_path / "records.jsonl", numbered(20))
    log: Log = []
    report = await Stopper(stops).run(make_job(tmp_path, make_steps(log)))
    assert (report.outcome, report.exit_code, log) == ("stopped", 130, OPENED + CLOSED)


async def test_they_are_closed_when_the_run_is_cancelled(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(20))
    log: Log = []
    with pytest.raises(asyncio.CancelledError):
        await Stopper(0).run(make_job(tmp_path, make_steps(log)))
    assert log == OPENED + CLOSED


@pytest.mark.parametrize(("name", "step"), [("source", "filter"), ("a", "map")])
async def test_nothing_is_called_where_one_cannot_be_opened(tmp_path: Path, name: str, step: str) -> None:
    """Whichever half takes it; those that were opened are closed, and the run goes on."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    log: Log = []
    far = FarSide()
    report = await run(tmp_path, far, log, fails={name: "open"})
    told = f"step `{step}`: resource `{name}`: it cannot be opened: OSError: no such host"
    assert (report.outcome, report.exit_code, report.reason) == ("failed", 3, told)
    assert far.billed == []
    assert sorted(log) == (["close a", "close b", "open a", "open b"] if name == "source" else [])
    assert (await run(tmp_path, far, log)).outcome == "finished"
    assert len(far.billed) == 20


@pytest.mark.parametrize("name", ["source", "a"])
async def test_one_that_cannot_be_closed_is_told_at_the_end_of_a_finished_run(tmp_path: Path, name: str) -> None:
    """All is landed and sealed, and what the resource was to finish may not be: run again there is nothing to do."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    log: Log = []
    far = FarSide()
    report = await run(tmp_path, far, log, fails={name: "close"})
    assert (report.outcome, report.exit_code, report.records["landed"]) == ("failed", 3, 20)
    assert f"resource `{name}`: it cannot be closed: OSError: cannot commit" in report.reason
    assert log == OPENED + CLOSED
    assert (await run(tmp_path, far, [])).outcome == "finished"
    assert len(far.billed) == 20


def passes(record: dict[str, Any], source: str) -> dict[str, Any]:
    return record


@pytest.mark.parametrize("steps", [[Map(fn=passes, concurrency=2)], [Map(fn=passes), Shuffle(seed=1, buffer=10)]])
async def test_one_that_cannot_be_closed_where_the_source_ends_takes_no_record_along(
    tmp_path: Path, steps: list[Node]
) -> None:
    """The calls of what was read last are made: the workers of a map, and steps in front of a shuffle, end with it."""
    write_records(tmp_path / "records.jsonl", numbered(60))
    failing = {"source": partial(opened, [], "source", "close")}
    job, far = make_job(tmp_path, provide([*steps, ask()], failing)), FarSide()
    report = await run_job(job, far)
    assert (report.outcome, report.records["landed"], len(far.questions)) == ("failed", 60, 60)
    assert "resource `source`: it cannot be closed" in report.reason
    assert (await run_job(job, far)).outcome == "finished"


async def test_one_that_cannot_be_closed_hides_nothing(tmp_path: Path) -> None:
    """What ended the run stands first, with its exit code."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    report = await run(tmp_path, FarSide(), [], fails={"a": "close", "source": "close"}, budget=Budget(calls=7))
    assert (report.outcome, report.exit_code) == ("failed", 3)
    first, *others = report.reason.splitlines()
    assert "budget" in first
    assert [line for line in others if "cannot be closed" in line] == [
        "  step `filter`: resource `source`: it cannot be closed: OSError: cannot commit",
        "  step `map`: resource `a`: it cannot be closed: OSError: cannot commit",
    ]
    stopped = await Stopper(1).run(make_job(tmp_path, make_steps([], a="close"), sink={"path": "other"}))
    assert (stopped.outcome, stopped.exit_code) == ("stopped", 130)
    assert "resource `a`: it cannot be closed" in stopped.reason


async def test_resources_make_no_job_another(tmp_path: Path) -> None:
    """A run goes on with others."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    far = FarSide()
    assert (await run(tmp_path, far, [], limit=7)).outcome == "limit"
    bare = [Filter(fn=keeps), ask(), Map(fn=marks), Gather(branches={"found": {"call": looks_up}})]
    others = provide(bare, make_resources([]))
    assert make_job(tmp_path, bare).fingerprint == make_job(tmp_path, others).fingerprint
    report = await run_job(make_job(tmp_path, others), far)
    assert (report.outcome, len(far.billed)) == ("finished", 20)


async def test_a_record_that_fails_with_a_resource_fails_alone(tmp_path: Path) -> None:
    """Nobody hears of it: a generator that rolls back on an error would undo what other records did."""
    write_records(tmp_path / "records.jsonl", numbered(5))

    def fails(record: dict[str, Any], a: str) -> Any:
        if record["id"] == 3:
            raise sqlite3.IntegrityError("twice")
        return record

    log: Log = []
    job = make_job(tmp_path, provide([ask(), Map(fn=fails)], {"a": partial(opened, log, "a")}), max_errors=2)
    assert (await run_job(job, FarSide())).outcome == "finished"
    assert (ids(job), [row.error["type"] for row in read_failed(job.folders)]) == ([0, 1, 2, 4], ["IntegrityError"])
    assert log == ["open a", "close a"]


def test_a_mistyped_use_is_no_argument(folder: Path) -> None:
    text = (folder / "job.yaml").read_text()
    (folder / "job.yaml").write_text(text.replace("{use: library:connect", "{us: library:connect", 1))
    with pytest.raises(ConfigError, match=r"`resources\.db\.us`: unknown key `us`; did you mean `use`"):
        tm.load_job(folder / "job.yaml")


def test_a_chain_and_a_file_say_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written back names them without their secrets."""
    monkeypatch.chdir(folder)
    job = tm.load_job("job.yaml")
    written = job.to_yaml()
    assert written.count("use: library:connect") == 1
    assert "hunter2" not in written
    assert "canary" not in written
    Path("again.yaml").write_text(written)
    overrides = ["resources.api.token=x"]
    again = tm.load_job("again.yaml", overrides)
    assert again == job
    assert again.to_yaml() == written
    with pytest.raises(ConfigError, match="`session` needs `token`"):
        tm.load_job("again.yaml")


def test_a_chain_with_resources_is_written_as_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    found = load_job_file("job.yaml")
    connect, is_known = found.resources["db"].use, found.steps[0].fn  # type: ignore[attr-defined]
    bare = tm.read("records.jsonl").filter(is_known)
    for db in (Resource(use=connect, database="books.db"), partial(connect, database="books.db")):
        job = bare.provide(db=db).job("out")
        Path("chain.yaml").write_text(job.to_yaml())
        read = tm.load_job("chain.yaml")
        assert read == job == bare.job("out")
        assert read.spec.resources == {"db": Resource(use=connect, database="books.db")}
        read.check()
    with pytest.raises(ConfigError, match="asks for `db` besides the record, and nothing gives it"):
        bare.job("out").check()
    twice = bare.provide(db=partial(connect, database="books.db")).filter(is_known)
    with pytest.raises(ConfigError, match="take two resources named `db`"):
        twice.provide(db=partial(connect, database="other.db")).job("out").to_yaml()
    with pytest.raises(ConfigError, match="no import path"):
        bare.provide(db=lambda: connect("books.db")).job("out").to_yaml()


def test_trials_and_live_iteration_open_them(tmp_path: Path, fault_server: FaultServer) -> None:
    log: Log = []
    model = tm.model("openai/any", base_url=fault_server.base_url, api_key="none")
    stream = tm.from_iterable(numbered(3)).generate(model, prompt="{{ text }}", into="said", max_tokens=9)
    stream = stream.map(marks).call(looks_up, into="found")
    given = stream.provide(**{name: each for name, each in make_resources(log).items() if name != "source"})
    assert [record["marks"] for record in given] == ["ab", "ab", "ab"]
    assert log == ["open a", "open b", "close b", "close a"]
    assert [trial.result["found"] for trial in given.preview(2)] == ["b", "b"]
    assert log == ["open a", "open b", "close b", "close a"] * 2
    assert given.pipeline(numbered(1)[0])["marks"] == "ab"
    assert log == ["open a", "open b", "close b", "close a"] * 3


def test_what_prepares_and_finishes_a_prediction_takes_resources(tmp_path: Path) -> None:
    """Its threads share them; `check` looks at these functions, too."""
    write_records(tmp_path / "records.jsonl", numbered(9))
    log: Log = []

    def prepare(ids: list[int], a: str) -> list[str]:
        return [f"{a}{number}" for number in ids]

    def finish(result: str, b: str) -> str:
        return f"{result}{b}"

    step = Predict(model=sorted, column="id", prepare=prepare, finish=finish, into="said")
    stream = tm.read(tmp_path / "records.jsonl") | tm.Pipeline([step])
    with pytest.raises(ConfigError, match=r"`.*prepare` asks for `a` besides(.|\n)*`.*finish` asks for `b` besides"):
        stream.job(tmp_path / "out").check()
    given = stream.provide(a=partial(opened, log, "a"), b=partial(opened, log, "b"))
    assert given.write(tmp_path / "out", format="jsonl", progress=False).outcome == "finished"
    assert [record["said"] for record in tm.dataset(tmp_path / "out")] == [f"a{number}b" for number in range(9)]
    assert log == ["open a", "open b", "close b", "close a"]


def test_a_call_of_a_plain_function_shares_one_among_its_threads(tmp_path: Path) -> None:
    seen: list[int] = []

    def looks(record: dict[str, Any], pool: object) -> Any:
        seen.append(id(pool))
        return record["id"]

    step = Call(fn=looks)
    stream = tm.from_iterable(numbered(9)) | tm.Pipeline([step]).provide(pool=partial(opened, [], "pool"))
    assert [record["result"] for record in stream] == list(range(9))
    assert len(set(seen)) == 1


class Held:
    """A resource that waits to be opened, and says in which threads it was used."""

    def __init__(self, *, waits: bool = False) -> None:
        self.log: list[tuple[str, int]] = []
        self.go_on = threading.Event()
        self.is_asked = threading.Event()
        self.is_closed = threading.Event()
        if not waits:
            self.go_on.set()

    def note(self, text: str) -> None:
        self.log.append((text, threading.get_ident()))

    @contextmanager
    def open(self) -> Iterator[Held]:
        self.is_asked.set()
        assert self.go_on.wait(30)
        self.note("open")
        yield self
        self.note("close")
        self.is_closed.set()


def uses(record: dict[str, Any], held: Held) -> dict[str, Any]:
    held.note("use")
    return record


async def auses(record: dict[str, Any], held: Held) -> dict[str, Any]:
    held.note("use")
    return record


async def test_plain_functions_behind_a_call_use_a_resource_in_one_thread_beside_the_loop(tmp_path: Path) -> None:
    """Where it is opened and closed as well: a connection may belong to its thread, and waits without holding calls up.

    One that coroutine functions take, too, is opened in the loop.
    """
    write_records(tmp_path / "records.jsonl", numbered(5))
    held = Held()
    steps = [ask(), Map(fn=uses), Filter(fn=uses)]
    await run_job(make_job(tmp_path, provide(steps, {"held": held.open})), FarSide())
    assert [text for text, _ in held.log] == ["open", *["use"] * 10, "close"]
    (thread,) = {thread for _, thread in held.log}
    assert thread != threading.get_ident()
    held = Held()
    steps = [ask(), Map(fn=auses), Map(fn=uses)]
    await run_job(make_job(tmp_path, provide(steps, {"held": held.open}), sink={"path": "b"}), FarSide())
    assert {thread for text, thread in held.log if text != "use"} == {threading.get_ident()}


def test_sqlite_s_own_connection_is_a_resource_behind_a_call(folder: Path) -> None:
    """It refuses to be used in another thread than its own."""
    log: list[int] = []

    def find(record: dict[str, Any], db: sqlite3.Connection) -> Any:
        log.append(threading.get_ident())
        return {**record, "author": db.execute("select author from books where id = ?", (record["id"],)).fetchone()[0]}

    stream = tm.read(folder / "records.jsonl").call(lambda record: 1, into="one").map(find)
    stream = stream.provide(db=lambda: closing(sqlite3.connect(folder / "books.db")))
    assert [record["author"] for record in stream] == [f"author {n}" for n in range(20)]
    report = stream.write(folder / "out", format="jsonl", progress=False)
    assert (report.outcome, report.records["landed"]) == ("finished", 20)


async def test_two_stops_end_a_run_that_is_still_opening(tmp_path: Path) -> None:
    """A host that does not answer holds nobody up; what is opened after all is closed."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    held, far = Held(waits=True), FarSide()
    runner = Runner(make_job(tmp_path, provide([ask(), Map(fn=uses)], {"held": held.open})), transport=far.connect)
    running = asyncio.ensure_future(runner.run())
    await asyncio.to_thread(held.is_asked.wait, 30)
    runner.stop(2)
    report = await running
    assert (report.outcome, report.exit_code, far.billed) == ("stopped", 130, [])
    held.go_on.set()
    assert await asyncio.to_thread(held.is_closed.wait, 30)
    assert [text for text, _ in held.log] == ["open", "close"]


async def test_one_that_a_function_does_not_let_go_of_is_left_open_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends; nothing is closed under the hands of a function, but when it returns."""
    monkeypatch.setattr(beside, "LEAVE_S", 0.01)
    write_records(tmp_path / "records.jsonl", numbered(5))
    held, go_on = Held(), threading.Event()

    def hangs(record: dict[str, Any], held: Held) -> None:
        loop.call_soon_threadsafe(runner.stop, 2)
        assert go_on.wait(30)

    job = make_job(tmp_path, provide([ask(), Map(fn=hangs)], {"held": held.open}), run={"grace_s": 0.0})
    runner, loop = Runner(job, transport=FarSide().connect), asyncio.get_running_loop()
    report = await runner.run()
    assert (report.outcome, report.exit_code) == ("stopped", 130)
    assert report.reason == "the resource `held` stays open until a function that uses it returns"
    assert not held.is_closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(held.is_closed.wait, 30)
