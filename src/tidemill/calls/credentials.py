"""Keeping a request's own credentials out of what is said about it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

from tidemill.calls.wire import Request
from tidemill.config.secrets import MASK, is_secret_key, mask, register_secret
from tidemill.errors import CallError

_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"})
_MIN_PLAIN_LENGTH = 8
"""A shorter value of a header that is not named like a secret is taken for an ordinary word."""
_MIN_LENGTH = 4
"""No credential is shorter; local servers are often given `x`."""
_NO_KEY = re.compile(r".{,7}|[A-Za-z_ -]{,19}", re.DOTALL)
"""What local servers are given in place of a key (`none`, `ollama`, `sk-no-key-required`): a reply may well hold it."""


def mask_request(text: str, request: Request, *, max_chars: int | None = None) -> str:
    """`text` without the credentials `request` carries, however they are quoted, nor anything else like a key.

    Args:
        text: what may hold them.
        request: whose credentials are meant.
        max_chars: cut the text there, after its own credentials are gone, and before the search for other keys, which
            takes long on megabytes.
    """
    for secret in sorted(set(_iter_secrets(request)), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask(text[:max_chars])


def mask_error(error: CallError, request: Request) -> None:
    """Take the credentials of `request` out of the texts of `error`."""
    error.message = mask_request(error.message, request)
    error.where = mask_request(error.where, request)
    error.hint = mask_request(error.hint, request)
    error.args = (error.message,)


def register_credentials(headers: Mapping[str, str], url: str = "") -> None:
    """Have what `headers` hold under names of secrets, and password and keys in `url`, masked from then on."""
    for secret in _iter_credentials(headers, url):
        register_secret(secret)


def find_keys(headers: Mapping[str, str], url: str = "") -> tuple[str, ...]:
    """The keys that requests with these headers carry, as a reply may repeat them; what may be a plain word is none."""
    found = {secret for secret in _iter_credentials(headers, url) if not _NO_KEY.fullmatch(secret)}
    found |= {json.dumps(secret)[1:-1] for secret in found}
    # One that holds another goes with it: "Bearer KEY" with KEY.
    return tuple(sorted(key for key in found if not any(other in key for other in found - {key})))


def label_endpoint(url: str) -> str:
    """`url` as it may be shown: without user, password, query and fragment; empty for what is no address."""
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/") if host else ""


def _iter_credentials(headers: Mapping[str, str], url: str) -> Iterator[str]:
    """What `headers` hold under names of secrets, whole and by its parts; password and keys in `url`."""
    for name, value in headers.items():
        if not is_secret_key(name):
            continue
        token = value.rpartition(" ")[2]
        pair = next(_iter_basic(token), "") if value.lower().startswith("basic ") else ""
        yield from (value, token, pair, pair.partition(":")[2])
    parts = _split(url)
    yield unquote(parts.password or "")
    yield from (value for name, value in parse_qsl(parts.query) if is_secret_key(name) or name == "key")


def _iter_secrets(request: Request) -> Iterator[str]:
    for value in _iter_values(request):
        if len(value) < _MIN_LENGTH:
            continue
        yield from {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}


def _iter_values(request: Request) -> Iterator[str]:
    """What may be a credential in `request`: header values, their last words, and parts of the address."""
    for name, value in request.headers.items():
        is_secret = is_secret_key(name)
        if name.lower() in _PLAIN_HEADERS or not (is_secret or len(value) >= _MIN_PLAIN_LENGTH):
            continue
        token = value.rpartition(" ")[2]
        yield from (value, token)
        if value.lower().startswith("basic "):
            yield from _iter_basic(token)
    parts = _split(request.url)
    yield from (unquote(text) for text in (parts.username, parts.password) if text)
    for name, value in parse_qsl(parts.query):
        if is_secret_key(name) or len(value) >= _MIN_PLAIN_LENGTH or name == "key":
            yield value


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # no address at all: the transport says so
        return SplitResult("", "", "", "", "")


def _iter_basic(token: str) -> Iterator[str]:
    """The user, password and pair behind a Basic token (RFC 7617)."""
    try:
        pair = base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):  # not Basic after all: the token itself is masked already
        return
    yield pair
    yield from pair.split(":", 1)
