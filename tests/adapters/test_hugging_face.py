from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Features, Value
from datasets.distributed import split_dataset_by_node
from missing import error_without
from resuming import check_resumes_everywhere, outcomes
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import tidemill as tm
from tidemill.adapters.hugging_face import from_hf, to_hf
from tidemill.adapters.hugging_face_rows import HuggingFaceRows
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.iteration import iterate
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.data.sources.hugging_face import HuggingFaceSource
from tidemill.errors import ConfigError, StateError, WorkerError

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11, torch 2.13

FEATURES = Features(
    {
        "n": Value("int32"),
        "label": ClassLabel(names=["no", "yes"]),
        "text": Value("string"),
        "scores": datasets.List(Value("float32")),
    }
)
RECORDS = [{"n": n, "label": n % 2, "text": f"row {n}", "scores": [n / 2] * (n % 3)} for n in range(12)]


def hugging_face() -> datasets.Dataset:
    return datasets.Dataset.from_list(RECORDS, features=FEATURES)


def generate(shards: list[int]) -> Iterator[dict[str, int]]:
    for shard in shards:
        for n in range(4):
            yield {"n": shard * 4 + n}


def generated() -> Any:
    return datasets.IterableDataset.from_generator(generate, gen_kwargs={"shards": [0, 1, 2]})


def tabled() -> Any:
    return hugging_face().to_iterable_dataset(num_shards=3)


def source_of(dataset: Any) -> HuggingFaceSource:
    source = from_hf(dataset)
    assert isinstance(source, HuggingFaceSource)
    return source


def rows_of(dataset: Any) -> HuggingFaceRows:
    rows = from_hf(dataset)
    assert isinstance(rows, HuggingFaceRows)
    return rows


def double(record: Any) -> Any:
    return {"twice": record["n"] * 2}


def double_all(batch: Any) -> Any:
    return {"twice": [n * 2 for n in batch["n"]]}


def as_it_is(data: Any) -> Any:
    return data


def twice_no_third(data: Any) -> Any:
    return data.map(double).filter(is_no_third)


def is_no_third(record: Any) -> bool:
    return bool(record["n"] % 3)


def fail_on_seven(record: Any) -> Any:
    if record["n"] == 7:
        raise ValueError("seven is not wanted")
    return record


def repeat_some(record: Any) -> list[Any]:
    return [record] * (record["n"] % 3)


def files(folder: Path) -> tm.Stream[Any]:
    for part in range(3):
        (folder / f"{part}.jsonl").write_text("\n".join(json.dumps({"n": part * 4 + n}) for n in range(4)))
    return tm.read(str(folder / "*.jsonl")).shuffle(3, buffer=5)


BY_STATE: dict[str, Callable[[], Any]] = {
    "generator": generated,
    "table": tabled,
    "map": lambda: generated().map(double),
    "table map": lambda: tabled().map(double),
    "batched map": lambda: generated().map(double_all, batched=True, batch_size=5),
    "table batched map": lambda: tabled().map(double_all, batched=True, batch_size=5),
    "filter": lambda: tabled().filter(is_no_third),
    "batch": lambda: generated().batch(5),
    "take": lambda: generated().take(5),
    "skip": lambda: tabled().skip(5),
    "columns": lambda: tabled().select_columns(["n"]).rename_column("n", "m"),
    "concatenated": lambda: datasets.concatenate_datasets([generated(), generated()]),
    "interleaved": lambda: datasets.interleave_datasets([generated(), generated()]),
    "repeated": lambda: generated().repeat(2),
    "node": lambda: split_dataset_by_node(tabled(), rank=1, world_size=2),
}
BY_COUNT: dict[str, Callable[[], Any]] = {
    "shuffled": lambda: generated().shuffle(seed=1, buffer_size=4),
    "table shuffled": lambda: tabled().shuffle(seed=1, buffer_size=4).map(double),
}


