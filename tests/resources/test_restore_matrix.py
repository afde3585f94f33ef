"""Whatever ends a block, over whatever tree of modules: all it changed is as it was, bit for bit.

A thousand trees are `make proof`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from torch import nn

from module_trees import module_trees
from restoring import DEPTHS, WAYS, Plan, check_matrix, plans


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> Iterator[None]:
    """Each block over a device collects garbage: that of this module only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@given(root=module_trees(), plan=plans())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_everything_is_put_back(root: nn.Sequential, plan: Plan) -> None:
    assert check_matrix(root, plan) == len(WAYS) * len(DEPTHS) * 2
