"""`tidemill demo`: the main job on real input with the embedded model, from nothing to a loaded dataset.

The input is on every machine: the docstrings of Python's standard library. The job labels some of them with a
summary and a kind; `inspect` knows the true kind.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

import tidemill as tm
from tidemill.models.local.server import check_local_model
from tidemill.models.local.weights import SMOLLM2, embedded_weights, find_embedded_weights
from tidemill.view.reports import print_report

LIMIT = 48
KINDS = ("class", "method", "function")

SOURCE = "docstrings.jsonl.gz"
OUTPUT = "labelled"
BETTER = "openai/gpt-4.1-mini"

# Importing these prints, opens a window or a browser, touches the terminal, or is long and of no use here.
LEFT_OUT = frozenset(
    ["antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "readline"]
).union(["rlcompleter", "test", "this", "tkinter", "turtle", "turtledemo", "venv"])

JOB = f"""\
# Labels Python's own docstrings with a toy model in this process: no key, no network.
source: {{path: {SOURCE}}}
models:
  labeller: {{model: local/smollm2, limits: {{concurrency: 4}}}}
steps:
  - generate:
      model: labeller
      prompt: |-
        {{{{ declaration | truncate(80) }}}}: {{{{ doc | truncate(120) }}}}

        The Python object above is a
      output: docstring_label:Label
      into: label
      max_tokens: 80
      temperature: 0
max_errors: 0.1
sink: {{path: {OUTPUT}}}
"""

SCHEMA = '''\
"""What the job asks of each docstring: the schema its replies are held to."""

from typing import Literal

from pydantic import BaseModel, Field


class Label(BaseModel):
    """What kind of object a docstring describes, and one sentence of plain words about it."""

    kind: Literal["class", "method", "function"]
    summary: str = Field(pattern=r"^[A-Z][A-Za-z ,']{8,68}\\.$")
'''


def run_demo(folder: Path, console: Console, *, limit: int = LIMIT) -> int:
    """Write the input and a job into `folder`, run it afresh, and show what landed; gives the run's exit code.

    About 35 s on two cores once the model is there. Whatever an earlier demo left in `folder` is replaced.

    Raises:
        TidemillError: xllamacpp is missing, or the model or the folder cannot be used.
    """
    check_local_model("local/smollm2")
    if find_embedded_weights() is None:
        with console.status(f"fetching the embedded model, {SMOLLM2.size_bytes / 1e6:.0f} MB, this once"):
            embedded_weights()
    job = write_demo_job(folder, console)
    console.print(f"running {job}, as `tidemill run {job} --limit {limit} --fresh` would:\n")
    report = tm.load_job(job).run(limit=limit, fresh=True, progress=True)
    print_report(console, report)
    if report.exit_code == 0:
        show_labels(folder / OUTPUT, console)
        console.print(
            "The model is a toy of 135 million parameters. One line points the same job at a better one:\n"
            f"  tidemill run {job} --limit {limit} --set models.labeller.model={BETTER} --set sink.path={OUTPUT}-better"
        )
    return report.exit_code


def write_demo_job(folder: Path, console: Console) -> Path:
    """The job file, written into `folder` with its schema and its source."""
    folder.mkdir(parents=True, exist_ok=True)
    count = tm.from_iterable(iter_docstrings).save(folder / SOURCE)
    console.print(f"wrote {count:,} docstrings of Python's standard library to {folder / SOURCE}")
    (folder / "docstring_label.py").write_text(SCHEMA)
    job = folder / "job.yaml"
    job.write_text(JOB)
    return job


def show_labels(output: Path, console: Console) -> None:
    """Five landed records as a table, the dataset loaded back, and how often the label's kind is the true one."""
    labelled = tm.dataset(output)
    console.print()
    console.print(make_table(labelled[:5]))
    console.print(f"\nlabelled = tm.dataset({str(output)!r})")
    console.print(f"len(labelled) = {len(labelled)}")
    console.print("labelled[-1] =", Pretty(labelled[-1], max_string=100))
    right = sum(record["kind"] == record["label"]["kind"] for record in labelled)
    console.print(
        f"\nThe label's kind is the one that `inspect` knows in {right} of {len(labelled)} records "
        f"({right / len(labelled):.0%}; guessing gets {1 / len(KINDS):.0%})."
    )


def make_table(records: Sequence[dict[str, Any]]) -> Table:
    """Records as a table: what they are, and what the model says."""
    table = Table(header_style="bold")
    for name in ("name", "kind", "label.kind", "label.summary"):
        table.add_column(name, overflow="fold")
    for record in records:
        label = record["label"]
        style = "green" if label["kind"] == record["kind"] else "red"
        table.add_row(record["name"], record["kind"], Text(label["kind"], style=style), Text(label["summary"]))
    return table


def iter_docstrings() -> Iterator[dict[str, str]]:
    """The standard library's documented classes, methods and functions: name, true kind, declaration, docstring.

    The order is the same on each run: kind by kind in turn, and by a hash of the name within one.
    """
    records = sorted(_iter_objects(), key=lambda record: hashlib.sha256(record["name"].encode()).digest())
    of_kind = ([record for record in records if record["kind"] == kind] for kind in KINDS)
    return (record for record in chain.from_iterable(zip_longest(*of_kind)) if record is not None)


def _iter_objects() -> Iterator[dict[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules say so when they are imported
        for module in _iter_modules():
            for name, value in sorted(vars(module).items()):
                if name.startswith("_") or not _is_defined(value, name, module):
                    continue
                if inspect.isclass(value):
                    yield from _describe("class", module.__name__, name, value)
                    yield from _iter_methods(module.__name__, value)
                elif inspect.isroutine(value):
                    yield from _describe("function", module.__name__, name, value)


def _is_defined(value: Any, name: str, module: ModuleType) -> bool:
    """Whether `value` is the module's own under its own name, neither imported nor an alias."""
    return getattr(value, "__module__", None) == module.__name__ and getattr(value, "__name__", None) == name


def _iter_methods(module: str, cls: type) -> Iterator[dict[str, str]]:
    for name, value in sorted(vars(cls).items()):
        method = getattr(value, "__func__", value)  # what a classmethod or staticmethod wraps
        if inspect.isroutine(method) and not name.startswith("_"):
            yield from _describe("method", f"{module}.{cls.__qualname__}", name, method)


def _describe(kind: str, owner: str, name: str, value: Any) -> Iterator[dict[str, str]]:
    doc = value.__doc__
    if not isinstance(doc, str) or len(doc) < 30:
        return
    try:
        signature = str(inspect.signature(value))
    except (ValueError, TypeError, AttributeError, NameError):  # built in without one, or with one that names C's own
        signature = "(...)"
    keyword = "class" if kind == "class" else "def"
    yield {
        "name": f"{owner}.{name}",
        "kind": kind,
        "declaration": f"{keyword} {name}{signature}",
        "doc": inspect.cleandoc(doc),
    }


def _iter_modules() -> Iterator[ModuleType]:
    for name in sorted(sys.stdlib_module_names - LEFT_OUT):
        if name.startswith("_") or (module := _find_module(name)) is None:
            continue
        yield module
        for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
            if not inner.name.startswith("_") and (submodule := _find_module(f"{name}.{inner.name}")) is not None:
                yield submodule


def _find_module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:  # of another platform, or needs a library this Python was built without
        return None
