"""States as a caller gives them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.config.wording.suggest import list_names
from tidemill.config.wording.words import describe_value
from tidemill.errors import StateError


def check_version(state: Any, version: int, *keys: str) -> None:
    """Check that `state` is one of `version` that has `keys`.

    Raises:
        StateError: it is another one, or none at all, as the JSON text of one.
    """
    refuse_text(state)
    if not isinstance(state, Mapping):
        raise StateError(f"expected a state, a mapping, got {describe_value(state)}", hint="start without a state")
    if state.get("version") != version:
        raise StateError(
            f"expected a state of version {version}, got {state.get('version')!r}",
            hint="start without a state, or use the version of tidemill that took it",
        )
    if missing := [key for key in keys if key not in state]:
        raise StateError(
            f"expected a state, got a mapping without {list_names(missing, ' and ')}",
            hint="give it to what it was taken from: an iterator's to its stream, a loader's to the loader",
        )


def refuse_text(state: Any) -> None:
    """Refuse the text that a state was kept as.

    Raises:
        StateError: it is one.
    """
    if isinstance(state, (str, bytes, bytearray)):
        raise StateError(
            f"expected a state, a mapping, got {describe_value(state)}", hint="give what `json.loads` makes of its text"
        )
