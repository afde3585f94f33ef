"""Versions of an output stay readable, and say what they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner
from workbench import FarSide, ask, label, make_job, make_model, numbered, read_output, run_job, write_records

import tidemill as tm
from tidemill.agents import vector_search
from tidemill.agents.step import RunAgent
from tidemill.calls.limits import Price
from tidemill.commands import app
from tidemill.data.nodes.across import Sample
from tidemill.errors import DataError
from tidemill.jobs.opening.origin import describe_origin
from tidemill.jobs.running.lineage import trace_lineage
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.predict import Predict
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search
from tidemill.view.sources import show_source


class Verdict(BaseModel):
    """Another schema than the usual one."""

    verdict: str


def write(folder: Path, count: int) -> JobSpec:
    """A job of one sitting over the first records, or over those that were added since."""
    write_records(folder / "records.jsonl", numbered(count))
    return make_job(folder, [label()])


def lineage(*words: str) -> Any:
    result = CliRunner().invoke(app, ["lineage", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout) if "--json" in words else result.stdout


async def test_each_rest_of_a_run_is_a_version(tmp_path: Path) -> None:
    """What a run came to rest at stays readable to the record, whatever lands behind it."""
    job, far = write(tmp_path, 30), FarSide()
    versions = []
    for limit in (10, 20, None):
        await run_job(job, far, limit=limit)
        data = tm.dataset(job.folders.output)
        versions.append((data.version, list(data)))
    assert [len(rows) for _, rows in versions] == [10, 20, 30]
    for version, rows in versions:
        pinned = tm.dataset(f"{job.folders.output}@{version[:8]}")
        assert list(pinned) == rows
        assert pinned.version == version
        assert repr(pinned).startswith(f"<Dataset: {len(rows)} records: dataset('{job.folders.output}@{version[:8]}')")


async def test_each_version_says_what_job_made_it(tmp_path: Path) -> None:
    """Prompt, parameters, the reply's schema and what is read stand in each manifest as they were; no key does."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    model = make_model(api_key="KEY-OF-MODEL", headers={"X-Tenant": "KEY-OF-HEADER"}, params={"top_p": 0.9})
    step = label(model=model, prompt="Say what {{ text }} is", params={"temperature": 0.5}, name="say")
    job, far = make_job(tmp_path, [Sample(ratio=0.9, seed=3), step]), FarSide()
    for limit in (5, None):
        await run_job(job, far, limit=limit)
    (other,) = make_job(tmp_path, [label(output=Verdict)]).describe()["steps"]
    paths = list((job.folders.output / "_versions").iterdir())
    assert len(paths) == 2
    for path in [*paths, job.folders.output / "_manifest.json"]:
        text = path.read_text()
        assert "KEY-OF" not in text
        config = json.loads(text)["config"]
        assert config["source"]["read"]["path"] == "records.jsonl"
        sampled, asked = config["steps"]
        assert (sampled["kind"], sampled["ratio"], sampled["seed"]) == ("sample", 0.9, 3)
        assert (asked["name"], asked["prompt"]) == ("say", "Say what {{ text }} is")
        assert (asked["model"]["model"], asked["model"]["params"]) == ("openai/any", {"top_p": 0.9})
        assert (asked["params"], asked["max_tokens"]) == ({"temperature": 0.5}, 64)
        assert len(asked["output"]["schema"]) == len(other["output"]["schema"]) == 64
        assert asked["output"] != other["output"]


async def test_a_sitting_that_adds_nothing_is_no_version(tmp_path: Path) -> None:
    job, far = write(tmp_path, 10), FarSide()
    for _ in range(3):
        await run_job(job, far)
    traced = trace_lineage(job.folders.output)
    assert [path.stem for path in (job.folders.output / "_versions").iterdir()] == [traced.hash]
    assert traced.earlier == ()


async def test_equal_bytes_have_equal_versions(tmp_path: Path) -> None:
    """The hash is of the content: it does not depend on the folder, the run or the time."""
    hashes = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job = write(tmp_path / name, 10)
        await run_job(job, FarSide())
        hashes.add(tm.dataset(job.folders.output).version)
    assert len(hashes) == 1


