"""`examples/train.py`: a run that is killed again and again comes to the very losses of one that never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from training.config import Data

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "examples" / "train.py"

STEPS = 60

CONFIG = """
data: {files: ["texts/*.txt"], window: 24, buffer: 8, max_file: 2000, held_out_ratio: 0.3}
model: {width: 16, heads: 2, dropout: 0.2}
optim: {batch_size: 4, warmup: 10, lr: 0.01}
run: {folder: killed, steps: 60, threads: 1, checkpoint_every: 10, evaluate_every: 7, evaluate_windows: 6}
"""

ENDINGS = [
    "kill:4",  # before there is a checkpoint
    "kill:23",  # between two
    "kill:29",  # some steps done twice are done again
    "half:30",  # in the middle of a line of the log
    "save",  # with a checkpoint written, and not in its place
    "kill:40",  # behind the line of a checkpoint's step, in front of the checkpoint
    "stop:47",
    "never",
]


def run_script(folder: Path, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python SCRIPT ARGUMENTS`, run in `folder`, whose modules come first."""
    command = [sys.executable, str(script), *arguments]
    search = [str(folder), str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def read_result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What stands in the last line that it printed."""
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def take_curve(events: list[dict[str, Any]], event: str = "step") -> list[tuple[int, str]]:
    """Each step and its loss, to the last bit."""
    return [(each["step"], float(each["loss"]).hex()) for each in events if each["event"] == event]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty texts, one of them too large, one in no encoding; a pass over them takes fewer steps than the run."""
    (tmp_path / "train.yaml").write_text(CONFIG)
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(30):
        (texts / f"{number:02}.txt").write_text(f"text {number}: {'the tide turns the mill, ' * (number % 9)}\n")
    (texts / "07.txt").write_bytes(b"\x80\xff\x00 is no UTF-8")
    (texts / "20.txt").write_text("too much " * 1000)
    return tmp_path


def test_a_run_that_is_killed_comes_to_the_same_losses(folder: Path) -> None:
    """Bit for bit, at every step and evaluation; and so do the weights, the optimizer and the place in the data."""
    done = run_script(folder, SCRIPT, "train.yaml", "--run.folder", "whole")
    assert done.returncode == 0, done.stderr
    whole = read_log(folder / "whole")
    assert [step for step, _ in take_curve(whole)] == list(range(1, STEPS + 1))
    assert whole[-1]["passed_over"] == 1

    found = read_result(run_script(folder, HERE / "sittings.py", "train.yaml", "whole", *ENDINGS))
    assert found["codes"] == [-signal.SIGKILL] * 6 + [128 + signal.SIGTERM, 0]
    assert found["differences"] == []
    killed = read_log(folder / "killed")
    assert take_curve(killed) == take_curve(whole)
    assert take_curve(killed, "evaluation") == take_curve(whole, "evaluation")
    assert [each["step"] for each in killed if each["event"] == "resumed"] == [20, 30, 47], "those that saved since"
    assert len(set(take_curve(whole))) == STEPS
    assert whole[-1]["loss"] < whole[0]["loss"] / 2


def test_a_typo_ends_it_before_torch_is_imported(tmp_path: Path) -> None:
    """On the command line and in a file, within one report."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    (tmp_path / "train.yaml").write_text("optim: {learningrate: 0.1}\n")
    done = run_script(tmp_path, SCRIPT, "train.yaml", "--optim.weight_dekay", "0.1")
    assert done.returncode == 2
    assert "did you mean `--optim.weight_decay`?" in done.stderr
    assert "train.yaml:1:9" in done.stderr
    assert "torch was imported" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_data_path_holds_no_more_of_12_mb_than_of_a_small_file(tmp_path: Path) -> None:
    """At most 2 MB more: a file of 256 kB as bytes and as text, and the windows that are shuffled."""
    size_bytes = sum(Path(each).stat().st_size for pattern in Data().files for each in glob(pattern, recursive=True))
    if size_bytes < 13_000_000:
        pytest.skip("this Python's library came without its tests, and has less than 12 MB")
    small = tmp_path / "small.py"
    small.write_text("print('the tide turns the mill')\n" * 200)
    found = read_result(run_script(tmp_path, HERE / "datapath.py", str(small), "12000000"))
    sys.stdout.write(f"{found}\n")
    of_one, of_library = found["of_one"], found["of_library"]
    assert of_one["tokens"] > 20_000
    assert of_library["tokens"] >= 12_000_000
    assert of_library["held_bytes"] - of_one["held_bytes"] <= 2_000_000
