"""Opening models: the base URL and credentials of each, and the server of a local one."""

from __future__ import annotations

from pathlib import Path

from tidemill.calls.address import check_headers
from tidemill.calls.credentials import register_credentials
from tidemill.config.secrets import find_key, register_secret
from tidemill.errors import ConfigError
from tidemill.models.local import open_local_server
from tidemill.models.model import PROVIDERS, Model
from tidemill.resources.scope import Scope


def find_headers(model: Model, folder: Path) -> dict[str, str]:
    """The headers of every request to `model`, its key among them, which is masked from then on.

    The key is the model's `api_key`, else the provider's usual variable, from the environment or `.env` in `folder`; an
    `authorization` among the model's own headers stands instead of one. What its other headers hold under the name of
    a secret, and a password in its `base_url`, are masked likewise.

    Raises:
        ConfigError: the provider needs a key and there is none, or it is none that a header can hold.
    """
    register_credentials(model.headers, model.base_url or "")
    if "authorization" in map(str.lower, model.headers):
        return dict(model.headers)
    provider = PROVIDERS.get(model.provider)
    variables = provider.key_variables if provider else ()
    key = model.api_key.get_secret_value() if model.api_key else find_key(variables, folder)
    if key is None:
        if variables and model.base_url is None:
            raise ConfigError(
                f"`{model.model}` needs a key, and {' or '.join(variables)} is not set",
                hint=f"set it in the environment or in {folder / '.env'}, or give the model an api_key",
            )
        return dict(model.headers)
    register_secret(key)
    headers = {"authorization": f"Bearer {key}", **model.headers}
    try:
        check_headers(headers)
    except ValueError as exc:
        raise ConfigError(f"the key of `{model.model}` cannot be sent: {exc}") from None
    return headers


def open_base_url(model: Model, scope: Scope, folder: Path) -> str:
    """Where `model` answers; a local one is started, and stopped with `scope`. Blocks while it loads."""
    if model.is_local:
        return scope.enter(open_local_server(model.model, slots=model.lane_limits.concurrency, folder=folder))
    if model.base_url is not None:
        return model.base_url
    return PROVIDERS[model.provider].base_url
