"""Orders and choices that are functions of a seed and a number, the same in every process and on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain, count
from typing import Any, cast

import orjson

BLOCK = 65_536
"""Numbers of a permutation worked out at a time: 5 MB; smaller blocks take longer a number."""

_FEW = 600
"""Numbers below which one by one is faster."""

_PIECE = 16_384
"""Characters of a text whose JSON form is made at a time; orjson sets aside about 15 bytes for each."""

_MASK = (1 << 64) - 1
_GAMMA, _FACTORS = 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
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
    value = (value + _GAMMA) & _MASK
    value = ((value ^ (value >> 30)) * _FACTORS[0]) & _MASK
    value = ((value ^ (value >> 27)) * _FACTORS[1]) & _MASK
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
    is_long = isinstance(value, str) and len(value) > _PIECE
    derived = _derive_from_text(seed, value) if is_long else derive_seed(seed, value)
    place = derived / (1 << 64) * sum(ratios)
    for index, ratio in enumerate(ratios):
        place -= ratio
        if place < 0:
            return index
    return len(ratios) - 1


def _derive_from_text(seed: int, text: str) -> int:
    """`derive_seed(seed, text)` in the memory of a piece of the text."""
    digest = blake2b(orjson.dumps([seed, ""]).removesuffix(b'"]'), digest_size=8)
    for start in range(0, len(text), _PIECE):
        digest.update(orjson.dumps(text[start : start + _PIECE])[1:-1])
    digest.update(b'"]')
    return int.from_bytes(digest.digest(), "big")


class Permutation:
    """The numbers below `size` in an order that `seed` gives, each worked out alone: no memory, any size.

    A balanced Feistel network over the next even power of two, walked until it lands below `size` (cycle-walking;
    Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"): on average under four steps.
    Many at once take a twelfth of the time of one by one (docs/lab-notes.md).
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Permutation) and (self.size, self._keys) == (other.size, other._keys)

    def __hash__(self) -> int:
        return hash((self.size, *self._keys))

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

    def __iter__(self) -> Iterator[int]:
        return self.iter_from(0)

    def iter_from(self, start: int) -> Iterator[int]:
        """The numbers from place `start` on, in constant memory."""
        firsts = range(start, self.size, BLOCK)
        return chain.from_iterable(self.read(range(first, min(first + BLOCK, self.size))) for first in firsts)

    def read(self, places: Sequence[int]) -> list[int]:
        """The numbers at `places`.

        Raises:
            IndexError: there is no such place.
        """
        if len(places) < _FEW or not (min(places) >= 0 and max(places) < self.size):
            return [self[place] for place in places]
        import pyarrow as pa
        import pyarrow.compute as pc

        size = pa.scalar(self.size, pa.uint64())
        numbers = self._step_all(pa.array(places, pa.uint64()))
        while True:
            beyond = pc.greater_equal(numbers, size)
            walking = numbers.filter(beyond)
            if not len(walking):
                return cast("list[int]", numbers.to_pylist())
            numbers = pc.replace_with_mask(numbers, beyond, self._step_all(walking))

    def _step_all(self, numbers: Any) -> Any:
        """One step of `__getitem__` for each of a `pyarrow.UInt64Array`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        def constant(value: int) -> Any:
            return pa.scalar(value, pa.uint64())

        half_bits, low = constant(self._half_bits), constant(self._low)
        left, right = pc.shift_right(numbers, half_bits), pc.bit_wise_and(numbers, low)
        for key in self._keys:
            mixed = _mix_all(pc.bit_wise_xor(right, constant(key)))
            left, right = right, pc.bit_wise_xor(left, pc.bit_wise_and(mixed, low))
        return pc.bit_wise_or(pc.shift_left(left, half_bits), right)


def _mix_all(values: Any) -> Any:
    """`mix_bits` of each of a `pyarrow.UInt64Array`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def fold(values: Any, bits: int) -> Any:
        return pc.bit_wise_xor(values, pc.shift_right(values, pa.scalar(bits, pa.uint64())))

    def multiply(values: Any, factor: int) -> Any:
        return pc.multiply(values, pa.scalar(factor, pa.uint64()))

    values = pc.add(values, pa.scalar(_GAMMA, pa.uint64()))
    return fold(multiply(fold(multiply(fold(values, 30), _FACTORS[0]), 27), _FACTORS[1]), 31)
