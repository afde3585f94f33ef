"""What a model can be asked by itself: the faces that a description and an open client share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from tidemill.calls.limits import Budget
    from tidemill.models.clients.answers import Answers
    from tidemill.models.clients.asking import AskOptions, Prompt
    from tidemill.models.clients.client import Client
    from tidemill.models.clients.deltas import Deltas
    from tidemill.models.clients.partials import Partials
    from tidemill.models.messages import Reply

M = TypeVar("M")


class Askable(ABC):
    """Asks one model, by itself: in a script, a notebook, a thread or a coroutine.

    Calls go through the engine that jobs have, on a loop in a thread of its own: with its retries and breaker, inside
    the model's limits, whoever calls. It is opened by the first call and kept open, with its connections, until
    `close`, the end of a `with` block, or until nobody holds the object any more. Any thread may call; after a fork the
    child opens its own.

    Options of every call: `system`, `max_tokens`, `temperature`, `top_p`, `seed`, `stop`, `params`, `max_reasks`.
    """

    __slots__ = ()

    @overload
    def __call__(self, prompt: Prompt, *, output: type[M], **options: Unpack[AskOptions]) -> M: ...
    @overload
    def __call__(self, prompt: Prompt, *, output: None = None, **options: Unpack[AskOptions]) -> Reply: ...
    @overload
    def __call__(self, prompt: Prompt, *, output: Any, **options: Unpack[AskOptions]) -> Any: ...
    def __call__(self, prompt: Prompt, *, output: Any = None, **options: Unpack[AskOptions]) -> Any:
        """The model's reply to a text, or to a list of messages; with `output` the validated object in it.

        An output is a Pydantic model, a dataclass, a TypedDict or another annotation, or a JSON Schema: a mapping, or
        the path of a file, whose value is plain JSON.

        A reply that does not fit `output` is asked again with the failing paths, `max_reasks` times. Works inside a
        running event loop, which it holds up meanwhile. Ctrl-C cancels the call.

        Raises:
            ConfigError: an option, the key or the model cannot be used.
            CallError: no usable answer; with `output`, also a refusal, and no reply that fits.
            BudgetError: the budget has no room for it.
        """
        client = self._get_client()
        return client.run(client.load_asking(output, options), prompt)

    @overload
    async def acall(self, prompt: Prompt, *, output: type[M], **options: Unpack[AskOptions]) -> M: ...
    @overload
    async def acall(self, prompt: Prompt, *, output: None = None, **options: Unpack[AskOptions]) -> Reply: ...
    @overload
    async def acall(self, prompt: Prompt, *, output: Any, **options: Unpack[AskOptions]) -> Any: ...
    async def acall(self, prompt: Prompt, *, output: Any = None, **options: Unpack[AskOptions]) -> Any:
        """As calling it, awaited in the running loop; cancelling cancels the call, which the server sees."""
        client = self._get_client()
        return await client.arun(client.load_asking(output, options), prompt)

    @overload
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: type[M],
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
        **options: Unpack[AskOptions],
    ) -> Answers[M]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: type[M],
        ordered: bool = True,
        on_error: Literal["return"],
        **options: Unpack[AskOptions],
    ) -> Answers[M | Exception]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: None = None,
        ordered: bool = True,
        on_error: Literal["raise"] = "raise",
        **options: Unpack[AskOptions],
    ) -> Answers[Reply]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: None = None,
        ordered: bool = True,
        on_error: Literal["return"],
        **options: Unpack[AskOptions],
    ) -> Answers[Reply | Exception]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: Any,
        ordered: bool = True,
        on_error: Literal["raise", "return"] = "raise",
        **options: Unpack[AskOptions],
    ) -> Answers[Any]: ...
    def map(
        self,
        prompts: Iterable[Prompt],
        *,
        output: Any = None,
        ordered: bool = True,
        on_error: Literal["raise", "return"] = "raise",
        **options: Unpack[AskOptions],
    ) -> Answers[Any]:
        """The replies to many prompts, lazily, with as many calls in flight as the limits let; `for` and `async for`.

        Order: the prompts', unless `ordered=False`.   Memory: at most twice the concurrency in prompts and answers.
        Failure: raised in its place, and the next `next()` goes on with the next prompt; given there instead, with
        `on_error="return"`. What no other prompt would fare better with (credentials, budget, an endpoint gone), and
        what the prompts' iterator raises, is raised and ends it.
        Resume: none: `tm.from_iterable(…).generate(…).write(…)` is durable.

        Args:
            prompts: any iterable; gone through in a thread of its own, when and as far as there is room.
        """
        client = self._get_client()
        return client.map_prompts(
            self, prompts, client.load_asking(output, options), ordered=ordered, on_error=on_error
        )

    @overload
    def stream(self, prompt: Prompt, *, output: None = None, **options: Unpack[AskOptions]) -> Deltas: ...
    @overload
    def stream(self, prompt: Prompt, *, output: type[M], **options: Unpack[AskOptions]) -> Partials[M]: ...
    @overload
    def stream(self, prompt: Prompt, *, output: Any, **options: Unpack[AskOptions]) -> Partials[Any]: ...
    def stream(self, prompt: Prompt, *, output: Any = None, **options: Unpack[AskOptions]) -> Deltas | Partials[Any]:
        """The text of the reply in the pieces it comes in, for `for` and `async for`; `.reply` is there at the end.

        With `output`, what there is of the object so far, each time it has grown; the validated one is `.output` then.

        Failure: of a text, until the first piece has come another attempt is made, as of any call; behind it, it is
        raised. An object grows anew.
        """
        client = self._get_client()
        return client.stream_prompt(self, prompt, client.load_asking(output, options))

    def count_tokens(self, prompt: Prompt) -> int:
        """The tokens of a text by itself; of messages, what they come to as the input of a call.

        Exact where the model's vocabulary is on this machine already (tiktoken's cache, litellm's, the Hugging Face
        hub's), else by a ratio of bytes that learns from the replies this object got; nothing is downloaded or called.
        A local model counts exactly, by its own server, which is started for it as for a call: the weights of
        `local/smollm2` are fetched where they are missing (98 MB).
        """
        return self._get_client().count_prompt(prompt)

    def open(self, *, budget: Budget | None = None) -> Client:
        """A client of its own, with limits of its own and a budget, for a `with` block.

        Args:
            budget: the most that it may spend in its life; USD need the model's price, USD and tokens a `max_tokens` in
                every call. Its `deadline` counts from here on and ends what is in flight too.
        """
        return self._get_client().fork(budget)

    def close(self) -> None:
        """Cancel what is in flight and close the connections; the next call opens them again."""
        self._get_client().release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def _get_client(self) -> Client:
        """What the calls go through."""
