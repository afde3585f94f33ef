"""Addresses and heads as they are sent: pure, no socket."""

import pytest

from tidemill.calls.http.address import Origin, Proxy, find_route, render_connect
from tidemill.version import __version__


def head_of(url: str, **headers: str) -> list[str]:
    return find_route(url, headers).head.decode().split("\r\n")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_head_says_who_asks_whom_for_what() -> None:
    assert head_of("https://far.example/v1/chat?a=1&b=%20", authorization="Bearer x") == [
        "POST /v1/chat?a=1&b=%20 HTTP/1.1",
        "host: far.example",
        f"user-agent: tidemill/{__version__}",
        "accept: */*",
        "accept-encoding: gzip",
        "authorization: Bearer x",
        "content-length: ",
    ]


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("http://far.example", Origin("http", "far.example", 80), "far.example"),
        ("http://FAR.example:080/", Origin("http", "far.example", 80), "far.example"),
        ("https://far.example:8443/", Origin("https", "far.example", 8443), "far.example:8443"),
        ("http://[::1]:8000/v1", Origin("http", "::1", 8000), "[::1]:8000"),
        ("http://bücher.example/", Origin("http", "xn--bcher-kva.example", 80), "xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_read_from_the_address(url: str, origin: Origin, host: str) -> None:
    assert find_route(url, {}).origin == origin
    assert f"host: {host}" in head_of(url)


def test_a_path_is_quoted_once() -> None:
    """What is quoted already stays; a space or a letter beyond ASCII cannot break the request line."""
    assert head_of("http://far/a b/%20/ü?q=x y#part")[0] == "POST /a%20b/%20/%C3%BC?q=x%20y HTTP/1.1"


def test_user_and_password_of_an_address_are_sent_as_basic() -> None:
    """A given `authorization` stands instead (RFC 7617)."""
    assert "authorization: Basic bWU6cEBzcw==" in head_of("http://me:p%40ss@far/")
    heads = head_of("http://me:p%40ss@far/", Authorization="Bearer x")
    assert [line for line in heads if line.lower().startswith("authorization")] == ["Authorization: Bearer x"]


def test_a_given_header_stands_instead_of_ours() -> None:
    heads = head_of("http://far/", **{"User-Agent": "mine", "HOST": "other", "x-umlaut": "ä"})
    assert [line for line in heads if line.lower().startswith(("user-agent", "host"))] == [
        "User-Agent: mine",
        "HOST: other",
    ]
    assert "x-umlaut: ä" in heads


@pytest.mark.parametrize(
    "url",
    ["nonsense", "http://", "ftp://far/", "http://[::1/", "http://far:port/", "http://a b/", "http://far:99999/"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|Invalid|Port|host"):
        find_route(url, {})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("x", "a\r\nsmuggled: 1", "line break"),
        ("x", "a\nb", "line break"),
        ("x\r\ny", "1", "characters that no name may have"),
        ("", "1", "characters that no name may have"),
        ("Content-Length", "3", "follows from the body"),
        ("transfer-encoding", "chunked", "follows from the body"),
    ],
)
def test_a_header_that_would_break_the_request_is_refused(name: str, value: str, reason: str) -> None:
    """Nothing a user writes can end a header or the head early."""
    with pytest.raises(ValueError, match=reason) as caught:
        find_route("http://far/", {name: value})
    assert "smuggled" not in str(caught.value)


def test_a_proxy_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the scheme of the address; not for what NO_PROXY names, never for loopback; its password is its own."""
    monkeypatch.setenv("https_proxy", "http://me:secret@gate:3128")
    monkeypatch.setenv("http_proxy", "gate:8080")
    monkeypatch.setenv("no_proxy", "near.example")
    gate = Proxy(Origin("http", "gate", 3128), "Basic bWU6c2VjcmV0")
    assert find_route("https://far.example/", {}).proxy == gate
    assert find_route("http://far.example/", {}).proxy == Proxy(Origin("http", "gate", 8080), None)
    for url in (
        "https://near.example/",
        "https://localhost/",
        "http://127.0.0.1:1/",
        "http://[::1]/",
        "http://x.localhost/",
    ):
        assert find_route(url, {}).proxy is None
    assert render_connect(Origin("https", "far.example", 443), gate) == (
        b"CONNECT far.example:443 HTTP/1.1\r\nhost: far.example:443\r\n"
        b"user-agent: tidemill/%b\r\nproxy-authorization: Basic bWU6c2VjcmV0\r\n\r\n" % __version__.encode()
    )


def test_a_plain_request_through_a_proxy_names_its_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@gate:3128")
    heads = head_of("http://far.example:81/v1")
    assert heads[0] == "POST http://far.example:81/v1 HTTP/1.1"
    assert "proxy-authorization: Basic bWU6c2VjcmV0" in heads


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://gate:1080")
    with pytest.raises(ValueError, match="the proxy that the environment names for https is no http proxy"):
        find_route("https://far.example/", {})
