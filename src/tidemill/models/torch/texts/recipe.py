"""How the model in a folder makes vectors of texts: what its own files say, read without torch.

Source: the files that sentence-transformers writes (`modules.json` and what it names), and `config.json` of
transformers. A folder with the latter alone gets mean pooling and unit length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.errors import ConfigError

POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The poolings there are, by the key that chose each in older files; a newer one has it as its `pooling_mode`."""

_OTHER = "pooling_mode_weightedmean_tokens"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What becomes of a text on its way to a vector.

    Attributes:
        folder: where the model's files are.
        pooling: which one vector stands for the tokens': a value of `POOLINGS`.
        normalizes: whether vectors are brought to unit length.
        max_tokens: the most tokens of a text, special ones included; None leaves it to the tokenizer.
        lowers: whether texts are put into lower case first.
        prompt: what is put in front of each text.
    """

    folder: Path
    pooling: str = "mean"
    normalizes: bool = True
    max_tokens: int | None = None
    lowers: bool = False
    prompt: str = ""


def read_recipe(folder: Path) -> Recipe:
    """The recipe of the model in `folder`.

    Raises:
        ConfigError: its files cannot be read, or ask for what there is not here.
    """
    modules = _read_json(folder / "modules.json", [])
    if not modules:
        return Recipe(folder)
    kinds = [str(each.get("type", "")).rpartition(".")[2] for each in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _unsuited(folder / "modules.json", f"modules {' > '.join(kinds)}", "Transformer > Pooling > Normalize")
    transformer, pooling = (folder / each.get("path", "") for each in modules[:2])
    if transformer.resolve() != folder.resolve():
        raise _unsuited(
            folder / "modules.json", f"the transformer in `{modules[0]['path']}`", "it in the folder itself"
        )
    sentences = _read_json(folder / "sentence_bert_config.json", {})
    prompts = _read_json(folder / "config_sentence_transformers.json", {})
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")
    return Recipe(
        folder,
        _find_pooling(pooling / "config.json", prompt),
        len(kinds) == 3,
        sentences.get("max_seq_length"),
        bool(sentences.get("do_lower_case")),
        prompt,
    )


def find_size(folder: Path) -> int | None:
    """How many numbers the vectors of the model in `folder` have, None where its files do not say.

    Raises:
        ConfigError: they cannot be read.
    """
    size = _read_json(folder / "config.json", {}).get("hidden_size")
    return size if isinstance(size, int) else None


def _find_pooling(path: Path, prompt: str) -> str:
    config = _read_json(path, {})
    if prompt and config.get("include_prompt") is False:
        raise _unsuited(path, "a pooling that leaves the prompt out", "one over all tokens")
    chosen = config.get("pooling_mode") or [
        mode for key, mode in {**POOLINGS, _OTHER: _OTHER}.items() if config.get(key)
    ]
    modes = [chosen] if isinstance(chosen, str) else list(chosen) or ["mean"]
    if len(modes) != 1 or modes[0] not in POOLINGS.values():
        raise _unsuited(path, f"pooling {' and '.join(modes)}", f"one of {', '.join(POOLINGS.values())}")
    return modes[0]


def _read_json(path: Path, default: Any) -> Any:
    """What the file holds, `default` where there is none; of its kind."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(value, type(default)):
        raise ConfigError(f"expected a {type(default).__name__} in {path}, got a {type(value).__name__}")
    return value


def _unsuited(path: Path, got: str, expected: str) -> ConfigError:
    return ConfigError(
        f"{path} asks for {got}, and this step takes {expected}",
        hint="load the model yourself, and give it to a `predict` step",
    )
