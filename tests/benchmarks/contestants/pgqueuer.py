"""pgqueuer, on asyncpg and uvloop as it recommends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .base import POSTGRES, Contestant, Payload, module


class PgQueuer(Contestant):
    name, engine = "pgqueuer", POSTGRES
    guarantee = (
        "At least once: what a dead worker had picked is picked again after 30 s; acknowledgements are "
        "buffered for up to 0.1 s, so a crash repeats up to a batch."
    )
    configuration = (
        "pgqueuer.run() with batch_size 1000 (10 by default), durable tables (its default), asyncpg, uvloop; "
        "bulk by one INSERT of arrays."
    )
    needs = ("pgqueuer", "asyncpg", "uvloop")
    distribution = "pgqueuer"
    pace = 15_000
    table = "pgqueuer"
    unsettled_sql = "SELECT count(*) FROM pgqueuer"
    takes_part_in = Contestant.takes_part_in | {"backlog", "snapshot"}

    def environment(self, url: str) -> dict[str, str]:
        return {"PGQUEUER_DSN": url}

    def worker(self, url: str, *, workload: str) -> list[str]:
        return module("tests.benchmarks.handlers.pgqueuer")

    def connect(self, url: str) -> None:
        import asyncpg
        import uvloop
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        self.loop = uvloop.new_event_loop()
        connection = self.loop.run_until_complete(asyncpg.connect(url))
        self.queries: Any = Queries(AsyncpgDriver(connection))

    def install(self) -> None:
        self.loop.run_until_complete(self.queries.install())

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        async def each() -> None:
            for payload in payloads:
                await self.queries.enqueue(handler, json.dumps(payload).encode())

        self.loop.run_until_complete(each())

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        number = len(payloads)
        encoded = [json.dumps(payload).encode() for payload in payloads]
        self.loop.run_until_complete(self.queries.enqueue([handler] * number, encoded, [0] * number))
