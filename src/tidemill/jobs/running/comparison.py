"""What was estimated before a run, beside what its calls came to."""

from __future__ import annotations

from tidemill.jobs.running.report import Report

_SAME_RATIO = 0.0005
"""What is apart by less is shown as the same."""


def compare_estimate(report: Report) -> str:
    """The estimate of the records done, and how far from it the calls came to.

    Empty where there was none, where replies of an earlier run were used, which no estimate knows of, and of a run that
    was ended before: its calls are also those of records that are not done.
    """
    estimate, calls = report.estimate, report.calls
    if not estimate or not estimate["records"] or not report.done or report.reused:
        return ""
    if report.outcome not in ("finished", "limit"):
        return ""
    share = 1.0 if report.outcome == "finished" else min(1.0, report.done / estimate["records"])

    def find(name: str) -> float | None:
        return None if estimate[name] is None else estimate[name] * share

    has_turns = any(step.get("has_turns") for step in estimate["steps"])
    at_least = has_turns or any(step.get("shares_requests") for step in estimate["steps"])
    most_input = None if has_turns else find("input_tokens")
    parts = [
        _compare(calls["calls"], find("calls"), None if at_least else find("calls"), "calls"),
        _compare(calls["input_tokens"], find("input_tokens"), most_input, "tokens in"),
    ]
    if estimate["output_tokens_high"] != 0:
        low, high = find("output_tokens_low"), find("output_tokens_high")
        parts.append(_compare(calls["output_tokens"], low, high, "tokens out"))
    if estimate["usd_low"] is not None:
        parts.append(_compare(calls["usd"], find("usd_low"), find("usd_high"), "USD", form=",.3g"))
    return f"estimated before: {', '.join(parts)}"


def _compare(value: float, low: float | None, high: float | None, unit: str, *, form: str = ",.0f") -> str:
    """What was estimated, and in brackets where `value` stands: `1,200 calls (came to 3.1 % more)`."""
    low = low or 0.0
    shown = f"{low:{form}}" if low == high else f"{low:{form}} to {high:{form}}" if high else f"{low:{form}} or more"
    if low and value < low * (1 - _SAME_RATIO):
        told = f"came to {100 * (1 - value / low):.1f} % less"
    elif high and value > high * (1 + _SAME_RATIO):
        told = f"came to {100 * (value / high - 1):.1f} % more"
    else:
        told = "came to that" if low == high else "came to within"
    return f"{shown} {unit} ({told})"
