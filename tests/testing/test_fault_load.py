"""A fault server under a load, over real connections."""

import http.client
import itertools
import socket
from contextlib import closing, suppress

import orjson
import pytest

from tidemill.errors import ResourceError
from tidemill.testing import (
    Capacity,
    Delivery,
    Fault,
    FaultProcess,
    Faults,
    FaultServer,
    Latency,
    Load,
    Outage,
    Queue,
    Quota,
    Steps,
)

PATH = "/v1/chat/completions"
NUMBERS = itertools.count()


def ask() -> bytes:
    """A request that never came before."""
    return orjson.dumps({"messages": [{"role": "user", "content": f"hello {next(NUMBERS)}"}]})


def post(server: FaultServer | FaultProcess, body: bytes | None = None) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        client.request("POST", PATH, body or ask())
        response = client.getresponse()
        response.read()
        return response.status


def write_request(body: bytes) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def send(client: socket.socket, body: bytes) -> None:
    client.sendall(write_request(body))


def test_what_is_beyond_a_quota_is_refused_and_counted(server: FaultServer) -> None:
    """Neither billed nor good; the timeline has it, the oracle knows how much there was."""
    server.load = Load(quotas=[Quota(requests_per_minute=3, kind="sliding")])
    assert [post(server) for _ in range(5)] == [200, 200, 200, 429, 429]
    stats = server.stats()
    assert {name: stats[name] for name in ("requests", "billed", "good", "refused", "failed", "over_quota")} == {
        "requests": 5,
        "billed": 3,
        "good": 3,
        "refused": 2,
        "failed": 0,
        "over_quota": 2,
    }
    rows = server.timeline()
    totals = {name: sum(row[name] for row in rows) for name in rows[0]}
    assert totals == {"arrived": 5, "good": 3, "refused": 2, "failed": 0}
    oracle = server.oracle(0, 60)
    assert (oracle["sustained"], oracle["most"], oracle["capacity"]) == (3, 6, float("inf"))
    server.load = None
    assert post(server) == 200
    assert (server.load, server.oracle(0, 60)["sustained"]) == (None, float("inf"))


def test_over_admission_is_counted_without_being_refused(server: FaultServer) -> None:
    """For a client that is to keep a quota by itself."""
    server.load = Load(quotas=[Quota(requests_per_minute=2, kind="fixed", enforced=False)])
    assert [post(server) for _ in range(5)] == [200] * 5
    assert (server.stats()["over_quota"], server.billed) == (3, 5)


def test_a_repeated_body_is_counted(server: FaultServer) -> None:
    """Each billed call whose body was billed before; what was refused in between is none."""
    body = ask()
    server.faults = Faults(script=lambda call: Fault("status") if call.times == 1 else None)
    assert [post(server, body) for _ in range(4)] == [500, 200, 200, 200]
    assert (server.stats()["repeats"], server.billed) == (2, 3)


def test_capacity_is_held_until_the_client_has_its_answer(server: FaultServer) -> None:
    """A stalled call holds its place; leaving gives it back."""
    server.load = Load(capacity=Capacity(concurrency=1, status=503))
    server.faults = Faults(matching=[("stalled", Fault("stall"))])
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        send(client, b'{"messages": [], "note": "stalled"}')
        server.wait_for(in_flight=1)
        assert post(server) == 503
    server.wait_idle()
    assert post(server) == 200
    assert (server.stats()["refused"], server.stats()["over_quota"]) == (1, 0)


def test_a_queue_answers_in_order(server: FaultServer) -> None:
    """Two servers, six calls that come at once: each pair waits for the one before it, and none is refused."""
    server.load = Load(queue=Queue(servers=2, service=Latency(median_s=0.02)))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"".join(write_request(ask()) for _ in range(6)))
        assert server.wait_for(good=6)["max_in_flight"] == 6
    delays = server.delays_s()
    assert delays["p100"] >= 0.06 - 0.01
    assert delays["p50"] >= 0.04 - 0.01


@pytest.mark.parametrize("kind", ["status", "reset", "stall"])
def test_an_outage_takes_every_call(server: FaultServer, kind: str) -> None:
    """By an error, a reset, or silence; not billed, and counted as what it is."""
    server.load = Load.model_validate({"outages": [{"start_s": 0, "length_s": 1000, "kind": kind, "status": 502}]})
    if kind == "status":
        assert post(server) == 502
    elif kind == "reset":
        with pytest.raises(ConnectionResetError, match="reset by peer"):
            post(server)
    else:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            send(client, ask())
            assert server.wait_for(in_flight=1)["requests"] == 1
        server.wait_idle()
    stats = server.wait_for(failed=1)
    assert (stats["billed"], stats["faults"]) == (0, {f"outage: {kind}": 1})


def test_a_burst_takes_its_share(server: FaultServer) -> None:
    """Drawn from the bodies, so that it is the same ones again."""
    server.load = Load(outages=[Outage(start_s=0, length_s=1000, status=500, ratio=0.5)])
    statuses = [post(server) for _ in range(40)]
    assert 5 < statuses.count(500) < 35
    assert server.stats()["failed"] == statuses.count(500)


def check_reset(server: FaultServer) -> None:
    """Check that a request is answered by a reset of its connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        send(client, ask())
        with pytest.raises(ConnectionResetError, match="reset by peer"):
            while client.recv(65536):
                pass


def post_until_answered(server: FaultServer) -> int:
    """The status that a request gets once somebody listens."""
    while True:
        with suppress(ConnectionRefusedError):
            return post(server)


def test_a_server_that_refuses_connections_comes_back(server: FaultServer) -> None:
    """By itself, when the outage is over; its port stays its own."""
    server.load = Load(outages=[Outage(start_s=0, length_s=0.5, kind="refused")])
    check_reset(server)
    assert post_until_answered(server) == 200


def test_another_load_ends_a_refusal(server: FaultServer) -> None:
    """Nobody listens until then; the server does again at once."""
    server.load = Load(outages=[Outage(start_s=0.0, length_s=1000, kind="refused")])
    check_reset(server)
    with pytest.raises(ResourceError, match="does not answer"):
        server.stats()
    server.load = None
    assert post_until_answered(server) == 200


def test_a_load_for_a_server_in_another_process() -> None:
    """From its start, and another one while it runs; one that is none is refused."""
    quota = Quota(requests_per_minute=1, kind="fixed", steps=Steps(factors=(1, 2), each_s=1000))
    with FaultProcess(load=Load(quotas=[quota]), delivery=Delivery(tells_usage=False)) as process:
        assert [post(process), post(process)] == [200, 429]
        process.carry(Load(capacity=Capacity(concurrency=5)))
        assert [post(process), post(process)] == [200, 200]
        process.carry(None)
        assert post(process) == 200
        assert process.oracle(0, 1)["most"] == float("inf")
        with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)) as client:
            client.request("POST", "/load", b'{"capacity": {"concurrency": 0}}')
            response = client.getresponse()
            assert response.status == 400
            assert b"concurrency" in response.read()
            client.request("GET", "/oracle?start=x")
            assert client.getresponse().status == 400
