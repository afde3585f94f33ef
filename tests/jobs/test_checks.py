"""`check`: the exact report for whatever is wrong with a job, all at once; nothing is called, nothing is written."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

import tidemill as tm
from cases import load_cases
from tidemill.config.types.templates import Template
from tidemill.data.nodes.across import Shuffle
from tidemill.errors import DataError
from tidemill.jobs.live import glance
from tidemill.jobs.spec import flow
from tidemill.jobs.spec.notes import find_notes
from tidemill.stores import LanceDB
from tidemill.testing import FaultServer

STEPS = """\
def is_wanted(record):
    return True


async def judge(record):
    return True


def is_long(record):
    return len(record["txet"]) > 10
"""

SCHEMAS = """\
from collections.abc import Callable

from pydantic import BaseModel


class Label(BaseModel):
    topic: str


class Loose(BaseModel):
    value: int | str


class Hooked(BaseModel):
    hook: Callable[[], int]


class Landed(BaseModel):
    id: int
    title: str | None = None
    label: Label
    lable: str
"""

FILES = {
    "my_steps.py": STEPS,
    "my_schemas.py": SCHEMAS,
    "broken.py": "import my_steps\n\nmy_steps.nothing\n",
    "prompt.txt": "Label this:\n\n  é {{ text }} of {{ tite }}\n",
    "reviews/a.jsonl": '{"id": 1, "text": "fine"}\n{"id": 2, "text": "bad", "title": "sparse"}\n',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A job's folder, which is also the working one; no key is set, and its modules are gone with it."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": "Label: {text}"}, "write `{{ text }}` for `{text}`, if the column is meant"),
        ({"prompt": "prompt.txt"}, "write `{file: prompt.txt}` for the text of that file"),
        ({"prompt": ""}, "its text is empty; a column is written `{{ column }}`, a file `{file: prompt.txt}`"),
        ({"prompt": "Invent a word.", "system": "Be brief."}, "its text uses no column; one is written `{{ column }}`"),
        (
            {"messages": [{"role": "user", "content": "Go on."}]},
            "its text uses no column; one is written `{{ column }}`",
        ),
        ({"prompt": "none.txt"}, "its text uses no column; one is written `{{ column }}`"),
        ({"prompt": "Invent a word.", "n": 3}, ""),
        ({"prompt": "What is it?", "images": ["image"]}, ""),
        ({"prompt": "Invent a word.", "seed": {"column": "id"}}, ""),
        ({"messages": "turns"}, ""),
        ({"prompt": "Invent a word.", "system": "About {{ text }}"}, ""),
    ],
)
def test_a_prompt_without_a_column_is_told(folder: Path, fields: dict[str, Any], told: str) -> None:
    """No error: somebody may want a word for each record. Samples, images and the like differ anyway."""
    asks = {"model": "openai/any", "max_tokens": 9}
    same, other = {"generate": {**asks, **fields}}, {"generate": {**asks, "prompt": "{{ text }}"}}
    notes = find_notes(tm.read("reviews/*.jsonl").gather(same=same, other=other).job("out").spec)
    assert notes == ([f"step `gather.same`: every record is asked the same: {told}"] if told else [])


@pytest.mark.parametrize(
    ("written", "between", "is_told"),
    [
        ("{{ id }}", {}, True),
        ("{{ id }}", {"drop": ["year"]}, True),
        ("{{ id }}", {"rename": {"shelf": "place"}}, True),
        ("{{ id }}", {"rename": {"place": "id"}}, False),
        ("{{ id }}", {"map": str.upper}, False),
        ("{{ id }}/{{ chunk }}", {}, False),
        ("{{ id }}@{{ start }}", {}, False),
        ("{{ text | upper }}", {}, False),
    ],
)
def test_chunks_under_one_id_are_told(folder: Path, written: str, between: dict[str, Any], is_told: bool) -> None:
    """No error: another step may have made the id, and one chunk may be all that a text has."""
    stream: Any = tm.read("reviews/*.jsonl").chunk("text", max_chars=100)
    for kind, given in between.items():
        stream = getattr(stream, kind)(*(given if kind == "drop" else [given]))
    notes = find_notes(stream.index(LanceDB(path="kb", dimensions=3), id=written).job("out").spec)
    told = f"step `index`: all chunks of a record have the id `{written}`, and the last alone stays in the store;"
    assert notes == ([told + f' write `id: "{written}/{{{{ chunk }}}}"`'] if is_told else [])


CASES = load_cases(Path(__file__).with_name("check_reports.txt"))


def files_of(folder: Path) -> dict[Path, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.read_bytes() for path in found}


@pytest.mark.parametrize("name", CASES)
def test_the_report_of(name: str, folder: Path) -> None:
    text, expected = CASES[name]
    (folder / "job.yaml").write_text(text)
    before = files_of(folder)
    with pytest.raises(tm.ConfigError) as caught:
        tm.load_job("job.yaml").run()
    assert caught.value.message.replace(str(folder), "FOLDER") == expected
    assert files_of(folder) == before


def test_every_problem_has_its_place(folder: Path) -> None:
    """The problems are data, too: file, line, column, key path, message, hint."""
    (folder / "job.yaml").write_text(CASES["template variable in a file"][0])
    with pytest.raises(tm.ConfigError, match="no record has a column `tite`") as caught:
        tm.load_job("job.yaml").check()
    [problem] = caught.value.problems
    assert problem.place is not None
    assert (Path(problem.place.file).name, problem.place.line, problem.place.column) == ("prompt.txt", 3, 22)
    assert problem.path == ("steps", 1, "generate", "prompt")
    assert problem.hint == "did you mean `title`?"


def model_of(server: FaultServer) -> tm.Model:
    return tm.model("openai/any", base_url=server.base_url, api_key="none")


def check_quietly(job: tm.Job, folder: Path, server: FaultServer) -> None:
    """`check` has nothing to say of the job, and calls and writes nothing."""
    before = files_of(folder)
    job.check()
    assert files_of(folder) == before
    assert server.requests == 0


def sparse(folder: Path, at: int) -> tm.Stream[dict[str, Any]]:
    """A thousand records; from number `at` on they have a title."""
    lines = ({"id": number} | ({"title": "t"} if number >= at else {}) for number in range(1_000))
    (folder / "sparse.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tm.read(folder / "sparse.jsonl")


def test_a_column_that_only_later_records_have_is_known(folder: Path, server: FaultServer) -> None:
    sparse(folder, 900).generate(model_of(server), "{{ title }}").job("out").check()
    with pytest.raises(tm.ConfigError, match=r"step `generate`: no record has a column `title`; columns: `id`"):
        sparse(folder, 1_000).generate(model_of(server), "{{ title }}").job("out").check()


@pytest.mark.parametrize(
    ("prompt", "rendered"),
    [
        ("{{ title | default('none') }}", "none"),
        ("{% if title is defined %}{{ title }}{% endif %}", ""),
        ("{% for title in [1] %}{{ title }}{% endfor %}", "1"),
    ],
)
def test_a_column_that_the_template_can_do_without_may_be_missing(
    folder: Path, server: FaultServer, prompt: str, rendered: str
) -> None:
    assert Template(prompt)({"id": 0}) == rendered
    check_quietly(sparse(folder, 1_000).generate(model_of(server), prompt).job("out"), folder, server)


class Label(BaseModel):
    topic: str


class Narrow(BaseModel):
    id: int
    label: str


class Asked(BaseModel):
    topic: str

    @computed_field
    def shout(self) -> str:
        return self.topic.upper()


@pytest.mark.parametrize(
    "prompt",
    [
        "{% for key, value in label.items() %}{{ key }}{% endfor %}",
        "{{ label.keys() | list }} {{ label.get('other', '') }}",
        "{% for label in [{'a': 1}] %}{{ label.a }}{% endfor %}{{ label.topic }}",
        "{% set label = {'a': 1} %}{{ label.a }}",
        "{% with label = {'a': 1} %}{{ label.a }}{% endwith %}",
        "{% macro show(label) %}{{ label.a }}{% endmacro %}{{ show({'a': 1}) }}",
        "{{ 'label.x' }} {# label.x {{ nope }} #}{% raw %}{{ label.x }}{{ nope }}{% endraw %}",
        "{{ nope | d('') }}{{ nope | default('') | upper }}{{ label.nope | d('') }}{{ label['nope'] | d('') }}",
        "{% if nope is undefined %}a{% else %}{{ nope }}{% endif %}",
        "{% if label.nope is defined %}{{ label.nope }}{% endif %}",
        "{{ label.shout }}",
    ],
)
def test_a_template_is_read_as_jinja_reads_it(folder: Path, server: FaultServer, prompt: str) -> None:
    """Names that it binds itself, texts, calls, tests and defaults are no columns or fields that lack."""
    Template(prompt)({"text": "fine", "label": {"topic": "a", "shout": "A"}})
    asked = tm.read(folder / "reviews/*.jsonl").generate(model_of(server), "{{ text }}", output=Asked, into="label")
    check_quietly(asked.generate(model_of(server), prompt, into="more").job("out"), folder, server)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("{% for label in [1] %}{% endfor %}{{ label.x }}", "`label` has no field `x`"),
        ("{{ label.itms() }}", "`label` has no field `itms`"),
        ("{{ label.x.y | d('') }}", "`label` has no field `x`"),
        ("{% for x in x %}{{ x }}{% endfor %}", "no record has a column `x`"),
        ("{% set x = x %}{{ x }}", "no record has a column `x`"),
        ("{% set label = label.x %}{{ label }}", "`label` has no field `x`"),
        ("{{ x.y | d('') }}", "no record has a column `x`"),
    ],
)
def test_what_a_template_cannot_do_without_is_told(folder: Path, server: FaultServer, prompt: str, told: str) -> None:
    with pytest.raises(DataError, match=r"not in the dict|no column"):
        Template(prompt)({"text": "fine", "label": {"topic": "a", "shout": "A"}})
    asked = tm.read(folder / "reviews/*.jsonl").generate(model_of(server), "{{ text }}", output=Asked, into="label")
    with pytest.raises(tm.ConfigError, match=told) as caught:
        asked.generate(model_of(server), prompt, into="more").job("out").check()
    assert len(caught.value.problems) == 1


def test_columns_are_followed_through_the_steps(folder: Path, server: FaultServer) -> None:
    """What steps add and drop is known; what a function gives is not, and is not complained of."""
    model = model_of(server)
    start = sparse(folder, 0).with_columns(length=len)
    asked = start.generate(model, "{{ title }} {{ length }}", into="first")
    asked.select("first").generate(model, "{{ first }}", into="second").job("out").check()
    asked.map(dict).generate(model, "{{ whatever }}", into="second").job("out").check()
    with pytest.raises(tm.ConfigError, match="no record has a column `length`; columns: `first`"):
        asked.select("first").generate(model, "{{ length }}", into="second").job("out").check()
    asked.rename({"first": "one"}).drop("length").generate(model, "{{ one }}", into="second").job("out").check()
    for changed, gone in ((asked.rename({"first": "one"}), "first"), (asked.drop("length"), "length")):
        with pytest.raises(tm.ConfigError, match=f"no record has a column `{gone}`"):
            changed.generate(model, f"{{{{ {gone} }}}}", into="second").job("out").check()
    with pytest.raises(tm.ConfigError, match="no record has a column `lenght`; did you mean `length`"):
        asked.drop("lenght").job("out").check()


def test_no_more_of_the_source_is_read_than_it_takes(folder: Path, server: FaultServer) -> None:
    """A filter that keeps nothing does not make `check` read a source to its end."""
    seen: list[int] = []

    def keep_none(record: dict[str, Any]) -> bool:
        seen.append(record["id"])
        return False

    (folder / "many.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in range(5_000)))
    tm.read(folder / "many.jsonl").filter(keep_none).generate(model_of(server), "{{ id }}").job("out").check()
    assert len(seen) == 1_000


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes no longer than its three records do."""
    monkeypatch.setattr(flow, "READ_S", 0.0)


