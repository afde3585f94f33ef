"""Secrets: found by name and by form, never shown."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from tidemill.config.coercion.adapters import shape_of
from tidemill.config.inspection import list_entries
from tidemill.config.layers.document import Document
from tidemill.config.layers.stacking import Sources
from tidemill.config.loading import load_config, load_document, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.report.values import check_value
from tidemill.config.secrets import find_key, is_secret_key, mask, mask_in_place, mask_source, register_secret
from tidemill.config.unions.tagged import Tagged
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
        ("openai_key", True),
        ("WANDB_KEY", True),
        ("sshKey", True),
        ("encryption_key", True),
        ("storage_account_key", True),
        ("jwt", True),
        ("bearer", True),
        ("db_passcode", True),
        ("sentry_dsn", True),
        ("connection_string", True),
        ("gh_pat", True),
        ("ssh_public_key", False),
        ("primary_key", False),
        ("file_pat", False),
        ("high_path", False),
        ("connection_settings", False),
        ("password_length", False),
        ("apikey_name", False),
        ("pretrained_token", False),
        ("context_token", False),
        ("tokens", False),
        ("max_tokens", False),
        ("max_token", False),
        ("n_token", False),
        ("min_new_token", False),
        ("input_tokens", False),
        ("pad_token", False),
        ("eosToken", False),
        ("additional_special_tokens", False),
        ("start_session_token", True),
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


def test_what_a_configuration_prints_shows_no_secret() -> None:
    class Foreign(BaseModel):
        token: str = "canary-foreign"
        size: int = 1

    @dataclasses.dataclass
    class Login:
        password: str = "canary-login"
        user: str = "me"

    class Client(Config):
        api_key: str = "canary-key"
        key: str = Field("canary-alias", alias="secret_key")
        token: str | None = None
        typed: SecretStr = SecretStr("canary-typed")
        headers: dict[str, Any] = Field({"X-Api-Key": "canary-header", "retries": [2, {"pwd": 7}]})
        auth: Foreign = Foreign()
        foreign: list[Foreign] = Field([Foreign()])
        login: Login = Login()
        prompt: str = "say sk-zq81zq82zq83"
        max_tokens: int = 64

    class Outer(Config):
        client: Client = Client()
        names: tuple[str, ...] = ("a",)

    shown = (
        "api_key='***' key='***' token=None typed=SecretStr('**********') "
        "headers={'X-Api-Key': '***', 'retries': [2, {'pwd': '***'}]} auth='***' "
        "foreign=[Foreign(token='***', size=1)] login=Login(password='***', user='me') "
        "prompt='say ***' max_tokens=64"
    )
    assert str(Client()) == shown
    assert repr(Client()).startswith("Client(api_key='***', key='***', ")
    assert str(Outer()) == f"client={Client()!r} names=('a',)"


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


class Foreign(BaseModel):
    """A model that is none of ours, around ours."""

    models: list[Model]
    either: Model | Job | None = None


CANARY_VALUES: list[Any] = [
    {"api_key": ["canary-1"]},
    {"api_key": {"canary-1": "canary-2"}},
    {"api_key": "canary-1", "size": "x", "more": 1},
    {"api_key": "canary-1", "size": -1},
    {"apikey": "canary-1"},
    {"api_kye": ["canary-1"]},
    {"login": ["canary-1"]},
    {"lgin": "canary-1"},
    {"login": "canary-1", "more": {"token": "canary-2"}},
    {"model": 5, "api_key": 12345678},
    "Bearer canary-1",
]


@pytest.mark.parametrize("value", CANARY_VALUES)
@pytest.mark.parametrize("key", ["models", "either"])
def test_no_list_of_pydantics_errors_holds_a_secret(value: Any, key: str) -> None:
    raw: dict[str, Any] = {"models": [value]} if key == "models" else {"models": [], "either": value}
    checks: list[Callable[[], Any]] = [
        lambda: Foreign.model_validate(raw),
        lambda: Foreign.model_validate_json(json.dumps(raw)),
        lambda: Foreign(**raw),
        lambda: Model.model_validate(value),
        lambda: TypeAdapter(dict[str, Model]).validate_python({"a": value}),
    ]
    for check in checks:
        with pytest.raises(ValidationError, match="validation error") as caught:
            check()
        error = caught.value
        shown = f"{error} {error!r} {error.errors()} {error.json()}"
        assert "canary" not in shown
        assert "12345678" not in shown


def test_an_error_without_a_secret_is_pydantics_own() -> None:
    with pytest.raises(ValidationError, match=r"models\.0\.size\n") as caught:
        Foreign.model_validate({"models": [{"size": "x", "api_key": None}]})
    (line,) = caught.value.errors(include_url=False)
    assert line == {
        "type": "int_parsing",
        "loc": ("models", 0, "size"),
        "msg": "Input should be a valid integer, unable to parse string as an integer",
        "input": "x",
    }


def test_a_concealed_error_keeps_all_but_the_secret() -> None:
    with pytest.raises(ValidationError, match="2 validation errors") as caught:
        Foreign.model_validate({"models": [{"size": "x", "apikey": "canary-1"}, {"size": -1, "login": "canary-2"}]})
    kept = [(each["type"], each["loc"], each["input"]) for each in caught.value.errors()]
    assert kept == [
        ("int_parsing", ("models", 0, "size"), "x"),
        ("extra_forbidden", ("models", 0, "apikey"), "***"),
    ]


class Other(Config):
    right: int = 0


def test_a_union_of_configs_keeps_their_names_in_its_errors() -> None:
    class Named(BaseModel):
        at: Job | Other

    with pytest.raises(ValidationError, match=r"at\.Job\.") as caught:
        Named.model_validate({"at": {"wrong": 1}})
    assert {each["loc"][1] for each in caught.value.errors()} == {"Job", "Other"}


def test_a_key_that_may_be_a_secret_is_in_no_path() -> None:
    for value in ({"api_key": {"canary-1": 1}}, {"models": {"m": {"api_key": {"canary-1": {"canary-2": 1}}}}}):
        for model in (Model, Job, Whole):
            _, problems = validate_document(model, Document.from_value(value))
            assert "canary" not in repr(problems)


class Whole(Config):
    models: dict[str, Whole] = Field({})
    api_key: Other | None = None


JSON_WAYS = [
    '"{key}": "{canary}"',
    '"{key}" : ["{canary}"]',
    '"{key}": {{"{canary}": "{canary}"}}',
    '"{key}": "{canary}',
    "\"{key}\": '{canary}'",
    '"{key}": {canary}',
    '"{key}": "a" {canary}',
    '"{key}" "{canary}"',
    '"{key}"= "{canary}"',
    "{key}: {canary}",
    "'{key}': '{canary}'",
    '"{key}": /* {canary} */ 1',
    '"{key}": "\\\\q{canary}"',
    '"{key}": "{canary}", "{key}": "{canary}"',
    '"{key}": "{canary}", // {canary}',
]
TOML_WAYS = [
    '{key} = "{canary}"',
    "{key} = '{canary}'",
    '{key} = """\n{canary}"""',
    '{key} = """\n{canary}',
    '{key} = "{canary}',
    "{key} = {canary}",
    "{key} = {canary} {canary}",
    '{key} = ["{canary}"]',
    '{key} = ["{canary}"',
    '{key} = {{ {canary} = "{canary}" }}',
    '{key} = {{ {canary} "{canary}" }}',
    '{key}.{canary} = "{canary}"',
    '{key} "{canary}"',
    '{key}: "{canary}"',
    '{key} = "\\q{canary}"',
    '{key} = "{canary}" # {canary}',
    '{key} = "{canary}"\n{key} = "{canary}"',
    '"{key}" = "{canary}" {canary}',
    '[models.fast.{key}]\n{canary} = "{canary}"',
    "[models.fast.{key}]\n{canary} = ",
]


