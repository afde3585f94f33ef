"""The steps that look at one record and turn it into 0..n."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.roles import Runtime
from tidemill.config.types.functions import Function
from tidemill.data.chunking.sizes import HEADINGS, PLACES, By, Unit
from tidemill.data.nodes.node import ColumnsNode, FunctionNode, MappingNode, Node
from tidemill.data.texts.tokenizing import Tokenizer, find_eos


class Map(FunctionNode):
    """Replace the record by `fn(record)`.

    Attributes:
        concurrency: records in flight: started, and not given yet.
        on: what calls the function for several at once; None is threads, of a coroutine function `async`.
        ordered: whether results are given in the order of the records, or as they come.
    """

    kind = "map"
    one_to_one = True
    concurrency: Annotated[int, Runtime()] = Field(default=1, ge=1)
    on: Annotated[Literal["threads", "processes", "async"] | None, Runtime()] = None
    ordered: bool = True

    @property
    def is_parallel(self) -> bool:
        return self.concurrency > 1 or self.on is not None

    @property
    def keeps_places(self) -> bool:
        return super().keeps_places and (self.ordered or not self.is_parallel)


class Filter(FunctionNode):
    """Keep the records for which `fn(record)` is true."""

    kind = "filter"
    keeps = True


class FlatMap(FunctionNode):
    """Replace the record by each of `fn(record)`, any iterable; an empty one drops it."""

    kind = "flat_map"
    gives_many = True


class WithColumns(MappingNode):
    """Add columns: each the value of its function of the record as it came in.

    Attributes:
        columns: the function of each new column, by the column's name.
    """

    kind = "with_columns"
    functions = ("columns",)
    one_to_one = True
    columns: dict[str, Function]


class Select(ColumnsNode):
    """Keep these columns, in this order; a record that lacks one fails.

    Attributes:
        columns: the names of those kept.
    """

    kind = "select"
    one_to_one = True


class Rename(MappingNode):
    """Give columns other names, old to new; a record that lacks one fails.

    Attributes:
        columns: the new name of each, by its old one.
    """

    kind = "rename"
    one_to_one = True
    columns: dict[str, str]


class Drop(ColumnsNode):
    """Leave these columns out; a record that lacks one fails.

    Attributes:
        columns: the names of those left out.
    """

    kind = "drop"
    one_to_one = True


class Observe(FunctionNode):
    """Call `fn(record)` for what it does; the record stays as it is."""

    kind = "observe"
    one_to_one = True


class Split(Node):
    """Keep the records of one of several shares; which is a record's follows from its value in a column alone.

    Attributes:
        ratios: how much each share gets; they need not sum to 1.
        share: the number of the share that is kept.
        by: the column that decides; None takes the whole record.
        seed: another one shares the records out otherwise.
    """

    kind = "split"
    keeps = True
    ratios: tuple[float, ...] = Field(min_length=1)
    share: int = Field(ge=0)
    by: str | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _check_shares(self) -> Split:
        if self.share >= len(self.ratios):
            raise PydanticCustomError(
                "share", "expected a share below {count}, got {share}", {"count": len(self.ratios), "share": self.share}
            )
        if min(self.ratios) < 0 or not sum(self.ratios):
            raise PydanticCustomError("ratios", "expected ratios of at least 0, and one above")
        return self


class Unbatch(Node):
    """Take batches apart: lists, dicts of columns, Arrow tables or NumPy columns give their records again."""

    kind = "unbatch"
    gives_many = True


class Catch(Node):
    """Keep failures of the source and of all steps in front from ending the iteration.

    Attributes:
        to: the file that failing records go to, whole, with step, place and cause; None counts them and passes over.
    """

    kind = "catch"
    alone = "to"
    record_wise = False
    to: str | None = None

    @model_validator(mode="after")
    def _check_fate(self) -> Catch:
        if self.on_error == "raise":
            raise PydanticCustomError("catch", "expected on_error to be skip or quarantine: raising is no catching")
        if self.on_error == "quarantine" and self.to is None:
            raise PydanticCustomError("catch", "a quarantine needs `to`, the file that failing records go to")
        if self.on_error == "skip" and self.to is not None:
            raise PydanticCustomError("catch", "what is skipped goes to no file: leave out `to`, or on_error")
        return self


class Tokenize(Node):
    """Put the token ids of the text in `column` into the column `into`.

    Attributes:
        tokenizer: a function from a text to token ids, or a `tokenizers` JSON file; alone it is short for the step.
        column: the column of the text.
        into: the column of the ids.
        append_eos: end with this token, by id or text; true takes the tokenizer's own `eos_token_id`.
        max_tokens: the ids that are kept, the appended one among them.
    """

    kind = "tokenize"
    alone = "tokenizer"
    functions = ("tokenizer",)
    one_to_one = True
    tokenizer: Tokenizer
    column: str = "text"
    into: str = "input_ids"
    append_eos: bool | int | str = False
    max_tokens: int | None = Field(default=None, ge=1)

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that it writes."""
        return (self.into,)

    @model_validator(mode="after")
    def _check_eos(self) -> Tokenize:
        find_eos(self.tokenizer, self.append_eos)
        return self


