"""Fingerprints change when what they stand for does, and only then."""

from __future__ import annotations

import functools
import importlib
import json
import linecache
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

import tidemill as tm
from tidemill.config.types.fingerprints import fingerprint_function, fingerprint_schema
from tidemill.errors import ConfigError

_numbers = count()


def define(source: str, name: str = "fn", module: str = "steps") -> Any:
    """What `source` defines under `name`, as a module read from a file would have it."""
    file = f"<generated {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace = ModuleType(module)
    exec(compile(source, file, "exec"), namespace.__dict__)  # noqa: S102 - the source is this test's own
    return vars(namespace)[name]


def test_the_same_source_has_the_same_fingerprint() -> None:
    source = "def fn(record):\n    return record['x'] > 1\n"
    assert fingerprint_function(define(source)) == fingerprint_function(define(source))


MAKE = "def make(n):\n    return lambda r: r > n\nfn = "


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("def fn(r):\n    return 1\n", "def fn(r):\n    return 2\n", False),
        ("def fn(r):\n    return 1\n", "import os\n\n\ndef fn(r):\n    return 1\n", True),
        ("fn = lambda r: r + 1", "fn = lambda r: r + 2", False),
        ("fn = lambda r: r + 1", "fn = (  # why\n    lambda r:  r + 1)", True),
        ("g, fn = lambda r: 1, lambda r: 2", "g, fn = lambda r: 3, lambda r: 2", True),
        ("g, fn = lambda r: 1, lambda r: 2", "g, fn = lambda r: 1, lambda r: 3", False),
        (MAKE + "make(1)", MAKE + "make(1)", True),
        (MAKE + "make(1)", MAKE + "make(2)", False),
        (
            "import functools\ndef g(n, r): return n\nfn = functools.partial(g, 1)",
            "import functools\ndef g(n, r): return n\nfn = functools.partial(g, 2)",
            False,
        ),
        (
            "class C:\n    def __init__(self, n): self.n = n\n    def __call__(self, r): return r\nfn = C(1)",
            "class C:\n    def __init__(self, n): self.n = n\n    def __call__(self, r): return r\nfn = C(2)",
            False,
        ),
        (
            "class C:\n    def __init__(self): self.n = object()\n    def __call__(self, r): return r\nfn = C()",
            "class C:\n    def __init__(self): self.n = object()\n    def __call__(self, r): return r\nfn = C()",
            True,
        ),
        (
            "class C:\n    def __init__(self, n): self.n = n\n    def m(self, r): return r\nfn = C({'a': [1]}).m",
            "class C:\n    def __init__(self, n): self.n = n\n    def m(self, r): return r\nfn = C({'a': [2]}).m",
            False,
        ),
    ],
)  # fmt: skip
def test_a_function_changes_with_its_own_source_and_values(before: str, after: str, same: bool) -> None:
    assert (fingerprint_function(define(before)) == fingerprint_function(define(after))) is same


