"""`Adapted`: a JSON Schema as a provider takes it, and what that took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Dropped(NamedTuple):
    """A keyword that a provider does not hold replies to.

    Attributes:
        path: where it stands: `$.parts[].name`, `$defs.Part.name` within a definition.
        keyword: of JSON Schema.
        told: what becomes of it, in words. Whatever it is, the reply is checked against the whole schema.
    """

    path: str
    keyword: str
    told: str

    def __str__(self) -> str:
        return f"{self.path}: `{self.keyword}` {self.told}"


@dataclass(frozen=True, slots=True)
class Adapted:
    """What a dialect makes of a schema.

    Attributes:
        schema: in the words of the dialect; of no use where something is forbidden.
        dropped: what it does not hold replies to and the check after the reply does.
        forbidden: structure it has no words for, one sentence each: another rung is taken then.
    """

    schema: Mapping[str, Any]
    dropped: tuple[Dropped, ...] = ()
    forbidden: tuple[str, ...] = ()

    @property
    def loses_nothing(self) -> bool:
        """Whether the schema means the same as before."""
        return not self.dropped and not self.forbidden
