"""The options that file systems are opened with, and the secrets among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer

from tidemill.config.secrets import MASK, is_secret_key, mask_value, register_secret

_KEYS = frozenset({"key", "account_key", "sas_token", "connection_string"})
"""Storage options that are secret under a name that does not say so."""


def register_secrets(value: Any, *, hidden: bool = False) -> None:
    """Register every text under a secret name, so that no error shows it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            register_secrets(item, hidden=hidden or key in _KEYS or is_secret_key(str(key)))
    elif isinstance(value, (list, tuple)):
        for item in value:
            register_secrets(item, hidden=hidden)
    elif hidden and isinstance(value, str):
        register_secret(value)


def leave_out_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Storage options as a file may hold them: without what is secret."""
    left = {key: item for key, item in options.items() if key not in _KEYS and not is_secret_key(str(key))}
    return {key: leave_out_secrets(item) if isinstance(item, Mapping) else item for key, item in left.items()}


def mask_options(options: Mapping[str, Any]) -> Any:
    """Storage options as they may be shown."""
    return mask_value({key: MASK if key in _KEYS else item for key, item in options.items()})


class _Hiding(dict[str, Any]):
    """Options that are shown without what is secret among them."""

    def __repr__(self) -> str:
        return repr(mask_options(self))


def _hide(options: dict[str, Any]) -> dict[str, Any]:
    register_secrets(options)
    return _Hiding(options)


SecretOptions = Annotated[dict[str, Any], AfterValidator(_hide), PlainSerializer(mask_options)]
"""Options with secrets among them, which are never shown or written: no repr, dump or error has them."""
