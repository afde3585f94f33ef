"""A number is what its digits say, in YAML, TOML and JSON alike: none is rounded before it is looked at."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tidemill import Config, load_config
from tidemill.errors import ConfigError

FILES = {"a.yaml": "at: {}\n", "a.toml": "at = {}\n", "a.json": '{{"at": {}}}\n'}


class Whole(Config):
    at: int


class Real(Config):
    at: float


class Exact(Config):
    at: Decimal


class Free(Config):
    at: Any


def write(folder: Path, name: str, number: str) -> Path:
    path = folder / name
    path.write_text(FILES[name].format(number))
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("model", "number", "value"),
    [
        (Whole, "9007199254740993.0", 9007199254740993),
        (Whole, "1e3", 1000),
        (Whole, "1e400", 10**400),
        (Whole, "123456789012345678e1", 1234567890123456780),
        (Real, "1.00000000000000000001", 1.0),
        (Real, "4503599627370497.2", 4503599627370497.0),
        (Real, "3.14159265358979323846264", 3.141592653589793),
        (Real, "1e23", 1e23),
        (Real, "0e5", 0.0),
        (Real, "-0.0", 0.0),
        (Exact, "9007199254740993.0", Decimal("9007199254740993.0")),
        (Free, "2.5e10", 2.5e10),
    ],
)
def test_a_number_keeps_its_digits(
    tmp_path: Path, name: str, model: type[Whole | Real | Exact | Free], number: str, value: Any
) -> None:
    made = load_config(model, write(tmp_path, name, number)).at
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("model", "number"),
    [
        (Whole, "4503599627370497.2"),
        (Whole, "1.00000000000000000001"),
        (Real, "1e400"),
        (Real, "1e-400"),
        (Real, "9007199254740993.0"),
    ],
)
def test_a_number_that_would_lose_something_is_refused_as_it_is_written(
    tmp_path: Path, name: str, model: type[Whole | Real], number: str
) -> None:
    with pytest.raises(ConfigError, match=f'`at`: expected an? (integer|number), got "{number}"'):
        load_config(model, write(tmp_path, name, number))


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_tomls_words_for_no_finite_number_stay_numbers(tmp_path: Path, number: str) -> None:
    assert repr(load_config(Free, write(tmp_path, "a.toml", number)).at) == number
