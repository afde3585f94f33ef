"""Every rule Pydantic knows is told in words, and as the rule it is."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import ipaddress
import re
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    FutureDate,
    FutureDatetime,
    HttpUrl,
    ImportString,
    IPvAnyAddress,
    IPvAnyNetwork,
    Json,
    NaiveDatetime,
    NewPath,
    PastDate,
    PastDatetime,
    Secret,
    SecretBytes,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic.types import UuidVersion
from pydantic_core import core_schema

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.layers.document import Document
from tidemill.config.loading import validate_document
from tidemill.config.model import Config
from tidemill.config.types.durations import Duration
from tidemill.config.types.sizes import ByteSize
from tidemill.config.types.unique import Unique
from tidemill.config.wording.patterns import describe_pattern


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int = 0


class Inner(Config):
    a: int


class Loose(BaseModel):
    """Takes objects with attributes, too."""

    model_config = ConfigDict(from_attributes=True)
    a: int


@dataclasses.dataclass
class Data:
    a: int


class Checked(Config):
    low: int
    high: int = 5

    @field_validator("low")
    @classmethod
    def _check(cls, value: int) -> int:
        if value > 8:
            raise AssertionError("the low must stay below 9")
        if value > 5:
            raise ValueError("the low is above the high")
        return value


class One(Config):
    kind: Literal["one"] = "one"


class Two(Config):
    kind: Literal["two"]


Tagged = Annotated[One | Two, Field(discriminator="kind")]
YEAR_2020 = datetime.datetime(2020, 1, 1)  # noqa: DTZ001 - a bound of times without an offset
RUN_NAME = "a lowercase letter, then any number of lowercase letters, digits or `-`"
LONG = "9" * 5000

CASES: dict[str, list[tuple[Any, Any, str]]] = {
    "int_type": [
        (int, True, "`at`: expected an integer, got true"),
        (Annotated[int, Field(ge=1)], None, "`at`: expected an integer >= 1, got null"),
    ],
    "int_parsing": [
        (int, "x", '`at`: expected an integer, got "x"'),
        (ByteSize, "much", '`at`: expected a size (bytes, or 512MB, 1.5GiB), got "much"'),
    ],
    "int_parsing_size": [
        (
            int,
            LONG,
            f'`at`: expected an integer of at most 4,300 digits, got "{LONG[:60]}…" (5,000 characters)',
        ),
    ],
    "int_from_float": [
        (int, 64.5, "`at`: expected an integer, got 64.5"),
        (
            int,
            1e23,
            "`at`: expected an integer, got 1e+23; write out all of its digits",
        ),
    ],
    "greater_than": [
        (Annotated[int, Field(gt=1)], 1, "`at`: expected an integer > 1, got 1"),
        (Annotated[float, Field(gt=0.00001, lt=5)], 0, "`at`: expected a number > 0.00001 and < 5, got 0"),
        (
            Annotated[datetime.datetime, Field(gt=YEAR_2020)],
            "2019-01-01T00:00",
            '`at`: expected a date and time (YYYY-MM-DDTHH:MM:SS) > 2020-01-01T00:00:00, got "2019-01-01T00:00"',
        ),
        (
            Annotated[datetime.timedelta, Field(gt=datetime.timedelta(hours=1))],
            "30s",
            "`at`: expected a duration (45m, 1h30m, HH:MM:SS) > 1h, got 30s",
        ),
        (Annotated[Duration, Field(gt=0)], -1, "`at`: expected a duration (seconds, or 45m, 2h) > 0, got -1"),
    ],
    "greater_than_equal": [
        (Annotated[int, Field(ge=1, le=8)], 0, "`at`: expected an integer >= 1 and <= 8, got 0"),
        (
            Annotated[datetime.date, Field(ge=datetime.date(2020, 1, 1))],
            "2019-01-01",
            '`at`: expected a date (YYYY-MM-DD) >= 2020-01-01, got "2019-01-01"',
        ),
        (ByteSize, -5, "`at`: expected a size (bytes, or 512MB, 1.5GiB) >= 0, got -5"),
        (
            Annotated[ByteSize, Field(ge=1024)],
            "1kB",
            '`at`: expected a size (bytes, or 512MB, 1.5GiB) >= 1024, got "1kB"',
        ),
    ],
    "less_than": [
        (Annotated[float, Field(lt=1)], "1", '`at`: expected a number < 1, got "1"'),
    ],
    "less_than_equal": [
        (Annotated[Decimal, Field(le=1)], 1.5, "`at`: expected a number <= 1, got 1.5"),
    ],
    "multiple_of": [
        (Annotated[int, Field(multiple_of=8)], 12, "`at`: expected an integer in steps of 8, got 12"),
        (Annotated[float, Field(multiple_of=0.5)], 1.2, "`at`: expected a number in steps of 0.5, got 1.2"),
    ],
    "finite_number": [
        (float, float("nan"), "`at`: expected a finite number, got nan"),
        (Annotated[Decimal, Field(gt=0)], "inf", '`at`: expected a finite number > 0, got "inf"'),
    ],
    "float_type": [
        (float, False, "`at`: expected a number, got false"),
        (
            float,
            2**53 + 1,
            "`at`: expected a number, got 9007199254740993; no float has its digits: 16 at most, up to 1e308",
        ),
    ],
    "float_parsing": [
        (float, "fast", '`at`: expected a number, got "fast"'),
        (
            float,
            "1e400",
            '`at`: expected a number, got "1e400"; no float has its digits: 16 at most, up to 1e308',
        ),
    ],
    "decimal_type": [
        (Decimal, [1], "`at`: expected a number, got a list of 1"),
    ],
    "decimal_parsing": [
        (Decimal, "x", '`at`: expected a number, got "x"'),
    ],
    "decimal_max_digits": [
        (
            Annotated[Decimal, Field(max_digits=3)],
            "1234.5",
            '`at`: expected a number of at most 3 digits, got "1234.5"',
        ),
    ],
    "decimal_max_places": [
        (
            Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
            "1.234",
            '`at`: expected a number of at most 5 digits, 2 of them behind the point, got "1.234"',
        ),
        (
            Annotated[Decimal, Field(gt=0, decimal_places=1)],
            0.25,
            "`at`: expected a number of at most 1 digit behind the point > 0, got 0.25",
        ),
    ],
    "decimal_whole_digits": [
        (
            Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
            12345,
            "`at`: expected a number of at most 5 digits, 2 of them behind the point, got 12345",
        ),
    ],
    "fraction_type": [
        (Fraction, [1], "`at`: expected a fraction (1/3), got a list of 1"),
    ],
    "fraction_parsing": [
        (Fraction, "x", '`at`: expected a fraction (1/3), got "x"'),
    ],
    "complex_type": [
        (complex, True, "`at`: expected a complex number (1+2j), got true"),
    ],
    "bool_type": [
        (bool, 2, "`at`: expected true or false, got 2"),
    ],
    "bool_parsing": [
        (bool, "maybe", '`at`: expected true or false, got "maybe"'),
    ],
    "none_required": [
        (None, 5, "`at`: expected null, got 5"),
    ],
    "string_type": [
        (str, 5, "`at`: expected text, got 5; put it in quotes"),
        (str, ["a"], "`at`: expected text, got a list of 1"),
        (SecretStr, ["canary"], "`at`: expected text, got ***"),
        (Secret[str], 5, "`at`: expected text, got ***; put it in quotes"),
    ],
    "string_unicode": [
        (str, b"\xff", "`at`: expected text, got 1 byte"),
    ],
    "string_too_short": [
        (
            Annotated[str, Field(min_length=3)],
            "ab",
            '`at`: expected text of at least 3 characters, got "ab" (2 characters)',
        ),
        (Annotated[str, Field(min_length=1, max_length=3)], "", '`at`: expected text of 1 to 3 characters, got ""'),
    ],
    "string_too_long": [
        (
            Annotated[str, Field(max_length=1)],
            "ab",
            '`at`: expected text of at most 1 character, got "ab" (2 characters)',
        ),
    ],
    "string_pattern_mismatch": [
        (
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")],
            "My Run",
            f'`at`: expected text of {RUN_NAME} (`^[a-z][a-z0-9-]*$`), got "My Run"',
        ),
        (
            Annotated[str, Field(pattern=r"^[a-z]+/\S+$", max_length=40)],
            "gpt",
            '`at`: expected text of at most 40 characters matching `^[a-z]+/\\S+$`, got "gpt"',
        ),
    ],
    "string_not_ascii": [
        (Annotated[str, StringConstraints(ascii_only=True)], "é", '`at`: expected text of ASCII characters, got "é"'),
    ],
    "bytes_type": [
        (bytes, 5, "`at`: expected bytes, got 5"),
        (SecretBytes, 5, "`at`: expected bytes, got ***"),
    ],
    "bytes_too_short": [
        (Annotated[bytes, Field(min_length=3)], "é", '`at`: expected bytes of at least 3 bytes, got "é" (2 bytes)'),
    ],
    "bytes_too_long": [
        (
            Annotated[bytes, Field(max_length=3)],
            "abcd",
            '`at`: expected bytes of at most 3 bytes, got "abcd" (4 bytes)',
        ),
    ],
    "base64_decode": [
        (Base64Bytes, "x", '`at`: expected bytes in base64, got "x"'),
    ],
    "list_type": [
        (list[int], "x", '`at`: expected a list, got "x"'),
        (list[int], {"a": 1}, "`at`: expected a list, got a mapping"),
    ],
    "deque_type": [
        (collections.deque[int], 5, "`at`: expected a list, got 5"),
    ],
    "tuple_type": [
        (tuple[int, ...], 5, "`at`: expected a list, got 5"),
    ],
    "set_type": [
        (set[int], 5, "`at`: expected a list, got 5"),
    ],
    "frozen_set_type": [
        (frozenset[int], 5, "`at`: expected a list, got 5"),
    ],
    "iterable_type": [
        (Iterable[int], 5, "`at`: expected a list, got 5"),
        (Generator[int, None, None], 5, "`at`: expected a list, got 5"),
    ],
    "is_instance_of": [
        (Sequence[int], 5, "`at`: expected a list, got 5"),
    ],
    "path_type": [
        (Path | Inner, 5, "`at`: expected a path or a mapping, got 5"),
        (Path, 5, "`at`: expected a path, got 5"),
        (Path, "", '`at`: expected a path, got ""'),
    ],
    "set_item_not_hashable": [
        (set[Any], [[1]], "`at.0`: expected text, a number or a boolean, got a list of 1"),
    ],
    "too_short": [
        (Annotated[list[int], Field(min_length=2)], [1], "`at`: expected a list of at least 2 items, got a list of 1"),
        (
            Annotated[dict[str, int], Field(min_length=2)],
            {"a": 1},
            "`at`: expected a mapping of at least 2 keys, got a mapping of 1",
        ),
        (Annotated[set[int], Field(min_length=1)], [], "`at`: expected a list of at least 1 item, got an empty list"),
    ],
    "too_long": [
        (Annotated[list[int], Field(max_length=1)], [1, 2], "`at`: expected a list of at most 1 item, got a list of 2"),
        (
            Annotated[dict[str, int], Field(max_length=1)],
            {"a": 1, "b": 2},
            "`at`: expected a mapping of at most 1 key, got a mapping of 2",
        ),
        (
            Annotated[collections.deque[int], Field(max_length=1)],
            [1, 2],
            "`at`: expected a list of at most 1 item, got a list of 2",
        ),
        (tuple[int, int], [1, 2, 3], "`at`: expected a list of 2 items, got a list of 3"),
        (Point, [1, 2, 3], "`at`: expected a mapping or a list of 1 to 2 items, got a list of 3"),
    ],
    "repeated": [
        (
            Annotated[list[str], Unique()],
            ["a", "b", "a"],
            '`at.2`: expected different items, got "a" again; item 0 is the same',
        ),
        (set[int], [1, 2, "1"], '`at.2`: expected different items, got "1" again; item 0 is the same'),
        (dict[int, int], {1: 1, "1": 2}, '`at.1`: expected different keys, got "1" again; `1` is the same key'),
    ],
    "dict_type": [
        (dict[str, int], 5, "`at`: expected a mapping, got 5"),
        (Mapping[str, int], [1], "`at`: expected a mapping, got a list of 1"),
    ],
    "ordered_dict_type": [
        (collections.OrderedDict[str, int], 5, "`at`: expected a mapping, got 5"),
    ],
    "counter_type": [
        (collections.Counter[str], 5, "`at`: expected a mapping of counts, got 5"),
    ],
    "named_tuple_type": [
        (Point, 5, "`at`: expected a mapping or a list of 1 to 2 items, got 5"),
    ],
    "model_type": [
        (Inner, 5, "`at`: expected a mapping, got 5"),
        (Inner, "a:5", '`at`: expected a mapping, got "a:5"; put a space after `:`'),
        (Inner, "http://a", '`at`: expected a mapping, got "http://a"'),
    ],
    "model_attributes_type": [
        (Loose, 5, "`at`: expected a mapping, got 5"),
    ],
    "dataclass_type": [
        (Data, 5, "`at`: expected a mapping, got 5"),
    ],
    "missing": [
        (Inner, {}, "`at`: missing key `a` (an integer)"),
        (Data, {}, "`at`: missing key `a` (an integer)"),
        (tuple[int, int], [1], "`at`: expected a list of 2 items, got a list of 1"),
        (Point, [], "`at`: expected a mapping or a list of 1 to 2 items, got an empty list"),
    ],
    "extra_forbidden": [
        (Inner, {"a": 1, "aa": 2}, "unknown key `at.aa`; did you mean `at.a`?  (integer, required)"),
        (Point, {"x": 1, "z": 1}, "unknown key `at.z`; known: `x`, `y`"),
    ],
    "unexpected_keyword_argument": [
        (Data, {"a": 1, "b": 2}, "unknown key `at.b`; known: `a`"),
    ],
    "invalid_key": [
        (Inner, {"a": 1, 5: 2}, "unknown key `at.5`; known: `a`"),
    ],
    "literal_error": [
        (Literal["a", "b"], "c", '`at`: expected `a` or `b`, got "c"'),
        (Literal["fast", "slow"], "fats", '`at`: expected `fast` or `slow`, got "fats"; did you mean `fast`?'),
        (Literal[1, 2], True, "`at`: expected 1 or 2, got true"),
        (Literal[1, 2], "1", '`at`: expected 1 or 2, got "1"; write it without quotes'),
        (Literal["auto"] | int, "atuo", '`at`: expected `auto` or an integer, got "atuo"; did you mean `auto`?'),
    ],
    "enum": [
        (
            Colour,
            "bleu",
            '`at`: expected `red` or `blue`, or by name `RED` or `BLUE`, got "bleu"; did you mean `blue`?',
        ),
        (Colour, "RDE", '`at`: expected `red` or `blue`, or by name `RED` or `BLUE`, got "RDE"; did you mean `red`?'),
        (Colour, ["red"], "`at`: expected `red` or `blue`, or by name `RED` or `BLUE`, got a list of 1"),
    ],
    "union_tag_invalid": [
        (Tagged, {"kind": "too"}, '`at.kind`: expected `one` or `two`, got "too"; did you mean `two`?'),
    ],
    "union_tag_not_found": [
        (Tagged, {}, "`at`: missing key `kind` (`one` or `two`)"),
    ],
    "date_type": [
        (datetime.date, 20240229, "`at`: expected a date (YYYY-MM-DD), got 20240229; did you mean `2024-02-29`?"),
        (datetime.date, [1], "`at`: expected a date (YYYY-MM-DD), got a list of 1"),
    ],
    "date_from_datetime_parsing": [
        (datetime.date, "2024-02-30", '`at`: expected a date (YYYY-MM-DD), got "2024-02-30"'),
    ],
    "date_from_datetime_inexact": [
        (
            datetime.date,
            "2024-02-29T12:00",
            '`at`: expected a date (YYYY-MM-DD), got "2024-02-29T12:00"; leave out the time',
        ),
    ],
    "date_past": [
        (PastDate, "2999-01-01", '`at`: expected a past date (YYYY-MM-DD), got "2999-01-01"'),
    ],
    "date_future": [
        (FutureDate, "1999-01-01", '`at`: expected a future date (YYYY-MM-DD), got "1999-01-01"'),
    ],
    "datetime_type": [
        (datetime.datetime, 1700000000, "`at`: expected a date and time (YYYY-MM-DDTHH:MM:SS), got 1700000000"),
    ],
    "datetime_parsing": [
        (datetime.datetime, "1700000000", '`at`: expected a date and time (YYYY-MM-DDTHH:MM:SS), got "1700000000"'),
    ],
    "datetime_from_date_parsing": [
        (
            datetime.datetime,
            "2024-13-01T00:00",
            '`at`: expected a date and time (YYYY-MM-DDTHH:MM:SS), got "2024-13-01T00:00"',
        ),
    ],
    "datetime_past": [
        (
            PastDatetime,
            "2999-01-01T00:00",
            '`at`: expected a past date and time (YYYY-MM-DDTHH:MM:SS), got "2999-01-01T00:00"',
        ),
    ],
    "datetime_future": [
        (
            FutureDatetime,
            "1999-01-01T00:00",
            '`at`: expected a future date and time (YYYY-MM-DDTHH:MM:SS), got "1999-01-01T00:00"',
        ),
    ],
    "timezone_aware": [
        (
            AwareDatetime,
            "2024-02-29T12:00",
            '`at`: expected a date and time with its offset (YYYY-MM-DDTHH:MM:SS+HH:MM), got "2024-02-29T12:00"',
        ),
    ],
    "timezone_naive": [
        (
            NaiveDatetime,
            "2024-02-29T12:00Z",
            '`at`: expected a date and time without an offset (YYYY-MM-DDTHH:MM:SS), got "2024-02-29T12:00Z"',
        ),
    ],
    "time_type": [
        (datetime.time, 5, "`at`: expected a time (HH:MM:SS), got 5"),
    ],
    "time_parsing": [
        (datetime.time, "25:00", '`at`: expected a time (HH:MM:SS), got "25:00"'),
    ],
    "time_delta_type": [
        (datetime.timedelta, 30, "`at`: expected a duration (45m, 1h30m, HH:MM:SS), got 30; say its unit: `30s`"),
    ],
    "time_delta_parsing": [
        (datetime.timedelta, "soon", '`at`: expected a duration (45m, 1h30m, HH:MM:SS), got "soon"'),
    ],
    "duration": [
        (
            Duration,
            "soon",
            '`at`: expected a duration, got "soon"; seconds, or with units: `90s`, `45m`, `2h`, `1h30m`, `2d`',
        ),
    ],
    "size": [
        (
            ByteSize,
            "512M",
            '`at`: expected a size (bytes, or 512MB, 1.5GiB), got "512M"; `512MB` counts 1000s, `512MiB` 1024s',
        ),
    ],
    "url_type": [
        (AnyUrl, 5, "`at`: expected a URL, got 5"),
    ],
    "url_parsing": [
        (AnyUrl, "localhost", '`at`: expected a URL, got "localhost"; begin with `https://`'),
        (
            HttpUrl,
            "example.com",
            '`at`: expected a URL beginning with `http://` or `https://`, got "example.com"; begin with `https://`',
        ),
        (HttpUrl, "http://", '`at`: expected a URL beginning with `http://` or `https://`, got "http://"; empty host'),
        (
            HttpUrl,
            "http://a:b",
            '`at`: expected a URL beginning with `http://` or `https://`, got "http://a:b"; invalid port number',
        ),
    ],
    "url_scheme": [
        (HttpUrl, "ftp://a", '`at`: expected a URL beginning with `http://` or `https://`, got "ftp://a"'),
    ],
    "url_too_long": [
        (
            Annotated[AnyUrl, UrlConstraints(max_length=10)],
            "http://example.com",
            '`at`: expected a URL of at most 10 characters, got "http://example.com"',
        ),
    ],
    "uuid_type": [
        (uuid.UUID, 5, "`at`: expected a UUID, got 5"),
    ],
    "uuid_parsing": [
        (uuid.UUID, "x", '`at`: expected a UUID, got "x"'),
    ],
    "uuid_version": [
        (
            Annotated[uuid.UUID, UuidVersion(4)],
            "12345678-1234-1678-8234-567812345678",
            '`at`: expected a UUID of version 4, got "12345678-1234-1678-8234-567812345678"',
        ),
    ],
    "path_not_file": [
        (FilePath, "data.json", '`at`: expected an existing file, got "data.json"; did you mean `data.jsonl`?'),
        (FilePath, "folder", '`at`: expected an existing file, got "folder"; it is a folder'),
    ],
    "path_not_directory": [
        (
            DirectoryPath,
            "nowhere",
            '`at`: expected an existing folder, got "nowhere"; there is none of that name in HERE',
        ),
        (DirectoryPath, "data.jsonl", '`at`: expected an existing folder, got "data.jsonl"; it is a file'),
    ],
    "path_exists": [
        (
            NewPath,
            "folder",
            '`at`: expected a path where nothing is yet, in an existing folder, got "folder"; it is there already',
        ),
    ],
    "parent_does_not_exist": [
        (
            NewPath,
            "no/such",
            '`at`: expected a path where nothing is yet, in an existing folder, got "no/such"; there is no folder `no`',
        ),
    ],
    "ip_v4_address": [
        (ipaddress.IPv4Address, "1.2.3", '`at`: expected an IPv4 address, got "1.2.3"'),
    ],
    "ip_any_address": [
        (ipaddress.IPv4Address, 1, "`at`: expected an IPv4 address, got 1"),
        (IPvAnyAddress, "x", '`at`: expected an IP address, got "x"'),
    ],
    "ip_v6_network": [
        (ipaddress.IPv6Network, "x", '`at`: expected an IPv6 network (fd00::/8), got "x"'),
    ],
    "ip_any_network": [
        (IPvAnyNetwork, "x", '`at`: expected an IP network (10.0.0.0/8), got "x"'),
    ],
    "json_type": [
        (Json[list[int]], 5, "`at`: expected JSON as text, got 5"),
    ],
    "json_invalid": [
        (Json[list[int]], "[1", '`at`: expected JSON as text, got "[1"; EOF while parsing a list at line 1 column 2'),
    ],
    "pattern_regex": [
        (
            re.Pattern[str],
            "a(",
            '`at`: expected a regular expression, got "a("; missing ), unterminated subpattern at position 1',
        ),
    ],
    "import_error": [
        (
            ImportString,
            "nowhere.x",
            "`at`: expected an import path (`module.name`), got \"nowhere.x\"; no module named 'nowhere'",
        ),
    ],
    "callable_type": [
        (Callable[..., Any], 5, "`at`: expected a function, got 5"),
    ],
    "is_subclass_of": [
        (type[Exception], int, "`at`: expected `Exception` or a class derived from it, got `int`"),
    ],
    "value_error": [
        (Checked, {"low": 7}, "`at.low`: the low is above the high"),
    ],
    "assertion_error": [
        (Checked, {"low": 9}, "`at.low`: the low must stay below 9"),
    ],
}

UNMET = {
    "arguments_type": "of a function's arguments",
    "missing_argument": "of a function's arguments",
    "missing_keyword_only_argument": "of a function's arguments",
    "missing_positional_only_argument": "of a function's arguments",
    "multiple_argument_values": "of a function's arguments",
    "unexpected_positional_argument": "of a function's arguments",
    "no_such_attribute": "of an assignment",
    "frozen_field": "of an assignment",
    "frozen_instance": "of an assignment",
    "get_attribute_error": "of an object that is no data",
    "iteration_error": "of an object that is no data",
    "mapping_type": "of an object that is no data",
    "datetime_object_invalid": "of an object that is no data",
    "needs_python_object": "of a validator that cannot read JSON",
    "dataclass_exact_type": "of a strict dataclass",
    "date_parsing": "of a strict date in JSON",
    "complex_str_parsing": "of a complex number in JSON",
    "bytes_invalid_encoding": "of bytes in JSON",
    "recursion_loop": "a configuration is a tree",
    "recursion_depth_exceeded": "a text that deep is refused before",
    "default_factory_not_called": "left out: it follows from another error",
    "missing_sentinel_error": "no text stands for it",
    "ellipsis_error": "no text stands for it",
    "timezone_offset": "no type asks for one offset",
    "url_syntax_violation": "no type asks for strict syntax",
    "frozen_dict_type": "this Python has no frozen mapping",
}
"""What no configuration can meet, and why."""


def find_problems(kind: Any, value: Any) -> list[str]:
    holder = create_model("Holder", __base__=Config, at=(kind, ...))
    _, problems = validate_document(holder, Document.from_value({"at": value}))
    return ["; ".join(filter(None, [each.message, each.hint])) for each in problems]


@pytest.mark.parametrize("error", CASES)
def test_a_broken_rule_is_told(error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").touch()
    (tmp_path / "folder").mkdir()
    for kind, value, told in CASES[error]:
        assert find_problems(kind, value) == [told.replace("HERE", str(tmp_path))]
        if error in KNOWN:
            tight: Any = Annotated[kind, ConfigRules()]
            with pytest.raises(ValidationError, match="validation error") as caught:
                TypeAdapter(tight).validate_python(value)
            assert error in [each["type"] for each in caught.value.errors()]


KNOWN = frozenset(get_args(core_schema.ErrorType))


def test_every_rule_of_pydantic_has_its_case() -> None:
    assert CASES.keys() & UNMET.keys() == set()
    assert KNOWN - CASES.keys() - UNMET.keys() == set()


def test_a_default_that_waits_for_another_field_is_no_error_of_its_own() -> None:
    class Waiting(Config):
        a: int
        b: int = Field(default_factory=lambda data: data["a"] + 1)

    assert find_problems(Waiting, {"a": "x"}) == ['`at.a`: expected an integer, got "x"']


def test_what_is_wrong_within_json_text_is_told_of_the_text() -> None:
    assert find_problems(Json[list[int]], '[1, "x"]') == ['`at`: expected an integer, got "x"']


@pytest.mark.parametrize("kind", [Secret[int], SecretBytes, SecretStr, SecretStr | int, Secret[Decimal] | None])
def test_what_a_secret_type_takes_is_never_shown(kind: Any) -> None:
    assert "canary" not in str(find_problems(kind, ["canary"]))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("^[a-z]+$", "lowercase letters"),
        ("^[A-Z]$", "an uppercase letter"),
        ("^[a-z0-9_]+$", "lowercase letters, digits or `_`"),
        (r"^\d{3}$", "3 digits"),
        (r"^\d{1}$", "1 digit"),
        (r"^\d{1,3}$", "1 to 3 digits"),
        (r"^v\d+$", "`v`, then digits"),
        (r"^\w{2,}$", "at least 2 letters, digits or `_`"),
        ("^[0-9]?$", "a digit or nothing"),
        ("^-*[0-9]+$", "any number of `-`, then digits"),
        (r"^\d+\.\d+$", "digits, then `.`, then digits"),
        ("[a-z]+", ""),
        ("^[a-z]+", ""),
        ("^[^a-z]+$", ""),
        ("^[a-f]+$", ""),
        ("^[a-zA-F]+$", ""),
        ("^(a|b)$", ""),
        (r"^\S+$", ""),
        ("^[a-z]+?$", ""),
        ("^abc$", ""),
        ("^$", ""),
        ("$", ""),
    ],
)
def test_a_simple_pattern_is_put_into_words(pattern: str, words: str) -> None:
    assert describe_pattern(pattern) == words
