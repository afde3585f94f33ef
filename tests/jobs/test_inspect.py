"""Looking into a run from outside: by any of its names, at rest and after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.disk import Disk
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import RunFolder, locate_run
from tidemill.jobs.running.inspect import read_failures, read_job_file, read_records, read_replies, read_status
from tidemill.jobs.running.report import Report
from tidemill.testing import Fault, Faults, FaultServer


@pytest.fixture
def stream(server: FaultServer, tmp_path: Path) -> tm.Stream[dict[str, Any]]:
    """Six records and a corrupt line, of which number 2 is refused."""
    server.faults = Faults(matching=[("About 2", Fault("status", status=400, content="no twos"))])
    lines = [json.dumps({"id": number}) for number in range(6)]
    lines.insert(4, "{corrupt")
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    model = tm.model("openai/any", base_url=server.base_url, api_key="none")
    return tm.read(tmp_path / "records.jsonl").generate(model, "About {{ id }}")


def test_a_run_is_found_by_its_output_and_by_its_run_folder(stream: tm.Stream[Any], tmp_path: Path) -> None:
    stream.write(tmp_path / "near", max_errors=3)
    stream.write(tmp_path / "far", max_errors=3, run_dir=tmp_path / "runs" / "one")
    near = RunFolder(tmp_path / "near", tmp_path / "near" / ".run")
    far = RunFolder(tmp_path / "far", tmp_path / "runs" / "one")
    assert locate_run(tmp_path / "near") == locate_run(tmp_path / "near" / ".run") == near
    assert locate_run(tmp_path / "far") == locate_run(tmp_path / "runs" / "one") == far
    with pytest.raises(tm.StateError, match="expected a run: a job file, its output folder or its run folder"):
        locate_run(tmp_path / "elsewhere")


def test_what_a_run_holds(stream: tm.Stream[Any], tmp_path: Path) -> None:
    stream.write(tmp_path / "out", max_errors=3)
    folder = locate_run(tmp_path / "out")
    assert [record["id"] for record in read_records(folder, 9)] == [0, 1, 3, 4, 5]
    assert [record["id"] for record in read_records(folder, 2)] == [0, 1]
    replies = read_replies(folder, 9)
    assert [reply["record"] for reply in replies] == ["0", "1", "3", "5", "6"]
    assert replies[0] == {
        "part": "records.jsonl",
        "record": "0",
        "step": "generate",
        "call": 0,
        "reply": read_records(folder, 1)[0]["reply"],
        "finish_reason": "stop",
        "tokens": replies[0]["tokens"],
        "attempts": 1,
    }
    refused, corrupt = read_failures(folder, 9)
    assert (refused["record"], refused["step"], refused["value"]) == ("2", "generate", {"id": 2})
    assert "no twos" in refused["error"]
    assert (corrupt["record"], corrupt["step"], corrupt["value"]) == ("4", "source", "{corrupt")
    assert corrupt["where"].startswith(str(tmp_path / "records.jsonl"))


def test_the_status_of_a_run_at_rest_is_its_report(stream: tm.Stream[Any], tmp_path: Path) -> None:
    report = stream.write(tmp_path / "out", max_errors=3)
    found = read_status(locate_run(tmp_path / "out"))
    assert isinstance(found, Report)
    assert found.to_dict() == json.loads(json.dumps(report.to_dict()))


def test_a_run_that_was_killed_before_its_first_report(stream: tm.Stream[Any], tmp_path: Path) -> None:
    stream.write(tmp_path / "out", max_errors=3)
    folder = locate_run(tmp_path / "out")
    folder.report.unlink()
    with pytest.raises(tm.StateError, match="ended before its first report; 7 records are sealed"):
        read_status(folder)


def test_the_ledger_of_a_run_that_runs_is_left_alone(stream: tm.Stream[Any], tmp_path: Path) -> None:
    """What is sealed can be read; what only the ledger knows is refused until it rests."""
    stream.write(tmp_path / "out", max_errors=3)
    folder = locate_run(tmp_path / "out")
    with open_ledger(folder.ledger, Disk()):
        assert len(read_records(folder, 9)) == 5
        for read in (read_replies, read_failures):
            with pytest.raises(tm.StateError, match="another process is running on this run folder"):
                read(folder, 9)


def test_a_run_from_python_names_no_job_file(stream: tm.Stream[Any], tmp_path: Path) -> None:
    stream.write(tmp_path / "out", max_errors=3)
    with pytest.raises(tm.ConfigError, match="this run was started from Python, and no job file describes it"):
        read_job_file(locate_run(tmp_path / "out"))