@pytest.mark.parametrize("key", ["api_key", "apikey", "api-key", "api_kye", "login"])
@pytest.mark.parametrize("way", JSON_WAYS)
@pytest.mark.parametrize("fault", ['"size": "x"', '"size": [', '"size": 1, "size": 2', '"siz": 1'])
def test_no_way_of_writing_a_secret_in_json_shows_it(way: str, key: str, fault: str) -> None:
    body = f"{way.format(key=key, canary=CANARY)}, {fault}"
    for text in (f'{{"models": {{"fast": {{{body}}}}}}}', f'{{"models":\n {{"fast":\n {{{body}}}}}\n}}'):
        _, problems = validate_document(Job, Document.parse(text, "job.json"))
        assert problems
        assert CANARY not in render_report(problems) + repr(problems)


@pytest.mark.parametrize("key", ["api_key", "apikey", "api-key", "api_kye", "login"])
@pytest.mark.parametrize("way", TOML_WAYS)
@pytest.mark.parametrize("fault", ["size = 'x'", "size = [", "size = 1\nsize = 2", "siz = 1"])
def test_no_way_of_writing_a_secret_in_toml_shows_it(way: str, key: str, fault: str) -> None:
    body = way.format(key=key, canary=CANARY)
    for text in (f"[models.fast]\n{fault}\n{body}\n", f"[models.fast]\n{body}\n{fault}\n"):
        _, problems = validate_document(Job, Document.parse(text, "job.toml"))
        assert problems
        assert CANARY not in render_report(problems) + repr(problems)


