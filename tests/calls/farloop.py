"""An event loop whose connections lead to a far side that a test plays: no socket, and every failure there can be."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

Act = Callable[[Any], object]
"""What the far side does to a connection's protocol once it is asked."""


class FarConnection(asyncio.Transport):
    """A connection to the far side, which acts at every write and closes as asyncio's own do."""

    def __init__(self, protocol: Any, act: Act) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._act = act
        self._is_lost = False

    def write(self, data: Any) -> None:
        self._loop.call_soon(self._answer)

    def is_closing(self) -> bool:
        return self._is_lost

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.lose(None)

    def lose(self, error: BaseException | None) -> None:
        """End it, as asyncio does with `error`."""
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    def _answer(self) -> None:
        try:
            self._act(self._protocol)
        except Exception:  # noqa: BLE001 - asyncio ends a connection likewise whose protocol raises, whatever it is
            self.lose(None)


class FarLoop(asyncio.SelectorEventLoop):
    """Names, connections and TLS come about, or fail with the error in `fails`; then the far side acts.

    Args:
        acts: of the connections, in the order they are opened, those within TLS included.
        fails: errors by the name of the loop's method that raises them.
    """

    def __init__(self, *acts: Act, **fails: BaseException) -> None:
        super().__init__()
        self._acts = list(acts)
        self._fails = fails

    async def getaddrinfo(self, *_: Any, **__: Any) -> Sequence[Any]:  # type: ignore[override] # whatever is asked
        self._may_fail("getaddrinfo")
        return [(0, 0, 0, "", ("192.0.2.1", 443))]

    async def create_connection(self, factory: Any, *_: Any) -> Any:  # type: ignore[override] # as the dialer calls it
        self._may_fail("create_connection")
        protocol = factory()
        opened = self._open(protocol)
        protocol.connection_made(opened)
        return opened, protocol

    async def start_tls(self, transport: Any, protocol: Any, *args: Any, **options: Any) -> Any:
        self._may_fail("start_tls")
        return self._open(protocol)

    def _open(self, protocol: Any) -> FarConnection:
        return FarConnection(protocol, self._acts.pop(0))

    def _may_fail(self, method: str) -> None:
        if method in self._fails:
            raise self._fails[method]
