"""Process-wide switches hold for the block, and are put back."""

from __future__ import annotations

import gc
import os
import resource
import signal
import threading

import pytest

from tidemill.resources.process import Terminated, calm_gc, find_exit_code, more_open_files, sigterm_as_interrupt


def test_the_collector_is_calm_for_the_block_nested_and_counted(nothing_frozen: None) -> None:
    before = gc.get_threshold()
    with calm_gc():
        calm = gc.get_threshold()
        assert gc.get_freeze_count() > 0
        with calm_gc():
            assert gc.get_threshold() == calm
        assert gc.get_threshold() == calm
    assert calm[0] > before[0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_the_collector_is_put_back_when_the_block_raises() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="out"), calm_gc():
        raise ValueError("out")
    assert gc.get_threshold() == before


def test_what_is_frozen_already_stays_so(nothing_frozen: None) -> None:
    """A process that froze its own objects, as servers do before they fork, finds them frozen afterwards."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    with calm_gc():
        assert gc.get_freeze_count() <= frozen
    assert frozen / 2 < gc.get_freeze_count() <= frozen


def test_sigterm_raises_what_ctrl_c_would() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_interrupt(), pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
    assert issubclass(Terminated, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGTERM) == before
    assert [find_exit_code(interrupt) for interrupt in (KeyboardInterrupt, Terminated)] == [130, 143]


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def work() -> None:
        with sigterm_as_interrupt():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


def test_as_many_files_as_allowed_may_be_open_and_the_limit_is_put_back() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with more_open_files():
            with more_open_files():
                assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(soft, 512), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
