"""What some of the calls came to, told apart by a label: a step's re-asks, a tool of an agent, a rung of a ladder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.calls.limits import PICO_USD_PER_USD
from tidemill.calls.wire import Usage


class Share:
    """The answers under one label. Written by one event loop.

    Attributes:
        calls: those that were answered; a recalled one is none.
        input_tokens, output_tokens, pico_usd: as reported by the far side.
        counts: what was counted in them, by its name.
    """

    __slots__ = ("calls", "counts", "input_tokens", "output_tokens", "pico_usd")

    def __init__(self) -> None:
        self.calls = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.pico_usd = 0
        self.counts: defaultdict[str, int] = defaultdict(int)

    @property
    def usd(self) -> float:
        """Reported cost in US dollars."""
        return self.pico_usd / PICO_USD_PER_USD

    def add(self, usage: Usage | None, pico_usd: int, names: Iterable[str] = ()) -> None:
        """One answer, and what is counted in it."""
        self.calls += 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.pico_usd += pico_usd
        for name in names:
            self.counts[name] += 1

    def merge(self, other: Share) -> None:
        """Add another share's counts to this one's."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.pico_usd += other.pico_usd
        for name, count in other.counts.items():
            self.counts[name] += count

    def to_list(self) -> list[Any]:
        """JSON of it, as a run saves it with each commit."""
        return [self.calls, self.input_tokens, self.output_tokens, self.pico_usd, dict(self.counts)]

    @classmethod
    def from_list(cls, value: list[Any]) -> Share:
        """The share `to_list` described."""
        share = cls()
        share.calls, share.input_tokens, share.output_tokens, share.pico_usd, counts = value
        share.counts.update(counts)
        return share

    def describe(self) -> Mapping[str, Any]:
        """JSON for the reader."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usd": self.usd,
            "counts": dict(sorted(self.counts.items())),
        }
