"""`Session`: the interpreter of one run of an agent, which keeps what code has set from call to call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from tidemill.agents.interpreter.files import Folder, WrittenFile, remove_folder
from tidemill.agents.interpreter.options import GRACE_S, SHARED, Interpreter
from tidemill.agents.interpreter.output import Output
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.told import Told
from tidemill.config.secrets import mask
from tidemill.errors import ResourceError, WorkerError
from tidemill.resources.children import Child, describe_exit

logger = logging.getLogger(__name__)

START_S = 60.0
"""Seconds an interpreter may take to begin: a container may have to be made for it."""

FLOOD = 16 << 20
"""Bytes printed by one call after which it is stopped: a loop that ends nowhere prints a hundred times as fast."""

MARKER_S = 5.0
"""Seconds that printed text may take longer than the answer: a container's streams go different ways."""

ENDING_S = 2.0
"""Seconds that what is around an interpreter that has ended, a sandbox's own program, may take to say how."""

MAX_ANSWER = 8 << 20
"""Bytes of an answer: its texts are bounded where they are made."""

_BOOT = """import os
def read(size):
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more: os._exit(0)
        data += more
    return data
exec(compile(read(int.from_bytes(read(4), "big")), "<interpreter>", "exec"))
"""
"""Reads the program and runs it: nothing of it has to be a file where the interpreter runs."""

_SOURCE = Path(__file__).with_name("child.py").read_text(encoding="utf-8")

