"""The steps of a record half as they are entered: in front of its first record, and left behind its last."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from tidemill.data.nodes.node import Node
from tidemill.data.steps.functions import enter_steps, has_managers
from tidemill.resources.scope import Scope
from tidemill.resources.worker import WorkerThread
from tidemill.stores.steps.opened import OpenStores
from tidemill.stores.steps.provided import share_stores


class EnteredSteps:
    """What a record half has entered for its steps: the steps that are context managers, the resources they take.

    Belongs to one loop. What plain functions alone take is entered, called and left in one thread beside it.

    Attributes:
        thread: that thread; None where nothing needs one.
        failures: what could not be left.
    """

    def __init__(self) -> None:
        self.thread: WorkerThread | None = None
        self.failures: tuple[BaseException, ...] = ()
        self._scope: Scope | None = None

    async def enter(self, nodes: Sequence[Node], names: Sequence[str], stores: OpenStores) -> list[Node]:
        """The steps as they are called; `leave` leaves them, also after a failure.

        Args:
            stores: those that steps use, which functions are given, too; closed behind this.

        Raises:
            ResourceError: a step cannot be entered, or a resource that one takes cannot be opened.
        """
        if any(map(has_managers, nodes)):
            self.thread = WorkerThread("functions")
        self._scope = await Scope().__aenter__()
        return await enter_steps(share_stores(nodes, stores), names, self._scope, self.thread)

    async def leave(self) -> None:
        """Leave all, the last first; what fails is kept in `failures`. May be called twice."""
        scope, self._scope = self._scope, None
        if scope is None:
            return
        try:
            with suppress(Exception):  # a release is the user's, and may raise anything
                await scope.__aexit__(None, None, None)
            self.failures = scope.failures
        finally:
            if self.thread is not None:
                self.thread.close(wait=False)