def count_slow(folder: Path) -> tuple[tm.Stream[dict[str, Any]], Callable[[Any], Any], list[int]]:
    """120 records, a function that takes too long, and the records that it was called with."""
    seen: list[int] = []

    def slow(record: dict[str, Any]) -> dict[str, Any]:
        seen.append(record["id"])
        return record

    (folder / "slow.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in range(120)))
    return tm.read(folder / "slow.jsonl"), slow, seen


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize(
    ("arrange", "calls"),
    [
        (lambda stream, slow: stream.map(slow), 3),
        (lambda stream, slow: stream.filter(lambda record: not slow(record)), 3),
        (lambda stream, slow: stream.map(slow).sort("id"), 3),
        (lambda stream, slow: stream.sort(lambda record: slow(record)["id"]), 3),
        (lambda stream, slow: stream.map(slow).shuffle(seed=1), 3),
        (lambda stream, slow: stream.map(slow).group_by("id").agg(n="count"), 3),
        (lambda stream, slow: stream.map(slow).batch(50, form="columns").unbatch(), 3),
        (lambda stream, slow: stream.flat_map(lambda record: map(slow, [record] * 100)).sort("id"), 3),
        (lambda stream, slow: stream.sort("id").map(slow), 3),
        (lambda stream, slow: stream.join(stream.map(slow), "id"), 3),
        (lambda stream, slow: stream.join(stream.map(slow).sort("id", dir="kept"), "id", how="left"), 3),
        (lambda stream, slow: stream.sort(lambda record: slow(record)["idd"]), 6),
    ],
)
def test_a_look_ends_in_time_where_records_are_held_back(
    arrange: Callable[[Any, Any], Any], calls: int, folder: Path, server: FaultServer
) -> None:
    """Three records in any case, and as many for each step of a failure that is looked for."""
    stream, slow, seen = count_slow(folder)
    job = arrange(stream, slow).generate(model_of(server), "{{ text }}").job("out")
    if calls == 3:
        check_quietly(job, folder, server)  # nor is a column told as missing that later records may have
    else:
        with pytest.raises(tm.ConfigError, match="step `sort`: all 3 records read fail here"):
            job.check()
    assert len(seen) <= calls


def test_a_failure_behind_held_records_is_looked_for_in_time(
    folder: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the records that a step held most have not come to the one that fails when the time is over."""
    now = [0.0]
    monkeypatch.setattr(glance, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream, _, seen = count_slow(folder)

    def fail(record: dict[str, Any]) -> dict[str, Any]:
        seen.append(record["id"])
        now[0] += 0.1
        raise ValueError("no")

    job = stream.sort("id").map(fail).generate(model_of(server), "{{ text }}").job("out")
    with pytest.raises(tm.ConfigError, match="step `map`: all 3 records read fail here: ValueError: no"):
        job.check()
    assert len(seen) <= 15


def test_an_iterable_that_is_joined_with_is_left_alone(folder: Path, server: FaultServer) -> None:
    """It may be one that can be gone through only once, and is then there for the run, and not for an estimate."""
    others = iter([{"id": 1, "shop": "a"}, {"id": 2, "shop": "b"}])
    stream = tm.read(folder / "reviews/*.jsonl").join(tm.from_iterable(others), "id", dir=folder / "kept")
    asked = stream.generate(model_of(server), "{{ txt }}")
    check_quietly(asked.job("out"), folder, server)
    with pytest.raises(tm.ConfigError, match="this list_iterator can be gone through only once"):
        asked.estimate()
    assert stream.write("out", progress=False).records["landed"] == 2


def test_a_database_that_is_joined_with_is_looked_at_as_a_source_is(folder: Path, server: FaultServer) -> None:
    """A SQLite file is; another is not asked, though what is there decides on the columns."""
    with closing(sqlite3.connect(folder / "shops.db")) as database, database:
        database.execute("create table shops (id integer primary key, shop text)")
        database.execute("insert into shops values (1, 'a')")
    asked: list[int] = []

    def connect() -> Any:
        asked.append(1)
        return sqlite3.connect(folder / "shops.db")

    for known in (f"sqlite:///{folder / 'shops.db'}", connect):
        shops = tm.from_sql("select * from shops", known, key="id")
        stream = tm.read(folder / "reviews/*.jsonl").join(shops, "id", dir=folder / "kept")
        job = stream.generate(model_of(server), "{{ shopp }}").job("out")
        if known is connect:
            check_quietly(job, folder, server)
        else:
            with pytest.raises(tm.ConfigError, match="no record has a column `shopp`; did you mean `shop`"):
                job.check()
    assert asked == []


def test_records_that_fail_in_the_source_half_are_left_to_the_run(folder: Path, server: FaultServer) -> None:
    (folder / "bad.jsonl").write_text('{corrupt\n{"id": 1}\n')
    tm.read(folder / "bad.jsonl").generate(model_of(server), "{{ id }}").job("out").check()
    with pytest.raises(tm.ConfigError, match="no record has a column `idd`; did you mean `id`"):
        tm.read(folder / "bad.jsonl").generate(model_of(server), "{{ idd }}").job("out").check()


def test_a_source_in_which_every_line_fails_is_told(folder: Path, server: FaultServer) -> None:
    (folder / "bad.jsonl").write_text("{corrupt\n" * 3)
    with pytest.raises(tm.ConfigError, match=r"all 3 records read fail here.*bad\.jsonl, byte \d+: not JSON"):
        tm.read(folder / "bad.jsonl").generate(model_of(server), "{{ id }}").job("out").check()


def test_a_step_at_which_all_fail_is_told_behind_others_that_fail_some(folder: Path, server: FaultServer) -> None:
    """The source's own corrupt line and what a filter drops are not that step's."""
    (folder / "bad.jsonl").write_text('{corrupt\n{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    kept = tm.read(folder / "bad.jsonl").filter(lambda record: record["id"] > 1)
    failing = kept.with_columns(size=lambda record: len(record["id"]))
    with pytest.raises(
        tm.ConfigError, match=r"step `with_columns`: all 2 records read fail here: TypeError: object of"
    ):
        failing.generate(model_of(server), "{{ id }}").job("out").check()
    some = kept.with_columns(size=lambda record: 1 / (record["id"] - 2))
    none = kept.filter(lambda record: False).with_columns(size=lambda record: len(record["id"]))
    for stream in (some, none):
        stream.generate(model_of(server), "{{ id }}").job("out").check()


def test_records_that_fit_the_schema_are_let_through(folder: Path, server: FaultServer) -> None:
    """A column that only some records have may be lacking in it: that is a failure of those."""
    asked = tm.read(folder / "reviews/*.jsonl").generate(model_of(server), "{{ text }}", into="label")
    asked.select("id", "label").job("out", schema=Narrow).check()
    sparse(folder, 900).generate(model_of(server), "{{ id }}", into="label").job("out", schema=Narrow).check()
    asked.map(dict).job("out", schema=Label).check()
    with pytest.raises(tm.ConfigError, match=r"every record has `text`, which `Narrow` lacks; .*select"):
        asked.select("id", "label", "text").job("out", schema=Narrow).check()
    with pytest.raises(tm.ConfigError, match=r"no record has a column `id`, which `Narrow` requires"):
        asked.select("label").job("out", schema=Narrow).check()


@pytest.mark.parametrize("pattern", ["work/**/*.jsonl", "work/*/*.zst", "work/*.json", "out/_manifest.*"])
def test_the_source_reads_nothing_that_a_run_keeps(folder: Path, server: FaultServer, pattern: str) -> None:
    """Quarantine, archive, run.json and manifest: no file of a run may become one of its records."""
    for place in ("work/a.jsonl", "work/a/b.zst", "work/a.json", "out/_manifest.old"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text('{"text": "fine"}\n')
    stream = tm.read(pattern, format="jsonl").generate(model_of(server), "{{ text }}")
    with pytest.raises(tm.ConfigError, match=r"the source would read what the (sink writes into|run keeps in)"):
        stream.job("out", run_dir="work").check()


def test_a_key_that_no_header_can_hold_is_told(folder: Path, server: FaultServer) -> None:
    model = tm.model("openai/any", base_url=server.base_url, api_key="first-half-0123\nsecond-half-0123")
    with pytest.raises(tm.ConfigError, match=r"the key of `openai/any` cannot be sent: .* line break") as caught:
        tm.read(folder / "reviews/*.jsonl").generate(model, "{{ text }}").job("out").check()
    assert "half" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda stream: stream.batch(2), "`batch` gives lists of records, and what is called with and lands are dicts"),
        (lambda stream: stream.sliding(2).take(3), "`sliding` gives lists of records, .*; take them apart again"),
        (lambda stream: stream.batch(2, form="arrow"), "`batch` gives Arrow tables, .*`unbatch`"),
        (lambda stream: stream.zip(stream), "`zip` gives tuples, .*; make one dict of each with a `map`"),
        (lambda stream: stream.catch(), "a job has a quarantine of its own, which `catch` would keep failures from"),
        (
            lambda stream: stream | tm.Pipeline([Shuffle(buffer=None)]),
            "`shuffle` needs records with numbers, and these have none",
        ),
        (lambda stream: stream.map(dict, concurrency=2, ordered=False), "ordered=False gives records in another order"),
        (lambda stream: stream.concat(stream.catch()), "in one of the joined streams: .* quarantine of its own"),
        (lambda stream: stream.concat(stream.filter(bool, on_error="skip")), "passes over failures"),
        (lambda stream: stream.concat(stream.generate("local/smollm2", "Hi")), "one of the joined streams makes calls"),
    ],
)
def test_a_source_half_that_cannot_run_is_refused(
    make: Callable[[Any], Any], told: str, folder: Path, server: FaultServer
) -> None:
    """With the way round it; nothing is called or written."""
    before = files_of(folder)
    with pytest.raises(tm.ConfigError, match=told):
        make(tm.read(folder / "reviews/*.jsonl")).generate(model_of(server), "Hello", max_tokens=5).write(
            folder / "out"
        )
    assert files_of(folder) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda stream: stream.shuffle().skip(1).repeat(2),
        lambda stream: stream.batch(2).unbatch().sample(0.5),
        lambda stream: stream.batch(1, form="columns"),
        lambda stream: stream.map(dict, concurrency=4).prefetch(2),
        lambda stream: stream.sliding(2).map(lambda window: {"text": "".join(each["text"] for each in window)}),
        lambda stream: stream.interleave(stream.take(2), block=2),
    ],
)
def test_any_step_may_stand_in_front_of_the_first_call(
    make: Callable[[Any], Any], folder: Path, server: FaultServer
) -> None:
    """Also those that look across records, and those with workers."""
    stream = make(tm.read(folder / "reviews/*.jsonl")).generate(model_of(server), "{{ text }}")
    check_quietly(stream.job("out"), folder, server)


@pytest.mark.parametrize("wanted", ["text", "txt"])
def test_columns_are_followed_through_batches(wanted: str, folder: Path, server: FaultServer) -> None:
    """A batch of columns has the columns of its records; so has what comes out of one."""
    (folder / "alike.jsonl").write_text('{"id": 1, "text": "fine"}\n' * 5)
    stream = tm.read(folder / "alike.jsonl").batch(2, form="columns")
    for each in (stream, stream.unbatch()):
        job = each.generate(model_of(server), f"{{{{ {wanted} }}}}").job("out")
        if wanted == "text":
            job.check()
        else:
            with pytest.raises(tm.ConfigError, match="no record has a column `txt`; did you mean `text`"):
                job.check()


def test_batches_that_all_fail_are_told(folder: Path, server: FaultServer) -> None:
    """As a step is at which each record fails."""
    stream = tm.read(folder / "reviews/*.jsonl").batch(2, form="columns")
    with pytest.raises(tm.ConfigError, match=r"step `batch`: the one record read fails here: .*title"):
        stream.generate(model_of(server), "{{ text }}").job("out").check()


def test_an_iterable_is_not_gone_through(server: FaultServer) -> None:
    """It may be one that can be gone through only once."""
    items = iter([{"id": 1}])
    tm.from_iterable(items).generate(model_of(server), "{{ other }}").job("out").check()
    assert next(items) == {"id": 1}


def test_a_chain_is_checked_as_a_file_is(folder: Path, server: FaultServer) -> None:
    """Everything at once, by step instead of by line, before anything is called or written."""
    model = model_of(server)
    stream = (
        tm.read(folder / "reviews/*.jsonl").generate(model, "{{ txt }}").generate("openai/any", "{{ text }}").take(3)
    )
    before = files_of(folder)
    with pytest.raises(tm.ConfigError) as caught:
        stream.write(folder / "out", budget=tm.Budget(tokens=100))
    ceiling = "budget.tokens needs a ceiling for every call, and this step has no max_tokens; "
    ceiling += "set max_tokens: the most tokens a reply may have"
    told = {
        "take": "`take` looks across records, which a job cannot do after a call; "
        "move it before the first call, or run it in a second job over this one's output, source: {dataset: …}",
        "generate_2": "`openai/any` needs a key, and OPENAI_API_KEY is not set; "
        "set it in the environment or in .env, or give the model an api_key",
        "generate": "no record has a column `txt`; did you mean `text`?",
    }
    assert set(caught.value.message.splitlines()) == {
        *(f"step `{step}`: {problem}" for step, problem in told.items()),
        f"step `generate`: {ceiling}",
        f"step `generate_2`: {ceiling}",
        (
            "step `generate_2`: the column `reply` is written by step `generate` already; "
            "give each step an `into` of its own"
        ),
        "6 errors",
    }
    assert files_of(folder) == before
    assert server.requests == 0


def test_arguments_of_write_are_told_as_keys_are(server: FaultServer, tmp_path: Path) -> None:
    stream = tm.from_iterable([{"id": 1}]).generate(model_of(server), "{{ id }}")
    with pytest.raises(tm.ConfigError, match=r'`sink\.format`: expected `parquet` or `jsonl`, got "parket"') as caught:
        stream.write(tmp_path / "out", format="parket", max_errors=-1)
    assert len(caught.value.problems) == 2


def test_a_key_in_the_env_file_of_the_job_is_found(folder: Path) -> None:
    (folder / "job.yaml").write_text(CASES["missing key variable"][0])
    with pytest.raises(tm.ConfigError, match="OPENAI_API_KEY is not set"):
        tm.load_job("job.yaml").check()
    (folder / ".env").write_text("OPENAI_API_KEY=sk-0123456789abcdef\n")
    tm.load_job("job.yaml").check()


def test_a_local_model_that_is_not_there(folder: Path) -> None:
    with pytest.raises(tm.ConfigError, match=r"step `generate`: .*missing\.gguf"):
        tm.read(folder / "reviews/*.jsonl").generate("local/missing.gguf", "{{ text }}").job("out").check()


@pytest.mark.parametrize("run_dir", [None, "my_steps.py"])
def test_a_file_where_a_folder_is_to_be(folder: Path, server: FaultServer, run_dir: str | None) -> None:
    stream = tm.read(folder / "reviews/*.jsonl").generate(model_of(server), "{{ text }}")
    target = "out" if run_dir else "my_steps.py"
    with pytest.raises(tm.ConfigError, match=r"expected a folder, `my_steps\.py` is a file"):
        stream.write(target, run_dir=run_dir)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("sort: {key: idd, on_error: skip}", "all 2 records read fail here, most of them: expected a column `idd`"),
        ("dedupe: {key: txt, on_error: skip}", "all 2 records read fail here, most of them: expected a column `txt`"),
        ("select: {columns: [idd], on_error: skip}", "no record has a column `idd`; did you mean `id`?"),
        ("drop: {columns: [title], on_error: skip}", ""),
    ],
)
def test_a_step_that_would_skip_every_record_is_told(folder: Path, step: str, told: str) -> None:
    """A name that is mistyped would empty the output without a word; what some records lack is nobody's mistake."""
    (folder / "job.yaml").write_text(f'source: {{path: "reviews/*.jsonl"}}\nsteps:\n  - {step}\nsink: {{path: out}}\n')
    job = tm.load_job("job.yaml")
    if not told:
        job.check()
        return
    with pytest.raises(tm.ConfigError) as caught:
        job.check()
    [problem] = caught.value.problems
    assert told in f"{problem.message}; {problem.hint}"


def write_shop(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE reviews (id INTEGER, text TEXT)")
        shop.executemany("INSERT INTO reviews VALUES (?, ?)", [(number, f"review {number}") for number in range(20)])


@pytest.mark.parametrize(
    ("sql", "database", "key", "told"),
    [
        ("SELECT id, text FROM reviews", "shop.db", "id", ""),
        ("SELECT id, text AS txt FROM reviews", "shop.db", "id", "no record has a column `text`; did you mean `txt`?"),
        ("SELECT id, text FROM reviews", "shop.db", "idd", "the query fails: no such column: idd"),
        ("SELEC id, text FROM reviews", "shop.db", "id", "syntax error"),
        ("SELECT id, text FROM reviews", "shp.db", "id", "shp.db: there is no such file"),
        ("SELECT id, text FROM reviews WHERE id < 0", "shop.db", "id", ""),
        (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS id FROM n",
            "shop.db",
            "",
            "",
        ),
    ],
)
def test_a_query_of_a_sqlite_file_is_looked_at(folder: Path, sql: str, database: str, key: str, told: str) -> None:
    """As the run would send it; one that takes more than a second, or never ends, is left to the run."""
    write_shop(folder)
    before = files_of(folder)
    stream = tm.from_sql(sql, f"sqlite:///{folder / database}", key=key or ()).select("id", "text")
    job = stream.job("out")
    if told:
        with pytest.raises(tm.ConfigError, match=re.escape(told)):
            job.check()
    else:
        job.check()
    assert files_of(folder) == before


def test_another_database_is_not_asked(folder: Path) -> None:
    """What it costs, and whom it would lock out, cannot be known."""
    asked: list[int] = []

    def connect() -> sqlite3.Connection:
        asked.append(1)
        return sqlite3.connect(":memory:")

    tm.from_sql("SELECT id FROM reviews", connect).select("idd").job("out").check()
    assert asked == []
