"""What a `generate` step asks: templates, a conversation, examples and images, made into messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.subschemas import FILE, Form, JsonSchema, add_names
from tidemill.config.types.templates import Template
from tidemill.config.wording.suggest import find_near_file
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.errors import DataError
from tidemill.models.images.images import is_web_address, make_image
from tidemill.models.messages import Message, Part
from tidemill.models.steps.turns import TurnError, read_turns
from tidemill.protocols import Record

Role = Literal["system", "user", "assistant"]


class MessageTemplate(Settings):
    """One turn of a conversation.

    Attributes:
        role: whose it is.
        content: a Jinja template over the record's columns.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "user", "content": "{{ text }}"}]})

    role: Role
    content: Template


class Example(Settings):
    """One question with its answer, shown to the model in front of the record's own.

    Attributes:
        input: the columns that the step's `prompt` is rendered with; or the user's message as it is. `user` is another
            name for it.
        output: what the model should have answered: a text, or a value that is sent as JSON. `assistant` is another
            name for it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": {"text": "…"}, "output": "…"}]})

    input: dict[str, Any] | str
    output: Any

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return add_names(add_names(handler(schema), "input", "user"), "output", "assistant")

    @model_validator(mode="before")
    @classmethod
    def _rename_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        names = {"user": "input", "assistant": "output"}
        return {names.get(key, key) if names.get(key) not in value else key: each for key, each in value.items()}


def _load_examples(value: Any, info: ValidationInfo) -> Any:
    """The examples in a file, where one is named: a JSON object a line."""
    if not (isinstance(value, dict) and set(value) == {"file"} and isinstance(value["file"], (str, Path))):
        return value
    folder, file = Path((info.context or {}).get("folder") or "."), Path(value["file"])
    path = folder / file
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        near = find_near_file(path)
        hint = f"did you mean `{file.with_name(near)}`?" if near else ""
        raise _file_error(f"there is no file `{file}` in {folder.resolve()}", hint) from None
    except OSError as error:
        raise _file_error(f"cannot read `{file}`: {error}") from None
    examples = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                examples.append(Example.model_validate(orjson.loads(line)))
        except ValueError as error:
            reason = str(error).splitlines()[-1].strip()
            raise _file_error(
                f"line {number} of `{file}` is no example: {reason}", 'expected {"input": …, "output": …}'
            ) from None
    return examples


def _file_error(message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("examples", "{message}", {"message": message, "hint": hint, "path": ("file",)})


Examples = Annotated[tuple[Example, ...], BeforeValidator(_load_examples), Form(FILE)]
"""Examples, or `{file: path}` of a file with one as JSON on each line; holds the examples."""

Conversation = str | tuple[MessageTemplate, ...]
"""The column that holds a record's messages, or their templates."""


def render_examples(examples: Sequence[Example], prompt: Template | None) -> list[Message]:
    """The messages that show `examples`.

    Raises:
        DataError: one of them lacks a column that `prompt` uses.
    """
    messages: list[Message] = []
    for example in examples:
        given = example.input
        if not isinstance(given, str):
            assert prompt is not None
            given = prompt.render(given)
        answer = example.output
        answer = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
        messages += [{"role": "user", "content": given}, {"role": "assistant", "content": answer}]
    return messages


