"""`http_get`: where it goes and where it never does, and what it makes of what it finds."""

import gzip
import socket
import ssl
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pageserver import Answer, PageServer, serve_pages

from tidemill.agents.builtin.addresses import explain_address
from tidemill.agents.builtin.http_get import FetchLimits, Page, http_get
from tidemill.agents.tools.refusal import RefusalError
from tidemill.calls.wire import AttemptTimeoutError, UnreachableError
from tidemill.data.pages.markup import render_html
from tidemill.errors import ConfigError, TidemillError, TransientCallError

TEXT = {"content-type": "text/plain; charset=utf-8"}
HTML = {"content-type": "text/html; charset=utf-8"}


class Names:
    """A resolver that answers a name with its addresses: those of the list in turn, the last for ever."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Any]:
        answers = self.names[host.partition(".")[0]]
        self.asked.append(host)
        addresses = answers[min(self.asked.count(host), len(answers)) - 1]
        return [(0, 1, 6, "", (address, port)) for address in addresses]


@pytest.fixture
def pages() -> Iterator[PageServer]:
    with serve_pages({"/": Answer(b"the front", headers=TEXT)}) as pages:
        yield pages


async def get(pages: PageServer, path: str = "/", **arguments: Any) -> Page:
    """What the tool gives of a page of the server, which it is allowed."""
    made = http_get([f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.0/8"])
    page: Page = await made(url=pages.url(path), **arguments)
    return page


async def test_a_page_is_read(pages: PageServer) -> None:
    page = await get(pages, "/?q=1")
    assert page == Page(pages.url("/?q=1"), 200, "text/plain; charset=utf-8", "the front", 9)
    (asked,) = pages.asked
    assert (asked.method, asked.path, asked.headers["host"]) == ("GET", "/?q=1", f"127.0.0.1:{pages.port}")
    assert "authorization" not in asked.headers


async def test_a_page_that_is_not_there_is_told(pages: PageServer) -> None:
    page = await get(pages, "/none")
    assert (page.status, page.text) == (404, "no such page")


PRIVATE = [
    *["127.0.0.1", "127.9.9.9", "10.0.0.7", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "0.1.2.3"],
    *["100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.2", "203.0.113.9", "192.88.99.1"],
    *["224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"],
    *["::1", "::", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1", "2001:db8::1", "100::1"],
    *["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.1.1.1"],
    *["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::"],
    *["2001:0:4136:e378:8000:63bf:3fff:fdd2", "2a00:1450::5efe:a00:1", "2a00:1450::200:5efe:7f00:1", "5f00::1"],
]


async def test_an_address_that_is_not_public_is_not_called() -> None:
    """Whatever form it comes in: mapped, compatible, 6to4, NAT64, Teredo, ISATAP. Nor where it is one of several."""
    for address in PRIVATE:
        assert explain_address(ip_address(address)), address
        for found in ([address], ["93.184.216.34", address]):
            made = http_get(["*"], resolve=Names(far=[found]))
            with pytest.raises(RefusalError, match=r"`far\.example` is at .*, which is not called"):
                await made(url="http://far.example/")
        literal = f"[{address}]" if ":" in address else address
        with pytest.raises(RefusalError, match=r"which is not called|is a number"):
            await http_get(["*"])(url=f"http://{literal}/")


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_an_address_that_is_public_may_be_called(address: str) -> None:
    assert explain_address(ip_address(address)) == ""


@given(st.ip_addresses(v=4))
def test_a_form_of_ipv4_leads_where_it_leads(address: Any) -> None:
    """The mapped and the NAT64 form are told as their own address is."""
    number = int(address)
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert explain_address(ip_address(prefix + number)) == explain_address(address)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "017700000001", "127.0.0.0x1"]
)
async def test_a_number_in_place_of_a_host_is_refused(host: str) -> None:
    """Systems take these for 127.0.0.1."""
    with pytest.raises(RefusalError, match="is a number in place of a host"):
        await http_get(["*"], allow_private=["127.0.0.0/8"])(url=f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        *[
            "ftp://far.example/",
            "file:///etc/passwd",
            "gopher://far.example/",
            "far.example",
            "//far.example/",
            "http://",
        ],
        *[
            "http://far.example/a b",
            "http://far.example/\r\nx: 1",
            "http://far.example\\@evil.example/",
            "http://f\tar/",
        ],
        *["http://far.example@evil.example/", "http://me:pw@far.example/", "http://[::1", "http://far.example:99999/"],
        *["http://far.example:http/", "http://[fe80::1%25eth0]/", "javascript:alert(1)", "data:text/plain,x"],
    ],
)
async def test_what_is_no_plain_address_is_refused(url: str) -> None:
    """It is not even looked up: two readers may take it for two addresses."""
    names = Names(far=[["93.184.216.34"]], evil=[["93.184.216.34"]])
    with pytest.raises(RefusalError, match=r"address|cannot be called|host|user"):
        await http_get(["*"], resolve=names)(url=url)
    assert names.asked == []


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("far.example", "http://other.example/"),
        ("far.example", "http://sub.far.example/"),
        ("far.example", "http://far.example.evil.example/"),
        ("far.example", "http://notfar.example/"),
        ("far.example", "http://far.example:8080/"),
        ("far.example:8080", "http://far.example/"),
        ("*.far.example", "http://far.example/"),
        ("*.far.example", "http://evilfar.example/"),
        ("https://far.example/v1", "http://far.example/v1"),
        ("https://far.example/v1", "https://far.example/"),
        ("https://far.example/v1", "https://far.example/v10"),
        ("https://far.example/v1/", "https://far.example/v1"),
        ("https://far.example/v1", "https://far.example:8443/v1"),
        ("https://far.example/v1", "https://far.example/v1/../admin"),
        ("https://far.example/v1", "https://far.example/v1/%2e%2e/admin"),
        ("https://far.example/v1", "https://far.example/v1/%2E./admin"),
        ("https://far.example/v1", "https://far.example/v1/..%2fadmin"),
        ("https://far.example/v1", "https://far.example/v1/%252e%252e/admin"),
        ("https://far.example/v1", "https://far.example/v1/..%5cadmin"),
    ],
)
async def test_what_is_not_allowed_is_refused(allow: str, url: str) -> None:
    """It is not even looked up."""
    names = Names()
    with pytest.raises(RefusalError, match=r"is not allowed|in its path"):
        await http_get([allow], resolve=names)(url=url)
    assert names.asked == []


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("*", "https://any.example:443/x"),
        ("far.example", "http://far.example"),
        ("far.example", "https://FAR.example/a/b?c=d#e"),
        ("far.example", "https://far.example./"),
        ("FAR.example:8080", "http://far.example:8080/"),
        ("*.far.example", "https://a.b.far.example/"),
        ("https://far.example/v1", "https://far.example/v1"),
        ("https://far.example/v1", "https://far.example/v1/x?y=/../z"),
        ("https://far.example/v1/", "https://far.example/v1/"),
        ("bücher.example", "http://bücher.example/"),
        ("bücher.example", "http://xn--bcher-kva.example/"),
        ("[2606:4700::1111]", "http://[2606:4700::1111]/"),
    ],
)
async def test_what_is_allowed_is_looked_up(allow: str, url: str) -> None:
    """Its address, here, is none that is called: so far it comes."""
    names = Names(any=[["10.0.0.1"]], far=[["10.0.0.1"]], a=[["10.0.0.1"]], **{"xn--bcher-kva": [["10.0.0.1"]]})
    names.names["[2606:4700::1111]"] = names.names["2606:4700::1111"] = [["10.0.0.1"]]
    with pytest.raises(RefusalError, match="is at a private address"):
        await http_get([allow], resolve=names)(url=url)
    assert len(names.asked) == 1


async def test_a_refusal_tells_what_is_allowed() -> None:
    with pytest.raises(RefusalError, match=r"allowed: `docs\.example`, `https://far\.example/v1`"):
        await http_get(["docs.example", "https://far.example/v1"])(url="http://other.example/")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "http://",
        "ftp://far.example",
        "far.example/path",
        "a b",
        "https://me@far.example",
        "far:port",
        "f*r.example",
    ],
)
def test_what_cannot_be_allowed_is_the_authors_mistake(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed|host"):
        http_get([entry])


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "*.internal", "a b", "http://internal/"])
def test_a_private_network_is_named_exactly(entry: str) -> None:
    with pytest.raises(ConfigError, match="neither a host nor a network"):
        http_get(["*"], allow_private=[entry])


def test_nothing_allowed_is_the_authors_mistake() -> None:
    with pytest.raises(ConfigError, match="allowed no host"):
        http_get([])
    with pytest.raises(ConfigError, match="expected a list of hosts"):
        http_get("far.example")


@pytest.mark.parametrize("allow_private", [["inner.example"], ["127.0.0.1/32"], ["127.0.0.1"]])
async def test_a_private_host_may_be_named(pages: PageServer, allow_private: list[str]) -> None:
    """By its name or its network. `Host` is its name; it is allowed like any other first."""
    names = Names(inner=[["127.0.0.1"]])
    made = http_get([f"inner.example:{pages.port}"], allow_private=allow_private, resolve=names)
    assert (await made(url=pages.url(host="inner.example"))).text == "the front"
    assert pages.asked[0].headers["host"] == f"inner.example:{pages.port}"
    with pytest.raises(RefusalError, match="is not allowed"):
        await made(url=pages.url(host="127.0.0.1"))


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "::ffff:169.254.169.254", "0.0.0.0"])
async def test_a_private_host_by_name_is_no_metadata_server(address: str) -> None:
    """Whoever rules the name could point it there."""
    names = Names(inner=[[address]])
    with pytest.raises(RefusalError, match="which is not called"):
        await http_get(["*"], allow_private=["inner.example"], resolve=names)(url="http://inner.example/")


async def test_a_name_that_leads_elsewhere_a_moment_later_leads_nowhere(pages: PageServer) -> None:
    """DNS rebinding: the first answer is one that may be called, the next this machine, where a server listens.

    The name is resolved once, and the connection goes to that answer.
    """
    names = Names(rebind=[["127.0.0.2"], ["127.0.0.1"]])
    made = http_get([f"rebind.example:{pages.port}"], allow_private=["127.0.0.2/32"], resolve=names)
    with pytest.raises(UnreachableError, match="connection refused"):
        await made(url=pages.url(host="rebind.example"))
    assert (names.asked, pages.asked) == (["rebind.example"], [])
    with pytest.raises(RefusalError, match="an address of this machine"):
        await made(url=pages.url(host="rebind.example"))
    assert pages.asked == []


async def test_no_proxy_looks_the_name_up_again(pages: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    names = Names(inner=[["127.0.0.1"]])
    made = http_get([f"inner.example:{pages.port}"], allow_private=["inner.example"], resolve=names)
    assert (await made(url=pages.url(host="inner.example"))).text == "the front"


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(b"moved", status, {"location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_where_it_is_allowed(pages: PageServer, status: int) -> None:
    pages.answers["/old/page"] = redirect("../new?x=1#part", status)
    pages.answers["/new"] = Answer(b"found", headers=TEXT)
    page = await get(pages, "/old/page")
    assert (page.text, page.url) == ("found", pages.url("/new?x=1"))


async def test_each_redirect_is_resolved_and_checked_anew(pages: PageServer) -> None:
    """A public name may lead to a private one."""
    pages.answers["/"] = redirect(pages.url("/secret", host="inner.example"))
    names = Names(front=[["127.0.0.1"]], inner=[["10.0.0.5"]])
    made = http_get([f"*.example:{pages.port}"], allow_private=["127.0.0.1"], resolve=names)
    with pytest.raises(RefusalError, match=r"`inner\.example` is at a private address"):
        await made(url=pages.url(host="front.example"))
    assert (names.asked, len(pages.asked)) == (["front.example", "inner.example"], 1)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://evil.example/", "is not allowed"),
        ("//evil.example/", "is not allowed"),
        ("http://127.0.0.1/", "is not allowed"),
        ("http://0x7f.1/", "is a number"),
        ("file:///etc/passwd", "cannot be called"),
        ("ftp://127.0.0.1/", "cannot be called"),
        ("http://[::1/", "no address"),
        ("http://x@127.0.0.1/", "user or password"),
        ("/a/%2e%2e/b", "in its path"),
    ],
)
async def test_a_redirect_that_leads_out_is_refused(pages: PageServer, location: str, message: str) -> None:
    pages.answers["/"] = redirect(location)
    with pytest.raises(RefusalError, match=message):
        await get(pages)
    assert len(pages.asked) == 1


@pytest.mark.parametrize("allow", ["*", "far.example", "http://far.example/v1"])
async def test_a_port_that_is_not_allowed_is_told_as_that(allow: str) -> None:
    with pytest.raises(RefusalError, match="is not allowed") as caught:
        await http_get([allow])(url="http://far.example:8443/v1/a")
    assert caught.value.hint == f"allowed: `{allow}`, and port 8443 only where it is named"


async def test_redirects_are_bounded(pages: PageServer) -> None:
    pages.answers["/"] = redirect("/")
    with pytest.raises(RefusalError, match="redirected more than 5 times"):
        await get(pages)
    assert len(pages.asked) == 6


async def test_a_redirect_without_a_place_is_a_page(pages: PageServer) -> None:
    pages.answers["/"] = Answer(b"choose", 300, TEXT)
    assert (await get(pages)).status == 300


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client trusts, and what a server of that name shows."""
    trusting, serving = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trusting)
    authority.issue_cert(name).configure_cert(serving)
    return trusting, serving


