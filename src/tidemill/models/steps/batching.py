"""Batching: what several records ask for at the same time goes out in one request."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec.structs

from tidemill.calls.lane import Lane
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import ConfigError, PermanentCallError, TransientCallError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_REFUSED = frozenset({400, 413, 422})
"""Answers that blame the request's content: of a batch, one record may be to blame."""


class Batch(Reply, Protocol[T_co]):
    """What the replies to the shares of one request come to, all together.

    Attributes:
        values: of each share, in their order.
    """

    @property
    def values(self) -> Sequence[T_co]: ...


class Joining(Protocol[T_contra]):
    """How shares become one request, and each gets its reply."""

    def join(self, shares: Sequence[Request]) -> Request:
        """The request that asks for all of `shares`."""
        ...

    def measure(self, share: Request) -> int:
        """How much of a batch's room a share takes."""
        ...

    def reply(self, value: T_contra, usage: Usage | None) -> Any:
        """The reply of a share: its value, and its part of the tokens."""
        ...


Commit = Callable[[Any, int], Awaitable[object]]


@dataclass(eq=False)
class _Waiter:
    """One share, and who waits for its reply."""

    share: Request
    decode: Callable[[Response], Any]
    commit: Commit | None
    reply: asyncio.Future[Any]


@dataclass(eq=False)
class _Load:
    """Shares that go out together, and the task that sends them once they are full."""

    waiters: list[_Waiter] = field(default_factory=list)
    size: int = 0
    task: asyncio.Task[None] | None = None


