"""The states of all ranks of a sharded stream as one, to go on with another number of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tidemill.data.states import refuse_text
from tidemill.data.turns import Layer, Turns, dump_layers, load_layers
from tidemill.errors import StateError
from tidemill.protocols import State

ANY_RANK = "*"
"""What stands for rank and world in a state that any rank of any world goes on from."""

SHARD_FIELDS = 4
"""Of a shard in a state's pipeline: name, fingerprint, rank, world."""


class _Rank(NamedTuple):
    """Where one rank stands; `state` None in front of its first record."""

    rank: int
    world: int
    state: State | None


class _Shard(NamedTuple):
    """The shard that the states are of: its place among the steps, and the layers of earlier worlds."""

    place: int
    layers: tuple[Layer, ...]


def merge_states(states: Iterable[Any]) -> State:
    """One state of the states of all ranks, from which any other number of ranks goes on, each record given once.

    Args:
        states: what `iterator.state()` gave on each rank of a `shard`; or what holds such states somewhere within, as
            the `state_dict` of the loader on each rank does, with those of its workers.

    Raises:
        StateError: a rank is missing or stands twice, the states are of different streams or epochs, or a step behind
            the shard holds records or counts that no other number of ranks can take over.
    """
    given = list(states)
    for state in given:
        refuse_text(state)
    ranks = sorted(_find_ranks(given), key=lambda each: each.rank)
    _check_complete(ranks)
    read = [each.state for each in ranks if each.state is not None]
    if not read:
        raise StateError("expected a rank that had read something, got none", hint="start without a state")
    pipeline, index = _merge_pipelines([state["pipeline"] for state in read])
    others = _merge_others(read)
    shard = _Shard(index, _find_layers(read, index))
    if any(_is_by_rows(state, index) for state in read):
        return {**_merge_rows(ranks, read[0], pipeline, shard), **others}
    numbers = [_find_numbers(each, shard) for each in ranks]
    seen, done = [seen for seen, _ in numbers], [done for _, done in numbers]
    earlier = Turns(0, 1, shard.layers)
    layers = (*shard.layers, Layer(tuple(map(earlier.count_turn, done))))
    base = ranks[seen.index(min(seen))].state or _start_of(read[0])
    steps = {key: mark for key, mark in base["steps"].items() if int(key) < index}
    steps[str(index)] = {"seen": min(seen), **dump_layers(layers)}
    steps |= _merge_behind(ranks, done, shard, Turns(0, 1, layers))
    return {**base, "pipeline": pipeline, "steps": steps, **others}


def is_merged(state: Any) -> bool:
    """Whether a state is one that `merge_states` gave."""
    return isinstance(state, Mapping) and any(
        len(entry) == SHARD_FIELDS and entry[2] == ANY_RANK for entry in state.get("pipeline", ())
    )


def find_epoch(state: State) -> int:
    """The epoch of the last `repeat` that a state knows of, 0 when it knows of none."""
    return int(next((mark["epoch"] for mark in reversed(state["steps"].values()) if "epoch" in mark), 0))


def _find_ranks(held: Any) -> Iterator[_Rank]:
    """The states of ranks in what holds them, at any depth."""
    if isinstance(held, Mapping):
        if "pipeline" in held and "steps" in held:
            yield _read_rank(dict(held))
        elif held.get("records", held) is None and "shards" in held:  # a worker that read nothing
            yield _Rank(held["shard"], held["shards"], None)
        else:
            twice = "dataset_state" if held.get("fetcher_state") else None  # torchdata keeps the iterator's beside it
            for key, value in held.items():
                if key != twice:
                    yield from _find_ranks(value)
    elif isinstance(held, Sequence) and not isinstance(held, (str, bytes)):
        for value in held:
            yield from _find_ranks(value)


def _read_rank(state: State) -> _Rank:
    if state.get("passed"):
        raise StateError(
            "expected states between blocks, got one of an asynchronous iterator within a block",
            hint="go on from it with iterate(state), and take the state behind the next record",
        )
    for entry in reversed(state["pipeline"]):
        if len(entry) == SHARD_FIELDS:
            if entry[2] == ANY_RANK:
                raise StateError("expected the states of ranks, got one that was merged and not gone on from")
            return _Rank(entry[2], entry[3], state)
    raise StateError(
        "expected states of a sharded stream, got one without a `shard`",
        hint="shard the stream on each rank, of a single one with shard(0, 1), or read it by stream.torch()",
    )


def _check_complete(ranks: Sequence[_Rank]) -> None:
    worlds = sorted({each.world for each in ranks})
    if len(worlds) != 1:
        raise StateError(f"expected states of one world, got {', '.join(map(str, worlds)) or 'none'}")
    found = [each.rank for each in ranks]
    if found != list(range(worlds[0])):
        raise StateError(
            f"expected the state of each of {worlds[0]} ranks once, got those of {', '.join(map(str, found))}",
            hint="gather the states of all ranks, and of all workers of each",
        )


