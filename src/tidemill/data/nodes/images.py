"""The step that makes pixels of the bytes of an image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.config.roles import Runtime
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.data.nodes.node import Node

MAX_PIXELS = 64 * 1024 * 1024
MAX_IMAGE_BYTES = 64 * 1024 * 1024

Channels = Literal["RGB", "RGBA", "L"]
Fit = Literal["crop", "pad", "stretch"]

_CHANNELS_ELSEWHERE = ChoicesElsewhere(dict.fromkeys(("gray", "grayscale", "grey", "greyscale"), "L"))

_FITS_ELSEWHERE = ChoicesElsewhere({"cover": "crop", "contain": "pad", "letterbox": "pad", "fill": "stretch"})


class DecodeImage(Node):
    """Replace the bytes of an image by its pixels: uint8 (height, width, 3), of a size that is asked for.

    Attributes:
        column: the column of the bytes; alone it is short for the step.
        into: the column of the pixels; None puts them in the place of the bytes.
        size: height and width of the result; None leaves each image its own.
        fit: how an image of another shape is made to fit `size`: scaled to fill it and its middle kept (`crop`), scaled
            to lie within it on black (`pad`), or stretched.
        mode: `RGB`, `RGBA`, or `L`, of one channel: (height, width).
        frames: how many frames of an animation are given at most, as (frames, height, width, 3); None gives the first
            one alone, without that axis.
        max_pixels: width times height, of all frames given, before anything is scaled; more is an error.
        max_bytes: of the encoded image; more is an error.
        concurrency: images decoded at once, in threads, and not given yet.
    """

    kind = "decode_image"
    alone = "column"
    one_to_one = True
    on: ClassVar[None] = None
    ordered: ClassVar[bool] = True

    column: str = "image"
    into: str | None = Field(default=None, min_length=1)
    size: tuple[Annotated[int, Field(ge=1, le=65535)], Annotated[int, Field(ge=1, le=65535)]] | None = None
    fit: Annotated[Fit, _FITS_ELSEWHERE] = "crop"
    mode: Annotated[Channels, _CHANNELS_ELSEWHERE] = "RGB"
    frames: int | None = Field(default=None, ge=1)
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    max_bytes: int = Field(default=MAX_IMAGE_BYTES, ge=1)
    concurrency: Annotated[int, Runtime()] = Field(default=1, ge=1)

    @property
    def is_parallel(self) -> bool:
        return self.concurrency > 1

    @property
    def target(self) -> str:
        """The column of the pixels."""
        return self.into or self.column

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that it writes."""
        return (self.target,)
