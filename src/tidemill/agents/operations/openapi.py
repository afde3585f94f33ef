"""`openapi`: the allowed operations of an API as typed tools."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr

from tidemill.agents.operations.answers import read_answer
from tidemill.agents.operations.arguments import read_arguments
from tidemill.agents.operations.connections import Connections
from tidemill.agents.operations.document import ApiDocument, Source, find_base_url, load_document
from tidemill.agents.operations.operation import Operation, choose_operations
from tidemill.agents.operations.requests import KEY_HEADER, RequestForm
from tidemill.agents.operations.security import Credentials
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.naming import make_names
from tidemill.agents.tools.options import TOOL_TIMEOUT_S, ToolOptions
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Signature, Tool
from tidemill.calls.credentials import label_endpoint, register_credentials
from tidemill.calls.http.address import check_address, check_headers
from tidemill.calls.wire import Transport
from tidemill.config.model import Settings
from tidemill.config.types.durations import Duration
from tidemill.errors import ConfigError

RETRIES = 2
"""How often what may be repeated is tried again after a failure that may pass."""

MAX_DESCRIPTION = 1024
"""Characters of a description that a model is told: OpenAI's bound."""

NO_TIMEOUT_S = 3600.0

Approval = bool | Literal["writes"] | tuple[str, ...]


class OpenApi(Settings):
    """Operations of an API that are tools, as a file describes them; `openapi` tells more of each.

    Attributes:
        spec: the OpenAPI 3 document: a file's path, an http(s) address or its values.
        allow: operationIds, or methods with paths, `GET /items/*`.
        base_url: where the API is; by default as the document says.
        auth: the credential for the document's one security scheme, or one for each by name.
        auth_variables: as `auth`, the variables that hold them, in the environment or in `.env`.
        headers: sent with every request; no argument stands for what they name.
        approve: which operations are decided on before each call: `writes`, all, none, or a list as `allow`.
        idempotent_writes: whether the API heeds `Idempotency-Key`: then writes are tried again as reads are.
        allow_slashes: whether a path parameter may hold `/`, which may lead to paths that were not allowed.
        prefix: what the names of the tools begin with.
        timeout_s: seconds that one try may take.
        folder: where a relative `spec` and `.env` are sought; by default the job file's.
    """

    spec: str | Path | dict[str, Any] = Field(repr=False)
    allow: tuple[str, ...] = Field(min_length=1)
    base_url: str | None = None
    auth: SecretStr | dict[str, SecretStr] | None = None
    auth_variables: str | dict[str, str] | None = None
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    approve: Approval = "writes"
    idempotent_writes: bool = False
    allow_slashes: bool = False
    prefix: str = Field(default="", max_length=32)
    timeout_s: Duration | None = Field(default=TOOL_TIMEOUT_S, gt=0)
    folder: Path = Path()

    def make_tools(self) -> list[Tool]:
        """The tools; see `openapi`."""
        document = load_document(self.spec, self.folder)
        operations = choose_operations(document, self.allow)
        if isinstance(self.approve, tuple):
            choose_operations(document, self.approve)  # each names one at least
        forms = _make_forms(document, operations, self)
        wanted = (each.id or f"{each.method.lower()}{each.path}".rstrip("/}") for each in operations)
        names = make_names(wanted, prefix=self.prefix)
        connections = Connections()
        return [_make_tool(name, form, self, connections) for name, form in zip(names, forms, strict=True)]


def openapi(
    spec: Source,
    allow: Sequence[str],
    *,
    base_url: str | None = None,
    auth: str | SecretStr | Mapping[str, str | SecretStr] | None = None,
    auth_variables: str | Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    approve: bool | Literal["writes"] | Sequence[str] = "writes",
    idempotent_writes: bool = False,
    allow_slashes: bool = False,
    prefix: str = "",
    timeout_s: float | str | None = TOOL_TIMEOUT_S,
    folder: str | os.PathLike[str] | None = None,
) -> list[Tool]:
    """A tool for each operation of an API that is allowed, typed as its OpenAPI 3 document has it.

    A tool's arguments are the parameters and the properties of the body in one closed object. What it gives is the
    answer's JSON or text. A status of 400 and more is told to the model with what the answer says of it; 401 ends the
    run, since it is about the credentials; 408, 425, 429 and 500-599 may be tried again, after what `Retry-After` says.
    Redirects are not followed. No request leaves `base_url`: of the document's own servers only the first counts.

    Retries: reads are tried up to three times. A write has the call's key as `Idempotency-Key`, the same whenever the
    same call is made again, and is sent once, unless the API is said to heed it.

    Args:
        spec: a file's path, an http(s) address or the values of the document; JSON or YAML.
        allow: operationIds (`get_item`), or methods with paths (`GET /items/{id}`, `GET /items/**`, `* /items`): `*`
            stands for any characters but `/`, `**` for any.
        base_url: where the API is; by default as the document says.
        auth: the credential for the document's one security scheme, or one for each by name; of a `basic` one
            `user:password`. Masked wherever it would be shown.
        auth_variables: as `auth`, the variables that hold them, in the environment or in `.env`.
        headers: sent with every request; no argument stands for what they name.
        approve: which operations are decided on before each call: `writes`, all but GET, HEAD, OPTIONS and QUERY;
            True for all, False for none; or a list as `allow`.
        idempotent_writes: whether the API does once what comes twice with one `Idempotency-Key`: then writes are
            tried again as reads are.
        allow_slashes: whether a path parameter may hold `/`, sent as `%2F`. Many servers decode that before they
            route, and then such a value reaches paths that were not allowed.
        prefix: what the names of the tools begin with.
        timeout_s: seconds that one try may take.
        folder: where a relative `spec` and `.env` are sought; by default the job file's.

    Raises:
        ConfigError: the document cannot be read, an entry of `allow` names no operation, a credential is missing, or
            an allowed operation takes what cannot be sent.
        ResourceError: the document's server gave none.
    """
    described = OpenApi(
        spec=dict(spec) if isinstance(spec, Mapping) else spec,
        allow=allow if isinstance(allow, str) else tuple(allow),
        base_url=base_url,
        auth=auth,
        auth_variables=auth_variables,
        headers=dict(headers or {}),
        approve=approve if isinstance(approve, (bool, str)) else tuple(approve),
        idempotent_writes=idempotent_writes,
        allow_slashes=allow_slashes,
        prefix=prefix,
        timeout_s=timeout_s,
        folder=folder or Path(),
    )
    return described.make_tools()


