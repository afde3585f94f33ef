"""What an estimate says before a run, against what the server then counts."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.calls.budget import Pricing
from tidemill.calls.wire import Request, Response, Usage
from tidemill.data.nodes.keeping import place_folders
from tidemill.data.sources.iterable import FromIterable
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.live.asking import StandIn, least_json, price_tokens
from tidemill.jobs.live.estimate import Measured, estimate_calls
from tidemill.jobs.live.sampling import SampleLimits, sample_source
from tidemill.jobs.running.comparison import compare_estimate
from tidemill.jobs.running.inspect import measure_run
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.resources.bridge import Bridge
from tidemill.testing import FaultServer, ScriptedTransport, chat_response

WITHIN = 0.15
WORDS = ("tide", "a", "mill", "harbour,", "of", "stone.", "and", "wheel", "\n")


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Files of many sizes: 5 to 3,000 characters a record, one file packed, longer ones towards the end of each."""
    rng, data = random.Random(5), b""
    for number in range(6):
        lines = [
            json.dumps({"id": i, "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 20 + 3 * i)))})
            for i in range(50 * (number + 1))
        ]
        data = "\n".join(lines).encode()
        (tmp_path / f"{number}.jsonl").write_bytes(data)
    (tmp_path / "6.jsonl.gz").write_bytes(gzip.compress(data))
    return tmp_path


def make(server: FaultServer, **fields: Any) -> tm.Model:
    price = tm.Price(0.15, 0.6)
    return tm.model("openai/any", **{"base_url": server.base_url, "api_key": "none", "price": price, **fields})


def is_long(record: dict[str, Any]) -> bool:
    return len(record["text"]) > 60


def fail(record: dict[str, Any]) -> Any:
    raise KeyError("mill")


def halve(record: dict[str, Any]) -> list[dict[str, Any]]:
    half = len(record["text"]) // 2
    return [{**record, "text": record["text"][:half]}, {**record, "text": record["text"][half:]}]


def test_it_is_within_15_percent_of_what_the_server_counts(server: FaultServer, corpus: Path) -> None:
    """Tokens in, calls, and USD between low and high; the run's report says how near it came."""
    reviews = tm.read(f"{corpus}/*.jsonl*").filter(is_long).flat_map(halve)
    stream = reviews.generate(
        make(server), "Label this review: {{ text }}", system="Be brief.", output=Label, into="label", max_tokens=64
    )
    estimate = stream.estimate()
    assert server.requests == 0
    report = stream.write(corpus / "out", progress=False)
    calls = report.calls
    assert estimate.calls == calls["calls"]
    assert estimate.is_exact
    assert estimate.input_tokens == pytest.approx(calls["input_tokens"], rel=WITHIN)
    assert estimate.output_tokens_low <= calls["output_tokens"] <= (estimate.output_tokens_high or 0)
    assert (estimate.usd_low or 0) <= calls["usd"] <= (estimate.usd_high or 0)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def test_images_are_counted_by_their_size(server: FaultServer, tmp_path: Path) -> None:
    """Not by the most that any image can come to, which is what a budget goes by, and not by their bytes."""
    (tmp_path / "a.png").write_bytes(png(560, 280) + b"\x00" * 50_000)
    records = [{"text": "What is it?", "image": str(tmp_path / "a.png")}] * 30
    stream = tm.from_iterable(records).generate(make(server), "{{ text }}", images=["image"], max_tokens=64)
    texts = tm.from_iterable(records).generate(make(server), "{{ text }}", max_tokens=64).estimate()
    estimate = stream.estimate()
    assert estimate.input_tokens / 30 == pytest.approx(20 * 10 + texts.input_tokens / 30, abs=40)
    assert (estimate.usd_high or 0) < 30 * (300 * 0.15 + 64 * 0.6) / 1e6
    assert "tokens in by 4 bytes a token, images by their size; tokens out" in repr(estimate)
    far = tm.from_iterable([{**records[0], "image": "https://far/a.png"}] * 30)
    estimate = far.generate(make(server), "{{ text }}", images=["image"], max_tokens=64).estimate()
    assert estimate.input_tokens / 30 == pytest.approx(37 * 37 + texts.input_tokens / 30, abs=40)
    assert "images by their size, 1,024 × 1,024 where it is not known" in repr(estimate)


def test_a_schema_is_counted_as_the_request_has_it(server: FaultServer, corpus: Path) -> None:
    """In Anthropic's format, where no more than a bound is known of what the endpoint adds to it."""
    model = tm.model("anthropic/claude-haiku-4-5", base_url=server.base_url, api_key="none")
    stream = tm.read(f"{corpus}/1.jsonl").generate(model, "{{ text }}", output=Label, into="label", max_tokens=64)
    estimate = stream.estimate()
    counted = stream.write(corpus / "out", progress=False).calls
    assert estimate.input_tokens == pytest.approx(counted["input_tokens"], rel=WITHIN)


def test_without_time_a_record_is_read_at_each_place(tmp_path: Path) -> None:
    """As many as there are places; what there is in all follows from the sizes of the files."""
    for number in range(20):
        (tmp_path / f"{number:02}.jsonl").write_text('{"a": 12345}\n' * 100)
    source = tm.read(f"{tmp_path}/*.jsonl").source
    samples = [sample_source(source, (), SampleLimits(seconds=0, seed=seed)) for seed in (1, 2, 1)]
    assert [(sample.read, sample.is_whole) for sample in samples] == [(8, False)] * 3
    assert [sample.total for sample in samples] == [pytest.approx(2_000)] * 3
    assert samples[0] == samples[2]


@pytest.mark.parametrize(
    ("arrange", "read", "total"),
    [
        (lambda stream: stream, 1, 2_000),
        (lambda stream: stream.filter(lambda record: False), 1, 0),
        (lambda stream: stream.batch(100, form="columns"), 1, 2_000),
        (lambda stream: stream.sort("a"), 1, 2_000),
        (lambda stream: stream.group_by("a").agg(n="count"), 1, None),
    ],
)
def test_a_command_takes_no_longer_than_a_record(tmp_path: Path, arrange: Any, read: int, total: float | None) -> None:
    """One is read where there is no time, also where others are held back; how many groups there are is not known."""
    for number in range(20):
        (tmp_path / f"{number:02}.jsonl").write_text('{"a": 12345}\n' * 100)
    stream = arrange(tm.read(f"{tmp_path}/*.jsonl"))
    sample = sample_source(
        stream.flow.source, place_folders(stream.flow.nodes, tmp_path), SampleLimits(seconds=0, is_strict=True)
    )
    assert (sample.read, sample.is_whole) == (read, False)
    assert sample.total == (None if total is None else pytest.approx(total))


def test_what_is_read_beside_is_read_in_time_or_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 100)
    stream = tm.read(tmp_path / "a.jsonl")
    joined = stream.join(stream.map(dict).take(3), "a", suffix="_b", dir=tmp_path / "kept")
    strict, whole = (SampleLimits(seconds=0, is_strict=is_strict) for is_strict in (True, False))
    with pytest.raises(tm.ResourceError, match="what a join reads takes longer than an estimate may"):
        sample_source(joined.flow.source, joined.flow.nodes, strict)
    assert sample_source(joined.flow.source, joined.flow.nodes, whole).read == 1
    patient = sample_source(joined.flow.source, joined.flow.nodes, SampleLimits(seconds=60, is_strict=True))
    assert (patient.read, patient.total, patient.is_whole) == (100, 300, True)


def test_with_an_earlier_run_replies_are_taken_to_be_as_they_were_there(server: FaultServer, corpus: Path) -> None:
    """The same records, and others: what they came to, samples and all, is within a few percent."""
    stream = tm.read(f"{corpus}/[0-4].jsonl").generate(make(server), "{{ text }}", n=2, max_tokens=500)
    before = stream.estimate()
    report = stream.write(corpus / "out", progress=False)
    after = stream.estimate(run=corpus / "out")
    assert before.output_tokens_high == 2 * 500 * before.records
    assert after.calls == pytest.approx(report.calls["calls"], rel=0.01)
    assert after.input_tokens == pytest.approx(report.calls["input_tokens"], rel=0.01)
    assert after.output_tokens_low <= report.calls["output_tokens"] <= (after.output_tokens_high or 0)
    assert (after.output_tokens_high or 0) == pytest.approx(report.calls["output_tokens"], rel=WITHIN)
    assert "as 750 records came to in the run" in repr(after)
    more = tm.read(f"{corpus}/[0-5].jsonl").generate(make(server), "{{ text }}", n=2, max_tokens=500)
    estimate = more.estimate(run=corpus / "out")
    counted = more.write(corpus / "more", progress=False).calls
    assert estimate.input_tokens == pytest.approx(counted["input_tokens"], rel=WITHIN)
    assert estimate.usd_high == pytest.approx(counted["usd"], rel=WITHIN)


def test_a_vocabulary_on_this_machine_is_gone_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server whose tokens are words: four bytes each would be far off."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "models--maker--words" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    words.save(str(folder / "tokenizer.json"))

    def count(request: Request) -> Response:
        texts = [message["content"] for message in orjson.loads(request.body)["messages"]]
        return chat_response("fine", usage=Usage(sum(len(text.split()) for text in texts) + 5 * len(texts) + 2, 1))

    rng = random.Random(2)
    records = [
        {"text": " ".join(rng.choices(("lighthouse", "harbour", "ocean"), k=rng.randint(5, 300)))} for _ in range(300)
    ]
    model = tm.model("vllm/maker/words", base_url="http://far/v1", api_key="none")
    stream = tm.from_iterable(records).generate(model, "{{ text }}", max_tokens=5)
    estimate = stream.estimate()
    assert "tokens in by the tokenizer of maker/words" in repr(estimate)
    spec = stream.job(tmp_path / "out").spec
    request = RunRequest(estimate=estimate.to_dict())
    with Bridge() as bridge:
        report = bridge.run(Runner(spec, request, transport=lambda: ScriptedTransport(count)).run())
    assert estimate.input_tokens == pytest.approx(report.calls["input_tokens"], rel=WITHIN)
    assert sum(len(record["text"]) for record in records) / 4 > 1.5 * report.calls["input_tokens"]
    assert "300 calls (came to that), " in compare_estimate(report)


def test_the_report_compares_over_sittings_and_for_what_is_done(server: FaultServer, corpus: Path) -> None:
    """The estimate that the run began with is kept; of a part of the records, a part of it is compared."""
    stream = tm.read(f"{corpus}/*.jsonl").generate(make(server), "{{ text }}", max_tokens=64)
    spec, estimate = stream.job(corpus / "out").spec, stream.estimate()
    with Bridge() as bridge:
        first = bridge.run(Runner(spec, RunRequest(limit=105, estimate=estimate.to_dict())).run())
        second = bridge.run(Runner(spec, RunRequest()).run())
    assert "estimated before: 105 calls (came to that), " in compare_estimate(first)
    assert "estimated before: 1,050 calls (came to that), " in compare_estimate(second)
    assert "tokens out (came to within), " in compare_estimate(second)
    assert "USD (came to within)" in compare_estimate(second)
    none = stream.write(corpus / "other", progress=False)
    assert compare_estimate(none) == ""


def test_a_run_that_was_ended_early_is_not_compared(server: FaultServer, corpus: Path) -> None:
    """Its calls are also those of records under way, which no share of the estimate stands for."""
    stream = tm.read(f"{corpus}/*.jsonl").generate(make(server), "{{ text }}", max_tokens=64)
    estimate = stream.estimate().to_dict()
    spec = stream.job(corpus / "out", budget=tm.Budget(calls=300)).spec
    with Bridge() as bridge:
        ended = bridge.run(Runner(spec, RunRequest(estimate=estimate)).run())
        assert (ended.outcome, compare_estimate(ended)) == ("failed", "")
        more = stream.job(corpus / "out", budget=tm.Budget(calls=3_000)).spec
        finished = bridge.run(Runner(more, RunRequest()).run())
    assert "estimated before: 1,050 calls (came to that), " in compare_estimate(finished)


def test_steps_are_told_apart_and_share_their_models_limits(server: FaultServer, corpus: Path) -> None:
    """Hours are those of the slowest limit; a model without a price has no cost, nor have all together."""
    model = make(server, limits=tm.Limits(requests_per_minute=60, tokens_per_minute=10**9))
    slow = tm.model("openai/slow", base_url=server.base_url, api_key="none")
    stream = (
        tm.read(f"{corpus}/*.jsonl")
        .generate(model, "{{ text }}", into="one", max_tokens=64)
        .generate(model, "Again: {{ one }}", into="two", max_tokens=64)
        .generate(slow, "{{ two }}", into="three")
    )
    estimate = stream.estimate()
    assert [step.step for step in estimate.steps] == ["generate", "generate_2", "generate_3"]
    assert estimate.calls == 3 * 1_050
    assert estimate.hours == pytest.approx(2 * 1_050 / (0.98 * 60) / 60, rel=0.01)
    assert estimate.usd_low is None
    assert estimate.steps[0].usd_low is not None
    assert estimate.output_tokens_high is None
    assert "or more out" in repr(estimate)


def test_what_follows_from_replies_is_said_to_be_left_out(server: FaultServer, corpus: Path) -> None:
    """Functions behind a call are not called: nobody has replied yet."""

    def never(record: dict[str, Any]) -> Any:
        raise AssertionError("called")

    stream = (
        tm.read(f"{corpus}/0.jsonl")
        .generate(make(server), "{{ text }}", output=Label, into="label", max_tokens=64)
        .filter(never)
        .with_columns(word=never)
        .select("label", "word", "text")
        .generate(make(server), "{{ label.topic }}: {{ text }}", into="next", max_tokens=64)
    )
    told = repr(stream.estimate())
    assert "filter: not called; as if it kept every record as it is" in told
    assert stream.estimate().calls == 50


def test_shares_of_batches_and_functions_are_counted(server: FaultServer, corpus: Path) -> None:
    embedder = tm.model("openai/embed", base_url=server.base_url, api_key="none", price=tm.Price(0.02, 0))
    stream = tm.read(f"{corpus}/*.jsonl").embed(embedder, "text", batch_size=50).call(halve, into="halves")
    estimate = stream.estimate()
    embed, call = estimate.steps
    assert [embed.calls, call.calls] == pytest.approx([1_050 / 50, 1_050])
    assert embed.output_tokens_high == 0
    assert "embed: tokens in by 4 bytes a token\n" in repr(estimate)
    characters = sum(len(record["text"]) for record in tm.read(f"{corpus}/*.jsonl"))
    assert embed.input_tokens == pytest.approx(characters / 4, rel=WITHIN)
    assert estimate.usd_low == estimate.usd_high == pytest.approx(embed.input_tokens * 0.02 / 1e6)


@pytest.mark.parametrize(("records", "calls"), [(1, 1), (12, 1), (128, 1), (129, 2), (300, 3), (1_280, 10)])
def test_a_batch_that_is_not_full_is_a_call(server: FaultServer, records: int, calls: int) -> None:
    """And since what is at hand goes out when nothing is to be waited for, more may be made."""
    embedder = tm.model("openai/embed", base_url=server.base_url, api_key="none")
    stream = tm.from_iterable([{"text": "mill"}] * records).embed(embedder, "text")
    assert stream.estimate().calls == calls
    assert stream.estimate().describe()[0] == f"{records:,} records, {calls} or more calls"


def test_more_calls_than_full_batches_are_within_the_estimate(server: FaultServer, tmp_path: Path) -> None:
    embedder = tm.model("openai/embed", base_url=server.base_url, api_key="none")
    stream = tm.from_iterable([{"text": f"mill {number}"} for number in range(12)]).embed(embedder, "text")
    request = RunRequest(estimate=stream.estimate().to_dict())
    with Bridge() as bridge:
        report = bridge.run(Runner(stream.job(tmp_path / "out").spec, request).run())
    assert compare_estimate(report).startswith("estimated before: 1 or more calls (came to within), ")
    assert "tokens out" not in compare_estimate(report)


def test_records_that_fail_are_asked_nothing(server: FaultServer, corpus: Path) -> None:
    """In the source, at a function, or for want of a column; they are counted, and the rest is scaled."""
    (corpus / "0.jsonl").write_text('{"id": 1, "text": "abcd"}\n{corrupt\n{"id": 2}\n{"id": 3, "text": "efgh"}\n')
    stream = tm.read(f"{corpus}/0.jsonl").generate(make(server), "{{ text }}", max_tokens=9)
    estimate = stream.estimate()
    assert estimate.calls == 2
    place = r"0\.jsonl, byte \d+"
    assert estimate.read == 4
    read, tried = estimate.notes
    assert re.fullmatch(rf"1 of 4 records read fail, first: .*/{place}: not JSON .*", read)
    assert re.fullmatch(rf"1 of 3 records tried fail, first: {place}, step `generate`: no column `text`; .*", tried)


@pytest.mark.parametrize(
    ("ask", "cause"),
    [
        (lambda s, m: s.generate(m, "{{ text.body }}"), r"0\.jsonl, byte 0, step `generate`: `body` is not in the str"),
        (lambda s, m: s.generate(m, "{{ txt }}"), r"0\.jsonl, byte 0, step `generate`: no column `txt`"),
        (lambda s, m: s.embed(m, "id"), r"0\.jsonl, byte 0, step `embed`, column `id`: expected a text, got 0"),
        (lambda s, m: s.map(fail).generate(m, "{{ text }}"), r"0\.jsonl, byte 0, step `map`: KeyError: 'mill'"),
        (lambda s, m: s.gather(a={"call": len}, b={"generate": {"model": m, "prompt": "{{ b }}"}}), "step `gather.b`"),
    ],
)
def test_where_every_record_fails_the_first_says_why(server: FaultServer, corpus: Path, ask: Any, cause: str) -> None:
    """At whatever comes first: nothing would be asked, so an estimate of 0 calls would hide the mistake."""
    with pytest.raises(tm.DataError, match=rf"^all 50 records tried would fail: .*{cause}"):
        ask(tm.read(f"{corpus}/0.jsonl"), make(server)).estimate()


def test_check_says_what_every_record_fails_with_and_run_goes_by_its_own_bound(
    tidemill_command: Any, server: FaultServer, corpus: Path
) -> None:
    (corpus / "job.yaml").write_text(JOB.format(base_url=server.base_url).replace("{{ text }}", "{{ text.body }}"))
    checked = tidemill_command("check", "job.yaml")
    assert (checked.code, checked.out) == (2, "")
    assert checked.err.startswith("all 200 records tried would fail: ")
    assert tidemill_command("check", "job.yaml", "--no-estimate").code == 0
    assert "100 records in a row failed" in tidemill_command("run", "job.yaml").out


@pytest.mark.parametrize(
    ("arrange", "records"),
    [
        (lambda stream: stream.take(7), 7),
        (lambda stream: stream.skip(7), 1_043),
        (lambda stream: stream.shuffle(seed=3).take(70), 70),
        (lambda stream: stream.filter(is_long).take(10_000).repeat(2), None),
        (lambda stream: stream.repeat(3).skip(50).prefetch(4), 3_100),
        (lambda stream: stream.repeat().take(5_000), 5_000),
        (lambda stream: stream.batch(50, form="columns").map(lambda batch: {"text": batch["text"][0]}), 21),
    ],
)
def test_bounds_of_the_source_half_bound_the_estimate(
    server: FaultServer, corpus: Path, arrange: Any, records: int | None
) -> None:
    """Without reading as much as they stand for."""
    stream = arrange(tm.read(f"{corpus}/*.jsonl"))
    if records is None:
        records = 2 * sum(map(is_long, tm.read(f"{corpus}/*.jsonl")))
    estimate = stream.generate(make(server), "{{ text }}", max_tokens=9).estimate()
    assert estimate.records == pytest.approx(records, rel=0.05)


def test_a_demand_behind_the_calls_bounds_it_and_so_does_a_limit(server: FaultServer, corpus: Path) -> None:
    stream = tm.read(f"{corpus}/*.jsonl").generate(make(server), "{{ text }}", max_tokens=9)
    assert stream.take(30).estimate().calls == 30
    assert stream.estimate(limit=20).calls == 20
    assert stream.job(corpus / "out").estimate(limit=20) == stream.estimate(limit=20)


def test_any_rows_of_a_dataset_are_taken(server: FaultServer, corpus: Path) -> None:
    stream = tm.dataset(f"{corpus}/5.jsonl").shuffle(seed=1)[:200].generate(make(server), "{{ text }}", max_tokens=9)
    estimate = stream.estimate(records=20)
    assert (estimate.records, estimate.sampled) == (200, 20)
    assert estimate == stream.estimate(records=20)
    assert estimate != stream.estimate(records=20, seed=1)


def test_what_cannot_be_estimated_is_told(server: FaultServer, corpus: Path) -> None:
    with pytest.raises(tm.ConfigError, match="no step makes calls"):
        tm.read(f"{corpus}/*.jsonl").estimate()
    once = tm.from_iterable({"text": "a"} for _ in range(3)).generate(make(server), "{{ text }}")
    with pytest.raises(tm.ConfigError, match="this generator can be gone through only once"):
        once.estimate()
    assert len(list(once)) == 3
    with pytest.raises(tm.DataError, match=r"none\.jsonl"):
        tm.read(f"{corpus}/none.jsonl").generate(make(server), "{{ text }}").estimate()
    with pytest.raises(tm.StateError, match="expected a run"):
        tm.read(f"{corpus}/*.jsonl").generate(make(server), "{{ text }}").estimate(run=corpus)


def test_a_source_that_does_not_say_how_much_there_is_gives_what_was_read(server: FaultServer) -> None:
    def endless() -> Iterator[dict[str, str]]:
        while True:
            yield {"text": "a" * 40}

    stream = tm.from_iterable(endless).generate(make(server), "{{ text }}", max_tokens=9)
    estimate = stream.estimate(seconds=0.01)
    assert estimate.is_partial
    assert "how many there are in all is not known" in repr(estimate)
    one_in_two = tm.from_iterable(endless).every(2).generate(make(server), "{{ text }}", max_tokens=9)
    half = one_in_two.estimate(seconds=0.01)
    assert half.records == (half.read + 1) // 2  # what came out, and not what was read
    bounded = stream.estimate(seconds=0.01, limit=10_000)
    assert (bounded.records, bounded.is_partial) == (10_000, False)


def test_an_estimate_is_read_in_a_few_lines(server: FaultServer, corpus: Path) -> None:
    stream = tm.read(f"{corpus}/*.jsonl").generate(make(server), "{{ text }}", max_tokens=64)
    lines = stream.estimate(seconds=60).describe()
    assert lines[0] == "1,050 records, 1,050 calls"
    assert lines[2:] == [
        "generate: tokens in by 4 bytes a token; tokens out up to max_tokens",
        "from 200 of 1,050 records read",
    ]
    assert json.loads(json.dumps(stream.estimate(seconds=60).to_dict()))["records"] == 1_050


def test_a_sample_is_the_same_for_the_same_seed(corpus: Path) -> None:
    """Where all of the source is read; every record has the same chance to be in it."""
    source = tm.read(f"{corpus}/*.jsonl").source
    one, same, other = (sample_source(source, (), SampleLimits(seconds=60, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.records != other.records
    assert (one.total, one.is_whole, one.read) == (1_050, True, 1_050)


@given(st.integers(1, 60), st.integers(1, 50))
def test_no_more_is_kept_than_asked_for(size: int, most: int) -> None:
    sample = sample_source(FromIterable(iterable=list(range(size))), (), SampleLimits(records=most, seconds=60))
    assert len(sample.records) == min(size, most)
    assert set(sample.records) <= set(range(size))
    assert sample.total == size


@given(
    st.floats(0.01, 50),
    st.floats(0.01, 50),
    st.lists(st.tuples(st.integers(1, 9_000), st.integers(0, 900)), min_size=1),
)
def test_cost_is_what_the_calls_cost_one_by_one(input_rate: float, output_rate: float, usages: Any) -> None:
    pricing = Pricing(tm.Price(round(input_rate, 4), round(output_rate, 4)))
    one_by_one = math.fsum(pricing.cost(Usage(*usage)).usd for usage in usages)
    inputs, outputs = (sum(column) for column in zip(*usages, strict=True))
    assert price_tokens(pricing, len(usages), inputs, outputs) == pytest.approx(one_by_one, rel=1e-6)


class Deep(BaseModel):
    name: str = Field(min_length=3)
    kinds: list[Literal["long one", "b"]] = Field(min_length=2)
    inner: Label
    count: int
    maybe: bool | None
    left_out: str = ""


def test_a_reply_is_at_least_the_shortest_json_of_its_schema() -> None:
    schema = Deep.model_json_schema()
    least = json.loads(least_json(schema, schema))
    assert least["kinds"] == ["b", "b"]
    assert least["inner"]["sentiment"] in ("positive", "negative")
    assert "left_out" not in least
    assert Deep.model_validate(least).count == 0


def test_a_stand_in_has_every_field() -> None:
    from tidemill.config.types.templates import Template

    assert Template("{{ a }} {{ a.b }} {{ a.b.c }} {{ a['d'] | upper }}").render({"a": StandIn()}) == (
        "value value value VALUE"
    )


def test_few_records_of_a_run_say_nothing(server: FaultServer, corpus: Path) -> None:
    stream = tm.read(f"{corpus}/0.jsonl").generate(make(server), "{{ text }}", max_tokens=9)
    nodes = tuple(stream.pipeline.nodes)
    few = {"generate": Measured(19, 1.0, 1_000.0, 1_000.0, 1.0)}
    assert estimate_calls(stream.source, nodes, folder=corpus, measured=few) == stream.estimate()


def test_a_run_is_measured_without_its_lock(server: FaultServer, corpus: Path) -> None:
    stream = tm.read(f"{corpus}/0.jsonl").generate(make(server), "{{ text }}", max_tokens=9)
    report = stream.write(corpus / "out", progress=False)
    folder = locate_run(corpus / "out")
    (measured,) = measure_run(folder).values()
    assert (measured.records, measured.calls) == (50, 1.0)
    assert measured.input_tokens * 50 == pytest.approx(report.calls["input_tokens"])
    assert measure_run(locate_run(corpus / "out")) == {"generate": measured}


JOB = """
source: {{path: "*.jsonl"}}
models:
  fast: {{model: openai/any, base_url: "{base_url}", api_key: none, price: {{input: 0.15, output: 0.6}}}}
steps:
  - generate: {{model: fast, prompt: "Label: {{{{ text }}}}", max_tokens: 64}}
sink: {{path: out}}
"""


def test_check_prints_it_and_the_runs_report_compares(tidemill_command: Any, server: FaultServer, corpus: Path) -> None:
    (corpus / "job.yaml").write_text(JOB.format(base_url=server.base_url))
    checked = tidemill_command("check", "job.yaml")
    assert checked.code == 0, checked.err
    assert "1,050 records, 1,050 calls\n" in checked.out
    assert "tokens in by 4 bytes a token; tokens out up to max_tokens\n" in checked.out
    assert "tokens in" not in tidemill_command("check", "job.yaml", "--no-estimate").out
    assert server.requests == 0
    ran = tidemill_command("run", "job.yaml")
    assert ran.code == 0, ran.err
    assert "estimated before: 1,050 calls (came to that), " in ran.out
    assert "tokens out (came to within), " in ran.out
    assert "estimated before: 1,050 calls" in tidemill_command("status", "job.yaml").out
    assert "as 1,050 records came to in the run" in tidemill_command("check", "job.yaml").out
