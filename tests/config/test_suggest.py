"""Suggestions: the name that a mistyped one stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.config.wording.suggest import count_edits, find_near, find_near_file

FIELDS = ["lr", "seed", "batch_size", "num_epochs", "max_lr", "min_lr", "top_k"]


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("rl", "lr"),
        ("l", "lr"),
        ("lrr", "lr"),
        ("sed", "seed"),
        ("seeed", "seed"),
        ("SEED", "seed"),
        ("batchsize", "batch_size"),
        ("batch-size", "batch_size"),
        ("btach_szie", "batch_size"),
        ("epochs", "num_epochs"),
        ("mx_lr", "max_lr"),
        ("mn_lr", "min_lr"),
        ("tok_p", "top_k"),
    ],
)
def test_a_mistyped_name_is_known(typo: str, meant: str) -> None:
    assert find_near(typo, FIELDS) == meant


@pytest.mark.parametrize("word", ["x", "k", "name", "match", "dropout", "max_tokens", "step", ""])
def test_another_word_is_no_typo(word: str) -> None:
    assert find_near(word, FIELDS) is None


def test_names_without_a_character_in_common_are_not_near() -> None:
    assert find_near("a", ["b"]) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("trian.yaml", "train.yaml"),
        ("train.yml", "train.yaml"),
        ("wide.tml", "wide.toml"),
        ("wide.jsn", "wide.json"),
        ("widee.json", "wide.json"),
        ("trainyaml", "train.yaml"),
        ("sgd.yaml", None),
        ("nothere.yaml", None),
        ("gone/train.yaml", None),
    ],
)
def test_files_are_alike_by_their_names_without_suffix(tmp_path: Path, name: str, near: str | None) -> None:
    for each in ("a.yaml", "secret.yaml", "train.yaml", "wide.json", "wide.toml"):
        (tmp_path / each).touch()
    assert find_near_file(tmp_path / name) == near


def edit_once(text: str) -> set[str]:
    """Every text one edit away, by definition."""
    halves = [(text[:at], text[at:]) for at in range(len(text) + 1)]
    inserted = {f"{head}{each}{tail}" for head, tail in halves for each in "abc"}
    deleted = {head + tail[1:] for head, tail in halves if tail}
    replaced = {f"{head}{each}{tail[1:]}" for head, tail in halves if tail for each in "abc"}
    swapped = {head + tail[1] + tail[0] + tail[2:] for head, tail in halves if len(tail) > 1}
    return inserted | deleted | replaced | swapped


@given(st.text("abc", max_size=5))
def test_edits_are_counted_up_to_a_limit(text: str) -> None:
    once = edit_once(text)
    twice = {each for near in once for each in edit_once(near)}
    assert count_edits(text, text, 2) == 0
    for other in twice:
        expected = 0 if other == text else 1 if other in once else 2
        assert count_edits(text, other, 2) == expected
        assert count_edits(text, other, 1) == min(expected, 2)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_what_counts_as_two_edits_is_two_edits_away(one: str, other: str) -> None:
    twice = {each for near in edit_once(one) for each in edit_once(near)} | {one}
    assert (count_edits(one, other, 2) <= 2) == (other in twice | edit_once(one))
