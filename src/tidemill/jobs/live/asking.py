"""What a step that calls would send for sampled records: requests are built, and none is sent."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tidemill.agents.opening import make_specs
from tidemill.agents.runner import make_renderer
from tidemill.agents.step import AskAgent
from tidemill.calls.budget import Pricing
from tidemill.calls.wire import Usage
from tidemill.models.endpoints import make_embedding_endpoint, make_endpoint
from tidemill.models.images.size import measure_url
from tidemill.models.images.tokens import UNKNOWN_SIZE, find_rule
from tidemill.models.messages import Message
from tidemill.models.steps.call import Call
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Embed, Embedder
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.generator import Generator
from tidemill.models.tokens import TokenCounter
from tidemill.protocols import Record
from tidemill.stores.steps.search import Search

SHOWN = "value"
"""What a template shows for a field of a reply that nobody has given yet."""


class Asked(NamedTuple):
    """What a step's calls for one record come to.

    Attributes:
        calls: requests, a part of one where records share it.
        input_tokens: of all of them.
        least_tokens, most_tokens: of their replies; the most is None where nothing bounds it.
    """

    calls: float = 1.0
    input_tokens: float = 0.0
    least_tokens: float = 0.0
    most_tokens: float | None = 0.0


def price_tokens(pricing: Pricing, calls: float, input_tokens: float, output_tokens: float) -> float:
    """What so many calls of so many tokens together cost in USD, at the rates of the average one."""
    one = max(1, round(input_tokens / calls)) if calls else 1
    input_usd, both_usd = pricing.cost(Usage(one, 0)).usd, pricing.cost(Usage(one, one)).usd
    return (input_usd * input_tokens + (both_usd - input_usd) * output_tokens) / one


class StandIn(dict[str, Any]):
    """Stands for what a call would have given, in the templates of later steps: it has every field."""

    def __init__(self, text: str = SHOWN) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, name: str) -> StandIn:
        return StandIn()

    def __str__(self) -> str:
        return self._text


class StepAsking(ABC):
    """Builds the requests of one step that calls, or of one of its branches.

    Attributes:
        into: the column of what its calls give.
        shares_requests: whether several records go out in one request.
        has_turns: whether more calls may follow the one that is asked about.
        has_output: whether its replies come to tokens of their own.
    """

    shares_requests = False
    has_turns = False
    has_output = False

    def __init__(self, node: CallNode) -> None:
        [self.into] = node.column_types()

    @abstractmethod
    def ask(self, record: Record) -> Asked:
        """What the calls for `record` come to.

        Raises:
            DataError: they cannot be built.
        """

    def stand_in(self, output_tokens: float) -> Any:
        """What stands in the step's column behind it."""
        return StandIn()

    @property
    def basis(self) -> str:
        """What the tokens of its requests were told from, for people; empty where they come to none."""
        return ""


class GenerateAsking(StepAsking):
    """Of a `generate` step: a request for each sample."""

    has_output = True

    def __init__(self, node: Generate, counter: TokenCounter, folder: Path) -> None:
        super().__init__(node)
        self._node = node
        self._counter = counter
        self._generator = Generator(node, make_endpoint(node.model, {}, node.options()), folder=folder)
        plan = node.plan_output()
        schema = None if plan is None else dict(plan.schema)
        self._count_size = find_rule(node.model.model)
        self._images = self._unseen = 0
        self._least = 1 if schema is None else counter.count_text(least_json(schema, schema))

    def ask(self, record: Record) -> Asked:
        request = self._generator.build_request(record)
        count, most = self._node.n, request.max_output_tokens
        least = self._least if most is None else min(self._least, most)
        tokens = self._counter.estimate_likely(request, self._count_image)
        return Asked(count, count * tokens, count * least, None if most is None else count * most)

    def _count_image(self, url: str) -> int:
        size = measure_url(url)
        self._images += 1
        self._unseen += size is None
        return self._count_size(size or UNKNOWN_SIZE)

    @property
    def basis(self) -> str:
        basis = self._counter.basis
        if self._images:
            basis += ", images by their size"
        if self._unseen:
            width, height = UNKNOWN_SIZE
            basis += f", {width:,} × {height:,} where it is not known"
        return basis

    def stand_in(self, output_tokens: float) -> Any:
        one = StandIn() if self._node.output is not None else SHOWN + " word" * round(output_tokens / self._node.n)
        return one if self._node.n == 1 else [one] * self._node.n


