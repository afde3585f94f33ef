"""Whether a record is of the model that the sink was given for whole records."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from tidemill.errors import DataError
from tidemill.jobs.landing.shape import find_no_record
from tidemill.models.structured.checking import explain_misfits
from tidemill.protocols import Record

SHOWN_MISFITS = 5
"""Failing paths that an error names."""


class Judge:
    """Judges records by one Pydantic model, in the strict JSON form that replies have; changes none.

    Texts stand for dates, decimals and enumerations, whole numbers for floats; nothing else is taken for another type.
    A column may go by its field's name or alias.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._validate = model.__pydantic_validator__.validate_json
        # A column of Parquet goes by the alias for writing, which validation does not know.
        fields = model.model_fields.items()
        self._names = {field.serialization_alias: name for name, field in fields if field.serialization_alias}

    def find_misfit(self, record: Record) -> DataError | None:
        """Why `record` is not of the model, with the failing paths; None when it is."""
        misfit = find_no_record(record)
        if misfit is not None:
            return misfit
        if self._names:
            record = {self._names.get(name, name): value for name, value in record.items()}
        text = b""
        try:
            text = to_json(record, inf_nan_mode="constants", fallback=_to_plain)
            self._validate(text, strict=True, by_alias=True, by_name=True)
        except ValidationError as exc:
            lines = explain_misfits(exc, self._model, text)
            more = f"; and {len(lines) - SHOWN_MISFITS} more" if len(lines) > SHOWN_MISFITS else ""
            return DataError(
                f"the record is not of sink.schema: {'; '.join(lines[:SHOWN_MISFITS])}{more}",
                hint="mend the step that made it, or loosen the model",
            )
        except PydanticSerializationError as exc:
            return DataError(f"the record has no JSON form for sink.schema to judge: {exc}")
        except Exception as exc:  # noqa: BLE001 - a validator of the user's may raise anything: the record's failure
            return DataError(f"sink.schema fails on the record: {type(exc).__name__}: {exc}")
        return None


def _to_plain(value: Any) -> Any:
    """NumPy's values as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")
