"""`Partials`: a reply of some `output` as it comes, growing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Self, TypeVar

from tidemill.calls.wire import Request, Response
from tidemill.errors import StateError
from tidemill.models.clients.asking import Asking
from tidemill.models.clients.feed import Feed, OneTask
from tidemill.models.clients.session import Session
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.messages import Message, Reply
from tidemill.models.structured.asking import ask_until_valid
from tidemill.models.structured.growing import Growing
from tidemill.models.structured.plan import OutputPlan
from tidemill.models.structured.tallies import Tallies

T = TypeVar("T")


class _End(NamedTuple):
    """What the last reply came to."""

    reply: Reply
    output: Any


class Partials(Generic[T]):
    """What there is of a reply so far, each time it has grown; a plain and an async iterator.

    Each is plain JSON with the values that are complete, and of a text that is being written what there is of it. None
    of them is checked: `.output` is, once they have ended. Where the reply does not fit, it is asked again, and the
    iterator goes on with what there is of the next one. Nothing is sent before the first is asked for. Closed or
    dropped before its end, it cancels the call, which the server sees.

    Failure: until the first piece has come, another attempt is made, as of any call, and behind it, too: a reply that
    breaks off is asked for anew, and grows again from nothing.
    """

    def __init__(
        self, owner: object, open_session: Callable[[], Session], asking: Asking, messages: Sequence[Message]
    ) -> None:
        self._owner = owner  # whose going would close the session
        self._end: _End | None = None
        self._feed: Feed[Any] = Feed(open_session, lambda session: _Growing(session, asking, messages))

    @property
    def reply(self) -> Reply:
        """The whole of the last reply, with its usage and the seconds to its first token.

        Raises:
            StateError: it has not ended.
        """
        return self._get_end().reply

    @property
    def output(self) -> T:
        """The validated object.

        Raises:
            StateError: the reply has not ended.
        """
        output: T = self._get_end().output
        return output

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        piece = self._feed.take()
        if not isinstance(piece, _End):
            return piece
        self._finish(piece)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        piece = await self._feed.atake()
        if not isinstance(piece, _End):
            return piece
        self._finish(piece)
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancel the call, if it is in flight; may be called twice."""
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _get_end(self) -> _End:
        if self._end is None:
            raise StateError("the reply has not ended", hint="go through what there is of it to the end first")
        return self._end

    def _finish(self, end: _End) -> None:
        self._end = end
        self._feed.close()


class _Growing(OneTask[Any]):
    """Asks until a reply fits, each reply in pieces: the producer behind `Partials`."""

    def __init__(self, session: Session, asking: Asking, messages: Sequence[Message]) -> None:
        super().__init__(session)
        plan = asking.plan_output(session.model)
        assert plan is not None
        self._lane, self._sending = session.lane, session.send
        self._asking = asking
        self._plan: OutputPlan = plan
        self._messages = messages
        self._tallies = Tallies("", plan)
        self._endpoint = session.endpoint(asking, stream=True)
        self._growing = Growing(plan)

    async def _run(self) -> None:
        asking, plan = self._asking, self._plan
        last: list[Reply] = []

        async def ask(number: int, asked: Sequence[Message]) -> Reply:
            request = self._tallies.mark(self._endpoint.build_request(asked), number)
            send = self._lane.send
            is_call = plan.rung == "tool"
            call = StreamedCall(self._endpoint, send, None if is_call else self._take, self._take if is_call else None)
            reply = await self._sending(request, call.decode, partial(self._send, call))
            last[:] = [reply]
            if (grown := self._growing.finish(plan.read_text(reply))) is not None:
                self._give(grown)
            return reply

        parse = plan.parser.parse_object
        most, ceiling = asking.max_reasks, asking.max_tokens
        output = await ask_until_valid(plan, parse, self._messages, ask, max_reasks=most, max_tokens=ceiling)
        self._give(_End(last[0], output))

    async def _send(self, call: StreamedCall, request: Request, timeout_s: float) -> Response:
        self._growing = Growing(self._plan)  # of this attempt
        return await call.send(request, timeout_s)

    def _take(self, text: str) -> None:
        if (grown := self._growing.add(text)) is not None:
            self._give(grown)
