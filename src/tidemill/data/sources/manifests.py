"""The manifests of the folders that files lie in: which files a run sealed, and which a killed one left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.data.files import AnyPath, RemotePath
from tidemill.data.sources.versions import is_part_name, load_version


class Manifests:
    """Those of the folders below `root`, each read when the first file there is come to that is named as a part is.

    Kept once read, so that all files of a folder are judged by the same one. Not for several threads at once.
    """

    def __init__(self, root: AnyPath) -> None:
        self._root = replace(root, codec=None) if isinstance(root, RemotePath) else root
        self._known: dict[str, tuple[Mapping[str, Any] | None, frozenset[str]]] = {}

    def is_leftover(self, name: str) -> bool:
        """Whether a file is named as a part, and the manifest beside it does not name it.

        Raises:
            StateError: the manifest cannot be read.
        """
        manifest, parts = self._find(name)
        return manifest is not None and name.rpartition("/")[2] not in parts

    def find_parts(self, name: str) -> frozenset[str]:
        """The names of all parts of the folder, of a file that is named as a part; none where no manifest is beside it.

        Raises:
            StateError: the manifest cannot be read.
        """
        return self._find(name)[1]

    def find_output(self, name: str) -> tuple[AnyPath, str] | None:
        """The output folder that a file is a part of, and the folder's version; None where it is none.

        Raises:
            StateError: the manifest cannot be read.
        """
        manifest, parts = self._find(name)
        folder, _, last = name.rpartition("/")
        return (self._locate(folder), manifest["hash"]) if manifest is not None and last in parts else None

    def _find(self, name: str) -> tuple[Mapping[str, Any] | None, frozenset[str]]:
        folder, _, last = name.rpartition("/")
        is_web = isinstance(self._root, RemotePath) and self._root.is_web  # whose server tells of no folders
        if is_web or not is_part_name(last):
            return None, frozenset()
        if folder not in self._known:
            manifest = load_version(self._locate(folder))
            parts = () if manifest is None else manifest["parts"]
            self._known[folder] = manifest, frozenset(part["name"] for part in parts)
        return self._known[folder]

    def _locate(self, folder: str) -> AnyPath:
        return self._root / folder if folder else self._root
