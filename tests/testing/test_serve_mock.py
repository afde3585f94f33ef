"""`tidemill serve-mock`: a fault server from the command line."""

import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest

from tidemill.errors import ConfigError
from tidemill.testing import Delivery, Fault, Faults, Load, Quota
from tidemill.testing.mock import MockOptions, MockPlan, read_plan

CHAT = b'{"messages": [{"role": "user", "content": "hello"}]}'
PLAN = """
latency_s: 0.01
faults: {seed: 3, matching: [[poison, {kind: status, status: 400}]], mixed: [[0.05, {kind: cut}]]}
load: {quotas: [{requests_per_minute: 600, window_s: 1, kind: sliding}]}
delivery: {token_s: 0.02}
"""


@contextmanager
def serving(*options: str) -> Iterator[tuple[int, str, subprocess.Popen[str]]]:
    """A server's port, what it said first, and its process."""
    command = [sys.executable, "-m", "tidemill", "serve-mock", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            while "Ctrl-C ends it" not in told:
                told += process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+);", told)
            assert found is not None
            yield int(found[1]), told, process
        finally:
            process.kill()


def post(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
        client.request("POST", "/v1/chat/completions", CHAT)
        response = client.getresponse()
        response.read()
        return response.status


def test_ctrl_c_ends_it_with_its_counts() -> None:
    """It says where it listens and how to use it, then what it counted, with code 0."""
    with serving("--requests-per-minute", "2", "--kind", "fixed", "--errors", "1") as (port, told, process):
        assert [post(port) for _ in range(3)] == [500, 500, 429]
        process.send_signal(signal.SIGINT)
        counted, wrong = process.communicate(timeout=30)
    assert f"OPENAI_BASE_URL=http://127.0.0.1:{port}/v1" in told
    assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{port}\n" in told
    counts = {words: int(count) for count, words in re.findall(r"^ +(\d+)  (.+)$", counted, re.MULTILINE)}
    assert counts["calls received"] == 3
    assert counts["billed"] == 0
    assert counts["refused by a limit"] == counts["beyond a quota"] == 1
    assert counts["failed otherwise"] == counts["faults of kind status"] == 2
    assert (process.returncode, wrong) == (0, "")


def test_a_taken_port_is_told() -> None:
    """With the way out."""
    with serving() as (port, _, _):
        command = [sys.executable, "-m", "tidemill", "serve-mock", "--port", str(port)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 3
    assert f"cannot serve on port {port}" in found.stderr
    assert "--port 0" in found.stderr


def test_a_plan_is_read_from_a_file(tmp_path: Path) -> None:
    """Faults, load and delivery as they are made in Python."""
    path = tmp_path / "mock.yaml"
    path.write_text(PLAN)
    assert read_plan(MockOptions(), path) == MockPlan(
        latency_s=0.01,
        faults=Faults(seed=3, matching=[("poison", Fault("status", status=400))], mixed=[(0.05, Fault("cut"))]),
        load=Load(quotas=(Quota(requests_per_minute=600, window_s=1, kind="sliding"),)),
        delivery=Delivery(token_s=0.02),
    )


def test_a_plan_that_is_wrong_is_shown_where(tmp_path: Path) -> None:
    """Every mistake, each with its line and what was meant."""
    path = tmp_path / "mock.yaml"
    path.write_text("faults: {mixed: [[0.05, {kind: statuss}]]}\nload: {capacty: {concurrency: 0}}\n")
    with pytest.raises(ConfigError, match=r"mock\.yaml:1:\d+.*did you mean `status`") as caught:
        read_plan(MockOptions(), path)
    assert "did you mean `capacity`" in str(caught.value)


def test_options_stand_for_a_plan() -> None:
    """Each of them; beside a file they are refused."""
    options = MockOptions(
        latency_ms=10, tokens_per_minute=100, window_s=2, kind="fixed", concurrency=3, errors=0.1, seed=7
    )
    plan = options.to_plan()
    assert plan.latency_s == 0.01
    assert plan.load is not None
    assert plan.load.quotas == (Quota(tokens_per_minute=100, window_s=2, kind="fixed"),)
    assert plan.load.capacity is not None
    assert plan.load.capacity.concurrency == 3
    assert plan.faults == Faults(mixed=[(0.1, Fault("status", status=500))], seed=7)
    paced = MockOptions(first_token_ms=20, tokens_per_second=50).to_plan()
    assert paced.delivery == Delivery(first_token_s=0.02, token_s=0.02)
    assert orjson.loads(MockOptions().to_plan().model_dump_json(exclude_defaults=True)) == {
        "load": {},
        "delivery": {},
    }
    with pytest.raises(ConfigError, match="--plan says what --errors, --kind would say"):
        read_plan(MockOptions(errors=0.1, kind="fixed"), Path("mock.yaml"))
