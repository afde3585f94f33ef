"""Vocabularies that are on this machine already: a model's tokens counted exactly. Nothing is ever downloaded."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Vocabulary(NamedTuple):
    """How a model's texts become tokens.

    Attributes:
        name: whose it is, for people.
        count: the tokens of a text, without those that a chat puts around it. Threads may share it.
    """

    name: str
    count: Callable[[str], int]


class _Encoding(NamedTuple):
    """One of tiktoken's encodings: where its ranks came from, their digest, and how a text is cut before them."""

    url: str
    sha256: str
    pattern: str


# URLs, digests and patterns as tiktoken 0.14 has them (`tiktoken_ext/openai_public.py`), whose own functions would
# download what is not there.
_BLOBS = "https://openaipublic.blob.core.windows.net/encodings"
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_ENCODINGS = {
    "cl100k_base": _Encoding(
        f"{_BLOBS}/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
        r"\s+(?!\S)|\s",
    ),
    "o200k_base": _Encoding(
        f"{_BLOBS}/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{_SUFFIX}|"
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{_SUFFIX}|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}

# Which models use which, after tiktoken's own table (`tiktoken/model.py`), and their successors of the same names.
_OPENAI_NAMES = (
    (re.compile(r"(gpt-4o|gpt-4\.[15]|gpt-5|chatgpt-4o|o[134]|gpt-oss)(-|$|\.|:)"), "o200k_base"),
    (re.compile(r"(gpt-4|gpt-3\.5|gpt-35|text-embedding-(3|ada-002))(-|$)"), "cl100k_base"),
)


def find_vocabulary(model: str) -> Vocabulary | None:
    """The vocabulary of the model called `provider/name`, where it is on this machine; None where it is not.

    Looked at are tiktoken's cache (`TIKTOKEN_CACHE_DIR`, `DATA_GYM_CACHE_DIR`, else its folder for temporary files),
    what the package `litellm` brings along, and the cache of the Hugging Face hub. The package that reads it,
    `tiktoken` or `tokenizers`, must be installed.

    Loading one takes a third of a second; it is kept for the life of the process.
    """
    return _find_openai(model) or _find_deepseek(model) or _find_hub(model)


def _find_openai(model: str) -> Vocabulary | None:
    name = model.rpartition("/")[2].removeprefix("ft:")
    encoding = next((encoding for pattern, encoding in _OPENAI_NAMES if pattern.match(name)), None)
    if encoding is None or not _is_installed("tiktoken"):
        return None
    file = hashlib.sha1(_ENCODINGS[encoding].url.encode()).hexdigest()  # what tiktoken calls it in its cache
    for folder in _iter_tiktoken_folders():
        count = _load_encoding(encoding, folder / file)
        if count is not None:
            return Vocabulary(f"{encoding} of tiktoken", count)
    return None


def _find_deepseek(model: str) -> Vocabulary | None:
    folder = _find_litellm()
    if folder is None or not model.rpartition("/")[2].startswith("deepseek-") or not _is_installed("tokenizers"):
        return None
    count = _load_tokenizer(folder / "deepseek_tokenizer.json")
    return None if count is None else Vocabulary("DeepSeek's tokenizer in litellm", count)


def _find_hub(model: str) -> Vocabulary | None:
    *_, owner, name = ("", *model.split("/"))
    if not owner or not _is_installed("tokenizers"):
        return None
    for file in _iter_snapshots(_find_hub_folder() / f"models--{owner}--{name}"):
        count = _load_tokenizer(file)
        if count is not None:
            return Vocabulary(f"the tokenizer of {owner}/{name}", count)
    return None


def _iter_tiktoken_folders() -> Iterator[Path]:
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    yield Path(tempfile.gettempdir(), "data-gym-cache")
    litellm = _find_litellm()
    if litellm is not None:
        yield litellm


def _find_litellm() -> Path | None:
    """The folder of vocabularies in the package `litellm`, which is not imported for it."""
    try:
        spec = importlib.util.find_spec("litellm")
    except ValueError:  # it stands in sys.modules without a spec, or as None: blocked
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"


def _find_hub_folder() -> Path:
    """The cache folder of the Hugging Face hub, by the variables that `huggingface_hub` goes by."""
    environ = os.environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return Path(environ[variable]).expanduser()
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(home).expanduser() / "hub"


def _iter_snapshots(folder: Path) -> Iterator[Path]:
    """The tokenizer files of a repository in the hub's cache, that of `main` first."""
    with contextlib.suppress(OSError):  # only a revision was ever asked for
        yield folder / "snapshots" / (folder / "refs" / "main").read_text().strip() / "tokenizer.json"
    yield from sorted(folder.glob("snapshots/*/tokenizer.json"))


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # as above
        return False


@functools.lru_cache(maxsize=8)
def _load_encoding(name: str, path: Path) -> Callable[[str], int] | None:
    """Counts by the encoding whose ranks stand in `path`; None where they do not."""
    encoding = _ENCODINGS[name]
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != encoding.sha256:
        return None
    import tiktoken

    lines = (line.split() for line in content.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    encode = tiktoken.Encoding(name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens={}).encode_ordinary
    return lambda text: len(encode(text))


@functools.lru_cache(maxsize=8)
def _load_tokenizer(path: Path) -> Callable[[str], int] | None:
    """Counts by the `tokenizers` file at `path`; None where there is none that can be read."""
    if not path.is_file():
        return None
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - the package raises plain Exception, and a file of another kind is no vocabulary
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))
