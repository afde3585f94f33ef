"""The `generate` step against a real server: what it sends, and what it makes of every kind of reply."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from labels import GOOD, Label

import tidemill as tm
from tidemill.calls.wire import Request
from tidemill.models.formats.openai import ChatEndpoint
from tidemill.models.messages import Reply
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.generator import MAX_THREADS, Generator
from tidemill.testing import Call, Fault, Faults, FaultServer


def ask(server: FaultServer, record: dict[str, Any] | None = None, **fields: Any) -> Any:
    """The value one `generate` step puts into its column."""
    model = fields.pop("model", {})
    given = {
        "model": tm.model("openai/any", **{"base_url": server.base_url, "api_key": "none", **model}),
        "prompt": "About {{ text }}",
        "into": "value",
        **fields,
    }
    return tm.Pipeline([Generate(**given)])(record or {"text": "shoes"})["value"]


def replies(*contents: str) -> Faults:
    """The contents of the replies, in turn; the last one for ever."""
    return Faults(script=lambda call: Fault("reply", content=contents[min(call.number, len(contents)) - 1]))


def test_without_an_output_the_column_holds_the_text(server: FaultServer) -> None:
    server.faults = replies("  as it came\n")
    assert ask(server) == "  as it came\n"


def test_with_an_output_the_column_holds_its_json_form(server: FaultServer) -> None:
    server.faults = replies(GOOD)
    assert ask(server, output=Label) == {"sentiment": "positive", "topic": "shoes"}
    assert server.requests == 1


def test_the_whole_request(server: FaultServer) -> None:
    """Typed parameters, then what is passed through verbatim, then the schema."""
    ask(
        server,
        system="Be {{ tone }}.",
        record={"text": "shoes", "tone": "kind"},
        output=Label,
        max_tokens=60,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=("\n", "END"),
        params={"logit_bias": {"50256": -100}, "top_k": 4},
        model={"params": {"service_tier": "flex", "top_k": 3}, "headers": {"X-Team": "a, b"}},
    )
    [call] = server.calls
    assert call.path == "/v1/chat/completions"
    assert call.headers["x-team"] == "a, b"
    assert call.headers["authorization"] == "Bearer none"
    body = orjson.loads(call.body)
    assert body.pop("response_format")["json_schema"]["schema"]["properties"]["topic"] == {
        "type": "string",
        "description": "{maxLength: 10}",
    }
    assert body == {
        "model": "any",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "About shoes"}],
        "max_tokens": 60,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n", "END"],
        "service_tier": "flex",
        "top_k": 4,
        "logit_bias": {"50256": -100},
    }


def test_equal_inputs_give_equal_requests_byte_for_byte(server: FaultServer) -> None:
    """In another process too: nothing in a request depends on time, order of hashing or chance."""
    for key in ("one", "two"):
        ask(server, output=Label, params={"b": 1, "a": {"z": 1, "y": 2}}, model={"api_key": key})
    first, second = server.calls
    assert first.body == second.body
    assert first.body.startswith(
        b'{"model":"any","messages":[{"role":"user","content":"About shoes"}],"b":1,"a":{"z":1'
    )


def test_a_reply_that_does_not_fit_is_asked_again_with_just_the_failing_paths(server: FaultServer) -> None:
    bad = '{"sentiment": "fine", "topic": "much too long a topic", "more": 1}'
    server.faults = replies(bad, GOOD)
    assert ask(server, output=Label)["topic"] == "shoes"
    first, second = (call.payload["messages"] for call in server.calls)
    assert second[:1] == first
    assert second[1] == {"role": "assistant", "content": bad}
    assert second[2] == {
        "role": "user",
        "content": "These parts of your reply are wrong:\n"
        '- $.sentiment: expected `positive` or `negative`, got "fine"\n'
        '- $.topic: expected text of at most 10 characters, got "much too long a topic" (21 characters)\n'
        "Answer again with the whole corrected JSON only.",
    }


def test_only_the_last_reply_is_shown_to_the_model(server: FaultServer) -> None:
    """A conversation that grew with each ask would cost more each time."""
    server.faults = replies("one", "two", GOOD)
    ask(server, output=Label)
    assert [len(call.payload["messages"]) for call in server.calls] == [1, 3, 3]
    assert server.calls[2].payload["messages"][1]["content"] == "two"


@pytest.mark.parametrize("most", [0, 1, 3])
def test_it_is_asked_again_at_most_so_often(server: FaultServer, most: int) -> None:
    server.faults = replies('{"sentiment": "fine"}')
    with pytest.raises(tm.PermanentCallError, match=f"no reply fitted the output in {most + 1} asks?;") as caught:
        ask(server, output=Label, max_reasks=most)
    assert server.billed == most + 1
    assert '$.sentiment: expected `positive` or `negative`, got "fine"' in str(caught.value)
    assert "$.topic: missing key (text of at most 10 characters)" in str(caught.value)
    assert 'it was: \'{"sentiment": "fine"}\'' in str(caught.value)
    assert caught.value.of == "record"


def test_a_text_around_the_json_costs_no_other_call(server: FaultServer) -> None:
    server.faults = replies(f"Sure! {GOOD}")
    assert ask(server, output=Label)["topic"] == "shoes"
    assert server.billed == 1


def test_text_that_can_mean_two_things_is_told_to_be_no_json(server: FaultServer) -> None:
    server.faults = replies(f"Either {GOOD} or {GOOD}", GOOD)
    ask(server, output=Label)
    assert "not valid JSON" in server.calls[1].payload["messages"][2]["content"]


@pytest.mark.parametrize(("bound", "where"), [({"max_tokens": 9}, "at max_tokens=9"), ({}, "for its length")])
def test_a_reply_cut_at_its_ceiling_is_told_as_such(server: FaultServer, bound: dict[str, Any], where: str) -> None:
    """The bound is named where the step set one."""
    server.faults = Faults(script=lambda call: Fault("truncated") if call.number == 1 else None)
    ask(server, output=Label, **bound)
    complaint = server.calls[1].payload["messages"][2]["content"]
    assert complaint.startswith(f"Your reply was cut off {where}: answer more briefly.")


def test_a_text_cut_at_its_ceiling_is_kept(server: FaultServer) -> None:
    """Without a schema nobody can say that it is not what was wanted."""
    server.faults = Faults(script=lambda call: Fault("truncated", content="half a word"))
    assert ask(server, max_tokens=2) == "half "


@pytest.mark.parametrize("output", [None, Label])
def test_a_refusal_fails_the_record_at_once(server: FaultServer, output: Any) -> None:
    server.faults = Faults(matching=[("About", Fault("refusal", content="I would rather not"))])
    with pytest.raises(tm.PermanentCallError, match="the model refused: I would rather not"):
        ask(server, output=output)
    assert server.billed == 1


@pytest.mark.parametrize("kind", ["refusal", "reply", "error"])
def test_half_a_key_is_in_no_error(server: FaultServer, kind: Any) -> None:
    """What a model wrote is masked before it is cut: a key across the cut leaves nothing behind."""
    for place in (60, 70, 185, 195):
        fault = Fault(kind, status=400, content=f"{'x' * place}canary-0123456789 it was")
        server.faults = Faults(matching=[("", fault)])
        with pytest.raises(tm.CallError, match="xxx") as caught:
            ask(server, output=Label, max_reasks=0, model={"api_key": "canary-0123456789"})
        assert "canary" not in str(caught.value)


def test_a_missing_column_is_the_record_s_failure(server: FaultServer) -> None:
    with pytest.raises(tm.DataError, match="no column `text`; this record has `texts`"):
        ask(server, {"texts": "shoes"})
    assert server.requests == 0


def test_a_failing_attempt_is_no_ask(server: FaultServer) -> None:
    """Retries are of the call, re-asks of the reply: neither counts towards the other's bound."""

    def script(call: Call) -> Fault | None:
        return Fault("status", status=503) if call.times == 1 else Fault("reply", content="no JSON")

    server.faults = Faults(script=script)
    with pytest.raises(tm.PermanentCallError, match="in 2 asks"):
        ask(server, output=Label, max_reasks=1)
    assert (server.requests, server.billed) == (4, 2)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.05}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"params": {"messages": []}}, "`params` must not set `messages`"),
        ({"params": {"response_format": {}}}, "`params` must not set `response_format`"),
        ({"params": {"stream": True}}, "`params` must not set `stream`: a reply that comes piece"),
        ({"params": {"n": 50}}, "`params` must not set `n`: a call has one reply"),
        ({"model": tm.model("openai/x", params={"best_of": 2})}, "`params` must not set `best_of`"),
        ({"temperature": 1, "model": tm.model("openai/x", params={"temperature": 0})}, "must not set `temperature`"),
    ],
)
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.read("a.jsonl").generate(**{"model": "openai/x", "prompt": "a", **fields})


