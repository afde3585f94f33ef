"""Runs a `predict` step: its records through a model of this process, many at a time."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from pydantic_core import PydanticCustomError

from tidemill.config.types.functions import check_no_forward
from tidemill.data.records.columns import no_columns, read_column
from tidemill.data.steps.functions import copy_record
from tidemill.errors import DataError, ResourceError
from tidemill.models.steps.calling import Ask, hook_run
from tidemill.models.steps.predict import Predict
from tidemill.models.torch.running.batch import Size
from tidemill.models.torch.running.gathering import Gathering
from tidemill.models.torch.running.inputs import Preparing
from tidemill.models.torch.running.modules import find_module, put_on_device, stands_on
from tidemill.models.torch.running.outputs import to_plain
from tidemill.models.torch.running.place import Place, find_default_device, find_place
from tidemill.models.torch.running.replica import Loaded, Replica
from tidemill.protocols import Record


class Predictor:
    """Runs one `Predict` node. Belongs to one loop; the model is loaded by the first record that comes.

    Args:
        name: the step's name.
        find_place: finds where a model runs.
    """

    def __init__(self, node: Predict, name: str, *, find_place: Callable[[Any], Place] = find_place) -> None:
        self._node = node
        self._find_place = find_place
        self._hooked = hook_run(self._run, node.bound_hooks)
        self._replicas = [self._make_replica(place) for place in range(len(node.devices or ("",)))]
        self.gathering = Gathering(self._replicas, name)

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with what the model gives for it in its column; the step's hooks are called around it.

        Raises:
            DataError: the record lacks the column, or it is no input of the model.
            ResourceError: the model cannot be loaded, or its device is lost.
            WorkerError: the model gave something else than a result for each record.
            Exception: whatever the model, `prepare` or `finish` raised for this record alone.
        """
        return self._hooked(record, ask)

    async def close(self) -> None:
        """Put the model back and end its threads, once what they are at has ended."""
        await self.gathering.close()

    def describe(self) -> dict[str, dict[str, Any]]:
        """What each device computed so far, as JSON, by its name; of those that began."""
        described: dict[str, dict[str, Any]] = {}
        for replica in self._replicas:
            if replica.place is not None:
                name, number = replica.place.name, 1
                while name in described:
                    number += 1
                    name = f"{replica.place.name}#{number}"
                described[name] = replica.describe()
        return described

    async def _run(self, record: Record, ask: Ask) -> Record:
        value = self._read(record)
        result = await self.gathering.run(value, self._count_tokens(value))
        return {**record, self._node.into: result}

    def _read(self, record: Record) -> Any:
        if not isinstance(record, dict):
            raise no_columns(record)
        return copy_record(record) if self._node.column is None else read_column(record, self._node.column)

    def _count_tokens(self, value: Any) -> int:
        if self._node.batch_tokens is None:
            return 0
        try:
            return len(value)
        except TypeError:
            raise DataError(
                f"expected a list of ids, whose tokens `batch_tokens` counts, got a {type(value).__name__}",
                where=f"column `{self._node.column}`",
            ) from None

    def _make_replica(self, place: int) -> Replica:
        node = self._node
        return Replica(
            "" if node.devices is None else node.devices[place],
            partial(self._load, place),
            prepare=self._prepare,
            finish=to_plain if node.finish is None else node.finish,
            inference=node.inference,
            size=Size(node.batch, node.batch_tokens),
        )

    def _prepare(self, model: Any) -> Preparing:
        node = self._node
        if node.column is None and node.prepare is None and find_module(model) is not None:
            raise ResourceError(
                "a torch module takes tensors, and the step names no column that they are made of",
                hint="set `column`, or `prepare`, a function of the list of records that gives the model's input",
            )
        return Preparing(model, prepare=node.prepare, column=node.column, pad=node.pad)

    def _load(self, place: int) -> Loaded:
        """The model for one device, and where it stands there; in the thread that is to compute."""
        devices = self._node.devices
        device = None if devices is None else devices[place]
        model = self._make_model(device)
        if device is not None:
            # The first device that the model stands on has the model itself, each further one a copy.
            is_first = devices is not None and device not in devices[:place]
            is_loaded = self._node.load is not None
            if not (stands_on(model, device) and (is_first or is_loaded)):
                model = put_on_device(model, device, is_own=is_loaded)
        return Loaded(model, self._find_place(model))

    def _make_model(self, device: str | None) -> Any:
        if self._node.load is None:
            return self._node.model
        model = self._node.load(*_iter_device(self._node.load, device))
        if not callable(model):
            raise ResourceError(f"expected a model from `load`, got a {type(model).__name__}")
        try:
            check_no_forward(model)
        except PydanticCustomError as error:
            raise ResourceError(error.message(), hint=(error.context or {}).get("hint", "")) from None
        return model


def _iter_device(load: Callable[..., Any], device: str | None) -> Iterator[str]:
    """The device's name, where `load` has a parameter for it; where none was named, only if it must have one."""
    try:
        parameters = list(inspect.signature(load).parameters.values())
    except (ValueError, TypeError):  # one written in C that tells nothing of itself
        return
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if not places:
        return
    if device is not None:
        yield device
    elif places[0].default is places[0].empty:
        yield find_default_device()
