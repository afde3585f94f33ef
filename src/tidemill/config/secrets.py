"""What must never be shown: found by name or by form, and masked."""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

MASK = "***"

MIN_REGISTERED = 6
"""A shorter value is not masked wherever it occurs: it would hide ordinary words."""

MIN_CONCEALED = 3
"""A shorter secret is left in a message: it would hide syllables."""

_MIN_SHARED = 6
"""How many characters in a row make a word of a message part of a secret."""

_LOOK_AHEAD = 4096
"""Characters behind a cut that are looked at, so that a secret standing across it is known: more than one has."""

_NAMES = (
    "apikey",
    "accesskey",
    "accesstoken",
    "authorization",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secretkey",
    "sessiontoken",
)
_COUNTS = frozenset({"max", "min", "n", "num"})
"""What a number of tokens begins with, which no credential does."""
_MARKERS = frozenset(
    {
        *("bos", "cls", "context", "end", "eos", "image", "mask", "pad", "prefix", "pretrained", "sep", "special"),
        *("start", "stop", "unk"),
    }
)
"""What the name of a tokenizer's own token says before `token` (`pad_token`, of Hugging Face's tokenizers)."""
_LAST_WORDS = frozenset(
    {"auth", "bearer", "cookie", "dsn", "jwt", "passcode", "pwd", "secret", "secrets", "token"},
)
_LAST_PAIRS = {
    "key": frozenset(
        {
            *("account", "anthropic", "cohere", "deploy", "encryption", "gemini", "groq", "hf", "huggingface"),
            *("license", "master", "mistral", "openai", "signing", "ssh", "wandb"),
        }
    ),
    "pat": frozenset({"gh", "github", "gitlab"}),
    "string": frozenset({"connection"}),
}
"""Last words that make a secret's name behind one of these alone: `primary_key` and `file_pat` are none."""

_ABOUT = frozenset({"count", "length", "name", "size"})
"""Last words of what is said of a secret: `password_length`."""

_FORMS = re.compile(
    r"""
      \b(?:Bearer|Basic)\s+(?P<credential>[^\s"',;]{6,})        # an Authorization header
    | \b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}                          # OpenAI, Anthropic and those who copy them
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}       # GitHub
    | \bhf_[A-Za-z0-9]{16,}                                     # Hugging Face
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                             # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                                  # Google
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,}                          # Slack
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]* # a JSON web token
    | (?<=://)[^\s/:@]*:(?P<password>[^\s/@]+)(?=@)             # user:password@ in an address
    """,
    re.VERBOSE,
)
_ASSIGNMENT = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]++)["']?\s*[:=]\s*(?P<value>(?:Bearer\s+|Basic\s+)?(?:"[^"]*"?|'[^']*'?|[^\s,;&}\])\[{]+))"""
)

_TABLE = re.compile(r"""\s*\[+([\w.\-"' ]+)\]+\s*(?:#.*)?$""")

_ALIKE = 0.8
"""How alike a mistyped name of a secret is (`SequenceMatcher.ratio`)."""

_registered: set[str] = set()
_lock = threading.Lock()  # guards _registered


def register_secret(value: str) -> None:
    """Mask `value` wherever it occurs, for the rest of the process; one under 6 characters is left alone."""
    if len(value) >= MIN_REGISTERED:
        with _lock:
            _registered.add(value)


@lru_cache(maxsize=4096)
def is_secret_key(name: str, also: frozenset[str] = frozenset()) -> bool:
    """True when a value under this name is to be masked: `api_key`, `apikey`, `X-Api-Key`, even `api_kye`.

    `also` names further ones, which may be mistyped too.

    >>> [is_secret_key(name) for name in ("OPENAI_API_KEY", "token", "max_token", "key")]
    [True, True, False, False]
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    folded = "".join(words).casefold()
    last = words[-1].casefold() if words else ""
    if not words or last in _ABOUT or (last in ("token", "tokens") and _is_of_text(words)):
        return False
    if last in _LAST_WORDS or any(known in folded for known in _NAMES):
        return True
    if len(words) > 1 and words[-2].casefold() in _LAST_PAIRS.get(last, ()):
        return True
    known = [*_NAMES, *("".join(filter(str.isalnum, each)).casefold() for each in also)]
    size = len(folded)  # a much longer or shorter one cannot be as alike; difflib finds out with more work
    near = [each for each in known if 2 * min(len(each), size) / (len(each) + size) >= _ALIKE]
    return bool(difflib.get_close_matches(folded, near, n=1, cutoff=_ALIKE))


def _is_of_text(words: Sequence[str]) -> bool:
    """Whether the words of a name that ends in `token` say that it is one a model reads, or how many."""
    return words[0].casefold() in _COUNTS or (len(words) > 1 and words[-2].casefold() in _MARKERS)


def mask(text: str) -> str:
    """`text` with `***` for every registered secret, for what has a key's form, and for values of secret names."""
    return _cover(text, lambda _: MASK)


