"""How parameters are written into a path, a query, a header or a cookie: OpenAPI's `style` and `explode`.

OpenAPI 3.1.1, "Style Values" and appendix C; the expansions are those of RFC 6570.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson

RESERVED = ":/?#[]@!$&'()*+,;="
"""RFC 3986, 2.2: what a parameter with `allowReserved` may hold as it is."""

Encode = Callable[[str], str]
Pairs = list[tuple[str, str]]

encode_all: Encode = partial(quote, safe="")
"""Everything but the unreserved characters of RFC 3986 percent-encoded, `/` as well."""


def encode_reserved(text: str) -> str:
    """As `encode_all`, with reserved characters as they are, but those that would end the value."""
    return quote(text, safe="".join(set(RESERVED) - set("#&+[]")))


def render_value(value: Any) -> str:
    """A JSON value as parameters hold it: a text as it is, anything that nests as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return orjson.dumps(value).decode() if isinstance(value, (float, list, dict)) else str(value)


def render_simple(value: Any, *, explode: bool, encode: Encode) -> str:
    """The style of paths and headers: `3,4,5` · `R,100,G,200` · exploded `R=100,G=200`."""
    return ",".join(_iter_joined(value, "=" if explode else ",", encode))


def render_label(value: Any, *, explode: bool, encode: Encode) -> str:
    """A path's `.3,4,5` · `.R,100,G,200` · exploded `.3.4.5`, `.R=100.G=200`."""
    return "." + ("." if explode else ",").join(_iter_joined(value, "=" if explode else ",", encode))


def render_matrix(name: str, value: Any, *, explode: bool, encode: Encode) -> str:
    """A path's `;color=3,4` · `;color=R,100` · exploded `;color=3;color=4`, `;R=100`."""
    key = encode(name)
    if explode and isinstance(value, Mapping):
        return "".join(f";{each}" for each in _iter_joined(value, "=", encode))
    if explode and isinstance(value, list):
        return "".join(f";{key}={encode(render_value(each))}" for each in _iter_known(value))
    text = ",".join(_iter_joined(value, ",", encode))
    return f";{key}={text}" if text else f";{key}"


def render_form(name: str, value: Any, *, explode: bool, separator: str, encode: Encode) -> Pairs:
    """A query's or a cookie's pairs: exploded one for each item or property, else one, joined by `separator`.

    `separator` is `,`, or encoded `%20` and `%7C` for the styles `spaceDelimited` and `pipeDelimited`.
    """
    if explode and isinstance(value, Mapping):
        return [(encode(key), encode(render_value(each))) for key, each in value.items() if each is not None]
    if explode and isinstance(value, list):
        return [(encode(name), encode(render_value(each))) for each in _iter_known(value)]
    joined = separator.join(_iter_joined(value, separator, encode))
    return [(encode(name), joined)]


def render_deep(name: str, value: Any, encode: Encode) -> Pairs:
    """A query's `color[R]=100&color[G]=200`; what nests further has a further bracket, a list its key repeated.

    OpenAPI leaves both undefined; this is how Express's `qs` and Rails read them.
    """
    if isinstance(value, Mapping):
        inner = (render_deep(f"{name}[{key}]", each, encode) for key, each in value.items() if each is not None)
        return [pair for pairs in inner for pair in pairs]
    values = value if isinstance(value, list) else [value]
    return [(encode_all(name), encode(render_value(each))) for each in _iter_known(values)]


def _iter_joined(value: Any, between: str, encode: Encode) -> Iterator[str]:
    """The items of a list, or the properties of an object with `between` key and value."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if each is not None:
                yield f"{encode(key)}{between}{encode(render_value(each))}"
    else:
        yield from (encode(render_value(each)) for each in _iter_known(value if isinstance(value, list) else [value]))


def _iter_known(values: list[Any]) -> Iterator[Any]:
    """What is null is left out, as RFC 6570 has it of what is undefined."""
    return (each for each in values if each is not None)
