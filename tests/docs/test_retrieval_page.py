"""docs/retrieval.md runs as printed, and its jobs go on where they were killed."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from docpages import Page, list_said, load_module

import tidemill as tm
from tidemill.commands import app
from tidemill.commands.app import run_command
from tidemill.config.loading import load_config
from tidemill.stores import LanceDB
from tidemill.testing import Call, FaultServer, ToolCalls

pytestmark = pytest.mark.usefixtures("lance_opened_once")

PAGE = Page.load("docs/retrieval.md")
QUESTIONS = 24

KILLED = """
import os, signal, sys

def kill(event, arguments):
    if event == "open" and "part-00001" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)

from tidemill.commands import main

main()
"""
"""The command line, until it is about to write what has landed: in the store it is."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the page names."""
    for text in re.findall(r"^```\w+\n(# \w+\.\w+\n.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE):
        head, _, body = text.partition("\n")
        (tmp_path / head.removeprefix("# ")).write_text(body)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("write_documents", None)


def iter_parts() -> Iterator[tuple[str, str]]:
    """What is run and printed, in order: the page's files apart."""
    for language, text in re.findall(r"^```(python|text|console)\n(.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE):
        if not re.match(r"# \w+\.\w+\n", text):
            yield language, text


def test_the_page_runs_and_prints_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands and code in order; each `print(…)  # text` prints that text, others what stands below them.

    Its agent then looks things up in the store that they filled.
    """
    said: list[str] = []
    code = "from docs_commands import run\n"
    commands: list[str] = []
    for language, text in iter_parts():
        if language == "text":
            said += text.splitlines()
        elif language == "python":
            said += list_said(text)
            code += text
        else:
            found = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ tidemill")]
            code += "".join(f"run({len(commands) + place})\n" for place in range(len(found)))
            commands += found

    def run(number: int) -> None:
        words = commands[number].split()[1:]
        with capsys.disabled():
            assert run_command(partial(app, words, standalone_mode=False)) == 0

    (folder / "docs_commands.py").write_text("run = None\n")
    import docs_commands  # type: ignore[import-not-found] # written just now

    docs_commands.run = run
    path = folder / "retrieval_page.py"
    path.write_text(code)
    try:
        with load_module(path):
            printed = capsys.readouterr().out.splitlines()
    finally:
        sys.modules.pop("docs_commands", None)
    assert printed == said
    check_agent(folder / "agent.yaml")


def check_agent(path: Path) -> None:
    """The agent of a file is given what the page's store holds: by what a model asks, of the module it names."""
    asked = {"query": "How do I get the three largest items?", "module": "heapq", "count": 3}
    told: list[str] = []

    def reply(call: Call) -> str | ToolCalls:
        told.extend(call.results)
        return "With nlargest." if call.results else ToolCalls(("vector_search", asked))

    with FaultServer(reply=reply) as server:
        model = tm.model("openai/gpt-4.1-mini", base_url=server.base_url, api_key="none")
        with load_config(tm.Agent, path).replace({"model": model}) as agent:
            assert agent("How do I get the three largest items?").output == "With nlargest."
    (found,) = told
    assert "heapq.nlargest" in found


def test_a_killed_index_goes_on_and_holds_each_chunk_once(folder: Path) -> None:
    """SIGKILL with all in the store and nothing sealed: in the end that holds what landed, each under its own id."""
    from write_documents import write_documents  # type: ignore[import-not-found]

    write_documents(modules=("heapq", "textwrap"))
    words = ["run", "index.yaml"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not list((folder / "out" / "chunks").glob("*.parquet"))
    assert run_command(partial(app, words, standalone_mode=False)) == 0
    ids = [f"{record['name']}/{record['chunk']}" for record in tm.dataset("out/chunks")]
    assert len(ids) == len(set(ids)) > 16

    async def read() -> tuple[int, list[bool]]:
        async with LanceDB(path=folder / "handbook", dimensions=384, fields={"module": "str"}).open() as store:
            return await store.count(), [match is not None for match in await store.fetch(ids)]

    count, found = asyncio.run(read())
    assert count == len(ids)
    assert all(found)


def test_a_killed_answer_job_goes_on_and_asks_nothing_again(folder: Path) -> None:
    """SIGKILL on the ninth question asked: those that were committed are searched for and asked once, on the whole.

    The model is a server of this process, which counts. What is asked holds what the search found.
    """
    texts = [f"A tide mill has {number} wheels." for number in range(QUESTIONS)]
    found = [{"name": f"text {n}", "module": "mills", "text": text} for n, text in enumerate(texts)]
    handbook = LanceDB(path=folder / "handbook", dimensions=384, fields={"module": "str"})
    filled = tm.from_iterable(found).embed("local/minilm", "text").index(handbook, id="{{ name }}")
    assert filled.write("out/chunks", progress=False).records["landed"] == QUESTIONS
    asked = [{"question": f"What has {number} wheels?"} for number in range(QUESTIONS)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    processes: list[subprocess.Popen[bytes]] = []

    def reply(call: Call) -> str:
        if call.number == 9:
            processes[0].kill()
        return f"{call.number}"

    with FaultServer(reply=reply) as server:
        small = {"model": "openai/stand-in", "base_url": server.base_url, "api_key": "none"}
        words = ["run", "answer.yaml", "--set", "models.small.limits.concurrency=2"]
        words += [word for key, value in small.items() for word in ("--set", f"models.small.{key}={value}")]
        command = [sys.executable, "-m", "tidemill", *words]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert processes[0].wait() == -signal.SIGKILL
        assert run_command(partial(app, words, standalone_mode=False)) == 0
        assert len(server.billed_bodies) == QUESTIONS
        assert QUESTIONS <= server.billed <= QUESTIONS + 2
    landed = list(tm.dataset("out/answers"))
    assert [record["question"] for record in landed] == [each["question"] for each in asked]
    assert all(len(record["matches"]) == 3 for record in landed)


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
