"""Images of a record: what is one, in which form it is sent, and what it may cost."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.errors import DataError
from tidemill.models.images.images import bound_input, make_image, sniff_image
from tidemill.models.messages import Message

STARTS = {
    "image/png": b"\x89PNG\r\n\x1a\n rest",
    "image/jpeg": b"\xff\xd8\xff\xe0 rest",
    "image/gif": b"GIF89a rest",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 rest",
}
PNG = STARTS["image/png"]
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize(("kind", "data"), STARTS.items())
def test_an_image_is_known_by_its_first_bytes(kind: str, data: bytes) -> None:
    """Whatever its name says."""
    assert sniff_image(data) == kind
    assert make_image(data)["url"] == f"data:{kind};base64,{base64.b64encode(data).decode()}"


@given(st.binary(max_size=16))
def test_other_bytes_are_none(data: bytes) -> None:
    if sniff_image(data) is None:
        with pytest.raises(DataError, match=f"expected an image, got {len(data)} bytes"):
            make_image(data)


class Picture:
    """Something with PIL's `save`."""

    def save(self, file: io.BytesIO, format: str) -> None:  # noqa: A002 - the name PIL has
        assert format == "PNG"
        file.write(PNG)


def test_every_form_of_one_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    path = tmp_path / "a.png"
    forms: list[Any] = [
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        path,
        str(path),
        URL,
        Picture(),
        {"bytes": PNG, "path": None},
        {"bytes": None, "path": str(path)},
    ]
    for form in forms:
        assert make_image(form) == {"type": "image", "url": URL}
    assert make_image("a.png", folder=tmp_path)["url"] == URL


def test_an_address_goes_as_it_is() -> None:
    """The provider fetches it."""
    for url in ("https://far/a.png?x=1", "HTTP://far/b"):
        assert make_image(url) == {"type": "image", "url": url}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "expected an image, got NoneType"),
        (3, "expected an image, got int"),
        ({"bytes": None}, "expected an image, got NoneType"),
        ("no/such.png", f"the image 'no/such.png' in {Path.cwd()} cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("a\0b", "cannot be read: embedded null"),
        ("a" * 5_000, "cannot be read: File name too long"),
        ("https://far/a b.png", "cannot be read: No such file"),
        ("data:text/plain;base64,AAAA", "expected an image as data:image/"),
        ("data:image/png,AAAA", "expected an image as data:image/"),
        ("data:image/png;base64,A A", "expected an image as data:image/"),
        (b"plain text", "expected an image, got 10 bytes starting b'plain text'"),
    ],
)
def test_what_is_no_image_is_the_record_s_failure(value: Any, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        make_image(value)
    assert "give an http(s) address" in caught.value.hint


def test_the_folder_that_a_path_is_relative_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the image 'a.png' in {tmp_path} cannot be read: No such file"):
        make_image("a.png", folder=tmp_path)
    with pytest.raises(DataError, match=f"the image '{tmp_path}/a.png' cannot be read: No such file"):
        make_image(tmp_path / "a.png", folder=Path("elsewhere"))


def test_an_image_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(DataError, match=r"has 1,000,000,000,000 bytes, and at most 20,000,000 are sent"):
        make_image(path)
    for form in (PNG, "data:image/png;base64," + "A" * 1_000):
        with pytest.raises(DataError, match="at most 5 are sent"):
            make_image(form, max_bytes=5)


def test_an_image_may_cost_more_and_less_than_its_bytes() -> None:
    """Text is bounded by its bytes; each image by the most that one comes to."""
    text: Message = {"role": "user", "content": "a" * 10}
    far: Message = {
        "role": "user",
        "content": [{"type": "image", "url": "https://far/a"}, {"type": "text", "text": "?"}],
    }
    near: Message = {"role": "user", "content": [{"type": "image", "url": URL}]}
    assert bound_input([text], 100, 5_000) is None
    assert bound_input([text, far], 100, 5_000) == 100 - len("https://far/a") + 5_000
    assert bound_input([far, near], 1_000, 50) == 1_000 - len("https://far/a") - len(URL) + 100
