"""Which of a run's overrides its folder may hold: none with a secret in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.calls.credentials import label_endpoint
from tidemill.config.layers.document import Document
from tidemill.config.secrets import is_secret_key, mask


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides that may be written down, as given, and the key paths of the others, each once."""
    kept: list[str] = []
    left_out: dict[str, None] = {}
    for override in overrides:
        label, _, text = override.partition("=")
        label = label.strip()
        if mask(override) != override or _holds_secret(label.split("."), Document.parse(text).value):
            left_out[label] = None
        else:
            kept.append(override)
    return kept, list(left_out)


def _holds_secret(path: Sequence[str], value: Any) -> bool:
    """Whether `value` at `path` is a secret or has one in it, by the name of a key or by its form."""
    if any(is_secret_key(name) or name == "headers" for name in path):  # a header of any name may be a credential
        return True
    if isinstance(value, dict):
        return any(_holds_secret((str(key),), item) for key, item in value.items())
    if isinstance(value, list):
        return any(_holds_secret(path[-1:], item) for item in value)
    if not isinstance(value, str):
        return False
    # Of an address, user and query may be credentials, whatever they look like.
    return mask(value) != value or (path[-1] == "base_url" and label_endpoint(value) != value.rstrip("/"))
