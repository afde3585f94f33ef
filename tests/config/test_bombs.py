"""Short files that stand for a great deal are refused, however they multiply; what is measured is of its size."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import tidemill as tm
from config_inputs import BOMBS, STEPS, count_keys, write_job, write_training
from tidemill.jobs.spec.file import load_job_file

LIMITS = {
    "aliases": "the aliases stand for more than 100,000 values",
    "references in texts": "the references make texts of more than 10,000,000 characters",
    "references to lists": "the references stand for more than 100,000 values",
    "includes": "more than 1,000 files are included",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_for_what_it_multiplies(bomb: str, tmp_path: Path) -> None:
    with pytest.raises(tm.ConfigError, match=LIMITS[bomb]) as caught:
        tm.load_config(dict, BOMBS[bomb](tmp_path))
    assert all(problem.message.endswith(LIMITS[bomb]) for problem in caught.value.problems)


def test_what_is_measured_has_300_keys(tmp_path: Path) -> None:
    for write in (write_job, write_training):
        assert count_keys(yaml.safe_load(write(tmp_path).read_text())) >= 300


def test_the_job_that_is_measured_is_one(tmp_path: Path) -> None:
    assert len(load_job_file(write_job(tmp_path)).steps) == STEPS
