"""A job's fingerprint is the same in every version: a run folder of an older one goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.nodes.across import Batch, Pick, Shuffle, Slice, Take
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Drop, Filter, Map, Select, Split, WithColumns
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.jobs.spec.job import JobSpec, RunOptions, Sink
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.generate import Generate


def clean(record: dict[str, Any]) -> dict[str, Any]:
    return record


clean.__tidemill_version__ = "1"  # type: ignore[attr-defined]


class Label(BaseModel):
    topic: str


MODEL = tm.model(
    "openai/gpt-4.1-mini",
    limits=tm.Limits(concurrency=7, name="shared", requests_per_minute=60),
    price=tm.Price(0.15, 0.60),
    base_url="http://localhost:1/v1",
    api_key="canary-0123456",
    params={"top_k": 1, "api_key": "canary"},
    headers={"X-Team": "a"},
    prompt_cache=False,
)

NODES: dict[str, tuple[Node, str]] = {
    "map": (Map(fn=clean), "fc261967a9daa57a"),
    "map at other settings": (
        Map(fn=clean, name="tidy", concurrency=4, on="threads", ordered=False),
        "de381880fed09d35",
    ),
    "filter": (Filter(fn=clean, on_error="skip", name="kept"), "7ebf7e0d30dfb9d4"),
    "with_columns": (WithColumns(columns={"a": clean, "token": clean}), "d5ae4820ec340754"),
    "select": (Select(columns=("a", "b")), "927242b8d56696bf"),
    "drop": (Drop(columns=("a",), on_error="quarantine"), "f5806ad4219973da"),
    "split": (Split(ratios=(0.9, 0.1), share=1, seed=3), "a454bb83c74600b0"),
    "take": (Take.model_validate(5), "8d3679e211087392"),
    "batch": (Batch.model_validate(5), "540a678645c821fc"),
    "shuffle": (Shuffle(seed=7), "231fca8b987506cc"),
    "slice": (Slice(start=1, step=-2), "9ec3b6f6b22649e9"),
    "pick": (Pick(places=(3, -1)), "3023d5c02cdd8642"),
    "generate": (Generate(model=tm.model("openai/x"), prompt="{{ text }}"), "dc996caf6b8d34bd"),
    "generate at other settings": (
        Generate(
            model=MODEL,
            name="label",
            prompt="Label {{ text }}",
            system="Be brief.",
            output=Label,
            into="label",
            n=2,
            max_tokens=64,
            temperature=0.5,
            stream=True,
            on_error="skip",
            params={"top_p": 0.5},
        ),
        "e981c37ba1db4a54",
    ),
    "embed": (Embed(model=MODEL, column="text", batch_size=3), "ee01ddc742f6b36a"),
    "call": (Call(fn=clean), "6c27962e08b02c6f"),
    "call at other settings": (
        Call(
            fn=clean,
            into="found",
            columns=("a",),
            limits=tm.Limits(concurrency=3),
            retry_on=("KeyError",),
            name="ask",
            on_error="skip",
        ),
        "9d80d850b1d45e49",
    ),
    "gather": (
        Gather(
            branches={
                "a": {"call": {"fn": clean, "limits": {"concurrency": 2}}},
                "b": {"generate": {"model": MODEL, "prompt": "{{ a }}"}},
            }
        ),
        "0dc3a5fa7d0d81c6",
    ),
}

SOURCES: dict[str, tuple[Any, str]] = {
    "read": (Read(path="a.jsonl"), "9fbe357b669fd1cb"),
    "read at other settings": (
        Read(
            path=("a.csv", "b.csv"),
            format="csv",
            on_error="skip",
            max_line_bytes=1_000,
            storage_options={"key": "canary"},
            compression="gzip",
            delimiter=";",
            encoding="latin-1",
        ),
        "cefaeec4d236bf58",
    ),
    "read as a schema": (Read(path="a.jsonl", record_schema=Label), "2292d81d1b759d22"),
    "read texts": (Read(path="a.txt", whole=True, format="text"), "75ccd1b0b99ee88e"),
    "read columns": (Read(path="a.parquet", columns=("a",)), "f23b272c27938eb2"),
    "read as an Arrow schema": (
        Read(path="a.jsonl", record_schema=pa.schema([("a", pa.int64())])),
        "32ad213936b8b715",
    ),
    "dataset": (RowFiles(dataset="out", storage_options={"key": "canary"}), "fcb7d4a6ef6f883f"),
    "iterable": (FromIterable(iterable=clean), "b8b142372435e5c8"),
}

JOBS: dict[str, tuple[JobSpec, str]] = {
    "plain": (
        JobSpec(source=Read(path="a.jsonl"), steps=(Filter(fn=clean), NODES["generate"][0]), sink=Sink(path="out")),
        "4f141ba1235bc469",
    ),
    "at other settings": (
        JobSpec(
            source=SOURCES["read at other settings"][0],
            steps=tuple(node for node, _ in NODES.values() if node.record_wise),
            sink=Sink(path="elsewhere", format="jsonl", record_schema=Label, segment={"records": 7}),
            budget=tm.Budget(usd=1),
            max_errors=0.5,
            run=RunOptions(dir="run", grace_s=1),
            folder=Path("jobs"),
            file=Path("jobs/job.yaml"),
            overrides=("a=1",),
        ),
        "445b72e163472c91",
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_step_keeps_its_fingerprint(name: str) -> None:
    node, pinned = NODES[name]
    assert fingerprint_json(describe_node(node))[:16] == pinned


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_its_fingerprint(name: str) -> None:
    source, pinned = SOURCES[name]
    assert fingerprint_json(source.describe())[:16] == pinned


@pytest.mark.parametrize("name", JOBS)
def test_a_job_keeps_its_fingerprint(name: str) -> None:
    job, pinned = JOBS[name]
    assert job.fingerprint[:16] == pinned