async def test_a_certificate_is_checked_for_the_name(authority: trustme.CA) -> None:
    """Not for the address that the connection goes to; no other name does."""
    trusting, serving = contexts(authority, "inner.example")
    names = Names(inner=[["127.0.0.1"]], other=[["127.0.0.1"]])
    with serve_pages({"/": Answer(b"secret", headers=TEXT)}, tls=serving) as pages:
        made = http_get([f"*.example:{pages.port}"], allow_private=["127.0.0.1"], resolve=names, tls=trusting)
        assert (await made(url=pages.url(host="inner.example", scheme="https"))).text == "secret"
        with pytest.raises(RefusalError, match=r"`other\.example` is not called: its certificate is not accepted"):
            await made(url=pages.url(host="other.example", scheme="https"))
        assert len(pages.asked) == 1


async def test_a_redirect_out_of_tls_is_refused(authority: trustme.CA) -> None:
    trusting, serving = contexts(authority, "inner.example")
    names = Names(inner=[["127.0.0.1"]])
    with serve_pages({"/": redirect("http://inner.example/")}, tls=serving) as pages:
        allow = [f"inner.example:{pages.port}", "inner.example"]
        made = http_get(allow, allow_private=["127.0.0.1"], resolve=names, tls=trusting)
        with pytest.raises(RefusalError, match="from https to http"):
            await made(url=pages.url(host="inner.example", scheme="https"))