async def test_a_version_of_a_changed_record_is_another(tmp_path: Path) -> None:
    first, second = (
        make_job(tmp_path, [ask(prompt=text)], sink={"path": text[:3]}) for text in ("one", "two {{ id }}")
    )
    write_records(tmp_path / "records.jsonl", numbered(3))
    for job in (first, second):
        await run_job(job, FarSide())
    assert tm.dataset(first.folders.output).version != tm.dataset(second.folders.output).version


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0000", "expected one version that begins with 0000, found none"),
        *((name, f"expected a version behind `@`, .* got `{name}`") for name in ("latest", "c0f", "c0fe-1", "")),
    ],
)
async def test_a_version_that_is_not_there_names_those_that_are(tmp_path: Path, version: str, message: str) -> None:
    job = write(tmp_path, 10)
    await run_job(job, FarSide())
    known = tm.dataset(job.folders.output).version
    for look in (tm.dataset, trace_lineage):
        with pytest.raises(DataError, match=message) as caught:
            look(f"{job.folders.output}@{version}")
        assert caught.value.hint == f"there are {known[:12]}"
    with pytest.raises(DataError, match=r"expected a folder or a file, got .*, where there is nothing"):
        tm.dataset(f"{tmp_path}/elsewhere@{version}")


async def test_a_version_is_named_in_either_case(tmp_path: Path) -> None:
    """Where files are read by pattern it is told what opens one."""
    job = write(tmp_path, 10)
    await run_job(job, FarSide())
    named = f"{job.folders.output}@{tm.dataset(job.folders.output).version.upper()}"
    assert len(tm.dataset(named)) == 10
    with pytest.raises(DataError, match=r"no file matches .*\n.*a version of an output is opened by tidemill\.dataset"):
        list(tm.read(named))


async def test_versions_that_were_deleted_are_no_run_that_goes_on(tmp_path: Path) -> None:
    """What is left says that no time is kept, and why that may be."""
    job = write(tmp_path, 10)
    await run_job(job, FarSide())
    shutil.rmtree(job.folders.output / "_versions")
    told = "10 rows, at no time that is kept (its run has not ended, or `_versions` was deleted), run "
    assert told in lineage(str(job.folders.output))


async def test_two_versions_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    job, far = write(tmp_path, 20), FarSide()
    await run_job(job, far, limit=10)
    version = tm.dataset(job.folders.output).version
    await run_job(job, far)
    twin = version[:6] + ("0" if version[6] != "0" else "1") + version[7:]
    (job.folders.output / "_versions" / f"{twin}.json").write_bytes(job.folders.version(version).read_bytes())
    with pytest.raises(DataError, match=f"expected one version that begins with {version[:6]}, found 2"):
        tm.dataset(f"{job.folders.output}@{version[:6]}")
    assert len(tm.dataset(f"{job.folders.output}@{version[:7]}")) == 10


async def test_a_folder_that_is_named_like_a_version_is_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "data@cafe0123"
    path.mkdir()
    write_records(path / "a.jsonl", numbered(3))
    assert len(tm.dataset(path)) == 3
    with pytest.raises(DataError, match="expected an output folder, of which there are versions"):
        tm.dataset(f"{path}@cafe0123")


async def test_fresh_deletes_the_versions(tmp_path: Path) -> None:
    """Their parts are gone; nothing names what cannot be read."""
    job, far = write(tmp_path, 20), FarSide()
    await run_job(job, far, limit=10)
    old = tm.dataset(job.folders.output).version
    await run_job(job, far, fresh=True)
    with pytest.raises(DataError, match="found none"):
        tm.dataset(f"{job.folders.output}@{old}")
    assert trace_lineage(job.folders.output).earlier == ()


async def test_lineage_goes_back_over_versions_and_parents(tmp_path: Path) -> None:
    """The tree has rows, steps, models with their prices of then, what a version grew from and what it was made of."""
    job, far = write(tmp_path, 20), FarSide()
    await run_job(job, far, limit=5)
    await run_job(job, far)
    first = tm.dataset(job.folders.output).version
    child = make_job(tmp_path, [ask()], source="out/*.jsonl", sink={"path": "child"})
    await run_job(child, far)
    write_records(tmp_path / "records.jsonl", numbered(21, 20), append=True)
    await run_job(job, far)

    found = trace_lineage(child.folders.output)
    assert (found.rows, found.steps, found.latest, found.earlier) == (20, ("generate",), None, ())
    (parent,) = found.parents
    assert (parent.hash, parent.rows, parent.steps) == (first, 20, ("generate",))
    assert parent.latest == tm.dataset(job.folders.output).version
    assert [each.rows for each in parent.earlier] == [5]
    assert [model["step"] for model in parent.models] == ["generate"]
    told = lineage(str(child.folders.output), "--json")
    assert told["parents"][0]["hash"] == first
    text = lineage(str(child.folders.output))
    assert f"{job.folders.output}@{first[:12]}: 20 rows" in text
    assert f"the folder went on since; it is now @{parent.latest[:12]}" in text
    assert "grew from @" in text


