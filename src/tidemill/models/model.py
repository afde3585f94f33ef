"""`Model`: the frozen description of a model behind an endpoint, and `tm.model`, which makes one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.calls.http.address import check_address, check_headers
from tidemill.calls.limits import Concurrency, Limits, Price
from tidemill.config.loading import load_config
from tidemill.config.model import Settings
from tidemill.config.roles import Runtime
from tidemill.config.secrets import is_secret_key
from tidemill.config.subschemas import JsonSchema, add_form
from tidemill.config.wording.suggest import find_near, suggest
from tidemill.models.clients.askable import Askable
from tidemill.models.load import Load
from tidemill.models.local.server import EMBEDDED
from tidemill.models.prices import PRICES_DATE, find_price
from tidemill.models.serve import PORT, Serve

if TYPE_CHECKING:
    from tidemill.models.clients.client import Client

T = TypeVar("T")

WireFormat = Literal["openai", "anthropic"]
"""OpenAI's chat completions, which most providers and servers speak, or Anthropic's messages."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider answers, which variables hold its key, and which wire format it speaks."""

    base_url: str
    key_variables: tuple[str, ...]
    speaks: WireFormat = "openai"


# Base URLs and key variables as each provider's API reference gives them.
PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",)),
    "anthropic": Provider("https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY",), "anthropic"),
    "openrouter": Provider("https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
    "groq": Provider("https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
    "mistral": Provider("https://api.mistral.ai/v1", ("MISTRAL_API_KEY",)),
    "deepseek": Provider("https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",)),
    "together": Provider("https://api.together.xyz/v1", ("TOGETHER_API_KEY",)),
    "fireworks": Provider("https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",)),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "litellm": Provider("", ()),
    "local": Provider("", ()),
}


CACHE_WRITE_FACTOR = 1.25
"""What writing to Anthropic's prompt cache costs, in plain input, for the five minutes we ask for (pricing page)."""

LOCAL_SLOTS = 4
"""Requests a local model computes at once: two cores give 120 tokens/s in four slots, 50 in one."""


_VARIABLE = re.compile(
    r"^(?:\w+ )?(?:\$\w+|\$?\{[^}]*\}|\$\([^)]*\)|\{\{.*\}\}|%\w+%|<[^>]*>|(?:os\.)?env(?:iron)?[:./\[].*)$", re.ASCII
)
"""Forms in which other tools' files name a variable: no credential looks so."""


def check_json(value: T) -> T:
    """`value`, unless it cannot be sent as JSON: other types than it has, whole numbers beyond 64 bits."""
    try:
        orjson.dumps(value)
    except TypeError as exc:
        raise PydanticCustomError("json", "cannot be sent as JSON: {reason}", {"reason": str(exc)}) from exc
    return value


Params = Annotated[dict[str, Any], AfterValidator(check_json)]
"""Fields of a request's body, passed through verbatim."""


def _unfilled(name: str, *path: str) -> PydanticCustomError:
    """The error for a key that names a variable instead of holding its value."""
    provider = PROVIDERS.get(name.partition("/")[0])
    if provider is not None and provider.key_variables:
        hint = f"leave it out: {' or '.join(provider.key_variables)} is read by itself, from the environment or `.env`"
    else:
        usual = ", ".join(f"`{name}/…`" for name in ("openai", "openrouter", "mistral"))
        hint = f"give the key itself, or name the model as {usual}: then the provider's usual variable is read"
    message = "variables are not filled in, and this names one instead of being a key"
    return PydanticCustomError("key_variable", message, {"hint": hint, "path": path})


