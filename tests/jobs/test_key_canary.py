"""An API key is in no file a run leaves, no log line, no error and no report, whatever the far side echoes."""

from __future__ import annotations

import logging
import pickle
import re
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from pydantic import BaseModel, ValidationError
from workbench import ask, check_report, label, make_job, make_model, numbered, read_failed, read_output, write_records

from conftest import Command
from tidemill.calls.limits import Limits
from tidemill.disk import Disk
from tidemill.errors import CallError, ConfigError, StateError
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.segments import iter_calls
from tidemill.jobs.live.trial import run_trials
from tidemill.jobs.running.inspect import read_failures, read_job_file, read_replies
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.jobs.spec.file import load_job_file
from tidemill.stream.opening import from_iterable
from tidemill.testing import Call, Fault, Faults, FaultServer
from tidemill.testing.plan import FaultKind

KEY = "canary-5e1f0d2c7b9a48368e"
LIMITS = Limits(concurrency=4, max_attempts=2, deadline_s=1.0)


class Echoed(BaseModel):
    """A reply that says what was heard."""

    heard: str


def echo(kind: Any, **fields: Any) -> Faults:
    """Every other question gets an answer with the request's key in it."""

    def script(call: Call) -> Fault | None:
        if int(call.message.split()[-1].strip(".")) % 2:
            return None
        shown = call.headers.get("authorization", "") + " " + call.headers.get("x-api-key", "")
        return Fault(kind, content=f"You sent {shown}", headers={"X-Echo": shown.strip()}, **fields)

    return Faults(script=script)


def scan(folder: Path) -> list[str]:
    """The files below `folder` that hold the key, archives unpacked."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = b"\n".join(iter_calls(path)) if path.suffix == ".zst" else path.read_bytes()
            if KEY.encode() in data:
                found.append(path.name)
    return found


def dump_ledger(folder: RunFolder) -> str:
    """Everything the ledger holds, as text."""
    with open_ledger(folder.ledger, Disk()) as ledger:
        frames = b"".join(ledger.iter_frames())
        return f"{frames!r}{ledger.load_segments()}{ledger.load_meta('run')}"


FAULTS = {
    "401": Faults(matching=[("review 5.", Fault("unauthorized"))]),
    "redirect": Faults(matching=[("review", Fault("redirect"))]),
    "400": echo("status", status=400),
    "500": echo("status", status=500),
    "429": echo("status", status=429, retry_after_s=0.001),
    "error in a 200": echo("error"),
    "garbage": echo("garbage"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("place", ["api_key", "variable", "header"])
async def test_the_key_is_nowhere(
    tmp_path: Path, name: str, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From wherever it came: the files, the log, what commands show, errors and their pickles."""
    caplog.set_level(logging.DEBUG)
    write_records(tmp_path / "records.jsonl", numbered(12))
    given: dict[str, Any] = {"api_key": KEY} if place == "api_key" else {}
    if place == "header":
        given = {"headers": {"X-Api-Key": KEY}}
    if place == "variable":
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    statuses: list[Status] = []
    with FaultServer(faults=FAULTS[name]) as server:
        model = make_model(base_url=server.base_url, limits=LIMITS, **given)
        job = make_job(tmp_path, [label(model=model)], max_errors=100)
        report = await Runner(job, on_status=statuses.append).run()
        check_report(report)
        assert server.requests > 0
        assert server.stats()["strays"] == 0
    assert scan(tmp_path) == []
    told = [caplog.text, report.to_json().decode(), str(statuses), repr(job), dump_ledger(job.folders)]
    told += [str(read_failures(job.folders, 100)), str(read_replies(job.folders, 100)), str(read_failed(job.folders))]
    assert [text for text in told if KEY in text] == []


JOB = """\
source: {path: records.jsonl}
models:
  fast: {model: openai/any}
steps:
  - generate: {model: fast, prompt: "{{ text }}", params: {auth: {user: %(key)s}, note: "Bearer %(key)s"}}
sink: {path: out, format: jsonl}
"""


