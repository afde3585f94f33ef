"""The command line as a user meets it: real processes against a real server, told by output, files and exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jobfiles import list_files, read_landed, write_job, write_reviews

from conftest import Command
from gate import open_gate
from tidemill.testing import Fault, Faults, FaultServer


def wanted(stop: int, start: int = 0) -> list[int]:
    return [number for number in range(start, stop) if number % 10 != 9]


def landed_ids(folder: Path) -> list[int]:
    return [record["id"] for record in read_landed(folder)]


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "out/labelled/.run/report.json").read_bytes())
    return report


def test_check_says_what_would_run(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    write_job(tmp_path, fault_server.base_url)
    before = list_files(tmp_path)
    done = tidemill_command("check", "job.yaml")
    assert (done.code, done.err) == (0, "")
    told, estimated = done.out.split("record half: generate\n")
    assert told == "job.yaml: nothing wrong; 2 source parts → out/labelled\nsource half: filter\n"
    assert re.match(r"\d+ records, \d+ calls\n[\d.,k]+ tokens in, [\d.,k]+( to [\d.,k]+)? out\n", estimated)
    assert list_files(tmp_path) == before
    assert fault_server.requests == 0


def test_check_tells_that_the_run_is_of_another_job(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    """What differs stands below; `try` shows the changed job all the same, since it writes nothing there."""
    write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml", "--limit", "5").code == 0
    changed = ("job.yaml", "--set", "steps.1.generate.max_tokens=8")
    done = tidemill_command("check", *changed)
    assert (done.code, done.out) == (2, "")
    assert "job.yaml:8:14  `sink.path`: out/labelled/.run: this run folder belongs to another job" in done.err
    assert "steps[1].max_tokens: was 9, is 8" in done.err
    assert tidemill_command("try", *changed, "--no-call").code == 0


@pytest.mark.parametrize("command", ["init", "demo"])
@pytest.mark.parametrize("folder", ["taken", "taken/first", "/proc/first"])
def test_a_folder_that_cannot_be_made_is_told_in_one_line(
    tidemill_command: Command, tmp_path: Path, command: str, folder: str
) -> None:
    """As `run` tells it, and nothing is written."""
    (tmp_path / "taken").write_text("mine")
    done = tidemill_command(command, folder)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(rf"{folder}: [A-Z][a-z ]+\n", done.err)
    assert list_files(tmp_path) == {"taken": b"mine"}


def test_a_standard_output_that_is_full_is_told_in_one_line(tmp_path: Path) -> None:
    """It is the disk's fault, and the exit code says so."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tidemill", "init"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (3, b"No space left on device\n")


@pytest.mark.parametrize("command", ["check", "try", "run", "retry", "status", "show"])
def test_a_faulty_job_file_calls_and_writes_nothing(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path, command: str
) -> None:
    job = write_job(tmp_path, fault_server.base_url)
    job.write_text(job.read_text().replace("concurrency", "concurency").replace("is_wanted", "is_wantet"))
    before = list_files(tmp_path)
    done = tidemill_command(command, "job.yaml")
    assert (done.code, done.out) == (2, "")
    assert "job.yaml:3:" in done.err
    assert "did you mean `concurrency`?" in done.err
    assert "did you mean `my_steps:is_wanted`?" in done.err
    assert done.err.endswith("2 errors\n")
    assert list_files(tmp_path) == before
    assert fault_server.requests == 0


