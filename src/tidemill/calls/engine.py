"""The one engine every outside call goes through."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType

from tidemill.calls.breaker import Breaker
from tidemill.calls.budget import BudgetLedger
from tidemill.calls.budget_gate import BudgetGate, CommitLease
from tidemill.calls.credentials import label_endpoint
from tidemill.calls.endpoint_gate import EndpointGate, Outage
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Limits, Price
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import LaneOptions
from tidemill.calls.wire import Transport
from tidemill.errors import ConfigError


class Engine:
    """Slots, requests and tokens per minute, breakers, retries and the hard budget around one transport.

    Make it inside the event loop it is to run on and use it only there. Cancelling a call reaches its socket and
    gives back its slot and its place in every line; what was sent and not answered counts whole in the budget.

    Args:
        transport: how bytes get out; closed with the engine.
        rng: where jitter comes from.
        budget: what may be spent; None for no bound.
        commit_lease: makes a lease durable before anything is spent from it; None when nothing outlives the process.
        meter: what to count in; its own by default.

    Attributes:
        lanes: the lanes that were opened, by their key.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        rng: random.Random,
        budget: BudgetLedger | None = None,
        commit_lease: CommitLease | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = Meter() if meter is None else meter
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._rng = rng
        self._budget = None if budget is None else BudgetGate(budget, commit_lease)
        self.lanes: dict[str, Lane] = {}
        self._endpoints: dict[str, EndpointGate] = {}
        self._others: list[Transport] = []

    def lane(
        self,
        key: str,
        *,
        limits: Limits,
        endpoint: str,
        price: Price | None = None,
        options: LaneOptions = LaneOptions(),  # noqa: B008 - frozen
        transport: Transport | None = None,
    ) -> Lane:
        """The lane of one model: the same one for the same `key`.

        Args:
            endpoint: the base URL; lanes with the same one share a breaker, as the first of them sets it.
            transport: how its calls get out, where not by the engine's; closed with the engine.

        Raises:
            ConfigError: the budget cannot be held against this model, `key` names a lane with other limits, or its
                limits have the name of others.
        """
        if self._budget is not None:
            self._budget.ledger.check_lane(price)
        terms = (limits, endpoint, price)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane(
                terms,
                transport=transport or self._transport,
                meter=self.meter,
                rng=self._rng,
                gate=self._endpoint(endpoint, limits),
                budget=self._budget,
                options=options,
            )
            if transport is not None:
                self._others.append(transport)
        elif lane.terms != terms:
            raise ConfigError(f"model {key!r} is used twice with different limits, endpoint or price")
        return lane

    def find_outages(self) -> list[Outage]:
        """Of each endpoint that is out of order just now, what it keeps calls waiting for."""
        return [outage for gate in self._endpoints.values() if (outage := gate.outage) is not None]

    def _endpoint(self, url: str, limits: Limits) -> EndpointGate:
        label = label_endpoint(url)
        gate = self._endpoints.get(label)
        if gate is None:
            breaker = Breaker(
                failures=limits.breaker_failures, connect_s=limits.connect_s, outage_s=limits.outage_s, rng=self._rng
            )
            gate = self._endpoints[label] = EndpointGate(label, breaker, self._loop, connect_s=limits.connect_s)
        return gate

    async def close(self) -> None:
        """Make what is really spent the durable lease and close the transport; call it when no call is running."""
        for gate in self._endpoints.values():
            gate.close()
        for lane in self.lanes.values():
            lane.close()
        try:
            if self._budget is not None:
                await self._budget.close()
        finally:
            for transport in (*self._others, self._transport):
                await transport.close()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