def endless(piece: bytes) -> Any:
    def give() -> Iterator[bytes]:
        while True:
            yield piece

    return give


async def test_a_page_without_end_is_cut(pages: PageServer) -> None:
    """And its connection closed: the server sees that nobody listens."""
    pages.answers["/"] = Answer(endless(b"tide " * 1_000), headers=TEXT)
    made = http_get([f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.1"], limits=FetchLimits(max_bytes=10_000))
    page = await made(url=pages.url())
    assert (page.is_cut, page.total_chars, page.next_start) == (True, 10_000, None)
    assert pages.ended.wait(10)


async def test_a_bomb_is_cut(pages: PageServer) -> None:
    """What 10 MB of zeros compress to is unpacked no further than is taken."""
    bomb = gzip.compress(b"0" * 10_000_000)
    pages.answers["/"] = Answer(bomb, headers={**TEXT, "content-encoding": "gzip"})
    made = http_get([f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.1"], limits=FetchLimits(max_bytes=100_000))
    page = await made(url=pages.url())
    assert (page.is_cut, page.total_chars) == (True, 100_000)


async def test_a_page_that_trickles_is_given_up(pages: PageServer) -> None:
    """The time is for the whole page, not for the next piece of it."""

    def trickle() -> Iterator[bytes]:
        while not pages.ended.wait(0.01):
            yield b"t"

    pages.answers["/"] = Answer(trickle, headers=TEXT)
    made = http_get([f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.1"], limits=FetchLimits(timeout_s=0.2))
    with pytest.raises(AttemptTimeoutError, match=r"no complete answer within 0\.2 s"):
        await made(url=pages.url())


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (socket.gaierror(socket.EAI_NONAME, "not known"), RefusalError, r"there is no host `nowhere\.example`"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), TransientCallError, "the name cannot be resolved now"),
        (UnicodeError("label too long"), RefusalError, r"`nowhere\.example` is no host"),
        (None, RefusalError, "has no address"),
    ],
)
async def test_a_name_that_leads_nowhere_is_told(
    error: Exception | None, kind: type[TidemillError], message: str
) -> None:
    """One that cannot be resolved now may be tried again; another is the model's mistake."""

    async def resolve(host: str, port: int) -> Sequence[Any]:
        if error is not None:
            raise error
        return []

    with pytest.raises(kind, match=message):
        await http_get(["*"], resolve=resolve)(url="http://nowhere.example/")


async def test_a_long_text_is_given_in_parts(pages: PageServer) -> None:
    text = "".join(f"line {number}\n" for number in range(1_000))
    pages.answers["/"] = Answer(text.encode(), headers=TEXT)
    made = http_get([f"127.0.0.1:{pages.port}"], allow_private=["127.0.0.1"], limits=FetchLimits(max_chars=1_500))
    page = await made(url=pages.url())
    parts = [page]
    while page.next_start is not None:
        page = await made(url=pages.url(), start=page.next_start)
        parts.append(page)
    assert "".join(part.text for part in parts) == text
    assert [part.total_chars for part in parts] == [8_890] * 6


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("Mühle".encode(), "text/plain; charset=utf-8", "Mühle"),
        ("Mühle".encode("latin-1"), 'text/plain; charset="ISO-8859-1"', "Mühle"),
        ("Mühle".encode(), "text/plain", "Mühle"),
        ("Mühle €".encode("cp1252"), "text/plain", "Mühle €"),
        ("\ufeffMühle".encode(), "text/plain; charset=latin-1", "Mühle"),
        ("Mühle".encode("utf-16"), "text/plain", "Mühle"),
        ("Mühle".encode("utf-16-le"), "text/plain; charset=utf-16le", "Mühle"),
        ('<meta charset="windows-1251">Мельница'.encode("cp1251"), "text/html", "Мельница"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">Да'.encode("koi8-r"), "text/html", "Да"),
        ("水車".encode("shift_jis"), "text/plain; charset=Shift_JIS", "水車"),
        ("Mühle".encode(), "text/plain; charset=punycode", "Mühle"),
        ("Mühle".encode(), "text/plain; charset=rot13", "Mühle"),
        ("Mühle".encode(), "text/plain; charset=iso-8859-99", "Mühle"),
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"<p>one<p>two", "", "<p>one<p>two"),
        (b"<!DOCTYPE html><p>one<p>two", "", "one\n\ntwo"),
        (b"", "text/html", ""),
        (b"", "image/png", ""),
    ],
)
async def test_a_text_is_decoded_as_it_is_meant(pages: PageServer, body: bytes, content_type: str, text: str) -> None:
    """By its mark, its server's word, its own word; else UTF-8 where it is some, and what browsers take where not."""
    pages.answers["/"] = Answer(body, headers={"content-type": content_type} if content_type else {})
    assert (await get(pages)).text == text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"a\0b", "text/plain"),
        (b"a\0b", "application/octet-stream"),
        (b"a\0b", ""),
    ],
)
async def test_what_is_no_text_is_refused(pages: PageServer, body: bytes, content_type: str) -> None:
    pages.answers["/"] = Answer(body, headers={"content-type": content_type} if content_type else {})
    with pytest.raises(RefusalError, match="is no text"):
        await get(pages)


