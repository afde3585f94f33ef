"""What was typed after a script's name, as files and overrides: every mistake is told, none is guessed away."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.config.cli.completion import SHELLS
from tidemill.config.cli.lookup import Target, explain_unknown, find_negated, find_target, strip_no
from tidemill.config.cli.options import Option, is_flag, is_list, list_sections, spell_option
from tidemill.config.layers.given import read_given
from tidemill.config.layers.overrides import Override
from tidemill.config.paths import KeyPath
from tidemill.config.shapes.shape import Shape, Shapes, enter
from tidemill.config.text.nodes import Scalar, Text
from tidemill.config.text.nodes import Sequence as SequenceNode
from tidemill.config.text.yaml import compose_yaml
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.errors import Place, Problem

_OPTION = re.compile(r"--([A-Za-z_]|$)|-h$")
"""What is no value, though one is due; a value that looks so is given as `--key=--value`."""

_FLAG_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0", "null"})
"""What is a flag's value where it follows it; any other word is none."""


@dataclass(slots=True)
class Arguments:
    """What the arguments say.

    Attributes:
        files: the files named, in order.
        overrides: the values given, in order.
        problems: what is wrong with the arguments themselves.
        wants_help: whether help is asked for; nothing else is looked at then.
        shell: the shell whose completion is asked for; empty when none is.
    """

    files: list[str] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    wants_help: bool = False
    shell: str = ""


