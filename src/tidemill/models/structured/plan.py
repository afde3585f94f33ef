"""`OutputPlan`: how a model is asked for a reply of some form, found out offline and the same each time.

Three rungs: a schema that the provider holds the reply to; a call of a tool named `reply`, which the model is made to
call; the schema in the system prompt. The first that loses no structure is taken. It is never found out by trying: a
recorded reply is found again by its request, so the same model and output must always ask the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import orjson

from tidemill.config.subschemas import JsonSchema
from tidemill.models.messages import Message, Reply
from tidemill.models.options import Options, ToolSpec
from tidemill.models.structured.checking import OutputParser
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.table import Dialect, adapt, adapt_tool
from tidemill.models.structured.outputs import Target
from tidemill.models.structured.schemas import is_object, reply_schema, wrap_schema

Rung = Literal["schema", "tool", "prompt"]
"""How a reply is made to follow a schema: by the provider, as the arguments of a tool, or as the prompt says."""

REPLY_TOOL = "reply"
"""The tool whose arguments are the reply."""
_DESCRIPTION = "Give the reply: its arguments are all of the answer."
SCHEMA_INSTRUCTION = "Answer with nothing but JSON that follows this JSON Schema:\n"
"""What tells the schema in the system prompt begins with; the schema is its rest."""

_OBJECT_ROOTS = frozenset({"openai", "anthropic"})


class Abilities(NamedTuple):
    """What a model can be asked with.

    Attributes:
        dialect: what its provider takes of JSON Schema.
        holds_schemas: whether it holds replies to one at all.
        calls_tools: whether it can be made to call a tool, and none of the caller's own are in the way.
        replies: the rung that its description names, if it does.
    """

    dialect: Dialect
    holds_schemas: bool = True
    calls_tools: bool = True
    replies: Rung | None = None


@dataclass(frozen=True)
class OutputPlan:
    """How a reply of `target` is asked for and read. Equal targets and abilities give the same object.

    Attributes:
        rung: the way it is asked for.
        schema: as it is sent, or told.
        strict: whether the provider is asked to hold the reply to it word for word.
        is_wrapped: whether the value stands under `value` in an object.
        adapted: what the provider's dialect makes of the schema, for a reader.
        problem: why there can be no request, with `hint` the mend; empty when there can.
    """

    target: Target
    rung: Rung
    schema: Mapping[str, Any]
    strict: bool
    is_wrapped: bool
    adapted: Adapted
    problem: str = ""
    hint: str = ""

    @cached_property
    def parser(self) -> OutputParser:
        """What checks the replies."""
        return OutputParser(self.target, is_wrapped=self.is_wrapped)

    @cached_property
    def instruction(self) -> str:
        """What the system prompt says of the form of the reply; empty where something else sees to it."""
        if self.rung != "prompt":
            return ""
        return SCHEMA_INSTRUCTION + orjson.dumps(self.schema).decode()

    def add_to(self, options: Options) -> Options:
        """`options` with what the plan needs of them."""
        if self.rung != "tool":
            return replace(options, output=self)
        tool = ToolSpec(REPLY_TOOL, _DESCRIPTION, self.schema, strict=self.strict)
        return replace(options, output=self, tools=(*options.tools, tool), tool_choice=REPLY_TOOL)

    def instruct(self, messages: Sequence[Message]) -> Sequence[Message]:
        """`messages` with the instruction in front, at the end of a system message that stands there already."""
        if not self.instruction:
            return messages
        first = messages[0] if messages else None
        if first is None or first["role"] != "system" or not isinstance(first["content"], str):
            return [Message(role="system", content=self.instruction), *messages]
        told = first.copy()
        told["content"] = f"{first['content']}\n\n{self.instruction}" if first["content"] else self.instruction
        return [told, *messages[1:]]

    def read_text(self, reply: Reply) -> str:
        """The JSON of `reply`: the arguments of its call of the tool, if that was asked for and made; else its text."""
        if self.rung == "tool":
            for call in reply.tool_calls:
                if call["name"] == REPLY_TOOL:
                    return call["arguments"]
        return reply.text


@lru_cache(maxsize=256)
def plan_output(target: Target, abilities: Abilities) -> OutputPlan:
    """How a model with these abilities is asked for a reply of `target`."""
    whole = reply_schema(target)
    as_object = whole if is_object(whole) else wrap_schema(whole)
    sent = as_object if abilities.dialect in _OBJECT_ROOTS else whole
    adapted = adapt(sent, abilities.dialect)
    rung = abilities.replies or _choose(adapted, abilities)
    if rung == "prompt":
        return OutputPlan(target, rung, whole, strict=False, is_wrapped=False, adapted=adapted)
    if rung == "tool":
        parameters, strict = adapt_tool(as_object, abilities.dialect)
        return OutputPlan(target, rung, parameters, strict, as_object is not whole, adapted)
    return _plan_schema(target, sent, adapted, abilities, is_wrapped=sent is not whole)


def _choose(adapted: Adapted, abilities: Abilities) -> Rung:
    if abilities.holds_schemas and not adapted.forbidden:
        return "schema"
    return "tool" if abilities.calls_tools else "prompt"


def _plan_schema(
    target: Target, sent: JsonSchema, adapted: Adapted, abilities: Abilities, *, is_wrapped: bool
) -> OutputPlan:
    """The first rung; one that was asked for though the dialect has no words for all of it goes along unenforced."""
    if not adapted.forbidden:
        return OutputPlan(target, "schema", adapted.schema, strict=True, is_wrapped=is_wrapped, adapted=adapted)
    problem = hint = ""
    if abilities.dialect == "anthropic":
        problem = f"replies is `schema`, and Anthropic takes no such schema: {adapted.forbidden[0]}"
        hint = "leave out replies of the model, or change the output"
    return OutputPlan(target, "schema", sent, False, is_wrapped, adapted, problem, hint)