class Model(Settings, Askable):
    """A model by name, with where it answers and how hard it may be asked. Called with a prompt it is asked by itself.

    Attributes:
        model: `provider/name`; `local/smollm2` and `local/PATH.gguf` run in process, `local/minilm` and `local/FOLDER`
            make vectors there, `litellm/…` goes through litellm.
        limits: how many calls at once, how many a minute, how long each may take.
        price: USD per million tokens; needed for a budget in USD over a model that is not among the known ones.
        wire_format: what `base_url` speaks, where that is not what the provider does.
        base_url: an endpoint other than the provider's own.
        serve: the command of a server that is started for it, by the first call to it.
        load: how a `local/FOLDER` is loaded.
        tools: `native` where its server takes tools and gives calls of them, `told` where they are told in the prompt
            and asked for in replies that the server holds to a JSON Schema; by default told to a model in process.
        api_key: the key; by default the provider's usual variable, from the environment or `.env`.
        params: passed through verbatim in every request's body.
        headers: passed through verbatim with every request.
        replies: how a reply of some `output` is asked for, where not by what its provider takes: by a `schema` that the
            endpoint holds it to, as the call of a `tool`, or by the system `prompt`; then an agent's model is not held
            to the arguments of its tools either.
        prompt_cache: whether a provider that caches prompts on demand is asked to keep what all requests of a step
            share. Writing to the cache costs more than plain input, reading from it a tenth.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "openai/gpt-4.1-mini"}]})

    base_url: Annotated[str | None, Runtime()] = (
        None  # before `model`, whose provider need not be known when there is one
    )
    serve: Annotated[Serve | None, Runtime()] = None  # as that
    model: str
    wire_format: WireFormat | None = None
    limits: Annotated[Limits, Runtime()] = Limits()
    price: Annotated[Price | None, Runtime()] = None
    api_key: Annotated[SecretStr | None, Runtime()] = Field(default=None, repr=False)
    params: Params = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    replies: Literal["schema", "tool", "prompt"] | None = None
    prompt_cache: bool = True
    load: Load | None = None
    tools: Literal["native", "told"] | None = None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return add_form(handler(schema), {"type": "string"})

    @model_validator(mode="wrap")
    @classmethod
    def _from_name(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        """A bare string is a name: one of the job's `models:`, else `provider/name`."""
        if not isinstance(value, str):
            return handler(value)
        named: Mapping[str, Model] = (info.context or {}).get("models", {})
        if value in named:
            return named[value]
        if "/" not in value:
            raise PydanticCustomError(
                "model_name",
                "unknown model `{name}`: neither under `models:` nor of the form provider/name",
                {"name": value, "hint": suggest(value, named) or "write it as provider/name"},
            )
        return handler({"model": value})

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            check_address(value)
        except ValueError:
            hint = (
                f"write http://{value}" if re.match(r"[\w.-]+:\d+", value) else "for example http://localhost:8000/v1"
            )
            raise PydanticCustomError(
                "base_url", "expected an http or https address, got `{url}`", {"url": value, "hint": hint}
            ) from None
        parts = urlsplit(value)
        if "#" in value:
            raise PydanticCustomError(
                "base_url",
                "expected an address without a fragment, which is never sent",
                {"hint": "leave out `#` and what follows"},
            )
        for path in ("/chat/completions", "/messages", "/embeddings"):
            if parts.path.rstrip("/").endswith(path):
                raise PydanticCustomError(
                    "base_url", "expected the address up to the version", {"hint": f"leave out `{path}`"}
                )
        return value

    @field_validator("serve")
    @classmethod
    def _check_serve(cls, value: Serve | None, info: ValidationInfo) -> Serve | None:
        has_address = info.data.get("base_url", "") is not None
        if value is not None and value.takes_port == has_address:
            message = (
                "expected `{port}` in the command, for a port of its own, or a base_url where it answers; got {got}"
            )
            hint = "leave out base_url" if has_address else "for example vllm serve Qwen/Qwen3-0.6B --port {port}"
            context = {"port": PORT, "got": "both" if has_address else "neither", "hint": hint}
            raise PydanticCustomError("serve", message, context)
        return value

    @field_validator("model")
    @classmethod
    def _check_name(cls, value: str, info: ValidationInfo) -> str:
        provider, slash, name = value.partition("/")
        if not (provider.strip() and slash and name.strip()):
            raise PydanticCustomError(
                "model_name",
                "expected a model as provider/name, got `{name}`",
                {"name": value, "hint": "for example openai/gpt-4.1-mini or local/smollm2"},
            )
        if provider not in PROVIDERS and all(info.data.get(field, "") is None for field in ("base_url", "serve")):
            near = find_near(provider, PROVIDERS)
            hint = f"did you mean `{near}/{name}`?" if near else "give the endpoint as base_url"
            raise PydanticCustomError(
                "model_provider",
                "unknown provider `{provider}` in `{name}`, and no base_url",
                {"provider": provider, "name": value, "hint": hint, "offset": 0, "length": len(provider)},
            )
        return value

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and _VARIABLE.search(value.get_secret_value()):
            raise _unfilled(info.data.get("model", ""))
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, text in value.items():
            if is_secret_key(name) and _VARIABLE.search(text):
                raise _unfilled(info.data.get("model", ""), name)
            try:
                check_headers({name: text})
            except ValueError as exc:
                message = "cannot be sent: {reason}"
                raise PydanticCustomError("header", message, {"reason": str(exc), "path": (name,)}) from None
        return value

    @field_validator("load")
    @classmethod
    def _check_load(cls, value: Load | None, info: ValidationInfo) -> Load | None:
        name = info.data.get("model")
        is_asked = any(info.data.get(field) is not None for field in ("base_url", "serve"))
        if value is not None and name is not None and (is_asked or not _is_folder(name)):
            message = "expected none for `{name}`: only `local/minilm` and `local/FOLDER` are loaded with it"
            raise PydanticCustomError("load", message, {"name": name, "hint": "leave it out"})
        return value

    @property
    def provider(self) -> str:
        """The part of the name before the first slash."""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The name the provider knows the model by."""
        return self.model.partition("/")[2]

    @property
    def speaks(self) -> WireFormat:
        """The wire format it is asked in: its own `wire_format`, else its provider's."""
        provider = PROVIDERS.get(self.provider)
        return self.wire_format or (provider.speaks if provider else "openai")

    @property
    def lane_price(self) -> Price | None:
        """What its tokens cost: its own `price`, else the known one of a model asked at its own provider."""
        return self.price_with({})

    def price_with(self, params: Mapping[str, Any]) -> Price | None:
        """What its tokens cost in requests with `params` besides its own: the known price is none of what these change.

        In the Anthropic format a price of one's own that has no rate for writing to the prompt cache gets 1.25 times
        the input rate, as the provider bills.
        """
        price = self.price
        if price is None:
            is_own = self.base_url is None and self.serve is None
            return find_price(self.model, {**self.params, **params}) if is_own else None
        if self.speaks == "anthropic" and price.cache_write is None:
            return price.model_copy(update={"cache_write": round(price.input * CACHE_WRITE_FACTOR, 6)})
        return price

    @property
    def lane_limits(self) -> Limits:
        """The limits its calls go by; a local model whose concurrency is `auto` has as many slots as it serves."""
        if self.is_local and self.limits.concurrency.is_auto:
            return self.limits.model_copy(update={"concurrency": Concurrency.model_validate(LOCAL_SLOTS)})
        return self.limits

    @property
    def makes_vectors_here(self) -> bool:
        """Whether it runs in process and makes vectors of texts; others there are asked as an endpoint is."""
        return self.is_local and _is_folder(self.model)

    @property
    def is_litellm(self) -> bool:
        """Whether the litellm package speaks to it."""
        return self.provider == "litellm" and self.serve is None

    @property
    def is_local(self) -> bool:
        """Whether the model runs in process."""
        return self.provider == "local" and self.base_url is None and self.serve is None

    @property
    def tells_tools(self) -> bool:
        """Whether it is told of tools in its prompt, and not by the wire format."""
        return self.is_local if self.tools is None else self.tools == "told"

    def _get_client(self) -> Client:
        from tidemill.models.clients.client import get_client  # which needs the engine; a description needs none

        return get_client(self)


