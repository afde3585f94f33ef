"""Models by name: what can be said of one, and what is told when it cannot be used."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import tidemill as tm
from tidemill.config.objects.descriptions import describe_value
from tidemill.models.model import PROVIDERS


def test_a_name_is_enough() -> None:
    model = tm.model("openai/gpt-4.1-mini")
    assert (model.provider, model.name, model.is_local) == ("openai", "gpt-4.1-mini", False)
    assert model.lane_limits == tm.Limits()
    assert tm.model("openrouter/meta/llama-3").name == "meta/llama-3"
    assert model == tm.model("openai/gpt-4.1-mini")


def test_a_local_model_has_as_many_slots_as_it_serves() -> None:
    assert tm.model("local/smollm2").is_local
    assert tm.model("local/smollm2").lane_limits.slots == 4
    assert tm.model("local/smollm2", limits=tm.Limits(max_attempts=1)).lane_limits.slots == 4
    assert tm.model("local/smollm2", limits=tm.Limits(concurrency=2)).lane_limits.slots == 2
    assert not tm.model("local/any", base_url="http://localhost:8080/v1").is_local


def test_any_provider_may_be_named_with_a_base_url() -> None:
    assert tm.model("vllm/any", base_url="http://localhost:8000/v1").provider == "vllm"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"name": "gpt-4.1-mini"},
            "unknown model `gpt-4.1-mini`|expected a model as provider/name, got `gpt-4.1-mini`",
        ),
        ({"name": "openai/"}, "expected a model as provider/name, got `openai/`"),
        ({"name": "/x"}, "expected a model as provider/name"),
        ({"name": "mock/ ", "base_url": "http://far/v1"}, "expected a model as provider/name, got `mock/ `"),
        ({"name": " /x", "base_url": "http://far/v1"}, "expected a model as provider/name, got ` /x`"),
        ({"name": "openai/x", "base_ur": "http://far/v1"}, "unknown key `base_ur`; did you mean `base_url`"),
        ({"name": "openai/x", "base_ur": None}, "unknown key `base_ur`; did you mean `base_url`"),
        ({"name": "opnai/x"}, "unknown provider `opnai` in `opnai/x`, and no base_url; did you mean `openai/x`"),
        ({"name": "zzz/x"}, "and no base_url; give the endpoint as base_url"),
        ({"name": "vllm/x", "base_url": "localhost:80/v1"}, "got `localhost:80/v1`; write http://localhost:80/v1"),
        ({"name": "vllm/x", "base_url": "ftp://far/v1"}, "expected an http or https address, got `ftp://far/v1`"),
        ({"name": "vllm/x", "base_url": "http:///v1"}, "expected an http or https address"),
        ({"name": "vllm/x", "base_url": "http://far/v1/chat/completions/"}, "leave out `/chat/completions`"),
        ({"name": "acme/x", "base_url": "http://far/v1/messages"}, "leave out `/messages`"),
        ({"name": "openai/x", "wire_format": "xml"}, '`wire_format`: expected `openai` or `anthropic`, got "xml"'),
        ({"name": "vllm/x", "base_url": "http://far:port/v1"}, "expected an http or https address"),
        ({"name": "vllm/x", "base_url": "http://fa r/v1"}, "expected an http or https address"),
        ({"name": "vllm/x", "base_url": "http://far/v1#a"}, "`base_url`: expected an address without a fragment"),
        ({"name": "openai/x", "headers": {"X Team": "a"}}, "`headers.X Team`: cannot be sent: .*characters"),
        ({"name": "openai/x", "headers": {"X-Team": "a\nb: c"}}, "`headers.X-Team`: cannot be sent: .* line break"),
        ({"name": "openai/x", "headers": {"Content-Length": "1"}}, "`headers.Content-Length`: .* cannot be set"),
        ({"name": "openai/x", "headers": {"transfer-encoding": "a"}}, "`headers.transfer-encoding`: .* cannot be set"),
        ({"name": "openai/x", "params": {"a": [2**64]}}, "`params`: cannot be sent as JSON: Integer exceeds 64-bit"),
        ({"name": "openai/x", "headers": {"X-Team": 3}}, "`headers.X-Team`: expected text, got 3"),
        ({"name": "openai/x", "limits": 3}, "`limits`: expected a mapping such as `{concurrency: 16}`, got 3"),
        (
            {"name": "openai/x", "price": {1: 2}},
            "unknown key `price.1`; known: `input`, `output`, `cached_input`, `cache_write`, `long_input`",
        ),
        ({"name": "openai/x", "params": {"a": {1: 2}}}, "`params`: cannot be sent as JSON: Dict key must be str"),
        ({"name": "openai/x", "params": {"a": {2, 3}}}, "`params`: cannot be sent as JSON"),
    ],
)
def test_what_cannot_be_used_is_told(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.model(**arguments)


@pytest.mark.parametrize(
    "key",
    [
        "${NOPE}", "$NOPE", "${env:NOPE}", "$(NOPE)", "{{ env.NOPE }}", "{NOPE}", "%NOPE%", "<your key>", "env:NOPE",
        "os.environ['NOPE']",
    ],
)  # fmt: skip
def test_a_variable_is_no_key(key: str) -> None:
    """It would be sent as it stands, and be refused by the far side, if at all."""
    with pytest.raises(tm.ConfigError, match=r"`api_key`: variables are not filled in.*OPENAI_API_KEY is read by"):
        tm.model("openai/x", api_key=key)
    with pytest.raises(tm.ConfigError, match=r"`headers.X-Api-Key`: variables are not .* as `openai/…`, .*`mistral/…`"):
        tm.model("vllm/x", base_url="http://far/v1", headers={"X-Api-Key": key})
    with pytest.raises(tm.ConfigError, match=r"`headers.Authorization`: variables are not filled in"):
        tm.model("openai/x", headers={"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("key", ["sk-proj-a$b", "x", "none", "a{b}c", "env-key-1", "pa$$word<3>", "$2b$10$abc/def"])
def test_what_may_be_a_key_is_taken(key: str) -> None:
    assert tm.model("openai/x", api_key=key, headers={"X-Team": "$TEAM"}).api_key is not None


def test_an_error_shows_no_key() -> None:
    with pytest.raises(tm.ConfigError, match="unknown provider") as caught:
        tm.model("opnai/x", api_key="sk-canary-0123456789", headers={"Authorization": "Bearer canary-0123456789"})
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value.problems)
    assert "canary" not in str(pickle.loads(pickle.dumps(caught.value)))


def test_a_model_shows_no_key() -> None:
    model = tm.model("openai/x", api_key="sk-canary-0123456789", headers={"Authorization": "Bearer canary-0123456789"})
    for shown in (repr(model), str(model), str(describe_value(model))):
        assert "canary" not in shown


def test_what_decides_a_reply_is_what_describes_it() -> None:
    """Not where it answers, how hard it may be asked, what it costs, or the key."""
    runtime = {
        "limits": tm.Limits(concurrency=1),
        "price": tm.Price(1, 2),
        "base_url": "http://far/v1",
        "api_key": "sk-0123456789",
    }
    plain = describe_value(tm.model("openai/x"))
    assert describe_value(tm.model("openai/x", **runtime)) == plain  # type: ignore[arg-type]
    assert describe_value(tm.model("openai/y")) != plain
    assert describe_value(tm.model("openai/x", params={"top_k": 1})) != plain
    assert describe_value(tm.model("openai/x", headers={"X-Team": "a"})) != plain


def test_every_provider_has_an_address_and_a_key_variable() -> None:
    for name, provider in PROVIDERS.items():
        if name not in ("local", "litellm"):
            assert provider.base_url.startswith("https://")
            assert all(variable.endswith("_API_KEY") for variable in provider.key_variables)
