"""An MCP server of the official package, run by its path: over its pipes, or over HTTP on a socket it is handed."""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import EmbeddedResource, ResourceLink, TextContent, TextResourceContents, ToolAnnotations
from pydantic import BaseModel

IDLE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('idle', flush=True); signal.pause()"


class Point(BaseModel):
    x: int
    y: int


def write_note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")


def make_server(note: Callable[[str], None]) -> MCPServer:
    server = MCPServer("tools")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    def move(point: Point, steps: list[Point]) -> Point:
        """Where the steps lead to."""
        return Point(x=point.x + sum(each.x for each in steps), y=point.y + sum(each.y for each in steps))

    @server.tool()
    def fail(why: str) -> str:
        """Fail."""
        raise ToolError(why)

    @server.tool(structured_output=False)
    def draw() -> list[Any]:
        """A picture, a link and a resource."""
        return [
            "drawn",
            Image(data=b"\x89PNG", format="png"),
            ResourceLink(type="resource_link", name="plan", uri="file:///plan.txt"),
            EmbeddedResource(
                type="resource",
                resource=TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="inside"),
            ),
        ]

    @server.tool(structured_output=False)
    def photo() -> list[Any]:
        """A picture of one pixel, as far as its head goes."""
        head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0"
        return ["a photo", Image(data=head, format="png")]

    @server.tool()
    def texts() -> list[TextContent]:
        """Two texts."""
        return [TextContent(type="text", text="one"), TextContent(type="text", text="two")]

    @server.tool()
    def environment() -> dict[str, str]:
        """What it was started with."""
        return dict(os.environ)

    @server.tool()
    def key(context: Context) -> str:
        """The call's idempotency key."""
        return str((context.request_context.meta or {}).get("tidemill/idempotency-key"))

    @server.tool()
    def die() -> str:
        """End in the middle of a call."""
        sys.stderr.write("out of paper, token=sk-verysecret1\n")
        sys.stderr.flush()
        signal.raise_signal(signal.SIGKILL)
        return "never"

    @server.tool()
    async def wait(name: str) -> str:
        """Wait until it is cancelled, and note both."""
        note(f"waiting {name}")
        try:
            await anyio.sleep_forever()
        finally:
            note(f"cancelled {name}")
        return "never"

    return server


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--fd", type=int, help="a listening socket")
    options.add_argument("--notes", default=os.devnull)
    options.add_argument("--deaf", action="store_true", help="ignore SIGTERM, the end of the input, and leave a child")
    options.add_argument("--leaves", action="store_true", help="the child in a session of its own")
    given = options.parse_args()
    if given.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(
            [sys.executable, "-c", IDLE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=given.leaves,
        )
        assert child.stdout is not None
        child.stdout.readline()
        write_note(given.notes, f"{os.getpid()} {child.pid}")
    server = make_server(partial(write_note, given.notes))
    if given.fd is None:
        server.run("stdio")
    else:
        import uvicorn  # not for the pipes

        app = server.streamable_http_app()
        uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none")).run([socket.socket(fileno=given.fd)])
    while given.deaf:
        signal.pause()


if __name__ == "__main__":
    main()
