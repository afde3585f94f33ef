"""What becomes of a call that gives no result, in words: what the model is told, and what a report has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from tidemill.agents.calling.isolation import ForeignError
from tidemill.agents.calling.marking import mark_data
from tidemill.agents.calling.outcome import OutcomeKind, ToolOutcome
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.tool import Arguments, Tool
from tidemill.config.secrets import mask, mask_start
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.config.wording.words import cut
from tidemill.models.messages import ImagePart, ToolCall

ERROR_CHARS = 2_000
"""Characters of an exception's text that a report keeps, and that the model is told where the tool shows it."""


class Finding(NamedTuple):
    """What a call came to: the part of its `ToolOutcome` that is not known before."""

    kind: OutcomeKind
    content: str
    value: Any = None
    error: str = ""
    images: tuple[ImagePart, ...] = ()


def find_unknown(call: ToolCall, known: Iterable[str]) -> ToolOutcome:
    """The outcome of a call of a tool that there is not, with the name that was meant and those there are."""
    names = list(known)
    near = find_near(call["name"], names)
    meant = f"; did you mean `{near}`?" if near else "."
    there = f"The tools are {list_names(names, ' and ')}." if names else "There are no tools."
    content = f"There is no tool `{cut(call['name'])}`{meant} {there}"
    return ToolOutcome(call["name"], read_arguments(call), "unknown", content, error=content)


def find_invalid(call: ToolCall, arguments: Arguments) -> ToolOutcome:
    """The outcome of a call whose arguments do not fit, with every failing path."""
    problems = arguments.render()
    content = f"`{call['name']}` was not called, since its arguments do not fit:\n{problems}\nCall it again, corrected."
    given = read_arguments(call) if arguments.given is None else keep_json(arguments.given)
    return ToolOutcome(call["name"], given, "invalid", content, error=problems, repairs=arguments.repairs)


def find_beyond(call: ToolCall, most: int) -> ToolOutcome:
    """The outcome of a call that stands behind as many as one reply may ask for."""
    content = f"`{cut(call['name'])}` was not called: a reply may ask for {most} calls at most. Ask for it in the next."
    return ToolOutcome(call["name"], read_arguments(call), "invalid", content, error=content)


def find_spent(call: ToolCall, most: int) -> ToolOutcome:
    """The outcome of a call that stands behind as many as one run may make."""
    content = f"`{call['name']}` was not called: {most} calls were made, and no more may be."
    return ToolOutcome(call["name"], read_arguments(call), "beyond", content, error=content)


def read_arguments(call: ToolCall) -> Any:
    """A call's arguments as JSON, as far as they can be read; else the text as it came."""
    try:
        return orjson.loads(call["arguments"])
    except ValueError:
        return call["arguments"]


def keep_json(given: Any) -> Any:
    """Arguments as they can be kept: themselves, or as text where a number in them has more than 64 bits, say."""
    try:
        orjson.dumps(given)
    except TypeError:
        return json.dumps(given, sort_keys=True)
    return given


def show_arguments(kept: Any) -> str:
    """Arguments, as `keep_json` has them, in one line."""
    return kept if isinstance(kept, str) else orjson.dumps(kept).decode()


def tell_error(tool: Tool, key: str, error: BaseException, tries: int) -> Finding:
    """A tool that failed: the class of what it raised, and the text only where the tool shows it."""
    kind = error.kind if isinstance(error, ForeignError) else type(error).__name__
    text = _cut_error(str(error))
    after = f" after {tries} tries" if tries > 1 else ""
    if isinstance(error, RefusalError):
        return tell_refusal(tool, key, str(error))
    if tool.options.shows_errors and text:
        content = f"`{tool.name}` failed{after} with {kind}:\n{mark_data(tool.name, key, text)}"
    else:
        content = (
            f"`{tool.name}` failed{after} with {kind}. Try other arguments or another way; the same may fail again."
        )
    return Finding("error", content, error=f"{kind}: {text}" if text else kind)


def tell_refusal(tool: Tool, key: str, text: str) -> Finding:
    """A tool that does not do what it was asked, and says why."""
    text = _cut_error(text)
    return Finding("error", f"`{tool.name}` refused:\n{mark_data(tool.name, key, text)}", error=text)


def _cut_error(text: str) -> str:
    return mask_start(text, ERROR_CHARS).encode(errors="replace").decode()


def tell_misfit(tool: Tool, problem: str) -> Finding:
    """A tool that did its work and gave what is no JSON; `problem` names the place in it and no text of the result."""
    content = f"`{tool.name}` was executed, but what it gave cannot be told: {problem}. Do not count on its result."
    return Finding("error", content, error=problem)


def show_images(found: Finding, images: Sequence[ImagePart], *, are_seen: bool) -> Finding:
    """A result with pictures behind its text, or with the word that the model cannot see them."""
    if not are_seen:
        return found._replace(content=f"{found.content}\nThe images in it cannot be shown to you.")
    return found._replace(images=tuple(images))


def tell_died(tool: Tool, ending: str) -> Finding:
    """A tool whose process ended in the middle of the call."""
    content = f"`{tool.name}` failed: its process ended {ending} before it gave anything. The same may happen again."
    return Finding("error", content, error=f"its process ended {ending}")


def tell_timeout(tool: Tool, tries: int, left: int) -> Finding:
    """A tool that took too long.

    Args:
        left: its executions that are still running, this one among them; 0 where this one was ended.
    """
    after = f", {tries} times" if tries > 1 and not left else ""
    told = f"`{tool.name}` gave nothing within {tool.options.timeout_s:g} s{after}"
    if not left:
        return Finding("timeout", f"{told}, and was ended. Ask it for less, or go another way.", error=f"{told}; ended")
    held = "thread" if not tool.is_async else "place"
    all_left = f", as {left} of its executions are" if left > 1 else ""
    content = (
        f"{told}, and cannot be ended: it is still running, and what it does may still happen. Do not call it again "
        "for the same."
    )
    return Finding("timeout", content, error=f"{told}; it is still running and holds its {held}{all_left}")


def tell_blocked(tool: Tool, left: int) -> Finding:
    """A tool all of whose places are held by executions that outlived their time limit."""
    told = f"{left} executions of `{tool.name}` outlived their {tool.options.timeout_s:g} s and are still running"
    content = f"`{tool.name}` was not called: {told}, which is as many as it may have. Go another way."
    return Finding("error", content, error=f"not called: {told} (concurrency={tool.options.concurrency})")


def tell_denied(tool: Tool, reason: str) -> Finding:
    """A call that whoever approves has refused."""
    reason = mask(reason).strip()
    why = f": {reason}" if reason else "."
    return Finding("denied", f"The call of `{tool.name}` was refused, and it was not executed{why}", error=reason)


def tell_stopped(tool: Tool, reason: str) -> Finding:
    """A call at which whoever approves has ended the run."""
    reason = mask(reason).strip()
    why = f": {reason}" if reason else "."
    return Finding("stopped", f"At the call of `{tool.name}` the run was stopped{why}", error=reason)


def tell_cancelled(tool: Tool, why: str, tries: int, left: int = 0) -> Finding:
    """A call that was not begun, or ended, for what became of another of its turn.

    Args:
        left: its executions that are still running, this one among them; 0 where this one was ended or not begun.
    """
    if left:
        content = f"`{tool.name}` was to be ended, since {why}; it is still running, and what it does may still happen."
    elif tries:
        content = f"`{tool.name}` was ended before it gave anything, since {why}."
    else:
        content = f"`{tool.name}` was not called, since {why}."
    return Finding("cancelled", content, error=content)
