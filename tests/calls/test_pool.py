"""Who gets which connection, and how many are dialled at once: in virtual time, no socket."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tidemill.calls.http.address import Origin, Proxy
from tidemill.calls.http.connection import Bound, Connection
from tidemill.calls.http.dialer import Dialer, MakeConnection
from tidemill.calls.http.pool import KEEP_ALIVE_S, Pool
from tidemill.calls.http.ramp import FIRST_DIALS, MOST_DIALS
from tidemill.testing.clock import run_virtual

FAR = Origin("http", "far.example", 80)
ROUND_TRIP_S = 0.05
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """A socket that answers each request after `latency_s`."""

    def __init__(self, protocol: Connection, latency_s: float) -> None:
        super().__init__()
        self.protocol = protocol
        self.latency_s = latency_s
        self.is_closed = False

    def write(self, data: Any) -> None:
        asyncio.get_running_loop().call_later(self.latency_s, self._answer)

    def _answer(self) -> None:
        if not self.is_closed:
            self.protocol.data_received(ANSWER)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class ScriptedDialer(Dialer):
    """Dials that take a round trip; `judge` gets the number of each and says how it fails, None for not at all."""

    def __init__(self, judge: Callable[[int], Exception | None] = lambda number: None, latency_s: float = 1.0) -> None:
        super().__init__()
        self.judge = judge
        self.latency_s = latency_s
        self.takes_s = ROUND_TRIP_S
        self.hangs_up = False
        self.started_at: list[float] = []
        self.most = self.under_way = self.cancelled = 0
        self.wires: list[Wire] = []

    async def dial(self, origin: Origin, proxy: Proxy | None, make: MakeConnection, timeout_s: float) -> Connection:
        number = len(self.started_at)
        self.started_at.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if error := self.judge(number):
            raise error
        connection = make()
        wire = Wire(connection, self.latency_s)
        connection.connection_made(wire)
        self.wires.append(wire)
        if self.hangs_up:
            asyncio.get_running_loop().call_soon(wire.abort)
        return connection


def open_pool(dialer: Dialer) -> Pool:
    return Pool(FAR, None, dialer, connect_timeout_s=5.0, bound=Bound(1000))


async def call(pool: Pool, sent: list[int] | None = None, number: int = 0) -> float:
    """One request; gives when it was sent."""
    connection = pool.take() or await pool.wait()
    sent_at = asyncio.get_running_loop().time()
    if sent is not None:
        sent.append(number)
    assert (await connection.ask(b"", 600.0)).body == b"{}"
    return sent_at


def refuse(number: int) -> Exception:
    return ConnectionRefusedError(111, f"dial {number}")


def test_two_thousand_are_never_dialled_at_once() -> None:
    """Slow start: 16, 32, 64, 128, then 256 a round trip; all are open after eleven."""

    async def main() -> None:
        dialer = ScriptedDialer(latency_s=60.0)
        pool = open_pool(dialer)
        sent_at = await asyncio.gather(*(call(pool) for _ in range(2000)))
        assert dialer.most <= MOST_DIALS
        assert dialer.started_at[:FIRST_DIALS] == [0.0] * FIRST_DIALS
        assert sum(at < ROUND_TRIP_S for at in dialer.started_at) == FIRST_DIALS
        assert max(sent_at) == pytest.approx(11 * ROUND_TRIP_S)
        assert len(dialer.wires) == 2000
        await pool.close()

    run_virtual(main())


def test_a_connection_given_back_serves_who_waits_before_a_new_one_does() -> None:
    """Whichever comes first; the requests are sent in the order they came in."""

    async def main() -> None:
        dialer = ScriptedDialer(latency_s=0.001)
        dialer.takes_s = 0.5
        pool, sent = open_pool(dialer), list[int]()
        await asyncio.gather(*(call(pool, sent, number) for number in range(300)))
        assert sent == list(range(300))
        assert len(dialer.started_at) <= 3 * FIRST_DIALS
        await pool.close()

    run_virtual(main())


def test_an_idle_connection_is_used_again_and_grows_old() -> None:
    async def main() -> None:
        dialer = ScriptedDialer()
        pool = open_pool(dialer)
        for _ in range(5):
            await call(pool)
        assert len(dialer.wires) == 1
        await asyncio.sleep(KEEP_ALIVE_S + 0.1)
        assert dialer.wires[0].is_closed
        await call(pool)
        assert len(dialer.wires) == 2
        await pool.close()

    run_virtual(main())


def test_when_nobody_answers_all_fail_at_once() -> None:
    """No one waits for a dial that is bound to fail as the first did; no storm of dials either."""

    async def main() -> None:
        dialer = ScriptedDialer(refuse)
        pool = open_pool(dialer)
        errors = await asyncio.gather(*(call(pool) for _ in range(2000)), return_exceptions=True)
        assert all(isinstance(error, ConnectionRefusedError) for error in errors)
        assert asyncio.get_running_loop().time() == ROUND_TRIP_S
        assert len(dialer.started_at) == FIRST_DIALS
        with pytest.raises(ConnectionRefusedError, match="dial 16"):
            await call(pool)
        await pool.close()

    run_virtual(main())


def test_while_one_is_open_a_failed_dial_fails_nobody() -> None:
    """A far side that takes eight connections serves a hundred calls by them; it is asked for more now and then."""

    async def main() -> None:
        dialer = ScriptedDialer(lambda number: None if number < 8 else refuse(number))
        pool = open_pool(dialer)
        sent_at = await asyncio.gather(*(call(pool) for _ in range(104)))
        assert max(sent_at) == pytest.approx(ROUND_TRIP_S + 12.0)
        assert FIRST_DIALS < len(dialer.started_at) < 60
        await pool.close()

    run_virtual(main())


def test_what_took_no_connections_is_found_to_take_them_again() -> None:
    """Within a second, though every open one is busy for a minute."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def judge(number: int) -> Exception | None:
            return refuse(number) if number >= 4 and loop.time() < 10.0 else None

        dialer = ScriptedDialer(judge, latency_s=60.0)
        pool = open_pool(dialer)
        sent_at = await asyncio.gather(*(call(pool) for _ in range(100)))
        assert sum(at < 1.0 for at in sent_at) == 4
        assert max(sent_at) < 12.0
        await pool.close()

    run_virtual(main())


