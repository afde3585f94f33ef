"""`Store`: the frozen settings of a vector store, and the stores that a file can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.objects.descriptions import describe_fields, describe_value
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.protocols import VectorStore

Metric = Literal["cosine", "dot", "l2"]
"""How near two vectors are: by the cosine of their angle, their dot product, or their Euclidean distance."""

_METRICS_ELSEWHERE = ChoicesElsewhere(
    {
        **dict.fromkeys(("cos", "cosine_similarity", "cosine_distance"), "cosine"),
        **dict.fromkeys(("ip", "inner", "inner_product", "dot_product"), "dot"),
        **dict.fromkeys(("euclid", "euclidean"), "l2"),
        "l1": None,
    }
)

FieldKind = Literal["str", "int", "float", "bool"]
"""What a field of a payload holds, for a filter to compare with; `int` is of 64 bits."""

_KINDS_ELSEWHERE = ChoicesElsewhere(
    {
        **dict.fromkeys(("string", "text", "varchar", "keyword"), "str"),
        **dict.fromkeys(("integer", "long", "bigint"), "int"),
        **dict.fromkeys(("double", "number", "real"), "float"),
    }
)

MAX_DIMENSIONS = 65_535


class Store(Settings):
    """What vectors it takes, and where it is. Equal settings are one store: a job opens it once.

    A store of somebody else's derives from it, gives `open`, and is found by its entry point of `tidemill.stores`.

    Attributes:
        dimensions: of its vectors, all of one length.
        metric: how near two of them are.
        fields: of a payload, those that a filter may name, and what each holds. Others are kept and given back.
    """

    dimensions: int = Field(ge=1, le=MAX_DIMENSIONS)
    metric: Annotated[Metric, _METRICS_ELSEWHERE] = "cosine"
    fields: dict[str, Annotated[FieldKind, _KINDS_ELSEWHERE]] = Field(default_factory=dict)

    @field_validator("fields")
    @classmethod
    def _check_fields(cls, fields: dict[str, FieldKind]) -> dict[str, FieldKind]:
        for name in fields:
            if not name.isidentifier():
                message = "expected the name of a field as Python would have it, got {name}"
                raise PydanticCustomError("field_name", message, {"name": repr(name)})
        return fields

    def within(self, folder: Path) -> Self:
        """The same store, its relative paths starting from `folder`."""
        return self

    def find_place(self) -> tuple[str, str]:
        """The folder or address that it is at, without credentials, and its name there; empty where nothing is told."""
        return "", ""

    def describe_result(self) -> dict[str, Any]:
        """What tells it from other stores, without credentials: a run puts records into one, and goes on with that."""
        return {"type": type(self).__name__, **describe_fields(self)}

    def open(self) -> VectorStore:
        """The store, not entered yet: `async with settings.open() as store`.

        Raises:
            ResourceError: the package that it takes is not installed; names the extra.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not say how it is opened: it lacks `open`")


def identify_store(store: Store) -> list[Any]:
    """What tells a store from others, as JSON without credentials, whatever folder its path starts from."""
    return [*store.find_place(), describe_value(store)]
