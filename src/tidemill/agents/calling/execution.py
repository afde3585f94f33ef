"""`Execution`: one call of a tool, from its approval to its outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import orjson

from tidemill.agents.calling.approval import ApprovalRequest, Modify, Reject, Stop, read_decision, undecided
from tidemill.agents.calling.bounded import Bounded, Exited, GivenUp
from tidemill.agents.calling.findings import (
    Finding,
    keep_json,
    show_arguments,
    show_images,
    tell_blocked,
    tell_cancelled,
    tell_denied,
    tell_died,
    tell_error,
    tell_misfit,
    tell_refusal,
    tell_stopped,
    tell_timeout,
)
from tidemill.agents.calling.isolation import DiedError, MisfitError, Packed
from tidemill.agents.calling.marking import mark_result
from tidemill.agents.calling.outcome import Finished, ToolOutcome
from tidemill.agents.calling.pictures import Pictured, take_pictures
from tidemill.agents.calling.sessions import is_coroutine_function
from tidemill.agents.calling.turn import Run, Turn
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.options import TOOL_TIMEOUT_S
from tidemill.agents.tools.told import Refused, Told
from tidemill.agents.tools.tool import Arguments, Tool
from tidemill.calls.outgoing import LaneStopped, TakenBackError
from tidemill.calls.retry import backoff_s
from tidemill.calls.wire import Request, Response
from tidemill.errors import DataError, TidemillError, TransientCallError
from tidemill.models.messages import ToolCall
from tidemill.models.steps.calling import KEY_HEADER
from tidemill.models.steps.packing import pack_result

logger = logging.getLogger(__name__)

_RETRIED = (TransientCallError, ConnectionError, TimeoutError)


class Execution:
    """One call whose arguments fit. `send` makes it, and is what a transport's `send` is to a request.

    Args:
        run, turn, place: where it stands.
        call: as the model asks for it, `arguments` as they were checked, and `given` as they are kept.

    Attributes:
        was_sent: whether `send` was called: not where the outcome was recalled.
    """

    __slots__ = (
        "_arguments",
        "_bounded",
        "_call",
        "_given",
        "_is_left",
        "_place",
        "_repairs",
        "_retry_after_s",
        "_run",
        "_told",
        "_tool",
        "_tries",
        "_turn",
        "was_sent",
    )

    def __init__(
        self, run: Run, turn: Turn, place: int, call: ToolCall, tool: Tool, arguments: Arguments, given: Any
    ) -> None:
        self._given = given
        self._run = run
        self._turn = turn
        self._place = place
        self._call = call
        self._tool = tool
        self._arguments = arguments
        self._repairs = arguments.repairs
        self._bounded: Bounded[Any] | None = None
        self._tries = 0
        self._retry_after_s: float | None = None
        self._is_left = False
        self._told = ""
        self.was_sent = False

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The outcome, whatever becomes of the call; `timeout_s` is for what has no limits of its own.

        Raises:
            TidemillError: the failure is the run's.
            CancelledError: it was cancelled from outside; the execution has then ended, or was left.
        """
        self.was_sent = True
        turn, loop = self._turn, asyncio.get_running_loop()
        began = loop.time()
        if turn.interrupts:
            turn.running.add(self)
        try:
            finding = await self._find(request.headers[KEY_HEADER])
        finally:
            turn.running.discard(self)
        outcome = ToolOutcome(
            self._tool.name,
            self._given,
            finding.kind,
            finding.content,
            finding.value,
            finding.error,
            loop.time() - began,
            self._tries,
            self._repairs,
            finding.images,
        )
        return Finished(200, {}, b"", outcome=outcome)

    def interrupt(self) -> None:
        """End the execution; its outcome is then `cancelled`."""
        if self._bounded is not None:
            self._bounded.give_up("cancelled")

    async def _find(self, key: str) -> Finding:
        tool = self._tool
        try:
            if tool.options.needs_approval is not False and not self._turn.halted:
                refusal = await self._decide(key)
                if refusal is not None:
                    return refusal
            while not self._turn.halted:
                finding = await self._try(key)
                if finding is not None:
                    return finding
                rng = self._run.outside.places.rng
                delay_s = backoff_s(self._tries, rng, retry_after_s=self._retry_after_s)
                await self._wait(asyncio.sleep(delay_s))
        except GivenUp:
            pass
        left = self._count_left() if self._is_left else 0
        return tell_cancelled(tool, self._turn.halted, self._tries, left)

    async def _try(self, key: str) -> Finding | None:
        """What one execution came to; None where it is worth another."""
        tool = self._tool
        if (left := self._count_left()) >= tool.options.concurrency:
            return tell_blocked(tool, left)
        self._tries += 1
        try:
            result = await self._wait(self._start(key), tool.options.timeout_s)
        except GivenUp as end:
            if end.reason == "cancelled":
                raise
            if self._is_left:  # to try again beside it would be to do it twice at once
                return tell_timeout(tool, self._tries, self._count_left())
            return None if self._may_try_again else tell_timeout(tool, self._tries, 0)
        except Exited as exit_:
            return tell_error(tool, key, exit_.error, self._tries)
        except MisfitError as error:
            return tell_misfit(tool, error.message)
        except DiedError as error:
            return tell_died(tool, error.ending)
        except (LaneStopped, TakenBackError):
            raise
        except Exception as error:  # the tool's own failures are outcomes, whatever they are
            if isinstance(error, TidemillError) and error.of == "run":
                raise
            logger.debug("the tool %s failed", tool.name, exc_info=error)
            if self._is_worth_another(error):
                return None
            return tell_error(tool, key, error, self._tries)
        return await self._tell_any(key, result)

    def _is_worth_another(self, error: Exception) -> bool:
        """Whether another try may end better, as soon as the far side takes one: not later than a try may last."""
        options = self._tool.options
        if not self._may_try_again or not isinstance(error, (*_RETRIED, *options.retry_on)):
            return False
        self._retry_after_s = error.retry_after_s if isinstance(error, TransientCallError) else None
        return (self._retry_after_s or 0.0) <= (options.timeout_s or TOOL_TIMEOUT_S)

    @property
    def _may_try_again(self) -> bool:
        return self._tries <= self._tool.options.retries

    def _count_left(self) -> int:
        return self._run.outside.places.count_left(self._tool)

    async def _wait(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
        self._bounded = Bounded(coroutine, self._leave_task)
        try:
            return await self._bounded.wait(timeout_s)
        finally:
            self._bounded = None

    def _leave_task(self, task: asyncio.Task[Any]) -> None:
        self._leave(task.done)

    def _leave(self, has_ended: Callable[[], bool]) -> None:
        """Note that the execution goes on though it was given up; somebody's decision on it holds no place of it."""
        self._is_left = self._tries > 0
        if self._is_left:
            self._run.outside.places.leave(self._tool, has_ended)

    def _start(self, key: str) -> Coroutine[Any, Any, Any]:
        """One execution under way: in the loop, in a thread, in a process or in a session."""
        tool, run = self._tool, self._run
        values = self._arguments.values
        assert values is not None
        if tool.context:
            values = {**values, tool.context: self._make_context(key)}
        if tool.open_session is not None:
            return self._call_session(key, values)
        if tool.options.isolate:
            return self._call_process(values)
        if tool.runs_here:
            return tool.function(**values)  # type: ignore[no-any-return]  # a coroutine
        if tool.is_async:
            return run.outside.call_home(tool.function, **values)
        return self._call_in_thread(partial(tool.function, **values))

    async def _call_process(self, values: Mapping[str, Any]) -> Any:
        return await self._run.outside.places.processes.run(self._tool, dict(values))

    async def _call_session(self, key: str, values: Mapping[str, Any]) -> Any:
        function = await self._run.sessions.find(self._tool, self._make_context(key))
        if is_coroutine_function(function):
            return await self._run.outside.call_home(function, **values)
        return await self._call_in_thread(partial(function, **values))

    async def _call_in_thread(self, fn: Callable[[], Any]) -> Any:
        work = _Work(fn)
        try:
            result = await self._run.outside.places.threads.run(work)
        except asyncio.CancelledError:
            if work.goes_on():
                self._leave(work.has_ended)
            raise
        return await self._run.outside.call_home(_wait_for, result) if inspect.isawaitable(result) else result

    def _make_context(self, key: str) -> Context[Any]:
        run, name = self._run, self._tool.name
        return Context(
            run.deps,
            key,
            run.agent,
            name,
            self._call["id"],
            self._turn.number,
            self._place,
            max(1, self._tries),
            run.forgotten.get(name, 0),
        )

    async def _tell_any(self, key: str, result: Any) -> Finding:
        """A result, with the pictures that are in it: they are looked for where it is no JSON as it is."""
        pictured: Pictured | None = result if type(result) is Pictured else None
        try:
            if pictured is None:
                try:
                    return self._tell(key, result)
                except DataError:
                    pictured = await self._run.outside.places.threads.run(partial(take_pictures, result))
                    if pictured is None:
                        raise
            found = self._tell(key, pictured.plain)
        except DataError as error:
            return tell_misfit(self._tool, error.message)
        return show_images(found, pictured.images, are_seen=self._run.shows_images)

    def _tell(self, key: str, result: Any) -> Finding:
        """A result, as the model is told it and the ledger keeps it.

        Raises:
            DataError: it is not JSON.
        """
        name, most = self._tool.name, self._tool.options.max_result
        try:
            if type(result) is str:
                return Finding("ok", self._told + mark_result(name, key, result, most=most), result)
            if type(result) is Told:
                return self._tell(key, result.told)._replace(value=orjson.loads(_pack(result.value)))
            if type(result) is Refused:
                return tell_refusal(self._tool, key, result.text)._replace(value=orjson.loads(_pack(result.value)))
            body = _pack(result)
        except UnicodeEncodeError:
            return tell_misfit(self._tool, "its text has half of a surrogate pair, which is no character")
        value = orjson.loads(body)
        text = value if type(value) is str else body.decode()
        return Finding("ok", self._told + mark_result(name, key, text, most=most), value)

    async def _decide(self, key: str) -> Finding | None:
        """Have the call decided on; None where it is to be made.

        Raises:
            WorkerError: nobody decided, which is the run's failure.
        """
        tool, needs = self._tool, self._tool.options.needs_approval
        approve = needs if callable(needs) else self._run.approve
        if approve is None:
            return tell_denied(tool, "nobody is there to approve it")
        context = self._make_context(key)
        written = tool.signature.write(self._arguments, reveals=True)
        request = ApprovalRequest(tool.name, written, self._run.agent, self._turn.number, context)
        try:
            given = await self._wait(self._ask(approve, request))
        except GivenUp:
            raise
        except (Exception, SystemExit) as error:
            raise undecided(tool.name, f"{type(error).__name__}: {error}") from error
        decision = read_decision(given, tool.name)
        if isinstance(decision, Reject):
            return tell_denied(tool, decision.reason)
        if isinstance(decision, Stop):
            return tell_stopped(tool, decision.reason)
        if isinstance(decision, Modify):
            return self._change(decision)
        return None

    async def _ask(self, approve: Callable[[Any], Any], request: ApprovalRequest) -> Any:
        if is_coroutine_function(approve):
            return await self._run.outside.call_home(approve, request)
        return await self._call_in_thread(partial(approve, request))

    def _change(self, decision: Modify) -> Finding | None:
        """Take the arguments of whoever approves in place of the model's, which is told them without secrets."""
        changed = self._tool.signature.check(dict(decision.arguments))
        if changed.values is None:
            return tell_denied(self._tool, f"the arguments it was to be made with do not fit:\n{changed.render()}")
        self._arguments = changed
        self._given = keep_json(self._tool.signature.write(changed))
        self._told = f"`{self._tool.name}` was called with other arguments than yours: {show_arguments(self._given)}\n"
        self._repairs = (*self._repairs, "changed by whoever approves")
        return None


class _Work:
    """A plain function in a thread, which may outlive whoever waits for it."""

    __slots__ = ("_chance", "_fn", "_is_at_work")

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._fn = fn
        self._is_at_work = True
        self._chance = [True]  # taken once, by the thread that begins or by whoever gives it up before

    def __call__(self) -> Any:
        if not self._take_chance():
            return None
        try:
            return self._fn()
        except (SystemExit, KeyboardInterrupt) as error:
            raise Exited(error) from None
        finally:
            self._is_at_work = False

    def goes_on(self) -> bool:
        """Whether it has begun and not ended, now that it is given up; if it has not begun, it never will."""
        return not self._take_chance() and self._is_at_work

    def has_ended(self) -> bool:
        """Whether it is at work no more."""
        return not self._is_at_work

    def _take_chance(self) -> bool:
        try:
            return self._chance.pop()
        except IndexError:
            return False


def _pack(result: Any) -> bytes:
    """A result as JSON, which an isolated tool's is already."""
    return result.body if type(result) is Packed else pack_result(result)


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable
