"""A model asked by itself: called, awaited, opened and closed, wherever that happens."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from labels import GOOD, Label

import tidemill as tm
from tidemill.config.objects.descriptions import describe_value
from tidemill.models.messages import Message
from tidemill.models.steps.generate import Generate
from tidemill.testing import Fault, Faults, FaultServer


@pytest.fixture
def model(server: FaultServer) -> Iterator[tm.Model]:
    with make(server) as model:
        yield model


def make(server: FaultServer, **fields: Any) -> tm.Model:
    return tm.model("openai/any", **{"base_url": server.base_url, "api_key": "none", **fields})


def replies(*contents: str) -> Faults:
    """The contents of the replies, in turn; the last one for ever."""
    return Faults(script=lambda call: Fault("reply", content=contents[min(call.number, len(contents)) - 1]))


def loops() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "tidemill-loop"]


def test_a_text_gets_a_reply(model: tm.Model, server: FaultServer) -> None:
    server.faults = replies("  as it came\n")
    reply = model("hello", system="be brief", max_tokens=9, temperature=0.5, stop=["."], params={"top_k": 3})
    assert (reply.text, reply.finish_reason) == ("  as it came\n", "stop")
    assert reply.usage is not None
    assert reply.usage.input_tokens > 10
    asked = server.calls[0].payload
    assert asked["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert (asked["max_tokens"], asked["temperature"], asked["stop"], asked["top_k"]) == (9, 0.5, ["."], 3)


def test_a_conversation_gets_a_reply(model: tm.Model, server: FaultServer) -> None:
    turns: list[Message] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "image", "url": "http://far/c.png"}]},
    ]
    model(turns)
    image = {"type": "image_url", "image_url": {"url": "http://far/c.png"}}
    assert server.calls[0].payload["messages"] == [
        *turns[:2],
        {"role": "user", "content": [turns[2]["content"][0], image]},
    ]


def test_with_an_output_the_object_is_given_and_a_misfit_asked_again(model: tm.Model, server: FaultServer) -> None:
    server.faults = replies('{"sentiment": "so-so"}', GOOD)
    label = model("shoes?", output=Label)
    assert label == Label(sentiment="positive", topic="shoes")
    again = server.calls[1].payload["messages"]
    assert [turn["role"] for turn in again] == ["user", "assistant", "user"]
    assert "$.sentiment" in again[2]["content"]
    assert server.calls[0].payload["response_format"]["json_schema"]["schema"]["required"] == ["sentiment", "topic"]


def test_no_fitting_reply_is_an_error_after_so_many_asks(model: tm.Model, server: FaultServer) -> None:
    server.faults = replies("no")
    with pytest.raises(tm.PermanentCallError, match="no reply fitted the output in 2 asks"):
        model("shoes?", output=Label, max_reasks=1)


def test_a_refusal_is_a_reply_and_with_an_output_an_error(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("refusal", content="no, sorry"))
    assert model("how?").refusal == "no, sorry"
    with pytest.raises(tm.PermanentCallError, match="the model refused: no, sorry"):
        model("how?", output=Label)


@pytest.mark.parametrize(
    ("prompt", "options", "told"),
    [
        (3, {}, "expected a text or a list of messages as the prompt, got 3"),
        ([], {}, "expected a text or a list of messages as the prompt, got an empty list"),
        (b"bytes", {}, "expected a text or a list of messages as the prompt, got 5 bytes"),
        (["a"], {}, r'`prompt\[0\]`: expected a mapping of `role` and `content`, got "a"'),
        ("a", {"temprature": 1}, "unknown key `temprature`; did you mean `temperature`"),
        ("a", {"max_tokens": 0}, "`max_tokens`: expected an integer >= 1, got 0"),
        ("a", {"params": {"n": 2}}, "`params` must not set `n`: a call has one reply"),
        ("a", {"params": {"stream": True}}, "piece by piece is asked for with `stream`"),
        ("a", {"params": {"seed": 2}, "seed": 1}, "`params` must not set `seed`: it is set by its own name as well"),
        ("a", {"params": {"model": "b"}}, "`params` must not set `model`: it has a word of its own"),
        ("a", {"params": {"a": {2}}}, "`params`: cannot be sent as JSON"),
        ("a", {"output": 3}, "`output`"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_sent(
    model: tm.Model, server: FaultServer, prompt: Any, options: Any, told: str
) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        model(prompt, **options)
    assert server.stats()["connections"] == 1  # the one that asks this


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"best_of": 2}, "the model's `params` must not set `best_of`: a call has one reply"),
        ({"temperature": 0}, "the model's `params` must not set `temperature`: it is set by its own name as well"),
    ],
)
def test_what_the_model_s_own_params_would_undo_is_told(server: FaultServer, params: Any, told: str) -> None:
    """They come last in the body: one that is asked for would silently be another."""
    with make(server, params=params) as model, pytest.raises(tm.ConfigError, match=told):
        model("a", temperature=1)
    assert server.billed == 0


def test_all_that_is_wrong_with_the_options_is_told_at_once(model: tm.Model) -> None:
    with pytest.raises(tm.ConfigError, match="2 errors"):
        model("a", top_p=0, seed=2**64)


def test_a_missing_key_is_told_by_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(tm.ConfigError, match="needs a key, and OPENAI_API_KEY is not set"):
        tm.model("openai/gpt-4.1-mini")("hello")
    assert loops() == []


def test_failed_attempts_are_followed_by_others(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("status", status=503) if call.number == 1 else None)
    assert model("hello").text
    assert server.requests == 2
    assert model.open().calls["calls"] == 0  # a client of its own counts its own


def test_a_failure_is_raised_with_its_status(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("status", status=400, content="too long"))
    with pytest.raises(tm.PermanentCallError, match="too long") as caught:
        model("hello")
    assert (caught.value.status, caught.value.of) == (400, "record")


async def test_it_works_inside_a_running_loop(model: tm.Model, server: FaultServer) -> None:
    """As in a cell of a notebook: the plain call holds it up, `acall` does not."""
    server.faults = replies(GOOD)
    assert model("shoes?", output=Label).topic == "shoes"
    assert await model.acall("shoes?", output=Label) == Label(sentiment="positive", topic="shoes")
    assert (await model.acall("hello")).text == GOOD


async def test_many_may_be_awaited_at_once_and_stay_inside_the_limits(server: FaultServer) -> None:
    server.latency_s = 0.2  # so that calls overlap, on a busy machine too
    with make(server, limits=tm.Limits(concurrency=5)) as model:
        replies = await asyncio.gather(*(model.acall(f"number {number}") for number in range(15)))
    assert len({reply.text for reply in replies}) == 15
    assert server.max_in_flight == 5
    assert server.stats()["connections"] <= 5 + 2


def test_threads_share_the_limits(server: FaultServer) -> None:
    server.latency_s = 0.2  # so that calls overlap, on a busy machine too
    with make(server, limits=tm.Limits(concurrency=3)) as model, ThreadPoolExecutor(12) as pool:
        texts = list(pool.map(lambda number: model(f"number {number}").text, range(12)))
    assert len(set(texts)) == 12
    assert server.max_in_flight == 3


def test_identical_questions_at_temperature_0_are_billed_once(server: FaultServer) -> None:
    """While they are in flight together, whoever asks; each gets the reply, or an object of its own."""
    server.latency_s = 0.3
    server.faults = replies(GOOD)
    with make(server).open() as client, ThreadPoolExecutor(2) as pool:
        other = pool.submit(client, "another", temperature=0)
        texts = [reply.text for reply in client.map(["the same"] * 20, temperature=0)]
        assert texts == [GOOD] * 20
        assert other.result().text == GOOD
        labels = list(client.map(["shoes?"] * 5, output=Label, params={"temperature": 0.0}))
        assert labels == [Label.model_validate_json(GOOD)] * 5
        assert len({id(label) for label in labels}) == 5
        assert (server.billed, client.calls["calls"], client.calls["coalesced"]) == (3, 3, 19 + 4)


@pytest.mark.parametrize("options", [{"temperature": 0.1}, {}])
def test_samples_that_are_asked_for_are_draws_of_their_own(server: FaultServer, options: Any) -> None:
    """At another temperature, or the endpoint's own, the same question may have another answer."""
    server.latency_s = 0.02
    with make(server).open() as client:
        list(client.map(["the same"] * 20, **options))
        assert (server.billed, client.calls["coalesced"]) == (20, 0)


