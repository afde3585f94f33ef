"""How large an image is by its first bytes, and how many tokens that comes to by the published rules."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.models.images.size import Size, measure_image, measure_url
from tidemill.models.images.tokens import find_rule


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def jpeg(width: int, height: int) -> bytes:
    """Behind a segment of Exif data, a table and a byte that fills up."""
    exif, table = struct.pack(">BBH", 0xFF, 0xE1, 302) + b"x" * 300, struct.pack(">BBHB", 0xFF, 0xC4, 3, 0)
    return b"\xff\xd8" + exif + table + b"\xff" + struct.pack(">BBHBHH", 0xFF, 0xC2, 17, 8, height, width)


def webp(kind: bytes, head: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + head


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", b"\x00" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


@given(st.sampled_from([png, gif, jpeg, lossy, lossless, extended]), st.integers(1, 16_383), st.integers(1, 16_383))
def test_a_size_is_read_and_what_is_cut_has_none(make: object, width: int, height: int) -> None:
    assert callable(make)
    data = make(width, height)
    assert measure_image(data) == (width, height)
    assert [measure_image(data[:stop]) for stop in range(len(data))] == [None] * len(data)
    text = base64.b64encode(data + b"\x00" * 100).decode()
    assert measure_url(text) == measure_url(f"data:image/png;base64,{text}") == (width, height)


@given(st.binary(max_size=64))
def test_other_bytes_have_none(data: bytes) -> None:
    measure_image(b"\xff\xd8" + data)
    assert measure_image(b"?" + data) is None
    assert measure_image(png(0, 7)) is None
    assert measure_url("https://far/a.png") is measure_url("data:image/png;base64,AAA") is None


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("anthropic/claude-sonnet-4-6", (1_000, 1_000), 1_296),  # the guide's own examples
        ("anthropic/claude-sonnet-4-6", (200, 200), 64),
        ("anthropic/claude-haiku-4-5-20251001", (2, 2), 1),
        ("openrouter/anthropic/claude-opus-4.7", (2_000, 1_500), 3_888),
        ("anthropic/claude-opus-5", (1_000, 1_000), 1_296),
        ("anthropic/claude-3-5-sonnet-20241022", (1_092, 1_092), 1_521),
        ("openai/gpt-4o", (1_024, 1_024), 765),
        ("openai/gpt-4o", (2_048, 4_096), 1_105),
        ("openai/gpt-4o-mini-2024-07-18", (512, 512), 8_500),
        ("openai/gpt-5", (1_024, 1_024), 630),
        ("openai/o3", (1_024, 1_024), 675),
        ("openai/gpt-4.1-mini", (1_024, 1_024), 1_659),
        ("openai/gpt-4.1-nano", (1_800, 2_400), 3_572),  # 1,452 patches
        ("openai/gpt-5-mini", (2_048, 768), 1_844),  # measured: longform.social, June 2026
        ("vllm/Qwen/Qwen2.5-VL-7B", (280, 560), 200),
    ],
)
def test_an_image_comes_to_what_its_maker_says(name: str, size: Size, tokens: int) -> None:
    assert find_rule(name)(size) == tokens


@given(
    st.sampled_from([("anthropic/claude-opus-4-6", 1_568), ("anthropic/claude-opus-4-8", 4_784), ("a/b", 16_384)]),
    st.tuples(st.integers(1, 60_000), st.integers(1, 60_000)),
)
def test_no_image_comes_to_more_than_the_bound(model: tuple[str, int], size: Size) -> None:
    name, most = model
    assert 1 <= find_rule(name)(size) <= most
