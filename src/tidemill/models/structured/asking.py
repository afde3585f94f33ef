"""Structured replies: the schema a model is asked to follow, and the check of what it wrote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import from_json

from tidemill.config.report.values import MAX_LINES, explain_value, render_lines
from tidemill.config.secrets import mask_start
from tidemill.config.subschemas import close_object, drop_title, inline_root, iter_schemas, map_schemas
from tidemill.errors import PermanentCallError
from tidemill.models.messages import Message, Reply

T = TypeVar("T")

Ask = Callable[[int, Sequence[Message]], Awaitable[Reply]]
"""Asks the model under a call number (0 for the first, then the re-asks) and gives its reply."""

# What OpenAI's strict mode takes besides the structure itself (guide "Structured outputs", supported schemas).
_STRUCTURE = "type properties required additionalProperties items enum const anyOf $ref $defs description"
_CONSTRAINTS = "pattern format multipleOf maximum exclusiveMaximum minimum exclusiveMinimum minItems maxItems"
STRICT_KEYWORDS = frozenset(f"{_STRUCTURE} {_CONSTRAINTS}".split())


def response_format(model: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` that asks for `model`.

    Strict where strict mode loses nothing (every property required, no keyword it does not know); otherwise
    the schema goes along unenforced by the provider, and the check after the reply enforces it whole. Titles, which
    Pydantic makes from names, are left out: they are billed with every request and say nothing new, and a renamed
    class asks the same.
    """
    schema = reply_schema(model)
    strict = schema.get("type") == "object" and all(_is_strict(part) for part in iter_schemas(schema))
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": strict, "schema": schema}}


def reply_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of `model` as it is sent: without titles, closed, its root no reference."""
    schema = map_schemas(model.model_json_schema(), lambda part: close_object(drop_title(part)))
    return inline_root(schema)


def find_fields(model: type[BaseModel]) -> list[str] | None:
    """The names in the JSON form of `model`; None where they cannot be told: it may have others, or is no object."""
    is_free = model.model_config.get("extra") == "allow" or model.__pydantic_decorators__.model_serializers
    if is_free or issubclass(model, RootModel):
        return None
    by_alias = model.model_config.get("serialize_by_alias")
    fields = {name: field for name, field in model.model_fields.items() if not field.exclude}
    names = [(field.serialization_alias if by_alias else None) or name for name, field in fields.items()]
    computed = model.model_computed_fields
    return names + [(field.alias if by_alias else None) or name for name, field in computed.items()]


def _is_strict(schema: dict[str, Any]) -> bool:
    if not schema.keys() <= STRICT_KEYWORDS or ("$ref" in schema and len(schema) > 1):
        return False
    if schema.get("type") != "object":
        return True
    return schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(
        schema.get("properties", ())
    )


class OutputParser:
    """Checks replies against one Pydantic model.

    A parsed reply is the model's JSON form (`model_dump(mode="json")`): what a sink can write and a resumed
    run reads back the same. Safe to share between threads.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._validate = model.__pydantic_validator__.validate_json
        self._dump = model.__pydantic_serializer__.to_python

    def parse(self, text: str) -> Any:
        """The value in `text`.

        Raises:
            pydantic.ValidationError: the text is not JSON, or not of the model.
        """
        return self._dump(self._validate(text), mode="json")

    def parse_object(self, text: str) -> Any:
        """The object of the model in `text`; raises as `parse`."""
        return self._validate(text)

    def explain(self, error: ValidationError, text: str) -> str:
        """What to tell the model: one line for each failing path, what was expected and what it sent."""
        try:
            from_json(text)
        except ValueError:
            return "Your reply is not valid JSON: it is cut off or has text around the object."
        lines = explain_misfits(error, self._model, text)
        return "These parts of your reply are wrong:\n" + "\n".join(f"- {line}" for line in lines[:MAX_LINES])


async def ask_text(messages: Sequence[Message], ask: Ask) -> str:
    """The text of the reply to `messages`.

    Raises:
        PermanentCallError: the model refused.
        CallError: as `ask` raises it.
    """
    return _check_refusal(await ask(0, messages)).text


async def ask_until_valid(
    parser: OutputParser,
    parse: Callable[[str], T],
    messages: Sequence[Message],
    ask: Ask,
    *,
    max_reasks: int,
    max_tokens: int | None,
) -> T:
    """The value of the first reply that fits, asking again with what is wrong with the last one only.

    A conversation that grew with each ask would cost more each time.

    Args:
        parser: explains a reply that does not fit.
        parse: makes the value of a reply's text: one of the parser's two.
        messages: what is asked first.
        max_tokens: the bound on a reply, which one that was cut off there is told.

    Raises:
        PermanentCallError: the model refused, or no reply fitted within `max_reasks`.
        CallError: as `ask` raises it.
    """
    asked, asks = messages, 0
    while True:
        reply = _check_refusal(await ask(asks, asked))
        asks += 1
        try:
            return parse(reply.text)
        except ValidationError as exc:
            complaint = _complain(parser, reply, exc, max_tokens)
            if asks > max_reasks:
                raise PermanentCallError(
                    f"no reply fitted the output in {asks} asks; the last one: {complaint}\n"
                    f"  it was: {mask_start(reply.text, 200)!r}",
                    hint="loosen the output model, make the prompt plainer, or raise max_tokens or max_reasks",
                ) from exc
        again = Message(role="user", content=f"{complaint}\nAnswer again with the whole corrected JSON only.")
        asked = [*messages, Message(role="assistant", content=reply.text), again]


def _check_refusal(reply: Reply) -> Reply:
    """`reply`, which is no refusal.

    Raises:
        PermanentCallError: it is one.
    """
    if reply.refusal:
        raise PermanentCallError(f"the model refused: {mask_start(reply.refusal, 200)}")
    return reply


def _complain(parser: OutputParser, reply: Reply, error: ValidationError, max_tokens: int | None) -> str:
    if reply.is_cut:
        where = "for its length" if max_tokens is None else f"at max_tokens={max_tokens}"
        return f"Your reply was cut off {where}: answer more briefly."
    return parser.explain(error, reply.text)


def explain_misfits(error: ValidationError, model: type[BaseModel], text: str | bytes) -> list[str]:
    """A line for each failing path of a JSON `text`: what was expected and what there was, secrets masked."""
    try:
        value = from_json(text)
    except ValueError:  # then that is the one error there is
        value = text
    return render_lines(explain_value(error, model, value))
