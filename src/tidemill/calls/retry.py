"""What an answer means, and when to try again."""

from __future__ import annotations

import email.utils
import random
import re
from collections.abc import Mapping
from typing import Any

import orjson

from tidemill.calls.credentials import label_endpoint, mask_request
from tidemill.calls.wire import NOT_SENT, AttemptTimeoutError, Request, Response
from tidemill.errors import CallError, FailureOf, PermanentCallError, TransientCallError

BACKOFF_FIRST_S = 0.5
"""As OpenAI's and Anthropic's own clients begin: a passing fault costs a call little."""
BACKOFF_MAX_S = 30.0
"""How late a call comes back to what has recovered, against how often it asks what has not."""
RETRIES_KEPT = 100.0
"""What a passing fault may hit at once and all be tried again; Finagle keeps as many (10 a second, for 10 s)."""
RETRIES_PER_S = 1.0
"""So that calls go on where none is answered; a tenth of Finagle's, since here an attempt that fails may be billed."""
SHOWN_CHARS = 300
_SCANNED_BYTES = 65_536

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_RUN_STATUSES = frozenset({401, 402, 403, 404, 405, 407, 410, 415})
"""Wrong for every record: the key, the account, the address, the model."""
_RUN_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "invalid_api_key", "model_not_found", "API_KEY_INVALID"}
)
"""Codes that mean the same when they come with another 4xx status: OpenAI and those who copy it, Google."""
_HINTS = {
    401: "check the API key",
    402: "check the account's credit",
    403: "check what the API key is allowed to do",
    404: "check the model's name and base_url",
    407: "check the proxy's credentials",
}


class RetryBudget:
    """Retries allowed for by the answers there were; a pure state machine.

    Each usable answer allows `ratio` of one, time alone one a second, and a hundred are kept at most: a far side that
    fails everything gets little more load than one that works (Finagle's and gRPC's retry budgets do so likewise).
    """

    __slots__ = ("_allowed", "_at", "_ratio")

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._allowed = RETRIES_KEPT
        self._at = 0.0

    def answer(self) -> None:
        """A usable answer came."""
        if self._allowed < RETRIES_KEPT:
            self._allowed = min(RETRIES_KEPT, self._allowed + self._ratio)

    def take(self, now: float) -> float:
        """0.0 when a retry may go now, which then counts; else the seconds until one may."""
        if self._allowed < 1.0:
            self._allowed = min(1.0, self._allowed + max(0.0, now - self._at) * RETRIES_PER_S)
        self._at = now
        if self._allowed < 1.0 - 1e-9:
            return (1.0 - self._allowed) / RETRIES_PER_S
        self._allowed -= 1.0
        return 0.0


def backoff_s(failures: int, rng: random.Random, *, retry_after_s: float | None = None) -> float:
    """Seconds to wait after the `failures`-th failed attempt of a call, counted from 1.

    Full jitter: uniform between 0 and 0.5 s doubled for each failure, at most 30 s ("Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015). A server's `retry_after_s` is waited out whole, plus up to 0.5 s, so that
    those told the same do not come back at once.
    """
    if retry_after_s is not None:
        return retry_after_s + rng.uniform(0.0, BACKOFF_FIRST_S)
    return rng.uniform(0.0, min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16)))


def parse_retry_after(headers: Mapping[str, str], *, wall_s: float) -> float | None:
    """The seconds a server asks to wait (RFC 9110 section 10.2.3), None when it does not say or makes no sense.

    Args:
        headers: of the response, found by lower-case name. `retry-after-ms` (Azure, OpenAI) is finer and goes first; a
            date is measured from the response's own `date`, where it has one, so that clocks need not agree.
        wall_s: seconds since the epoch now.
    """
    if milliseconds := _parse_seconds(headers.get("retry-after-ms", "")):
        return milliseconds / 1000
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _parse_seconds(text)
    if seconds is not None:
        return seconds
    until = _parse_date(text)
    if until is None:
        return None
    now = _parse_date(headers.get("date", ""))
    return max(0.0, until - (wall_s if now is None else now))


def _parse_seconds(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", text, re.ASCII) else None


def _parse_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # not a date: then the server said nothing
        return None


def judge_response(response: Response, request: Request, *, wall_s: float) -> CallError:
    """The error a response outside 200-299 stands for: transient or permanent, the record's or the run's."""
    status = response.status
    codes = _error_codes(response.body) if 400 <= status < 500 else frozenset()
    message = f"answered {status}"
    if location := response.headers.get("location", ""):
        message += f" to {_shown(location.encode(), request)}"
    if body := _shown(response.body, request):
        message += f": {body}"
    of: FailureOf = "record"
    kind: type[CallError] = PermanentCallError
    hint = _HINTS.get(status, "")
    if status < 400:
        of, hint = "run", "a redirect is not followed, since it could carry the API key away: check base_url"
    elif codes & _RUN_CODES:
        of, hint = "run", hint or "check the API key, the account and the model's name"
    elif status in _RUN_STATUSES:
        of = "run"
    elif status >= 500 or status in _TRANSIENT_STATUSES:
        kind = TransientCallError
    return kind(
        message,
        where=label_endpoint(request.url),
        hint=hint,
        of=of,
        status=status,
        retry_after_s=parse_retry_after(response.headers, wall_s=wall_s) if kind is TransientCallError else None,
    )


def find_cause(error: CallError, request: Request, *, answered: bool) -> str:
    """What a report counts an attempt's failure as: its status, `timeout`, `connection`, `garbage` or `function`.

    `answered` says that a 200 came and could not be used. What a user's function raises is `function`, unless it says
    a status.
    """
    status = error.status
    if answered or (status is not None and status < 300):
        return "garbage"
    if status is not None:
        return str(status)
    if isinstance(error, AttemptTimeoutError):
        return "timeout"
    return "function" if request.is_free else "connection"


def is_outage(error: CallError) -> bool:
    """Whether the failure of an unanswered attempt speaks of the endpoint rather than of the request."""
    return isinstance(error, TransientCallError) and (error.status is None or error.status >= 500)


def is_refusal(error: CallError) -> bool:
    """Whether nothing was computed: it was not sent, or got a status of 300-499, which no provider bills."""
    return isinstance(error, NOT_SENT) or (error.status is not None and 300 <= error.status < 500)


def _shown(body: bytes, request: Request) -> str:
    """The start of `body` on one line, credentials masked before it is cut."""
    text = mask_request(body.decode("utf-8", "replace"), request, max_chars=2 * SHOWN_CHARS)
    text = " ".join(text.split())
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _error_codes(body: bytes) -> frozenset[str]:
    """The codes of an error body in the OpenAI or Google form; its message, which may echo a record, is not read."""
    if len(body) > _SCANNED_BYTES:
        return frozenset()
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return frozenset()
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return frozenset()
    found = [error.get("code"), error.get("type"), error.get("status")]
    details = error.get("details")
    if isinstance(details, list):
        found += [detail.get("reason") for detail in details if isinstance(detail, dict)]
    return frozenset(code for code in found if isinstance(code, str))
