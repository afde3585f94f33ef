"""Orders and choices that are functions of a seed and a number, the same in every process and on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import Any

import orjson

_MASK = (1 << 64) - 1
_RATIO_BITS = 53


def derive_seed(*parts: Any) -> int:
    """64 bits that follow from JSON values: a seed, an epoch, the number of a block."""
    return int.from_bytes(blake2b(orjson.dumps(parts), digest_size=8).digest(), "big")


def permute_block(records: Sequence[Any], seed: int) -> list[Any]:
    """The records in the order that `seed` gives so many of them.

    By the keys of Python's Mersenne Twister, whose sequence for a seed is promised never to change.
    """
    key = random.Random(seed).random
    keys = [key() for _ in records]
    return [records[index] for index in sorted(range(len(keys)), key=keys.__getitem__)]


def mix_bits(value: int) -> int:
    """64 well-mixed bits of a number (SplitMix64; Steele, Lea, Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def choose_ratio(seed: int, number: int) -> float:
    """A number in [0, 1) for the `number`-th choice under `seed`."""
    return (mix_bits(seed ^ mix_bits(number)) >> (64 - _RATIO_BITS)) / (1 << _RATIO_BITS)


def iter_samples(ratio: float, seed: int, start: int) -> Iterator[bool]:
    """Whether each record, from number `start` on, is in a sample of `ratio`."""
    for number in count(start):
        yield choose_ratio(seed, number) < ratio


def find_share(value: Any, ratios: Sequence[float], seed: int) -> int:
    """Which of the shares a value belongs to: always the same one, whatever other values there are.

    Raises:
        TypeError: the value is not JSON.
    """
    place = derive_seed(seed, value) / (1 << 64) * sum(ratios)
    for index, ratio in enumerate(ratios):
        place -= ratio
        if place < 0:
            return index
    return len(ratios) - 1


class Permutation:
    """The numbers below `size` in an order that `seed` gives, each worked out alone: no memory, any size.

    A balanced Feistel network over the next even power of two, walked until it lands below `size` (cycle-walking;
    Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"): on average under four steps.
    """

    __slots__ = ("_half_bits", "_keys", "_low", "size")

    _ROUNDS = 6

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._half_bits = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
        self._low = (1 << self._half_bits) - 1
        self._keys = [mix_bits(seed + round_) for round_ in range(self._ROUNDS)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is out of range: there are {self.size:,}")
        half_bits, low = self._half_bits, self._low
        while True:
            left, right = index >> half_bits, index & low
            for key in self._keys:
                left, right = right, left ^ (mix_bits(right ^ key) & low)
            index = left << half_bits | right
            if index < self.size:
                return index

    def read(self, places: Sequence[int]) -> list[int]:
        """The numbers at `places`."""
        return [self[place] for place in places]
