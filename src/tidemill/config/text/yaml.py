"""YAML text to nodes that know where they stand.

The nodes are composed from PyYAML's events, not by its composer, which forgets where an alias stood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tidemill.config.text.nodes import MAX_DEPTH, Alias, Fault, Mapping, Node, Scalar, Sequence, Text
from tidemill.config.text.scalars import TAG, parse_scalar, parse_tagged
from tidemill.config.text.yaml_faults import explain_error

MAX_ALIASED = 100_000
"""How many values a document's aliases may stand for in all: what an alias bomb multiplies."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UnreadableError(Exception):
    """The text cannot be read any further."""


class _Composer:
    """Composes one document's events; collects faults and goes on wherever it can."""

    def __init__(self, source: Text, events: Iterator[Any]) -> None:
        self.source = source
        self.text = source.content
        self.events = events
        self.faults: list[Fault] = []
        self.anchors: dict[str, Node | None] = {}
        self.aliased = 0

    def fault(self, message: str, hint: str, start: int, stop: int) -> None:
        self.faults.append(Fault(message, hint, start, stop))

    def compose(self, event: Any, depth: int = 0) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._compose_alias(event)
        start = self._skip_properties(event)
        if depth > MAX_DEPTH:
            self.fault(f"nested deeper than {MAX_DEPTH} levels", "", start, start + 1)
            raise _UnreadableError
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self._compose_scalar(event, start)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._compose_sequence(start, depth)
        else:
            node = self._compose_mapping(start, depth)
        if isinstance(event, yaml.CollectionStartEvent) and event.tag not in (None, "!", TAG + "seq", TAG + "map"):
            self._refuse_tag("an unknown tag", event, node)
        node.outer = event.start_mark.index
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _compose_alias(self, event: Any) -> Node:
        start, stop = event.start_mark.index, event.end_mark.index
        target = self.anchors.get(event.anchor)
        if target is None:
            if event.anchor in self.anchors:
                self.fault("an alias within its own anchor", "", start, stop)
            else:
                self.fault("an alias of no anchor before it", "quote a text that starts with `*`", start, stop)
            return Node(start, stop, start, broken=True, source=self.source)
        self.aliased += target.size
        if self.aliased > MAX_ALIASED:
            self.fault(f"the aliases stand for more than {MAX_ALIASED:,} values", "", start, stop)
            raise _UnreadableError
        return Alias(start, stop, start, target.size, target.broken, target=target, source=self.source)

    def _compose_scalar(self, event: Any, start: int) -> Scalar:
        stop = max(start, event.end_mark.index)
        node = Scalar(start, stop, text=event.value, style=event.style or "", source=self.source)
        if event.tag is None or event.tag == "!":
            node.value = parse_scalar(event.value) if event.implicit[0] and not node.style else event.value
            return node
        try:
            node.value = parse_tagged(event.value, event.tag)
        except ValueError as error:
            self._refuse_tag(str(error), event, node)
        return node

    def _refuse_tag(self, message: str, event: Any, node: Node) -> None:
        start = event.start_mark.index
        node.broken = True
        self.fault(message, "quote a text that starts with `!`", start, max(start + 1, _end_of_word(self.text, start)))

    def _compose_sequence(self, start: int, depth: int) -> Sequence:
        node = Sequence(start, start, source=self.source)
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            item = self.compose(event, depth + 1)
            node.items.append(item)
            node.size += item.size
        node.stop = _stop_of(event)
        return node

    def _compose_mapping(self, start: int, depth: int) -> Mapping:
        node = Mapping(start, start, source=self.source)
        merged: list[Node] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.compose(event, depth + 1)
            value = self.compose(next(self.events), depth + 1)
            node.size += value.size
            self._add_pair(node, key, value, merged)
        node.stop = _stop_of(event)
        for value in merged:
            self._merge(node, value)
        return node

    def _add_pair(self, node: Mapping, key: Node, value: Node, merged: list[Node]) -> None:
        scalar = key.follow()
        if key.broken:
            return
        if not isinstance(scalar, Scalar):
            self._refuse_key(node, key)
        elif scalar.text == "<<" and not scalar.style:
            merged.append(value)
        elif scalar.value is None and not scalar.text:
            self.fault("a key is missing before `:`", "", key.start, key.start + 1)
        elif scalar.value in node.pairs:
            line = self.text.count("\n", 0, node.pairs[scalar.value][0].start) + 1
            message = f"the key `{scalar.text}` is given twice, first on line {line}"
            self.fault(message, "keep one of them", key.start, key.stop)
            node.repeated.append((scalar.value, value))
        else:
            node.pairs[scalar.value] = (key, value)

    def _refuse_key(self, node: Mapping, key: Node) -> None:
        if self.text.startswith("{{", node.start):
            stop = self.text.find("}}", node.start) + 2
            hint = "quote a text that starts with `{{`"
            self.fault("`{{` starts a mapping in YAML", hint, node.start, max(stop, node.start + 2))
            node.broken = True
        else:
            self.fault("a key must be a word or a number, not a list or mapping", "", key.start, key.stop)

    def _merge(self, node: Mapping, value: Node) -> None:
        """Take the pairs of what `<<` names that the mapping does not give itself; of several the first wins."""
        target = value.follow()
        if isinstance(target, Mapping):
            for key, pair in target.pairs.items():
                node.pairs.setdefault(key, pair)
        elif isinstance(target, Sequence) and isinstance(value, Sequence):
            for item in target.items:
                self._merge(node, item)
        elif not target.broken:
            self.fault("`<<` takes a mapping or a list of mappings", "", value.start, value.stop)

    def _skip_properties(self, event: Any) -> int:
        """Where the value itself starts: PyYAML's mark stands at its anchor or tag."""
        start: int = event.start_mark.index
        if event.anchor or event.tag:
            while match := _PROPERTY.match(self.text, start, event.end_mark.index):
                start = match.end()
        return start


_PROPERTY = re.compile(r"[&!][^\s,\[\]{}]*\s*|#[^\n]*\s*")


def _stop_of(event: Any) -> int:
    return int(event.end_mark.index)


def _end_of_word(text: str, start: int) -> int:
    match = re.compile(r"\S+").match(text, start)
    return match.end() if match else start


def compose_yaml(source: Text) -> tuple[Node | None, list[Fault]]:
    """The root node of a YAML text and all that is wrong with it; no node when it cannot be read to the end.

    An empty text gives a null.
    """
    events: Iterator[Any] = yaml.parse(source.content, Loader=_LOADER)
    composer = _Composer(source, events)
    try:
        while not isinstance(event := next(events), (yaml.DocumentStartEvent, yaml.StreamEndEvent)):
            pass
        if isinstance(event, yaml.StreamEndEvent):
            return Scalar(0, 0, source=source), []
        root = composer.compose(next(events))
        next(events)
        after = next(events)
        if isinstance(after, yaml.DocumentStartEvent):
            start = _stop_of(after)
            composer.fault("a second document starts here", "a file holds one", start - 3, start)
    except _UnreadableError:
        return None, composer.faults
    except UnicodeEncodeError as error:  # what a variable holds may be no text
        return None, [Fault("bytes that are no UTF-8", "give a text", error.start, error.end)]
    except yaml.YAMLError as error:
        fault = explain_error(error, source.content)
        return None, [*(each for each in composer.faults if each.start != fault.start), fault]
    return root, composer.faults
