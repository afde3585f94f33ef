"""Texts cut into chunks: what holds of every text, where cuts fall, and what headings stand above."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import regex
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from resuming import check_resumes_everywhere
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import tidemill as tm
from tidemill.data.chunking.headings import iter_headings
from tidemill.data.iteration import iterate
from tidemill.data.nodes.single import Chunk
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.texts.tokenizing import TokenizerFile
from tidemill.errors import DataError

ROOT = Path(__file__).parents[2]
WORDS = [
    "the",
    "tide",
    "mill",
    "turns",
    "as",
    "it",
    "goes",
    "out",
    "and",
    "comes",
    "in",
    "again",
    "with",
    "the",
    "moon",
]


def chunks_of(text: str, **options: Any) -> list[dict[str, Any]]:
    return list(tm.from_iterable([{"text": text}]).chunk(**options))


def texts_of(text: str, **options: Any) -> list[str]:
    return [chunk["text"] for chunk in chunks_of(text, **options)]


def save_words(path: Path) -> Path:
    """A tokenizer that takes a text apart at white space and punctuation, and knows some words."""
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(["[UNK]", *dict.fromkeys(WORDS)])}))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(path))
    return path


def save_bytes(path: Path) -> Path:
    """A byte-level one, of which a word by itself is other tokens than behind a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([" ".join(WORDS)] * 9, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenizerFile]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "words": TokenizerFile(save_words(folder / "words.json")),
        "bytes": TokenizerFile(save_bytes(folder / "bytes.json")),
    }


PIECES = [
    *("Hello World. ", "e.g. this ", "Dr. X. ", "...", "?!", "the tide mill ", "supercalifragilistic", "x" * 40),
    *("\n", "\n\n", "\r\n", "  ", "\t", "\x1c", "# T\n", "## U\n", "- a\n- b\n", "Title\n=====\n", "```\n# x\n```\n"),
    *("。", "「行。」", "今天天气", "한국어", "\u1100\u1161\u11a8", "สวัสดี", "नमस्ते। ", "क्षि "),
    *("😀👨‍👩‍👧 ", " 🏻", "🇫🇷🇩🇪🇺🇸", "a\u0301! ", " \u0301", "\ud800", "\u0600a"),
]
any_text = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join)


@settings(max_examples=400)
@given(
    text=any_text,
    by=st.sampled_from(["words", "sentences", "headings", "tokens"]),
    unit=st.sampled_from(["chars", "bytes", "words", "bytes of tokens"]),
    limit=st.integers(4, 60),
    ratios=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
def test_whatever_the_text(
    tokenizers: dict[str, TokenizerFile],
    text: str,
    by: str,
    unit: str,
    limit: int,
    ratios: tuple[float, float],
) -> None:
    """Chunks are where they say, go on, overlap as asked, fit, cut no character, and leave out white space alone."""
    tokenizer = tokenizers.get("words" if unit in ("chars", "words") else "bytes")
    unit = "tokens" if by == "tokens" or unit not in ("chars", "bytes") else unit
    sizes = {"overlap": int(ratios[0] * limit), "min_size": int(ratios[1] * limit), f"max_{unit}": limit}
    chunks = chunks_of(text, by=by, tokenizer=tokenizer if unit == "tokens" else None, **sizes)
    assert tokenizer is not None
    measure = partial(measure_text, unit, tokenizer)
    clusters = [found.span() for found in regex.finditer(r"\X", text)]
    last_start, last_stop, given = -1, 0, set[int]()
    for number, chunk in enumerate(chunks):
        start, stop = chunk["start"], chunk["stop"]
        assert chunk["text"] == text[start:stop] != ""
        assert chunk["chunk"] == number
        assert start > last_start
        assert stop > last_stop
        inside = len(regex.findall(r"\X", chunk["text"])) > 1
        assert measure(chunk["text"]) <= limit or (unit == "tokens" and not inside)
        if unit != "tokens":
            assert measure(text[start:last_stop]) <= sizes["overlap"]
        for first, last in clusters:
            if first < start < last or first < stop < last:
                assert measure(text[first:last]) > limit or not text[first:last].strip()
        last_start, last_stop = start, stop
        given |= set(range(start, stop))
    assert not "".join(character for place, character in enumerate(text) if place not in given).strip()


def measure_text(unit: str, tokenizer: TokenizerFile, text: str) -> int:
    if unit == "tokens":
        return len(tokenizer.find_starts(regex.sub("[\ud800-\udfff]", "\ufffd", text)))
    return len(text) if unit == "chars" else len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "text",
    [
        "My name is Jonas E. Smith.| Please turn to p. 55.",
        "She has $100.00 in her bag.| It is heavy.",
        "At 5 a.m. Mr. Smith went to the bank.| He left at once.",
        "Her site is https://www.example.50.com/new.html.| Please look.",
        'She turned to him, "This is great."| She held the book out.',
        "Hello?!| Is that you?| No…| Perhaps.",
        "It was a cold\nnight in the city.| We slept.",
        "A title without a stop\n\n|The first sentence.| The second.",
        "今天天气很好。|我们去公园吧。|你觉得呢。",
        "यह एक वाक्य है।| यह दूसरा है।",
    ],
)
def test_a_sentence_ends_where_its_reader_says(text: str) -> None:
    """With room for the longest, which no two of these fit in together with what ends them."""
    sentences = [each.strip() for each in text.split("|")]
    for size in (max(map(len, sentences)), max(map(len, sentences)) + 1):
        found = texts_of(text.replace("|", ""), max_chars=size)
        starts = [sentence for sentence in sentences if any(each.startswith(sentence) for each in found)]
        assert starts
        assert all(each.endswith(tuple(sentences)) for each in found)


