"""Many prompts asked at once: their order, what is read ahead, and every failure in its place."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.wire import Request, Response
from tidemill.models.clients.client import Client
from tidemill.models.messages import Reply
from tidemill.testing import Fault, Faults, FaultServer, ScriptedTransport, chat_response, error_response


class Echo(BaseModel):
    said: str


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(keep_calls=True, reply=lambda call: call.message) as server:
        yield server


@pytest.fixture
def model(server: FaultServer) -> Iterator[tm.Model]:
    limits = tm.Limits(concurrency=4, max_attempts=1)
    with tm.model("openai/any", base_url=server.base_url, api_key="none", limits=limits) as model:
        yield model


def read(count: int, seen: list[int] | None = None) -> Iterator[str]:
    for number in range(count):
        if seen is not None:
            seen.append(number)
        yield f"number {number}"


def echo(request: Request) -> Response | Exception:
    """The last message, or the status it asks for."""
    text = orjson.loads(request.body)["messages"][-1]["content"]
    return error_response(int(text)) if text.isdigit() else chat_response(text)


def scripted(reply: Callable[[Request], Any] = echo, *, concurrency: int = 4) -> Client:
    model = tm.model("openai/any", base_url="http://far/v1", api_key="none", limits=tm.Limits(concurrency=concurrency))
    return Client(model, transport=lambda: ScriptedTransport(reply))


def test_replies_come_in_the_order_of_the_prompts(model: tm.Model, server: FaultServer) -> None:
    """Though the first of them takes longest."""
    server.latency_s = 0.1  # so that calls overlap, on a busy machine too
    server.faults = Faults(matching=[("number 0", Fault("reply", delay_s=0.3))])
    assert [reply.text for reply in model.map(read(12))][1:] == [f"number {number}" for number in range(1, 12)]
    assert server.max_in_flight == 4


def test_unordered_ones_come_as_they_are_there(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(matching=[("number 0", Fault("stall"))])
    answers = model.map(read(5), ordered=False)
    assert {next(answers).text for _ in range(4)} == {f"number {number}" for number in range(1, 5)}
    answers.close()
    server.wait_idle()


def test_with_an_output_they_are_objects(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("reply", content=orjson.dumps({"said": call.message}).decode()))
    assert [echo.said for echo in model.map(read(3), output=Echo)] == ["number 0", "number 1", "number 2"]


async def test_they_can_be_awaited(model: tm.Model) -> None:
    assert [reply.text async for reply in model.map(read(3))] == ["number 0", "number 1", "number 2"]


def test_no_prompts_give_no_replies(model: tm.Model) -> None:
    assert list(model.map([])) == []


@given(
    st.lists(st.sampled_from(["a", "b", "400", "422"]), max_size=60),
    st.booleans(),
    st.sampled_from(["raise", "return"]),
    st.integers(1, 5),
)
@settings(max_examples=30)
def test_every_prompt_has_its_own_outcome(prompts: list[str], ordered: bool, on_error: Any, concurrency: int) -> None:
    """Whichever fail: a reply or an error for each, in place; asked one after another, exactly as many."""
    with scripted(concurrency=concurrency) as client:
        answers: Iterator[Any] = client.map(prompts, ordered=ordered, on_error=on_error)
        outcomes = []
        while True:
            try:
                outcome = next(answers)
                outcomes.append(outcome.text if isinstance(outcome, Reply) else str(outcome.status))
            except StopIteration:
                break
            except tm.CallError as exc:
                assert on_error == "raise"
                outcomes.append(str(exc.status))
    assert outcomes == prompts if ordered else sorted(outcomes) == sorted(prompts)


def test_prompts_are_read_as_there_is_room(model: tm.Model, server: FaultServer) -> None:
    """Of a generator without end, a bounded number ahead; it is closed when the answers are."""
    seen: list[int] = []
    closed = threading.Event()

    def prompts() -> Iterator[str]:
        try:
            yield from read(10**9, seen)
        finally:
            closed.set()

    answers = model.map(prompts())
    assert seen == []
    assert server.requests == 0
    for _ in range(100):
        next(answers)
    assert len(seen) <= 100 + 2 * 16
    answers.close()
    assert closed.wait(10)
    assert list(answers) == []


def test_a_prompt_is_asked_as_soon_as_it_is_there(model: tm.Model) -> None:
    """Where the next one depends on the answer: it could wait for ever otherwise."""
    waiting: queue.Queue[str | None] = queue.Queue()
    answers = model.map(iter(waiting.get, None))
    for text in ("one", "two", "three"):
        waiting.put(text)
        assert next(answers).text == text
    waiting.put(None)
    assert list(answers) == []


@pytest.mark.parametrize("error", [ValueError("the file is cut"), SystemExit("the file is cut")])
def test_what_the_prompts_raise_comes_in_its_place(model: tm.Model, error: BaseException) -> None:
    """Behind the replies to those before, even where errors are given."""

    def prompts() -> Iterator[str]:
        yield from read(3)
        raise error

    answers = model.map(prompts(), on_error="return")
    assert [next(answers).text for _ in range(3)] == ["number 0", "number 1", "number 2"]  # type: ignore[union-attr]
    with pytest.raises(type(error), match="the file is cut"):
        next(answers)
    assert list(answers) == []
    assert model("hello").text == "hello"


def test_a_prompt_that_is_none_fails_alone(model: tm.Model) -> None:
    prompts: list[Any] = ["a", 3, "b"]
    a, error, b = model.map(prompts, on_error="return")
    assert isinstance(error, tm.ConfigError)
    assert [reply.text for reply in (a, b) if not isinstance(reply, Exception)] == ["a", "b"]


def test_what_fails_for_all_ends_it(model: tm.Model, server: FaultServer) -> None:
    """Given or not: nothing more is read, and what is in flight is cancelled."""
    server.faults = Faults(script=lambda call: Fault("status", status=401, content="no such key"))
    answers = model.map(read(10**9), on_error="return")
    with pytest.raises(tm.PermanentCallError, match="401") as caught:
        next(answers)
    assert caught.value.of == "run"
    assert list(answers) == []
    server.wait_idle()
    assert server.requests <= 16


def test_a_spent_budget_ends_it(model: tm.Model, server: FaultServer) -> None:
    with model.open(budget=tm.Budget(calls=5)) as client:
        answers = client.map(read(50))
        given: list[str] = []
        with pytest.raises(tm.BudgetError, match="5 of 5 spent"):
            given.extend(reply.text for reply in answers)
        assert server.billed == 5


@pytest.mark.parametrize(
    ("prompts", "options", "told"),
    [
        ("text", {}, 'expected an iterable of prompts, got "text"'),
        (3, {}, "expected an iterable of prompts, got 3"),
        ([], {"on_error": "skip"}, 'expected on_error="raise" or "return", got "skip"'),
        ([], {"temperature": 3}, "`temperature`"),
    ],
)
def test_what_cannot_be_mapped_is_told_at_once(model: tm.Model, prompts: Any, options: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        model.map(prompts, **options)


def test_dropped_answers_cancel_their_calls(model: tm.Model, server: FaultServer) -> None:
    """As a `break` leaves them; the model stays open."""
    server.faults = Faults(script=lambda call: Fault("stall") if int(call.message.split()[1]) > 2 else None)
    for number, _ in enumerate(model.map(read(50))):
        if number == 2:
            break
    gc.collect()
    server.faults = None
    server.wait_idle()
    assert model("hello").text == "hello"


def test_they_hold_the_model_open(server: FaultServer) -> None:
    """Which nobody else does."""
    model = tm.model("openai/any", base_url=server.base_url, api_key="none")
    answers = model.map(read(100))
    del model
    gc.collect()
    assert len(list(answers)) == 100


def test_closing_the_model_ends_them(model: tm.Model) -> None:
    answers = model.map(read(100))
    next(answers)
    model.close()
    with pytest.raises(tm.StateError, match="the client was closed before all was taken"):
        list(answers)
    assert list(answers) == []


def test_several_may_run_at_once(model: tm.Model, server: FaultServer) -> None:
    server.latency_s = 0.1  # so that calls overlap, on a busy machine too
    one, other = model.map(read(10)), model.map(read(10))
    assert [(a.text, b.text) for a, b in zip(one, other, strict=True)] == [(f"number {n}",) * 2 for n in range(10)]
    assert server.max_in_flight == 4


async def test_cancelling_while_waiting_ends_it(model: tm.Model, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: Fault("stall"))
    answers = model.map(read(3))

    async def take() -> None:
        await anext(answers)

    task = asyncio.create_task(take())
    await asyncio.to_thread(server.wait_for, in_flight=3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(server.wait_idle)
