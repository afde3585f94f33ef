"""Those who wait for something, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

W = TypeVar("W")
G = TypeVar("G")


class Line(Generic[W, G]):
    """Those who wait, each wanting a W, first in first out; each is granted one G. Belongs to one event loop.

    Whoever comes again goes before all who are new. Who is cancelled while waiting leaves the line; who is cancelled
    with the grant already in hand passes it on.
    """

    __slots__ = ("_again", "_new")

    def __init__(self) -> None:
        self._new: deque[tuple[asyncio.Future[G], W]] = deque()
        self._again: deque[tuple[asyncio.Future[G], W]] = deque()

    def __bool__(self) -> bool:
        return bool(self._new or self._again) and self._find_front() is not None

    def __iter__(self) -> Iterator[W]:
        """What those who wait want, the first one's first."""
        return (want for line in (self._again, self._new) for future, want in line if not future.done())

    @property
    def first(self) -> W:
        """What the first one wants; of a line that is true."""
        front = self._find_front()
        assert front is not None
        return front[0][1]

    def is_next(self, *, again: bool) -> bool:
        """Whether one that comes now, again or new, waits for nobody."""
        if not (self._new or self._again):
            return True
        front = self._find_front()
        return front is None or (again and front is self._new)

    def grant(self, value: G) -> None:
        """Give `value` to the first; of a line that is true."""
        front = self._find_front()
        assert front is not None
        front.popleft()[0].set_result(value)

    def join(self, want: W, *, again: bool = False) -> asyncio.Future[G]:
        """A place in the line, for `wait`."""
        future: asyncio.Future[G] = asyncio.get_running_loop().create_future()
        (self._again if again else self._new).append((future, want))
        return future

    async def wait(self, place: asyncio.Future[G], pass_on: Callable[[G], object]) -> G:
        """What is granted to this place; when it is cancelled too late to be skipped, that goes to `pass_on`."""
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled():
                pass_on(place.result())
            raise

    def _find_front(self) -> deque[tuple[asyncio.Future[G], W]] | None:
        """The part of the line whose first one is next, those gone dropped; None when nobody waits."""
        for line in (self._again, self._new):
            while line and line[0][0].done():
                line.popleft()
            if line:
                return line
        return None
