"""`AgentEvents`: what happens in a run of an agent, as it happens."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tidemill.agents.calling.home import Home
from tidemill.agents.events import Event, Final
from tidemill.agents.result import AgentResult
from tidemill.errors import StateError
from tidemill.models.clients.feed import Feed, OneTask

if TYPE_CHECKING:
    from tidemill.agents.client import AgentSession

Begin = Callable[["AgentSession", Home, Callable[[Event], None]], Coroutine[Any, Any, AgentResult]]
"""Runs the agent on the session's loop, and tells what happens."""


class AgentEvents:
    """The events of one run; a plain and an async iterator, the last of them the `Final` one.

    Nothing is asked before the first is. Taken in a running loop, coroutine tools are called in that loop. Closed or
    dropped before its end, it cancels the run: the model's call and the tools.
    """

    def __init__(self, owner: object, open_session: Callable[[], AgentSession], begin: Begin) -> None:
        self._owner = owner  # whose going would close the session
        self._result: AgentResult | None = None
        self._home = Home()
        self._feed: Feed[Event] = Feed(open_session, lambda session: _Running(session, self._home, begin))

    @property
    def result(self) -> AgentResult:
        """What the run came to.

        Raises:
            StateError: it has not ended.
        """
        if self._result is None:
            raise StateError("the run has not ended", hint="go through its events to the end first")
        return self._result

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self._take(self._feed.take())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._feed.has_begun:
            self._home = Home.here()
        return self._take(await self._feed.atake())

    def close(self) -> None:
        """Cancel the run, if it goes on; may be called twice."""
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _take(self, event: Event) -> Event:
        if isinstance(event, Final) and len(event.agent) == 1:
            self._result = event.result
        return event


class _Running(OneTask[Event]):
    """One run on the session's loop: the producer behind `AgentEvents`."""

    def __init__(self, session: AgentSession, home: Home, begin: Begin) -> None:
        super().__init__(session)
        self._start = partial(begin, session, home, self._give)

    async def _run(self) -> None:
        await self._start()
