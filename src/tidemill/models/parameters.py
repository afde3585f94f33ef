"""Parameters of a request that each record sets itself, in a column."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from tidemill.config.coercion import ConfigRules
from tidemill.config.model import Config
from tidemill.config.numbers import check_int64
from tidemill.config.words import describe_value
from tidemill.data.columns import missing_column
from tidemill.errors import DataError
from tidemill.protocols import Record


class FromColumn(Config):
    """A parameter that stands in a column of each record; where it is null there, it is not sent.

    Attributes:
        column: the column.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"column": "name"}]})

    column: str


MaxTokens = Annotated[int, Field(ge=1), AfterValidator(check_int64)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, AfterValidator(check_int64)]
Stop = tuple[str, ...]

KINDS: Mapping[str, Any] = {
    "max_tokens": MaxTokens,
    "temperature": Temperature,
    "top_p": TopP,
    "seed": Seed,
    "stop": Stop,
}
"""The parameters that a step names itself, and what each may be."""


def read_parameters(columns: Mapping[str, str], record: Record) -> dict[str, Any]:
    """The parameters that `record` sets, each by the column it stands in; those that are null are left out.

    Raises:
        DataError: there is no such column, or what stands there cannot be the parameter; names both.
    """
    found = {}
    for name, column in columns.items():
        if column not in record:
            raise missing_column(column, record)
        value = record[column]
        if value is None:
            continue
        try:
            found[name] = _adapter(name).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise DataError(
                f"column `{column}` cannot be `{name}`: {reason[:1].lower()}{reason[1:]}, got {describe_value(value)}"
            ) from None
    return found


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    kind: Any = Annotated[KINDS[name], ConfigRules()]
    return TypeAdapter(kind)
