"""The fluent face: it only appends steps, reads nothing, and its jobs are those of the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.testing import Fault, Faults, FaultServer

Record = dict[str, Any]


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]


class Whole(BaseModel):
    id: int
    label: Label


def model_of(server: FaultServer, **fields: Any) -> tm.Model:
    return tm.model("openai/any", base_url=server.base_url, api_key="none", limits=tm.Limits(concurrency=4), **fields)


def numbered(count: int) -> tm.Stream[Record]:
    return tm.from_iterable([{"id": number} for number in range(count)])


def test_methods_append_and_touch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    start = tm.read(tmp_path / "missing" / "*.jsonl")
    stream = (
        start.map(dict)
        .with_columns(length=len)
        .filter(bool)
        .flat_map(lambda record: [record])
        .select("length")
        .take(3)
        .generate("openai/gpt-4.1-mini", "{{ length }}")
    )
    assert stream.pipeline.step_names == ("map", "with_columns", "filter", "flat_map", "select", "take", "generate")
    assert len(start.pipeline) == 0
    assert repr(stream).endswith(
        "missing/*.jsonl') | map | with_columns | filter | flat_map | select | take | generate>"
    )
    assert list(tmp_path.iterdir()) == []


def test_streams_are_equal_when_they_say_the_same(tmp_path: Path) -> None:
    one, two = (tm.read("a.jsonl").filter(bool).generate("openai/any", "{{ text }}") for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != two.take(1)
    assert one != tm.read("b.jsonl").filter(bool).generate("openai/any", "{{ text }}")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda stream: stream.take(-1), r"`count`: expected an integer >= 0, got -1"),
        (lambda stream: stream.map("not a function"), "expected an import path"),
        (lambda stream: stream.generate("gpt", "{{ text }}"), "unknown model `gpt`"),
        (lambda stream: stream.generate("openai/x", "{{ text"), "the template is not valid"),
        (lambda stream: stream.generate("openai/x", "a", max_token=3), "did you mean `max_tokens`"),
        (lambda stream: stream.generate("openai/x", "a", output=5), "expected a Pydantic model"),
        (lambda stream: stream.filter(bool, on_error="ignore"), "expected `raise`, `quarantine` or `skip`"),
    ],
)
def test_a_wrong_argument_is_told_when_it_is_given(call: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        call(tm.read("a.jsonl"))


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        (["s3://bucket/a.jsonl", "a.jsonl"], {}, "of one file system, got those of local files and s3"),
        ("a.jsonl", {"format": "json"}, "expected one of jsonl, csv"),
        ([], {}, "expected a path or pattern, got none"),
    ],
)
def test_a_wrong_source_is_told_when_it_is_given(path: Any, options: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.read(path, **options)


def test_preview_shows_requests_replies_tokens_and_cost(server: FaultServer) -> None:
    model = model_of(server, price=tm.Price(1, 2))
    stream = (
        numbered(9).filter(lambda record: record["id"] % 2).generate(model, "Is {{ id }}?", output=Label, into="label")
    )
    first, second = stream.preview(2)
    assert (first.record, second.record) == ({"id": 1}, {"id": 3})
    [exchange] = first.exchanges
    assert exchange.step == "generate"
    assert exchange.request["messages"] == [{"role": "user", "content": "Is 1?"}]
    assert exchange.request["response_format"]["type"] == "json_schema"
    assert exchange.reply is not None
    assert Label.model_validate_json(exchange.reply).model_dump() == first.result["label"]
    assert exchange.input_tokens is not None
    assert exchange.output_tokens is not None
    assert exchange.cost_usd == pytest.approx((exchange.input_tokens + 2 * exchange.output_tokens) / 1e6)
    assert (first.error, server.billed) == (None, 2)


def test_preview_without_calls_shows_the_first_request_and_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    stream = numbered(2).generate("mistral/any", "Is {{ id }}?").generate("local/smollm2", "So {{ reply }}")
    trials = stream.preview(call=False)
    assert [trial.exchanges[0].request["messages"][0]["content"] for trial in trials] == ["Is 0?", "Is 1?"]
    assert all(len(trial.exchanges) == 1 and trial.exchanges[0].reply is None for trial in trials)
    assert all(trial.result is None and trial.error is None for trial in trials)


def test_preview_shows_what_a_record_fails_with_and_goes_on(server: FaultServer, tmp_path: Path) -> None:
    server.faults = Faults(matching=[("Is 1?", Fault("status", status=400, content="no ones"))])
    (tmp_path / "records.jsonl").write_text('{"id": 0}\n{corrupt\n{"id": 1}\n{"id": 2}\n')
    trials = tm.read(tmp_path / "records.jsonl").generate(model_of(server), "Is {{ id }}?").preview(4)
    assert [trial.record for trial in trials] == [{"id": 0}, None, {"id": 1}, {"id": 2}]
    assert [trial.error and trial.error["type"] for trial in trials] == [None, "DataError", "PermanentCallError", None]
    assert trials[2].error is not None
    assert "no ones" in trials[2].error["message"]
    assert trials[3].result["reply"]


def test_preview_raises_what_would_stop_the_run(server: FaultServer) -> None:
    server.faults = Faults(matching=[("Is", Fault("unauthorized"))])
    with pytest.raises(tm.PermanentCallError, match="401"):
        numbered(3).generate(model_of(server), "Is {{ id }}?").preview()
    assert server.requests == 1


def test_preview_shows_every_ask_of_a_record(server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("reply", content="no JSON") if call.number == 1 else None)
    [trial] = numbered(1).generate(model_of(server), "Is {{ id }}?", output=Label).preview()
    assert [exchange.reply == "no JSON" for exchange in trial.exchanges] == [True, False]
    assert len(trial.exchanges[1].request["messages"]) == 3


def test_preview_of_a_stream_that_ends_in_a_take(server: FaultServer) -> None:
    assert len(numbered(9).generate(model_of(server), "Is {{ id }}?").take(2).preview(5)) == 2
    assert server.billed == 2


def test_write_lands_a_dataset_that_opens(server: FaultServer, tmp_path: Path) -> None:
    stream = numbered(12).generate(model_of(server), "Is {{ id }}?", output=Label, into="label")
    report = stream.write(tmp_path / "out", schema=Whole)
    assert (report.outcome, report.exit_code) == ("finished", 0)
    assert report.records == {"landed": 12, "dropped": 0, "skipped": 0, "quarantined": 0}
    landed = tm.dataset(tmp_path / "out")
    assert len(landed) == 12
    assert [record["id"] for record in landed[3:5]] == [3, 4]
    assert landed[-1]["label"]["sentiment"] in ("positive", "negative")
    again = stream.write(tmp_path / "out", schema=Whole)
    assert (again.before, server.billed) == (12, 12)


async def test_write_works_inside_a_running_loop(server: FaultServer, tmp_path: Path) -> None:
    report = numbered(5).generate(model_of(server), "Is {{ id }}?").write(tmp_path / "out", format="jsonl")
    assert report.records["landed"] == 5


def test_write_takes_what_run_takes(server: FaultServer, tmp_path: Path) -> None:
    """Limit, retry, reuse, fresh: as on the command line."""
    model = model_of(server)
    stream = numbered(10).generate(model, "Is {{ id }}?")
    server.faults = Faults(matching=[("Is 1?", Fault("status", status=400))])
    out = tmp_path / "out"
    assert stream.write(out, limit=4, max_errors=3).outcome == "limit"
    assert stream.write(out, max_errors=3).records == {"landed": 9, "dropped": 0, "skipped": 0, "quarantined": 1}
    server.faults = None
    assert stream.write(out, retry=True).records["landed"] == 10
    assert server.billed == 10
    longer = stream.generate(model, "Why {{ reply }}?", into="why")
    assert longer.write(tmp_path / "more", reuse=str(out)).reused == 10
    assert server.billed == 20
    assert stream.write(out, fresh=True).before == 0
    assert server.billed == 30


def test_write_shows_progress_when_told_to(server: FaultServer, tmp_path: Path, capsys: Any) -> None:
    stream = numbered(3).generate(model_of(server), "Is {{ id }}?")
    stream.write(tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    stream.write(tmp_path / "shown", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("3 landed · ")


def test_streams_join_with_pipelines(server: FaultServer) -> None:
    doubled = numbered(3) | tm.Pipeline([lambda record: {"id": 2 * record["id"]}])
    assert [record["id"] for record in doubled] == [0, 2, 4]


def test_a_preview_and_a_report_say_in_a_line_each_what_happened(server: FaultServer, tmp_path: Path) -> None:
    """What a notebook shows of them: the request's end, the reply, tokens and cost; outcome, counts, folder."""
    stream = numbered(3).generate(model_of(server, price=tm.Price(1, 2)), "Is {{ id }}?", output=Label, into="label")
    (trial,) = stream.preview(1)
    shown = repr(trial)
    assert "generate: 'Is 0?' → '{" in shown
    assert "tokens in" in shown
    assert "$0.0000" in shown
    assert "result: {'id': 0, 'label': {" in shown
    report = stream.write(tmp_path / "out")
    assert repr(report) == f"<Report: finished; 3 landed → {tmp_path / 'out'}>"


