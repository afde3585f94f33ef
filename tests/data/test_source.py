from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.errors import ConfigError, DataError, StateError
from tidemill.protocols import Growth, Source


def save(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'{"from": "%s"}\n' % name.encode())


def make_numbers() -> Iterator[int]:
    yield from range(5)


def test_parts_are_the_matching_files_in_order(tmp_path: Path) -> None:
    """Files are sorted and named from the folder in front of the first wildcard; folders do not match."""
    save(tmp_path, "in/b.jsonl", "in/a.jsonl", "in/deep/c.jsonl", "in/notes.txt")
    (tmp_path / "in/d.jsonl").mkdir()
    assert tuple(Read(path=f"{tmp_path}/in/*.jsonl").parts()) == ("a.jsonl", "b.jsonl")
    assert tuple(Read(path=f"{tmp_path}/in/**/*.jsonl").parts()) == ("a.jsonl", "b.jsonl", "deep/c.jsonl")
    assert tuple(Read(path=f"{tmp_path}/*/deep/*.jsonl").parts()) == ("in/deep/c.jsonl",)
    assert tuple(Read(path=tmp_path / "in/b.jsonl").parts()) == ("b.jsonl",)


def test_a_list_keeps_its_order_and_tells_equal_names_apart(tmp_path: Path) -> None:
    """Parts of several patterns are named from their common folder; a file stands where it matched first."""
    save(tmp_path, "fr/a.jsonl", "en/a.jsonl", "en/b.jsonl")
    source = Read(path=(f"{tmp_path}/fr/*.jsonl", f"{tmp_path}/en/b.jsonl", f"{tmp_path}/en/*.jsonl"))
    assert tuple(source.parts()) == ("fr/a.jsonl", "en/b.jsonl", "en/a.jsonl")
    assert list(source.open_part("fr/a.jsonl")) == [{"from": "fr/a.jsonl"}]


def test_a_file_named_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    """Brackets in a file's or a folder's own name do no harm."""
    save(tmp_path, "run[1]/a[b].jsonl", "run[1]/ab.jsonl")
    folder = {"folder": tmp_path / "run[1]"}
    assert tuple(Read.model_validate({"path": "a[b].jsonl"}, context=folder).parts()) == ("a[b].jsonl",)
    assert tuple(Read.model_validate({"path": "a*.jsonl"}, context=folder).parts()) == ("a[b].jsonl", "ab.jsonl")


