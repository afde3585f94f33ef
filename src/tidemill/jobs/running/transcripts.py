"""What agents did for each record of a run, from the replies and results that it has kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from tidemill.agents.agent import Agent
from tidemill.agents.calling.outcome import ROW_OF_TOOL, ToolOutcome
from tidemill.agents.numbers import LEVEL, PLACES
from tidemill.agents.result import describe_outcome, list_runs
from tidemill.agents.teams import HANDED_ON, HANDED_ON_BEFORE, HANDOFF
from tidemill.config.secrets import mask_value
from tidemill.disk import Disk
from tidemill.jobs.ledger.database import Ledger, open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow, parse_call
from tidemill.jobs.ledger.segments import iter_failed
from tidemill.jobs.running.kept import Stretch, iter_kept
from tidemill.models.messages import Reply, ToolCall

_Calls = dict[int, Reply | ToolOutcome]
"""What a record's calls at a step came to, by their numbers."""


_Run = tuple[str, int, tuple[int, ...], str]
"""(part, ordinal, path, step name): what an agent works on."""


def read_transcripts(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """What agents did for the first records that they worked on: identity, step, and each turn with its calls.

    Of a record that was tried again, what stands: the last try that is sealed. Of a record whose agent is still to end,
    what is kept so far.
    """
    agents = _find_agents(folder)
    with open_ledger(folder.ledger, Disk()) as ledger:
        found = (
            run
            for stretch in iter_kept(folder, ledger)
            for run in _iter_runs(stretch.lines, _find_replaced(folder, ledger, stretch), agents)
        )
        return list(islice(found, count))


def _find_agents(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    """The agents of the run's steps, as its description has them, by the steps' names."""
    steps = (folder.load_info() or {}).get("description", {}).get("steps", ())
    return {step["name"]: step["agent"] for step in steps if step.get("kind") == "agent"}


def _find_replaced(folder: RunFolder, ledger: Ledger, stretch: Stretch) -> set[_Run]:
    """The runs of a stretch that do not stand.

    Of a segment, those of records that failed and were taken up by a retry since; of the ledger, those of a retry that
    is still to be sealed, until when the failure stands.
    """
    segment = stretch.segment
    rows: Iterable[FailedRow]
    if segment is not None:
        part = segment.get("quarantine")
        rows = islice(iter_failed(folder, segment), 0 if part is None else part["retired"])
    else:
        rows = (row for each in ledger.load_segments() for row in iter_failed(folder, each, standing=True))
    return {(row.part, row.ordinal, row.path, row.name) for row in rows}


def _iter_runs(
    lines: Iterable[bytes], replaced: Collection[_Run], agents: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The runs of agents in lines of which those of one record stand together, those of its children mixed."""
    for (part, ordinal), of_record in groupby(map(parse_call, lines), key=lambda row: row[0][:2]):
        steps: defaultdict[tuple[tuple[int, ...], str], dict[int, Reply | ToolOutcome]] = defaultdict(dict)
        for (_, _, path, step, number), _, row, _ in of_record:
            if len(row) >= ROW_OF_TOOL and (part, ordinal, path, step) not in replaced:
                steps[path, step][number] = _load(row)
        for (path, step), calls in steps.items():
            if any(isinstance(each, Reply) and each.asked for each in calls.values()):
                record = ".".join(map(str, (ordinal, *path)))
                turns = list(_iter_turns(calls, 0, agents.get(step, {"name": step})))
                yield mask_value({"part": part, "record": record, "step": step, "turns": turns})


def _load(row: list[Any]) -> Reply | ToolOutcome:
    return ToolOutcome.from_row(row) if len(row) == ROW_OF_TOOL else Reply.from_row(row)


def _iter_turns(calls: _Calls, within: int, agent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The turns of a run of `agent` within the call of this number, each with the runs within its own calls."""
    own = {number: each for number, each in sorted(calls.items()) if number // LEVEL == within}
    replies = [(number, each) for number, each in own.items() if isinstance(each, Reply)]
    behind = [*(reply.asked or [] for _, reply in replies[1:]), []]
    for (number, reply), then in zip(replies, behind, strict=False):
        unkept = {message["call_id"]: message["content"] for message in then if message["role"] == "tool"}
        asked = [message for message in reply.asked or () if message["role"] != "tool"]
        turn: dict[str, Any] = {"agent": _name(agent), "text": reply.text, "asked": asked, "reasoning": reply.reasoning}
        if reply.usage is not None:
            turn["tokens"] = [reply.usage.input_tokens, reply.usage.output_tokens]
        turn["calls"] = list(_iter_calls(calls, number, reply.tool_calls, unkept, agent))
        yield {key: value for key, value in turn.items() if value not in (None, "", [])}
        taken = next((call["name"] for call in reply.tool_calls if unkept.get(call["id"]) == HANDED_ON), None)
        if taken is not None:
            agent = _find_named(agent.get("handoffs", ()), taken.removeprefix(HANDOFF))


def _iter_calls(
    calls: _Calls, number: int, made: Sequence[ToolCall], unkept: Mapping[str, Any], agent: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The calls of a turn, in order: those that were made, those that were answered at once, those still to end."""
    place = number
    for call in made:
        content = unkept.get(call["id"])
        place += not _is_handed_on(call, content, calls.get(place + 1))
        outcome = calls.get(place)
        told = {"tool": call["name"], "arguments": call["arguments"]}
        if content is not None:
            yield {**told, "outcome": "told", "content": content}
        elif isinstance(outcome, ToolOutcome):
            yield _open_runs(describe_outcome(outcome))
        else:
            inside = list(_iter_unfinished(calls, place, _find_named(agent.get("tools", ()), call["name"])))
            yield {**told, "outcome": "unanswered", **({"turns": inside} if inside else {})}


def _is_handed_on(call: ToolCall, content: Any, row: Reply | ToolOutcome | None) -> bool:
    """Whether the call was one that hands the conversation over, and so takes no place; `row` is what it would have."""
    if content is not None:
        return content in (HANDED_ON, HANDED_ON_BEFORE)
    is_known = isinstance(row, ToolOutcome) and row.tool == call["name"]
    return call["name"].startswith(HANDOFF) and not is_known


def _iter_unfinished(calls: _Calls, number: int, team: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The turns so far of the agent, or of all those, that a call is still to end of."""
    yield from _iter_turns(calls, number, team)
    together = team.get("agents", ())
    members = {each // LEVEL for each in calls if each // LEVEL // LEVEL == number > 0}
    for member in sorted(each for each in members if each % LEVEL // PLACES == 1 and each not in calls):
        place = member % PLACES
        yield from _iter_turns(calls, member, together[place] if place < len(together) else {"name": _name(team)})


def _find_named(described: Iterable[Any], name: str) -> Mapping[str, Any]:
    """The agent, or those asked together, of this name."""
    found = (each for each in described if isinstance(each, Mapping) and "tool" not in each and _name(each) == name)
    return next(found, {"name": name})


def _name(agent: Mapping[str, Any]) -> str:
    return str(agent.get("name", Agent.model_fields["name"].default))


def _open_runs(told: dict[str, Any]) -> dict[str, Any]:
    """A call with the turns of the runs within it, as its value has them: in reach where a reader looks for them."""
    runs = list_runs(told.get("value"))
    if not runs:
        return told
    turns = [turn for run in runs for turn in run["turns"]]
    return {
        **told,
        "turns": [
            {**turn, "calls": list(map(_open_runs, turn["calls"]))} if "calls" in turn else turn for turn in turns
        ],
    }
