"""A conversation is checked by one rule, whether it is given in a call or stands in a record's column."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import tidemill as tm
from tidemill.models.steps.generate import Generate
from tidemill.testing import FaultServer

USER = {"role": "user", "content": "hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="


def call(model: tm.Model, turns: Any) -> None:
    model(turns)


def run_step(model: tm.Model, turns: Any) -> None:
    tm.Pipeline([Generate(model=model, messages="prompt")])({"prompt": turns})


both_ways = pytest.mark.parametrize(("ask", "error"), [(call, tm.ConfigError), (run_step, tm.DataError)])


@pytest.fixture
def model(server: FaultServer) -> tm.Model:
    return tm.model("openai/any", base_url=server.base_url, api_key="none")


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (
            {**USER, "name": "bob", "tool_calls": [1]},
            "`prompt[1]`: expected a mapping of `role` and `content` only, got one with `name` and `tool_calls`",
        ),
        ({"role": "user", "contents": "hi"}, "got one with `contents`\n  did you mean `content`?"),
        ({"role": "user"}, "`prompt[1]`: expected a mapping of `role` and `content`, got one without `content`"),
        ({}, "got one without `role` and `content`"),
        (
            {**USER, "role": "human"},
            '`prompt[1].role`: expected `system`, `user`, `assistant` or `tool`, got "human"',
        ),
        (
            {**USER, "role": ["user"]},
            "`prompt[1].role`: expected `system`, `user`, `assistant` or `tool`, got a list of 1",
        ),
        ({**USER, "content": 3}, "`prompt[1].content`: expected a text or a list of parts, got 3"),
        ({**USER, "content": []}, "`prompt[1].content`: expected a text or a list of parts, got an empty list"),
        (
            {**USER, "content": ["hi"]},
            '`prompt[1].content[0]`: expected a part of the type `text` or `image`, got "hi"',
        ),
        ({**USER, "content": [{"type": "image_url"}]}, 'of the type `text` or `image`, got "image_url"'),
        ({**USER, "content": [{"type": "text"}]}, "expected a mapping of `type` and `text`, got one without `text`"),
        (
            {**USER, "content": [{"type": "text", "text": "a", "cache_control": {}}]},
            "`prompt[1].content[0]`: expected a mapping of `type` and `text` only, got one with `cache_control`",
        ),
        ({**USER, "content": [{"type": "text", "text": 3}]}, "`prompt[1].content[0].text`: expected a text, got 3"),
        (
            {**USER, "content": [{"type": "image", "url": "/etc/passwd"}]},
            '`prompt[1].content[0].url`: expected an http(s) address or a data URI, got "/etc/passwd"',
        ),
        ({**USER, "content": [{"type": "image", "url": "data:text/html,a"}]}, "expected an image as data:image/"),
    ],
)
@both_ways
def test_what_would_not_be_sent_is_refused_by_name(
    model: tm.Model, server: FaultServer, ask: Callable[..., None], error: type[Exception], turn: Any, told: str
) -> None:
    with model, pytest.raises(error, match=re.escape(told)):
        ask(model, [USER, turn])
    assert server.requests == 0


@both_ways
def test_parts_are_sent_in_their_order(
    model: tm.Model, server: FaultServer, ask: Callable[..., None], error: object
) -> None:
    """Keys that hold None, as a table's rows have for what other rows hold, are as if not there."""
    parts = [
        {"type": "text", "text": "What is", "url": None},
        {"type": "image", "url": PNG},
        {"type": "image", "url": "https://example.org/a.png"},
    ]
    with model:
        ask(model, [{**USER, "content": parts, "name": None}])
    assert server.calls[0].payload["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is"},
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        }
    ]


def test_what_turns_share_is_kept_in_the_provider_s_cache(server: FaultServer) -> None:
    """As `Message` has it: a long system message marked so is marked on the wire."""
    system = {"role": "system", "content": "Be kind. " * 2_000, "shared": True}
    with tm.model("anthropic/claude-sonnet-4-5", base_url=server.base_url, api_key="none") as model:
        model([system, USER], max_tokens=5)  # type: ignore[list-item]
    assert server.calls[0].payload["system"][-1]["cache_control"] == {"type": "ephemeral"}