class EmbedAsking(StepAsking):
    """Of an `embed` step: each record's share of a request."""

    shares_requests = True

    def __init__(self, node: Embed, counter: TokenCounter) -> None:
        super().__init__(node)
        self._node = node
        self._counter = counter
        endpoint = make_embedding_endpoint(node.model, {}, dimensions=node.dimensions, params=node.params)
        self._embedder = Embedder(node, endpoint)

    def ask(self, record: Record) -> Asked:
        share = self._embedder.build_request(record)
        size = self._embedder.measure(share)
        together = max(1.0, min(float(self._node.batch_size), self._node.batch_tokens / size))
        whole = max(1, math.floor(together))
        tokens = self._counter.estimate(self._embedder.join([share] * whole)) / whole
        return Asked(1 / together, tokens)

    @property
    def basis(self) -> str:
        return self._counter.basis


class AgentAsking(StepAsking):
    """Of one model of an `agent` step: its first turn. How many follow is not known before."""

    has_output = True
    has_turns = True

    def __init__(self, node: AskAgent, counter: TokenCounter, folder: Path) -> None:
        self.into = node.step.into if node.asked is node.step.agent else ""
        self._node = node
        self._counter = counter
        self._render = make_renderer(node.step, folder).render
        agent = node.asked
        specs = make_specs(agent.list_tools(), agent)
        self._endpoint = make_endpoint(agent.model, {}, agent.options(specs, stream=False))

    def ask(self, record: Record) -> Asked:
        if not self.into:
            return Asked(0.0)
        system = (
            [Message(role="system", content=self._node.asked.instructions)] if self._node.asked.instructions else []
        )
        request = self._endpoint.build_request([*system, *self._render(record)])
        tokens = self._counter.estimate(request)
        return Asked(1, tokens, 1, request.max_output_tokens)

    @property
    def basis(self) -> str:
        return f"{self._counter.basis}, of the first turn alone"


class CallAsking(StepAsking):
    """Of a `call` step, or another whose calls cost no tokens."""

    def ask(self, record: Record) -> Asked:
        return Asked()


def open_asking(node: CallNode, counter: TokenCounter | None, folder: Path) -> StepAsking:
    """What builds the requests of `node`, a single call; `counter` is its model's, where it asks one."""
    if isinstance(node, Generate) and counter is not None:
        return GenerateAsking(node, counter, folder)
    if isinstance(node, Embed) and counter is not None:
        return EmbedAsking(node, counter)
    if isinstance(node, AskAgent) and counter is not None:
        return AgentAsking(node, counter, folder)
    assert isinstance(node, (Call, Search))
    return CallAsking(node)


def least_json(schema: Any, root: dict[str, Any], depth: int = 0) -> str:
    """The shortest JSON that a reply of `schema` can about be: its required fields, with next to nothing in them."""
    if not isinstance(schema, dict) or depth > 8:  # one that holds itself has an end somewhere
        return "0"
    if "$ref" in schema:
        return least_json(root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2]), root, depth + 1)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return min([orjson.dumps(value).decode() for value in values], key=len)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return min([least_json(part, root, depth + 1) for part in schema[key]], key=len)
    match schema.get("type"):
        case "object":
            parts = schema.get("properties", {})
            names = [name for name in schema.get("required", ()) if name in parts]
            return "{" + ",".join(f'"{name}":{least_json(parts[name], root, depth + 1)}' for name in names) + "}"
        case "array":
            count = min(int(schema.get("minItems", 0)), 64)
            return "[" + ",".join([least_json(schema.get("items"), root, depth + 1)] * count) + "]"
        case "string":
            return '"' + "x" * min(int(schema.get("minLength", 1)), 4096) + '"'
        case "boolean" | "null":
            return "true"
        case _:
            return "0"
