"""What came of the calls of `benchmarks/tools`, judged by what was executed and by the message's text alone.

The same rules for every library, and its own words count: a field is named where each name on the way to it is in the
message; a name or value is suggested where the right one is; what is expected is told where a pattern of its case is
found. What a message repeats of the arguments as they were sent says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolcall_cases import BAD, CLEAR, RIGHT, BadCall, Call
from toolcall_server import Outcome


@dataclass(frozen=True)
class Score:
    """How many of so many."""

    got: int
    of: int

    def __str__(self) -> str:
        return f"{self.got}/{self.of}"

    @property
    def is_full(self) -> bool:
        return self.got == self.of


@dataclass(frozen=True)
class Verdict:
    """What a library makes of all calls.

    Attributes:
        caught: bad calls that were not executed.
        told: those of which the model got a message; the others were executed, or ended the run.
        named: messages that name the field that is wrong.
        suggested: messages that have the name or value that was misspelt, as it should be.
        expected: messages, of the other mistakes, that tell what is expected.
        taken: calls with one clear meaning, oddly written, that were executed with just that.
    """

    caught: Score
    told: Score
    named: Score
    suggested: Score
    expected: Score
    taken: Score

    @property
    def cells(self) -> list[str]:
        """As the table has them."""
        return [str(getattr(self, name)) for name in self.__dataclass_fields__]

    @property
    def is_full(self) -> bool:
        return all(getattr(self, name).is_full for name in self.__dataclass_fields__)


def judge(outcomes: Mapping[str, Outcome]) -> Verdict:
    """The verdict over a library's outcomes.

    Raises:
        ValueError: it does not execute the call that is right, so that its errors would say nothing.
    """
    right, *odd = CLEAR
    if not is_meant(outcomes[right.name]):
        raise ValueError(f"the right call is not executed as it is: {outcomes[right.name]}")
    told = {each: read_message(outcomes[each.name], each) for each in BAD}
    return Verdict(
        caught=count([not outcomes[each.name]["executed"] for each in BAD]),
        told=count([message is not None for message in told.values()]),
        named=count([names_field(told[each] or "", each) for each in BAD if each.field]),
        suggested=count([has(told[each] or "", each.meant) for each in BAD if each.meant]),
        expected=count([tells_expected(told[each] or "", each) for each in BAD if not each.meant]),
        taken=count([is_meant(outcomes[each.name]) for each in odd]),
    )


def count(passed: Sequence[bool]) -> Score:
    return Score(sum(passed), len(passed))


def is_meant(outcome: Outcome) -> bool:
    """Whether the function was executed once, with the right arguments and its defaults for the others."""
    executed = outcome["executed"]
    return executed is not None and len(executed) == 1 and not list(iter_changes(executed[0]))


def read_message(outcome: Outcome, call: Call) -> str | None:
    """What the model was told, without the arguments as it sent them; None where it was told nothing of a mistake."""
    if outcome["told"] is None:
        return None
    message = str(outcome["told"])
    for sent in (call.arguments, json.dumps(call.arguments)[1:-1]):
        message = message.replace(sent, "")
    return message


def names_field(message: str, call: BadCall) -> bool:
    """Whether the message has every name on the way to the field."""
    return all(has(message, name) for name in call.field)


def tells_expected(message: str, call: BadCall) -> bool:
    """Whether the message tells what would do, in whatever words."""
    return re.search(call.expected, message, re.IGNORECASE) is not None


def has(message: str, name: str) -> bool:
    """Whether the message has this name, and not only within another."""
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", message) is not None


def iter_changes(executed: Mapping[str, Any]) -> Iterator[str]:
    """What the function was given instead of what is right, as `nights=1`."""
    for name, value in executed.items():
        wanted = RIGHT.get(name)
        if isinstance(wanted, dict):
            value = {key: each for key, each in value.items() if each is not None}
        if value != wanted or type(value) is not type(wanted):
            yield f"{name}={json.dumps(value)}"


def list_executed(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The bad calls that were executed, each with what the function was given for what is wrong."""
    return [
        f"{call.name} ({', '.join(iter_changes(executed)) or 'it was left out'})"
        for call in BAD
        for executed in outcomes[call.name]["executed"] or ()
    ]


def list_ended(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The calls that ended the run, each with the error."""
    return [f"{name} ({outcome['ended']})" for name, outcome in outcomes.items() if outcome["ended"]]


def list_missed(outcomes: Mapping[str, Outcome]) -> list[str]:
    """What each call of a library lacks of a full verdict, with the message."""
    missed = [f"{each.name}: is not executed as it is meant" for each in CLEAR if not is_meant(outcomes[each.name])]
    for call in BAD:
        message = read_message(outcomes[call.name], call)
        if message is None:
            missed.append(f"{call.name}: the model is told nothing")
        elif not names_field(message, call):
            missed.append(f"{call.name}: the field is not named: {message}")
        elif not (has(message, call.meant) if call.meant else tells_expected(message, call)):
            missed.append(f"{call.name}: what would do is not told: {message}")
    return missed
