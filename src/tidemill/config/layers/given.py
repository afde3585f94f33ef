"""Values given outside a file, where a word has no quotes: on a command line, in the environment."""

from __future__ import annotations

from typing import Any

from tidemill.config.shapes.shape import Shape, Shapes
from tidemill.config.text.nodes import Fault, Node, Scalar, Text
from tidemill.config.text.yaml import compose_yaml

_NUMBERS = frozenset({"int", "float", "decimal", "complex"})
_WORDS = frozenset({"str", "url", "multi-host-url", "uuid", "bytes", "date", "time", "datetime", "timedelta"})

_QUOTES = ("'", '"')


def read_given(source: Text, shapes: Shapes) -> tuple[Node | None, list[Fault]]:
    """The value that a given text stands for: YAML, but the text itself where only that fits.

    `7` is a number for a field that takes numbers, and the text `7` for one that takes texts alone; there a template
    such as `Label: {{ text }}` needs no quotes, and `fix #3` loses nothing.
    """
    root, faults = compose_yaml(source)
    options = [option for shape in shapes for option in shape.iter_options()]
    if not any(map(_is_word, options)):
        return root, faults
    if isinstance(root, Scalar) and not faults:
        is_all = source.content[root.start : root.stop] == source.content.strip()  # no comment, no anchor
        if is_all and (root.style in _QUOTES or _is_taken(root.value, (*shapes, *options))):
            return root, []
    elif any(_is_container(option) for option in options):
        return root, faults
    return Scalar(0, 0, value=source.content, text=source.content, source=source), []


def _is_taken(value: Any, shapes: Shapes) -> bool:
    """True of a value other than a text that one of `shapes` takes as it is."""
    if value is None:
        return any(shape.takes_null for shape in shapes)
    return not isinstance(value, str) and any(_fits(value, shape) for shape in shapes)


def _is_word(option: Shape) -> bool:
    choices = option.choices
    return option.core["type"] in _WORDS or (bool(choices) and all(isinstance(each, str) for each in choices))


def _is_container(option: Shape) -> bool:
    return not _is_word(option) and option.core["type"] not in _NUMBERS | {"bool", "none", "literal", "enum"}


def _fits(value: Any, option: Shape) -> bool:
    kind = option.core["type"]
    if option.choices:
        return any(value == choice and type(value) is type(choice) for choice in option.choices)
    return kind == "any" or kind == "bool" if isinstance(value, bool) else kind == "any" or kind in _NUMBERS