@pytest.mark.parametrize("kind", [*BY_STATE, *BY_COUNT])
def test_a_streaming_dataset_resumes_at_every_position(kind: str) -> None:
    """By its own state where that is exact, else by counting."""
    make = {**BY_STATE, **BY_COUNT}[kind]
    source = source_of(make())
    assert source.resumes_by_state == (kind in BY_STATE)
    whole = check_resumes_everywhere(lambda state: source.open_part("dataset", state))
    assert [record for _, record in whole] == list(make())


def test_steps_over_a_streaming_dataset_resume_everywhere() -> None:
    source = source_of(tabled())
    nodes = (FlatMap(fn=repeat_some), Filter(fn=is_no_third), Map(fn=double))
    assert check_resumes_everywhere(lambda state: iterate(source, nodes, state))


def test_a_resume_reads_on_from_the_datasets_state() -> None:
    """What was given before is not read again: the generator starts within the shard at hand."""
    seen: list[int] = []

    def note(shards: list[int]) -> Iterator[dict[str, int]]:
        for shard in shards:
            seen.append(shard)
            yield from ({"n": shard * 4 + n} for n in range(4))

    source = HuggingFaceSource(datasets.IterableDataset.from_generator(note, gen_kwargs={"shards": [0, 1, 2]}))
    reader = source.open_part("dataset")
    outcomes(reader, 10)
    state = reader.state()
    seen.clear()
    assert [record["n"] for _, record in outcomes(source.open_part("dataset", state))] == [10, 11]
    assert seen == [2]


def test_two_iterators_over_one_dataset_keep_their_own_places() -> None:
    source = source_of(generated())
    one, two = source.open_part("dataset"), source.open_part("dataset")
    outcomes(one, 5), outcomes(two, 2)
    assert outcomes(source.open_part("dataset", one.state()), 1) == [("record", {"n": 5})]
    assert outcomes(source.open_part("dataset", two.state()), 1) == [("record", {"n": 2})]


def test_a_dataset_that_failed_does_not_seem_to_end() -> None:
    """An error ends the generators of Hugging Face; asked for more, the reader says so, again and again."""
    reader = source_of(generated().map(fail_on_seven)).open_part("dataset")
    assert len(outcomes(reader, 7)) == 7
    with pytest.raises(ValueError, match="seven is not wanted"):
        next(reader)
    for _ in range(2):
        with pytest.raises(WorkerError, match="the Hugging Face dataset failed before and cannot go on"):
            next(reader)


def test_a_state_behind_the_end_is_refused() -> None:
    reader = source_of(BY_COUNT["shuffled"]()).open_part("dataset")
    outcomes(reader, 9)
    state = reader.state()
    reader.close()
    shorter = source_of(BY_COUNT["shuffled"]().take(4))
    with pytest.raises(StateError, match="the state stands behind record 9, but the dataset ends after 4"):
        shorter.open_part("dataset", state)


def test_rows_of_a_dataset_are_read_as_a_list_is() -> None:
    rows = rows_of(hugging_face())
    assert len(rows) == 12
    assert list(rows) == RECORDS
    assert [rows[index] for index in (0, -1)] == [RECORDS[0], RECORDS[-1]]
    assert rows[2:9:3] == RECORDS[2:9:3]
    assert rows.read_rows([5, 1, 5]) == [RECORDS[5], RECORDS[1], RECORDS[5]]
    assert rows.read_rows([]) == []
    assert list(rows.iter_rows(3, 6)) == RECORDS[3:6]
    assert rows.features == FEATURES
    assert repr(rows) == "<HuggingFaceRows: 12 rows, columns n, label, text, scores>"
    assert list(pickle.loads(pickle.dumps(rows))) == RECORDS
    with pytest.raises(IndexError, match="out of"):
        rows[12]


def test_a_round_trip_keeps_a_datasets_features(tmp_path: Path) -> None:
    """Types and the names of classes: as it was, through a stream with steps that keep columns, and through a file."""
    assert to_hf(from_hf(hugging_face())).features == FEATURES
    kept = to_hf(tm.from_iterable(from_hf(hugging_face())).filter(is_no_third))
    assert isinstance(kept, datasets.IterableDataset)
    assert kept.features == FEATURES
    assert list(kept) == [record for record in RECORDS if is_no_third(record)]
    changed = to_hf(tm.from_iterable(from_hf(hugging_face())).map(double))
    assert changed.features is None
    written = to_hf(from_hf(hugging_face()), path=tmp_path / "rows.arrow")
    assert isinstance(written, datasets.Dataset)
    assert written.features == FEATURES
    assert list(written) == RECORDS
    assert (tmp_path / "rows.arrow").is_file()