def mask_value(value: Any, *, hidden: bool = False) -> Any:
    """JSON as it may be shown: texts masked, and texts and numbers below a secret name hidden; equal where none is.

    >>> mask_value({"auth": {"user": "me", "retries": 2, "on": True}, "team": "search"})
    {'auth': {'user': '***', 'retries': '***', 'on': True}, 'team': 'search'}
    """
    if isinstance(value, Mapping):
        return {key: mask_value(item, hidden=hidden or is_secret_key(str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_value(item, hidden=hidden) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if hidden:
        return MASK
    return mask(value) if isinstance(value, str) else value


def mask_start(text: str, max_chars: int) -> str:
    """The first `max_chars` characters of the masked `text`: cut the other way, half a secret would stay."""
    return mask(text[: max_chars + _LOOK_AHEAD])[:max_chars]


def say_cause(error: BaseException, text: str | None = None, *, max_chars: int = 300) -> str:
    """What an error of another library says, for a message of ours: one masked line; its type where it says nothing.

    Args:
        text: what it says, where that is not its `str`.
    """
    return mask_start(" ".join((str(error) if text is None else text).split()), max_chars) or type(error).__name__


def mask_in_place(text: str) -> str:
    """As `mask`, with as many `*` as there were characters and every line break kept, so that columns stay."""
    return _cover(text, hide)


def mask_parts(text: str, secret: str) -> str:
    """`text` with `***` for every word that shares 6 characters in a row with `secret`, in upper or lower case.

    Of a shorter secret that holds all of it; one under 3 characters is left, as it would hide syllables.

    >>> mask_parts("bad: CANARY-I…", "canary-in-a-message")
    'bad: ***'
    """
    folded = secret.casefold()
    size = min(_MIN_SHARED, len(folded))
    if size < MIN_CONCEALED:
        return text
    parts = {folded[start : start + size] for start in range(len(folded) - size + 1)}

    def cover(match: re.Match[str]) -> str:
        word = match.group().casefold()
        is_part = any(word[start : start + size] in parts for start in range(len(word) - size + 1))
        return MASK if is_part else match.group()

    return re.sub(r"\S+", cover, text)


def hide(text: str) -> str:
    """A `*` for every character but white space.

    >>> hide("my key")
    '** ***'
    """
    return re.sub(r"\S", "*", text)


def mask_source(text: str, also: frozenset[str] = frozenset()) -> str:
    """As `mask_in_place`, for a job file that cannot be read: it hides too much rather than too little.

    Whatever follows a secret name on its line is hidden, and so are the lines below that are indented deeper, belong
    to a quote opened there, or to a table of that name. `also` names further secret keys.
    """
    lines: list[str] = []
    indent, quote, in_table = -1, "", False
    for line in text.splitlines(keepends=True):
        bare = line.lstrip()
        depth = len(line) - len(bare)
        if header := _TABLE.match(line):
            in_table = any(is_secret_key(part, also) for part in re.findall(r"[\w-]+", header.group(1)))
        elif in_table:
            lines.append(hide(line))
            continue
        if quote or (indent >= 0 and (not bare.strip() or depth > indent)):
            quote = "" if quote and quote in line else quote
            lines.append(hide(line))
            continue
        indent = -1
        for match in re.finditer(r"""([\w.-]+)["']?\s*(?:[:=]|$|(?<=[\s"']))\s*""", line):
            if is_secret_key(match.group(1), also):
                value = line[match.end() :]
                indent, quote = depth, value[:1] if value[:1] in ("'", '"') and value.count(value[0]) == 1 else ""
                line = line[: match.end()] + hide(value)
                break
        lines.append(line)
    return mask_in_place("".join(lines))


def _cover(text: str, fill: Callable[[str], str]) -> str:
    with _lock:
        secrets = sorted(_registered, key=len, reverse=True)
    for secret in secrets:
        text = text.replace(secret, fill(secret))

    def cover_form(match: re.Match[str]) -> str:
        whole = match.group()
        hidden = match.group("credential") or match.group("password") or whole
        return whole[: len(whole) - len(hidden)] + fill(hidden)

    def cover_assignment(match: re.Match[str]) -> str:
        whole, value = match.group(), match.group("value")
        if not is_secret_key(match.group("name")):
            return whole
        return whole[: len(whole) - len(value)] + fill(value)

    return _ASSIGNMENT.sub(cover_assignment, _FORMS.sub(cover_form, text))


def find_key(variables: Sequence[str], folder: Path) -> str | None:
    """The first of `variables` that is set, in the environment or else in `folder`'s `.env`; None when none is.

    What is found is registered as a secret. The environment is not changed.
    """
    stored = load_env(folder / ".env")
    for values in (os.environ, stored):
        for name in variables:
            if value := values.get(name, "").strip():
                register_secret(value)
                return value
    return None


def load_env(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a `.env` file: `export`, quotes and comments as shells read them."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):  # no such file, or none of ours to judge: then it holds no key
        return {}
    values = {}
    for line in lines:
        match = re.match(r"""\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:"([^"]*)"|'([^']*)'|(.*?))\s*(?:\s#.*)?$""", line)
        if match:
            name, double, single, bare = match.groups()
            values[name] = next((value for value in (double, single, bare) if value is not None), "")
    return values
