"""A Hugging Face dataset by its name, as a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from tidemill.config.objects.descriptions import describe_value
from tidemill.config.secrets import say_cause
from tidemill.data.files import is_url
from tidemill.data.files.storage import SecretOptions, leave_out_secrets
from tidemill.data.reader import PartReader
from tidemill.data.sources.examples import Examples
from tidemill.data.sources.placed import PlacedSource
from tidemill.errors import ConfigError, DataError, ResourceError, TidemillError
from tidemill.packages import missing_package
from tidemill.protocols import State

if TYPE_CHECKING:
    from tidemill.data.sources.hugging_face import HuggingFaceSource


class _Opened:
    """The dataset once it is loaded; not pickled."""

    def __init__(self) -> None:
        self.source: HuggingFaceSource | None = None

    def __reduce__(self) -> tuple[type[_Opened], tuple[()]]:
        return _Opened, ()

    def __deepcopy__(self, memo: object) -> _Opened:
        return _Opened()


class Hub(PlacedSource, Examples):
    """A dataset of the Hugging Face hub, or of files that its library reads, streamed; making one touches nothing.

    Resume: exact, from the dataset's own state where that is, else by passing over the records given before.

    Attributes:
        hf: the dataset (`stanfordnlp/imdb`), or a kind of files (`json`, `parquet`, …) beside `data_files`.
        config: which of its configurations, where it has several.
        split: which of its splits.
        revision: the version: a commit, branch or tag; a commit is the same one tomorrow.
        data_files: the files, patterns or addresses, one or several; relative ones start at the job file's folder.
        arguments: what `datasets.load_dataset` is called with besides; secrets among them are never shown or written.
    """

    hf: str = Field(min_length=1)
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    data_files: str | tuple[str, ...] | None = None
    arguments: SecretOptions = Field(default_factory=dict)

    _opened: _Opened = PrivateAttr(default_factory=_Opened)

    def __hash__(self) -> int:
        return hash((self.hf, self.config, self.split, self.revision, self.data_files))

    @property
    def features(self) -> Any:
        """What each column is; None where the dataset does not know."""
        return self._open().features

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The records, from the first or from `state`.

        Raises:
            ConfigError: there is no such split, configuration or argument.
            DataError: a pattern matches no file, or there is no record in files of JSON.
            ResourceError: there is no such dataset, the hub cannot be reached, or datasets is not installed.
            StateError: the dataset ends in front of `state`.
        """
        return self._open().open_part(part, state)

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"from_hf({self.hf!r}, split={self.split!r})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON, without secrets."""
        given = {name: getattr(self, name) for name in ("hf", "config", "split", "revision", "data_files")}
        given["arguments"] = describe_value(leave_out_secrets(self.arguments))
        return {"hf": {name: value for name, value in given.items() if value}}

    def _open(self) -> HuggingFaceSource:
        if self._opened.source is None:
            self._opened.source = self._load()
        return self._opened.source

    def _load(self) -> HuggingFaceSource:
        try:
            import datasets

            from tidemill.data.sources.hugging_face import HuggingFaceSource, check_patterns
        except ModuleNotFoundError as error:
            raise missing_package("a Hugging Face dataset", "datasets", "hf", error) from error
        files = self._locate_files()
        try:
            check_patterns(files or (), self.arguments)
            loaded = datasets.load_dataset(
                self.hf,
                self.config,
                split=self.split,
                revision=self.revision,
                data_files=files,
                streaming=True,
                **self.arguments,
            )
        except TidemillError:
            raise
        except StopIteration as error:  # of its JSON reader, which looks for columns in the first record
            raise DataError(f"the dataset `{self.hf}` cannot be opened: no record is in its files") from error
        except Exception as error:
            text = say_cause(error)
            message = f"the dataset `{self.hf}` cannot be opened: {text}"
            if isinstance(error, (ValueError, TypeError, KeyError)):  # of its library, for what it was asked
                raise ConfigError(message) from error
            raise ResourceError(message) from error
        return HuggingFaceSource(loaded)

    def _locate_files(self) -> list[str] | None:
        """The files, relative ones from the folder on."""
        if self.data_files is None:
            return None
        files = (self.data_files,) if isinstance(self.data_files, str) else self.data_files
        folder = (self._folder or Path.cwd()).absolute()
        return [each if is_url(each) or each.startswith("/") else str(folder / each) for each in files]
