"""The scripted transport: replies from a list or a function."""

import asyncio

import orjson
import pytest

from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import PermanentCallError, TransientCallError
from tidemill.testing import STALL, ScriptedTransport, chat_response, error_response, run_virtual

REQUEST = Request("http://far.side/v1/chat/completions", {}, b"{}")


def test_replies_come_in_turn_and_requests_are_kept() -> None:
    """An iterable is used up in order; an exception in it is raised."""
    transport = ScriptedTransport([chat_response("one"), PermanentCallError("no"), error_response(503)])

    async def main() -> list[int]:
        first = await transport.send(REQUEST, 60)
        with pytest.raises(PermanentCallError, match="no"):
            await transport.send(REQUEST, 60)
        return [first.status, (await transport.send(REQUEST, 60)).status]

    assert run_virtual(main()) == [200, 503]
    assert transport.requests == [REQUEST] * 3


def test_a_script_that_is_over_fails_the_test() -> None:
    """One request too many is the test's failure, not a call's."""
    with pytest.raises(AssertionError, match="the script has 0 replies, and one more request came"):
        run_virtual(ScriptedTransport([]).send(REQUEST, 60))


def test_a_stall_ends_at_the_time_limit() -> None:
    """`STALL`, and a latency above the limit, end as a transport's timeout does, at that time."""

    async def main() -> float:
        with pytest.raises(TransientCallError, match="no reply within 30 s"):
            await ScriptedTransport([STALL]).send(REQUEST, 30)
        with pytest.raises(TransientCallError, match="no reply within 30 s"):
            await ScriptedTransport(lambda _: chat_response("late"), latency_s=31).send(REQUEST, 30)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(60)


def test_requests_in_flight_are_counted() -> None:
    """`max_in_flight` is what overlapped; a cancelled request is in flight no more."""
    transport = ScriptedTransport(lambda request: chat_response(request.url), latency_s=1)

    async def main() -> None:
        sends = [asyncio.create_task(transport.send(REQUEST, 60)) for _ in range(7)]
        await asyncio.sleep(0.5)
        sends[0].cancel()
        await asyncio.gather(*sends, return_exceptions=True)

    run_virtual(main())
    assert (transport.in_flight, transport.max_in_flight) == (0, 7)


def test_a_closed_transport_refuses() -> None:
    """Nothing is sent after `close`."""
    transport = ScriptedTransport([chat_response("x")])

    async def main() -> None:
        await transport.close()
        await transport.send(REQUEST, 60)

    with pytest.raises(AssertionError, match="the transport is closed"):
        run_virtual(main())


def test_responses_read_as_the_wire_has_them() -> None:
    """`chat_response` and `error_response` are whole responses in the wire's form."""
    reply = orjson.loads(chat_response("hi", usage=Usage(7, 3), finish_reason="length").body)
    assert reply["choices"][0]["message"]["content"] == "hi"
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert "usage" not in orjson.loads(chat_response("hi", usage=None).body)
    error = error_response(429, "slow down", headers={"retry-after": "2"})
    assert isinstance(error, Response)
    assert (error.status, error.headers["retry-after"]) == (429, "2")
    assert orjson.loads(error.body)["error"]["message"] == "slow down"