def test_relative_paths_start_at_the_job_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a folder in the context relative patterns start there, else in the current folder."""
    save(tmp_path, "job/in/a.jsonl", "in/b.jsonl")
    monkeypatch.chdir(tmp_path)
    source = Read.model_validate({"path": "in/*.jsonl"}, context={"folder": tmp_path / "job"})
    assert tuple(source.parts()) == ("a.jsonl",)
    assert list(source.open_part("a.jsonl")) == [{"from": "job/in/a.jsonl"}]
    assert tuple(Read(path="in/*.jsonl").parts()) == ("b.jsonl",)
    assert source.describe() == Read(path="in/*.jsonl").describe()


def test_files_are_looked_for_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One description, gone through again: after files came, in another current folder, and in another process."""
    for name in ("one/in/a.jsonl", "two/in/a.jsonl", "two/more/c.jsonl"):
        save(tmp_path, name)
    source = Read(path=("in/*.jsonl", "more"))
    monkeypatch.chdir(tmp_path / "one")
    with pytest.raises(DataError, match="no file matches `more`"):
        list(source.parts())
    save(tmp_path, "one/more/b.jsonl")
    assert list(source.parts()) == ["in/a.jsonl", "more/b.jsonl"]
    assert list(source.open_part("more/b.jsonl")) == [{"from": "one/more/b.jsonl"}]
    monkeypatch.chdir(tmp_path / "two")
    assert list(source.open_part("in/a.jsonl")) == [{"from": "two/in/a.jsonl"}]
    assert list(pickle.loads(pickle.dumps(source)).open_part("more/c.jsonl")) == [{"from": "two/more/c.jsonl"}]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("in/*.jsonl", r"no file matches `\*\.jsonl` in the folder `.*/in`"),
        ("in/a.jsonl", r"no file matches `a\.jsonl` in the folder `.*/in`"),
        ("none/*/b.jsonl", r"no file matches `none/\*/b\.jsonl`: there is no folder `.*/none`"),
        ("in", r"in: expected files of a known format in the folder, got none"),
        (
            "in/notes.doc",
            r"notes\.doc: expected a file of a known format, got one of another suffix\n  say format: jsonl",
        ),
    ],
)
def test_no_match_names_pattern_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str
) -> None:
    """An error about files says what was sought, where, and what to do."""
    save(tmp_path, "in/notes.doc", "good.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        list(Read(path=pattern).parts())
    with pytest.raises(DataError, match=message):
        list(Read(path=("good.jsonl", pattern)).parts())


def test_format_reads_any_suffix(tmp_path: Path) -> None:
    """`format` says what the suffix does not."""
    save(tmp_path, "a.log")
    source = Read(path=f"{tmp_path}/a.log", format="jsonl")
    assert list(source.open_part(next(source.parts()))) == [{"from": "a.log"}]


@pytest.mark.parametrize("path", ["", (), ("a.jsonl", ""), ("a.jsonl", "s3://bucket/*.jsonl")])
def test_a_path_that_cannot_be_one_is_refused(path: Any) -> None:
    """No path, an empty one and those of two file systems are told when the description is made."""
    with pytest.raises(ConfigError, match="expected a path or pattern"):
        Read(path=path)


def test_making_a_source_touches_nothing(tmp_path: Path) -> None:
    """A description of files that are not there is as good as any."""
    source = Read(path=f"{tmp_path}/none/*.jsonl", on_error="skip", max_line_bytes=5)
    assert source.describe() == {
        "read": {"path": f"{tmp_path}/none/*.jsonl", "on_error": "skip", "max_line_bytes": 5},
    }
    assert isinstance(source, Source)


def test_a_raw_line_and_growth_go_through_the_source(tmp_path: Path) -> None:
    """`retry` parses the bytes of an error again; a run asks whether a part changed."""
    save(tmp_path, "a.jsonl")
    source = Read(path=f"{tmp_path}/*.jsonl")
    reader = source.open_part("a.jsonl")
    outcomes(reader)
    assert source.decode_record(b'{"n": 1}') == {"n": 1}
    assert source.compare_part("a.jsonl", reader.state()) == "same"
    with open(tmp_path / "a.jsonl", "ab") as file:
        file.write(b"{}\n")
    os.utime(tmp_path / "a.jsonl", ns=(0, 0))
    assert source.compare_part("a.jsonl", reader.state()) == "grown"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_how_much_of_a_file_is_read_is_told_by_its_records(tmp_path: Path, name: str) -> None:
    """Not by the block that was read ahead, which may be the whole file."""
    save_jsonl([{"n": f"{n:05}"} for n in range(400)], tmp_path / name)
    source = Read(path=f"{tmp_path}/a.jsonl*")
    size = (tmp_path / name).stat().st_size
    assert source.measure_part(name, None) == (0, size)
    reader = source.open_part(name)
    outcomes(reader, 100)
    assert source.measure_part(name, reader.state()) == (round(size / 4), size)
    outcomes(reader)
    assert source.measure_part(name, reader.state()) == (size, size)


@pytest.mark.parametrize("iterable", [range(5), make_numbers, (0, 1, 2, 3, 4), lambda: iter(range(5))])
def test_an_iterable_resumes_from_every_position(iterable: Any) -> None:
    """What can be gone through again, and a function that makes it, resume by passing over what was given."""
    source = FromIterable(iterable=iterable)
    assert tuple(source.parts()) == ("iterable",)
    whole = check_resumes_everywhere(lambda state: source.open_part("iterable", state))
    assert [outcome[1] for outcome in whole] == list(range(5))
    assert source.compare_part("iterable", {"count": 3}) == "same"


def test_an_iterator_can_be_gone_through_once() -> None:
    """A second pass over an iterator would silently be empty: it is refused, with the way out."""
    source = FromIterable(iterable=make_numbers())
    assert list(source.open_part("iterable", {"count": 2})) == [2, 3, 4]
    with pytest.raises(StateError, match=r"got a generator that was gone through before\n.*`make`, not `make\(\)`"):
        source.open_part("iterable")


def test_an_iterable_shorter_than_the_state_is_refused() -> None:
    """A state behind the end belongs to another iterable."""
    with pytest.raises(StateError, match="stands behind item 6, but the iterable ends after 5"):
        FromIterable(iterable=range(5)).open_part("iterable", {"count": 6})


@pytest.mark.parametrize(
    ("wrong", "got"), [({"a": 1}, "a dict"), (b"ab", "a bytes"), (3, "a int"), (None, "a NoneType")]
)
def test_what_is_no_iterable_of_records_is_refused(wrong: Any, got: str) -> None:
    """A single record, bytes or a number is a mistake told when the stream is made."""
    with pytest.raises(ConfigError, match=f"expected an iterable of records .* got {got}"):
        FromIterable(iterable=wrong)


def test_an_iterable_may_be_an_import_path() -> None:
    """A job file names the function; both forms are described alike."""
    named = FromIterable.model_validate({"iterable": "keyword:kwlist"})
    assert next(named.open_part("iterable")) == "False"
    function = FromIterable.model_validate({"iterable": "itertools:count"})
    assert next(function.open_part("iterable")) == 0
    assert function.model_dump(mode="json") == {"iterable": "itertools:count"}
    assert FromIterable(iterable=[1]).model_dump(mode="json") == {"iterable": "a list"}
    assert FromIterable(iterable=[1]).describe() == FromIterable(iterable=[2]).describe()
    assert FromIterable(iterable=make_numbers).describe() != FromIterable(iterable=list).describe()


def test_items_of_an_iterable_have_no_bytes() -> None:
    """There is nothing to parse again."""
    with pytest.raises(DataError, match="cannot be made from bytes"):
        FromIterable(iterable=[]).decode_record(b"{}")


def test_an_error_out_of_an_iterable_is_its_own() -> None:
    """What the user's generator raises comes through as it is."""

    def fail() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    reader = FromIterable(iterable=fail).open_part("iterable")
    assert next(reader) == 1
    with pytest.raises(OSError, match="gone"):
        next(reader)
    assert reader.state() == {"count": 1}
    reader.close()


@pytest.mark.parametrize(
    ("pattern", "path", "reads"),
    [
        ("data/*.jsonl", "data/part-00001.jsonl", True),
        ("**/*.jsonl", "out/deep/part-00001.jsonl", True),
        ("data/**/*.jsonl", "data/part-00001.jsonl", True),
        ("a.jsonl", "a.jsonl", True),
        ("data/*.jsonl", "out/part-00001.jsonl", False),
        ("**/*.jsonl", "out/.run/part-00001.jsonl", False),
    ],
)
def test_a_source_knows_whether_it_would_read_a_file(pattern: str, path: str, reads: bool) -> None:
    """As glob would: `**` goes down any number of folders, and nothing hidden is found unless it is named."""
    assert Read(path=pattern).would_read(Path(path)) is reads


def go_on_with(items: list[Any], edit: Callable[[list[Any]], None], *, after: int = 5) -> str:
    """What a list is said to be that was read up to `after` and then edited."""
    source = FromIterable(iterable=items)
    reader = source.open_part("iterable")
    reader.state()  # as a job does: from then on what is given is kept track of
    for _ in range(after):
        next(reader)
    state = json.loads(json.dumps(reader.state()))
    edit(items)
    return source.compare_part("iterable", state)


def make_items() -> list[Any]:
    return [{"id": number, "tags": {"a": number, "b": [number]}} for number in range(10)]


def test_any_edit_of_a_list_before_the_state_is_noticed() -> None:
    """Another value in any item given, an item more or less; not what is still to come, nor another order of keys."""
    for index in range(5):

        def edit(items: list[Any], at: int = index) -> None:
            items[at].update(id=-1)

        def edit_within(items: list[Any], at: int = index) -> None:
            items[at]["tags"]["b"].append(1)

        assert go_on_with(make_items(), edit) == "edited"
        assert go_on_with(make_items(), edit_within) == "edited"
    assert go_on_with(make_items(), lambda items: items.insert(2, {"id": 99})) == "edited"
    assert go_on_with(make_items(), lambda items: items.pop(0) and None) == "edited"
    assert go_on_with(make_items(), lambda items: items[7].update(id=-1)) == "same"
    assert go_on_with(make_items(), lambda items: items.append({"id": 10})) == "grown"
    turned = {"tags": {"b": [0], "a": 0}, "id": 0}
    assert go_on_with(make_items(), lambda items: items.__setitem__(0, turned)) == "same"


@pytest.mark.parametrize("kind", ["<f4", "<i8", "<M8[ns]", "S4", "?"])
def test_an_edit_of_an_array_is_noticed(kind: str) -> None:
    """By its bytes, its type and its shape."""
    array = np.zeros((2, 3), dtype=kind)

    def go_on_with(change: Callable[[dict[str, Any]], object]) -> Growth:
        items = [{"x": array.copy(), "n": np.float32(1.5)}, {}]
        source = FromIterable(iterable=items)
        reader = source.open_part("iterable")
        next(reader)
        state = reader.state()
        change(items[0])
        return source.compare_part("iterable", state)

    assert go_on_with(lambda item: None) == "same"
    assert go_on_with(lambda item: item.update(x=array.reshape(3, 2))) == "edited"
    assert go_on_with(lambda item: item.update(n=np.float32(2))) == "edited"
    assert go_on_with(lambda item: item["x"].view("u1").__setitem__((0, 0), 1)) == "edited"
    assert go_on_with(lambda item: item.update(x=item["x"].view(f"V{array.itemsize}"))) == "edited"


def test_an_edited_list_is_not_gone_on_with() -> None:
    """By whoever opens it, too."""
    items = make_items()
    source = FromIterable(iterable=items)
    reader = source.open_part("iterable")
    next(reader)
    state = reader.state()
    items[0]["id"] = -1
    with pytest.raises(StateError, match="an item was edited before item 1, where the state stands"):
        source.open_part("iterable", state)


def test_values_without_json_are_compared_by_their_type() -> None:
    """Objects of a user's own: a job needs dicts, plain iteration takes anything."""

    def put(value: Any) -> Callable[[list[Any]], None]:
        return lambda items: items.__setitem__(0, value)

    assert go_on_with([object() for _ in range(8)], put(object())) == "same"
    assert go_on_with([object() for _ in range(8)], put(1)) == "edited"
    assert go_on_with([{"n": 2**70 + n} for n in range(8)], lambda items: items.__setitem__(2, {"n": 1})) == "edited"
