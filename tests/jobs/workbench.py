"""What the tests of jobs share: a scripted far side, jobs over small files, and a close look at what a run left."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from tidemill.calls.limits import Limits, Price
from tidemill.calls.wire import Request, Response
from tidemill.data.nodes.node import Node
from tidemill.data.sources.read import Read
from tidemill.data.sources.versions import hash_parts
from tidemill.disk import Disk
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow, parse_call
from tidemill.jobs.ledger.segments import iter_calls, iter_failed
from tidemill.jobs.opening.deletion import DELETING
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec, RunOptions, Sink
from tidemill.models.model import Model
from tidemill.models.steps.generate import Generate
from tidemill.protocols import Source
from tidemill.testing import ScriptedTransport, chat_response, error_response

Reply = Response | Exception
Script = Callable[[str], Reply | None]
"""What a question gets, None for the usual answer."""

FEW = SegmentLimits(records=10)
ONCE = Limits(concurrency=8, max_attempts=1)


class Label(BaseModel):
    """What most jobs here ask for."""

    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


def answer(question: str, *, structured: bool) -> str:
    """The usual answer: a function of the question."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    if not structured:
        return f"note {digest[:12]}"
    return json.dumps({"sentiment": "positive" if digest[0] < "8" else "negative", "topic": digest[:6]})


@dataclass
class FarSide:
    """A far side without a network: answers as `script` says, and remembers every question it billed.

    Attributes:
        billed: the digests of the requests answered well, as the ledger has them, in order.
        questions: the last message of each of those, or the text.
        requests: of each request for vectors answered well, how many texts it had.
    """

    script: Script = lambda question: None
    latency_s: float = 0.0
    billed: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    transports: list[ScriptedTransport] = field(default_factory=list)

    def connect(self) -> ScriptedTransport:
        """A transport to it: what a `Runner` takes."""
        transport = ScriptedTransport(self._reply, latency_s=self.latency_s)
        self.transports.append(transport)
        return transport

    @property
    def max_in_flight(self) -> int:
        """The most requests that were in flight at one time."""
        return max(transport.max_in_flight for transport in self.transports)

    def forget(self) -> None:
        """Count from zero."""
        self.billed.clear()
        self.questions.clear()
        self.requests.clear()

    def _reply(self, request: Request) -> Reply:
        payload = json.loads(request.body)
        if "input" in payload:
            return self._embed(payload)
        question = payload["messages"][-1]["content"]
        reply = self.script(question)
        if reply is None:
            reply = chat_response(answer(question, structured="response_format" in payload))
        if isinstance(reply, Response) and reply.status == 200:
            self.billed.append(hashlib.blake2b(request.body, digest_size=16).hexdigest())
            self.questions.append(question)
        return reply

    def _embed(self, payload: dict[str, Any]) -> Reply:
        """Vectors for all texts of a request; what is billed is each text's own share of it."""
        texts = payload["input"]
        reply = next((reply for text in texts if (reply := self.script(text)) is not None), None)
        if reply is None:
            self.billed += [digest_share(payload["model"], text) for text in texts]
            self.questions += texts
            self.requests.append(len(texts))
            reply = Response(200, {}, json.dumps(embed(texts)).encode())
        return reply


def digest_share(model: str, text: str) -> str:
    """What the ledger tells an `embed` call of `text` by."""
    body = json.dumps({"model": model, "input": text}, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def vector_of(text: str) -> list[float]:
    """The usual vector: a function of the text, each number one of 32 bits."""
    return [byte / 256 for byte in hashlib.sha256(text.encode()).digest()[:3]]


def embed(texts: Sequence[str]) -> dict[str, Any]:
    """The body of a response to a request for vectors; a token is a byte."""
    vectors = [base64.b64encode(array("f", vector_of(text)).tobytes()).decode() for text in texts]
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"data": data, "usage": {"prompt_tokens": sum(map(len, texts))}}


def refuse(*texts: str) -> Script:
    """A script that answers 400 to questions with one of `texts` in them."""
    return lambda question: error_response(400, "no") if any(text in question for text in texts) else None


def make_model(**fields: Any) -> Model:
    """A model behind an address that no test reaches."""
    fields = {"base_url": "http://far.invalid/v1", "limits": ONCE, "price": Price(0.15, 0.60), **fields}
    return Model(model="openai/any", **fields)


def ask(prompt: str = "Label: {{ text }}", **fields: Any) -> Generate:
    """A `generate` step."""
    fields = {"model": make_model(), "prompt": prompt, "max_tokens": 64, **fields}
    return Generate(**fields)


def label(**fields: Any) -> Generate:
    """A `generate` step with a typed reply."""
    return ask(**{"output": Label, "into": "label", **fields})


