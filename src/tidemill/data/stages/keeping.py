"""Which stage each step that keeps things on disk is."""

from __future__ import annotations

from tidemill.data.failing.policy import Policy
from tidemill.data.kept.digests import DigestSet
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.signatures import SignatureSet
from tidemill.data.nodes.keeping import Dedupe, GroupBy, Sort
from tidemill.data.nodes.node import Node
from tidemill.data.stages.deduping import open_dedupe
from tidemill.data.stages.grouping import Grouper
from tidemill.data.stages.kept import open_kept
from tidemill.data.stages.sorting import Sorter
from tidemill.data.stages.stage import Stage
from tidemill.errors import ConfigError
from tidemill.protocols import State


def open_keeping(
    upstream: Stage, node: Node, index: int, mark: State | None, folder: KeptFolder, policy: Policy
) -> Stage:
    """The stage of a step that keeps things in `folder`, going on from its `mark`.

    Raises:
        ConfigError: there is none for such a step.
        StateError: the folder does not hold what the mark says.
    """
    match node:
        case Dedupe():
            seen = DigestSet(folder, mark) if node.near is None else SignatureSet(folder, node.near, mark)
            return open_dedupe(upstream, node, index, folder.step, seen, policy)
        case GroupBy():
            return open_kept(upstream, index, folder.step, Grouper(node, folder).feed, mark, policy)
        case Sort():
            return open_kept(upstream, index, folder.step, Sorter(node, folder).feed, mark, policy)
    raise ConfigError(f"expected a step of the source half, got `{node.kind}`", where=f"step `{folder.step}`")
