"""Functions and models by import path."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from tidemill.config.model import Config
from tidemill.config.types.functions import Function, Schema, import_object, to_import_path
from tidemill.errors import ConfigError


def shout(record: dict[str, Any]) -> str:
    return str(record).upper()


class Cleaner:
    """A callable object, as a step that is configured once."""

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        return record

    def method(self, record: dict[str, Any]) -> dict[str, Any]:
        return record


cleaner = Cleaner()


class Label(BaseModel):
    topic: str


class Step(Config):
    fn: Function
    schema_: Schema | None = None


@pytest.fixture(autouse=True)
def _same_modules() -> Iterator[None]:
    """What a test imports from its own folder is forgotten."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def failure(path: str, folder: Path | None = None) -> PydanticCustomError:
    with pytest.raises(PydanticCustomError, match=r"\w") as caught:
        import_object(path, folder)
    return caught.value


def test_a_path_leads_to_the_object() -> None:
    assert import_object("os.path:join") is __import__("os").path.join
    assert import_object("datetime:datetime.fromisoformat").__name__ == "fromisoformat"


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("os.path.join", "expected an import path `module:name`, got `os.path.join`", "did you mean `os.path:join`?"),
        ("nowhere", "expected an import path `module:name`, got `nowhere`", ""),
        ("os:path:join", "expected an import path `module:name`, got `os:path:join`", ""),
        ("os:", "expected an import path `module:name`, got `os:`", ""),
        ("../x:y", "expected an import path `module:name`, got `../x:y`", ""),
        ("os.path:joyn", "`os.path` has no `joyn`", "did you mean `os.path:join`?"),
        (
            "datetime:datetime.fromiso",
            "`datetime:datetime` has no `fromiso`",
            "did you mean `datetime:datetime.fromisoformat`?",
        ),
        ("oss.path:join", "no module named `oss`", "did you mean `os.path:join`?"),
        ("xml.don:Node", "no module named `xml.don`", "did you mean `xml.dom:Node`?"),
        ("xml.don:x", "no module named `xml.don`", "the package `xml` has no don.py"),
    ],
)
def test_a_wrong_path_says_which_part(path: str, message: str, hint: str) -> None:
    error = failure(path)
    assert (error.message(), (error.context or {})["hint"]) == (message, hint)


def test_the_wrong_part_is_marked() -> None:
    context = failure("datetime:datetime.fromiso").context or {}
    assert "datetime:datetime.fromiso"[context["offset"] :][: context["length"]] == "fromiso"


def test_a_folders_modules_are_importable_and_suggested(tmp_path: Path) -> None:
    (tmp_path / "own_steps.py").write_text("def keep(record): return True\n")
    assert import_object("own_steps:keep", tmp_path)({}) is True
    assert (failure("own_step:keep", tmp_path).context or {})["hint"] == "did you mean `own_steps:keep`?"


@pytest.mark.parametrize("name", ["drop", "return"])
def test_a_module_without_the_name_is_not_suggested(tmp_path: Path, name: str) -> None:
    (tmp_path / "own_steps.py").write_text("def keep(record): return True\n")
    for asked in ("own_step", "myy_steps"):
        hint = (failure(f"{asked}:{name}", tmp_path).context or {})["hint"]
        assert hint == f"there is no {asked}.py beside the job file, in {tmp_path}"


def test_a_module_is_not_run_to_be_suggested(tmp_path: Path) -> None:
    (tmp_path / "loud_steps.py").write_text("raise SystemExit\ndef keep(record): return True\n")
    assert (failure("loud_step:keep", tmp_path).context or {})["hint"] == "did you mean `loud_steps:keep`?"
    (tmp_path / "torn_steps.py").write_text("def keep(:\n")
    assert "there is no torn_step.py" in (failure("torn_step:keep", tmp_path).context or {})["hint"]


