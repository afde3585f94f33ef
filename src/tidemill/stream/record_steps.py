"""The steps of a stream that look at one record."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from tidemill.data.nodes.images import MAX_IMAGE_BYTES, MAX_PIXELS, Channels, DecodeImage, Fit
from tidemill.data.nodes.node import Node, OnError
from tidemill.data.nodes.single import (
    Catch,
    Chunk,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Tokenize,
    Unbatch,
    WithColumns,
)
from tidemill.stream.functions import OfRecord

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

On = Literal["threads", "processes", "async"]
"""What calls a function for several records at once."""

T = TypeVar("T")
U = TypeVar("U")


class RecordSteps(ABC, Generic[T]):
    """Each method gives a new stream with one step more."""

    __slots__ = ()

    @abstractmethod
    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]: ...

    @overload
    def map(
        self,
        fn: OfRecord[T, Awaitable[U]],
        *,
        concurrency: int = ...,
        on: On | None = ...,
        ordered: bool = ...,
        name: str | None = ...,
        on_error: OnError | None = ...,
    ) -> Stream[U]: ...
    @overload
    def map(
        self,
        fn: OfRecord[T, U],
        *,
        concurrency: int = ...,
        on: On | None = ...,
        ordered: bool = ...,
        name: str | None = ...,
        on_error: OnError | None = ...,
    ) -> Stream[U]: ...

    def map(
        self,
        fn: OfRecord[T, Any],
        *,
        concurrency: int = 1,
        on: On | None = None,
        ordered: bool = True,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[Any]:
        """Replace each record by `fn(record)`, with `concurrency` records in flight: started, and not given yet.

        The place of a record that is given is taken by the next one at once: whoever stops after `k` records has had
        `k + concurrency` of them started, no more and no fewer. The caller's context variables and torch gradient mode
        go along, to processes the mode alone.

        Order: kept, unless `ordered=False`.   Memory: at most `concurrency` records in flight.
        Failure: the record's, at its place, as `on_error` says: `raise`; `skip`, counted in the iterator's `losses`;
        `quarantine`, which a job sets aside and plain iteration raises with the record kept (`error.record`), for a
        `catch`. By default iteration raises and a run quarantines. Any exception is one but `KeyboardInterrupt`,
        `SystemExit` and a cancellation, which pass through. A worker process that dies is replaced and its record tried
        once more.
        Resume: exact; a record in flight at the checkpoint runs again. After `ordered=False` the set is exact, the
        sequence is not. In a job not behind a call, and in order.

        Args:
            on: `threads`, for a function that waits, or computes without the interpreter's lock; `processes`, for one
                that computes in Python, pickled by name; `async`, for a coroutine function. By default threads,
                of a coroutine function `async`.
            ordered: whether results come in the order of the records, or as they are finished.
        """
        return self._append(Map, fn=fn, concurrency=concurrency, on=on, ordered=ordered, name=name, on_error=on_error)

    def with_columns(
        self, *, name: str | None = None, on_error: OnError | None = None, **columns: OfRecord[T, Any]
    ) -> Stream[T]:
        """Add columns, each the value of its function of the record as it came in.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(WithColumns, columns=columns, name=name, on_error=on_error)

    def filter(self, fn: OfRecord[T, object], *, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Keep the records for which `fn(record)` is true; the others are counted as dropped.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Filter, fn=fn, name=name, on_error=on_error)

    def flat_map(
        self, fn: OfRecord[T, Iterable[U]], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[U]:
        """Replace each record by every one of `fn(record)`; an empty iterable drops it.

        Order: kept.   Memory: one record; before the first call children are made lazily, after it all of one
        record at once.   Failure: as `map`; children given before it stay.   Resume: exact.
        """
        return cast("Stream[U]", self._append(FlatMap, fn=fn, name=name, on_error=on_error))

    def select(self, *columns: str, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Keep these columns, in this order; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Select, columns=columns, name=name, on_error=on_error)

    def rename(
        self, columns: Mapping[str, str], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Give columns other names, old to new; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Rename, columns=dict(columns), name=name, on_error=on_error)

    def drop(self, *columns: str, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Leave these columns out; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Drop, columns=columns, name=name, on_error=on_error)

    def observe(
        self, fn: OfRecord[T, object], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Call `fn(record)` for what it does (log, count); the record stays as it is.

        Order: kept.   Memory: one record.   Failure: as `map`.
        Resume: exact; records read again by a resume are observed again.
        """
        return self._append(Observe, fn=fn, name=name, on_error=on_error)

    def tokenize(
        self,
        tokenizer: OfRecord[str, Any] | str | PathLike[str],
        *,
        column: str = "text",
        into: str = "input_ids",
        append_eos: bool | int | str = False,
        max_tokens: int | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Put the token ids of the text in `column` into the column `into`.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.

        Args:
            tokenizer: a function from a text to its ids (a list, or `{"input_ids": …}` as those of transformers give),
                or a `tokenizers` JSON file, which needs `tidemill[tokenizers]`. A file's content belongs to the
                pipeline; the truncation and padding it may ask for are left out.
            append_eos: end with this token, by id or text, unless the tokenizer did; True takes its `eos_token_id`.
            max_tokens: keep so many ids: the first, and special ones at the end.
        """
        given = {"tokenizer": tokenizer, "column": column, "into": into}
        return self._append(
            Tokenize, **given, append_eos=append_eos, max_tokens=max_tokens, name=name, on_error=on_error
        )

    def chunk(
        self,
        column: str = "text",
        *,
        by: Literal["sentences", "headings", "words", "tokens"] = "sentences",
        max_chars: int | None = None,
        max_tokens: int | None = None,
        tokenizer: OfRecord[str, Any] | str | PathLike[str] | None = None,
        overlap: int = 0,
        into: str = "text",
        **options: Any,
    ) -> Stream[Any]:
        """Replace each record by the chunks of its text in `column`, each a record with the other columns too.

        A chunk is `text[start:stop]`: its columns `start` and `stop` are characters of the text, `chunk` its number.
        All but white space at their ends is in some chunk. A cut falls at the last place of the kind that `by` names
        for which there is room; a sentence with no room of its own is cut between words, a word between what a reader
        takes for characters (UAX #29). A single one of more tokens than `max_tokens` stays whole.

        Order: kept.   Memory: one record, 8 bytes for each of its tokens and sentences; before the first call chunks
        are made lazily, after it all of one record at once.
        Failure: as `map`, when the record has no such text.
        Resume: exact; the chunks of a record gone on within are made again.

        Args:
            by: `sentences`; `headings` of Markdown and reStructuredText, so that no chunk goes over one, with the
                column `headings` of the titles above it; `words`; or `tokens`, which fills each chunk.
            max_chars: the most characters of a chunk. Give this one, `max_tokens` or `max_bytes`.
            max_tokens: the most tokens, without special ones, of each chunk tokenized by itself.
            tokenizer: a `tokenizers` JSON file, which needs `tidemill[tokenizers]`, or a fast one of transformers.
            overlap: the most of a chunk's end that the next one begins with, in whole sentences where one fits.
            **options: the other fields of `tidemill.data.nodes.single.Chunk`: `max_bytes`, `min_size`, `language`,
                `name`, `on_error`.
        """
        sizes = {"max_chars": max_chars, "max_tokens": max_tokens, "overlap": overlap}
        return self._append(Chunk, column=column, by=by, tokenizer=tokenizer, into=into, **sizes, **options)

    def decode_image(
        self,
        column: str = "image",
        *,
        into: str | None = None,
        size: tuple[int, int] | None = None,
        fit: Fit = "crop",
        mode: Channels = "RGB",
        frames: int | None = None,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_IMAGE_BYTES,
        concurrency: int = 1,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Replace the bytes of an image by its pixels, a NumPy array: uint8 (height, width, 3), 0 to 255.

        JPEG, PNG, WebP, GIF, BMP and TIFF, by Pillow (`tidemill[images]`), turned upright as EXIF says. The array is
        contiguous and the record's own: `torch.from_numpy` shares its memory. A JPEG is decoded to little more than
        `size`. The limits are held against the header, before anything is decoded.

        Order: kept.   Memory: the images in flight, each as Pillow holds it (4 bytes a pixel) and as an array.
        Failure: as `map`; an image that is cut, corrupt, of another kind, or over a limit.   Resume: as `map`.

        Args:
            into: the column of the pixels; by default they take the place of the bytes.
            size: height and width of the result; by default each image has its own.
            fit: how an image of another shape is made to fit: scaled to fill `size` and its middle kept (`crop`), to
                lie within it on black (`pad`), or stretched.
            mode: `RGB`, `RGBA`, or `L`, of one channel: (height, width).
            frames: give so many frames of an animation at most, (frames, height, width, 3); by default the first one.
            max_pixels: width times height, of all frames given, before anything is scaled.
            max_bytes: of the encoded image.
            concurrency: images decoded at once, in threads, and not given yet.
        """
        given = {"column": column, "into": into, "size": size, "fit": fit, "mode": mode, "frames": frames}
        limits = {"max_pixels": max_pixels, "max_bytes": max_bytes, "concurrency": concurrency}
        return self._append(DecodeImage, **given, **limits, name=name, on_error=on_error)

    def split(self, by: str | None = None, *, seed: int = 0, **ratios: float) -> dict[str, Stream[T]]:
        """Streams that share the records out: `split("id", train=0.9, test=0.1)["test"]`.

        A record's share follows from its value in the column `by` (all of the record without one) and `seed` alone: it
        stays where it is when the data grows, and records of one value stay together.

        Order: kept.   Memory: one record.   Failure: the record's, when it has no such column or no JSON form.
        Resume: exact.

        Args:
            by: the column that decides.
            ratios: names of the shares and how much each gets; they need not sum to 1.
        """
        return {
            share: self._append(Split, by=by, seed=seed, ratios=tuple(ratios.values()), share=number, name=None)
            for number, share in enumerate(ratios)
        }

    def unbatch(self, *, name: str | None = None, on_error: OnError | None = None) -> Stream[Any]:
        """Take batches apart again: lists, dicts of columns, Arrow tables.

        Order: kept.   Memory: one batch.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Unbatch, name=name, on_error=on_error)

    def catch(
        self,
        on_error: Literal["skip", "quarantine"] | None = None,
        *,
        to: str | PathLike[str] | None = None,
        name: str | None = None,
    ) -> Stream[T]:
        """Keep failures of the source and of all steps in front from ending the iteration.

        They are counted in the iterator's `losses`. A failing record goes to the file `to` whole, with step, place and
        cause; `tidemill.replay(to)` gives such records again. What fails as a whole (a file that is gone, a foreign
        state, a full disk) is raised all the same.

        Order: kept.   Memory: one record.   Failure: caught.
        Resume: exact; the file then holds each failure once. Not in a job, which has a quarantine of its own.

        Args:
            on_error: `skip` passes over and counts, `quarantine` needs `to`; by default what `to` says.
            to: the file that failing records go to.
        """
        return self._append(Catch, on_error=on_error, to=None if to is None else os.fspath(to), name=name)
