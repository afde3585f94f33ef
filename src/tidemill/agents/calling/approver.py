"""`Approver`: who decides on calls, as an agent names them: a function, its import path, or a file of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.agents.calling.policy import Policy, load_policy
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.words import Says, describe_value
from tidemill.errors import ConfigError

_TEXT = {"type": "string"}
_FILE = {
    "type": "object",
    "properties": {"policy": _TEXT, "ask": _TEXT},
    "required": ["policy"],
    "additionalProperties": False,
}


def _to_approver(value: Any, info: ValidationInfo) -> Any:
    folder = Path((info.context or {}).get("folder") or ".")
    if isinstance(value, str):
        value = import_object(value, folder)
    if (
        isinstance(value, Mapping)
        and isinstance(value.get("policy"), (str, Path))
        and value.keys() <= {"policy", "ask"}
    ):
        ask = value.get("ask")
        try:
            return load_policy(
                folder / value["policy"], ask=import_object(ask, folder) if isinstance(ask, str) else ask
            )
        except ConfigError as error:
            raise PydanticCustomError("policy", "{message}", {"message": error.message, "path": ("policy",)}) from None
    if callable(value):
        return value
    message = "expected a function, its import path, or a mapping with `policy`, the path of a file of rules; got {got}"
    raise PydanticCustomError("approver", message, {"got": describe_value(value)})


def write_approver(approver: Any) -> Any:
    """Who decides, as a file has it."""
    if not isinstance(approver, Policy) or approver.path is None:
        return to_import_path(approver)
    asked = {} if approver.asker is None else {"ask": to_import_path(approver.asker)}
    return {"policy": str(approver.path.absolute()), **asked}


Approver = Annotated[
    Callable[..., Any],
    BeforeValidator(_to_approver),
    PlainSerializer(write_approver),
    Says("a function's import path, or {policy: file}, with `ask` where it asks somebody"),
    WithJsonSchema({"anyOf": [_TEXT, _FILE]}),
]
"""A function that decides on an `ApprovalRequest`, its import path, or `{policy: path}`; holds what decides."""
