"""`ToolMethod`: a method that is a tool of each instance, or of its class."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from tidemill.agents.tools.tool import Tool

_lock = threading.Lock()
"""Guards the tools below."""
_bound: WeakValueDictionary[tuple[int, int], Tool] = WeakValueDictionary()
"""By the ids of a tool's signature and of what it is bound to, both of which the tool keeps."""


class ToolMethod:
    """Stands in a class where `tm.tool` made a method a tool; taken of an instance it is the `Tool` bound to that.

    It is the same one each time, as long as anybody holds it: all who have it share its `concurrency`. Any thread may
    take it.

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
        function = self._method.__get__(instance, owner)
        key = id(self._tool.signature), id(function.__self__)
        with _lock:
            known = _bound.get(key)
            if known is None:
                known = _bound[key] = replace(self._tool, function=function)
        return known

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the method gives, called through its class as if it were no tool."""
        return self._method(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<method {self.__name__} as a tool: take it of an instance>"