def test_try_shows_requests_replies_tokens_and_cost(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    write_job(tmp_path, fault_server.base_url, model=", price: {input: 1000, output: 1000}")
    before = list_files(tmp_path)
    done = tidemill_command("try", "job.yaml", "-n", "2")
    assert (done.code, done.err) == (0, "")
    assert fault_server.billed == 2
    assert '"content": "Label this review: review 0."' in done.out
    assert '"content": "Label this review: review 1."' in done.out
    assert '"sentiment": "' in done.out
    assert " tokens in, " in done.out
    assert ", $0." in done.out
    assert list_files(tmp_path) == before


def test_try_without_calls_stops_before_the_first_request(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    write_job(tmp_path, fault_server.base_url)
    done = tidemill_command("try", "job.yaml", "--no-call")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("generate: request") == 3
    assert done.out.count("not sent") == 3
    assert fault_server.stats()["connections"] == 1  # this look at the counters


def test_try_needs_no_key_where_nothing_is_called(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    job = write_job(tmp_path, fault_server.base_url)
    job.write_text(job.read_text().replace(f'base_url: "{fault_server.base_url}", api_key: none, ', ""))
    done = tidemill_command("try", "job.yaml", "-n", "1", "--no-call")
    assert (done.code, done.err) == (0, "")
    assert "not sent" in done.out
    refused = tidemill_command("try", "job.yaml", "-n", "1")
    assert refused.code == 2
    assert "OPENAI_API_KEY is not set" in refused.err


def test_try_shows_what_a_record_fails_with(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    fault_server.faults = Faults(matching=[("review 1.", Fault("status", status=400, content="too rude"))])
    write_job(tmp_path, fault_server.base_url)
    done = tidemill_command("try", "job.yaml")
    assert done.code == 0
    assert "failed: PermanentCallError" in done.out
    assert "too rude" in done.out
    assert done.out.count("result") == 2


def test_run_goes_on_from_a_limit(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    """`--limit` counts source records over the life of the run; the next run goes on, and says so."""
    write_job(tmp_path, fault_server.base_url)
    first = tidemill_command("run", "job.yaml", "--limit", "7")
    assert first.code == 0
    assert "reached its limit" in first.out
    assert landed_ids(tmp_path) == wanted(7)
    assert "going on" not in first.err
    second = tidemill_command("run", "job.yaml")
    assert second.code == 0
    assert second.err.startswith("going on after 7 records that are done, in a.jsonl at record 7\n")
    assert "went on after 7 records that were done before" in second.out
    assert landed_ids(tmp_path) == wanted(20)
    assert fault_server.billed == 18
    third = tidemill_command("run", "job.yaml")
    assert third.code == 0
    assert third.err.startswith("going on after 18 records that are done: nothing is left in the source\n")
    assert fault_server.billed == 18


def test_run_prints_its_report_and_keeps_it(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    """Without a terminal progress is plain lines on stderr; the report is on stdout and in `report.json`."""
    fault_server.latency_s = 0.2  # so that calls overlap, on a busy machine too
    write_job(tmp_path, fault_server.base_url, model=", price: {input: 1, output: 1}")
    done = tidemill_command("run", "job.yaml")
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert done.err.splitlines()[-1].startswith("18 landed · 2 dropped · ")
    table = [line.split() for line in done.out.splitlines()[:5]]
    assert table == [
        ["step", "in", "passed", "dropped", "skipped", "quarantined", "emitted"],
        ["source", "20", "20", "0", "0", "0", "20"],
        ["filter", "20", "18", "2", "0", "0", "18"],
        ["generate", "18", "18", "0", "0", "0", "18"],
        ["sink", "18", "18", "0", "0", "0", "18"],
    ]
    assert "18 landed, 2 dropped, 0 skipped, 0 quarantined → out/labelled" in done.out
    assert "18 calls in 18 attempts" in done.out
    report = report_of(tmp_path)
    assert (report["outcome"], report["exit_code"]) == ("finished", 0)
    assert report["records"] == {"landed": 18, "dropped": 2, "skipped": 0, "quarantined": 0}
    stats = fault_server.stats()
    calls = report["calls"]
    assert (calls["calls"], calls["attempts"], calls["max_in_flight"]) == (18, 18, 4)
    assert (calls["input_tokens"], calls["output_tokens"]) == (stats["input_tokens"], stats["output_tokens"])
    assert calls["usd"] == pytest.approx((stats["input_tokens"] + stats["output_tokens"]) / 1e6)
    assert set(calls["latency_s"]) == {"p50", "p90", "p99"}
    assert report["peak_rss_bytes"] > 10_000_000


def test_set_is_taken_over_the_file(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    write_job(tmp_path, "http://127.0.0.1:1/v1")
    done = tidemill_command("run", "job.yaml", "--set", f"models.fast.base_url={fault_server.base_url}", "--limit", "3")
    assert done.code == 0
    assert fault_server.billed == 3


def test_a_wrong_set_is_told_at_its_place(tidemill_command: Command, tmp_path: Path) -> None:
    """What is wrong only with the records, too: the report never shows the file's line for a value it does not hold."""
    write_job(tmp_path, "http://127.0.0.1:1/v1")
    prompt = "steps.1.generate.prompt='{{ txt }}'"
    done = tidemill_command("check", "job.yaml", "--set", prompt)
    assert done.code == 2
    assert done.err == (
        "--set steps.1.generate.prompt  `steps.1.generate.prompt`: no record has a column `txt`; did you mean `text`?; "
        "it overrides job.yaml:7:29\n1 error\n"
    )
    done = tidemill_command("check", "job.yaml", "--set", "sink.formt=jsonl", "--set", prompt)
    assert done.code == 2
    assert done.err == (
        "--set sink.formt  unknown key `sink.formt`; did you mean `sink.format`?  (`parquet` or `jsonl`, default "
        '"parquet")\n'
        "--set steps.1.generate.prompt  `steps.1.generate.prompt`: no record has a column `txt`; did you mean `text`?; "
        "it overrides job.yaml:7:29\n2 errors\n"
    )


def test_fresh_needs_yes_where_nobody_can_be_asked(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml", "--fresh").code == 0  # nothing there that could be deleted
    before = list_files(tmp_path)
    refused = tidemill_command("run", "job.yaml", "--fresh")
    assert refused.code == 2
    assert refused.err == ("--fresh deletes this run's output in out/labelled\n  add --yes to do it unasked\n")
    assert list_files(tmp_path) == before
    assert tidemill_command("run", "job.yaml", "--fresh", "--yes").code == 0
    assert fault_server.billed == 36


@pytest.mark.parametrize(("answer", "code", "billed"), [("n", 1, 18), ("y", 0, 36)])
def test_fresh_asks_on_a_terminal(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path, answer: str, code: int, billed: int
) -> None:
    write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml").code == 0
    ended, shown = run_on_terminal(tidemill_command, "run", "job.yaml", "--fresh", answer=f"{answer}\n")
    assert ended == code
    assert "Delete this run's output in out/labelled? [y/N]" in shown
    assert fault_server.billed == billed
    assert landed_ids(tmp_path) == wanted(20)


def run_on_terminal(command: Command, *arguments: str, answer: str = "") -> tuple[int, str]:
    """Run with a terminal of its own: the exit code and all that was shown; `answer` is typed at the first `?`."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.chdir(command.folder)
        program = str(Path(sys.executable).with_name("tidemill"))
        os.execve(program, [program, *arguments], {**command.environment, "TERM": "xterm"})
    shown = b""
    with open(terminal, "r+b", buffering=0) as screen:
        while True:
            try:
                data = screen.read(4096)
            except OSError:  # the other side is closed: Linux says EIO
                break
            if not data:
                break
            shown += data
            if answer and b"?" in shown:
                screen.write(answer.encode())
                answer = ""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_progress_is_live_on_a_terminal(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    write_job(tmp_path, fault_server.base_url)
    tidemill_command.environment.pop("NO_COLOR")
    code, shown = run_on_terminal(tidemill_command, "run", "job.yaml")
    assert code == 0
    assert "in flight" in shown
    assert "\x1b[2K" in shown  # the line is drawn again
    assert "18 landed, 2 dropped, 0 skipped, 0 quarantined → out/labelled" in shown


def test_reuse_pays_only_for_what_changed(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    job = write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml").code == 0
    second = "\n  - generate: {model: fast, prompt: 'Why {{ label.topic }}?', into: why}\nsink:"
    job.write_text(job.read_text().replace("\nsink:", second).replace("out/labelled", "out/more"))
    done = tidemill_command("run", "job.yaml", "--reuse", "out/labelled")
    assert done.code == 0
    assert "18 replies of the earlier run were used again" in done.out
    assert fault_server.billed == 36


def test_another_prompt_is_refused_with_the_difference(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    job = write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml").code == 0
    job.write_text(job.read_text().replace("Label this review", "Judge this review"))
    done = tidemill_command("run", "job.yaml")
    assert done.code == 2
    assert 'steps[1].prompt: was "Label this review: {{ text }}", is "Judge this review: {{ text }}"' in done.err
    assert "--reuse out/labelled" in done.err
    assert fault_server.billed == 18


def test_too_many_failures_end_with_1_and_a_higher_bound_goes_on(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    fault_server.faults = Faults(matching=[(f"review {n}.", Fault("status", status=400)) for n in (3, 5)])
    write_job(tmp_path, fault_server.base_url)
    done = tidemill_command("run", "job.yaml")
    assert done.code == 1
    assert (
        "2 of 18 records failed (11.1%), max_errors is 0.05; the last at `generate`: PermanentCallError: " in done.out
    )
    assert done.out.count("tidemill show out/labelled --failures; again: tidemill retry out/labelled\n") == 1
    assert done.out.endswith("stopped, too many records failed\n")
    assert tidemill_command("run", "job.yaml", "--set", "max_errors=0.5").code == 0
    assert landed_ids(tmp_path) == [number for number in wanted(20) if number not in (3, 5)]


def test_failures_are_shown_and_tried_again(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    fault_server.faults = Faults(matching=[("review 3.", Fault("status", status=400, content="too rude"))])
    write_job(tmp_path, fault_server.base_url, more="max_errors: 3\n")
    assert tidemill_command("run", "job.yaml").code == 0
    for run in ("job.yaml", "out/labelled", "out/labelled/.run"):
        shown = tidemill_command("show", run, "--failures", "--json")
        assert shown.code == 0
        [failure] = [json.loads(line) for line in shown.out.splitlines()]
        assert (failure["part"], failure["record"], failure["step"]) == ("a.jsonl", "3", "generate")
        assert (failure["outcome"], failure["value"]) == ("quarantined", {"id": 3, "text": "review 3."})
        assert "too rude" in failure["error"]
    fault_server.faults = None
    fault_server.reset()
    shutil.rmtree(tmp_path / "reviews")  # which a retry does not read
    retried = tidemill_command("retry", "out/labelled")
    assert retried.code == 0
    assert fault_server.billed == 1
    assert sorted(landed_ids(tmp_path)) == wanted(20)
    assert tidemill_command("show", "job.yaml", "--failures").out == "none\n"


def test_show_gives_records_and_replies(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    write_job(tmp_path, fault_server.base_url, format="parquet")
    assert tidemill_command("run", "job.yaml").code == 0
    shown = tidemill_command("show", "job.yaml", "-n", "2", "--json")
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [record["id"] for record in records] == [0, 1]
    assert set(records[0]["label"]) == {"sentiment", "topic"}
    shown = tidemill_command("show", "job.yaml", "--replies", "-n", "3", "--json")
    replies = [json.loads(line) for line in shown.out.splitlines()]
    assert [(reply["part"], reply["record"], reply["step"], reply["call"]) for reply in replies] == [
        ("a.jsonl", "0", "generate", 0),
        ("a.jsonl", "1", "generate", 0),
        ("a.jsonl", "2", "generate", 0),
    ]
    assert json.loads(replies[0]["reply"]) == records[0]["label"]
    table = tidemill_command("show", "out/labelled").out
    assert "review 0." in table
    assert "│" in table


def test_status_running_killed_and_at_rest(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    write_job(tmp_path, fault_server.base_url)
    missing = tidemill_command("status", "job.yaml")
    assert missing.code == 2
    assert "expected a run: a job file, its output folder or its run folder" in missing.err
    fault_server.faults = Faults(matching=[("review", Fault("stall"))])
    process = tidemill_command.start("run", "job.yaml")
    try:
        fault_server.wait_for(requests=4)
        running = json.loads(tidemill_command("status", "job.yaml", "--json").out)
        assert (running["state"], running["pid"]) == ("running", process.pid)
        second = tidemill_command("run", "job.yaml")
        assert second.code == 2
        assert str(process.pid) in second.err or "running" in second.err
        assert tidemill_command("show", "job.yaml").out == "no records are sealed yet\n"
    finally:
        process.kill()
        process.communicate()
    killed = tidemill_command("status", "out/labelled")
    assert killed.code == 0
    assert killed.out.startswith(f"killed; run it again and it goes on (process {process.pid})")
    fault_server.faults = None
    assert tidemill_command("run", "job.yaml").code == 0
    rest = json.loads(tidemill_command("status", "job.yaml", "--json").out)
    assert (rest["outcome"], rest["records"]["landed"]) == ("finished", 18)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_first_signal_drains_and_seals(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Calls in flight get their replies; nothing new is sent; what is finished stands in the output."""
    with open_gate(fault_server.port) as gate:
        write_job(tmp_path, gate.base_url, more="run: {grace_s: 3600}\n")
        process = tidemill_command.start("run", "job.yaml")
        assert process.stdout is not None
        fault_server.wait_for(requests=4)
        process.send_signal(number)
        told = "stopping: calls in flight get 1h 00m, another signal ends at once"
        assert any(line.startswith(told) for line in process.stdout)
        gate.opened.set()
        shown, _ = process.communicate(timeout=60)
    assert process.returncode == code, shown
    assert "stopped on request; run it again and it goes on" in shown
    assert fault_server.requests == 4
    landed = landed_ids(tmp_path)
    assert landed
    assert landed == wanted(len(landed))
    assert report_of(tmp_path)["exit_code"] == code
    write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml").code == 0
    assert landed_ids(tmp_path) == wanted(20)
    assert fault_server.billed == 18


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_second_signal_ends_at_once(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Not after the grace period; at most the calls in flight are sent again."""
    fault_server.faults = Faults(matching=[(f"review {n}.", Fault("stall")) for n in range(3, 10)])
    write_job(tmp_path, fault_server.base_url, more="run: {grace_s: 3600}\n")
    process = tidemill_command.start("run", "job.yaml")
    assert process.stdout is not None
    fault_server.wait_for(requests=7)
    process.send_signal(number)
    assert any(line.startswith("stopping: calls in flight get 1h 00m") for line in process.stdout)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == code, shown
    assert "stopped on request" in shown
    fault_server.faults = None
    assert tidemill_command("run", "job.yaml").code == 0
    assert landed_ids(tmp_path) == wanted(20)
    assert fault_server.billed == 18 + 4


@pytest.mark.parametrize("options", [(), ("--now",)])
def test_a_run_is_stopped_from_elsewhere(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """As a first signal would, or with `--now` a second one; where nothing runs, that is said."""
    fault_server.faults = Faults(matching=[(f"review {n}.", Fault("stall")) for n in range(3, 10)])
    write_job(tmp_path, fault_server.base_url, more=f"run: {{grace_s: {3600 if options else 0}}}\n")
    process = tidemill_command.start("run", "job.yaml")
    fault_server.wait_for(requests=7)
    asked = tidemill_command("stop", "job.yaml", *options)
    assert (asked.code, asked.out.startswith(f"asked process {process.pid} to stop: ")) == (0, True)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert f"stopping, as `tidemill stop` asked: {'at once' if options else 'calls in flight get 0 s'}" in shown
    assert "stopped on request; run it again and it goes on" in shown
    refused = tidemill_command("stop", "job.yaml")
    assert (refused.code, "no process is running here" in refused.err) == (2, True)
    control = tmp_path / "out/labelled/.run/control.json"
    assert not control.exists()
    control.write_text('{"stop": "now"}')  # of a run that ended before it looked
    fault_server.faults = None
    assert tidemill_command("run", "job.yaml").code == 0
    assert (landed_ids(tmp_path), control.exists()) == (wanted(20), False)


def test_a_run_is_tuned_from_elsewhere(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    """By the name that the job file gives the model; what the far side then sees is the new concurrency."""
    write_job(tmp_path, fault_server.base_url, records=400)
    fault_server.latency_s = 1.0
    process = tidemill_command.start("run", "job.yaml")
    fault_server.wait_for(requests=1)
    refused = tidemill_command("tune", "job.yaml", "concurency=20")
    assert (refused.code, "did you mean `concurrency`?" in refused.err) == (2, True)
    asked = tidemill_command("tune", "out/labelled", "concurrency=20", "model=fast")
    assert (asked.code, asked.err) == (0, "")
    assert asked.out == f"asked process {process.pid} to go on with concurrency=20 for fast, until it ends\n"
    fault_server.wait_for(max_in_flight=20)
    fault_server.latency_s = 0.0
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert "goes on with concurrency=20, as `tidemill tune` asked" in shown
    assert landed_ids(tmp_path) == wanted(400)
    assert report_of(tmp_path)["tuned"][0]["concurrency"] == 20
    assert tidemill_command("tune", "job.yaml", "concurrency=20").code == 2


def test_a_refused_key_stops_the_run_at_once(
    tidemill_command: Command, fault_server: FaultServer, tmp_path: Path
) -> None:
    """Not after a failure a record: nothing is quarantined, and with the right key it goes on."""
    fault_server.faults = Faults(matching=[("review", Fault("unauthorized"))])
    write_job(tmp_path, fault_server.base_url, records=400)
    done = tidemill_command("run", "job.yaml", "--set", "models.fast.api_key=sk-canary-0123456789")
    assert done.code == 3
    assert "stopped; mend that and run it again: what is done is kept" in done.out
    assert "401" in done.out
    assert "canary" not in done.out + done.err
    assert all(b"canary" not in data for name, data in list_files(tmp_path).items())
    assert fault_server.requests <= 4
    assert report_of(tmp_path)["records"]["quarantined"] == 0
    fault_server.faults = None
    assert tidemill_command("run", "job.yaml").code == 0
    assert landed_ids(tmp_path) == wanted(400)


def test_an_endpoint_that_is_not_there_stops_the_run(
    tidemill_command: Command, closed_port: int, tmp_path: Path
) -> None:
    write_job(tmp_path, f"http://127.0.0.1:{closed_port}/v1", limits=", connect_s: 0.3")
    done = tidemill_command("run", "job.yaml")
    assert done.code == 3
    assert f"no connection to 127.0.0.1:{closed_port} for 0.3 s" in done.out
    assert "check the address (a model's `base_url`, a store's `url`), the network and that the server runs" in done.out
    assert report_of(tmp_path)["records"]["quarantined"] == 0
    tried = tidemill_command("try", "job.yaml", "-n", "1")
    assert tried.code == 3
    with FaultServer(port=closed_port):
        assert tidemill_command("run", "job.yaml").code == 0
    assert landed_ids(tmp_path) == wanted(20)


def test_a_grown_source_is_continued(tidemill_command: Command, fault_server: FaultServer, tmp_path: Path) -> None:
    write_job(tmp_path, fault_server.base_url)
    assert tidemill_command("run", "job.yaml").code == 0
    write_reviews(tmp_path / "reviews" / "a.jsonl", range(20, 30), append=True)
    assert tidemill_command("run", "job.yaml").code == 0
    assert landed_ids(tmp_path) == wanted(30)
    assert fault_server.billed == 27


def test_init_writes_a_job_whose_own_test_passes(tidemill_command: Command, tmp_path: Path) -> None:
    done = tidemill_command("init", "mine")
    assert done.code == 0
    *wrote, following = done.out.splitlines()
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == sorted(
        Path(line.removeprefix("wrote ")).name for line in wrote
    )
    assert (
        following == "next: tidemill check mine/job.yaml; tidemill try mine/job.yaml -n 1; tidemill run mine/job.yaml"
    )
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."],
        cwd=tmp_path / "mine",
        env=tidemill_command.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    again = tidemill_command("init", "mine")
    assert again.code == 2
    assert again.err.startswith("mine: job.yaml, my_schemas.py, my_steps.py, test_job.py, records.jsonl are there")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run",), "Missing argument 'JOB'"),
        (("run", "job.yaml", "--limitt", "3"), "No such option: --limitt"),
        (("run", "job.yaml", "--limit", "0"), "Invalid value for '--limit'"),
        (("runn", "job.yaml"), "No such command 'runn'"),
        (("check", "jop.yaml"), "there is no file `jop.yaml` in"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    tidemill_command: Command, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    write_job(tmp_path, "http://127.0.0.1:1/v1")
    done = tidemill_command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_version(tidemill_command: Command) -> None:
    done = tidemill_command("--version")
    assert done.code == 0
    assert done.out.count(".") == 2
