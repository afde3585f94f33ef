"""In a real notebook kernel, whose own loop is running: sync forms work, and its interrupt is the first Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from gate import open_gate
from tidemill.testing import Fault, Faults, FaultServer

CELL_S = 60

SETUP = """
import asyncio
import tidemill as tm
assert asyncio.get_running_loop().is_running()
model = tm.model("openai/any", base_url={base_url!r}, api_key="none", limits=tm.Limits(concurrency=4))
stream = tm.from_iterable(lambda: [{{"id": number}} for number in range(12)]).generate(model, "About {{{{ id }}}}")
"""


class Notebook:
    """A kernel and what its cells print."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def start(self, code: str) -> str:
        """Begin to run a cell; gives its id."""
        return str(self.client.execute(code))

    def wait_for_output(self, cell: str) -> str:
        """What the cell prints next, once it does."""
        message = self.client.get_iopub_msg(timeout=CELL_S)
        while (message["parent_header"].get("msg_id"), message["msg_type"]) != (cell, "stream"):
            message = self.client.get_iopub_msg(timeout=CELL_S)
        return str(message["content"]["text"])

    def finish(self, cell: str) -> str:
        """What the cell printed, and the name of the error it ended with."""
        shown = []
        while True:
            message = self.client.get_iopub_msg(timeout=CELL_S)
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown.append(content["text"])
            elif kind == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(shown)

    def run(self, code: str) -> str:
        """What a cell prints."""
        return self.finish(self.start(code))


@pytest.fixture
def notebook(server: FaultServer, tmp_path: Path) -> Iterator[Notebook]:
    """A kernel in the test's folder that has run the set-up cell."""
    manager = KernelManager(kernel_name="python3")
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / ".ipython")}
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]
    manager.start_kernel(cwd=str(tmp_path), env=environment)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=CELL_S)
        notebook = Notebook(manager, client)
        assert notebook.run(SETUP.format(base_url=server.base_url)) == ""
        yield notebook
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.destroy()
        ensure_event_loop().close()  # the client's own, which it would keep
        asyncio.set_event_loop(None)


def test_a_cell_runs_iterates_and_calls(notebook: Notebook, server: FaultServer) -> None:
    assert notebook.run("print([record['id'] for record in stream.take(3)])") == "[0, 1, 2]\n"
    assert (
        notebook.run("print(stream.pipeline({'id': 7})['id'], (await stream.pipeline.acall({'id': 8}))['id'])")
        == "7 8\n"
    )
    assert (
        notebook.run("report = stream.write('out'); print(report.outcome, len(tm.dataset('out')))") == "finished 12\n"
    )
    assert server.billed == 3 + 2 + 12


def test_the_interrupt_is_the_first_ctrl_c(notebook: Notebook, server: FaultServer) -> None:
    """The cell seals and gives its report; the kernel goes on, and so does the run."""
    with open_gate(server.port) as gate:
        assert notebook.run(SETUP.format(base_url=gate.base_url)) == ""
        cell = notebook.start("report = stream.write('out'); print(report.outcome, report.exit_code)")
        server.wait_for(requests=4)
        notebook.manager.interrupt_kernel()
        assert "stopping: calls in flight get 10s" in notebook.wait_for_output(cell)
        gate.opened.set()
        assert notebook.finish(cell).endswith("stopped 130\n")
    assert server.requests == 4
    assert notebook.run(SETUP.format(base_url=server.base_url)) == ""
    assert notebook.run("print(stream.write('out').outcome, len(tm.dataset('out')))") == "finished 12\n"
    assert server.billed == 12


def test_an_interrupted_iteration_raises_and_goes_on_from_its_state(notebook: Notebook, server: FaultServer) -> None:
    server.faults = Faults(script=lambda call: None if b"About 0" in call.body else Fault("stall"))
    assert notebook.run("iterator = stream.iterate(); print(next(iterator)['id'])") == "0\n"
    server.wait_for(requests=5)
    cell = notebook.start("print('waits', flush=True)\nfor record in iterator: print(record)")
    notebook.wait_for_output(cell)
    notebook.manager.interrupt_kernel()
    assert notebook.finish(cell).endswith("KeyboardInterrupt: ")
    assert notebook.run("iterator.close()") == ""
    assert server.wait_idle()["in_flight"] == 0
    server.faults = None
    assert notebook.run("print(next(stream.iterate(iterator.state()))['id'])") == "1\n"


def test_progress_is_not_drawn_into_a_cell_unasked(notebook: Notebook) -> None:
    shown: Any = notebook.run("print(stream.write('quiet').exit_code)")
    assert shown == "0\n"
