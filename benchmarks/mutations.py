"""What the scopes promise, broken piece by piece: a table of mutants, each with the test that has to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/tidemill")


@dataclass(frozen=True)
class Mutant:
    """One change that must not go unnoticed.

    Attributes:
        name: what is broken.
        file: of the package `tidemill.resources`.
        fragment: what stands there, once.
        replacement: what is put in its place.
        test: the id of the test that fails.
    """

    name: str
    file: str
    fragment: str
    replacement: str
    test: str

    @property
    def path(self) -> Path:
        """From the root of the repository."""
        return PACKAGE / "resources" / self.file

    def mutate(self, text: str) -> str:
        """The file's text with the change.

        Raises:
            ValueError: the fragment does not stand there exactly once.
        """
        found = text.count(self.fragment)
        if found != 1:
            raise ValueError(f"{self.name}: the fragment stands {found} times in {self.path}:\n{self.fragment}")
        return text.replace(self.fragment, self.replacement)


STATES = "tests/resources/test_states.py::"
PROFILER = "tests/resources/test_profiler.py::"
MATRIX = "tests/resources/test_restore_matrix.py::"
SUSPENSION = "tests/resources/test_suspension.py::"
THREADS = "tests/resources/test_threads_one_model.py::"
SCOPE = "tests/resources/test_scope.py::"

PUTTING_BACK = (
    Mutant(
        "a block's state is put back only where nothing was raised",
        "states/state.py",
        "raise_failures(error, self.leave(), ",
        "raise_failures(error, self.leave() if error is None else [], ",
        f"{STATES}TestEvaluating::test_every_submodule_is_as_it_was_after_an_exception",
    ),
    Mutant(
        "modes are set by train(), which a frozen module overrides",
        "states/modes.py",
        '    for slot, flag in zip(slots, flags, strict=True):\n        slot["training"] = flag\n',
        "    for module, flag in zip(modules, flags, strict=True):\n        module.train(flag)\n",
        f"{STATES}TestEvaluating::test_train_is_never_called_so_what_is_frozen_stays_frozen",
    ),
    Mutant(
        "modes that are right already are written",
        "states/switch.py",
        "self._write(wrong, value)",
        "self._write(objects, value)",
        f"{MATRIX}test_a_mode_that_is_right_is_not_written_beside_one_that_is_not",
    ),
    Mutant(
        "what fails half-way in leaves the others changed",
        "states/switch.py",
        "note_failures(error, self.release(held))",
        "pass",
        f"{STATES}TestEvaluating::test_a_model_that_refuses_half_way_in_leaves_the_others_as_they_were",
    ),
    Mutant(
        "one that cannot be put back keeps others from it",
        "states/switch.py",
        "failures += [again for each in group for again in self._write_one(each, was)]",
        "failures.append(failure)",
        f"{STATES}TestEvaluating::test_what_cannot_be_put_back_is_noted_on_the_block_s_own_error",
    ),
    Mutant(
        "a signal as the state is read keeps it from being put back",
        "states/switch.py",
        "except BaseException as failure:  # noqa: BLE001 - one cannot be read",
        "except Exception as failure:  # noqa: BLE001 - one cannot be read",
        f"{MATRIX}test_a_signal_as_a_block_ends_keeps_nothing_from_being_put_back",
    ),
    Mutant(
        "gradient mode stays as it was within",
        "states/gradients.py",
        "            torch.set_grad_enabled(recording)\n",
        "            pass\n",
        f"{STATES}TestGradients::test_a_mode_that_the_block_sets_for_good_is_put_back",
    ),
    Mutant(
        "inference mode is not left",
        "states/gradients.py",
        "guard.__exit__(None, None, None)",
        "pass",
        f"{STATES}TestGradients::test_inference_is_put_back",
    ),
    Mutant(
        "gradient mode is put back in whatever thread",
        "states/gradients.py",
        "if self._held in _open.held:",
        "if True:",
        f"{STATES}TestGradients::test_a_block_left_in_another_thread_says_so_and_is_left_in_its_own",
    ),
    Mutant(
        "parameters stay frozen",
        "states/freezing.py",
        "return [] if held is None else REQUIRES_GRAD.release(held)",
        "return []",
        f"{STATES}TestFrozen::test_each_parameter_is_as_it_was",
    ),
    Mutant(
        "generators of random numbers stay seeded",
        "states/seeding.py",
        "return [] if held is None else GENERATORS.release(held)",
        "return []",
        f"{STATES}TestSeeded::test_afterwards_the_generators_go_on_as_if_nothing_was_drawn",
    ),
    Mutant(
        "a failed release hides the block's own error",
        "releasing.py",
        "    if error is not None:\n",
        "    if error is not None and not failures:\n",
        f"{STATES}TestEvaluating::test_what_cannot_be_put_back_is_noted_on_the_block_s_own_error",
    ),
)

THREADS_AND_ORDER = (
    Mutant(
        "a block that ends under another hands nothing down to it",
        "states/switch.py",
        "theirs.update((key, due.pop(key)) for key in due.keys() & theirs.keys())",
        "pass",
        f"{THREADS}test_the_last_to_leave_puts_back_what_the_first_one_saw[0]",
    ),
    Mutant(
        "no lock over the blocks of a model",
        "states/switch.py",
        "self._lock = threading.RLock()",
        "self._lock = __import__('contextlib').nullcontext()",
        f"{THREADS}test_eight_threads_over_one_model",
    ),
    Mutant(
        "a decorated function enters one block for all of its calls",
        "states/state.py",
        "with self.copy():",
        "with self:",
        f"{STATES}TestEvaluating::test_a_decorated_function_holds_a_block_in_each_call",
    ),
    Mutant(
        "a profiler ends what it began the first first",
        "profiling/block.py",
        "failures += self._undo.pop()(error) or ()",
        "failures += self._undo.pop(0)(error) or ()",
        f"{MATRIX}test_what_a_profiler_began_last_ends_first",
    ),
    Mutant(
        "a scope releases the first first",
        "scope.py",
        "return self._held.pop()",
        "return self._held.pop(0)",
        f"{SCOPE}test_the_last_is_released_first",
    ),
    Mutant(
        "a profiler that fails half-way in leaves what it changed",
        "profiling/block.py",
        "note_failures(error, self.leave(error))",
        "pass",
        f"{PROFILER}TestBlock::test_a_failure_half_way_in_puts_back_what_was_changed",
    ),
    Mutant(
        "a part that fails as a profiler ends keeps others from it",
        "profiling/block.py",
        "except BaseException as failure:  # noqa: BLE001 - each part is put back",
        "except ZeroDivisionError as failure:  # noqa: BLE001 - each part is put back",
        f"{PROFILER}TestBlock::test_a_failure_while_leaving_is_noted_and_all_else_put_back",
    ),
)

SUSPENDING = (
    Mutant(
        "a block that suspends is taken",
        "states/suspension.py",
        "    if site is None or line is None:\n",
        "    if True:\n",
        f"{SUSPENSION}test_a_body_that_suspends_is_refused_at_its_line[awaits]",
    ),
    Mutant(
        "what suspends in a handler within the block is overlooked",
        "states/suspension.py",
        "        while handler is not None and handler != leave:\n"
        "            handler = _find_handler(handlers, handler)\n"
        "        if handler is not None:\n",
        "        if handler == leave:\n",
        f"{SUSPENSION}test_a_body_that_suspends_is_refused_at_its_line[awaits_in_a_handler_in_a_handler]",
    ),
    Mutant(
        "what suspends behind the block counts",
        "states/suspension.py",
        "        if handler is not None:\n            return _find_line",
        "        if True:\n            return _find_line",
        f"{SUSPENSION}test_a_body_that_does_not_suspend_is_held[awaits_around]",
    ),
    Mutant(
        "what is entered by hand is taken",
        "states/suspension.py",
        "    if not is_statement:\n        return 0 if suspensions else None\n",
        "    if not is_statement:\n        return None\n",
        f"{SUSPENSION}test_what_is_entered_by_hand_is_refused_in_a_function_that_suspends[enters_by_hand]",
    ),
    Mutant(
        "a manager of one's own holds a scope for itself alone",
        "states/suspension.py",
        "if not is_held or site.find_suspension() is None:",
        "if True:",
        f"{SUSPENSION}test_a_body_that_does_not_suspend_is_held[holds_a_manager_of_ones_own]",
    ),
    Mutant(
        "functions that suspend are decorated",
        "states/state.py",
        "if any(is_kind(each) for is_kind in kinds",
        "if not any(is_kind for is_kind in kinds",
        f"{SUSPENSION}test_what_suspends_cannot_be_decorated[coroutine function]",
    ),
)

MEASURING = (
    Mutant(
        "figures are read without waiting for the device",
        "profiling/spans.py",
        "                device.synchronize()\n",
        "                pass\n",
        f"{PROFILER}TestTimes::test_the_device_is_waited_for_once_when_figures_are_read",
    ),
    Mutant(
        "each batch waits for the device",
        "profiling/spans.py",
        "        span.stops = tuple([device.record() for device in devices])\n",
        "        span.stops = tuple([device.synchronize() or device.record() for device in devices])\n",
        f"{PROFILER}TestTimes::test_the_device_is_waited_for_once_when_figures_are_read",
    ),
    Mutant(
        "the cache is cleared after each block",
        "profiling/cache.py",
        "if _blocks.depth or not due:",
        "if not due:",
        f"{PROFILER}TestCache::test_it_is_cleared_once_after_the_outermost_block",
    ),
    Mutant(
        "a traceback holds on to tensors as the cache is cleared",
        "profiling/cache.py",
        "        _drop_locals(each)\n",
        "        pass\n",
        f"{PROFILER}TestCache::test_what_a_traceback_holds_is_dropped_first",
    ),
    Mutant(
        "the cache is cleared in front of the garbage",
        "profiling/cache.py",
        "    gc.collect()\n    for device in due.values():\n        device.empty_cache()\n",
        "    for device in due.values():\n        device.empty_cache()\n    gc.collect()\n",
        f"{PROFILER}TestCache::test_garbage_is_collected_once_in_front_of_it",
    ),
    Mutant(
        "a device's peak counts what was before the block",
        "profiling/peaks.py",
        "            for device in devices:\n                device.reset_peak()\n",
        "",
        f"{PROFILER}TestMemory::test_the_peak_of_a_device_is_the_block_s_own",
    ),
    Mutant(
        "a batch that raises is not counted",
        "profiling/block.py",
        "            yield\n        finally:\n",
        "            yield\n        except ZeroDivisionError:\n            raise\n        else:\n",
        f"{PROFILER}TestTimes::test_a_batch_that_raises_counts",
    ),
    Mutant(
        "a batch outside of its block measures nothing and says nothing",
        "profiling/profiler.py",
        "        if not blocks:\n            raise ResourceError(\n",
        "        if not blocks:\n            return __import__('contextlib').nullcontext()\n"
        "            raise ResourceError(\n",
        f"{PROFILER}TestTimes::test_a_batch_outside_of_its_block_is_refused",
    ),
    Mutant(
        "a batch that is never entered measures nothing and says nothing",
        "profiling/block.py",
        "        self._undo.append(lambda error: self._check_batches())\n",
        "",
        f"{PROFILER}TestTimes::test_a_batch_that_is_never_entered_is_told_as_the_block_ends",
    ),
)

MUTANTS = (*PUTTING_BACK, *THREADS_AND_ORDER, *SUSPENDING, *MEASURING)
