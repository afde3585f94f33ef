"""Nearly equal texts: found as a comparison of all with all finds them, and resumed at every position."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from resuming import check_resumes_everywhere, through_json

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.kept import digests
from tidemill.data.nodes.keeping import Dedupe
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.texts.minhash import choose_bands

WORDS = [f"word{number}" for number in range(4000)]


def vary(text: str, count: int, rng: random.Random) -> str:
    """The text with so many words changed."""
    words = text.split()
    for place in rng.sample(range(len(words)), count):
        words[place] = f"other{rng.randrange(10**9)}"
    return " ".join(words)


def list_runs(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}


def make_texts(count: int, seed: int = 3) -> list[dict[str, Any]]:
    """Some of their own, and copies of these with up to ten words changed, in any order."""
    rng = random.Random(seed)
    own = [" ".join(rng.choices(WORDS, k=100)) for _ in range(count // 4)]
    texts = own + [vary(rng.choice(own), rng.randrange(11), rng) for _ in range(count - len(own))]
    rng.shuffle(texts)
    return [{"at": at, "text": text} for at, text in enumerate(texts)]


def test_near_texts_are_left_out_and_others_kept(tmp_path: Path) -> None:
    """Of those a record is left out for: it is nearer than 0.79; of those kept: none is nearer than 0.95."""
    records = make_texts(160)
    runs = [list_runs(record["text"]) for record in records]
    kept = list(tm.from_iterable(records).dedupe("text", near=0.85, dir=tmp_path))
    places = [record["at"] for record in kept]
    assert 40 <= len(kept) < 140
    for at, mine in enumerate(runs):
        nearest = max((len(mine & runs[each]) / len(mine | runs[each]) for each in places if each < at), default=0.0)
        assert nearest < 0.95 if at in places else nearest > 0.78


def test_a_state_goes_on_from_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files as they come with millions of texts, and where they are gone."""
    monkeypatch.setattr(digests, "STRETCH", 64)  # four texts
    monkeypatch.setattr(digests, "FAN", 2)
    node = Dedupe(key="text", near=0.85, dir=str(tmp_path))
    open_at = partial(iterate, FromIterable(iterable=make_texts(20)), [node])
    whole = check_resumes_everywhere(open_at)
    assert len(list(tmp_path.glob("*/sorted-*"))) > 0
    walking = open_at()
    for _ in range(8):
        next(walking)
    state = through_json(walking.state())
    for path in tmp_path.glob("*/sorted-*"):
        path.unlink()
    assert [("record", record) for record in open_at(state)] == whole[8:]


def test_what_near_is_told(tmp_path: Path) -> None:
    stream = tm.from_iterable([{"text": 3}, {"text": ""}, {"text": "one"}, {"text": " one "}])
    records = stream.dedupe("text", near=0.9, dir=tmp_path).iterate()
    with pytest.raises(tm.DataError, match="item 0, step `dedupe`: expected a text to compare, got a int"):
        next(records)
    assert list(records) == [{"text": ""}, {"text": "one"}]
    with pytest.raises(tm.ConfigError, match="near needs `key` to be the one column of a text"):
        stream.dedupe(near=0.9, dir=tmp_path)
    with pytest.raises(tm.ConfigError, match="near"):
        stream.dedupe("text", near=1.5, dir=tmp_path)


@pytest.mark.parametrize("near", [0.3, 0.5, 0.7, 0.85, 0.95, 0.99])
def test_pairs_that_are_just_near_are_compared(near: float) -> None:
    bands, rows = choose_bands(near)
    assert bands * rows <= 128
    assert 1 - (1 - near**rows) ** bands >= 0.99
