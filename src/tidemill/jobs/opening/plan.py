"""Where to go on in each part of the source, grown or not; one that was edited is refused."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.errors import StateError
from tidemill.jobs.ledger.database import Ledger
from tidemill.jobs.records.chunk import PartPosition
from tidemill.protocols import Source


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
                problems.append(f"{name}: is new, and a step before the first call looks across records")
            changed.append(PartPosition(name, turn))
            turn += 1
            continue
        growth = "same" if position.state is None else source.compare_part(name, position.state)
        if growth == "edited":
            problems.append(f"{name}: edited before the point it was read to")
        elif growth == "cut":
            problems.append(f"{name}: was cut in the middle of a line when it was read, and goes on there now")
        elif growth == "grown" and position.done:
            if not can_grow:
                problems.append(f"{name}: grew, and a step before the first call looks across records")
            changed.append(PartPosition(name, turn, position.ordinal, position.state, position.skip))
            turn += 1
    there = set(names)
    problems += [f"{name}: gone" for name in known if name not in there]
    if problems:
        raise StateError(
            "the source changed since this run began:\n    " + "\n    ".join(problems),
            hint="put it back; or run into another sink.path with --reuse, which keeps the paid replies of unchanged "
            "records; or start anew with --fresh. A source that only grows is continued, unless a `take` came first",
        )
    if changed:
        ledger.save_parts(changed)
        known |= {position.name: position for position in changed}
    waiting = [position for position in known.values() if not position.done]
    return sorted(waiting, key=lambda position: position.turn)
