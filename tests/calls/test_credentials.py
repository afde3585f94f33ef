import base64
import json
from urllib.parse import quote

import pytest

from tidemill.calls.credentials import label_endpoint, mask_error, mask_request
from tidemill.calls.retry import judge_response
from tidemill.calls.wire import Request, Response
from tidemill.errors import TransientCallError

SECRET = 'p4ss/w"ord+canary'


def with_headers(**headers: str) -> Request:
    return Request("https://api.example/v1/chat", headers, b"{}")


@pytest.mark.parametrize(
    "request_",
    [
        with_headers(authorization=f"Bearer {SECRET}"),
        with_headers(**{"X-Api-Key": SECRET}),
        with_headers(**{"x-tenant": SECRET}),
        with_headers(authorization="Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()),
        Request(f"https://api.example/v1/chat?key={quote(SECRET)}", {}, b"{}"),
        Request(f"https://me:{quote(SECRET, safe='')}@api.example/v1/chat", {}, b"{}"),
    ],
)
def test_a_credential_is_masked_wherever_a_server_echoes_it(request_: Request) -> None:
    """Plain, URL-quoted or JSON-escaped, in body, address or header: none of it is in the error."""
    for form in (SECRET, quote(SECRET, safe=""), json.dumps(SECRET)):
        body = f"your key {form} is wrong".encode()
        headers = {"location": f"https://elsewhere.example/?k={form}", "www-authenticate": form}
        for status in (401, 307, 500):
            text = str(judge_response(Response(status, headers, body), request_, wall_s=0))
            assert "canary" not in text
            assert "***" in text


def test_a_credential_across_the_cut_leaves_no_part_of_itself() -> None:
    """Masking comes before shortening, at every position of the secret."""
    request = with_headers(authorization=f"Bearer {SECRET}")
    for padding in range(250, 310):
        body = b"x" * padding + SECRET.encode()
        assert "p4s" not in str(judge_response(Response(401, {}, body), request, wall_s=0))


def test_harmless_headers_stay_readable() -> None:
    """Content types and short words are not taken for credentials."""
    request = with_headers(**{"Content-Type": "application/json", "x-kind": "batch", "authorization": "Bearer x"})
    assert (
        mask_request("expected application/json in a batch of x", request)
        == "expected application/json in a batch of x"
    )


def test_an_error_is_masked_in_every_text_it_has() -> None:
    """Message, place, hint and args, so that a pickled copy holds nothing either."""
    error = TransientCallError(f"no: {SECRET}", where=f"at {SECRET}", hint=f"not {SECRET}")
    mask_error(error, with_headers(authorization=f"Bearer {SECRET}"))
    assert "canary" not in repr((error, error.args, vars(error), str(error)))


def test_an_endpoint_is_shown_without_credentials() -> None:
    """User, password and query never reach a message."""
    assert label_endpoint("https://me:secret@api.example:8443/v1/?key=secret#x") == "https://api.example:8443/v1"
