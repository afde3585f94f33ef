"""Weights from files: safetensors first, a pickle as far as it holds tensors alone, unless it is trusted."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import tidemill as tm
from tidemill.models.torch.weights import load_weights

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


class Calling:
    """Makes a pickle that has a file made when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def are_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = WEIGHTS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], each) for name, each in wanted.items())


def test_a_file_of_either_kind(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save(WEIGHTS, tmp_path / "model.pt")
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, tmp_path / "checkpoint.ckpt")
    for name in ("model.safetensors", "model.pt", "checkpoint.ckpt"):
        assert are_equal(load_weights(tmp_path / name))


def test_a_folder_s_safetensors_come_before_its_pickle(tmp_path: Path) -> None:
    """The pickle is not even looked at."""
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Calling(tmp_path / "called")))
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert are_equal(load_weights(tmp_path))
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_parts_are_put_together(name: str, tmp_path: Path) -> None:
    """A folder's index names them; they stand beside it, whatever it says."""
    stem, suffix = name.split(".")
    save: Any = save_file if suffix == "safetensors" else torch.save
    files = [f"{stem}-{number}.{suffix}" for number in (1, 2)]
    for file, key in zip(files, WEIGHTS, strict=True):
        save({key: WEIGHTS[key]}, tmp_path / file)
    text = f'{{"weight_map": {{"a": "{files[0]}", "b": "../elsewhere/{files[1]}"}}}}'
    (tmp_path / f"{name}.index.json").write_text(text)
    assert are_equal(load_weights(tmp_path))
    (tmp_path / f"{name}.index.json").write_text('{"weights": []}')
    with pytest.raises(tm.ResourceError, match=r"index\.json does not say which files hold the weights: KeyError"):
        load_weights(tmp_path)


def test_a_pickle_that_calls_is_refused_unless_trusted(tmp_path: Path) -> None:
    """What it calls is named, and was not called."""
    path = tmp_path / "model.bin"
    torch.save({**WEIGHTS, "extra": Calling(tmp_path / "called")}, path)
    with pytest.raises(
        tm.ResourceError, match=r"the pickle .*model\.bin is refused: it wants `posix\.mkdir`"
    ) as caught:
        load_weights(path)
    assert "`load: {trusted: true}`" in caught.value.hint
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "called").exists()
    with pytest.raises(tm.ResourceError, match=r"expected tensors by name in .*, got a mapping with 'a', 'b', 'extra'"):
        load_weights(path, trusted=True)
    assert (tmp_path / "called").exists()


def test_a_trusted_pickle_is_loaded(tmp_path: Path) -> None:
    """Of a class that torch does not know, say."""
    path = tmp_path / "model.bin"
    torch.save(_Weights(WEIGHTS), path)
    with pytest.raises(tm.ResourceError, match=r"it wants `test_torch_weights\._Weights`"):
        load_weights(path)
    assert are_equal(load_weights(path, trusted=True))


class _Weights(dict[str, torch.Tensor]):
    """A mapping of a class of its own."""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "cut.safetensors cannot be read: "),
        ("text.pt", b"just text", r"text\.pt cannot be read: it is no file of torch's"),
        ("empty.pt", b"", r"empty\.pt cannot be read: "),
        ("cut.pt", b"PK\x03\x04 cut", r"cut\.pt cannot be read: "),
        ("absent.pt", None, r"absent\.pt cannot be read: No such file or directory"),
        ("absent.safetensors", None, r"absent\.safetensors cannot be read: No such file"),
    ],
)
def test_what_is_no_file_of_weights(name: str, content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(tm.ResourceError, match=told):
        load_weights(tmp_path / name)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(tm.ResourceError, match=r"no weights in .*: it has none of model\.safetensors, "):
        load_weights(tmp_path)


def test_what_is_no_mapping_of_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(tm.ResourceError, match=r"expected tensors by name in .*list\.pt, got list"):
        load_weights(tmp_path / "list.pt")


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        tm.ResourceError, match=r"the weights model\.pt needs the package torch, which is not"
    ) as caught:
        load_weights(tmp_path / "model.pt")
    assert caught.value.hint == 'pip install "tidemill[torch]"'


def test_looking_for_weights_imports_no_torch() -> None:
    program = "import sys, tidemill.models.torch.weights, tidemill.jobs.spec.checks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
