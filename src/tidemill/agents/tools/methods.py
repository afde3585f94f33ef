"""`ToolMethod`: a method that is a tool of each instance, or of its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tidemill.agents.tools.tool import Tool


class ToolMethod:
    """Stands in a class where `tm.tool` made a method a tool; taken of an instance it is the `Tool` bound to that.

    A subclass that overrides the method says itself whether its own is a tool; `super().name(…)` calls the one that
    was overridden.
    """

    def __init__(self, tool: Tool, method: Callable[..., Any]) -> None:
        self._tool = tool
        self._method: Any = method
        self.__doc__ = method.__doc__
        self.__name__ = tool.name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None and not isinstance(self._method, classmethod):
            return self
        return replace(self._tool, function=self._method.__get__(instance, owner))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the method gives, called through its class as if it were no tool."""
        return self._method(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<method {self.__name__} as a tool: take it of an instance>"
