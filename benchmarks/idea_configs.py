"""Dataclasses and Pydantic: a file with four mistakes, and what a raw dict, Pydantic and Tidemill say of them."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tidemill as tm
from rows import Cell, Row, Setting

TEXT = """\
learningrate: 0.01
batch_size: "64"
weight_decay: -0.05
epochs: 0
"""


class PlainTraining(BaseModel):
    """What Pydantic's documentation shows."""

    model_config = ConfigDict(extra="forbid")

    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)


class Training(tm.Config):
    """The same as a Tidemill config."""

    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)


def show_config(setting: Setting) -> Row:
    path = setting.folder / "training.yaml"
    path.write_text(TEXT)
    return Row(
        "dataclasses, Pydantic",
        '`learningrate: 0.01`, `batch_size: "64"`, `weight_decay: -0.05`, `epochs: 0` in a YAML file, '
        "as raw dict / Pydantic / `tm.Config`",
        [_read_plainly(path), _validate(path), _load(path)],
        note='`"64"` is one to a raw dict alone: both others read it as the number it is',
    )


def _read_plainly(path: Path) -> Cell:
    given = yaml.safe_load(path.read_text())
    rate, size, epochs = given.get("learning_rate", 0.001), given["batch_size"], given["epochs"]
    text = f"runs: learning rate {rate}, batches of a text `{size!r}`, {epochs} epochs"
    return Cell(text, {"errors": 0, "places": 0, "suggestions": 0})


def _validate(path: Path) -> Cell:
    try:
        PlainTraining.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as exc:
        count = exc.error_count()
        return Cell(f"{count} errors named, no place, no suggestion", {"errors": count, "places": 0, "suggestions": 0})
    return Cell("runs", {"errors": 0, "places": 0, "suggestions": 0})


def _load(path: Path) -> Cell:
    try:
        tm.load_config(Training, path)
    except tm.ConfigError as exc:
        problems = exc.problems
        places = sum(problem.place is not None and problem.place.line > 0 for problem in problems)
        hints = sum("learning_rate" in problem.hint for problem in problems)
        counts = {"errors": len(problems), "places": places, "suggestions": hints}
        text = f"{len(problems)} errors named, {places} with file:line:column and caret, {hints} suggestion"
        return Cell(text, counts)
    return Cell("runs", {"errors": 0, "places": 0, "suggestions": 0})
