"""What a call's response is decoded to in these tests: as little as a lane asks for."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.calls.wire import Response, Usage
from tidemill.errors import TransientCallError


@dataclass
class Answer:
    usage: Usage | None = None
    text: str = ""
    is_cut: bool = False
    first_token_s: float | None = None


def decode_bill(response: Response) -> Answer:
    """An answer with the tokens that the body tells: in and out, or `untold`; `garbage` is none."""
    if response.body == b"garbage":
        raise TransientCallError("garbage")
    return Answer(None if response.body == b"untold" else Usage(*map(int, response.body.split())))
