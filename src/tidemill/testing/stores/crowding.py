"""Many tasks, handles and records at once."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import numpy as np

from tidemill.testing.stores.searching import score
from tidemill.testing.stores.subject import StoreSubject, check_kinds, count_open, count_settled, draw_vectors

WRITERS = 50
KEYS = [f"key {number}" for number in range(20)]
LATER = [f"later {number}" for number in range(20)]
CANCELLED = 1_000
DIMENSIONS = 32
MIN_RECALL = 0.95

AT_ONCE, TURNS = 50, 1_000
"""Operations that are begun together, and how often, at most, until enough were broken off."""

_BLOCKING = frozenset(
    {"open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.scandir", "subprocess.Popen", "time.sleep"}
)
"""Of what Python tells its audit hooks, that which waits in the thread that does it (Python, audit events table)."""
_watched: dict[int, list[str]] = {}
"""What each thread that is watched has waited for, by its number."""


async def check_many_writers_leave_no_duplicate(subject: StoreSubject) -> None:
    """50 writers of 20 keys, by two handles of which one had gone stale: 20 records, each as one writer left it."""
    settings = subject.make(dimensions=4)
    async with settings.open() as one, settings.open() as other:
        assert await other.count() == 0
        await one.upsert(["old"], draw_vectors(1))
        await asyncio.gather(
            *(
                (one, other)[writer % 2].upsert(KEYS, draw_vectors(20, seed=writer), [{"by": writer}] * 20)
                for writer in range(WRITERS)
            )
        )
        for store in (one, other):
            assert await store.count() == 21
            (matches,) = await store.search(draw_vectors(1), 100)
            assert sorted(match.id for match in matches) == sorted([*KEYS, "old"])
            found = await store.fetch(KEYS, with_vectors=True)
            for place, match in enumerate(found):
                assert match is not None
                assert match.vector is not None
                wanted = draw_vectors(20, seed=match.payload["by"])[place]
                assert np.allclose(match.vector, wanted, atol=1e-5), "a vector of one writer beside another's payload"
        await one.flush()
        await asyncio.gather(
            *((one, other)[number % 2].upsert(LATER, draw_vectors(20), [{"by": number}] * 20) for number in range(10))
        )
        assert await other.count() == 41
        assert await one.delete(LATER) == 20
        await one.upsert(KEYS, draw_vectors(20, seed=99), [{"by": 99}] * 20)
        assert [match and match.payload["by"] for match in await other.fetch(KEYS)] == [99] * 20
        assert await other.delete(["old"]) == 1
        assert await one.count() == 20


async def check_cancelling_leaks_nothing(subject: StoreSubject) -> None:
    """1,000 operations are cancelled at any point, most while they wait for their turn: the store goes on, none leaks.

    Those of a store that never waits have ended before anybody can break them off.
    """
    async with subject.make(dimensions=4).open() as store:
        vectors = draw_vectors(20)

        def start(number: int) -> Any:
            if number % 4 == 0:
                return store.upsert(KEYS, vectors)
            return store.fetch(KEYS[:3]) if number % 4 == 1 else store.search(vectors[:1], 3)

        await asyncio.gather(*map(start, range(40)))  # what is opened when it is first needed
        before = count_open()
        cancelled = turn = 0
        while cancelled < CANCELLED and turn < (TURNS if subject.waits else CANCELLED // AT_ONCE):
            tasks = [asyncio.ensure_future(start(number)) for number in range(AT_ONCE)]
            for task in tasks[turn % 20 :]:
                await asyncio.sleep(0)
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [each for each in ended if isinstance(each, Exception)]
            assert not failed, failed[:3]
            cancelled += sum(task.cancelled() for task in tasks)
            turn += 1
        if subject.waits:
            assert cancelled >= CANCELLED, f"{cancelled} of {CANCELLED} were broken off; is it that it never `waits`?"
        else:
            assert cancelled == 0, f"{cancelled} were broken off, of a store that never `waits`"
        check_kinds(await store.upsert(KEYS, vectors), "s" * 20)
        assert await store.count() == 20
        await asyncio.gather(*map(start, range(40)))
        most = before + subject.spare
        assert await count_settled(most) <= most, "descriptors or threads were left by what was cancelled"


async def check_many_do_not_stall_the_loop(subject: StoreSubject) -> None:
    """100,000 records are put in, counted, indexed, found as by comparing nearly all; the loop turns all the while."""
    many, at_once = subject.many, subject.many // 5
    held = draw_vectors(many, DIMENSIONS)
    queries = draw_vectors(64, DIMENSIONS, seed=1)
    keys = [str(number) for number in range(many)]
    payloads = [{"number": number % 10} for number in range(many)]
    async with subject.make(dimensions=DIMENSIONS, fields={"number": "int"}).open() as store:
        async with Stalls() as stalls:
            for start in range(0, many, at_once):
                stop = start + at_once
                outcomes = await store.upsert(keys[start:stop], held[start:stop], payloads[start:stop])
                assert {outcome.kind for outcome in outcomes} == {"stored"}
            assert await store.count() == many
            assert await store.count({"number": 3}) == many // 10
            await store.flush()
            found = await store.search(queries, 10)
            few = await store.search(queries[:8], 10, {"number": 3})
            await store.search(queries, 200)
        recall = measure_recall(found, score(held, queries, "cosine"))
        assert recall >= MIN_RECALL, f"{recall:.3f} of the nearest were found"
        passing = np.arange(many) % 10 == 3
        recall = measure_recall(few, np.where(passing, score(held, queries[:8], "cosine"), -2))
        assert recall >= MIN_RECALL, f"{recall:.3f} of the nearest that a filter lets pass were found"
        assert not stalls.blocking, f"the loop waited itself for {stalls.blocking[:3]}"
        assert stalls.longest_cpu_s <= subject.stall_cpu_s, f"the loop stood still: {stalls}"
        assert stalls.turns >= 20, f"the loop stood still: {stalls}"


def measure_recall(found: Any, scores: Any) -> float:
    """How many of the nearest by `scores` (queries, vectors) are among the matches."""
    k = max(len(matches) for matches in found)
    nearest = np.argpartition(-scores, k, axis=1)[:, :k]
    hits = [
        len({int(match.id) for match in each} & set(row)) for each, row in zip(found, nearest.tolist(), strict=True)
    ]
    return sum(hits) / nearest.size


class Stalls:
    """Counts the turns of the loop within its block, and what the longest took.

    What was there before is kept from the garbage collector meanwhile: going through it would count as a stall.

    Attributes:
        turns: of the loop.
        longest_s: that one took, on the wall clock: also what others on the machine took of it.
        longest_cpu_s: that one took of the loop's own thread: what ran in the loop.
        blocking: what the loop's own thread asked of the disk and waited for. How long it stood still does not tell of
            it: Python's one lock, which other threads hold, lets it wait as long.
    """

    def __init__(self) -> None:
        self.turns = 0
        self.longest_s = 0.0
        self.longest_cpu_s = 0.0
        self.blocking: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"{self.turns} turns, the longest {self.longest_s:.3f} s, {self.longest_cpu_s:.3f} s of it in the loop"

    async def __aenter__(self) -> Self:
        gc.collect()
        gc.freeze()
        _add_hook()
        _watched[threading.get_ident()] = self.blocking
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        del _watched[threading.get_ident()]
        self._task.cancel()
        await asyncio.wait([self._task])
        gc.unfreeze()

    async def _watch(self) -> None:
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.002)
            now_s, used_s = time.perf_counter(), time.thread_time()
            self.turns += 1
            self.longest_s = max(self.longest_s, now_s - wall_s - 0.002)
            self.longest_cpu_s = max(self.longest_cpu_s, used_s - cpu_s)
            wall_s, cpu_s = now_s, used_s


@functools.cache
def _add_hook() -> None:
    """Have Python tell what is watched for; once, since no hook is taken out again."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in _BLOCKING and (seen := _watched.get(threading.get_ident())) is not None:
        seen.append(f"{event} {arguments[0]!r}" if arguments else event)
