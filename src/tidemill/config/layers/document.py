"""A configuration's value, and for every key path the place in the text it came from."""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.config.paths import KeyPath, shorten_path
from tidemill.config.secrets import MASK, hide, is_secret_key, mask, mask_in_place, mask_source, register_secret
from tidemill.config.suggest import find_near
from tidemill.config.text.nodes import Fault, Node, Scalar, Sequence, Text
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.offsets import find_offset
from tidemill.config.text.yaml import compose_yaml
from tidemill.errors import ConfigError, Place, Problem

MIN_SECRET = 8
"""A shorter value of a secret key is masked where it stands and in its file's messages, not wherever else it occurs."""

MIN_CONCEALED = 3
"""A shorter one is left in a message: it would hide syllables."""


class Document:
    """A configuration as plain data that knows where each value was written.

    Values under secret keys are masked in every place's source line, and registered as secrets.

    Attributes:
        value: plain mappings, lists and scalars; None when the text cannot be read.
        name: the file as messages name it; empty for a plain value.
        problems: what is wrong with the text itself: its syntax, keys given twice, aliases.
        readable: False when there is no value to look at, only `problems`.
    """

    def __init__(self, value: Any, *, name: str = "", text: str = "", root: Node | None = None) -> None:
        self.value = value
        self.name = name
        self.readable = True
        self._faults: list[Fault] = []
        self._text = text
        self._root = root
        self._hidden: list[KeyPath] = []
        self._secret_names: frozenset[str] = frozenset()
        self._assigned: dict[KeyPath, str] = {}

    @classmethod
    def load(cls, path: str | Path) -> Document:
        """The document in a YAML file (or a JSON one, which is YAML).

        Raises:
            ConfigError: there is no such file, or it cannot be opened. A text that is no YAML gives `problems`.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _cannot_open(path, error) from None
        name = shorten_path(path)
        try:
            return cls.parse(data.decode("utf-8-sig"), name)
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8", "replace")
            document = cls(None, name=name, text=before)
            document.readable = False
            document._faults = [Fault("the file is not UTF-8", "save it as UTF-8", len(before), len(before) + 1)]
            return document

    @classmethod
    def parse(cls, text: str, name: str = "<text>") -> Document:
        """The document in a YAML text; `name` stands for it in messages."""
        text = text.removeprefix("\ufeff")
        root, faults = compose_yaml(Text(name, text))
        document = cls(root.to_value() if root else None, name=name, text=text, root=root)
        document.readable = root is not None
        document._faults = faults
        document._register_secrets()
        return document

    @classmethod
    def from_value(cls, value: Any) -> Document:
        """A document of a plain value: it has no places."""
        document = cls(value)
        document._register_secrets()
        return document

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(mask(fault.message), self._place_at(fault.start, fault.stop), hint=fault.hint)
            for fault in self._faults
        )

    def place(
        self, path: KeyPath, *, key: bool = False, offset: int | None = None, length: int | None = None
    ) -> Place | None:
        """Where the value at `path` stands, None when the document is a plain value.

        Of a path that is not there, the place of the nearest thing above it that is.

        Args:
            key: the place of the key instead.
            offset: of a text, the place of its character at this offset, whatever the YAML style.
            length: the caret's width; by default the value's on its first line, with `offset` one character.
        """
        if (label := self._find_assignment(path)) is not None:
            return Place(f"--set {label}")
        if self._root is None:
            return Place(self.name) if self.name else None
        trail, rest = self._walk(path)
        key_node, node = trail[-1] if trail else (None, self._root)
        scalar = node.follow()
        if offset is not None and not key and isinstance(scalar, Scalar):
            start = find_offset(self._text, scalar.start, scalar.text, scalar.style, offset)
            return self._place_at(start, start + (length or 1))
        above = bool(rest) and not isinstance(scalar, Scalar)
        if key_node is not None and (key or above):
            return self._place_at(key_node.start, key_node.stop, length)
        return self._place_at(node.start, node.start + 1 if above else node.stop, length)

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

    def hide(self, paths: Iterable[KeyPath], names: Iterable[str] = ()) -> None:
        """Treat what stands at `paths`, and under keys of these `names`, as secrets."""
        self._hidden += [self.resolve(path) for path in paths]
        self._secret_names |= frozenset(names)
        self.__dict__.pop("_masked", None)
        self.__dict__.pop("_secrets", None)
        self._register_secrets()

    def conceal(self, message: str) -> str:
        """`message` without the document's own secrets: what a validator's message may quote."""
        for text in sorted(set(self._iter_secret_texts()), key=len, reverse=True):
            if len(text) >= MIN_CONCEALED:
                message = message.replace(text, MASK)
        return message

    def assign(self, path: KeyPath, value: Any, label: str) -> Document:
        """A document with `value` at `path`; its place is `--set LABEL`.

        Missing mappings on the way are made. Raises LookupError where the path leads into a list's end or a scalar.
        """
        document = Document(_assign(self.value, path, value), name=self.name, text=self._text, root=self._root)
        document._faults = self._faults
        document.readable = self.readable
        document._hidden = list(self._hidden)
        document._secret_names = self._secret_names
        document._assigned = self._assigned | {path: label}
        document._register_secrets()
        return document

    def _find_assignment(self, path: KeyPath) -> str | None:
        """The label of the assignment that made what stands at `path`, None when it is the file's."""
        if not self._assigned:
            return None
        path = self.resolve(path) or path
        written = len(self._walk(path)[0]) if self._root is not None else 0
        for assigned, label in reversed(self._assigned.items()):
            if path[: len(assigned)] == assigned:
                return label
            if written < len(path) and assigned[: written + 1] == path[: written + 1]:
                return label
        return None

    def _walk(self, path: KeyPath) -> tuple[list[tuple[Node | None, Node]], KeyPath]:
        """The key and value nodes along `path` as far as it is there, and the rest of it."""
        trail: list[tuple[Node | None, Node]] = []
        node = self._root
        for index, item in enumerate(path):
            found = _find_node(node, item)
            if found is not None:
                trail.append(found)
                node = found[1]
            elif not any(_find_node(node, later) for later in path[index + 1 : index + 2]):
                return trail, path[index:]
        return trail, ()

    def _place_at(self, start: int, stop: int, length: int | None = None) -> Place:
        number = bisect.bisect_right(self._line_starts, start)
        first = self._line_starts[number - 1]
        following = self._line_starts[number] if number < len(self._line_starts) else len(self._text)
        end = first + len(self._text[first:following].rstrip("\r\n"))
        width = length or len(self._text[start : min(stop, end)].rstrip())
        return Place(self.name, number, start - first + 1, max(1, width), self._masked[first:end])

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", self._text))]

    @cached_property
    def _masked(self) -> str:
        """The text with its secrets hidden, every character in its column."""
        if self._root is None:
            return mask_source(self._text, self._secret_names)
        pieces = []
        position = 0
        for node in self._secrets:
            tail = _COMMENT.match(self._text, node.stop)
            start, stop = max(node.outer, position), tail.end() if tail else node.stop
            if stop > position:
                pieces += [self._text[position:start], hide(self._text[start:stop])]
                position = stop
        return mask_in_place("".join([*pieces, self._text[position:]]))

    @cached_property
    def _secrets(self) -> list[Node]:
        """The nodes to hide, in the text's order."""
        found = self._iter_secrets(self._root, ()) if self._root else ()
        return sorted(found, key=lambda each: each.outer)

    def _iter_secrets(self, node: Node, path: KeyPath) -> Iterator[Node]:
        """Those at and below `path`, outermost only; a bool or a null is no secret."""
        target = node.follow()
        if self._is_secret_path(path):
            empty = isinstance(target, Scalar) and (not target.text or isinstance(target.value, bool))
            if not empty or target.broken or target.outer < target.start:
                yield target
        elif isinstance(target, MappingNode):
            for key, value in [*((key, pair[1]) for key, pair in target.pairs.items()), *target.repeated]:
                yield from self._iter_secrets(value, (*path, key))
        elif isinstance(target, Sequence):
            for index, item in enumerate(target.items):
                yield from self._iter_secrets(item, (*path, index))

    def _register_secrets(self) -> None:
        """Have the texts of secret keys masked wherever else they occur."""
        for text in self._iter_secret_texts():
            if len(text) >= MIN_SECRET:
                register_secret(text)

    def _iter_secret_texts(self) -> Iterator[str]:
        for text in _iter_texts(self.value, (), self._is_secret_path):
            yield text.strip()
        for node in self._secrets:
            if isinstance(node, Scalar):
                yield node.text.strip()


