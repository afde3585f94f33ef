"""What the model is told of what a tool gave, and what is kept of it."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from toolkit import call_once, make_tool

from tidemill.agents.calling.marking import mark_data, mark_result
from tidemill.agents.calling.outcome import ToolOutcome


async def test_text_is_told_as_it_is_between_marks() -> None:
    async def greet(name: str) -> str:
        return f"hello {name}"

    outcome = await call_once(make_tool(greet), arguments={"name": "Ada"})
    assert (outcome.kind, outcome.value, outcome.tries) == ("ok", "hello Ada", 1)
    first, text, last = outcome.content.splitlines()
    assert first.startswith('<result tool="greet" id="')
    assert text == "hello Ada"
    assert last == f"</result {first[-10:-2]}>"


class Reading(BaseModel):
    level: float
    at: datetime.date | None


@dataclasses.dataclass
class Place:
    name: str


@dataclasses.dataclass
class Depth:
    metres: float


class Lost(enum.Enum):
    LEVEL = float("nan")


endless: list[Any] = []
endless.append(endless)


async def give(value: Any, **options: Any) -> ToolOutcome:
    """The outcome of a tool that gives `value`."""

    def answer() -> Any:
        return value

    return await call_once(make_tool(answer, **options))


async def test_a_plain_function_is_called_in_a_thread() -> None:
    """Also one that gives something to await, which is awaited."""

    async def name_of(thread: str) -> str:
        return thread

    def look() -> Any:
        return name_of(threading.current_thread().name)

    outcome = await call_once(make_tool(look))
    assert outcome.value.startswith("tidemill-tool")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (64, 64),
        ("", ""),
        ([1, "a"], [1, "a"]),
        (Reading(level=2, at=datetime.date(2026, 1, 2)), {"level": 2.0, "at": "2026-01-02"}),
        ([Place("quay")], [{"name": "quay"}]),
        ({"at": datetime.date(2026, 1, 2)}, {"at": "2026-01-02"}),
    ],
)
async def test_a_result_is_kept_as_the_json_that_a_resumed_run_reads(value: Any, kept: Any) -> None:
    outcome = await give(value)
    assert (outcome.kind, outcome.value) == ("ok", kept)
    assert ToolOutcome.from_row(outcome.to_row()) == outcome


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"raw", "$ is a bytes"),
        ({"a": [1, {2}]}, "$.a[1] is a set"),
        ([float("nan")], "$[0] is nan"),
        ([Reading(level=float("inf"), at=None)], "$[0].level is inf"),
        ({"at": Depth(float("nan"))}, "$.at.metres is nan"),
        ({"level": Lost.LEVEL}, "$.level is nan"),
        ([None, np.array([[1.0, float("nan")]])], "$[1][0][1] is nan"),
        ([np.float32("nan")], "$[0] is nan"),
        (endless, "$ is nested too deep, or holds itself"),
        ({1: 2}, "$ is a dict with the key 1"),
        ("half \ud800", "half of a surrogate pair"),
    ],
)
async def test_what_is_no_json_is_told_with_its_place(value: Any, told: str) -> None:
    """And that the tool did its work all the same."""
    outcome = await give(value)
    assert (outcome.kind, outcome.value) == ("error", None)
    assert "was executed, but what it gave cannot be told" in outcome.content
    assert told in outcome.content


async def test_a_long_result_is_cut_for_the_model_and_kept_whole() -> None:
    """At a character, with what was left out told behind the marks."""
    text = "é" * 300
    outcome = await give(text, max_result=257)
    assert outcome.value == text
    *marked, told = outcome.content.splitlines()
    assert marked[1] == "é" * 128
    assert told == "These are the first 256 of 600 bytes; ask for less to see the rest."


@given(st.text(), st.text())
def test_no_text_can_say_where_its_marks_end(key: str, text: str) -> None:
    """The id of the marks is nowhere in it; nor in a text made to hold the id of another."""
    for inner in (text, mark_data("search", key, text)):
        marked = mark_data("search", key, inner)
        first, _, rest = marked.partition("\n")
        number = first.removeprefix('<result tool="search" id="').removesuffix('">')
        assert rest == f"{inner}\n</result {number}>"
        assert number not in inner


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 40))
def test_a_cut_text_is_the_longest_start_that_fits(text: str, most: int) -> None:
    marked = mark_result("search", "key", text, most=most)
    kept = marked.partition(">\n")[2].rpartition("\n</result ")[0]
    assert text.startswith(kept)
    assert len(kept.encode()) <= most
    assert kept == text or len((kept + text[len(kept)]).encode()) > most
