"""huey, on its SQLite storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .base import SQLITE, Contestant, Payload, module


class Huey(Contestant):
    name, engine = "huey, FULL", SQLITE
    guarantee = "At most once: a message leaves the table when it is taken, and is lost when its worker dies."
    configuration = (
        "SqliteHuey, results off, synchronous FULL (its default), 1 worker thread (its default), polling "
        "every 0.01 to 0.05 s (0.1 to 10 s by default). No call enqueues many: a loop."
    )
    needs = ("huey",)
    distribution = "huey"
    pace = 3_000
    ceiling = "raw, FULL"
    synchronous = "FULL"
    table = "task"
    unsettled_sql = "SELECT count(*) FROM task"

    def environment(self, url: str) -> dict[str, str]:
        return {"LETSGO_BENCH_FILE": url.removeprefix("sqlite:///")}

    def worker(self, url: str, *, workload: str) -> list[str]:
        instance = "tests.benchmarks.handlers.huey.huey"
        polling = ["--delay", "0.01", "--max-delay", "0.05", "--backoff", "1.15"]
        return module("huey.bin.huey_consumer", instance, *polling, "--no-periodic", "--quiet")

    def connect(self, url: str) -> None:
        from tests.benchmarks.handlers import huey

        self.tasks: Any = huey

    def install(self) -> None:
        """The storage has made its tables when it was opened."""

    def enqueue(self, handler: str, payloads: Iterable[Payload]) -> None:
        task = getattr(self.tasks, handler)
        for payload in payloads:
            task(payload)

    def enqueue_many(self, handler: str, payloads: Sequence[Payload]) -> None:
        self.enqueue(handler, payloads)
