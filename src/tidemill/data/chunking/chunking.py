"""What a `chunk` step does to one record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from tidemill.data.chunking.boundaries import LINES, WORDS, Boundaries, Gaps, Graphemes, Sentences
from tidemill.data.chunking.cutting import Cutter
from tidemill.data.chunking.headings import iter_sections, join_sections
from tidemill.data.chunking.rulers import ByteRuler, CharRuler, FindStarts, Ruler, TokenRuler
from tidemill.data.chunking.sizes import HEADINGS, By, Sizes, Unit
from tidemill.data.records.columns import read_column
from tidemill.data.texts.tokenizing import TokenizerFile
from tidemill.errors import DataError


class Chunking:
    """Gives the chunks of a column's text, each as a record.

    Args:
        tokenizer: what sizes in tokens are counted by.
        step: the step's name, for errors.
    """

    def __init__(
        self,
        column: str,
        into: str,
        *,
        by: By,
        unit: Unit,
        sizes: Sizes,
        language: str = "en",
        tokenizer: Callable[[str], Any] | None = None,
        step: str = "",
    ) -> None:
        self._column = column
        self._into = into
        self._by = by
        self._sizes = sizes
        self._language = language
        self._where = f"step `{step}`" if step else ""
        self._make_ruler: Callable[[str], Ruler] = CharRuler if unit == "chars" else ByteRuler
        if unit == "tokens" and tokenizer is not None:
            parts = isinstance(tokenizer, TokenizerFile) and tokenizer.parts_at_space
            find_starts = self._choose_starts(tokenizer)
            self._make_ruler = partial(TokenRuler, find_starts=find_starts, parts_at_space=parts)

    def __call__(self, record: Any) -> Iterator[dict[str, Any]]:
        """The chunks of `record`; the whole text is left out of them.

        Raises:
            DataError: it has no such text, or the tokenizer does not say where its tokens stand.
        """
        try:
            text = read_column(record, self._column)
            if not isinstance(text, str):
                kind = "None" if text is None else f"a {type(text).__name__}"
                raise DataError(f"expected text in `{self._column}`, got {kind}")
        except DataError as error:
            error.where = self._where
            raise
        kept = {name: value for name, value in record.items() if name != self._column}
        return self._iter_chunks(kept, text)

    def _iter_chunks(self, kept: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
        sizes = self._sizes
        cutter = Cutter(text, self._make_ruler(text), self._make_boundaries(text), sizes)
        number = 0
        if self._by != "headings":
            for start, stop in cutter.iter_spans(0, len(text)):
                yield {**kept, self._into: text[start:stop], "chunk": number, "start": start, "stop": stop}
                number += 1
            return
        is_small = partial(cutter.fits, size=sizes.least - 1) if sizes.least else _is_never
        for section in join_sections(iter_sections(text), is_small, partial(cutter.fits, size=sizes.limit)):
            for start, stop in cutter.iter_spans(section.start, section.stop):
                place = {"chunk": number, "start": start, "stop": stop, HEADINGS: list(section.headings)}
                yield {**kept, self._into: text[start:stop], **place}
                number += 1

    def _make_boundaries(self, text: str) -> list[Boundaries]:
        boundaries: list[Boundaries] = [Graphemes(text)]
        if self._by != "tokens":
            boundaries.insert(0, Gaps(text, WORDS))
        if self._by in ("sentences", "headings"):
            boundaries[:0] = [Sentences(text, self._language), Gaps(text, LINES)]
        return boundaries

    def _choose_starts(self, tokenizer: Callable[[str], Any]) -> FindStarts:
        """The places of the tokens, however a tokenizer tells them: as `tokenizers` or `transformers` do."""
        if isinstance(tokenizer, TokenizerFile):
            return tokenizer.find_starts
        if hasattr(tokenizer, "is_fast"):  # of transformers, which else warn of texts that a model cannot take
            options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
            tokenizer = partial(tokenizer, **options)

        def find_starts(text: str) -> list[int]:
            encoded = tokenizer(text)
            offsets = (
                encoded.get("offset_mapping") if isinstance(encoded, Mapping) else getattr(encoded, "offsets", None)
            )
            if offsets is None:
                raise DataError(
                    "expected a tokenizer that says where its tokens stand, got one that gives ids alone",
                    where=self._where,
                    hint="name its file (`tokenizer.json`), or give a fast one of transformers",
                )
            special = getattr(encoded, "special_tokens_mask", None) or [0] * len(offsets)
            return [start for (start, _), is_special in zip(offsets, special, strict=True) if not is_special]

        return find_starts


def _is_never(start: int, stop: int) -> bool:
    return False
