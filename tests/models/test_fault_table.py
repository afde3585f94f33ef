"""One table for all wire formats: what each failure of the far side means, and that docs/calls.md says so."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from faultrows import (
    DEADLINE_S,
    DIMENSIONS,
    EMBEDDER,
    FORMATS,
    HEAD,
    MAX_ATTEMPTS,
    TABLE,
    UNREACHABLE,
    Row,
    Seen,
    call,
    play,
    serve_untrusted,
)
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.budget import Spend
from tidemill.calls.limits import Budget, Limits
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.testing import Call, Fault, Faults, FaultServer

# litellm's own, of modules it loads when they are first used
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "calls.md"
LITELLM = [name for name in FORMATS if name.startswith("litellm")]
CASES = [(name, row) for row in TABLE for name in row.where or FORMATS]


@pytest.fixture(scope="module", autouse=True)
def warm_litellm() -> None:
    """Its first call of each kind takes longer than the limits here."""
    with FaultServer() as server:
        for name in LITELLM:
            asyncio.run(call(name, server.base_url))


@pytest.mark.parametrize(("name", "row"), CASES, ids=[f"{name}: {row.told}" for name, row in CASES])
def test_a_failure_means_what_the_table_says(name: str, row: Row) -> None:
    """In every format: once, to see whether it is tried again and what it counts as; then for ever, to see the end.

    What is not counted in `max_attempts` is tried again though there may be one attempt only.
    """
    once, ever = play(row)[name]
    if once is not None:
        assert (once.error is None) == (row.again != "no"), once.error
        assert once.attempts == (1 if row.again == "no" else 2)
        check_bills(once, row, name)
    assert ever.error is not None
    assert ever.error.of == row.of, ever.error
    check_bills(ever, row, name)
    if row.again in ("yes", "no"):
        assert ever.attempts == (MAX_ATTEMPTS if row.again == "yes" else 1)
    elif row.at != "answer":
        assert ever.attempts > MAX_ATTEMPTS


def check_bills(seen: Seen, row: Row, name: str) -> None:
    """The report, our budget and the far side's own bill agree on what each failed attempt came to.

    The server bills all that it may; the budget counts as much or more, and what is not told as the whole ceiling. Of
    what came over its connection litellm does not tell what was wrong.
    """
    failed = seen.attempts - (seen.value is not None)
    assert sum(seen.failures.values()) == failed
    assert set(seen.failures) <= ({row.reported, "connection"} if name in LITELLM else {row.reported})
    if row.counts == "nothing":
        assert seen.spent == Spend()
        return
    good = seen.value.usage if seen.value is not None else None
    used = good.input_tokens + good.output_tokens if good is not None else 0
    unknown = failed if row.is_billed else 0
    assert seen.spent == Spend(seen.attempts, unknown * seen.ceiling.tokens + used)
    assert seen.requests == seen.attempts
    assert seen.bodies == ([seen.billed] if seen.billed else [])
    assert seen.billed == unknown + (good is not None)
    assert used <= seen.tokens <= seen.spent.tokens
    assert unknown or seen.tokens == seen.spent.tokens


# What a job keeps: one step in each format, a good record, and one that fails at each step.


def asked_at(call: Call) -> tuple[int, int]:
    """The step that asks, and the one at which its record is to fail."""
    found = re.search(rb"step (\d): fails at (\d)", call.body)
    assert found is not None
    return int(found[1]), int(found[2])


def fail(row: Row, is_meant: Callable[[int, int], bool]) -> Faults:
    """The row's failure, billed for nothing, of the calls whose step and record are meant."""
    return Faults(script=lambda call: row.make_fault(billed=False) if is_meant(*asked_at(call)) else None)


def fail_from(row: Row, step: int) -> Faults:
    return fail(row, lambda at, _: at >= step)


def make_stream(url: str, names: Sequence[str], row: Row, away: str = "", gone: int = 0) -> tm.Stream[Any]:
    """A step for each of `names`; of the steps from the `gone`-th on the endpoint is at `away`, where that is given."""
    last = len(names)
    stream = tm.from_iterable([{"at": number} for number in range(1, last + 2)])
    ends = {"deadline_s": DEADLINE_S} if row.again == "waits" and row.of == "record" else {}
    given = {"concurrency": 4, "max_attempts": 5 if row.lasting else 1, "breaker_failures": 100, **ends, **row.lasting}
    limits = Limits(**given, connect_s=0.2, attempt_timeout_s=row.timeout_s)
    for number, name in enumerate(names, 1):
        kind, _, how = name.partition(", ")
        base_url = away if away and number >= gone else url
        provider = {"OpenAI": "openai", "Anthropic": "anthropic", "embeddings": "openai"}.get(kind, "litellm/openai")
        text = f"step {number}: fails at {{{{ at }}}}"
        embeds = "embeddings" in name
        asked = f"{provider}/{EMBEDDER if embeds else f'any-{number}'}"
        model = tm.model(asked, base_url=base_url, api_key="key-of-mine", limits=limits)
        into = f"reply_{number}"
        if embeds:
            stream = stream.embed(model, text=text, into=into, dimensions=DIMENSIONS, batch_size=1)
        else:
            stream = stream.generate(model, prompt=text, into=into, max_tokens=9, stream=how == "streamed")
    return stream


def write(stream: tm.Stream[Any], folder: Path, *, retry: bool = False) -> Report:
    """Run the job, or go on with it, however many of its records fail."""
    job = stream.job(folder, max_errors=99, budget=Budget(tokens=10**9))
    return asyncio.run(Runner(job.spec, RunRequest(retry=retry)).run())