@pytest.mark.parametrize(
    "override",
    [
        "models.fast={model: openai/any, base_url: 'URL', api_key: KEY}",
        "models.fast={model: openai/any, base_url: 'URL', headers: {authorization: Bearer KEY}}",
        "models.fast={model: openai/any, base_url: 'URL', headers: {x-team: KEY}}",
        "models.fast.headers={authorization: Bearer KEY}",
        "models.fast.headers.x-team=KEY",
        "models.fast.base_url=http://user:KEY@ADDRESS/v1",
        "models.fast.base_url=URL?team=KEY",
        "models.fast.api_key=KEY",
        "steps.0.generate.params={auth: [{user: KEY}]}",
    ],
)
async def test_a_key_put_in_over_the_file_is_nowhere(tmp_path: Path, override: str) -> None:
    """Wherever in the value it stands; what was left out is known, and has to be given again."""
    write_records(tmp_path / "records.jsonl", numbered(2))
    (tmp_path / "job.yaml").write_text(JOB % {"key": "any"})
    with FaultServer() as server:
        address = server.base_url.removeprefix("http://").removesuffix("/v1")
        override = override.replace("URL", server.base_url).replace("ADDRESS", address).replace("KEY", KEY)
        plain = [f"models.fast.base_url={server.base_url}", "models.fast.api_key=none", "max_errors=7"]
        job = load_job_file(tmp_path / "job.yaml", [*plain, override])
        await Runner(job).run()
    assert scan(tmp_path) == []
    assert KEY not in dump_ledger(job.folders)
    label = override.partition("=")[0]
    with pytest.raises(ConfigError, match=re.escape(f"--set {label}=…, which may hold a secret and was not kept")):
        read_job_file(job.folders, ["models.fast.api_key=none"] if label != "models.fast.api_key" else [])
    again = [override, "models.fast.api_key=none"]
    path, overrides = read_job_file(job.folders, again)
    assert (path, overrides) == (tmp_path / "job.yaml", [plain[0], plain[2], *again])


async def test_a_key_among_parameters_is_nowhere(tmp_path: Path, tidemill_command: Command) -> None:
    """Not in what `try` prints, not in the run's description; yet a changed one is another job."""
    write_records(tmp_path / "records.jsonl", numbered(2))
    (tmp_path / "job.yaml").write_text(JOB % {"key": KEY})
    with FaultServer() as server:
        put = [f"models.fast.base_url={server.base_url}", "models.fast.api_key=none"]
        tried = tidemill_command("try", "job.yaml", "--set", put[0], "--set", put[1])
        assert (tried.code, tried.out.count('"note": "Bearer ***"')) == (0, 2)
        assert KEY not in tried.out
        job = load_job_file(tmp_path / "job.yaml", put)
        await Runner(job).run()
        (tmp_path / "job.yaml").rename(tmp_path / "old.yaml")
        (tmp_path / "job.yaml").write_text(JOB % {"key": KEY[::-1]})
        with pytest.raises(StateError, match=r"params\.note: was \"(Bearer )?\*\*\*\", is") as raised:
            await Runner(load_job_file(tmp_path / "job.yaml", put)).run()
    assert KEY not in str(raised.value)
    assert [name for name in scan(tmp_path) if not name.endswith(".yaml")] == []
    assert KEY not in dump_ledger(job.folders)


@pytest.mark.parametrize("output", [Echoed, None])
async def test_a_key_that_a_good_reply_repeats_is_nowhere(tmp_path: Path, output: Any) -> None:
    """It is masked in the reply before that is kept, parsed or sent back to the model."""
    write_records(tmp_path / "records.jsonl", numbered(4))
    good = orjson.dumps({"heard": f"Bearer {KEY}"}).decode()

    def script(call: Call) -> Fault | None:
        if output is not None and len(call.payload["messages"]) == 1:
            return Fault("reply", content=f"You sent {KEY}")  # no JSON: it is asked again
        return Fault("reply", content=good)

    with FaultServer(faults=Faults(script=script), keep_calls=True) as server:
        model = make_model(base_url=server.base_url, limits=LIMITS, api_key=KEY)
        job = make_job(tmp_path, [ask(model=model, output=output, into="echo")])
        report = await Runner(job).run()
        assert KEY.encode() not in b"".join(call.body for call in server.calls)
        tried = run_trials(job.source, job.steps, 1, folder=tmp_path)
    assert report.records["landed"] == 4
    assert read_output(job.folders)[0]["echo"] == ({"heard": "Bearer ***"} if output else good.replace(KEY, "***"))
    assert scan(tmp_path) == []
    assert KEY not in f"{dump_ledger(job.folders)}{read_replies(job.folders, 9)}{tried}{tried[0].result}"


