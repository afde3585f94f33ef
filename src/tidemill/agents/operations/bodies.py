"""Request bodies: which of a document's media types is sent, and a value as its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from tidemill.agents.operations.document import ApiDocument
from tidemill.agents.operations.styles import render_value
from tidemill.errors import ConfigError

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json(?:;.*)?|\*/\*|application/\*", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_TEXT = re.compile(r"text/[\w.+*-]+(?:;.*)?", re.IGNORECASE)
_FORMS = (_FORM, _MULTIPART)


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body.

    Attributes:
        media: the content type that is sent, without a multipart's boundary.
        schema: as the document has it.
        required: whether a request without one is refused.
        files: of a multipart, the properties that are sent as files: texts.
        description: in the document's words, empty where it has none.
    """

    media: str
    schema: Any
    required: bool
    files: frozenset[str] = frozenset()
    description: str = ""

    @property
    def is_form(self) -> bool:
        """Whether it is made of fields, and so is always an object."""
        return self.media in _FORMS

    def render(self, value: Any, boundary: str) -> tuple[bytes, str]:
        """The bytes of `value` and their content type.

        Args:
            boundary: what stands between the parts of a multipart; within none of them.
        """
        if self.media == _FORM:
            return urlencode(_list_fields(value)).encode(), self.media
        if self.media == _MULTIPART:
            return _render_parts(_list_fields(value), self.files, boundary), f"{_MULTIPART}; boundary={boundary}"
        if _TEXT.fullmatch(self.media):
            return render_value(value).encode(), "text/plain; charset=utf-8"
        return orjson.dumps(value), self.media


def read_body(document: ApiDocument, body: Mapping[str, Any] | None, label: str) -> Body | None:
    """The body of an operation in the plainest media type that it takes: JSON, a form, a multipart, a text.

    None where it has none, or may have one that none of these can be.

    Raises:
        ConfigError: it must have one that none of these can be.
    """
    content = (body or {}).get("content")
    if body is None or not isinstance(content, Mapping) or not content:
        return None
    required = body.get("required") is True
    takes: tuple[Callable[[str], Any], ...] = (_JSON.fullmatch, _FORM.__eq__, _MULTIPART.__eq__, _TEXT.fullmatch)
    for take in takes:
        media = next((name for name in content if take(name) not in (None, False)), None)
        if media is not None:
            schema = content[media].get("schema", {})
            sent = "application/json" if "*" in media and _JSON.fullmatch(media) else media
            files = frozenset(_iter_files(document, schema)) if media == _MULTIPART else frozenset()
            return Body(sent, schema, required, files, str(body.get("description", "")).strip())
    if not required:
        return None
    raise ConfigError(
        f"`{label}` takes a body as {' or '.join(content)} only",
        where=document.name,
        hint="JSON, forms and texts can be sent; write a tool of your own for it",
    )


def is_file(schema: Any) -> bool:
    """Whether a multipart's property is a file (`format: binary`; since 3.1 a content type)."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("type") == "array":
        return is_file(schema.get("items"))
    return schema.get("format") == "binary" or "contentMediaType" in schema


def _iter_files(document: ApiDocument, schema: Any) -> list[str]:
    found = document.follow(schema)
    properties = found.get("properties", {}) if isinstance(found, Mapping) else {}
    return [name for name, each in properties.items() if is_file(document.follow(each))]


def _list_fields(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The fields of a form: a list's name repeated, an object as JSON, what is null left out."""
    fields: list[tuple[str, str]] = []
    for name, each in value.items():
        items = each if isinstance(each, list) else [each]
        fields.extend((name, render_value(item)) for item in items if item is not None)
    return fields


def _render_parts(fields: list[tuple[str, str]], files: frozenset[str], boundary: str) -> bytes:
    """RFC 7578; names are quoted as browsers do (HTML, "multipart/form-data encoding algorithm")."""
    lines = []
    for name, text in fields:
        quoted = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
        head = f'content-disposition: form-data; name="{quoted}"'
        if name in files:
            head += f'; filename="{quoted}.txt"\r\ncontent-type: text/plain; charset=utf-8'
        lines.append(f"--{boundary}\r\n{head}\r\n\r\n{text}\r\n")
    return f"{''.join(lines)}--{boundary}--\r\n".encode()
