"""Descriptions of fields and classes are found wherever their author wrote them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, NotRequired, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from tidemill.config.model import Config
from tidemill.config.schemas.docstrings import describe_class, describe_fields

T = TypeVar("T")


class Optimiser(Config):
    """How weights move.

    And more of it.

    Attributes:
        learning_rate: the step, in units of
            the loss.
        weight_decay: said here.
        momentum: said in the section.
    """

    learning_rate: float = 1e-4
    weight_decay: float = Field(0.0, description="said in the field")
    momentum: float = 0.9
    """said below"""
    warmup: int = 0


class Adam(Optimiser):
    momentum: float = 0.8
    warmup: int = 10
    """Steps of warming up:

    - linear
    - from zero
    """

    class Nested(Config):
        warmup: int = 0
        """another's"""


class Held(BaseModel, Generic[T]):
    """Anything, held."""

    held: T
    """what is held"""


@dataclass
class Plain:
    """A plain one.

    Args:
        by_section: as dataclasses have it.
    """

    by_section: int
    by_field: Annotated[int, Field(ge=1, description="in the annotation")] = 1
    below: list[int] = field(default_factory=list)
    """below it"""


@dataclass
class Silent:
    size: int = 1


@pydantic_dataclass
class Checked:
    """Checked as it is made."""

    size: int = Field(1, description="how many")


class Keys(TypedDict):
    """Some keys."""

    first: int
    """the first"""


class MoreKeys(Keys, total=False):
    second: NotRequired[Annotated[int, Field(description="the second")]]


EXPECTED: list[tuple[Any, str, dict[str, str]]] = [
    (
        Optimiser,
        "How weights move.",
        {
            "learning_rate": "the step, in units of the loss.",
            "weight_decay": "said in the field",
            "momentum": "said below",
        },
    ),
    (
        Adam,
        "",
        {
            "learning_rate": "the step, in units of the loss.",
            "weight_decay": "said in the field",
            "momentum": "said below",
            "warmup": "Steps of warming up:\n\n- linear\n- from zero",
        },
    ),
    (Adam.Nested, "", {"warmup": "another's"}),
    (Held[int], "Anything, held.", {"held": "what is held"}),
    (
        Plain,
        "A plain one.",
        {"by_section": "as dataclasses have it.", "by_field": "in the annotation", "below": "below it"},
    ),
    (Silent, "", {}),
    (Checked, "Checked as it is made.", {"size": "how many"}),
    (Keys, "Some keys.", {"first": "the first"}),
    (MoreKeys, "", {"first": "the first", "second": "the second"}),
]


@pytest.mark.parametrize(("cls", "paragraph", "fields"), EXPECTED, ids=lambda value: getattr(value, "__name__", None))
def test_descriptions(cls: Any, paragraph: str, fields: dict[str, str]) -> None:
    assert describe_class(cls) == paragraph
    assert describe_fields(cls) == fields


def test_a_class_within_a_function_is_read() -> None:
    class Local(Config):
        size: int = 1
        """how many"""

    assert describe_fields(Local) == {"size": "how many"}


def test_a_class_without_source_has_what_python_keeps() -> None:
    space: dict[str, Any] = {"__name__": "nowhere", "Config": Config, "Field": Field}
    exec(  # noqa: S102 - the only way to a class that has no file
        'class Gone(Config):\n    """Gone.\n\n    Attributes:\n        size: how many\n    """\n    size: int = 1\n'
        '    """unseen"""\n    rate: float = Field(1.0, description="seen")\n',
        space,
    )
    assert describe_fields(space["Gone"]) == {"size": "how many", "rate": "seen"}


def test_what_one_line_of_a_section_lacks_costs_no_other() -> None:
    class Torn(Config):
        """Torn.

        Attributes:
            size: how many
            this line names nothing
            rate: how fast
        """

        size: int = 1
        rate: float = 1.0

    assert describe_fields(Torn) == {"size": "how many", "rate": "how fast"}


@given(st.text())
def test_no_docstring_fails(text: str) -> None:
    made = type("Made", (Config,), {"__doc__": f"{text}\n\nAttributes:\n{text}\n    size: how many", "__module__": ""})
    assert isinstance(describe_class(made), str)
    assert all(isinstance(each, str) for each in describe_fields(made).values())


def test_what_is_given_is_the_callers_own() -> None:
    describe_fields(Optimiser).clear()
    assert describe_fields(Optimiser)


def test_the_parser_is_loaded_only_for_a_section() -> None:
    program = (
        "import sys, tidemill as tm\n"
        "from tidemill.config.schemas.docstrings import describe_fields\n"
        "class A(tm.Config):\n    size: int = 1\n"
        "tm.load_config(A, {'size': 2}), describe_fields(A)\n"
        "print('griffe' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
