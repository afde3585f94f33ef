"""An operation's request: its arguments put where the API has them, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, unquote

import orjson

from tidemill.agents.operations.arguments import Takes
from tidemill.agents.operations.operation import Operation, Parameter
from tidemill.agents.operations.security import Access
from tidemill.agents.operations.styles import (
    Encode,
    Pairs,
    encode_all,
    encode_reserved,
    render_deep,
    render_form,
    render_label,
    render_matrix,
    render_simple,
)
from tidemill.agents.tools.refusal import RefusalError
from tidemill.calls.wire import Request

KEY_HEADER = "idempotency-key"
"""As Stripe's API and the IETF draft `draft-ietf-httpapi-idempotency-key-header` name it."""

_SEPARATORS = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}


@dataclass(frozen=True, slots=True)
class RequestForm:
    """How requests of one operation are made.

    Attributes:
        base_url: what every request's address begins with, without a `/` at its end.
        access: what goes along with each.
        has_slashes: whether a path parameter may hold `/`.
    """

    operation: Operation
    takes: Takes
    access: Access
    base_url: str
    has_slashes: bool = False

    def build(self, arguments: Mapping[str, Any], key: str) -> Request:
        """The request for `arguments`, which have been checked.

        Args:
            key: the idempotency key of a write; empty for none.

        Raises:
            Refusal: an argument would lead to another path, or out of its header.
        """
        headers = dict(self.access.headers)
        query: Pairs = [(encode_all(name), encode_all(value)) for name, value in self.access.query.items()]
        cookies: Pairs = list(self.access.cookies.items())
        path: dict[str, str] = {}
        for argument, parameter in self.takes.parameters.items():
            value = arguments.get(argument)
            if value is None and not parameter.required:
                continue
            if parameter.location == "path":
                path[parameter.name] = self._render_segment(argument, parameter, value)
            elif parameter.location == "header":
                headers[parameter.name] = _render_header(argument, parameter, value)
            else:
                (query if parameter.location == "query" else cookies).extend(_render_pairs(parameter, value))
        if cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies)
        if key and not self.operation.is_read and KEY_HEADER not in map(str.lower, headers):
            headers[KEY_HEADER] = key
        body = self._render_body(arguments, key, headers)
        url = f"{self.base_url}{self._render_path(path)}"
        if query:
            url += "?" + "&".join(f"{name}={value}" for name, value in query)
        return Request(url, headers, body, 0, 0, method=self.operation.method)

    def _render_body(self, arguments: Mapping[str, Any], key: str, headers: dict[str, str]) -> bytes:
        value = self.takes.build_body(arguments)
        if value is ... or self.takes.body is None:
            return b""
        boundary = blake2b(repr(value).encode("utf-8", "replace"), digest_size=16, key=key.encode()[:64]).hexdigest()
        body, headers["content-type"] = self.takes.body.render(value, boundary)
        return body

    def _render_path(self, values: Mapping[str, str]) -> str:
        parts = re.split(r"\{([^{}]+)\}", self.operation.path)
        path = "".join(
            values[part] if number % 2 else quote(part, safe="/:@!$&'()*+,;=~") for number, part in enumerate(parts)
        )
        for segment in path.split("/"):
            if unquote(segment) in (".", ".."):
                raise RefusalError(f"the path {path} leads out of {self.operation.path}")
        return path

    def _render_segment(self, argument: str, parameter: Parameter, value: Any) -> str:
        for text in _iter_texts(value):
            _check_segment(argument, text, has_slashes=self.has_slashes)
        if parameter.is_json:
            return encode_all(_dump(value))
        if parameter.style == "label":
            return render_label(value, explode=parameter.explode, encode=encode_all)
        if parameter.style == "matrix":
            return render_matrix(parameter.name, value, explode=parameter.explode, encode=encode_all)
        text = render_simple(value, explode=parameter.explode, encode=encode_all)
        if not text:
            raise RefusalError(f"$.{argument}: expected at least one value, since it is part of a path, got none")
        return text


def _render_pairs(parameter: Parameter, value: Any) -> Pairs:
    encode: Encode = encode_reserved if parameter.allow_reserved else encode_all
    if parameter.is_json:
        return [(encode_all(parameter.name), encode(_dump(value)))]
    if parameter.style == "deepObject":
        return render_deep(parameter.name, value, encode)
    separator = _SEPARATORS.get(parameter.style, ",")
    return render_form(parameter.name, value, explode=parameter.explode, separator=separator, encode=encode)


def _render_header(argument: str, parameter: Parameter, value: Any) -> str:
    text = _dump(value) if parameter.is_json else render_simple(value, explode=parameter.explode, encode=str)
    if any(character < " " or character == "\x7f" for character in text.replace("\t", " ")):
        raise RefusalError(f"$.{argument}: expected one line, since it is sent as a header, got a control character")
    return text


def _check_segment(argument: str, text: str, *, has_slashes: bool) -> None:
    """Refuse what a server may take for another path, however often it decodes it."""
    while (decoded := unquote(text)) != text:
        text = decoded
    if not text:
        raise RefusalError(f"$.{argument}: expected a text that is not empty, since it is part of a path")
    parts = re.split(r"[/\\]", text)
    if len(parts) > 1 and not has_slashes:
        raise RefusalError(
            f"$.{argument}: expected a text without `/` and `\\`, since it is one part of a path, got {text!r:.80}"
        )
    if any(part.strip() in (".", "..") for part in parts):
        raise RefusalError(f"$.{argument}: expected no `.` or `..` as part of a path, got {text!r:.80}")


def _iter_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield str(name)
            yield from _iter_texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _iter_texts(each)


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()
