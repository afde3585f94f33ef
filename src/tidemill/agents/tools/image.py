"""`Image`: a picture in what a tool gives, for the model to look at."""

from __future__ import annotations

import inspect
import typing
from typing import Any


class Image:
    """A picture in a tool's result: the result itself, or at any depth of its lists and dicts.

    The model is shown it behind the text of the result, in which words stand in its place. Bytes of a picture and PIL
    images need not be wrapped; a path by itself is a text.

    Args:
        source: the bytes of a PNG, JPEG, GIF or WebP file, the path of one, a PIL image, a data URI, or an http(s)
            address, which the provider fetches itself.
    """

    __slots__ = ("source",)

    def __init__(self, source: Any) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"<image of {type(self.source).__name__}>"


def is_picture(value: Any) -> bool:
    """Whether a value is one, or holds the bytes of one perhaps."""
    return isinstance(value, (Image, bytes, bytearray, memoryview)) or _is_pil(type(value))


def gives_images(annotation: Any) -> bool:
    """Whether a function that is annotated to return this gives pictures."""
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        return issubclass(annotation, (Image, bytes, bytearray)) or _is_pil(annotation)
    return any(map(gives_images, typing.get_args(annotation)))


def _is_pil(kind: type[Any]) -> bool:
    """Whether it is a class of PIL's images, which nothing here imports."""
    return any(each.__module__ == "PIL.Image" and each.__name__ == "Image" for each in kind.__mro__)