async def test_cancelling_one_of_the_identical_leaves_the_others(model: tm.Model, server: FaultServer) -> None:
    """The last of them ends the call, which the server sees."""
    server.faults = Faults(script=lambda call: Fault("stall"))
    tasks = [asyncio.create_task(model.acall("hello", temperature=0)) for _ in range(3)]
    await asyncio.to_thread(server.wait_for, in_flight=1)
    for task in tasks[:2]:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.stats()["in_flight"] == 1
    tasks[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
    assert (await asyncio.to_thread(server.wait_idle))["in_flight"] == 0
    assert len(server.calls) == 1


async def test_closing_ends_identical_calls_in_flight(model: tm.Model, server: FaultServer) -> None:
    """Each is told that it was the closing."""
    server.faults = Faults(script=lambda call: Fault("stall"))
    tasks = [asyncio.create_task(model.acall("hello", temperature=0)) for _ in range(3)]
    await asyncio.to_thread(server.wait_for, in_flight=1)
    await asyncio.to_thread(model.close)
    for task in tasks:
        with pytest.raises(tm.ResourceError, match="closed while a call was in flight"):
            await task


async def test_cancelling_reaches_the_server(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("stall"))
    task = asyncio.create_task(model.acall("hello"))
    await asyncio.to_thread(server.wait_for, in_flight=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(server.wait_idle))["in_flight"] == 0


def test_connections_are_kept_between_calls(model: tm.Model, server: FaultServer) -> None:
    for _ in range(5):
        model("hello")
    assert server.stats()["connections"] == 2  # with the one that asks this
    assert loops() == ["tidemill-loop"]


def test_a_closed_one_opens_again(model: tm.Model, server: FaultServer) -> None:
    model("hello")
    model.close()
    model.close()
    assert loops() == []
    assert model("hello").text


def test_closing_ends_what_is_in_flight(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("stall"))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(model, "hello")
        server.wait_for(in_flight=1)
        model.close()
        with pytest.raises(tm.ResourceError, match="the client was closed while a call was in flight"):
            asked.result()
    server.wait_idle()


def test_calls_and_closes_may_come_from_many_threads_at_once(server: FaultServer) -> None:
    """Each call is answered, or told that it was closed meanwhile; none hangs."""
    model = make(server)

    def call(number: int) -> str:
        if number % 7 == 0:
            model.close()
        try:
            return model(f"number {number}").text
        except tm.ResourceError as exc:
            return exc.message

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))
    model.close()