QUICK = [row for row in TABLE if row.fault != Fault("status", status=429)]
"""Not those that a job is paced by: one with `Retry-After` is kept likewise, in seconds less."""


@pytest.mark.parametrize("row", [row for row in QUICK if row.of == "record"], ids=lambda row: row.told)
def test_of_a_record_that_fails_it_and_all_its_replies_are_kept(row: Row, server: FaultServer, tmp_path: Path) -> None:
    """The others land. Going on asks nothing again; `retry` asks for the step that failed, and for those behind it."""
    names = row.where or tuple(FORMATS)
    stream = make_stream(server.base_url, names, row)
    server.faults = fail(row, lambda at, fails_at: at == fails_at)
    report = write(stream, tmp_path)
    assert (report.outcome, report.records["quarantined"], report.records["landed"]) == ("finished", len(names), 1)
    assert report.calls["failed"] == len(names)
    requests = server.requests
    assert write(stream, tmp_path).outcome == "finished"
    assert server.requests == requests
    server.faults = None
    assert write(stream, tmp_path, retry=True).records["landed"] == len(names) + 1
    assert (server.billed, server.stats()["repeats"]) == (len(names) * (len(names) + 1), 0)


@pytest.mark.parametrize("row", [row for row in QUICK if row.of == "run"], ids=lambda row: row.told)
def test_at_a_failure_of_the_run_what_is_done_is_kept(row: Row, server: FaultServer, tmp_path: Path) -> None:
    """No record is to blame. Each sitting goes on where the last one stopped, here at one format after the other."""
    names = row.where or tuple(FORMATS)
    with contextlib.ExitStack() as stack:
        away = UNREACHABLE if row.at == "closed port" else ""
        if row.at == "certificate":
            away = stack.enter_context(serve_untrusted())
        for number in range(1, len(names) + 1):
            server.faults = fail_from(row, number)
            report = write(make_stream(server.base_url, names, row, away, number), tmp_path)
            assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0), report.reason
    server.faults = None
    report = write(make_stream(server.base_url, names, row), tmp_path)
    assert (report.outcome, report.records["landed"]) == ("finished", len(names) + 1)
    assert (server.billed, server.stats()["repeats"]) == (len(names) * (len(names) + 1), 0)


# What is in a reply is judged by the step, once the reply is paid and kept.


class Label(BaseModel):
    mood: Literal["good", "bad"]


@dataclass(frozen=True)
class ReplyRow:
    """What one kind of reply means to a `generate` step.

    Attributes:
        told: the reply, in the page's words.
        asks: made of the record.
        lands: whether it lands.
        outcome: what becomes of it, in the page's words.
    """

    told: str
    fault: Fault
    output: type[BaseModel] | None
    asks: int
    lands: bool
    outcome: str

    def render(self) -> str:
        """Its line of the page."""
        again = "with what is wrong, at most `max_reasks` times" if self.asks > 1 else "no"
        counts = "what it used" if self.fault.tells_usage else "its ceiling"
        kept = "every reply" if self.asks > 1 else "the reply"
        return f"| {self.told} | {again} | {self.outcome} | {counts} | {kept} |"


REPLY_HEAD = "| reply | asked again | what becomes of the record | the budget counts | kept |"
REPLIES = (
    ReplyRow("text that does not say what it used", Fault("reply", tells_usage=False), None, 1, True, "it lands"),
    ReplyRow("a refusal", Fault("refusal", content="No."), None, 1, False, "it fails"),
    ReplyRow("text cut at `max_tokens`", Fault("truncated"), None, 1, True, "it lands as it is; the report counts it"),
    ReplyRow("an `output` cut at `max_tokens`", Fault("truncated"), Label, 3, False, "it fails after the last ask"),
    ReplyRow("a reply that is not of `output`", Fault("invalid"), Label, 3, False, "it fails after the last ask"),
)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "litellm/openai"])
@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row.told)
def test_a_reply_means_what_the_table_says(row: ReplyRow, provider: str, server: FaultServer, tmp_path: Path) -> None:
    """Every ask is billed, at what it used where that is told, and its reply is kept: going on asks nothing."""

    def choose(call: Call) -> Fault | None:
        return row.fault if b"a bad one" in call.body else None

    server.faults = Faults(script=choose)
    model = tm.model(f"{provider}/any", base_url=server.base_url, api_key="key-of-mine", limits=Limits(max_attempts=1))
    texts = [{"text": text} for text in ("a good one", "a bad one", "another")]
    stream = tm.from_iterable(texts).generate(
        model, prompt="{{ text }}", output=row.output, into="reply", max_tokens=20
    )
    report = write(stream, tmp_path / "out")
    assert server.billed == row.asks + 2
    landed = [record["text"] for record in tm.dataset(tmp_path / "out")]
    assert landed == [record["text"] for record in texts if row.lands or record["text"] != "a bad one"]
    assert report.outcome == "finished"
    told, billed = count_tokens(report.calls), count_tokens(server.stats())
    assert told == billed if row.fault.tells_usage else told < billed
    assert report.calls["unknown_usage"] == (not row.fault.tells_usage)
    assert write(stream, tmp_path / "out").outcome == "finished"
    assert server.billed == row.asks + 2


def count_tokens(counts: Mapping[str, Any]) -> int:
    return int(counts["input_tokens"] + counts["output_tokens"])


def render(head: str, rows: Sequence[Row | ReplyRow]) -> str:
    return "\n".join([head, "|" + "---|" * head.count(" | ") + "---|", *(row.render() for row in rows)])


def test_the_page_has_the_tables() -> None:
    """To the letter; when this fails, put the text it expected into the page."""
    text = PAGE.read_text()
    assert render(HEAD, TABLE) in text
    assert render(REPLY_HEAD, REPLIES) in text
