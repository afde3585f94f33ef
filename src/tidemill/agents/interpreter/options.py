"""`Interpreter`: where and within which bounds a model's Python is run."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ByteSize, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.types.durations import Duration
from tidemill.config.wording.suggest import find_near

KEPT = ("PATH", "LD_LIBRARY_PATH", "TZ")
"""Variables of this process that the interpreter has too: no other is handed to a model's code."""

THREADS = 4
"""Threads of numerical libraries: an interpreter is one of many, and OpenBLAS takes memory for each."""

GRACE_S = 1.0
"""Seconds that code which is interrupted may take to end."""

SHARED = 4 << 30
"""Bytes of addresses beside the session's own memory: libraries and files that are mapped."""


class InterpreterLimits(Settings):
    """What the code of one session may use. Code that meets a bound is told so, and the model is.

    Attributes:
        timeout_s: seconds that one call may take.
        cpu_s: seconds of processor time that one call may take, over all its threads, or up to one more.
        memory: bytes that a process of the session may have for itself; with what it maps, 4 GiB more.
        file: bytes of any one file it writes.
        open_files: that a process of it may have at once.
        processes: processes and threads beside those that the user has when the session begins; None for no bound.
            It does not bind root, and is refused there.
        output: bytes, of what one call prints, that are told: half of them from its beginning, half from its end. A
            value or an error is bounded by as many characters.
    """

    timeout_s: Duration = Field(default=60.0, gt=0)
    cpu_s: int = Field(default=120, ge=1)
    memory: ByteSize = Field(default=ByteSize(2 << 30), ge=64 << 20)
    file: ByteSize = Field(default=ByteSize(256 << 20), ge=0)
    open_files: int = Field(default=256, ge=16)
    processes: int | None = Field(default=None, ge=0)
    output: ByteSize = Field(default=ByteSize(16 << 10), ge=256)


class Interpreter(Settings):
    """How a model's Python is run: in a process of its own, which is **no security boundary**.

    Without a sandbox the code can do whatever this process's user can: read files and keys, open connections, end
    processes. It is kept from this process's memory and environment, and bounded, and nothing more.

    Attributes:
        code_is_trusted: that whoever can put words in front of the model may do as much. Needed without a sandbox.
        sandbox: a command that runs the one appended to it where it can do no harm: `bwrap …`, `docker run …`. Its
            standard streams must be those of what it runs. `{folder}` in it is the working folder of the session,
            `{user}` the user and group of this process as numbers, `{python}` the interpreter, `{prefix}` and
            `{base_prefix}` are where its libraries are.
        limits: bounds on what the code may use, in a sandbox too.
        keep: a folder that gets a copy of each file the code writes; without one they end with the session.
        environment: variables the code has, beside PATH, HOME, LANG and the like.
        executable: the Python that is run, from 3.9 on; by default the one that runs this.
    """

    code_is_trusted: bool = False
    sandbox: tuple[str, ...] = ()
    limits: InterpreterLimits = InterpreterLimits()
    keep: Path | None = None
    environment: Mapping[str, str] = Field(default_factory=dict)
    executable: str = sys.executable

    @field_validator("sandbox")
    @classmethod
    def _check_sandbox(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for named in re.findall(r"\{(\w+)\}", " ".join(value)):
            if named not in _PLACES and (near := find_near(named, _PLACES)):
                context = {"named": f"{{{named}}}", "hint": f"did you mean `{{{near}}}`?"}
                raise PydanticCustomError("sandbox", "unknown `{named}` in the command", context)
        if value and shutil.which(value[0]) is None:
            context = {"program": value[0], "hint": "install it, or give its path"}
            raise PydanticCustomError("sandbox", "no program on the PATH is called `{program}`", context)
        return value

    @model_validator(mode="after")
    def _check_trust(self) -> Self:
        if not self.code_is_trusted and not self.sandbox:
            hint = (
                'name a sandbox, as docs/tools.md shows: sandbox=["bwrap", …]; or say code_is_trusted=True, where '
                "whoever can put words in front of the model, a web page it reads included, may do all that you may"
            )
            raise PydanticCustomError(
                "untrusted_code",
                "a model's code would run as you do, since a process of its own is no sandbox",
                {"hint": hint},
            )
        if self.limits.processes is not None and not self.sandbox and os.geteuid() == 0:
            raise PydanticCustomError(
                "processes",
                "limits.processes does not bind root, which this process runs as",
                {"hint": "leave it out, or have a sandbox bound them: docker run --pids-limit 64 …"},
            )
        return self

    def command(self, folder: Path, program: str) -> tuple[str, ...]:
        """What is run in `folder`: the sandbox, if there is one, and Python with `program` in it."""
        filled = []
        user = f"{os.geteuid()}:{os.getegid()}"
        places = {"folder": str(folder), "user": user, "python": self.executable, **_PREFIXES}
        for part in self.sandbox:
            for name, value in places.items():
                part = part.replace(f"{{{name}}}", value)
            filled.append(part)
        return (*filled, self.executable, "-I", "-B", "-c", program)

    def variables(self, folder: Path) -> dict[str, str]:
        """All the variables of an interpreter in `folder`."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        cache = {} if self.sandbox else {"MPLCONFIGDIR": _find_matplotlib()}  # its fonts take seconds to be listed anew
        own = {"HOME": str(folder), "TMPDIR": str(folder / ".tmp"), "LANG": "C.UTF-8", "MPLBACKEND": "Agg"}
        own["OMP_NUM_THREADS"] = str(min(THREADS, os.cpu_count() or 1))
        return {**kept, **cache, **own, **self.environment}

    def describe(self) -> dict[str, Any]:
        """It as JSON without what changes no result: for a fingerprint."""
        return {"executable": Path(self.executable).name, "sandbox": list(self.sandbox)}


_PREFIXES = {"prefix": sys.prefix, "base_prefix": sys.base_prefix}
_PLACES = ("folder", "user", "python", *_PREFIXES)


def _find_matplotlib() -> str:
    named = os.environ.get("MPLCONFIGDIR")
    return named or str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib")
