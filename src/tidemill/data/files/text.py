"""The text of a source file, unpacked, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tidemill.data.files.codecs import STEP_BYTES, Codec, find_codec, recognize_codec
from tidemill.data.files.part import PartFile
from tidemill.data.files.path import AnyPath
from tidemill.errors import StateError
from tidemill.protocols import State

_FEED_BYTES = 8 * 1024
"""Given to a decoder at a time, so that how much of the file the text is made of is known about as well."""


class TextFile(Protocol):
    """Unpacked bytes in blocks."""

    failure: str
    """Why the text ends before the file says it does; empty while nothing is wrong."""

    def read(self) -> bytes:
        """The next block, empty at the end."""
        ...

    def skip(self, offset: int) -> None:
        """From the start of the text, go to `offset`."""
        ...

    def state(self, offset: int) -> State:
        """The file's state for a reader that stands at `offset` of the text, at or before what was read of it."""
        ...

    def ratio(self) -> float:
        """How many bytes of text were made of one of the file."""
        ...


class PlainText:
    """A file that is its own text; its state covers it just up to the offset."""

    failure = ""

    def __init__(self, file: PartFile) -> None:
        self.read = file.read
        self.skip = file.seek
        self.state = file.state

    def ratio(self) -> float:
        return 1.0


class PackedText:
    """The text of a packed file of one or more members; its state covers the file up to the furthest byte read.

    A file that is cut or corrupt gives all the text in front of that point, then ends with `failure` set.
    """

    def __init__(self, file: PartFile, codec: Codec) -> None:
        self.failure = ""
        self._file = file
        self._codec = codec
        self._decoder = codec.make_decoder()
        self._in_member = False
        self._member_start = 0
        self._member_text_bytes = 0
        self._packed = b""
        self._ahead = b""
        self._text_bytes = 0

    def read(self) -> bytes:
        """The next block, empty at the end."""
        text, self._ahead = self._ahead, b""
        if not text:
            text = self._read_on()
            self._text_bytes += len(text)
        return text

    def state(self, offset: int) -> State:
        """The file's state; `read` is the share of its bytes that the text up to `offset` is made of, about."""
        taken = self._file.position - len(self._packed)
        read = round(taken * offset / self._text_bytes) if self._text_bytes else 0
        return {**self._file.state(self._file.frontier), "read": read}

    def ratio(self) -> float:
        return self._text_bytes / max(1, self._file.position - len(self._packed))

    def skip(self, offset: int) -> None:
        """Unpack up to `offset`.

        Raises:
            StateError: the text is shorter.
        """
        position = 0
        while position < offset:
            text = self.read()
            if not text:
                raise StateError(
                    f"the state stands at byte {offset} of the text, which ends at {position}",
                    where=str(self._file.path),
                    hint="start without a state, or put the file back as it was",
                )
            position += len(text)
            self._ahead = text[len(text) - (position - offset) :] if position > offset else b""

    def _read_on(self) -> bytes:
        text = b""
        while not text and not self.failure:
            if not self._packed and (not self._in_member or self._decoder.needs_input):
                self._packed = self._file.read()
                if not self._packed:
                    return self._read_last()
            if self._in_member or self._start_member():
                text = self._decode()
        return text

    def _start_member(self) -> bool:
        """Whether a member begins here: there may be just padding, or bytes that are none."""
        if self._codec.padded:
            self._packed = self._packed.lstrip(b"\0")
        longest = max(map(len, self._codec.magics))
        while 0 < len(self._packed) < longest and (more := self._file.read()):
            self._packed += more
        if not self._packed:
            return False
        if not self._packed.startswith(tuple(magic[: len(self._packed)] for magic in self._codec.magics)):
            self.failure = self._explain_header()
            return False
        self._decoder = self._codec.make_decoder()
        self._in_member = True
        self._member_start = self._file.position - len(self._packed)
        self._member_text_bytes = 0
        return True

    def _explain_header(self) -> str:
        codec = self._codec.name
        if self._file.position > len(self._packed):  # behind members that were good
            return f"the {codec} stream is corrupt (incorrect header check)"
        known = recognize_codec(self._packed)
        got = f"one of {known.name}" if known else "another"
        return f"expected a file of {codec}, got {got} (incorrect header check); compression= says what files are"

    def _decode(self) -> bytes:
        fed = b""
        if self._decoder.needs_input:
            fed, self._packed = self._packed[:_FEED_BYTES], self._packed[_FEED_BYTES:]
        try:
            text = self._decoder.decompress(fed, STEP_BYTES)
        except Exception:  # noqa: BLE001 - each library has its own error; told what it is just below
            return self._decode_until_error()
        self._member_text_bytes += len(text)
        if self._decoder.eof:
            self._in_member = False
            self._packed = self._decoder.unused_data + self._packed
        return text

    def _decode_until_error(self) -> bytes:
        """What a failing call had decoded, which it drops: the member is gone through again, more carefully."""
        position = self._file.position
        self._file.seek(self._member_start)
        text, cause = self._codec.decode_until_error(self._codec, self._iter_blocks(), self._member_text_bytes)
        self._file.seek(position)
        self.failure = f"the {self._codec.name} stream is corrupt ({cause})"
        return text

    def _iter_blocks(self) -> Iterator[bytes]:
        while block := self._file.read():
            yield block

    def _read_last(self) -> bytes:
        if not self._in_member:
            return b""
        text = self._decoder.decompress(b"", STEP_BYTES)
        if not text:
            self.failure = f"the {self._codec.name} stream ends early: the file is cut"
        return text


def open_text(path: AnyPath, file: PartFile) -> TextFile:
    """The text of `file`: unpacked when the suffix of `path`, or what it says beside it, names a codec."""
    codec = find_codec(path)
    return PlainText(file) if codec is None else PackedText(file, codec)
