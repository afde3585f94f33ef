"""What a pipeline's calls will come to: tokens, cost and hours, from a sample of its records; nothing is called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tidemill.calls.admission.quota import SHARE_RATIO
from tidemill.calls.budget import Pricing
from tidemill.calls.limits import Limits
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.node import Node, split_halves, step_names
from tidemill.data.nodes.single import Drop, Rename, Select
from tidemill.data.steps.functions import record_function
from tidemill.errors import ConfigError, DataError, TidemillError
from tidemill.jobs.live.asking import Asked, StandIn, StepAsking, open_asking, price_tokens
from tidemill.jobs.live.sampling import Sample, SampleLimits, sample_source
from tidemill.jobs.records.outcomes import explain_error
from tidemill.models.model import Model
from tidemill.models.steps.calling import CallNode
from tidemill.models.tokens import TokenCounter, find_counter
from tidemill.protocols import Source

_FOLLOWED = (Select, Drop, Rename)
"""Steps behind a call that are gone through; a user's functions are not called with what nobody has replied."""

ERRORS = 2.0
"""Standard errors of what was measured that the low and the high figure lie apart from it."""
LEAST_ERROR = 0.02
"""Apart from it they lie at least, since other records than those measured are asked about."""
LEAST_SHARE = 1e-9
"""A smaller part of a request is an error of the sum."""
LEAST_MEASURED = 20
"""Records that must have been asked about for what was measured to be gone by."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step's calls came to in an earlier run, for each record that it asked about: samples and re-asks too.

    Attributes:
        records: how many it asked about.
        calls, input_tokens, output_tokens: of one record, on average.
        output_error: the standard error of `output_tokens`.
    """

    records: int
    calls: float
    input_tokens: float
    output_tokens: float
    output_error: float


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """What one step's calls will come to; as `Estimate` has it for all.

    Attributes:
        input_basis, output_basis: what the tokens of requests and of replies were told from; empty where there are
            none.
        shares_requests: whether several records go out in one, so that `calls` is the fewest there can be.
        has_turns: whether more calls may follow each, as of an agent: calls, tokens and cost are then the fewest.
    """

    step: str
    model: str
    calls: float
    input_tokens: float
    output_tokens_low: float
    output_tokens_high: float | None
    usd_low: float | None
    usd_high: float | None
    input_basis: str
    output_basis: str
    shares_requests: bool = False
    has_turns: bool = False

    def describe_basis(self) -> str:
        """What its tokens were told from, for people."""
        return "; ".join(filter(None, (self.input_basis, self.output_basis)))


