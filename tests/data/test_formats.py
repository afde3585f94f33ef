from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.files import parse_path
from tidemill.data.formats.format import Format, Options, check_options
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.table import FORMATS, READ_ONLY, find_format, get_format, guess_format
from tidemill.errors import ConfigError, DataError

each = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
each_written = pytest.mark.parametrize(
    "form", [form for form in FORMATS if form not in READ_ONLY], ids=lambda form: form.name
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jsonl", "jsonl"),
        ("b/a.ndjson.gz", "jsonl"),
        ("A.CSV", "csv"),
        ("a.tsv.xz", "csv"),
        ("a.txt.bz2", "text"),
        ("a.md", "text"),
        ("a.parquet", "parquet"),
        ("a.feather", "arrow"),
        ("a.arrows", "arrows"),
        ("a.npy", "npy"),
        ("a.npz", "npz"),
        ("a.HTM", "html"),
        ("a.html.gz", "html"),
        ("a.pdf", "pdf"),
        ("a.pdf.gz", None),
        ("a.tar", "tar"),
        ("train-000.tar.zst", "tar"),
        ("A.JPG", "image"),
        ("a.tiff", "image"),
        ("a.jpg.gz", None),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a", None),
        ("csv", None),
    ],
)
def test_a_suffix_tells_the_format(name: str, found: str | None) -> None:
    """In any case, behind a suffix of compression where the format has one; nothing else does."""
    form = find_format(name)
    assert (form and form.name) == found


@each
def test_a_name_tells_the_format(form: Format) -> None:
    """Each has one of its own, and suffixes of its own."""
    assert get_format(form.name) is form
    assert all(find_format(f"a{suffix}") is form for suffix in form.suffixes)


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    """So that the next one is right."""
    with pytest.raises(ConfigError, match=r"there is no format `xml`\n.*`jsonl`, `csv`, `text`, `parquet`, `arrow`"):
        get_format("xml")


@each
def test_an_option_that_a_format_does_not_take_is_told(form: Format) -> None:
    """One that is set and would do nothing; those it takes pass."""
    given: dict[str, Any] = {
        "max_line_bytes": 10,
        "delimiter": ";",
        "encoding": "latin-1",
        "whole": True,
        "columns": ("a",),
        "max_pages": 3,
        "max_unpacked_ratio": 3,
    }
    check_options(form, Options(**{name: given[name] for name in form.takes}))
    for name in given.keys() - form.takes:
        with pytest.raises(ConfigError, match=f"the format `{form.name}` has no option `{name}`"):
            check_options(form, Options(**{name: given[name]}))


def rows_of(form: Format, count: int) -> list[dict[str, Any]]:
    """Records that a format holds: NumPy's have numbers alone, a tar archive's a key, and just one is an image file."""
    if form.name in ("npy", "npz"):
        return [{"vector": n / 2} for n in range(count)]
    keys = ("__key__",) if form.name == "tar" else ()
    return [{**dict.fromkeys(keys, f"row/{n}"), "text": f"row {n}"} for n in range(count)]


MANY = [form for form in FORMATS if form.name != "image" and form not in READ_ONLY]
of_many = pytest.mark.parametrize("form", MANY, ids=lambda form: form.name)


@of_many
def test_what_is_saved_to_a_file_is_read_from_it(tmp_path: Path, form: Format) -> None:
    """Of no records, too; the same records give the same bytes."""
    for rows in ([], rows_of(form, 2)):
        path = tmp_path / f"new/a{form.suffixes[-1]}"
        assert save_records(rows, path, form) == len(rows)
        assert [outcome[1] for outcome in outcomes(form.open(path))] == rows
        first = path.read_bytes()
        save_records(iter(rows), path, form)
        assert path.read_bytes() == first
        assert [name.name for name in path.parent.iterdir()] == [path.name]


@of_many
def test_a_file_elsewhere_is_read_as_one_here(tmp_path: Path, form: Format) -> None:
    """From every position, and by number where the format has it."""
    rows = rows_of(form, 12)
    save_records(rows, tmp_path / "a", form)
    path = cast(Path, parse_path(f"memory://{tmp_path}/a{form.suffixes[0]}"))
    fsspec.filesystem("memory").pipe_file(f"{tmp_path}/a{form.suffixes[0]}", (tmp_path / "a").read_bytes())
    found = check_resumes_everywhere(lambda state: form.open(path, state))
    assert [outcome[1] for outcome in found] == rows
    if form.name not in ("csv", "text"):
        data = form.open_rows(path)
        assert data.read_rows([7, 2, 7]) == [rows[7], rows[2], rows[7]]
        assert list(data.iter_rows(3, 9)) == rows[3:9]


@pytest.mark.parametrize("form", READ_ONLY, ids=lambda form: form.name)
def test_a_format_that_is_only_read_says_so(tmp_path: Path, form: Format) -> None:
    """And is not named among those a file can be written as."""
    with pytest.raises(ConfigError, match=f"(?s){form.name.upper()} is read, not written.*JSON Lines"):
        save_records([{"text": "one"}], tmp_path / "a", form)
    with pytest.raises(ConfigError, match=f"{form.name.upper()} cannot be a dataset"):
        form.open_rows(tmp_path / "a")
    with pytest.raises(ConfigError, match="expected a file that ends in") as told:
        guess_format("a")
    assert form.suffixes[0] not in str(told.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.txt.gz"])
def test_the_name_of_a_file_says_how_it_is_saved(tmp_path: Path, name: str) -> None:
    """Compressed by gzip, and with tabs."""
    form = find_format(name)
    assert form is not None
    rows = [{"text": "one, two"}, {"text": "three"}]
    save_records(rows, tmp_path / name, form)
    raw = (tmp_path / name).read_bytes()
    assert raw.startswith(b"\x1f\x8b") == name.endswith(".gz")
    assert [outcome[1] for outcome in outcomes(form.open(tmp_path / name))] == rows
    assert name != "a.tsv" or raw == b"text\r\none, two\r\nthree\r\n"


def test_a_file_that_is_one_record_holds_no_other_number(tmp_path: Path) -> None:
    """Of images: its bytes are those of the record, and what is no image's bytes is told."""
    form = get_format("image")
    save_records([{"image": b"\xff\xd8", "path": "elsewhere.jpg"}], tmp_path / "a.jpg", form)
    assert (tmp_path / "a.jpg").read_bytes() == b"\xff\xd8"
    for rows, told in {
        (): "expected one record for a file that is one image, got none",
        (b"a", b"b"): "expected one record for a file that is one image, got more",
        ("text",): "record 0 is no image file: expected its one column to be `image`, bytes",
    }.items():
        with pytest.raises(DataError, match=told):
            save_records([{"image": row} for row in rows], tmp_path / "b.jpg", form)
        assert not (tmp_path / "b.jpg").exists()


def test_formats_are_known_without_the_packages_that_read_them() -> None:
    """Arrow is imported when a file of its kind is opened."""
    code = "import sys, tidemill.data.formats.table; sys.exit(bool({'pyarrow', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
