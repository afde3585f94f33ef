"""The folder that a step keeps things in, on disk, while it is gone through.

A step's folder is named after the step and what stands in front of it, so that any number of steps and pipelines may
have one `dir`. What is in it follows from the records, and nothing there is changed once a state may name it: iterators
that are at different places of one stream, in one process or several, share it. What they write twice is the same.
Two streams that look the same and are not (a list in the place of another) write over each other: each file says what
it was made from, so that whoever comes for the other's is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.nodes.across import Shuffle
from tidemill.data.nodes.keeping import KeepingNode
from tidemill.data.nodes.node import Node
from tidemill.disk import Disk
from tidemill.errors import ConfigError, ResourceError, StateError
from tidemill.protocols import RecordIterator, Source

_STEP_FOLDER = re.compile(r"[a-z_]+-[0-9a-f]{16}(-epoch(-\d+)+)?")


class KeptFolder:
    """Where one step keeps things. Nothing is made before something is written.

    Attributes:
        path: the folder.
        step: the step's name, for errors.
        disk: what does the durable operations.
    """

    def __init__(self, path: Path, step: str, disk: Disk) -> None:
        self.path = path
        self.step = step
        self.disk = disk
        self._is_made = False

    def make(self) -> Path:
        """The folder, which is there now.

        Raises:
            ResourceError: it cannot be made.
        """
        if not self._is_made:
            try:
                self.disk.make_folder(self.path)
            except OSError as error:
                raise ResourceError(
                    f"the step's folder cannot be made: {error.strerror or error}: {self.path}",
                    where=f"step `{self.step}`",
                ) from error
            self._is_made = True
        return self.path

    @contextmanager
    def create_file(self, name: str) -> Iterator[BinaryIO]:
        """A new file in the folder, or in the place of that name: there whole and for good, or not at all.

        Others may write one of that name at the same time.

        Raises:
            ResourceError: the disk is full or fails.
        """
        own = self.make() / f"{name}.{os.getpid()}-{id(self):x}"
        with self.explaining():
            with self.disk.create_file(own) as file:
                yield file
            self.disk.perform("rename", self.path / name, lambda: os.replace(own, self.path / name))
            self.disk.sync_folder(self.path)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Have what the disk fails with be the run's failure, and no record's.

        Raises:
            ResourceError: the disk is full or fails.
        """
        try:
            yield
        except OSError as error:
            raise ResourceError(
                f"the step's folder fails: {error.strerror or error}: {error.filename or self.path}",
                where=f"step `{self.step}`",
            ) from error

    def lost(self, name: str) -> StateError:
        """The error of a state whose file is gone, or was written over."""
        return StateError(
            f"what the state names in the step's folder is not there, or not as it was: {self.path / name}",
            where=f"step `{self.step}`",
            hint="put the folder back as it was, or start without a state; streams that differ need a `dir` each",
        )


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where the steps of a pipeline keep things.

    Attributes:
        source: where records come from.
        describe: the source and each step: what a folder's contents follow from.
        iterate: the records of another stream, a source and its steps.
        disk: what does the durable operations.
    """

    source: Source
    describe: Callable[[], Sequence[Sequence[Any]]]
    iterate: Callable[[Source, Sequence[Node]], RecordIterator]
    disk: Disk = field(default_factory=Disk)

    def find_folder(self, nodes: Sequence[Node], names: Sequence[str], epoch: tuple[int, ...]) -> KeptFolder:
        """That of the last of these steps, in one of several times that the source is gone through.

        Raises:
            ConfigError: the step names none.
        """
        node, name = nodes[-1], names[-1]
        if not isinstance(node, KeepingNode) or node.dir is None:
            raise ConfigError(
                f"`{node.kind}` keeps on disk what is more than memory holds, and is told no folder",
                where=f"step `{name}`",
                hint='name one: dir="…"; a job has its run folder for it',
            )
        described = [list(each) for each in self.describe()[: len(nodes) + 1]]
        inside = f"{node.kind}-{fingerprint_json([described, node.describe_kept()])[:16]}"
        if epoch and any(isinstance(each, Shuffle) for each in nodes):
            inside += "-epoch-" + "-".join(map(str, epoch))
        return KeptFolder(Path(node.dir).expanduser() / inside, name, self.disk)


def list_kept(folder: Path) -> list[Path]:
    """The folders of steps in a `dir`."""
    return [path for path in sorted(folder.glob("*")) if _STEP_FOLDER.fullmatch(path.name) and path.is_dir()]
