"""The stage of a `dedupe`: the records whose key is the first of its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from tidemill.data.failing.failures import NO_RECORD, PASSED_ON, explain_failure, raise_explained
from tidemill.data.failing.policy import Policy
from tidemill.data.kept.digests import DigestSet
from tidemill.data.kept.signatures import SignatureSet
from tidemill.data.nodes.keeping import Dedupe
from tidemill.data.records.keys import digest_key, make_key
from tidemill.data.stages.stage import Stage, iter_calls
from tidemill.data.texts.minhash import make_signer
from tidemill.protocols import State

Seen = DigestSet | SignatureSet


class DedupeStage(Stage):
    """The records whose key was not there; its state is how many keys were, in the order they came."""

    index: int
    seen: Seen

    def marks(self, back: int) -> State:
        marks = self.upstream.marks(back)
        if mark := self.seen.mark(back):
            marks["steps"][str(self.index)] = mark
        return marks

    def close(self) -> None:
        self.seen.close()
        super().close()


def open_dedupe(upstream: Stage, node: Dedupe, index: int, step: str, seen: Seen, policy: Policy) -> Stage:
    """The stage of a `dedupe` step that has `seen` these keys."""
    is_new = _make_test(_make_mark(node), seen, step, policy)
    stage = cast(DedupeStage, DedupeStage.from_iterable(iter_calls(upstream, lambda each: filter(is_new, each), step)))
    stage.upstream = upstream
    stage.index = index
    stage.step = step
    stage.seen = seen
    return stage


def _make_mark(node: Dedupe) -> Callable[[Any], bytes]:
    """What a record is told by: the digest of its key, or the signature of its text."""
    find_key = make_key(node.key)
    make = digest_key if node.near is None else make_signer()
    return lambda record: make(find_key(record))


def _make_test(find_mark: Callable[[Any], bytes], seen: Seen, step: str, policy: Policy) -> Callable[[Any], bool]:
    """Whether a record's key is new; a record that has none fails as the policy says."""
    add = seen.add

    def is_new(record: Any) -> bool:
        try:
            mark = find_mark(record)
        except PASSED_ON:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again, unless it is passed over
            explained = explain_failure(error, step, record=record if policy.keeps else NO_RECORD)
            if policy.takes(explained):
                return False
            raise_explained(explained, step)
        return add(mark)

    return is_new