def test_a_reply_in_any_form_of_json_text(server: FaultServer) -> None:
    server.faults = replies(json.dumps({"sentiment": "negative", "topic": "é\n\u2028"}, indent=3))
    assert ask(server, output=Label) == {"sentiment": "negative", "topic": "é\n\u2028"}


def asked(server: FaultServer) -> list[Any]:
    """The messages of each request, in order."""
    return [call.payload["messages"] for call in server.calls]


TURNS = [
    {"role": "system", "content": "Be {{ tone }}."},
    {"role": "user", "content": "What is {{ text }}?"},
    {"role": "assistant", "content": "Something to wear."},
    {"role": "user", "content": "Say more."},
]


def test_a_conversation_of_templates(server: FaultServer) -> None:
    ask(server, {"text": "a shoe", "tone": "kind"}, prompt=None, messages=TURNS)
    assert asked(server) == [
        [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "What is a shoe?"},
            *TURNS[2:],
        ]
    ]


def test_a_conversation_in_a_column(server: FaultServer) -> None:
    """As it is, behind the step's own `system`: what stands in braces there is text."""
    ask(server, {"chat": TURNS, "tone": "kind"}, prompt=None, messages="chat", system="Be {{ tone }}.")
    assert asked(server) == [[{"role": "system", "content": "Be kind."}, *TURNS]]


