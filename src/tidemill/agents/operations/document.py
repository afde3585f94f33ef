"""An OpenAPI document: read from a file, an address or values; what it refers to is looked up within it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from tidemill.calls.credentials import label_endpoint
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Request, Response
from tidemill.config.layers.layer import Layer, compose_layer, explain_opening, read_file
from tidemill.config.paths import shorten_path
from tidemill.config.report.rendering import raise_problems
from tidemill.config.text.nodes import Text
from tidemill.errors import CallError, ConfigError, Problem, ResourceError
from tidemill.resources.bridge import Bridge

Source = str | os.PathLike[str] | Mapping[str, Any]
"""Where a document is: a file's path, an http(s) address, or its values themselves."""

FETCH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class ApiDocument:
    """An OpenAPI document.

    Attributes:
        name: what messages call it by: its path or address.
        value: the document as it stands, JSON values.
        url: where it was fetched; empty for one that was not.
    """

    name: str
    value: Mapping[str, Any]
    url: str = ""

    @property
    def is_old(self) -> bool:
        """Whether it is of OpenAPI 3.0, whose schemas are no JSON Schema yet: `nullable`, say."""
        return str(self.value["openapi"]).startswith("3.0")

    def follow(self, value: Any) -> Any:
        """What `value` stands for: itself, unless it is a reference.

        Raises:
            ConfigError: it refers to nothing, out of the document, or to itself.
        """
        seen = []
        while isinstance(value, Mapping) and isinstance(reference := value.get("$ref"), str):
            if reference in seen:
                raise ConfigError(f"`$ref: {reference}` refers to itself", where=self.name)
            seen.append(reference)
            value = self.find(reference)
        return value

    def find(self, reference: str) -> Any:
        """What stands in the document where `reference` says, a JSON pointer after `#` (RFC 6901).

        Raises:
            ConfigError: nothing stands there, or it is in another document.
        """
        if reference != "#" and not reference.startswith("#/"):
            raise ConfigError(
                f"`$ref: {reference}` is in another document",
                where=self.name,
                hint="put all into one document first, as `npx @redocly/cli bundle` does",
            )
        value: Any = self.value
        for part in reference.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, Mapping) and key in value:
                value = value[key]
            else:
                raise ConfigError(f"`$ref: {reference}` refers to nothing: there is no `{key}`", where=self.name)
        return value


def load_document(source: Source, folder: Path | None = None) -> ApiDocument:
    """The document that `source` names, as OpenAPI 3.0, 3.1 or 3.2.

    An address is fetched at once, for at most 30 s, without any credentials; a redirect is not followed.

    Args:
        folder: where a relative path starts; by default the working folder.

    Raises:
        ConfigError: there is none, it cannot be read, or it is no OpenAPI 3 document.
        ResourceError: its server gave none.
    """
    if isinstance(source, Mapping):
        return _check(ApiDocument("the document", source))
    text = os.fspath(source)
    if re.match(r"https?://", text, re.IGNORECASE):
        name = label_endpoint(text)
        return _check(ApiDocument(name, _parse(name, _fetch(text, name)), text))
    path = (folder or Path()) / text
    try:
        data = read_file(path)
    except OSError as error:
        message, hint = explain_opening(path, error)
        raise ConfigError(message, where=shorten_path(path), hint=hint) from None
    name = shorten_path(path)
    return _check(ApiDocument(name, _parse(name, data)))


def _parse(name: str, data: bytes) -> Any:
    try:
        return orjson.loads(data)  # what most are; fast, where a document may be megabytes
    except orjson.JSONDecodeError:
        pass
    try:
        layer = compose_layer(Text(name, data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8", where=name) from None
    _raise_faults(layer)
    return None if layer.root is None else layer.root.to_value()


def _raise_faults(layer: Layer) -> None:
    raise_problems(
        [Problem(fault.message, layer.text.place(fault.start, fault.stop), hint=fault.hint) for fault in layer.faults]
    )


def _check(document: ApiDocument) -> ApiDocument:
    value = document.value
    if not isinstance(value, Mapping):
        raise ConfigError("expected an OpenAPI document, a mapping", where=document.name)
    if "swagger" in value:
        raise ConfigError(
            f"expected OpenAPI 3, got Swagger {value['swagger']}",
            where=document.name,
            hint="convert it first, as `npx swagger2openapi` does",
        )
    if not str(value.get("openapi", "")).startswith("3."):
        raise ConfigError("expected an OpenAPI 3 document, which says `openapi: 3.…` at its top", where=document.name)
    if not isinstance(value.get("paths"), Mapping):
        raise ConfigError("the document has no `paths`", where=document.name)
    return document


def _fetch(url: str, name: str) -> bytes:
    async def get() -> Response:
        transport = HttpTransport()
        try:
            headers = {"accept": "application/json, application/yaml;q=0.9, */*;q=0.5"}
            return await transport.send(Request(url, headers, b"", method="GET"), FETCH_TIMEOUT_S)
        finally:
            await transport.close()

    try:
        with Bridge(calms_gc=False) as bridge:
            response = bridge.run(get())
    except CallError as error:
        raise ResourceError(f"the document cannot be fetched: {error.message}", where=name) from error
    if response.status != 200:
        location = f" to {label_endpoint(there)}" if (there := response.headers.get("location")) else ""
        raise ResourceError(f"the document cannot be fetched: answered {response.status}{location}", where=name)
    return response.body


def find_base_url(document: ApiDocument) -> str:
    """Where the document says that its API is: its first server, else the origin that it was fetched from.

    Raises:
        ConfigError: it does not say, or names another origin than its own, which nobody vouches for.
    """
    servers = document.value.get("servers") or [{"url": "/"}]
    server = document.follow(servers[0])
    variables = server.get("variables", {})

    def fill(match: re.Match[str]) -> str:
        return str(variables.get(match.group(1), {}).get("default", match.group()))

    url = re.sub(r"\{([^{}]+)\}", fill, str(server.get("url", "/")))
    if not urlsplit(url).scheme:
        if not document.url:
            raise ConfigError(
                "the document does not say where its API is", where=document.name, hint="give base_url: http(s)://…"
            )
        parts = urlsplit(document.url)
        return f"{parts.scheme}://{parts.netloc}/{url.lstrip('/')}"
    if document.url and urlsplit(url)[:2] != urlsplit(document.url)[:2]:
        raise ConfigError(
            f"the document was fetched from one server and names another: {label_endpoint(url)}",
            where=document.name,
            hint="give base_url, so that it is you who says where credentials go",
        )
    return url