async def test_a_pinned_version_is_a_parent_and_an_input(tmp_path: Path) -> None:
    """A job over `OUT@HASH` reads that version, though the folder went on, and says so."""
    job, far = write(tmp_path, 20), FarSide()
    await run_job(job, far, limit=5)
    old = tm.dataset(job.folders.output).version
    await run_job(job, far)
    report = tm.dataset(f"{job.folders.output}@{old}").map(dict).write(tmp_path / "copy")
    assert report.records["landed"] == 5
    (parent,) = trace_lineage(tmp_path / "copy").parents
    assert (parent.hash, parent.rows) == (old, 5)
    assert parent.latest == tm.dataset(job.folders.output).version


async def test_joined_datasets_are_all_parents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_records(tmp_path / f"{name}.jsonl", numbered(4 if name == "one" else 7))
        job = make_job(tmp_path, [label()], source=f"{name}.jsonl", sink={"path": name})
        await run_job(job, FarSide())
    both = tm.mix([tm.dataset(tmp_path / "one"), tm.dataset(tmp_path / "two")], seed=0)
    both.write(tmp_path / "both")
    found = trace_lineage(tmp_path / "both")
    assert sorted((parent.rows or 0) for parent in found.parents) == [4, 7]


async def test_what_a_step_joins_with_is_a_parent(tmp_path: Path) -> None:
    """However deep: the stream joined with is itself one over an output."""
    for name in ("one", "two"):
        write_records(tmp_path / f"{name}.jsonl", numbered(4))
        await run_job(make_job(tmp_path, [label()], source=f"{name}.jsonl", sink={"path": name}), FarSide())
    other = tm.dataset(tmp_path / "two").map(dict).select("id")
    tm.dataset(tmp_path / "one").join(other, on="id", how="semi").write(tmp_path / "both")
    found = {Path(parent.dataset).name for parent in trace_lineage(tmp_path / "both").parents}
    assert found == {"one", "two"}


async def test_a_parent_that_is_gone_is_told(tmp_path: Path) -> None:
    job = write(tmp_path, 4)
    await run_job(job, FarSide())
    tm.dataset(job.folders.output).map(dict).write(tmp_path / "copy")
    job.folders.output.rename(tmp_path / "elsewhere")
    (parent,) = trace_lineage(tmp_path / "copy").parents
    assert parent.fault == "is not there any more"
    assert f"{job.folders.output}@{parent.hash[:12]}: is not there any more" in lineage(str(tmp_path / "copy"))


async def test_prices_stand_as_they_were(tmp_path: Path) -> None:
    """A later sitting at another price is another version; the earlier keeps its own."""
    far = FarSide()
    write_records(tmp_path / "records.jsonl", numbered(20))
    cheap, dear = (make_job(tmp_path, [label(model=make_model(price=Price(rate, 1)))]) for rate in (1, 3))
    await run_job(cheap, far, limit=10)
    old = tm.dataset(cheap.folders.output).version
    await run_job(dear, far)
    rates = [
        [model["price"]["input"] for model in trace_lineage(f"{cheap.folders.output}{at}").models]
        for at in (f"@{old}", "")
    ]
    assert rates == [[1.0], [3.0]]


async def test_what_a_killed_run_left_is_a_version_once_it_goes_on(tmp_path: Path) -> None:
    """A sitting without an end kept none; the next one keeps what it found before it adds to it."""
    job, far = write(tmp_path, 20), FarSide()
    await run_job(job, far, limit=10)
    half = tm.dataset(job.folders.output).version
    job.folders.version(half).unlink()  # as a SIGKILL behind the last seal leaves it
    assert trace_lineage(job.folders.output).saved_at is None
    await run_job(job, far)
    assert len(tm.dataset(f"{job.folders.output}@{half}")) == 10
    assert [each.hash for each in trace_lineage(job.folders.output).earlier] == [half]
    assert len(read_output(job.folders)) == 20


def make_scale() -> Callable[[list[int]], list[int]]:
    """A model of the tests' own."""
    return lambda batch: [2 * each for each in batch]


async def test_a_model_of_this_process_is_named(tmp_path: Path) -> None:
    """It costs nothing, and what it made is of it all the same."""
    embed = Embed(model=tm.model("local/minilm"), column="text")
    predict = Predict(load=make_scale, column="id")
    job = make_job(tmp_path, [embed, predict, label(), ask(model=make_model(price=None))])
    models = describe_origin(job, ())["models"]
    assert [(each["step"], each["model"], each["is_local"], each["price"] is None) for each in models] == [
        ("embed", "local/minilm", True, True),
        ("predict", f"{__name__}:make_scale", True, True),
        ("generate", "openai/any", False, False),
        ("generate_2", "openai/any", False, True),
    ]
    write_records(tmp_path / "records.jsonl", [])
    await run_job(job, FarSide())
    text = lineage(str(job.folders.output))
    assert "embed: local/minilm, in this process\n" in text
    assert f"predict: {__name__}:make_scale, in this process\n" in text
    assert "generate_2: openai/any, at an unknown price\n" in text


