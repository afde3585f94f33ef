"""Agents: tools, checked calls of them, and the loop that goes on until there is an answer.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.exports import export

if TYPE_CHECKING:
    from tidemill.agents.builtin.http_get import FetchLimits as FetchLimits
    from tidemill.agents.builtin.http_get import http_get as http_get
    from tidemill.agents.builtin.read_file import list_files as list_files
    from tidemill.agents.builtin.read_file import read_file as read_file
    from tidemill.agents.builtin.search_engines import Brave as Brave
    from tidemill.agents.builtin.search_engines import SearchEngine as SearchEngine
    from tidemill.agents.builtin.search_engines import SearchHit as SearchHit
    from tidemill.agents.builtin.search_engines import SearXNG as SearXNG
    from tidemill.agents.builtin.search_engines import Tavily as Tavily
    from tidemill.agents.builtin.sql_query import SQLLimits as SQLLimits
    from tidemill.agents.builtin.sql_query import sql_query as sql_query
    from tidemill.agents.builtin.sql_query import sql_schema as sql_schema
    from tidemill.agents.builtin.vector_search import vector_search as vector_search
    from tidemill.agents.builtin.web_search import web_search as web_search
    from tidemill.agents.calling.approval import ApprovalRequest as ApprovalRequest
    from tidemill.agents.calling.approval import Approve as Approve
    from tidemill.agents.calling.approval import Modify as Modify
    from tidemill.agents.calling.approval import Reject as Reject
    from tidemill.agents.calling.approval import Stop as Stop
    from tidemill.agents.calling.policy import load_policy as load_policy
    from tidemill.agents.events import Event as Event
    from tidemill.agents.events import Final as Final
    from tidemill.agents.events import TextDelta as TextDelta
    from tidemill.agents.events import ToolEnd as ToolEnd
    from tidemill.agents.events import ToolStart as ToolStart
    from tidemill.agents.events import TurnEnd as TurnEnd
    from tidemill.agents.interpreter.options import InterpreterLimits as InterpreterLimits
    from tidemill.agents.interpreter.tool import python as python
    from tidemill.agents.mcp.server import mcp_server as mcp_server
    from tidemill.agents.operations.openapi import openapi as openapi
    from tidemill.agents.result import AgentResult as AgentResult
    from tidemill.agents.teams import fan_out as fan_out
    from tidemill.agents.tools.image import Image as Image
    from tidemill.agents.tools.refusal import RefusalError as RefusalError
    from tidemill.agents.tools.told import Told as Told

__all__, __getattr__, __dir__ = export(
    __name__,
    {
        "builtin.http_get": "FetchLimits http_get",
        "builtin.read_file": "list_files read_file",
        "builtin.search_engines": "Brave SearXNG SearchEngine SearchHit Tavily",
        "builtin.sql_query": "SQLLimits sql_query sql_schema",
        "builtin.vector_search": "vector_search",
        "builtin.web_search": "web_search",
        "calling.approval": "ApprovalRequest Approve Modify Reject Stop",
        "calling.policy": "load_policy",
        "events": "Event Final TextDelta ToolEnd ToolStart TurnEnd",
        "interpreter.options": "InterpreterLimits",
        "interpreter.tool": "python",
        "mcp.server": "mcp_server",
        "operations.openapi": "openapi",
        "result": "AgentResult",
        "teams": "fan_out",
        "tools.image": "Image",
        "tools.refusal": "RefusalError",
        "tools.told": "Told",
    },
)
