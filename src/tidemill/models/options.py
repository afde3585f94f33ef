"""What a model is asked for besides the messages, whatever its wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is to answer; what is None is left to the endpoint.

    Attributes:
        max_tokens: the most tokens a reply may have, reasoning included.
        output: the Pydantic model that a reply must be of, as JSON.
        stream: whether the reply is to come piece by piece.
        params: fields of the request's body passed through verbatim, in the words of the wire format.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    output: type[BaseModel] | None = None
    stream: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
