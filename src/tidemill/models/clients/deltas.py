"""`Deltas`: one reply as it comes, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from tidemill.calls.wire import Request, Response
from tidemill.errors import CallError, PermanentCallError, StateError, TransientCallError
from tidemill.models.clients.asking import Asking
from tidemill.models.clients.feed import Feed, OneTask
from tidemill.models.clients.session import Session
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.messages import Message, Reply


class Deltas:
    """The text of a reply, in the pieces it comes in; a plain and an async iterator.

    Nothing is sent before the first is asked for. Until the first has come, a failed attempt is followed by another, as
    of any call; behind it a failure is raised, since what came cannot be taken back. Closed or dropped before its end,
    it cancels the call, which the server sees.
    """

    def __init__(
        self, owner: object, open_session: Callable[[], Session], asking: Asking, messages: Sequence[Message]
    ) -> None:
        self._owner = owner  # whose going would close the session
        self._reply: Reply | None = None
        self._feed: Feed[str | Reply] = Feed(
            open_session, lambda session: _Streaming(session, session.endpoint(asking, stream=True), messages)
        )

    @property
    def reply(self) -> Reply:
        """The whole reply, with its usage and the seconds to its first token.

        Raises:
            StateError: it has not ended.
        """
        if self._reply is None:
            raise StateError("the reply has not ended", hint="go through its text to the end first")
        return self._reply

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = self._feed.take()
        if isinstance(piece, str):
            return piece
        self._end(piece)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        piece = await self._feed.atake()
        if isinstance(piece, str):
            return piece
        self._end(piece)
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancel the call, if it is in flight; may be called twice."""
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _end(self, reply: Reply) -> None:
        self._reply = reply
        self._feed.close()


class _Streaming(OneTask[str | Reply]):
    """Makes one call whose reply comes in pieces: the producer behind `Deltas`."""

    def __init__(self, session: Session, endpoint: Endpoint, messages: Sequence[Message]) -> None:
        super().__init__(session)
        self._sending = session.send
        self._endpoint = endpoint
        self._messages = messages
        self._call = StreamedCall(endpoint, session.lane.send, self._take)
        self._characters = 0

    async def _run(self) -> None:
        request = self._endpoint.build_request(self._messages)
        reply = await self._sending(request, self._decode, self._send)
        if not self._characters and reply.text:  # an endpoint that sends it whole all the same
            self._give(reply.text)
        self._give(reply)

    async def _send(self, request: Request, timeout_s: float) -> Response:
        try:
            return await self._call.send(request, timeout_s)
        except TransientCallError as exc:
            raise self._judge(exc) from exc

    def _decode(self, response: Response) -> Reply:
        try:
            return self._call.decode(response)
        except TransientCallError as exc:
            raise self._judge(exc) from exc

    def _take(self, text: str) -> None:
        self._characters += len(text)
        self._give(text)

    def _judge(self, error: CallError) -> CallError:
        """`error`, which is worth no other attempt once there was text."""
        if not self._characters:
            return error
        return PermanentCallError(
            f"the reply broke off after {self._characters:,} characters: {error.message}",
            where=error.where,
            hint="ask again for the whole of it",
            status=error.status,
        )
