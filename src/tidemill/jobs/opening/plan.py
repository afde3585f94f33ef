"""Where to go on in each part of the source, grown or not; one that was edited is refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tidemill.errors import StateError
from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.reading.prefix import WHOLE, Prefix
from tidemill.jobs.records.chunk import PartPosition
from tidemill.protocols import Growth, Source, State

ACROSS = "a step before the first call looks across records"


def plan_parts(source: Source, names: Sequence[str], ledger: Ledger, *, can_grow: bool) -> list[PartPosition]:
    """Where to go on in each part: the unfinished in their old order, then new ones, then those that grew.

    New and grown parts are given their turns durably before anything of them is read, so that the order stays.

    Args:
        can_grow: whether what is done may be gone on from when the source grew; a step that looks across records
            would have seen other ones.
    """
    known = {position.name: position for position in ledger.load_parts()}
    problems: list[str] = []
    changed: list[PartPosition] = []
    turn = 1 + max((position.turn for position in known.values()), default=-1)
    for name in names:
        position = known.get(name)
        if position is None:
            if known and not can_grow:
                problems.append(f"{name}: is new, and {ACROSS}")
            changed.append(PartPosition(name, turn))
            turn += 1
            continue
        growth = "same" if position.state is None else source.compare_part(name, position.state)
        problems += _find_change(name, growth, can_grow=can_grow or not position.done)
        if growth == "grown" and position.done:
            changed.append(PartPosition(name, turn, position.ordinal, position.state, position.skip))
            turn += 1
    _raise_changes(problems, known, names)
    if changed:
        ledger.save_parts(changed)
        known |= {position.name: position for position in changed}
    waiting = [position for position in known.values() if not position.done]
    return sorted(waiting, key=lambda position: position.turn)


def plan_whole(prefix: Prefix, names: Sequence[str], ledger: Ledger, *, is_full: bool) -> list[PartPosition]:
    """Where to go on in a source that is read as one part; nothing when it was read to its end.

    All parts there are when the run begins are noted, and each is looked at up to where it was read: a source that grew
    would have been read in another order, with other records beside each other.

    Args:
        is_full: whether nothing more is wanted of it, so that what was added does not matter.
    """
    known = {position.name: position for position in ledger.load_parts()}
    whole = known.pop(WHOLE, None)
    if whole is None:
        whole = PartPosition(WHOLE, len(names))
        ledger.save_parts([*(PartPosition(name, turn) for turn, name in enumerate(names)), whole])
        return [whole]
    is_full = is_full or (whole.done and prefix.is_full(whole.state))
    problems: list[str] = []
    for name in names:
        position = known.get(name)
        if position is None:
            if not is_full:
                problems.append(f"{name}: is new, and {ACROSS}")
            continue
        growth = "same" if position.state is None else prefix.compare_part(name, position.state)
        problems += _find_change(name, growth, can_grow=is_full)
    marks: State = whole.state["records"] if whole.state is not None else {"part": None}
    part: str = marks["part"] or WHOLE
    if part in names and marks["source"] is not None and part in known and known[part].state is None:
        problems += _find_change(part, prefix.compare_part(part, marks["source"]), can_grow=True)
    if step := prefix.find_changed_join(whole.state):
        problems.append(f"the other stream of step `{step}`: is not what was joined with")
    _raise_changes(problems, known, names)
    return [] if whole.done else [whole]


def _find_change(name: str, growth: Growth, *, can_grow: bool) -> list[str]:
    """What is wrong with how a part changed, if anything is."""
    if growth == "edited":
        return [f"{name}: edited before the point it was read to"]
    if growth == "cut":
        return [f"{name}: was cut in the middle of a line when it was read, and goes on there now"]
    if growth == "grown" and not can_grow:
        return [f"{name}: grew, and {ACROSS}"]
    return []


def _raise_changes(problems: list[str], known: Collection[str], names: Sequence[str]) -> None:
    """Raise what is wrong with the parts, if anything is; those that are gone are added."""
    there = set(names)
    problems += [f"{name}: gone" for name in known if name not in there]
    if problems:
        raise StateError(
            "the source changed since this run began:\n    " + "\n    ".join(problems),
            hint="put it back, and a file that was mended beside it under another name; or run into another sink.path "
            "with --reuse, which keeps the paid replies of unchanged records; or start anew with --fresh. A source "
            "that only grows is continued, unless a step before the first call looks across records. `retry` does not "
            "read it",
        )
