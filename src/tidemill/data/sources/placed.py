"""Sources that a job file describes, and that find their files from its folder on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from tidemill.config.model import Settings
from tidemill.data.files import AnyPath, find_local, is_url, strip_local


class PlacedSource(Settings):
    """A source whose relative paths start at the folder of its job file, else the current one.

    Two of equal settings in other folders are two.
    """

    _folder: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        folder = context.get("folder") if isinstance(context, Mapping) else None
        self._folder = None if folder is None else Path(folder)

    def _write_path(self, path: AnyPath, written: str) -> str:
        """The path of a file as its source is `written`: relative where that is, to the same folder."""
        local, text = find_local(path), strip_local(written)
        if local is None or is_url(text) or os.path.isabs(os.path.expanduser(text)):
            return str(path)
        return Path(os.path.relpath(local, self._folder or Path.cwd())).as_posix()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and super().__eq__(other) and self._folder == other._folder

    def __hash__(self) -> int:
        return hash((type(self), self._folder))
