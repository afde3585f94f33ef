"""`tidemill demo`: its input, its job, and the whole of it with the embedded model."""

import importlib
import inspect
import io
from collections import Counter
from pathlib import Path

from rich.console import Console

import tidemill as tm
from tidemill.demo import KINDS, iter_docstrings, run_demo, write_demo_job


def test_input_is_the_standard_library_itself() -> None:
    """Thousands of records, each kind in turn, each a documented object of that kind and that name."""
    records = list(iter_docstrings())
    kinds = Counter(record["kind"] for record in records)
    assert kinds.keys() == set(KINDS)
    assert min(kinds.values()) > 500
    assert [record["kind"] for record in records[:6]] == [*KINDS, *KINDS]
    by_name = {(record["name"], record["kind"]): record for record in records}
    assert by_name["json.dumps", "function"]["declaration"].startswith("def dumps(obj, *, skipkeys=False")
    assert by_name["fractions.Fraction", "class"]["declaration"].startswith("class Fraction(")
    assert by_name["fractions.Fraction.limit_denominator", "method"]["declaration"].startswith("def limit_denominator(")
    for record in records[:50]:
        assert is_documented(record), record


def is_documented(record: dict[str, str]) -> bool:
    module, _, name = record["name"].rpartition(".")
    if record["kind"] == "method":
        module, _, owner = module.rpartition(".")
        found = vars(getattr(importlib.import_module(module), owner))[name]
        found = getattr(found, "__func__", found)
    else:
        found = getattr(importlib.import_module(module), name)
        assert inspect.isclass(found) == (record["kind"] == "class")
    return inspect.cleandoc(found.__doc__) == record["doc"]


def test_input_is_the_same_each_time() -> None:
    """The labelled records are the same on each run."""
    assert list(iter_docstrings()) == list(iter_docstrings())


def test_job_as_written_has_nothing_wrong(tmp_path: Path) -> None:
    """The job file passes the check and reads what was written beside it."""
    console = Console(file=io.StringIO())
    job = tm.load_job(write_demo_job(tmp_path, console))
    job.check()
    assert len(list(tm.read(tmp_path / "docstrings.jsonl.gz"))) == len(list(iter_docstrings()))


def test_whole_demo_runs_afresh_each_time(tmp_path: Path) -> None:
    """Run twice: each time all records are labelled anew, land, and are loaded back and shown."""
    printed = io.StringIO()
    for _ in range(2):
        assert run_demo(tmp_path, Console(file=printed, width=200), limit=5) == 0
    text = printed.getvalue()
    assert text.count("5 landed, 0 dropped, 0 skipped, 0 quarantined") == 2
    assert "went on after" not in text
    assert text.count("len(labelled) = 5") == 2
    assert "guessing gets 33%" in text
    assert "toy of 135 million parameters" in text
    for record in tm.dataset(tmp_path / "labelled"):
        assert record["label"]["kind"] in KINDS
        assert record["name"] in text
