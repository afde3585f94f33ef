"""Pixels of encoded images, by Pillow: limits first, then no more decoded than is asked for."""

from __future__ import annotations

import importlib
import io
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from tidemill.data.nodes.images import DecodeImage
from tidemill.data.records.columns import read_column
from tidemill.errors import DataError, TidemillError
from tidemill.packages import missing_package

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]


_REDUCING_GAP = 2.0
"""How much larger than asked for a JPEG is decoded, or an image is averaged to, before it is resampled: what Pillow
takes for `thumbnail`, very close to resampling all of it."""

_STRIP_BYTES = 1024 * 1024
"""Of pixels as Pillow holds them, copied at a time: its own way to an array makes two more of the whole image."""

_CHANNELS = {"RGB": 3, "RGBA": 4, "L": 1}
_RESIZED_AS_THEY_ARE = frozenset({"RGB", "L", "CMYK", "YCbCr"})
_GRAY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WITHOUT_SCALE = frozenset({"I", "F"})

_PLUGINS = (
    (b"\xff\xd8\xff", "PIL.JpegImagePlugin", "JpegImageFile"),
    (b"\x89PNG\r\n\x1a\n", "PIL.PngImagePlugin", "PngImageFile"),
    (b"RIFF", "PIL.WebPImagePlugin", "WebPImageFile"),
    (b"GIF8", "PIL.GifImagePlugin", "GifImageFile"),
    (b"BM", "PIL.BmpImagePlugin", "BmpImageFile"),
    (b"II", "PIL.TiffImagePlugin", "TiffImageFile"),
    (b"MM", "PIL.TiffImagePlugin", "TiffImageFile"),
)
"""What begins an image, and what reads it. Opened by these, no other of Pillow's formats is ever tried, and its guard
against bombs, a number of the whole process, is not asked: `max_pixels` is."""

_Turn = Callable[[Any], Any]

_TURNED: dict[int, _Turn] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array[:, ::-1].swapaxes(0, 1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: array[::-1].swapaxes(0, 1),
}
"""For each orientation of EXIF 2.32 (tag 274) but the first, the view of an upright array that is as the image lies."""

_LYING = frozenset({5, 6, 7, 8})
"""Orientations whose height is the width as stored."""

_ORIENTATION = 0x0112


class ImageDecoding:
    """Puts the pixels of a column's bytes in their place: what a `decode_image` step does to one record.

    The array is the record's own: contiguous, writable, and a tensor's memory as it is (`torch.from_numpy`). Threads
    may share one.

    Args:
        node: what is asked for.
        step: the step's name, for errors.

    Raises (constructor): ResourceError: Pillow is not installed.
    """

    def __init__(self, node: DecodeImage, step: str = "") -> None:
        try:
            import PIL.Image  # noqa: F401 - whether it is there
        except ImportError as error:
            raise missing_package("decoding images", "Pillow", "images") from error
        self._node = node
        self._where = f"step `{step}`" if step else ""

    def __call__(self, record: Any) -> dict[str, Any]:
        """`record` with the pixels.

        Raises:
            DataError: it has no such bytes, or they are no image, or a larger one than is allowed.
        """
        try:
            data = read_column(record, self._node.column)
            pixels = decode_image(data, self._node)
        except DataError as error:
            error.where = error.where or self._where
            raise
        return {**record, self._node.target: pixels}