async def test_a_word_in_place_of_a_key_is_no_key(tmp_path: Path) -> None:
    """A local server is given `ollama`: a reply may well say it."""
    write_records(tmp_path / "records.jsonl", numbered(1))
    with FaultServer(reply=lambda call: "Try ollama, sk-no-key-required.") as server:
        for key in ("ollama", "sk-no-key-required"):
            model = make_model(base_url=server.base_url, limits=LIMITS, api_key=key)
            job = make_job(tmp_path, [ask(model=model)], sink={"path": key})
            await Runner(job).run()
            assert read_output(job.folders)[0]["reply"] == "Try ollama, sk-no-key-required."


def find_key(error: BaseException) -> list[str]:
    """Where in `error`, in what it holds, says or stems from, the key stands."""
    found: list[str] = []
    seen: dict[int, Any] = {}  # by identity; what is kept here keeps its identity

    def walk(value: Any, path: str) -> None:
        if id(value) in seen:
            return
        seen[id(value)] = value
        if isinstance(value, (str, bytes)):
            if KEY in (value if isinstance(value, str) else value.decode("utf-8", "replace")):
                found.append(path)
        elif isinstance(value, dict):
            for name, item in value.items():
                walk(name, f"{path} key")
                walk(item, f"{path}.{name}")
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                walk(item, f"{path}[{index}]")
        elif isinstance(value, BaseException):
            held = {name: getattr(value, name) for name in dir(value) if not name.startswith("__")}
            told = value.errors() if isinstance(value, ValidationError) else []
            walk([str(value), repr(value), value.args, vars(value), held, told], path)
            walk(getattr(value, "__notes__", []), f"{path} notes")
            walk(value.__cause__, f"{path}.__cause__")
            walk(value.__context__, f"{path}.__context__")
            walk("".join(traceback.format_exception(value)), f"{path} traceback")

    walk(error, type(error).__name__)
    if KEY.encode() in pickle.dumps(error):
        found.append("pickle")
    return found


EVERY_FAULT = [kind for kind in get_args(FaultKind) if kind != "reply"]


@pytest.mark.parametrize("kind", EVERY_FAULT)
@pytest.mark.parametrize("place", ["api_key", "header"])
async def test_the_key_is_not_in_an_error_that_is_raised(tmp_path: Path, kind: Any, place: str) -> None:
    """Nor in its pickle, its notes or what it stems from, whatever the fault and however the pipeline is called."""

    def script(call: Call) -> Fault:
        shown = call.headers.get("authorization", "") + " " + call.headers.get("x-api-key", "")
        return Fault(kind, content=f"You sent {shown}, {shown}", status=400, headers={"X-Echo": shown.strip()})

    given: dict[str, Any] = {"api_key": KEY} if place == "api_key" else {"headers": {"X-Api-Key": KEY}}
    limits = Limits(concurrency=1, max_attempts=1, attempt_timeout_s=0.2, connect_s=0.1)
    with FaultServer(faults=Faults(script=script)) as server:
        model = make_model(base_url=server.base_url, limits=limits, **given)
        stream = from_iterable(numbered(1)).generate(model, "{{ text }}", output=Echoed, max_reasks=0)
        with closing(stream.iterate()) as records, pytest.raises(CallError, match=r".") as iterated:
            list(records)
        with pytest.raises(CallError, match=r".") as called:
            stream.pipeline(numbered(1)[0])
        with pytest.raises(CallError, match=r".") as awaited:
            await stream.pipeline.acall(numbered(1)[0])
        errors = [iterated.value, called.value, awaited.value]
    assert [find_key(error) for error in errors] == [[], [], []]
