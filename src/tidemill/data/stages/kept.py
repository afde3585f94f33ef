"""Stages that read all there is before they give anything, and keep on disk what memory does not hold.

Their anchor (`stages/anchored.py`) moves as files are written: what is in these is not read again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from tidemill.data.failing.policy import Policy
from tidemill.data.reader import Broken
from tidemill.data.records.origin import Origin
from tidemill.data.stages.anchored import Anchor, AnchoredStage, Feed, link_stage
from tidemill.data.stages.stage import Stage
from tidemill.errors import ResourceError
from tidemill.protocols import State


class KeptStage(AnchoredStage):
    """A stage of which nothing says what record that which it gives came from."""

    def spot(self) -> Any:
        return None

    def describe(self, spot: Any) -> Origin:
        return Origin("").through(self.step)

    def explain(self) -> Origin:
        return self.origin()

    def gathers(self) -> bool:
        return False

    def close(self) -> None:
        self.feeder.close()
        super().close()


def open_kept(upstream: Stage, index: int, step: str, feed: Feed, mark: State | None, policy: Policy) -> Stage:
    """The stage of a step that gathers on disk, going on from its `mark`."""
    own, given = (mark["own"], mark["given"]) if mark else (None, 0)
    anchor = Anchor(upstream, own, given, step, policy)
    return link_stage(KeptStage, lambda front, at: guard_feed(feed(front, at), step), anchor, index, step)


def guard_feed(links: Generator[Iterator[Any]], step: str) -> Generator[Iterator[Any]]:
    """The links; what ends them, a full disk or a lost file, is raised each time that more is asked for."""
    failed: Iterator[Any]
    try:
        yield from links
        return
    except GeneratorExit:
        raise
    except OSError as error:
        told = ResourceError(f"the step's folder fails: {error}", where=f"step `{step}`")
        told.__cause__ = error
        failed = Broken(told)
    except BaseException as error:  # noqa: BLE001 - raised by the chain
        failed = Broken(error)
    while True:
        yield failed
