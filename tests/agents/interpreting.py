"""What the tests of the code interpreter share: a session of the tool, called as an agent's run calls it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tidemill.agents.interpreter.tool import python
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.told import Told

Run = Callable[[str], Awaitable[dict[str, Any]]]

BWRAP = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # first: what is bound below may stand in /tmp
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind", "{prefix}", "{prefix}", "--ro-bind", "{base_prefix}", "{base_prefix}"),
    *("--bind", "{folder}", "{folder}"),
)
"""The sandbox that docs/tools.md shows."""

KEY = "5e" * 16


@asynccontextmanager
async def interpreter(*, forgotten: int = 0, **options: Any) -> AsyncIterator[Run]:
    """What the model is told of each code that is run, in one session."""
    async with raw_interpreter(forgotten=forgotten, **options) as run:

        async def tell(code: str) -> dict[str, Any]:
            result = await run(code)
            return dict(result.told if isinstance(result, Told) else result)

        yield tell


@asynccontextmanager
async def raw_interpreter(*, forgotten: int = 0, **options: Any) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """What the tool's function gives for each code that is run, in one session."""
    tool = python(**{"code_is_trusted": "sandbox" not in options, **options})
    assert tool.open_session is not None
    context = replace(Context.of(None), key=KEY, forgotten=forgotten)
    async with tool.open_session(context) as call:
        yield lambda code: call(code, context)


def can_use_bwrap() -> bool:
    """Whether bubblewrap is installed, and this machine lets it make namespaces."""
    command = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "true")
    return (
        shutil.which("bwrap") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
