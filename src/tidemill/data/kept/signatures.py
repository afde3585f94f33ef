"""The signatures of texts that are not near to one another, in a log, each found by its bands."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from operator import eq

from tidemill.data.kept.digests import SortedLog
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.texts.minhash import NUMBERS, choose_bands
from tidemill.protocols import State

_KEY_BYTES = 8
_UNWRITTEN = 1024


class SignatureSet(SortedLog):
    """Signatures, each near to none that was added before.

    Args:
        near: of how many of their numbers two that are near have in common, at least; from 0 to 1.
    """

    def __init__(self, folder: KeptFolder, near: float, mark: State | None = None) -> None:
        self._bands, self._rows = choose_bands(near)
        self._least = near * NUMBERS
        self._recent: dict[bytes, list[int]] = {}
        super().__init__(folder, "signatures", NUMBERS * 4, self._bands, mark)

    def add(self, signature: bytes) -> bool:
        """Whether it is near to none; it is then added."""
        numbers = array("I", signature)
        compared: set[int] = set()
        for number in self._iter_candidates(signature):
            if number not in compared:
                compared.add(number)
                if sum(map(eq, numbers, array("I", self.read(number)))) >= self._least:
                    return False
        self.append(signature)
        if self.count % _UNWRITTEN == 0:
            with self._folder.explaining():
                self.write_tail()
        return True

    def _iter_candidates(self, signature: bytes) -> Iterator[int]:
        """The numbers of those that have a band in common with it, the same one more than once."""
        for key in self._find_keys(signature):
            yield from self._recent.get(key, ())
            for each in self._sorted:
                for entry in each.iter_beginning(key):
                    yield int.from_bytes(entry[_KEY_BYTES:])

    def _find_keys(self, signature: bytes) -> list[bytes]:
        """A digest of each band and its place."""
        size = self._rows * 4
        keys = []
        for band in range(self._bands):
            numbers = signature[band * size : (band + 1) * size]
            keys.append(hashlib.blake2b(numbers, digest_size=_KEY_BYTES, salt=bytes([band])).digest())
        return keys

    def _hold(self, number: int, item: bytes) -> None:
        for key in self._find_keys(item):
            self._recent.setdefault(key, []).append(number)

    def _release(self) -> list[bytes]:
        held = self._recent.items()
        released = sorted(key + number.to_bytes(_KEY_BYTES) for key, numbers in held for number in numbers)
        self._recent = {}
        return released

    def _find_entries(self, number: int, item: bytes) -> Sequence[bytes]:
        return [key + number.to_bytes(_KEY_BYTES) for key in self._find_keys(item)]
