"""What tests of Tidemill, and of what users build on it, are made with.

A whole job on scripted replies (`run`), virtual time (`run_virtual`), scripted replies (`ScriptedTransport`), a real
loopback server with faults (`FaultServer`, `FaultProcess`), disks that crash (`CrashDisk`) and an accelerator without
hardware (`FakeDevice`). Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.exports import export

if TYPE_CHECKING:
    from tidemill.testing.clock import FakeClock as FakeClock
    from tidemill.testing.clock import VirtualLoop as VirtualLoop
    from tidemill.testing.clock import run_virtual as run_virtual
    from tidemill.testing.crash import Crash as Crash
    from tidemill.testing.crash import CrashDisk as CrashDisk
    from tidemill.testing.crash import FullDisk as FullDisk
    from tidemill.testing.crash import Snapshot as Snapshot
    from tidemill.testing.crash import StoppingDisk as StoppingDisk
    from tidemill.testing.delivery import Delivery as Delivery
    from tidemill.testing.device import FakeDevice as FakeDevice
    from tidemill.testing.faults import FaultProcess as FaultProcess
    from tidemill.testing.faults import FaultServer as FaultServer
    from tidemill.testing.load.plan import Capacity as Capacity
    from tidemill.testing.load.plan import Latency as Latency
    from tidemill.testing.load.plan import Load as Load
    from tidemill.testing.load.plan import Outage as Outage
    from tidemill.testing.load.plan import Queue as Queue
    from tidemill.testing.load.plan import Quota as Quota
    from tidemill.testing.load.plan import Steps as Steps
    from tidemill.testing.plan import Call as Call
    from tidemill.testing.plan import Fault as Fault
    from tidemill.testing.plan import Faults as Faults
    from tidemill.testing.rehearsal import Rehearsal as Rehearsal
    from tidemill.testing.rehearsal import run as run
    from tidemill.testing.script import Asked as Asked
    from tidemill.testing.script import UnansweredError as UnansweredError
    from tidemill.testing.scripted import STALL as STALL
    from tidemill.testing.scripted import ScriptedTransport as ScriptedTransport
    from tidemill.testing.scripted import chat_response as chat_response
    from tidemill.testing.scripted import error_response as error_response
    from tidemill.testing.tool_calls import ToolCalls as ToolCalls

__all__, __getattr__, __dir__ = export(
    __name__,
    {
        "clock": "FakeClock VirtualLoop run_virtual",
        "crash": "Crash CrashDisk FullDisk Snapshot StoppingDisk",
        "delivery": "Delivery",
        "device": "FakeDevice",
        "faults": "FaultProcess FaultServer",
        "load.plan": "Capacity Latency Load Outage Queue Quota Steps",
        "plan": "Call Fault Faults",
        "rehearsal": "Rehearsal run",
        "script": "Asked UnansweredError",
        "scripted": "STALL ScriptedTransport chat_response error_response",
        "tool_calls": "ToolCalls",
    },
)
