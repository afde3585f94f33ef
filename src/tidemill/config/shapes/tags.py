"""What tells the members of a tagged union apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

TAG = "tidemill_tag"
"""The metadata key under which a schema of ours, a union or a member of one, holds its `Tag`."""

HAS_FIELD = "tidemill_has_tag"
"""The metadata key under which a member's schema says whether its class has a field for the tag."""


class Finder(Protocol):
    """Where members of an open union are found by name."""

    def find_schema(self, name: str, folder: Path | None) -> Mapping[str, Any]:
        """The core schema, a union of one, of the member with this name; modules are sought in `folder` first.

        Raises:
            PydanticCustomError: there is none, or it cannot be loaded.
        """

    def iter_names(self) -> Iterator[str]:
        """The names that are known without loading anything."""


@dataclass(frozen=True, eq=False, slots=True)
class Tag:
    """The key whose value names a union's member.

    Attributes:
        default: the name that is meant where the key is missing; None when it must be there.
        schema: the core schema of the key's own value.
        name: the tag of an instance of a member; None of anything else.
        finder: of members that the union itself does not have; None when it has all.
    """

    key: str
    default: Any
    schema: Mapping[str, Any]
    name: Callable[[Any], Any]
    finder: Finder | None = None