def test_what_nobody_holds_any_more_is_closed(server: FaultServer) -> None:
    assert make(server)("hello").text
    gc.collect()
    assert loops() == []
    client = make(server).open()
    assert client("hello").text
    assert loops() == ["tidemill-loop"]
    del client
    gc.collect()
    assert loops() == []


def test_an_open_model_is_the_description_that_it_was(model: tm.Model, server: FaultServer) -> None:
    """Equal, copied, pickled, fingerprinted and used in steps as before; each object has connections of its own."""
    before = describe_value(model), repr(model), model.model_dump()
    other = make(server)
    model("hello")
    assert model == other
    assert model == model.model_copy()
    assert pickle.loads(pickle.dumps(model)) == other
    assert (describe_value(model), repr(model), model.model_dump()) == before
    assert Generate(model=model, prompt="a") == Generate(model=other, prompt="a")
    assert tm.Pipeline([Generate(model=model, prompt="a")]) != tm.Pipeline(
        [Generate(model=tm.model("openai/other"), prompt="a")]
    )
    other("hello")
    assert loops() == ["tidemill-loop"] * 2
    other.close()


def test_a_budget_is_held_over_the_life_of_a_client(model: tm.Model, server: FaultServer) -> None:
    with model.open(budget=tm.Budget(calls=3)) as client:
        client("one")
        client("two")
        client.close()
        client("three")
        with pytest.raises(tm.BudgetError, match="calls: 3 of 3 spent"):
            client("four")
        assert client.calls["calls"] == 3
    assert server.billed == 3
    assert model("five").text


def test_a_deadline_ends_every_call_of_a_client(model: tm.Model, server: FaultServer) -> None:
    """What is in flight is cancelled, of every kind; and nothing is sent from then on."""
    server.faults = Faults(script=lambda call: Fault("stall"))
    passed = r"deadline has passed, 0\.3 s from the client's opening"
    with model.open(budget=tm.Budget(deadline=0.3)) as client:
        with pytest.raises(tm.BudgetError, match=passed):
            client("one")
        server.wait_idle()
        sent = server.requests
        for ask in (lambda: client("two"), lambda: list(client.stream("three")), lambda: list(client.map(["a", "b"]))):
            with pytest.raises(tm.BudgetError, match=passed):
                ask()
        assert server.requests == sent <= 1  # a busy machine may not get the first one sent in that time


@pytest.mark.parametrize("ask", [lambda client: list(client.stream("a")), lambda client: list(client.map(["a", "b"]))])
def test_a_deadline_ends_what_goes_on(model: tm.Model, server: FaultServer, ask: Any) -> None:
    server.faults = Faults(script=lambda call: Fault("stall"))
    with model.open(budget=tm.Budget(deadline="0.3s")) as client, pytest.raises(tm.BudgetError, match="deadline"):
        ask(client)
    server.wait_idle()


