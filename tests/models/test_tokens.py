"""Counting tokens: a vocabulary that is here, none that would have to be fetched, and a ratio that learns."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec.structs
import orjson
import pytest
import tiktoken
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.admission.estimates import BYTES_PER_TOKEN, Ratio
from tidemill.calls.wire import Request, Usage
from tidemill.models.tokens import MESSAGE_TOKENS, REPLY_TOKENS, TokenCounter, find_counter
from tidemill.models.vocabulary import Vocabulary, find_vocabulary

LITELLM = importlib.util.find_spec("litellm")  # importing it asks the network for prices
assert LITELLM is not None
assert LITELLM.origin is not None
BUNDLED = Path(LITELLM.origin).parent / "litellm_core_utils" / "tokenizers"
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"
UNIX = "é日本 🙂 It's 12345 words\n\n  of\ttext"

WORDS = Vocabulary("words", lambda text: len(text.split()))


def ask(*messages: tuple[str, object], **fields: object) -> Request:
    body = {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages], **fields}
    return Request("http://far/v1", {}, orjson.dumps(body))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of this test's own, empty ones."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable).mkdir()
    return tmp_path


@given(st.floats(0.05, 4.0), st.lists(st.integers(2_000, 100_000), min_size=1, max_size=20))
def test_a_ratio_comes_to_what_calls_come_to(true_ratio: float, sizes: list[int]) -> None:
    """Whatever it began with."""
    ratio = Ratio(0.25, 256)
    for number in range(300):
        units = sizes[number % len(sizes)]
        ratio.learn(units, round(units * true_ratio))
    assert ratio.per_unit == pytest.approx(true_ratio, rel=0.01)
    assert ratio.learnt == 300


@given(st.lists(st.tuples(st.integers(-5, 10_000), st.integers(-5, 100_000)), max_size=50))
def test_a_ratio_stays_between_all_it_has_seen(calls: list[tuple[int, int]]) -> None:
    """And above nothing: what tells 0, or less, teaches nothing."""
    ratio = Ratio(0.25, 256)
    seen = [0.25]
    for units, tokens in calls:
        ratio.learn(units, tokens)
        seen += [tokens / units] if units > 0 and tokens > 0 else []
        assert min(seen) * 0.999 <= ratio.per_unit <= max(seen) * 1.001
    assert ratio.learnt == len(seen) - 1


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=40), st.integers(2, 8))
def test_a_ratio_forgets_how_it_began_and_follows_a_change(sizes: list[int], bytes_per_token: int) -> None:
    ratio = Ratio(0.25, 256)
    for units in sizes:
        ratio.learn(units, units)
    for _ in range(400):
        ratio.learn(1_000, 1_000 // bytes_per_token)
    assert ratio.per_unit == pytest.approx(1 / bytes_per_token, rel=0.03)


def test_without_a_vocabulary_four_bytes_are_a_token_until_replies_say_otherwise() -> None:
    counter = TokenCounter()
    request = Request("http://far/v1", {}, b"x" * 3_000)
    assert counter.estimate(request) == pytest.approx(len(request.body) / BYTES_PER_TOKEN, abs=1)
    assert counter.basis == "4 bytes a token"
    assert counter.count_text("x" * 9) == 3
    for _ in range(200):
        counter.learn(request, Usage(len(request.body) // 3, 5))
    assert counter.estimate(request) == pytest.approx(len(request.body) / 3, rel=0.02)
    assert counter.basis == "3 bytes a token, learnt from 200 replies"
    assert not counter.is_exact


def test_a_request_is_at_least_one_token() -> None:
    assert TokenCounter().estimate(Request("http://far/v1", {}, b"")) == 1
    assert TokenCounter().count_text("") == 0


def test_models_learn_apart() -> None:
    one, other = find_counter("vllm/one"), find_counter("vllm/other")
    one.learn(ask(("user", "x" * 4_000)), Usage(4_000, 1))
    assert one.estimate(ask(("user", "x" * 100))) > other.estimate(ask(("user", "x" * 100)))


def test_with_a_vocabulary_texts_are_counted_and_what_a_chat_puts_around_them() -> None:
    counter = TokenCounter(WORDS)
    assert counter.is_exact
    assert counter.basis == "words"
    request = ask(("system", "be brief now"), ("user", [{"type": "text", "text": "a b"}, {"type": "image_url"}]))
    assert counter.estimate(request) == 3 + 2 + 2 * MESSAGE_TOKENS + REPLY_TOKENS
    with_schema = ask(("user", "a"), response_format={"schema": "one two three"})
    assert counter.estimate(with_schema) == 1 + 3 + MESSAGE_TOKENS + REPLY_TOKENS
    assert counter.count_text("a b c d") == 4


def test_both_forms_of_a_system_prompt_count_the_same() -> None:
    """A message of its own, or a field of the body, as text or as blocks."""
    counter = TokenCounter(WORDS)
    asked = counter.estimate(ask(("system", "be brief"), ("user", "a b c")))
    assert counter.estimate(ask(("user", "a b c"), system="be brief")) == asked
    assert counter.estimate(ask(("user", "a b c"), system=[{"type": "text", "text": "be brief"}])) == asked


def test_texts_to_embed_are_counted_alone() -> None:
    counter = TokenCounter(WORDS)
    assert counter.estimate(Request("http://far/v1", {}, b'{"input":["a b","c"]}')) == 3
    assert counter.estimate(Request("http://far/v1", {}, b'{"input":"a b"}')) == 2


def test_what_a_server_counts_beside_the_texts_is_learnt() -> None:
    """Its own template, say: the vocabulary gives how much each request has of it."""
    counter = TokenCounter(WORDS)
    for words in range(20, 2_000, 10):
        request = ask(("user", "a " * words))
        counter.learn(request, Usage(round(1.2 * (words + MESSAGE_TOKENS + REPLY_TOKENS)), 5))
    assert counter.estimate(ask(("user", "a " * 993))) == pytest.approx(1_200, rel=0.01)


def test_what_carries_images_is_counted_by_the_most_it_can_come_to() -> None:
    """Its bytes say nothing, and teach nothing about text."""
    counter = TokenCounter()
    picture = msgspec.structs.replace(ask(("user", "x" * 400_000)), max_input_tokens=2_000)
    assert counter.estimate(picture) == 2_000
    for _ in range(200):
        counter.learn(picture, Usage(1_000, 5))
    assert counter.estimate(picture) == pytest.approx(1_000, rel=0.02)
    assert counter.estimate(ask(("user", "x" * 4_000))) == pytest.approx(1_010, rel=0.02)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("openai/gpt-4.1-mini", "o200k_base"), ("openai/gpt-4o", "o200k_base"), ("openai/gpt-5-nano", "o200k_base"),
        ("openai/gpt-5.1", "o200k_base"), ("openai/o3-mini", "o200k_base"), ("groq/openai/gpt-oss-20b", "o200k_base"),
        ("openrouter/openai/gpt-4o-mini", "o200k_base"), ("openai/ft:gpt-4o:org", "o200k_base"),
        ("openai/gpt-4-turbo", "cl100k_base"), ("openai/gpt-3.5-turbo", "cl100k_base"),
        ("openai/text-embedding-3-small", "cl100k_base"),
    ],
)  # fmt: skip
def test_a_vocabulary_that_is_here_counts_as_its_package_does(
    model: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that litellm brings along, without importing it; tiktoken itself would look them up in the network."""
    found = find_vocabulary(model)
    assert found is not None
    assert found.name == f"{encoding} of tiktoken"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(BUNDLED))
    theirs = tiktoken.get_encoding(encoding)
    for text in (UNIX, "<|endoftext|>", "", "a" * 3_000, json.dumps({"a": [1, 2.5, None]}, indent=2)):
        assert found.count(text) == len(theirs.encode_ordinary(text))


