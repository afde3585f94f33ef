"""What a model is told of tools in its prompt, and the JSON Schema its replies are held to.

The words are those by which SmolLM2-135M called the right tool in 9 of 9 questions and gave its result in 9 of 9 forced
answers (temperature 0; docs/lab-notes.md, "Tools told to a small model"): in front of the system prompt, and with the
shape of the arguments, not their JSON Schema, of which it copied the first choice whatever was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from tidemill.config.subschemas import map_schemas
from tidemill.models.formats.chat_tools import read_object
from tidemill.models.messages import Message, ToolCall
from tidemill.models.options import Options, ToolSpec
from tidemill.models.structured.dialects.table import adapt

_DEFINITIONS = "#/$defs/"
_ANY_OBJECT = {"type": "object"}
_ANSWER_TEXT = {"type": "string", "minLength": 1}
_SHAPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}


def make_schema(options: Options, *, is_local: bool) -> dict[str, Any]:
    """The JSON Schema of a reply: a call of each tool that may be chosen, and an answer where one may be given."""
    choice = options.tool_choice
    definitions: dict[str, Any] = {}
    kinds = [
        _close({"tool": {"const": tool.name}, "arguments": _hoist(_hold(tool, is_local), tool.name, definitions)})
        for tool in options.tools
        if choice != "none" and choice in (None, "auto", "required", tool.name)
    ]
    if choice in (None, "auto", "none"):
        kinds.append(_close({"answer": _hoist(_find_answer(options), "answer", definitions)}))
    schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {**schema, "$defs": definitions} if definitions else schema


def _close(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _find_answer(options: Options) -> Mapping[str, Any]:
    if options.reply_schema is not None:
        return options.reply_schema
    return _ANSWER_TEXT if options.output is None else options.output.schema


def _hold(tool: ToolSpec, is_local: bool) -> Mapping[str, Any]:
    """The schema of a tool's arguments as the endpoint can hold to it; the tool checks them against the whole."""
    if not is_local:
        return tool.parameters
    adapted = adapt(tool.parameters, "llama.cpp")
    return _ANY_OBJECT if adapted.forbidden else adapted.schema


