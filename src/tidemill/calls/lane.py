"""One model's way out: how a call becomes attempts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec.structs

from tidemill.calls.admission.admission import OVERLOADED, Admission
from tidemill.calls.admission.estimates import InputCounter, TokenEstimates
from tidemill.calls.admission.gates import TimedGate
from tidemill.calls.budget import Pricing
from tidemill.calls.budget_gate import BudgetGate
from tidemill.calls.credentials import mask_error
from tidemill.calls.endpoint_gate import EndpointGate
from tidemill.calls.limits import Limits, Price
from tidemill.calls.meter import Meter
from tidemill.calls.outgoing import Call, LaneOptions, LaneStopped, Locate, R, Send, TakenBackError
from tidemill.calls.retry import (
    RetryBudget,
    backoff_s,
    find_cause,
    is_outage,
    is_refusal,
    judge_response,
)
from tidemill.calls.wire import NOT_SENT, AttemptTimeoutError, Request, Response, Transport, UnreachableError
from tidemill.errors import CallError, TransientCallError


class Lane:
    """One model's way out: its slots, its pace, its endpoint's breaker. Get it from `Engine.lane`.

    Attributes:
        limits: those in force.
        sending: attempts sent whose result is not committed yet.
    """

    def __init__(
        self,
        terms: tuple[Limits, str, Price | None],
        *,
        transport: Transport,
        meter: Meter,
        rng: random.Random,
        gate: EndpointGate,
        budget: BudgetGate | None,
        options: LaneOptions,
    ) -> None:
        limits, _, price = self.terms = terms
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._meter = meter
        self._rng = rng
        self._gate = gate
        self._breaker = gate.breaker
        self._budget = budget
        self._locate = options.locate
        self._pricing = Pricing(price)
        estimates = TokenEstimates(options.counter or InputCounter())
        self._admission = Admission(limits, meter=meter, rng=rng, estimates=estimates)
        self._retrying = TimedGate(self._loop)
        self._retries = RetryBudget(limits.retry_ratio)
        self._deadline_s = limits.deadline_s
        self._first_timeout_s = min(limits.attempt_timeout_s, limits.deadline_s)
        self._is_stopped = False
        self._inside = self._parked = 0  # calls begun and not ended, and those of them that wait for news
        self.sending = 0
        gate.on_return.append(self._admission.restart)

    @property
    def limit(self) -> int:
        """Calls in flight at most, now."""
        return self._admission.limit

    def change(self, limits: Limits) -> None:
        """Go by other limits from now on; what is in flight ends by the old ones."""
        self.limits = limits
        self._deadline_s = limits.deadline_s
        self._first_timeout_s = min(limits.attempt_timeout_s, limits.deadline_s)
        self._admission.change(limits)

    def stop(self) -> None:
        """Send nothing more: what is on its way ends, and every other call with `LaneStopped` when its turn comes."""
        self._is_stopped = True

    @property
    def send(self) -> Send:
        """What makes an attempt where a call brings nothing of its own: the transport's `send`."""
        return self._transport.send

    def close(self) -> None:
        """Stop the lane's timers."""
        self._admission.close()
        self._retrying.close()

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], R],
        commit: Callable[[R, int], Awaitable[object]] | None = None,
        *,
        send: Send | None = None,
    ) -> R:
        """What `decode` makes of the answer to `request`, after `commit` has returned.

        Of a lane that has to find its base URL, the request's URL is what follows it.

        Waits, each first in first out, for a slot, the endpoint, the budget and the limits, and sends attempts until
        one is answered. The wait for the first send is charged to no deadline, nor is one for an open breaker. One that
        was refused (429) gives its slot back and goes again in front of all who wait, when the far side takes more.

        Args:
            decode: turns a response with a status in 200-299 into a value with `usage`. It may raise
                `TransientCallError` (garbage: another attempt) or `PermanentCallError`.
            commit: makes the value durable; gets it and the attempts it took. The slot is held until it returns.
            send: makes each attempt instead of the lane's transport; keeps to the contract of `Transport.send`.

        Raises:
            CallError: no usable answer; `of` says whose failure it is, `attempts` how many were sent.
            BudgetError: the budget has no room for another attempt.
            ConfigError: the budget cannot be held against this request.
            LaneStopped: `stop` was called before it could be sent.
            TakenBackError: `send` raised it.
            Exception: what `decode` or `commit` raised beside a CallError.
        """
        call = Call(request, send or self._transport.send)
        self._inside += 1
        try:
            if not self._admission.try_enter(call):
                await self._admission.enter(call)
            value = await self._answer(call, decode)
            try:
                if commit is not None:
                    await commit(value, call.attempts)
            finally:
                self.sending -= 1
                self._meter.in_flight -= 1
            return value
        except CallError as error:
            error.attempts = call.attempts
            self._meter.failed += call.attempts > 0
            raise
        finally:
            call.error = None  # its traceback holds this call: no cycle is left for the collector
            self._inside -= 1
            if self._parked:
                self._gate.tell_news()
            if call.attempts:
                self._meter.attempts_of_calls[call.attempts] += 1
                if call.waited_us is not None:
                    self._meter.wait(call.waited_us)
            self._admission.leave(call)

    async def _answer(self, call: Call, decode: Callable[[Response], R]) -> R:
        """Attempts, until one is answered."""
        if self._locate is not None:
            await self._address(call, self._locate)
        if self._budget is not None:
            self._budget.ledger.check_request(call.request)
        if not self._try_admit(call):
            await self._admit(call)
        while True:
            if self._is_stopped:
                self._withdraw(call)
                raise LaneStopped
            timeout_s = self._begin_attempt(call)
            try:
                try:
                    response = await call.send(call.request, timeout_s)
                finally:
                    self._gate.in_flight -= 1
                return self._take_answer(call, response, decode)
            except TakenBackError:
                self._take_back(call)
                raise
            except BaseException as error:  # every way out must give back what the attempt holds
                self._end_failed(call, error)
                if not isinstance(error, CallError):
                    raise
                delay_s = self._judge(call, error)
                if delay_s is None:
                    raise
            await self._go_again(call, delay_s)

    async def _address(self, call: Call, locate: Locate) -> None:
        """Put the base URL in front of the request's; the lane's first call may have to wait until there is one."""
        if self._is_stopped:
            raise LaneStopped
        base_url = await locate()
        call.request = msgspec.structs.replace(call.request, url=base_url + call.request.url)

    async def _go_again(self, call: Call, delay_s: float) -> None:
        """Wait until another attempt may be sent, at most until the call's deadline.

        Raises:
            CallError: that has passed.
        """
        assert call.error is not None
        bound = asyncio.timeout_at(call.deadline_at)
        try:
            async with bound:
                await self._back_off(call, delay_s)
                await self._admit(call, bound)
        except TimeoutError:
            if not bound.expired():
                raise
            raise self._give_up(call, call.error, f"deadline_s={self.limits.deadline_s:g}") from None

    async def _back_off(self, call: Call, delay_s: float) -> None:
        """What has to pass before the next attempt is admitted."""
        if call.error is not None and call.error.status == 429:
            self._admission.leave(call)
            if not self._admission.try_enter(call):
                await self._admission.enter(call)
            return
        waits_since = self._loop.time()
        if self._is_exhausted(call):
            await self._park(call)
        elif delay_s > 0.0:
            await asyncio.sleep(delay_s)
        if self._breaker.is_closed and not self._retrying.take(self._retries.take):
            await self._retrying.wait(self._retries.take, lambda: None)
        self._admission.note_wait(call, "backoff", waits_since)

    def _is_exhausted(self, call: Call) -> bool:
        return call.charged >= self.limits.max_attempts

    async def _park(self, call: Call) -> None:
        """Let others try before the call is judged: while nobody was answered, the endpoint may be to blame."""
        self._admission.leave(call)
        self._parked += 1
        try:
            await self._gate.wait_for_news()
        finally:
            self._parked -= 1
        if not self._breaker.is_closed:
            call.charged = 0  # it was an outage
        elif self.limits.max_attempts == 1 and call.error is not None:
            raise self._give_up(call, call.error, "max_attempts=1")  # the endpoint works: it may be sent once
        if not self._admission.try_enter(call):
            await self._admission.enter(call)

    def _try_admit(self, call: Call) -> bool:
        """Whether a first attempt may be sent at once; `call` then holds its reservations."""
        if call.attempts or not self._breaker.is_closed:
            return False
        if self._budget is None and self._admission.is_open:
            self._admission.send(call)
            return True
        if not self._admission.try_admit(call):
            return False
        if self._budget is None or self._try_reserve(call, self._budget):
            return True
        self._admission.give_back(call)
        return False

    async def _admit(self, call: Call, bound: asyncio.Timeout | None = None) -> None:
        """Wait until the next attempt may be sent; `call` then holds its reservations, and the probe if it is one.

        Args:
            bound: the call's deadline, which the wait for an open breaker is not charged to.
        """
        while True:
            if not self._breaker.is_closed:
                await self._enter_endpoint(call, bound)
            try:
                if not self._admission.try_admit(call):
                    await self._admission.admit(call)
                if self._budget is not None and not self._try_reserve(call, self._budget):
                    await self._reserve(call, self._budget)
            except BaseException:  # cancelled, out of budget or too late: what it holds goes back either way
                self._withdraw(call)
                raise
            if self._breaker.is_closed or call.probe:
                return
            self._withdraw(call)

    async def _enter_endpoint(self, call: Call, bound: asyncio.Timeout | None) -> None:
        """Wait until the endpoint may be asked again; `call` holds the probe if it is one."""
        waits_since = self._loop.time()
        if bound is not None:
            bound.reschedule(None)
        call.probe = await self._gate.enter()
        call.deadline_at += self._admission.note_wait(call, "endpoint", waits_since)
        if bound is not None:
            bound.reschedule(call.deadline_at)

    def _try_reserve(self, call: Call, budget: BudgetGate) -> bool:
        """Whether the budget takes the next attempt at once; it is then reserved."""
        ceiling = self._pricing.ceiling(call.request)
        if not budget.reserve(ceiling):
            return False
        call.ceiling = ceiling
        return True

    async def _reserve(self, call: Call, budget: BudgetGate) -> None:
        self._admission.give_back(call)  # others need not wait for it meanwhile
        ceiling = self._pricing.ceiling(call.request)
        waits_since = self._loop.time()
        await budget.wait(ceiling)
        call.ceiling = ceiling
        self._admission.note_wait(call, "budget", waits_since)
        if not self._admission.try_admit(call):
            await self._admission.admit(call)

    def _withdraw(self, call: Call) -> None:
        """Give back what an attempt that is not sent holds."""
        if call.ceiling is not None and self._budget is not None:
            self._budget.release(call.ceiling)
            call.ceiling = None
        self._admission.give_back(call)
        self._return_probe(call)

    def _return_probe(self, call: Call) -> None:
        if call.probe:
            self._gate.return_probe(call.probe)
            call.probe = 0

    def _begin_attempt(self, call: Call) -> float:
        """Count an attempt as sent; the seconds it may take."""
        call.sent_at = now = self._loop.time()
        timeout_s = self._first_timeout_s
        if call.attempts:
            timeout_s = max(0.0, min(timeout_s, call.deadline_at - now))
            call.answered = False
        else:
            call.deadline_at = now + self._deadline_s
            call.is_begun = True
        call.attempts += 1
        self.sending += 1
        self._gate.in_flight += 1
        self._meter.send(is_first=call.attempts == 1)
        return timeout_s

    def _take_back(self, call: Call) -> None:
        """As if the attempt had never begun."""
        call.attempts -= 1
        self.sending -= 1
        self._meter.take_back(is_first=not call.attempts)
        self._withdraw(call)

    def _take_answer(self, call: Call, response: Response, decode: Callable[[Response], R]) -> R:
        """An attempt's decoded answer, settled and counted; raises what makes it none."""
        if not 200 <= response.status < 300:
            error = judge_response(response, call.request, wall_s=time.time())
            self._admission.note_refusal(call, response, error.retry_after_s, is_calm=self._breaker.is_closed)
            raise error
        call.answered = True
        if not self._breaker.is_calm:
            self._gate.succeed()
        latency_s = self._loop.time() - call.sent_at
        value = decode(response)
        usage = value.usage
        meter = self._meter
        self._retries.answer()
        self._admission.note_answer(call, response, usage)
        cost = None if usage is None else self._pricing.cost(usage, is_priced=call.request.is_priced)
        pico_usd = 0 if cost is None else cost.pico_usd
        meter.answer(latency_s, usage, pico_usd, value.first_token_s)
        if (tally := call.request.tally) is not None:
            look = tally.look
            meter.share(tally.label).add(usage, pico_usd, () if look is None else look(value))
            if tally.beside is not None:
                for label, name in tally.beside(value):
                    meter.share(label).counts[name] += 1
        if value.is_cut:
            meter.cut += 1
        if call.ceiling is not None and self._budget is not None:
            self._budget.settle(call.ceiling, cost)
            call.ceiling = None
        return value

    def _end_failed(self, call: Call, error: BaseException) -> None:
        """Settle what a failed attempt had reserved, count it and tell the breaker."""
        self.sending -= 1
        self._meter.in_flight -= 1
        is_refused = isinstance(error, CallError) and not call.answered and is_refusal(error)
        self._meter.unknown_usage += not (is_refused or call.request.is_free)
        if call.ceiling is not None and self._budget is not None:
            if not is_refused:
                self._budget.settle(call.ceiling, None)
            elif isinstance(error, NOT_SENT):
                self._budget.release(call.ceiling)
            else:
                self._budget.refuse(call.ceiling)
            call.ceiling = None
        if isinstance(error, NOT_SENT):
            self._admission.give_back(call)
        elif isinstance(error, AttemptTimeoutError) and self._breaker.is_closed:
            self._admission.note_timeout(call)
        call.reservation = call.ticket = None
        if isinstance(error, CallError):
            mask_error(error, call.request)
            self._meter.failures[find_cause(error, call.request, answered=call.answered)] += 1
            if not call.answered:
                self._tell_breaker(call, error)
        self._return_probe(call)

    def _tell_breaker(self, call: Call, error: CallError) -> None:
        if is_outage(error):
            if call.failed_since < 0:
                call.failed_since = self._breaker.streak
            is_plain = isinstance(error, UnreachableError) or error.status in OVERLOADED
            counts = is_plain or call.blamed != self._breaker.streak
            call.blamed = self._breaker.streak
            self._gate.fail(error, sent_at=call.sent_at, counts=counts, probe=call.probe)
        elif error.status is not None:
            self._gate.succeed()

    def _judge(self, call: Call, error: CallError) -> float | None:
        """The seconds until the next attempt; None when `error` ends the call.

        Raises:
            CallError: it has become the run's failure.
        """
        call.error = error
        if not isinstance(error, TransientCallError) or error.of == "run":
            return None
        now, breaker = self._loop.time(), self._breaker
        if not call.answered and is_outage(error) and breaker.has_given_up(now):
            raise self._gate.failure(status=error.status)
        if not breaker.is_closed:
            return 0.0
        if error.status == 429:
            delay_s = error.retry_after_s or 0.0
            since = self._admission.refused_since
            if now + delay_s - (now if since is None else since) > self.limits.outage_s:
                error.of = "run"
                error.hint = "it refuses every call for longer than outage_s: run again when it takes more"
                return None
        else:
            call.charged += not (isinstance(error, UnreachableError) or error.status in OVERLOADED)
            if self._is_exhausted(call) and not self._may_park(call, error):
                some = "" if call.attempts <= self.limits.max_attempts else ", which does not count all"
                self._give_up(call, error, f"max_attempts={self.limits.max_attempts}{some}")
                return None
            delay_s = backoff_s(call.attempts, self._rng, retry_after_s=error.retry_after_s)
        if now + delay_s >= call.deadline_at:
            self._give_up(call, error, f"deadline_s={self.limits.deadline_s:g}")
            return None
        return min(delay_s, breaker.gives_up_at() - now)

    def _may_park(self, call: Call, error: CallError) -> bool:
        """Whether the endpoint may be to blame, and there is another call that would show it."""
        is_unproven = is_outage(error) and not call.answered and call.failed_since == self._breaker.streak
        return is_unproven and self._inside > self._parked + 1

    def _give_up(self, call: Call, error: CallError, bound: str) -> CallError:
        """`error`, saying which bound ended the call."""
        error.message += f" (attempt {call.attempts}, the last by {bound})"
        error.args = (error.message,)
        return error