class Chunk(Node):
    """Replace the record by one for each chunk of the text in `column`, at most so large.

    Attributes:
        column: the column of the text, which chunks have no more.
        into: the column of a chunk.
        by: where a chunk ends, if it can: behind a sentence; `headings` besides starts anew at each heading; `words`
            and `tokens` end anywhere between two of them.
        max_tokens: tokens of a chunk, as `tokenizer` counts them; one of the three is given.
        max_chars: characters of a chunk.
        max_bytes: bytes of a chunk in UTF-8.
        overlap: how much of a chunk's end stands at the beginning of the next one, at most, in the same unit.
        min_size: what is smaller goes with what stands beside it where there is room, in the same unit.
        tokenizer: a `tokenizers` JSON file, or a function that gives the offsets of tokens too.
        language: whose abbreviations end no sentence, as its code.
    """

    kind = "chunk"
    functions = ("tokenizer",)
    gives_many = True
    column: str = "text"
    into: str = "text"
    by: By = "sentences"
    max_tokens: int | None = Field(default=None, ge=1)
    max_chars: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=4)
    overlap: int = Field(default=0, ge=0)
    min_size: int = Field(default=0, ge=0)
    tokenizer: Tokenizer | None = None
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,8})?$")

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that it writes."""
        return (self.into, *PLACES, *((HEADINGS,) if self.by == "headings" else ()))

    @property
    def unit(self) -> Unit:
        """What its sizes are counted in."""
        return "tokens" if self.max_tokens else "chars" if self.max_chars else "bytes"

    @property
    def limit(self) -> int:
        """The most of a chunk, in its unit."""
        return self.max_tokens or self.max_chars or self.max_bytes or 0

    @model_validator(mode="after")
    def _check_sizes(self) -> Chunk:
        given = [name for name in ("max_tokens", "max_chars", "max_bytes") if getattr(self, name) is not None]
        if len(given) != 1:
            text = f"got {' and '.join(given)}" if given else "got none"
            raise PydanticCustomError(
                "chunk", "expected one of max_tokens, max_chars and max_bytes, {text}", {"text": text}
            )
        if (self.max_tokens is None) != (self.tokenizer is None):
            message = "{name} needs {other}"
            names = ("max_tokens", "a tokenizer") if self.tokenizer is None else ("a tokenizer", "max_tokens")
            raise PydanticCustomError("chunk", message, dict(zip(("name", "other"), names, strict=True)))
        if self.by == "tokens" and self.max_tokens is None:
            hint = {"hint": "by='words' cuts between words"}
            raise PydanticCustomError("chunk", "by='tokens' needs max_tokens and a tokenizer", hint)
        for name in ("overlap", "min_size"):
            size = getattr(self, name)
            if size >= self.limit:
                context = {"name": name, "limit": self.limit, "size": size, "path": (name,)}
                raise PydanticCustomError("chunk", "expected {name} below {limit}, got {size}", context)
        return self