def test_before_the_deadline_calls_are_answered(model: tm.Model) -> None:
    with model.open(budget=tm.Budget(deadline="1h")) as client:
        assert client("one").text


def test_a_budget_that_cannot_be_held_is_refused(model: tm.Model, server: FaultServer) -> None:
    with model.open(budget=tm.Budget(tokens=1_000)) as client, pytest.raises(tm.ConfigError, match="max_tokens"):
        client("one")
    with model.open(budget=tm.Budget(usd=1)) as client, pytest.raises(tm.ConfigError, match="price"):
        client("one", max_tokens=5)
    assert server.billed == 0


def test_tokens_are_counted_without_a_call(model: tm.Model, server: FaultServer) -> None:
    assert model.count_tokens("x" * 400) == 100
    assert model.count_tokens([{"role": "user", "content": "x" * 400}]) == pytest.approx(115, abs=3)
    exact = tm.model("openai/gpt-4.1-mini")
    assert exact.count_tokens("hello world") == 2
    assert exact.count_tokens([{"role": "user", "content": "hello world"}]) == 2 + 4 + 3
    with pytest.raises(tm.ConfigError, match="expected a text or a list of messages"):
        model.count_tokens(3)  # type: ignore[arg-type]
    assert server.requests == 0
    assert loops() == []


def test_the_ratio_learns_from_replies(model: tm.Model, server: FaultServer) -> None:
    """A server that counts twice what is usual: after some replies, texts are counted as it does."""
    assert model.count_tokens("x" * 4_000) == 1_000
    for number in range(60):
        model(f"{number}" * 500, max_tokens=5)
    assert model.count_tokens("x" * 4_000) == pytest.approx(1_000, rel=0.02)


def test_a_local_model_counts_what_it_then_bills(local_url: str) -> None:
    """Its own server counts, started for it if need be: texts by its vocabulary, messages with its template."""
    with tm.model("local/smollm2") as model:
        asked: list[Message] = [{"role": "user", "content": "Name a colour of the sea."}]
        counted = model.count_tokens(asked)
        usage = model(asked, max_tokens=3).usage
        assert usage is not None
        assert counted == usage.input_tokens
        assert model.count_tokens("hello world") == 2


FORKED = """
import os, sys
import tidemill as tm
model = tm.model("openai/any", base_url=sys.argv[1], api_key="none")
model("parent")
child = os.fork()
if child == 0:
    print(model("child").text != "", flush=True)
    sys.exit(0)
status = os.waitpid(child, 0)[1]
print(status, model("parent again").text != "")
"""

LEFT_OPEN = """
import sys, threading
import tidemill as tm
model = tm.model("openai/any", base_url=sys.argv[1], api_key="none", limits=tm.Limits(concurrency=2))
client = model.open()
print(next(iter(model.map(["a"] * 3))).text != "", client("a").text != "")
def take(iterator):
    try:
        next(iterator)
    except (tm.ResourceError, StopIteration):
        pass
answers = model.map("stall" for _ in range(9))
threading.Thread(target=take, args=(answers,), daemon=True).start()
pieces = client.stream("stall")
threading.Thread(target=take, args=(pieces,), daemon=True).start()
import urllib.request
urllib.request.urlopen(sys.argv[1].replace("/v1", "/wait?in_flight=3"), timeout=60).read()
"""


SLOW_IS_WELL = """
import logging
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
"""
"""A step of the loop that took long, of which the dev mode warns, says that the machine is busy."""


def run_script(script: str, server: FaultServer) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SLOW_IS_WELL + script, server.base_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_fork_opens_its_own(server: FaultServer) -> None:
    """And leaves its parent's connections alone."""
    assert run_script(FORKED, server) == (0, "True\n0 True\n", "")
    assert [call.message for call in server.calls] == ["parent", "child", "parent again"]


def test_a_process_ends_quietly_with_calls_in_flight(server: FaultServer) -> None:
    server.faults = Faults(matching=[("stall", Fault("stall"))])
    assert run_script(LEFT_OPEN, server) == (0, "True True\n", "")
    server.wait_idle()


def test_a_model_by_itself_loads_no_jobs() -> None:
    """What asks is small: no pyarrow, no pipeline."""
    script = (
        "import sys, tidemill as tm, tidemill.models.clients.client; tm.model('openai/x');"
        "print(sorted({'pyarrow', 'tidemill.jobs', 'tidemill.stream'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert json.loads(done.stdout.replace("'", '"')) == []
