"""A configuration's values, and for every key path the place in the text each came from."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.config.layers.layer import Layer, compose_layer, layer_of, load_layer
from tidemill.config.layers.lookup import step
from tidemill.config.paths import KeyPath
from tidemill.config.secrets import (
    MASK,
    MIN_CONCEALED,
    hide,
    is_secret_key,
    mask,
    mask_in_place,
    mask_source,
    register_secret,
)
from tidemill.config.text.nodes import Fault, Node, Scalar, Sequence, Text
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.offsets import find_offset
from tidemill.errors import Place, Problem

MIN_SECRET = 8
"""A shorter value of a secret key is masked where it stands and in its file's messages, not wherever else it occurs."""


class Document:
    """A configuration as plain data that knows where each value was written.

    Values under secret keys are masked in every place's source line, and registered as secrets.

    Attributes:
        root: the tree of its values; None when there are none to look at, only `problems`.
        layers: the sources it is made of, in the order in which they were laid over one another.
        value: plain mappings, lists and scalars.
        is_whole: False when a source could not be read: what is missing may stand in it.
        problems: what is wrong before any value is looked at: a text's syntax, keys given twice, aliases, references.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        root: Node | None,
        problems: Iterable[Problem] = (),
        *,
        value: Any = ...,
        is_whole: bool = True,
    ) -> None:
        self.layers = tuple(layers)
        self.root = root
        self.value = value if value is not ... else root.to_value() if root is not None else None
        self.is_whole = is_whole and root is not None
        self._problems = tuple(problems)
        self._hidden: list[KeyPath] = []
        self._secret_names: frozenset[str] = frozenset()
        self._register_secrets()

    @classmethod
    def load(cls, path: str | Path) -> Document:
        """The document in one YAML, TOML or JSON file, by itself: what it includes or refers to is left as written.

        Raises:
            ConfigError: there is no such file, or it cannot be opened. A text that cannot be read gives `problems`.
        """
        layer = load_layer(Path(path))
        return cls([layer], layer.root)

    @classmethod
    def parse(cls, text: str, name: str = "<text>") -> Document:
        """The document in a text, YAML unless `name` ends in another format's suffix; it stands for it in messages."""
        layer = compose_layer(Text(name, text.removeprefix("\ufeff")))
        return cls([layer], layer.root)

    @classmethod
    def from_value(cls, value: Any) -> Document:
        """A document of a plain value: it has no places."""
        layer = layer_of(value)
        return cls([layer], layer.root, value=value)

    @property
    def readable(self) -> bool:
        """False when there is no value to look at, only `problems`."""
        return self.root is not None

    @property
    def problems(self) -> tuple[Problem, ...]:
        faults = [
            Problem(self._say(fault, layer.text), self._place_at(layer.text, fault.start, fault.stop), hint=fault.hint)
            for layer in self.layers
            for fault in layer.faults
        ]
        return (*faults, *map(self._hide_line, self._problems))

    def sort(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems in the order of the sources they stand in."""
        names = {layer.text.name: index for index, layer in enumerate(self.layers)}
        return sorted(problems, key=lambda each: names.get(each.place.file, len(names)) if each.place else len(names))

    def place(
        self, path: KeyPath, *, key: bool = False, offset: int | None = None, length: int | None = None
    ) -> Place | None:
        """Where the value at `path` stands, None when it stands in no text.

        Of a path that is not there, the place of the nearest thing above it that is.

        Args:
            key: the place of the key instead.
            offset: of a text, the place of its character at this offset, whatever its style.
            length: the caret's width; by default the value's on its first line, with `offset` one character.
        """
        if self.root is None:
            return Place(self.layers[0].text.name) if self.layers and self.layers[0].text.name else None
        trail, rest = self._walk(path)
        key_node, node = trail[-1] if trail else (None, self.root)
        scalar = node.follow()
        if offset is not None and not key and isinstance(scalar, Scalar):
            start = find_offset(scalar.source.content, scalar.start, scalar.text, scalar.style, offset)
            return self._place_at(scalar.source, start, start + (length or 1))
        above = bool(rest) and not isinstance(scalar, Scalar)
        if key_node is not None and (key or above):
            return self._place_at(key_node.source, key_node.start, key_node.stop, length)
        return self._place_at(node.source, node.start, node.start + 1 if above else node.stop, length)

    def find_node(self, path: KeyPath) -> tuple[Node | None, Node] | None:
        """The key and value nodes at `path`, None when nothing is there."""
        if self.root is None:
            return None
        trail, rest = self._walk(path)
        return None if rest else trail[-1] if trail else (None, self.root)

    def iter_earlier(self, path: KeyPath, *, key: bool = False) -> Iterator[Place]:
        """Where else what stands at `path` was written: in sources that others were laid over, the nearest first."""
        found = self.find_node(path)
        node = found[0 if key else 1] if found else None
        if node is not None and isinstance(node.follow(), MappingNode):  # made of several sources, none of them lost
            return
        while node is not None and (node := node.over) is not None:
            place = self._place_at(node.source, node.start, node.stop)
            if place is not None:
                yield place

    def resolve(self, path: KeyPath) -> KeyPath:
        """`path` as the author would write it: without what a shorthand supplied and the document does not have."""
        shown: list[str | int] = []
        value = self.value
        for index, item in enumerate(path):
            found, child = _find_child(value, item)
            if found:
                shown.append(item)
                value = child
            elif not any(_find_child(value, later)[0] for later in path[index + 1 : index + 2]):
                break
        return tuple(shown)

    def find_value(self, path: KeyPath) -> Any:
        """The value at `path`; None when there is none."""
        value = self.value
        for item in path:
            value = _find_child(value, item)[1]
        return value

    def is_broken(self, path: KeyPath) -> bool:
        """True when the text is faulty at `path`: what stands there says nothing, and `problems` has the reason."""
        return any(node.broken for _, node in self._walk(path)[0])

    def is_secret(self, path: KeyPath) -> bool:
        """True when what stands at `path` must not be shown: by its keys, or as an alias of what is a secret."""
        if self._is_secret_path(path):
            return True
        return any(node.follow() is secret for _, node in self._walk(path)[0] for secret in self._secrets)

    def _is_secret_path(self, path: KeyPath) -> bool:
        if any(isinstance(item, str) and is_secret_key(item, self._secret_names) for item in path):
            return True
        return any(path[: len(hidden)] == hidden for hidden in self._hidden)

    def _starts_secret(self, path: KeyPath) -> bool:
        """As `_is_secret_path`, below what is none: only the last item can make it one."""
        if path and isinstance(path[-1], str) and is_secret_key(path[-1], self._secret_names):
            return True
        return path in self._hidden

    def hide(self, paths: Iterable[KeyPath], names: Iterable[str] = ()) -> None:
        """Treat what stands at `paths`, and under keys of these `names`, as secrets."""
        self._hidden += [self.resolve(path) for path in paths]
        self._secret_names |= frozenset(names)
        for known in ("_secrets", "_masked", "_concealed"):
            self.__dict__.pop(known, None)
        self._register_secrets()

    def conceal(self, message: str) -> str:
        """`message` without the document's own secrets: what a validator's message may quote."""
        for text in self._concealed:
            message = message.replace(text, MASK)
        return message

    @cached_property
    def _concealed(self) -> list[str]:
        """The document's own secrets, the longest first."""
        texts = {text for text in self._iter_secret_texts() if len(text) >= MIN_CONCEALED}
        return sorted(texts, key=len, reverse=True)

    def _walk(self, path: KeyPath) -> tuple[list[tuple[Node | None, Node]], KeyPath]:
        """The key and value nodes along `path` as far as it is there, and the rest of it."""
        trail: list[tuple[Node | None, Node]] = []
        node = self.root
        for index, item in enumerate(path):
            found = step(node, item)
            if found is not None:
                trail.append(found)
                node = found[1]
            elif not any(step(node, later) for later in path[index + 1 : index + 2]):
                return trail, path[index:]
        return trail, ()

    def _place_at(self, text: Text, start: int, stop: int, length: int | None = None) -> Place | None:
        if not text.name:
            return None
        masked = self._mask(text) if text.kind == "file" else None
        return text.place(start, stop, length=length, masked=masked)

    def _hide_line(self, problem: Problem) -> Problem:
        """The problem, found before it was known what is a secret, with those of its source line hidden."""
        place = problem.place
        text = next((each.text for each in self.layers if place and place.line and each.text.name == place.file), None)
        if place is None or text is None:
            return problem
        start = text.line_starts[place.line - 1]
        line = self._mask(text)[start : start + len(place.source_line)]
        return replace(problem, place=replace(place, source_line=line))

    def _say(self, fault: Fault, text: Text) -> str:
        """A fault's message; what it quotes of its line that is a secret there, as a key in its place, is hidden."""
        starts = [*text.line_starts, len(text.content)]
        number = bisect.bisect_right(text.line_starts, fault.start)
        line = slice(starts[number - 1], starts[number])
        written, shown = text.content[line], self._mask(text)[line]

        def conceal(quoted: re.Match[str]) -> str:
            word = quoted.group(1)
            return f"`{MASK}`" if word in written and word not in shown else quoted.group()

        return _QUOTED.sub(conceal, mask(fault.message))

    def _mask(self, text: Text) -> str:
        """The text with its secrets hidden, every character in its column."""
        if text not in self._masked:
            self._masked[text] = self._hide_secrets(text)
        return self._masked[text]

    @cached_property
    def _masked(self) -> dict[Text, str]:
        return {}

    def _hide_secrets(self, text: Text) -> str:
        layers = [layer for layer in self.layers if layer.text is text]
        if any(layer.root is None for layer in layers):
            return mask_source(text.content, self._secret_names)
        masked = self._hide_nodes(text)
        if any(layer.faults for layer in layers):  # a secret may stand where no node was made of it
            rough = mask_source(text.content, self._secret_names)
            masked = "".join(map(_hide_either, masked, rough))
        return masked

    def _hide_nodes(self, text: Text) -> str:
        pieces = []
        position = 0
        for node in self._secrets:
            if node.source is not text:
                continue
            tail = _COMMENT.match(text.content, node.stop)
            start, stop = max(node.outer, position), tail.end() if tail else node.stop
            if stop > position:
                pieces += [text.content[position:start], hide(text.content[start:stop])]
                position = stop
        return mask_in_place("".join([*pieces, text.content[position:]]))

    @cached_property
    def _secrets(self) -> list[Node]:
        """The nodes to hide, those that others were laid over included, in their texts' order."""
        roots = ((layer.root, layer.at) for layer in self.layers if layer.root is not None)
        found = (node for root, at in roots for node in self._iter_secrets(root, at, self._is_secret_path(at)))
        return sorted(found, key=lambda each: each.outer)

    def _iter_secrets(self, node: Node, path: KeyPath, is_secret: bool) -> Iterator[Node]:
        """Those at and below `path`, outermost only; a bool or a null is no secret."""
        target = node.follow()
        if is_secret:
            empty = isinstance(target, Scalar) and (not target.text or isinstance(target.value, bool))
            if not empty or target.broken or target.outer < target.start:
                yield target
        elif isinstance(target, MappingNode):
            for key, value in [*((key, pair[1]) for key, pair in target.pairs.items()), *target.repeated]:
                inner = (*path, key)
                yield from self._iter_secrets(value, inner, self._starts_secret(inner))
        elif isinstance(target, Sequence):
            for index, item in enumerate(target.items):
                inner = (*path, index)
                yield from self._iter_secrets(item, inner, self._starts_secret(inner))

    def _register_secrets(self) -> None:
        """Have the texts of secret keys masked wherever else they occur."""
        for text in self._iter_secret_texts():
            if len(text) >= MIN_SECRET:
                register_secret(text)

    def _iter_secret_texts(self) -> Iterator[str]:
        for text in self._iter_texts(self.value, (), self._is_secret_path(())):
            yield text.strip()
        for node in self._secrets:
            if isinstance(node, Scalar):
                yield node.text.strip()

    def _iter_texts(self, value: Any, path: KeyPath, is_secret: bool) -> Iterator[str]:
        """The texts of all secrets at and below `path`."""
        if isinstance(value, str):
            if is_secret:
                yield value
        elif isinstance(value, (Mapping, list, tuple)):
            for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
                inner = (*path, key)
                yield from self._iter_texts(item, inner, is_secret or self._starts_secret(inner))


class OpenDocument(Document):
    """A document that is told to whoever wrote it: no name makes a secret of a value, and none is registered.

    What a model gives for `password` would else be masked in all that the process says from then on.
    """

    def hide(self, paths: Iterable[KeyPath], names: Iterable[str] = ()) -> None:
        """Nothing is hidden."""

    def _is_secret_path(self, path: KeyPath) -> bool:
        return False

    def _starts_secret(self, path: KeyPath) -> bool:
        return False


_QUOTED = re.compile("`([^`]+)`")


_COMMENT = re.compile(r"[ \t]+#[^\r\n]*")


def _hide_either(one: str, other: str) -> str:
    return "*" if "*" in (one, other) else one


def _find_child(value: Any, item: str | int) -> tuple[bool, Any]:
    """Whether `value` has an item under this key or index, and the item."""
    if isinstance(value, Mapping):
        if item in value:
            return True, value[item]
        return next(((True, each) for key, each in value.items() if str(key) == str(item)), (False, None))
    if isinstance(value, (list, tuple)) and isinstance(item, int) and 0 <= item < len(value):
        return True, value[item]
    return False, None
