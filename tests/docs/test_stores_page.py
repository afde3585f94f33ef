"""docs/stores.md runs as printed, and its tables say what the code says."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from docpages import Page, bare, list_said, load_module
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

import tidemill as tm
from tidemill import stores
from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.errors import ConfigError
from tidemill.protocols import Upserted
from tidemill.stores.filters import OPERATORS
from tidemill.stores.lance.settings import Index
from tidemill.stores.steps.marks import hide_mark
from tidemill.stores.store import Metric, Store
from tidemill.stores.table import STORES, AnyStore
from tidemill.testing.stores import STORE_CHECKS

pytestmark = pytest.mark.usefixtures("lance_opened_once")

PAGE = Page.load("docs/stores.md")


def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `print(…)  # text` prints that text, others what stands below them, in order."""
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    code = ""
    for language, text in re.findall(r"^```(python|text)\n(.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE):
        said += list_said(text) if language == "python" else text.splitlines()
        code += text if language == "python" else ""
    path = tmp_path / "stores_page.py"
    path.write_text(code)
    with load_module(path):
        printed = capsys.readouterr().out.splitlines()
    assert printed == said


class Holder(Config):
    """What has a store, as a file describes it."""

    store: AnyStore


def test_settings_in_files_are_known() -> None:
    told = [told["store"] for told in map(yaml.safe_load, PAGE.blocks("yaml")) if "store" in told]
    for settings in told:
        assert load_config(Holder, {"store": settings}).store.model_fields_set == settings.keys() - {"type"}
    assert {settings["type"] for settings in told} == STORES.keys()


def test_a_job_has_a_store_that_another_package_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's, installed as what it says of its package has it."""
    (entries,) = PAGE.blocks("toml")
    (job,) = (text for text in PAGE.blocks("yaml") if text.startswith("source:"))
    info = tmp_path / "site" / "shelf-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (group,) = tomllib.loads(entries)["project"]["entry-points"].items()
    (info / "entry_points.txt").write_text(f"[{group[0]}]\n" + "".join(f"{n} = {at}\n" for n, at in group[1].items()))
    PAGE.write_files(info.parent)
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.delitem(sys.modules, "shelf", raising=False)  # the tests of stores have one of that name
    monkeypatch.chdir(tmp_path)
    books = [{"id": str(n), "title": f"book {n}", "year": 1900 + n, "embedding": [1.0, n, 0.0]} for n in range(9)]
    Path("books.jsonl").write_text("".join(f"{json.dumps(book)}\n" for book in books))
    Path("job.yaml").write_text(job)
    try:
        assert tm.load_job("job.yaml").run(progress=False).outcome == "finished"
        held = sys.modules["shelf"].HELD["books"]
        assert {key: hide_mark(payload) for key, (_, payload) in held.items()} == {
            book["id"]: {"title": book["title"], "year": book["year"]} for book in books
        }
        assert [record["near"][0]["id"] for record in tm.dataset("out")] == [book["id"] for book in books]
        Path("job.yaml").write_text(job.replace("type: shelf", "type: shelv"))
        with pytest.raises(ConfigError, match=r"`lancedb`, `pgvector`, `qdrant`, `shelf` .*did you mean `shelf`\?"):
            tm.load_job("job.yaml")
    finally:
        sys.modules.pop("shelf", None)


def iter_fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The settings of a store that not all have, by their names in a table, those within others too."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from iter_fields(inner, f"{above}{name}.")
        elif model is Store or name not in Store.model_fields:
            yield f"{above}{name}", field


SETTINGS: Mapping[str, type[Store]] = {"Store": Store, **STORES}


def test_every_store_has_its_table_and_says_what_a_crash_leaves() -> None:
    assert PAGE.markers("settings") == list(SETTINGS)
    for marker in ("crash", "many"):
        assert [bare(row["store"]) for row in PAGE.table(marker)] == list(STORES)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_table_has_every_setting_and_its_default(name: str) -> None:
    fields = dict(iter_fields(SETTINGS[name]))
    rows = {bare(row["setting"]): row["default"] for row in PAGE.table(f"settings: {name}")}
    assert list(rows) == list(fields)
    for key, shown in rows.items():
        field = fields[key]
        if field.is_required():
            assert shown == "required", key
        else:
            value: Any = TypeAdapter(field.rebuild_annotation()).validate_python(yaml.safe_load(bare(shown)))
            assert value == field.get_default(call_default_factory=True), key


@pytest.mark.parametrize(
    ("marker", "column", "names"),
    [
        ("outcomes", "kind", typing.get_args(typing.get_type_hints(Upserted)["kind"])),
        ("metrics", "metric", typing.get_args(Metric)),
        ("operators", "operator", OPERATORS),
        ("indexes", "index", typing.get_args(Index)),
        ("checks", "check", STORE_CHECKS),
    ],
)
def test_a_table_names_all_there_are(marker: str, column: str, names: Any) -> None:
    assert [bare(row[column]) for row in PAGE.table(marker)] == list(names)


def test_every_name_stands_on_the_page() -> None:
    assert set(stores.__all__) - set(re.findall(r"\w+", PAGE.text)) == set()


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
