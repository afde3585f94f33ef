"""Trials: a few records through a pipeline with every request and reply laid open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from tidemill.calls.bridge import Bridge
from tidemill.calls.budget import Pricing
from tidemill.calls.wire import Request
from tidemill.config.secrets import mask
from tidemill.data.iteration import iterate
from tidemill.data.nodes import Node, split_halves, step_names
from tidemill.jobs.rows import describe_error
from tidemill.jobs.single import SingleRun
from tidemill.models.generate import Generate
from tidemill.models.messages import Reply
from tidemill.protocols import Source


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a trial.

    Attributes:
        step: the step that made it.
        request: the body as sent, without credentials.
        reply: the text that came back, None when nothing was sent.
        input_tokens, output_tokens: as the server counted, None when it did not say.
        cost_usd: at the model's price, None without one.
    """

    step: str
    request: Any
    reply: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(slots=True)
class Trial:
    """What became of one record.

    Attributes:
        record: as it came out of the source half.
        exchanges: its calls, in order.
        result: the record at the end, None when it was dropped; a list behind a `flat_map`.
        error: type and message when it failed, secrets masked.
    """

    record: Any
    exchanges: list[Exchange] = field(default_factory=list)
    result: Any = None
    error: dict[str, str] | None = None


class _NotSent(Exception):  # noqa: N818 - ends a record's trial before its first call, on purpose
    pass


def run_trials(source: Source, nodes: Sequence[Node], count: int, *, folder: Path, call: bool = True) -> list[Trial]:
    """The first `count` records of the source half, tried; nothing is written.

    Args:
        call: False stops each record before its first request is sent and shows that request.

    Raises:
        ConfigError, DataError, CallError of the run: nothing can be tried.
    """
    before, steps = split_halves(tuple(nodes))
    names = step_names(tuple(nodes))[len(before) :]
    prices = {
        name: Pricing(node.model.price)
        for name, node in zip(names, steps, strict=True)
        if isinstance(node, Generate) and node.model.price is not None
    }
    records = iterate(source, before)
    try:
        trials = [Trial(record) for record in islice(records, count)]
    finally:
        records.close()
    with Bridge() as bridge:
        for trial in trials:
            run = SingleRun(steps, folder=folder, names=names, on_call=partial(_note, trial, prices, call))
            bridge.run(_try(trial, run))
    return trials


def _note(
    trial: Trial, prices: dict[str, Pricing], call: bool, step: str, request: Request, reply: Reply | None
) -> None:
    body = orjson.loads(request.body)
    if reply is None:
        trial.exchanges.append(Exchange(step, body))
        if not call:
            raise _NotSent
        return
    usage = reply.usage
    cost_usd = prices[step].cost(usage).usd if usage and step in prices else None
    trial.exchanges[-1] = Exchange(
        step,
        body,
        mask(reply.text),
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost_usd=cost_usd,
    )


async def _try(trial: Trial, run: SingleRun) -> None:
    async with run:
        try:
            trial.result = await run.run(trial.record)
        except _NotSent:
            return
        except Exception as exc:  # noqa: BLE001 - what a record fails with is what a trial is there to show
            trial.error = describe_error(exc)
