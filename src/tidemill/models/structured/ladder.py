"""What a model can be asked with, as its description says: nothing is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.models.model import Model
from tidemill.models.structured.dialects.table import Dialect
from tidemill.models.structured.plan import Abilities


def find_dialect(model: Model) -> Dialect:
    """What the provider of `model` takes of JSON Schema; of one that nobody knows, what OpenAI does."""
    if model.is_local:
        return "llama.cpp"
    if model.speaks == "anthropic" and not model.is_litellm:
        return "anthropic"
    return "gemini" if model.provider == "gemini" else "openai"


def find_abilities(model: Model, params: Mapping[str, Any], *, has_tools: bool = False) -> Abilities:
    """What `model` can be asked with.

    Args:
        params: fields of the request's body, over those of the model: a Claude that thinks cannot be made to call a
            tool (guide "Tool use", forcing tool use).
        has_tools: whether it is given tools of its own to call, as an agent's model is: then it is not made to call
            one for its reply.
    """
    dialect = find_dialect(model)
    thinking = {**model.params, **params}.get("thinking")
    thinks = isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")
    return Abilities(
        dialect,
        # Of other servers in Anthropic's format no one knows whether they do.
        holds_schemas=dialect != "anthropic" or model.provider == "anthropic",
        # llama.cpp makes a model call a tool only where its chat template knows tools: SmolLM2's does not.
        calls_tools=not (has_tools or dialect == "llama.cpp" or (dialect == "anthropic" and thinks)),
        replies=None if has_tools and model.replies == "tool" else model.replies,
    )
