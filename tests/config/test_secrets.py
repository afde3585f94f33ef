"""Secrets: found by name and by form, never shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, model_validator

from tidemill.config.layers.document import Document
from tidemill.config.loading import load_config, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.secrets import find_key, is_secret_key, mask, mask_in_place, mask_source, register_secret
from tidemill.errors import ConfigError


class Model(Config):
    model: str = ""
    api_key: SecretStr | None = None
    login: SecretStr | None = None
    size: int = 0

    @model_validator(mode="after")
    def _check_size(self) -> Model:
        if self.size < 0 and self.api_key is not None:
            raise ValueError(f"no size for {self.api_key.get_secret_value()}")
        return self


class Job(Config):
    models: dict[str, Model] = Field({})


CANARY = "C4n"
"""Too short to be masked wherever it occurs: it must be hidden where it stands."""

WAYS = [
    "{key}: {canary}",
    "{key} : {canary}",
    "{key}: '{canary}'",
    '{key}: "{canary}"',
    "'{key}': {canary}",
    "{key}: |\n  {canary}",
    "{key}: >-\n  text\n  {canary}",
    "{key}:\n  {canary}",
    "{key}: text\n  {canary}",
    "{key}: text\t{canary}",
    "{key}: 12{canary}\n wrong: {canary}",
    "{key}: [{canary}]",
    "{key}: [{canary}",
    "{key}:\n- {canary}",
    "{key}: {{{canary}: 1}}",
    "{key}: {{{{{canary}}}}}",
    "{key}: {{{{{canary}}}}} {canary}",
    "{key}: !{canary}",
    "{key}: !!int {canary}",
    "{key}: &{canary}",
    "{key}: &x {canary}\nsize: *x",
    "{key}: *{canary}",
    "{key}: @{canary}",
    "{key}: `{canary}`",
    "{key}: '{canary}",
    '{key}: "{canary}\n  {canary}',
    '{key}: "{canary}" {canary}',
    "{key}: {canary}: {canary}",
    "{key}: #{canary}",
    "{key}: a #{canary}",
    "{key}: Bearer {canary}",
    "{key}: {canary}\n{key}: {canary}",
    "? {key}\n: {canary}",
]


@pytest.mark.parametrize("key", ["api_key", "apikey", "api-key", "api_kye", "login"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["size: x", "size: [", "size: 1\nsize: 2", "siz: 1"])
def test_no_way_of_writing_a_secret_shows_it(way: str, key: str, fault: str) -> None:
    body = way.format(key=key, canary=CANARY)
    block = "models:\n  fast:\n" + "".join(f"    {line}\n" for line in f"{body}\n{fault}".split("\n"))
    flow = "models: {fast: {" + body.replace("\n", " ") + ", " + fault.replace("\n", ", ") + "}}\n"
    for text in (block, flow):
        _, problems = validate_document(Job, Document.parse(text, "job.yaml"))
        assert problems
        assert CANARY not in render_report(problems) + repr(problems)


def test_no_error_carries_a_secret(tmp_path: Path) -> None:
    """Not its text, not its parts, not when pickled, and not through another error."""
    canary = "canary-in-a-file"
    (tmp_path / "job.yaml").write_text(f"models: {{fast: {{api_key: {canary}, size: -1, login: [{canary}]}}}}\n")
    overrides = [f"models.slow.apikey={canary}2"]
    with pytest.raises(ConfigError, match="2 errors") as caught:
        load_config(Job, tmp_path / "job.yaml", overrides=overrides)
    error = caught.value
    assert canary not in str(error) + repr(error) + repr(error.problems)
    assert canary.encode() not in pickle.dumps(error)
    assert error.__context__ is None


def test_a_validator_that_names_a_secret_is_masked() -> None:
    for secret in ("canary-in-a-message", CANARY):
        text = f"models: {{m: {{api_key: {secret}, size: -1}}}}"
        for document in (Document.parse(text), Document.from_value({"models": {"m": {"api_key": secret, "size": -1}}})):
            _, problems = validate_document(Job, document)
            assert [each.message for each in problems] == ["`models.m`: no size for ***"]


def test_a_secret_is_masked_elsewhere_in_its_file() -> None:
    text = "models:\n  a: {api_key: canary-here-too}\n  b: {model: canary-here-too, siz: 1}  # canary-here-too\n"
    _, problems = validate_document(Job, Document.parse(text, "f"))
    assert "canary" not in render_report(problems)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("api_key", True),
        ("apikey", True),
        ("apiKey", True),
        ("API-KEY", True),
        ("X-Api-Key", True),
        ("OPENAI_API_KEY", True),
        ("api_kye", True),
        ("apkey", True),
        ("token", True),
        ("hf_token", True),
        ("Authorization", True),
        ("authorisation", True),
        ("password", True),
        ("pasword", True),
        ("client_secret", True),
        ("Set-Cookie", True),
        ("tokens", False),
        ("max_tokens", False),
        ("max_token", False),
        ("n_token", False),
        ("min_new_token", False),
        ("input_tokens", False),
        ("tokenizer", False),
        ("key", False),
        ("keys", False),
        ("author", False),
        ("model", False),
        ("prompt", False),
        ("path", False),
        ("base_url", False),
        ("concurrency", False),
        ("", False),
        ("12", False),
    ],
)
def test_secret_keys_are_known_by_name_even_mistyped(name: str, secret: bool) -> None:
    assert is_secret_key(name) is secret


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdef123", "Authorization: ***"),
        ("got Bearer abcdef123 instead", "got Bearer *** instead"),
        ("Incorrect API key provided: sk-abcdefgh12345.", "Incorrect API key provided: ***."),
        ('{"api_key": "abc def", "model": "m"}', '{"api_key": ***, "model": "m"}'),
        ("token=abc&model=m", "token=***&model=m"),
        ("max_tokens: 64, password: 1234", "max_tokens: 64, password: ***"),
        ("https://user:pa55@host/v1", "https://user:***@host/v1"),
        ("hf_abcdefghijklmnopqrst", "***"),
        ("ghp_abcdefghijklmnopqrst12", "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-sig", "***"),
        ("nothing of the kind", "nothing of the kind"),
        ("`models.fast.api_key`: expected text, got 5", "`models.fast.api_key`: expected text, got 5"),
    ],
)
def test_masking_knows_names_and_forms(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_registered_secret_is_masked_wherever_it_occurs() -> None:
    register_secret("registered-canary")
    register_secret("short")
    assert mask("x=registered-canary/short") == "x=***/short"


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_masking_in_place_keeps_every_column(text: str) -> None:
    source = f"api_key: {text}\nmodel: sk-abcdefgh12345 x\n"
    for masked in (mask_in_place(source), mask_source(source)):
        assert len(masked) == len(source)
        assert [each.isspace() for each in masked if each == "\n"] == [
            each.isspace() for each in source if each == "\n"
        ]


def test_a_key_comes_from_the_environment_or_else_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRST_KEY", raising=False)
    monkeypatch.delenv("SECOND_KEY", raising=False)
    assert find_key(["FIRST_KEY"], tmp_path) is None
    (tmp_path / ".env").write_text(
        "# keys\nexport FIRST_KEY='from-the-file'  # mine\nSECOND_KEY = \"quoted # value\"\n"
        "THIRD_KEY=bare-value # why\nnot a line\n"
    )
    assert find_key(["FIRST_KEY"], tmp_path) == "from-the-file"
    assert find_key(["SECOND_KEY"], tmp_path) == "quoted # value"
    assert find_key(["THIRD_KEY"], tmp_path) == "bare-value"
    assert mask("saw from-the-file") == "saw ***"
    monkeypatch.setenv("SECOND_KEY", "from-the-environment")
    assert find_key(["FIRST_KEY", "SECOND_KEY"], tmp_path) == "from-the-environment"
