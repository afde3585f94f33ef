"""Nearly equal texts, found by MinHash and locality-sensitive hashing (Broder 1997; Indyk, Motwani 1998).

A text is a set of runs of three words. Its signature is of 128 numbers; of two texts about as many are equal as their
sets have in common, of all that either has. The numbers are cut into bands: texts that have one band in common are
compared, number by number.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from tidemill.errors import DataError
from tidemill.packages import missing_package

NUMBERS = 128
"""Of a signature: the standard error of the similarity told from it is 0.03 at 0.85."""

WORDS = 3
"""Words of a run."""

RECALL = 0.99
"""Of pairs just as near as is asked for, how many have a band in common."""

_SEED = 1


def choose_bands(near: float) -> tuple[int, int]:
    """Into how many bands of how many numbers a signature is cut: the longest with which `RECALL` is had."""
    rows = NUMBERS
    while rows > 1 and 1 - (1 - near**rows) ** (NUMBERS // rows) < RECALL:
        rows -= 1
    return NUMBERS // rows, rows


def make_signer() -> Callable[[object], bytes]:
    """The function that gives a text's signature, of 512 bytes: the same in every process.

    Raises:
        ResourceError: rensa is not installed.

    Raises (the function): DataError: it is no text.
    """
    try:
        from rensa import RMinHash
    except ImportError as error:
        raise missing_package("dedupe by `near`", "rensa", "near", error) from error

    def sign(text: object) -> bytes:
        if not isinstance(text, str):
            raise DataError(f"expected a text to compare, got a {type(text).__name__}")
        words = text.split()
        minhash = RMinHash(num_perm=NUMBERS, seed=_SEED)
        runs = range(max(1, len(words) - WORDS + 1))
        minhash.update([" ".join(words[start : start + WORDS]) for start in runs])
        return array("I", minhash.digest()).tobytes()

    return sign


def name_signer() -> str:
    """The package that signatures follow from, with its version."""
    try:
        return f"rensa {version('rensa')}"
    except PackageNotFoundError:
        return ""