def test_a_run_that_fails_warns_where_nothing_is_printed(
    server: FaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A script that looks at nothing still learns on stderr, through logging, that its run did not finish."""
    server.faults = Faults(mixed=[(1.0, Fault("unauthorized"))])
    report = numbered(3).generate(model_of(server), "Is {{ id }}?").write(tmp_path / "out")
    assert report.exit_code == 3
    assert "<Report: failed (" in caplog.text


class Untouched(list[Any]):
    """A list that must not be gone through."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("the list was gone through")


def test_a_stream_of_a_list_is_made_without_going_through_it() -> None:
    """However long it is."""
    assert repr(tm.from_iterable(Untouched([{"text": "a"}]))) == "<Stream: from_iterable(Untouched)>"


def test_a_catch_says_what_failures_get(tmp_path: Path) -> None:
    """Skipped by default, put in a file where one is named; what contradicts itself is refused."""
    failing = tm.from_iterable([1, 0, 2]).map(lambda number: 2 // number)
    assert list(failing.catch()) == list(failing.catch("skip")) == [2, 1]
    kept = tmp_path / "failed.jsonl"
    assert list(failing.catch("quarantine", to=kept)) == [2, 1]
    assert list(tm.replay(kept)) == [0]
    with pytest.raises(tm.ConfigError, match="a quarantine needs `to`"):
        failing.catch("quarantine")
    with pytest.raises(tm.ConfigError, match="what is skipped goes to no file"):
        failing.catch("skip", to=kept)


def test_a_number_beyond_64_bits_is_told_with_its_place() -> None:
    with pytest.raises(
        tm.ConfigError, match=r"test_stream\.py:\d+:\d+  `seed`: expected an integer of at most 64 bits"
    ):
        tm.read("reviews.jsonl").shuffle(10**20)
