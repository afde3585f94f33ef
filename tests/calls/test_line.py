import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.admission.line import Line

EVENTS = st.lists(st.tuples(st.sampled_from(["join", "again", "cancel", "grant", "late"]), st.integers(0, 50)))


@given(EVENTS)
def test_each_is_granted_one_in_turn_and_nothing_is_lost(events: list[tuple[str, int]]) -> None:
    """Those who come again first; whoever is cancelled leaves, or passes on what it was already given."""
    assert asyncio.run(follow(events)) == []


async def follow(events: list[tuple[str, int]]) -> list[int]:
    """What was granted to somebody gone and passed on to nobody, each step checked."""
    line: Line[int, int] = Line()
    new: list[int] = []
    again: list[int] = []
    got: dict[int, int] = {}
    tasks: dict[int, asyncio.Task[None]] = {}
    passed_on: list[int] = []
    given_out = 0

    async def stand(number: int, is_again: bool) -> None:
        got[number] = await line.wait(line.join(number, again=is_again), passed_on.append)

    for number, (what, pick) in enumerate(events):
        waiting = again + new
        if what in {"join", "again"}:
            tasks[number] = asyncio.create_task(stand(number, what == "again"))
            (again if what == "again" else new).append(number)
            await asyncio.sleep(0)
        elif what == "cancel" and waiting:
            gone = waiting[pick % len(waiting)]
            await cancel(tasks[gone])
            (again if gone in again else new).remove(gone)
        elif waiting:
            assert line.first == waiting[0]
            line.grant(given_out)
            (again or new).pop(0)
            if what == "late":
                await cancel(tasks[waiting[0]])
                assert passed_on.pop() == given_out
            else:
                await tasks[waiting[0]]
                assert got[waiting[0]] == given_out
            given_out += 1
        assert list(line) == again + new
        assert bool(line) == bool(again or new)
        assert line.is_next(again=True) == (not again)
        assert line.is_next(again=False) == (not again and not new)
    for number in again + new:
        await cancel(tasks[number])
    assert not line
    return passed_on


async def cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
