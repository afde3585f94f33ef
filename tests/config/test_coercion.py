"""Safe coercion: one table, the same for every holder at every depth."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from typing_extensions import TypedDict

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.loading import load_config
from tidemill.config.model import Config, Settings
from tidemill.config.types.durations import Duration
from tidemill.config.types.sizes import ByteSize
from tidemill.config.types.unique import Unique
from tidemill.errors import ConfigError
from tidemill.jobs.spec.written import JobFile


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"
    TURBO = 1


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Swapped(enum.Enum):
    A = "B"
    B = "A"


class Open(enum.Enum):
    KNOWN = "known"

    @classmethod
    def _missing_(cls, value: object) -> Open | None:
        return cls.KNOWN if value == "acquainted" else None


UTC = datetime.UTC
LEAP_DAY = datetime.datetime(2024, 2, 29)  # noqa: DTZ001 - a text without an offset gives one
REFUSED: Any = object()
NAN, INF = float("nan"), float("inf")
HOME = Path.home()

TABLE: list[tuple[Any, list[tuple[Any, Any]]]] = [
    (
        int,
        [
            (64, 64),
            ("64", 64),
            (" 64 ", 64),
            ("+64", 64),
            ("010", 10),
            (64.0, 64),
            ("64.0", 64),
            (1e2, 100),
            ("1e2", 100),
            ("1E+2", 100),
            ("1.5e1", 15),
            ("1_000", 1000),
            ("0x10", 16),
            ("-0o17", -15),
            ("0b101", 5),
            (2**70, 2**70),
            (str(2**70), 2**70),
            (Decimal("5.0"), 5),
            (float(2**53), 2**53),
            (1e22, REFUSED),
            (1e23, REFUSED),
            (64.5, REFUSED),
            ("64.5", REFUSED),
            ("1e-4", REFUSED),
            ("1e999999999", REFUSED),
            (True, REFUSED),
            (None, REFUSED),
            (NAN, REFUSED),
            (INF, REFUSED),
            ("nan", REFUSED),
            ("", REFUSED),
            ("no", REFUSED),
            ("12:30", REFUSED),
            ("1_", REFUSED),
            ("_1", REFUSED),
            ("1__0", REFUSED),
            ("٣", REFUSED),
            ("0x", REFUSED),
            ("6 4", REFUSED),
            ([1], REFUSED),
        ],
    ),
    (
        float,
        [
            (64, 64.0),
            ("64", 64.0),
            (1e-4, 1e-4),
            ("1e-4", 1e-4),
            (" 1e-4 ", 1e-4),
            (".5", 0.5),
            ("5.", 5.0),
            ("1_000.5", 1000.5),
            ("0x10", 16.0),
            (10**23, 1e23),
            ("1e23", 1e23),
            ("3.14159265358979323846264", 3.141592653589793),
            (Decimal("0.1"), 0.1),
            (2**53 + 1, REFUSED),
            ("9007199254740993", REFUSED),
            (10**400, REFUSED),
            ("1e400", REFUSED),
            ("1e-400", REFUSED),
            (True, REFUSED),
            (None, REFUSED),
            (NAN, REFUSED),
            (INF, REFUSED),
            ("nan", REFUSED),
            ("inf", REFUSED),
            ("", REFUSED),
            ("on", REFUSED),
            ("12:30", REFUSED),
            ("30s", REFUSED),
        ],
    ),
    (
        Annotated[float, Field(allow_inf_nan=True)],
        [(INF, INF), ("inf", INF), ("-inf", -INF), ("1e400", REFUSED), (True, REFUSED)],
    ),
    (
        Decimal,
        [
            ("0.10", Decimal("0.10")),
            (0.1, Decimal("0.1")),
            (1, Decimal(1)),
            ("1e3", Decimal("1E+3")),
            (True, REFUSED),
            (None, REFUSED),
            ("nan", REFUSED),
            (INF, REFUSED),
        ],
    ),
    (bool, [(True, True), (False, False), (1, True), (0, False), ("1", True), ("0", False)]),
    (bool, [("true", True), ("no", False), ("NO", False), ("on", True), ("Off", False), (" yes ", True)]),
    (bool, [(2, REFUSED), (1.0, REFUSED), ("y", REFUSED), ("t", REFUSED), ("", REFUSED), (None, REFUSED)]),
    (str, [("no", "no"), ("", ""), (" a ", " a "), (5, REFUSED), (1.5, REFUSED), (True, REFUSED), (None, REFUSED)]),
    (
        datetime.date,
        [
            ("2024-02-29", datetime.date(2024, 2, 29)),
            ("2024-02-29T00:00:00", datetime.date(2024, 2, 29)),
            (datetime.date(2024, 2, 29), datetime.date(2024, 2, 29)),
            ("2024-02-29T00:00:01", REFUSED),
            ("2023-02-29", REFUSED),
            ("2024-2-9", REFUSED),
            (0, REFUSED),
            ("0", REFUSED),
            (20240229, REFUSED),
            ("20240229", REFUSED),
            (86400.0, REFUSED),
            (True, REFUSED),
            (None, REFUSED),
        ],
    ),
    (
        datetime.datetime,
        [
            ("2024-02-29T12:30:00", LEAP_DAY.replace(hour=12, minute=30)),
            ("2024-02-29 12:30Z", datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
            ("2024-02-29", LEAP_DAY),
            ("2024-02-29T12:30:00.1234567", REFUSED),
            (0, REFUSED),
            (1700000000, REFUSED),
            ("1700000000", REFUSED),
            ("1.5", REFUSED),
            ("12:30", REFUSED),
            (True, REFUSED),
        ],
    ),
    (
        datetime.time,
        [("12:30", datetime.time(12, 30)), (0, REFUSED), (1.5, REFUSED), ("45000", REFUSED), (True, REFUSED)],
    ),
    (
        datetime.timedelta,
        [
            ("90s", datetime.timedelta(seconds=90)),
            ("1h30m", datetime.timedelta(minutes=90)),
            ("1.5ms", datetime.timedelta(microseconds=1500)),
            ("00:01:30", datetime.timedelta(seconds=90)),
            ("PT90S", datetime.timedelta(seconds=90)),
            ("0.0001ms", REFUSED),
            (90, REFUSED),
            (1.5, REFUSED),
            ("90", REFUSED),
            (True, REFUSED),
            (None, REFUSED),
        ],
    ),
    (Duration, [(90, 90.0), ("90s", 90.0), ("90", 90.0), (datetime.timedelta(minutes=1), 60.0)]),
    (Duration, [("90x", REFUSED), (True, REFUSED), (NAN, REFUSED), (None, REFUSED)]),
    (
        ByteSize,
        [
            (512, 512),
            ("512", 512),
            ("512MB", 512_000_000),
            ("512 mb", 512_000_000),
            ("1.5GiB", 1_610_612_736),
            ("64kB", 64_000),
            ("0.5kB", 500),
            ("1_000B", 1000),
            ("0B", 0),
            ("512M", REFUSED),
            ("512Mb", REFUSED),
            ("0.3B", REFUSED),
            ("1.5", REFUSED),
            ("-5MB", REFUSED),
            (-5, REFUSED),
            (1.5, REFUSED),
            (True, REFUSED),
            (NAN, REFUSED),
            ("MB", REFUSED),
            ("5 parsecs", REFUSED),
            (None, REFUSED),
        ],
    ),
    (
        Path,
        [
            ("a/b", Path("a/b")),
            ("~/a", HOME / "a"),
            (Path("~"), HOME),
            ("a~", Path("a~")),
            ("", REFUSED),
            (" ", REFUSED),
            ("a\0", REFUSED),
            ("~nobody-of-that-name/a", REFUSED),
            (5, REFUSED),
            (None, REFUSED),
        ],
    ),
    (Mode, [("fast", Mode.FAST), ("FAST", Mode.FAST), (1, Mode.TURBO), ("TURBO", Mode.TURBO), (Mode.SLOW, Mode.SLOW)]),
    (Mode, [(True, REFUSED), ("1", REFUSED), ("Fast", REFUSED), (None, REFUSED), (["fast"], REFUSED)]),
    (Level, [(1, Level.LOW), (1.0, Level.LOW), ("LOW", Level.LOW), (Level.HIGH, Level.HIGH)]),
    (Level, [(True, REFUSED), ("1", REFUSED), (3, REFUSED)]),
    (Swapped, [("A", Swapped.B), ("B", Swapped.A)]),
    (Open, [("known", Open.KNOWN), ("KNOWN", Open.KNOWN), ("acquainted", Open.KNOWN), ("else", REFUSED)]),
    (Literal[1, 2], [(1, 1), (2.0, 2), (True, REFUSED), ("1", REFUSED), (None, REFUSED)]),
    (Literal[True, "auto"], [(True, True), ("auto", "auto"), (1, REFUSED), ("true", REFUSED)]),
    (Literal[1, True], [(1, 1), (True, True)]),
    (IPv4Address, [("1.2.3.4", IPv4Address("1.2.3.4")), (1, REFUSED), (True, REFUSED), ("1.2.3", REFUSED)]),
    (complex, [("1+2j", 1 + 2j), (1, 1 + 0j), (True, REFUSED)]),
    (int | None, [(None, None), ("64", 64), (True, REFUSED), (64.5, REFUSED)]),
    (int | str, [("64", "64"), (64, 64), ("0x10", "0x10"), (True, REFUSED), (64.5, REFUSED)]),
    (bool | str, [("no", "no"), (False, False)]),
    (Path | str, [("~", "~")]),
    (Mode | str, [("FAST", "FAST")]),
    (datetime.timedelta | str, [("90s", "90s")]),
    (int | float, [(64, 64), (64.5, 64.5), ("64.5", 64.5), (True, REFUSED)]),
    (float | int, [(64, 64), (2**53 + 1, 2**53 + 1), (True, REFUSED)]),
    (int | bool, [(True, True), (1, 1), ("yes", True)]),
    (
        bool | int,
        [("1", 1), (" 0 ", 0), (1, 1), (1.0, 1), ("true", True), ("off", False), (True, True), ("1.5", REFUSED)],
    ),
    (bool | None | float, [("1", 1.0), ("0", 0.0), (1, 1.0), ("no", False), (None, None)]),
    (bool | Decimal, [("1", Decimal(1)), (1, Decimal(1)), (True, True)]),
    (bool | Literal[1, 2], [(1, 1), ("1", REFUSED), ("true", True)]),
    (bool | list[bool | int], [("1", True), (1, True), (["1", "true"], [1, True])]),
    (bool | Annotated[int, Field(ge=3)], [("3", 3), ("1", REFUSED), (0, REFUSED), ("on", True)]),
    (tuple[int, float], [(["64", "0.5"], (64, 0.5)), ([True, 1], REFUSED), ([1, NAN], REFUSED), ([1], REFUSED)]),
    (set[int], [([1, "2"], {1, 2}), ({1}, {1}), ([1, 1], REFUSED), ([1, "1"], REFUSED), ([True], REFUSED)]),
    (frozenset[str], [(["a"], frozenset("a")), (["a", "a"], REFUSED)]),
    (Annotated[list[str], Unique()], [(["a", "b"], ["a", "b"]), ([], []), (["a", "b", "a"], REFUSED)]),
    (dict[int, str], [({"1": "a", 2: "b"}, {1: "a", 2: "b"}), ({1: "a", "1": "b"}, REFUSED), ({True: "a"}, REFUSED)]),
]


def in_config(kind: Any) -> Callable[[Any], Any]:
    holder = create_model("Holder", __base__=Config, at=(kind, ...))
    return lambda value: load_config(holder, {"at": value}).at  # type: ignore[attr-defined]


def in_list_of_configs(kind: Any) -> Callable[[Any], Any]:
    inner = create_model("Inner", __base__=Config, at=(kind, ...))
    holder = create_model("Holder", __base__=Config, inner=(list[inner], ...))
    return lambda value: load_config(holder, {"inner": [{"at": value}]}).inner[0].at  # type: ignore[attr-defined]


def in_dataclass(kind: Any) -> Callable[[Any], Any]:
    holder = dataclasses.make_dataclass("Holder", [("at", kind)])
    return lambda value: load_config(holder, {"at": value}).at


def in_typed_dict(kind: Any) -> Callable[[Any], Any]:
    fields = {"at": kind}
    holder: Any = TypedDict("holder", fields)  # type: ignore[misc]
    return lambda value: cast(Any, load_config(holder, {"at": value}))["at"]


def in_argument(kind: Any) -> Callable[[Any], Any]:
    return TypeAdapter(Annotated[kind, ConfigRules()]).validate_python


def _is_refused(take: Callable[[Any], Any], value: Any) -> bool:
    try:
        take(value)
    except ConfigError as error:
        return len(error.problems) == 1
    return False


@pytest.mark.parametrize("hold", [in_config, in_list_of_configs, in_dataclass, in_typed_dict])
@pytest.mark.parametrize("row", range(len(TABLE)))
def test_a_value_becomes_what_the_table_says(row: int, hold: Any) -> None:
    kind, values = TABLE[row]
    take = hold(kind)
    for value, expected in values:
        if expected is REFUSED:
            assert _is_refused(take, value), repr(value)
        else:
            taken = take(value)
            assert (taken, type(taken)) == (expected, type(expected)), repr(value)


INT, FLOAT, DECIMAL = (in_argument(kind) for kind in (int, float, Decimal))

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.decimals(),
    st.integers().map(str),
    st.integers().map(hex),
    st.floats().map(str),
    st.decimals().map(str),
    st.from_regex(re.compile(r"\s?[-+]?[0-9_]{1,5}(\.[0-9_]{0,3})?(e[-+]?[0-9]{1,2})?\s?", re.ASCII), fullmatch=True),
)


def read(value: Any) -> Decimal | Fraction:
    text = str(value).strip().replace("_", "")
    return Decimal(int(text, 0)) if re.match("[-+]?0x", text) else Decimal(text)


@given(NUMBERS)
def test_what_becomes_an_integer_is_the_number_that_was_given(value: Any) -> None:
    try:
        taken = INT(value)
    except ValidationError:
        return
    assert type(taken) is int
    assert taken == read(value)


@given(NUMBERS)
def test_a_float_says_the_digits_of_a_whole_number(value: Any) -> None:
    try:
        taken = FLOAT(value)
    except ValidationError:
        return
    number = read(value)
    assert taken == float(number)
    if not isinstance(value, float) and number == int(number):
        assert Decimal(repr(taken)) == number


@given(st.one_of(st.booleans(), st.none(), st.just("no"), st.just("on"), st.just("")))
def test_what_is_no_number_never_becomes_one(value: Any) -> None:
    for take in (INT, FLOAT, DECIMAL):
        with pytest.raises(ValidationError, match="1 validation error"):
            take(value)


def test_a_fraction_is_what_a_floats_digits_say() -> None:
    take = in_argument(Fraction)
    assert take(0.1) == Fraction(1, 10)
    assert take("1/3") == Fraction(1, 3)


def test_a_strict_config_converts_nothing() -> None:
    class Strict(Config):
        model_config = ConfigDict(strict=True)
        number: int = 0
        mode: Mode = Mode.FAST

    for values in ({"number": "64"}, {"number": "0x10"}, {"mode": "FAST"}):
        with pytest.raises(ConfigError, match=r"1 error$"):
            Strict(**values)  # type: ignore[arg-type]


def test_a_number_may_tag_a_union() -> None:
    class First(Config):
        version: Literal[1] = 1

    class Second(Config):
        version: Literal[2] = 2

    class Holder(Config):
        at: Annotated[First | Second, Field(discriminator="version")]

    assert isinstance(load_config(Holder, {"at": {"version": 2}}).at, Second)


def test_a_foreign_model_within_keeps_its_own_rules() -> None:
    class Foreign(BaseModel):
        at: int
        mode: Mode

    class Holder(Config):
        foreign: Foreign
        mode: Mode

    held = load_config(Holder, {"foreign": {"at": True, "mode": "fast"}, "mode": "FAST"})
    assert held.foreign == Foreign(at=1, mode=Mode.FAST)
    assert held.mode is Mode.FAST


def test_an_enum_keeps_its_schema_for_json() -> None:
    class Holder(Config):
        one: Mode = Mode.FAST
        other: list[Mode] = Field([])
        size: ByteSize = 0

    schema = Holder.model_json_schema()
    assert schema["$defs"]["Mode"]["enum"] == ["fast", "slow", 1]
    assert re.match(schema["properties"]["size"]["anyOf"][1]["pattern"], "1.5GiB")
    assert TypeAdapter(Annotated[list[int], Unique()]).json_schema()["uniqueItems"] is True
    assert Holder(one=Mode.SLOW).model_dump(mode="json") == {"one": "slow", "other": [], "size": 0}


class Counted(Settings):
    count: int = 0
    either: int | str = 0
    size: ByteSize = 0
    shares: dict[str, tuple[int, ...]] = Field(default_factory=dict)


@given(st.integers(-(2**66), 2**66))
def test_settings_take_whole_numbers_of_64_bits(number: int) -> None:
    """However they are written, at every depth; the `Config` of a user takes any."""
    for given_ in (number, str(number), hex(number)):
        values = {"count": given_, "shares": {"a": [given_]}}
        if -(2**63) <= number < 2**63:
            assert Counted.model_validate(values) == Counted(count=number, shares={"a": (number,)})
            continue
        with pytest.raises(ConfigError) as caught:
            load_config(Counted, values)
        told = [(problem.path, problem.message.partition(", got")[0]) for problem in caught.value.problems]
        said = "expected an integer of at most 64 bits"
        assert told == [(("count",), f"`count`: {said}"), (("shares", "a", 0), f"`shares.a.0`: {said}")]


def test_settings_take_sizes_of_64_bits() -> None:
    assert Counted(size="8191PiB").size == 8191 << 50
    with pytest.raises(ConfigError, match="`size`: expected an integer of at most 64 bits, got 9223372036854775808"):
        Counted(size="8192PiB")
    with pytest.raises(ConfigError, match="expected an integer of at most 64 bits, got an integer of 16,610 bits"):
        Counted(count=10**5000)


def test_all_of_a_job_are_settings() -> None:
    """So that no number of a job file is beyond what a run keeps."""

    def find_kinds(kind: type[Config]) -> list[type[Config]]:
        return [kind, *(each for child in kind.__subclasses__() for each in find_kinds(child))]

    kinds = [kind for kind in find_kinds(Config)[1:] if kind.__module__.startswith("tidemill.")]
    assert issubclass(JobFile, Settings)
    assert [kind for kind in kinds if not issubclass(kind, Settings)] == []
