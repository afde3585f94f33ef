"""Images of a record as parts of a message, and what they may cost.

Formats and sizes: OpenAI's guide "Images and vision" and Anthropic's "Vision" both take PNG, JPEG, GIF and WebP.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tidemill.config.secrets import mask_start
from tidemill.errors import DataError
from tidemill.models.messages import ImagePart, Message

MAX_IMAGE_BYTES = 20_000_000
"""The largest image any provider takes whole; Anthropic stops at 10 MB, and answers 400 above."""

_WEB_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_DATA_ADDRESS = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_HINT = "give an http(s) address, a data URI, a path, bytes of a PNG, JPEG, GIF or WebP file, or a PIL image"


def make_image(value: Any, *, folder: Path | None = None, max_bytes: int = MAX_IMAGE_BYTES) -> ImagePart:
    """The part of a message that shows the image in `value`.

    Args:
        value: an http(s) address, which the provider fetches itself; a data URI; the bytes of a file, or the path of
            one; an image with PIL's `save`, sent as PNG; a mapping that holds one under `bytes` or `path`, as datasets
            of Hugging Face do.
        folder: what a relative path is relative to; by default the working folder.
        max_bytes: of the file; a larger one is refused before it is read.

    Raises:
        DataError: it is none of these, no image of a known format, too large, or cannot be read.
    """
    if isinstance(value, dict):
        found = value.get("bytes")
        value = value.get("path") if found is None else found
    if is_web_address(value):
        return {"type": "image", "url": value}
    if isinstance(value, str) and value[:5].lower() == "data:":
        return {"type": "image", "url": _check_data_address(value, max_bytes)}
    if isinstance(value, (str, Path)):
        return _encode(_read(Path(value), folder, max_bytes), max_bytes)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _encode(bytes(value), max_bytes)
    if callable(save := getattr(value, "save", None)):
        buffer = io.BytesIO()
        save(buffer, format="PNG")
        return _encode(buffer.getvalue(), max_bytes)
    raise DataError(f"expected an image, got {type(value).__name__}", hint=_HINT)


def is_web_address(value: Any) -> bool:
    """Whether the image is sent as the address it is: nothing has to be read or encoded."""
    return isinstance(value, str) and _WEB_ADDRESS.fullmatch(value) is not None


def sniff_image(data: bytes) -> str | None:
    """The media type of the image that `data` starts like; None for none of the four."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def bound_input(messages: Sequence[Message], body_bytes: int, image_tokens: int) -> int | None:
    """The most input tokens a body of `body_bytes` that holds `messages` comes to; None where that is its bytes.

    A token is at least one byte of text; an image is billed by its size in pixels, whatever its bytes or address.

    Args:
        image_tokens: the most that one image comes to.
    """
    urls = list_urls(messages)
    if not urls:
        return None
    return body_bytes - sum(map(len, urls)) + len(urls) * image_tokens


def list_urls(messages: Iterable[Message]) -> list[str]:
    """The addresses, or data URIs, of the images in `messages`, in order."""
    return [
        part["url"]
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "image"
    ]


def _check_data_address(value: str, max_bytes: int) -> str:
    if len(value) > max_bytes * 4 // 3 + 64:
        raise _too_large(len(value) * 3 // 4, max_bytes)
    if not _DATA_ADDRESS.fullmatch(value):
        raise DataError(f"expected an image as data:image/…;base64,…, got {mask_start(value, 40)!r}", hint=_HINT)
    return value


def _read(path: Path, folder: Path | None, max_bytes: int) -> bytes:
    place = "" if path.is_absolute() else f" in {(folder or Path()).resolve()}"
    shown = mask_start(str(path), 200)
    path = path if folder is None else folder / path
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        return path.read_bytes()
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise DataError(f"the image {shown!r}{place} cannot be read: {reason}", hint=_HINT) from None


def _encode(data: bytes, max_bytes: int) -> ImagePart:
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    kind = sniff_image(data)
    if kind is None:
        raise DataError(f"expected an image, got {len(data)} bytes starting {data[:12]!r}", hint=_HINT)
    return {"type": "image", "url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}


def _too_large(size: int, max_bytes: int) -> DataError:
    return DataError(
        f"the image has {size:,} bytes, and at most {max_bytes:,} are sent",
        hint="make it smaller: providers scale images down to about 2,000 pixels anyway",
    )
