"""What is put into a store, comes out of it, and is told about it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from tidemill.errors import DataError
from tidemill.testing.stores.subject import FIELDS, StoreSubject, check_kinds, draw_vectors, refused

UNICODE = [
    "plain",
    "Größe, 北京, سلام",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{WOMAN}",
    "it's ''quoted'' \"twice\" `and` more",
    "back\\slash \\' %_ -- /* ; DROP TABLE vectors",
    "\u202eright to left\u202c e\u0301 é",
    "tab\tline\nreturn\r$1 {braces} [brackets] ?",
    " ",
]
NUL = "nul\0inside"


async def check_upserting_again(subject: StoreSubject) -> None:
    """A record upserted again stands in place of the one there, vector and payload, also after the store was closed."""
    settings = subject.make(dimensions=4)
    vectors = draw_vectors(6)
    async with settings.open() as store:
        check_kinds(
            await store.upsert(["a", "b", "c"], vectors[:3], [{"n": 1}, {"n": 2, "more": {"deep": [None]}}, {}]), "sss"
        )
        check_kinds(await store.upsert(["b", "d"], vectors[3:5], [{"n": 3}, {"n": 4}]), "ss")
        check_kinds(await store.upsert(["d"], vectors[5:]), "s")
        check_kinds(await store.upsert([], []), "")
    async with settings.open() as store:
        assert await store.count() == 4
        found = await store.fetch(["a", "b", "c", "d"], with_vectors=True)
        assert [match and match.payload for match in found] == [{"n": 1}, {"n": 3}, {}, {}]
        for match, number in zip(found, (0, 3, 2, 5), strict=True):
            assert match is not None
            assert match.vector is not None
            assert abs(vectors[number] - match.vector).max() < 1e-6
        (nearest,) = await store.search(vectors[5:], 1)
        assert nearest[0].id == "d"


async def check_duplicates(subject: StoreSubject) -> None:
    """Of several records of one id in one call the last that is well is stored, and the others are told."""
    async with subject.make(dimensions=4).open() as store:
        vectors = draw_vectors(7)
        vectors[6] = float("nan")
        keys = ["a", "b", "a", "c", "a", "b", "b"]
        outcomes = await store.upsert(keys, vectors, [{"n": number} for number in range(7)])
        check_kinds(outcomes, "uuusssr")
        assert [outcome.id for outcome in outcomes] == keys
        assert await store.count() == 3
        found = await store.fetch(["a", "b", "c"])
        assert [match and match.payload["n"] for match in found] == [4, 5, 3]
        (nearest,) = await store.search(vectors[:1], 10)
        assert sorted(match.id for match in nearest) == ["a", "b", "c"]


async def check_refusals(subject: StoreSubject) -> None:
    """What is wrong with a record is its outcome, and those beside it are stored; a call that makes no sense raises."""
    one = [0.5, 0.5, 0.5, 0.5]
    bad: list[tuple[Any, Any, Any, str]] = [
        ("", one, {}, "the id is empty"),
        ("i" * 2_000, one, {}, "2,000 bytes"),
        ("half\ud800", one, {}, "surrogate"),
        (7, one, {}, "expected an id, a text, got 7"),
        ("v1", [], {}, "the vector is empty, the store takes 4 numbers"),
        ("v2", [1.0, 2.0], {}, "the vector has 2 numbers, the store takes 4"),
        ("v3", [1.0, float("nan"), 0.0, 0.0], {}, "NaN at 1"),
        ("v4", [1.0, 0.0, float("-inf"), 0.0], {}, "at 2 that is infinite"),
        ("v5", [1e39, 0.0, 0.0, 0.0], {}, "at 0 that is infinite in float32"),
        ("v6", [0.0, 0.0, 0.0, 0.0], {}, "all zeros"),
        ("v7", None, {}, "got null"),
        ("v8", ["1", "2", "3", "4"], {}, 'got "1" at 0'),
        ("p1", one, {"z": {1, 2}}, "no JSON"),
        ("p2", one, {"z": [float("inf")]}, "not finite"),
        ("p9", one, MappingProxyType({"z": float("nan")}), "not finite"),
        ("p3", one, "text", "expected a payload, a mapping"),
        ("p4", one, {"text": 5}, "`text` holds a text, got 5"),
        ("p5", one, {"number": "5"}, "`number` holds a whole number"),
        ("p6", one, {"number": 2**63}, "`number` holds a whole number of 64 bits"),
        ("p7", one, {"flag": 1}, "`flag` holds true or false, got 1"),
        ("p8", one, {"share": True}, "`share` holds a finite number, got true"),
    ]
    async with subject.make(dimensions=4, fields=FIELDS).open() as store:
        keys = [each[0] for each in bad]
        outcomes = await store.upsert(
            ["first", *keys, "last"], [one, *(each[1] for each in bad), one], [{}, *(each[2] for each in bad), {}]
        )
        check_kinds(outcomes, "s" + "r" * len(bad) + "s")
        for outcome, (key, _, _, words) in zip(outcomes[1:-1], bad, strict=True):
            assert outcome.id == str(key)
            assert words in outcome.error, outcome
        check_kinds(await store.upsert(["a", "b"], draw_vectors(2, 3)), "rr")
        assert await store.count() == 2
        with refused(DataError, "got 2 ids, 1 vectors"):
            await store.upsert(["a", "b"], [one])
        with refused(DataError, "1 payloads"):
            await store.upsert(["a", "b"], [one, one], [{}])
        with refused(DataError, "`[vector]`"):
            await store.upsert(["a", "b", "c", "d"], one)
        with refused(DataError, "`[id]`"):
            await store.upsert("a", [one])


async def check_unicode(subject: StoreSubject) -> None:
    """Ids, payloads and filters are texts of any characters; one that a store cannot hold is refused by itself."""
    texts = [*UNICODE, NUL] if subject.takes_nul else UNICODE
    async with subject.make(dimensions=4, fields={"text": "str"}).open() as store:
        payloads = [{"text": text, text: [text, {"in": text}]} for text in texts]
        check_kinds(await store.upsert(texts, draw_vectors(len(texts)), payloads), "s" * len(texts))
        found = await store.fetch(texts)
        assert [match and match.id for match in found] == texts
        assert [match and match.payload for match in found] == payloads
        for text in texts:
            assert await store.count({"text": text}) == 1, text
            (matches,) = await store.search(draw_vectors(1), 20, {"text": {"in": [text, "other"]}})
            assert [match.id for match in matches] == [text]
            assert await store.count({"text": {"ne": text}}) == len(texts) - 1
        if not subject.takes_nul:
            vectors = draw_vectors(4)
            outcomes = await store.upsert(
                [NUL, "p", "k", "\\u0000"], vectors, [{}, {"a": [NUL]}, {NUL: 1}, {"a": "\\u0000"}]
            )
            check_kinds(outcomes, "rrrs")
            assert await store.count() == len(texts) + 1
        assert await store.delete(texts) == len(texts)


async def check_fetching(subject: StoreSubject) -> None:
    """Records come in the order that they are asked for, as often as that, and None where there is none."""
    async with subject.make(dimensions=4).open() as store:
        keys = [f"k{number}" for number in range(300)]
        await store.upsert(keys, draw_vectors(300), [{"n": number} for number in range(300)])
        asked = ["k7", "gone", "k299", "k7", "", "k0"]
        found = await store.fetch(asked)
        assert [match and match.id for match in found] == ["k7", None, "k299", "k7", None, "k0"]
        assert all(match is None or (match.score, match.vector) == (1.0, None) for match in found)
        assert [match and match.payload["n"] for match in await store.fetch(keys[::-1])] == list(range(300))[::-1]
        assert list(await store.fetch([])) == []
        with refused(DataError, "expected an id, a text, got 5"):
            await store.fetch(["k1", 5])  # type: ignore[list-item]


async def check_deleting(subject: StoreSubject) -> None:
    """Deleting tells how many records there were; one that is put in again is there again."""
    async with subject.make(dimensions=4).open() as store:
        vectors = draw_vectors(5)
        await store.upsert(list("abcde"), vectors)
        assert await store.delete(["a", "x", "a", "c", ""]) == 2
        assert await store.delete(["a"]) == 0
        assert await store.delete([]) == 0
        assert await store.count() == 3
        (matches,) = await store.search(vectors[:1], 10)
        assert sorted(match.id for match in matches) == ["b", "d", "e"]
        await store.upsert(["a"], vectors[:1])
        (matches,) = await store.search(vectors[:1], 1)
        assert matches[0].id == "a"
        await store.flush()
        assert await store.count() == 4
