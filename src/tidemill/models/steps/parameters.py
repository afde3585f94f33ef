"""Parameters of a request: those that have names, those that a record sets in a column, those that none may set."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from tidemill.config.coercion.conversions import to_int64
from tidemill.config.coercion.table import ConfigRules
from tidemill.config.model import Settings
from tidemill.config.wording.words import describe_value
from tidemill.data.records.columns import missing_column
from tidemill.errors import DataError
from tidemill.protocols import Record


class FromColumn(Settings):
    """A parameter that stands in a column of each record; where it is null there, it is not sent.

    Attributes:
        column: the column.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"column": "name"}]})

    column: str


MaxTokens = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Seed = int
Stop = tuple[str, ...]

KINDS: Mapping[str, Any] = {
    "max_tokens": MaxTokens,
    "temperature": Temperature,
    "top_p": TopP,
    "seed": Seed,
    "stop": Stop,
}
"""The parameters that a step or a question names itself, and what each may be."""

_OWN = "it has a word of its own"
_REFUSED: Mapping[str, str] = {
    "model": _OWN,
    "messages": _OWN,
    "response_format": _OWN,
    "n": "a call has one reply, and the `n` of a step makes as many calls",
    "best_of": "a call has one reply, and further ones would be billed and thrown away",
    "stream": "a reply that comes piece by piece is asked for with `stream`",
}
"""Fields of a chat request's body that `params` must not set, each with its reason."""


def check_params(own: Collection[str], model: Collection[str], named: Collection[str]) -> None:
    """Refuse fields of a chat request's body that are said in another way.

    Args:
        own: the fields that the `params` of the step or question set.
        model: those that its model's `params` set.
        named: the parameters that it names itself.

    Raises:
        PydanticCustomError: one of them; its path is that in `params`, or the model's.
    """
    reasons = {**_REFUSED, **dict.fromkeys(named, "it is set by its own name as well")}
    for params, whose in ((own, "`params`"), (model, "the model's `params`")):
        for key in params:
            if key in reasons:
                path = ("params", key) if params is own else ("model",)
                context = {"whose": whose, "key": key, "reason": reasons[key], "path": path}
                raise PydanticCustomError("params_key", "{whose} must not set `{key}`: {reason}", context)


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
    kind: Any = Annotated[KINDS[name], ConfigRules(to_int64)]
    return TypeAdapter(kind)