@given(st.text(max_size=200))
def test_any_text_counts_as_its_package_counts_it(text: str) -> None:
    found = find_vocabulary("openai/gpt-4.1")
    assert found is not None
    before = os.environ["TIKTOKEN_CACHE_DIR"]
    os.environ["TIKTOKEN_CACHE_DIR"] = str(BUNDLED)
    try:
        assert found.count(text) == len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))
    finally:
        os.environ["TIKTOKEN_CACHE_DIR"] = before


def test_tiktokens_cache_is_looked_at_and_a_broken_file_in_it_left_as_it_is(folders: Path) -> None:
    """tiktoken would take it away and fetch another."""
    broken = folders / "TIKTOKEN_CACHE_DIR" / O200K
    broken.write_bytes(b"IQ== 0\n")
    found = find_vocabulary("openai/gpt-4.1-nano")
    assert found is not None  # litellm's
    assert found.count("hello world") == 2
    assert broken.read_bytes() == b"IQ== 0\n"


def test_the_hubs_cache_is_looked_at(folders: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.enable_truncation(2)
    repository = folders / "HF_HUB_CACHE" / "models--maker--model"
    for revision in ("abc", "def"):
        (repository / "snapshots" / revision).mkdir(parents=True)
    (repository / "snapshots" / "abc" / "tokenizer.json").write_text("{}")
    tokenizer.save(str(repository / "snapshots" / "def" / "tokenizer.json"))
    for model in ("vllm/maker/model", "openrouter/maker/model", "maker/model"):
        found = find_vocabulary(model)
        assert found is not None
        assert found.name == "the tokenizer of maker/model"
        assert found.count("a b c d") == 4  # whole, and without the tokens around it
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("def\n")
    assert find_vocabulary("vllm/maker/model") is not None
    assert find_vocabulary("vllm/maker/other") is None
    assert find_vocabulary("plain") is None


def test_deepseeks_is_litellms() -> None:
    found = find_vocabulary("deepseek/deepseek-chat")
    assert found is not None
    assert found.count("hello world") == 2


NO_SOCKETS = """
import sys
sys.modules["litellm"] = None
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise AssertionError(f"{event} {arguments}")
sys.addaudithook(refuse)
from tidemill.models.tokens import find_counter
for model in sys.argv[1:]:
    print(model, find_counter(model).basis)
"""


def test_nothing_is_ever_downloaded(folders: Path) -> None:
    """In a process whose sockets connect nowhere: what is not here is counted by its bytes, what is here exactly."""

    def count(*models: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", NO_SOCKETS, *models],
            env={**os.environ, "TMPDIR": str(folders)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    models = ("openai/gpt-4.1-mini", "openai/gpt-4", "deepseek/deepseek-chat", "vllm/Qwen/Qwen3-8B", "anthropic/claude")
    assert count(*models) == [f"{model} 4 bytes a token" for model in models]
    (folders / "TIKTOKEN_CACHE_DIR" / O200K).write_bytes((BUNDLED / O200K).read_bytes())
    assert count("openai/gpt-4.1-mini") == ["openai/gpt-4.1-mini o200k_base of tiktoken"]
