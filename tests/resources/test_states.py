"""What a block changes of models, gradients and random numbers is put back exactly, whatever ends it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from blocks import SCOPES
from torch import nn

import tidemill as tm

GLOBAL_MODEL: Any = nn.Dropout()


class FrozenNorm(nn.BatchNorm1d):
    """A BatchNorm that stays in evaluation mode whatever `train()` is told."""

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(False)


class Guarded(nn.Module):
    """A module whose flag is a property that notes how it is set, and first raises what it is to refuse with."""

    def __init__(self) -> None:
        self.sets: list[bool] = []
        self.refusals: list[BaseException] = []
        self._mode = True
        super().__init__()
        self.sets.clear()

    @property
    def training(self) -> bool:
        return self._mode

    @training.setter
    def training(self, value: bool) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self._mode = value
        self.sets.append(value)


def flags(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def make_model() -> Any:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(), FrozenNorm(2)))


class TestEvaluating:
    def test_every_submodule_is_as_it_was_after_an_exception(self) -> None:
        model = make_model()
        model.train()
        model[2][0].eval()
        before = flags(model)
        with pytest.raises(ValueError, match="mine"), tm.evaluating(model):
            assert not any(flags(model))
            raise ValueError("mine")
        assert flags(model) == before

    def test_train_is_never_called_so_what_is_frozen_stays_frozen(self) -> None:
        """`model.train()` would thaw a norm that `train(False)` was never told of; flags are written as attributes."""
        model = make_model()
        model.train()
        model[1].eval()  # frozen by hand
        thawed = FrozenNorm(2)
        thawed.training = True  # whatever its `train()` would say
        model.append(thawed)
        with tm.evaluating(model):
            assert not thawed.training
        assert [model[1].training, model[2][1].training, thawed.training] == [False, False, True]
        assert model[0].training

    def test_a_shared_module_is_one(self) -> None:
        shared = Guarded()
        with tm.evaluating(nn.Sequential(shared, nn.Sequential(shared))):
            assert not shared.training
        assert shared.sets == [False, True]

    def test_a_flag_that_is_right_is_not_written(self) -> None:
        guarded = Guarded()
        guarded.training = False
        guarded.sets.clear()
        with tm.evaluating(guarded):
            pass
        assert guarded.sets == []

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
    def test_modules_of_any_kind_are_found(self) -> None:
        """Scripted ones keep their children elsewhere; some have no hash, are equal to others, or stand at no place."""

        class Equal(nn.Dropout):
            def __eq__(self, other: object) -> bool:
                return isinstance(other, Equal)

            __hash__ = None  # type: ignore[assignment]

        scripted = torch.jit.script(nn.Sequential(nn.Linear(1, 1), nn.Dropout()))
        equal = Equal(), Equal()
        parent = nn.Identity()
        parent.register_module("none", None)
        parent.register_module("a", equal[0])
        parent.register_module("b", equal[1])
        with tm.evaluating(scripted, parent):
            assert not any([*flags(scripted), equal[0].training, equal[1].training])
        assert all([*flags(scripted), equal[0].training, equal[1].training])

    def test_modules_added_within_are_left_alone_and_removed_ones_put_back(self) -> None:
        model = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
        removed = model[1]
        with tm.evaluating(model):
            del model[1]
            model.append(nn.Dropout())
        assert removed.training
        assert model[1].training

    def test_nested_blocks_put_back_what_each_saw(self) -> None:
        model: Any = nn.Linear(1, 1)
        with tm.evaluating(model):
            model.train()
            with tm.evaluating(model):
                assert not model.training
            assert model.training
        assert model.training

    def test_blocks_of_threads_that_overlap_leave_the_first_state(self) -> None:
        """The first to enter sees the training mode that the last to leave puts back."""
        model = make_model()
        model.train()
        before = flags(model)
        first, second = tm.evaluating(model), tm.evaluating(model)
        first.__enter__()
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with second:
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        assert entered.wait(10)
        first.__exit__(None, None, None)
        assert not any(flags(model))
        leave.set()
        thread.join()
        assert flags(model) == before

    def test_a_compiled_model_is_switched_with_its_own_module_and_not_compiled_again(self) -> None:
        torch._dynamo.reset()
        model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        compiled: Any = torch.compile(model, backend="eager")
        x = torch.ones(1, 2)
        compiled.eval()
        with torch.no_grad():
            compiled(x)
        with tm.InferenceProfiler(compiled, warmup=0) as prof:
            compiled(x)
        assert prof.report().compilations == 0
        compiled.train()
        with tm.evaluating(compiled):
            assert [compiled.training, model.training, model[1].training] == [False] * 3
        assert [compiled.training, model.training, model[1].training] == [True] * 3

    def test_a_function_stands_for_the_modules_around_it(self) -> None:
        """`tm.InferenceProfiler(lambda x: model(x))` would leave the model in training mode, silently."""
        model: Any = nn.Dropout()

        def inner(x: Any) -> Any:
            return outer if x is None else model(x)

        def outer(x: Any) -> Any:
            return inner(x), GLOBAL_MODEL(x)

        with tm.evaluating(lambda x: outer(x) if x else None):
            assert not model.training
            assert not GLOBAL_MODEL.training
        assert model.training
        assert GLOBAL_MODEL.training

    @pytest.mark.parametrize("wrap", ["method", "partial", "object", "nested"])
    def test_a_callable_stands_for_the_modules_it_holds(self, wrap: str) -> None:
        model = nn.Dropout()

        class Holder:
            def __init__(self) -> None:
                self.model = model

            def __call__(self) -> None: ...

            def run(self) -> None: ...

        holder = Holder()
        callables: dict[str, Callable[..., Any]] = {
            "method": model.extra_repr,
            "partial": partial(print, model),
            "object": holder,
            "nested": partial(holder.run),
        }
        with tm.evaluating(callables[wrap]):
            assert not model.training
        assert model.training

    def test_a_model_that_refuses_half_way_in_leaves_the_others_as_they_were(self) -> None:
        good = Guarded()
        bad = Guarded()

        class Refusing(Guarded):
            @property
            def training(self) -> bool:
                return True

            @training.setter
            def training(self, value: bool) -> None:
                if hasattr(self, "_modules"):
                    raise OSError("will not")

        with pytest.raises(OSError, match="will not"), tm.evaluating(good, Refusing(), bad):
            raise AssertionError("not reached")
        assert good.training
        assert bad.training

    def test_what_cannot_be_put_back_is_noted_on_the_block_s_own_error(self) -> None:
        bad, good = Guarded(), Guarded()
        error = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught, tm.evaluating(bad, good):
            bad.refusals = [OSError("will not")] * 2
            raise error
        assert caught.value is error
        assert error.__notes__ == ["and while releasing: OSError: will not"]
        assert good.training

    def test_what_cannot_be_put_back_is_raised_where_the_block_raised_nothing(self) -> None:
        bad = [Guarded(), Guarded()]
        with (
            pytest.raises(ExceptionGroup, match="evaluation mode could not be put back") as caught,
            tm.evaluating(*bad),
        ):
            for each in bad:
                each.refusals = [OSError("will not")] * 9
        assert len(caught.value.exceptions) == 2

    def test_an_interrupt_while_putting_back_is_raised_once_all_is_put_back(self) -> None:
        guarded, other = Guarded(), Guarded()
        interrupt = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt) as caught, tm.evaluating(guarded, other):
            guarded.refusals = [interrupt]
        assert caught.value is interrupt
        assert guarded.training
        assert other.training

    def test_a_decorated_function_holds_a_block_in_each_call(self) -> None:
        model = nn.Dropout()

        @tm.evaluating(model)
        def look(depth: int) -> list[bool]:
            return [model.training, *(look(depth - 1) if depth else [])]

        assert look(2) == [False, False, False]
        assert model.training

    def test_it_says_whether_it_is_held(self) -> None:
        scope = tm.evaluating(nn.Dropout())
        with scope:
            assert repr(scope) == "<evaluation mode: held>"
        assert repr(scope) == "<evaluation mode: not held>"

    def test_one_object_is_one_block_at_a_time(self) -> None:
        scope = tm.evaluating(nn.Dropout())
        with scope, pytest.raises(tm.ResourceError, match="entered already by this very object"), scope:
            pass
        with scope:
            pass

    @pytest.mark.parametrize("wrong", [[nn.Dropout()], "encoder", None], ids=["list", "text", "None"])
    def test_what_is_no_model_is_refused(self, wrong: Any) -> None:
        """Its modules would train on within the block, silently."""
        with pytest.raises(tm.ConfigError, match="expected models, which can be called, got a"):
            tm.evaluating(wrong)

    def test_a_class_of_modules_is_refused(self) -> None:
        """It has no modes: `nn.Linear` in the place of a layer."""
        with pytest.raises(tm.ConfigError, match="expected models, got the class Linear\n  make one of it"):
            tm.evaluating(nn.Linear)


@pytest.mark.parametrize("kind", SCOPES)
def test_a_block_that_was_not_entered_is_not_left(kind: str) -> None:
    """Nor twice: what was before is known no longer, or not yet."""
    scope = SCOPES[kind]()
    with pytest.raises(tm.ResourceError, match="left"):
        scope.__exit__(None, None, None)
    with scope:
        pass
    with torch.no_grad():
        with pytest.raises(tm.ResourceError, match="left"):
            scope.__exit__(None, None, None)
        assert not torch.is_grad_enabled()


class TestGradients:
    def test_the_mode_is_put_back_after_an_exception(self) -> None:
        with pytest.raises(ValueError, match="mine"), tm.gradients(False):
            assert not torch.is_grad_enabled()
            raise ValueError("mine")
        assert torch.is_grad_enabled()

    def test_recording_works_within_an_outer_no_grad(self) -> None:
        weight: Any = torch.ones(1, requires_grad=True)
        with torch.no_grad(), tm.gradients(True):
            (weight * 3).backward()
        assert weight.grad is not None
        assert weight.grad.item() == 3

    def test_recording_works_within_inference_mode(self) -> None:
        weight: Any = torch.ones(1, requires_grad=True)
        with torch.inference_mode():
            with tm.gradients(True):
                assert not torch.is_inference_mode_enabled()
                (weight * 3).backward()
            assert torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
        assert weight.grad is not None

    def test_inference_is_put_back(self) -> None:
        with tm.gradients("inference"):
            assert torch.ones(1).is_inference()
            with tm.gradients(False):
                assert torch.is_inference_mode_enabled()
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("modes", [(False, False), (False, "inference"), ("inference", True), (True, "inference")])
    def test_blocks_that_are_left_in_crossed_order_put_back_what_the_first_saw(self, modes: tuple[Any, Any]) -> None:
        """Entered by hand, as an exit stack does that is closed late."""
        outer, inner = map(tm.gradients, modes)
        outer.__enter__()
        inner.__enter__()
        within = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        outer.__exit__(None, None, None)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == within
        inner.__exit__(None, None, None)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (True, False)

    def test_a_mode_that_the_block_sets_for_good_is_put_back(self) -> None:
        with tm.gradients(True):
            torch.set_grad_enabled(False)
        assert torch.is_grad_enabled()

    def test_a_block_left_in_another_thread_says_so_and_is_left_in_its_own(self) -> None:
        scope = tm.gradients(False)
        scope.__enter__()
        raised: list[BaseException] = []

        def leave() -> None:
            try:
                scope.__exit__(None, None, None)
            except tm.ResourceError as error:
                raised.append(error)

        thread = threading.Thread(target=leave)
        thread.start()
        thread.join()
        assert "left in another one than it was entered in" in str(raised[0])
        assert not torch.is_grad_enabled()
        scope.__exit__(None, None, None)
        assert torch.is_grad_enabled()

    def test_an_inference_mode_that_the_block_left_behind_is_told(self) -> None:
        inference = torch.inference_mode()
        with pytest.raises(tm.ResourceError, match="did not put that back"), tm.gradients(False):
            inference.__enter__()
        inference.__exit__(None, None, None)
        torch.set_grad_enabled(True)

    def test_other_modes_are_refused(self) -> None:
        with pytest.raises(tm.ConfigError, match="expected True, False or \"inference\", got 'off'"):
            tm.gradients("off")  # type: ignore[arg-type]


class TestFrozen:
    def test_each_parameter_is_as_it_was(self) -> None:
        model = nn.Linear(2, 2)
        model.bias.requires_grad_(False)
        with pytest.raises(ValueError, match="mine"), tm.frozen(model):
            assert not any(each.requires_grad for each in model.parameters())
            raise ValueError("mine")
        assert model.weight.requires_grad
        assert not model.bias.requires_grad

    def test_gradients_flow_through_to_what_is_in_front(self) -> None:
        front, back = nn.Linear(1, 1), nn.Linear(1, 1)
        with tm.frozen(back.parameters()):
            back(front(torch.ones(1, 1))).sum().backward()
        assert back.weight.grad is None
        assert front.weight.grad is not None

    def test_nested_blocks_put_back_what_each_saw(self) -> None:
        model = nn.Linear(1, 1)
        with tm.frozen(model):
            with tm.frozen([model.weight]):
                pass
            assert not model.weight.requires_grad
        assert model.weight.requires_grad

    def test_a_computed_tensor_is_refused(self) -> None:
        computed = torch.ones(1, requires_grad=True) * 2
        with pytest.raises(tm.ConfigError, match="got a tensor that was computed"):
            tm.frozen(computed)

    @pytest.mark.parametrize("wrong", ["encoder", 3, {"a": 1}])
    def test_what_are_no_parameters_is_refused(self, wrong: object) -> None:
        with pytest.raises(tm.ConfigError, match="expected a module, parameters or an iterable of them"):
            tm.frozen(wrong)


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


class TestSeeded:
    def test_equal_seeds_draw_equal_numbers(self) -> None:
        with tm.seeded(5):
            first = draw()
        with tm.seeded(5):
            again = draw()
        with tm.seeded(6):
            other = draw()
        assert first == again
        assert first != other

    def test_afterwards_the_generators_go_on_as_if_nothing_was_drawn(self) -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        expected = draw(), draw()
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        first = draw()
        with pytest.raises(ValueError, match="mine"), tm.seeded(7):
            draw()
            raise ValueError("mine")
        assert (first, draw()) == expected

    def test_nested_blocks_put_back_what_each_saw(self) -> None:
        with tm.seeded(1):
            first = draw()
            second = draw()
        with tm.seeded(1):
            assert draw() == first
            with tm.seeded(2):
                draw()
            assert draw() == second

    @pytest.mark.parametrize("seed", [0, 2**40, 2**70])
    def test_large_seeds_are_taken(self, seed: int) -> None:
        with tm.seeded(seed):
            first = draw()
        with tm.seeded(seed):
            assert draw() == first

    @pytest.mark.parametrize("seed", [-1, 1.5, True, "7"])
    def test_other_seeds_are_refused(self, seed: Any) -> None:
        with pytest.raises(tm.ConfigError, match="expected a seed of 0 or more"):
            tm.seeded(seed)


def test_the_small_blocks_work_together_in_a_manager_of_one_s_own() -> None:
    """`@contextmanager` suspends for the block around it, which may not."""
    model = make_model().train()

    @contextmanager
    def inference() -> Iterator[nn.Module]:
        with tm.evaluating(model), tm.gradients(False), tm.seeded(3):
            yield model

    with inference() as found:
        assert not found(torch.ones(2, 2)).requires_grad
    assert model.training
    assert torch.is_grad_enabled()
