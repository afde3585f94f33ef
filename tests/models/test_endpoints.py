"""From a model to its endpoint: the key from where it is kept, the address, a local server."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import tidemill as tm
from tidemill.config.secrets import mask
from tidemill.models.endpoints import find_base_url, find_headers


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_the_model_s_own_key_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert find_headers(tm.model("openai/x", api_key="own-key-123"), tmp_path) == {
        "authorization": "Bearer own-key-123"
    }


def test_the_environment_comes_before_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("export OPENAI_API_KEY='from-the-file'  # a note\n")
    assert find_headers(tm.model("openai/x"), tmp_path)["authorization"] == "Bearer from-the-file"
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert find_headers(tm.model("openai/x"), tmp_path)["authorization"] == "Bearer from-environment"


def test_anthropic_s_format_has_the_key_in_a_header_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-environment")
    assert find_headers(tm.model("anthropic/claude"), tmp_path) == {"x-api-key": "from-environment"}
    other = tm.model("acme/m", base_url="http://far/v1", wire_format="anthropic", api_key="own-key-123")
    assert find_headers(other, tmp_path) == {"x-api-key": "own-key-123"}
    own = tm.model("anthropic/claude", headers={"X-Api-Key": "other-key-1"})
    assert find_headers(own, tmp_path) == {"X-Api-Key": "other-key-1"}


def test_any_of_the_provider_s_variables_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "the-second-one")
    assert find_headers(tm.model("gemini/x"), tmp_path)["authorization"] == "Bearer the-second-one"


def test_a_missing_key_names_the_variables(tmp_path: Path) -> None:
    with pytest.raises(tm.ConfigError, match="needs a key, and GEMINI_API_KEY or GOOGLE_API_KEY is not set") as caught:
        find_headers(tm.model("gemini/x"), tmp_path)
    assert str(tmp_path / ".env") in caught.value.hint


def test_an_endpoint_of_one_s_own_needs_no_key(tmp_path: Path) -> None:
    model = tm.model("vllm/x", base_url="http://localhost:8000/v1", headers={"X-Team": "a"})
    assert find_headers(model, tmp_path) == {"X-Team": "a"}


def test_a_key_is_masked_from_then_on(tmp_path: Path) -> None:
    find_headers(tm.model("openai/x", api_key="quite-plain-words"), tmp_path)
    assert mask("it said quite-plain-words again") == "it said *** again"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"Authorization": "Bearer canary-of-bearer"}, "canary-of-bearer"),
        ({"X-Api-Key": "canary-of-x-api-key"}, "canary-of-x-api-key"),
        ({"authorization": "Basic " + base64.b64encode(b"user:canary-of-basic").decode()}, "canary-of-basic"),
        ({"authorization": "Basic canary-that-is-not-basic"}, "canary-that-is-not-basic"),
    ],
)
def test_a_key_in_a_header_is_masked_from_then_on(headers: dict[str, str], word: str, tmp_path: Path) -> None:
    assert find_headers(tm.model("vllm/x", base_url="http://far/v1", headers=headers), tmp_path) == headers
    assert mask(f"the word {word} alone") == "the word *** alone"


def test_a_password_in_the_address_is_masked_from_then_on(tmp_path: Path) -> None:
    find_headers(tm.model("vllm/x", base_url="http://user:p%40ss-in-address@far/v1"), tmp_path)
    assert mask("it was p@ss-in-address, user") == "it was ***, user"


def test_headers_of_one_s_own_go_over_the_key(tmp_path: Path) -> None:
    model = tm.model("openai/x", api_key="own-key-123", headers={"authorization": "Token other-key-1"})
    assert find_headers(model, tmp_path)["authorization"] == "Token other-key-1"
    capital = tm.model("openai/x", api_key="own-key-123", headers={"Authorization": "Token other-key-1"})
    assert find_headers(capital, tmp_path) == {"Authorization": "Token other-key-1"}


@pytest.mark.parametrize(
    ("model", "address"),
    [
        (tm.model("openai/x"), "https://api.openai.com/v1"),
        (tm.model("openai/x", base_url="http://far/v1"), "http://far/v1"),
    ],
)
def test_the_address_is_the_provider_s_or_the_model_s_own(model: tm.Model, address: str) -> None:
    assert find_base_url(model) == address
