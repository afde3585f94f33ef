"""What a run read, from the description of its source, as a person says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.config.secrets import mask
from tidemill.data.formats.format import MAX_LINE_BYTES
from tidemill.data.sources.versions import shorten

_MOST_CHARACTERS = 160
_DIGEST = re.compile(r"[0-9a-f]{64}")


def show_source(described: Mapping[str, Any]) -> str:
    """A source in a line, without secrets: files by their paths alone, then what was said besides.

    >>> show_source({"read": {"path": ["a.csv", "b.csv"], "delimiter": ";", "max_line_bytes": 67108864}})
    'a.csv, b.csv, delimiter ;'
    """
    text = mask(_show(described))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _show(described: Mapping[str, Any]) -> str:
    match described:
        case {"read": {"path": paths, **options}}:
            if options.get("max_line_bytes") == MAX_LINE_BYTES:  # described at its default, too
                del options["max_line_bytes"]
            return _join(_show_value(paths), options)
        case {"dataset": str(path)}:
            return path
        case {"sql": {"sql": str(query), **options}}:
            return _join(f"sql {' '.join(query.split())}", options)
        case {"hf": {"hf": str(name), **options}}:
            return _join(f"hf {name}", options)
        case {"replay": {"path": str(path), **options}}:
            return _join(f"replay {path}", options)
        case {"iterable": str(of)}:
            return f"records of a {'function' if _DIGEST.fullmatch(of) else of}"
        case {"object": str(of)}:
            return f"records of a {of}"
    kind, flows = next(iter(described.items()), ("", None))
    if isinstance(flows, list) and all(isinstance(flow, dict) and flow.keys() >= {"source", "steps"} for flow in flows):
        return f"{kind} of {', '.join(_iter_flows(flows))}"
    return _show_value(dict(described))


def _iter_flows(flows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is joined, each with the kinds of its steps."""
    for flow in flows:
        kinds = ", ".join(step["kind"] for step in flow["steps"])
        yield _show(flow["source"]) + (f" ({kinds})" if kinds else "")


def _join(main: str, options: Mapping[Any, Any]) -> str:
    return ", ".join([main, *(f"{name} {_show_value(value)}" for name, value in options.items())])


def _show_value(value: Any) -> str:
    """A text as it is, of a digest what tells it apart; of a list its texts."""
    if isinstance(value, str):
        return shorten(value) if _DIGEST.fullmatch(value) else value
    is_list = isinstance(value, list) and all(isinstance(each, (str, int, float)) for each in value)
    return ", ".join(map(_show_value, value)) if is_list else orjson.dumps(value).decode()
