"""What files that are not on this machine share, open for reading."""

from __future__ import annotations

import io
from abc import abstractmethod


class FileElsewhere(io.RawIOBase):
    """A file that is read from its reader's position on; going to another fetches nothing."""

    _position = 0

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        start = self._find_size() if whence == io.SEEK_END else self._position if whence == io.SEEK_CUR else 0
        self._position = start + position
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._drop()
            super().close()

    @abstractmethod
    def _find_size(self) -> int:
        """The file's size in bytes.

        Raises:
            ResourceError: nobody tells it.
        """

    @abstractmethod
    def _drop(self) -> None:
        """Let go of what is open, if opening went that far."""
