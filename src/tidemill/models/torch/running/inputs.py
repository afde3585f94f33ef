"""A model's input: what a batch's values become before the model is called with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.models.torch.running.modules import find_module
from tidemill.models.torch.running.outputs import map_tensors

MASK = "attention_mask"
"""The argument that says which of the padded ids are real, where a model's `forward` has it."""


class Inputs(NamedTuple):
    """What a model is called with."""

    args: tuple[Any, ...]
    named: Mapping[str, Any]


class Preparing:
    """Makes the input of one model. Holds no state between batches; one thread at a time.

    Args:
        model: what is called.
        prepare: makes its input of the list of values; a tuple is several arguments, a mapping named ones.
        column: where the values stand, None where they are the records themselves.
        pad: what lists of ids are filled up with behind their end.
    """

    def __init__(
        self, model: Any, *, prepare: Callable[[list[Any]], Any] | None, column: str | None, pad: int | None
    ) -> None:
        self._prepare = prepare
        self._column = column
        self._pad = pad
        self._module = find_module(model)
        self._takes_mask = self._module is not None and _takes(self._module, MASK)
        self._reads_ids = pad is not None or self._takes_mask or (self._module is not None and _reads_ids(self._module))

    def prepare(self, values: list[Any]) -> Inputs:
        """The model's input.

        Raises:
            DataError: the values are no numbers, or do not go together.
            Exception: whatever `prepare` raises.
        """
        if self._prepare is not None:
            return _spread(self._prepare(values))
        if self._module is None:
            return Inputs((values,), {})
        return self._stack(values)

    def _stack(self, values: Sequence[Any]) -> Inputs:
        """The values as one tensor, the batch its first axis; ids of several lengths are padded."""
        import torch

        rows = [self._to_tensor(value) for value in values]
        lengths = [len(row) for row in rows] if self._are_ids(rows) else []
        if lengths:
            rows = [row.long() for row in rows]
        if len({row.shape for row in rows}) == 1:
            stacked = torch.stack(rows)
        elif lengths:
            stacked = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._find_pad(lengths))
        else:
            shapes = sorted({str(tuple(row.shape)) for row in rows})
            raise DataError(
                f"expected values of one shape, got {' and '.join(shapes[:3])}",
                where=f"column `{self._column}`",
                hint="give a `prepare` that makes one input of them",
            )
        if stacked.is_floating_point() or not self._reads_ids:
            stacked = stacked.to(self._find_dtype(stacked.dtype))
        named = {MASK: _mask(lengths)} if lengths and self._takes_mask else {}
        return Inputs((stacked,), named)

    def _are_ids(self, rows: Sequence[Any]) -> bool:
        """Whether the rows are lists of ids; an empty list is one of whatever the others are."""
        if not self._reads_ids:
            return False
        has_any = self._pad is not None or any(len(row) for row in rows if row.dim() == 1)
        return has_any and all(row.dim() == 1 and not (len(row) and row.is_floating_point()) for row in rows)

    def _to_tensor(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            return value
        try:
            return torch.tensor(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise DataError(
                f"expected numbers, a list of them or an array, got {describe_value(value)}",
                where=f"column `{self._column}`",
                hint="give a `prepare` that makes the model's input of it",
            ) from None

    def _find_pad(self, lengths: Sequence[int]) -> int:
        if self._pad is not None:
            return self._pad
        error = DataError(
            f"expected lists of one length, got lengths from {min(lengths)} to {max(lengths)}",
            where=f"column `{self._column}`",
            hint="set `pad`, the id that the shorter ones are filled up with",
        )
        error.of = "run"  # which records meet in a batch is chance: all would fail, or none
        raise error

    def _find_dtype(self, default: Any) -> Any:
        """That of the model's own numbers, which torch does not convert to."""
        assert self._module is not None
        return next((each.dtype for each in self._module.parameters() if each.is_floating_point()), default)


def _spread(given: Any) -> Inputs:
    if isinstance(given, Inputs):
        return given
    if isinstance(given, Mapping):
        return Inputs((), dict(given))
    return Inputs(given if isinstance(given, tuple) else (given,), {})


def _mask(lengths: Sequence[int]) -> Any:
    """attention_mask: int64 (batch, longest), 1 where an id is the record's own."""
    import torch

    return (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()


def _takes(module: Any, name: str) -> bool:
    """Whether the module's `forward` has an argument of that name; of a compiled model, that of its own module."""
    own = getattr(module, "_orig_mod", module)
    try:
        return name in inspect.signature(own.forward).parameters
    except (ValueError, TypeError):  # a scripted module's tells nothing
        return False


def _reads_ids(module: Any) -> bool:
    """Whether whole numbers are ids to the module: it looks them up, or has no floats that it could compute with.

    Any other takes whole numbers among its floats, as JSON writes 1.0 as 1: which of them meet in a batch is chance.
    """
    import torch

    lookups = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    scripted = {each.__name__ for each in lookups}  # a scripted module is of one class, and keeps the name of its own
    if any(isinstance(each, lookups) or getattr(each, "original_name", "") in scripted for each in module.modules()):
        return True
    return not any(each.is_floating_point() for each in module.parameters())


def count_elements(inputs: Inputs) -> int:
    """How many numbers its tensors hold; 0 where it has none."""
    sizes: list[int] = []
    map_tensors(lambda tensor: sizes.append(tensor.numel()), (*inputs.args, inputs.named))
    return sum(sizes)


def call_model(model: Callable[..., Any], inputs: Inputs) -> Any:
    """What the model gives: it is called itself, so that its hooks run."""
    return model(*inputs.args, **inputs.named)
