"""The types of the functions that steps take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")
T_contra = TypeVar("T_contra", contravariant=True)
U_co = TypeVar("U_co", covariant=True)


class TakingMore(Protocol[T_contra, U_co]):
    """A function of a record that resources are given to besides, by the names of its parameters."""

    def __call__(self, record: T_contra, /, *args: Any, **kwargs: Any) -> U_co: ...


OfRecord = Callable[[T], U] | TakingMore[T, U]
"""A function of a record. Both are named, since type checkers find out the types of a lambda by the first alone."""
