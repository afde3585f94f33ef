"""Trials: a few records through a pipeline with every request and reply laid open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.calls.budget import Pricing
from tidemill.calls.wire import Request
from tidemill.config.secrets import mask, mask_value
from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.keeping import place_folders
from tidemill.data.nodes.node import Node, split_halves, step_names
from tidemill.jobs.live.single import OnCall, SingleRun
from tidemill.jobs.records.outcomes import describe_error, is_failure_of_run
from tidemill.models.messages import Reply
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Embedding
from tidemill.models.steps.lines import Kept
from tidemill.protocols import Source
from tidemill.resources.bridge import Bridge

SHOWN_CHARACTERS = 160
"""Of each value in a trial's `repr`."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a trial.

    Attributes:
        step: the step that made it.
        request: the body as sent, secrets masked.
        reply: the text that came back, secrets masked; None when nothing was sent.
        input_tokens, output_tokens: as the server counted, None when it did not say.
        cost_usd: at the model's price, None without one.
    """

    step: str
    request: Any
    reply: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(slots=True, repr=False)
class Trial:
    """What became of one record.

    Attributes:
        record: as it came out of the source half; None when it failed there.
        exchanges: its calls, in order.
        result: the record at the end, None when it was dropped; a list behind a `flat_map`.
        error: type and message when it failed, secrets masked.
    """

    record: Any
    exchanges: list[Exchange] = field(default_factory=list)
    result: Any = None
    error: dict[str, str] | None = None

    def __repr__(self) -> str:
        lines = [f"<Trial: {_shorten(self.record)}"]
        for exchange in self.exchanges:
            tokens = (
                f" ({exchange.input_tokens} tokens in, {exchange.output_tokens} out)" if exchange.input_tokens else ""
            )
            cost = f" ${exchange.cost_usd:.6f}" if exchange.cost_usd is not None else ""
            asked = _shorten(_show_request(exchange.request))
            lines.append(f"   {exchange.step}: {asked} → {_shorten(exchange.reply)}{tokens}{cost}")
        if self.error is not None:
            lines.append(f"   failed: {self.error['type']}: {self.error['message']}")
        else:
            lines.append(f"   result: {_shorten(self.result)}")
        return "\n".join(lines) + ">"


def _shorten(value: Any) -> str:
    text = mask(repr(value))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _show_request(body: Any) -> Any:
    """Of a conversation the last message, of a request for vectors the text, of another all of it."""
    if not isinstance(body, dict):
        return body
    return body["messages"][-1]["content"] if "messages" in body else body.get("input", body)


def _show_reply(reply: Kept) -> str:
    if isinstance(reply, Reply):
        called = (f"{call['name']}({call['arguments']})" for call in reply.tool_calls)
        return reply.text or reply.refusal or "; ".join(called)
    if isinstance(reply, ToolOutcome):
        return reply.content
    if isinstance(reply, Embedding):
        return reply.describe()
    return orjson.dumps(reply.to_row()[0]).decode()


class _NotSent(Exception):  # noqa: N818 - ends a record's trial before its first call, on purpose
    pass


def run_trials(source: Source, nodes: Sequence[Node], count: int, *, folder: Path, call: bool = True) -> list[Trial]:
    """The first `count` records of the source half, tried; nothing is written.

    A step behind a call that looks across records ends the trial: it has only these few to look at.

    Args:
        call: False stops each record before its first request is sent and shows that request.

    Raises:
        ConfigError, DataError: nothing can be tried.
        CallError, ResourceError: the run would stop: credentials, an unknown model, an endpoint that is not there, a
            database that does not take the query.
    """
    before, rest = split_halves(tuple(nodes))
    end = next((index for index, node in enumerate(rest) if not node.record_wise), len(rest))
    steps, tail = rest[:end], rest[end:]
    if tail and isinstance(tail[0], Take):
        count = min(count, tail[0].count)
    names = step_names(tuple(nodes))[len(before) :][:end]
    prices = {
        f"{name}.{label}" if label else name: Pricing(price)
        for name, node in zip(names, steps, strict=True)
        for label, _, call in (node.iter_calls() if isinstance(node, CallNode) else ())
        if (price := call.find_price()) is not None
    }
    with TemporaryDirectory(prefix="tidemill-") as kept:
        trials = list(islice(_iter_trials(source, place_folders(before, Path(kept))), count))
    with Bridge() as bridge:
        bridge.run(_try_all(trials, SingleRun(steps, folder=folder, names=names, send=call), prices, call))
    return trials


def _iter_trials(source: Source, before: Sequence[Node]) -> Iterator[Trial]:
    """A trial for each record at the end of the source half; one that failed there has its error."""
    records = iterate(source, before)
    try:
        while True:
            try:
                yield Trial(next(records))
            except StopIteration:
                return
            except Exception as exc:  # what a record fails with is what a trial is there to show
                if is_failure_of_run(exc):
                    raise
                yield Trial(None, error=describe_error(exc))
    finally:
        records.close()


async def _try_all(trials: Sequence[Trial], run: SingleRun, prices: Mapping[str, Pricing], call: bool) -> None:
    async with run:
        for trial in trials:
            if trial.error is None:
                await _try(trial, run, partial(_note, trial, prices, call))


async def _try(trial: Trial, run: SingleRun, on_call: OnCall) -> None:
    try:
        trial.result = await run.run(trial.record, on_call)
    except _NotSent:
        return
    except Exception as exc:
        if is_failure_of_run(exc):
            raise
        trial.error = describe_error(exc)


def _note(
    trial: Trial, prices: Mapping[str, Pricing], call: bool, step: str, request: Request, reply: Kept | None
) -> None:
    body = mask_value(orjson.loads(request.body))
    if reply is None:
        trial.exchanges.append(Exchange(step, body))
        if not call:
            raise _NotSent
        return
    usage = reply.usage
    waiting = (i for i, each in enumerate(trial.exchanges) if each.request == body and each.reply is None)
    asked = next(waiting)  # of several samples that ask the same, the first
    trial.exchanges[asked] = Exchange(
        step,
        body,
        mask(_show_reply(reply)),
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost_usd=prices[step].cost(usage).usd if usage and step in prices else None,
    )
