"""The mutants of `make scopes` still change what they say, and name tests that there are."""

from __future__ import annotations

import ast

import pytest

from mutations import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_is_a_change_of_what_stands_once(mutant: Mutant) -> None:
    before = (ROOT / mutant.path).read_text("utf-8")
    after = mutant.mutate(before)
    assert after != before
    compile(after, str(mutant.path), "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_its_test_is_there(mutant: Mutant) -> None:
    path, *names = mutant.test.partition("[")[0].split("::")
    scope = ast.parse((ROOT / path).read_text("utf-8")).body
    for name in names:
        found = [node for node in scope if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name]
        assert len(found) == 1, f"{name} is not in {path}"
        scope = found[0].body


def test_there_are_twenty_and_no_two_of_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
