from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from missing import error_without
from resuming import through_json
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import tidemill as tm
from tidemill.adapters.torch import TorchStream, to_torch
from tidemill.errors import ConfigError, DataError, StateError

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 on torch 2.13
]

COUNT = 23


def numbers(count: int = COUNT) -> tm.Stream[Any]:
    return tm.from_iterable([{"n": n} for n in range(count)])


def files(folder: Path) -> tm.Stream[Any]:
    """A stream over files, with steps on both sides of what looks across records."""
    for part in range(3):
        lines = (json.dumps({"n": part * 8 + n}) for n in range(8))
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return tm.read(str(folder / "*.jsonl")).map(double).shuffle(3, buffer=5).filter(is_not_six)


def double(record: dict[str, int]) -> dict[str, int]:
    return {**record, "twice": record["n"] * 2}


def is_not_six(record: dict[str, int]) -> bool:
    return record["n"] != 6


def fail_on_five(record: dict[str, int]) -> dict[str, int]:
    if record["n"] == 5:
        raise DataError("five is not wanted", where="record 5")
    return record


def as_list(records: list[Any]) -> list[Any]:
    return records


def given(loader: Any) -> list[int]:
    return [record["n"] for batch in loader for record in batch]


def stateful(dataset: TorchStream, workers: int, **options: Any) -> Any:
    return StatefulDataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=as_list, **options)


def test_without_a_loader_it_gives_the_stream(tmp_path: Path) -> None:
    """One process and no worker: the records of the stream, in its order, again in each iteration."""
    stream = files(tmp_path)
    dataset = to_torch(stream)
    assert list(dataset) == list(dataset) == list(stream)


