"""What functions ask for besides the record: whether a resource gives it, and whether one is of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.config.paths import KeyPath
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.data.entering.injection import list_parameters, list_required
from tidemill.data.entering.resource import find_name_fault
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Map
from tidemill.data.steps.functions import check_entering, is_async, list_functions
from tidemill.data.steps.providing import find_wanted
from tidemill.errors import ConfigError, Problem
from tidemill.jobs.spec.draft import Draft
from tidemill.models.steps.call import Call
from tidemill.models.steps.calling import CallNode


def check_resources(draft: Draft) -> Iterator[Problem]:
    """Parameters that nothing gives, resources that no step takes, and those that nothing awaits."""
    nodes = [step.node for step in draft.steps if step.node is not None]
    idle = [name for name in draft.resources if name not in find_wanted(nodes)]
    meant: set[str] = set()
    stores = _list_stores(draft)
    for index, step in enumerate(draft.steps):
        for path, node in _iter_nodes(step.node):
            for at, label, name in _find_missing(node, draft.resources):
                near = find_near(name, idle, [*draft.resources, *stores])
                known = f"resources: {list_names(draft.resources)}" if draft.resources else "name it under `resources`"
                message = f"`{label}` asks for `{name}` besides the record, and nothing gives it"
                hint = f"did you mean `{near}`?" if near else known
                yield draft.problem(draft.path(index, *path, *at), message, hint)
                meant.add(near or "")
        if index < draft.halves_at and step.node is not None:
            yield from _check_plain(draft, step.node, index)
    for name in draft.resources:
        if (fault := find_name_fault(name)) is not None:
            yield draft.problem(("resources", name), *fault, key=True)
        elif name in idle and name not in meant and len(nodes) == len(draft.steps):  # else it may be taken by another
            near = find_near(name, find_wanted(nodes))
            hint = f"did you mean `{near}`?" if near else "a function takes it by a parameter of that name"
            yield draft.problem(("resources", name), f"no step takes the resource `{name}`", hint, key=True)


def _list_stores(draft: Draft) -> list[str]:
    """The names of the stores, which functions may be given as well."""
    named = None if draft.document is None else draft.document.find_value(("stores",))
    return [str(name) for name in named] if isinstance(named, dict) else []


def takes_more(node: Node) -> bool:
    """Whether a function of the step is called with more than its record."""
    inner = node.inner or (node,)
    return any(each.openers or any(map(list_required, list_functions(each))) for each in inner)


def _iter_nodes(node: Node | None) -> Iterator[tuple[KeyPath, Node]]:
    """The steps that functions stand in, each with its key in the step."""
    if isinstance(node, CallNode) and node.inner:
        yield from ((path, call) for _, path, call in node.iter_calls())
    elif node is not None:
        yield (), node


def _find_missing(node: Node, resources: tuple[str, ...]) -> Iterator[tuple[KeyPath, str, str]]:
    """What nothing gives: the key of the function, its name, the parameter."""
    for fn in list_functions(node):
        named = list_parameters(fn)
        given = {*resources, *node.openers, *(("key",) if isinstance(node, Call) else ())} & named.keys()
        label = getattr(fn, "__qualname__", type(fn).__qualname__)
        yield from ((_locate(node, fn), label, name) for name in list_required(fn) if name not in given)


def _locate(node: Node, fn: Any) -> KeyPath:
    """The key of a function in a step."""
    for field in type(node).model_fields:
        held = getattr(node, field)
        if held is fn:
            return (field,)
        if isinstance(held, Mapping) and (key := next((key for key, each in held.items() if each is fn), None)):
            return (field, key)
    return ()


def _check_plain(draft: Draft, node: Node, index: int) -> Iterator[Problem]:
    """What only a loop could open, in front of the first call, where only an async `map` has one."""
    if isinstance(node, Map) and (node.on == "async" or is_async(node)):
        return
    try:
        check_entering(node, draft.step_names[index])
    except ConfigError as error:
        yield draft.problem(draft.path(index), error.message, error.hint)
