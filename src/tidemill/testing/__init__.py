"""What tests of Tidemill, and of what users build on it, are made with.

A whole job on scripted replies (`run`), virtual time (`run_virtual`), scripted replies (`ScriptedTransport`), a real
loopback server with faults (`FaultServer`, `FaultProcess`), disks that crash (`CrashDisk`) and an accelerator without
hardware (`FakeDevice`). Names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.testing.clock import FakeClock, VirtualLoop, run_virtual
    from tidemill.testing.crash import Crash, CrashDisk, FullDisk, Snapshot, StoppingDisk
    from tidemill.testing.delivery import Delivery
    from tidemill.testing.device import FakeDevice
    from tidemill.testing.faults import FaultProcess, FaultServer
    from tidemill.testing.load.plan import Capacity, Latency, Load, Outage, Queue, Quota, Steps
    from tidemill.testing.plan import Call, Fault, Faults
    from tidemill.testing.rehearsal import Rehearsal, run
    from tidemill.testing.script import Asked, UnansweredError
    from tidemill.testing.scripted import STALL, ScriptedTransport, chat_response, error_response
    from tidemill.testing.tool_calls import ToolCalls

_MODULES = {
    "FakeClock": "clock",
    "VirtualLoop": "clock",
    "run_virtual": "clock",
    "Crash": "crash",
    "CrashDisk": "crash",
    "FullDisk": "crash",
    "Snapshot": "crash",
    "StoppingDisk": "crash",
    "Capacity": "load.plan",
    "Delivery": "delivery",
    "FakeDevice": "device",
    "FaultProcess": "faults",
    "FaultServer": "faults",
    "Call": "plan",
    "Fault": "plan",
    "Faults": "plan",
    "Rehearsal": "rehearsal",
    "run": "rehearsal",
    "Asked": "script",
    "UnansweredError": "script",
    "Latency": "load.plan",
    "Load": "load.plan",
    "Outage": "load.plan",
    "Queue": "load.plan",
    "Quota": "load.plan",
    "Steps": "load.plan",
    "STALL": "scripted",
    "ToolCalls": "tool_calls",
    "ScriptedTransport": "scripted",
    "chat_response": "scripted",
    "error_response": "scripted",
}

__all__ = [
    "STALL",
    "Asked",
    "Call",
    "Capacity",
    "Crash",
    "CrashDisk",
    "Delivery",
    "FakeClock",
    "FakeDevice",
    "Fault",
    "FaultProcess",
    "FaultServer",
    "Faults",
    "FullDisk",
    "Latency",
    "Load",
    "Outage",
    "Queue",
    "Quota",
    "Rehearsal",
    "ScriptedTransport",
    "Snapshot",
    "Steps",
    "StoppingDisk",
    "ToolCalls",
    "UnansweredError",
    "VirtualLoop",
    "chat_response",
    "error_response",
    "run",
    "run_virtual",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