@dataclass(frozen=True, slots=True, repr=False)
class Estimate:
    """What the calls of a pipeline will come to, retries left out, and re-asks where none were measured.

    Attributes:
        records: that come to the first call.
        calls: requests; where records share some, or an agent asks, the fewest there can be.
        input_tokens: of the requests, as the server will count them; where an agent asks, the fewest.
        output_tokens_low, output_tokens_high: of the replies; the high one is None where nothing bounds them.
        usd_low, usd_high: their cost without any cached input; None where a price, or the bound, is missing.
        hours: how long the models' limits per minute make them take; None without such limits.
        steps: the same for each step that calls.
        sampled, read: records that were asked about for it, of how many that were read.
        is_exact: whether the number of records is no estimate.
        is_partial: whether it is not known how much there is in all: then all of this is of what was read.
        notes: what it leaves out.
    """

    records: float
    calls: float
    input_tokens: float
    output_tokens_low: float
    output_tokens_high: float | None
    usd_low: float | None
    usd_high: float | None
    hours: float | None
    steps: Sequence[StepEstimate]
    sampled: int
    read: int
    is_exact: bool = False
    is_partial: bool = False
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        return "<Estimate: " + "\n   ".join(self.describe()) + ">"

    def describe(self) -> list[str]:
        """The estimate in lines, for people."""
        about = "" if self.is_exact else "about "
        more = " or more" if any(step.shares_requests or step.has_turns for step in self.steps) else ""
        most_input = None if any(step.has_turns for step in self.steps) else self.input_tokens
        lines = [f"{about}{self.records:,.0f} records, {self.calls:,.0f}{more} calls{_show_hours(self.hours)}"]
        lines.append(
            f"{_show_range(self.input_tokens, most_input, _show_count)} tokens in, "
            f"{_show_range(self.output_tokens_low, self.output_tokens_high, _show_count)} out"
            + ("" if self.usd_low is None else f", {_show_range(self.usd_low, self.usd_high, _show_usd)}")
        )
        lines += [f"{step.step}: {step.describe_basis()}" for step in self.steps if step.model]
        if self.is_partial:
            lines.append(f"of the {self.read:,} records read: how many there are in all is not known")
        else:
            lines.append(f"from {self.sampled:,} of {self.read:,} records read")
        return [*lines, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    """What a step's calls come to over the sample."""

    name: str
    node: CallNode
    asking: StepAsking
    measured: Measured | None
    asked: list[Asked] = field(default_factory=list)

    @property
    def model(self) -> Model | None:
        return self.node.find_model()

    def scale(self, factor: float) -> StepEstimate:
        """The estimate for `factor` times the sample."""
        calls, tokens, low, high = self._sum()
        has_turns = self.asking.has_turns and self.measured is None
        high = None if has_turns else high
        price = self.node.find_price()
        usd_low = usd_high = 0.0 if self.model is None else None
        if price is not None:
            pricing = Pricing(price)
            usd_low = price_tokens(pricing, calls, tokens, low) * factor
            usd_high = None if high is None else price_tokens(pricing, calls, tokens, high) * factor
        return StepEstimate(
            self.name,
            "" if self.model is None else self.model.model,
            float(math.ceil(calls * factor - LEAST_SHARE)) if self.asking.shares_requests else calls * factor,
            tokens * factor,
            low * factor,
            None if high is None else high * factor,
            usd_low,
            usd_high,
            *self._tell_basis(),
            shares_requests=self.asking.shares_requests,
            has_turns=has_turns,
        )

    def _sum(self) -> tuple[float, float, float, float | None]:
        """Calls, input tokens, and output tokens low and high, of the whole sample."""
        calls = sum(each.calls for each in self.asked)
        tokens = sum(each.input_tokens for each in self.asked)
        found = self.measured
        if found is not None:
            count, apart = len(self.asked), max(ERRORS * found.output_error, LEAST_ERROR * found.output_tokens)
            low, high = found.output_tokens - apart, found.output_tokens + apart
            return count * found.calls, count * found.input_tokens, count * max(low, 0.0), count * high
        low = sum(each.least_tokens for each in self.asked)
        most = [each.most_tokens for each in self.asked]
        return calls, tokens, low, None if None in most else sum(each for each in most if each is not None)

    def _tell_basis(self) -> tuple[str, str]:
        if self.model is None:
            return "", ""
        basis = f"tokens in by {self.asking.basis}"
        if not self.asking.has_output:
            return basis, ""
        if self.measured is not None:
            told = f"as {self.measured.records:,} records came to in the run"
            return f"tokens in {told}", f"tokens out {told}"
        is_bounded = all(each.most_tokens is not None for each in self.asked)
        return basis, f"tokens out {'up to max_tokens' if is_bounded else 'unbounded'}"


def estimate_calls(
    source: Source,
    nodes: Sequence[Node],
    *,
    folder: Path,
    limits: SampleLimits = SampleLimits(),  # noqa: B008 - frozen
    limit: int | None = None,
    measured: Mapping[str, Measured] | None = None,
) -> Estimate:
    """What the calls of `source` behind `nodes` will come to.

    Records are read and taken through the steps in front of the first call, whose functions are called; the requests
    are built. Functions behind a call are not called: they are taken to keep every record.

    Args:
        folder: what relative paths of images are relative to.
        limits: how much is read for it.
        limit: the most records of the source half.
        measured: what steps came to in an earlier run, by name.

    Raises:
        ConfigError: there is no step that calls, or the source can be gone through only once.
        DataError: every record tried fails; or the source cannot be read.
        ResourceError: the source cannot be read.
    """
    before, rest = split_halves(tuple(nodes))
    if not any(any(node.iter_calls()) for node in rest if isinstance(node, CallNode)):
        raise ConfigError("no step makes calls, and there is nothing to estimate")
    names = step_names(tuple(nodes))[len(before) :]
    sample = sample_source(source, before, limits)
    total, is_partial = sample.total, False
    demand = _find_demand(rest, limit)
    if total is None:
        total, is_partial = (float(sample.given), True) if demand is None else (float(demand), False)
    elif demand is not None:
        total = min(total, float(demand))
    measured = {name: found for name, found in (measured or {}).items() if found.records >= LEAST_MEASURED}
    walk = _Walk(rest, names, folder, measured)
    for record, place in zip(sample.records, sample.places, strict=True):
        walk.ask(record, place)
    _check_some_pass(walk, sample)
    return _sum_up(walk, sample, total, is_partial=is_partial)


def _find_demand(rest: Sequence[Node], limit: int | None) -> int | None:
    """The most records that are asked about."""
    taken = [node.count for node in rest if isinstance(node, Take)]
    bounds = [*taken, *([] if limit is None else [limit])]
    return min(bounds, default=None)


class _Walk:
    """Takes sampled records through a record half, with stand-ins for what calls would give."""

    def __init__(
        self, rest: Sequence[Node], names: Sequence[str], folder: Path, measured: Mapping[str, Measured]
    ) -> None:
        self.failed = 0
        self.failure: DataError | None = None
        self.notes: dict[str, None] = {}
        self.tallies: list[_Tally] = []
        self._steps: list[tuple[str, Node, list[_Tally]]] = []
        counters: dict[str, TokenCounter] = {}
        for node, name in zip(rest, names, strict=True):
            tallies: list[_Tally] = []
            for label, _, each in node.iter_calls() if isinstance(node, CallNode) else ():
                model = each.find_model()
                counter = None if model is None else counters.setdefault(model.model, find_counter(model.model))
                called = f"{name}.{label}" if label else name
                found = None if label else measured.get(name)  # of a run, what all branches together came to is known
                tallies.append(_Tally(called, each, open_asking(each, counter, folder), found))
            self.tallies += tallies
            self._steps.append((name, node, tallies))
        self._first = next(tallies for _, _, tallies in self._steps if tallies)

    def ask(self, record: Any, place: str) -> None:
        """What each step asks about the record of `place`, as far as it can be followed."""
        for name, node, tallies in self._steps:
            if tallies:
                given = {}
                for tally in tallies:
                    asked = self._ask_one(tally, record, place)
                    if asked is None:
                        return
                    tally.asked.append(asked)
                    low, high = asked.least_tokens, asked.most_tokens
                    middle = low if high is None else (low + high) / 2
                    if tally.asking.into:
                        given[tally.asking.into] = tally.asking.stand_in(middle)
                record = {**record, **given}
            elif isinstance(node, CallNode):
                record = {**record, **dict.fromkeys(node.column_types(), StandIn())}
            elif isinstance(node, _FOLLOWED):
                try:
                    record = record_function(node, name)(record)
                except Exception:  # noqa: BLE001 - a column that a function would have added
                    return
            elif node.record_wise:
                self.notes[f"{name}: not called; as if it kept every record as it is"] = None

    def _ask_one(self, tally: _Tally, record: Any, place: str) -> Asked | None:
        """What one call asks about `record`; None where it cannot be followed any further."""
        try:
            return tally.asking.ask(record)
        except DataError as exc:
            if tally in self._first:
                self.failed += 1
                exc.where = f"{place}, step `{tally.name}`" + (f", {exc.where}" if exc.where else "")
                self.failure = self.failure or exc
                return None
            # What it needs comes from a function, or is none of what stands in for a reply.
            self.notes[f"{tally.name}: what it asks follows from replies, and is not in it"] = None
            return None if tally.measured is None else Asked()


def _check_some_pass(walk: _Walk, sample: Sample) -> None:
    """Check that a record comes as far as being asked about, where any was read.

    Raises:
        DataError: all of them fail.
    """
    failure = sample.failure or walk.failure
    if failure is None or walk.failed < len(sample.records):
        return
    tried = walk.failed + sample.failed
    raise DataError(
        f"{f'all {tried:,} records' if tried > 1 else 'the one record'} tried would fail: {_tell_failure(failure)}",
        hint=failure.hint if isinstance(failure, TidemillError) else "",
    ) from failure


def _tell_failure(failure: BaseException) -> str:
    """What a record fails with, in a line."""
    return explain_error(failure).splitlines()[0]


def _sum_up(walk: _Walk, sample: Sample, total: float, *, is_partial: bool) -> Estimate:
    factor = total / len(sample.records) if sample.records else 0.0
    steps = [tally.scale(factor) for tally in walk.tallies]
    tokens_high, usd_low, usd_high = (
        None if None in values else sum(value for value in values if value is not None)
        for values in (
            [step.output_tokens_high for step in steps],
            [step.usd_low for step in steps],
            [step.usd_high for step in steps],
        )
    )
    for failed, tried, failure in (
        (sample.failed, f"{sample.read:,} records read", sample.failure),
        (walk.failed, f"{len(sample.records):,} records tried", walk.failure),
    ):
        if failure is not None:
            walk.notes[f"{failed:,} of {tried} fail, first: {_tell_failure(failure)}"] = None
    return Estimate(
        records=total,
        calls=sum(step.calls for step in steps),
        input_tokens=sum(step.input_tokens for step in steps),
        output_tokens_low=sum(step.output_tokens_low for step in steps),
        output_tokens_high=tokens_high,
        usd_low=usd_low,
        usd_high=usd_high,
        hours=_find_hours(walk.tallies, steps),
        steps=tuple(steps),
        sampled=len(sample.records),
        read=sample.read,
        is_exact=sample.is_whole,
        is_partial=is_partial,
        notes=tuple(walk.notes),
    )


def _find_hours(tallies: Sequence[_Tally], steps: Sequence[StepEstimate]) -> float | None:
    """How long the limits per minute make the calls take, at the high figures: the slowest of those that share some."""
    shared: dict[Any, tuple[Limits, list[StepEstimate]]] = {}
    for tally, step in zip(tallies, steps, strict=True):
        model = tally.model
        if model is not None:
            key = model.limits.name or (model.model, model.base_url, repr(model.limits))
            shared.setdefault(key, (model.limits, []))[1].append(step)
    minutes: list[float] = []
    for limits, together in shared.values():
        rates = limits.to_rates()
        inputs = sum(step.input_tokens for step in together)
        outputs = sum(step.output_tokens_high or step.output_tokens_low for step in together)
        calls = sum(step.calls for step in together)
        used = zip(rates, (calls, inputs + outputs, inputs, outputs), strict=True)
        minutes += [amount / (SHARE_RATIO * rate) for rate, amount in used if rate is not None]
    return max(minutes) / 60 if minutes else None


def _show_hours(hours: float | None) -> str:
    if hours is None:
        return ""
    if hours < 1:
        return f", {math.ceil(hours * 60)} min at the limits"
    return f", {hours:,.1f} h at the limits"


def _show_count(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if unit == 'k' else size):,.3g}{unit}"
    return f"{count:,.0f}"


def _show_usd(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.2g}"


def _show_range(low: float, high: float | None, show: Any) -> str:
    if high is None:
        return f"{show(low)} or more"
    return show(low) if show(low) == show(high) else f"{show(low)} to {show(high)}"
