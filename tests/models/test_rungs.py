"""The ladder that a typed reply is asked for by: which rung, what it costs, and that it is the same each time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.models.structured.ladder import find_abilities, find_dialect
from tidemill.models.structured.plan import SCHEMA_INSTRUCTION, plan_output
from tidemill.testing import Fault, Faults, FaultServer, ToolCalls
from tidemill.view.calls import iter_call_lines


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=20)


class Scores(BaseModel):
    """Nothing that OpenAI or Anthropic hold a reply to."""

    scores: dict[str, int]


GOOD = '{"sentiment": "positive", "topic": "shoes"}'
FENCED = f"```json\n{GOOD}\n```"
BAD = '{"sentiment": "fine", "topic": "shoes"}'
NAMES = {"openai": "openai/gpt-4.1-mini", "anthropic": "anthropic/claude-haiku-4-5"}


def model_at(server: FaultServer, name: str = NAMES["openai"], **fields: Any) -> tm.Model:
    return tm.model(name, base_url=server.base_url, api_key="key-for-test", **fields)


def script(*contents: str | ToolCalls) -> Faults:
    """The replies in turn, the last one for ever."""

    def answer(call: Any) -> Fault:
        content = contents[min(call.number, len(contents)) - 1]
        if isinstance(content, ToolCalls):
            return Fault("reply", tool_calls=content.calls)
        return Fault("reply", content=content)

    return Faults(script=answer)


@pytest.mark.parametrize(
    ("name", "fields", "dialect"),
    [
        ("openai/gpt-4.1-mini", {}, "openai"),
        ("groq/llama", {}, "openai"),
        ("acme/m", {"base_url": "http://far/v1"}, "openai"),
        ("litellm/anthropic/claude", {}, "openai"),
        ("gemini/gemini-flash", {}, "gemini"),
        ("anthropic/claude", {}, "anthropic"),
        ("acme/m", {"base_url": "http://far/v1", "wire_format": "anthropic"}, "anthropic"),
        ("local/smollm2", {}, "llama.cpp"),
        ("local/smollm2", {"base_url": "http://far/v1"}, "openai"),
    ],
)
def test_the_dialect_follows_from_the_description(name: str, fields: dict[str, Any], dialect: str) -> None:
    assert find_dialect(tm.model(name, **fields)) == dialect


@pytest.mark.parametrize(
    ("name", "fields", "output", "rung"),
    [
        ("openai/m", {}, Label, "schema"),
        ("openai/m", {}, Scores, "tool"),
        ("openai/m", {"replies": "prompt"}, Label, "prompt"),
        ("openai/m", {"replies": "tool"}, Label, "tool"),
        ("openai/m", {"replies": "schema"}, Scores, "schema"),
        ("gemini/m", {}, Scores, "schema"),
        ("anthropic/m", {}, Label, "schema"),
        ("anthropic/m", {}, Scores, "tool"),
        ("anthropic/m", {"params": {"thinking": {"type": "enabled", "budget_tokens": 1_024}}}, Scores, "prompt"),
        ("acme/m", {"base_url": "http://far/v1", "wire_format": "anthropic"}, Label, "tool"),
        ("local/smollm2", {}, Scores, "schema"),
    ],
)
def test_the_rung_follows_from_model_and_output(name: str, fields: dict[str, Any], output: Any, rung: str) -> None:
    model = tm.model(name, **fields)
    assert plan_output(output, find_abilities(model, {})).rung == rung


def test_a_model_that_has_tools_to_call_is_not_made_to_call_one_for_its_reply() -> None:
    for replies in (None, "tool"):
        model = tm.model("openai/m", replies=replies)
        assert plan_output(Scores, find_abilities(model, {}, has_tools=True)).rung == "prompt"


def test_a_schema_asked_for_though_it_is_forbidden_goes_along_unenforced(fault_server: FaultServer) -> None:
    with model_at(fault_server, replies="schema") as model:
        assert model("Score it.", output=Scores, max_reasks=0).scores
    anthropic = tm.model("anthropic/m", replies="schema", api_key="key-for-test")
    told = r"replies is `schema`, and Anthropic takes no such schema: `\$\.scores` has keys"
    with anthropic, pytest.raises(tm.ConfigError, match=told):
        anthropic("Score it.", output=Scores, max_tokens=9)


@pytest.mark.parametrize("name", NAMES.values())
def test_the_prompt_tells_the_schema_behind_the_system_message(name: str) -> None:
    with FaultServer(keep_calls=True) as server, model_at(server, name, replies="prompt") as model:
        assert model("Rate it.", system="Be kind.", output=Label, max_tokens=99, max_reasks=0).topic
        payload = server.calls[0].payload
    if "system" in payload:
        told, own = (block["text"] for block in payload["system"])
    else:
        [system, user] = payload["messages"]
        assert user == {"role": "user", "content": "Rate it."}
        own, told = system["content"].split("\n\n", 1)
    assert own == "Be kind."
    assert told.startswith(SCHEMA_INSTRUCTION)
    assert orjson.loads(told.removeprefix(SCHEMA_INSTRUCTION))["required"] == ["sentiment", "topic"]


@pytest.mark.parametrize("name", NAMES.values())
@pytest.mark.parametrize("replies", [None, "tool", "prompt"])
def test_a_reply_that_does_not_fit_is_asked_again_by_the_same_rung(name: str, replies: Any) -> None:
    """With what is wrong with the last one only: the turns before are the first ask's, whatever came between."""
    answers = [BAD, '{"sentiment": "fine"}', GOOD]
    contents = [ToolCalls(("reply", each)) for each in answers] if replies == "tool" else answers
    server = FaultServer(keep_calls=True, faults=script(*contents))
    with server, model_at(server, name, replies=replies) as model:
        assert model("Rate it.", output=Label, max_tokens=99) == Label(sentiment="positive", topic="shoes")
        first, second, third = (call.payload for call in server.calls)
    for payload, last, told in ((second, BAD, "$.sentiment"), (third, answers[1], "$.topic: missing key")):
        *before, answer, complaint = payload["messages"]
        assert before == first["messages"]
        assert answer["role"] == "assistant"
        assert orjson.loads(answer["content"]) == orjson.loads(last)
        assert told in complaint["content"]
        assert {key: value for key, value in payload.items() if key != "messages"} == {
            key: value for key, value in first.items() if key != "messages"
        }