def test_two_folders_may_hold_a_module_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twin_steps.py").write_text(f"def which(record): return {name!r}\n")
    first = import_object("twin_steps:which", tmp_path / "a")
    second = import_object("twin_steps:which", tmp_path / "b")
    assert (first({}), second({})) == ("a", "b")
    assert import_object("twin_steps:which", tmp_path / "b") is second


def test_a_folder_does_not_reload_its_own_modules(tmp_path: Path) -> None:
    (tmp_path / "lone_steps.py").write_text("def keep(record): return True\n")
    assert import_object("lone_steps:keep", tmp_path) is import_object("lone_steps:keep", tmp_path)


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("x = 1\ny = 1 / 0\n", "ZeroDivisionError: division by zero", 2),
        ("def broken(:\n", "SyntaxError: invalid syntax", 1),
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3", 3),
        ("import no_such_module_anywhere\n", "ModuleNotFoundError: No module named 'no_such_module_anywhere'", 1),
    ],
)
def test_a_module_that_fails_shows_its_own_error(tmp_path: Path, source: str, message: str, line: int) -> None:
    (tmp_path / "failing_steps.py").write_text(source)
    error = failure("failing_steps:keep", tmp_path)
    assert error.message() == f"importing `failing_steps` fails: {message}"
    assert (error.context or {})["hint"] == f"see {tmp_path}/failing_steps.py:{line}"


def test_a_callable_and_its_path_give_equal_nodes() -> None:
    by_path = Step(fn="os.path:join", schema_="pydantic:BaseModel")
    by_object = Step(fn=__import__("os").path.join, schema_=BaseModel)
    assert by_path == by_object
    assert by_path.model_dump() == by_object.model_dump()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (shout, f"{__name__}:shout"),
        (Cleaner, f"{__name__}:Cleaner"),
        (cleaner, f"{__name__}:cleaner"),
        (Cleaner.method, f"{__name__}:Cleaner.method"),
        (Label, f"{__name__}:Label"),
        (len, "builtins:len"),
        (str.upper, "builtins:str.upper"),
        (dict.fromkeys, "builtins:dict.fromkeys"),
    ],
)
def test_a_target_has_the_path_that_leads_to_it(target: Any, path: str) -> None:
    assert to_import_path(target) == path
    assert import_object(path) == target


def local(record: dict[str, Any]) -> Any:
    def inner(record: dict[str, Any]) -> Any:
        return record

    return inner


@pytest.mark.parametrize(
    "target", [lambda record: record, local({}), Cleaner().method, functools.partial(shout), Cleaner()]
)
def test_what_no_other_process_can_find_has_no_path(target: Any) -> None:
    with pytest.raises(ConfigError, match=r"has no import path\n  make it a function with a name of its own"):
        to_import_path(target)


def test_a_function_of_the_script_being_run_has_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shout, "__module__", "__main__")
    with pytest.raises(ConfigError, match="`shout` stands in the script being run"):
        to_import_path(shout)


def test_a_lambda_is_described_by_name_and_source() -> None:
    described = [Step(fn=each).model_dump()["fn"] for each in (lambda record: record, lambda record: not record)]
    assert all(each.startswith(f"{__name__}:test_a_lambda_is_described") for each in described)
    assert described[0].partition("@")[2] != described[1].partition("@")[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fn": 5}, "expected a function or its import path `module:name`, got 5"),
        ({"fn": None}, "expected a function or its import path `module:name`, got null"),
        ({"fn": "lambda r: r['x']"}, "a step is `module:function`; lambdas only in Python"),
        ({"fn": "def keep(r): return r"}, "a step is `module:function`; lambdas only in Python"),
        ({"fn": "os:sep"}, "`os:sep` is not a function but \"/\""),
        ({"fn": len, "schema_": "decimal:Decimal"}, "`decimal:Decimal` is not a Pydantic model"),
        ({"fn": len, "schema_": int}, "expected a Pydantic model or its import path `module:name`, got `int`"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        Step.model_validate(given)
    assert caught.value.errors()[0]["msg"] == message
