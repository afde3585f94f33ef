"""Virtual time: a loop whose clock jumps to the next timer."""

import asyncio
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import WorkerError
from tidemill.resources.worker import WorkerThread
from tidemill.testing import FakeClock, VirtualLoop, run_virtual


def test_an_hour_of_sleep_moves_the_clock_by_an_hour() -> None:
    """Loop time is virtual: what sleeps an hour ends at 3600 s on the clock."""
    clock = FakeClock(100.0)

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main(), clock=clock) == pytest.approx(3700)
    assert clock.now_s == pytest.approx(3700)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_timers_fire_in_the_order_of_their_times(delays: list[float]) -> None:
    """Whatever the delays, sleepers wake in the order of their times, each at its own."""
    woken: list[tuple[float, float]] = []

    async def sleeper(delay: float) -> None:
        await asyncio.sleep(delay)
        woken.append((delay, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(*map(sleeper, delays))

    run_virtual(main())
    assert [delay for delay, _ in woken] == sorted(delays)
    assert all(at == pytest.approx(delay, abs=1e-6) for delay, at in woken)


def test_a_timeout_cuts_what_never_ends() -> None:
    """`asyncio.timeout` follows virtual time too."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(600)


def test_the_clock_stands_still_while_a_thread_works() -> None:
    """A job in the executor is waited for: no timer fires ahead of it."""

    async def main() -> float:
        async with asyncio.timeout(1):
            assert await asyncio.to_thread(sum, range(200_000)) == 19_999_900_000
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0.0


def test_the_clock_stands_still_while_a_worker_thread_works() -> None:
    """Of Tidemill's own threads too, so that a job's ledger and its calls agree on the time."""
    worker, release = WorkerThread("test"), threading.Event()

    async def main() -> float:
        async with asyncio.timeout(1):
            waiting = worker.start(release.wait)
            await asyncio.sleep(0)
            threading.Timer(0.05, release.set).start()
            assert await waiting
        return asyncio.get_running_loop().time()

    try:
        assert run_virtual(main()) == 0.0
    finally:
        release.set()
        worker.close()


def test_time_passes_as_it_does_while_a_socket_is_watched() -> None:
    """What another process is about to send is waited for, and a timer is not taken for it."""
    near, far = socket.socketpair()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(sock=near)
        timer = threading.Timer(0.05, far.send, [b"late"])
        timer.start()
        async with asyncio.timeout(3600):
            got = await reader.read(4)
        timer.join()
        writer.close()
        await writer.wait_closed()
        return got

    clock = FakeClock()
    with near, far:
        assert run_virtual(main(), clock=clock) == b"late"
    assert 0.0 < clock.now_s < 3600


def test_a_wait_that_nothing_ends_is_an_error() -> None:
    """A deadlock is told, not waited out."""
    with pytest.raises(WorkerError, match="every task waits, no timer is set"):
        run_virtual(asyncio.Event().wait(), patience_s=0.01)


def test_the_clock_refuses_to_run_backwards() -> None:
    """Time only goes on."""
    clock = FakeClock()
    assert clock.advance(2.5) == clock() == 2.5
    with pytest.raises(ValueError, match="does not run backwards"):
        clock.advance(-1)


def test_a_loop_shares_its_clock() -> None:
    """The loop's time is the clock's, so a state machine and a loop can agree on it."""
    clock = FakeClock(5.0)
    loop = VirtualLoop(clock)
    try:
        clock.advance(1)
        assert loop.time() == 6.0
    finally:
        loop.close()