class Batching(Generic[T]):
    """One lane's way out for requests that are shares of larger ones.

    A batch goes once it is full. What is not full goes when no more can join it, as far as `may_join` tells, and fewer
    requests are on their way than may be: while all are, shares gather. No timer is waited for. Each share's reply is
    committed as its own before anybody gets it; the slot is held until all of a batch are.

    A batch that is refused for its content is sent again as two halves, down to the share that is to blame, whose
    record fails alone; every other failure is that of all its shares. Cancelling all of a batch's records cancels it.
    Belongs to one loop.

    Args:
        lane: where requests go out.
        joining: makes requests of shares.
        most: shares in one request.
        most_size: the room of one request, as `joining` measures; a larger share goes alone.

    Attributes:
        may_join: asked while a batch is not full: whether a record that is on its way may still bring a share.
        held: shares that wait for their reply.
    """

    def __init__(self, lane: Lane, joining: Joining[T], *, most: int, most_size: int) -> None:
        self._lane = lane
        self._joining = joining
        self._most = most
        self._most_size = most_size
        self._load = _Load()
        self._sent: set[asyncio.Task[None]] = set()
        self._looks = False
        self.may_join: Callable[[], bool] = lambda: False
        self.held = 0

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Any],
        commit: Commit | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`, of a share: its reply, once it is committed; `decode` makes a `Batch` of a whole response.

        Raises:
            ConfigError: there is a `send`: a request that others share is sent by the lane's transport.
        """
        if send is not None:
            message = "a request that several records share is sent by its lane's transport, and got a `send` of one"
            raise ConfigError(message, hint="call the lane itself")
        waiter = _Waiter(request, decode, commit, asyncio.get_running_loop().create_future())
        load = self._join(waiter)
        self.held += 1
        try:
            return await waiter.reply
        except asyncio.CancelledError:
            await self._leave(load)
            raise
        finally:
            self.held -= 1

    def look_soon(self) -> None:
        """Send the batch at hand if nothing is left to wait for once this turn of the loop is over."""
        if self._load.waiters and not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_soon(self._look)

    async def close(self) -> None:
        """End what is on its way and wait until it has ended; call it once nobody asks any more."""
        for task in self._sent:
            task.cancel()
        if self._sent:
            await asyncio.wait(self._sent)

    def _join(self, waiter: _Waiter) -> _Load:
        size = self._joining.measure(waiter.share)
        if self._load.waiters and self._load.size + size > self._most_size:
            self._send()
        load = self._load
        load.waiters.append(waiter)
        load.size += size
        if len(load.waiters) >= self._most or load.size >= self._most_size:
            self._send()
        else:
            self.look_soon()
        return load

    def _look(self) -> None:
        self._looks = False
        if self._load.waiters and len(self._sent) < self._lane.limit and not self.may_join():
            self._send()

    def _send(self) -> None:
        load, self._load = self._load, _Load()
        load.task = asyncio.get_running_loop().create_task(self._deliver(load.waiters))
        self._sent.add(load.task)
        load.task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._sent.discard(task)
        if not task.cancelled():
            task.result()  # everything is told to those who wait; what is left would be a fault of ours
        self.look_soon()

    async def _leave(self, load: _Load) -> None:
        """End what nobody waits for any more, and wait until it has ended."""
        if load.task is None:
            load.waiters = [waiter for waiter in load.waiters if not waiter.reply.done()]
            load.size = sum(self._joining.measure(waiter.share) for waiter in load.waiters)
        elif all(waiter.reply.done() for waiter in load.waiters):
            load.task.cancel()
            await asyncio.wait([load.task])

    async def _deliver(self, waiters: Sequence[_Waiter]) -> None:
        """Send the shares of those who still wait; each is told its reply, or why there is none."""
        waiters = [waiter for waiter in waiters if not waiter.reply.done()]
        if not waiters:
            return
        try:
            await self._call(waiters)
        except PermanentCallError as error:
            if len(waiters) == 1 or error.status not in _REFUSED:
                _fail(waiters, error)
                return
            half = len(waiters) // 2
            await asyncio.gather(self._deliver(waiters[:half]), self._deliver(waiters[half:]))
        except Exception as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            _fail(waiters, error)

    async def _call(self, waiters: Sequence[_Waiter]) -> None:
        shares = [waiter.share for waiter in waiters]
        replies: list[Any] = []

        def decode(response: Response) -> Batch[T]:
            batch: Batch[T] = waiters[0].decode(response)
            if len(batch.values) != len(shares):
                raise TransientCallError(f"expected a reply to each of {len(shares)} shares, got {len(batch.values)}")
            return batch

        async def commit_all(batch: Batch[T], attempts: int) -> None:
            usages = share_out(batch.usage, [self._joining.measure(share) for share in shares])
            replies.extend(map(self._joining.reply, batch.values, usages))
            commits = zip(waiters, replies, strict=True)
            await asyncio.gather(*(waiter.commit(reply, attempts) for waiter, reply in commits if waiter.commit))

        await self._lane.call(self._joining.join(shares), decode, commit_all)
        for waiter, reply in zip(waiters, replies, strict=True):
            if not waiter.reply.done():
                waiter.reply.set_result(reply)


def share_out(usage: Usage | None, sizes: Sequence[int]) -> list[Usage | None]:
    """`usage` in parts by `sizes`, whose sums are `usage` to the token."""
    if usage is None:
        return [None] * len(sizes)
    columns = [_share_out(amount, sizes) for amount in msgspec.structs.astuple(usage)]
    return [Usage(*parts) for parts in zip(*columns, strict=True)]


def _share_out(amount: int, sizes: Sequence[int]) -> list[int]:
    """`amount` in whole parts by `sizes`: each what is due up to it, less what was given before."""
    total = sum(sizes) or len(sizes)
    parts, passed, given = [], 0, 0
    for size in sizes if sum(sizes) else [1] * len(sizes):
        passed += size
        due = amount * passed // total
        parts.append(due - given)
        given = due
    return parts


def _fail(waiters: Sequence[_Waiter], error: Exception) -> None:
    """Tell each that it failed; each gets an error of its own, which it may add to."""
    for waiter in waiters:
        if not waiter.reply.done():
            waiter.reply.set_exception(copy.copy(error))
