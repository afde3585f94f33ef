"""Texts as token ids: any function, or a tokenizers file whose content belongs to the pipeline."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resuming import check_resumes_everywhere
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.nodes.single import Tokenize
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.texts.tokenizing import TokenizerFile
from tidemill.errors import DataError, StateError

WORDS = ("[UNK]", "[CLS]", "[SEP]", "</s>", "the", "tide", "turns", "mill")


def save_tokenizer(path: Path, words: tuple[str, ...] = WORDS, *, pairs: bool = False) -> Path:
    """A word-level tokenizer's file that asks for truncation and padding; with `pairs` it puts texts in brackets."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if pairs:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "tokenizer.json")


def ids_of(text: str, tokenizer: Any, **options: Any) -> Any:
    (record,) = tm.from_iterable([{"text": text}]).tokenize(tokenizer, **options)
    return record["input_ids"]


def to_letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


class Letters:
    """A tokenizer as those of transformers are: called, it gives a mapping; it knows its end token."""

    eos_token_id = 3
    unk_token_id = 0

    def __call__(self, text: str) -> dict[str, Any]:
        return {"input_ids": to_letters(text), "attention_mask": [1] * len(text)}

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"</s>": 3, "<pad>": 4}.get(token, 0)


def test_one_record_in_one_out() -> None:
    """The others of its columns stay, and the record itself is not changed."""
    record = {"id": 1, "body": "ab"}
    stream = tm.from_iterable([record]).tokenize(to_letters, column="body", into="ids")
    assert list(stream) == [{"id": 1, "body": "ab", "ids": [97, 98]}]
    assert record == {"id": 1, "body": "ab"}


@pytest.mark.parametrize(
    "tokenizer",
    [
        to_letters,
        Letters(),
        lambda text: tuple(to_letters(text)),
        lambda text: np.asarray(to_letters(text)),
        lambda text: {"input_ids": np.asarray(to_letters(text), dtype="int32")},
    ],
)
def test_a_tokenizer_may_give_ids_in_any_form(tokenizer: Any) -> None:
    assert ids_of("ab", tokenizer) == [97, 98]


def test_a_tokenizers_file_is_used_without_its_truncation_and_padding(file: Path) -> None:
    """As transformers load it; the class itself gives the same when the two are put off."""
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    text = "the tide turns the other mill"
    assert ids_of(text, file) == ids_of(text, str(file)) == own.encode(text).ids == [4, 5, 6, 4, 0, 7]


def test_encodings_of_the_package_are_taken(file: Path) -> None:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    assert ids_of("the tide", tokenizer.encode) == [4, 5]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, [97, 98, 99]),
        ({"append_eos": True}, [97, 98, 99, 3]),
        ({"append_eos": "<pad>"}, [97, 98, 99, 4]),
        ({"append_eos": 99}, [97, 98, 99]),
        ({"append_eos": 0}, [97, 98, 99, 0]),
        ({"max_tokens": 2}, [97, 98]),
        ({"max_tokens": 3}, [97, 98, 99]),
        ({"max_tokens": 2, "append_eos": True}, [97, 3]),
        ({"max_tokens": 2, "append_eos": 99}, [97, 99]),
        ({"max_tokens": 1, "append_eos": 1}, [1]),
    ],
)
def test_an_end_token_is_appended_and_kept(options: dict[str, Any], ids: list[int]) -> None:
    """By id, by text or the tokenizer's own, once; a text that is cut still ends with it."""
    assert ids_of("abc", Letters(), **options) == ids


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, [1, 4, 5, 6, 2]),
        ({"max_tokens": 4}, [1, 4, 5, 2]),
        ({"max_tokens": 1}, [2]),
        ({"max_tokens": 4, "append_eos": "</s>"}, [1, 4, 2, 3]),
        ({"append_eos": "[SEP]"}, [1, 4, 5, 6, 2]),
    ],
)
def test_special_tokens_at_the_end_stay_where_a_text_is_cut(
    tmp_path: Path, options: dict[str, Any], ids: list[int]
) -> None:
    file = save_tokenizer(tmp_path / "pairs.json", pairs=True)
    assert ids_of("the tide turns", file, **options) == ids


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"txt": "a"}, r"(?s)step `tokenize`: expected a column `text`, got `txt`.*did you mean `txt`"),
        ({"text": None}, r"step `tokenize`: expected text in `text`, got None"),
        ({"text": 5}, r"step `tokenize`: expected text in `text`, got a int"),
        ("text", r"step `tokenize`: expected a record with a column `text`, got a str"),
    ],
)
def test_a_record_without_a_text_fails_alone(record: Any, told: str) -> None:
    records = iterate(FromIterable(iterable=[record, {"text": "a"}]), [Tokenize(tokenizer=to_letters)])
    with pytest.raises(DataError, match=told):
        next(records)
    assert next(records)["input_ids"] == [97]


@pytest.mark.parametrize(
    ("given", "kind"), [("ab", "a str"), ([[1, 2]], "a list of list"), (["a"], "a list of str"), (None, "None")]
)
def test_what_is_no_list_of_ids_is_refused(given: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"step `tokenize`: expected a list of token ids of `text`.*got {kind}"):
        ids_of("ab", lambda text: given)