_FENCE = re.compile(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


Run = Callable[[str, Context[Any]], Awaitable["PythonResult | Told"]]
"""What calls go to: `Session.call`."""


class PythonResult(TypedDict):
    """What became of a call; what there is none of is left out.

    Attributes:
        output: what the code printed, to both of its outputs, in order, without the middle of what is long.
        value: the last expression's, as Python shows it.
        error: the exception, from the code's own lines on.
        files: those written or changed, the first 50 by name.
        note: what else there is to know: a limit that was met, variables that are gone.
    """

    output: NotRequired[str]
    value: NotRequired[str]
    error: NotRequired[str]
    files: NotRequired[list[WrittenFile]]
    note: NotRequired[str]


class Session:
    """The interpreter of one run, begun by its first call. Calls are made one after another. Belongs to one loop.

    A call that does not end in time is interrupted, and the interpreter killed where that has no effect; the next call
    then begins another one in the same folder. Cancelling a call kills it at once.
    """

    def __init__(self, interpreter: Interpreter, folder: Path, forgotten: int) -> None:
        limits = interpreter.limits
        self._interpreter = interpreter
        self._limits = limits
        self._path = folder
        self._folder = Folder(folder, interpreter.keep and interpreter.keep.absolute())
        self._output = Output(limits.output, FLOOD)
        self._child: Child | None = None
        self._one_call = asyncio.Lock()
        self._calls = 0
        self._untold: list[str] = []
        if forgotten:
            calls = "an earlier call" if forgotten == 1 else f"{forgotten} earlier calls"
            self._untold.append(
                f"the interpreter was started anew, and variables, imports and files of {calls} are gone: "
                "run again what is needed of them"
            )

    async def call(self, code: str, context: Context[Any]) -> PythonResult | Told:
        """What running `code` gave; of files' contents, the run keeps more than the model is told.

        Raises:
            ResourceError: no interpreter could be started.
        """
        async with self._one_call:
            child = await self._get_child()
            self._calls += 1
            answer = await self._ask(child, _strip_fence(code))
            output = self._output.take()
            files, count = await self._take_files(context.key)
            kept = self._tell(answer, output, files, count)
            told = kept.copy()
            if files:
                told["files"] = [_without_data(file) for file in files]
            return kept if told == kept else Told(told, kept)

    async def _take_files(self, key: str) -> tuple[list[WrittenFile], int]:
        try:
            return await asyncio.to_thread(self._folder.take_written, key)
        except OSError as error:  # what the code did is done, and is told all the same
            self._untold.append(f"the files could not be looked at and kept: {error.strerror or error}")
            logger.warning("files that a model's code wrote could not be kept: %s", error)
            return [], 0

    async def close(self) -> None:
        """End the interpreter and all it started, and remove the folder."""
        await self._end()
        for failure in await asyncio.to_thread(remove_folder, self._path):
            logger.warning("a file that a model's code wrote could not be removed: %s", failure)

    async def _get_child(self) -> Child:
        if self._child is not None and self._child.has_ended:
            ended = describe_exit(await self._end())
            self._untold.append(f"the interpreter had ended {ended}, and another one was started: variables are gone")
        if self._child is None:
            self._child = await self._start()
        return self._child

    async def _start(self) -> Child:
        command = self._interpreter.command(self._path, _BOOT)
        variables = self._interpreter.variables(self._path)
        child = await Child.start(
            command,
            environment=variables,
            folder=self._path,
            on_output=self._output.feed,
            max_frame=MAX_ANSWER,
            owns_folder=True,
        )
        try:
            child.send(f"{_SOURCE}\nmain({self._settings(variables)!r})\n".encode())
            async with asyncio.timeout(START_S):
                if await child.receive() is not None:
                    return child
            told = f"ended {describe_exit(await child.close())}"
        except TimeoutError:
            told = f"did not begin within {START_S:g} s"
        except WorkerError as error:
            told = f"gave no answer: {error}"
        except BaseException:
            await child.close()
            raise
        await child.close()
        said = mask(self._output.take().strip())[-2000:]
        raise ResourceError(
            f"the Python interpreter `{command[0]}` {told}" + (f", and said:\n{said}" if said else ""),
            hint="run the sandbox's command by itself: it has to run the one appended to it, with its standard streams",
        )

    def _settings(self, variables: dict[str, str]) -> dict[str, Any]:
        limits = self._limits.model_dump(include={"cpu_s", "memory", "file", "open_files", "processes"})
        own = set(variables) - {"PATH", "LD_LIBRARY_PATH"}  # a container has its own
        return {
            "limits": {**limits, "shared": SHARED, "grace_s": GRACE_S},
            "environment": {name: variables[name] for name in own},
            "folder": str(self._path),
            "max_text": int(self._limits.output),
        }

    async def _ask(self, child: Child, code: str) -> dict[str, Any]:
        """The answer to a request for running `code`; what is told of it where there is none."""
        marker = f"\0{secrets.token_hex(16)}\0"
        self._output.expect(marker.encode())
        request = {"code": code, "number": self._calls, "marker": marker}
        child.send(json.dumps(request).encode())
        receiving = asyncio.ensure_future(child.receive())
        flooding = asyncio.ensure_future(self._output.is_flooded.wait())
        stopped = ""
        try:
            await asyncio.wait([receiving, flooding], timeout=self._limits.timeout_s, return_when="FIRST_COMPLETED")
            if not receiving.done():
                stopped = "flood" if flooding.done() else "time"
                child.send(b"")
                await asyncio.wait([receiving], timeout=GRACE_S)
            if not receiving.done():
                return await self._lose(stopped)
            answer = _read_answer(receiving)
            if answer is None:
                return await self._lose(stopped)
            if answer.get("stopped") == "asked":
                answer["stopped"] = stopped
            if not answer.get("is_unmarked"):
                await self._output.wait(MARKER_S)
            return answer
        except asyncio.CancelledError:
            self._untold.append("the call before was broken off, and the interpreter with it: variables are gone")
            await self._end()
            raise
        finally:
            for task in (receiving, flooding):
                task.cancel()
            await asyncio.wait([receiving, flooding])

    async def _lose(self, stopped: str) -> dict[str, Any]:
        """Kill the interpreter; what is told of that."""
        ended = describe_exit(await self._end(grace_s=0.0 if stopped else ENDING_S))
        if ended == "by SIGPROF":  # what its timer of processor time sends
            stopped = "cpu"
        told = "It could not be interrupted, and was killed." if stopped else f"The interpreter ended {ended}."
        if ended == "by SIGKILL" and not stopped:
            told += " That may be the system's, for want of memory."
        return {"error": told, "stopped": stopped, "is_lost": True}

    async def _end(self, *, grace_s: float = 0.0) -> int:
        child, self._child = self._child, None
        return 0 if child is None else await child.close(grace_s=grace_s)

    def _tell(self, answer: dict[str, Any], output: str, files: list[WrittenFile], count: int) -> PythonResult:
        result = PythonResult()
        if output:
            result["output"] = output
        if answer.get("value"):
            result["value"] = answer["value"]
        if answer.get("error"):
            result["error"] = answer["error"]
        if files:
            result["files"] = files
        notes, self._untold = self._untold, []
        notes += self._explain(answer)
        if count > len(files):
            notes.append(f"{count - len(files)} more files were written")
        if not result and not notes:
            notes.append("nothing was printed, and the last line is no expression with a value")
        if notes:
            result["note"] = "; ".join(notes)
        return result

    def _explain(self, answer: dict[str, Any]) -> list[str]:
        """What is told of a limit that was met, and of what is left."""
        limits = self._limits
        stopped = {
            "time": f"the code was stopped: it ran longer than {limits.timeout_s:g} s",
            "cpu": f"the code was stopped: it used more than {limits.cpu_s} s of processor time",
            "flood": f"the code was stopped: it printed more than {FLOOD >> 20} MiB",
        }.get(answer.get("stopped", ""))
        met = {
            "memory": f"a process may have {limits.memory.human_readable()} of memory",
            "file": f"a file may have {limits.file.human_readable()}",
            "open_files": f"a process may have {limits.open_files} files open",
            "processes": "no more processes or threads may be started now",
        }.get(answer.get("limit", ""))
        notes = [each for each in (stopped, met) if each]
        if answer.get("is_lost"):
            notes.append("variables and imports are gone, files are still there, and the next call begins anew")
        elif notes:
            notes.append("variables are kept")
        return notes


@asynccontextmanager
async def open_session(interpreter: Interpreter, context: Context[Any]) -> AsyncIterator[Run]:
    """What calls go to, for one run of an agent: `Session.call` of a session in a new temporary folder."""
    session = Session(interpreter, await asyncio.to_thread(_make_folder), context.forgotten)
    try:
        yield session.call
    finally:
        await asyncio.shield(asyncio.ensure_future(session.close()))


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tidemill-python-")).resolve()
    (folder / ".tmp").mkdir()
    return folder


def _read_answer(receiving: asyncio.Future[bytes | None]) -> dict[str, Any] | None:
    """The answer that came; None where the process ended, or code wrote something else there."""
    try:
        frame = receiving.result()
        answer = None if frame is None else json.loads(frame)
    except (WorkerError, ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    texts = ("value", "error", "stopped", "limit")
    return answer if all(isinstance(answer.get(name, ""), str) for name in texts) else None


def _without_data(file: WrittenFile) -> WrittenFile:
    told = file.copy()
    told.pop("data", None)
    return told


def _strip_fence(code: str) -> str:
    """The code without the lines of ``` that a model puts around it as if it were shown in Markdown."""
    match = _FENCE.fullmatch(code)
    return match[1] if match else code
