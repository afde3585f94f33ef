"""What the calls of a run came to, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WAITS = {
    "slots": "for a slot",
    "limits": "for limits",
    "endpoint": "for an endpoint that was out of order",
    "budget": "for the budget",
    "backoff": "to try again",
}
_RATES = ("input", "output", "cached_input", "cache_write")
RE_ASK = "re-ask"
"""The last part of the label of calls that asked again."""
SHOWN_WAIT_S = 0.01
"""A shorter wait of a call says nothing."""


def iter_call_lines(calls: Mapping[str, Any]) -> Iterator[str]:
    """The counts of a report's `calls`, those that are not zero, in the order a reader asks for them."""
    if calls["coalesced"]:
        yield f"{calls['coalesced']:,} calls were not sent: each took the reply of an identical one in flight"
    if not calls["calls"]:
        return
    yield (
        f"{calls['calls']:,} calls in {calls['attempts']:,} attempts, {calls['failed']:,} failed; "
        f"at most {calls['max_in_flight']:,} in flight; latency {_show_percentiles(calls['latency_s']) or 'unknown'}"
    )
    if first := _show_percentiles(calls["first_token_s"]):
        yield f"time to the first token {first}"
    yield _show_tokens(calls)
    if calls["usd"]:
        yield from (f"at {_show_price(name, price)}" for name, price in calls.get("prices", {}).items())
    yield from _iter_share_lines(calls.get("shares", {}))
    if calls["cut"]:
        yield f"{calls['cut']:,} replies were cut at max_tokens, or at the endpoint's own bound"
    if calls["failures"]:
        yield "failed attempts: " + ", ".join(f"{count:,} × {cause}" for cause, count in calls["failures"].items())
    if several := _show_attempts(calls["attempts_of_calls"]):
        yield f"attempts a call: {several}"
    if calls["unknown_usage"]:
        yield f"{calls['unknown_usage']:,} attempts may have been billed without saying what they used"
    means = {what: seconds / calls["calls"] for what, seconds in calls["waited_s"].items()}
    waits = [f"{mean:,.3g} s {_WAITS[what]}" for what, mean in means.items() if mean >= SHOWN_WAIT_S]
    if waits:
        yield f"a call waited on average {', '.join(waits)}"


def iter_compute_lines(compute: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """What each device of each step that ran a model computed."""
    for step, devices in compute.items():
        for device, did in devices.items():
            parts = [f"{did['records']:,} records in {did['batches']:,} batches on {device}"]
            parts.append(f"busy {did['busy_ratio']:.0%} of the time")
            if did.get("cut"):
                parts.append(f"{did['cut']:,} texts cut to the tokens that the model takes")
            if did["peak_bytes"]:
                parts.append(f"peak {did['peak_bytes'] / 1e6:,.0f} MB")
            if did["out_of_memory"]:
                parts.append(f"out of memory {did['out_of_memory']:,} times, now {did['batch']:,} records a batch")
            yield f"{step}: {', '.join(parts)}"


def iter_limit_lines(limits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The limits in force of each model, or step that calls without one."""
    for label, given in limits.items():
        shown = [f"{name} {value}" for name, value in given.items() if name != "concurrency_now"]
        yield f"{label}: {', '.join(shown)}; {given['concurrency_now']:,} at once now"


def _iter_share_lines(shares: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each label, its re-asks behind it."""
    for label, share in shares.items():
        above, _, last = label.rpartition("/")
        if last == RE_ASK and above in shares:
            continue
        told = [_show_share(share, "calls")]
        if again := shares.get(f"{label}/{RE_ASK}"):
            told.append(_show_share(again, "re-asks"))
        yield f"{label}: {'; '.join(told)}"


def _show_share(share: Mapping[str, Any], what: str) -> str:
    parts = [f"{share['calls']:,} {what}"]
    if share["input_tokens"] or share["output_tokens"]:
        parts += [f"{share['input_tokens']:,} tokens in", f"{share['output_tokens']:,} out"]
    if share["usd"]:
        parts.append(f"${share['usd']:,.4f}")
    return ", ".join([*parts, *(f"{count:,} {name}" for name, count in share["counts"].items())])


def _show_percentiles(seconds: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3g} s" for name, value in seconds.items() if value)


def _show_tokens(calls: Mapping[str, Any]) -> str:
    parts = {"from a cache": calls["cached_tokens"], "written to one": calls["cache_write_tokens"]}
    of_input = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    read = f"{calls['input_tokens']:,} tokens in{f' ({of_input})' if of_input else ''}"
    thought = calls["reasoning_tokens"]
    written = f"{calls['output_tokens']:,} out{f' ({thought:,} reasoning)' if thought else ''}"
    cost = f", ${calls['usd']:,.4f}" if calls["usd"] else ""
    return f"{read}, {written}{cost}"


def _show_attempts(calls: Mapping[str, int]) -> str:
    """How many calls took one attempt, two, and more; nothing when none took several."""
    one, two = calls.get("1", 0), calls.get("2", 0)
    more = sum(calls.values()) - one - two
    if not two and not more:
        return ""
    return ", ".join(f"{count:,} took {what}" for count, what in ((one, "1"), (two, "2"), (more, "3 or more")) if count)


def _show_price(name: str, price: Mapping[str, Any]) -> str:
    """The rates of a model and where they are from."""
    rates = [f"{price[rate]:g} {rate.replace('_', ' ')}" for rate in _RATES if rate in price]
    return f"{', '.join(rates)} USD per million tokens of {name}, {price['source']}"
