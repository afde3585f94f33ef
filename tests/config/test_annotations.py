"""A class that cannot be used as it is written is told by its name, with the mend."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.config.report.values import check_value

if TYPE_CHECKING:
    from decimal import Decimal


class Optim(tm.Config):
    path: Path = Path("out")
    lr: Decimal | None = None


class Train(tm.Config):
    optim: Optim


class Adam(Optim):
    beta: float = 0.9


class Foreign(BaseModel):
    rates: list[Decimal]


@dataclasses.dataclass
class Data:
    rate: Decimal


class Typed(typing.TypedDict):
    size: int


class Plain(tm.Config):
    size: int = 1


MEND = "import `Decimal` outside of `if TYPE_CHECKING:`"


def tell(call: Callable[[], Any]) -> str:
    with pytest.raises(tm.ConfigError, match=r"\n  \w+") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("cls", "field"),
    [
        (Optim, "Optim.lr"),
        (Train, "Optim.lr"),
        (Adam, "Optim.lr"),
        (Foreign, "Foreign.rates"),
        (Data, "Data.rate"),
        (list[Data], "Data.rate"),
    ],
    ids=["config", "nested", "inherited", "model", "dataclass", "list"],
)
def test_a_name_that_is_not_there_when_the_script_runs_is_told_with_its_field(cls: Any, field: str) -> None:
    mend = (
        MEND if "Data" in field else f"{MEND}, or call `{field.partition('.')[0]}.model_rebuild()` where it is defined"
    )
    told = f"`{field}` is annotated with `Decimal`, which is not defined there\n  {mend}"
    assert tell(lambda: tm.load_config(cls, {})) == told
    assert tell(lambda: tm.cli(cls, arguments=[])) == told
    assert tell(lambda: tm.cli(cls, arguments=["--help"])) == told
    assert tell(lambda: check_value(cls, "{}")) == told
    assert tell(lambda: tm.json_schema(cls)).partition(": ")[2] == told


@pytest.mark.parametrize("cls", [Optim, Train])
def test_so_is_one_of_a_configuration_made_in_python(cls: type[tm.Config]) -> None:
    assert tell(lambda: cls(optim={})).startswith(
        "`Optim.lr` is annotated with `Decimal`, which is not defined there\n"
    )


def test_once_the_name_is_there_the_class_is_taken() -> None:
    class Late(tm.Config):
        part: Part

    assert "`Late.part` is annotated with `Part`" in tell(lambda: tm.load_config(Late, {"part": {}}))

    class Part(tm.Config):
        size: int = 1

    Late.model_rebuild()
    assert tm.load_config(Late, {"part": {}}).part.size == 1


CLASS = "expected a class (a Config, a Pydantic model, a dataclass or a TypedDict), got"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Plain(), f"{CLASS} a Plain\n  pass its class, `Plain`"),
        (3, f"{CLASS} 3\n  pass a class or an annotation"),
        ("x.yaml", f'{CLASS} "x.yaml"\n  the class comes first, what is loaded behind it'),
        ({"a": 1}, f"{CLASS} a mapping\n  the class comes first, what is loaded behind it"),
    ],
    ids=["instance", "number", "file", "mapping"],
)
def test_what_is_no_class_is_refused(given: Any, told: str) -> None:
    assert tell(lambda: tm.load_config(given, {})) == told


def test_a_class_that_pydantic_does_not_know_is_refused() -> None:
    class Unknown:
        pass

    assert tell(lambda: tm.load_config(Unknown, {})) == (
        f"Pydantic does not know the type `{__name__}.{Unknown.__qualname__}`\n"
        "  make it one of these: a Config, a Pydantic model, a dataclass or a TypedDict"
    )


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12's own TypedDict can be checked")
def test_a_typed_dict_of_an_older_python_is_refused() -> None:
    told = "`Typed` is a `typing.TypedDict`, which can be checked from Python 3.12 on\n  "
    assert tell(lambda: tm.load_config(Typed, {})) == f"{told}import `TypedDict` from `typing_extensions`"
