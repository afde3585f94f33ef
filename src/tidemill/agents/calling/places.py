"""`Places`: where executions of tools run, and those of them that outlived their time limit."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from tidemill.agents.calling.isolation import Processes
from tidemill.agents.tools.tool import Tool
from tidemill.resources.threads import Threads

logger = logging.getLogger(__name__)

MOST_THREADS = 10_000
"""No bound of its own: a tool's lane lets as many executions go as the tool may have, and a tool whose threads are all
held by executions that outlived their time is not called any more. Whoever waited here would wait for one of those."""


class Places:
    """Where executions of tools run beside the loop. Belongs to one loop; all agents of a run share it.

    Args:
        rng: where the jitter between two tries comes from.

    Attributes:
        threads: for plain functions.
        processes: for isolated ones.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.threads = Threads("tool", lambda: MOST_THREADS)
        self.processes = Processes()
        self._left: dict[Tool, list[Callable[[], bool]]] = {}

    def leave(self, tool: Tool, has_ended: Callable[[], bool]) -> None:
        """Note an execution of `tool` that goes on though nobody waits for it any more."""
        self._left.setdefault(tool, []).append(has_ended)
        logger.warning("an execution of the tool %s took no notice of its end, and is still running", tool.name)

    def count_left(self, tool: Tool) -> int:
        """The executions of `tool` that were left and are still running."""
        if tool not in self._left:
            return 0
        running = self._left[tool] = [has_ended for has_ended in self._left[tool] if not has_ended()]
        if not running:
            del self._left[tool]
        return len(running)

    async def close(self) -> None:
        """End the threads, each once its function has returned, which nobody waits for; kill the processes."""
        self.threads.close()
        await self.processes.close()
