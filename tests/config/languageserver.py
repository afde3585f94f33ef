"""An editor as the YAML language server sees one: enough of LSP 3.17 over its standard streams."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

SERVER = Path(sys.prefix, "npm", "node_modules", "yaml-language-server", "bin", "yaml-language-server")
"""Where the Makefile installs it, from `requirements/npm`."""

ANSWER_S = 60.0
"""How long an answer is waited for; on a machine under load node alone takes seconds to start."""

CURSOR = "‸"
SETTINGS = {"yaml": {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}}
CAPABILITIES = {"textDocument": {"hover": {"contentFormat": ["markdown"]}, "completion": {}}}


def find_missing() -> str:
    """Why the server cannot run here; empty where it can."""
    if shutil.which("node") is None:
        return "there is no node to run the YAML language server"
    return "" if SERVER.exists() else f"the YAML language server is not installed in {SERVER.parents[3]}"


@dataclass(frozen=True, slots=True)
class View:
    """A text as the editor shows it.

    Attributes:
        flagged: line (from 1) and text of each place that is marked, with what is said of it.
        offered: the completions where the cursor stands, each with what is said of it.
        hover: what is shown of the word where the cursor stands.
    """

    flagged: dict[tuple[int, str], str]
    offered: dict[str, str]
    hover: str


class Editor:
    """Talks to one server. Belongs to one task."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._numbers = count(1)

    async def view(self, path: Path, text: str) -> View:
        """What is shown of `text` as the file `path`; the cursor stands in it."""
        shown = text.replace(CURSOR, "")
        before = text.partition(CURSOR)[0]
        position = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        place = {"textDocument": {"uri": path.as_uri()}, "position": position}
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": shown}
        await self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        diagnostics = await self._wait(lambda message: message.get("method") == "textDocument/publishDiagnostics")
        completions = await self.request("textDocument/completion", place)
        hover = await self.request("textDocument/hover", place)
        return View(
            flagged={
                _find_marked(shown, each["range"]): each["message"] for each in diagnostics["params"]["diagnostics"]
            },
            offered={item["label"]: str(item.get("documentation", "")) for item in completions["items"]},
            hover=hover["contents"]["value"] if hover else "",
        )

    async def open(self) -> None:
        """Introduce the editor, as the protocol begins."""
        await self.request("initialize", {"processId": None, "rootUri": None, "capabilities": CAPABILITIES})
        await self._send({"method": "initialized", "params": {}})
        await self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": SETTINGS}})

    async def close(self) -> None:
        """End the server, as the protocol ends."""
        await self.request("shutdown", None)
        await self._send({"method": "exit"})

    async def request(self, method: str, params: Any) -> Any:
        """The server's answer."""
        number = next(self._numbers)
        await self._send({"id": number, "method": method, "params": params})
        answer = await self._wait(lambda message: message.get("id") == number and "method" not in message)
        return answer["result"]

    async def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await self._input.drain()

    async def _wait(self, is_awaited: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(ANSWER_S):
            while True:
                header = await self._output.readuntil(b"\r\n\r\n")
                size = int(header.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                message: dict[str, Any] = json.loads(await self._output.readexactly(size))
                if is_awaited(message):
                    return message
                if "id" in message and "method" in message:  # a wish of the server's, as to register something
                    await self._send({"id": message["id"], "result": None})


@asynccontextmanager
async def open_editor() -> AsyncIterator[Editor]:
    """An editor with a server of its own, which ends with it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", str(SERVER), "--stdio", stdin=pipe, stdout=pipe)
    try:
        editor = Editor(process)
        await editor.open()
        yield editor
        await editor.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _find_marked(text: str, span: dict[str, Any]) -> tuple[int, str]:
    start, end = span["start"], span["end"]
    return start["line"] + 1, text.split("\n")[start["line"]][start["character"] : end["character"]]
