"""A gate in front of a server of this machine: questions go through at once, answers once it is opened."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate(socketserver.ThreadingTCPServer):
    """Closed until `opened` is set, for good; each connection to it is one to the port behind it."""

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.behind = behind
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.opened = threading.Event()


class _Passage(socketserver.BaseRequestHandler):
    server: Gate

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            answering = threading.Thread(target=self._bring_answers, args=(behind,))
            answering.start()
            pump(self.request, behind)
            answering.join()

    def _bring_answers(self, behind: socket.socket) -> None:
        self.server.opened.wait()
        pump(behind, self.request)


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Take bytes from one to the other until either goes, and tell that one."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def open_gate(behind: int) -> Iterator[Gate]:
    """A closed gate in front of a port; whoever came through it has gone by the end of the block."""
    with Gate(behind) as gate:
        serving = threading.Thread(target=gate.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield gate
        finally:
            gate.opened.set()
            gate.shutdown()
            serving.join()
