"""`Switch`: one piece of state of many objects, set for a block and put back as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import compress, repeat
from operator import is_, is_not
from typing import Any

from tidemill.resources.releasing import note_failures


class Held:
    """What the objects of one block had when it began.

    Attributes:
        objects: each once.
        before: what each had, in their order.
        changed: how many had something else than the block gives them.
    """

    __slots__ = ("_due", "before", "changed", "objects")

    def __init__(self, objects: list[Any], before: list[Any]) -> None:
        self.objects = objects
        self.before = before
        self.changed = 0
        self._due: dict[int, tuple[Any, Any]] | None = None

    @property
    def due(self) -> dict[int, tuple[Any, Any]]:
        """What it puts back: objects by identity, each with its state; blocks that end before others change it."""
        if self._due is None:
            self._due = dict(zip(map(id, self.objects), zip(self.objects, self.before, strict=True), strict=True))
        return self._due

    @property
    def is_own(self) -> bool:
        """Whether it puts back what it saw itself."""
        return self._due is None


class Switch:
    """A piece of state that objects have, and the blocks that hold it. Threads: any.

    Blocks over one object may end in any order: one that ends under another hands what it saw down to that, so that
    the last to end puts back what the first one saw, and nested ones each what they saw themselves.

    Args:
        read: the state of each of some objects, in order; states that are equal are the same.
        write: gives objects a state; it may be called for one again.
        rewrite: gives each object its own state, whatever it has, which takes less time than to look first; False, with
            nothing done, where one of them would notice.
    """

    def __init__(
        self,
        read: Callable[[Iterable[Any]], Iterable[Any]],
        write: Callable[[Sequence[Any], Any], object],
        rewrite: Callable[[Sequence[Any], Sequence[Any]], bool] = lambda objects, states: False,
    ) -> None:
        self._read = read
        self._write = write
        self._rewrite = rewrite
        self._lock = threading.RLock()  # guards the list, the blocks in it, the objects' state; a finalizer may enter
        self._open: list[Held] = []  # in the order in which they began

    def hold(self, objects: list[Any], value: Any) -> Held:
        """Give each object `value` where it has another, until `release`.

        Raises:
            BaseException: what an object raised; all have their own state again.
        """
        with self._lock:
            held = Held(objects, list(self._read(objects)))
            try:
                self._open.append(held)
                right = held.before.count(value)
                if right < len(objects):
                    wrong = list(compress(objects, map(is_not, held.before, repeat(value)))) if right else objects
                    held.changed = len(wrong)
                    self._write(wrong, value)
            except BaseException as error:
                note_failures(error, self.release(held))
                raise
            return held

    def release(self, held: Held) -> list[BaseException]:
        """Put back what `held` saw, or hand it to the blocks that hold on; gives what failed, all else being done."""
        with self._lock:
            place = self._open.index(held)
            del self._open[place]
            for later in self._open[place:]:
                due, theirs = held.due, later.due
                theirs.update((key, due.pop(key)) for key in due.keys() & theirs.keys())
            if held.is_own:
                return self._put_back(held.objects, held.before, is_changed=held.changed > 0)
            return self._put_back([each for each, _ in held.due.values()], [was for _, was in held.due.values()])

    def _put_back(self, objects: list[Any], due: list[Any], *, is_changed: bool = False) -> list[BaseException]:
        failures: list[BaseException] = []
        try:
            if is_changed and self._rewrite(objects, due):
                return failures
            changed = self._find_changed(objects, due)
        except BaseException as failure:  # noqa: BLE001 - one cannot be read: all are written, and what fails is told
            failures += [] if isinstance(failure, Exception) else [failure]  # a signal's does not come again
            changed = [(was, [each]) for each, was in zip(objects, due, strict=True)]
        for was, group in changed:
            try:
                self._write(group, was)
            except BaseException as failure:  # noqa: BLE001 - each is written by itself then, and what fails is told
                failures += [] if isinstance(failure, Exception) else [failure]  # a signal's does not come again
                failures += [again for each in group for again in self._write_one(each, was)]
        return failures

    def _write_one(self, each: Any, state: Any) -> list[BaseException]:
        """Give one object its state; what failed. A signal in the midst has the write made again."""
        failures: list[BaseException] = []
        while len(failures) < 2:
            try:
                self._write((each,), state)
                return failures
            except BaseException as failure:  # noqa: BLE001 - told by whoever leaves the block
                failures.append(failure)
                if isinstance(failure, Exception):
                    return failures
        return failures

    def _find_changed(self, objects: list[Any], due: list[Any]) -> list[tuple[Any, list[Any]]]:
        """The objects whose state is not what is due, by that."""
        now = list(self._read(objects))
        if now == due:
            return []
        wrong = list(compress(objects, map(is_not, now, due)))
        states = list(compress(due, map(is_not, now, due)))
        if states.count(states[0]) == len(states):
            return [(states[0], wrong)]
        distinct = {id(was): was for was in states}.values()
        return [(was, list(compress(wrong, map(is_, states, repeat(was))))) for was in distinct]
