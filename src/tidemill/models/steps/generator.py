"""Running the `generate` step: one record's messages, samples, replies and re-asks."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.calls.gather import run_together
from tidemill.calls.wire import Request
from tidemill.models.formats.endpoint import Endpoint
from tidemill.models.messages import Message, Reply
from tidemill.models.steps.calling import Ask, hook_run
from tidemill.models.steps.generate import MAX_REASKS, Generate
from tidemill.models.steps.parameters import read_parameters
from tidemill.models.steps.prompts import PromptRenderer
from tidemill.models.structured.asking import ask_text, ask_until_valid
from tidemill.models.structured.tallies import Tallies
from tidemill.protocols import Record
from tidemill.resources.threads import Threads

MAX_THREADS = 8
"""Records of a step whose images are read and encoded at once."""


class Generator:
    """Runs one `Generate` node against one endpoint. Holds no state between records; `close` ends its threads.

    Args:
        folder: what relative paths of images are relative to; by default the working folder.
        name: of the step, by which what its calls come to is told apart.
    """

    def __init__(self, node: Generate, endpoint: Endpoint, *, folder: Path | None = None, name: str = "") -> None:
        self._node = node
        self._samples = node.n
        self._into = node.into
        self._max_tokens = node.max_tokens if isinstance(node.max_tokens, int) else None
        self._max_reasks = node.max_reasks
        self._endpoint = endpoint
        self._hooked = hook_run(self._run, node.bound_hooks)
        self._plan = node.plan_output()
        self._tallies = None if self._plan is None else Tallies(name or node.kind, self._plan)
        self._columns = node.parameter_columns()
        self._varies = bool(self._columns) or (node.n > 1 and node.seed is not None)
        renderer = PromptRenderer(
            prompt=node.prompt,
            system=node.system,
            conversation=node.messages,
            examples=node.examples,
            images=node.images,
            folder=folder,
        )
        self.render = renderer.render
        self._has_images = renderer.has_images if node.images else None
        self._threads = Threads("images", lambda: MAX_THREADS)

    def close(self) -> None:
        """End the threads, each once it has read its images; nobody waits for that."""
        self._threads.close()

    def build_request(self, record: Record) -> Request:
        """The first request for `record`, as it would be sent.

        Raises:
            DataError: a column that is asked for is not there, or holds no such thing.
        """
        return self._endpoint.build_request(self.render(record), self._vary(record, 0))

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with the reply in its column; the step's hooks are called around it.

        Raises:
            PermanentCallError: the model refused, or no reply fitted the output within `max_reasks`.
            CallError, DataError: as `ask` and `build_request` raise them.
        """
        return self._hooked(record, ask)

    async def _run(self, record: Record, ask: Ask) -> Record:
        if self._has_images is None or not self._has_images(record):
            messages = self.render(record)
        else:
            messages = await self._threads.run(self.render, record)
        if self._samples == 1:
            value: Any = await self._sample(0, ask, messages, self._vary(record, 0))
        else:
            varied = [self._vary(record, sample) for sample in range(self._samples)]
            value = await run_together(
                self._sample(sample, ask, messages, overrides) for sample, overrides in enumerate(varied)
            )
        return {**record, self._into: value}

    def _vary(self, record: Record, sample: int) -> Mapping[str, Any] | None:
        """The options in which this request differs from the step's."""
        if not self._varies:
            return None
        found = read_parameters(self._columns, record)
        seed = found.get("seed", self._node.seed)
        if self._node.n > 1 and isinstance(seed, int):
            found["seed"] = seed + sample if seed + sample < 2**63 else seed + sample - 2**64
        return found

    def _sample(
        self, sample: int, ask: Ask, messages: Sequence[Message], vary: Mapping[str, Any] | None
    ) -> Coroutine[Any, Any, Any]:
        """One reply, as the column is to hold it."""
        first = sample * (MAX_REASKS + 1)

        tallies = self._tallies

        def send(number: int, asked: Sequence[Message]) -> Awaitable[Reply]:
            request = self._endpoint.build_request(asked, vary)
            return ask(first + number, request if tallies is None else tallies.mark(request, number))

        if self._plan is None:
            return ask_text(messages, send)
        bound = self._max_tokens if vary is None else vary.get("max_tokens", self._max_tokens)
        return ask_until_valid(
            self._plan,
            self._plan.parser.parse,
            messages,
            send,
            max_reasks=self._max_reasks,
            max_tokens=bound,
        )
