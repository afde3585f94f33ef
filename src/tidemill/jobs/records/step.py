"""A record-wise step as a job's reader and workers apply it: its function, and what that gives."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tidemill.data.failing.failures import exit_error, stop_iteration_error
from tidemill.data.nodes.node import Node
from tidemill.data.steps.functions import is_async, is_beside, iter_children, record_function
from tidemill.errors import WorkerError

USER_ERRORS = (Exception, SystemExit, KeyboardInterrupt)
"""What a user's function may raise to fail its record; real interrupts never come to the threads of a run."""


class Shape(enum.Enum):
    """What a step's function gives for one record."""

    ONE = "the record that replaces it"
    KEEP = "whether it is kept"
    MANY = "the records that replace it"


@dataclass(frozen=True, slots=True)
class RecordStep:
    """A record-wise node that makes no calls, as a function of one record.

    Attributes:
        is_beside: whether it must be called in the thread beside the loop, where what it uses was entered.
    """

    name: str
    shape: Shape
    apply: Callable[[Any], Any]
    is_async: bool = False
    is_beside: bool = False

    def iter_children(self, result: Any) -> Iterator[Any]:
        """The children in what a `flat_map` function gave."""
        return iter_children(result, self.name)

    def explain(self, error: BaseException) -> BaseException:
        """`error`, or what it means when the function raised what would end more than its record."""
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            return exit_error(error, self.name)
        if isinstance(error, StopIteration):
            return stop_iteration_error(self.name)
        if isinstance(error, (RuntimeError, WorkerError)) and isinstance(error.__cause__, StopIteration):
            return stop_iteration_error(self.name)
        return error


def compile_step(node: Node, name: str) -> RecordStep:
    """The function of `node`.

    Raises:
        ConfigError: the step is not one function of one record.
    """
    apply = record_function(node, name)
    shape = Shape.KEEP if node.keeps else Shape.MANY if node.gives_many else Shape.ONE
    return RecordStep(name, shape, apply, is_async(node), is_beside(node))
