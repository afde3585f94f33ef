"""A server that gives every request the same chat completion after a while, over TLS when it gets a certificate.

    python server_constant.py LATENCY_S [CERTIFICATE.pem]

Tells its port on the first line and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import uvloop

from children import raise_file_limit

TEXT = '{"sentiment": "positive", "topic": "the battery"}'
BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 20, "total_tokens": 110},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Answering(asyncio.Protocol):
    """Counts the bytes of requests that come one at a time, each with a `content-length`."""

    latency_s = 0.0

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's own class does not derive from Transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self.received = b""
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main(certificate: str | None) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, __: None)  # clients that hang up in the middle of a handshake
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    raise_file_limit()
    Answering.latency_s = float(sys.argv[1])
    uvloop.run(main(sys.argv[2] if len(sys.argv) > 2 else None))
