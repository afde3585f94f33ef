"""The cutting of a text: as much in each chunk as there is room for, cut where its reader would least mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import regex

from tidemill.data.chunking.boundaries import CONTINUES, SPACE, Boundaries
from tidemill.data.chunking.rulers import Ruler
from tidemill.data.chunking.sizes import Sizes

_SPACE: Final = regex.compile(rf"{SPACE}*(?!{CONTINUES})")


class Cutter:
    """Cuts stretches of one text.

    Args:
        boundaries: where to cut, those that are preferred first; the last kind has places wherever there are any.
    """

    def __init__(self, text: str, ruler: Ruler, boundaries: Sequence[Boundaries], sizes: Sizes) -> None:
        self._text = text
        self._ruler = ruler
        self._boundaries = boundaries
        self._sizes = sizes

    def iter_spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where the chunks of `text[start:end]` start and stop, white space around them left out.

        Memory: what the ruler and the boundaries hold.
        """
        end = start + len(self._text[start:end].rstrip())
        last = at = self._pass_space(start)
        while at < end:
            begin, stop, cut = self._place(last, at, end)
            if stop > begin:  # not so for the space of a cluster that is cut
                yield begin, stop
            last, at = begin, self._pass_space(cut)

    def fits(self, start: int, stop: int, size: int) -> bool:
        """Whether a stretch is no larger than `size`."""
        return self._ruler.reach(start, size) >= stop

    def _place(self, last: int, at: int, end: int) -> tuple[int, int, int]:
        """Where the chunk that goes on behind `at` begins, stops, and is cut, behind the white space that follows it.

        The one before began at `last`.
        """
        room = self._sizes.limit
        while True:
            begin = self._find_begin(last, at, end, room) if at > last and self._sizes.overlap else at
            cut = self._find_cut(begin, at, end, room)
            stop = self._trim(begin, cut)
            excess = self._ruler.exceed(begin, stop, self._sizes.limit)
            if excess <= 0:
                return begin, stop, cut
            if excess >= room:
                cut = self._halve(at, cut)
                return at, self._trim(at, cut), cut
            room -= excess

    def _halve(self, at: int, cut: int) -> int:
        """A cut before `cut` that leaves no more than there is room for, or one character, found by halves.

        For what a tokenizer takes for one token as a whole and for many in parts.
        """
        while cut - at > 1 and self._ruler.exceed(at, self._trim(at, cut), self._sizes.limit) > 0:
            middle = (at + cut) // 2
            cut = (
                self._find_last(at, middle, at)
                or self._boundaries[-1].find_first(at + 1, cut, at)
                or max(middle, at + 1)
            )
        return cut

    def _find_begin(self, last: int, at: int, end: int, room: int) -> int:
        """Where a chunk begins that gives some of what stands before `at` again.

        As much as may be, as long as what comes next behind `at` goes in as whole as it would without.
        """
        following = self._find_following(at, end, self._reach(at, room))
        first = max(
            self._ruler.retreat(self._trim(last, at), self._sizes.overlap),
            self._ruler.retreat(self._trim(at, following), room),
            last + 1,
        )
        is_gap = self._text[at - 1].isspace() and len(self._boundaries) > 1
        kinds = self._boundaries[:-1] if is_gap else self._boundaries  # no part of a word in front of a whole one
        begins = (each.find_first(first, at, last) for each in kinds)
        return next((place for place in begins if place is not None), at)

    def _find_following(self, at: int, end: int, furthest: int) -> int:
        """The first place behind `at` to cut at, of the kind preferred most that has one up to `furthest`."""
        for each in self._boundaries:
            place = each.find_first(at + 1, min(furthest + 1, end), at)
            if place is not None or furthest >= end:
                return end if place is None else place
        return at + 1

    def _find_cut(self, begin: int, at: int, end: int, room: int) -> int:
        """Where a chunk that begins at `begin` is cut, behind `at`: at the last place of the kind preferred most."""
        furthest = self._reach(begin, room)
        if furthest >= end:
            return end
        least = self._sizes.least
        smallest = max(at, self._ruler.reach(begin, least - 1)) if least else at
        cut = self._find_last(smallest, furthest, at) or self._find_last(at, furthest, at) or max(furthest, at + 1)
        if least and self.fits(cut, end, least - 1):
            earlier = self._ruler.retreat(end, least - 1) - 1
            cut = self._find_last(smallest, earlier, at) or cut
        return cut

    def _find_last(self, start: int, stop: int, known: int) -> int | None:
        if stop <= start:
            return None
        places = (each.find_last(start, stop, known) for each in self._boundaries)
        return next((place for place in places if place is not None), None)

    def _reach(self, start: int, room: int) -> int:
        """How far `room` goes, white space behind it included: what follows it begins there."""
        return self._pass_space(self._ruler.reach(start, room))

    def _pass_space(self, place: int) -> int:
        if "!" <= self._text[place : place + 1] <= "~":  # no space, and of no character in front
            return place
        found = _SPACE.match(self._text, place)
        return place if found is None else int(found.end())

    def _trim(self, start: int, stop: int) -> int:
        """Where a stretch ends without the white space behind it."""
        while stop > start and self._text[stop - 1].isspace():
            stop -= 1
        return stop
