"""Formats whose files are written once: their head, foot or directory says all that is in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from tidemill.data.files import stat_file
from tidemill.data.formats.broken import open_broken
from tidemill.data.formats.format import PLAIN, Options
from tidemill.data.reader import PartReader
from tidemill.errors import DataError, StateError
from tidemill.protocols import Growth, State


class WrittenOnce(ABC):
    """What such formats share, as a `Format`: a file is whole or it is one error, and a state is of that very file."""

    compressible = False

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> PartReader:
        if state is not None and self.compare(path, state) not in ("same", "grown"):
            raise StateError(
                "the file is another than the one the state was taken of",
                where=str(path),
                hint="put the file back as it was, or start without a state",
            )
        try:
            return self._open_whole(path, state, options)
        except DataError as error:
            return open_broken(error, stat_file(path), state, options.share)

    @abstractmethod
    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        """Whether the file, up to `state`, is as it was."""

    @abstractmethod
    def _open_whole(self, path: Path, state: State | None, options: Options) -> PartReader:
        """The records of a file that is the one of `state`.

        Raises:
            DataError: the file is none of this format.
            ResourceError: it cannot be opened.
        """
