"""Which steps of a dataset give a dataset again, as type checkers see it; at run time `make_stream` finds the class."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from tidemill.stream.stream import Stream

if TYPE_CHECKING:
    from tidemill.data.nodes.images import Channels, Fit
    from tidemill.data.nodes.node import OnError
    from tidemill.stream.dataset import Dataset
    from tidemill.stream.functions import OfRecord
    from tidemill.stream.record_steps import On

    Keeps = Literal["raise", "quarantine"]  # with `skip`, records may be missing

T = TypeVar("T")
U = TypeVar("U")


class DatasetSteps(Stream[T]):
    """The steps of a stream, some of which give datasets here."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def map(
            self,
            fn: OfRecord[T, Awaitable[U]],
            *,
            concurrency: int = ...,
            on: On | None = ...,
            ordered: Literal[True] = ...,
            name: str | None = ...,
            on_error: Keeps | None = ...,
        ) -> Dataset[U]: ...
        @overload
        def map(
            self,
            fn: OfRecord[T, U],
            *,
            concurrency: int = ...,
            on: On | None = ...,
            ordered: Literal[True] = ...,
            name: str | None = ...,
            on_error: Keeps | None = ...,
        ) -> Dataset[U]: ...
        @overload
        def map(
            self,
            fn: OfRecord[T, Awaitable[U]],
            *,
            concurrency: int = ...,
            on: On | None = ...,
            ordered: bool = ...,
            name: str | None = ...,
            on_error: OnError | None = ...,
        ) -> Stream[U]: ...
        @overload
        def map(
            self,
            fn: OfRecord[T, U],
            *,
            concurrency: int = ...,
            on: On | None = ...,
            ordered: bool = ...,
            name: str | None = ...,
            on_error: OnError | None = ...,
        ) -> Stream[U]: ...
        def map(self, fn: OfRecord[T, Any], **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def with_columns(
            self, *, name: str | None = ..., on_error: Keeps | None = ..., **columns: OfRecord[T, Any]
        ) -> Dataset[T]: ...
        @overload
        def with_columns(
            self, *, name: str | None = ..., on_error: OnError | None, **columns: OfRecord[T, Any]
        ) -> Stream[T]: ...
        def with_columns(self, **columns: Any) -> Any: ...

        @overload  # type: ignore[override]
        def select(self, *columns: str, name: str | None = ..., on_error: Keeps | None = ...) -> Dataset[T]: ...
        @overload
        def select(self, *columns: str, name: str | None = ..., on_error: OnError | None) -> Stream[T]: ...
        def select(self, *columns: str, **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def drop(self, *columns: str, name: str | None = ..., on_error: Keeps | None = ...) -> Dataset[T]: ...
        @overload
        def drop(self, *columns: str, name: str | None = ..., on_error: OnError | None) -> Stream[T]: ...
        def drop(self, *columns: str, **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def rename(
            self, columns: Mapping[str, str], *, name: str | None = ..., on_error: Keeps | None = ...
        ) -> Dataset[T]: ...
        @overload
        def rename(
            self, columns: Mapping[str, str], *, name: str | None = ..., on_error: OnError | None
        ) -> Stream[T]: ...
        def rename(self, columns: Mapping[str, str], **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def observe(
            self, fn: OfRecord[T, object], *, name: str | None = ..., on_error: Keeps | None = ...
        ) -> Dataset[T]: ...
        @overload
        def observe(
            self, fn: OfRecord[T, object], *, name: str | None = ..., on_error: OnError | None
        ) -> Stream[T]: ...
        def observe(self, fn: OfRecord[T, object], **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def tokenize(
            self,
            tokenizer: OfRecord[str, Any] | str | PathLike[str],
            *,
            column: str = ...,
            into: str = ...,
            append_eos: bool | int | str = ...,
            max_tokens: int | None = ...,
            name: str | None = ...,
            on_error: Keeps | None = ...,
        ) -> Dataset[T]: ...
        @overload
        def tokenize(
            self,
            tokenizer: OfRecord[str, Any] | str | PathLike[str],
            *,
            column: str = ...,
            into: str = ...,
            append_eos: bool | int | str = ...,
            max_tokens: int | None = ...,
            name: str | None = ...,
            on_error: OnError | None,
        ) -> Stream[T]: ...
        def tokenize(self, tokenizer: Any, **options: Any) -> Any: ...

        @overload  # type: ignore[override]
        def decode_image(
            self,
            column: str = ...,
            *,
            into: str | None = ...,
            size: tuple[int, int] | None = ...,
            fit: Fit = ...,
            mode: Channels = ...,
            frames: int | None = ...,
            max_pixels: int = ...,
            max_bytes: int = ...,
            concurrency: int = ...,
            name: str | None = ...,
            on_error: Keeps | None = ...,
        ) -> Dataset[T]: ...
        @overload
        def decode_image(
            self,
            column: str = ...,
            *,
            into: str | None = ...,
            size: tuple[int, int] | None = ...,
            fit: Fit = ...,
            mode: Channels = ...,
            frames: int | None = ...,
            max_pixels: int = ...,
            max_bytes: int = ...,
            concurrency: int = ...,
            name: str | None = ...,
            on_error: OnError | None,
        ) -> Stream[T]: ...
        def decode_image(self, column: str = "image", **options: Any) -> Any: ...

        def provide(self, **resources: Any) -> Dataset[T]: ...
        def take(self, count: int, *, name: str | None = None) -> Dataset[T]: ...
        def skip(self, count: int, *, name: str | None = None) -> Dataset[T]: ...
        def every(self, count: int, *, offset: int = 0, name: str | None = None) -> Dataset[T]: ...
        def shard(
            self,
            rank: int,
            world: int,
            *,
            even: Literal["drop", "pad"] | None = None,
            early: bool = False,
            name: str | None = None,
        ) -> Dataset[T]: ...

        @overload
        def concat(self, *others: Dataset[T]) -> Dataset[T]: ...
        @overload
        def concat(self, *others: Stream[T]) -> Stream[T]: ...
        def concat(self, *others: Stream[T]) -> Any: ...

        @overload
        def __add__(self, other: Dataset[T]) -> Dataset[T]: ...
        @overload
        def __add__(self, other: Stream[T]) -> Stream[T]: ...
        def __add__(self, other: Any) -> Any: ...

        @overload
        def zip(self, *others: Dataset[Any], strict: bool = ...) -> Dataset[tuple[Any, ...]]: ...
        @overload
        def zip(self, *others: Stream[Any], strict: bool = ...) -> Stream[tuple[Any, ...]]: ...
        def zip(self, *others: Stream[Any], strict: bool = False) -> Any: ...
