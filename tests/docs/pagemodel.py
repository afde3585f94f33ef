"""The scripted model and the search engine behind docs/agents.md."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tidemill.testing import Call, ToolCalls

TWO = "Which is larger, Oslo or Bergen?"
PEOPLE = ToolCalls(("population", {"city": "Oslo"}), ("population", {"city": "Bergen"}))


def answer(call: Call) -> str | ToolCalls:
    """What the model of the page answers: a function of what it is asked and of the results it has."""
    question = call.message
    if question.startswith("Research "):
        return _research(call)
    if question.startswith("No more tools"):
        return ToolCalls(("population", {"city": "Oslo"}), text="One more.")
    if call.results:
        return _conclude(call, question)
    return _begin(question)


def _begin(question: str) -> str | ToolCalls:
    if question == "I want to buy a boat.":
        return ToolCalls(("transfer_to_sales", {}))
    asked: dict[str, str | ToolCalls] = {
        TWO: PEOPLE,
        "Compare Oslo and Bergen.": PEOPLE,
        "How many live in Trondheim?": ToolCalls(("population", {"city": "Trondheim"})),
        "Please mistype the arguments.": ToolCalls(("population", {"town": "Oslo"})),
        "Keep on asking.": ToolCalls(("population", {"city": "Oslo"}), text="One more."),
        "By how much?": "By 425,770 people.",
        "Write a line on Oslo.": ToolCalls(("counter", {"request": "How many live in Oslo?"})),
        "How many live in Oslo?": ToolCalls(("population", {"city": "Oslo"})),
        "Is it cold?": ToolCalls(("panel", {"request": "Would you say that it is cold?"})),
        "Would you say that it is cold?": "It depends.",
        "Buy a boat and an oar.": ToolCalls(
            ("buy", {"item": "boat", "price": 900}), ("buy", {"item": "oar", "price": 40})
        ),
    }
    return asked[question]


def _conclude(call: Call, question: str) -> str | ToolCalls:
    result = call.results[0]
    if question == "Keep on asking.":
        return ToolCalls(("population", {"city": "Oslo"}), text="One more.")
    if question == "Please mistype the arguments." and "was not called" in result:
        return ToolCalls(("population", {"city": "Oslo"}))
    if question == "Compare Oslo and Bergen.":
        return json.dumps({"larger": "Oslo", "difference": 425770})
    told = {
        TWO: "Oslo is larger, by 425,770 people.",
        "How many live in Trondheim?": "I have no figure for Trondheim.",
        "Please mistype the arguments.": "717,710.",
        "Write a line on Oslo.": "Oslo: 717,710 strong.",
        "How many live in Oslo?": "717,710",
        "Is it cold?": "They do not agree.",
        "Buy a boat and an oar.": "I bought the oar only.",
        "I want to buy a boat.": "Which boat?",
    }
    return told[question]


def _research(call: Call) -> str | ToolCalls:
    """Searches and asks the database at once, computes for some, and answers from what it was told."""
    number = int(re.findall(r"\d+", call.message)[0])
    turn = sum(message["role"] == "assistant" for message in call.payload["messages"])
    if turn == 0:
        query = f"SELECT SUM(units) AS units FROM sales WHERE product = {number}"
        return ToolCalls(("web_search", {"query": f"product {number}"}), ("sql_query", {"sql": query}))
    results = [message["content"] for message in call.payload["messages"] if message["role"] == "tool"]
    units = int(re.findall(r"\d+", results[1].partition("rows")[2])[0])
    if turn == 1 and number % 10 == 2:
        return ToolCalls(("python", {"code": f"{units} // 1"}))
    source = re.findall(r"https://papers\.example/\d+", results[0])[0]
    return json.dumps({"answer": f"{units} were sold", "sales": units, "sources": [source]})


@contextmanager
def serve_searches() -> Iterator[str]:
    """A SearXNG of one page for each query; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = re.findall(r"\d+", self.path)[0]
            found: dict[str, Any] = {"title": "A paper", "url": f"https://papers.example/{number}", "content": "On it."}
            content = json.dumps({"results": [found]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
