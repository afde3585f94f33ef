"""Pictures in a tool's result: taken out of it, with words in their places, and shown behind it."""

from __future__ import annotations

from typing import Any, NamedTuple

from tidemill.agents.tools.image import Image, is_picture
from tidemill.agents.tools.told import Told
from tidemill.errors import DataError
from tidemill.models.images.images import make_image, sniff_image
from tidemill.models.images.size import measure_url
from tidemill.models.messages import ImagePart

MAX_IMAGES = 20
"""Pictures of one result: as many as Anthropic takes in a request without bounds on their pixels below 8,000."""

_PIL_ERRORS = (OSError, ValueError, KeyError, SyntaxError)
"""What PIL raises of a picture that is closed, broken, or of a mode that PNG does not have."""


class Pictured(NamedTuple):
    """A result whose pictures stand beside it.

    Attributes:
        plain: the result, with `[image 1: image/png, 640 x 480]` in the place of each.
        images: they themselves, in that order.
    """

    plain: Any
    images: list[ImagePart]


def take_pictures(result: Any) -> Pictured | None:
    """A result apart from its pictures; None where it has none. Reads their files, and writes those of PIL.

    Raises:
        DataError: one is no picture of a known format, too large or cannot be read; or there are too many.
    """
    images: list[ImagePart] = []
    try:
        plain = _take(result, images)
    except RecursionError:  # it holds itself, and so is no result, with pictures or without
        return None
    return Pictured(plain, images) if images else None


def _take(value: Any, images: list[ImagePart]) -> Any:
    if type(value) is Told:
        return Told(_take(value.told, images), value.value)
    if isinstance(value, dict):
        return {key: _take(each, images) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take(each, images) for each in value]
    if not is_picture(value) or (isinstance(value, (bytes, bytearray, memoryview)) and not sniff_image(bytes(value))):
        return value
    if len(images) == MAX_IMAGES:
        raise DataError(f"the result has more than {MAX_IMAGES} images", hint="give fewer of them at once")
    try:
        part = make_image(value.source if isinstance(value, Image) else value)
    except _PIL_ERRORS as error:
        raise DataError(f"an image cannot be written as PNG: {error}") from error
    images.append(part)
    return f"[image {len(images)}: {_describe(part['url'])}]"


def _describe(url: str) -> str:
    if not url.startswith("data:"):
        return url
    kind = url[len("data:") : url.index(";")]
    size = measure_url(url)
    return kind if size is None else f"{kind}, {size[0]} x {size[1]}"
