"""The `generate` step: ask a model about each record and put its answer into a column."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.wire import Request
from tidemill.config.functions import Schema
from tidemill.config.numbers import check_int64
from tidemill.config.secrets import mask_start
from tidemill.config.templates import Template
from tidemill.data.nodes.node import Node
from tidemill.errors import PermanentCallError
from tidemill.models.endpoint import Endpoint
from tidemill.models.messages import Message, Reply
from tidemill.models.model import Model, check_json
from tidemill.models.options import Options
from tidemill.models.structured import OutputParser
from tidemill.protocols import Record

Ask = Callable[[int, Request], Awaitable[Reply]]
"""Sends one request under its call number (0 for the first, then the re-asks) and gives its reply."""

_ONE_REPLY = "a call has one reply, and further ones would be billed and thrown away"
_REFUSED_PARAMS = {"n": _ONE_REPLY, "best_of": _ONE_REPLY, "stream": "a reply is taken whole"}


class Generate(Node):
    """Ask `model` the rendered `prompt` and put its reply into the column `into`.

    Attributes:
        model: a `tm.model(…)`, or its name.
        prompt: a Jinja template over the record's columns; `{file: …}` reads it from a file.
        system: likewise, sent as the system message.
        output: a Pydantic model the reply must be of; the column holds its JSON form. Without it, the text.
        max_tokens: the most tokens a reply may have; needed for a budget in tokens or USD.
        max_reasks: how often a reply that does not fit `output` is asked again with the failing paths.
    """

    kind = "generate"
    calls = True

    model: Model
    prompt: Template
    system: Template | None = None
    output: Schema | None = None
    into: str = "reply"
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    max_reasks: int = Field(default=2, ge=0)

    _check_int64 = field_validator("max_tokens", "seed", "max_reasks")(check_int64)

    @field_validator("params")
    @classmethod
    def _check_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_json(value)
        return value

    @model_validator(mode="after")
    def _check_params(self) -> Self:
        own = {"model", "messages", "response_format", *self._typed_options()}
        for key in {**self.params, **self.model.params}:
            path = ("params", key) if key in self.params else ("model",)
            if key in own:
                raise PydanticCustomError(
                    "params_key",
                    "`params` must not set `{key}`, which the step itself sets",
                    {"key": key, "path": path},
                )
            if key in _REFUSED_PARAMS:
                raise PydanticCustomError(
                    "params_key",
                    "`params` must not set `{key}`: {reason}",
                    {"key": key, "reason": _REFUSED_PARAMS[key], "path": path},
                )
        return self

    def _typed_options(self) -> dict[str, Any]:
        names = ("max_tokens", "temperature", "top_p", "seed", "stop")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def options(self) -> Options:
        """How the model is to answer, whatever its wire format."""
        return Options(**self._typed_options(), output=self.output, params={**self.model.params, **self.params})


class Generator:
    """Runs one `Generate` node against one endpoint. Holds no state between records."""

    def __init__(self, node: Generate, endpoint: Endpoint) -> None:
        self._node = node
        self._endpoint = endpoint
        self._parser = OutputParser(node.output) if node.output else None
        self._prompt = node.prompt.render
        self._system = node.system.render if node.system else None

    def render(self, record: Record) -> list[Message]:
        """The messages for `record`.

        Raises:
            DataError: a template's variable is not a column of the record.
        """
        user: Message = {"role": "user", "content": self._prompt(record)}
        if self._system is None:
            return [user]
        return [{"role": "system", "content": self._system(record)}, user]

    def build_request(self, record: Record) -> Request:
        """The first request for `record`, as it would be sent."""
        return self._endpoint.build_request(self.render(record))

    async def run(self, record: Record, ask: Ask) -> Record:
        """`record` with the reply in its column; the step's hooks are called around it.

        Raises:
            PermanentCallError: the model refused, or no reply fitted the output within `max_reasks`.
            CallError, DataError: as `ask` and `render` raise them.
        """
        hooks = self._node.bound_hooks
        if hooks is None:
            return await self._run(record, ask)
        record = hooks.replace_record(record)
        result: Record = hooks.replace_result(record, await self._run(record, ask))
        return result

    async def _run(self, record: Record, ask: Ask) -> Record:
        messages = self.render(record)
        reply = await ask(0, self._endpoint.build_request(messages))
        if self._parser is None:
            value: Any = _check_refusal(reply).text
        else:
            value = await self._parse(self._parser, messages, reply, ask)
        return {**record, self._node.into: value}

    async def _parse(self, parser: OutputParser, messages: list[Message], reply: Reply, ask: Ask) -> Any:
        """The value of the first reply that fits, asking again with what is wrong with the last one only."""
        asks = 1
        while True:
            text = _check_refusal(reply).text
            try:
                return parser.parse(text)
            except ValidationError as exc:
                complaint = self._complain(parser, reply, exc)
                if asks > self._node.max_reasks:
                    raise PermanentCallError(
                        f"no reply fitted the output in {asks} asks; the last one: {complaint}\n"
                        f"  it was: {mask_start(text, 200)!r}",
                        hint="loosen the output model, make the prompt plainer, or raise max_tokens or max_reasks",
                    ) from exc
            again = Message(role="user", content=f"{complaint}\nAnswer again with the whole corrected JSON only.")
            request = self._endpoint.build_request([*messages, Message(role="assistant", content=text), again])
            reply = await ask(asks, request)
            asks += 1

    def _complain(self, parser: OutputParser, reply: Reply, error: ValidationError) -> str:
        if reply.is_cut:
            bound = self._node.max_tokens
            where = "for its length" if bound is None else f"at max_tokens={bound}"
            return f"Your reply was cut off {where}: answer more briefly."
        return parser.explain(error, reply.text)


def _check_refusal(reply: Reply) -> Reply:
    if reply.refusal:
        raise PermanentCallError(f"the model refused: {mask_start(reply.refusal, 200)}")
    return reply
