"""Which steps take which resources: by the names of their functions' parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.config.wording.suggest import find_near
from tidemill.data.entering.injection import list_parameters
from tidemill.data.entering.opener import Opener
from tidemill.data.entering.resource import make_openers, name_resources
from tidemill.data.nodes.node import Node
from tidemill.data.steps.functions import list_functions
from tidemill.errors import ConfigError


def provide(nodes: Sequence[Node], resources: Mapping[str, Any]) -> tuple[Node, ...]:
    """The steps with those of `resources` that they take: `Resource`s, or what gives a context manager.

    Raises:
        ConfigError: one is none of these, its name is no parameter's, or no step takes it.
    """
    openers = make_openers(name_resources(resources))
    bound = bind_openers(nodes, openers)
    taken, wanted = {id(each) for each in find_openers(bound)}, find_wanted(nodes)
    for name, opener in openers.items():
        if id(opener) in taken:
            continue
        if name in wanted:
            raise ConfigError(f"the steps so far that take the resource `{name}` have one already, and keep it")
        near = find_near(name, wanted)
        hint = f"did you mean `{near}`?" if near else "a function takes it by a parameter of that name"
        raise ConfigError(f"no step so far takes the resource `{name}`", hint=hint)
    return bound


def bind_openers(nodes: Sequence[Node], openers: Mapping[str, Opener]) -> tuple[Node, ...]:
    """The steps with what they take of `openers`; a resource that a step has it keeps."""
    return tuple(_bind(node, openers) for node in nodes)


def find_openers(nodes: Sequence[Node]) -> list[Opener]:
    """The resources that the steps have, each once, in the order they are first taken."""
    found: dict[int, Opener] = {}
    for node in nodes:
        for each in find_openers(node.inner) if node.inner else node.openers.values():
            found.setdefault(id(each), each)
    return list(found.values())


def find_wanted(nodes: Sequence[Node]) -> list[str]:
    """The parameters by which the steps' functions could take resources."""
    return [name for node in nodes for fn in list_functions(node) for name in list_parameters(fn)]


def _bind(node: Node, openers: Mapping[str, Opener]) -> Node:
    if node.inner:
        return node.with_inner([_bind(each, openers) for each in node.inner])
    wanted = find_wanted([node])
    taken = {name: each for name, each in openers.items() if name in wanted and name not in node.openers}
    return node.with_openers({**node.openers, **taken}) if taken else node