def _quote(value: Any) -> Any:
    text = str(getattr(value, "get_secret_value", lambda: value)())
    raise ValueError(f"bad {text[:12]}…/{text.upper()}, `password` needs a digit")


@dataclass
class Account:
    password: Annotated[str, AfterValidator(_quote)]


class Login(Config):
    password: Annotated[str, AfterValidator(_quote)] = ""
    pin: Annotated[SecretStr, AfterValidator(_quote)] | None = None


@pytest.mark.parametrize("secret", ["canary-in-a-message", "canary"])
@pytest.mark.parametrize(("model", "key"), [(Login, "password"), (Login, "pin"), (Account, "password")])
def test_a_validator_that_quotes_a_part_of_a_secret_is_masked(model: type[Any], key: str, secret: str) -> None:
    default = {} if model is Account else {"password": ""}
    with pytest.raises(ConfigError, match=r"bad \*\*\* `password` needs a digit") as caught:
        load_config(model, {key: secret})
    told = f"{caught.value} {caught.value.problems}".casefold()
    with pytest.raises(ValidationError, match="validation error") as failed:
        TypeAdapter(dict[str, Login]).validate_python({"a": {**default, key: secret}})
    told += f"{failed.value} {failed.value.errors()}".casefold()
    assert "canary" not in told


class Deep(Config):
    tokens_of: dict[str, SecretStr] = Field({})
    keyring: list[SecretStr] = Field([])
    pair: tuple[SecretStr, int] | None = None
    login: Model = Model()
    logins: list[Model] = Field([])
    either: Model | int = 0


MISPLACED: list[dict[str, Any]] = [
    {"keyring": CANARY},
    {"keyring": {CANARY: None}},
    {"keyring": {CANARY: 1}},
    {"tokens_of": CANARY},
    {"tokens_of": [CANARY]},
    {"pair": CANARY},
    {"login": CANARY},
    {"login": [CANARY]},
    {"logins": CANARY},
    {"logins": [CANARY]},
    {"logins": {CANARY: 1}},
    {"either": CANARY},
]


