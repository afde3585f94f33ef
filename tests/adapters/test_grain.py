from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
from grain.experimental import WindowShuffleIterDataset, assert_equal_output_after_checkpoint
from missing import error_without

import tidemill as tm
from tidemill.adapters.grain import to_grain
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.errors import ConfigError, StateError


def numbers(count: int = 13) -> tm.Stream[Any]:
    return tm.from_iterable([{"n": n} for n in range(count)])


def files(folder: Path) -> tm.Stream[Any]:
    for part in range(3):
        (folder / f"{part}.jsonl").write_text("\n".join(json.dumps({"n": part * 6 + n}) for n in range(6)))
    return tm.read(str(folder / "*.jsonl")).map(double).shuffle(3, buffer=5).filter(is_not_six)


def double(record: dict[str, int]) -> dict[str, int]:
    return {**record, "twice": record["n"] * 2}


def is_not_six(record: dict[str, int]) -> bool:
    return record["n"] != 6


PIPELINES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda data: data,
    "batched": lambda data: data.batch(4),
    "mapped": lambda data: data.map(double).filter(is_not_six),
    "shuffled": lambda data: WindowShuffleIterDataset(data, window_size=4, seed=1),
    "shuffled and batched": lambda data: WindowShuffleIterDataset(data, window_size=4, seed=1).batch(2),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_it_passes_grains_own_checkpoint_check(tmp_path: Path, pipeline: str) -> None:
    """At every position one shape of state, and the same tail after it; behind grain's own steps too."""
    assert_equal_output_after_checkpoint(PIPELINES[pipeline](to_grain(files(tmp_path))))


def test_it_gives_the_stream(tmp_path: Path) -> None:
    stream = files(tmp_path)
    assert list(to_grain(stream)) == list(stream)


def test_a_state_is_taken_back_and_forth() -> None:
    """`set_state` goes back as well as forth, and twice in a row; a foreign state is refused and changes nothing."""
    iterator = iter(to_grain(numbers()))
    states = []
    for _ in range(5):
        states.append(json.loads(json.dumps(iterator.get_state())))
        next(iterator)
    for position in (3, 1, 4):
        iterator.set_state(states[position])
        assert next(iterator) == {"n": position}
    with pytest.raises(StateError, match="expected a state of version 1, got None"):
        iterator.set_state({})
    text: Any = json.dumps(states[0])
    with pytest.raises(StateError, match=r"expected a state, a mapping, got (?s:.*)json\.loads"):
        iterator.set_state(text)
    with pytest.raises(StateError, match="step `take` is gone"):
        iterator.set_state(iter(to_grain(numbers().take(3))).get_state())
    assert next(iterator) == {"n": 5}
    iterator.close()
    with pytest.raises(ValueError, match="closed"):
        next(iterator)


def test_worker_processes_read_shards_of_their_own(tmp_path: Path) -> None:
    """Behind `mp_prefetch` each record comes once, and a checkpoint taken there resumes exactly."""
    code = f"""
import grain, sys
from absl import flags
flags.FLAGS(["test"])
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_grain
from pathlib import Path
if __name__ == "__main__":
    data = test_grain.to_grain(test_grain.files(Path({str(tmp_path)!r})))
    data = data.mp_prefetch(grain.multiprocessing.MultiprocessingOptions(num_workers=2, per_worker_buffer_size=2))
    iterator = iter(data)
    whole = [record["n"] for record in iterator]
    iterator.close()
    iterator = iter(data)
    for _ in range(5):
        next(iterator)
    state = iterator.get_state()
    iterator.close()
    again = iter(data)
    again.set_state(state)
    assert [record["n"] for record in again] == whole[5:], whole
    again.close()
    print(sorted(whole))
"""
    script = tmp_path / "prefetch.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str([n for n in range(18) if n != 6]), done.stderr[-2000:]


def test_a_dataset_is_a_random_access_source(tmp_path: Path) -> None:
    """Its records by number, in grain's datasets, shuffled globally, and in grain's loader."""
    save_jsonl([{"n": n} for n in range(20)], tmp_path / "rows.jsonl")
    source = to_grain(tm.dataset(tmp_path / "rows.jsonl"))
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    data = grain.MapDataset.source(source).seed(1).shuffle().batch(4)
    batches = [batch["n"] for batch in data]
    assert sorted(np.concatenate(batches).tolist()) == list(range(20))
    assert_equal_output_after_checkpoint(data.to_iter_dataset())
    sampler = grain.samplers.IndexSampler(20, shuffle=True, seed=1, num_epochs=1)
    loader = grain.DataLoader(data_source=source, sampler=sampler, worker_count=0)
    iterator = iter(loader)
    first = [next(iterator)["n"] for _ in range(5)]
    state = iterator.get_state()
    rest = [record["n"] for record in iterator]
    assert sorted(first + rest) == list(range(20))
    again = iter(loader)
    again.set_state(state)
    assert [record["n"] for record in again] == rest


def test_what_is_neither_a_stream_nor_a_dataset_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a stream, got a int"):
        to_grain(1)  # type: ignore[call-overload]


def test_without_grain_the_error_names_the_extra() -> None:
    assert error_without("grain", "import tidemill.adapters.grain").endswith(
        'a stream for grain needs the package grain, which is not installed\n  pip install "tidemill[grain]"'
    )
