"""`import tidemill` is cheap, quiet, and gives every name it lists."""

from __future__ import annotations

import ast
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.testing import Fault, Faults, FaultServer

HEAVY = ("torch", "pyarrow", "httptools", "ray", "typer", "rich", "pydantic", "jinja2", "yaml", "orjson", "xllamacpp")

# What DESIGN promises at the top level and this version has.
NAMES = [
    *(
        "read",
        "from_iterable",
        "from_hf",
        "dataset",
        "mix",
        "replay",
        "collate",
        "Stream",
        "Dataset",
        "Pipeline",
        "Config",
        "load_config",
        "load_job",
        "model",
    ),
    *("Limits", "Price", "Budget", "Scope", "TidemillError", "ConfigError", "DataError", "CallError", "StateError"),
    *("TransientCallError", "PermanentCallError", "ResourceError", "BudgetError", "WorkerError"),
]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_importing_it_imports_nothing_heavy() -> None:
    code = f"import sys, tidemill; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_describing_and_checking_needs_none_of_the_heaviest() -> None:
    """Describing a chain opens no client, no table format and no terminal."""
    code = (
        "import sys, tidemill as tm; tm.model('openai/x'); tm.Limits(); print([n for n in ('torch', 'ray', 'pyarrow',"
    )
    assert run_python(code + " 'httptools', 'rich', 'typer') if n in sys.modules])") == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_every_promised_name_is_there(name: str) -> None:
    assert name in tm.__all__
    assert getattr(tm, name) is not None


def test_every_listed_name_resolves_and_is_shown() -> None:
    assert len(set(tm.__all__)) == len(tm.__all__)
    for name in tm.__all__:
        assert getattr(tm, name) is not None
    assert set(tm.__all__) <= set(dir(tm))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tidemill' has no attribute 'raed'"):
        _ = tm.raed


def test_no_submodule_is_named_like_a_name() -> None:
    """`tm.model` must stay the function whatever was imported before."""
    modules = {path.stem for path in Path(tm.__file__).parent.iterdir()}
    assert modules.isdisjoint(name for name in tm.__all__ if name != "__version__")


def test_a_type_checker_sees_the_names_that_are_loaded() -> None:
    """The imports it reads and the table that is used are the same list."""
    tree = ast.parse(Path(tm.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = [alias for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert all(alias.name == alias.asname for alias in seen)  # marked as exported
    assert {alias.name for alias in seen} == set(tm.__all__) - {"__version__"}
    assert (Path(tm.__file__).parent / "py.typed").exists()


def test_a_run_is_logged_without_its_secrets(server: FaultServer, tmp_path: Path, caplog: Any) -> None:
    server.faults = Faults(matching=[("About 3", Fault("unauthorized"))])
    limits = tm.Limits(concurrency=1)
    model = tm.model("openai/any", base_url=server.base_url, api_key="sk-canary-0123456789", limits=limits)
    stream = tm.from_iterable(lambda: [{"id": number} for number in range(5)]).generate(model, "About {{ id }}")
    with caplog.at_level(logging.DEBUG, logger="tidemill"):
        assert stream.write(tmp_path / "out").outcome == "failed"
        server.faults = None
        assert stream.write(tmp_path / "out").outcome == "finished"
    lines = [record.getMessage() for record in caplog.records]
    assert all(record.name.startswith("tidemill.") for record in caplog.records)
    assert "canary" not in caplog.text
    opened = [line for line in lines if " opened in " in line]
    assert opened[0].endswith(": new")
    assert "going on after 3 records that are done" in opened[1]
    assert any(line.startswith("sealed segment 1: ") for line in lines)
    assert any(": failed: " in line and "401" in line for line in lines)
    assert lines[-1].endswith(": finished")


def test_an_endpoint_out_of_order_is_logged(server: FaultServer, tmp_path: Path, caplog: Any) -> None:
    server.faults = Faults(script=lambda call: Fault("status", status=503) if call.number <= 3 else None)
    limits = tm.Limits(concurrency=1, breaker_failures=1)
    model = tm.model("openai/any", base_url=server.base_url, api_key="sk-canary-0123456789", limits=limits)
    with caplog.at_level(logging.INFO, logger="tidemill.calls"):
        assert tm.from_iterable([{"id": 1}]).generate(model, "About {{ id }}").save(tmp_path / "a.jsonl") == 1
    told = [record.getMessage() for record in caplog.records]
    assert "is out of order, calls wait: " in told[0]
    assert "503" in told[0]
    assert told[-1].endswith(" answers again")


def test_it_is_quiet_until_it_is_asked(server: FaultServer, tmp_path: Path) -> None:
    """Not even a warning reaches the terminal of a program that set up no logging."""
    server.faults = Faults(script=lambda call: Fault("status", status=503) if call.number == 1 else None)
    code = (
        "import tidemill as tm\n"
        "limits = tm.Limits(breaker_failures=1)\n"
        f"m = tm.model('openai/any', base_url={server.base_url!r}, api_key='none', limits=limits)\n"
        "print(tm.from_iterable([{'id': 1}]).generate(m, 'About {{ id }}').write("
        f"{str(tmp_path / 'out')!r}).outcome)"
    )
    assert run_python(code) == "finished"
