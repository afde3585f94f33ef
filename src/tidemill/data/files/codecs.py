"""How files are packed: gzip, Zstandard, bzip2, xz; by suffix."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from isal import igzip_lib

from tidemill.data.files.path import AnyPath, RemotePath
from tidemill.errors import TidemillError

STEP_BYTES = 64 * 1024
"""The most text that one call of a decoder gives, so that a file of zeros stays flat."""

_GZIP_WINDOW_BITS = 31  # zlib's number for a 32 KiB window inside a gzip header and trailer (RFC 1952)


class Decoder(Protocol):
    """One member of a packed file, as `bz2.BZ2Decompressor`, and those made after it, decode it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Codec:
    """One way to pack bytes.

    Attributes:
        name: as `compression` names it and errors tell it.
        suffix: of files so packed.
        magics: what a member begins with; one of them.
        padded: whether zero bytes may stand between members.
        make_decoder: a decoder for one member.
        wrap: a file that packs what is written to it into the given one, the same bytes each time.
        decode_until_error: as the function of that name.
    """

    name: str
    suffix: str
    magics: tuple[bytes, ...]
    padded: bool
    make_decoder: Callable[[], Decoder]
    wrap: Callable[[BinaryIO], BinaryIO]
    decode_until_error: Callable[[Codec, Iterator[bytes], int], tuple[bytes, str]]


def decode_until_error(codec: Codec, blocks: Iterator[bytes], given: int) -> tuple[bytes, str]:
    """The text of a member from its byte `given` up to the error in it, and what the error is.

    A failing call drops what it had decoded, so the last stretch is decoded byte by byte: it may lack its last byte.
    """
    decoder = codec.make_decoder()
    texts: list[bytes] = []
    position = 0
    try:
        while not decoder.eof:
            block = next(blocks, b"") if decoder.needs_input else b""
            if not block and decoder.needs_input:
                break
            text = decoder.decompress(block, min(STEP_BYTES, given - position) if position < given else 1)
            if position >= given:
                texts.append(text)
            position += len(text)
    except TidemillError:
        raise
    except Exception as error:  # noqa: BLE001 - each library has its own error, and all say the same
        return b"".join(texts), str(error).rpartition(": ")[2]
    return b"".join(texts), "it cannot be decoded"


def _decode_gzip_until_error(codec: Codec, blocks: Iterator[bytes], given: int) -> tuple[bytes, str]:
    """As above, to the byte: zlib, unlike ISA-L, can be put back to where it was and then be fed byte by byte."""
    decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
    texts: list[bytes] = []

    def take(text: bytes) -> None:
        nonlocal given
        texts.append(text[given:])
        given = max(0, given - len(text))

    try:
        for block in blocks:
            untouched = decoder.copy()
            try:
                take(decoder.decompress(block))
            except zlib.error:
                for index in range(len(block)):
                    take(untouched.decompress(block[index : index + 1]))
    except zlib.error as error:
        return b"".join(texts), str(error).rpartition(": ")[2]
    return b"".join(texts), "ISA-L cannot read it"


def _zstd() -> Any:
    """The standard library's module where there is one, else the one made of it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _wrap_zstd(file: BinaryIO) -> BinaryIO:
    zstd = _zstd()
    options = {zstd.CompressionParameter.checksum_flag: 1}
    return cast(BinaryIO, zstd.ZstdFile(file, "wb", options=options))


_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16)))  # RFC 8878

CODECS: tuple[Codec, ...] = (
    Codec(
        "gzip",
        ".gz",
        (b"\x1f\x8b",),
        padded=True,
        # ISA-L: 2.6 times the speed of zlib (measured: docs/lab-notes.md)
        make_decoder=lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
        wrap=lambda file: cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)),
        decode_until_error=_decode_gzip_until_error,
    ),
    Codec(
        "zstd",
        ".zst",
        _ZSTD_MAGICS,
        padded=False,
        make_decoder=lambda: cast(Decoder, _zstd().ZstdDecompressor()),
        wrap=_wrap_zstd,
        decode_until_error=decode_until_error,
    ),
    Codec(
        "bz2",
        ".bz2",
        (b"BZh",),
        padded=False,
        make_decoder=bz2.BZ2Decompressor,
        wrap=lambda file: cast(BinaryIO, bz2.BZ2File(file, "wb")),
        decode_until_error=decode_until_error,
    ),
    Codec(
        "xz",
        ".xz",
        (b"\xfd7zXZ\x00",),
        padded=True,
        make_decoder=lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        wrap=lambda file: cast(BinaryIO, lzma.LZMAFile(file, "wb")),  # noqa: SIM115 - `create_text` closes it
        decode_until_error=decode_until_error,
    ),
)


def find_codec(path: AnyPath) -> Codec | None:
    """The codec a file is packed with: the one its path is said to have, else by its suffix; None for plain files."""
    named = path.codec if isinstance(path, RemotePath) else None
    if named is not None:
        return next((codec for codec in CODECS if codec.name == named), None)
    return _by_suffix(path.name)


def recognize_codec(head: bytes) -> Codec | None:
    """The codec that bytes at the start of a file are of; None when of none that is known."""
    return next((codec for codec in CODECS if head.startswith(codec.magics)), None)


def strip_codec(name: str) -> str:
    """A file's name without the suffix of its codec: `a.csv` for `a.csv.zst`."""
    codec = _by_suffix(name)
    return name.removesuffix(codec.suffix) if codec else name


def _by_suffix(name: str) -> Codec | None:
    return next((codec for codec in CODECS if name.endswith(codec.suffix)), None)
