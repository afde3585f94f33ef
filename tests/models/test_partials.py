"""An object as it is written: what there is of it so far, and the checked whole at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import tidemill as tm
from tidemill.models.structured.growing import Growing
from tidemill.models.structured.outputs import to_target
from tidemill.models.structured.plan import Abilities, plan_output
from tidemill.testing import Delivery, Fault, Faults, FaultServer


class Label(BaseModel):
    topic: str
    tags: list[str]
    score: int


VALUE = {"topic": "a tide mill by the sea", "tags": ["old", "wooden", "salt"], "score": 17}
TEXT = json.dumps(VALUE)
PIECES = Delivery(tokens_per_event=1)
NAMES = ["openai/m", "anthropic/m"]


def model_at(server: FaultServer, name: str = "openai/m", **fields: Any) -> tm.Model:
    return tm.model(name, base_url=server.base_url, api_key="key-for-test", **fields)


def is_within(part: Any, whole: Any) -> bool:
    """Whether `whole` is what `part` grew to."""
    if isinstance(part, dict):
        return all(key in whole and is_within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) <= len(whole) and all(map(is_within, part, whole))
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    return bool(part == whole)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("replies", ["schema", "tool", "prompt"])
def test_each_part_is_one_of_the_whole(name: str, replies: Any) -> None:
    """By every rung; numbers are there once they have ended, texts as far as they are written."""
    fault = Fault("reply", tool_calls=(("reply", TEXT),)) if replies == "tool" else Fault("reply", content=TEXT)
    server = FaultServer(faults=Faults(script=lambda _: fault), delivery=PIECES)
    with server, model_at(server, name, replies=replies) as model:
        parts = model.stream("Go.", output=Label, max_tokens=99)
        seen = list(parts)
        assert parts.output == Label(**VALUE)
        assert parts.reply.usage is not None
    assert len(seen) > 5
    assert all(is_within(part, VALUE) for part in seen)
    assert all(is_within(before, after) for before, after in itertools.pairwise(seen))
    assert {part.get("score") for part in seen} == {None, 17}


def test_a_coroutine_goes_through_them_too() -> None:
    async def collect() -> tuple[list[Any], Any]:
        parts = model.stream("Go.", output=Label)
        return [part async for part in parts], parts.output

    faults = Faults(script=lambda _: Fault("reply", content=TEXT))
    with FaultServer(faults=faults, delivery=PIECES) as server, model_at(server) as model:
        seen, output = asyncio.run(collect())
    assert seen[-1] == VALUE
    assert output == Label(**VALUE)


def test_a_reply_that_does_not_fit_is_asked_again_and_grows_anew() -> None:
    contents = [json.dumps({**VALUE, "score": "many"}), TEXT]
    faults = Faults(script=lambda call: Fault("reply", content=contents[call.number - 1]))
    with FaultServer(faults=faults, delivery=PIECES) as server, model_at(server) as model:
        parts = model.stream("Go.", output=Label)
        seen = list(parts)
        assert parts.output == Label(**VALUE)
        assert server.requests == 2
    scores = [part.get("score") for part in seen]
    assert scores.index("many") < len(scores) - 1
    assert seen[-1] == VALUE


def test_where_none_fits_the_last_failure_is_raised() -> None:
    faults = Faults(script=lambda _: Fault("reply", content='{"topic": 5}'))
    with FaultServer(faults=faults) as server, model_at(server) as model:
        parts = model.stream("Go.", output=Label, max_reasks=1)
        with pytest.raises(tm.PermanentCallError, match="no reply fitted the output in 2 asks"):
            list(parts)
        with pytest.raises(tm.StateError, match="the reply has not ended"):
            parts.output  # noqa: B018 - it raises
        assert server.requests == 2


def test_a_reply_that_breaks_off_is_asked_for_anew() -> None:
    faults = Faults(
        script=lambda call: Fault("cut", content=TEXT) if call.number == 1 else Fault("reply", content=TEXT)
    )
    with FaultServer(faults=faults, delivery=PIECES) as server, model_at(server) as model:
        parts = model.stream("Go.", output=Label)
        assert list(parts)[-1] == VALUE
        assert parts.output == Label(**VALUE)


def test_an_output_that_is_no_object_comes_out_of_its_wrapper() -> None:
    faults = Faults(script=lambda _: Fault("reply", content=json.dumps({"value": [1, 22, 3]})))
    with FaultServer(faults=faults, delivery=PIECES) as server, model_at(server) as model:
        parts = model.stream("Go.", output=list[int])
        assert list(parts)[-1] == [1, 22, 3]
        assert parts.output == [1, 22, 3]


def test_nothing_is_sent_before_the_first_is_asked_for_and_closing_ends_the_call() -> None:
    faults = Faults(script=lambda _: Fault("reply", content=TEXT))
    with FaultServer(faults=faults, delivery=PIECES) as server, model_at(server) as model:
        parts = model.stream("Go.", output=Label)
        assert server.requests == 0
        next(parts)
        parts.close()
        assert list(parts) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 999) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=3), st.sampled_from(["", "```json\n", " \n"]))
def test_whatever_the_pieces_nothing_that_was_given_is_taken_back(value: dict[str, Any], before: str) -> None:
    growing = Growing(plan_output(to_target(dict[str, Any]), Abilities("gemini")))
    text = before + json.dumps(value)
    seen = [part for piece in text if (part := growing.add(piece)) is not None]
    seen += [part for part in [growing.finish(text)] if part is not None]
    assert all(is_within(part, value) for part in seen)
    assert seen[-1] == value


def test_of_a_long_text_not_each_piece_is_read() -> None:
    """Reading takes as long as what there is: of 50,000 pieces that would be hours."""
    growing = Growing(plan_output(to_target(dict[str, Any]), Abilities("gemini")))
    text = json.dumps({"story": "wave " * 50_000})
    seen = sum(growing.add(text[at : at + 5]) is not None for at in range(0, len(text), 5))
    assert 50 < seen < 10_000
