"""Opening models: the base URL and credentials of each, and the server of a local one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec.structs

from tidemill.calls.credentials import register_credentials
from tidemill.calls.http.address import check_headers
from tidemill.calls.wire import Request, Transport
from tidemill.config.secrets import find_key, register_secret
from tidemill.errors import ConfigError, ResourceError
from tidemill.models.formats.anthropic import MessagesEndpoint, iter_misfits
from tidemill.models.formats.embeddings import EmbeddingEndpoint
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.formats.litellm import SCHEME, LitellmTransport, check_litellm
from tidemill.models.formats.openai import ChatEndpoint
from tidemill.models.formats.told_tools import ToldTools
from tidemill.models.local.server import check_local_model, open_local_server
from tidemill.models.messages import Message
from tidemill.models.model import PROVIDERS, Model
from tidemill.models.options import Misfit, Options, iter_tool_misfits
from tidemill.resources.demand import OnDemand


def make_endpoint(model: Model, headers: Mapping[str, str], options: Options) -> Endpoint:
    """Where and how `model` is asked with `options`, in the wire format it speaks; `headers` is of `find_headers`."""
    if options.tools and model.tells_tools:
        endpoint: Endpoint = ToldTools(
            lambda plain: _make_endpoint(model, headers, plain), options, is_local=model.is_local
        )
    else:
        endpoint = _make_endpoint(model, headers, options)
    return endpoint if _is_priced(model, options.params) else _Unpriced(endpoint)


def _make_endpoint(model: Model, headers: Mapping[str, str], options: Options) -> Endpoint:
    base_url = find_base_url(model)
    if _speaks_chat(model):
        return ChatEndpoint(base_url, model.name, headers, options)
    return MessagesEndpoint(base_url, model.name, headers, options, caches=model.prompt_cache)


def _is_priced(model: Model, params: Mapping[str, Any]) -> bool:
    """Whether tokens of requests with `params` cost what the model's do, if that is known."""
    return model.lane_price is None or model.price_with(params) is not None


class _Unpriced:
    """An endpoint whose requests have fields that may change the price of its model."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.base_url = endpoint.base_url
        self._endpoint = endpoint
        self.parse_reply = endpoint.parse_reply
        self.open_stream = endpoint.open_stream

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The endpoint's own request, with no price."""
        return msgspec.structs.replace(self._endpoint.build_request(messages, overrides), is_priced=False)


def list_misfits(model: Model, options: Options) -> list[Misfit]:
    """Why `model` cannot be asked with `options` in the wire format it speaks; empty where it can."""
    return list(iter_tool_misfits(options) if _speaks_chat(model) else iter_misfits(options))


def _speaks_chat(model: Model) -> bool:
    """Whether it is asked in OpenAI's format, as litellm takes it for all providers."""
    return model.is_litellm or model.speaks == "openai"


def make_embedding_endpoint(
    model: Model, headers: Mapping[str, str], *, dimensions: int | None = None, params: Mapping[str, Any] | None = None
) -> EmbeddingEndpoint:
    """Where and how `model` is asked for vectors; `params` come over the model's own.

    Raises:
        ConfigError: its wire format has no embeddings.
    """
    if not _speaks_chat(model):
        raise ConfigError(
            f"`{model.model}` cannot embed: the Anthropic format has no embeddings",
            hint="name an embedding model, for example openai/text-embedding-3-small",
        )
    plain = {"encoding_format": "float"} if model.is_litellm else {}  # the one form all its providers have
    both = {**plain, **model.params, **(params or {})}
    is_priced = _is_priced(model, both)
    return EmbeddingEndpoint(
        find_base_url(model), model.name, headers, dimensions=dimensions, params=both, is_priced=is_priced
    )


def find_headers(model: Model, folder: Path) -> dict[str, str]:
    """The headers of every request to `model`, its key among them, which is masked from then on.

    The key is the model's `api_key`, else the provider's usual variable, from the environment or `.env` in `folder`; an
    `authorization` or, in the Anthropic format, `x-api-key` among the model's own headers stands instead of one. What
    its other headers hold under the name of a secret, and a password in its `base_url`, are masked likewise.

    Raises:
        ConfigError: the provider needs a key and there is none, or it is none that a header can hold.
        ResourceError: the package that speaks to it is not installed.
    """
    if model.is_litellm:
        check_litellm()
    register_credentials(model.headers, model.base_url or "")
    is_anthropic = model.speaks == "anthropic"
    own = set(map(str.lower, model.headers))
    if "authorization" in own or (is_anthropic and "x-api-key" in own):
        return dict(model.headers)
    provider = PROVIDERS.get(model.provider)
    variables = provider.key_variables if provider and model.serve is None else ()
    key = model.api_key.get_secret_value() if model.api_key else find_key(variables, folder)
    if key is None:
        if variables and model.base_url is None:
            raise ConfigError(
                f"`{model.model}` needs a key, and {' or '.join(variables)} is not set",
                hint=f"set it in the environment or in {folder / '.env'}, or give the model an api_key",
            )
        return dict(model.headers)
    register_secret(key)
    sent = {"x-api-key": key} if is_anthropic else {"authorization": f"Bearer {key}"}
    headers = {**sent, **model.headers}
    try:
        check_headers(headers)
    except ValueError as exc:
        raise ConfigError(f"the key of `{model.model}` cannot be sent: {exc}") from None
    return headers


def find_base_url(model: Model) -> str:
    """Where `model` answers; nothing comes before the path of one whose server, and so its port, is still to come."""
    if model.is_local or (model.serve is not None and model.base_url is None):
        return ""
    if model.is_litellm and model.base_url is None:
        return SCHEME + model.name
    return PROVIDERS[model.provider].base_url if model.base_url is None else model.base_url


def find_transport(model: Model) -> Transport | None:
    """What sends the calls to `model` where the engine's own transport does not; closed by whoever asked for it."""
    return LitellmTransport(model.base_url) if model.is_litellm else None


def open_server(model: Model, folder: Path) -> OnDemand[str]:
    """The base URL of a local `model`: its server is started by the first call that asks for it, if there is one.

    Raises:
        ConfigError, ResourceError: what can be known without loading it says that it cannot start.
    """
    check_local_model(model.model, folder=folder)
    return OnDemand(lambda: _serve(model, folder))


@contextmanager
def _serve(model: Model, folder: Path) -> Iterator[str]:
    with ExitStack() as held:
        try:
            server = open_local_server(model.model, slots=model.lane_limits.slots, folder=folder)
            base_url = held.enter_context(server)
        except ResourceError:
            raise
        except Exception as exc:  # whatever it is, no record is to blame: the run's failure
            raise ResourceError(f"{model.model} cannot be started: {exc}") from exc
        yield base_url
