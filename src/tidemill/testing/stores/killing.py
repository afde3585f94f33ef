"""Processes that die while they put records in."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
from pydantic import SecretStr, TypeAdapter

from tidemill.stores.store import Store
from tidemill.stores.table import AnyStore
from tidemill.testing.stores.subject import StoreSubject, check_kinds, draw_vectors

KILLS = 20
KEYS = [f"key {number}" for number in range(40)]
DIMENSIONS = 8


async def check_kills(subject: StoreSubject) -> None:
    """20 processes are killed, each somewhere within an upsert: what was told to be stored is there, nothing twice.

    Of a store that is `atomic` the upsert that was broken off is there whole or not at all.
    """
    settings = subject.make(dimensions=DIMENSIONS)
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemill.testing.stores.victim"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        landed = 0
        for number in range(KILLS):
            order = render_order(subject, settings, {"first": landed + 1, "at_ratio": (number + 0.5) / KILLS})
            told = await _kill_one(victim, order)
            landed = max([landed, *told])
            async with settings.open() as store:
                found = await store.fetch(KEYS, with_vectors=True)
                stored = [match.payload["round"] for match in found if match is not None]
                assert await store.count() == len(stored) == len(KEYS)
                assert min(stored) >= landed, "what was told to be stored is gone"
                assert len(set(stored)) == 1 or not subject.atomic, "a part of an upsert is there; is it `atomic`?"
                for place, match in enumerate(found):
                    assert match is not None
                    assert match.vector is not None
                    wanted = draw_vectors(len(KEYS), DIMENSIONS, seed=match.payload["round"])[place]
                    assert abs(wanted - match.vector).max() < 1e-5
                landed = max(stored)
        async with settings.open() as store:
            check_kinds(await store.upsert(KEYS, draw_vectors(len(KEYS), DIMENSIONS)), "s" * len(KEYS))
            (matches,) = await store.search(draw_vectors(1, DIMENSIONS), 100)
            assert sorted(match.id for match in matches) == sorted(KEYS)
    finally:
        assert victim.stdin is not None
        victim.stdin.close()
        await victim.wait()
        _close_pipes(victim)


def render_order(subject: StoreSubject, settings: Store, more: dict[str, Any]) -> bytes:
    """What a process that starts others is told: which store, which ids, what to import, and more."""
    plain = TypeAdapter[Any](AnyStore).dump_python(settings)
    return orjson.dumps({"store": plain, "keys": KEYS, "imports": subject.imports, **more}, default=_reveal) + b"\n"


async def _kill_one(victim: asyncio.subprocess.Process, order: bytes) -> list[int]:
    """The rounds that one process was told to be stored before it was killed."""
    assert victim.stdin is not None
    assert victim.stdout is not None
    victim.stdin.write(order)
    told: list[int] = []
    while (line := await victim.stdout.readline()) not in (b"killed\n", b""):
        told.append(int(line))
    assert line, "the process that starts the others has ended"
    assert told, "the process was killed before it had stored anything"
    return told


def _reveal(value: Any) -> str:
    """A setting as a text: the process needs a password as it is."""
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _close_pipes(process: asyncio.subprocess.Process) -> None:
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
