"""oban, on psycopg 3 and uvloop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .base import POSTGRES, Contestant, Payload, module


class Oban(Contestant):
    name, engine = "oban", POSTGRES
    guarantee = "At least once: what a dead worker ran is rescued by another process after a minute."
    configuration = "oban start --queues default:500, LISTEN (its default); enqueue_many."
    needs = ("oban",)
    distribution = "oban"
    pace = 4_000
    table = "oban_jobs"
    unsettled_sql = f"SELECT count(*) FROM {table} WHERE state IN ('available', 'executing', 'retryable')"

    def environment(self, url: str) -> dict[str, str]:
        return {"OBAN_DSN": url}

    def worker(self, url: str, *, workload: str) -> list[str]:
        quiet = ["--log-level", "WARNING", "--cron-modules", "tests.benchmarks.handlers.oban"]
        return module("oban", "start", "--queues", "default:500", *quiet)

    def connect(self, url: str) -> None:
        import oban
        import uvloop

        from tests.benchmarks.handlers import oban as handlers

        self.loop = uvloop.new_event_loop()
        self.pool = self.loop.run_until_complete(oban.Oban.create_pool(url, min_size=1, max_size=1))
        self.oban: Any = oban.Oban(pool=self.pool)
        self.handlers = {"noop": handlers.Noop, "ping": handlers.Ping}

    def install(self) -> None:
        from oban.schema import install

        self.loop.run_until_complete(install(self.pool))

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        new = self.handlers[handler].new

        async def each() -> None:
            for payload in payloads:
                await self.oban.enqueue(new(payload))

        self.loop.run_until_complete(each())

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        new = self.handlers[handler].new
        self.loop.run_until_complete(self.oban.enqueue_many([new(payload) for payload in payloads]))