def decode_image(data: Any, asked: DecodeImage) -> Pixels:
    """The pixels of an encoded image: uint8 (height, width, channels), (height, width) of one channel, 0 to 255.

    With `frames`, that of each in front: (frames, height, width, channels).

    Raises:
        DataError: it is no image, a corrupt one, or a larger one than is allowed.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise DataError(f"expected the bytes of an image in `{asked.column}`, got a {type(data).__name__}")
    if len(data) > asked.max_bytes:
        raise DataError(
            f"expected an image of at most {asked.max_bytes:,} bytes, got {len(data):,}",
            hint="raise max_bytes if such images are meant",
        )
    with _explaining(), _open(data, asked) as image:
        if asked.frames is None:
            _check_pixels(image.size, 1, asked)
            return _render(image, asked)
        return _render_frames(image, asked, asked.frames)


@contextmanager
def _explaining() -> Iterator[None]:
    """What Pillow raises, as an error of the data."""
    try:
        yield
    except (TidemillError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises over bytes it did not expect
        text = str(error) or type(error).__name__
        raise DataError(f"the image cannot be decoded: {text}") from error


def _open(data: bytes | bytearray | memoryview, asked: DecodeImage) -> ImageFile:
    """The image, of which just the header was read."""
    head = bytes(data[:32])
    for magic, module, name in _PLUGINS:
        if head.startswith(magic):
            if magic == b"RIFF":
                _check_pixels(_peek_webp(head), 1, asked)  # whose decoder takes room for all of it as it is opened
            return cast("ImageFile", getattr(importlib.import_module(module), name)(io.BytesIO(data)))
    got = f"bytes that begin with {head[:8]!r}" if head else "no bytes"
    raise DataError(f"expected an image in JPEG, PNG, WebP, GIF, BMP or TIFF, got {got}")


def _peek_webp(head: bytes) -> tuple[int, int]:
    """Width and height in the header of a WebP image (RFC 9649); those of what is none are its decoder's to tell."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        sizes = int.from_bytes(head[21:25], "little")
        return (sizes & 0x3FFF) + 1, (sizes >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _check_pixels(size: tuple[int, int], frames: int, asked: DecodeImage) -> None:
    width, height = size
    if width * height * frames > asked.max_pixels:
        of_frames = f" in {frames} frames" if frames > 1 else ""
        raise DataError(
            f"expected an image of at most {asked.max_pixels:,} pixels, got {width:,} × {height:,}{of_frames}",
            hint="raise max_pixels if such images are meant",
        )


def _render_frames(image: ImageFile, asked: DecodeImage, count: int) -> Pixels:
    import numpy as np

    found: list[Pixels] = []
    for number in range(count):
        try:
            image.seek(number)
        except EOFError:
            break
        _check_pixels(image.size, number + 1, asked)
        found.append(_render(image, asked))
        if found[-1].shape != found[0].shape:
            raise DataError(
                f"expected frames of one size, got {found[0].shape[:2]} and {found[-1].shape[:2]}",
                hint="say size=(height, width)",
            )
    return np.stack(found)


def _render(image: ImageFile, asked: DecodeImage) -> Pixels:
    """The pixels of the frame that an image stands at, which is decoded here."""
    is_photo = (image.format, image.mode, asked.size) == ("JPEG", "RGB", None)
    held = _Memory(image) if is_photo else None
    if image.format != "JPEG":  # whose orientation is wanted before it is decoded, and stands in front
        image.load()
    orientation = _find_orientation(image)
    size = asked.size
    if size is not None and orientation in _LYING:
        size = size[1], size[0]
    scaled = _to_mode(image, asked.mode) if size is None else _scale(image, asked, size)
    return _copy(scaled, asked, orientation, size, held if scaled is image else None)


class _Memory:
    """Where an RGB image is decoded to, four bytes a pixel as in Pillow's own memory: what was copied is let go of.

    Of Pillow's own none is before all of it was copied, and an image would be held twice.
    """

    def __init__(self, image: ImageFile) -> None:
        from PIL import _imaging

        width, height = image.size
        self._row_bytes = width * 4
        self._mapping = mmap.mmap(-1, height * self._row_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._freed = 0
        image.im = _imaging.map_buffer(self._mapping, image.size, "raw", 0, (image.mode, 0, 1))

    def free(self, rows: int) -> None:
        """Let go of the first `rows`."""
        stop = rows * self._row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        if stop > self._freed:
            self._mapping.madvise(mmap.MADV_DONTNEED, self._freed, stop - self._freed)
            self._freed = stop


def _find_orientation(image: Image) -> int:
    """How an image lies, from 1, upright, to 8."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a corrupt note of a camera's costs no image: it is taken as it lies
        return 1
    return found if found in _TURNED else 1


def _scale(image: Image, asked: DecodeImage, size: tuple[int, int]) -> Image:
    """The image scaled to `size` as its `fit` says; `pad` leaves it smaller. A JPEG is decoded to little more."""
    from PIL.Image import Resampling

    height, width = size
    across, down = width / image.width, height / image.height
    if asked.fit != "stretch":
        across = down = max(across, down) if asked.fit == "crop" else min(across, down)
    wanted = image.width * across, image.height * down
    shown = width / wanted[0], height / wanted[1]  # how much of it; of `pad` 1 and more
    drafted = image.draft(
        "L" if asked.mode == "L" else None, (_ceil(wanted[0] * _REDUCING_GAP), _ceil(wanted[1] * _REDUCING_GAP))
    )
    extent = image.size if drafted is None else drafted[1][2:]
    left, top = (max(0.0, (1 - part) / 2 * whole) for part, whole in zip(shown, extent, strict=True))
    target = tuple(max(1, min(round(each), most)) for each, most in zip(wanted, (width, height), strict=True))
    image = image if image.mode in _RESIZED_AS_THEY_ARE else _to_mode(image, asked.mode)
    box = (left, top, extent[0] - left, extent[1] - top)
    return _to_mode(image.resize((target[0], target[1]), Resampling.BICUBIC, box, _REDUCING_GAP), asked.mode)


def _ceil(length: float) -> int:
    return max(1, int(-(-length // 1)))


def _to_mode(image: Image, mode: str) -> Image:
    """The image with the channels of `mode`, 8 bits each; of 16 bits of gray the upper ones are taken."""
    if image.mode == mode:
        return image
    if image.mode in _WITHOUT_SCALE:
        raise DataError(f"expected an image of 8 or 16 bits a channel, got one of 32 (mode `{image.mode}`)")
    if image.mode in _GRAY_16:
        import numpy as np
        from PIL.Image import fromarray

        image = fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert(mode)


def _copy(
    image: Image, asked: DecodeImage, orientation: int, size: tuple[int, int] | None, held: _Memory | None
) -> Pixels:
    """An array of the image, turned upright; in the middle of `size`, where it is smaller. What is `held` is let go."""
    import numpy as np

    width, height = image.size
    whole = (height, width) if size is None else size
    channels = _CHANNELS[asked.mode]
    upright = whole[::-1] if orientation in _LYING else whole
    make = np.empty if whole == (height, width) else np.zeros
    pixels = make(upright if channels == 1 else (*upright, channels), np.uint8)
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    view = pixels if orientation == 1 else _TURNED[orientation](pixels)
    view = view[top : top + height, left : left + width]
    rows = max(1, _STRIP_BYTES // (width * 4))
    for start in range(0, height, rows):
        strip = image if rows >= height else image.crop((0, start, width, min(height, start + rows)))
        view[start : start + rows] = np.asarray(strip)
        if held is not None:
            held.free(start + rows)
    return pixels
