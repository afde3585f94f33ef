"""A reply as an event stream, whatever the wire format: fed piece by piece, and whole or wrong at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from tidemill.errors import CallError, TransientCallError
from tidemill.models.formats.sse import EventParser
from tidemill.models.messages import Reply


class EventReply(ABC):
    """A `ReplyStream` of server-sent events; a format says what one of them means, and what all came to.

    Args:
        keys: what the reply is masked of.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = keys
        self._parser = EventParser()
        self._texts: list[str] = []
        self._arguments: list[str] = []
        self._reason = ""
        self._is_done = False
        self._error: CallError | None = None

    def feed(self, chunk: bytes) -> str:
        """The text that `chunk` adds to the reply."""
        before = len(self._texts)
        for event in self._parser.feed(chunk):
            if self._error is None and not self._is_done:
                self._take(event.data)
        return "".join(self._texts[before:])

    def take_arguments(self) -> str:
        """What the arguments of tool calls have grown by since this was last asked."""
        taken, self._arguments = self._arguments, []
        return "".join(taken)

    def reply(self) -> Reply:
        """The reply, once its body has ended.

        Raises:
            TransientCallError: it was cut, held no reply, or told of an error that may pass.
            PermanentCallError: it told of another error.
        """
        if self._error is not None:
            raise self._error
        if not (self._is_done or self._reason):
            raise TransientCallError("the stream ended before the reply did")
        return self._make().masked(self._keys)

    @abstractmethod
    def _take(self, data: bytes) -> None:
        """Take in one event; what is wrong with it becomes `_error`."""

    @abstractmethod
    def _make(self) -> Reply:
        """The reply that the events came to."""
