"""`python`: the tool by which a model runs code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # the one of `typing` cannot be checked before Python 3.12

from tidemill.agents.interpreter.options import GRACE_S, Interpreter, InterpreterLimits
from tidemill.agents.interpreter.session import START_S, PythonResult, open_session
from tidemill.agents.tools.arguments import TypeSignature
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.decorator import describe_arguments, make_tool
from tidemill.agents.tools.options import ToolOptions
from tidemill.agents.tools.told import Told
from tidemill.agents.tools.tool import Tool
from tidemill.config.coercion.depth import deepen

SLACK_S = 10.0
"""Seconds of a call beside the code's own: for its end, and the files it wrote."""


class PythonCall(TypedDict):
    """What the model gives."""

    code: Annotated[str, Field(min_length=1, description="Python; its last expression's value is told.")]


def python(
    *,
    code_is_trusted: bool = False,
    sandbox: Sequence[str] = (),
    limits: InterpreterLimits | Mapping[str, Any] | None = None,
    keep: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    executable: str | None = None,
    options: ToolOptions | Mapping[str, Any] | None = None,
) -> Tool:
    """A tool `python` by which the model runs code in a session of its own: variables stay from call to call.

    The code is run by a process of its own in a temporary folder, both of which end with the agent's run, and is told
    what it printed, the last expression's value, the exception, the files it wrote, and figures that pyplot has open,
    as PNG. A call that meets a limit says so. **A process of its own is no security boundary**: see `Interpreter`.

    Order: the calls of one turn run in their order, and each waits for all before it.
    Memory: two processes for each agent that has called it, about 20 MB together, and what the code takes.
    Failure: exceptions, limits and the death of the interpreter are results that the model is told; an interpreter
    that cannot be started ends the run.
    Resume: a session is not kept. Results that are in the ledger are used; the first call beyond them begins an empty
    session, and the model is told so.

    Args:
        code_is_trusted: that whoever can put words in front of the model may do all that this process's user may.
        sandbox: a command to run the interpreter under; needed where the code is not trusted.
        limits: what the code may use.
        keep: a folder to copy the files into, `KEEP/CALL_KEY/NAME`; without one they end with the run.
        environment: variables for the code, which has none of this process's but PATH and the like.
        executable: the Python that is run; by default the one that runs this.
        options: how the tool is called; by default one after another, with time for `limits.timeout_s`.

    Raises:
        ConfigError: the code is neither trusted nor in a sandbox, or an option is wrong.
    """
    given = {
        "sandbox": tuple(sandbox) or None,
        "limits": limits,
        "keep": keep,
        "environment": environment,
        "executable": executable,
    }
    interpreter = Interpreter(
        code_is_trusted=code_is_trusted, **{name: value for name, value in given.items() if value is not None}
    )
    return make_python(interpreter, options)


def make_python(interpreter: Interpreter, options: ToolOptions | Mapping[str, Any] | None = None) -> Tool:
    """The tool `python` of an interpreter; see `python`."""
    return make_tool(
        partial(_call_once, interpreter),
        TypeSignature(deepen(PythonCall), describe_arguments(PythonCall)),
        name="python",
        description=_describe(interpreter),
        options=_find_options(interpreter.limits, options),
        context="context",
        open_session=partial(open_session, interpreter),
        identity={"python": interpreter.describe()},
    )


def _describe(interpreter: Interpreter) -> str:
    limits = interpreter.limits
    return (
        "Run Python code in a session: variables, imports, functions and files stay from call to call. You are told "
        "what it prints, the value of the last expression, the exception if there is one, and which files it wrote "
        "into the working folder; figures that matplotlib has open are saved there. One call may take "
        f"{limits.timeout_s:g} seconds, and a process {limits.memory.human_readable()} of memory. "
        "Nobody can answer input()."
    )


def _find_options(limits: InterpreterLimits, options: ToolOptions | Mapping[str, Any] | None) -> ToolOptions:
    """The options given, with what they leave open as this tool needs it."""
    if isinstance(options, ToolOptions):
        options = {name: getattr(options, name) for name in options.model_fields_set}
    own = {"sequential": True, "timeout_s": START_S + limits.timeout_s + GRACE_S + SLACK_S}
    return ToolOptions(**{**own, **(options or {})})


async def _call_once(interpreter: Interpreter, code: str, context: Context[Any] | None = None) -> PythonResult | Told:
    """What running `code` gives in a session of its own: for a call of the tool as a plain function."""
    context = context or Context.of(None)
    async with open_session(interpreter, context) as call:
        return await call(code, context)
