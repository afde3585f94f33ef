"""Tar archives in the layout of WebDataset: members `key.jpg`, `key.json` are one record."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tidemill.data.files import BLOCK_BYTES, TextFile, compare_file, find_codec, open_random, recognize_codec, stat_file
from tidemill.data.files.codecs import Codec
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits, check_plain
from tidemill.data.formats.items import Place
from tidemill.data.formats.lines import LineReader, open_lines
from tidemill.data.formats.runs import Run, error_run, where_at
from tidemill.data.formats.tar.archive import TarEnd, TextArchive
from tidemill.data.formats.tar.groups import Group, iter_groups, show_name
from tidemill.data.formats.tar.headers import BLOCK
from tidemill.data.formats.tar.records import build_record, fail_group, save_members
from tidemill.data.formats.tar.rows import TarRows
from tidemill.data.turns import Share
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State


class Tar:
    """Tar archives, as a `Format`: a record is `{"__key__": key, suffix: …}` for members that stand side by side.

    The key is what a member's name has in front of the first dot of its last component, the suffix what stands behind
    it, in lower case. `json` is parsed, `txt` is text, `cls` a whole number; all else is bytes. Nothing is ever written
    by a member's name, and no link is followed: a record with one, with a name that leads out of the archive, with a
    sparse member, or with two members of one suffix raises `DataError`. An archive that is cut or corrupt gives the
    records in front of that point, then one `DataError`, then its end.

    Resume: a plain archive seeks, a packed one is unpacked up to the state.
    """

    name = "tar"
    suffixes: tuple[str, ...] = (".tar",)
    compressible = True
    takes = frozenset({"max_line_bytes", "max_unpacked_ratio"})
    traits = Traits(
        title="tar, laid out as WebDataset's",
        record='the members of one key, a column for each suffix: `{"__key__", "jpg", "json"}`, say',
        by_number="an index of 8 bytes a record, made once over the headers; not of packed files",
        resume="nothing; a packed archive is unpacked up to there",
        schema="none: each record has its own columns",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        read_runs = functools.partial(_iter_runs, path, options)
        return open_lines(path, state, read_runs, compare=_compare, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return _compare(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        raise DataError("expected a record of a tar archive, which cannot be made from the bytes of a member", raw=raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        return save_members(records, file)

    def read_schema(self, path: Path, options: Options = PLAIN) -> None:
        """None: each record has members of its own."""

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        check_plain(path)
        return TarRows(path)


def _compare(path: Path, state: State) -> Growth:
    """An archive has room behind its end, so that it can grow and be no larger."""
    growth = compare_file(path, state)
    changed = growth == "same" and any(state.get(name) != value for name, value in stat_file(path).items())
    return "grown" if changed else growth


class _GroupRun(Run):
    """Records of consecutive groups; knows where each ends."""

    __slots__ = ("_ends",)

    def __init__(self, groups: Sequence[Group], items: list[Any]) -> None:
        super().__init__(groups[0].start, groups[-1].end, b"", items)
        self._ends = [group.end for group in groups]

    def measure(self, given: int) -> int:
        return self._ends[given - 1] - self.start if given else 0


def _iter_runs(path: Path, options: Options, text: TextFile, place: Place[Run]) -> Iterator[Run]:
    """The runs of an archive; the records of those that are not the share's turn are not made."""
    share = options.share
    told_at = place.run.end if place.run.failed else None
    groups: list[Group] = []
    ending: Run | None = None
    try:
        archive = TextArchive(text, place.run.end, options.max_unpacked_ratio)
        for group in iter_groups(archive, options.max_line_bytes):
            if group.problem:
                yield from _build_runs(path, groups, share)
                yield error_run(fail_group(path, group), group.start, group.end)
                groups = []
                continue
            groups.append(group)
            if group.end - groups[0].start >= BLOCK_BYTES:
                yield from _build_runs(path, groups, share)
                groups = []
    except TarEnd as end:
        if end.offset != told_at:
            ending = error_run(_fail_end(path, end, text), end.offset, end.offset, failed=True)
    yield from _build_runs(path, groups, share)
    if ending is not None:
        yield ending


def _build_runs(path: Path, groups: list[Group], share: Share | None) -> Iterator[Run]:
    """One run of all groups, where each of them is a record; else good ones together, each bad one alone."""
    if not groups:
        return
    seen = 0 if share is None else share.seen
    places = range(len(groups)) if share is None else share.take(len(groups))
    try:
        run = _GroupRun(groups, [build_record(path, groups[number]) for number in places])
    except DataError:
        if share is not None:
            share.seen = seen
        yield from _iter_careful(path, groups)
        return
    if share is not None:
        run.share(list(run.link()), seen, places, len(groups))
    yield run


def _iter_careful(path: Path, groups: list[Group]) -> Iterator[Run]:
    good: list[Group] = []
    records: list[Any] = []
    for group in groups:
        try:
            record = build_record(path, group)
        except DataError as error:
            if good:
                yield _GroupRun(good, records)
                good, records = [], []
            yield error_run(error, group.start, group.end)
        else:
            good.append(group)
            records.append(record)
    if good:
        yield _GroupRun(good, records)


def _fail_end(path: Path, end: TarEnd, text: TextFile) -> DataError:
    """That an archive is cut or corrupt, and what is lost with it."""
    lost = f"; record `{show_name(end.key)}` is not whole" if end.key else ""
    message = f"the archive ends here: {text.failure or end}{lost}"
    hint = end.hint
    if end.offset == 0 and not end.key and not text.failure:
        codec = _recognize(path) if find_codec(path) is None else None
        message = f"expected a tar archive: {end}"
        hint = f'the file begins as {codec.name} does: compression="{codec.name}" unpacks it' if codec else ""
    return DataError(message, where=where_at(path, end.offset), hint=hint, offset=end.offset, is_cut=True)


def _recognize(path: Path) -> Codec | None:
    with open_random(path) as file:
        return recognize_codec(file.read(BLOCK))


TAR = Tar()
