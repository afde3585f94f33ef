"""Heads that are known are told from all others by every byte."""

from collections.abc import Mapping

import pytest
from rawserver import post, serve_raw

from tidemill.calls.http.heads import MOST_BYTES, MOST_HEADS, Heads
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Response

HEADERS = {"content-length": "2"}


def render(body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *(f"{name}: {value}".encode() for name, value in headers.items()), b"", body]
    return b"\r\n".join(lines)


def note(heads: Heads, headers: Mapping[str, str], body: bytes = b"{}") -> bytes:
    data = render(body, headers)
    heads.note(data, 200, headers)
    return data


def test_a_known_head_is_found_in_front_of_another_body() -> None:
    heads = Heads()
    note(heads, HEADERS)
    found = heads.find(render(b"[]", HEADERS))
    assert found == Response(200, HEADERS, b"[]")


@pytest.mark.parametrize(
    "data",
    [
        render(b"{}", HEADERS | {"a": "b"}),
        render(b"{}", {"content-length": "3"}),
        render(b"{", HEADERS),
        render(b"{}}", HEADERS),
        render(b"", HEADERS)[:-4],
        b"",
    ],
    ids=["another header", "another length", "a piece", "more than one response", "a piece of the head", "nothing"],
)
def test_what_is_not_one_whole_response_with_just_that_head_is_not_found(data: bytes) -> None:
    heads = Heads()
    note(heads, HEADERS)
    assert heads.find(data) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "3"},
        {"content-length": "02"},
        {},
        HEADERS | {"transfer-encoding": "chunked"},
        HEADERS | {"long": "x" * MOST_BYTES},
    ],
    ids=["too long", "odd", "none", "chunked", "long"],
)
def test_a_head_that_does_not_say_plainly_how_long_its_body_is_is_not_kept(headers: Mapping[str, str]) -> None:
    heads = Heads()
    assert heads.find(note(heads, headers)) is None


def test_heads_that_never_come_again_are_kept_no_longer() -> None:
    heads = Heads()
    for number in range(MOST_HEADS + 1):
        note(heads, HEADERS | {"request-id": str(number)})
    assert heads.find(note(heads, HEADERS)) is None


def test_heads_that_come_again_are_kept_while_others_come_and_go() -> None:
    heads = Heads()
    for number in range(3 * MOST_HEADS):
        assert heads.find(note(heads, HEADERS | {"date": str(number)}))


async def test_responses_with_a_known_head_are_each_its_own() -> None:
    """The second and third have the head of the first; the fourth closes the connection, as it says."""
    answers = [render(body, HEADERS) for body in (b"{}", b"[]", b"12")]
    answers.append(render(b"34", HEADERS | {"connection": "close"}))
    transport = HttpTransport()
    async with serve_raw(*answers) as server:
        bodies = [(await transport.send(post(server.url()), 10.0)).body for _ in range(8)]
        assert bodies == [b"{}", b"[]", b"12", b"34"] * 2
        assert list(map(len, server.connections)) == [4, 4]
    await transport.close()
