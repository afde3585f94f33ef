"""`Operation`: one method on one path of an API, as its document has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidemill.agents.operations.document import ApiDocument
from tidemill.agents.tools.naming import matches_pattern
from tidemill.config.wording.suggest import suggest
from tidemill.errors import ConfigError

METHODS = ("get", "head", "options", "query", "post", "put", "patch", "delete")
"""All that OpenAPI 3.2 knows but `trace`, whose answer repeats the request's credentials."""

READS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
"""Safe methods (RFC 9110, 9.2.1; QUERY by its own): they ask for no change."""

Location = Literal["path", "query", "header", "cookie"]

_STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form", "cookie"),
}
"""The styles of each location, its default first."""
_IGNORED = frozenset({"accept", "authorization", "content-type"})
"""Header parameters that say nothing (OpenAPI 3.1.1, "Parameter Object")."""
_FRAMING = frozenset({"connection", "content-length", "cookie", "host", "te", "transfer-encoding", "upgrade"})
"""Headers that no caller sets: they are the connection's, or made of other parameters."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: as the API has it.
        schema: as the document has it, not yet JSON Schema.
        style: how it is written, one of those that its location has.
        is_json: whether it is written as JSON, whatever its style.
    """

    name: str
    location: Location
    schema: Any
    description: str = ""
    required: bool = False
    style: str = "simple"
    explode: bool = False
    allow_reserved: bool = False
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    Attributes:
        id: its `operationId`, empty where it has none.
        method: in upper case.
        path: the template, as the document has it.
        description: what it does, in the document's words; `METHOD path` where it has none.
        body: its request body as the document has it, what it refers to looked up; None where it has none.
        security: what lets a request through: alternatives, each of scheme names that are needed together.
    """

    id: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    body: Mapping[str, Any] | None
    security: tuple[tuple[str, ...], ...]

    @property
    def label(self) -> str:
        """`GET /items/{id}`."""
        return f"{self.method} {self.path}"

    @property
    def is_read(self) -> bool:
        """Whether it asks for no change."""
        return self.method in READS

    def is_named(self, entry: str) -> bool:
        """Whether `entry`, as of `choose_operations`, names it."""
        return _matches(entry, self.method, self.path, self.id)


def iter_operations(document: ApiDocument) -> Iterator[tuple[Mapping[str, Any], str, str, Mapping[str, Any]]]:
    """The path item, the method, the path and the operation object of each operation, in the document's order."""
    for path, item in document.value["paths"].items():
        item = document.follow(item)
        if not isinstance(item, Mapping) or not str(path).startswith("/"):
            continue
        for method in METHODS:
            if isinstance(item.get(method), Mapping):
                yield item, method.upper(), str(path), item[method]


def choose_operations(document: ApiDocument, allow: Sequence[str]) -> list[Operation]:
    """The operations that `allow` names, in the document's order.

    Args:
        allow: operationIds, or a method and a path, `GET /items/{id}`. In both `*` stands for any characters but `/`,
            `**` for any; a path's parameters are named as in the document.

    Raises:
        ConfigError: an entry names no operation, or an operation cannot be read.
    """
    found = list(iter_operations(document))
    named: set[int] = set()
    for entry in allow:
        matches = {number for number, each in enumerate(found) if _matches(entry, each[1], each[2], _find_id(each[3]))}
        if not matches:
            ids = [str(each[3]["operationId"]) for each in found if "operationId" in each[3]]
            labels = [f"{method} {path}" for _, method, path, _ in found]
            known = labels if re.match(r"[A-Za-z*]+ ", entry) else ids or labels
            raise ConfigError(f"`{entry}` names no operation", where=document.name, hint=suggest(entry, known))
        named |= matches
    return [_read_operation(document, *each) for number, each in enumerate(found) if number in named]


def _find_id(operation: Mapping[str, Any]) -> str:
    return str(operation.get("operationId", ""))


def _matches(entry: str, method: str, path: str, name: str) -> bool:
    wanted, space, pattern = entry.partition(" ")
    if space:
        return wanted.upper() in (method, "*") and matches_pattern(pattern.strip(), path)
    return bool(name) and matches_pattern(entry, name)


def _read_operation(
    document: ApiDocument, item: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Operation:
    given: dict[tuple[str, str], Parameter] = {}
    for each in (*item.get("parameters", ()), *operation.get("parameters", ())):
        parameter = _read_parameter(document, document.follow(each), f"{method} {path}")
        if parameter is not None:
            given[parameter.location, parameter.name] = parameter
    missing = set(re.findall(r"\{([^{}]+)\}", path)) - {name for location, name in given if location == "path"}
    if missing:
        raise ConfigError(f"`{method} {path}` does not describe its parameter `{min(missing)}`", where=document.name)
    texts = [str(operation.get(key) or item.get(key) or "").strip() for key in ("summary", "description")]
    security = operation.get("security", document.value.get("security", ()))
    return Operation(
        _find_id(operation),
        method,
        path,
        "\n\n".join(dict.fromkeys(filter(None, texts))) or f"{method} {path}",
        tuple(given.values()),
        document.follow(operation["requestBody"]) if "requestBody" in operation else None,
        tuple(tuple(map(str, each)) for each in security),
    )


def _read_parameter(document: ApiDocument, parameter: Mapping[str, Any], label: str) -> Parameter | None:
    """The parameter; None for a header that is not the caller's to give."""
    name, location = str(parameter.get("name", "")), parameter.get("in")
    if location == "header" and name.lower() in _IGNORED | _FRAMING:
        return None
    styles = _STYLES.get(str(location))
    if styles is None:
        raise ConfigError(
            f"`{label}` has a parameter `{name}` in {location!r}, which is not known", where=document.name
        )
    style = parameter.get("style", styles[0])
    if style not in styles:
        raise ConfigError(
            f"`{label}` has a parameter `{name}` of style {style!r}; one in the {location} has {' or '.join(styles)}",
            where=document.name,
        )
    content: Mapping[str, Any] = parameter.get("content") or {}
    media = next(iter(content), "")
    return Parameter(
        name,
        location,  # type: ignore[arg-type] # one of the keys above
        content[media].get("schema", {}) if media else parameter.get("schema", {}),
        str(parameter.get("description", "")).strip(),
        location == "path" or parameter.get("required") is True,
        style,
        bool(parameter.get("explode", style in ("form", "cookie"))),
        parameter.get("allowReserved") is True,
        "json" in media,
    )
