"""`tidemill serve-mock`: a fault server for any client, from a few options or a plan in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console

from tidemill.config.loading import load_config
from tidemill.config.model import Settings
from tidemill.config.types.functions import Function
from tidemill.errors import ConfigError, ResourceError
from tidemill.testing.board import Board
from tidemill.testing.delivery import Delivery
from tidemill.testing.load.plan import Capacity, Load, Quota
from tidemill.testing.plan import Fault, Faults
from tidemill.testing.serving import loop_factory, serve

_TOLD = (
    ("requests", "calls received"),
    ("good", "answered well"),
    ("billed", "billed"),
    ("repeats", "of them with a body billed before"),
    ("refused", "refused by a limit"),
    ("over_quota", "beyond a quota"),
    ("failed", "failed otherwise"),
    ("max_in_flight", "in flight at most"),
    ("input_tokens", "input tokens"),
    ("output_tokens", "output tokens"),
    ("connections", "connections"),
    ("strays", "requests for paths that are not served"),
)


class MockPlan(Settings):
    """What a mock server does, as a file tells it; times in seconds.

    Attributes:
        latency_s: from a request received whole to its answer.
        faults: which requests fail how: `matching` pairs of a text and a fault, `mixed` pairs of a ratio and a fault.
        load: what it carries: quotas, capacity, a queue, outages.
        delivery: the pace of good replies and the usage they tell.
        reply: the import path of a function of the `Call` that gives what good replies hold: a text, or `ToolCalls`.
    """

    latency_s: float = Field(default=0.0, ge=0)
    faults: Faults | None = None
    load: Load | None = None
    delivery: Delivery | None = None
    reply: Function | None = None


class MockOptions(Settings):
    """What a mock server does, as the command line tells it.

    Attributes:
        latency_ms: from a request received whole to its answer.
        requests_per_minute: refused with 429 beyond it.
        tokens_per_minute: the same, of input and output tokens together.
        window_s: over which both hold.
        kind: how the window is counted.
        concurrency: refused with 429 beyond it.
        errors: the share of calls answered 500.
        seed: of which ones.
        first_token_ms: until the first token.
        tokens_per_second: the pace of those behind it.
    """

    latency_ms: float = Field(default=0.0, ge=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    window_s: float = Field(default=60.0, gt=0)
    kind: Literal["bucket", "sliding", "fixed"] = "bucket"
    concurrency: int | None = Field(default=None, ge=1)
    errors: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0
    first_token_ms: float = Field(default=0.0, ge=0)
    tokens_per_second: float | None = Field(default=None, gt=0)

    def to_plan(self) -> MockPlan:
        """The same as a file would tell it."""
        quotas = []
        if self.requests_per_minute is not None or self.tokens_per_minute is not None:
            quota = Quota(
                requests_per_minute=self.requests_per_minute,
                tokens_per_minute=self.tokens_per_minute,
                window_s=self.window_s,
                kind=self.kind,
            )
            quotas.append(quota)
        capacity = Capacity(concurrency=self.concurrency) if self.concurrency is not None else None
        return MockPlan(
            latency_s=self.latency_ms / 1000,
            faults=Faults(mixed=[(self.errors, Fault("status", status=500))], seed=self.seed) if self.errors else None,
            load=Load(quotas=tuple(quotas), capacity=capacity, seed=self.seed),
            delivery=Delivery(
                first_token_s=self.first_token_ms / 1000,
                token_s=1 / self.tokens_per_second if self.tokens_per_second is not None else 0.0,
            ),
        )


def read_plan(options: MockOptions, path: Path | None) -> MockPlan:
    """The plan of a file, or of the options when there is none.

    Raises:
        ConfigError: the file is no plan, or options stand beside it.
    """
    if path is None:
        return options.to_plan()
    if options.model_fields_set:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(options.model_fields_set))
        raise ConfigError(f"--plan says what {given} would say", hint=f"write it into {path}")
    return load_config(MockPlan, path)


def serve_mock(plan: MockPlan, port: int, console: Console) -> None:
    """Serve until Ctrl-C or SIGTERM, then print what was counted.

    Raises:
        ResourceError: the port is taken.
    """
    board = Board(
        latency_s=plan.latency_s, faults=plan.faults, reply=plan.reply, load=plan.load, delivery=plan.delivery
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(board, port, asyncio.Event(), lambda port: _print_addresses(console, port)))
    except OSError as exc:
        raise ResourceError(f"cannot serve on port {port}: {exc}", hint="--port 0 takes a free one") from exc
    except KeyboardInterrupt:
        _print_counts(console, board)


def _print_addresses(console: Console, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    console.print(f"a mock of OpenAI and Anthropic listens at {url}; any key and any model name will do")
    console.print(f"  OpenAI:    OPENAI_BASE_URL={url}/v1")
    console.print(f"  Anthropic: ANTHROPIC_BASE_URL={url}")
    console.print(f"  Tidemill:  base_url: {url}/v1")
    console.print(f"what it counts: curl '{url}/stats?timeline=1'; what would have gone through in the first minute:")
    console.print(f"curl '{url}/oracle?start=0&stop=60'. Ctrl-C ends it and prints the counts.")


def _print_counts(console: Console, board: Board) -> None:
    faults = [(f"faults of kind {kind}", count) for kind, count in sorted(board.counters.faults.items())]
    for words, count in [*((words, getattr(board.counters, name)) for name, words in _TOLD), *faults]:
        console.print(f"{count:>12,}  {words}")
