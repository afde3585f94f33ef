"""What crosses the transport: a request as sent, a response as received, what it used, and how it can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from tidemill.errors import PermanentCallError, TransientCallError


class Usage(Struct, frozen=True, gc=False):
    """Tokens a call was billed for, as the server reported them.

    Attributes:
        input_tokens: all of the input, whatever it was billed at.
        output_tokens: all of the output, reasoning included.
        cached_tokens: of the input, those read from the provider's prompt cache.
        cache_write_tokens: of the input, those written to it.
        reasoning_tokens: of the output, those the model thought with.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing of it is told apart."""
        return not (self.cached_tokens or self.cache_write_tokens or self.reasoning_tokens)


OnChunk = Callable[[bytes], object]
"""Gets a piece of a response's body; what it raises ends the attempt."""


class Tally(NamedTuple):
    """Under what a request's answer is counted besides all others: what `Request.tally` holds.

    Attributes:
        label: of the share, its parts put together by `/`: `label/schema/re-ask`.
        look: gets the decoded answer and names what is counted in it, `repaired` say; raises nothing.
        beside: as `look`, for what is counted in other shares: the label of each, and the name.
    """

    label: str
    look: Callable[[Any], Iterable[str]] | None = None
    beside: Callable[[Any], Iterable[tuple[str, str]]] | None = None


class Request(Struct, frozen=True):
    """One outside request, ready to send.

    Attributes:
        url: the full address.
        headers: as sent, credentials included: never logged, never stored, never in a fingerprint.
        body: the JSON bytes as sent; what a call's key hashes.
        max_output_tokens: the ceiling the request itself sets on its output, None when it sets none.
        max_input_tokens: the most its input can come to, None where that is its body's bytes.
        on_chunk: gets the body of a successful response piece by piece, decoded, as it arrives; the response holds
            the whole body all the same.
        is_priced: whether its tokens cost what its lane's price says.
        method: as HTTP names it, in upper case.
        tally: under what its answer is counted besides all others.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    max_output_tokens: int | None = None
    max_input_tokens: int | None = None
    on_chunk: OnChunk | None = None
    is_priced: bool = True
    method: str = "POST"
    tally: Tally | None = None

    @property
    def is_free(self) -> bool:
        """Whether it costs no tokens, whatever becomes of it, as a user's function does."""
        return self.max_input_tokens == 0 and self.max_output_tokens == 0


class Response(Struct, frozen=True):
    """A complete response: `headers` found by lower-case name, `body` the whole bytes, or the first where `is_cut`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False


class UnreachableError(TransientCallError):
    """No connection: the name, the connect or the TLS handshake failed. Nothing was sent, so nothing is billed.

    The message is the reason alone: `connection refused`.
    """


class UnsentError(PermanentCallError):
    """It cannot be sent, by this or any other attempt. Nothing was sent, so nothing is billed."""


NOT_SENT = (UnreachableError, UnsentError)


class AttemptTimeoutError(TransientCallError):
    """Sent, and not answered whole in time. The far side may have billed it."""


class Transport(Protocol):
    """One method and a close: how bytes get to the far side. A fake is a class with these two."""

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response to `request`, read whole within `timeout_s` seconds, whatever its status.

        Raises:
            UnreachableError: no connection came about.
            AttemptTimeoutError: it was sent and took too long.
            TransientCallError: the connection was cut; foreign errors are mapped here and nowhere else.
            UnsentError: the request cannot be sent at all, such as to a malformed address.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