def test_the_report_tells_the_rungs_their_repairs_and_re_asks_apart(tmp_path: Path) -> None:
    """Over a whole run; what is recalled from its ledger on the way is not counted again."""
    contents = {"one": [GOOD], "two": [FENCED], "three": [BAD, GOOD], "four": [BAD, BAD, f"Sure: {GOOD}"]}

    asked: Counter[str] = Counter()

    def reply(call: Any) -> str:
        text = call.payload["messages"][0]["content"]
        asked[text] += 1
        return contents[text][asked[text] - 1]

    with FaultServer(reply=reply) as server:
        model = model_at(server, price=tm.Price(1, 2))
        stream = tm.from_iterable([{"text": text} for text in contents])
        stream = stream.generate(model, prompt="{{ text }}", output=Label, into="label", max_tokens=50)
        report = stream.write(str(tmp_path / "out"), progress=False)
        again = stream.write(str(tmp_path / "out"), progress=False)
    assert report.records["landed"] == 4
    shares = report.calls["shares"]
    assert set(shares) == {"generate/schema", "generate/schema/re-ask"}
    first, more = shares["generate/schema"], shares["generate/schema/re-ask"]
    assert (first["calls"], first["counts"]) == (4, {"repaired": 1})
    assert (more["calls"], more["counts"]) == (3, {"repaired": 1})
    for name in ("input_tokens", "output_tokens", "usd"):
        assert first[name] + more[name] == pytest.approx(report.calls[name])
    [line] = [line for line in iter_call_lines(report.calls) if line.startswith("generate/schema")]
    assert "4 calls" in line
    assert "3 re-asks" in line
    assert again.calls["shares"] == shares


def test_a_client_tells_them_apart_as_well(fault_server: FaultServer) -> None:
    fault_server.faults = script(BAD, FENCED)
    with model_at(fault_server).open() as client:
        client("Rate it.", output=Label)
        shares = client.calls["shares"]
    assert {label: (share["calls"], share["counts"]) for label, share in shares.items()} == {
        "schema": (1, {}),
        "schema/re-ask": (1, {"repaired": 1}),
    }


@pytest.mark.parametrize(
    ("message", "replies", "mend"),
    [
        ("response_format is not supported by this model", None, "replies of the model to `tool` or `prompt`"),
        ("tool_choice is not supported", "tool", "replies of the model to `prompt`"),
        ("the input is too long", None, ""),
        ("response_format is not supported", "prompt", ""),
    ],
)
def test_an_endpoint_that_does_not_take_a_rung_is_told_with_the_mend(message: str, replies: Any, mend: str) -> None:
    faults = Faults(script=lambda _: Fault("status", status=400, content=message))
    with (
        FaultServer(faults=faults) as server,
        model_at(server, replies=replies) as model,
        pytest.raises(tm.PermanentCallError, match=message) as caught,
    ):
        model("Rate it.", output=Label)
    assert mend in caught.value.hint
    assert ("replies" in caught.value.hint) == bool(mend)


def test_check_notes_what_no_provider_holds_replies_to(tmp_path: Path) -> None:
    from tidemill.jobs.spec.notes import find_notes

    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "job.yaml").write_text(
        "source: {path: a.jsonl}\n"
        "models: {m: openai/m, told: {model: openai/m, replies: prompt}}\n"
        "steps:\n"
        "  - generate: {model: m, prompt: '{{ text }}', output: test_rungs:Label, into: label, name: label}\n"
        "  - generate: {model: m, prompt: '{{ text }}', output: test_rungs:Scores, into: scores, name: score}\n"
        "  - generate: {model: told, prompt: '{{ text }}', output: test_rungs:Label, into: b, name: told}\n"
        "sink: {path: out, format: jsonl}\n"
    )
    lost = "`maxLength` at $.topic"
    assert find_notes(tm.load_job(tmp_path / "job.yaml").spec) == [
        f"step `label`: the provider does not hold replies to {lost}: each reply is checked when it is there",
        "step `score`: replies are asked for as the call of a tool: `$.scores` has keys of any name",
        "step `told`: replies are asked for by the system prompt",
    ]


def test_a_job_s_outputs_are_schema_files_and_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Asked for, checked, landed in columns, and the job written out again names the file."""
    schema = {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "n": {"type": "integer"}},
        "required": ["n"],
    }
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "label.json").write_bytes(orjson.dumps(schema))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    with FaultServer() as server:
        (tmp_path / "job.yaml").write_text(
            "source: {path: a.jsonl}\n"
            f"models: {{m: {{model: openai/m, base_url: '{server.base_url}', api_key: key-for-test}}}}\n"
            "steps:\n"
            "  - generate: {model: m, prompt: '{{ text }}', output: schemas/label.json, into: label}\n"
            "sink: {path: out}\n"
        )
        job = tm.load_job(tmp_path / "job.yaml")
        assert job.run(progress=False).records["landed"] == 2
    for row in tm.dataset(str(tmp_path / "out")):
        assert type(row["label"]["n"]) is int
    assert "output: schemas/label.json" in job.to_yaml()