@pytest.mark.parametrize(
    ("chat", "told"),
    [
        (None, "column `chat`: expected a list of messages, got null"),
        ([], "column `chat`: expected a list of messages, got an empty list"),
        (["hi"], r"column `chat\[0\]`: expected a mapping of `role` and `content`, got \"hi\""),
    ],
)
def test_a_column_that_holds_no_conversation_is_the_record_s_failure(server: FaultServer, chat: Any, told: str) -> None:
    with pytest.raises(tm.DataError, match=told):
        ask(server, {"chat": chat}, prompt=None, messages="chat")
    assert server.requests == 0


def test_examples_stand_between_the_system_and_the_record_s_own(server: FaultServer) -> None:
    """Their columns are put into the step's prompt; a text is a message as it is, and a value is sent as JSON."""
    examples = [
        {"input": {"text": "boots"}, "output": {"sentiment": "positive", "topic": "boots"}},
        {"user": "And {{ this }}?", "assistant": GOOD},
    ]
    server.faults = replies(GOOD)
    ask(server, system="Label.", examples=examples, output=Label)
    shown = [
        {"role": "user", "content": "About boots"},
        {"role": "assistant", "content": '{"sentiment":"positive","topic":"boots"}'},
        {"role": "user", "content": "And {{ this }}?"},
        {"role": "assistant", "content": GOOD},
    ]
    system, own = {"role": "system", "content": "Label."}, {"role": "user", "content": "About shoes"}
    assert asked(server) == [[system, *shown, own]]
    turns = [{"role": "system", "content": "Label."}, {"role": "user", "content": "About {{ text }}"}]
    ask(server, prompt=None, messages=turns, examples=examples[1:], output=Label)
    assert asked(server)[1] == [system, *shown[2:], own]


