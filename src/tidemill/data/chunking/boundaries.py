"""Where a text may be cut: in front of a sentence, of a word, or of what a reader takes for one character."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, NamedTuple, Protocol

import regex

from tidemill.data.chunking.blocks import find_block_end, replace_lone

SPACE: Final = r"[\s\x1c-\x1f]"
"""White space as `str.isspace` has it."""
CONTINUES: Final = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}]"
"""What belongs to the character in front of it, even to a space (UAX #29, GB9 and 9a)."""
_CONTINUES: Final = regex.compile(CONTINUES)
_GRAPHEME: Final = regex.compile(r"\X")
_SURE: Final = regex.compile(
    r"(?r)(?<=[^\p{GCB=Prepend}\p{GCB=L}\u200d])[ -\u00a8\u00af-\u02ff\u3041-\u3096\u3400-\u9fff]"
)
"""A character that is always the first of its cluster, whatever it stands behind but these (UAX #29, GB6, 9b, 11)."""
_SEGMENTED_CHARS: Final = 4 * 1024
"""Given to the segmenter at a time, which takes quadratic time over quotes that are never closed: as fast as 16 Ki."""


class Gap(NamedTuple):
    """What stands in front of a word or a line: patterns that match nothing, between it and what begins there."""

    first: Any
    last: Any


def _make_gap(space: str) -> Gap:
    place = rf"(?<={space})(?!{SPACE}|{CONTINUES})(?=.)"
    return Gap(regex.compile(place, regex.DOTALL), regex.compile(rf"(?r){place}", regex.DOTALL))


WORDS: Final = _make_gap(SPACE)
LINES: Final = _make_gap(rf"\n{SPACE}*")


class Boundaries(Protocol):
    """Places of one kind to cut a text at. Each is the first character of what begins there."""

    def find_last(self, start: int, stop: int, known: int) -> int | None:
        """The last place behind `start`, up to `stop`, which is not the text's end.

        Args:
            known: a place to cut at, not behind `start`.
        """
        ...

    def find_first(self, start: int, stop: int, known: int) -> int | None:
        """The first place from `start` on, before `stop`; `known` as above."""
        ...


class Gaps:
    """In front of each word, or each line, that begins with anything but white space."""

    def __init__(self, text: str, gap: Gap) -> None:
        self._text = text
        self._gap = gap

    def find_last(self, start: int, stop: int, known: int) -> int | None:
        found = self._gap.last.search(self._text, start + 1, stop + 1)
        return None if found is None else int(found.start())

    def find_first(self, start: int, stop: int, known: int) -> int | None:
        found = self._gap.first.search(self._text, start, stop)
        return None if found is None else int(found.start())


class Graphemes:
    """In front of each extended grapheme cluster (UAX #29): an accent stays with its letter, a family is whole."""

    def __init__(self, text: str) -> None:
        self._text = text

    def find_last(self, start: int, stop: int, known: int) -> int | None:
        found = self._find_sure(known, stop)
        for place in self._iter_ends(found, stop + 1):
            if place > stop:
                break
            found = place
        return found if found > start else None

    def find_first(self, start: int, stop: int, known: int) -> int | None:
        found = self._find_sure(known, start)
        for place in self._iter_ends(found, stop):
            if found >= start:
                break
            found = place
        return found if found < stop else None

    def _iter_ends(self, start: int, stop: int) -> Iterator[int]:
        """Where clusters end, from one that begins at `start`; the last may go on behind `stop`.

        Looked for in that stretch alone: for each flag of a row the pattern counts those in front, to the text's start.
        """
        for cluster in _GRAPHEME.finditer(self._text[start:stop]):
            yield start + int(cluster.end())

    def _find_sure(self, start: int, stop: int) -> int:
        """A place up to `stop` that is surely one, as near to it as any; `start` where there is none behind that."""
        found = _SURE.search(self._text, start, stop + 1)
        return int(found.start()) if found is not None and found.start() > start else start


class Sentences:
    """In front of each sentence, as `sentencex` finds them; found block by block, as far as they are asked for.

    Args:
        language: whose abbreviations are known, as its code: `en`, `de`.
    """

    def __init__(self, text: str, language: str) -> None:
        import sentencex

        self._text = text
        self._language = language
        self._segment: Any = sentencex.segment
        self._places = array("q")
        self._end = 0  # of what was segmented
        self._begins = True  # whether a sentence begins there

    def find_last(self, start: int, stop: int, known: int) -> int | None:
        self._read_to(stop + 1)
        index = bisect_right(self._places, stop) - 1
        return self._places[index] if index >= 0 and self._places[index] > start else None

    def find_first(self, start: int, stop: int, known: int) -> int | None:
        self._read_to(stop)
        index = bisect_left(self._places, start)
        return self._places[index] if index < len(self._places) and self._places[index] < stop else None

    def _read_to(self, place: int) -> None:
        while self._end < min(place, len(self._text)):
            self._read_block(self._end, find_block_end(self._text, self._end, _SEGMENTED_CHARS))

    def _read_block(self, begin: int, end: int) -> None:
        begins = self._begins or self._text.startswith("\n\n", begin)
        places = self._find_places(begin, end)[0 if begins else 1 :]
        self._begins = end == len(self._text) or self._text.startswith("\n\n", end)
        if not self._begins and len(places) > begins:  # the last may go on behind the block
            end = places.pop()
            self._begins = True
        self._places.extend(places)
        self._end = end

    def _find_places(self, begin: int, end: int) -> list[int]:
        block = self._text[begin:end]
        try:
            sentences = self._segment(self._language, block)
        except UnicodeEncodeError:
            block = replace_lone(block)
            sentences = self._segment(self._language, block)
        places = []
        for place, sentence in zip(_iter_starts(block, sentences, begin), sentences, strict=False):
            if "!" <= sentence[0] <= "~":
                places.append(place)
            elif (words := sentence.lstrip()) and ("!" <= words[0] <= "~" or not _CONTINUES.match(words)):
                places.append(place + len(sentence) - len(words))
        return places


def _iter_starts(block: str, sentences: list[str], begin: int) -> Iterator[int]:
    """Where each sentence of a block starts that begins at `begin`."""
    if "".join(sentences) == block:
        return accumulate(map(len, sentences), initial=begin)
    return _iter_found(block, sentences, begin)


def _iter_found(block: str, sentences: list[str], begin: int) -> Iterator[int]:
    """The same where the blank lines between paragraphs are in none of them."""
    at = 0
    for sentence in sentences:
        at = block.index(sentence, at)
        yield begin + at
        at += len(sentence)
