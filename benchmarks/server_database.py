"""A database across a network: customers in an SQLite file, each query answered after a given latency.

    python benchmarks/server_database.py FILE LATENCY_S

Prints its port, and ends with its standard input. A query is a line with the number of a customer, its answer a line of
JSON. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import sys

QUERY = "SELECT name, orders FROM customers WHERE id = ?"


async def main(file: str, latency_s: float) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                name, orders = database.execute(QUERY, (int(line),)).fetchone()
                await asyncio.sleep(latency_s)
                writer.write(json.dumps({"name": name, "orders": orders}).encode() + b"\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
