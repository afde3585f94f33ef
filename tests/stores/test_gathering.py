"""What is asked at once goes together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tidemill.stores.gathering import Gathering


class Far:
    """Answers each with its double, run by run, when it is let."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.let = asyncio.Semaphore(0)

    async def answer(self, asked: Sequence[int]) -> Sequence[int]:
        self.runs.append(list(asked))
        await self.let.acquire()
        if 13 in asked:
            raise KeyError(13)
        return [2 * each for each in asked]


@pytest.fixture
def far() -> Far:
    return Far()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_one_is_under_way_goes_together_in_order(far: Far) -> None:
    gathering: Gathering[int, int] = Gathering(far.answer, most=4, slots=1)
    tasks = [asyncio.ensure_future(gathering.ask(number, weight=1)) for number in range(7)]
    await settle()
    assert far.runs == [[0]]
    for _ in range(3):
        far.let.release()
        await settle()
    assert far.runs == [[0], [1, 2, 3, 4], [5, 6]]
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12]
    await gathering.close()


async def test_only_equal_keys_go_together_and_one_that_is_too_heavy_goes_alone(far: Far) -> None:
    gathering: Gathering[int, int] = Gathering(far.answer, most=4, slots=1)
    asked = [(0, "a", 1), (1, "a", 9), (2, "b", 1), (3, "a", 1), (4, "b", 1)]
    tasks = [asyncio.ensure_future(gathering.ask(each, key=key, weight=weight)) for each, key, weight in asked]
    for _ in range(4):
        far.let.release()
        await settle()
    assert far.runs == [[0], [1], [2, 4], [3]]
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]


async def test_an_error_is_told_to_all_in_its_run_and_to_no_other(far: Far) -> None:
    gathering: Gathering[int, int] = Gathering(far.answer, most=4, slots=1)
    tasks = [asyncio.ensure_future(gathering.ask(number, weight=1)) for number in (1, 13, 2)]
    for _ in range(2):
        far.let.release()
        await settle()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert first == 2
    assert [type(each) for each in others] == [KeyError, KeyError]
    far.let.release()
    assert await gathering.ask(3, weight=1) == 6


async def test_cancelling_one_takes_it_out_of_the_line_and_spares_those_beside_it(far: Far) -> None:
    gathering: Gathering[int, int] = Gathering(far.answer, most=4, slots=1)
    tasks = [asyncio.ensure_future(gathering.ask(number, weight=1)) for number in range(4)]
    await settle()
    tasks[0].cancel()  # under way
    tasks[2].cancel()  # waiting
    for _ in range(2):
        far.let.release()
        await settle()
    assert far.runs == [[0], [1, 3]]
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each if isinstance(each, int) else type(each) for each in ended] == [
        asyncio.CancelledError,
        2,
        asyncio.CancelledError,
        6,
    ]


async def test_closing_breaks_off_what_is_under_way(far: Far) -> None:
    gathering: Gathering[int, int] = Gathering(far.answer, most=4, slots=2)
    tasks = [asyncio.ensure_future(gathering.ask(number, key=number, weight=1)) for number in range(2)]
    await settle()
    assert far.runs == [[0], [1]]
    await gathering.close()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