def _is_folder(name: str) -> bool:
    """Whether it names a model that transformers loads, and not llama.cpp."""
    return name.startswith("local/") and name != EMBEDDED and not name.endswith(".gguf")


def describe_prices(models: Iterable[Model]) -> dict[str, dict[str, Any]]:
    """By the name of each model that has a price: its rates, and where they are from."""
    described: dict[str, dict[str, Any]] = {}
    for each in models:
        if (price := each.lane_price) is not None:
            source = f"known on {PRICES_DATE}" if each.price is None else "the model's own"
            described[each.model] = {**price.model_dump(exclude_none=True), "source": source}
    return described


def model(
    name: str,
    *,
    limits: Limits | None = None,
    price: Price | None = None,
    wire_format: WireFormat | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    replies: Literal["schema", "tool", "prompt"] | None = None,
    prompt_cache: bool | None = None,
    serve: Serve | str | Sequence[str] | Mapping[str, Any] | None = None,
    load: Load | Mapping[str, Any] | None = None,
    tools: Literal["native", "told"] | None = None,
    **unknown: Never,
) -> Model:
    """The description of the model called `provider/name`; nothing is opened or called.

    Raises:
        ConfigError: the name, or an argument, cannot be used or is unknown; says which and the mend.
    """
    given = {
        "model": name,
        "limits": limits,
        "price": price,
        "wire_format": wire_format,
        "base_url": base_url,
        "api_key": api_key,
        "params": params,
        "headers": headers,
        "replies": replies,
        "prompt_cache": prompt_cache,
        "serve": serve,
        "load": load,
        "tools": tools,
    }
    return load_config(Model, {key: value for key, value in given.items() if value is not None} | unknown)