def _merge_pipelines(pipelines: Sequence[list[list[Any]]]) -> tuple[list[list[Any]], int]:
    """The pipeline that all have but for their ranks, and the place of the shard among its steps."""
    first = pipelines[0]
    at = max(place for place, entry in enumerate(first) if len(entry) == SHARD_FIELDS)
    merged = [*first[:at], [*first[at][:2], ANY_RANK, 0], *first[at + 1 :]]
    for other in pipelines[1:]:
        if [*other[:at], merged[at], *other[at + 1 :]] != merged or other[at][:2] != first[at][:2]:
            raise StateError("expected states of one stream, got those of different ones")
    return merged, at - 1  # the source stands in front of the steps


def _merge_others(states: Sequence[State]) -> State:
    """What the joins of any rank have read of their other streams."""
    others: dict[str, State] = {}
    for state in states:
        for index, seen in state.get("others", {}).items():
            known = others.setdefault(index, seen)
            if {**known, "stamp": ""} != {**seen, "stamp": ""}:
                step = state["pipeline"][int(index) + 1][0]
                raise StateError(f"the other stream of step `{step}` was not the same for all ranks")
    return {"others": others} if others else {}


def _shard_mark(state: State, index: int) -> State:
    """The shard's part of a state, of its even form what it knows at rest."""
    mark: State = state["steps"].get(str(index), {})
    return {**mark["own"], "done": mark.get("at", mark["own"]["seen"])} if "own" in mark else mark


def _find_layers(states: Sequence[State], index: int) -> tuple[Layer, ...]:
    found = {load_layers(_shard_mark(state, index)) for state in states if str(index) in state["steps"]}
    if len(found) > 1:
        raise StateError("expected states that went on from one merged state, got those of different ones")
    return found.pop() if found else ()


def _find_numbers(each: _Rank, shard: _Shard) -> tuple[int, int]:
    """The number that a rank's state goes on reading at, and that below which its records were given."""
    mark = _shard_mark(each.state, shard.place) if each.state else {}
    seen = int(mark.get("seen", 0))
    return seen, int(mark.get("done", seen))


def _start_of(state: State) -> State:
    return {**state, "part": None, "index": 0, "source": None, "steps": {}}


def _is_by_rows(state: State, index: int) -> bool:
    """Whether the shard is an order of a dataset's rows, so that its ranks stand at rows of their own."""
    return "seen" not in _shard_mark(state, index) and "row" in (state["source"] or {})


def _merge_rows(ranks: Sequence[_Rank], state: State, pipeline: list[list[Any]], shard: _Shard) -> State:
    """The merged state of a sharded dataset: a rank's rows are those left, from the first."""
    rows = [each.state["source"]["row"] if each.state and each.state["source"] else 0 for each in ranks]
    world = ranks[0].world
    done = tuple(each.rank + row * world for each, row in zip(ranks, rows, strict=True))
    layers = (*shard.layers, Layer(done))
    steps: State = {str(shard.place): dump_layers(layers)}
    turns = Turns(0, 1, shard.layers)
    numbers = [turns.find_number(number) for number in done]
    steps |= _merge_behind(ranks, numbers, shard, Turns(0, 1, layers))
    return {**_start_of(state), "pipeline": pipeline, "steps": steps}


def _merge_behind(ranks: Sequence[_Rank], done: Sequence[int], shard: _Shard, left: Turns) -> State:
    """What the steps behind the shard must know."""
    merged: State = {}
    for each, number in zip(ranks, done, strict=True):
        own = Turns(each.rank, each.world, shard.layers)
        for key, mark in (each.state or {"steps": {}})["steps"].items():
            if int(key) <= shard.place:
                continue
            if "epoch" in mark:
                merged[key] = _merge_epochs(merged.get(key), mark)
            elif "emitted" in mark or "pending" in mark:
                pending = merged.setdefault(key, {"pending": {}})["pending"]
                for name, count in mark.get("pending", {}).items():
                    if own.is_own(int(name)) and left.is_left(int(name)):  # of one number the rank it is of knows
                        pending[name] = count
                if mark.get("emitted"):
                    pending[str(own.find_next(number))] = mark["emitted"]
            elif "bytes" not in mark:  # what a quarantine holds stays there
                raise StateError(
                    f"step {int(key) + 1}, behind the shard, stands at a place that only as many ranks can take over",
                    hint="put what counts, orders or gathers records in front of the shard, or take the states where "
                    "it holds none: behind a whole batch, at the end of a block",
                )
    return merged


def _merge_epochs(known: State | None, mark: State) -> State:
    if known is not None and known["epoch"] != mark["epoch"]:
        raise StateError(
            f"expected states of one epoch, got those of {known['epoch']} and {mark['epoch']}",
            hint="take the states of all ranks in the same epoch",
        )
    return {"epoch": mark["epoch"], "given": max(mark["given"], known["given"] if known else 0)}
