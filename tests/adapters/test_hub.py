"""Hugging Face datasets by their names, as sources of streams and job files: files that their library reads here."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from missing import error_without
from resuming import check_resumes_everywhere

import tidemill as tm
from conftest import Command
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.sources.hub import Hub
from tidemill.errors import ConfigError, DataError, ResourceError

RECORDS = [{"n": n, "text": f"row {n}"} for n in range(9)]

JOB = """
source: {hf: json, data_files: ["a.jsonl", "b.jsonl"]}
steps:
  - map: hub_steps:twice
sink: {path: out, segment: {records: 20}}
"""

STEPS = """
import os, signal
from pathlib import Path

HERE = Path(__file__).parent

def twice(record):
    if record["n"] == 70 and not (HERE / "killed").exists():
        (HERE / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {**record, "twice": record["n"] * 2}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_jsonl(RECORDS[:4], tmp_path / "a.jsonl")
    save_jsonl(RECORDS[4:], tmp_path / "b.jsonl")
    return tmp_path


def test_a_dataset_by_its_name_is_a_stream(files: Path) -> None:
    """Relative files start at the current folder; every position resumes, also of what was pickled."""
    stream = tm.from_hf("json", data_files=["a.jsonl", "b.jsonl"])
    assert repr(stream) == "<Stream: from_hf('json', split='train')>"
    found = check_resumes_everywhere(stream.iterate)
    assert [outcome[1] for outcome in found] == RECORDS
    carried = pickle.loads(pickle.dumps(stream))
    assert carried == stream
    assert list(carried) == RECORDS
    assert set(tm.from_hf("json", data_files="a.jsonl").to_hf().features) == {"n", "text"}


def test_a_job_that_is_killed_goes_on_where_it_was(files: Path, tidemill_command: Command) -> None:
    """Each record lands once; the chain is the same job as the file."""
    records = [{"n": n, "text": f"row {n}"} for n in range(100)]
    save_jsonl(records[:40], files / "a.jsonl")
    save_jsonl(records[40:], files / "b.jsonl")
    (files / "hub_steps.py").write_text(STEPS)
    (files / "job.yaml").write_text(JOB)
    tidemill_command.environment["HF_HOME"] = str(files / "home")
    assert tidemill_command("run", "job.yaml").code == -9
    done = tidemill_command("run", "job.yaml")
    assert done.code == 0, done.err
    assert [record["n"] for record in tm.dataset(files / "out")] == list(range(100))


def test_a_job_file_and_the_chain_name_one_source(files: Path) -> None:
    (files / "hub_steps.py").write_text(STEPS)
    (files / "job.yaml").write_text(JOB)
    job = tm.load_job("job.yaml")
    chain = tm.from_hf("json", data_files=["a.jsonl", "b.jsonl"]).source
    assert job.spec.source.describe() == chain.describe()
    (files / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml").fingerprint == job.fingerprint
    (files / "job.yaml").write_text(JOB.replace("data_files", "data_file"))
    with pytest.raises(ConfigError, match=r"job\.yaml:2:\d+  unknown key `data_file`; did you mean `data_files`"):
        tm.load_job("job.yaml")


def test_what_cannot_be_opened(files: Path) -> None:
    """Told by its name, when it is read."""
    with pytest.raises(ConfigError, match=r"`json` cannot be opened: .*nothing"):
        next(iter(tm.from_hf("json", data_files="a.jsonl", split="nothing")))
    with pytest.raises(ResourceError, match=r"`json` cannot be opened: .*gone\.jsonl"):
        next(iter(tm.from_hf("json", data_files="gone.jsonl")))
    (files / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"`json` cannot be opened: no record is in its files"):
        next(iter(tm.from_hf("json", data_files="empty.jsonl")))
    with pytest.raises(ConfigError, match=r"expected `split` beside the name of a dataset, got a list"):
        tm.from_hf([1], split="train")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match=r"unknown key `splt`; did you mean `split`|`splt`"):
        tm.from_hf("json", splt="train")  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["json", "csv", "text", "imagefolder"])
def test_a_pattern_that_matches_no_file_is_told(files: Path, kind: str) -> None:
    """Beside one that does, too: the library passes over it, and is an empty dataset where there is no other."""
    (files / "a.txt").write_text("a")
    for missing in (["zz*"], ["a.*", "zz*"], ["memory://hub/zz*"]):
        with pytest.raises(DataError, match=r"no file matches `.*/zz\*`"):
            list(tm.from_hf(kind, data_files=missing))
    assert list(tm.from_hf("text", data_files="*.tx?")) == [{"text": "a"}]


def test_a_source_shows_no_secrets() -> None:
    source = Hub(hf="me/private", arguments={"token": "hf_not-to-be-seen"})
    assert "not-to-be-seen" not in repr(source) + str(source.describe()) + source.show()


def test_without_datasets_the_extra_is_named() -> None:
    code = "import tidemill as tm; next(iter(tm.from_hf('json', data_files='a.jsonl')))"
    assert 'pip install "tidemill[hf]"' in error_without("datasets", code)