_COMMENT = re.compile(r"[ \t]+#[^\r\n]*")


def _iter_texts(value: Any, path: KeyPath, wanted: Callable[[KeyPath], bool]) -> Iterator[str]:
    if isinstance(value, str):
        if wanted(path):
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _iter_texts(item, (*path, key), wanted)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _iter_texts(item, (*path, index), wanted)


def _find_node(node: Node | None, item: str | int) -> tuple[Node | None, Node] | None:
    target = node.follow() if node is not None else None
    if isinstance(target, MappingNode):
        if item in target.pairs:
            return target.pairs[item]
        return next((pair for key, pair in target.pairs.items() if str(key) == str(item)), None)
    if isinstance(target, Sequence) and isinstance(item, int) and 0 <= item < len(target.items):
        return None, target.items[item]
    return None


def _find_child(value: Any, item: str | int) -> tuple[bool, Any]:
    """Whether `value` has an item under this key or index, and the item."""
    if isinstance(value, Mapping):
        if item in value:
            return True, value[item]
        return next(((True, each) for key, each in value.items() if str(key) == str(item)), (False, None))
    if isinstance(value, (list, tuple)) and isinstance(item, int) and 0 <= item < len(value):
        return True, value[item]
    return False, None


def _assign(value: Any, path: KeyPath, new: Any) -> Any:
    if not path:
        return new
    item, rest = path[0], path[1:]
    if value is None and isinstance(item, str):
        value = {}
    if isinstance(value, Mapping):
        return {**value, item: _assign(value.get(item), rest, new)}
    if isinstance(value, (list, tuple)) and isinstance(item, int) and 0 <= item < len(value):
        return [_assign(each, rest, new) if index == item else each for index, each in enumerate(value)]
    raise LookupError(item)


def _cannot_open(path: Path, error: OSError) -> ConfigError:
    hint = ""
    if isinstance(error, FileNotFoundError):
        message = f"there is no file `{path.name}` in {path.parent.absolute()}"
        if path.parent.is_dir():
            near = find_near(path.name, sorted(os.listdir(path.parent)))
            hint = f"did you mean `{path.with_name(near)}`?" if near else ""
    elif isinstance(error, IsADirectoryError):
        message, hint = "this is a folder", "name the file in it"
    else:
        message = f"cannot open it: {error.strerror or error}"
    problem = Problem(message, Place(str(path)), hint=hint)
    text = f"{message}\n  {hint}" if hint else message
    return ConfigError(text, problems=[problem], where=str(path))