@pytest.mark.parametrize("value", MISPLACED, ids=str)
def test_what_stands_in_the_place_of_secrets_is_not_shown(value: dict[str, Any], tmp_path: Path) -> None:
    """One text for a list of secrets, or for a section with some, is most likely one of them."""
    (tmp_path / "f.yaml").write_text(json.dumps(value))
    ((key, given_value),) = value.items()
    ways: list[Callable[[], Any]] = [
        lambda: load_config(Deep, tmp_path / "f.yaml"),
        lambda: load_config(Deep, value),
        lambda: load_config(Deep, overrides=[f"{key}={json.dumps(given_value)}"]),
        lambda: Deep(**value),
        lambda: Deep().replace(key, given_value),
    ]
    for way in ways:
        with pytest.raises(ConfigError, match=rf"`{key}.*got") as caught:
            way()
        assert CANARY not in str(caught.value) + repr(caught.value.problems)
    assert CANARY not in repr(check_value(Deep, json.dumps(value)).problems)
    around = TypeAdapter(dict[str, Deep])
    with pytest.raises(ValidationError, match="validation error") as failed:
        around.validate_python({"a": value})
    assert CANARY not in f"{failed.value} {failed.value.errors()}"


def test_what_stands_in_the_place_of_a_section_far_above_a_secret_is_shown() -> None:
    class Run(Config):
        size: int = 0
        models: Deep = Deep()

    class Train(Config):
        runs: list[Run] = Field([])

    with pytest.raises(ConfigError, match='`runs`: expected a list, got "nightly"'):
        load_config(Train, {"runs": "nightly"})


def test_a_list_of_secrets_is_hidden_where_its_text_cannot_be_read() -> None:
    _, problems = validate_document(Deep, Document.parse(f"keyring: [{CANARY}", "f"))
    assert problems
    assert CANARY not in render_report(problems) + repr(problems)


def test_a_call_with_a_secret_in_the_wrong_place_is_shown_without_it() -> None:
    with pytest.raises(ConfigError, match="`keyring`: expected a list") as caught:
        Deep(keyring="C4n")
    assert CANARY not in str(caught.value) + repr(caught.value.problems)


def test_a_default_is_listed_as_one_that_is_given() -> None:
    class Keys(Config):
        token: int = 12345678
        keyring: list[SecretStr] = Field([SecretStr("canary")])
        api_keys: list[str] = Field(["canary"])
        login: SecretStr = Field("canary", validate_default=True)
        nothing: SecretStr | None = None

    listed = {each.key: each.value for each in list_entries(load_document(Keys, Sources()), shape_of(Keys))}
    assert listed == dict.fromkeys(["token", "keyring", "api_keys", "login"], "***") | {"nothing": None}


class Guarded(Config):
    type: Literal["guarded"] = "guarded"
    url: SecretStr


class Plain(Config):
    type: Literal["plain"] = "plain"
    url: str = ""


class Places(Config):
    place: Annotated[Guarded | Plain, Tagged(default="plain")] = Plain()
    size: int = 0


@pytest.mark.parametrize(
    ("written", "is_shown"),
    [
        ("place: {type: plain, url: place-4711}", True),
        ("place: {type: guarded, url: place-4712}", False),
        ("place: {type: garded, url: place-4713}", False),
        ("place: {url: place-4714}", False),
        ("palce: {type: plain}\nurl: place-4715", False),
    ],
)
def test_a_key_is_a_secret_where_its_section_says_so_or_none_does(tmp_path: Path, written: str, is_shown: bool) -> None:
    """A server's plain address is told in messages, though that of another kind holds a password as a whole."""
    path = tmp_path / "places.yaml"
    path.write_text(f"{written}\nsize: 0\n")
    validate_document(Places, load_document(Places, Sources((path,))))
    secret = written.rpartition("url: ")[2].rstrip("}")
    assert (mask(f"nobody answers at {secret}") == f"nobody answers at {secret}") is is_shown
