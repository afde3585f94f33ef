"""The `predict` step: put what a model of this process gives for each record into a column."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.paths import KeyPath
from tidemill.config.roles import Runtime
from tidemill.config.types.functions import Function
from tidemill.models.model import Model
from tidemill.models.steps.calling import CallNode

ON_THE_WAY = 5
"""Batches for each device that records are worked on for: what is on its way through it, and the next that gathers."""


class Predict(CallNode):
    """Put what `model` gives for the record into the column `into`.

    Records that come up together go through the model together. Nothing is asked outside: there is no row in the
    ledger, no limit and no price, and what was not sealed is computed again. The model is called as `model(x)`, in
    evaluation mode and without gradients, in a thread of its own for each device.

    Attributes:
        model: a torch module, or any function of a batch of inputs; alone it is short for the step.
        load: in its place, a function that gives the model, called when the first record comes, with the name of the
            device if it has a parameter.
        column: the column of the input; without one the records themselves are the inputs.
        into: the column of the result.
        prepare: a function of the list of inputs that gives what the model is called with: a tuple is several
            arguments, a mapping named ones. By default a module gets a tensor, a function the list.
        finish: a function of one record's result that gives what stands in the column; by default tensors and arrays
            become lists and numbers.
        pad: the id that shorter lists of ids are filled up with.
        batch: the most records in a batch.
        batch_tokens: the most ids in a batch, padding too; a longer record goes alone.
        devices: the devices that have a replica of the model each; None is the one where the model is.
        inference: hold torch's inference mode in the place of `no_grad`.
    """

    kind = "predict"
    alone = "model"
    functions = ("prepare", "finish")

    model: Function | None = None
    load: Function | None = None
    column: str | None = None
    into: str = "prediction"
    prepare: Function | None = None
    finish: Function | None = None
    pad: int | None = None
    batch: Annotated[int, Runtime()] = Field(default=32, ge=1, le=65_536)
    batch_tokens: Annotated[int | None, Runtime()] = Field(default=None, ge=1)
    devices: Annotated[tuple[str, ...] | None, Runtime()] = Field(default=None, min_length=1)
    inference: Annotated[bool, Runtime()] = False

    @field_validator("model", "load", "prepare", "finish")
    @classmethod
    def _check_plain(cls, value: Any) -> Any:
        if _is_coroutine_function(value):
            hint = "what waits for something outside is a `call`"
            raise PydanticCustomError("plain", "expected a plain function, got a coroutine function", {"hint": hint})
        return value

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: Any) -> Any:
        if isinstance(value, type):
            message, hint = "expected a model, got the class `{name}`", "give `load`, a function that makes the model"
            raise PydanticCustomError("predict_model", message, {"name": value.__qualname__, "hint": hint})
        if isinstance(value, Model):
            message, hint = "expected a model of this process, got `{name}`", "`generate` asks it, and `embed`"
            raise PydanticCustomError("predict_model", message, {"name": value.model, "hint": hint})
        return value

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if (self.model is None) == (self.load is None):
            given = "neither" if self.model is None else "both"
            message = "expected `model`, or `load` in its place, got {given}"
            raise PydanticCustomError("predict_model", message, {"given": given})
        if self.prepare is not None and self.pad is not None:
            raise _misfit("pad", "`prepare` makes the model's input, and pads as it likes")
        if self.column is None:
            for field in ("pad", "batch_tokens"):
                if getattr(self, field) is not None:
                    raise _misfit(field, "`{field}` is of the ids in a column, and the step names none")
        return self

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """None: nothing is asked outside."""
        yield from ()

    def column_types(self) -> dict[str, Any]:
        """The column of its results, which may be of any type."""
        return {self.into: None}

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The column of the input, if it names one."""
        if self.column is not None:
            yield ("column",), self.column

    @property
    def width(self) -> int:
        """Records that may be worked on at once, so that each device has what it takes."""
        return ON_THE_WAY * self.batch * len(self.devices or ("",))


def _is_coroutine_function(fn: Any) -> bool:
    while isinstance(fn, partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None))  # noqa: B004 - looked at, not called


def _misfit(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("misfit", message, {"field": field, "path": (field,)})