def test_abbreviations_are_those_of_the_language() -> None:
    """`ca.` of German ends no sentence there."""
    text = "Das sind z. B. Boote. Es waren bzw. sind viele."
    assert texts_of(text, max_chars=30, language="de") == ["Das sind z. B. Boote.", "Es waren bzw. sind viele."]


def test_cuts_fall_behind_the_last_sentence_with_room() -> None:
    """A sentence with no room is cut at lines, words, and characters, in this order."""
    text = "One two. Three four. Five."
    assert texts_of(text, max_chars=20) == ["One two. Three four.", "Five."]
    assert texts_of(text, by="words", max_chars=18) == ["One two. Three", "four. Five."]
    table = "| one row |\n| a second row |\n| third |"
    assert texts_of(table, max_chars=30) == ["| one row |\n| a second row |", "| third |"]
    assert texts_of("a supercalifragilistic word", max_chars=10) == ["a", "supercalif", "ragilistic", "word"]
    assert texts_of("👨‍👩‍👧👨‍👩‍👧", max_chars=6) == ["👨‍👩‍👧", "👨‍👩‍👧"]
    assert texts_of("👨‍👩‍👧", max_chars=3) == ["👨‍👩", "‍👧"]
    assert texts_of("😀👨‍👩‍👧", by="words", max_bytes=18, min_size=9) == ["😀", "👨‍👩‍👧"]


