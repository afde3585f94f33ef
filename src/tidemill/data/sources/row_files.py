"""Files whose records have numbers, as a source: an output folder, a folder of files, or one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, field_serializer, field_validator

from tidemill.config.roles import Runtime
from tidemill.data.files import find_local, show_path
from tidemill.data.files.storage import SecretOptions
from tidemill.data.formats.format import Options, Rows
from tidemill.data.formats.table import find_format, get_format
from tidemill.data.reader import PartReader
from tidemill.data.rows.files import FileRows
from tidemill.data.sources.found import FoundFiles, find_dataset
from tidemill.data.sources.placed import PlacedSource
from tidemill.data.sources.rows import ROWS_PART, RowSource
from tidemill.protocols import Growth, State


class RowFiles(PlacedSource, RowSource):
    """Files of one format in a folder, local or on any file system of fsspec; making one touches nothing.

    Which files there are is found out once, by the first that asks: what is written behind that is read by another,
    as by what `renew` gives.
    Frozen, equal by description; pickles without what is open.

    Attributes:
        dataset: an output folder, as its manifest says, or `OUT@HASH`, a version of it for good; a folder of files of
            one format, sorted by name; or one file. A relative path starts at the job file's folder, else the current
            one.
        storage_options: what fsspec opens the file system with: credentials, an endpoint. No part of the fingerprint,
            and secrets among them are never shown or written.
    """

    dataset: str = Field(min_length=1)
    storage_options: Annotated[SecretOptions, Runtime()] = Field(default_factory=dict)

    _columns: tuple[str, ...] | None = PrivateAttr(default=None)
    _found: FoundFiles | None = PrivateAttr(default=None)
    _is_opened: bool = PrivateAttr(default=False)
    _stamp: str | None = PrivateAttr(default=None)
    _stamps: tuple[str, ...] | None = PrivateAttr(default=None)
    _opened: Rows | None = PrivateAttr(default=None)

    @field_validator("dataset", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("dataset")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        """A slash at its end says nothing: `out/` and `out` are one dataset."""
        shorter = value.rstrip("/")
        return value if shorter.endswith(":") else shorter or "/"

    @field_serializer("dataset")
    def _show_dataset(self, value: str) -> str:
        return show_path(value)

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, show_path(value) if name == "dataset" else value

    def locate(self) -> FoundFiles:
        """The files, looked for on first use.

        Raises:
            ConfigError, DataError, ResourceError, StateError: as `find_dataset`.
        """
        if self._found is None:
            self._found = find_dataset(self.dataset, self._folder, self.storage_options)
        return self._found

    def renew(self) -> Self:
        """The same, looked for anew by the first that asks; itself where it was opened: then it has a length."""
        if self._is_opened or self._found is None:
            return self
        renewed = self.model_copy()
        renewed._found = renewed._stamp = renewed._stamps = renewed._opened = None
        return renewed

    def parts(self, start: str | None = None) -> tuple[str, ...]:
        """The one part, once the files are found."""
        self.locate()
        return (ROWS_PART,)

    def open_rows(self) -> Rows:
        found = self.locate()
        open_rows = get_format(found.format).open_rows
        written = partial(self._write_path, written=self.dataset)
        return FileRows(found.locate(), partial(_open_file, open_rows, self._columns, written), found.sizes)

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """All rows, from the first or from `state`, behind which files may have been added."""
        if state is not None and self.compare_part(part, state) == "grown":
            state = {**state, "size": self.rows.count_rows(), "stamp": self.stamp()}
        return super().open_part(part, state)

    def narrow(self, columns: tuple[str, ...]) -> RowSource:
        if "columns" not in get_format(self.locate().format).takes or not set(columns) < set(self.rows.columns()):
            return self
        narrowed = self.model_copy()
        narrowed._columns, narrowed._opened = columns, None
        return narrowed

    def stamp(self) -> str:
        """A checksum of the files' names, sizes, and of their first and last 4 KiB; worked out once.

        Of files elsewhere, of their names, sizes and versions.
        """
        if self._stamp is None:
            self._stamp = self._find_stamps()[-1]
        return self._stamp

    def compare_stamp(self, stamp: str) -> Growth:
        """`grown` where `stamp` is of the first of the files, with others behind them now."""
        return "grown" if stamp in self._find_stamps()[:-1] else "edited"

    def _find_stamps(self) -> tuple[str, ...]:
        """Worked out once: elsewhere each file is asked about."""
        if self._stamps is None:
            self._stamps = tuple(self.locate().iter_stamps())
        return self._stamps

    def would_read(self, path: Path) -> bool:
        """Whether a file of this path, were it there, would be one of them."""
        found = self.locate()
        local = find_local(found.folder)
        is_listed = found.version or found.path != found.folder
        if local is None or is_listed or path.name.startswith((".", "_")) or find_format(path.name) is None:
            return False
        return Path(os.path.abspath(path)).parent == local

    def describe(self) -> dict[str, Any]:
        return {"dataset": show_path(self.dataset)}

    def show(self) -> str:
        return f"dataset({show_path(self.dataset)!r})"

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and isinstance(other, RowFiles) and self._columns == other._columns

    def __hash__(self) -> int:
        return hash((self.dataset, self._folder, self._columns))

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = {**state["__pydantic_private__"], "_opened": None, "_stamps": None}
        return {**state, "__pydantic_private__": private}

    def __deepcopy__(self, memo: object = None) -> Self:
        copied = self.model_copy()
        copied._opened = None
        return copied


def find_row_files(path: str | PathLike[str], storage_options: Mapping[str, Any] | None = None) -> RowFiles:
    """The dataset at `path`, opened: it has the files that are there now, for good.

    Raises:
        ConfigError, DataError, ResourceError, StateError: as `find_dataset`.
    """
    source = RowFiles(dataset=os.fspath(path), storage_options=dict(storage_options or {}))
    source.locate()
    source._is_opened = True
    return source


def _open_file(
    open_rows: Callable[[Path, Options], Rows],
    columns: tuple[str, ...] | None,
    write_path: Callable[[Path], str],
    path: Path,
) -> Rows:
    return open_rows(path, Options(columns=columns, written=write_path(path)))