async def test_an_output_without_rows_says_so(tmp_path: Path) -> None:
    """All such have one hash, which names nothing."""
    job = write(tmp_path, 0)
    await run_job(job, FarSide())
    tm.dataset(job.folders.output).map(dict).write(tmp_path / "copy")
    write(tmp_path, 3)
    await run_job(job, FarSide())
    text = lineage(str(tmp_path / "copy"))
    assert "@" not in text.splitlines()[0]
    assert text.startswith(f"{tmp_path / 'copy'}: no rows, run ")
    assert f"── {job.folders.output}: no rows\n" in text
    assert "the folder went on since; it is now @" in text


def test_the_stores_of_steps_and_agents_are_named(tmp_path: Path) -> None:
    """With what reads or writes them, and without credentials; the models of an agent's searches beside its own."""
    passages = PgVector(url="postgresql://me:PASSWORD@db.invalid/docs?sslkey=KEY", table="passages", dimensions=3)
    notes = Qdrant(url="https://me:PASSWORD@q.invalid:6333", api_key="KEY-OF-QDRANT", dimensions=384)
    agent = tm.Agent(
        make_model(), tools=[tm.Agent(make_model(), name="clerk", tools=[vector_search(notes, "local/minilm")])]
    )
    job = make_job(
        tmp_path,
        [
            Index(store=LanceDB(path="handbook", dimensions=3)),
            Search(store=passages),
            RunAgent(agent=agent, prompt="{{ text }}"),
        ],
    )
    origin = describe_origin(job, ())
    assert [list(each.values()) for each in origin["stores"]] == [
        ["index", "write", "lancedb", str(tmp_path / "handbook"), "vectors", 3],
        ["search", "read", "pgvector", "postgresql://me@db.invalid/docs", "passages", 3],
        ["agent.clerk.vector_search", "read", "qdrant", "https://me@q.invalid:6333", "vectors", 384],
    ]
    assert [(each["step"], each["model"]) for each in origin["models"]] == [
        ("agent", "openai/any"),
        ("agent.clerk", "openai/any"),
        ("agent.clerk.vector_search", "local/minilm"),
    ]


async def test_a_source_is_told_as_it_is_said(tmp_path: Path) -> None:
    job = write(tmp_path, 3)
    await run_job(job, FarSide())
    assert "── source: records.jsonl\n" in lineage(str(job.folders.output))


def make_rows() -> list[dict[str, int]]:
    return [{"n": 1}]


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (tm.read(["a.csv", "b.csv"], delimiter=";"), "a.csv, b.csv, delimiter ;"),
        (tm.read("a.jsonl", max_line_bytes=100), "a.jsonl, max_line_bytes 100"),
        (tm.read("https://me:PASSWORD@h.invalid/a.jsonl?X-Amz-Signature=KEY"), "https://me:***@h.invalid/a.jsonl"),
        (
            tm.from_sql("SELECT n\n  FROM rows", "postgresql://me:PASSWORD@h.invalid/db?sslkey=KEY", key="n"),
            "sql SELECT n FROM rows, connect postgresql://me@h.invalid/db, key n",
        ),
        (tm.from_hf("imdb", split="train"), "hf imdb, split train"),
        (tm.from_iterable(make_rows), "records of a function"),
        (tm.dataset(make_rows()), "records of a list"),
        (tm.read("a.jsonl").select("n").concat(tm.read("b.jsonl")), "concat of a.jsonl (select), b.jsonl"),
        (tm.read([f"{number:050}.jsonl" for number in range(9)]), f"{0:050}.jsonl, {1:050}.jsonl, {'0' * 43}…"),
    ],
    ids=["csv", "jsonl", "web", "sql", "hf", "function", "list", "concat", "long"],
)
def test_each_source_is_told_in_a_line(stream: tm.Stream[Any], told: str) -> None:
    """Without defaults and without what nobody else may see, cut where it is long."""
    assert show_source(json.loads(json.dumps(stream.flow.source.describe()))) == told


def test_a_source_of_a_users_own_is_told_as_it_describes_itself() -> None:
    assert show_source({"queue": "reviews", "offset": 3}) == '{"queue":"reviews","offset":3}'
    assert show_source({"read": 3}) == '{"read":3}'


def test_a_place_that_no_job_wrote_has_no_lineage(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", numbered(3))
    with pytest.raises(DataError, match="expected an output folder, got a place without a manifest"):
        trace_lineage(tmp_path)
