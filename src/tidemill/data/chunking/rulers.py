"""What the size of a stretch of text is counted in: characters, bytes of UTF-8, or tokens."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol

from tidemill.data.chunking.blocks import find_block_end, replace_lone

FindStarts = Callable[[str], Sequence[int]]
"""Gives the place of each token's first character, in the order of the tokens, special ones left out."""

_BLOCK_CHARS = 8 * 1024
"""Tokenized at a time: of 2,000 to 200,000 the quickest but for 3 % (MiniLM's), and a long text is held but once."""


_PARTING = frozenset(" \t\n\r")
"""White space that every tokenizer has for such; BERT's leave other control characters out, and join what they part."""


class Ruler(Protocol):
    """The sizes of stretches of one text, which is gone through from its start."""

    def reach(self, start: int, size: int) -> int:
        """The furthest place up to which at most `size` stands behind `start`; the text's end at most."""
        ...

    def retreat(self, stop: int, size: int) -> int:
        """The first place from which on at most `size` stands before `stop`."""
        ...

    def exceed(self, start: int, stop: int, size: int) -> int:
        """By how much the stretch, taken by itself, is larger than `size`; 0 or less where it is not."""
        ...


class CharRuler:
    """Sizes in characters, as Python counts them: code points."""

    def __init__(self, text: str) -> None:
        self._length = len(text)

    def reach(self, start: int, size: int) -> int:
        return min(start + size, self._length)

    def retreat(self, stop: int, size: int) -> int:
        return max(stop - size, 0)

    def exceed(self, start: int, stop: int, size: int) -> int:
        return stop - start - size


class ByteRuler:
    """Sizes in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reach(self, start: int, size: int) -> int:
        encoded = _encode(self._text[start : start + size])
        end = min(size, len(encoded))
        while end < len(encoded) and _goes_on(encoded[end]):
            end -= 1
        return start + len(_decode(encoded[:end]))

    def retreat(self, stop: int, size: int) -> int:
        encoded = _encode(self._text[max(stop - size, 0) : stop])
        begin = max(len(encoded) - size, 0)
        while begin < len(encoded) and _goes_on(encoded[begin]):
            begin += 1
        return stop - len(_decode(encoded[begin:]))

    def exceed(self, start: int, stop: int, size: int) -> int:
        return len(_encode(self._text[start:stop])) - size


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(encoded: bytes) -> str:
    return encoded.decode("utf-8", "surrogatepass")


def _goes_on(byte: int) -> bool:
    """Whether a byte of UTF-8 is not the first of its character."""
    return byte & 0xC0 == 0x80


class TokenRuler:
    """Sizes in tokens.

    The text is tokenized once, block by block, as far as it is asked for. A chunk's first word may be other tokens by
    itself than behind a space, so `exceed` counts a stretch anew.

    Args:
        find_starts: the tokenizer.
        parts_at_space: whether it takes what stands between white space by itself, so that nothing need be counted
            anew between two places where there is some.
    """

    def __init__(self, text: str, find_starts: FindStarts, *, parts_at_space: bool = False) -> None:
        self._text = text
        self._find_starts = find_starts
        self._parts_at_space = parts_at_space
        self._starts = array("q")  # ascending; several tokens of one character stand at the same place
        self._end = 0  # of what was tokenized

    def reach(self, start: int, size: int) -> int:
        self._read_to(start)
        last = bisect_left(self._starts, start) + size
        while last >= len(self._starts) and self._end < len(self._text):
            self._read_to(self._end + 1)
        return self._starts[last] if last < len(self._starts) else len(self._text)

    def retreat(self, stop: int, size: int) -> int:
        self._read_to(stop)
        first = bisect_left(self._starts, stop) - size
        if first <= 0:
            return 0
        if self._starts[first - 1] == self._starts[first]:
            first = bisect_right(self._starts, self._starts[first])
        return self._starts[first] if first < len(self._starts) else stop

    def exceed(self, start: int, stop: int, size: int) -> int:
        if self._parts_at_space and self._is_parted(start) and self._is_parted(stop):
            self._read_to(stop)
            return bisect_left(self._starts, stop) - bisect_left(self._starts, start) - size
        return len(self._find(start, stop)) - size

    def _is_parted(self, place: int) -> bool:
        text = self._text
        return place in (0, len(text)) or text[place - 1] in _PARTING or text[place] in _PARTING

    def _read_to(self, place: int) -> None:
        while self._end < min(place, len(self._text)):
            begin, end = self._end, find_block_end(self._text, self._end, _BLOCK_CHARS)
            self._starts.extend(begin + start for start in accumulate(self._find(begin, end), max))
            self._end = end
            self._parts_at_space = self._parts_at_space and self._is_parted(end)

    def _find(self, start: int, stop: int) -> Sequence[int]:
        return self._find_starts(replace_lone(self._text[start:stop]))
