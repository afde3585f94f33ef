"""A dataset as PyTorch's map-style dataset, with nothing between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split
from torchdata.stateful_dataloader import StatefulDataLoader

import tidemill as tm
from tidemill.data.formats.jsonl import save_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11, torch 2.13

ROWS = [{"n": n, "text": f"row {n}", "scores": [n / 2, n]} for n in range(20)]


@pytest.fixture(params=["jsonl", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows.{request.param}"
    if request.param == "jsonl":
        save_jsonl(ROWS, path)
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_reads_it_in_order_and_shuffled(path: Path, workers: int) -> None:
    """In this process, and in workers forked after the dataset was used."""
    dataset: Any = tm.dataset(path)
    assert dataset[3] == ROWS[3]
    options: dict[str, Any] = {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}
    batches = list(DataLoader(dataset, batch_size=6, collate_fn=tm.collate, **options))
    assert torch.cat([batch["n"] for batch in batches]).tolist() == list(range(20))
    torch.testing.assert_close(batches[0]["scores"], torch.tensor([row["scores"] for row in ROWS[:6]]))
    assert batches[1]["text"] == [row["text"] for row in ROWS[6:12]]
    shuffled = DataLoader(dataset, batch_size=6, collate_fn=tm.collate, shuffle=True, **options)
    assert sorted(n for batch in shuffled for n in batch["n"].tolist()) == list(range(20))


def test_workers_that_are_spawned_open_it_anew(path: Path) -> None:
    dataset: Any = tm.dataset(path)
    assert dataset[3] == ROWS[3]
    loader = DataLoader(dataset, batch_size=6, collate_fn=tm.collate, num_workers=1, multiprocessing_context="spawn")
    assert [n for batch in loader for n in batch["n"].tolist()] == list(range(20))


def test_pieces_of_it_are_datasets_too(path: Path) -> None:
    """`random_split`, `Subset`, `ConcatDataset`, its own slices, and `random.sample`."""
    dataset: Any = tm.dataset(path)
    one, two = random_split(dataset, [0.75, 0.25], generator=torch.Generator().manual_seed(1))
    assert (len(one), len(two)) == (15, 5)
    assert sorted(part[index]["n"] for part in (one, two) for index in range(len(part))) == list(range(20))
    picked = DataLoader(Subset(dataset, [5, 1, 5]), batch_size=3, collate_fn=tm.collate)
    assert next(iter(picked))["n"].tolist() == [5, 1, 5]
    ends: ConcatDataset[Any] = ConcatDataset([dataset[:3], dataset[18:]])
    joined = DataLoader(ends, batch_size=5, collate_fn=tm.collate)
    assert next(iter(joined))["n"].tolist() == [0, 1, 2, 18, 19]
    assert all(row in ROWS for row in random.Random(1).sample(dataset, 4))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_goes_on_where_it_stood(path: Path, workers: int) -> None:
    dataset: Any = tm.dataset(path)
    loader = StatefulDataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=tm.collate, shuffle=True)
    iterator = iter(loader)
    next(iterator), next(iterator)
    again = StatefulDataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=tm.collate, shuffle=True)
    again.load_state_dict(loader.state_dict())
    assert [batch["n"].tolist() for batch in again] == [batch["n"].tolist() for batch in iterator]