@pytest.mark.parametrize("at_s", [0.0, ROUND_TRIP_S / 2, ROUND_TRIP_S, 0.5])
def test_who_is_cancelled_leaves_nothing(at_s: float) -> None:
    """A dial that nobody wants any more ends; a connection that came at that moment goes to the next in line."""

    async def main() -> None:
        dialer = ScriptedDialer()
        pool = open_pool(dialer)
        calls = [asyncio.create_task(call(pool)) for _ in range(10)]
        await asyncio.sleep(at_s)
        for each in calls[:9]:
            each.cancel()
        await asyncio.wait(calls)
        assert [each.cancelled() for each in calls] == [True] * 9 + [False]
        assert dialer.under_way == 0
        assert dialer.cancelled in (0, 9)
        await asyncio.sleep(60.0)
        assert all(wire.is_closed for wire in dialer.wires[:-1])
        await pool.close()
        assert all(wire.is_closed for wire in dialer.wires)

    run_virtual(main())


def test_a_connection_lost_before_its_use_is_a_failed_dial() -> None:
    """The far side hangs up at once: nothing was sent."""

    async def main() -> None:
        dialer = ScriptedDialer()
        dialer.hangs_up = True
        pool = open_pool(dialer)
        with pytest.raises(ConnectionResetError, match="reset"):
            await pool.wait()
        await pool.close()

    run_virtual(main())


def test_closing_ends_the_waiting() -> None:
    """Nobody waits for ever on what is gone."""

    async def main() -> None:
        dialer = ScriptedDialer()
        pool = open_pool(dialer)
        calls = [asyncio.create_task(call(pool)) for _ in range(40)]
        await asyncio.sleep(0)
        await pool.close()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, ConnectionAbortedError) for error in errors)
        assert dialer.under_way == 0

    run_virtual(main())