def parse_arguments(words: Sequence[str], shape: Shape) -> Arguments:
    """What `words` say for a configuration of this `shape`."""
    before = words[: words.index("--")] if "--" in words else words
    if "--help" in before or "-h" in before:
        return Arguments(wants_help=True)
    return _Parser(words, shape).parse()


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as it was given for a key; `name` is what gave it, as messages name it."""

    target: Target
    text: str
    name: str


class _Parser:
    """One pass over the arguments."""

    def __init__(self, words: Sequence[str], shape: Shape) -> None:
        self.words = deque(words)
        self.shape = shape
        self.found = Arguments()
        self.given: list[_Given | Override] = []

    def parse(self) -> Arguments:
        takes_options = True
        while self.words:
            word = self.words.popleft()
            if word == "--" and takes_options:
                takes_options = False
            elif takes_options and word.startswith("-") and word != "-":
                self._read_option(word)
            else:
                self._read_word(word)
        self.found.overrides += self._settle()
        return self.found

    def _read_option(self, word: str) -> None:
        name, equals, text = word.partition("=")
        label = name.lstrip("-")
        value = text if equals else None
        if name == "--set":
            self._read_set(value)
        elif name == "--completion":
            self._read_shell(value)
        elif name.startswith("--") and (target := find_target(label, (self.shape,))) is not None:
            self._take(target, value if equals else self._find_value(target.shapes), name)
        elif name.startswith("--") and (target := find_negated(label, (self.shape,))) is not None:
            self._take_negated(target, value, name)
        else:
            self._refuse_option(label, name, has_value=bool(equals))

    def _read_set(self, text: str | None) -> None:
        text = self._pop_value() if text is None else text
        if text is None:
            self._report("--set", "expected `path=value`, as `optim.lr=3e-4`")
        elif text.startswith("@"):
            self.given.append(Override((), None, f"--set {text}", file=Path(text[1:])))
        else:
            self._assign(text, "--set")

    def _read_shell(self, text: str | None) -> None:
        text = self._pop_value() if text is None else text
        if text in SHELLS:
            self.found.shell = text
        else:
            got = f", got `{text}`" if text else ""
            near = find_near(text or "", SHELLS)
            hint = f"did you mean `{near}`?" if near else ""
            self._report("--completion", f"expected {list_names(SHELLS, ' or ')}{got}", hint)

    def _read_word(self, word: str) -> None:
        """A file, or `key=value`; where a file of that very name exists, the file."""
        if word.startswith("@"):
            self.given.append(Override((), None, word, file=Path(word[1:])))
        elif "=" in word and not os.path.exists(word):
            self._assign(word, "argument")
        elif not os.path.exists(word) and (hint := self._explain_word(word)):
            self._report(word, f"there is no file `{word}`", hint)
        else:
            self.found.files.append(word)

    def _assign(self, word: str, kind: str) -> None:
        """`key=value`, which `kind` gave."""
        label, equals, text = word.partition("=")
        label = label.strip()
        name = f"{kind} {label}"
        if not equals or not label:
            self._report(name, f"expected `path=value`, as `optim.lr=3e-4`, got `{label}`")
        elif (target := find_target(label, (self.shape,))) is not None:
            self._take(target, text, name)
        else:
            self._refuse(label, name)

    def _explain_word(self, word: str) -> str:
        """What was meant by a word that is no file; empty when nothing but a file could be."""
        target = find_target(word, (self.shape,))
        if target is not None and target.shapes:
            return f"did you mean `{spell_option(target.path)}`?"
        last = self.given[-1] if self.given else None
        if isinstance(last, _Given) and last.name.startswith("--") and is_list(last.target.shapes):
            return f"each item has its own option, as `{last.name} {word}`; or give one list, as `{last.name} '[a, b]'`"
        return ""

    def _find_value(self, shapes: Shapes) -> str | None:
        """The text that follows an option; of a flag that stands alone `true`; None when a value is missing."""
        if not is_flag(shapes):
            return self._pop_value()
        others = [option for shape in shapes for option in shape.iter_options() if option.core["type"] != "bool"]
        follows = self.words[0] if self.words and not _OPTION.match(self.words[0]) else None
        if follows is not None and (others or follows.casefold() in _FLAG_WORDS):
            return self.words.popleft()
        return "true"

    def _pop_value(self) -> str | None:
        return self.words.popleft() if self.words and not _OPTION.match(self.words[0]) else None

    def _take(self, target: Target, text: str | None, name: str) -> None:
        if text is not None:
            self.given.append(_Given(target, text, name))
            return
        words = next((words for shape in target.shapes if (words := shape.describe())), "a value")
        hint = f"a value that begins with `--` is given as `{name}=--…`" if self.words else ""
        self._break(target.path, Problem(f"expected {words}, got nothing", Place(name), target.path, hint=hint))

    def _take_negated(self, target: Target, value: str | None, name: str) -> None:
        if value is None:
            self.given.append(_Given(target, "false", name))
        else:
            hint = f"give `{name}` alone, or `{spell_option(target.path)}={value}`"
            self._break(target.path, Problem("takes no value", Place(name), target.path, hint=hint))

    def _refuse_option(self, label: str, name: str, *, has_value: bool) -> None:
        """An option that names no key, with the value it may have been given."""
        near = self._refuse(label, name)
        if has_value or (near is not None and is_flag(near.shapes) and strip_no(label)):
            return
        if near is not None:
            self._find_value(near.shapes)
        else:
            self._pop_value()

    def _refuse(self, label: str, name: str) -> Target | None:
        """The key that was most likely meant: what is given for another is not missing there."""
        hint, near = explain_unknown(label, (self.shape,), self._options())
        path: KeyPath = near.path if near is not None else tuple(label.split("."))
        message = "an option begins with `--`" if name == f"-{label}" else f"unknown key `{label}`"
        problem = Problem(message, Place(name), path, hint=hint)
        if near is None or len(near.path) != label.count(".") + 1:  # of another mapping, which may not be given at all
            self.found.problems.append(problem)
        else:
            self._break(near.path, problem)
        return near

    def _break(self, path: KeyPath, problem: Problem) -> None:
        self.given.append(Override(path, None, problem.place.file if problem.place else "", problem=problem))

    def _report(self, name: str, message: str, hint: str = "") -> None:
        self.found.problems.append(Problem(message, Place(name), hint=hint))

    def _options(self) -> list[Option]:
        return [option for section in list_sections(self.shape) for option in section.options]

    def _settle(self) -> Iterator[Override]:
        """The overrides; of a list that was given item by item, one."""
        groups: dict[KeyPath, list[_Given]] = {}
        for each in self.given:
            if isinstance(each, _Given):
                groups.setdefault(each.target.path, []).append(each)
        for each in self.given:
            if isinstance(each, Override):
                yield each
            elif each is groups[each.target.path][0]:
                yield self._join(groups[each.target.path])

    def _join(self, group: list[_Given]) -> Override:
        first = group[0]
        path, shapes = first.target.path, first.target.shapes
        if len(group) == 1 and not (is_list(shapes) and not _is_whole(first.text, shapes)):
            return _override(first)
        if is_list(shapes):
            texts, items = [each.text for each in group], enter(shapes, 0)
            if len(group) == 1 or is_list(items) or not any(map(_is_bracketed, texts)):
                return Override(path, f"[{', '.join(_quote(text, items) for text in texts)}]", first.name)
        return Override(path, None, first.name, problem=_explain_repeated(group))


def _explain_repeated(group: list[_Given]) -> Problem:
    first, path = group[0], group[0].target.path
    others = ", ".join(dict.fromkeys(f"`{each.name}`" for each in group[1:] if each.name != first.name))
    count = "twice" if len(group) == 2 else f"{len(group)} times"
    hint = "give one list, or each item by its own option" if is_list(first.target.shapes) else "keep one of them"
    return Problem(f"given {count}{f', also as {others}' if others else ''}", Place(first.name), path, hint=hint)


def _override(given: _Given) -> Override:
    if given.text.startswith("@"):
        return Override(given.target.path, None, given.name, file=Path(given.text[1:]))
    return Override(given.target.path, given.text, given.name)


def _is_whole(text: str, shapes: Shapes) -> bool:
    """True of a text that, given once, stands for a whole list, not for one item of it."""
    node, faults = compose_yaml(Text("", text, "override"))
    if isinstance(node, SequenceNode) or (faults and _is_bracketed(text)):
        return True
    is_null = isinstance(node, Scalar) and not faults and node.value is None
    return text.startswith(("@", "${")) or (is_null and any(shape.takes_null for shape in shapes))


def _is_bracketed(text: str) -> bool:
    return text.lstrip().startswith("[")


def _quote(text: str, shapes: Shapes) -> str:
    """One item as it stands in a list in YAML."""
    node = read_given(Text("", text, "override"), shapes)[0]
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return json.dumps(node.value, ensure_ascii=False)
    return text
