"""Agents: tools, checked calls of them, and the loop that goes on until there is an answer.

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.agents.calling.approval import Approve as Approve
    from tidemill.agents.calling.approval import Modify as Modify
    from tidemill.agents.calling.approval import Reject as Reject
    from tidemill.agents.calling.approval import Stop as Stop
    from tidemill.agents.teams import fan_out as fan_out
    from tidemill.agents.tools.refusal import RefusalError as RefusalError
    from tidemill.agents.tools.told import Told as Told

_HOMES = {
    "calling.approval": "Approve Modify Reject Stop",
    "teams": "fan_out",
    "tools.refusal": "RefusalError",
    "tools.told": "Told",
}
_HOME_OF = {name: f"tidemill.agents.{home}" for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - computed from the table above


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
