"""Queries of addresses: what in them lets somebody in, and what says which file is meant."""

from __future__ import annotations

from urllib.parse import unquote_plus

from tidemill.config.secrets import is_secret_key, register_secret

_SECRET = frozenset({"hmac", "key", "policy", "sas", "sig", "sign", "signature"})
_SIGNED_BEGINS = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-obs-")
"""What the parameters of signed addresses begin with: AWS, Google, Alibaba, Tencent, Huawei."""
_SIGNED = frozenset({"awsaccesskeyid", "googleaccessid", "key-pair-id", "ossaccesskeyid", "expires"})
_SIGNED_SAS = frozenset(
    {"sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "sdd"}
    | {"skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"}
)
"""What an address has beside `sig` in a shared access signature of Azure."""


def is_web(text: str) -> bool:
    """Whether `text` is an address of an HTTP server."""
    return text.startswith(("http://", "https://"))


def split_query(address: str) -> tuple[str, str]:
    """An address of the web in front of its question mark, and the query behind it, its secrets masked from here on."""
    url, _, query = address.partition("?")
    for name, value in _iter_parameters(query):
        if _is_secret(name):
            register_secret(value)
            register_secret(unquote_plus(value))
    return url, query


def show_query(query: str) -> str:
    """The query as it may be shown, its question mark included: without what signs it.

    An address that is signed anew is shown the same, and means the same file.

    >>> show_query("version=7&X-Amz-Date=20260101T000000Z&X-Amz-Signature=0f3c")
    '?version=7'
    >>> show_query("sv=2024-11-04&se=2026-01-01&sig=aGVsbG8")
    ''
    """
    parameters = list(_iter_parameters(query))
    is_sas = any(name.lower() == "sig" for name, _ in parameters)
    kept = [f"{name}={value}" if value else name for name, value in parameters if not _is_signed(name, is_sas=is_sas)]
    return "?" + "&".join(kept) if kept else ""


def show_path(path: str) -> str:
    """A path or pattern as it may be shown, which only an address of the web has anything in that may not."""
    if not is_web(path):
        return path
    url, query = split_query(path)
    return url + show_query(query)


def _iter_parameters(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (each.partition("=") for each in query.split("&") if each)]


def _is_secret(name: str) -> bool:
    known = name.lower()
    is_signature = known.startswith(_SIGNED_BEGINS) and known.endswith(("-signature", "-credential", "-token"))
    return known in _SECRET or is_signature or is_secret_key(name)


def _is_signed(name: str, *, is_sas: bool) -> bool:
    known = name.lower()
    return _is_secret(name) or known.startswith(_SIGNED_BEGINS) or known in _SIGNED or (is_sas and known in _SIGNED_SAS)
