"""What `examples/train.py` is made of, where it does not end well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tidemill as tm
from tidemill.disk import Disk
from train import main
from training.config import Train
from training.log import Log
from training.loop import Training


def make_config(folder: Path, text: str = "the tide turns the mill\n", **run: Any) -> Train:
    """A tiny run over twenty texts."""
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"{number} {text}" * 3 if text else "")
    data = {"files": [str(folder / "*.txt")], "window": 8, "buffer": 4, "held_out_ratio": 0.5}
    model = {"width": 8, "heads": 2, "blocks": 1}
    return tm.load_config(Train, {"data": data, "model": model, "run": {"folder": str(folder / "run"), **run}})


def start(cfg: Train) -> Training:
    """The training, at its first step."""
    training = Training(cfg, Disk())
    with Log(cfg.run.folder / "log.jsonl") as log:
        training.start(log)
    return training


def test_an_evaluation_that_raises_leaves_the_model_in_training_mode(tmp_path: Path) -> None:
    training = start(make_config(tmp_path))
    state = torch.get_rng_state()

    def fail(module: Any, arguments: Any) -> None:
        assert not torch.is_grad_enabled()
        assert not any(each.training for each in training.model.modules())
        torch.rand(3)
        raise RuntimeError("no memory left")

    hook = training.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        training.evaluate()
    hook.remove()
    assert all(each.training for each in training.model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert training.take_step()["step"] == 1, "and it trains on"


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """With what differs; what decides no result may differ."""
    training = start(make_config(tmp_path))
    training.take_step()
    with Log(tmp_path / "run" / "log.jsonl") as log:
        training.save(log)
    assert start(make_config(tmp_path, report_every=3)).step == 1
    with pytest.raises(tm.StateError, match=r"of another run: run\.steps: was 1000, is 5\n.*--run\.folder"):
        start(make_config(tmp_path, steps=5))


@pytest.mark.parametrize("kept", [0, 100, 1_000])
def test_a_checkpoint_that_is_cut_is_told(tmp_path: Path, kept: int) -> None:
    training = start(make_config(tmp_path))
    with Log(tmp_path / "run" / "log.jsonl") as log:
        training.save(log)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(tm.StateError, match=r"the checkpoint cannot be read: .+\n.*delete it"):
        start(make_config(tmp_path))


def test_what_is_to_be_mended_is_a_message_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = make_config(tmp_path)
    with Log(tmp_path / "run" / "log.jsonl") as log:
        start(cfg).save(log)
    (tmp_path / "train.json").write_text(cfg.model_dump_json())
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "train.json"), "--optim.lr", "0.5"])
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _: None)  # for the life of the process
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    assert main() == 2
    told = capsys.readouterr().err
    assert "the checkpoint is of another run: optim.lr: was 0.001, is 0.5\n  give this run a folder" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("act", ["take_step", "evaluate"])
def test_files_without_text_are_told(tmp_path: Path, act: str) -> None:
    training = start(make_config(tmp_path, text=""))
    with pytest.raises(tm.DataError, match=r"expected .* got"):
        getattr(training, act)()
