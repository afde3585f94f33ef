"""What a fault server counted, asked over HTTP: the same words for a thread, a process and a command."""

from __future__ import annotations

import http.client
import math
from typing import Any

import orjson

from tidemill.errors import ResourceError


class Counted:
    """The counters of a server on loopback, read over HTTP: the same words for a thread and a process."""

    port: int

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a model's `base_url` is set to; Anthropic's own package is given `url`."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> int:
        """Calls received whole."""
        return int(self.stats()["requests"])

    @property
    def billed(self) -> int:
        """Calls billed: answered well, or a good answer begun, cut or stalled."""
        return int(self.stats()["billed"])

    @property
    def in_flight(self) -> int:
        """Calls received and not yet answered, whose client still waits."""
        return int(self.stats()["in_flight"])

    @property
    def max_in_flight(self) -> int:
        """The most calls that were in flight at one time; without latency the server never holds two."""
        return int(self.stats()["max_in_flight"])

    @property
    def billed_bodies(self) -> dict[str, int]:
        """Billed calls by the SHA-256 of their body."""
        return dict(self._ask("GET", "/stats?bodies=1")["bodies"])

    def stats(self) -> dict[str, Any]:
        """Every counter, all of one instant.

        `requests` received, of them `billed` (`repeats`: with a body that was billed before), `good` (answered well
        and whole), `refused` by a quota or for want of capacity, `failed` in any other way, and `over_quota` (came
        beyond a quota); `in_flight max_in_flight`; billed `input_tokens output_tokens cached_tokens
        cache_write_tokens reasoning_tokens`; `connections`, `strays` (requests for a path that is not served, such as
        a redirect followed) and `faults` by kind.
        """
        return self._ask("GET", "/stats")

    def timeline(self) -> list[dict[str, int]]:
        """What became of calls, second by second from the first one on: `arrived good refused failed`.

        A load that is changed starts it anew; each is counted in the second in which it happened.
        """
        return list(self._ask("GET", "/stats?timeline=1")["timeline"])

    def delays_s(self) -> dict[str, float]:
        """How long good answers took under a load, from request to answer, by percentile: `p50 p90 p99 p100`."""
        return dict(self._ask("GET", "/stats?timeline=1")["delays_s"])

    def oracle(self, start_s: float, stop_s: float) -> dict[str, float]:
        """How many calls the load would have let through between two times of the timeline.

        `sustained` at the rates that hold; `most` for a client that also takes what a window holds ready; `quota`,
        `capacity` and `queue` each alone. Infinity where nothing bounds them. A call costs the mean of those billed.
        """
        told = self._ask("GET", f"/oracle?start={start_s}&stop={stop_s}")
        return {name: math.inf if count is None else float(count) for name, count in told.items()}

    def wait_for(self, *, timeout_s: float = 60.0, **counts: int) -> dict[str, Any]:
        """The counters, as soon as each named one is at its number or past it: `wait_for(requests=40)`.

        Raises:
            ResourceError: not within `timeout_s`.
        """
        query = "&".join(f"{name}={count}" for name, count in counts.items())
        return self._ask("GET", f"/wait?{query}", timeout_s=timeout_s)

    def wait_idle(self, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The counters, as soon as nothing is in flight: all is answered, or its client noticed to be gone.

        Raises:
            ResourceError: not within `timeout_s`.
        """
        return self._ask("GET", "/wait?idle", timeout_s=timeout_s)

    def reset(self) -> None:
        """Count from zero; what is in flight stays in flight."""
        self._ask("POST", "/reset")

    def _ask(self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = 60.0) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers={"Connection": "close"})
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except TimeoutError as exc:
            raise ResourceError(f"{path} was not reached within {timeout_s:g} s: {self.stats()}") from exc
        except OSError as exc:
            raise ResourceError(f"the fault server at {self.url} does not answer: {exc}") from exc
        finally:
            connection.close()
        if response.status != 200:
            raise ResourceError(f"the fault server refused {path}: {answer['error']['message']}")
        return dict(answer)