def write_records(path: Path, records: Iterable[Any], *, append: bool = False) -> Path:
    """A JSON Lines file; a string stands as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a" if append else "w", encoding="utf-8") as file:
        file.writelines((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
    return path


def numbered(stop: int, start: int = 0) -> list[dict[str, Any]]:
    """Records `{"id": …, "text": …}`."""
    return [{"id": number, "text": f"review {number}."} for number in range(start, stop)]


def make_job(
    folder: Path,
    steps: Sequence[Node],
    *,
    source: str | Sequence[str] | Source = "records.jsonl",
    sink: Mapping[str, Any] = {},
    run: Mapping[str, Any] = {},
    **fields: Any,
) -> JobSpec:
    """A job in `folder`: reads `records.jsonl`, writes JSON lines to `out`, sealed every ten records."""
    source_fields = fields.pop("read", {})
    read = (
        source
        if isinstance(source, Source)
        else Read.model_validate({"path": source, **source_fields}, context={"folder": folder})
    )
    return JobSpec(
        source=read,
        steps=tuple(steps),
        sink=Sink.model_validate({"path": "out", "format": "jsonl", "segment": FEW, **sink}),
        run=RunOptions(**run),
        folder=folder,
        **fields,
    )


def labels(folder: Path, **fields: Any) -> JobSpec:
    """A plain job in `folder`: a typed label for each record."""
    return make_job(folder, [label()], **fields)


async def run_job(job: JobSpec, far: FarSide, disk: Disk | None = None, **request: Any) -> Report:
    """Run `job` against `far` once; the books it leaves are checked."""
    report = await Runner(job, RunRequest(**request), disk=disk, transport=far.connect).run()
    check_report(report)
    return report


def check_report(report: Report) -> None:
    """Nothing is lost at any step: `in` is the sum of outcomes, and the next step's `in` what this one emitted."""
    for step, following in zip(report.steps, [*report.steps[1:], None], strict=True):
        outcomes = [step[name] for name in ("passed", "dropped", "skipped", "quarantined")]
        assert step["in"] == sum(map(int, outcomes)), step
        assert all(int(number) >= 0 for name, number in step.items() if name != "step"), step
        assert following is None or following["in"] == step["emitted"], (step, following)
    for outcome in ("dropped", "skipped", "quarantined"):
        assert report.records[outcome] == sum(int(step[outcome]) for step in report.steps)
    assert report.records["landed"] == report.steps[-1]["passed"]


def load_manifest(folder: RunFolder) -> dict[str, Any]:
    """The manifest; a run that was opened has one."""
    manifest = folder.load_manifest()
    assert manifest is not None
    return manifest


def read_output(folder: RunFolder) -> list[dict[str, Any]]:
    """The landed records, in order, as a reader of the manifest finds them."""
    rows: list[dict[str, Any]] = []
    for part in load_manifest(folder)["parts"]:
        path = folder.output / part["name"]
        found = pq.read_table(path).to_pylist() if path.suffix == ".parquet" else list(iter_json(path))
        assert len(found) == part["rows"], part
        rows += found
    return rows


def ids(job: JobSpec) -> list[int]:
    """The `id` of each landed record, in order."""
    return [record["id"] for record in read_output(job.folders)]


def iter_json(path: Path) -> Iterator[Any]:
    """The values in a JSON Lines file."""
    with open(path, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def load_segments(folder: RunFolder) -> list[dict[str, Any]]:
    """The segments in the ledger of a run at rest."""
    with open_ledger(folder.ledger, Disk()) as ledger:
        return ledger.load_segments()


def read_failed(folder: RunFolder) -> list[FailedRow]:
    """The rows that stand in quarantine, in order."""
    return [row for segment in load_segments(folder) for row in iter_failed(folder, segment, standing=True)]


def read_committed(folder: RunFolder) -> Counter[str]:
    """The digests of all committed calls: in the ledger, and in the archives it knows."""
    if not folder.ledger.exists():
        return Counter()
    with open_ledger(folder.ledger, Disk()) as ledger:
        if ledger.load_meta(DELETING):
            return Counter()
        lines = [line for frame in ledger.iter_frames() for line in frame.split(b"\n")]
        for segment in ledger.load_segments():
            if "calls" in segment:
                lines += iter_calls(folder.call_part(segment["number"]))
        sealed = Counter({parse_call(line)[:2]: 1 for line in lines})
    return Counter(digest for _, digest in sealed)


TRANSIENT = re.compile(r"(ledger\.sqlite(-wal)?|run\.json|report\.json|_manifest\.json)")


def check_folders(folder: RunFolder) -> None:
    """Everything that stands in the folders is known, and is as the ledger and the manifest say."""
    segments = load_segments(folder)
    manifest = load_manifest(folder)
    assert manifest["parts"] == [segment["output"] for segment in segments if "output" in segment]
    assert manifest["rows"] == sum(part["rows"] for part in manifest["parts"])
    standing = [segment["quarantine"] for segment in segments if "quarantine" in segment]
    assert manifest["quarantine"] == [
        {name: part[name] for name in ("name", "rows", "retired")}
        for part in standing
        if part["rows"] > part["retired"]
    ]
    known: set[Path] = set()
    for kind, parent in (
        ("output", folder.output),
        ("quarantine", folder.run / "quarantine"),
        ("calls", folder.run / "calls"),
    ):
        for segment in segments:
            if kind in segment:
                part = segment[kind]
                data = (parent / part["name"]).read_bytes()
                assert len(data) == part["bytes"]
                assert hashlib.sha256(data).hexdigest() == part["sha256"]
                known.add(parent / part["name"])
    for path in folder.version("").parent.glob("*.json"):
        version = json.loads(path.read_bytes())
        assert version["parts"] == manifest["parts"][: len(version["parts"])] != []
        assert hash_parts(version["parts"]) == version["hash"] == path.stem
        known.add(path)
    found = {path for top in (folder.output, folder.run) for path in top.rglob("*") if path.is_file()}
    assert {str(path) for path in found - known if not TRANSIENT.fullmatch(path.name)} == set()


def describe_failed(rows: Iterable[FailedRow]) -> list[Any]:
    """What identifies the failures of a run: who, where and why."""
    return [(row.part, row.ordinal, row.path, row.name, row.outcome, row.error["message"]) for row in rows]
