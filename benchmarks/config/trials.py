"""What every library is put through: files with one mistake each or several, values to read, keys to keep.

Imports nothing beyond the standard library: peers use it in virtual environments of their own. A library takes part
with a `load(schema, path)`, which gives what it read of a file as an object with these fields, or raises or exits with
what its user sees:

- `training`: `learning_rate` (float > 0), `batch_size` (int >= 1), `weight_decay` (float >= 0), `epochs` (int >= 1),
  `run_name` (a text of the pattern `^[a-z][a-z0-9-]*$`)
- `numbers`: `count` (int >= 0), `rate` (a finite float), `timeout` (a duration), `memory_bytes` (a size)
- `keyed`: `api_key` (a secret text), `epochs` (int >= 1)

Each has the best settings it knows: unknown keys refused, inputs hidden from errors, its own types for durations, sizes
and secrets. Where it knows no bounds or patterns, its dataclass's `__post_init__` has them by hand.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

Load = Callable[[str, str], object]
Outcome = Mapping[str, Any]

FILE = "train.yaml"
PATTERN = "^[a-z][a-z0-9-]*$"
SECRET = "sk-live-7f3a9c2e41"
REFUSED = "refused"

RIGHT = """\
learning_rate: 0.01
batch_size: "64"
weight_decay: 0.05
epochs: 3
run_name: run-7
"""
FOUR = """\
learningrate: 0.01
batch_size: "64"
weight_decay: -0.05
epochs: 0
"""
"""Three mistakes, and a text that is the number it says."""


@dataclass(frozen=True)
class Mistake:
    """A line that is wrong in an otherwise right file.

    Attributes:
        right, wrong: the line as it should be, and as it is.
    """

    right: str
    wrong: str

    @property
    def text(self) -> str:
        """The whole file."""
        return RIGHT.replace(self.right, self.wrong)

    @property
    def key(self) -> str:
        return self.wrong.partition(":")[0]

    @property
    def line(self) -> int:
        return 1 + self.text.splitlines().index(self.wrong)

    @property
    def value(self) -> str:
        return self.wrong.partition(": ")[2]

    @property
    def columns(self) -> tuple[int, int]:
        """Where the key begins, and where the value does."""
        return 1, 1 + len(self.wrong) - len(self.value)


@dataclass(frozen=True)
class Coercion:
    """What a file says of a field, and what must become of it: a value, or `REFUSED`."""

    field: str
    text: str
    wanted: float | str

    @property
    def name(self) -> str:
        return f"{self.field}: {self.text}".replace("\n", ", ")


TYPOS = {
    Mistake("learning_rate: 0.01", "learningrate: 0.01"): "learning_rate",
    Mistake("weight_decay: 0.05", "weight_decy: 0.05"): "weight_decay",
}
"""With the keys that are meant."""

MISTAKES = (*TYPOS, Mistake("weight_decay: 0.05", "weight_decay: -0.05"), Mistake("epochs: 3", "epochs: 0"))
NO_MATCH = Mistake("run_name: run-7", "run_name: Run 7")
COERCIONS = (
    Coercion("count", '"64"', 64),
    Coercion("count", "64.0", 64),
    Coercion("rate", '"1e-4"', 1e-4),
    Coercion("rate", "1e-4", 1e-4),
    Coercion("rate", "1e2", 100.0),
    Coercion("count", "true", REFUSED),
    Coercion("count", "64.5", REFUSED),
    Coercion("count", "null", REFUSED),
    Coercion("rate", ".nan", REFUSED),
    Coercion("rate", ".inf", REFUSED),
    Coercion("count", "no", REFUSED),
    Coercion("rate", "on", REFUSED),
    Coercion("count", "64\ncount: 32", REFUSED),
    Coercion("timeout", "30s", 30.0),
    Coercion("memory_bytes", "512MB", 512_000_000),
)
SECRETS: Mapping[str, str] = {
    "a key beside a mistake": f"api_key: {SECRET}\nepochs: 0\n",
    "a mistyped key": f"apikey: {SECRET}\nepochs: 0\n",
    "a key with one quote": f'api_key: "{SECRET}\nepochs: 3\n',
}


@dataclass(frozen=True)
class Trial:
    """A file to be loaded, and the fields of the result that are told."""

    name: str
    schema: str
    text: str
    fields: Sequence[str] = ()


TRIALS = (
    Trial("right", "training", RIGHT, ("learning_rate", "batch_size", "weight_decay", "epochs", "run_name")),
    Trial("four", "training", FOUR),
    *(Trial(each.wrong, "training", each.text) for each in (*MISTAKES, NO_MATCH)),
    *(Trial(each.name, "numbers", f"{each.field}: {each.text}\n", (each.field,)) for each in COERCIONS),
    *(Trial(name, "keyed", text) for name, text in SECRETS.items()),
)


class InapplicableError(Exception):
    """A library has no place where this could go wrong."""


def write_trials(folder: Path) -> None:
    """The file of each trial, in a folder of its own."""
    for number, trial in enumerate(TRIALS):
        path = folder / str(number) / FILE
        path.parent.mkdir()
        path.write_text(trial.text)


def run_trials(package: str, load: Load) -> None:
    """Load the files in the folder that the command line names, and print what came of each, as JSON."""
    os.environ.update(COLUMNS="160", NO_COLOR="1")
    os.chdir(sys.argv[1])
    print(json.dumps({"version": version(package), "outcomes": try_all(load)}), flush=True)


def try_all(load: Load) -> dict[str, Outcome]:
    """What came of each trial, whose files are in the working folder."""
    return {
        trial.name: try_one(load, trial.schema, f"{number}/{FILE}", trial.fields) for number, trial in enumerate(TRIALS)
    }


def try_one(load: Load, schema: str, path: str, fields: Sequence[str]) -> Outcome:
    """The `value` of each field, or the `error` as a user sees it; neither where it does not apply.

    Of a traceback the messages alone, without the frames.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            found = load(schema, path)
        except InapplicableError:
            return {}
        except SystemExit:
            return {"error": said.getvalue()}
        except Exception as error:  # noqa: BLE001 - whatever a library raises is what its user sees
            return {"error": said.getvalue() + "".join(traceback.format_exception(error, limit=0))}
    return {"value": {name: simplify(getattr(found, name)) for name in fields}}


def simplify(value: Any) -> Any:
    """A duration as seconds, a library's own size or number as the plain one it stands for."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or value is None:
        return value
    plain = next((kind for kind in (str, float) if isinstance(value, kind)), int)
    return plain(value)
