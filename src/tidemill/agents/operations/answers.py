"""What an API answered: a value for the model, or the error that it stands for."""

from __future__ import annotations

import http
import re
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any

import orjson

from tidemill.calls.credentials import label_endpoint, mask_request
from tidemill.calls.retry import parse_retry_after
from tidemill.calls.wire import Request, Response
from tidemill.errors import CallError, PermanentCallError, TransientCallError

MAX_DETAIL = 2000
"""Characters of an error's body that the model is told."""

_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505}
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
_TEXTS = re.compile(r"text/.*|application/(?:[\w.+-]+\+)?(?:xml|yaml|javascript|x-ndjson|graphql|toml)", re.IGNORECASE)
_TOLD = ("content-type", "content-length", "last-modified", "etag", "location", "link", "allow")
"""Headers that are the answer to a HEAD or OPTIONS."""


def read_answer(response: Response, request: Request, label: str, *, is_known: bool) -> Any:
    """The JSON value or text that `response` holds; in words where it holds none, or neither.

    Args:
        label: the operation, as errors call it.
        is_known: whether the request had credentials.

    Raises:
        TransientCallError: the API may answer another try: 408, 425, 429, most of 500-599.
        PermanentCallError: it would not; of the run for 401, which says that the credentials are no good.
    """
    if not 200 <= response.status < 300:
        raise judge_answer(response, request, label, is_known=is_known)
    if request.method in ("HEAD", "OPTIONS") and not response.body:
        told = {name: response.headers[name] for name in _TOLD if name in response.headers}
        return {"status": response.status, **told}
    if not response.body:
        there = label_endpoint(response.headers.get("location", "")) or response.headers.get("location", "")
        return f"answered {_name_status(response.status)}, with nothing more{f', at {there}' if there else ''}"
    media, charset = _read_media(response)
    if _JSON.fullmatch(media) or not media:
        try:
            return orjson.loads(response.body)
        except orjson.JSONDecodeError:
            pass  # it says JSON and is none: then what it is as a text
    if _JSON.fullmatch(media) or _TEXTS.fullmatch(media) or (not media and _is_text(response.body)):
        return _decode(response.body, charset)
    return f"answered {_name_status(response.status)} with {len(response.body)} bytes of {media or 'no known type'}"


def judge_answer(response: Response, request: Request, label: str, *, is_known: bool) -> CallError:
    """The error that an answer outside 200-299 stands for."""
    status = response.status
    message = f"answered {_name_status(status)}"
    if 300 <= status < 400:
        there = mask_request(response.headers.get("location", ""), request)[:200]
        return PermanentCallError(
            f"{message}{f' to {there}' if there else ''}, which is not followed", where=label, status=status
        )
    if detail := _read_detail(response, request):
        message += f": {detail}"
    if status in (401, 407):
        hint = "check the credentials" if is_known else "give auth, or headers that let requests through"
        return PermanentCallError(message, where=label, hint=hint, of="run", status=status)
    if status in _TRANSIENT:
        wait_s = parse_retry_after(response.headers, wall_s=time.time())
        return TransientCallError(message, where=label, status=status, retry_after_s=wait_s)
    return PermanentCallError(message, where=label, status=status)


def _name_status(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _read_detail(response: Response, request: Request) -> str:
    """What an error's body says, cut, credentials masked first."""
    media, charset = _read_media(response)
    text = _decode(response.body, charset) if _is_text(response.body) else ""
    try:
        text = _tell(orjson.loads(response.body))
    except orjson.JSONDecodeError:
        if "html" in media:
            text = " ".join(re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", text).split())
    text = mask_request(text.strip(), request, max_chars=2 * MAX_DETAIL)
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _tell(value: Any) -> str:
    """FastAPI's list of failing places as a line each, the text of `{"detail": …}` and its like alone, else JSON."""
    detail = value.get("detail") if isinstance(value, Mapping) else None
    if isinstance(detail, list) and detail and all(isinstance(each, Mapping) and "loc" in each for each in detail):
        return "\n".join(f"{'.'.join(map(str, each['loc']))}: {each.get('msg', '')}" for each in detail)
    if isinstance(value, Mapping) and len(value) == 1:
        alone = next(iter(value.values()))
        if isinstance(alone, str):
            return alone
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _read_media(response: Response) -> tuple[str, str]:
    message = Message()
    message["content-type"] = response.headers.get("content-type", "")
    return message.get_content_type() if response.headers.get("content-type") else "", str(
        message.get_content_charset() or "utf-8"
    )


def _decode(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, "replace")
    except LookupError:  # a charset that Python does not know
        return body.decode("utf-8", "replace")


def _is_text(body: bytes) -> bool:
    return b"\0" not in body[:1024]
