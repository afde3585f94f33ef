"""Tokenizers: functions of a text, and the JSON files of the package `tokenizers`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo
from pydantic_core import PydanticCustomError

from tidemill.config.types.functions import Function, to_import_path
from tidemill.config.wording.suggest import find_near_file
from tidemill.config.wording.words import Says
from tidemill.data.records.columns import missing_column
from tidemill.errors import ConfigError, DataError, ResourceError, StateError, TidemillError
from tidemill.packages import missing_package

_PARTING = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
"""Classes of `tokenizers.pre_tokenizers` that cut a text at all white space and leave it out."""


class TokenizerFile:
    """The tokenizer of a `tokenizers` JSON file; called with a text it gives the ids.

    The truncation and padding that a file may ask for are left out. Equal by content, which is read when it is made;
    loaded once a process, and pickled as path and digest. Threads may share one.

    Attributes:
        path: the file.
        sha256: a hex digest of its content.

    Raises (constructor): ResourceError: the file cannot be read, or `tokenizers` is not installed. ConfigError: the
    file is no tokenizer.
    """

    __slots__ = ("_loaded", "path", "sha256")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        content = self._read()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._loaded: Any = _load(content, self.path)

    @property
    def __tidemill_version__(self) -> str:
        """What the fingerprint of a function is made of, beside its name."""
        return self.sha256

    def __call__(self, text: str) -> list[int]:
        """The ids of `text`, special tokens as the file has them."""
        ids: list[int] = self.encode(text).ids
        return ids

    def encode(self, text: str) -> Any:
        """The `tokenizers.Encoding` of `text`."""
        return self._open().encode(text)

    def find_starts(self, text: str) -> list[int]:
        """The place of each token's first character; special tokens that the file adds are left out."""
        return [start for start, _ in self._open().encode(text, add_special_tokens=False).offsets]

    @property
    def parts_at_space(self) -> bool:
        """Whether the tokens of a text are those of what stands between its white space, each by itself.

        Known of those as BERT's is made: it takes words apart before it looks at what they are made of.
        """
        tokenizer = self._open()
        added = tokenizer.get_added_tokens_decoder().values()
        return (
            type(tokenizer.pre_tokenizer).__name__ in _PARTING
            and type(tokenizer.normalizer).__name__ in ("NoneType", "BertNormalizer")
            and not any(map(str.isspace, "".join(token.content for token in added)))
        )

    def token_to_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary."""
        found: int | None = self._open().token_to_id(token)
        return found

    def _open(self) -> Any:
        if self._loaded is None:
            content = self._read()
            if hashlib.sha256(content).hexdigest() != self.sha256:
                raise StateError("the tokenizer's file changed", where=self.path, hint="make the step anew")
            self._loaded = _load(content, self.path)
        return self._loaded

    def _read(self) -> bytes:
        try:
            return Path(self.path).read_bytes()
        except FileNotFoundError:
            near = find_near_file(Path(self.path))
            hint = f"did you mean `{near}`?" if near else ""
            raise ResourceError(f"there is no file `{self.path}`", hint=hint) from None
        except OSError as error:
            raise ResourceError(f"cannot read the tokenizer: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenizerFile) and other.sha256 == self.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"TokenizerFile({self.path!r})"

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path, "sha256": self.sha256}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.path, self.sha256, self._loaded = state["path"], state["sha256"], None


def _load(content: bytes, path: str) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise missing_package("a tokenizer's file", "tokenizers", "tokenizers", error) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # the package raises plain Exception, whatever is wrong
        raise ConfigError(f"expected a tokenizer's JSON file: {error}", where=path) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def find_eos(tokenizer: Callable[[str], Any], append: bool | int | str) -> int | None:
    """The id of the token that ends each text, None when none is appended.

    Raises:
        PydanticCustomError: the tokenizer has no such token.
    """
    if append is False:
        return None
    if append is True:
        own = getattr(tokenizer, "eos_token_id", None)
        if not isinstance(own, int):
            raise _eos_error(
                "the tokenizer has no `eos_token_id`", "say which one ends a text: append_eos='</s>', or an id"
            )
        return own
    if isinstance(append, int):
        return append
    to_id = getattr(tokenizer, "token_to_id", None) or getattr(tokenizer, "convert_tokens_to_ids", None)
    found = to_id(append) if to_id is not None else None
    if not isinstance(found, int) or found == getattr(tokenizer, "unk_token_id", None):
        hint = "give the id" if to_id is None else ""
        raise _eos_error(f"the tokenizer has no token `{append}`", hint)
    return found


def _eos_error(message: str, hint: str) -> PydanticCustomError:
    context = {"message": message, "hint": hint, "path": ("append_eos",)}
    return PydanticCustomError("tokenizer", "{message}", context)


class Tokenization:
    """Puts the ids of a column's text into another column: what a `tokenize` step does to one record.

    Args:
        eos: the id that ends each text, unless the tokenizer ends it so; None appends none.
        max_tokens: the ids that are kept; special tokens at the end stay, those in front of them go.
        step: the step's name, for errors.
    """

    def __init__(
        self,
        tokenizer: Callable[[str], Any],
        column: str,
        into: str,
        *,
        eos: int | None = None,
        max_tokens: int | None = None,
        step: str = "",
    ) -> None:
        self._encode = tokenizer.encode if isinstance(tokenizer, TokenizerFile) else tokenizer
        self._column = column
        self._into = into
        self._eos = eos
        self._max_tokens = max_tokens
        self._where = f"step `{step}`" if step else ""

    def __call__(self, record: Any) -> dict[str, Any]:
        """`record` with its ids.

        Raises:
            DataError: it has no such text, or the tokenizer gave no list of ids.
        """
        try:
            text = record[self._column]
        except (KeyError, TypeError, IndexError):
            raise self._locate(missing_column(self._column, record)) from None
        if not isinstance(text, str):
            raise self._locate(DataError(f"expected text in `{self._column}`, got {_name_kind(text)}"))
        ids, ending = self._take_ids(self._encode(text))
        if self._eos is not None:
            ending = ending or int(ids[-1:] == [self._eos])
            if ids[-1:] != [self._eos]:
                ids.append(self._eos)
                ending += 1
        if self._max_tokens is not None and len(ids) > self._max_tokens:
            ending = min(ending, self._max_tokens)
            ids = ids[: self._max_tokens - ending] + ids[len(ids) - ending :]
        return {**record, self._into: ids}

    def _take_ids(self, encoded: Any) -> tuple[list[int], int]:
        """A list of its own of the ids, and how many special tokens end it."""
        ending = 0
        if hasattr(encoded, "special_tokens_mask"):
            mask = encoded.special_tokens_mask
            ending = next((count for count, special in enumerate(reversed(mask)) if not special), len(mask))
        ids = encoded["input_ids"] if isinstance(encoded, Mapping) else getattr(encoded, "ids", encoded)
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(ids, (list, tuple)) or (ids and not isinstance(ids[0], int)):
            kind = f"a list of {type(ids[0]).__name__}" if isinstance(ids, (list, tuple)) else _name_kind(encoded)
            raise self._locate(
                DataError(f"expected a list of token ids of `{self._column}` from the tokenizer, got {kind}")
            )
        return list(ids), ending

    def _locate(self, error: DataError) -> DataError:
        error.where = self._where
        return error


def _name_kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _load_file(value: Any, info: ValidationInfo) -> Any:
    """A tokenizer's file, where `value` names one; whatever else is a function."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith(".json")):
        folder = (info.context or {}).get("folder")
        try:
            return TokenizerFile(Path(folder or ".", value).expanduser())
        except TidemillError as error:
            context = {"message": error.message, "hint": error.hint}
            raise PydanticCustomError("tokenizer", "{message}", context) from None
    if not isinstance(value, str) and not callable(value) and hasattr(value, "encode"):
        context = {"kind": type(value).__name__, "hint": 'save it (`tokenizer.save("tokenizer.json")`), name the file'}
        raise PydanticCustomError("tokenizer", "expected a function or a file, got a {kind}", context)
    return value


def _describe_tokenizer(value: Any) -> str:
    return value.path if isinstance(value, TokenizerFile) else to_import_path(value)


Tokenizer = Annotated[
    Function,
    BeforeValidator(_load_file),
    PlainSerializer(_describe_tokenizer, return_type=str),
    Says("a function's import path or a `.json` file"),
]
"""A function from a text to ids, its import path, or the path of a `tokenizers` JSON file; holds a callable."""
