"""`seeded`: random numbers that follow from a seed for a block."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tidemill.errors import ConfigError
from tidemill.resources.states.state import StateScope
from tidemill.resources.states.switch import Held, Switch


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """A state that follows from a number."""

    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A state as its generator has it: equal to no other, since arrays are not compared."""

    state: Any


@dataclass(frozen=True, slots=True, eq=False)
class Generator:
    """One of the process's generators of random numbers: how it is read, put back and seeded."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    seed: Callable[[int], object]


def _read_states(generators: Iterable[Generator]) -> list[Saved]:
    return [Saved(each.read()) for each in generators]


def _write_state(generators: Sequence[Generator], state: Seed | Saved) -> None:
    for each in generators:
        if isinstance(state, Seed):
            each.seed(state.number)
        else:
            each.write(state.state)


GENERATORS = Switch(_read_states, _write_state)
"""The states of the process's generators."""

_known: dict[int, Generator] = {}
"""Each generator once, by the identity of what it is of: modules and generators that live as long as the process."""


class Seeded(StateScope):
    """Made by `seeded`."""

    what = "seeded random numbers"

    def __init__(self, seed: Any) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"expected a seed of 0 or more, got {seed!r}")
        self._seed = Seed(seed)
        self._held: Held | None = None

    def copy(self) -> Self:
        return type(self)(self._seed.number)

    def _change(self) -> None:
        self._held = GENERATORS.hold(_list_generators(), self._seed)

    def _put_back(self) -> list[BaseException]:
        held, self._held = self._held, None
        return [] if held is None else GENERATORS.release(held)


def seeded(seed: int) -> Seeded:
    """A block in which Python's, NumPy's and torch's random numbers follow from `seed`.

    Afterwards each goes on as if the block had drawn none. The process's own generators are meant: `random`, and of the
    packages that are loaded `numpy.random` and torch's on the host and on each accelerator that is initialised. Other
    threads draw from them too. Nested blocks and threads: as `evaluating`.

    Args:
        seed: 0 or more; NumPy takes its lowest 32 bits, torch 63.

    Raises: ConfigError: `seed` is no such number.
    Raises (on entering): ResourceError: the block awaits or yields.
    """
    return Seeded(seed)


def _list_generators() -> list[Generator]:
    """Those of the packages that are loaded and the accelerators that are initialised."""
    found: list[Any] = [random]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        found.append(numpy.random)
    torch = sys.modules.get("torch")
    if torch is not None:
        found.append(torch.default_generator)
        for module in (torch.cuda, torch.xpu):
            found.extend(module.default_generators if module.is_initialized() else ())
    return [_known.setdefault(id(each), _make_generator(each)) for each in found]


def _make_generator(generator: Any) -> Generator:
    if generator is random:
        return Generator(random.getstate, random.setstate, random.seed)
    if hasattr(generator, "manual_seed"):
        return Generator(
            generator.get_state, generator.set_state, lambda seed: generator.manual_seed(seed & (2**63 - 1))
        )
    return Generator(generator.get_state, generator.set_state, lambda seed: generator.seed(seed & 0xFFFF_FFFF))