def test_a_round_trip_keeps_a_streaming_datasets_features() -> None:
    back = to_hf(tm.Stream(from_hf(tabled())))  # type: ignore[arg-type]
    assert back.features == FEATURES
    assert back.features["label"].names == ["no", "yes"]
    assert list(back) == RECORDS


def test_a_dataset_becomes_a_dataset(tmp_path: Path) -> None:
    """With features as Hugging Face would infer them, or as they are given, class names encoded."""
    save_jsonl([{"n": n, "label": "yes" if n % 2 else "no"} for n in range(5)], tmp_path / "rows.jsonl")
    dataset = tm.dataset(tmp_path / "rows.jsonl")
    plain = to_hf(dataset)
    assert isinstance(plain, datasets.Dataset)
    assert list(plain) == list(dataset)
    assert plain.features == Features({"n": Value("int64"), "label": Value("string")})
    features = Features({"n": Value("int8"), "label": ClassLabel(names=["no", "yes"])})
    given = to_hf(dataset, features=features)
    assert given.features == features
    assert given["label"][:] == [0, 1, 0, 1, 0]
    assert given.map(double)["twice"][:] == [0, 2, 4, 6, 8]


def test_a_stream_resumes_by_hugging_faces_own_state(tmp_path: Path) -> None:
    """At every position, twice in a row, the state through JSON; over several shards, behind its own steps."""
    stream = files(tmp_path)
    for shards in (1, 3):
        for finish in (as_it_is, twice_no_third):
            whole = list(finish(to_hf(stream, shards=shards)))
            walking = finish(to_hf(stream, shards=shards))
            iterator = iter(walking)
            for position in range(1, len(whole) + 1):
                next(iterator)
                again = finish(to_hf(stream, shards=shards))
                again.load_state_dict(json.loads(json.dumps(walking.state_dict())))
                resumed = iter(again)
                step = len(list(islice(resumed, 1)))
                last = finish(to_hf(stream, shards=shards))
                last.load_state_dict(again.state_dict())
                assert list(last) == whole[position + step :]


def test_a_streams_shards_go_to_the_workers_of_a_loader(tmp_path: Path) -> None:
    """Each record once, and each worker resumed where it stood."""
    data = to_hf(files(tmp_path), shards=2)
    assert data.num_shards == 2
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=context)
        assert sorted(record["n"] for record in loader) == list(range(12))
    stateful = StatefulDataLoader(data, batch_size=None, num_workers=2)
    iterator = iter(stateful)
    first = [next(iterator)["n"] for _ in range(5)]
    again = StatefulDataLoader(to_hf(files(tmp_path), shards=2), batch_size=None, num_workers=2)
    again.load_state_dict(stateful.state_dict())
    assert [record["n"] for record in again] == [record["n"] for record in iterator]
    assert len(first) == 5


def test_shuffling_at_hugging_face_orders_the_shards(tmp_path: Path) -> None:
    data = to_hf(files(tmp_path), shards=3).shuffle(seed=1, buffer_size=1)
    assert sorted(record["n"] for record in data) == list(range(12))


def test_what_is_no_dataset_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected one dataset, got the splits 'train', 'test'\n  take one: "):
        from_hf(datasets.DatasetDict(train=hugging_face(), test=hugging_face()))
    with pytest.raises(ConfigError, match="expected a dataset of Hugging Face, got a list"):
        from_hf([])
    with pytest.raises(ConfigError, match="expected a stream, got a int"):
        to_hf(1)


def test_without_datasets_the_error_names_the_extra() -> None:
    assert error_without("datasets", "import tidemill.adapters.hugging_face").endswith(
        "Hugging Face's kind of dataset needs the package datasets, which is not installed\n"
        '  pip install "tidemill[hf]"'
    )
