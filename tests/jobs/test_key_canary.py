"""An API key is in no file a run leaves, no log line, no error and no report, whatever the far side echoes."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from workbench import check_report, label, make_job, make_model, numbered, read_failed, write_records

from tidemill.calls.limits import Limits
from tidemill.disk import Disk
from tidemill.errors import CallError
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.segments import iter_calls
from tidemill.jobs.running.inspect import read_failures, read_replies
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.testing import Call, Fault, Faults, FaultServer

KEY = "canary-5e1f0d2c7b9a48368e"
LIMITS = Limits(concurrency=4, max_attempts=2, deadline_s=1.0)


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


async def test_the_key_is_not_in_an_error_that_is_raised(tmp_path: Path) -> None:
    """Nor in its pickle, its notes or what it stems from."""
    write_records(tmp_path / "records.jsonl", numbered(3))
    with FaultServer(faults=echo("status", status=400)) as server:
        model = make_model(base_url=server.base_url, limits=LIMITS, api_key=KEY)
        job = make_job(tmp_path, [label(model=model, on_error="raise")])
        runner = Runner(job)
        report = await runner.run()
    assert (report.outcome, "answered 400" in report.reason) == ("raised", True)
    assert KEY not in report.reason
    error = CallError(report.reason)
    assert KEY.encode() not in pickle.dumps(error)
