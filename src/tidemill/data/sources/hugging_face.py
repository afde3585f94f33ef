"""A `datasets.IterableDataset` as a source of records."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from glob import has_magic
from itertools import compress, islice, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

import datasets
from datasets.data_files import resolve_pattern

from tidemill.config.secrets import mask
from tidemill.data.files import is_web
from tidemill.data.reader import PartReader, raise_each
from tidemill.data.sources.examples import PART, Examples
from tidemill.errors import DataError, StateError, WorkerError
from tidemill.protocols import State

_EXACT = frozenset(
    (
        "ArrowExamplesIterable",
        "CyclingMultiSourcesExamplesIterable",
        "ExamplesIterable",
        "FilteredExamplesIterable",
        "FormattedExamplesIterable",
        "MappedExamplesIterable",
        "RebatchedArrowExamplesIterable",
        "RepeatExamplesIterable",
        "SelectColumnsIterable",
        "SkipExamplesIterable",
        "StreamExamples",
        "TakeExamplesIterable",
        "VerticallyConcatenatedMultiSourcesExamplesIterable",
    )
)
"""What in a pipeline of datasets 5.2 goes on exactly from its own state; tried at every position by the tests.

Not among them is a shuffle buffer, whose content is lost.
"""


class HuggingFaceSource(Examples):
    """The examples of a streaming dataset, as one part.

    Resume: exact. Where the dataset's own `state_dict` is exact, it is used, and as much is read again as it needs
    (rows of the file at hand); behind a shuffle buffer, or anything else not known to be exact, the records given
    before are counted, read again and passed over (`resumes_by_state` tells which).

    Attributes:
        dataset: the `datasets.IterableDataset`.
    """

    def __init__(self, dataset: datasets.IterableDataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return self.open_part(PART)

    def __repr__(self) -> str:
        return f"<HuggingFaceSource: columns {', '.join(self.features or ()) or 'unknown'}>"

    @property
    def features(self) -> Any:
        """What each column is; None where the dataset does not know."""
        return self.dataset.features

    @property
    def resumes_by_state(self) -> bool:
        """Whether a resume uses the dataset's own state, so that it need not read all that came before again."""
        formatting = self.dataset._formatting
        return not (formatting and formatting.is_table) and all(map(_is_exact, _iter_nodes(self.dataset._ex_iterable)))

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The examples, from the first or from `state`.

        Raises:
            StateError: the dataset ends in front of `state`.
        """
        own = _copy_dataset(self.dataset)  # iterators over one dataset share its state
        return _open_rows(own, state, by_state=self.resumes_by_state)

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"from_hf({self.dataset.info.dataset_name or type(self.dataset).__name__})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON: the names of the dataset, its columns, and the steps of its own pipeline."""
        info = self.dataset.info
        names = [info.dataset_name, info.config_name, info.version and str(info.version), str(self.dataset.split)]
        nodes = [type(node).__name__ for node in _iter_nodes(self.dataset._ex_iterable)]
        return {"hugging_face": names, "features": repr(self.features), "pipeline": nodes}


class RowsReader(PartReader):
    """Counts what it gives, and keeps two of the dataset's states, behind the last of which it counts."""

    _place: _Place

    def state(self, back: int = 0) -> State:
        return self._place.state(back)

    def close(self) -> None:
        self._place.rows.close()


class _Place:
    """Where one iterator stands; shared by the reader and the generator that feeds it."""

    def __init__(self, dataset: Any, anchor: State, *, by_state: bool) -> None:
        self.dataset = dataset
        self.by_state = by_state
        self.is_over = False
        self.count = anchor["count"]
        self.ticks = repeat(True, maxsize)
        self.rows = self._iter_rows()
        self._anchors = deque([anchor], maxlen=2)

    def links(self) -> Iterator[Iterator[Any]]:
        yield compress(self.rows, self.ticks)
        while not self.is_over:  # an error ends a generator of the dataset, and with it all that could follow
            hint = "let the dataset's own functions raise nothing, or move them into steps of the stream"
            yield raise_each((WorkerError("the Hugging Face dataset failed before and cannot go on", hint=hint),))

    def given(self) -> int:
        return int(self.count) + maxsize - length_hint(self.ticks)

    def state(self, back: int) -> State:
        given = self.given()
        if self.by_state and given > self._anchors[-1]["count"]:
            self._anchors.append({"count": given, "dataset": self.dataset.state_dict()})
        anchor = next(each for each in reversed(self._anchors) if each["count"] <= given - back)
        return {**anchor, "passed": given - back - anchor["count"]}

    def _iter_rows(self) -> Generator[Any, None, None]:
        yield from self.dataset
        self.is_over = True


def check_patterns(patterns: Sequence[str], arguments: Mapping[str, Any]) -> None:
    """Look whether each pattern of files matches one; datasets passes over those that match none, all of them even.

    Args:
        arguments: what `datasets.load_dataset` is called with besides.

    Raises:
        DataError: one matches none.
    """
    given = {name: arguments[name] for name in ("token", "storage_options") if name in arguments}
    for pattern in patterns:
        if has_magic(pattern) and not is_web(pattern):  # a server lists nothing, and has question marks in its names
            try:
                resolve_pattern(pattern, "", download_config=datasets.DownloadConfig(**given))
            except FileNotFoundError as error:
                raise DataError(f"no file matches `{mask(pattern)}`") from error


def _open_rows(dataset: Any, state: State | None, *, by_state: bool) -> PartReader:
    anchor: State = {"count": 0, "dataset": None}
    if state is not None:
        anchor = {"count": state["count"], "dataset": state["dataset"]}
        if anchor["dataset"] is not None:
            dataset.load_state_dict(copy.deepcopy(anchor["dataset"]))  # it writes into the one it is given
    place = _Place(dataset, anchor, by_state=by_state)
    reader = cast(RowsReader, RowsReader.from_iterable(place.links()))
    reader._place = place
    to_pass = state["passed"] if state else 0
    deque(islice(reader, to_pass), maxlen=0)
    expected, given = anchor["count"] + to_pass, place.given()
    if given < expected:
        raise StateError(
            f"the state stands behind record {expected:,}, but the dataset ends after {given:,}",
            hint="give the dataset the state was taken from, or start without a state",
        )
    return reader


def _is_exact(node: Any) -> bool:
    formatting = getattr(node, "formatting", None)
    return type(node).__name__ in _EXACT and not (formatting and formatting.is_table)


def _iter_nodes(node: Any) -> Iterator[Any]:
    """The steps of a dataset's own pipeline, the last first."""
    yield node
    for inner in _inner_nodes(node):
        yield from _iter_nodes(inner)


def _inner_nodes(node: Any) -> list[Any]:
    return [node.ex_iterable] if hasattr(node, "ex_iterable") else list(getattr(node, "ex_iterables", ()))


def _copy_dataset(dataset: Any) -> Any:
    copied = object.__new__(type(dataset))
    copied.__dict__ = dict(dataset.__dict__)  # `copy.copy` of a dataset of 5.2 shares even this
    copied._ex_iterable = _copy_node(dataset._ex_iterable)
    copied._starting_state_dict = None
    return copied


def _copy_node(node: Any) -> Any:
    """A step and those in front of it, without their states; functions and data are shared."""
    copied = copy.copy(node)
    copied._state_dict = None
    if hasattr(node, "ex_iterable"):
        copied.ex_iterable = _copy_node(node.ex_iterable)
    elif hasattr(node, "ex_iterables"):
        copied.ex_iterables = [_copy_node(inner) for inner in node.ex_iterables]
    return copied
