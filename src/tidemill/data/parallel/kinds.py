"""Which workers call a function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tidemill.data.entering.entered import check_plain, needs_entering
from tidemill.data.entering.injection import inject
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.single import Map
from tidemill.data.parallel.flight import Workers
from tidemill.data.parallel.hooked import HookedWorkers
from tidemill.data.parallel.processes import ProcessWorkers, pickle_function
from tidemill.data.parallel.tasks import TaskWorkers
from tidemill.data.parallel.threads import ThreadWorkers
from tidemill.data.steps.functions import is_async
from tidemill.data.steps.images import ImageDecoding
from tidemill.errors import ConfigError


def find_workers(node: Map | DecodeImage, step: str) -> Callable[[], Workers]:
    """What opens the workers for the function of a step with records in flight.

    Raises:
        ConfigError: it is not one that they can call.
    """
    open_workers = _find_kind(node, step)
    hooks = node.bound_hooks
    return open_workers if hooks is None else lambda: HookedWorkers(open_workers(), hooks)


def _find_kind(node: Map | DecodeImage, step: str) -> Callable[[], Workers]:
    if isinstance(node, DecodeImage):
        return partial(ThreadWorkers, ImageDecoding(node, step), step)
    awaits = is_async(node)
    fn = inject(node.fn, node.openers)
    if node.on == "async" or (awaits and node.on is None):
        return partial(TaskWorkers, fn, step, awaits=awaits)
    if awaits:
        raise ConfigError(
            f'the function is a coroutine function, which on="{node.on}" does not await',
            where=f"step `{step}`",
            hint='use on="async", or leave `on` out',
        )
    check_plain(fn, step)
    if node.on == "processes":
        return partial(ProcessWorkers, pickle_function(fn, step), step, enters=needs_entering(fn))
    return partial(ThreadWorkers, fn, step)