def test_it_resumes_at_every_position_twice_in_a_row(tmp_path: Path) -> None:
    stream = files(tmp_path)
    whole = list(stream)
    walking = to_torch(stream)
    iterator = iter(walking)
    for position in range(len(whole) + 1):
        state = through_json(walking.state_dict())
        again = to_torch(stream)
        again.load_state_dict(state)
        assert through_json(again.state_dict()) == state
        resumed = iter(again)
        if position < len(whole):
            assert next(resumed) == whole[position]
        last = to_torch(stream)
        last.load_state_dict(through_json(again.state_dict()))
        assert list(last) == whole[position + 1 :]
        assert list(last) == whole, "a state is used once"
        next(iterator, None)


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_workers_share_the_records_out(tmp_path: Path, workers: int) -> None:
    """Each record once, whatever the number of workers, from more workers than records too."""
    stream = files(tmp_path)
    loader = DataLoader(to_torch(stream), batch_size=2, num_workers=workers, collate_fn=as_list)
    assert sorted(given(loader)) == sorted(record["n"] for record in stream)
    few = DataLoader(to_torch(numbers(2)), batch_size=2, num_workers=workers, collate_fn=as_list)
    assert sorted(given(few)) == [0, 1]


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_a_stateful_loader_resumes_each_worker_where_it_stood(tmp_path: Path, workers: int) -> None:
    """The tail after a batch is that of the loader that was not interrupted, twice in a row, prefetching or not."""
    stream = files(tmp_path)
    whole = list(stateful(to_torch(stream), workers))
    for position in (0, 1, len(whole) // 2, len(whole)):
        loader = stateful(to_torch(stream), workers)
        iterator = iter(loader)
        for _ in range(position):
            next(iterator)
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        del iterator, loader
        again = stateful(to_torch(stream), workers)
        again.load_state_dict(state)
        iterator = iter(again)
        if position < len(whole):
            assert next(iterator) == whole[position]
        state = again.state_dict()
        del iterator, again
        last = stateful(to_torch(stream), workers)
        last.load_state_dict(state)
        assert list(last) == whole[position + 1 :]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_taken_at_the_end_starts_the_next_epoch(workers: int) -> None:
    """A finished loader's state gives the next epoch from its start, the one that was set."""
    stream = numbers().shuffle(1, buffer=8)
    loader = stateful(to_torch(stream), workers)
    assert sorted(given(loader)) == list(range(COUNT))
    dataset = to_torch(stream)
    again = stateful(dataset, workers)
    again.load_state_dict(loader.state_dict())
    dataset.set_epoch(1)
    later = to_torch(stream)
    later.set_epoch(1)
    assert list(again) == list(stateful(later, workers))


def test_states_taken_seldom_are_exact_too(tmp_path: Path) -> None:
    """A loader that asks its workers for their state every third batch goes on from it by what it gave since."""
    stream = files(tmp_path)
    whole = list(stateful(to_torch(stream), 2))
    loader = stateful(to_torch(stream), 2, snapshot_every_n_steps=3)
    iterator = iter(loader)
    for _ in range(4):
        next(iterator)
    state = loader.state_dict()
    del iterator, loader
    again = stateful(to_torch(stream), 2)
    again.load_state_dict(state)
    assert list(again) == whole[4:]


def test_two_loaders_over_one_dataset_keep_their_own_places() -> None:
    """A loader's state is its own iterator's, not that of the one opened last."""
    dataset = to_torch(numbers())
    first, second = stateful(dataset, 0), stateful(dataset, 0)
    one, two = iter(first), iter(second)
    next(one), next(one), next(two)
    again = stateful(to_torch(numbers()), 0)
    again.load_state_dict(first.state_dict())
    assert given(again) == list(range(6, COUNT))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_started_either_way_read_their_shards(tmp_path: Path, method: str) -> None:
    stream = files(tmp_path)
    context = multiprocessing.get_context(method)
    loader = DataLoader(
        to_torch(stream), batch_size=4, num_workers=2, collate_fn=as_list, multiprocessing_context=context
    )
    assert sorted(given(loader)) == sorted(record["n"] for record in stream)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_epoch_set_reaches_workers_that_stay(method: str) -> None:
    """Epoch 2 is that of `repeat`, in workers kept from epoch to epoch as in one process."""
    stream = numbers().shuffle(1, buffer=8)
    epochs = [[record["n"] for record in stream.repeat(1, start=epoch)] for epoch in range(3)]
    assert list(to_torch(stream)) == list(stream)
    dataset = to_torch(stream)
    loader = DataLoader(
        dataset,
        batch_size=3,
        num_workers=1,
        collate_fn=as_list,
        persistent_workers=True,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    assert given(loader) == [record["n"] for record in stream]
    dataset.set_epoch(2)
    assert given(loader) == epochs[2]
    dataset.set_epoch(1)
    assert given(loader) == epochs[1]
    assert epochs[1] != epochs[2]


def test_a_state_says_its_epoch() -> None:
    """Resuming within epoch 2 needs no `set_epoch`; one that was set for later holds from the next iteration on."""
    stream = numbers().shuffle(1, buffer=8)
    dataset = to_torch(stream)
    dataset.set_epoch(2)
    iterator = iter(dataset)
    next(iterator)
    again = to_torch(stream)
    again.load_state_dict(dataset.state_dict())
    again.set_epoch(3)
    assert list(again) == list(iterator)
    assert list(again) == list(stream.repeat(1, start=3))


@pytest.mark.parametrize(("even", "lengths"), [(None, {3, 4}), ("drop", {3}), ("pad", {4})])
def test_ranks_and_workers_come_to_one_set_of_shards(even: Any, lengths: set[int]) -> None:
    """Three ranks with two workers each: no record twice, none left out, equal lengths on request."""
    found: list[list[int]] = []
    for rank in range(3):
        dataset = to_torch(numbers(), rank=rank, world=3, even=even)
        loader = DataLoader(dataset, batch_size=None, num_workers=2)
        shards: dict[int, list[int]] = {}
        for record in loader:
            shards.setdefault(record["n"] % 6, []).append(record["n"])
        found.append([record["n"] for record in loader])
    records = [n for rank in found for n in rank]
    if even == "pad":
        assert set(records) == set(range(COUNT))
        assert {len(rank) for rank in found} == {8}
    elif even == "drop":
        assert sorted(records) == list(range(18))
        assert {len(rank) for rank in found} == {6}
    else:
        assert sorted(records) == list(range(COUNT))


def test_a_state_of_another_shard_is_refused() -> None:
    """A state goes with its shard: another number of ranks or workers would give records twice, or never."""
    dataset = to_torch(numbers(), rank=1, world=2)
    iterator = iter(dataset)
    next(iterator)
    other = to_torch(numbers(), rank=0, world=2)
    other.load_state_dict(dataset.state_dict())
    with pytest.raises(StateError, match="the state is of shard 1 of 2, but this worker reads shard 0 of 2"):
        iter(other)
    with pytest.raises(StateError, match="expected a state of version 1, got 9"):
        other.load_state_dict({"version": 9})
    text: Any = json.dumps(dataset.state_dict())
    for target in (other, iterator):
        with pytest.raises(StateError, match=r"expected a state, a mapping, got (?s:.*)json\.loads"):
            target.load_state_dict(text)  # type: ignore[union-attr]
        with pytest.raises(StateError, match="got a mapping without `shard`, `shards` and `epoch`"):
            target.load_state_dict({"version": 1, "records": None})  # type: ignore[union-attr]
    with pytest.raises(StateError, match="records were given already"):
        iterator.load_state_dict(dataset.state_dict())  # type: ignore[attr-defined]


def test_a_state_of_another_stream_is_refused() -> None:
    dataset = to_torch(numbers())
    next(iter(dataset))
    other = to_torch(numbers().take(3))
    other.load_state_dict(dataset.state_dict())
    with pytest.raises(StateError, match="step `take` stands where `shard` stood"):
        next(iter(other))


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a stream, got a list\n  a dataset is a map-style dataset as it is"):
        to_torch([1, 2])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a stream, got a int"):
        to_torch(1)  # type: ignore[arg-type]


def test_a_rank_and_a_world_go_together() -> None:
    with pytest.raises(ConfigError, match="expected rank and world together"):
        to_torch(numbers(), rank=0)
    with pytest.raises(ConfigError, match="expected a rank from 0 to below world, 2, got 2"):
        to_torch(numbers(), rank=2, world=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_that_fails_is_raised_and_the_rest_goes_on(workers: int) -> None:
    """The error reaches the loop with its text; what the loader had of that batch is gone, the rest goes on."""
    stream = numbers(12).map(fail_on_five)
    loader = DataLoader(to_torch(stream), batch_size=2, num_workers=workers, collate_fn=as_list)
    iterator = iter(loader)
    found: list[int] = []
    texts: list[str] = []
    while True:
        try:
            found.extend(record["n"] for record in next(iterator))
        except StopIteration:
            break
        except DataError as error:
            texts.append(str(error))
    assert all("record 5: five is not wanted" in text for text in texts)
    assert texts
    assert len(found) == len(set(found)) >= 9
    assert 5 not in found


def test_a_pickle_holds_its_epoch_and_its_state() -> None:
    dataset = to_torch(numbers().shuffle(1))
    dataset.set_epoch(2)
    iterator = iter(dataset)
    next(iterator)
    dataset.load_state_dict(dataset.state_dict())
    assert list(pickle.loads(pickle.dumps(dataset))) == list(iterator)
    assert list(pickle.loads(pickle.dumps(to_torch(numbers(3))))) == list(numbers(3))


def test_without_torch_the_error_names_the_extra() -> None:
    assert error_without("torch", "import tidemill.adapters.torch").endswith(
        'a stream for PyTorch needs the package torch, which is not installed\n  pip install "tidemill[torch]"'
    )


def test_a_process_group_says_which_rank_this_is(tmp_path: Path) -> None:
    """Two processes of `torch.distributed`, each with a spawned worker, give every record once."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(give_in_group, range(2), [str(tmp_path / "group")] * 2))
    assert sorted(found[0] + found[1]) == list(range(COUNT))
    assert abs(len(found[0]) - len(found[1])) <= 1


def give_in_group(rank: int, path: str) -> list[int]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    try:
        context = multiprocessing.get_context("spawn")
        dataset = to_torch(numbers())
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
        return [record["n"] for record in loader]
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2), (2, 1)])
def test_any_number_of_workers_goes_on_from_merged_states(tmp_path: Path, before: int, after: int) -> None:
    """The loaders of two ranks stop at different batches; one rank with other workers gives what is left, once."""
    stream = files(tmp_path).map(double).filter(is_not_six)
    states, found = [], []
    for rank, batches in ((0, 1), (1, 3)):
        loader = stateful(to_torch(stream, rank=rank, world=2), before)
        iterator = iter(loader)
        found += [record["n"] for batch in [next(iterator) for _ in range(batches)] for record in batch]
        states.append(through_json(loader.state_dict()))
        del iterator, loader
    dataset = to_torch(stream, rank=0, world=1)
    dataset.load_state_dict(through_json(tm.merge_states(states)))
    found += given(stateful(dataset, after))
    assert sorted(found) == sorted(record["n"] for record in stream)