@pytest.mark.parametrize("piece", ["🇫🇷", "\u0301", "“", "x", "=\n", "```\n"])
def test_a_text_takes_time_by_its_length_alone(piece: str) -> None:
    """Were each chunk to look at all of a row of flags or accents, this would take minutes."""
    text = piece * (80_000 // len(piece))
    found = texts_of(text, max_chars=1000)
    assert sum(map(len, found)) >= len(text.replace("\n", ""))


def test_the_next_chunk_begins_with_whole_sentences_of_the_last() -> None:
    """As many as `overlap` holds; none where the next one would not go in beside them; words where none is so short."""
    text = "One. Two. Three is longer. Four."
    assert texts_of(text, max_chars=22, overlap=6) == ["One. Two.", "Two. Three is longer.", "Four."]
    assert texts_of("Alpha beta gamma. Delta. Epsilon.", max_chars=25, overlap=8) == [
        "Alpha beta gamma. Delta.",
        "Delta. Epsilon.",
    ]
    assert texts_of("one two three four five", by="words", max_chars=13, overlap=5) == [
        "one two three",
        "three four",
        "four five",
    ]


def test_what_is_too_small_goes_with_what_stands_beside_it() -> None:
    """The last chunk of a text takes from the one before; small sections go together under what they share."""
    text = "One one one. Two two two. Three. Four."
    assert texts_of(text, max_chars=32) == ["One one one. Two two two. Three.", "Four."]
    assert texts_of(text, max_chars=32, min_size=10) == ["One one one. Two two two.", "Three. Four."]
    page = "# A\n\n## B\n\nFirst.\n\n## C\n\nSecond.\n\n# D\n\nThird, and long enough by itself."
    found = chunks_of(page, by="headings", max_chars=60, min_size=20)
    assert [(each["headings"], each["text"].replace("\n\n", "/")) for each in found] == [
        (["A"], "# A/## B/First./## C/Second."),
        (["D"], "# D/Third, and long enough by itself."),
    ]


def test_no_chunk_goes_over_a_heading() -> None:
    """Each says the titles it stands under; one with nothing under it goes with the next that it is above."""
    page = (
        "Before.\n\n# Mill\n\n## Wheel ##\n\nIt turns. It stops.\n\n```\n# no heading\n```\n\nGate\n----\n\nIt opens.\n"
    )
    found = chunks_of(page, by="headings", max_chars=40)
    assert [(each["headings"], each["text"]) for each in found] == [
        ([], "Before."),
        (["Mill", "Wheel"], "# Mill\n\n## Wheel ##\n\nIt turns. It stops."),
        (["Mill", "Wheel"], "```\n# no heading\n```"),
        (["Mill", "Gate"], "Gate\n----\n\nIt opens."),
    ]


def test_headings_of_restructured_text_take_their_levels_in_order() -> None:
    """A line over a title too is another kind; what is no heading of it stays text."""
    page = (
        "====\nPage\n====\n\nIntro\n~~~~~\n\nText.\n\n"
        "Part\n^^^^\n\nMore.\n\n=====  ===\nA      B\n=====  ===\n\nLast\n~~~~\n\ntoo long a title\n---\n"
    )
    assert [(each.level, each.title) for each in iter_headings(page)] == [
        *((1, "Page"), (2, "Intro"), (3, "Part"), (2, "Last"))
    ]


def test_headings_of_markdown_are_those_of_its_parser() -> None:
    """Of this project's pages, and where the two might differ."""
    pages = [path.read_text() for path in sorted(ROOT.glob("docs/*.md"))]
    pages.append(
        "# One #\n\n####### no\n\n#no\n\n   ## Two\n\n~~~~\n# no\n~~~\n# no\n~~~~\n\nThree\n===\n\n---\n\n### `x` # y"
    )
    pages.append("# A\n\n```text\nfence\n\n# never closed")
    for page in pages:
        tokens = MarkdownIt("commonmark").parse(page)
        expected = [
            (int(token.tag[1]), tokens[place + 1].content, token.map[0])
            for place, token in enumerate(tokens)
            if token.type == "heading_open" and token.map is not None
        ]
        found = [(each.level, each.title, page.count("\n", 0, each.start)) for each in iter_headings(page)]
        assert found == expected


def test_front_matter_is_no_heading() -> None:
    """Though a line stands under it."""
    assert [each.title for each in iter_headings("---\ntitle: Mill\n---\n\n# Wheel\n")] == ["Wheel"]


def test_the_other_columns_go_along() -> None:
    """The whole text does not; the record stays as it is."""
    record = {"id": 7, "body": "One. Two."}
    found = list(tm.from_iterable([record]).chunk("body", max_bytes=5, into="part"))
    assert found == [
        {"id": 7, "part": "One.", "chunk": 0, "start": 0, "stop": 4},
        {"id": 7, "part": "Two.", "chunk": 1, "start": 5, "stop": 9},
    ]
    assert record == {"id": 7, "body": "One. Two."}
    assert list(tm.from_iterable([{"text": ""}, {"text": " \n"}]).chunk(max_chars=5)) == []


@pytest.mark.parametrize("kind", ["words", "bytes"])
def test_a_chunk_by_itself_has_no_more_tokens_than_asked(tokenizers: dict[str, TokenizerFile], kind: str) -> None:
    """Filled to it by `tokens`, also where a word has other tokens without the space in front of it."""
    text = ". ".join(" ".join(WORDS[place:] + WORDS[:place]) for place in range(len(WORDS)))
    for by in ("tokens", "words", "sentences"):
        found = texts_of(text, by=by, max_tokens=16, overlap=4, tokenizer=tokenizers[kind].path)
        counts = [len(tokenizers[kind](each)) for each in found]
        assert max(counts) <= 16
        assert by == "sentences" or sum(counts) > 0.9 * 16 * (len(counts) - 1)


def test_what_bert_takes_for_no_white_space_parts_no_words(tokenizers: dict[str, TokenizerFile]) -> None:
    """A control character that it leaves out, so that the words around it are one, and none it knows."""
    words = tokenizers["words"]
    found = texts_of("mill\x1fthe, moon", by="words", max_tokens=1, tokenizer=words)
    assert [len(words(each)) for each in found] == [1] * len(found)


def test_tokenizers_of_transformers_and_of_the_package_are_taken(tokenizers: dict[str, TokenizerFile]) -> None:
    """As they are called; special tokens are not counted."""
    transformers = pytest.importorskip("transformers")
    file = tokenizers["words"]
    text = " ".join(WORDS)
    expected = texts_of(text, by="tokens", max_tokens=4, tokenizer=file)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=file.path, model_max_length=3)
    assert texts_of(text, by="tokens", max_tokens=4, tokenizer=fast) == expected
    assert texts_of(text, by="tokens", max_tokens=4, tokenizer=file.encode) == expected


