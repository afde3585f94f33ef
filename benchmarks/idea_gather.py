"""`async`/`await`: a model, a database and an HTTP API asked about each record, one after the other and at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

import tidemill as tm
from children import open_server
from idea_calls import IDEA
from rows import Cell, Row, Setting, render_ratio
from tidemill.testing import FaultProcess
from workload import API_KEY, MODEL, make_text, render_prompt

Record = dict[str, Any]
Answers = list[dict[str, Any]]


class Outside:
    """What is asked about a record, each time through a connection of its own.

    Attributes:
        model_url: where the model is.
        most: requests under way at once, at most.
        began_at, ended_at: when the first request was made, and when the last one was answered.
    """

    def __init__(self, model_url: str, database_port: int, api_port: int) -> None:
        self.model_url = model_url
        self.reset()
        self._database_port = database_port
        self._api_url = f"http://127.0.0.1:{api_port}/stock"

    def reset(self) -> None:
        """Count and time from here on."""
        self.most = self._under_way = 0
        self.began_at = self.ended_at = 0.0

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """One more request is under way."""
        self.began_at = self.began_at or time.perf_counter()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            yield
        finally:
            self._under_way -= 1
            self.ended_at = time.perf_counter()

    async def ask_model(self, record: Record) -> str:
        payload = {"model": MODEL, "messages": [{"role": "user", "content": render_prompt(record["id"])}]}
        with self.asking():
            async with aiohttp.request("POST", f"{self.model_url}/chat/completions", json=payload) as response:
                return str((await response.json())["choices"][0]["message"]["content"])

    async def find_customer(self, record: Record) -> Any:
        with self.asking():
            reader, writer = await asyncio.open_connection("127.0.0.1", self._database_port)
            writer.write(b"%d\n" % record["id"])
            row = json.loads(await reader.readline())
            writer.close()
            await writer.wait_closed()
            return row

    async def fetch_stock(self, record: Record) -> Any:
        with self.asking():
            async with aiohttp.request("POST", self._api_url, json={"id": record["id"]}) as response:
                return await response.json()


def show_gather(setting: Setting) -> Row:
    """Three requests of each record; the records one after the other."""
    records = [{"id": number, "text": make_text(number)} for number in range(setting.records)]
    with _open_outside(setting) as outside:

        def run_job(name: str, limits: tm.Limits) -> Answers:
            return _ask_in_job(outside, records, setting.folder / name, limits)

        naive = _measure(outside, lambda: asyncio.run(_ask_one_by_one(outside, records)))
        usual = _measure(outside, lambda: asyncio.run(_ask_gathered(outside, records)))
        ours = _measure(outside, lambda: run_job("gather", tm.Limits(concurrency=1)))
        all_at_once = _measure(outside, lambda: run_job("gather-all", tm.Limits()))
    for other in (usual, ours, all_at_once):
        assert other.answers == naive.answers, "the ways got other answers"
    cells = []
    for measured in (naive, usual, ours):
        text = f"{measured.taken_s / len(records):.3f} s a record"
        if measured is not naive:
            text += f", {render_ratio(naive.taken_s / measured.taken_s)}"
        cells.append(Cell(text, {"max_in_flight": measured.most, "answered": len(measured.answers)}))
    return Row(
        IDEA,
        f"a model, a database and an HTTP API asked about each of {len(records)} records, "
        f"{setting.latency_s * 1e3:.0f} ms each: one after the other / `asyncio.gather` / `tm.gather` in a durable job",
        cells,
        note=f"servers on loopback, the database's an SQLite file; the records one after the other in all three, from "
        f"the first request to the last answer. The job commits what was answered for a record with fsync before the "
        f"next one's turn; with opening the run, sealing it to Parquet and reading that {ours.whole_s:.2f} s for all "
        f"records, not {ours.taken_s:.2f} s. With its default limits, several records at once, "
        f"{all_at_once.taken_s:.2f} s, {render_ratio(naive.taken_s / all_at_once.taken_s)}",
    )


class _Measured(NamedTuple):
    """One way.

    Attributes:
        taken_s: from the first request to the last answer.
        whole_s: all in all.
        answers: those of each record.
        most: requests under way at once, at most.
    """

    taken_s: float
    whole_s: float
    answers: Answers
    most: int


def _measure(outside: Outside, ask_all: Callable[[], Answers]) -> _Measured:
    outside.reset()
    started = time.perf_counter()
    answers = ask_all()
    whole_s = time.perf_counter() - started
    return _Measured(outside.ended_at - outside.began_at, whole_s, answers, outside.most)


@contextlib.contextmanager
def _open_outside(setting: Setting) -> Iterator[Outside]:
    """The three servers."""
    file = setting.folder / "customers.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, orders INTEGER)")
        rows = ((number, f"Customer {number}", number % 7) for number in range(setting.records))
        database.executemany("INSERT INTO customers VALUES (?, ?, ?)", rows)
    with (
        FaultProcess(latency_s=setting.latency_s) as model,
        open_server("server_database.py", file, setting.latency_s) as database_port,
        open_server("server_constant.py", setting.latency_s) as api_port,
    ):
        yield Outside(model.base_url, database_port, api_port)


async def _ask_one_by_one(outside: Outside, records: Sequence[Record]) -> Answers:
    return [
        {
            "label": await outside.ask_model(record),
            "customer": await outside.find_customer(record),
            "stock": await outside.fetch_stock(record),
        }
        for record in records
    ]


async def _ask_gathered(outside: Outside, records: Sequence[Record]) -> Answers:
    found = []
    for record in records:
        label, customer, stock = await asyncio.gather(
            outside.ask_model(record), outside.find_customer(record), outside.fetch_stock(record)
        )
        found.append({"label": label, "customer": customer, "stock": stock})
    return found


def _ask_in_job(outside: Outside, records: Sequence[Record], folder: Path, limits: tm.Limits) -> Answers:
    with tm.model(f"openai/{MODEL}", base_url=outside.model_url, api_key=API_KEY) as model:

        async def ask_model(record: Record) -> str:
            with outside.asking():
                return (await model.acall(f"Label this review: {record['text']}")).text

        async def ask(record: Record) -> dict[str, Any]:
            return await tm.gather(
                label=ask_model(record), customer=outside.find_customer(record), stock=outside.fetch_stock(record)
            )

        stream = tm.from_iterable(records).call(ask, into="asked", limits=limits)
        report = stream.write(str(folder), progress=False)
    assert report.outcome == "finished", report.reason
    return [record["asked"] for record in tm.dataset(report.output)]
