"""What the far side says is left of its limits, in the headers of its replies."""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from tidemill.calls.admission.quota import Cost

MEASURES: Final = ("requests", "tokens", "input_tokens", "output_tokens")

SLOPE_S: Final = 1.0
"""What comes back is judged over so long."""
LONGEST_WAIT_S: Final = 2.0
"""After so long without news a request asks for some, where the far side did not say when it has more."""
MOVING_WAIT_S: Final = 0.5
"""The same where the time it said moves on: what comes back then comes bit by bit."""
MOVED_S: Final = 0.1
"""A reset told to be later by so much has moved: less may be rounding."""
SPREAD: Final = 1.05
SPREAD_S: Final = 1.0
"""What is sent a second: what comes back and a twentieth more, and what is left over so long."""
WINDOW_PARTS: Final = 8
SAME_RATIO: Final = 0.02
"""A reset told when this part of all there is was used up, and one before: so near they are the same."""
FULL_RATIO: Final = 0.75
"""With so much left of all there is, what comes back may find no room."""
SLACK_S: Final = 0.05
"""A timer that comes late is made up for, so far."""
_KEPT: Final = 4096

_TELLING: Final = frozenset(
    name.format(measure.replace("_", "-"))
    for measure in MEASURES
    for name in ("x-ratelimit-remaining-{}", "anthropic-ratelimit-{}-remaining")
)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)


class Told(NamedTuple):
    """What one reply says of one measure: what is left, of how much, and in how many seconds all of it is back."""

    measure: str
    remaining: float
    limit: float | None
    reset_s: float | None


def find_told(headers: Mapping[str, str], *, wall_s: float) -> list[Told]:
    """What the headers of a reply say is left; what makes no sense is passed over.

    Sources: the "Rate limits" pages of OpenAI's API (`x-ratelimit-remaining-requests`, resets as `6m0s`), which
    others copy, and of Anthropic's (`anthropic-ratelimit-requests-remaining`, resets as RFC 3339 times).

    Args:
        headers: found by lower-case name.
        wall_s: seconds since the epoch now.
    """
    return list(_iter_told(headers, wall_s))


def tells_allowance(headers: Mapping[str, str]) -> bool:
    """Whether `find_told` is worth asking."""
    return not _TELLING.isdisjoint(headers)


def _iter_told(headers: Mapping[str, str], wall_s: float) -> Iterator[Told]:
    for measure in MEASURES:
        name = measure.replace("_", "-")
        remaining = _parse_number(headers.get(f"x-ratelimit-remaining-{name}"))
        if remaining is not None:
            limit = _parse_number(headers.get(f"x-ratelimit-limit-{name}"))
            yield Told(measure, remaining, limit, _parse_duration(headers.get(f"x-ratelimit-reset-{name}")))
            continue
        remaining = _parse_number(headers.get(f"anthropic-ratelimit-{name}-remaining"))
        if remaining is not None:
            limit = _parse_number(headers.get(f"anthropic-ratelimit-{name}-limit"))
            reset_at = _parse_time(headers.get(f"anthropic-ratelimit-{name}-reset"))
            yield Told(measure, remaining, limit, None if reset_at is None else max(0.0, reset_at - wall_s))


def _parse_number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"-?\d{1,15}(\.\d+)?", text.strip(), re.ASCII) else None


def _parse_duration(text: str | None) -> float | None:
    """Seconds in `6m0s`, `17ms`, `1.5s`, or a bare number of them."""
    text = (text or "").strip()
    if not text:
        return None
    if (number := _parse_number(text)) is not None:
        return max(0.0, number)
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _parse_time(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):  # no time: then it did not say
        return None


