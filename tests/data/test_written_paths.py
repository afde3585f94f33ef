"""What records call the file they are of: as their source was written, so that a copy of the folder gives the same."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pdfs import make_pdf
from PIL import Image

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles


def draw() -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (4, 4)).save(held, "PNG")
    return held.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "a.md": lambda: b"# tides",
    "a.html": lambda: b"<p>tides</p>",
    "a.pdf": lambda: make_pdf(["tides"]),
    "a.png": draw,
}


def read_in(folder: Path, path: str, **options: Any) -> list[Any]:
    """The paths of the records of a source that a job file in `folder` has."""
    source = Read.model_validate({"path": path, **options}, context={"folder": folder})
    return [record["path"] for record in iterate(source, [])]


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a file that stands in `docs/sub` of two folders, `here` and `there`."""
    for folder in ("here", "there"):
        (tmp_path / folder / "docs" / "sub").mkdir(parents=True)
        (tmp_path / folder / "docs" / "sub" / request.param).write_bytes(FILES[request.param]())
    return str(request.param)


@pytest.mark.parametrize("pattern", ["docs/**/*{}", "./docs/sub/a{}", "docs/../docs/*/a{}"])
def test_a_copy_of_a_folder_gives_the_same_paths(tmp_path: Path, name: str, pattern: str) -> None:
    options = {"whole": True} if name == "a.md" else {}
    pattern = pattern.format(Path(name).suffix)
    for folder in ("here", "there"):
        assert read_in(tmp_path / folder, pattern, **options) == [f"docs/sub/{name}"]
        assert read_in(tmp_path / folder / "docs", "../docs/sub/" + name, **options) == [f"sub/{name}"]
    absolute = str(tmp_path / "here" / "docs" / "sub" / name)
    assert read_in(tmp_path / "there", absolute, **options) == [absolute]


def test_images_by_number_are_named_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(draw())
    (record,) = RowFiles.model_validate({"dataset": "photos"}, context={"folder": tmp_path}).rows.read_rows([0])
    assert record["path"] == "photos/a.png"
    monkeypatch.chdir(tmp_path)
    assert [each["path"] for each in tm.read("photos")] == [tm.dataset("photos")[0]["path"]] == ["photos/a.png"]
    assert tm.dataset(tmp_path / "photos")[0]["path"] == os.fspath(tmp_path / "photos" / "a.png")
