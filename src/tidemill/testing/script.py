"""Replies by step: what a rehearsed job is answered, and what it was seen to ask."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

import orjson
from pydantic import BaseModel

from tidemill.calls.wire import AttemptTimeoutError, Request, Response
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import describe_value
from tidemill.errors import CallError, ConfigError, PermanentCallError, TidemillError, TransientCallError
from tidemill.testing.delivery import Delivery
from tidemill.testing.formats.anthropic import AnthropicMessages
from tidemill.testing.formats.embeddings import OpenAiEmbeddings, make_vector
from tidemill.testing.formats.exchange import Ask, Exchange, Format
from tidemill.testing.formats.openai import OpenAiChat
from tidemill.testing.plan import last_message, last_results
from tidemill.testing.tool_calls import Content, ToolCalls

SHOWN_CHARS = 300
DELIVERY = Delivery()
JSON, EVENTS = "application/json", "text/event-stream"


class UnansweredError(TidemillError, AssertionError):
    """A rehearsed job asked what no reply was given for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a rehearsed job sent it; one text of it, where it asks for the vectors of several.

    Attributes:
        step: the name of the step.
        number: how many the step had sent before it.
        prompt: the text of the last message of the user, or the text to embed; empty of a `call`.
        messages: all messages, as the provider's format has them.
        body: the whole request's JSON.
        record: what the function of a `call` was given, None of a model.
    """

    step: str
    number: int
    prompt: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    body: Mapping[str, Any] | None = None
    record: Any = None

    @property
    def results(self) -> list[str]:
        """The texts of the results that it ends with, of the tools called in the turn before; empty of none."""
        return last_results(self.body)

    def __str__(self) -> str:
        text = self.prompt if self.body is not None else repr(self.record)
        return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


class Script:
    """Replies by the name of the step that asks. Not for use from several threads at once.

    Attributes:
        asked: every request, in order, by the step's name.
        failure: what the script itself failed with; the run that is answered by it means nothing then.
    """

    def __init__(self, replies: Mapping[str, Any], steps: Sequence[str]) -> None:
        self._replies = dict(replies)
        self._turns: dict[str, Iterator[Any]] = {
            step: iter(reply) for step, reply in self._replies.items() if _is_turns(reply)
        }
        self.asked: dict[str, list[Asked]] = {step: [] for step in steps}
        self.failure: Exception | None = None

    def note(self, step: str, **fields: Any) -> Asked:
        """Keep a request as the step's next."""
        asked = Asked(step, len(self.asked[step]), **fields)
        self.asked[step].append(asked)
        return asked

    def answer(self, asked: Asked) -> Any:
        """What the request gets: a value, or a `Response`.

        Raises:
            CallError, Exception: the reply is an exception. Of the script's own failure, one that ends the run.
        """
        try:
            reply = self._choose(asked)
            if callable(reply) and not isinstance(reply, (type, BaseException)):
                reply = reply(asked)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is raised when the run has ended
            self.fail(exc)
        if isinstance(reply, type) and issubclass(reply, Exception):
            reply = reply(f"scripted for step `{asked.step}`")
        if isinstance(reply, Exception):
            raise copy.copy(reply)  # each attempt's error is told and counted by itself
        return reply.model_dump(mode="json") if isinstance(reply, BaseModel) else reply

    def fail(self, error: Exception) -> NoReturn:
        """End the run by `error`, the script's own."""
        self.failure = self.failure or error
        raise PermanentCallError("the rehearsal cannot go on", of="run") from error

    def _choose(self, asked: Asked) -> Any:
        step = asked.step
        if step not in self._replies:
            raise UnansweredError(
                f"step `{step}` asked, and no reply was given for it: {asked}",
                hint=suggest(step, self._replies) or f'give it one: replies={{"{step}": …}}',
            )
        turns = self._turns.get(step)
        if turns is None:
            return self._replies[step]
        try:
            return next(turns)
        except StopIteration:
            raise UnansweredError(
                f"step `{step}` asked once more than it has replies ({len(self._replies[step])}): {asked}",
                hint="requests that are tried again or asked again count too; a function answers any number",
            ) from None


def _is_turns(reply: Any) -> bool:
    """Whether a list holds replies in turn; one of numbers is a vector."""
    return isinstance(reply, list) and not (reply and all(isinstance(number, (int, float)) for number in reply))


def address_step(step: str) -> str:
    """The base URL by which `ScriptTransport` knows the step that asks."""
    return f"http://rehearsal.invalid/{quote(step, safe='')}"


