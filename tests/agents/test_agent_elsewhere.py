"""Agents whose tools live elsewhere: in an HTTP API and in an MCP server, both real."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from modelscript import MODEL, Scripted, calling, saying, told
from shop import Shop, open_shop

import tidemill as tm
from tidemill.agents import Reject, mcp_server, openapi
from tidemill.agents.calling.approval import ApprovalRequest
from tidemill.errors import ConfigError, PermanentCallError, ResourceError
from tidemill.testing import Call, FaultServer, ToolCalls

COMMAND = (sys.executable, str(Path(__file__).with_name("toolserver.py")))


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def shop(server: Shop) -> Iterator[Shop]:
    server.seen.clear()
    server.faults.clear()
    yield server
    server.drain()


def test_a_write_is_decided_on_first_and_has_a_key_of_its_own(shop: Shop) -> None:
    """What is rejected never gets to the server; two equal calls in one run have two keys."""
    tools = openapi(f"{shop.url}/openapi.json", ["get_item", "add_item"])

    def decide(request: ApprovalRequest) -> bool | Reject:
        return True if request.arguments["price"] < 100 else Reject("too dear")

    lamp, crown = {"name": "lamp", "price": 9}, {"name": "crown", "price": 900}
    script = [calling(("add_item", lamp), ("add_item", crown), ("add_item", lamp)), saying("done")]
    agent = Scripted(tm.Agent(MODEL, tools=tools, approve=decide), script)
    assert agent.run("?").output == "done"
    first, second, third = (each["content"] for each in agent.asked[1]["messages"][-3:])
    assert "lamp" in first
    assert "lamp" in third
    assert "too dear" in second
    keys = {each.headers["idempotency-key"] for each in shop.seen}
    assert (len(shop.seen), len(keys)) == (2, 2)


def test_writes_need_somebody_who_approves(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="calls of `add_item` need approval, and nobody gives it"):
        tm.Agent(MODEL, tools=openapi(f"{shop.url}/openapi.json", ["get_item", "add_item"]))


def test_a_read_is_tried_again_and_a_write_is_not(shop: Shop) -> None:
    """The model is told the status and what the server says of it."""
    tools = openapi(f"{shop.url}/openapi.json", ["get_item", "delete_item"], approve=False)
    script = [calling(("get_item", {"item_id": 7})), calling(("delete_item", {"item_id": 7})), saying("done")]
    agent = Scripted(tm.Agent(MODEL, tools=tools), script)
    fault: tuple[int, dict[str, str], bytes] = (503, {}, b'{"detail": "out for lunch"}')
    shop.faults[:] = [fault, (200, {"content-type": "application/json"}, b'{"item_id": 7}'), fault]
    agent.run("?")
    assert '{"item_id":7}' in told(agent.asked[1])
    assert "503 Service Unavailable: out for lunch" in told(agent.asked[2])
    assert [each.method for each in shop.seen] == ["GET", "GET", "DELETE"]


def test_refused_credentials_end_the_run(shop: Shop) -> None:
    [tool] = openapi(f"{shop.url}/openapi.json", ["get_with_bearer"], auth={"HTTPBearer": "my-own-key-1"})
    shop.faults[:] = [(401, {}, b"")]
    agent = Scripted(tm.Agent(MODEL, tools=[tool]), [calling(("get_with_bearer", {})), saying("done")])
    with pytest.raises(PermanentCallError, match="answered 401 Unauthorized\n  check the credentials"):
        agent.run("?")


def test_tools_of_an_mcp_server_are_an_agents_tools() -> None:
    """Called plainly: the run's loop is another thread's. An error is told, and the process is gone afterwards."""
    source = mcp_server(COMMAND, approve=False, allow=["add", "fail"])
    script = [calling(("add", {"a": 1, "b": 2}), ("add", {"a": "one"}), ("fail", {"why": "no paper"})), saying("done")]
    agent = Scripted(tm.Agent(MODEL, tools=[source]), script)
    assert agent.run("?").output == "done"
    added, refused, failed = (each["content"] for each in agent.asked[1]["messages"][-3:])
    assert '{"result":3}' in added
    assert "$.a: expected an integer" in refused
    assert "Error executing tool fail: no paper" in failed


async def test_awaited_runs_use_one_mcp_server_from_the_loop_of_their_caller() -> None:
    """Each run's calls come from here, while the server is held by the agent's own loop."""
    source = mcp_server(COMMAND, approve=False, allow=["add"])

    script = [calling(*[("add", {"a": number, "b": 1}) for number in range(5)]), saying("done")]
    agent = Scripted(tm.Agent(MODEL, tools=[source]), script)
    assert (await agent.arun("?")).output == "done"
    results = [each["content"] for each in agent.asked[1]["messages"][-5:]]
    assert all(f'{{"result":{number}}}' in each for number, each in enumerate(results, 1))


def list_servers() -> list[int]:
    """The processes of MCP servers that this one has started."""
    return [each.pid for each in psutil.Process().children() if COMMAND[1] in each.cmdline()]


def test_an_mcp_server_is_started_by_the_first_run_and_kept_until_the_agent_is_closed() -> None:
    """Closed, the agent may be called again, which starts it anew."""
    source = mcp_server(COMMAND, approve=False, allow=["add"])

    def reply(call: Call) -> str | ToolCalls:
        return call.results[-1].splitlines()[1] if call.results else ToolCalls(("add", {"a": 1, "b": 2}))

    with FaultServer(reply=reply) as server:
        agent = tm.Agent(tm.model("test/model", base_url=server.base_url), tools=[source])
        assert list_servers() == []
        seen = []
        for _ in range(2):
            assert agent("?").output == '{"result":3}'
            seen.append(list_servers())
        agent.close()
        assert list_servers() == []
        with agent:
            agent("?")
            seen.append(list_servers())
        assert list_servers() == []
    assert [len(each) for each in seen] == [1, 1, 1]
    assert seen[0] == seen[1] != seen[2]


def test_both_are_named_in_a_file_with_their_settings(shop: Shop) -> None:
    """As in a job file's `tools`; every problem of the settings is told."""
    described = [
        {"openapi": {"spec": f"{shop.url}/openapi.json", "allow": ["get_item"], "timeout_s": "5 s"}},
        {"mcp": {"command": [*COMMAND], "allow": ["add"], "approve": False}},
    ]
    script = [calling(("get_item", {"item_id": 7}), ("add", {"a": 1, "b": 2})), saying("done")]
    agent = Scripted(tm.Agent(MODEL, tools=described), script)
    assert agent.run("?").output == "done"
    found, added = (each["content"] for each in agent.asked[1]["messages"][-2:])
    assert '"item_id":7' in found
    assert '{"result":3}' in added
    with pytest.raises(ConfigError, match=r"(?s)alow.*allow"):
        tm.Agent(MODEL, tools=[{"openapi": {"spec": "a.yaml", "alow": ["get_item"]}}])
    with pytest.raises(ConfigError, match="one of the two"):
        tm.Agent(MODEL, tools=[{"mcp": {}}])


def test_a_server_that_cannot_be_started_ends_the_run() -> None:
    agent = Scripted(tm.Agent(MODEL, tools=[mcp_server(["no-such-program-here"])]), [saying("done")])
    with pytest.raises(ResourceError, match="no-such-program-here: the MCP server cannot be used: No such file"):
        agent.run("?")