def test_a_text_is_tokenized_as_far_as_it_is_read(tokenizers: dict[str, TokenizerFile]) -> None:
    """Chunks of the source half are made one by one."""
    sizes: list[int] = []

    def encode(text: str) -> Any:
        sizes.append(len(text))
        return tokenizers["words"].encode(text)

    walking = tm.from_iterable([{"text": "the tide turns. " * 20_000}]).chunk(max_tokens=64, tokenizer=encode).iterate()
    next(walking)
    walking.close()
    assert max(sizes) < 10_000
    assert len(sizes) < 5


def test_a_tokenizer_that_gives_ids_alone_is_told() -> None:
    """Of the record, as only its call says so."""
    with pytest.raises(DataError, match=r"(?s)step `chunk`: expected a tokenizer that says where.*name its file"):
        chunks_of("a", max_tokens=4, tokenizer=lambda text: [1])


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"txt": "a"}, r"(?s)step `chunk`: expected a column `text`, got `txt`.*did you mean `txt`"),
        ({"text": None}, r"step `chunk`: expected text in `text`, got None"),
        ("text", r"step `chunk`: expected a record with a column `text`, got a str"),
    ],
)
def test_a_record_without_a_text_fails_alone(record: Any, told: str) -> None:
    records = iterate(FromIterable(iterable=[record, {"text": "a"}]), [Chunk(max_chars=5)])
    with pytest.raises(DataError, match=told):
        next(records)
    assert next(records)["text"] == "a"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "expected one of max_tokens, max_chars and max_bytes, got none"),
        ({"max_chars": 5, "max_bytes": 5}, "got max_chars and max_bytes"),
        ({"max_tokens": 5}, "max_tokens needs a tokenizer"),
        ({"max_chars": 5, "tokenizer": len}, "a tokenizer needs max_tokens"),
        ({"by": "tokens", "max_chars": 5}, r"(?s)by='tokens' needs max_tokens and a tokenizer.*by='words'"),
        ({"by": "sentence", "max_chars": 5}, 'got "sentence"; did you mean `sentences`'),
        ({"max_chars": 5, "overlap": 5}, "expected overlap below 5, got 5"),
        ({"max_chars": 5, "min_size": 9}, "expected min_size below 5, got 9"),
        ({"max_chars": 5, "language": "English"}, "language"),
        ({"max_char": 5}, "did you mean `max_chars`"),
    ],
)
def test_a_wrong_option_is_told_when_it_is_given(options: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.from_iterable([]).chunk(**options)


def test_chunking_resumes_everywhere(tokenizers: dict[str, TokenizerFile]) -> None:
    """Within a record, too, and with texts that fail."""
    source = FromIterable(iterable=[{"text": text} for text in ("# A\n\nOne. Two. Three.", None, "", "Four. Five.")])
    nodes = [Chunk(by="headings", max_tokens=3, overlap=1, tokenizer=tokenizers["words"])]
    whole = check_resumes_everywhere(lambda state: iterate(source, nodes, state))
    assert [outcome[0] for outcome in whole].count("DataError") == 1
    assert len(whole) > 6


def test_a_job_cuts_on_either_side_of_its_calls(tmp_path: Path) -> None:
    """The tokenizer stands beside the job file; each chunk lands as a record."""
    save_words(tmp_path / "tokenizer.json")
    (tmp_path / "pages.jsonl").write_text(json.dumps({"id": 1, "page": "The tide. The mill. The moon."}))
    steps = (tmp_path / "my_steps.py").write_text("async def look(record):\n    return record['part'].upper()\n")
    assert steps
    job: dict[str, Any] = {
        "source": {"path": "pages.jsonl"},
        "steps": [
            {"chunk": {"column": "page", "into": "part", "max_chars": 20}},
            {"call": {"fn": "my_steps:look", "into": "loud"}},
            {"chunk": {"column": "loud", "into": "loud", "max_tokens": 3, "tokenizer": "tokenizer.json"}},
        ],
        "sink": {"path": "out", "format": "jsonl"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    loaded = tm.load_job(tmp_path / "job.yaml")
    loaded.check()
    assert loaded.run(progress=False).records["landed"] == 3
    assert [(each["part"], each["loud"], each["chunk"]) for each in tm.dataset(tmp_path / "out")] == [
        ("The tide. The mill.", "THE TIDE.", 0),
        ("The tide. The mill.", "THE MILL.", 1),
        ("The moon.", "THE MOON.", 0),
    ]
    (tmp_path / "again.yaml").write_text(loaded.to_yaml())
    assert tm.load_job(tmp_path / "again.yaml") == loaded
    job["steps"][2]["chunk"]["column"] = "page"
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(job))
    with pytest.raises(tm.ConfigError, match="no record has a column `page`"):
        tm.load_job(tmp_path / "wrong.yaml").check()