async def test_html_is_told_as_a_reader_sees_it(pages: PageServer) -> None:
    """Its links lead where the page leads; with `raw` it stays as it is."""
    source = b"""<!doctype html><html><head><title>Mills &amp; tides</title><style>p { color: red }</style>
      <script>if (a < b) { document.write("<p>no</p>") }</script></head>
      <body><!-- hidden <p>no</p> --><h1>Tide <b>mills</b></h1>
      <p>Read   the <a href="/about?x=1&amp;y=2">page
      about</a> them,<br>or <a href='javascript:x()'>nothing</a>.</p>
      <ul><li>Eling</li><li>Woodbridge</ul>
      <table><tr><th>Mill<th>Year<tr><td>Eling<td>1419</table><pre>a
        b</pre><img src=x><noscript>no</noscript>1 &lt; 2 < 3</body></html>"""
    pages.answers["/sub/"] = Answer(source, headers=HTML)
    page = await get(pages, "/sub/")
    assert page.text == (
        f"Mills & tides\n\n# Tide mills\n\nRead the [page about]({pages.url('/about?x=1&y=2')}) them,\nor nothing.\n\n"
        "- Eling\n- Woodbridge\n\nMill | Year\nEling | 1419\n\n```\na\n        b\n```\n\n1 < 2 < 3"
    )
    assert (await get(pages, "/sub/", raw=True)).text == source.decode()


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<!--", "<a ", "<a href='", "</", "<script>", "<p>", "<![CDATA[", "&", "<svg>", "<a>", "<p hidden>"),
        *("<pre>", "<pre> ", "</pre>", "<li hidden><b>", "<ul hidden>", "</i><li hidden>", "<div hidden x ='"),
    ],
)
def test_html_takes_time_by_its_length_alone(piece: str) -> None:
    """What is never closed is read once: were it read anew each time, this would take minutes."""
    assert len(render_html(piece * 50_000, base_url="http://far.example/")) <= 50_000 * len(piece)


@given(st.text(alphabet="<>/!-ap \"'=&;\n", max_size=60))
def test_no_markup_is_too_broken(text: str) -> None:
    """And none gets a script's content or a comment told."""
    assert "hidden" not in render_html(f"<script>hidden</script><!--hidden-->{text}", base_url="http://far.example/")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://a/", "start": -1}, "start"),
        ({"url": "x", "method": "POST"}, "method"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], problem: str) -> None:
    made = http_get(["far.example"])
    assert problem in made.signature.check(arguments).render()
    assert "far.example" in made.description