def test_examples_of_a_file_are_those_written_out(tmp_path: Path) -> None:
    examples = [{"input": "a", "output": "b"}, {"input": {"text": "c"}, "output": {"d": 1}}]
    (tmp_path / "shots.jsonl").write_text("".join(f"{json.dumps(each)}\n\n" for each in examples))
    given = {"model": "openai/x", "prompt": "{{ text }}"}
    node = Generate.model_validate({**given, "examples": {"file": "shots.jsonl"}}, context={"folder": tmp_path})
    assert node == Generate(**given, examples=examples)


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        ([{"input": {"txt": "a"}, "output": GOOD}], "no column `text`; this record has `txt`"),
        ([{"input": "a", "output": {"sentiment": "fine", "topic": "b"}}], "is none of `Label`.*positive"),
        ([{"input": "a", "output": "no JSON"}], "is none of `Label`"),
        ([{"input": "a"}], "output"),
        ([{"input": "a", "output": GOOD, "more": 1}], "unknown key `examples.0.more`"),
        ({"file": "gone.jsonl"}, "there is no file `gone.jsonl`"),
    ],
)
def test_examples_that_show_nothing_right_are_refused_at_load(examples: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        Generate(model="openai/x", prompt="{{ text }}", output=Label, examples=examples)


def test_a_line_that_is_no_example_is_told_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "shots.jsonl").write_text('{"input": "a", "output": "b"}\n{"input": "a"}\n')
    with pytest.raises(tm.ConfigError, match=r"line 2 of `.+` is no example"):
        Generate(model="openai/x", prompt="a", examples={"file": str(tmp_path / "shots.jsonl")})


def test_several_samples_are_a_list_in_order(server: FaultServer) -> None:
    """Each a call of its own, under way at once, with the seed moved on; a re-ask is of its sample alone."""

    def script(call: Call) -> Fault:
        seed = call.payload["seed"]
        fits = seed != 8 or len(call.payload["messages"]) > 1
        topic = f"of {seed}" if fits else "much too long a topic"
        return Fault("reply", content=json.dumps({"sentiment": "positive", "topic": topic}))

    server.faults = Faults(script=script)
    found = ask(server, n=3, seed=7, output=Label)
    assert [each["topic"] for each in found] == ["of 7", "of 8", "of 9"]
    assert sorted(call.payload["seed"] for call in server.calls) == [7, 8, 8, 9]


async def test_samples_are_called_by_numbers_of_their_own() -> None:
    """What `max_reasks` is set to changes none of them, so a later run finds the replies of an earlier one."""
    numbers: list[int] = []

    async def note(number: int, request: Request, send: Any = None, decode: Any = None) -> Reply:
        numbers.append(number)
        return Reply(GOOD if number % 1_000 == 1 else "no JSON")

    node = Generate(model="openai/x", prompt="a", output=Label, n=3, max_reasks=1)
    generator = Generator(node, ChatEndpoint("http://far.invalid/v1", "x", {}, node.options()))
    assert len((await generator.run({}, note))["reply"]) == 3
    assert sorted(numbers) == [0, 1, 1_000, 1_001, 2_000, 2_001]


def test_one_failing_sample_fails_the_record(server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("status", status=400) if call.payload["seed"] == 2 else None)
    with pytest.raises(tm.PermanentCallError, match="answered 400"):
        ask(server, n=3, seed=0)


def test_parameters_of_each_record(server: FaultServer) -> None:
    """From its columns; what is null is not sent."""
    fields = {name: {"column": column} for name, column in zip(PARAMETERS, "abcde", strict=True)}
    ask(server, {"text": "x", "a": "9", "b": 1, "c": 0.5, "d": 3, "e": ["END"]}, **fields)
    ask(server, {"text": "x", "a": 9, "b": None, "c": None, "d": None, "e": None}, **fields)
    first, second = (call.payload for call in server.calls)
    assert [first[name] for name in PARAMETERS] == [9, 1.0, 0.5, 3, ["END"]]
    assert {name: second.get(name) for name in PARAMETERS} == {**dict.fromkeys(PARAMETERS), "max_tokens": 9}


PARAMETERS = ("max_tokens", "temperature", "top_p", "seed", "stop")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("max_tokens", 0, "column `c` cannot be `max_tokens`: input should be greater than or equal to 1, got 0"),
        ("max_tokens", 2.5, "column `c` cannot be `max_tokens`.*got 2.5"),
        ("temperature", "hot", 'column `c` cannot be `temperature`.*got "hot"'),
        ("temperature", True, "column `c` cannot be `temperature`.*got true"),
        ("top_p", 1.5, "column `c` cannot be `top_p`.*got 1.5"),
        ("seed", 2**70, "column `c` cannot be `seed`"),
        ("stop", "END", 'column `c` cannot be `stop`.*got "END"'),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_the_record_s_failure(
    server: FaultServer, name: str, value: Any, told: str
) -> None:
    with pytest.raises(tm.DataError, match=told):
        ask(server, {"text": "x", "c": value}, **{name: {"column": "c"}})
    with pytest.raises(tm.DataError, match="expected a column `c`, got `text`"):
        ask(server, {"text": "x"}, **{name: {"column": "c"}})
    assert server.requests == 0


PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def test_images_of_a_record_stand_behind_its_text(server: FaultServer, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(PNG)
    record = {"text": "shoes", "a": PNG, "b": [str(tmp_path / "b.png"), "https://x.example/c.png"], "none": None}
    ask(server, record, images=["a", "b", "none"])
    [[message]] = asked(server)
    assert message["content"][0] == {"type": "text", "text": "About shoes"}
    urls = [part["image_url"]["url"] for part in message["content"][1:]]
    assert urls[0] == urls[1] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert urls[2:] == ["https://x.example/c.png"]
    with pytest.raises(tm.DataError, match="column `a`: expected an image"):
        ask(server, {"text": "shoes", "a": b"no image"}, images=["a"])
    with pytest.raises(tm.DataError, match="expected a column `a`, got `text`"):
        ask(server, {"text": "shoes"}, images=["a"])


class Picture:
    """An image that notes the thread in which it is encoded, as PIL's would be."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def save(self, file: Any, **how: str) -> None:
        self.threads.append(threading.current_thread().name)
        file.write(PNG)


async def test_images_are_read_and_encoded_beside_the_loop() -> None:
    """Which would hold up the calls in flight; an address is sent as it is, and needs no thread."""

    async def reply(number: int, request: Request, send: Any = None, decode: Any = None) -> Reply:
        return Reply("seen")

    node = Generate(model="openai/x", prompt="a", images=("photo",))
    generator = Generator(node, ChatEndpoint("http://far.invalid/v1", "x", {}, node.options()))
    picture, before = Picture(), threading.enumerate()
    assert (await generator.run({"photo": ["https://far.invalid/a.png", None]}, reply))["reply"] == "seen"
    assert threading.enumerate() == before
    await asyncio.gather(*(generator.run({"photo": [picture, "https://far.invalid/a.png"]}, reply) for _ in range(40)))
    assert len(picture.threads) == 40
    assert set(picture.threads) == {"tidemill-images"}
    assert len(threading.enumerate()) <= len(before) + MAX_THREADS
    with pytest.raises(tm.DataError, match="column `photo`: expected an image"):
        await generator.run({"photo": b"no image"}, reply)
    generator.close()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "expected `prompt`, or `messages` in its place, got neither"),
        ({"prompt": "a", "messages": "chat"}, "expected `prompt`, or `messages` in its place, got both"),
        ({"messages": []}, "messages"),
        ({"messages": "chat", "examples": [{"input": {"a": 1}, "output": "b"}]}, "there is no `prompt`"),
        ({"prompt": "a", "n": 0}, "expected an integer >= 1 and <= 1000, got 0"),
        (
            {"prompt": "a", "temperature": {"colum": "t"}},
            "unknown key `temperature.colum`; did you mean `temperature.column`?",
        ),
        ({"prompt": "a", "temperature": {"column": "t"}, "params": {"temperature": 0}}, "must not set `temperature`"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        Generate(model="openai/x", **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0}, True),
        ({"params": {"temperature": 0}}, True),
        ({"model": tm.model("openai/x", params={"temperature": 0.0})}, True),
        ({"temperature": 0, "n": 2, "seed": 1}, True),
        ({"temperature": 0, "n": 2}, False),
        ({"temperature": 0, "n": 2, "seed": {"column": "s"}}, False),
        ({"temperature": 0.1}, False),
        ({}, False),
        ({"temperature": {"column": "t"}}, False),
    ],
)
def test_what_is_asked_at_temperature_0_may_be_shared(fields: dict[str, Any], expected: bool) -> None:
    """But never between the samples of one record, which are to be draws of their own."""
    assert Generate(**{"model": "openai/x", "prompt": "a", **fields}).is_repeatable is expected
