"""How requests are let through: a document's security schemes, and the credentials given for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.agents.operations.document import ApiDocument
from tidemill.agents.operations.operation import Operation
from tidemill.calls.http.address import check_headers
from tidemill.config.secrets import find_key, is_secret_key, register_secret
from tidemill.config.wording.suggest import suggest
from tidemill.errors import ConfigError

_BEARERS = ("oauth2", "openIdConnect")


@dataclass(frozen=True, slots=True)
class Scheme:
    """One security scheme that can be met.

    Attributes:
        name: as the document calls it.
        location: `header`, `query` or `cookie`.
        key: the name of what holds the credential there.
        form: how the credential is written: `bearer`, `basic` (of `user:password`) or `plain`.
    """

    name: str
    location: str
    key: str
    form: str = "plain"

    def render(self, secret: str) -> str:
        """The credential as it is sent; masked from then on, as is `secret`."""
        register_secret(secret)
        if self.form == "plain":
            return secret
        if self.form == "basic":
            register_secret(secret.partition(":")[2])
            token = base64.b64encode(secret.encode()).decode()
            register_secret(token)
            return f"Basic {token}"
        return f"Bearer {secret}"


@dataclass(frozen=True, slots=True)
class Access:
    """What goes along with every request of an operation.

    Attributes:
        headers, query, cookies: by name, credentials among them.
        is_known: whether any of it is a credential.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    cookies: Mapping[str, str]
    is_known: bool

    @property
    def places(self) -> set[str]:
        """`location:name` of each, names of headers in lower case: parameters that nobody else gives."""
        found = {f"header:{name.lower()}" for name in self.headers}
        return found | {f"query:{name}" for name in self.query} | {f"cookie:{name}" for name in self.cookies}


class Credentials:
    """The credentials for an API, by its security schemes.

    Args:
        auth: the credential of the one scheme there is, or one for each by name; for `basic` it is `user:password`.
        variables: as `auth`, names of variables that hold them, in the environment or in `.env`.
        headers: sent with every request; what they name need not be met by a scheme.
        folder: where `.env` is sought.

    Raises:
        ConfigError: a scheme is not the document's, a variable is not set, or what they hold cannot be sent.
    """

    def __init__(
        self,
        document: ApiDocument,
        *,
        auth: str | Mapping[str, str] | None,
        variables: str | Mapping[str, str] | None,
        headers: Mapping[str, str],
        folder: Path,
    ) -> None:
        self._document = document
        components = document.value.get("components", {})
        self._declared: Mapping[str, Any] = components.get("securitySchemes", {})
        self._headers = dict(headers)
        self._given = {**self._find_variables(variables, folder), **self._name(auth, "auth")}

    def find_access(self, operation: Operation) -> Access:
        """What `operation` is asked with: the first of its alternatives that all credentials are there for.

        Raises:
            ConfigError: there is none for which they are.
        """
        missing: list[str] = []
        refused: list[ConfigError] = []
        for names in sorted(operation.security, key=lambda each: not each):  # without any only where nothing fits
            try:
                lacking = [name for name in names if not self._meets(name)]
            except ConfigError as error:
                refused.append(error)
                continue
            if not lacking:
                return self._make_access(names)
            missing += lacking
        if not operation.security:
            return self._make_access(())
        if not missing:
            raise refused[0]
        known = ", ".join(f"`{name}`" for name in dict.fromkeys(missing))
        raise ConfigError(
            f"`{operation.label}` needs credentials for {known}, and there are none",
            where=self._document.name,
            hint=f"give auth: {{{missing[0]}: …}}, or auth_variables: {{{missing[0]}: NAME}} of a variable that is set",
        )

    def _meets(self, name: str) -> bool:
        """Whether there is a credential for the scheme, or a header of the caller's in its place."""
        scheme = self._read_scheme(name)
        own = set(map(str.lower, self._headers))
        return name in self._given or (scheme.location == "header" and scheme.key.lower() in own)

    def _make_access(self, names: tuple[str, ...]) -> Access:
        places: dict[str, dict[str, str]] = {"header": dict(self._headers), "query": {}, "cookie": {}}
        for scheme in map(self._read_scheme, names):
            if scheme.name in self._given:
                places[scheme.location][scheme.key] = scheme.render(self._given[scheme.name])
        try:
            check_headers(places["header"])
            check_headers({f"c-{name}": value for name, value in places["cookie"].items()})
        except ValueError as error:
            raise ConfigError(f"a credential cannot be sent: {error}", where=self._document.name) from None
        is_known = bool(names) or any(map(is_secret_key, self._headers))
        return Access(places["header"], places["query"], places["cookie"], is_known)

    def _read_scheme(self, name: str) -> Scheme:
        if name not in self._declared:
            raise ConfigError(
                f"the document has no security scheme `{name}`",
                where=self._document.name,
                hint=suggest(name, self._declared),
            )
        scheme = self._document.follow(self._declared[name])
        kind, form = scheme.get("type"), str(scheme.get("scheme", "")).lower()
        if kind == "apiKey" and scheme.get("in") in ("header", "query", "cookie"):
            return Scheme(name, scheme["in"], str(scheme.get("name", "")))
        if kind in _BEARERS or (kind == "http" and form == "bearer"):
            return Scheme(name, "header", "authorization", "bearer")
        if kind == "http" and form == "basic":
            return Scheme(name, "header", "authorization", "basic")
        raise ConfigError(
            f"the security scheme `{name}` is {f'http {form}' if kind == 'http' else kind}, which cannot be met",
            where=self._document.name,
            hint="bearer, basic, oauth2 and API keys can; for another, give its headers",
        )

    def _name(self, given: str | Mapping[str, str] | None, argument: str) -> dict[str, str]:
        """What was given, by scheme; a lone value is for the one scheme that there is."""
        if given is None:
            return {}
        if isinstance(given, str):
            if len(self._declared) != 1:
                told = f"has {', '.join(f'`{each}`' for each in self._declared)}" if self._declared else "has none"
                raise ConfigError(
                    f"{argument} is one credential, and the document {told} for a security scheme",
                    where=self._document.name,
                    hint=f"give {argument} by scheme: {{NAME: …}}" if self._declared else "give headers in its place",
                )
            given = {next(iter(self._declared)): given}
        for name in given:
            self._read_scheme(name)
        return dict(given)

    def _find_variables(self, variables: str | Mapping[str, str] | None, folder: Path) -> dict[str, str]:
        found = {}
        for scheme, name in self._name(variables, "auth_variables").items():
            value = find_key([name], folder)
            if value is None:
                raise ConfigError(
                    f"the credential for `{scheme}` is to be in {name}, which is not set",
                    where=self._document.name,
                    hint=f"set it in the environment or in {folder / '.env'}",
                )
            found[scheme] = value
        return found
