"""What a response with a success status means that holds no reply."""

from __future__ import annotations

from typing import Any

import orjson

from tidemill.calls.wire import Response
from tidemill.config.secrets import mask_start
from tidemill.errors import PermanentCallError, TransientCallError

_PASSING = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error", "server_error"})
_PASSING_CODES = frozenset({"server_error", "rate_limit_exceeded", "408", "409", "425", "429"})


def explain_body(response: Response, expected: str) -> TransientCallError | PermanentCallError:
    """The error of a body that is no `expected`: the one it tells of, or that it is none."""
    try:
        error = orjson.loads(response.body)["error"]
    except (ValueError, LookupError, TypeError):
        error = None
    if error:
        return explain_error(error, response.status)
    start = mask_start(response.body.decode("utf-8", "replace"), 80)
    return TransientCallError(f"expected {expected}, got {len(response.body)} bytes starting {start!r}")


def explain_error(error: Any, status: int = 200) -> TransientCallError | PermanentCallError:
    """The error that an error object in the OpenAI or Anthropic form stands for.

    One of the far side's own, such as `overloaded_error` in the middle of a stream or a gateway's `"code": 502`, may
    pass; any other is about the request.
    """
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    kind, code = fields.get("type"), str(fields.get("code"))
    shown = mask_start(str(fields.get("message", error)), 200)
    told = f"the endpoint answered {status} with an error: {shown}"
    is_passing = kind in _PASSING or code in _PASSING_CODES or (len(code) == 3 and code.startswith("5"))
    return TransientCallError(told) if is_passing else PermanentCallError(told)