def _hoist(schema: Mapping[str, Any], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """`schema` as a part of another: its definitions go to those of the whole, under names of their own."""

    def rename(part: dict[str, Any]) -> dict[str, Any]:
        target = part.get("$ref")
        if target == "#":
            return {**part, "$ref": f"{_DEFINITIONS}{name}"}
        if isinstance(target, str) and target.startswith(_DEFINITIONS):
            return {**part, "$ref": f"{_DEFINITIONS}{name}.{target.removeprefix(_DEFINITIONS)}"}
        return part

    renamed: dict[str, Any] = map_schemas(dict(schema), rename)
    for each, part in renamed.pop("$defs", {}).items():
        definitions[f"{name}.{each}"] = part
    if f'"$ref":"{_DEFINITIONS}{name}"'.encode() not in orjson.dumps([renamed, definitions]):
        return renamed
    definitions[name] = renamed
    return {"$ref": f"{_DEFINITIONS}{name}"}


def render_note(options: Options, *, is_local: bool) -> str:
    """What the system prompt says of the tools that may be called, and of the form of a reply; empty of no tools."""
    if not options.tools:
        return ""
    lines = ["You can call a tool." if len(options.tools) == 1 else "You can call these tools, one at a time."]
    for tool in options.tools:
        given = _shape(tool.parameters) if is_local else orjson.dumps(dict(tool.parameters)).decode()
        told = "Its arguments" if is_local else "The JSON Schema of its arguments"
        lines += [f"{tool.name}: {tool.description}", f"{told}: {given}"]
        lines += _describe(tool.parameters) if is_local else []
    example = options.tools[0].name if len(options.tools) == 1 else "…"
    lines.append(
        f'To call {"it" if len(options.tools) == 1 else "one"}, reply {{"tool": "{example}", "arguments": {{…}}}}.'
    )
    lines.append('Once you have its result, reply {"answer": "…"}, with what the result says.')
    return "\n".join(lines)


def _shape(schema: Mapping[str, Any]) -> str:
    """The arguments as one writes them: `{"port": text}`."""
    properties = schema.get("properties", {})
    return "{" + ", ".join(f'"{name}": {_shape_of(part, schema)}' for name, part in properties.items()) + "}"


def _shape_of(part: Any, root: Mapping[str, Any]) -> str:
    if not isinstance(part, Mapping):
        return "anything"
    if isinstance(target := part.get("$ref"), str):
        found = root.get("$defs", {}).get(target.removeprefix(_DEFINITIONS), {})
        return "object" if found.get("type") == "object" else _shape_of(found, root)
    kinds = [each for each in part.get("anyOf", part.get("oneOf", ())) if each != {"type": "null"}]
    if kinds:
        return " or ".join(dict.fromkeys(_shape_of(each, root) for each in kinds))
    kind = part.get("type")
    if kind == "array":
        return f"[{_shape_of(part.get('items', {}), root)}, …]"
    if kind == "object":
        return _shape({**part, "$defs": root.get("$defs", {})}) if part.get("properties") else "object"
    if kind is None and ("enum" in part or "const" in part):
        return "text"
    return _SHAPES.get(kind, "anything") if isinstance(kind, str) else "anything"


def _describe(schema: Mapping[str, Any]) -> list[str]:
    """A line for each argument that has a description."""
    properties = schema.get("properties", {})
    return [f"- {name}: {part['description']}" for name, part in properties.items() if part.get("description")]


def tell_turns(messages: Sequence[Message], note: str) -> list[Message]:
    """The conversation in turns of texts alone, `note` in front of its system prompt.

    A call stands as the reply that it came as; results stand as the user's, with what the user says next behind them.
    """
    turns: list[Message] = []
    names: dict[str, str] = {}
    results: list[str] = []
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "tool":
            told = content if isinstance(content, str) else _join(content)
            between = "\n" if "\n" in told else " "  # several lines begin on one of their own
            results.append(f"The result of {names.get(message.get('call_id', ''), 'the tool')}:{between}{told}")
            continue
        if results and role == "user" and isinstance(content, str):
            turns.append(Message(role="user", content="\n\n".join([*results, content])))
            results = []
            continue
        _add_results(turns, results)
        results = []
        if role == "assistant":
            names = {call["id"]: call["name"] for call in message.get("tool_calls", ())}
            turns.append(Message(role="assistant", content=_tell_reply(message)))
        else:
            turns.append(message)
    _add_results(turns, results)
    return _tell_note(turns, note) if note else turns


def _add_results(turns: list[Message], results: Sequence[str]) -> None:
    if results:
        turns.append(Message(role="user", content="\n\n".join(results)))


def _join(parts: Iterable[Any]) -> str:
    return "\n".join(part["text"] if part["type"] == "text" else "(an image)" for part in parts)


def _tell_reply(message: Message) -> str:
    """A turn of the assistant's as the reply that it came as."""
    content = message["content"]
    text = content if isinstance(content, str) else _join(content)
    calls = [_tell_call(call) for call in message.get("tool_calls", ())]
    if not calls:
        return _dump({"answer": text})
    return "\n".join([text, *calls] if text else calls)


def _tell_call(call: ToolCall) -> str:
    given = read_object(call["arguments"])
    return _dump({"tool": call["name"], "arguments": call["arguments"] if given is None else given})


def _dump(value: Any) -> str:
    """JSON with a space behind each colon and comma, as models write it."""
    return json.dumps(value, ensure_ascii=False)


def _tell_note(turns: list[Message], note: str) -> list[Message]:
    if turns and turns[0]["role"] == "system" and isinstance(content := turns[0]["content"], str):
        first = turns[0].copy()
        first["content"] = f"{note}\n\n{content}"
        return [first, *turns[1:]]
    return [Message(role="system", content=note, shared=True), *turns]
