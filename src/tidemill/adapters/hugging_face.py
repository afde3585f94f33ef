"""Streams and datasets as Hugging Face knows them, and back, both kinds, features kept."""

from __future__ import annotations

import uuid
from os import PathLike
from pathlib import Path
from typing import Any

from tidemill.adapters.protocols import Indexable, check_stream
from tidemill.errors import ConfigError
from tidemill.packages import missing_package

try:
    import datasets
    from datasets.arrow_writer import ArrowWriter
    from datasets.fingerprint import get_temporary_cache_files_directory

    from tidemill.adapters.hugging_face_examples import StreamExamples
    from tidemill.adapters.hugging_face_rows import HuggingFaceRows
    from tidemill.data.sources.hugging_face import HuggingFaceSource
except ModuleNotFoundError as error:
    raise missing_package("Hugging Face's kind of dataset", "datasets", "hf", error) from error

_KEEP_COLUMNS = frozenset(
    (
        *("filter", "take", "skip", "every", "sample", "shard", "split", "observe", "shuffle", "repeat"),
        *("slice", "pick", "prefetch", "catch"),
    )
)
"""Steps behind which records have the features they had in front."""


def to_hf(
    records: Any, *, features: Any = None, shards: int = 1, path: str | PathLike[str] | None = None
) -> datasets.Dataset | datasets.IterableDataset:
    """A dataset as a `datasets.Dataset`, any other stream as a `datasets.IterableDataset`.

    The first is written to one Arrow file, which is then mapped into memory; the second reads the stream when it is
    iterated. What came from Hugging Face as a dataset and has no steps over it is given back as it was.

    Order: the stream's.   Memory: 1,000 records while writing; the stream's.   Failure: raised.
    Resume: exact, by Hugging Face's own `state_dict`, which holds the stream's state: nothing is read again to get
    there. Behind its `shuffle(buffer_size=…)` it loses what was in the buffer: shuffle the stream instead.

    Args:
        features: what each column is (`datasets.Features`). By default those that the records came with from Hugging
            Face, where only steps that keep columns stand between; else they are inferred, of a stream not at all.
        shards: into how many shards the stream may be split, for the workers of a loader and for `shuffle`.
        path: the Arrow file, kept; by default one in a folder that is removed when the process ends.

    Raises:
        ConfigError: it is neither.
    """
    records = _find_rows(records)
    if features is None:
        features = find_features(records)
    if isinstance(records, HuggingFaceRows) and features == records.features and path is None:
        return records.dataset
    if isinstance(records, Indexable):
        return _write_dataset(records, features, path)
    check_stream(records)
    info = datasets.DatasetInfo(features=features)
    return datasets.IterableDataset(StreamExamples(records, tuple(range(shards)), shards), info=info)


def from_hf(dataset: Any) -> HuggingFaceRows | HuggingFaceSource:
    """The records of a Hugging Face dataset: rows by number of a `Dataset`, a source of an `IterableDataset`.

    Both have its `features`. Rows come as the dataset's own format has them, plain Python by default.

    Raises:
        ConfigError: it is neither; a `DatasetDict` is several, so name one.
    """
    if isinstance(dataset, datasets.Dataset):
        return HuggingFaceRows(dataset)
    if isinstance(dataset, datasets.IterableDataset):
        return HuggingFaceSource(dataset)
    if isinstance(dataset, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        names = ", ".join(map(repr, dataset))
        raise ConfigError(
            f"expected one dataset, got the splits {names}", hint=f"take one: `dataset[{next(iter(dataset))!r}]`"
        )
    raise ConfigError(f"expected a dataset of Hugging Face, got a {type(dataset).__name__}")


def find_features(records: Any) -> Any:
    """The features that records have from their source, None where a step may have changed them."""
    own = getattr(records, "features", None)
    if own is not None:
        return own
    pipeline = getattr(records, "pipeline", None)
    if pipeline is None or not all(node.kind in _KEEP_COLUMNS for node in pipeline.nodes):
        return None
    source = getattr(records, "source", None)
    held = getattr(source, "items", getattr(source, "iterable", source))
    return getattr(held, "features", None)


def _find_rows(records: Any) -> Any:
    """The rows of a Hugging Face dataset that `records` is nothing but; else `records`."""
    pipeline = getattr(records, "pipeline", None)
    items = getattr(getattr(records, "source", None), "items", None)
    return items if isinstance(items, HuggingFaceRows) and pipeline is not None and not len(pipeline) else records


def _write_dataset(records: Any, features: Any, path: str | PathLike[str] | None) -> datasets.Dataset:
    file = Path(path or Path(get_temporary_cache_files_directory(), f"tidemill-{uuid.uuid4().hex}.arrow"))
    encode = features.encode_example if features is not None else None
    with ArrowWriter(path=str(file), features=features) as writer:
        for record in records:
            writer.write(record if encode is None else encode(record))
        writer.finalize()
    return datasets.Dataset.from_file(str(file))