class ScriptTransport:
    """A `Transport` that answers, in the format that is asked in, as a script says. Belongs to one loop."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._formats: dict[str, Format] = {"chat/completions": OpenAiChat(), "messages": AnthropicMessages()}
        self._embeddings = OpenAiEmbeddings()
        self._lengths: dict[str, int] = {}  # of the vectors, by step

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The reply of the step that the request's address names."""
        await asyncio.sleep(0)
        step, _, path = urlsplit(request.url).path.removeprefix("/").partition("/")
        ask = Ask(orjson.loads(request.body), request.body, DELIVERY, asyncio.get_running_loop().time())
        try:
            if path == "embeddings":
                return self._embed(unquote(step), ask)
            response = self._chat(unquote(step), ask, self._formats[path])
        except CallError:
            raise
        except TimeoutError as exc:
            raise AttemptTimeoutError(str(exc)) from exc
        except ConnectionError as exc:
            raise TransientCallError(f"{type(exc).__name__}: {exc}") from exc
        if request.on_chunk is not None and response.status == 200:
            request.on_chunk(response.body)
        return response

    async def close(self) -> None:
        """Nothing is held."""

    def _chat(self, step: str, ask: Ask, form: Format) -> Response:
        body = ask.payload
        value = self._script.answer(
            self._script.note(step, prompt=last_message(body), messages=body.get("messages", ()), body=body)
        )
        if isinstance(value, Response):
            return value
        is_content = isinstance(value, (str, ToolCalls))
        contents: list[Content] = [value if is_content else orjson.dumps(value).decode()]
        exchange = Exchange(hashlib.sha256(ask.body).digest(), body, form.count_usage(ask, contents), DELIVERY)
        form.remember(ask)
        if body.get("stream"):
            return Response(200, {"content-type": EVENTS}, b"".join(form.render_events(exchange, contents)))
        return Response(200, {"content-type": JSON}, form.render_reply(exchange, contents))

    def _embed(self, step: str, ask: Ask) -> Response:
        body = ask.payload
        given = body["input"]
        entries: list[dict[str, Any]] = []
        for index, text in enumerate(given if isinstance(given, list) else [given]):
            asked = self._script.note(step, prompt=text, body=body)
            reply = self._script.answer(asked)
            if isinstance(reply, Response):
                return reply
            entries.append({"object": "embedding", "index": index, "embedding": self._make_vector(asked, reply)})
        if body.get("encoding_format") == "base64":
            entries = [{**entry, "embedding": _encode_vector(entry["embedding"])} for entry in entries]
        tokens = self._embeddings.count_usage(ask, ()).input_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        told = {"object": "list", "data": entries, "model": body.get("model"), "usage": usage}
        return Response(200, {"content-type": JSON}, orjson.dumps(told))

    def _make_vector(self, asked: Asked, reply: Any) -> list[float]:
        """The vector that a reply stands for; another one than the step can land ends the run."""
        vector = _read_vector(asked.prompt, reply)
        where = f"step `{asked.step}`, request {asked.number}"
        if vector is None:
            expected = "a list of numbers, or how many are to follow from the text"
            message = f"the reply of an `embed` is {expected}, got {describe_value(reply)}"
            self._script.fail(ConfigError(message, where=where))
        length = (asked.body or {}).get("dimensions") or self._lengths.setdefault(asked.step, len(vector))
        if len(vector) != length:
            message = f"expected a vector of {length} numbers, as all of its step have, got one of {len(vector)}"
            self._script.fail(ConfigError(message, where=where))
        return vector


def _read_vector(text: str, reply: Any) -> list[float] | None:
    """The numbers of a vector, None where the reply is none."""
    if type(reply) is int and reply > 0:
        return make_vector(text, reply).tolist()
    numbers = reply.tolist() if hasattr(reply, "tolist") else reply
    is_vector = isinstance(numbers, (list, tuple)) and numbers and all(type(each) in (int, float) for each in numbers)
    return list(numbers) if is_vector else None


def _encode_vector(vector: Sequence[float]) -> str:
    """Float32, little-endian, in base64, as OpenAI has it."""
    return b64encode(pack(f"<{len(vector)}f", *vector)).decode()


def script_function(script: Script, step: str) -> Callable[[Any], Any]:
    """A coroutine function that gives for a record what `script` has for `step`."""

    async def answer(record: Any) -> Any:
        return script.answer(script.note(step, record=record))

    return answer
