"""What a filter lets pass, against what its comparisons say of each payload."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tidemill.errors import DataError, StateError
from tidemill.stores.filters import MAX_INT, MIN_INT, OPERATORS, ORDERS, parse_filter
from tidemill.testing.stores.subject import FIELDS, StoreSubject, check_kinds, draw_vectors, refused

VALUES: dict[str, list[Any]] = {
    "text": ["", "a", "A", "b'c", "ü", "\N{GRINNING FACE}", "a%", None],
    "number": [0, 1, -1, 2**53 + 1, MIN_INT, MAX_INT, None],
    "share": [0.0, -0.0, 0.1, 1 / 3, -2.5, 1e300, 5e-300, 3, None],
    "flag": [True, False, None],
}
RECORDS = 120
FILTERS = 250


async def check_filters(subject: StoreSubject) -> None:
    """Each operator of each kind of field, None, lists, several at once: `count` and `search` as `Comparison` says."""
    rng = random.Random(0)
    payloads = [_draw_payload(rng) for _ in range(RECORDS)]
    async with subject.make(dimensions=4, fields=FIELDS).open() as store:
        vectors = draw_vectors(RECORDS)
        check_kinds(await store.upsert([str(number) for number in range(RECORDS)], vectors, payloads), "s" * RECORDS)
        await store.flush()
        filters = [*_list_filters(subject), *(_draw_filter(rng, subject) for _ in range(FILTERS))]
        for filter in filters:
            comparisons = parse_filter(filter, store_fields)
            passing = {
                str(number) for number, each in enumerate(payloads) if all(one.passes(each) for one in comparisons)
            }
            count, (matches,) = await asyncio.gather(store.count(filter), store.search(vectors[:1], RECORDS, filter))
            assert ({match.id for match in matches}, count) == (passing, len(passing)), filter
        if not subject.orders_texts:
            with refused(DataError, "order"):
                await store.count({"text": {"gt": "a"}})


store_fields: Any = FIELDS


async def check_other_fields(subject: StoreSubject) -> None:
    """With other fields than it was made with a store is refused, or, where `adds_fields` says so, filters truly."""
    made = subject.make(dimensions=4, fields={"number": "int"})
    async with made.open() as store:
        check_kinds(
            await store.upsert(["a", "b"], draw_vectors(2), [{"number": 1, "text": "sea"}, {"number": 2}]), "ss"
        )
    for fields in ({"number": "str"}, {"number": "int", "text": "str"}, {"text": "str"}, {}):
        other = made.model_copy(update={"fields": fields})
        if subject.adds_fields and fields.get("number") != "str":
            async with other.open() as store:
                for name, value in {"number": 1, "text": "sea"}.items():
                    counts = [await store.count({name: each}) for each in (value, {"ne": value}) if name in fields]
                    assert counts in ([], [1, 1]), (fields, name, counts)
        else:
            with refused(StateError, "field"):
                async with other.open():
                    pass
    async with made.open() as store:
        assert await store.count({"number": [1, 2]}) == 2


def _draw_payload(rng: random.Random) -> dict[str, Any]:
    """Some fields, some of them None, and others that no filter names."""
    payload = {name: rng.choice(values) for name, values in VALUES.items() if rng.random() < 0.8}
    return {**payload, "other": rng.random()}


def _list_filters(subject: StoreSubject) -> list[dict[str, Any]]:
    """Every operator with every value of every field."""
    found: list[dict[str, Any]] = [{}]
    for name, values in VALUES.items():
        for operator in _find_operators(name, subject):
            if operator in ("in", "not_in"):
                found += [{name: {operator: some}} for some in ([], [None], values, values[:2], [values[1], None])]
            else:
                found += [{name: {operator: each}} for each in values if each is not None or operator not in ORDERS]
    return found


def _draw_filter(rng: random.Random, subject: StoreSubject) -> dict[str, Any]:
    """One to three fields, each compared in one of the forms that a filter takes."""
    drawn: dict[str, Any] = {}
    for name in rng.sample(sorted(VALUES), rng.randint(1, 3)):
        values = VALUES[name]
        form = rng.randrange(4)
        if form == 0:
            drawn[name] = rng.choice(values)
        elif form == 1:
            drawn[name] = rng.sample(values, rng.randint(0, len(values)))
        else:
            drawn[name] = {}
            for operator in rng.sample(_find_operators(name, subject), form - 1):
                some = [each for each in values if each is not None or operator not in ORDERS]
                is_list = operator in ("in", "not_in")
                drawn[name][operator] = rng.sample(some, rng.randint(0, len(some))) if is_list else rng.choice(some)
    return drawn


def _find_operators(name: str, subject: StoreSubject) -> list[str]:
    is_ordered = name in ("number", "share") or (name == "text" and subject.orders_texts)
    return [operator for operator in OPERATORS if is_ordered or operator not in ORDERS]
