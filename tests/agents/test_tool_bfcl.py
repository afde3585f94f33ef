"""A sample of BFCL v4: what is right is taken, and spoilt it is refused with what is wrong named."""

from __future__ import annotations

from collections import Counter

import pytest

from bfcl_calls import CALLS, CONTRADICTIONS, MUTATIONS, check_call, count_calls, find_data, load_calls

pytestmark = pytest.mark.skipif(find_data() is None, reason="needs bfcl-eval: requirements/proof.txt")


def test_a_sample_of_calls_is_taken_and_each_spoilt_in_five_ways_refused() -> None:
    """All of them: `make proof`; here each thirtieth, and those that contradict their own functions."""
    assert count_calls() == CALLS
    sample = load_calls(every=30)
    kinds: Counter[str] = Counter()
    assert [failure for call in sample for failure in check_call(call, kinds)] == []
    assert kinds.total() == MUTATIONS * len(sample)
    assert {"missing", "misspelt", "unknown argument", "null", "boolean for integer", "out of enum"} <= kinds.keys()
    assert {call.id for call in sample if call.contradicts} == CONTRADICTIONS.keys()