def _make_forms(document: ApiDocument, operations: Sequence[Operation], access: OpenApi) -> list[RequestForm]:
    base_url = _check_base_url(access.base_url or find_base_url(document), document)
    try:
        check_headers(access.headers)
    except ValueError as error:
        raise ConfigError(f"the headers cannot be sent: {error}") from None
    register_credentials(access.headers, base_url)
    credentials = Credentials(
        document,
        auth=_reveal(access.auth),
        variables=access.auth_variables,
        headers=access.headers,
        folder=access.folder,
    )
    forms = []
    for operation in operations:
        granted = credentials.find_access(operation)
        filled = granted.places if operation.is_read else granted.places | {f"header:{KEY_HEADER}"}
        takes = read_arguments(document, operation, filled)
        forms.append(RequestForm(operation, takes, granted, base_url, access.allow_slashes))
    return forms


def _reveal(auth: SecretStr | Mapping[str, SecretStr] | None) -> str | dict[str, str] | None:
    if isinstance(auth, Mapping):
        return {name: each.get_secret_value() for name, each in auth.items()}
    return None if auth is None else auth.get_secret_value()


def _check_base_url(base_url: str, document: ApiDocument) -> str:
    try:
        check_address(base_url)
    except ValueError as error:
        raise ConfigError(
            f"base_url is no address: {error}", where=document.name, hint="give base_url: http(s)://…"
        ) from None
    if "?" in base_url or "#" in base_url:
        raise ConfigError("base_url has a query or a fragment, which no path can follow", where=document.name)
    return base_url.rstrip("/")


def _needs_approval(operation: Operation, approve: Approval) -> bool:
    if isinstance(approve, bool):
        return approve
    if approve == "writes":
        return not operation.is_read
    return any(operation.is_named(entry) for entry in approve)


def _make_tool(name: str, form: RequestForm, access: OpenApi, connections: Connections) -> Tool:
    operation = form.operation
    is_repeatable = operation.is_read or access.idempotent_writes
    context = next(name for name in ("context", "_context", "__context") if name not in form.takes.schema["properties"])
    run = partial(_run, form, access.timeout_s or NO_TIMEOUT_S, context)

    @asynccontextmanager
    async def open_session(_: Context[Any]) -> AsyncIterator[Callable[..., Any]]:
        async with connections.hold() as transport:
            yield partial(run, transport)

    async def call_once(**arguments: Any) -> Any:
        async with connections.hold() as transport:
            return await run(transport, **arguments)

    options = ToolOptions(
        timeout_s=access.timeout_s,
        retries=RETRIES if is_repeatable else 0,
        idempotent=is_repeatable,
        needs_approval=_needs_approval(operation, access.approve),
        shows_errors=True,  # they are this package's own, masked
    )
    return Tool(
        name,
        _cut(operation.description),
        _read_signature(form),
        call_once,
        options,
        context=context,
        is_async=True,
        open_session=open_session,
        identity={"openapi": label_endpoint(form.base_url), "operation": operation.label},
    )


def _read_signature(form: RequestForm) -> Signature:
    try:
        return schema_signature(form.takes.schema)
    except ConfigError as error:
        message = f"the schema of its arguments cannot be read: {error}"
        raise ConfigError(message, where=form.operation.label) from error


async def _run(form: RequestForm, timeout_s: float, context: str, transport: Transport, /, **arguments: Any) -> Any:
    """What the API answers to one call."""
    given: Context[Any] | None = arguments.pop(context, None)
    request = form.build(arguments, "" if given is None else given.key)
    response = await transport.send(request, timeout_s)
    return read_answer(response, request, form.operation.label, is_known=form.access.is_known)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "\N{HORIZONTAL ELLIPSIS}"