@pytest.mark.parametrize(
    ("tokenizer", "options", "told"),
    [
        (to_letters, {"append_eos": True}, r"(?s)no `eos_token_id`.*append_eos='</s>'"),
        (to_letters, {"append_eos": "</s>"}, r"(?s)the tokenizer has no token `</s>`.*give the id"),
        (Letters(), {"append_eos": "<odd>"}, "the tokenizer has no token `<odd>`"),
        (to_letters, {"max_tokens": 0}, "expected an integer >= 1, got 0"),
        ("no_such_module:fn", {}, "no module named `no_such_module`"),
        (5, {}, "expected a function"),
    ],
)
def test_a_wrong_option_is_told_when_it_is_given(tokenizer: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.from_iterable([]).tokenize(tokenizer, **options)


def test_a_wrong_file_is_told_when_it_is_given(file: Path) -> None:
    with pytest.raises(tm.ConfigError, match=r"(?s)there is no file .*did you mean `tokenizer.json`"):
        tm.from_iterable([]).tokenize(file.with_name("tokeniser.json"))
    file.write_text('{"version": "1.0"}')
    with pytest.raises(tm.ConfigError, match="expected a tokenizer's JSON file"):
        tm.from_iterable([]).tokenize(file)
    unsaved: Any = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(tm.ConfigError, match=r"(?s)expected a function or a file, got a Tokenizer.*tokenizer\.save"):
        tm.from_iterable([]).tokenize(unsaved)
    with pytest.raises(tm.ConfigError, match="the tokenizer has no token `<eos>`"):
        tm.from_iterable([]).tokenize(save_tokenizer(file), append_eos="<eos>")


def test_the_content_of_a_file_belongs_to_the_pipeline(file: Path, tmp_path: Path) -> None:
    """Another place of the same file is the same step; another content refuses a state."""
    here = tm.from_iterable([{"text": "the"}] * 3).tokenize(file)
    there = tm.from_iterable([{"text": "the"}] * 3).tokenize(save_tokenizer(tmp_path / "copy.json"))
    assert here.pipeline.fingerprint == there.pipeline.fingerprint
    other = tm.from_iterable([{"text": "the"}] * 3).tokenize(save_tokenizer(tmp_path / "other.json", WORDS[:-1]))
    assert here.pipeline.fingerprint != other.pipeline.fingerprint
    walking = here.iterate()
    next(walking)
    assert len(list(there.iterate(walking.state()))) == 2
    with pytest.raises(StateError, match="step `tokenize` changed"):
        other.iterate(walking.state())


def test_a_file_goes_to_another_process_as_its_path(file: Path) -> None:
    """It is loaded there; one that changed meanwhile is refused."""
    tokenizer = TokenizerFile(file)
    pickled = pickle.dumps(tokenizer)
    assert len(pickled) < 500
    again = pickle.loads(pickled)
    assert again == tokenizer
    assert again("the tide") == [4, 5]
    save_tokenizer(file, WORDS[:-1])
    with pytest.raises(StateError, match="the tokenizer's file changed"):
        pickle.loads(pickled)("the tide")


def test_without_the_package_the_extra_is_named(file: Path) -> None:
    """In a process where it cannot be imported."""
    code = f"""
import sys
sys.modules["tokenizers"] = None
import tidemill as tm
try:
    tm.from_iterable([]).tokenize({str(file)!r})
except tm.ConfigError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs the package tokenizers" in told
    assert 'pip install "tidemill[tokenizers]"' in told


def test_tokenizing_resumes_everywhere(file: Path) -> None:
    """With texts that fail in the middle."""
    source = FromIterable(iterable=[{"text": text} for text in ("the", None, "tide", "", 5, "mill")])
    whole = check_resumes_everywhere(lambda state: iterate(source, [Tokenize(tokenizer=file)], state))
    assert [outcome[0] for outcome in whole] == ["record", "DataError", "record", "record", "DataError", "record"]


def test_a_job_tokenizes_on_either_side_of_its_calls(file: Path, tmp_path: Path) -> None:
    """The file stands beside the job file and is named from there."""
    (tmp_path / "reviews.jsonl").write_text('{"text": "the tide"}\n')
    job = tmp_path / "job.yaml"
    job.write_text(
        "source: {path: reviews.jsonl}\n"
        "steps:\n"
        "  - tokenize: tokenizer.json\n"
        "  - tokenize: {tokenizer: tokenizer.json, into: short, max_tokens: 1, append_eos: </s>}\n"
        "sink: {path: out, format: jsonl}\n"
    )
    loaded = tm.load_job(job)
    assert loaded.run(progress=False).records["landed"] == 1
    (record,) = tm.dataset(tmp_path / "out")
    assert record == {"text": "the tide", "input_ids": [4, 5], "short": [3]}
    written = tmp_path / "again.yaml"
    written.write_text(loaded.to_yaml())
    assert tm.load_job(written) == loaded
    assert written.read_text().count("tokenizer.json") == 2


def test_a_job_packs_in_front_of_calls_alone(tmp_path: Path) -> None:
    """Behind one it looks at each record by itself."""
    (tmp_path / "reviews.jsonl").write_text('{"input_ids": [1, 2]}\n{"input_ids": [3]}\n')
    packed = tm.read(tmp_path / "reviews.jsonl").pack(5)
    assert packed.write(tmp_path / "out", progress=False).records["landed"] == 1
    assert list(tm.dataset(tmp_path / "out")) == list(packed)
    asked = tm.read(tmp_path / "reviews.jsonl").generate(tm.model("openai/any", base_url="http://far.invalid/v1"), "a")
    with pytest.raises(tm.ConfigError, match=r"`pack` looks across records, which a job cannot do after a call"):
        asked.pack(5).job(tmp_path / "asked").check()
