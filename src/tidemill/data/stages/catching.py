"""The stage of a `catch`: the failures of all that stands in front of it are passed over or put in quarantine."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

from tidemill.data.failing.policy import Losses, Policy, find_step, is_of_record
from tidemill.data.failing.quarantine import QuarantineFile
from tidemill.data.nodes.single import Catch
from tidemill.data.stages.stage import FedStage, Stage
from tidemill.protocols import State


class CatchStage(FedStage):
    """What does not fail; its state is that in front, and how far the quarantine file goes."""

    index: int
    net: _Net

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        if self.net.size_bytes:
            marks["steps"][str(self.index)] = {"bytes": self.net.size_bytes}
        return marks


class _Net:
    """Takes the failures; shared by the stage and the generator that feeds it."""

    def __init__(self, node: Catch, size_bytes: int, losses: Losses) -> None:
        self._node = node
        self._losses = losses
        self._policy = Policy(skips=True, keeps=False, losses=losses)
        self._file: QuarantineFile | None = None
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes if self._file else self._size_bytes

    def open(self) -> None:
        if self._node.to is not None:
            self._file = QuarantineFile(Path(self._node.to).expanduser(), self._size_bytes)

    def takes(self, error: BaseException) -> bool:
        if self._file is None:
            return self._policy.takes(error)
        if not is_of_record(error):
            return False
        self._file.append(error)
        self._losses.quarantined[find_step(error)] += 1
        return True


def open_catch(upstream: Stage, node: Catch, index: int, step: str, mark: State | None, losses: Losses) -> Stage:
    """The stage of a `catch` step, going on from its `mark`."""
    net = _Net(node, mark["bytes"] if mark else 0, losses)
    feeder = _iter_caught(upstream, net)
    stage = cast(CatchStage, CatchStage.from_iterable(feeder))
    stage.feeder = feeder
    stage.upstream = upstream
    stage.step = step
    stage.index = index
    stage.net = net
    return stage


def _iter_caught(upstream: Stage, net: _Net) -> Generator[Iterator[Any]]:
    net.open()
    yield _catch(upstream, net)
    while not upstream.ended():
        yield _catch(upstream, net)


def _catch(upstream: Stage, net: _Net) -> Iterator[Any]:
    """What `upstream` gives, up to an error that is not of a record."""
    while True:
        try:
            for record in upstream:  # noqa: UP028 - `yield from` would close the reader in whatever thread drops it
                yield record
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            if not net.takes(error):
                raise
