"""Coalescing: identical requests that are in flight at the same time are sent once."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

from tidemill.calls.lane import Lane
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.wire import Request, Response
from tidemill.errors import PermanentCallError

Commit = Callable[[Any, int], Awaitable[object]]

_Followers = list[tuple[asyncio.Future[tuple[Any] | None], Commit | None]]
"""Who waits for the reply: given it in a tuple, or None where one of them has to send the request anew."""


class Coalescing:
    """One lane's way out for requests whose reply is the same whoever asks, such as those at temperature 0.

    The first of several requests with the same body leads: it is sent. The others wait for its reply, and each commits
    it as its own, with 0 attempts, before any of them gets it; the leader's slot is held until then. A failure that the
    same request would meet again, or of the commits, is theirs too. Where the leader was cancelled, or failed by what
    is its own (time, budget, a stopped lane), the first of the others leads in its place. A request that comes once the
    reply is there is sent again. Belongs to one loop.

    Args:
        lane: where requests go out.
        meter: where those that were not sent are counted.
    """

    def __init__(self, lane: Lane, meter: Meter) -> None:
        self._lane = lane
        self._meter = meter
        self._flying: dict[bytes, _Followers] = {}

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Reply],
        commit: Commit | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`: the value of the answer, once it is committed."""
        while (followers := self._flying.get(request.body)) is not None:
            future: asyncio.Future[tuple[Any] | None] = asyncio.get_running_loop().create_future()
            followers.append((future, commit))
            told = await future
            if told is not None:
                return told[0]
        return await self._lead(request, decode, commit, send)

    async def _lead(
        self, request: Request, decode: Callable[[Response], Reply], commit: Commit | None, send: Send | None
    ) -> Any:
        followers = self._flying[request.body] = []

        async def commit_all(value: Any, attempts: int) -> None:
            del self._flying[request.body]  # whoever comes from here on would be committed apart
            commits = [(commit, attempts), *((each, 0) for future, each in followers if not future.done())]
            try:
                await asyncio.gather(*(each(value, count) for each, count in commits if each is not None))
            except Exception as error:
                _fail(followers, error)
                raise
            self._settle(followers, value)

        try:
            return await self._lane.call(request, decode, commit_all, send=send)
        except PermanentCallError as error:
            _fail(followers, error)
            raise
        finally:
            if self._flying.get(request.body) is followers:
                del self._flying[request.body]
            for future, _ in followers:
                if not future.done():
                    future.set_result(None)

    def _settle(self, followers: _Followers, value: Any) -> None:
        for future, _ in followers:
            if not future.done():
                future.set_result((value,))
                self._meter.coalesced += 1


def _fail(followers: _Followers, error: Exception) -> None:
    """Tell each that it fails as the leader does; each gets an error of its own, which it may add to."""
    for future, _ in followers:
        if not future.done():
            future.set_exception(copy.copy(error))