class Allowance:
    """What is left of one measure at the far side, now; a pure state machine.

    Between two replies it is what the last one said, less what was sent since, and more by what comes back meanwhile,
    which is judged by how the sum of what is left and what was let through has grown lately. So an allowance that
    changes is followed within a second, up and down, without a refusal. It is not sent all at once, so that a window
    that slides fills evenly. Where none is left and the reset told moves on with every reply, as such a window's does,
    one asks now and then; a reset that stands is waited for.

    Args:
        measure: what is counted.
        most: what there is at most, as far as is known; more may be told.
    """

    def __init__(self, measure: str, most: float = 0.0) -> None:
        self.measure = measure
        self._most = most
        self._sent = 0.0
        self._told_of = -1.0
        self._told_at = 0.0
        self._remaining = float("inf")
        self._reset_at: float | None = None
        self._limit: float | None = None
        self._sums: deque[tuple[float, float, float]] = deque()
        self._refused: list[tuple[float, float]] = []
        self._slope = 0.0
        self._next_at = float("-inf")
        self._moves = False
        self._window_s: float | None = None  # of one that slides
        self._noted = Told(measure, 0.0, None, None)
        self._news_at = float("-inf")

    def send(self, now: float, cost: Cost) -> float:
        """An attempt goes; its place in the sum of what was sent."""
        amount = cost.measure(self.measure)
        left = max(self.left(now), 1.0)
        rate = SPREAD * self._slope + left / SPREAD_S
        if self._window_s:
            rate = min(rate, (self._most + left) / self._window_s)
        self._next_at = max(self._next_at, now - SLACK_S) + amount / rate
        self._sent += amount
        self._news_at = now
        return self._sent

    def refuse(self, place: float, cost: Cost) -> None:
        """The attempt of this place was refused: it took nothing."""
        insort(self._refused, (place, float(cost.measure(self.measure))))
        del self._refused[:-_KEPT]

    def note(self, told: Told, *, place: float, sent_at: float, now: float) -> None:
        """The reply to the attempt of this place said this; one to an older attempt than the last says nothing new."""
        if place <= self._told_of:
            return
        self._told_of = place
        self._news_at = now
        self._told_at = sent_at
        self._remaining = told.remaining
        self._limit = told.limit
        self._most = max(self._most, told.remaining)
        reset_at = None if told.reset_s is None else now + told.reset_s
        if reset_at is not None and self._reset_at is not None:
            # Told to be later than it was told to be: a window that slides, or a bucket.
            self._moves = now < self._reset_at and (self._moves or reset_at > self._reset_at + MOVED_S)
        self._reset_at = reset_at
        self._note_window(told)
        position = bisect_right(self._refused, (place, float("inf")))
        let_through = place - sum(cost for _, cost in self._refused[:position]) if position else place
        self._note_sum(sent_at, told.remaining, let_through)

    def _note_window(self, told: Told) -> None:
        """A window slides whose reset is told to be as far off as before, whatever is left: it is as long as that.

        A bucket's is as far off as it is empty. What goes into a window in one burst comes out of it in one.
        """
        if told.reset_s is None or told.remaining > self._noted.remaining:
            self._noted = told
        elif self._noted.reset_s is not None and self._noted.remaining - told.remaining >= self._most / WINDOW_PARTS:
            is_same = abs(told.reset_s - self._noted.reset_s) <= SAME_RATIO * told.reset_s
            self._window_s = told.reset_s if is_same and self._moves else None
            self._noted = told

    def _note_sum(self, at: float, left: float, let_through: float) -> None:
        sums = self._sums
        sums.append((at, left + let_through, let_through))
        while len(sums) > 2 and at - sums[1][0] >= SLOPE_S:
            sums.popleft()
        began_at, total, before = sums[0]
        span_s = at - began_at
        if span_s < SLOPE_S / 4:
            return
        slope = max(0.0, (left + let_through - total) / span_s)
        if left >= FULL_RATIO * self._most:  # where as good as all is there, no more is seen to come than was taken
            slope = max(self._slope, min(slope, (let_through - before) / span_s))
        self._slope = slope

    def left(self, now: float) -> float:
        """What may be sent now."""
        if self._remaining == float("inf"):
            return self._remaining
        since = self._since
        left = self._remaining - since + self._slope * (now - self._told_at)
        if self._is_reset(now):
            left = max(left, self._most - since)
        return min(left, self._most)  # the limit told may be that of a minute, and what is left never so much

    @property
    def _since(self) -> float:
        """What was sent, and not refused, since the attempt that the last note was about."""
        position = bisect_right(self._refused, (self._told_of, float("inf")))
        return self._sent - self._told_of - sum(cost for _, cost in self._refused[position:])

    def _is_reset(self, now: float) -> bool:
        return self._reset_at is not None and now >= self._reset_at

    def wait_s(self, now: float, cost: Cost) -> float:
        """Seconds until `cost` may be sent, at most 0.0 for now."""
        is_due = self._moves or self._reset_at is None or now >= self._reset_at
        if (self._is_reset(now) and self._since <= 0.0) or (is_due and now >= self._news_at + self._patience_s):
            return 0.0  # more may be back: one goes to ask how much that is
        if now < self._next_at:
            return self._next_at - now
        needed = min(cost.measure(self.measure), self._limit or float("inf")) - self.left(now)
        if needed <= 0.0:
            return 0.0
        if self._slope > 0.0:
            wait_s = needed / self._slope
        else:
            wait_s = self._news_at + self._patience_s - now
        if self._reset_at is not None and self._reset_at > now:
            reset_s = self._reset_at - now
            wait_s = reset_s if self._slope <= 0.0 and not self._moves else min(wait_s, reset_s)
        return wait_s

    @property
    def _patience_s(self) -> float:
        """How long without news one waits before one asks."""
        return MOVING_WAIT_S if self._moves else LONGEST_WAIT_S