class PromptRenderer:
    """Makes the messages for a record. Holds no state between records.

    Args:
        prompt, system, conversation, examples, images: as `Generate` has them.
        folder: what relative paths of images are relative to.
    """

    def __init__(
        self,
        *,
        prompt: Template | None,
        system: Template | None,
        conversation: str | tuple[MessageTemplate, ...] | None,
        examples: Sequence[Example],
        images: Sequence[str],
        folder: Path | None,
    ) -> None:
        self._prompt = prompt.render if prompt is not None else None
        self._system = system.render if system is not None else None
        self._conversation = conversation
        self._examples = render_examples(examples, prompt)
        self._images = tuple(images)
        self._folder = folder
        self._shared = self._list_shared(system)

    def render(self, record: Record) -> list[Message]:
        """The messages for `record`.

        Raises:
            DataError: a column that is asked for is not there, or holds no such thing.
        """
        messages: list[Message] = []
        if self._system is not None:
            messages.append({"role": "system", "content": self._system(record)})
        if self._prompt is not None:
            messages += self._examples
            messages.append({"role": "user", "content": self._prompt(record)})
        else:
            messages = self._add_examples(messages + self._converse(record))
        if self._shared:
            messages[: len(self._shared)] = self._shared
        if self._images:
            self._add_images(messages, record)
        return messages

    def has_images(self, record: Any) -> bool:
        """Whether `render` has to read or encode an image of `record`: work for a thread."""
        if not isinstance(record, dict):
            return False
        values = (record.get(column) for column in self._images)
        return any(each is not None and not is_web_address(each) for value in values for each in _list_images(value))

    def _list_shared(self, system: Template | None) -> list[Message]:
        """The messages that are the same for every record, from the first on."""
        turns = self._conversation if isinstance(self._conversation, tuple) else ()
        given: list[tuple[str, str | None]] = [(each.role, _render_constant(each.content)) for each in turns]
        if system is not None:
            given.insert(0, ("system", _render_constant(system)))
        start = next((index for index, (role, _) in enumerate(given) if role != "system"), len(given))
        given[start:start] = [(each["role"], str(each["content"])) for each in self._examples]
        if isinstance(self._conversation, str):
            given[start:] = []  # what the column begins with goes in front of the examples
        if self._images and turns:  # they go into the last message of the user
            last = max((index for index, (role, _) in enumerate(given) if role == "user"), default=len(given))
            given[last:] = []
        shared: list[Message] = []
        for role, text in given:
            if text is None:
                break
            shared.append({"role": role, "content": text, "shared": True})
        return shared

    def _converse(self, record: Record) -> list[Message]:
        """The record's conversation."""
        if isinstance(self._conversation, str):
            return _read_conversation(self._conversation, record)
        return [{"role": each.role, "content": each.content.render(record)} for each in self._conversation or ()]

    def _add_examples(self, messages: list[Message]) -> list[Message]:
        """The messages with the examples behind those of the system that they begin with."""
        if not self._examples:
            return messages
        start = next((index for index, each in enumerate(messages) if each["role"] != "system"), len(messages))
        return [*messages[:start], *self._examples, *messages[start:]]

    def _add_images(self, messages: list[Message], record: Record) -> None:
        """Put the record's images behind the text of its last message of the user; a column that is null has none."""
        images: list[Part] = []
        for column in self._images:
            if column not in record:
                raise missing_column(column, record)
            found = _list_images(record[column])
            images += [_make_image(each, column, self._folder) for each in found if each is not None]
        if not images:
            return
        index = next((index for index in reversed(range(len(messages))) if messages[index]["role"] == "user"), None)
        if index is None:
            raise DataError("images go with a message of the user, and this record's conversation has none")
        content = messages[index]["content"]
        parts: list[Part] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        messages[index] = {**messages[index], "content": [*parts, *images]}


def _render_constant(template: Template) -> str | None:
    """The text of a template that asks no record for anything; None for others, and for what fails for every record."""
    try:
        return None if template.variables else template.render({})
    except DataError:  # told at each record
        return None


def _list_images(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _make_image(value: Any, column: str, folder: Path | None) -> Part:
    try:
        return make_image(value, folder=folder)
    except DataError as error:
        error.where = f"column `{column}`"
        raise


def _read_conversation(column: str, record: Record) -> list[Message]:
    """The messages in a column of `record`."""
    if not isinstance(record, dict):
        raise no_columns(record)
    if column not in record:
        raise missing_column(column, record)
    try:
        return read_turns(record[column])
    except TurnError as error:
        raise DataError(error.message, where=f"column `{column}{error.place}`", hint=error.hint) from None
