"""A user's job on scripted replies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.testing import Asked, UnansweredError, error_response, run

JOB = """
source: {path: "*.jsonl"}
steps:
  - filter: my_steps:is_long
  - generate: {model: openai/any, prompt: "Label: {{ text }}", output: my_steps:Label, into: label, max_tokens: 9}
  - generate: {model: openai/gpt-4.1, name: reason, prompt: "Why {{ label.topic }}?", max_tokens: 9, into: why}
budget: {tokens: 100000}
sink: {path: out}
"""
STEPS = """
from pydantic import BaseModel

class Label(BaseModel):
    topic: str

def is_long(record):
    return len(record["text"]) > 3
"""
GOOD = {"generate": {"topic": "batteries"}, "reason": lambda asked: f"because {asked.prompt}"}


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    (tmp_path / "my_steps.py").write_text(STEPS)
    (tmp_path / "a.jsonl").write_text('{"text": "long enough"}\n{"text": "no"}\n')
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path / "job.yaml"


def labelled(count: int = 3, model: str = "openai/gpt-4.1-mini", **fields: Any) -> tm.Stream[dict[str, Any]]:
    """A stream of records that are labelled one at a time, so that replies in turn go to them in order."""
    given = tm.model(model, limits=tm.Limits(concurrency=1, requests_per_minute=6))
    records = [{"text": f"review {number}"} for number in range(count)]
    return tm.from_iterable(records).generate(
        given, prompt="Label: {{ text }}", output=Label, into="label", max_tokens=64, **fields
    )


POSITIVE = {"sentiment": "positive", "topic": "batteries"}


def test_a_job_file_runs_without_network_keys_or_a_folder(job_file: Path) -> None:
    """Its own steps, checks and schemas; each step has the replies of its name, and tells what it asked."""
    before = sorted(job_file.parent.iterdir())
    seen = tm.testing.run(job_file, GOOD)
    assert seen.records == [
        {"text": "long enough", "label": {"topic": "batteries"}, "why": "because Why batteries?"},
    ]
    assert [asked.prompt for asked in seen.calls["generate"]] == ["Label: long enough"]
    assert seen.calls["reason"][0].messages == [{"role": "user", "content": "Why batteries?"}]
    assert (seen.report.outcome, seen.report.records["dropped"], seen.quarantined) == ("finished", 1, [])
    assert sorted(path for path in job_file.parent.iterdir() if path.name != "__pycache__") == before


def test_records_may_take_the_place_of_the_source(job_file: Path) -> None:
    """And overrides that of what the file says."""
    records = [{"text": f"record {number}"} for number in range(20)]
    seen = run(job_file, GOOD, records=records, overrides=["steps.1.generate.prompt='Name: {{ text }}'"], limit=12)
    assert [record["text"] for record in seen.records] == [record["text"] for record in records[:12]]
    assert seen.calls["generate"][3].prompt == "Name: record 3"
    assert seen.report.outcome == "limit"


def test_a_job_a_description_and_a_stream_are_one(job_file: Path, tmp_path: Path) -> None:
    job = tm.load_job(job_file)
    assert run(job, GOOD).records == run(job.spec, GOOD).records == run(job_file, GOOD).records
    assert run(labelled(), {"generate": Label(**POSITIVE)}).records[2] == {"text": "review 2", "label": POSITIVE}
    with pytest.raises(tm.ConfigError, match="overrides are put in over a job file"):
        run(job, GOOD, overrides=["max_errors=3"])


def test_replies_in_turn_are_given_in_the_order_of_the_requests() -> None:
    """A reply that does not fit is asked again with what is wrong; a transient failure is another attempt."""
    replies = [
        tm.TransientCallError("cut"),
        error_response(429, headers={"retry-after": "300"}),
        {"sentiment": "good", "topic": "x"},
        "no JSON at all",
        POSITIVE,
        TimeoutError("late"),
        {**POSITIVE, "topic": "screens"},
    ]
    seen = run(labelled(2), {"generate": replies})
    assert [record["label"]["topic"] for record in seen.records] == ["batteries", "screens"]
    asked = seen.calls["generate"]
    assert [request.number for request in asked] == list(range(7))
    assert asked[0].body == asked[1].body == asked[2].body
    assert "sentiment" in asked[3].prompt
    assert len(asked[3].messages) == 3
    assert (seen.report.calls["calls"], seen.report.calls["attempts"]) == (4, 7)
    assert seen.report.elapsed_s < 60, "five minutes of waiting and ten seconds a request took no time"


def test_an_exception_fails_the_records_that_it_answers() -> None:
    """Quarantined with their reason, as in a run."""

    def reply(asked: Asked) -> Any:
        return tm.PermanentCallError("too rude") if "1" in asked.prompt else POSITIVE

    seen = run(labelled(), {"generate": reply})
    assert [record["text"] for record in seen.records] == ["review 0", "review 2"]
    (failed,) = seen.quarantined
    assert (failed["step"], failed["value"]) == ("generate", {"text": "review 1"})
    assert failed["error"].startswith("PermanentCallError: too rude")
    always = run(labelled(), {"generate": tm.PermanentCallError})
    assert (len(always.records), len(always.quarantined), always.report.exit_code) == (0, 3, 1)


def test_a_refused_key_stops_the_run() -> None:
    """As it would: nothing is quarantined."""
    seen = run(labelled(), {"generate": error_response(401)})
    assert (seen.report.outcome, seen.report.exit_code, seen.quarantined) == ("failed", 3, [])


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ({}, 'step `generate` asked, and no reply was given for it: Label: review 0\n  give it one: .*"generate": …'),
        ({"generate": [POSITIVE]}, r"step `generate` asked once more than it has replies \(1\): Label: review 1"),
    ],
)
def test_a_request_without_a_reply_is_an_error_of_the_test(replies: dict[str, Any], said: str) -> None:
    """It names the step and shows the request; pytest shows it as a failed assertion."""
    with pytest.raises(UnansweredError, match=said) as raised:
        run(labelled(), replies)
    assert isinstance(raised.value, AssertionError)


def test_what_a_reply_s_own_function_raises_is_raised() -> None:
    """It is the test that is wrong, not a record."""

    def broken(asked: Asked) -> Any:
        raise KeyError("topic")

    with pytest.raises(KeyError, match="topic"):
        run(labelled(), {"generate": broken})


def test_a_reply_for_no_step_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(tm.ConfigError, match=r"that asks is called `generat`\n  did you mean `generate`\?"):
        run(labelled(), {"generat": POSITIVE})


def test_what_is_wrong_with_a_job_is_told_as_check_would(job_file: Path) -> None:
    with pytest.raises(tm.ConfigError, match="the column `label` is written by step `generate` already"):
        run(job_file, GOOD, overrides=["steps.2.generate.into=label"])
    job_file.write_text(JOB.replace("label.topic", "label.topik"))
    with pytest.raises(tm.ConfigError, match=r"job.yaml:6:\d+ .*`topik`"):
        run(job_file, GOOD)


def test_a_folder_keeps_what_was_run(tmp_path: Path) -> None:
    """Rehearsed again, it goes on."""
    first = run(labelled(), {"generate": POSITIVE}, folder=tmp_path, limit=2)
    assert len(tm.dataset(tmp_path / "out")) == len(first.records) == 2
    again = run(labelled(), {"generate": POSITIVE}, folder=tmp_path)
    assert (len(again.records), len(again.calls["generate"])) == (3, 1)


def test_many_records_are_answered_in_no_time() -> None:
    """Also at a concurrency that is found out: replies that take no time at all are no sign of a queue."""
    records = [{"text": f"review {number}"} for number in range(500)]
    stream = tm.from_iterable(records).generate("openai/any", prompt="{{ text }}", into="a")
    seen = run(stream, {"generate": lambda asked: asked.prompt.upper()})
    assert (len(seen.records), len(seen.quarantined)) == (500, 0)


async def test_it_works_inside_a_running_loop() -> None:
    seen = run(labelled(), {"generate": POSITIVE})
    assert len(seen.records) == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    "model",
    ["openai/gpt-4.1", "groq/llama-3", "local/smollm2", "anthropic/claude-sonnet-4-5", "litellm/bedrock/any"],
)
def test_any_provider_s_model_is_answered(model: str) -> None:
    """In its own format, without its key, its server or its package."""
    seen = run(labelled(model=model), {"generate": [POSITIVE, "no JSON", POSITIVE, POSITIVE]})
    assert [record["label"] for record in seen.records] == [POSITIVE] * 3
    assert len(seen.calls["generate"]) == 4
    asked = seen.calls["generate"][0]
    assert asked.prompt == "Label: review 0"
    assert asked.body is not None
    assert asked.body["model"] == model.partition("/")[2]
    assert seen.report.calls["input_tokens"] > 0


def never(record: dict[str, Any]) -> None:
    raise AssertionError("it was to be answered by the script")


@pytest.mark.parametrize(
    ("reply", "dimensions", "told"),
    [
        ("oops", None, 'of an `embed` is a list of numbers, or how many are to follow from the text, got "oops"'),
        (lambda asked: ["a"], None, "is a list of numbers, .* got a list of 1"),
        (lambda asked: {"vector": [1.0]}, None, "is a list of numbers, .* got a mapping"),
        (True, None, "is a list of numbers, .* got true"),
        (0, None, "is a list of numbers, .* got 0"),
        ([1.0, 2.0], 3, "expected a vector of 3 numbers, as all of its step have, got one of 2"),
        (
            lambda asked: [1.0] * (2 + asked.number // 2),
            None,
            "step `embed`, request 2: expected a vector of 2 numbers, as all of its step have, got one of 3",
        ),
    ],
)
def test_a_reply_that_is_no_vector_is_told_with_what_one_is(reply: Any, dimensions: int | None, told: str) -> None:
    records = tm.from_iterable([{"text": f"review {number}"} for number in range(3)])
    stream = records.embed("openai/text-embedding-3-small", column="text", dimensions=dimensions)
    with pytest.raises(tm.ConfigError, match=told):
        run(stream, {"embed": reply})


def test_every_kind_of_step_that_asks_is_answered() -> None:
    """Vectors, functions, samples, streams, and the branches of a `gather`."""
    stream = (
        tm.from_iterable([{"text": f"review {number}"} for number in range(3)])
        .embed("openai/text-embedding-3-small", column="text", into="vector")
        .embed("openai/text-embedding-3-small", column="text", into="short", name="short")
        .call(never, into="hit")
        .generate("anthropic/claude-sonnet-4-5", prompt="{{ text }}", into="loud", stream=True, max_tokens=9)
        .generate("openai/any", prompt="{{ text }}", into="samples", n=2, name="sample")
        .gather(user={"call": never}, why={"generate": {"model": "openai/any", "prompt": "Why {{ text }}?"}})
    )
    replies = {
        "embed": lambda asked: [float(asked.prompt[-1]), 1.0],
        "short": 5,
        "call": lambda asked: {"found": asked.record["text"]},
        "generate": lambda asked: asked.prompt.upper(),
        "sample": "the same",
        "gather.user": {"name": "Ada"},
        "gather.why": [f"because {number}" for number in range(3)],
    }
    seen = run(stream, replies)
    assert not seen.quarantined
    last = seen.records[2]
    assert (last["vector"], len(last["short"])) == ([2.0, 1.0], 5)
    assert (last["hit"], last["loud"], last["samples"]) == ({"found": "review 2"}, "REVIEW 2", ["the same"] * 2)
    assert last["user"] == {"name": "Ada"}
    assert {record["why"] for record in seen.records} == {"because 0", "because 1", "because 2"}
    assert {name: len(asked) for name, asked in seen.calls.items()} == {
        **dict.fromkeys(replies, 3),
        "sample": 6,
    }


def test_a_function_that_no_reply_is_given_for_is_called() -> None:
    """It is the user's own code, and may need nothing from outside."""
    stream = tm.from_iterable([{"text": "a"}]).call(lambda record: record["text"] * 3, into="more")
    assert run(stream, {}).records == [{"text": "a", "more": "aaa"}]


def test_usage_is_counted_and_a_budget_held() -> None:
    """Four bytes to a token, as the fault server has it."""
    whole = run(labelled(30), {"generate": POSITIVE})
    tokens = whole.report.calls["input_tokens"] + whole.report.calls["output_tokens"]
    assert tokens > 0
    job = labelled(30).job("unused", budget=tm.Budget(tokens=tokens // 2))
    part = run(job, {"generate": POSITIVE})
    assert (part.report.outcome, part.report.exit_code) == ("failed", 3)
    assert 0 < len(part.records) < 30