def test_what_is_timed_counts_as_itself() -> None:
    """A function that another decorator is around does not."""

    def fn(record: Any) -> Any:
        return record

    def twice(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(fn)
        def call(record: Any) -> Any:
            return fn(fn(record))

        return call

    timed = tm.latency("retrieve")
    assert fingerprint_function(timed(fn)) == fingerprint_function(tm.latency("other")(timed(fn)))
    assert fingerprint_function(timed(fn)) == fingerprint_function(fn)
    assert fingerprint_function(twice(timed(fn))) == fingerprint_function(timed(twice(fn)))
    assert fingerprint_function(twice(timed(fn))) != fingerprint_function(fn)


FOLLOWED = """
import functools, os, re
LABELS = ["a", "b"]
PATTERN = re.compile("x+")
BASE = 1
TOTAL: int = BASE + 1
API_KEY = "one"
_cache = {}

def again(n):
    return helper(n - 1) if n else "one"

def helper(n):
    return again(n)

@functools.lru_cache
def cached(n):
    return n + 1

class Kept:
    def value(self):
        return deep() + 1

def deep():
    return 1

keep = functools.partial(lambda a, b: a + b, 1)

def unnamed(n):
    return 1

def fn(r):
    _cache[r] = [x for x in LABELS if PATTERN.match(x)]
    return helper(3), TOTAL, cached(3), Kept().value(), (lambda: keep(2))(), os.sep, API_KEY
"""


@pytest.mark.parametrize(
    ("part", "edited", "same"),
    [
        ('["a", "b"]', '["a", "c"]', False),
        ('["a", "b"]', '[  # the labels\n    "a", "b"]', True),
        ('"x+"', '"y+"', False),
        ("BASE = 1", "BASE = 2", False),
        ('else "one"', 'else "two"', False),
        ("return n + 1", "return n + 2", False),
        ("def deep():\n    return 1", "def deep():\n    return 2", False),
        ("a + b, 1)", "a + b, 2)", False),
        ("def unnamed(n):\n    return 1", "def unnamed(n):\n    return 2", True),
        ("import functools, os, re", "import os, re, functools\nOTHER = 1", True),
    ],
)
def test_a_function_changes_with_what_it_names_in_its_own_file(part: str, edited: str, same: bool) -> None:
    assert part in FOLLOWED
    changed = define(FOLLOWED.replace(part, edited))
    assert (fingerprint_function(changed) == fingerprint_function(define(FOLLOWED))) is same


def test_what_a_run_puts_into_a_global_changes_nothing() -> None:
    """A cache, a counter, the time of the start: the statement counts, not the value."""
    source = "import time\ncache, began = {}, time.time()\ndef fn(r):\n    cache[r] = began\n"
    function = define(source)
    before = fingerprint_function(function)
    function(1)
    assert fingerprint_function(function) == before == fingerprint_function(define(source))


def test_a_global_that_no_statement_assigns_counts_by_its_value() -> None:
    """As in a notebook, whose cells are files of their own."""

    def with_global(**values: Any) -> str:
        function = define("def fn(r):\n    return LABELS\n")
        function.__globals__.update(values)
        return fingerprint_function(function)

    values = [["a"], ["b"], {"a": [1]}, {"a": {1}}, b"a", (), object(), functools]
    assert len({with_global(LABELS=value) for value in values}) == len(values) - 1
    assert with_global(LABELS=object()) == with_global(LABELS=object())
    assert with_global(LABELS=list(range(20_000))) == with_global(LABELS=list(range(20_001)))


SCRIPT = """
from pydantic import BaseModel, field_validator
from tidemill.config.types.fingerprints import fingerprint_function, fingerprint_schema
N = 1
class Kind:
    def __init__(self, n=0): self.n = [Kind]
    def __call__(self, r): return N
class Label(BaseModel):
    kind: int
    @field_validator("kind")
    def check(cls, kind): return kind
def fn(r):
    return N, Kind, Label
made = (lambda k: lambda r: (k, fn, __name__))(Kind())
held = Kind(2)
prints = [fingerprint_function(each) for each in (fn, made, Kind, held)] + [fingerprint_schema(Label)]
if __name__ == "__main__":
    import json
    import script
    print(json.dumps([prints, script.prints]))
"""


def test_a_script_s_function_is_the_same_in_a_module(tmp_path: Path) -> None:
    """What a chain in a script fingerprints is what a job file that imports it does."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    run, imported = json.loads(done.stdout)
    assert run == imported
    assert len(set(run)) == 5


@pytest.mark.parametrize("name", ["fn", "short", "C"])
def test_a_file_that_is_edited_while_it_is_loaded_is_read_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it is edited back, it is what it was: what a file holds is known by its text alone."""
    file = tmp_path / f"edited_{name}.py"
    text = "def fn(r):\n    return 1\nshort = lambda r: 2\nclass C:\n    def __call__(self, r):\n        return 3\n"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    target = getattr(importlib.import_module(file.stem), name)
    before = fingerprint_function(target)
    file.write_text(text.replace("1", "100").replace("3", "300").replace("lambda r: 2", "lambda x: 2"))
    assert fingerprint_function(target) != before
    file.write_text(text)
    assert fingerprint_function(target) == before


def test_a_default_counts() -> None:
    """Functions made in a loop differ in just that."""
    one, two = [lambda r, n=n: r > n for n in (1, 2)]
    assert fingerprint_function(one) != fingerprint_function(two)


def test_a_function_changes_with_its_name() -> None:
    first = define("def one(r):\n    return 1\n", "one")
    assert fingerprint_function(first) != fingerprint_function(define("def two(r):\n    return 1\n", "two"))


def test_a_version_replaces_the_source() -> None:
    versions = ["1", "1", "2"]
    made = [define(f"def fn(r):\n    return {n}\nfn.__tidemill_version__ = {v!r}\n") for n, v in enumerate(versions)]
    first, second, third = map(fingerprint_function, made)
    assert first == second != third


def test_a_function_without_source_counts_by_its_code() -> None:
    def compiled(source: str) -> Callable[[Any], Any]:
        namespace: dict[str, Any] = {}
        exec(source, namespace)  # noqa: S102 - the source is this test's own
        function: Callable[[Any], Any] = namespace["fn"]
        return function

    one, two = "def fn(r): return [x for x in r if x > 1]", "def fn(r): return [x for x in r if x > 2]"
    assert fingerprint_function(compiled(one)) == fingerprint_function(compiled(one))
    assert fingerprint_function(compiled(one)) != fingerprint_function(compiled(two))


def test_builtins_classes_and_partials_have_one_each() -> None:
    import orjson

    targets = [
        len,
        str.upper,
        str,
        orjson.loads,
        functools.partial(int, base=2),
        functools.partial(int, base=8),
        [].append,
    ]
    assert len({fingerprint_function(each) for each in targets}) == len(targets)


def test_a_function_that_holds_itself_ends() -> None:
    def outer() -> Callable[[int], int]:
        def again(number: int) -> int:
            return again(number - 1) if number else 0

        return again

    assert fingerprint_function(outer()) == fingerprint_function(outer())


class Color(Enum):
    RED = "red"


class Inner(BaseModel):
    title: str
    color: Color = Color.RED


class Label(BaseModel):
    kind: Literal["a", "b"]
    inner: list[Inner] = Field([])


def test_a_schema_changes_with_its_fields_not_its_names() -> None:
    class Colour(Enum):
        RED = "red"

    class Part(BaseModel):
        title: str
        color: Colour = Colour.RED

    class Renamed(BaseModel):
        kind: Literal["a", "b"]
        inner: list[Part] = Field([])

    class Wider(BaseModel):
        kind: Literal["a", "b", "c"]
        inner: list[Inner] = Field([])

    class Retitled(BaseModel):
        kind: Literal["a", "b"]
        inner: list[Color] = Field([])

    assert fingerprint_schema(Renamed) == fingerprint_schema(Label)
    assert fingerprint_schema(Wider) != fingerprint_schema(Label)
    assert fingerprint_schema(Retitled) != fingerprint_schema(Label)


def model_with(**attributes: Any) -> type[BaseModel]:
    return type("Label", (BaseModel,), {"__module__": __name__, "__annotations__": {"n": int}, **attributes})


def test_a_schema_changes_with_its_validators_and_settings() -> None:
    @field_validator("n")
    def odd(cls: Any, n: int) -> int:
        return n | 1

    @field_validator("n")
    def even(cls: Any, n: int) -> int:
        return n & ~1

    @model_validator(mode="after")
    def whole(self: Any) -> Any:
        return self

    models = [
        model_with(),
        model_with(check=odd),
        model_with(check=even),
        model_with(check=whole),
        model_with(model_config=ConfigDict(strict=True)),
        model_with(__annotations__={"n": Annotated[int, AfterValidator(abs)]}),
        model_with(__annotations__={"n": Annotated[int, AfterValidator(lambda n: -n)]}),
        model_with(__annotations__={"n": list[Annotated[int, AfterValidator(lambda n: n)]]}),
    ]
    assert len({fingerprint_schema(model) for model in models}) == len(models)
    assert fingerprint_schema(model_with(check=odd)) == fingerprint_schema(model_with(check=odd))


def test_a_nested_models_validators_count() -> None:
    class Checked(Inner):
        @field_validator("title")
        @classmethod
        def _strip(cls, title: str) -> str:
            return title.strip()

    class Other(BaseModel):
        inner: Inner

    class OtherChecked(BaseModel):
        inner: Checked

    assert fingerprint_schema(Other) != fingerprint_schema(OtherChecked)


class Tree(BaseModel):
    children: list[Tree] = Field([])


def test_a_recursive_schema_has_one() -> None:
    assert fingerprint_schema(Tree) == fingerprint_schema(Tree)


def test_a_model_without_a_json_schema_is_refused() -> None:
    class Opaque(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        fn: ModuleType

    with pytest.raises(ConfigError, match=r"Opaque` has no JSON schema: .*\n  use types that JSON has"):
        fingerprint_schema(Opaque)
